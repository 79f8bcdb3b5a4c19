//! Exchanges and connections. The counters of a listener or worker are found once and kept: a look-up takes a lock.

use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::count::Counter;
use super::labels::{ListenerLabels, StatusLabels, WorkerLabels};
use super::limits::{Limit, LimitLabels, LimitMetrics};

/// Half a millisecond to a minute.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

type Histograms = Family<ListenerLabels, Histogram, fn() -> Histogram>;

pub(super) struct Traffic {
    requests: Family<StatusLabels, Counter>,
    latency: Histograms,
    upstream: Histograms,
    in_flight: Family<ListenerLabels, Gauge>,
    cut: Family<ListenerLabels, Counter>,
    limits: Family<LimitLabels, Counter>,
    connections: Family<WorkerLabels, Gauge>,
    worker_requests: Family<WorkerLabels, Counter>,
}

impl Traffic {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let this = Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(histogram),
            upstream: Family::new_with_constructor(histogram),
            in_flight: Family::default(),
            cut: Family::default(),
            limits: Family::default(),
            connections: Family::default(),
            worker_requests: Family::default(),
        };
        registry.register("requests", "Exchanges by listener and class of status", this.requests.clone());
        registry.register("request_duration_seconds", "From header section to end of answer", this.latency.clone());
        registry.register("upstream_duration_seconds", "Until the upstream's answer began", this.upstream.clone());
        registry.register("in_flight", "Exchanges running", this.in_flight.clone());
        registry.register("answers_cut", "Answers that ended before their end", this.cut.clone());
        registry.register("limits", "Times that a limit refused, cut, or had somebody wait", this.limits.clone());
        registry.register("worker_connections", "Connections of a worker", this.connections.clone());
        registry.register("worker_requests", "Exchanges a worker began", this.worker_requests.clone());
        this
    }

    pub(super) fn listener(&self, name: &str) -> ListenerMetrics {
        let labels = ListenerLabels { listener: name.into() };
        let requests = |status| self.requests.get_or_create_owned(&StatusLabels { listener: name.into(), status });
        ListenerMetrics {
            requests: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(requests),
            latency: self.latency.get_or_create_owned(&labels),
            upstream: self.upstream.get_or_create_owned(&labels),
            in_flight: self.in_flight.get_or_create_owned(&labels),
            cut: self.cut.get_or_create_owned(&labels),
            limits: LimitMetrics { listener: name.into(), counters: self.limits.clone() },
        }
    }

    pub(super) fn worker(&self, index: usize) -> WorkerMetrics {
        let labels = WorkerLabels { worker: index as u64 };
        WorkerMetrics {
            connections: self.connections.get_or_create_owned(&labels),
            requests: self.worker_requests.get_or_create_owned(&labels),
        }
    }
}

/// Of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    requests: [Counter; 5],
    latency: Histogram,
    upstream: Histogram,
    /// Exchanges running.
    pub in_flight: Gauge,
    /// Answers that ended before their end.
    pub cut: Counter,
    limits: LimitMetrics,
}

impl ListenerMetrics {
    /// Counts an exchange that has ended.
    pub fn finished(&self, status: u16, took: Duration) {
        if let Some(counter) = self.requests.get(usize::from(status / 100).wrapping_sub(1)) {
            counter.inc();
        }
        self.latency.observe(took.as_secs_f64());
    }

    /// Counts that a limit or timeout was reached.
    pub fn limited(&self, limit: Limit) {
        self.limits.reached(limit);
    }

    /// Notes how long an upstream took to begin its answer.
    pub fn upstream_answered(&self, took: Duration) {
        self.upstream.observe(took.as_secs_f64());
    }
}

/// Of one worker.
#[derive(Debug)]
pub struct WorkerMetrics {
    /// Connections open.
    pub connections: Gauge,
    /// Exchanges begun.
    pub requests: Counter,
}
