//! The kinds of values that only profiles have.

use std::borrow::Cow;

use http::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::super::address::Problem;
use super::super::node::{Node, Value};
use super::super::read::{FromNode, Reader};
use super::super::scalar::{from_text, parsed, words};
use crate::crypto::base64;
use crate::sealer::managed::settings::Generation;

words! {
    /// `provider`
    ProviderName {
        Crittora = "crittora", NcloudKms = "ncloud-kms", ExeQuantum = "exequantum", Crypteron = "crypteron"
    }
    /// `granularity`
    GranularityName { Envelope = "envelope", Field = "field", Message = "message" }
    /// `api`
    ApiName { Managed = "managed", Direct = "direct" }
}

parsed! {
    /// A base URL, without a `/` at its end.
    Endpoint(String) = endpoint, { "type": "string", "pattern": "^https?://[^?#@]+$" };
    /// The SHA-256 of a public key (RFC 7469 § 2.4).
    Pin([u8; 32]) = pin, { "type": "string", "pattern": "^sha256/.{44,45}$" };
    /// A generation of ExeQuantum's API.
    GenerationNumber(Generation) = generation, { "enum": [1, 2] };
    /// An application's name at Crypteron, which is often a number.
    AppId(String) = app_id, { "type": ["string", "integer"], "pattern": "^[A-Za-z0-9_-]{1,64}$" };
}

impl ProviderName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Crittora, Self::NcloudKms, Self::ExeQuantum, Self::Crypteron];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Crittora => "crittora",
            Self::NcloudKms => "ncloud-kms",
            Self::ExeQuantum => "exequantum",
            Self::Crypteron => "crypteron",
        }
    }
}

/// A URL that may stand before a path; also whether it goes in the clear to another machine.
pub(in crate::config) fn url(text: &str) -> Result<(String, bool), Problem> {
    let bad = |why: &str| {
        // The text itself is left out: it may hold a password.
        let help = "write `https://HOST`, `https://HOST:PORT` or `https://HOST/PATH`".to_owned();
        ("bad-endpoint", format!("this is no endpoint: {why}"), help)
    };
    let uri: Uri = text.parse().map_err(|_| bad("the URL cannot be read"))?;
    let plain = match uri.scheme_str() {
        Some("https") => false,
        Some("http") => true,
        _ => return Err(bad("it does not begin with `https://`")),
    };
    let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
    if authority.as_str().contains('@') {
        return Err(bad("credentials are not allowed in it"));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(bad("it has a query or a fragment"));
    }
    let host = authority.host();
    let port = authority.port().map(|port| port.as_u16());
    if host.is_empty() || port == Some(0) || (port.is_none() && authority.as_str().len() != host.len()) {
        return Err(bad("host or port cannot be read"));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    Ok((text.trim_end_matches('/').to_owned(), plain && !loopback))
}

fn endpoint(text: &str) -> Result<String, Problem> {
    url(text).map(|(url, _)| url)
}

/// `sha256/BASE64`, and as curl writes it, with two slashes.
fn pin(text: &str) -> Result<[u8; 32], Problem> {
    let digest = text.strip_prefix("sha256/").map(|rest| match rest.len() {
        45 => rest.strip_prefix('/').unwrap_or(rest),
        _ => rest,
    });
    digest.and_then(|digest| base64::decode(digest.as_bytes(), 32)?.try_into().ok()).ok_or_else(|| {
        let help = "write `sha256/` and the base64 of the SHA-256 of the certificate's public key (44 characters)";
        ("bad-pin", "this is no pin".to_owned(), help.to_owned())
    })
}

fn generation(text: &str) -> Result<Generation, Problem> {
    match text {
        "1" => Ok(Generation::First),
        "2" => Ok(Generation::Later),
        _ => Err(("bad-generation", "there is no such generation".to_owned(), "write `1` or `2`".to_owned())),
    }
}

fn app_id(text: &str) -> Result<String, Problem> {
    if (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        return Ok(text.to_owned());
    }
    Err(("bad-name", "this is no application".to_owned(), "write the number or name that the vendor shows".to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://api.example", Ok(("https://api.example", false)))]
    #[case("https://api.example:8443/v1/", Ok(("https://api.example:8443/v1", false)))]
    #[case("http://127.0.0.1:8441", Ok(("http://127.0.0.1:8441", false)))]
    #[case("http://[::1]:8441/v1", Ok(("http://[::1]:8441/v1", false)))]
    #[case("http://localhost:1", Ok(("http://localhost:1", false)))]
    #[case("http://api.example", Ok(("http://api.example", true)))]
    #[case("http://localhost.example", Ok(("http://localhost.example", true)))]
    #[case("ftp://api.example", Err(()))]
    #[case("api.example", Err(()))]
    #[case("https://", Err(()))]
    #[case("https://u:hunter2@api.example", Err(()))]
    #[case("https://api.example?k=hunter2", Err(()))]
    #[case("https://api.example#x", Err(()))]
    #[case("https://api.example:", Err(()))]
    #[case("https://api.example:0", Err(()))]
    #[case("https://api.example:99999", Err(()))]
    fn endpoints(#[case] text: &str, #[case] expected: Result<(&str, bool), ()>) {
        match (url(text), expected) {
            (Ok((url, plain)), Ok(expected)) => assert_eq!((url.as_str(), plain), expected),
            (Err(problem), Err(())) => {
                assert!(problem.0 == "bad-endpoint" && !format!("{problem:?}").contains("hunter2"))
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn pins() {
        let digest = base64::encode(&[0xff; 32]);
        assert_eq!(pin(&format!("sha256/{digest}")).unwrap(), [0xff; 32]);
        assert_eq!(pin(&format!("sha256//{digest}")).unwrap(), [0xff; 32]);
        for bad in [digest.clone(), format!("sha1/{digest}"), format!("sha256/x{digest}"), "sha256/".to_owned()] {
            assert!(pin(&bad).is_err(), "{bad}");
        }
    }
}
