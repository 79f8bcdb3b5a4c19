//! Reading requests, bounded.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The body, which must be JSON of at most `max` bytes.
pub async fn json<T: DeserializeOwned>(request: Request, max: usize) -> Result<T, Problem> {
    let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "send `application/json`"));
    }
    let body = to_bytes(request.into_body(), max)
        .await
        .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is too large, or broke off"))?;
    serde_json::from_slice(&body).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", "the body is not what the API's document says")
    })
}

/// An answer.
pub fn answer(value: &impl Serialize) -> Response {
    let mut response = axum::Json(value).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The value of the one parameter that a path takes; all that is not exactly this is refused.
pub fn parameter<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, Problem> {
    let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else { return Ok(None) };
    match query.split_once('=') {
        Some((found, value)) if found == name && !value.contains('&') => Ok(Some(value)),
        _ => Err(Problem::new(StatusCode::BAD_REQUEST, "bad-request", "the query is not what the API's document says")),
    }
}
