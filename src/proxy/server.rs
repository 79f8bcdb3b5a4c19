//! The process's front doors and workers: start, drain, stop.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::sync::watch;

use super::drain::Phase;
use super::listen::{self, Listening, SocketFile};
use super::settings::{Address, Listener};
use super::shared::Shared;
use super::upstream::Outward;
use super::worker;
use crate::metrics::TlsMetrics;
use crate::tls::TlsError;
use crate::tls::server::Server as Tls;

/// A running proxy. Dropping it ends everything at once; [`Server::drain`] ends it in order.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<(String, Address)>,
    phase: watch::Sender<Phase>,
    shared: Arc<Shared>,
    workers: Vec<thread::JoinHandle<()>>,
    _socket_files: Vec<SocketFile>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process listens there: exit 69.
    #[error(
        "listener `{listener}`: {address} is in use; stop the process that listens there, or choose another address"
    )]
    InUse {
        /// Its name.
        listener: String,
        /// The address.
        address: Address,
    },
    /// Any other reason.
    #[error(
        "listener `{listener}`: cannot listen on {address}: {error}; choose an address of this host, or a socket in a folder this process may write to"
    )]
    Bind {
        /// Its name.
        listener: String,
        /// The address.
        address: Address,
        /// What the system says.
        error: io::Error,
    },
    /// Certificates, keys or roots, of the listener or for its upstream.
    #[error("listener `{listener}`: {error}")]
    Tls {
        /// Its name.
        listener: String,
        /// What is wrong.
        error: TlsError,
    },
    /// A thread or its runtime.
    #[error("cannot start a worker: {0}")]
    Worker(#[from] io::Error),
}

impl Server {
    /// Binds every listener, then starts the workers. Requests are taken from here on, whatever the probe says.
    pub fn start(shared: Arc<Shared>) -> Result<Self, StartError> {
        let count = shared.settings.workers.max(1);
        let mut shares: Vec<Vec<(Door, Listening)>> = (0..count).map(|_| Vec::new()).collect();
        let (mut addresses, mut socket_files) = (Vec::new(), Vec::new());
        for door in doors(&shared)? {
            let listener = &door.listener;
            for address in &listener.bind {
                let (bound, sockets) =
                    listen::bind(address, count).map_err(|error| StartError::of(listener, address, error))?;
                if let Address::Unix(path) = &bound {
                    socket_files.extend(SocketFile::of(path));
                }
                for (share, socket) in shares.iter_mut().zip(sockets) {
                    share.push((door.clone(), socket));
                }
                addresses.push((listener.name.clone(), bound));
            }
        }
        let (phase, watched) = watch::channel(Phase::Running);
        let mut server = Self { addresses, phase, shared, workers: Vec::new(), _socket_files: socket_files };
        for (index, share) in shares.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (shared, watched) = (Arc::clone(&server.shared), watched.clone());
            let thread = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(&runtime, index, &shared, share, watched))?;
            server.workers.push(thread);
        }
        Ok(server)
    }

    /// Every address listened on, with the real port where 0 was asked for, under the name of its listener.
    pub fn addresses(&self) -> &[(String, Address)] {
        &self.addresses
    }

    /// Begins the orderly end: not ready, still accepting for `drain.delay`; then connections close as their requests
    /// finish, and after `drain.deadline` what still runs is cut; both count from now. [`Server::join`] waits for it.
    pub fn drain(&self) {
        self.shared.health.drain();
        self.phase.send_if_modified(|phase| {
            let begins = *phase < Phase::Draining;
            *phase = (*phase).max(Phase::Draining);
            begins
        });
    }

    /// Cuts everything: what a second signal asks for.
    pub fn stop(&self) {
        self.shared.health.drain();
        self.phase.send_replace(Phase::Stopped);
    }

    /// A handle for a signal handler, which outlives a borrow of the server.
    pub fn stopper(&self) -> Stopper {
        Stopper { phase: self.phase.clone(), shared: Arc::clone(&self.shared) }
    }

    /// Waits until all workers have ended, after [`Server::drain`] or [`Server::stop`].
    pub fn join(mut self) {
        for worker in self.workers.drain(..) {
            drop(worker.join());
        }
    }
}

/// See [`Server::stopper`].
#[derive(Debug, Clone)]
pub struct Stopper {
    phase: watch::Sender<Phase>,
    shared: Arc<Shared>,
}

impl Stopper {
    /// As [`Server::drain`]; the second call is [`Server::stop`].
    pub fn signal(&self) {
        self.shared.health.drain();
        self.phase.send_modify(|phase| *phase = phase.after_signal());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.workers.is_empty() {
            self.stop();
            for worker in self.workers.drain(..) {
                drop(worker.join());
            }
        }
    }
}

/// A listener with what its files hold, for all workers.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) listener: Arc<Listener>,
    /// `None`: in the clear.
    pub(super) tls: Option<(Tls, TlsMetrics)>,
    /// Towards its upstreams; `None`: in the clear.
    pub(super) outward: Option<Arc<Outward>>,
}

/// Reads all files before the first address is bound. Listeners with the same files share them, and who watches them.
fn doors(shared: &Shared) -> Result<Vec<Door>, StartError> {
    let mut doors: Vec<Door> = Vec::new();
    for listener in &shared.settings.listeners {
        let bad = |error| StartError::Tls { listener: listener.name.clone(), error };
        let tls = match &listener.tls {
            Some(settings) => {
                let same = doors.iter().filter(|door| door.listener.tls.as_ref() == Some(settings));
                let loaded = same.filter_map(|door| door.tls.as_ref()).map(|(tls, _)| tls.clone()).next();
                let tls = loaded.map_or_else(|| Tls::new(settings), Ok).map_err(bad)?;
                let metrics = shared.metrics.tls(&listener.name);
                shared.certificates.watch(&listener.name, tls.clone(), metrics.clone());
                Some((tls, metrics))
            }
            None => None,
        };
        let outward = listener.upstream_tls.as_ref().map(|settings| Outward::new(settings).map(Arc::new));
        let outward = outward.transpose().map_err(bad)?;
        doors.push(Door { listener: Arc::clone(listener), tls, outward });
    }
    Ok(doors)
}

impl StartError {
    fn of(listener: &Listener, address: &Address, error: io::Error) -> Self {
        let (listener, address) = (listener.name.clone(), address.clone());
        if error.kind() == io::ErrorKind::AddrInUse {
            Self::InUse { listener, address }
        } else {
            Self::Bind { listener, address, error }
        }
    }
}
