//! Certificates, keys and roots out of PEM files (RFC 7468).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsError;
use crate::bounded;
use crate::clock::{Clock, SystemClock};
use crate::crypto::kdf::sha256;
use crate::keyring::check_private;
use crate::secret::SecretBytes;

/// Of one file: a system's bundle of roots has a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// A certificate with its chain and key, and when it ends (Unix seconds).
pub(super) fn identity(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<(Arc<CertifiedKey>, u64), TlsError> {
    let chain = certificates(cert)?;
    let expires = validity(cert, &chain)?;
    let identity = CertifiedKey::from_der(chain, private_key(key)?, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let problem = format!("this private key does not belong to the certificate in {}", cert.display());
            TlsError::new(key, problem, "give the key that the certificate was issued for")
        }
        Error::InvalidCertificate(_) => {
            TlsError::new(cert, "the first certificate cannot be used", "give an X.509 version 3 certificate")
        }
        _ => TlsError::new(
            key,
            "this kind of private key cannot be used",
            "give an ECDSA (P-256, P-384), Ed25519 or RSA (2048 bits and more) key as PKCS#8",
        ),
    })?;
    Ok((Arc::new(identity), expires))
}

/// Roots to trust.
pub(super) fn roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|_| {
            TlsError::new(
                path,
                "one of the certificates is no root of trust",
                "give certificates of an authority as PEM",
            )
        })?;
    }
    Ok(Arc::new(roots))
}

/// What the system trusts.
pub(super) fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let place = PathBuf::from("the system's certificates");
        return Err(TlsError::new(&place, "there are none", "install `ca-certificates`, or name a file of roots"));
    }
    Ok(Arc::new(roots))
}

/// What stands in the files now. Contents and not times: two writes within the clock's grain have the same time. Also their modes:
/// a key that every user could read is refused, and to be taken up once its mode is right.
pub(super) fn digests(files: &[PathBuf]) -> Vec<Option<[u8; 32]>> {
    let digest = |file: &PathBuf| {
        let bytes = SecretBytes::new(bounded::read_file(file, MAX_FILE).ok()?);
        let mode = std::fs::metadata(file).ok()?.mode();
        Some(sha256(&[&sha256(bytes.expose())[..], &mode.to_le_bytes()].concat()))
    };
    files.iter().map(digest).collect()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(TlsError::new(
            path,
            "there is no certificate in it",
            "give a PEM file with `-----BEGIN CERTIFICATE-----`; a DER file becomes one by `openssl x509 -inform der`",
        )),
        Err(_) => Err(TlsError::new(path, "a PEM section is damaged", "give the file whole, as it was issued")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    check_private(path, "the private key").map_err(|_| {
        let help = "let its owner (and group) alone read it: `chmod 600`, or in a pod `defaultMode: 0440`";
        TlsError::new(path, "the private key is not there, or open to every user", help)
    })?;
    let bytes = SecretBytes::new(read(path)?);
    let holds = |text: &str| memchr::memmem::find(bytes.expose(), text.as_bytes()).is_some();
    if holds("BEGIN ENCRYPTED PRIVATE KEY") || holds("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::new(
            path,
            "the private key is encrypted, and nobody is there to type its password",
            "decrypt it with `openssl pkey`, and let the file's mode protect it",
        ));
    }
    PrivateKeyDer::from_pem_slice(bytes.expose()).map_err(|_| {
        TlsError::new(path, "there is no private key in it", "give a PEM file with `-----BEGIN PRIVATE KEY-----`")
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    bounded::read_file(path, MAX_FILE).map_err(|error| {
        TlsError::new(path, format!("cannot be read: {error}"), "name a file that this process may read")
    })
}

/// When the certificate ends. One that is not valid now is told of and taken: its successor may come while we run.
fn validity(path: &Path, chain: &[CertificateDer<'_>]) -> Result<u64, TlsError> {
    let bad = || TlsError::new(path, "the first certificate cannot be read", "give an X.509 version 3 certificate");
    let (_, leaf) = X509Certificate::from_der(chain.first().ok_or_else(bad)?).map_err(|_| bad())?;
    let now = i64::try_from(SystemClock.now()).unwrap_or(i64::MAX);
    let (begins, ends) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    if ends < now {
        tracing::error!(file = %path.display(), "TLS: the certificate has expired; clients will refuse it until it is replaced");
    } else if begins > now {
        tracing::warn!(file = %path.display(), "TLS: the certificate is not valid yet; is the clock right?");
    }
    Ok(u64::try_from(ends).unwrap_or(0))
}
