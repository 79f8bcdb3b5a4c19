//! The two envelopes of errors: what the vendor's gateway refuses and what its key service refuses.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::authority::Refused;

/// Why a call is not done, as it goes outside.
#[derive(Debug)]
pub struct Fault {
    status: StatusCode,
    body: Body,
    retry_after: Option<u64>,
}

#[derive(Debug)]
enum Body {
    Gateway { code: &'static str, message: &'static str, details: Cow<'static, str> },
    Kms { code: &'static str, msg: Cow<'static, str> },
}

impl Fault {
    /// Gateway 401/200.
    pub fn unauthenticated(details: &'static str) -> Self {
        Self::gateway(StatusCode::UNAUTHORIZED, "200", "Authentication Failed", details)
    }

    /// Gateway 404/300.
    pub fn not_found() -> Self {
        Self::gateway(StatusCode::NOT_FOUND, "300", "Not Found Exception", "URL not found.")
    }

    /// Gateway 413/430.
    pub fn too_large() -> Self {
        let details = "The body is larger than 4 MiB.";
        Self::gateway(StatusCode::PAYLOAD_TOO_LARGE, "430", "Request Entity Too Large", details)
    }

    /// Gateway 400/100.
    pub fn unreadable() -> Self {
        Self::gateway(StatusCode::BAD_REQUEST, "100", "Bad Request Exception", "The request could not be read.")
    }

    /// `INVALID_REQUEST`; says what to do.
    pub fn invalid(msg: impl Into<Cow<'static, str>>) -> Self {
        Self::kms(StatusCode::BAD_REQUEST, "INVALID_REQUEST", msg)
    }

    /// `UNAUTHORIZED`: no valid token.
    pub fn bad_token() -> Self {
        let msg = "The token is unknown, has expired, or is for another key or another call.";
        Self::kms(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", msg)
    }

    /// `FORBIDDEN`; the same for a key that is not there, so that nobody learns which are.
    pub fn forbidden() -> Self {
        Self::kms(StatusCode::FORBIDDEN, "FORBIDDEN", "There is no such key, or it does not allow this.")
    }

    /// `UNPROCESSABLE_ENTITY`: a well-formed request that this key cannot do (now).
    pub fn unprocessable(msg: impl Into<Cow<'static, str>>) -> Self {
        Self::kms(StatusCode::UNPROCESSABLE_ENTITY, "UNPROCESSABLE_ENTITY", msg)
    }

    /// `INTERNAL_SERVER_ERROR`; what happened goes into the log.
    pub fn internal(log: &str) -> Self {
        tracing::error!("ncloud-kms: {log}");
        Self::kms(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", "The call failed; see the server's log.")
    }

    /// Its status.
    #[cfg(test)]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    fn gateway(
        status: StatusCode,
        code: &'static str,
        message: &'static str,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, body: Body::Gateway { code, message, details: details.into() }, retry_after: None }
    }

    fn kms(status: StatusCode, code: &'static str, msg: impl Into<Cow<'static, str>>) -> Self {
        Self { status, body: Body::Kms { code, msg: msg.into() }, retry_after: None }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthenticated => Self::unauthenticated("Invalid authentication information."),
            Refused::TooMany(seconds) => Self {
                retry_after: Some(seconds),
                ..Self::gateway(
                    StatusCode::TOO_MANY_REQUESTS,
                    "420",
                    "Rate Limited",
                    "Too many requests; try again later.",
                )
            },
            Refused::Forbidden | Refused::NotFound => Self::forbidden(),
            Refused::State(_) => Self::unprocessable("The key is disabled."),
            Refused::Conflict(_) => Self::unprocessable("The key was changed meanwhile; try again."),
            Refused::Invalid(msg) => Self::invalid(msg),
            Refused::NotAuthentic => Self::unprocessable("The ciphertext does not open under this key and context."),
            Refused::Unavailable(text) => {
                tracing::warn!("ncloud-kms: {text}");
                let details = "The key store cannot be reached; try again later.";
                Self::gateway(StatusCode::SERVICE_UNAVAILABLE, "500", "Endpoint Error", details)
            }
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = match self.body {
            Body::Gateway { code, message, details } => {
                json!({ "error": { "errorCode": code, "message": message, "details": details } })
            }
            Body::Kms { code, msg } => json!({ "code": code, "msg": msg }),
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
