//! One connection of a client: who it is, and how it ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time;

use crate::crypto::RandomError;
use crate::crypto::random;
use crate::metrics::{Failures, ListenerMetrics, TlsMetrics, WorkerMetrics};
use crate::tls::PeerIdentity;
use crate::tls::server::Server;

use super::arrive::{Arrival, arrive};
use super::exchange;
use super::forwarded::PeerHeaders;
use super::settings::Listener;
use super::shared::Shared;
use super::stream::{Protocol, Secured, Socket};
use super::upstream::Upstream;

/// How long a drain waits for the first request of a connection that has sent none yet.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// A connection whose client showed a certificate ends with the request it is at when the certificate does, and at the latest after
/// this time: it was looked at when the connection began, and its authority may have been taken away since.
const IDENTIFIED: Duration = Duration::from_hours(1);

/// What hyper is told, by what ALPN chose: then a connection speaks nothing else.
#[derive(Debug)]
pub(super) struct Builders {
    either: auto::Builder<TokioExecutor>,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

impl Builders {
    pub(super) fn new(either: &auto::Builder<TokioExecutor>) -> Self {
        Self { either: either.clone(), http1: either.clone().http1_only(), http2: either.clone().http2_only() }
    }

    fn of(&self, chosen: Option<Protocol>) -> &auto::Builder<TokioExecutor> {
        match chosen {
            None => &self.either,
            Some(Protocol::Http1) => &self.http1,
            Some(Protocol::Http2) => &self.http2,
        }
    }
}

/// One listener in one worker.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Arc<Listener>,
    /// `None`: in the clear.
    pub(super) tls: Option<(Server, TlsMetrics)>,
    /// Of this worker, over all its listeners.
    pub(super) handshakes: Arc<Semaphore>,
    /// Connections that did not begin as `proxy_protocol` says.
    pub(super) unannounced: Failures,
    pub(super) worker: usize,
    pub(super) upstream: Arc<Upstream>,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) worker_metrics: Arc<WorkerMetrics>,
    pub(super) ids: Arc<Ids>,
    /// Connections that have become tunnels; a drain waits for them too.
    pub(super) tunnels: AtomicUsize,
    /// `true`: this connection ends with the request it is at.
    pub(super) closing: watch::Receiver<bool>,
}

/// What is known of a client before its first request.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) front: Arc<Front>,
    /// `None`: a unix socket. Such a peer has no address, so no list of addresses holds it.
    pub(super) peer: Option<SocketAddr>,
    /// What its handshake told; `None`: it came in the clear.
    tls: Option<Box<Secured>>,
    /// In `trusted_peers`.
    pub(super) trusted: bool,
    /// In `open_for`.
    pub(super) open: bool,
    pub(super) headers: PeerHeaders,
    /// Set when an answer was cut whose end only the connection's end tells.
    pub(super) reset: Arc<AtomicBool>,
    served: AtomicBool,
}

