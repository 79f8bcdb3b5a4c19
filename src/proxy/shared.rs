//! What all workers of a process share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::clock::SharedClock;
use crate::crypto::RandomError;
use crate::crypto::random;
use crate::metrics::Metrics;
use crate::rules::RuleSet;
use crate::transform::Sealer;

use super::budget::Budget;
use super::caller::Callers;
use super::certificates::Certificates;
use super::crowd::Crowd;
use super::headers::Via;
use super::queue::Queue;
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
    /// Who is given which role.
    pub callers: Callers,
    /// `instance` as `Via` carries it.
    pub(super) via: Via,
    /// Requests running now.
    pub(super) in_flight: AtomicUsize,
    /// Places for connections.
    pub(super) crowd: Arc<Crowd>,
    /// One permit per exchange that talks to an upstream.
    pub(super) upstream_permits: Arc<Queue>,
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
        metrics.keep_time(Arc::clone(&clock));
        let instance = format!("sidecloak-{seed:016x}");
        Ok(Self {
            via: Via::new(&instance),
            callers: Callers::new(&settings.callers, &metrics),
            crowd: Arc::new(Crowd::new(&settings)),
            upstream_permits: Arc::new(Queue::new(
                settings.upstream_limits.connections,
                settings.upstream_limits.queue,
            )),
            in_flight: AtomicUsize::new(0),
            rules: ArcSwap::from_pointee(rules),
            instance,
            health: Health::default(),
            certificates: Certificates::default(),
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
