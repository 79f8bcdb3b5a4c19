//! One connection, as hyper reads and writes it: TCP or a unix socket, in the clear or under TLS.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::tls::{PeerIdentity, server};

/// A connection of any kind.
#[derive(Debug)]
pub(crate) struct Stream {
    io: Io,
    reset: Arc<AtomicBool>,
}

/// Who does without TLS pays a branch for it, and no box.
enum Io {
    Plain(TokioIo<Socket>),
    Tls(Box<TokioIo<TlsStream<Socket>>>),
}

/// A connection in the clear, or what TLS runs over.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What two sides agreed on by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// Its identification sequence.
    pub(crate) fn id(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }

    fn of(alpn: Option<&[u8]>) -> Option<Self> {
        [Self::Http1, Self::Http2].into_iter().find(|protocol| alpn == Some(protocol.id()))
    }
}

/// What a client's handshake told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Secured {
    /// Who its certificate names, verified; `None`: it showed none.
    pub(crate) identity: Option<PeerIdentity>,
    /// The server that it asked for, in lower case.
    pub(crate) sni: Option<String>,
    /// `None`: it did not ask.
    pub(crate) protocol: Option<Protocol>,
}

impl Stream {
    pub(crate) fn plain(socket: Socket) -> Self {
        Self { io: Io::Plain(TokioIo::new(socket)), reset: Arc::default() }
    }

    /// After the handshake.
    pub(crate) fn tls(stream: impl Into<TlsStream<Socket>>) -> Self {
        Self { io: Io::Tls(Box::new(TokioIo::new(stream.into()))), reset: Arc::default() }
    }

    /// Once set, the connection ends with a reset: to HTTP/1.0 an orderly end is the end of a whole answer.
    pub(crate) fn reset(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reset)
    }

    /// What ALPN chose; `None`: nothing, or there is no TLS.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(io) => Protocol::of(io.inner().get_ref().1.alpn_protocol()),
        }
    }

    /// What the client's handshake told; `None`: it was in the clear, or we are the client.
    pub(crate) fn secured(&self) -> Option<Secured> {
        let Io::Tls(io) = &self.io else { return None };
        let TlsStream::Server(stream) = io.inner() else { return None };
        let connection = stream.get_ref().1;
        Some(Secured {
            identity: server::identity(connection),
            sni: connection.server_name().map(str::to_ascii_lowercase),
            protocol: Protocol::of(connection.alpn_protocol()),
        })
    }

    /// The socket, if what comes over it is what its user reads, and can be looked at before.
    pub(crate) fn in_the_clear(&self) -> Option<&TcpStream> {
        match &self.io {
            Io::Plain(io) => match io.inner() {
                Socket::Tcp(stream) => Some(stream),
                Socket::Unix(_) => None,
            },
            Io::Tls(_) => None,
        }
    }

    fn socket(&self) -> &Socket {
        match &self.io {
            Io::Plain(io) => io.inner(),
            Io::Tls(io) => io.inner().get_ref().0,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let (Socket::Tcp(socket), true) = (self.socket(), self.reset.load(Ordering::Relaxed)) {
            // A connection that is gone already needs no reset.
            drop(socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)));
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
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            // An end without close_notify is an error here, so that nobody takes a part for the whole.
            Io::Tls(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.reset.load(Ordering::Relaxed) {
            // Neither a FIN nor a close_notify: either would pass for the answer's end.
            return Poll::Ready(Ok(()));
        }
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, bufs),
        }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Unix(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Self::Unix(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Unix(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Unix(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Unix(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Unix(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_without_tls_pays_no_room_for_it() {
        // The socket stands in the stream itself, and TLS behind a pointer: beside the socket there are two tags and the flag.
        assert!(size_of::<Stream>() <= size_of::<UnixStream>().max(size_of::<TcpStream>()) + 3 * size_of::<usize>());
        assert!(size_of::<TlsStream<Socket>>() > 4 * size_of::<Stream>());
    }

    #[test]
    fn alpn_knows_two_protocols() {
        assert_eq!(Protocol::of(Some(b"h2")), Some(Protocol::Http2));
        assert_eq!(Protocol::of(Some(b"http/1.1")), Some(Protocol::Http1));
        assert_eq!((Protocol::of(Some(b"h3")), Protocol::of(None)), (None, None));
    }
}
