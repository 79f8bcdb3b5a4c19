//! Calls to managed APIs, their tokens and caches. The handles of a profile are got once and kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::count::Counter;

/// A millisecond to half a minute.
const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0];

/// All handles of one profile; cheap to clone.
#[derive(Debug, Clone)]
pub struct ManagedMetrics {
    /// Its calls.
    pub calls: CallMetrics,
    /// Its tokens.
    pub tokens: TokenMetrics,
    /// Its cache of opened values.
    pub opened_values: CacheMetrics,
    /// Its cache of shared secrets.
    pub shared_secrets: CacheMetrics,
}

pub(super) struct Managed {
    calls: Family<OutcomeLabels, Counter>,
    retries: Family<WhatLabels, Counter>,
    latency: Family<ProfileLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<ProfileLabels, Gauge>,
    queued: Family<ProfileLabels, Gauge>,
    open: Family<ProfileLabels, Gauge>,
    opened: Family<ProfileLabels, Counter>,
    renewals: Family<ProfileLabels, Counter>,
    failures: Family<ProfileLabels, Counter>,
    expiry: Expiry,
    hits: Family<CacheLabels, Counter>,
    misses: Family<CacheLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProfileLabels {
    profile: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhatLabels {
    profile: String,
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    profile: String,
    what: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    profile: String,
    cache: &'static str,
}

impl Managed {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let this = Self {
            calls: Family::default(),
            retries: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Family::default(),
            queued: Family::default(),
            open: Family::default(),
            opened: Family::default(),
            renewals: Family::default(),
            failures: Family::default(),
            expiry: Expiry::default(),
            hits: Family::default(),
            misses: Family::default(),
        };
        registry.register("managed_calls", "Calls of managed APIs by outcome, retries not counted", this.calls.clone());
        registry.register("managed_retries", "Tries after the first", this.retries.clone());
        registry.register(
            "managed_call_duration_seconds",
            "Of a call with its waits and retries, whatever became of it",
            this.latency.clone(),
        );
        registry.register("managed_in_flight", "Tries that an API works on", this.in_flight.clone());
        registry.register("managed_queued", "Calls that wait for their turn", this.queued.clone());
        registry.register("managed_breaker_open", "Circuit breakers that are open or half-open", this.open.clone());
        registry.register("managed_breaker_openings", "Times that a circuit breaker opened", this.opened.clone());
        registry.register("managed_token_renewals", "Tokens that an API gave", this.renewals.clone());
        registry.register("managed_token_failures", "Times that it gave none", this.failures.clone());
        registry.register("managed_cache_hits", "Look-ups that made a call needless", this.hits.clone());
        registry.register("managed_cache_misses", "Look-ups that a call followed", this.misses.clone());
        registry.register_collector(Box::new(this.expiry.clone()));
        this
    }

    pub(super) fn profile(&self, profile: &str) -> ManagedMetrics {
        let labels = ProfileLabels { profile: profile.into() };
        let cache = |cache| {
            let labels = CacheLabels { profile: profile.into(), cache };
            CacheMetrics {
                hits: self.hits.get_or_create_owned(&labels),
                misses: self.misses.get_or_create_owned(&labels),
            }
        };
        ManagedMetrics {
            calls: CallMetrics {
                profile: profile.into(),
                calls: self.calls.clone(),
                retries: self.retries.clone(),
                latency: self.latency.get_or_create_owned(&labels),
                in_flight: self.in_flight.get_or_create_owned(&labels),
                queued: self.queued.get_or_create_owned(&labels),
                open: self.open.get_or_create_owned(&labels),
                opened: self.opened.get_or_create_owned(&labels),
            },
            tokens: TokenMetrics {
                profile: profile.into(),
                renewals: self.renewals.get_or_create_owned(&labels),
                failures: self.failures.get_or_create_owned(&labels),
                expiry: self.expiry.clone(),
            },
            opened_values: cache("opened-values"),
            shared_secrets: cache("shared-secrets"),
        }
    }
}

/// Calls of one profile; cheap to clone.
#[derive(Debug, Clone)]
pub struct CallMetrics {
    profile: Arc<str>,
    calls: Family<OutcomeLabels, Counter>,
    retries: Family<WhatLabels, Counter>,
    latency: Histogram,
    /// Tries that the API works on.
    pub in_flight: Gauge,
    /// Calls that wait for their turn.
    pub queued: Gauge,
    open: Gauge,
    opened: Counter,
}

impl CallMetrics {
    /// Counts a call that has ended. `what` and `outcome` are words of this program.
    pub fn finished(&self, what: &'static str, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&OutcomeLabels { profile: self.profile.to_string(), what, outcome }).inc();
        self.latency.observe(took.as_secs_f64());
    }

