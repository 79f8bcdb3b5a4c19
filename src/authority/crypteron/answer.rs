//! Answers: JSON that nobody stores, and errors in the shape of the vendor's framework.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::assumed;
use crate::authority::Refused;

/// Why a call is not done.
#[derive(Debug)]
pub enum Problem {
    /// 400 with what is wrong, by member.
    Model(Vec<(&'static str, String)>),
    /// 413.
    TooLarge,
    /// What the authority refused.
    Refused(Refused),
}

impl Problem {
    /// 400 for one member.
    pub fn member(name: &'static str, text: impl Into<String>) -> Self {
        Self::Model(vec![(name, text.into())])
    }
}

impl<E: Into<Refused>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// For the audit log.
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Model(_) => f.write_str("the request is invalid"),
            Self::TooLarge => f.write_str("the request is too large"),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

/// A handler's answer.
pub type Answer = Result<Response, Problem>;

/// A body of JSON.
pub fn ok(status: StatusCode, body: &impl Serialize) -> Answer {
    let text = serde_json::to_string(body)
        .map_err(|_| Refused::Unavailable("an answer of the Crypteron face cannot be written".into()))?;
    Ok(json_text(status, text))
}

/// 204.
pub fn nothing() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let refused = match self {
            Self::Model(wrong) => return model(wrong),
            Self::TooLarge => return message(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."),
            Self::Refused(refused) => refused,
        };
        match refused {
            Refused::Unauthenticated => {
                let mut response = message(StatusCode::UNAUTHORIZED, assumed::DENIED);
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
                response
            }
            Refused::TooMany(seconds) => {
                let mut response = message(StatusCode::TOO_MANY_REQUESTS, "Too many requests.");
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
                response
            }
            Refused::Forbidden => message(StatusCode::FORBIDDEN, assumed::DENIED),
            Refused::State(state) => message(StatusCode::CONFLICT, &format!("The key is {state}.")),
            Refused::NotFound | Refused::NotAuthentic => message(StatusCode::NOT_FOUND, assumed::NOT_FOUND),
            Refused::Conflict(text) => message(StatusCode::CONFLICT, &text),
            Refused::Invalid(text) => model(vec![("Body", text)]),
            Refused::Unavailable(error) => {
                tracing::warn!(error, "the Crypteron face cannot answer now");
                message(StatusCode::SERVICE_UNAVAILABLE, assumed::UNAVAILABLE)
            }
        }
    }
}

/// 404.
pub async fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, assumed::NOT_FOUND)
}

/// 405; the router adds `Allow`.
pub async fn not_allowed() -> Response {
    message(StatusCode::METHOD_NOT_ALLOWED, assumed::NOT_ALLOWED)
}

/// API keys and access-control entries are nothing for a cache.
pub fn unstored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn model(wrong: Vec<(&'static str, String)>) -> Response {
    let mut state = Map::new();
    for (name, text) in wrong {
        if let Value::Array(texts) = state.entry(name).or_insert_with(|| json!([])) {
            texts.push(text.into());
        }
    }
    let body = json!({ "Message": assumed::INVALID, "ModelState": state });
    json_text(StatusCode::BAD_REQUEST, body.to_string())
}

fn message(status: StatusCode, text: &str) -> Response {
    json_text(status, json!({ "Message": text }).to_string())
}

fn json_text(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))], text)
        .into_response()
}
