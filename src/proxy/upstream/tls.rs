//! TLS to a listener's upstreams.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::proxy::settings::{Address, UpstreamTls};
use crate::proxy::stream::{Protocol, Socket, Stream};
use crate::tls::{TlsError, client, fault};

/// One per listener, for all workers. Roots and our certificate follow their files; what is connected goes on.
pub(crate) struct Outward {
    http1: TlsConnector,
    http2: TlsConnector,
    either: TlsConnector,
    name: Option<ServerName<'static>>,
}

/// What is offered to an upstream by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Http1,
    Http2,
    /// It chooses; [`Stream::protocol`] tells what. Nothing chosen is HTTP/1.1.
    Either,
}

impl Outward {
    pub(crate) fn new(settings: &UpstreamTls) -> Result<Self, TlsError> {
        let config = client::config(&settings.client)?;
        let offering = |protocols: &[Protocol]| {
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.id().to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self {
            http1: offering(&[Protocol::Http1]),
            http2: offering(&[Protocol::Http2]),
            either: offering(&[Protocol::Http2, Protocol::Http1]),
            name: settings.server_name.as_deref().and_then(server_name),
        })
    }

    /// The handshake on a connection to `target`; an error tells what is wrong in words for the log. Who calls bounds the time.
    pub(crate) async fn secure(&self, socket: Socket, target: &Address, offer: Offer) -> io::Result<Stream> {
        let Some(name) = self.name.clone().or_else(|| host(target)) else {
            return Err(Fault::error(
                "its certificate has no name to be checked against; give upstream_tls.server_name",
            ));
        };
        let connector = match offer {
            Offer::Http1 => &self.http1,
            Offer::Http2 => &self.http2,
            Offer::Either => &self.either,
        };
        // Boxed: a pool's future is kept small where nobody shakes hands.
        let stream = match Box::pin(connector.connect(name, socket)).await {
            Ok(stream) => Stream::tls(stream),
            Err(error) => {
                return Err(Fault::error(
                    fault::with_server(&error).unwrap_or("the connection ended within the handshake"),
                ));
            }
        };
        if offer == Offer::Http2 && stream.protocol() != Some(Protocol::Http2) {
            return Err(Fault::error("it does not speak HTTP/2; see upstream_protocol"));
        }
        Ok(stream)
    }
}

/// A name or address that a certificate can have.
pub(crate) fn server_name(text: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(text.to_owned()).ok()
}

fn host(target: &Address) -> Option<ServerName<'static>> {
    match target {
        Address::Tcp(address) => Some(ServerName::from(address.ip())),
        Address::Host(host, _) => server_name(host),
        Address::Unix(_) => None,
    }
}

/// Only words of our own.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {0}")]
struct Fault(&'static str);

impl Fault {
    fn error(what: &'static str) -> io::Error {
        io::Error::other(Self(what))
    }
}

impl fmt::Debug for Outward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outward").field("name", &self.name).finish_non_exhaustive()
    }
}
