//! Who a verified certificate names.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::PeerIdentity;

/// More names than a certificate for one workload has.
const MAX_NAMES: usize = 64;
const MAX_LENGTH: usize = 2048;

/// The names of the first certificate, which must be verified. What is not well-formed for its kind is left out: a DNS name
/// `spiffe://…` would pass for a URI otherwise.
pub(super) fn identity(certificate: &CertificateDer<'_>) -> PeerIdentity {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return PeerIdentity::default() };
    let expires = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return PeerIdentity { names: Vec::new(), expires };
    };
    let (mut uris, mut hosts, mut mails) = (Vec::new(), Vec::new(), Vec::new());
    for name in names.value.general_names.iter().take(MAX_NAMES) {
        match name {
            GeneralName::URI(uri) if is_uri(uri) => uris.push((*uri).to_owned()),
            GeneralName::DNSName(host) if is_host(host) => hosts.push(host.to_ascii_lowercase()),
            GeneralName::RFC822Name(mail) if is_mail(mail) => mails.push((*mail).to_owned()),
            _ => {}
        }
    }
    // A SPIFFE ID is the only URI of its certificate (X.509-SVID, section 2): with a second one, which is meant is a guess.
    if uris.len() > 1 {
        uris.retain(|uri| !uri.get(..9).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe://")));
    }
    PeerIdentity { names: uris.into_iter().chain(hosts).chain(mails).collect(), expires }
}

/// The DNS names of one of our own certificates, in lower case.
pub(super) fn hosts(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(host).collect()
}

fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    printable(text) && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !scheme.contains(['@', '/', '.'])
}

fn is_host(text: &str) -> bool {
    printable(text) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'*'))
}

fn is_mail(text: &str) -> bool {
    printable(text) && text.matches('@').count() == 1 && !text.contains([':', '/'])
}

fn printable(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_LENGTH && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn names(names: &[SanType]) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        identity(certificate.der()).names
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    fn mail(text: &str) -> SanType {
        SanType::Rfc822Name(text.try_into().unwrap())
    }

    #[test]
    fn names_come_in_their_order() {
        let all = [dns("Web.bank"), mail("web@bank"), uri("spiffe://bank/web")];
        assert_eq!(names(&all), ["spiffe://bank/web", "web.bank", "web@bank"]);
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn no_kind_passes_for_another() {
        assert!(
            names(&[dns("spiffe://bank/admin"), mail("spiffe://bank/a@b"), dns("a@b"), uri("web.bank")]).is_empty()
        );
        assert!(names(&[dns("a b"), mail("a@b@c"), uri("a@b:c"), dns(""), uri("spiffe://bank/a\u{7f}")]).is_empty());
    }

    #[test]
    fn two_uris_are_no_spiffe_id() {
        assert_eq!(names(&[uri("spiffe://bank/a"), uri("SPIFFE://bank/b"), uri("urn:x:y")]), ["urn:x:y"]);
    }
}
