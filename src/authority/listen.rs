//! Serving the faces: a listener each, TLS or loopback, everything bounded, and an orderly end.

mod accept;
mod body;
mod call;
mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Authority;
use super::face::Door;
use crate::metrics::{ListenerMetrics, Metrics, TlsMetrics};
use crate::proxy::budget::Budget;
use crate::proxy::drain::{self, Phase};
use crate::proxy::listen::tcp_socket;
use crate::proxy::settings::{Drain, Limits};
use crate::tls::server::Server as Tls;
use crate::tls::{PeerIdentity, ServerTls, TlsError};

/// In the extensions of each request: how its caller came in.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Who its certificate names, verified; `None` without mTLS.
    pub identity: Option<PeerIdentity>,
}

/// One listener, as configured.
#[derive(Debug, Clone)]
pub struct Bind {
    /// What stands behind it.
    pub door: Door,
    /// Where.
    pub address: SocketAddr,
    /// `None`: in the clear.
    pub tls: Option<ServerTls>,
}

/// All of them, and what they share.
#[derive(Debug, Clone)]
pub struct Settings {
    /// At least one.
    pub binds: Vec<Bind>,
    /// Whether a listener beyond loopback may do without TLS.
    pub insecure: bool,
    /// Threads of the runtime.
    pub workers: usize,
    /// `memory` for the bodies of requests, `header`, `in_flight`, and `connections` of each listener.
    pub limits: Limits,
    /// How the process stops.
    pub drain: Drain,
    /// Waits that no configuration names.
    pub timeouts: Timeouts,
}

/// Waits that no configuration names.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a whole TLS handshake.
    pub handshake: Duration,
    /// For a header section; also how long an HTTP/1.1 connection is kept idle.
    pub headers: Duration,
    /// Without a call.
    pub idle: Duration,
    /// Within a call, without a byte of the answer taken. Longer than `call`.
    pub stalled: Duration,
    /// From a call's header section to its answer's, the body of the call included.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            stalled: Duration::from_secs(180),
            call: Duration::from_secs(30),
        }
    }
}

/// Why the listeners do not open.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there: exit 69.
    #[error("listener `{name}`: {address} is in use; stop the process that listens there, or choose another address")]
    InUse {
        /// Of the door.
        name: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Any other reason.
    #[error("listener `{name}`: cannot listen on {address}: {error}; choose an address of this host")]
    Bind {
        /// Of the door.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Beyond loopback everybody on the way would read along.
    #[error(
        "listener `{name}`: {address} is not loopback and has no TLS; give a certificate and key, or --insecure-listen"
    )]
    Exposed {
        /// Of the door.
        name: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Certificates or keys.
    #[error("listener `{name}`: {error}")]
    Tls {
        /// Of the door.
        name: &'static str,
        /// What is wrong.
        error: TlsError,
    },
    /// A thread or its runtime.
    #[error("cannot start the runtime of the listeners: {0}")]
    Runtime(#[from] io::Error),
}

/// The open listeners. Dropping it cuts everything; [`Stopper::signal`] ends it in order.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<(Door, SocketAddr)>,
    certificates: Vec<(Tls, TlsMetrics)>,
    stopper: Stopper,
    thread: Option<thread::JoinHandle<()>>,
}

/// Ends a [`Server`].
#[derive(Debug, Clone)]
pub struct Stopper {
    phase: watch::Sender<Phase>,
}

/// What the connections of one listener share.
struct Front {
    name: &'static str,
    tls: Option<(Tls, TlsMetrics)>,
    routes: Vec<(&'static str, Router)>,
    /// Empty: there is none.
    document: Bytes,
    metrics: Arc<ListenerMetrics>,
    header: usize,
    timeouts: Timeouts,
    /// One permit per connection of this listener.
    connections: Arc<Semaphore>,
    /// One permit per call of the process.
    calls: Arc<Semaphore>,
    /// For the bodies of calls.
    budget: Budget,
    /// `true`: connections end with the calls they are at.
    closing: watch::Receiver<bool>,
}

impl Server {
    /// Opens them all, or none.
    pub fn start(settings: &Settings, authority: &Arc<Authority>, metrics: &Metrics) -> Result<Self, ListenError> {
        let routes = |door: Door| door.faces().iter().map(|f| (f.prefix(), f.router(Arc::clone(authority)))).collect();
        Self::start_with(settings, routes, metrics)
    }

