//! From a checked configuration to a running authority, and back down in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::profiles::Configured;
use super::{AppError, Ticker, keys, profiles, waiting};
use crate::admin::{Ports, Probed};
use crate::authority::face::Door;
use crate::authority::lifecycle;
use crate::authority::listen::{Server, Stopper};
use crate::authority::{Authority, ncloud_kms};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::keyring::{Keyring, KeyringError};
use crate::metrics::Metrics;
use crate::sealer::managed::set::Profiles;
use crate::sealer::managed::settings::Provider;

/// How often what is due in the life of partitions and epochs is done.
const DUE_EVERY: Duration = Duration::from_secs(5);

/// A running authority.
pub struct AuthorityApp {
    server: Server,
    keyring: Arc<Keyring>,
    profiles: Option<Arc<Profiles>>,
    authority: Arc<Authority>,
    tickers: [Ticker; 2],
    ports: Ports,
}

impl AuthorityApp {
    /// Opens the keyring, then the doors, then the probe.
    pub fn start(config: &Config, clock: &SharedClock) -> Result<Self, AppError> {
        let nothing = || KeyringError::NoKey("there is no authority in this configuration".into());
        let (settings, options) =
            (config.authority.as_ref().ok_or_else(nothing)?, config.keyring.as_ref().ok_or_else(nothing)?);
        let metrics = Metrics::default();
        let profiles = profiles::open(config, clock, &metrics)?;
        let options = profiles::reaching(options, profiles.as_ref());
        let keyring = Arc::new(keys::open(&options, config.dev, clock)?);
        // Who uses which partition is not known here.
        let findings = Configured::new(config, Vec::new()).check(None, Some(&keyring), config.dev);
        if findings.has_errors() {
            return Err(AppError::Rules(findings));
        }
        for profile in config.profiles.iter().filter(|profile| matches!(profile.provider, Provider::Crypteron(_))) {
            tracing::warn!(
                profile = &*profile.name,
                "an authority does not ask Crypteron what it allows: take the profile away, and serve Crypteron's API instead"
            );
        }
        let authority = Arc::new(Authority::new(Arc::clone(&keyring), Arc::clone(clock), &settings.callers)?);
        keys::watch_stats(&keyring, (Some(&authority.audit), None), &metrics);
        let works = Arc::new(AtomicBool::new(keys::canary(&keyring)));
        let server = Server::start(&settings.listen, &authority, &metrics)?;
        let probed = Told { metrics, works: Arc::clone(&works), stopper: server.stopper() };
        let ports = Ports::open_probe(config.probe.as_ref(), Arc::new(probed))?;
        let (ticked, certificates, clock) = (Arc::clone(&keyring), server.watch_certificates(), Arc::clone(clock));
        certificates(clock.now());
        let tick = move |round: u32| {
            ticked.tick();
            if round.is_multiple_of(4) {
                certificates(clock.now());
            }
            if round.is_multiple_of(20) {
                works.store(keys::canary(&ticked), Ordering::Release);
            }
        };
        let ticker = Ticker::start("keyring", tick, waiting(&keyring))?;
        let due = {
            let authority = Arc::clone(&authority);
            // A thread of its own, since it may wait for the store.
            let run = move |round: u32| {
                lifecycle::run_due(&authority);
                if round.is_multiple_of(12)
                    && let Err(error) = ncloud_kms::run_due(&authority)
                {
                    tracing::warn!("keys that are due to be rotated or destroyed stay as they are: {error}");
                }
            };
            Ticker::start("lifecycle", run, || thread::park_timeout(DUE_EVERY))?
        };
        Ok(Self { server, keyring, profiles, authority, tickers: [ticker, due], ports })
    }

    /// Where the listeners are, with the real ports.
    pub fn addresses(&self) -> &[(Door, SocketAddr)] {
        self.server.addresses()
    }

    /// Where the probe is.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// For a signal handler: the first signal drains, the second ends.
    pub fn stopper(&self) -> Stopper {
        self.server.stopper()
    }

    /// Waits for the end of a drain, then closes what lies below: audit, keyring, probe last.
    pub fn wait(self) {
        self.server.join();
        drop(self.tickers);
        self.authority.audit.stop();
        drop(self.authority);
        drop(self.keyring);
        drop(self.profiles);
        drop(self.ports);
    }
}

/// What the probe tells: this process's own faults only.
struct Told {
    metrics: Metrics,
    works: Arc<AtomicBool>,
    stopper: Stopper,
}

impl Probed for Told {
    fn readiness(&self) -> (bool, Value) {
        let (keyring, draining) = (self.works.load(Ordering::Acquire), self.stopper.is_draining());
        let ready = keyring && !draining;
        (ready, json!({ "ready": ready, "keyring": keyring, "draining": draining }))
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}
