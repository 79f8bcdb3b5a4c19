//! What is asked again, and when.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use http::header::{HeaderMap, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Nobody is waited for longer than this at once.
pub const LONGEST: Duration = Duration::from_secs(300);

/// Whether an answer says that another try may do.
pub fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// The waits between tries: doubling from a quarter of a second to half a minute, with jitter.
pub fn waits(tries: usize) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .with_max_times(tries.saturating_sub(1))
        .build()
}

/// What `Retry-After` says: seconds, or a date. `now` in seconds since 1970.
pub fn asked_for(headers: &HeaderMap, now: u64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER).map(HeaderValue::to_str)?.ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // A date of HTTP names its zone as that of the mail format does, whose parser takes no `GMT`.
    let at = OffsetDateTime::parse(&text.replace("GMT", "+0000"), &Rfc2822).ok()?;
    let at = u64::try_from(at.unix_timestamp()).unwrap_or(0);
    Some(Duration::from_secs(at.saturating_sub(now)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use time::macros::datetime;

    use super::*;

    #[rstest]
    #[case("7", Some(7))]
    #[case(" 120 ", Some(120))]
    #[case("Wed, 21 Oct 2015 07:28:09 GMT", Some(9))]
    #[case("Wed, 21 Oct 2015 07:27:00 GMT", Some(0))]
    #[case("soon", None)]
    #[case("-1", None)]
    fn retry_after(#[case] text: &str, #[case] seconds: Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        let now = datetime!(2015-10-21 07:28:00 UTC).unix_timestamp().cast_unsigned();
        assert_eq!(asked_for(&headers, now), seconds.map(Duration::from_secs));
    }

    #[test]
    fn waits_grow_and_end() {
        assert_eq!(waits(1).count(), 0);
        let waits: Vec<_> = waits(12).collect();
        assert_eq!(waits.len(), 11);
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(60)) && waits[7] > waits[0]);
    }
}
