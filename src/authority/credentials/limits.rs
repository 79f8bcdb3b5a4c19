//! How often one identity may ask.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;

use super::super::Refused;

/// Identities whose rate is remembered; there are as many as keys and users were made, not as many as somebody sends.
const IDENTITIES: u64 = 16_384;

/// How often one identity may ask, at each process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Calls per second, over time; 0: as many as it likes.
    pub per_second: u32,
    /// Calls at once.
    pub burst: u32,
}

impl Default for Limits {
    /// Far above what one client needs: a bound on one that runs wild.
    fn default() -> Self {
        Self { per_second: 50_000, burst: 100_000 }
    }
}

/// Counts calls.
pub struct Limiter {
    quota: Option<Quota>,
    clock: DefaultClock,
    rates: Cache<String, Arc<DefaultDirectRateLimiter>>,
}

impl Limiter {
    pub fn new(limits: &Limits) -> Self {
        let burst = NonZeroU32::new(limits.burst.max(limits.per_second)).unwrap_or(NonZeroU32::MIN);
        let quota = NonZeroU32::new(limits.per_second).map(|rate| Quota::per_second(rate).allow_burst(burst));
        let rates = Cache::builder().max_capacity(IDENTITIES).time_to_idle(Duration::from_secs(600)).build();
        Self { quota, clock: DefaultClock::default(), rates }
    }

    /// Counts a call of this identity.
    pub fn take(&self, identity: &str) -> Result<(), Refused> {
        let Some(quota) = self.quota else { return Ok(()) };
        let rate = match self.rates.get(identity) {
            Some(rate) => rate,
            None => self.rates.get_with(identity.to_owned(), || Arc::new(RateLimiter::direct(quota))),
        };
        rate.check().map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            Refused::TooMany(wait.as_secs().saturating_add(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_has_a_rate_of_its_own() {
        let limiter = Limiter::new(&Limits { per_second: 1, burst: 3 });
        for _ in 0..3 {
            limiter.take("a").unwrap();
        }
        assert!(matches!(limiter.take("a"), Err(Refused::TooMany(1..=3))));
        limiter.take("b").unwrap();
    }

    #[test]
    fn no_limit_is_no_limit() {
        let limiter = Limiter::new(&Limits { per_second: 0, burst: 0 });
        (0..1000).for_each(|_| limiter.take("a").unwrap());
    }
}
