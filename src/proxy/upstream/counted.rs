//! Counts what goes over a connection: whether a request has left, and whether an answer has begun.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::stream::Stream;

/// What has gone over a connection so far, in bytes of messages.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    read: AtomicU64,
    written: AtomicU64,
    /// Reading beyond this is an error: an upstream that sends interim answers without end.
    stop_at: AtomicU64,
}

impl Traffic {
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// From here no more than these bytes may come.
    pub(super) fn allow(&self, bytes: u64) {
        self.stop_at.store(self.read().saturating_add(bytes), Ordering::Relaxed);
    }

    /// Whether a connection was cut since more came than was allowed.
    pub(super) fn is_flooded(&self) -> bool {
        self.read() > self.stop_at.load(Ordering::Relaxed)
    }
}

/// A connection whose bytes are counted.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TokioIo<Stream>,
    traffic: Arc<Traffic>,
}

impl Counted {
    pub(super) fn new(stream: Stream) -> (Self, Arc<Traffic>) {
        let traffic = Arc::new(Traffic::default());
        traffic.allow(u64::MAX);
        (Self { stream: TokioIo::new(stream), traffic: Arc::clone(&traffic) }, traffic)
    }

    fn wrote(&self, written: usize) -> usize {
        // One task writes: no need for an atomic addition.
        self.traffic.written.store(self.traffic.written() + written as u64, Ordering::Relaxed);
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        self.traffic.read.store(self.traffic.read() + read as u64, Ordering::Relaxed);
        match self.traffic.is_flooded() {
            false => Poll::Ready(Ok(())),
            true => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(written.map(|n| self.wrote(n)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        Poll::Ready(written.map(|n| self.wrote(n)))
    }
}
