//! Refusals as RFC 9457 documents. Texts are of this file and of [`NotTaken`]; none repeats what was sent.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::authority::Refused;
use crate::keyring::{KeyringError, NotTaken, State};

/// See the module.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    word: &'static str,
    detail: String,
    state: Option<State>,
    again: Option<u64>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(status: StatusCode, word: &'static str, detail: impl Into<String>) -> Self {
        Self { status, word, detail: detail.into(), state: None, again: None }
    }

    /// There is none, or it is another's: the two look the same.
    pub fn not_there() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such thing, or it is not for this caller")
    }

    /// Whether it is [`Self::not_there`].
    pub fn is_not_there(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// The caller's role may not do that in a partition that it may see.
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// What was sent is not right.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthenticated => Self::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "show an API key or token of a sidecar as `authorization: Bearer …`, or a client certificate",
            ),
            Refused::TooMany(seconds) => Self {
                again: Some(seconds),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "ask again later")
            },
            Refused::Forbidden => Self::forbidden("the caller's role does not allow it"),
            Refused::State(state) => Self {
                state: Some(state),
                ..Self::new(StatusCode::FORBIDDEN, "partition-state", format!("the partition is {state}"))
            },
            Refused::NotFound | Refused::NotAuthentic => Self::not_there(),
            Refused::Conflict(text) => Self::new(StatusCode::CONFLICT, "conflict", text),
            Refused::Invalid(text) => Self::invalid(text),
            Refused::Unavailable(text) => {
                tracing::warn!("keyring API: {text}");
                Self {
                    again: Some(1),
                    ..Self::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "unavailable",
                        "the keyring cannot be read or written now",
                    )
                }
            }
        }
    }
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Self {
        Refused::from(error).into()
    }
}

impl From<NotTaken> for Problem {
    fn from(error: NotTaken) -> Self {
        match error {
            NotTaken::Invalid(text) => Self::invalid(text),
            NotTaken::Keyring(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| drop(document.insert(name.into(), value));
        put("type", format!("urn:sidecloak:problem:{}", self.word).into());
        put("title", self.status.canonical_reason().unwrap_or_default().into());
        put("status", self.status.as_u16().into());
        put("detail", self.detail.into());
        if let Some(state) = self.state {
            put("state", state.name().into());
        }
        let mut response = (self.status, Json(Value::Object(document))).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sidecloak keyring\""));
        }
        if let Some(seconds) = self.again {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// For paths that are none of ours.
pub async fn no_route() -> Problem {
    Problem::not_there()
}

/// For methods that a path does not have; axum adds which it has.
pub async fn no_method() -> Response {
    let mut response =
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path has other methods").into_response();
    response.headers_mut().remove(ALLOW);
    response
}
