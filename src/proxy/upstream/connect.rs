//! Opening connections: TCP or a unix socket, within a time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::uri::{Authority, Uri};
use tokio::net::{TcpStream, UnixStream};
use tokio::time;

use crate::proxy::settings::Address;
use crate::proxy::stream::{Socket, Stream};

use super::tls::{Offer, Outward};

/// How long a target that refused a connection is left out while another one may serve.
const REST_MS: u64 = 2_000;

/// The addresses of a listener's upstream.
#[derive(Debug)]
pub(super) struct Targets {
    addresses: Vec<Address>,
    /// Milliseconds after `born` until which a target rests.
    resting: Vec<AtomicU64>,
    born: Instant,
}

impl Targets {
    pub(super) fn new(addresses: &[Address]) -> Self {
        let resting = addresses.iter().map(|_| AtomicU64::new(0)).collect();
        Self { addresses: addresses.to_vec(), resting, born: Instant::now() }
    }

    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// The target of the `turn`-th exchange: the next one that does not rest, or just the next.
    pub(super) fn pick(&self, turn: usize) -> usize {
        let count = self.len();
        if count <= 1 {
            return 0;
        }
        let now = self.now();
        let awake =
            |target: &usize| self.resting.get(*target).is_some_and(|until| until.load(Ordering::Relaxed) <= now);
        (0..count).map(|step| turn.wrapping_add(step) % count).find(awake).unwrap_or(turn % count)
    }

    /// For a request that names no host itself.
    pub(super) fn host(&self, target: usize) -> HeaderValue {
        match self.addresses.get(target) {
            Some(Address::Unix(_)) | None => HeaderValue::from_static("localhost"),
            Some(address) => super::host_value(&address.to_string()),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn rest(&self, target: usize) {
        if let Some(until) = self.resting.get(target) {
            until.store(self.now() + REST_MS, Ordering::Relaxed);
        }
    }
}

/// The name of a target within the pool; it never leaves the process.
pub(super) fn authority(target: usize) -> Option<Authority> {
    Authority::try_from(format!("u{target}")).ok()
}

/// Opens connections for the pool.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    targets: Arc<Targets>,
    /// `None`: in the clear.
    outward: Option<Arc<Outward>>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(targets: Arc<Targets>, outward: Option<Arc<Outward>>, timeout: Duration) -> Self {
        Self { targets, outward, timeout }
    }

    /// A connection that is ready for requests, the handshake included.
    pub(super) async fn connect(&self, target: usize, offer: Offer) -> io::Result<Stream> {
        let opened = match time::timeout(self.timeout, self.open(target, offer)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        if opened.is_err() {
            self.targets.rest(target);
        }
        opened
    }

    async fn open(&self, target: usize, offer: Offer) -> io::Result<Stream> {
        let Some(address) = self.targets.addresses.get(target) else { return Err(io::ErrorKind::NotFound.into()) };
        let tcp = |stream: TcpStream| stream.set_nodelay(true).map(|()| Socket::Tcp(stream));
        let socket = match address {
            Address::Tcp(address) => tcp(TcpStream::connect(address).await?)?,
            Address::Host(host, port) => tcp(TcpStream::connect((host.as_str(), *port)).await?)?,
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
        };
        match &self.outward {
            Some(outward) => outward.secure(socket, address, offer).await,
            None => Ok(Stream::plain(socket)),
        }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        let target = uri.host().and_then(|host| host.strip_prefix('u')?.parse().ok());
        Box::pin(async move { this.connect(target.unwrap_or(usize::MAX), Offer::Http1).await })
    }
}
