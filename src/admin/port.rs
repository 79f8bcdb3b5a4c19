//! Serving a port: few connections, little patience.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{Request, StatusCode, header};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time;
use tower_service::Service;

/// Per port. A connection that is not used makes room after [`PATIENCE`].
const CONNECTIONS: usize = 64;
/// For a header section, also between two requests.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a whole connection: a scrape is short.
const LIFETIME: Duration = Duration::from_secs(300);
/// Of a header section.
const HEADERS: usize = 16 * 1024;
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// A socket that is bound.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Socket {
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// Who may use a port.
#[derive(Clone)]
pub(super) enum Guard {
    /// Anyone.
    Open,
    /// Processes of this user, and root.
    SameUser,
    /// Whoever knows the token.
    Token(Arc<str>),
}

impl Guard {
    fn admits_peer(&self, stream: &UnixStream) -> bool {
        let ours = rustix::process::geteuid().as_raw();
        match self {
            Self::SameUser => stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == ours),
            Self::Open | Self::Token(_) => true,
        }
    }

    fn admits(&self, request: &Request<hyper::body::Incoming>) -> bool {
        let Self::Token(token) = self else { return true };
        let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
        same(given, token.as_bytes())
    }
}

/// Compares without telling by its time where two tokens differ.
fn same(given: &[u8], token: &[u8]) -> bool {
    let differs = given.iter().zip(token).fold(0, |differs, (a, b)| std::hint::black_box(differs | (a ^ b)));
    given.len() == token.len() && differs == 0
}

/// Serves all ports until told to stop.
pub(super) async fn serve_all(ports: Vec<(Socket, Guard, Router)>, mut stopped: watch::Receiver<bool>) {
    let mut loops = JoinSet::new();
    for (socket, guard, router) in ports {
        loops.spawn(serve(socket, guard, router));
    }
    drop(stopped.wait_for(|stopped| *stopped).await);
}

async fn serve(socket: Socket, guard: Guard, router: Router) {
    let accepting = match socket {
        Socket::Tcp(socket) => accept_tcp(TcpListener::from_std(socket), guard, router).await,
        Socket::Unix(socket) => accept_unix(UnixListener::from_std(socket), guard, router).await,
    };
    if let Err(error) = accepting {
        tracing::error!(%error, "an admin port cannot listen");
    }
}

async fn accept_tcp(listener: io::Result<TcpListener>, guard: Guard, router: Router) -> io::Result<()> {
    let (listener, mut connections) = (listener?, Connections::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.add(TokioIo::new(stream), &guard, &router).await,
            Err(_) => time::sleep(AFTER_FAILED_ACCEPT).await,
        }
    }
}

async fn accept_unix(listener: io::Result<UnixListener>, guard: Guard, router: Router) -> io::Result<()> {
    let (listener, mut connections) = (listener?, Connections::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) if guard.admits_peer(&stream) => {
                connections.add(TokioIo::new(stream), &guard, &router).await;
            }
            Ok(_) => tracing::warn!("another user's process was turned away from the admin socket"),
            Err(_) => time::sleep(AFTER_FAILED_ACCEPT).await,
        }
    }
}

/// The connections of a port; they end with it.
struct Connections(JoinSet<()>, Arc<Semaphore>);

impl Default for Connections {
    fn default() -> Self {
        Self(JoinSet::new(), Arc::new(Semaphore::new(CONNECTIONS)))
    }
}

impl Connections {
    async fn add<S: Read + Write + Unpin + Send + 'static>(&mut self, stream: S, guard: &Guard, router: &Router) {
        while self.0.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&self.1).acquire_owned().await else { return };
        let (guard, router) = (guard.clone(), router.clone());
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let admitted = guard.admits(&request);
            let mut router = router.clone();
            async move {
                if admitted {
                    router.call(request.map(Body::new)).await
                } else {
                    Ok(StatusCode::UNAUTHORIZED.into_response())
                }
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(HEADERS)
            .serve_connection(stream, service);
        self.0.spawn(async move {
            drop(time::timeout(LIFETIME, connection).await);
            drop(permit);
        });
    }
}
