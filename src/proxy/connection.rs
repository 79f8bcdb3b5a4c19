//! One connection of a client: who it is, and how it ends.

mod aside;
mod watch;
mod watched;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::time;

use crate::crypto::RandomError;
use crate::crypto::random;
use crate::metrics::{Failures, Limit, ListenerMetrics, TlsMetrics, WorkerMetrics};
use crate::refusal::{Reason, Refusal};
use crate::tls::PeerIdentity;
use crate::tls::server::Server;

use super::arrive::{Arrival, arrive};
use super::crowd::{Client, Place, Places};
use super::exchange;
use super::forwarded::PeerHeaders;
use super::outflow::Streams;
use super::patience::Patience;
use super::payload::Answer;
use super::quiet::Quiet;
use super::settings::Listener;
use super::shared::Shared;
use super::stream::{Protocol, Secured, Socket};
use super::upstream::Upstream;
use aside::aside;
pub(super) use watch::USE_PER_FRAME;
use watch::{End, Watch};
use watched::Watched;

/// How long a drain waits for the first request of a connection that has sent none yet.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// A connection whose client showed a certificate ends with the request it is at when the certificate does, and at the latest after
/// this time: it was looked at when the connection began, and its authority may have been taken away since.
const IDENTIFIED: Duration = Duration::from_hours(1);

/// One listener in one worker.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Arc<Listener>,
    /// `None`: in the clear.
    pub(super) tls: Option<(Server, TlsMetrics)>,
    /// Of this worker, over all its listeners.
    pub(super) handshakes: Arc<Places>,
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
    pub(super) closing: tokio::sync::watch::Receiver<bool>,
}

impl Front {
    /// Whether connections end with the request they are at. It begins once, and nobody here marks it as seen: that takes no lock.
    pub(super) fn closes(&self) -> bool {
        self.closing.has_changed().unwrap_or(true)
    }
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
    /// What it is about, and for how long.
    pub(super) watch: Arc<Watch>,
    /// Held until its last exchange or tunnel is over.
    _places: (Place, Option<Client>),
}

impl Connection {
    fn new(front: Arc<Front>, arrival: &Arrival, places: (Place, Option<Client>)) -> Self {
        let Arrival { stream, peer, .. } = arrival;
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
            watch: Arc::new(Watch::new()),
            _places: places,
            front,
            peer,
        }
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

    /// Whether this version is what ALPN chose: what both sides agreed on is what is spoken.
    pub(super) fn agreed(&self, version: Version) -> Result<(), Refusal> {
        match (self.tls.as_ref().and_then(|tls| tls.protocol), version) {
            (Some(Protocol::Http1), Version::HTTP_2) | (Some(Protocol::Http2), Version::HTTP_10 | Version::HTTP_11) => {
                Err(Refusal::new(Reason::BadRequest, "another version of HTTP than ALPN chose"))
            }
            _ => Ok(()),
        }
    }
}

/// Serves it to its end.
pub(super) async fn serve(
    front: Arc<Front>,
    socket: Socket,
    peer: Option<SocketAddr>,
    builder: Arc<auto::Builder<Streams>>,
    place: Place,
) {
    let metrics = Arc::clone(&front.worker_metrics);
    metrics.connections.inc();
    if let Some(mut arrival) = arrive(&front, socket, peer).await {
        let places = (place, arrival.client.take());
        converse(Arc::new(Connection::new(front, &arrival, places)), arrival, &builder).await;
    }
    metrics.connections.dec();
}

