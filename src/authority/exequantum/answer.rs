//! Answers: JSON that nobody stores, and the vendor's shapes of errors.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::assumed;
use crate::authority::Refused;

/// Why a call is not done.
#[derive(Debug)]
pub enum Problem {
    /// A status with `detail`.
    Detail(StatusCode, &'static str),
    /// 422, a line for each field that is wrong.
    Fields(Vec<Value>),
    /// What the authority refused.
    Refused(Refused),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<crate::keyring::KeyringError> for Problem {
    fn from(error: crate::keyring::KeyringError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<crate::crypto::RandomError> for Problem {
    fn from(error: crate::crypto::RandomError) -> Self {
        Self::Refused(Refused::Unavailable(error.to_string()))
    }
}

/// A handler's answer.
pub type Answer = Result<Response, Problem>;

/// 200.
pub fn ok(body: impl Serialize) -> Answer {
    let text = serde_json::to_string(&body)
        .map_err(|_| Refused::Unavailable("an answer of the ExeQuantum face cannot be written".into()))?;
    Ok(json_text(StatusCode::OK, text))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Detail(status, text) => (status, text),
            Self::Fields(lines) => {
                return json_text(StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": lines }).to_string());
            }
            Self::Refused(Refused::TooMany(seconds)) => {
                let mut response = detail(StatusCode::TOO_MANY_REQUESTS, "Too many requests");
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
                return response;
            }
            Self::Refused(Refused::Unauthenticated) => {
                let mut response = detail(StatusCode::UNAUTHORIZED, assumed::UNAUTHENTICATED);
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                return response;
            }
            Self::Refused(Refused::Invalid(text) | Refused::Conflict(text)) => {
                return detail(StatusCode::BAD_REQUEST, &text);
            }
            Self::Refused(Refused::Forbidden) => (StatusCode::FORBIDDEN, assumed::FORBIDDEN),
            Self::Refused(Refused::State(state)) => {
                return detail(StatusCode::FORBIDDEN, &format!("The partition is {state}"));
            }
            Self::Refused(Refused::NotFound) => (StatusCode::FORBIDDEN, "This token's partition does not exist"),
            Self::Refused(Refused::NotAuthentic) => (StatusCode::BAD_REQUEST, assumed::NOT_AUTHENTIC),
            Self::Refused(Refused::Unavailable(error)) => {
                tracing::warn!(error, "the ExeQuantum face cannot answer now");
                (StatusCode::SERVICE_UNAVAILABLE, "Service unavailable")
            }
        };
        detail(status, text)
    }
}

/// 404.
pub async fn not_found() -> Response {
    detail(StatusCode::NOT_FOUND, "Not Found")
}

/// 405; the router adds `Allow`.
pub async fn not_allowed() -> Response {
    detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// 405 for HEAD where GET has an effect.
pub async fn head_not_allowed() -> Response {
    let mut response = detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    response
}

fn detail(status: StatusCode, text: &str) -> Response {
    json_text(status, json!({ "detail": text }).to_string())
}

fn json_text(status: StatusCode, text: String) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, HEADERS, text).into_response()
}
