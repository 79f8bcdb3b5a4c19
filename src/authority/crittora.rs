//! The Crittora face: managed (`/v1/encrypt` and its like, five headers), direct (`/encrypt` and its like, a bearer token), and
//! the Cognito log-in (POST `/`) that gives the bearer out. A partner is an API key and its partition; a caller is a partner
//! and a user, and may what the roles of both allow. `docs/apis/crittora.md` tells it from outside.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;

use super::Authority;
use crate::keyring::KeyringError;
use crate::name::Class;
use answer::{Failure, Shape};
use session::Sessions;

mod answer;
mod assumptions;
mod calls;
mod envelope;
mod login;
mod openapi;
mod session;
mod who;
mod wire;

#[cfg(test)]
mod tests;

pub use openapi::openapi;

/// What is sealed here is of this class.
const CLASS: &str = "crittora";

/// Its routes.
pub fn router(authority: Arc<Authority>) -> Router {
    let face = match Face::new(authority) {
        Ok(face) => Arc::new(face),
        // Cannot be without the master key, which an `Authority` has; then every call says so.
        Err(error) => {
            tracing::error!("crittora: {error}");
            return Router::new().fallback(async || answer::identified(Failure::unavailable().response(Shape::Direct)));
        }
    };
    let mut router = Router::new().route("/", post(login::log_in));
    for call in Call::ALL {
        for shape in [Shape::Managed, Shape::Direct] {
            let serve =
                async move |State(face): State<Arc<Face>>, request: Request| face.serve(shape, call, request).await;
            router = router.route(&format!("{}/{}", shape.prefix(), call.name()), post(serve));
        }
    }
    router
        .fallback(async |request: Request| refused(request, StatusCode::NOT_FOUND, "Not Found").await)
        .method_not_allowed_fallback(async |request: Request| {
            refused(request, StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed").await
        })
        .layer(axum::middleware::map_response(async |response: Response| answer::identified(response)))
        .with_state(face)
}

/// What is no call at all.
async fn refused(request: Request, status: StatusCode, message: &'static str) -> Response {
    wire::drain(request.into_body()).await;
    Failure::new(status, message).response(Shape::Direct)
}

/// What the handlers share.
struct Face {
    authority: Arc<Authority>,
    sessions: Sessions,
    class: Class,
}

impl Face {
    fn new(authority: Arc<Authority>) -> Result<Self, KeyringError> {
        let sessions = Sessions::new(&authority)?;
        Ok(Self { authority, sessions, class: Class::new(CLASS) })
    }
}

/// The four calls, which managed and direct have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Encrypt,
    SignEncrypt,
    Decrypt,
    DecryptVerify,
}

impl Call {
    const ALL: [Self; 4] = [Self::Encrypt, Self::SignEncrypt, Self::Decrypt, Self::DecryptVerify];

    fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::SignEncrypt => "sign-encrypt",
            Self::Decrypt => "decrypt",
            Self::DecryptVerify => "decrypt-verify",
        }
    }

    fn is_signed(self) -> bool {
        matches!(self, Self::SignEncrypt | Self::DecryptVerify)
    }
}
