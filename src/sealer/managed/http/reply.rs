//! What an answer says beside its body's meaning.

use std::time::Duration;

use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::de::{DeserializeOwned, IgnoredAny};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::super::{ApiError, Fault};
use super::Reply;
use crate::clock::{Clock, SystemClock};

/// A longer wait is none that a call can keep.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Reply {
    /// The body as JSON of this type; anything else is a [`Fault::Lie`], and is not quoted.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(self.body.expose()).map_err(|_| {
            let what = if self.is_json() { "something else than the API documents" } else { "no JSON" };
            ApiError::new(Fault::Lie, format!("the answer ({}) is {what}", self.brief()))
        })
    }

    /// `Retry-After`, in seconds or as a date; at most a day.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            // More digits than a number has are a long time, too.
            return Some(text.parse().map_or(DAY, Duration::from_secs).min(DAY));
        }
        let until = date(text)?;
        // By the other side's clock, if it tells the time.
        let now = self.date(DATE).unwrap_or_else(|| i64::try_from(SystemClock.now()).unwrap_or(i64::MAX));
        Some(Duration::from_secs(u64::try_from(until.saturating_sub(now)).unwrap_or(0)).min(DAY))
    }

    /// What a status other than success means where the API says nothing finer: 401 [`Fault::Credential`], 408 [`Fault::Timeout`],
    /// 429 [`Fault::Throttled`], other 4xx [`Fault::Refused`], 5xx [`Fault::Server`], anything else [`Fault::Lie`]. Of 4xx, only
    /// an empty body or JSON is the API speaking: a proxy's error page must not pass for its word.
    pub fn fault(&self) -> ApiError {
        let brief = self.brief();
        let (kind, text) = match self.status.as_u16() {
            408 => (Fault::Timeout, format!("the API gave up waiting for the request ({brief})")),
            429 => (
                Fault::Throttled(self.retry_after()),
                format!("the API throttles ({brief}); lower the profile's concurrency, or have its quota raised"),
            ),
            500..=599 => (Fault::Server, format!("the API fails ({brief})")),
            400..=499 if !self.body.expose().is_empty() && !self.is_json() => {
                (Fault::Lie, format!("the answer ({brief}) is no JSON, so it is not the API's; is `endpoint` right?"))
            }
            401 => (
                Fault::Credential,
                format!("the API does not take the credential ({brief}); give the profile a valid one"),
            ),
            404 | 405 => (Fault::Refused, format!("the API knows no such call ({brief}); is `endpoint` right?")),
            400..=499 => (Fault::Refused, format!("the API refuses ({brief})")),
            _ => (Fault::Lie, format!("the answer ({brief}) is none that the API documents")),
        };
        ApiError::new(kind, text)
    }

    fn is_json(&self) -> bool {
        serde_json::from_slice::<IgnoredAny>(self.body.expose()).is_ok()
    }

    /// Status and media type.
    fn brief(&self) -> String {
        let code = self.status.as_u16();
        match media_type(&self.headers) {
            Some(media) => format!("status {code}, {media}"),
            None => format!("status {code}"),
        }
    }

    fn date(&self, name: HeaderName) -> Option<i64> {
        date(self.headers.get(name)?.to_str().ok()?.trim())
    }
}

/// Whether a web page stands there.
pub(super) fn is_html(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media| matches!(media.as_str(), "text/html" | "application/xhtml+xml"))
}

/// Whether a status speaks for itself, whoever on the way has said it.
pub(super) fn tells_of_outage(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

/// Without parameters; `None` if it has not the form of one, since it goes into texts.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'+' | b'_'))
    };
    let (kind, subtype) = text.split_once('/')?;
    (text.len() <= 64 && part(kind) && part(subtype)).then(|| text.to_ascii_lowercase())
}

