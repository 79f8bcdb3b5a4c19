//! What is counted. Labels are names from configuration only: never a path, a partition of a template, or a value.

mod callers;
pub mod count;
mod fields;
mod injections;
mod labels;
mod limits;
mod managed;
pub mod rollout;
pub mod series;
pub mod sketch;
mod tls;
mod traffic;
mod upstream;

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use crate::clock::SharedClock;
use crate::refusal::Reason;

pub use callers::CallerMetrics;
use count::Counter;
pub use fields::FieldCounters;
pub use injections::Injection;
use labels::{FieldLabels, ReasonLabels, ReloadLabels};
pub use limits::Limit;
pub use managed::{CacheMetrics, CallMetrics, ManagedMetrics, TokenMetrics};
pub use tls::{Failures, TlsMetrics};
pub use traffic::{ListenerMetrics, WorkerMetrics};
pub use upstream::UpstreamMetrics;

/// What happened to a selected field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldEvent {
    /// A selector matched a value.
    Matched,
    /// A value was sealed.
    Sealed,
    /// A token was opened.
    Opened,
    /// A token was passed on as it is, to a caller who may not see plaintext.
    Withheld,
    /// A token was shown masked.
    Masked,
    /// A selector of the rule matched nothing in a body.
    Absent,
    /// A plaintext where a token should be.
    Plaintext,
    /// A plaintext whose token the application would not take: longer than `max_length`, or not of its `format`. Told while nothing is
    /// sealed yet.
    Unfit,
    /// A token where plaintext should be sealed.
    AlreadySealed,
    /// A token that lacks what the rule asks (`read`, `migrate`).
    Lesser,
    /// Refused.
    Refused,
}

/// All metrics of a process; cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: RwLock<Registry>,
    fields: Family<FieldLabels, Counter>,
    refusals: Family<ReasonLabels, Counter>,
    unread: Family<ReasonLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    rules: Gauge,
    rules_stale: Gauge,
    rules_loaded: Gauge,
    traffic: traffic::Traffic,
    upstream: upstream::Upstreams,
    tls: tls::Tls,
    callers: callers::Callers,
    managed: managed::Managed,
    injections: injections::Injections,
    keyring: Arc<OnceLock<KeyringStats>>,
    budget: Arc<OnceLock<BudgetStats>>,
    told: series::Told,
    clock: OnceLock<SharedClock>,
}

type BudgetStats = Box<dyn Fn() -> (u64, u64) + Send + Sync>;
type KeyringStats = Box<dyn Fn() -> Vec<Stat> + Send + Sync>;

/// One number that another part of the process keeps itself and that is read at each scrape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stat {
    /// Without the `sidecloak_` in front and the `_total` behind.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// The number, and whether it only grows.
    pub value: StatValue,
}

/// See [`Stat::value`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StatValue {
    /// Only grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(f64),
}

impl Metrics {
    /// Counts field events of a rule and class.
    pub fn field(&self, rule: &str, class: &str, event: FieldEvent, count: u64) {
        if count > 0 {
            self.0.fields.get_or_create(&FieldLabels::new(rule, class, event)).inc_by(count);
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, rule: Option<&str>, reason: Reason) {
        self.0.refusals.get_or_create(&ReasonLabels::new(rule.unwrap_or(""), reason)).inc();
    }

    /// Counts a message that passed unread (`on_…: pass`).
    pub fn passed_unread(&self, rule: &str, reason: Reason) {
        self.0.unread.get_or_create(&ReasonLabels::new(rule, reason)).inc();
    }

    /// Counts a load of the rules: how many are in force since `now` (Unix seconds), or `None` if it failed and the old ones stay.
    pub fn reloaded(&self, rules: Option<usize>, now: u64) {
        self.0.reloads.get_or_create(&ReloadLabels::new(rules.is_some())).inc();
        self.0.rules_stale.set(i64::from(rules.is_none()));
        if let Some(count) = rules {
            self.0.rules.set(i64::try_from(count).unwrap_or(i64::MAX));
            self.0.rules_loaded.set(i64::try_from(now).unwrap_or(i64::MAX));
        }
    }

    /// The counters of a listener, to be kept: finding them costs a lock.
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        Arc::new(self.0.traffic.listener(name))
    }

    /// The counters of a listener's upstream, to be kept.
    pub fn upstream(&self, listener: &str) -> Arc<UpstreamMetrics> {
        Arc::new(self.0.upstream.listener(listener))
    }

    /// The counters of a listener's TLS, to be kept.
    pub fn tls(&self, listener: &str) -> TlsMetrics {
        self.0.tls.listener(listener)
    }

    /// The counter of a listener's connections that did not begin as its `proxy_protocol` says, to be kept.
    pub fn unannounced(&self, listener: &str) -> Failures {
        self.0.tls.unannounced(listener)
    }

