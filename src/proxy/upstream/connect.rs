//! Opening connections: TCP or a unix socket, within a time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::uri::{Authority, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::time;

use crate::proxy::settings::Address;

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
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(targets: Arc<Targets>, timeout: Duration) -> Self {
        Self { targets, timeout }
    }

    pub(super) async fn connect(&self, target: usize) -> io::Result<Stream> {
        let opened = match time::timeout(self.timeout, self.open(target)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        if opened.is_err() {
            self.targets.rest(target);
        }
        opened
    }

    async fn open(&self, target: usize) -> io::Result<Stream> {
        let tcp = |stream: TcpStream| stream.set_nodelay(true).map(|()| Stream::tcp(stream));
        match self.targets.addresses.get(target) {
            Some(Address::Tcp(address)) => tcp(TcpStream::connect(address).await?),
            Some(Address::Host(host, port)) => tcp(TcpStream::connect((host.as_str(), *port)).await?),
            Some(Address::Unix(path)) => Ok(Stream::unix(UnixStream::connect(path).await?)),
            None => Err(io::ErrorKind::NotFound.into()),
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
        Box::pin(async move { this.connect(target.unwrap_or(usize::MAX)).await })
    }
}

/// A connection of either kind.
#[derive(Debug)]
pub(crate) struct Stream {
    io: Io,
    reset: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Io {
    Tcp(TokioIo<TcpStream>),
    Unix(TokioIo<UnixStream>),
}

impl Stream {
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        Self { io: Io::Tcp(TokioIo::new(stream)), reset: Arc::default() }
    }

    pub(crate) fn unix(stream: UnixStream) -> Self {
        Self { io: Io::Unix(TokioIo::new(stream)), reset: Arc::default() }
    }

    /// Once set, the connection ends with a reset: to HTTP/1.0 an orderly end is the end of a whole answer.
    pub(crate) fn reset(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reset)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let (Io::Tcp(io), true) = (&self.io, self.reset.load(Ordering::Relaxed)) {
            // A connection that is gone already needs no reset.
            drop(socket2::SockRef::from(io.inner()).set_linger(Some(Duration::ZERO)));
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Io::Unix(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Io::Unix(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(io) => Pin::new(io).poll_flush(cx),
            Io::Unix(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Io::Unix(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(io) => io.is_write_vectored(),
            Io::Unix(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Unix(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }
}
