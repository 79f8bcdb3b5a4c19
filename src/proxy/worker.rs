//! One worker: a thread with its own runtime, its own sockets and its own connections to the upstreams.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;

use crate::metrics::{Limit, count};

use super::connection::{self, Front, Ids};
use super::crowd::Places;
use super::drain::{self, Phase};
use super::listen::Listening;
use super::outflow::Streams;
use super::server::Door;
use super::settings::{HYPER_HEADERS, Listener};
use super::shared::Shared;
use super::stream;
use super::upstream::Upstream;

/// hyper's smallest; a smaller `limits.header` is rounded up to it.
pub(super) const SMALLEST_HEADER_LIMIT: usize = 8 * 1024;
/// Bytes of one answer that wait for an HTTP/2 client's window.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;
/// Streams that the client resets before we have seen them (CVE-2023-44487).
const HTTP2_UNSEEN_RESETS: usize = 20;
/// Streams that the client makes us reset (CVE-2025-8671).
const HTTP2_OWN_RESETS: usize = 64;
/// How long a loop waits after a failed accept (no file descriptors left), so as not to spin.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Handshakes of a worker at once, from the client's hello on: each costs about a millisecond of its thread, and some 30 KiB.
const HANDSHAKES: usize = 256;

/// How often a drain looks whether the last tunnel has ended.
const TUNNEL_CHECK: Duration = Duration::from_millis(50);

/// Serves until the phase says stop or the drain is done.
pub(super) fn run(
    runtime: &Runtime,
    index: usize,
    shared: &Arc<Shared>,
    sockets: Vec<(Door, Listening)>,
    phase: watch::Receiver<Phase>,
) {
    let _counts = count::First::claim();
    runtime.block_on(serve(index, shared, sockets, phase));
}

async fn serve(index: usize, shared: &Arc<Shared>, sockets: Vec<(Door, Listening)>, phase: watch::Receiver<Phase>) {
    let builder = Arc::new(builder(shared));
    let metrics = shared.metrics.worker(index);
    let Ok(ids) = Ids::seeded() else {
        tracing::error!("the operating system gave no random bytes; worker {index} does not start");
        return;
    };
    let ids = Arc::new(ids);
    // `true`: listeners close, connections finish.
    let (closing, closes) = watch::channel(false);
    let mut loops = JoinSet::new();
    let mut upstreams: Vec<(Arc<Listener>, Arc<Upstream>)> = Vec::new();
    let idle = Arc::default();
    let handshakes = Arc::new(Places::new(HANDSHAKES));
    for (Door { listener, tls, outward }, socket) in sockets {
        let known = upstreams.iter().find(|(l, _)| Arc::ptr_eq(l, &listener)).map(|(_, u)| Arc::clone(u));
        let upstream = known.unwrap_or_else(|| {
            let made = Arc::new(Upstream::new(&listener, shared, &idle, outward));
            upstreams.push((Arc::clone(&listener), Arc::clone(&made)));
            made
        });
        let front = Arc::new(Front {
            metrics: shared.metrics.listener(&listener.name),
            shared: Arc::clone(shared),
            worker: index,
            worker_metrics: Arc::clone(&metrics),
            unannounced: shared.metrics.unannounced(&listener.name),
            listener,
            tls,
            handshakes: Arc::clone(&handshakes),
            upstream,
            ids: Arc::clone(&ids),
            tunnels: AtomicUsize::new(0),
            closing: closes.clone(),
        });
        loops.spawn(accept(front, socket, Arc::clone(&builder)));
    }

    drain::run(loops, shared.settings.drain, &closing, phase, &format!("worker {index}")).await;
}

/// Accepts until the drain closes the listener, then waits for the connections.
async fn accept(front: Arc<Front>, socket: Listening, builder: Arc<auto::Builder<Streams>>) {
    let socket = match Socket::new(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(listener = %front.listener.name, %error, "a worker cannot listen");
            return;
        }
    };
    let mut closing = front.closing.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = {
            let closed = pin!(closing.wait_for(|closing| *closing));
            tokio::select! {
                biased;
                // First, so that what the system has accepted for us is served before the listener closes.
                accepted = socket.accept() => accepted,
                _ = closed => break,
            }
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((socket, peer)) => {
                // At the limit no more is accepted: the system's backlog waits, bounded, for us.
                let (place, waited) = front.shared.crowd.place(&front.listener.name).await;
                if waited {
                    front.metrics.limited(Limit::Connections);
                }
                let Some(place) = place else { break };
                let connection = connection::serve(Arc::clone(&front), socket, peer, Arc::clone(&builder), place);
                connections.spawn(connection);
            }
            Err(error) => {
                tracing::warn!(listener = %front.listener.name, %error, "a connection could not be accepted");
                time::sleep(AFTER_FAILED_ACCEPT).await;
            }
        }
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
    while front.tunnels.load(Ordering::Relaxed) > 0 {
        time::sleep(TUNNEL_CHECK).await;
    }
}

enum Socket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Socket {
    fn new(listening: Listening) -> io::Result<Self> {
        Ok(match listening {
            Listening::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Listening::Unix(listener) => Self::Unix(tokio::net::UnixListener::from_std(listener)?),
        })
    }

    async fn accept(&self) -> io::Result<(stream::Socket, Option<std::net::SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((stream::Socket::Tcp(stream), Some(peer)))
            }
            Self::Unix(listener) => Ok((stream::Socket::Unix(listener.accept().await?.0), None)),
        }
    }
}

fn builder(shared: &Shared) -> auto::Builder<Streams> {
    let (limits, timeouts) = (&shared.settings.limits, &shared.settings.timeouts);
    let mut builder = auto::Builder::new(Streams { send: timeouts.send });
    builder
        .http1()
        // A client may close its side when it has asked, and still wait for the answer.
        .half_close(true)
        // `connection::watch` times it, and silences.
        .header_read_timeout(None)
        .max_buf_size(limits.header.max(SMALLEST_HEADER_LIMIT));
    if limits.headers > HYPER_HEADERS {
        builder.http1().max_headers(limits.headers);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.http2.streams)
        .initial_stream_window_size(limits.http2.stream_window)
        .initial_connection_window_size(limits.http2.connection_window)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_pending_accept_reset_streams(HTTP2_UNSEEN_RESETS)
        .max_local_error_reset_streams(HTTP2_OWN_RESETS)
        .keep_alive_interval(timeouts.ping)
        .keep_alive_timeout(timeouts.ping);
    builder
}
