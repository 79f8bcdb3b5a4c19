//! Opening connections: TCP or a unix socket, within a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time;

use crate::proxy::settings::Address;
use crate::proxy::stream::{Socket, Stream};

use super::tls::{Offer, Outward};

/// One place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Where: numeric, or a unix socket. Names are resolved before.
    pub(super) address: Address,
    /// As it is configured, `app:9000`: what the upstream is called in `Host`, SNI and certificates.
    pub(super) name: Address,
}

/// Opens connections for the pool.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    /// `None`: in the clear.
    outward: Option<Arc<Outward>>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(outward: Option<Arc<Outward>>, timeout: Duration) -> Self {
        Self { outward, timeout }
    }

    /// How long a connection may take, from its first packet until a request can be sent.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A connection over which requests can be sent at once, the handshake included. The caller bounds the time.
    pub(super) async fn connect(&self, target: &Target, offer: Offer) -> io::Result<Stream> {
        let tcp = |stream: TcpStream| stream.set_nodelay(true).map(|()| Socket::Tcp(stream));
        let socket = match &target.address {
            Address::Tcp(address) => tcp(TcpStream::connect(address).await?)?,
            Address::Host(host, port) => tcp(TcpStream::connect((host.as_str(), *port)).await?)?,
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
        };
        match &self.outward {
            Some(outward) => outward.secure(socket, &target.name, offer).await,
            None => Ok(Stream::plain(socket)),
        }
    }

    /// The same, within a time.
    pub(super) async fn connect_within(&self, target: &Target, offer: Offer, limit: Duration) -> io::Result<Stream> {
        let connect = self.connect(target, offer);
        time::timeout(limit, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
