//! A client's TLS.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::watch::{Reloads, watch};
use super::{ClientTls, TlsError, provider, store, versions};
use crate::crypto::kdf::sha256;
use crate::keyring::TlsFiles;

/// A configuration whose roots and identity follow their files for as long as it, or a clone of it, is held; the system's roots
/// are read once. It names no application protocol: who needs one sets `alpn_protocols` in a clone.
pub fn config(settings: &ClientTls) -> Result<Arc<ClientConfig>, TlsError> {
    pinned(settings, &[])
}

/// The same; if there are pins, the server's certificate must have one of these keys besides (SHA-256 of its
/// SubjectPublicKeyInfo, RFC 7469 § 2.4), or the handshake fails with [`CertificateError::ApplicationVerificationFailure`].
pub fn pinned(settings: &ClientTls, pins: &[[u8; 32]]) -> Result<Arc<ClientConfig>, TlsError> {
    let identity = settings.identity.iter().flat_map(|(cert, key)| [cert, key]);
    let files: Vec<PathBuf> = settings.ca.iter().chain(identity).cloned().collect();
    let seen = store::digests(&files);
    let (verifier, identity) = load(settings)?;
    let live = Arc::new(Live {
        settings: settings.clone(),
        pins: pins.to_vec(),
        files,
        verifier: ArcSwap::new(verifier),
        identity: ArcSwapOption::new(identity),
    });
    if !live.files.is_empty() {
        watch(&live, seen).map_err(|error| broken(settings, format!("cannot be watched: {error}")))?;
    }
    let builder = ClientConfig::builder_with_provider(provider(settings.pq_only))
        .with_protocol_versions(versions(settings.pq_only))
        .map_err(|error| broken(settings, error.to_string()))?
        .dangerous()
        // Webpki's own, behind a pointer that a reload moves.
        .with_custom_certificate_verifier(Arc::clone(&live) as Arc<dyn ServerCertVerifier>);
    let mut config = match settings.identity {
        Some(_) => builder.with_client_cert_resolver(live),
        None => builder.with_no_client_auth(),
    };
    // A resumed session would outlive the roots that vouched for it.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Whether a certificate can have this name or address.
pub fn is_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

/// As the parameters of a database's URL say.
pub fn for_database(files: &TlsFiles) -> Result<Arc<ClientConfig>, String> {
    let identity = files.certificate.clone().zip(files.key.clone());
    config(&ClientTls { ca: files.roots.clone(), identity, pq_only: false }).map_err(|error| error.to_string())
}

#[derive(Debug)]
struct Live {
    settings: ClientTls,
    pins: Vec<[u8; 32]>,
    files: Vec<PathBuf>,
    verifier: ArcSwap<WebPkiServerVerifier>,
    identity: ArcSwapOption<CertifiedKey>,
}

impl Reloads for Live {
    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn reload(&self) -> Result<(), TlsError> {
        let (verifier, identity) = load(&self.settings)?;
        self.verifier.store(verifier);
        self.identity.store(identity);
        Ok(())
    }
}

type Parts = (Arc<WebPkiServerVerifier>, Option<Arc<CertifiedKey>>);

fn load(settings: &ClientTls) -> Result<Parts, TlsError> {
    let provider = provider(settings.pq_only);
    let roots = settings.ca.as_deref().map_or_else(store::system_roots, store::roots)?;
    let identity = match &settings.identity {
        Some((cert, key)) => Some(store::identity(cert, key, &provider)?.0),
        None => None,
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| broken(settings, error.to_string()))?;
    Ok((verifier, identity))
}

fn broken(settings: &ClientTls, problem: String) -> TlsError {
    let file = settings.ca.clone().unwrap_or_else(|| PathBuf::from("the system's certificates"));
    TlsError::new(&file, problem, "give a file of roots as PEM")
}

impl ServerCertVerifier for Live {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.verifier.load().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if !self.pins.is_empty() && !self.pins.contains(&key_digest(end_entity)?) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.load().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.load().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.load().supported_verify_schemes()
    }
}

/// What is pinned: the key and not the certificate, so that a renewal of the certificate alone changes nothing.
fn key_digest(certificate: &CertificateDer<'_>) -> Result<[u8; 32], Error> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(sha256(certificate.public_key().raw))
}

impl ResolvesClientCert for Live {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.identity.load_full()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    use super::*;

    #[test]
    fn a_pinned_server_needs_its_root_and_one_of_the_keys() {
        let directory = tempfile::tempdir().unwrap();
        let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate =
            |key: &KeyPair| CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(key).unwrap();
        let (trusted, stranger) = (certificate(&own), certificate(&other));
        let ca = directory.path().join("ca.pem");
        fs::write(&ca, trusted.pem()).unwrap();
        let settings = ClientTls { ca: Some(ca), ..ClientTls::default() };
        let (pin, wrong) = (sha256(&own.subject_public_key_info()), sha256(&other.subject_public_key_info()));
        let verify = |pins: &[[u8; 32]], certificate: &CertificateDer<'_>| {
            let (verifier, _) = load(&settings).unwrap();
            let live = Live {
                settings: settings.clone(),
                pins: pins.to_vec(),
                files: Vec::new(),
                verifier: ArcSwap::new(verifier),
                identity: ArcSwapOption::empty(),
            };
            let name = ServerName::try_from("localhost").unwrap();
            live.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).map(drop)
        };
        verify(&[], trusted.der()).unwrap();
        verify(&[pin], trusted.der()).unwrap();
        verify(&[wrong, pin], trusted.der()).unwrap();
        let refused = verify(&[wrong], trusted.der()).unwrap_err();
        assert_eq!(refused, CertificateError::ApplicationVerificationFailure.into());
        // A pin is no substitute for the chain.
        assert!(verify(&[wrong], stranger.der()).is_err());
        assert!(pinned(&settings, &[pin]).is_ok());
    }
}