async fn converse(connection: Arc<Connection>, arrival: Arrival, builder: &auto::Builder<Streams>) {
    let front = &connection.front;
    let (limits, timeouts) = (&front.shared.settings.limits, &front.shared.settings.timeouts);
    let watch = &connection.watch;
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| {
            // Not within a future of its own, into which it would be moved: it is some KB.
            exchange::serve(Arc::clone(&connection), request)
        })
    };
    let patience = Patience::new(timeouts.send, limits.min_rate);
    let stream = Watched::new(arrival.stream, Arc::clone(watch), patience);
    let mut serving = pin!(builder.serve_connection_with_upgrades(stream, service));
    let mut closing = front.closing.clone();
    let age = [timeouts.connection_age, connection.lifetime()].into_iter().flatten().min();
    let mut ends = pin!(aside(async {
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => None,
            end = watch.ends(limits, timeouts, age, front.shared.crowd.room(&front.listener.name)) => Some(end),
        }
    }));
    let mut quiet = Quiet::default();
    let ended = poll_fn(|cx| match serving.as_mut().poll(&mut quiet.context(cx)) {
        Poll::Ready(ended) => Poll::Ready(Ok(ended)),
        Poll::Pending => ends.as_mut().poll(cx).map(Err),
    })
    .await;
    let ended = match ended {
        Ok(ended) => Ok(ended),
        Err(Some(End::Now(limit))) => Err(limit),
        // hyper would close a connection at once that has sent nothing yet: its request may be on the way.
        Err(None | Some(End::InOrder)) if !watch.has_served() => {
            match time::timeout(FIRST_REQUEST, serving.as_mut()).await {
                Ok(ended) => Ok(ended),
                Err(_) => close(serving, watch, timeouts.ping).await,
            }
        }
        Err(Some(End::InOrder) | None) => close(serving, watch, timeouts.ping).await,
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(listener = %front.listener.name, error = kind(&*error), "a connection ended early");
        }
        Err(limit) => {
            front.metrics.limited(limit);
            tracing::debug!(listener = %front.listener.name, limit = limit.word(), "a connection was cut");
        }
    }
}

type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Closes it with the requests it is at; a client that holds on to it for nothing is cut.
async fn close<S>(
    mut serving: Pin<&mut auto::UpgradeableConnection<'_, TokioIo<Watched>, S, Streams>>,
    watch: &Watch,
    grace: Duration,
) -> Result<Served, Limit>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<Answer>, Error = Infallible>,
    S::Future: Send + 'static,
{
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        ended = serving => Ok(ended),
        limit = watch.lingers(grace) => Err(limit),
    }
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

    /// 64 bits that do not repeat within this worker, several times.
    fn short<const N: usize>(&self) -> [u64; N] {
        // SplitMix64
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = self.0.fetch_add(STEP.wrapping_mul(N as u64), Ordering::Relaxed);
        std::array::from_fn(|_| {
            let mut z = next;
            next = next.wrapping_add(STEP);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)).max(1)
        })
    }

    /// 128 bits that do not repeat among workers and processes, in hex.
    pub(super) fn id(&self) -> [u8; 32] {
        let mut id = [0; 32];
        hex(&mut id, &self.long(self.short()));
        id
    }

    /// A new `traceparent`: version, trace, parent, not sampled.
    pub(super) fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let (before_parent, parent) = text.split_at_mut(36);
        let [high, low, of_parent] = self.short();
        hex(before_parent.get_mut(3..35).unwrap_or_default(), &self.long([high, low]));
        hex(parent.get_mut(..16).unwrap_or_default(), &of_parent.to_be_bytes());
        text
    }

    fn long(&self, [high, low]: [u64; 2]) -> [u8; 16] {
        ((u128::from(self.1 ^ high) << 64) | u128::from(low)).to_be_bytes()
    }
}

fn hex(into: &mut [u8], bytes: &[u8]) {
    for (eight, four) in into.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
        *eight = digits(u32::from_be_bytes(*four));
    }
}

/// All eight at once: a nibble in each byte, and what lies between the digits and the letters added to those over nine.
fn digits(number: u32) -> [u8; 8] {
    let mut nibbles = u64::from(number);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_hex() {
        for number in [0, 1, 0x0123_4567, 0x89ab_cdef, 0xa9f0_90ff, u32::MAX, 0x9999_aaaa] {
            assert_eq!(str::from_utf8(&digits(number)).unwrap(), format!("{number:08x}"));
        }
    }

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