impl Connection {
    fn new(front: Arc<Front>, arrival: &Arrival) -> Self {
        let Arrival { stream, peer } = arrival;
        let tls = stream.secured().map(Box::new);
        // `::ffff:10.0.0.1` is 10.0.0.1.
        let peer = peer.map(|peer: SocketAddr| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
        let listed = |nets: &[ipnet::IpNet]| peer.is_some_and(|peer| nets.iter().any(|net| net.contains(&peer.ip())));
        Self {
            trusted: listed(&front.listener.trusted_peers),
            open: front.listener.open_for.as_deref().is_none_or(listed),
            headers: PeerHeaders::of(peer.map(|p| p.ip()), tls.is_some()),
            reset: stream.reset(),
            tls,
            served: AtomicBool::new(false),
            front,
            peer,
        }
    }

    /// Whether the client came over TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Who the client's certificate names, verified.
    pub(super) fn identity(&self) -> Option<&PeerIdentity> {
        self.tls.as_ref()?.identity.as_ref()
    }

    /// The server that the client's handshake asked for, in lower case.
    pub(super) fn sni(&self) -> Option<&str> {
        self.tls.as_ref()?.sni.as_deref()
    }

    /// How long the client is who its certificate said; `None`: it showed none.
    fn lifetime(&self) -> Option<Duration> {
        let ends = self.identity()?.expires;
        Some(Duration::from_secs(ends.saturating_sub(self.front.shared.clock.now())).min(IDENTIFIED))
    }

    /// What ALPN chose.
    fn protocol(&self) -> Option<Protocol> {
        self.tls.as_ref()?.protocol
    }
}

/// Serves it to its end.
pub(super) async fn serve(
    front: Arc<Front>,
    socket: Socket,
    peer: Option<SocketAddr>,
    builders: Arc<Builders>,
    permit: OwnedSemaphorePermit,
) {
    let open = front.worker_metrics.connections.clone();
    open.inc();
    let Some(arrival) = arrive(&front, socket, peer).await else {
        open.dec();
        return;
    };
    let mut closing = front.closing.clone();
    let connection = Arc::new(Connection::new(front, &arrival));
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| {
            connection.served.store(true, Ordering::Relaxed);
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(exchange::serve(connection, request).await) }
        })
    };
    {
        let builder = builders.of(connection.protocol());
        let mut serving = pin!(builder.serve_connection_with_upgrades(arrival.stream, service));
        let closed = async { drop(closing.wait_for(|closing| *closing).await) };
        // hyper times header sections from their first byte on, and does not time the bytes that tell the version.
        let silent = async {
            time::sleep(connection.front.shared.timeouts.request_head).await;
            if connection.served.load(Ordering::Relaxed) {
                std::future::pending().await
            }
        };
        let aged = async {
            match connection.lifetime() {
                Some(lifetime) => time::sleep(lifetime).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = serving.as_mut() => Some(ended),
            () = closed => None,
            () = silent => None,
            () = aged => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                // hyper would close a connection at once that has sent nothing yet: its request may be on the way.
                let first = connection.served.load(Ordering::Relaxed);
                let ended = match first {
                    true => None,
                    false => time::timeout(FIRST_REQUEST, serving.as_mut()).await.ok(),
                };
                match ended {
                    Some(ended) => ended,
                    None => {
                        serving.as_mut().graceful_shutdown();
                        serving.await
                    }
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(listener = %connection.front.listener.name, error = kind(&*error), "a connection ended early");
        }
    }
    open.dec();
    drop(permit);
}

/// The kind of an error; its text might quote what a client sent.
fn kind(error: &(dyn std::error::Error + 'static)) -> &'static str {
    match error.downcast_ref::<hyper::Error>() {
        Some(e) if e.is_parse_too_large() => "header section over limits.header",
        Some(e) if e.is_parse() => "not HTTP",
        Some(e) if e.is_timeout() => "no complete header section in time",
        Some(e) if e.is_incomplete_message() => "cut within a message",
        Some(e) if e.is_body_write_aborted() || e.is_user() => "the answer was cut",
        _ => "closed",
    }
}

/// Names for exchanges and traces: unique, no secrets, without a system call each.
#[derive(Debug)]
pub(super) struct Ids(AtomicU64, u64);

impl Ids {
    pub(super) fn seeded() -> Result<Self, RandomError> {
        Ok(Self(AtomicU64::new(u64::from_be_bytes(random::bytes()?)), u64::from_be_bytes(random::bytes()?)))
    }

    /// 64 bits that do not repeat within this worker.
    pub(super) fn short(&self) -> u64 {
        // SplitMix64
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).max(1)
    }

    /// 128 bits that do not repeat among workers and processes, in hex.
    pub(super) fn id(&self) -> [u8; 32] {
        let mut id = [0; 32];
        hex(&mut id, self.long());
        id
    }

    /// A new `traceparent`: version, trace, parent, not sampled.
    pub(super) fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let (before_parent, parent) = text.split_at_mut(36);
        hex(before_parent.get_mut(3..35).unwrap_or_default(), self.long());
        hex(parent.get_mut(..16).unwrap_or_default(), self.short().into());
        text
    }

    fn long(&self) -> u128 {
        (u128::from(self.1 ^ self.short()) << 64) | u128::from(self.short())
    }
}

/// The low digits of `number`, as many as there is room for.
fn hex(into: &mut [u8], mut number: u128) {
    for digit in into.iter_mut().rev() {
        let nibble = (number & 0xf) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_do_not_repeat() {
        let ids = Ids::seeded().unwrap();
        let all: std::collections::HashSet<_> = (0..1000).map(|_| ids.id()).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().flatten().all(u8::is_ascii_hexdigit));
        let parent = String::from_utf8(ids.traceparent().to_vec()).unwrap();
        let lengths: Vec<_> = parent.split('-').map(str::len).collect();
        assert_eq!(lengths, [2, 32, 16, 2], "{parent}");
    }
}
