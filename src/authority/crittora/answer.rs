//! What goes out: the two shapes of a success, failures, and the id of every answer.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::assumptions::{DOES_NOT_OPEN, FORBIDDEN, TOO_MANY, UNAUTHORIZED};
use crate::authority::Refused;
use crate::crypto::random;
use crate::json::text::escape_into;

/// How a success and a failure are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `"body"` is an object.
    Managed,
    /// `"body"` is a string of JSON.
    Direct,
}

impl Shape {
    /// What the paths of the calls begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Managed => "/v1",
            Self::Direct => "",
        }
    }

    /// 200 with this JSON object as its body.
    pub(super) fn success(self, inner: &str) -> Response {
        const HEAD: &[u8] = br#"{"statusCode":200,"body":"#;
        let mut body = Vec::with_capacity(HEAD.len() + inner.len() + inner.len() / 8 + 16);
        body.extend_from_slice(HEAD);
        match self {
            Self::Managed => body.extend_from_slice(inner.as_bytes()),
            Self::Direct => {
                body.push(b'"');
                escape_into(inner, &mut body);
                body.push(b'"');
            }
        }
        body.push(b'}');
        respond(StatusCode::OK, "application/json", body)
    }
}

/// Why a call has no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    status: StatusCode,
    message: Cow<'static, str>,
    retry_after: Option<u64>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, UNAUTHORIZED)
    }

    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, FORBIDDEN)
    }

    /// Documented, status and words, for the managed calls.
    pub(super) fn bad_password() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Username and/or Password Incorrect")
    }

    pub(super) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
    }

    pub(super) fn response(&self, shape: Shape) -> Response {
        let (status, message) = (self.status, &self.message);
        // What a gateway in front of the calls would refuse looks the same on both.
        let of_the_gateway = matches!(status.as_u16(), 401 | 403 | 404 | 405 | 413 | 429 | 503);
        let body = if shape == Shape::Direct || of_the_gateway {
            json!({ "message": message })
        } else {
            json!({ "statusCode": status.as_u16(), "body": { "error": message }, "message": message })
        };
        let mut response = respond(status, "application/json", body.to_string());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthenticated => Self::forbidden(),
            Refused::TooMany(seconds) => {
                Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, TOO_MANY) }
            }
            Refused::Forbidden => Self::new(
                StatusCode::FORBIDDEN,
                "Forbidden: the role of the user or of the api_key does not allow this",
            ),
            Refused::State(state) => Self::new(StatusCode::FORBIDDEN, format!("Forbidden: the partition is {state}")),
            Refused::NotFound => Self::new(StatusCode::FORBIDDEN, "Forbidden: there is no partition of this api_key"),
            Refused::Invalid(message) => Self::invalid(message),
            Refused::NotAuthentic => Self::new(DOES_NOT_OPEN.0, DOES_NOT_OPEN.1),
            Refused::Conflict(why) | Refused::Unavailable(why) => {
                tracing::error!("crittora: {why}");
                Self { retry_after: Some(1), ..Self::unavailable() }
            }
        }
    }
}

/// An answer.
pub(super) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Gives an answer its `x-request-id`, which clients report (and `x-amzn-requestid`, where boto3 looks for it).
pub(super) fn identified(mut response: Response) -> Response {
    // Without randomness nothing is sealed either; an answer still goes out.
    let bytes: [u8; 16] = random::bytes().unwrap_or_default();
    if let Ok(id) = HeaderValue::try_from(super::session::uuid(bytes)) {
        response.headers_mut().insert("x-amzn-requestid", id.clone());
        response.headers_mut().insert("x-request-id", id);
    }
    response
}
