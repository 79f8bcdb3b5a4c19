//! The one place that turns a [`Reason`] into a status and a problem document (RFC 9457). What is said outside: the
//! reason's word, the rule's name and the request id; never the URL, never the detail.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};

use crate::refusal::{Reason, Refusal};

use super::coding::Coding;
use super::payload::Body;

/// Names the rule that failed, or the reason if no rule did.
const FAILURE: HeaderName = HeaderName::from_static("x-sidecloak-failure");
/// Seconds until what was refused for now is worth asking again, at most.
const AGAIN: u16 = 5;

/// The status of a request that is refused.
pub(super) fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::InvalidJson | Reason::InvalidForm | Reason::AmbiguousPath | Reason::Ambiguous | Reason::BadRequest => {
            StatusCode::BAD_REQUEST
        }
        Reason::TargetTooLong => StatusCode::URI_TOO_LONG,
        Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::LineTooLong => StatusCode::URI_TOO_LONG,
        Reason::SlowClient => StatusCode::REQUEST_TIMEOUT,
        Reason::MediaType | Reason::Coding | Reason::Signature => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::Token
        | Reason::Plaintext
        | Reason::Missing
        | Reason::MaxLength
        | Reason::Undecided
        | Reason::Type
        | Reason::Masked => StatusCode::UNPROCESSABLE_ENTITY,
        Reason::InvalidToken => StatusCode::UNAUTHORIZED,
        Reason::Role | Reason::PartitionState | Reason::Rejected | Reason::Unmatched | Reason::TooManyPartitions => {
            StatusCode::FORBIDDEN
        }
        Reason::KeyService | Reason::Overload | Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::Loop => StatusCode::LOOP_DETECTED,
        Reason::Upstream => StatusCode::BAD_GATEWAY,
        Reason::NotYet => StatusCode::NOT_IMPLEMENTED,
    }
}

/// The answer to a request that is refused.
pub(super) fn refused(refusal: &Refusal, id: &str, method: &Method) -> Response<Body> {
    problem(refusal, id, method, status(refusal.reason), None)
}

/// The answer if the upstream has done its work but what it says can't be passed on. 502 whatever the reason, and no
/// Retry-After: nobody shall repeat a payment that went through.
pub(super) fn unreadable(refusal: &Refusal, id: &str, method: &Method, upstream: StatusCode) -> Response<Body> {
    problem(refusal, id, method, StatusCode::BAD_GATEWAY, Some(upstream))
}

fn problem(
    refusal: &Refusal,
    id: &str,
    method: &Method,
    status: StatusCode,
    upstream: Option<StatusCode>,
) -> Response<Body> {
    let mut document = serde_json::Map::new();
    let mut put = |name: &str, value: serde_json::Value| drop(document.insert(name.into(), value));
    put("type", format!("urn:sidecloak:problem:{}", refusal.reason.word()).into());
    put("title", title(refusal.reason).into());
    put("status", status.as_u16().into());
    if let Some(rule) = &refusal.rule {
        put("rule", (**rule).into());
    }
    if let Some(upstream) = upstream {
        put("upstream_status", upstream.as_u16().into());
    }
    put("instance", id.into());

    // An answer to HEAD has the length of the body that it lacks; hyper leaves the body out.
    let text = Bytes::from(serde_json::Value::Object(document).to_string());
    let length = HeaderValue::from(text.len());
    let body = if method == Method::HEAD { Body::Empty } else { Body::Full(text) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_LENGTH, length);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let failure = refusal.rule.as_deref().and_then(|rule| HeaderValue::from_str(rule).ok());
    headers.insert(FAILURE, failure.unwrap_or_else(|| HeaderValue::from_static(refusal.reason.word())));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
    }
    // RFC 9110 15.5.16: what would have been read.
    if (refusal.reason, status) == (Reason::Coding, StatusCode::UNSUPPORTED_MEDIA_TYPE) {
        headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static(Coding::NAMES));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from(again(id)));
    }
    response
}

