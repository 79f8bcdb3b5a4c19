//! A server's TLS.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, ServerConnection};

use super::watch::{Reloads, watch};
use super::{PeerIdentity, ServerTls, TlsError, peer, provider, store, versions};

/// A server's certificate, key and client authorities, as they are in their files now.
#[derive(Debug, Clone)]
pub struct Server(Arc<Live>);

#[derive(Debug)]
struct Live {
    settings: ServerTls,
    files: Vec<PathBuf>,
    now: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    expires: u64,
}

impl Server {
    /// Reads the files, and watches them for as long as this is held.
    pub fn new(settings: &ServerTls) -> Result<Self, TlsError> {
        let files: Vec<PathBuf> =
            [&settings.cert, &settings.key].into_iter().chain(&settings.client_ca).cloned().collect();
        let seen = store::digests(&files);
        let now = ArcSwap::from_pointee(load(settings)?);
        let live = Arc::new(Live { settings: settings.clone(), files, now });
        watch(&live, seen).map_err(|error| {
            TlsError::new(&settings.cert, format!("cannot be watched: {error}"), "allow this process more threads")
        })?;
        Ok(Self(live))
    }

    /// For the next handshake; connections keep the one they began with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.now.load().config)
    }

    /// When the certificate ends (Unix seconds).
    pub fn expires(&self) -> u64 {
        self.0.now.load().expires
    }
}

/// Who the client of a finished handshake is; `None`: it showed no certificate.
pub fn identity(connection: &ServerConnection) -> Option<PeerIdentity> {
    connection.peer_certificates()?.first().map(peer::identity)
}

impl Reloads for Live {
    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn reload(&self) -> Result<(), TlsError> {
        self.now.store(Arc::new(load(&self.settings)?));
        Ok(())
    }
}

fn load(settings: &ServerTls) -> Result<Loaded, TlsError> {
    let provider = provider(settings.pq_only);
    let (identity, expires) = store::identity(&settings.cert, &settings.key, &provider)?;
    let unusable = |error: rustls::Error| TlsError::new(&settings.cert, error.to_string(), "give another certificate");
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(settings.pq_only))
        .map_err(unusable)?;
    let builder = match &settings.client_ca {
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(store::roots(ca)?, provider);
            let verifier = match settings.require_client {
                true => verifier,
                false => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| {
                TlsError::new(ca, error.to_string(), "give certificates of the clients' authority as PEM")
            })?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if settings.client_ca.is_some() {
        // A resumed session would not look at the client's certificate again, which may have expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), expires })
}
