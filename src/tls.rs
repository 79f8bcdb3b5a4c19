//! TLS 1.3 (1.2 where `pq_only` is off) for servers and clients: X25519MLKEM768 is preferred, or together with SECP256R1MLKEM768
//! the only key exchange. Certificates, keys and roots are read again when their files change; connections that are open go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP256R1MLKEM768, SECP384R1, X25519, X25519MLKEM768};
use rustls::version::{TLS12, TLS13};

pub mod client;
pub mod fault;
mod peer;
pub mod server;
mod store;
mod watch;

/// A server's side, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM: the certificate, then its intermediates.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// Further pairs, for clients that ask for a name which the first does not have.
    pub more: Vec<(PathBuf, PathBuf)>,
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

/// Who a verified client certificate names: its URI (SPIFFE), DNS and e-mail subject alternative names, in that order. A URI
/// has a colon; an e-mail address an `@` and no colon; a DNS name neither: none can pass for another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Such as `spiffe://bank/ns/teller/sa/web`.
    pub names: Vec<String>,
    /// When the certificate ends (Unix seconds); connections may last longer.
    pub expires: u64,
}

/// What is wrong with a file of certificates or keys. Never quotes the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TLS: {}: {problem}; {help}", file.display())]
pub struct TlsError {
    /// Which file; for a pair that does not fit, the key's.
    pub file: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// The way out.
    pub help: &'static str,
}

impl TlsError {
    fn new(file: &Path, problem: impl Into<String>, help: &'static str) -> Self {
        Self { file: file.to_owned(), problem: problem.into(), help }
    }
}

/// The order is the preference.
fn provider(pq_only: bool) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = match pq_only {
        true => vec![X25519MLKEM768, SECP256R1MLKEM768],
        false => vec![X25519MLKEM768, SECP256R1MLKEM768, X25519, SECP256R1, SECP384R1],
    };
    Arc::new(provider)
}

/// TLS 1.2 has no post-quantum key exchange.
fn versions(pq_only: bool) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    static NEWEST: [&SupportedProtocolVersion; 1] = [&TLS13];
    if pq_only { &NEWEST } else { &ALL }
}
