//! From checked settings to a running injector, and back down in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{AppError, Ticker};
use crate::admin::{Ports, Probed};
use crate::authority::face::Door;
use crate::authority::listen::{self, Bind, Server, Stopper, Timeouts};
use crate::clock::SharedClock;
use crate::injector::{self, serve};
use crate::metrics::Metrics;
use crate::proxy::settings::{Address, Drain, Limits};
use crate::tls::ServerTls;

/// How often the metrics are told when the certificate ends.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where it listens.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For the API server.
    pub listen: SocketAddr,
    /// API servers speak no other way.
    pub tls: ServerTls,
    /// `/livez`, `/readyz`, `/metrics`.
    pub probe: Option<SocketAddr>,
    /// What it puts into pods.
    pub injector: injector::Settings,
}

/// A running injector.
pub struct InjectorApp {
    server: Server,
    ticker: Ticker,
    ports: Ports,
}

impl InjectorApp {
    /// Opens the webhook, then the probe.
    pub fn start(settings: &Settings, clock: &SharedClock) -> Result<Self, AppError> {
        let metrics = Metrics::default();
        let server = Server::start_with(
            &bounded(settings),
            |_| vec![("", serve::router(settings.injector.clone(), metrics.clone()))],
            &metrics,
        )?;
        let probe = settings.probe.map(Address::Tcp);
        let ports = Ports::open_probe(probe.as_ref(), Arc::new(Told { metrics, stopper: server.stopper() }))?;
        let (certificates, clock) = (server.watch_certificates(), Arc::clone(clock));
        certificates(clock.now());
        let ticker =
            Ticker::start("certificates", move |_| certificates(clock.now()), || thread::park_timeout(LOOK_EVERY))?;
        Ok(Self { server, ticker, ports })
    }

    /// Where the webhook is, with its real port.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.addresses().first().map(|(_, address)| *address)
    }

    /// For a signal handler: the first signal drains, the second ends.
    pub fn stopper(&self) -> Stopper {
        self.server.stopper()
    }

    /// Waits for the end of a drain, then closes the probe.
    pub fn wait(self) {
        self.server.join();
        drop(self.ticker);
        drop(self.ports);
    }
}

/// An API server asks one thing at a time and waits for ten seconds by default; more than a few of them there are not.
fn bounded(settings: &Settings) -> listen::Settings {
    listen::Settings {
        binds: vec![Bind { door: Door::Injector, address: settings.listen, tls: Some(settings.tls.clone()) }],
        insecure: false,
        workers: 2,
        limits: Limits { memory: 64 << 20, in_flight: 64, connections: 256, ..Limits::default() },
        drain: Drain { delay: Duration::from_secs(5), deadline: Duration::from_secs(25) },
        timeouts: Timeouts {
            handshake: Duration::from_secs(5),
            call: Duration::from_secs(8),
            stalled: Duration::from_secs(30),
            ..Timeouts::default()
        },
    }
}

struct Told {
    metrics: Metrics,
    stopper: Stopper,
}

impl Probed for Told {
    fn readiness(&self) -> (bool, Value) {
        let draining = self.stopper.is_draining();
        (!draining, json!({ "ready": !draining, "draining": draining }))
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}
