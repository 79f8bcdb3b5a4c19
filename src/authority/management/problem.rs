//! What goes outside when a call is not done: RFC 9457.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::Refused;

/// Why a call was not done (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Problem {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The status of the answer.
    #[serde(with = "code")]
    #[schemars(with = "u16")]
    status: StatusCode,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    detail: Option<String>,
    #[serde(skip)]
    again: Option<u64>,
}

mod code {
    pub fn serialize<S: serde::Serializer>(status: &http::StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(status.as_u16())
    }
}

impl Problem {
    pub fn new(status: StatusCode, title: &'static str) -> Self {
        let word = match status {
            StatusCode::UNAUTHORIZED => "unauthenticated",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not-found",
            StatusCode::METHOD_NOT_ALLOWED => "no-such-call",
            StatusCode::CONFLICT => "conflict",
            StatusCode::PAYLOAD_TOO_LARGE => "too-large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "media-type",
            StatusCode::TOO_MANY_REQUESTS => "too-many-requests",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            _ => "invalid",
        };
        Self { kind: format!("urn:sidecloak:problem:{word}"), title, status, detail: None, again: None }
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthenticated => Self::new(StatusCode::UNAUTHORIZED, "The caller is not known")
                .detail("send a management key as `Authorization: Bearer KEY`"),
            Refused::TooMany(seconds) => {
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many calls");
                Self { again: Some(seconds), ..problem }
            }
            Refused::Forbidden => Self::new(StatusCode::FORBIDDEN, "The caller may not do this"),
            Refused::State(state) => {
                Self::new(StatusCode::CONFLICT, "The state does not allow it").detail(format!("it is {state}"))
            }
            Refused::NotFound => Self::new(StatusCode::NOT_FOUND, "There is no such thing"),
            Refused::Conflict(text) => Self::new(StatusCode::CONFLICT, "It is not as expected").detail(text),
            Refused::Invalid(text) => Self::new(StatusCode::BAD_REQUEST, "The request is not right").detail(text),
            Refused::NotAuthentic => Self::new(StatusCode::BAD_REQUEST, "The request is not right"),
            Refused::Unavailable(why) => {
                tracing::error!("a management call failed: {why}");
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Not possible now");
                Self { again: Some(1), ..problem.detail("try again; the log of the authority tells why") }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sidecloak\""));
        }
        if let Some(seconds) = self.again {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
