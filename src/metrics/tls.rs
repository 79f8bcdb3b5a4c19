//! What comes before a connection's first request: handshakes with their certificates, and headers of the PROXY protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::count::Counter;
use super::labels::ListenerLabels;

/// Between two lines about failed handshakes of a listener.
const QUIET_SECONDS: u64 = 10;

pub(super) struct Tls {
    failures: Family<ListenerLabels, Counter>,
    unannounced: Family<ListenerLabels, Counter>,
    reloads: Family<ListenerLabels, Counter>,
    expiry: Family<ListenerLabels, Gauge<i64, AtomicI64>>,
}

impl Tls {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let this = Self {
            failures: Family::default(),
            unannounced: Family::default(),
            reloads: Family::default(),
            expiry: Family::default(),
        };
        registry.register("tls_handshake_failures", "Handshakes that came to nothing", this.failures.clone());
        registry.register(
            "proxy_protocol_failures",
            "Connections in the clear that did not begin as proxy_protocol says",
            this.unannounced.clone(),
        );
        registry.register(
            "tls_reload_failures",
            "Changed files of a listener that were refused; what was read before stays in force",
            this.reloads.clone(),
        );
        registry.register(
            "tls_certificate_expiry_seconds",
            "Seconds until the listener's certificate ends; negative once it has",
            this.expiry.clone(),
        );
        this
    }

    pub(super) fn listener(&self, name: &str) -> TlsMetrics {
        let labels = ListenerLabels { listener: name.into() };
        TlsMetrics {
            failures: Failures::new(self.failures.get_or_create_owned(&labels)),
            reloads: self.reloads.get_or_create_owned(&labels),
            expiry: self.expiry.get_or_create_owned(&labels),
        }
    }

    pub(super) fn unannounced(&self, name: &str) -> Failures {
        Failures::new(self.unannounced.get_or_create_owned(&ListenerLabels { listener: name.into() }))
    }
}

/// Of one listener; cheap to clone.
#[derive(Debug, Clone)]
pub struct TlsMetrics {
    failures: Failures,
    reloads: Counter,
    expiry: Gauge<i64, AtomicI64>,
}

/// Counts what peers do wrong, and says when there may be a line about it: whoever sends much would fill the log.
#[derive(Debug, Clone)]
pub struct Failures {
    counter: Counter,
    told: Arc<Told>,
}

#[derive(Debug)]
struct Told {
    began: Instant,
    /// The first second in which there may be a line again.
    next: AtomicU64,
    untold: AtomicU64,
}

impl TlsMetrics {
    /// Counts a handshake that failed. If it is time for a line in the log: how many went before without one.
    pub fn failed(&self) -> Option<u64> {
        self.failures.count()
    }

    /// Of handshakes.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Notes in how many seconds the certificate ends.
    pub fn expires_in(&self, seconds: i64) {
        self.expiry.set(seconds);
    }

    /// Notes how many changes of the files were refused so far.
    pub fn reloads_failed(&self, total: u64) {
        self.reloads.inc_by(total.saturating_sub(self.reloads.get()));
    }
}

impl Failures {
    fn new(counter: Counter) -> Self {
        let told = Told { began: Instant::now(), next: AtomicU64::new(0), untold: AtomicU64::new(0) };
        Self { counter, told: Arc::new(told) }
    }

    /// Counts one. If it is time for a line in the log: how many went before without one.
    pub fn count(&self) -> Option<u64> {
        self.counter.inc();
        let now = self.told.began.elapsed().as_secs();
        let due = self.told.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            (now >= next).then_some(now.saturating_add(QUIET_SECONDS))
        });
        match due {
            Ok(_) => Some(self.told.untold.swap(0, Ordering::Relaxed)),
            Err(_) => {
                self.told.untold.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_one_line() {
        let mut registry = Registry::default();
        let tls = Tls::registered(&mut registry).listener("crittora");
        assert_eq!(tls.failed(), Some(0));
        assert!((0..1000).all(|_| tls.failed().is_none()));
        assert_eq!(tls.failures.counter.get(), 1001);
        tls.failures.told.next.store(0, Ordering::Relaxed);
        assert_eq!(tls.failed(), Some(1000));
    }
}