    /// The counters of callers with these roles, to be kept; all others have the role `default`.
    pub fn callers<'a>(&self, roles: impl Iterator<Item = &'a str>, default: &str) -> CallerMetrics {
        self.0.callers.roles(roles, default)
    }

    /// The handles of a profile, to be kept.
    pub fn managed(&self, profile: &str) -> ManagedMetrics {
        self.0.managed.profile(profile)
    }

    /// Counts a pod that the injector saw.
    pub fn injection(&self, outcome: Injection) {
        self.0.injections.count(outcome);
    }

    /// The counters of a worker, to be kept.
    pub fn worker(&self, index: usize) -> Arc<WorkerMetrics> {
        Arc::new(self.0.traffic.worker(index))
    }

    /// Has the keyring's own numbers (cache hits, epoch age) read at each scrape. The first call counts.
    pub fn watch_keyring(&self, stats: impl Fn() -> Vec<Stat> + Send + Sync + 'static) {
        drop(self.0.keyring.set(Box::new(stats)));
    }

    /// Has the budget's bytes (used, limit) read at each scrape. The first call counts.
    pub fn watch_budget(&self, stats: impl Fn() -> (u64, u64) + Send + Sync + 'static) {
        drop(self.0.budget.set(Box::new(stats)));
    }

    /// Has numbers with labels read at each scrape. The first call counts.
    pub fn watch_series(&self, read: impl Fn() -> Vec<series::Group> + Send + Sync + 'static) {
        drop(self.0.told.0.set(Box::new(read)));
    }

    /// What tells when something happened. The first call counts.
    pub fn keep_time(&self, clock: SharedClock) {
        drop(self.0.clock.set(clock));
    }

    /// Unix seconds; 0 where nothing tells them.
    pub fn now(&self) -> u64 {
        self.0.clock.get().map_or(0, |clock| clock.now())
    }

    /// All of it in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.0.registry.read().unwrap_or_else(PoisonError::into_inner);
        match text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(_) => String::from("# EOF\n"),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Inner {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sidecloak");
        let inner = Self {
            registry: RwLock::default(),
            fields: Family::default(),
            refusals: Family::default(),
            unread: Family::default(),
            reloads: Family::default(),
            rules: Gauge::default(),
            rules_stale: Gauge::default(),
            rules_loaded: Gauge::default(),
            traffic: traffic::Traffic::registered(&mut registry),
            upstream: upstream::Upstreams::registered(&mut registry),
            tls: tls::Tls::registered(&mut registry),
            callers: callers::Callers::registered(&mut registry),
            managed: managed::Managed::registered(&mut registry),
            injections: injections::Injections::registered(&mut registry),
            keyring: Arc::default(),
            budget: Arc::default(),
            told: series::Told::default(),
            clock: OnceLock::new(),
        };
        registry.register("fields", "Selected fields by rule, class and event", inner.fields.clone());
        registry.register("refusals", "Exchanges refused, by rule and reason", inner.refusals.clone());
        registry.register("passed_unread", "Messages a rule could not read and let pass", inner.unread.clone());
        registry.register("reloads", "Loads of the rules by result", inner.reloads.clone());
        registry.register("rules", "Rules in force", inner.rules.clone());
        registry.register("rules_stale", "1 while newer rules are refused and these stay", inner.rules_stale.clone());
        registry.register("rules_loaded_timestamp_seconds", "When they were loaded", inner.rules_loaded.clone());
        registry.register_collector(Box::new(Watched {
            keyring: Arc::clone(&inner.keyring),
            budget: Arc::clone(&inner.budget),
        }));
        registry.register_collector(Box::new(inner.told.clone()));
        Self { registry: RwLock::new(registry), ..inner }
    }
}

struct Watched {
    keyring: Arc<OnceLock<KeyringStats>>,
    budget: Arc<OnceLock<BudgetStats>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut stats = self.keyring.get().map_or_else(Vec::new, |read| read());
        if let Some(read) = self.budget.get() {
            let (used, limit) = read();
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
            let gauge = |name, help, bytes: u64| Stat { name, help, value: StatValue::Gauge(bytes as f64) };
            stats.push(gauge("budget_used_bytes", "Bytes that buffers hold of limits.memory", used));
            stats.push(gauge("budget_limit_bytes", "limits.memory", limit));
        }
        for stat in stats {
            match stat.value {
                StatValue::Counter(n) => {
                    let metric = ConstCounter::new(n);
                    metric.encode(encoder.encode_descriptor(
                        stat.name,
                        stat.help,
                        None,
                        ConstCounter::<u64>::TYPE,
                    )?)?;
                }
                StatValue::Gauge(n) => {
                    let metric = ConstGauge::new(n);
                    metric.encode(encoder.encode_descriptor(stat.name, stat.help, None, MetricType::Gauge)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::default();
        metrics.field("customers", "ssn", FieldEvent::Sealed, 3);
        metrics.refused(None, Reason::Loop);
        metrics.passed_unread("customers", Reason::MediaType);
        metrics.reloaded(Some(2), 1_700_000_000);
        metrics.reloaded(None, 1_700_000_001);
        metrics.watch_budget(|| (5, 10));
        metrics.watch_keyring(|| vec![Stat { name: "epoch_cache_hits", help: "Hits", value: StatValue::Counter(7) }]);
        metrics.worker(1).connections.inc();
        let text = metrics.render();
        for line in [
            r#"sidecloak_fields_total{rule="customers",class="ssn",event="sealed"} 3"#,
            r#"sidecloak_refusals_total{rule="",reason="loop"} 1"#,
            r#"sidecloak_passed_unread_total{rule="customers",reason="media-type"} 1"#,
            r#"sidecloak_reloads_total{result="failed"} 1"#,
            "sidecloak_rules 2",
            "sidecloak_rules_stale 1",
            "sidecloak_rules_loaded_timestamp_seconds 1700000000",
            "sidecloak_budget_used_bytes 5",
            "sidecloak_epoch_cache_hits_total 7",
            r#"sidecloak_worker_connections{worker="1"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
