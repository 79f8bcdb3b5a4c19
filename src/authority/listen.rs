//! (interface; owner: tls) Serving the faces: a listener each, TLS or loopback, bounded connections, drain.

use crate::tls::PeerIdentity;

/// In the extensions of each request: how its caller came in.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: std::net::SocketAddr,
    /// Who its certificate names, verified; `None` without mTLS.
    pub identity: Option<PeerIdentity>,
}