    /// Counts a try after the first.
    pub fn retried(&self, what: &'static str) {
        self.retries.get_or_create(&WhatLabels { profile: self.profile.to_string(), what }).inc();
    }

    /// A circuit breaker opened.
    pub fn breaker_opened(&self) {
        self.open.inc();
        self.opened.inc();
    }

    /// One that was open closed, or is gone.
    pub fn breaker_closed(&self) {
        self.open.dec();
    }
}

/// Tokens of one profile; cheap to clone.
#[derive(Debug, Clone)]
pub struct TokenMetrics {
    profile: Arc<str>,
    /// Tokens that the API gave.
    pub renewals: Counter,
    /// Times that it gave none.
    pub failures: Counter,
    expiry: Expiry,
}

impl TokenMetrics {
    /// Has the seconds until the current token ends read at each scrape; of a profile, the last call counts.
    pub fn watch_expiry(&self, seconds_left: impl Fn() -> Option<u64> + Send + Sync + 'static) {
        let mut all = self.expiry.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(Arc::clone(&self.profile), Box::new(seconds_left));
    }
}

/// One cache of one profile; cheap to clone.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    /// Look-ups that made a call needless.
    pub hits: Counter,
    /// Look-ups that a call followed.
    pub misses: Counter,
}

type SecondsLeft = Box<dyn Fn() -> Option<u64> + Send + Sync>;

#[derive(Clone, Default)]
struct Expiry(Arc<RwLock<BTreeMap<Arc<str>, SecondsLeft>>>);

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expiry")
    }
}

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<_> = all.iter().filter_map(|(profile, seconds)| Some((profile, seconds()?))).collect();
        if known.is_empty() {
            return Ok(());
        }
        let help = "Seconds until the current token of a profile ends";
        let mut family = encoder.encode_descriptor("managed_token_expiry_seconds", help, None, MetricType::Gauge)?;
        for (profile, seconds) in known {
            let labels = [("profile", &**profile)];
            let gauge = ConstGauge::new(i64::try_from(seconds).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    use super::*;

    #[test]
    fn what_happens_to_a_profile_is_rendered() {
        let metrics = Metrics::default();
        assert!(!metrics.render().contains("expiry_seconds{"));
        let partner = metrics.managed("partner");
        partner.calls.finished("encrypt", "ok", Duration::from_millis(3));
        partner.calls.finished("encrypt", "throttled", Duration::from_secs(4));
        partner.calls.retried("encrypt");
        partner.calls.in_flight.inc();
        partner.calls.queued.set(4);
        partner.calls.breaker_opened();
        partner.tokens.renewals.inc();
        partner.tokens.failures.inc_by(2);
        partner.tokens.watch_expiry(|| Some(1));
        metrics.managed("partner").tokens.watch_expiry(|| Some(3000));
        metrics.managed("fresh").tokens.watch_expiry(|| None);
        partner.opened_values.hits.inc_by(5);
        metrics.managed("partner").shared_secrets.misses.inc();
        let text = metrics.render();
        for line in [
            r#"sidecloak_managed_calls_total{profile="partner",what="encrypt",outcome="ok"} 1"#,
            r#"sidecloak_managed_calls_total{profile="partner",what="encrypt",outcome="throttled"} 1"#,
            r#"sidecloak_managed_retries_total{profile="partner",what="encrypt"} 1"#,
            r#"sidecloak_managed_call_duration_seconds_count{profile="partner"} 2"#,
            r#"sidecloak_managed_in_flight{profile="partner"} 1"#,
            r#"sidecloak_managed_queued{profile="partner"} 4"#,
            r#"sidecloak_managed_breaker_open{profile="partner"} 1"#,
            r#"sidecloak_managed_breaker_openings_total{profile="partner"} 1"#,
            r#"sidecloak_managed_token_renewals_total{profile="partner"} 1"#,
            r#"sidecloak_managed_token_failures_total{profile="partner"} 2"#,
            r#"sidecloak_managed_token_expiry_seconds{profile="partner"} 3000"#,
            r#"sidecloak_managed_cache_hits_total{profile="partner",cache="opened-values"} 5"#,
            r#"sidecloak_managed_cache_misses_total{profile="partner",cache="shared-secrets"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"expiry_seconds{profile="fresh"}"#));
        partner.calls.breaker_closed();
        assert!(metrics.render().contains(r#"sidecloak_managed_breaker_open{profile="partner"} 0"#));
    }
}