/// RFC 9110, section 5.6.7: IMF-fixdate.
fn date(text: &str) -> Option<i64> {
    let form =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    PrimitiveDateTime::parse(text, form).ok().map(PrimitiveDateTime::assume_utc).map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::secret::SecretBytes;

    fn reply(status: u16, headers: &[(HeaderName, &str)], body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect(),
            body: SecretBytes::new(body.into()),
        }
    }

    #[rstest]
    #[case(400, "{}", Fault::Refused)]
    #[case(400, "", Fault::Refused)]
    #[case(401, r#"{"message":"Unauthorized"}"#, Fault::Credential)]
    #[case(401, "", Fault::Credential)]
    #[case(403, "{}", Fault::Refused)]
    #[case(403, "blocked", Fault::Lie)]
    #[case(404, "not here", Fault::Lie)]
    #[case(408, "", Fault::Timeout)]
    #[case(422, "[]", Fault::Refused)]
    #[case(429, "slow down", Fault::Throttled(None))]
    #[case(500, "{}", Fault::Server)]
    #[case(502, "bad gateway", Fault::Server)]
    #[case(503, "", Fault::Server)]
    #[case(599, "", Fault::Server)]
    #[case(200, "{}", Fault::Lie)]
    #[case(600, "{}", Fault::Lie)]
    fn a_status_has_a_fault(#[case] status: u16, #[case] body: &str, #[case] expected: Fault) {
        let error = reply(status, &[], body).fault();
        assert_eq!(error.kind, expected);
        assert!(error.text.contains(&status.to_string()), "{}", error.text);
    }

    #[rstest]
    #[case("0", Some(0))]
    #[case("120", Some(120))]
    #[case(" 7 ", Some(7))]
    #[case("99999999", Some(86_400))]
    #[case("99999999999999999999999999", Some(86_400))]
    #[case("Sun, 06 Nov 1994 08:50:37 GMT", Some(60))]
    #[case("Sun, 06 Nov 1994 08:00:00 GMT", Some(0))]
    #[case("Sat, 06 Nov 2094 08:49:37 GMT", Some(86_400))]
    #[case("-1", None)]
    #[case("1.5", None)]
    #[case("", None)]
    #[case("soon", None)]
    fn retry_after_is_read_and_bounded(#[case] text: &str, #[case] seconds: Option<u64>) {
        let reply = reply(429, &[(RETRY_AFTER, text), (DATE, "Sun, 06 Nov 1994 08:49:37 GMT")], "");
        assert_eq!(reply.retry_after(), seconds.map(Duration::from_secs));
        assert_eq!(reply.fault().kind, Fault::Throttled(reply.retry_after()));
    }

    #[test]
    fn a_date_counts_from_now_where_the_other_side_does_not_tell_the_time() {
        let past = reply(429, &[(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT")], "");
        assert_eq!(past.retry_after(), Some(Duration::ZERO));
        let far = reply(429, &[(RETRY_AFTER, "Sat, 06 Nov 2094 08:49:37 GMT")], "");
        assert_eq!(far.retry_after(), Some(DAY));
        assert_eq!(reply(429, &[], "").retry_after(), None);
    }

    #[rstest]
    #[case::no_json("text/plain; charset=utf-8", "hunter2", "status 200, text/plain) is no JSON")]
    #[case::empty("application/json", "", "is no JSON")]
    #[case::cut("application/json", r#"{"data":"hunter2"#, "is no JSON")]
    #[case::wrong_type("application/json", r#"{"data":"hunter2"}"#, "else than the API documents")]
    #[case::odd_media_type("hunter2", "hunter2", "(status 200) is no JSON")]
    #[case::long_media_type(
        "a/hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2",
        "",
        "(status 200)"
    )]
    fn what_is_not_documented_is_a_lie_that_is_not_quoted(#[case] media: &str, #[case] body: &str, #[case] part: &str) {
        let error = reply(200, &[(CONTENT_TYPE, media)], body).json::<Vec<u8>>().unwrap_err();
        assert_eq!(error.kind, Fault::Lie);
        assert!(error.text.contains(part) && !error.text.contains("hunter2"), "{}", error.text);
    }

    #[test]
    fn a_reply_shows_nothing_of_itself() {
        let shown = format!("{:?}", reply(200, &[(CONTENT_TYPE, "hunter2")], "hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[rstest]
    #[case("text/html", true)]
    #[case("Text/HTML; charset=utf-8", true)]
    #[case("application/xhtml+xml", true)]
    #[case("application/json", false)]
    #[case("text/plain", false)]
    fn a_web_page_is_known(#[case] media: &str, #[case] expected: bool) {
        assert_eq!(is_html(&reply(200, &[(CONTENT_TYPE, media)], "").headers), expected);
    }
}
