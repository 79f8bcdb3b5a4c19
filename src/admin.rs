//! Two ports beside the traffic, on a thread of their own: the **probe** says whether this process lives and is ready
//! and what it counted, to anyone; the **admin** port shows the rules and reloads them, to its owner.

mod port;
mod routes;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::thread;

use tokio::sync::watch;

use crate::proxy::listen::{self, SocketFile};
use crate::proxy::settings::Address;
use crate::proxy::shared::Shared;
use crate::report::Findings;
use crate::rollout::snapshot::Snapshot;

use port::{Guard, Socket};

/// What the probe tells of a process.
pub trait Probed: Send + Sync + 'static {
    /// Whether it may be sent traffic, and why not: a JSON object.
    fn readiness(&self) -> (bool, serde_json::Value);

    /// OpenMetrics text.
    fn metrics(&self) -> String;

    /// What a roll-out of the rules is judged by, if there are rules.
    fn rollout(&self) -> Option<Snapshot> {
        None
    }
}

/// What the admin port asks of the process besides; the program hands it in.
pub trait Operations: Send + Sync + 'static {
    /// Loads the rules again; may block. The rules in force stay if it fails.
    fn reload(&self) -> Result<(), Findings>;

    /// How the last load went.
    fn rules_status(&self) -> RulesStatus;
}

/// See [`Operations::rules_status`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulesStatus {
    /// Of the files in force.
    pub digest: Option<[u8; 32]>,
    /// When they were loaded (Unix seconds).
    pub loaded: u64,
    /// Why a later load failed, for the operator.
    pub last_error: Option<String>,
}

/// Where the ports listen.
#[derive(Clone, Default)]
pub struct Settings {
    /// `/livez`, `/readyz`, `/metrics`, `/rollout`, nothing else.
    pub probe: Option<Address>,
    /// A unix socket (this user and root alone), or loopback TCP with a token.
    pub admin: Option<Address>,
    /// The bearer token that admin over TCP asks for.
    pub token: Option<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("probe", &self.probe).field("admin", &self.admin).finish_non_exhaustive()
    }
}

/// Why the ports do not open.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another process listens there: exit 69.
    #[error("{port}: {address} is in use; stop the process that listens there, or choose another address")]
    InUse {
        /// `probe` or `admin`.
        port: &'static str,
        /// The address.
        address: Address,
    },
    /// In a pod the application shares loopback, so a token is needed there, and nothing else will do.
    #[error("admin: {0} is no place for it; use a unix socket, or a loopback address with a token")]
    Exposed(Address),
    /// Any other reason.
    #[error(
        "{port}: cannot listen on {address}: {error}; choose an address of this host, or a socket in a folder this process may write to"
    )]
    Bind {
        /// `probe` or `admin`.
        port: &'static str,
        /// The address.
        address: Address,
        /// What the system says.
        error: io::Error,
    },
    /// The thread or its runtime.
    #[error("cannot start the thread of the admin ports: {0}")]
    Thread(#[from] io::Error),
}

/// The open ports; dropping it closes them, last of all when a process stops.
#[derive(Debug)]
pub struct Ports {
    /// The probe's address, with its real port.
    pub probe: Option<SocketAddr>,
    /// The admin port's address if it is TCP, with its real port.
    pub admin: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
    _file: Option<SocketFile>,
}

impl Ports {
    /// Opens those that are set.
    pub fn open(settings: &Settings, shared: Arc<Shared>, operations: Arc<dyn Operations>) -> Result<Self, AdminError> {
        let state = Arc::new(routes::State { shared, operations });
        let (probe, mut ports) = probe(settings.probe.as_ref(), Arc::clone(&state) as _)?;
        let mut file = None;
        let mut admin = None;
        if let Some(address) = &settings.admin {
            let guard = match (address, &settings.token) {
                (Address::Unix(_), _) => Guard::SameUser,
                (Address::Tcp(tcp), Some(token)) if tcp.ip().is_loopback() && !token.is_empty() => {
                    Guard::Token(token.as_str().into())
                }
                _ => return Err(AdminError::Exposed(address.clone())),
            };
            let socket = bind("admin", address)?;
            admin = socket.local_addr();
            if let Address::Unix(path) = address {
                file = SocketFile::of(path);
            }
            ports.push((socket, guard, routes::admin(state)));
        }
        Self::serve(ports, (probe, admin), file)
    }

    /// Opens the probe alone, of a process that has no rules.
    pub fn open_probe(address: Option<&Address>, probed: Arc<dyn Probed>) -> Result<Self, AdminError> {
        let (probe, ports) = probe(address, probed)?;
        Self::serve(ports, (probe, None), None)
    }

    fn serve(
        ports: Vec<Port>,
        (probe, admin): (Option<SocketAddr>, Option<SocketAddr>),
        file: Option<SocketFile>,
    ) -> Result<Self, AdminError> {
        let (stop, stopped) = watch::channel(false);
        // A reload must not stop the probe from answering, so it runs on a blocking thread.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let thread = thread::Builder::new()
            .name("admin".into())
            .spawn(move || runtime.block_on(port::serve_all(ports, stopped)))?;
        Ok(Self { probe, admin, stop, thread: Some(thread), _file: file })
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

type Port = (Socket, Guard, axum::Router);

/// The probe's port, if there is one, and its real address.
fn probe(address: Option<&Address>, probed: Arc<dyn Probed>) -> Result<(Option<SocketAddr>, Vec<Port>), AdminError> {
    let Some(address) = address else { return Ok((None, Vec::new())) };
    let socket = bind("probe", address)?;
    Ok((socket.local_addr(), vec![(socket, Guard::Open, routes::probe(probed))]))
}

fn bind(port: &'static str, address: &Address) -> Result<Socket, AdminError> {
    let bound = match address {
        Address::Unix(path) => listen::unix_socket(path).and_then(|socket| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
            Ok(Socket::Unix(socket))
        }),
        Address::Tcp(tcp) => listen::tcp_socket(*tcp, false).map(Socket::Tcp),
        Address::Host(..) => Err(io::Error::new(io::ErrorKind::InvalidInput, "write a numeric address")),
    };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => AdminError::InUse { port, address: address.clone() },
        _ => AdminError::Bind { port, address: address.clone(), error },
    })
}
