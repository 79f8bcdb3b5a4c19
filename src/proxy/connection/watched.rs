//! A client's connection as hyper reads and writes it, with an eye on what moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Limit;
use crate::proxy::patience::Patience;
use crate::proxy::stream::Stream;

use super::watch::Watch;

/// What an HTTP/2 connection begins with (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No method does.
const HTTP2: &[u8] = b"PRI";

pub(super) struct Watched {
    stream: TokioIo<Stream>,
    watch: Arc<Watch>,
    patience: Patience,
    /// What comes first was looked at.
    looked: bool,
}

impl Watched {
    /// `patience` is with a client that does not take what is written.
    pub(super) fn new(stream: Stream, watch: Arc<Watch>, patience: Patience) -> TokioIo<Self> {
        TokioIo::new(Self { stream: TokioIo::new(stream), watch, patience, looked: false })
    }

    /// Whether this may become HTTP/2, as far as what came first tells without being taken.
    fn poll_version(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(socket) = self.stream.inner().in_the_clear() else { return Poll::Ready(Ok(true)) };
        let mut first = [0; PREFACE.len()];
        let mut first = ReadBuf::new(&mut first);
        ready!(socket.poll_peek(cx, &mut first))?;
        Poll::Ready(Ok(PREFACE.starts_with(first.filled())))
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending if !self.patience.is_waiting() => {
                let ends = self.patience.waits();
                self.watch.send_ends(Some(ends));
            }
            Poll::Ready(Ok(bytes)) => {
                if self.patience.is_waiting() {
                    self.watch.send_ends(None);
                }
                if !self.patience.moved(*bytes) {
                    self.watch.breaks(Limit::Send);
                }
            }
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.looked {
            let http2 = ready!(self.poll_version(cx))?;
            self.looked = true;
            if !http2 {
                // hyper-util takes nothing for HTTP/1. Had it the first bytes to tell from, HTTP/1 would begin with these alone, and
                // double its buffer to have room for more behind them: 16 KiB for as long as the connection lasts.
                return Poll::Ready(Ok(()));
            }
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        if !new.is_empty() && self.watch.hears(new.len(), new.starts_with(HTTP2)) {
            self.watch.breaks(Limit::Flood);
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written)
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }
}
