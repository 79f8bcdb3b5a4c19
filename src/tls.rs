//! (interface; owner: tls) TLS for servers and clients: X25519MLKEM768 preferred, client certificates, certificates read again when
//! their files change.

use std::path::PathBuf;

/// A server's side, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM: the certificate, then its intermediates.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: who may issue client certificates; `None`: clients show none.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is turned away.
    pub require_client: bool,
    /// Only post-quantum key exchange.
    pub pq_only: bool,
}

/// A client's side, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM: trusted roots; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// PEM: the certificate that it shows, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Only post-quantum key exchange.
    pub pq_only: bool,
}

/// Who a verified client certificate names: its URI (SPIFFE), DNS and e-mail subject alternative names, in that order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Such as `spiffe://bank/ns/teller/sa/web`.
    pub names: Vec<String>,
}
