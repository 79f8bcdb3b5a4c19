//! TLS to the database, where the process does not hand in a configuration of its own.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::super::StoreError;
use super::place::TlsFiles;

/// Trusts the named roots, or the system's, and shows the named certificate.
pub fn client(files: &TlsFiles) -> Result<Arc<ClientConfig>, StoreError> {
    let mut roots = RootCertStore::empty();
    match &files.roots {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|_| unreadable(path, "holds a certificate that is no root"))?;
            }
        }
        None => {
            let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(StoreError::Unavailable(
            "no certificate authority is trusted; name one with `sslrootcert` in the keyring's URL".into(),
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |e: rustls::Error| StoreError::Unavailable(format!("TLS to the database cannot be set up: {e}"));
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(failed)?;
    let builder = builder.with_root_certificates(roots);
    let config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let private =
                PrivateKeyDer::from_pem_file(key).map_err(|_| unreadable(key, "holds no private key in PEM"))?;
            builder.with_client_auth_cert(certificates(certificate)?, private).map_err(failed)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|_| unreadable(path, "cannot be read as PEM"))?.collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(unreadable(path, "holds no certificate in PEM")),
    }
}

fn unreadable(path: &Path, what: &str) -> StoreError {
    StoreError::Unavailable(format!("{} {what}; check the keyring's URL", path.display()))
}
