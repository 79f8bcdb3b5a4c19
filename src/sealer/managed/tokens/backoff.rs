//! When the next renewal may be tried after one that failed.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{ApiError, Fault};
use crate::crypto::random;

/// After the first failure of a network, and at most.
const OUTAGE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// After the first "no": an account is locked after a handful of them.
const REFUSAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// At most, also when the API asks for more.
const LONGEST: Duration = Duration::from_secs(60);
/// A token refused so soon after it was given is no token that ran out.
const YOUNG: Duration = Duration::from_secs(10);
/// So many of them in a row are taken for accidents.
const ACCIDENTS: u32 = 2;

#[derive(Default)]
pub struct Backoff {
    last: Option<(ApiError, Instant)>,
    failures: u32,
    refused: u32,
    last_refused: Option<Instant>,
}

impl Backoff {
    /// Why there is no renewal now.
    pub fn error(&self, now: Instant) -> Option<ApiError> {
        self.last.as_ref().filter(|(_, until)| now < *until).map(|(error, _)| error.clone())
    }

    /// A renewal failed.
    pub fn failed(&mut self, error: &ApiError, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.put_off(error.clone(), self.failures, now);
    }

    /// A renewal gave a token.
    pub fn renewed(&mut self) {
        self.last = None;
        self.failures = 0;
    }

    /// A token of that age was refused. An API that refuses what it has just given would have us log in for every call.
    pub fn token_refused(&mut self, age: Duration, now: Instant) {
        let in_a_row = self.last_refused.is_some_and(|last| now.duration_since(last) < YOUNG);
        self.refused = if age < YOUNG && in_a_row { self.refused.saturating_add(1) } else { 1 };
        self.last_refused = Some(now);
        if self.refused > ACCIDENTS {
            let text = "the API refuses the tokens that it gives; check what the account may do, and this host's clock";
            self.put_off(ApiError::new(Fault::Credential, text), self.refused.saturating_sub(ACCIDENTS), now);
        }
    }

    fn put_off(&mut self, error: ApiError, times: u32, now: Instant) {
        let (first, most) = match error.kind {
            Fault::Credential | Fault::Refused | Fault::Lie => REFUSAL,
            Fault::Connection
            | Fault::Timeout
            | Fault::Throttled(_)
            | Fault::Server
            | Fault::Saturated
            | Fault::Broken => OUTAGE,
        };
        let asked = if let Fault::Throttled(Some(after)) = error.kind { after.min(LONGEST) } else { Duration::ZERO };
        let wait = first.saturating_mul(1 << times.saturating_sub(1).min(10)).min(most).max(asked);
        // Between as long and half again as long: never before the API asked for.
        let [jitter] = random::bytes::<1>().unwrap_or_default();
        let until = now + wait + wait.saturating_mul(u32::from(jitter)) / 510;
        self.last = Some((error, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_password_is_tried_less_and_less() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..10 {
            backoff.failed(&ApiError::new(Fault::Credential, "no"), now);
            let begun = now;
            while backoff.error(now).is_some() {
                now += Duration::from_millis(100);
            }
            waits.push(now - begun);
        }
        let within = |wait: Duration, seconds: u64| {
            let least = Duration::from_secs(seconds);
            (least..=least * 3 / 2 + Duration::from_millis(100)).contains(&wait)
        };
        assert!(within(waits[0], 1) && within(waits[1], 2) && within(waits[2], 4), "{waits:?}");
        assert!(within(waits[9], 60), "{waits:?}");
        backoff.renewed();
        backoff.failed(&ApiError::new(Fault::Credential, "no"), now);
        assert!(backoff.error(now + Duration::from_millis(1501)).is_none(), "and begins anew");
    }

    #[test]
    fn an_outage_is_soon_over_and_retry_after_is_kept() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.failed(&ApiError::new(Fault::Connection, "cut"), now);
        assert!(backoff.error(now + Duration::from_millis(49)).is_some());
        assert!(backoff.error(now + Duration::from_millis(76)).is_none());
        backoff.failed(&ApiError::new(Fault::Throttled(Some(Duration::from_secs(7))), "slow"), now);
        assert!(backoff.error(now + Duration::from_secs(7) - Duration::from_millis(1)).is_some());
        backoff.failed(&ApiError::new(Fault::Throttled(Some(Duration::from_secs(86_400))), "slow"), now);
        assert!(backoff.error(now + Duration::from_secs(91)).is_none(), "no API puts us off for a day");
    }

    #[test]
    fn tokens_refused_as_soon_as_they_are_given_end_the_renewals_for_a_moment() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.token_refused(Duration::from_millis(5), now);
        backoff.token_refused(Duration::from_millis(5), now);
        assert!(backoff.error(now).is_none());
        backoff.token_refused(Duration::from_millis(5), now);
        assert_eq!(backoff.error(now).unwrap().kind, Fault::Credential);
        let later = now + Duration::from_secs(11);
        backoff.renewed();
        backoff.token_refused(Duration::from_secs(3600), later);
        assert!(backoff.error(later).is_none());
    }
}
