//! Connections to upstreams, second tries, breakers and look-ups of names. Labels are names of listeners.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::count::Counter;
use super::labels::ListenerLabels;

type Counters = Family<ListenerLabels, Counter>;
type Gauges = Family<ListenerLabels, Gauge>;

pub(super) struct Upstreams {
    opened: Counters,
    connect_failures: Counters,
    reused: Counters,
    idle: Gauges,
    retries: Counters,
    not_retried: Counters,
    rests: Counters,
    breakers_open: Gauges,
    breaker_openings: Counters,
    resolved: Counters,
    unresolved: Counters,
}

impl Upstreams {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let mut counter = |name: &str, help: &str| {
            let counters = Counters::default();
            registry.register(name, help, counters.clone());
            counters
        };
        let this = Self {
            opened: counter("upstream_connections_opened", "Connections made to upstreams"),
            connect_failures: counter("upstream_connect_failures", "Connections that could not be made"),
            reused: counter("upstream_connections_reused", "Exchanges on a connection that had served before"),
            retries: counter("upstream_retries", "Requests sent a second time"),
            not_retried: counter("upstream_not_retried", "Requests on which a kept connection ended, not sent again"),
            rests: counter("upstream_target_rests", "Times that an address was left out for a while"),
            breaker_openings: counter("upstream_breaker_openings", "Times that a circuit breaker opened"),
            resolved: counter("upstream_names_resolved", "Look-ups of names of upstreams that gave addresses"),
            unresolved: counter("upstream_names_unresolved", "Look-ups that gave none: the last addresses stay in use"),
            idle: Gauges::default(),
            breakers_open: Gauges::default(),
        };
        registry.register("upstream_connections_idle", "Connections that wait for an exchange", this.idle.clone());
        registry.register(
            "upstream_breakers_open",
            "Circuit breakers open, one per worker",
            this.breakers_open.clone(),
        );
        this
    }

    pub(super) fn listener(&self, name: &str) -> UpstreamMetrics {
        let labels = ListenerLabels { listener: name.into() };
        UpstreamMetrics {
            opened: self.opened.get_or_create_owned(&labels),
            connect_failures: self.connect_failures.get_or_create_owned(&labels),
            reused: self.reused.get_or_create_owned(&labels),
            idle: self.idle.get_or_create_owned(&labels),
            retries: self.retries.get_or_create_owned(&labels),
            not_retried: self.not_retried.get_or_create_owned(&labels),
            rests: self.rests.get_or_create_owned(&labels),
            breakers_open: self.breakers_open.get_or_create_owned(&labels),
            breaker_openings: self.breaker_openings.get_or_create_owned(&labels),
            resolved: self.resolved.get_or_create_owned(&labels),
            unresolved: self.unresolved.get_or_create_owned(&labels),
        }
    }
}

/// Of one listener's upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// Connections made.
    pub opened: Counter,
    /// Connections that could not be made.
    pub connect_failures: Counter,
    /// Exchanges on a connection that had served before.
    pub reused: Counter,
    /// Connections that wait for an exchange.
    pub idle: Gauge,
    /// Requests sent a second time.
    pub retries: Counter,
    /// Requests that a kept connection ended on and that were not sent again.
    pub not_retried: Counter,
    /// Times that an address was left out for a while.
    pub rests: Counter,
    /// Circuit breakers that are open.
    pub breakers_open: Gauge,
    /// Times that one opened.
    pub breaker_openings: Counter,
    /// Look-ups of names that gave addresses.
    pub resolved: Counter,
    /// Look-ups that gave none.
    pub unresolved: Counter,
}
