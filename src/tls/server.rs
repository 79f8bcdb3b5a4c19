//! A server's TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use super::watch::{Reloads, watch};
use super::{PeerIdentity, ServerTls, TlsError, peer, provider, store, versions};
use crate::clock::{Clock, SystemClock};

/// A server's certificate, key and client authorities, as they are in their files now.
#[derive(Debug, Clone)]
pub struct Server(Arc<Live>);

#[derive(Debug)]
struct Live {
    settings: ServerTls,
    files: Vec<PathBuf>,
    now: ArcSwap<Loaded>,
    /// Changes of the files that were refused.
    refused: AtomicU64,
    /// The last one was.
    stale: AtomicBool,
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
            pairs(settings).flat_map(<[&PathBuf; 2]>::from).chain(&settings.client_ca).cloned().collect();
        let seen = store::digests(&files);
        let now = ArcSwap::from_pointee(load(settings)?);
        let live = Arc::new(Live {
            settings: settings.clone(),
            files,
            now,
            refused: AtomicU64::new(0),
            stale: AtomicBool::new(false),
        });
        watch(&live, seen).map_err(|error| {
            TlsError::new(&settings.cert, format!("cannot be watched: {error}"), "allow this process more threads")
        })?;
        Ok(Self(live))
    }

    /// For the next handshake; connections keep the one they began with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.now.load().config)
    }

    /// When the certificate ends (Unix seconds); of several, the first that does.
    pub fn expires(&self) -> u64 {
        self.0.now.load().expires
    }

    /// How many changes of the files were refused, and whether the last one was: then what is in force is not what they hold.
    pub fn refused(&self) -> (u64, bool) {
        (self.0.refused.load(Ordering::Relaxed), self.0.stale.load(Ordering::Relaxed))
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
        let reloaded = self.replace();
        self.stale.store(reloaded.is_err(), Ordering::Relaxed);
        self.refused.fetch_add(u64::from(reloaded.is_err()), Ordering::Relaxed);
        reloaded
    }
}

impl Live {
    fn replace(&self) -> Result<(), TlsError> {
        let (new, now) = (load(&self.settings)?, SystemClock.now());
        if new.expires < now && self.now.load().expires >= now {
            let help = "put one there that is valid";
            return Err(TlsError::new(
                &self.settings.cert,
                "the new certificate has expired, the old one has not",
                help,
            ));
        }
        self.now.store(Arc::new(new));
        Ok(())
    }
}

fn pairs(settings: &ServerTls) -> impl Iterator<Item = (&PathBuf, &PathBuf)> {
    let more = settings.more.iter().map(|(cert, key)| (cert, key));
    std::iter::once((&settings.cert, &settings.key)).chain(more)
}

fn load(settings: &ServerTls) -> Result<Loaded, TlsError> {
    let provider = provider(settings.pq_only);
    let (mut identities, mut expires) = (Vec::new(), u64::MAX);
    for (cert, key) in pairs(settings) {
        let (identity, ends) = store::identity(cert, key, &provider)?;
        identities.push(identity);
        expires = expires.min(ends);
    }
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
    let mut config = builder.with_cert_resolver(Arc::new(ByName::new(identities)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if settings.client_ca.is_some() {
        // A resumed session would not look at the client's certificate again, which may have expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), expires })
}

/// Shows the first certificate that has the name asked for and suits the client, or else the first of all.
#[derive(Debug)]
struct ByName(Vec<(Vec<String>, Arc<CertifiedKey>)>);

impl ByName {
    fn new(identities: Vec<Arc<CertifiedKey>>) -> Self {
        let names = |identity: &CertifiedKey| identity.cert.first().map(peer::hosts).unwrap_or_default();
        // Whoever has one certificate shows it without a look at its names.
        let one = identities.len() == 1;
        Self(identities.into_iter().map(|i| (if one { Vec::new() } else { names(&i) }, i)).collect())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (_, first) = self.0.first()?;
        let suits = |identity: &CertifiedKey| identity.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().and_then(|asked| {
            let asked = asked.to_ascii_lowercase();
            let has = |names: &[String]| names.iter().any(|name| covers(name, &asked));
            self.0.iter().find(|(names, identity)| has(names) && suits(identity))
        });
        Some(Arc::clone(named.map_or(first, |(_, identity)| identity)))
    }
}

/// Whether a certificate's name is or stands for this one (RFC 9525 § 6.3): `*.` for just one label.
fn covers(name: &str, asked: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => asked.split_once('.').is_some_and(|(label, parent)| !label.is_empty() && parent == rest),
        None => name == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(covers("a.test", "a.test") && covers("*.a.test", "b.a.test"));
        for (name, asked) in
            [("a.test", "b.test"), ("*.a.test", "a.test"), ("*.a.test", "c.b.a.test"), ("*.a.test", ".a.test")]
        {
            assert!(!covers(name, asked), "{name} {asked}");
        }
    }
}