    /// The same with other routes behind the doors, each under what its paths begin with.
    pub fn start_with(
        settings: &Settings,
        routes: impl Fn(Door) -> Vec<(&'static str, Router)>,
        metrics: &Metrics,
    ) -> Result<Self, ListenError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.workers.max(1))
            .thread_name("authority")
            .enable_all()
            .build()?;
        // A face may have tasks of its own.
        let inside = runtime.enter();
        let budget = Budget::new(settings.limits.memory);
        metrics.watch_budget({
            let budget = budget.clone();
            move || (budget.used() as u64, budget.limit() as u64)
        });
        let calls = Arc::new(Semaphore::new(settings.limits.in_flight.min(Semaphore::MAX_PERMITS)));
        let (closing, closes) = watch::channel(false);
        let (mut addresses, mut certificates, mut fronts) = (Vec::new(), Vec::new(), Vec::new());
        let mut loaded = Vec::new();
        for bind in &settings.binds {
            let (name, tls) = (bind.door.name(), tls(bind, settings.insecure, &mut loaded)?);
            let tls = tls.map(|tls| (tls, metrics.tls(name)));
            let socket = open(bind)?;
            addresses.push((bind.door, socket.local_addr()?));
            certificates.extend(tls.clone());
            let front = Front {
                name,
                tls,
                routes: routes(bind.door),
                document: document(bind.door),
                metrics: metrics.listener(name),
                header: settings.limits.header,
                timeouts: settings.timeouts,
                connections: Arc::new(Semaphore::new(settings.limits.connections.min(Semaphore::MAX_PERMITS))),
                calls: Arc::clone(&calls),
                budget: budget.clone(),
                closing: closes.clone(),
            };
            fronts.push((Arc::new(front), socket));
        }
        drop(inside);
        let (phase, watched) = watch::channel(Phase::Running);
        let drain = settings.drain;
        let thread = thread::Builder::new()
            .name("listeners".into())
            .spawn(move || run(runtime, fronts, drain, &closing, watched))?;
        let stopper = Stopper { phase };
        let server = Self { addresses, certificates, stopper, thread: Some(thread) };
        Ok(server)
    }

    /// Where they are, with the real ports.
    pub fn addresses(&self) -> &[(Door, SocketAddr)] {
        &self.addresses
    }

    /// For a signal handler and for the probe.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Brings the seconds until certificates end into the metrics.
    pub fn watch_certificates(&self) -> impl Fn(u64) + Send + 'static {
        let certificates = self.certificates.clone();
        move |now| {
            for (tls, metrics) in &certificates {
                metrics.expires_in(i64::try_from(tls.expires()).unwrap_or(i64::MAX).saturating_sub_unsigned(now));
            }
        }
    }

    /// Waits for the end that [`Stopper::signal`] begins.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stopper.phase.send_replace(Phase::Stopped);
            drop(thread.join());
        }
    }
}

impl Stopper {
    /// The first time: not ready, still accepting for `drain.delay`; then connections close as their calls finish, and after
    /// `drain.deadline` what still runs is cut. The second time everything is cut.
    pub fn signal(&self) {
        self.phase.send_modify(|phase| *phase = phase.after_signal());
    }

    /// Whether the end has begun.
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }
}

/// Listeners with the same files share them, and who watches them.
fn tls(bind: &Bind, insecure: bool, loaded: &mut Vec<(ServerTls, Tls)>) -> Result<Option<Tls>, ListenError> {
    let name = bind.door.name();
    match &bind.tls {
        Some(settings) => {
            if let Some((_, tls)) = loaded.iter().find(|(same, _)| same == settings) {
                return Ok(Some(tls.clone()));
            }
            let tls = Tls::new(settings).map_err(|error| ListenError::Tls { name, error })?;
            loaded.push((settings.clone(), tls.clone()));
            Ok(Some(tls))
        }
        None if insecure || bind.address.ip().to_canonical().is_loopback() => Ok(None),
        None => Err(ListenError::Exposed { name, address: bind.address }),
    }
}

fn document(door: Door) -> Bytes {
    if door.faces().is_empty() { Bytes::new() } else { door.openapi().to_string().into() }
}

/// Without SO_REUSEPORT, so that a port in use is noticed.
fn open(bind: &Bind) -> Result<std::net::TcpListener, ListenError> {
    let (name, address) = (bind.door.name(), bind.address);
    tcp_socket(address, false).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { name, address },
        _ => ListenError::Bind { name, address, error },
    })
}

/// Serves until the drain is done, or the phase says stop.
fn run(
    runtime: Runtime,
    fronts: Vec<(Arc<Front>, std::net::TcpListener)>,
    drain: Drain,
    closing: &watch::Sender<bool>,
    phase: watch::Receiver<Phase>,
) {
    runtime.block_on(async {
        let mut loops = JoinSet::new();
        for (front, socket) in fronts {
            loops.spawn(accept::run(front, socket));
        }
        drain::run(loops, drain, closing, phase, "the listeners").await;
    });
    // What blocks a thread, such as a store that does not answer, is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
}