/// Not the same for all who were refused together: they would come back together.
fn again(id: &str) -> u16 {
    1 + id.bytes().fold(0, |sum: u16, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % AGAIN
}

fn title(reason: Reason) -> &'static str {
    match reason {
        Reason::InvalidJson => "The body is not JSON that can be read",
        Reason::InvalidForm => "The body is not a form that can be read in one way alone",
        Reason::AmbiguousPath => "The path or method can be read in two ways",
        Reason::BadRequest => "The request is malformed",
        Reason::TooLarge => "The body or a value in it is too large",
        Reason::HeaderTooLarge => "The header section is too large",
        Reason::LineTooLong => "The request line is too long",
        Reason::SlowClient => "The request did not come in time",
        Reason::MediaType => "The media type is not one that can be read here",
        Reason::Coding => "The content coding is not one that can be read here",
        Reason::Signature => "A signature covers a body that has to change",
        Reason::Token => "A token was refused",
        Reason::Plaintext => "A value is not sealed where it must be",
        Reason::Missing => "A required value is missing",
        Reason::MaxLength => "A sealed value would be too long",
        Reason::Undecided => "A filter cannot be decided on this body",
        Reason::Type => "A text is not of the type that it must be",
        Reason::Ambiguous => "A query, header or cookie can be read in two ways",
        Reason::TargetTooLong => "The request's target would be too long",
        Reason::Masked => "A masked value cannot be stored",
        Reason::InvalidToken => "The bearer token is not valid",
        Reason::Role => "The caller may not do this",
        Reason::PartitionState => "The partition does not allow this",
        Reason::Rejected | Reason::Unmatched => "This route is not allowed",
        Reason::TooManyPartitions => "No more partitions may be created",
        Reason::KeyService => "The key service does not answer",
        Reason::Overload => "Too much work at once",
        Reason::Timeout => "The upstream did not answer in time",
        Reason::Loop => "The request came through here before",
        Reason::Upstream => "The upstream cannot be reached",
        Reason::Unavailable => "The upstream is left alone for a while",
        Reason::NotYet => "Not available yet",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn text(response: Response<Body>) -> String {
        match response.into_body() {
            Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            _ => String::new(),
        }
    }

    #[test]
    fn the_outside_text_has_the_rule_and_the_id_and_no_detail() {
        let refusal = Refusal::new(Reason::Token, "inside words").rule(&Arc::from("customers"));
        let response = refused(&refusal, "abc", &Method::POST);
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["x-sidecloak-failure"], "customers");
        let body = text(response);
        assert_eq!(
            body,
            r#"{"type":"urn:sidecloak:problem:token","title":"A token was refused","status":422,"rule":"customers","instance":"abc"}"#
        );
    }

    #[test]
    fn every_reason_stands_in_the_docs_under_its_status() {
        use Reason::*;
        let all = [
            InvalidJson,
            InvalidForm,
            AmbiguousPath,
            BadRequest,
            TooLarge,
            HeaderTooLarge,
            LineTooLong,
            SlowClient,
            MediaType,
            Coding,
            Signature,
            Token,
            Plaintext,
            Missing,
            MaxLength,
            Undecided,
            Type,
            Ambiguous,
            TargetTooLong,
            Masked,
            InvalidToken,
            Role,
            PartitionState,
            Rejected,
            Unmatched,
            TooManyPartitions,
            KeyService,
            Overload,
            Timeout,
            Loop,
            Upstream,
            Unavailable,
            NotYet,
        ];
        assert_eq!(all.len(), NotYet as usize + 1, "the last one");
        let docs = include_str!("../../docs/operations.md");
        for reason in all {
            let row = format!("| {} |", status(reason).as_u16());
            let row = docs.lines().find(|line| line.starts_with(&row)).unwrap_or_default();
            assert!(row.contains(&format!("`{}`", reason.word())), "{} is not under its status", reason.word());
        }
    }

    #[test]
    fn an_upstream_that_has_done_its_work_is_never_worth_a_retry() {
        let refusal = Refusal::new(Reason::KeyService, "");
        assert_eq!(refused(&refusal, "", &Method::GET).headers()[RETRY_AFTER], "1");
        let response = unreadable(&refusal, "", &Method::GET, StatusCode::CREATED);
        assert!(!response.headers().contains_key(RETRY_AFTER));
        assert!(text(response).contains(r#""status":502,"upstream_status":201"#));
    }
}
