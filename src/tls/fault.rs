//! What went wrong between two sides of TLS, in words of our own: an error's text may hold what the peer sent.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::causes;

/// Why the handshake with a client came to nothing.
pub fn with_client(error: &io::Error) -> &'static str {
    match of(error) {
        Some(Error::NoCertificatesPresented) => "no client certificate",
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "an expired client certificate"
        }
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "a client certificate of an unknown authority"
        }
        Some(Error::InvalidCertificate(_)) => "a client certificate that does not verify",
        Some(Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon)) => "no key exchange in common",
        Some(Error::PeerIncompatible(_)) => "no version or cipher suite in common",
        Some(Error::NoApplicationProtocol) => "no application protocol in common",
        Some(Error::AlertReceived(_)) => "the client broke it off",
        Some(Error::InvalidMessage(_)) => "not TLS",
        Some(_) => "refused",
        None => "the connection ended",
    }
}

/// What TLS has against a server, wherever in the chain of errors it says so; `None`: it was not TLS.
pub fn with_server(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    Some(match of(error)? {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired; renew it there"
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "its certificate is not valid yet; see whether the clocks are right"
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "nobody we trust issued its certificate; name who did in upstream_tls.ca"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name; see upstream_tls.server_name",
        Error::InvalidCertificate(CertificateError::Revoked) => "its certificate was revoked",
        Error::InvalidCertificate(_) => "its certificate does not verify",
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => "no key exchange in common; see pq_only",
        Error::PeerIncompatible(_) => "no version or cipher suite in common",
        Error::NoApplicationProtocol | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "it does not speak what upstream_protocol says"
        }
        Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::NoCertificate) => {
            "it wants a client certificate; see upstream_tls.cert"
        }
        Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => "it refuses our client certificate; see upstream_tls.cert",
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "it does not know the name asked for; see upstream_tls.server_name"
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion) => {
            "it finds no version, cipher suite or key exchange in common"
        }
        Error::AlertReceived(_) => "it broke the handshake off",
        Error::InvalidMessage(_) => "it does not speak TLS on this port",
        _ => "the handshake failed",
    })
}

/// The error of TLS, however deep it is wrapped.
fn of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    causes::all(error).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_found_however_deep_it_lies() {
        let expired = || Error::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, expired()));
        assert_eq!(with_server(&wrapped), Some("its certificate has expired; renew it there"));
        assert_eq!(with_client(&wrapped), "an expired client certificate");
        let plain = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!((with_server(&plain), with_client(&plain)), (None, "the connection ended"));
    }
}
