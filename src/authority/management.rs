//! Our own management, `/manage/v1`: partitions, roles, applications, API keys, users. `docs/apis/management.md` tells it from
//! outside. Who may what is written once, in `calls`, from which the document comes, too; a route that is not listed there
//! answers nobody.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use http::header::{ALLOW, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};

use super::credentials::Purpose;
use super::identity::{Identity, Partitions, identify};
use super::listen::Peer;
use super::{Authority, Caller};

mod apikeys;
mod apps;
mod bits;
mod calls;
mod destruction;
mod document;
mod partitions;
mod problem;
mod request;
mod shapes;
mod users;

use problem::Problem;

pub use document::openapi;

/// Bytes that a request's body may have.
const MAX_BODY: usize = 64 << 10;

/// In the extensions of a request that never came over a wire: the operator of this machine, who has the master key anyway.
#[derive(Debug, Clone)]
pub struct LocalOperator {
    /// As the audit log names them, such as `local uid 1000`.
    pub name: String,
}

/// Its routes.
pub fn router(authority: Arc<Authority>) -> Router {
    let admitted = middleware::from_fn_with_state(Arc::clone(&authority), admit);
    Router::new()
        .route("/manage/v1/partitions", get(partitions::list).post(partitions::create))
        .route("/manage/v1/partitions/{partition}", get(partitions::show))
        .route("/manage/v1/partitions/{partition}/state", put(partitions::set_state))
        .route("/manage/v1/partitions/{partition}/rollover", post(partitions::rollover))
        .route("/manage/v1/partitions/{partition}/epochs", get(partitions::epochs))
        .route(
            "/manage/v1/partitions/{partition}/roles/{role}",
            put(partitions::set_role).delete(partitions::remove_role),
        )
        .route(
            "/manage/v1/partitions/{partition}/destruction",
            get(destruction::show_partition).post(destruction::destroy_partition).delete(destruction::keep_partition),
        )
        .route(
            "/manage/v1/partitions/{partition}/epochs/{epoch}/destruction",
            post(destruction::destroy_epoch).delete(destruction::keep_epoch),
        )
        .route("/manage/v1/apps", get(apps::list).post(apps::create))
        .route("/manage/v1/apps/{app}", get(apps::show))
        .route("/manage/v1/apps/{app}/state", put(apps::set_state))
        .route("/manage/v1/apikeys", get(apikeys::list).post(apikeys::create))
        .route("/manage/v1/apikeys/{number}", get(apikeys::show).delete(apikeys::revoke))
        .route("/manage/v1/apikeys/{number}/refresh", post(apikeys::refresh))
        .route("/manage/v1/users", get(users::list).post(users::create))
        .route("/manage/v1/users/{user}", get(users::show).delete(users::remove))
        .route("/manage/v1/users/{user}/password", put(users::set_password))
        .route("/manage/v1/users/{user}/role", put(users::set_role))
        .route("/manage/v1/users/{user}/sessions", delete(users::log_out))
        .route_layer(admitted)
        .route("/manage/v1/openapi.json", get(async || axum::Json(openapi())))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "There is no such thing"))
        .method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "There is no such call"))
        .layer(middleware::map_response(sealed_off))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(authority)
}

/// Lets in who may make this call, and says who it is.
async fn admit(State(authority): State<Arc<Authority>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let Some(call) = calls::find(&method, &path) else {
        let mut answer = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "There is no such call").into_response();
        if let Ok(allow) = HeaderValue::from_str(&calls::methods(&path)) {
            answer.headers_mut().insert(ALLOW, allow);
        }
        return answer;
    };
    let identity = match request.extensions().get::<LocalOperator>() {
        Some(local) => Identity {
            caller: Caller { name: local.name.clone(), role: "admin".into() },
            purpose: Purpose::Management,
            app: None,
            partitions: Partitions::All,
            encrypt_only: false,
        },
        None => {
            let peer = request.extensions().get::<Peer>().cloned();
            match identify(&authority, request.headers(), peer.as_ref(), Purpose::Management).await {
                Ok(identity) => identity,
                Err(refused) => return Problem::from(refused).into_response(),
            }
        }
    };
    if !call.needs.is_met_by(&identity) {
        tracing::warn!(
            who = identity.caller.name,
            call = call.id,
            "a management call was refused: the role does not allow it"
        );
        return Problem::from(super::Refused::Forbidden).into_response();
    }
    request.extensions_mut().insert(identity);
    next.run(request).await
}

async fn sealed_off(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
