//! What all workers of a process share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::clock::SharedClock;
use crate::crypto::RandomError;
use crate::crypto::random;
use crate::metrics::Metrics;
use crate::rules::RuleSet;
use crate::transform::Sealer;

use super::budget::Budget;
use super::certificates::Certificates;
use super::headers::Via;
use super::settings::Settings;

/// One per process, in an `Arc`.
pub struct Shared {
    /// The compiled configuration.
    pub settings: Settings,
    /// The rules in force; an exchange keeps the set it began with.
    pub rules: ArcSwap<RuleSet>,
    /// `None`: no rule needs keys.
    pub sealer: Option<Arc<dyn Sealer>>,
    /// Everything counted.
    pub metrics: Metrics,
    /// Bytes for all buffers.
    pub budget: Budget,
    /// What the probe says.
    pub health: Health,
    /// Of the listeners with TLS.
    pub certificates: Certificates,
    /// Random, of this process: `Via` and request ids carry it.
    pub instance: String,
    /// The time of day.
    pub clock: SharedClock,
    /// Waits that no setting names.
    pub timeouts: Timeouts,
    /// `instance` as `Via` carries it.
    pub(super) via: Via,
    /// Requests running now.
    pub(super) in_flight: AtomicUsize,
    /// One permit per connection accepted.
    pub(super) connections: Arc<Semaphore>,
    /// One permit per exchange that talks to an upstream.
    pub(super) upstream_permits: Arc<Semaphore>,
}

impl Shared {
    /// The shared state of a process that starts with these rules.
    pub fn new(
        settings: Settings,
        rules: RuleSet,
        sealer: Option<Arc<dyn Sealer>>,
        metrics: Metrics,
        clock: SharedClock,
    ) -> Result<Self, RandomError> {
        let seed = u64::from_be_bytes(random::bytes()?);
        let budget = Budget::new(settings.limits.memory);
        metrics.watch_budget({
            let budget = budget.clone();
            move || (budget.used() as u64, budget.limit() as u64)
        });
        let instance = format!("sidecloak-{seed:016x}");
        Ok(Self {
            via: Via::new(&instance),
            connections: Arc::new(Semaphore::new(settings.limits.connections.min(Semaphore::MAX_PERMITS))),
            upstream_permits: Arc::new(Semaphore::new(
                settings.upstream_limits.connections.min(Semaphore::MAX_PERMITS),
            )),
            in_flight: AtomicUsize::new(0),
            rules: ArcSwap::from_pointee(rules),
            instance,
            health: Health::default(),
            certificates: Certificates::default(),
            timeouts: Timeouts::default(),
            settings,
            sealer,
            metrics,
            budget,
            clock,
        })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// Waits that no setting names.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a client to announce itself and shake hands, where it must.
    pub handshake: Duration,
    /// For a client to send its header section, from the connection's begin or the end of the last answer: also how long
    /// an idle connection is kept.
    pub request_head: Duration,
    /// For an upstream to accept a connection.
    pub connect: Duration,
    /// For one of the permits of `upstream_limits.connections`.
    pub permit: Duration,
    /// For an upstream to begin its answer, from the last byte of the request that moved.
    pub response_head: Duration,
    /// For the next bytes of an answer that has begun.
    pub response_body: Duration,
    /// Between an HTTP/2 client's last sign of life and a ping, and again for its answer.
    pub http2_ping: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(75),
            connect: Duration::from_secs(5),
            permit: Duration::from_secs(10),
            response_head: Duration::from_secs(60),
            response_body: Duration::from_secs(300),
            http2_ping: Duration::from_secs(30),
        }
    }
}

/// This process's own faults, for the probe: never the application's, never a shared service's.
#[derive(Debug, Default)]
pub struct Health {
    rules: AtomicBool,
    keyring: AtomicBool,
    draining: AtomicBool,
}

impl Health {
    /// The first load of the rules is done.
    pub fn rules_loaded(&self) {
        self.rules.store(true, Ordering::Release);
    }

    /// Whether the keyring is open and its canary token seals and opens (or no rule needs one).
    pub fn keyring_works(&self, works: bool) {
        self.keyring.store(works, Ordering::Release);
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether rules were loaded.
    pub fn has_rules(&self) -> bool {
        self.rules.load(Ordering::Acquire)
    }

    /// See [`Self::keyring_works`].
    pub fn has_keyring(&self) -> bool {
        self.keyring.load(Ordering::Acquire)
    }

    /// Whether this process stops.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether traffic may be sent here.
    pub fn is_ready(&self) -> bool {
        self.has_rules() && self.has_keyring() && !self.is_draining()
    }
}
