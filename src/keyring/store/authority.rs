//! An authority that keeps a keyring, as an operator names it.

use std::path::PathBuf;

use http::Uri;

use super::BadPlace;
use crate::keyring::KeySource;

/// An authority's `/keyring/v1`, and what this process shows there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remote {
    /// `https://HOST[:PORT]`, or `http://` to loopback.
    pub url: String,
    /// What is shown in the `authorization` header.
    pub credential: Option<Credential>,
    /// PEM: who may issue the authority's certificate; `None`: the system's roots.
    pub ca: Option<PathBuf>,
    /// PEM: the certificate that this process shows, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Accept `http://` beyond loopback: shared secrets then travel for everybody to read.
    pub insecure: bool,
}

/// What a process shows an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An API key.
    ApiKey(KeySource),
    /// A token that somebody else renews in this file, such as Kubernetes a service account's; read again for each use.
    Token(PathBuf),
}

/// `https://HOST[:PORT]`, without the slash at its end; `http://` only to loopback, or if `insecure`.
pub fn check_url(text: &str, insecure: bool) -> Result<String, BadPlace> {
    let bad = |message: &str| BadPlace {
        message: format!("this is no authority: {message}"),
        help: "write `https://HOST` or `https://HOST:PORT`, of the authority's listener for sidecars".into(),
    };
    let uri: Uri = text.parse().map_err(|_| bad("the URL cannot be read"))?;
    let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
    if authority.as_str().contains('@') {
        return Err(bad("credentials are not allowed in it"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(bad("a path is not allowed"));
    }
    let host = authority.host();
    if host.is_empty() || authority.port().is_some_and(|port| port.as_u16() == 0) {
        return Err(bad("host or port cannot be read"));
    }
    if authority.port().is_none() && authority.as_str().len() != host.len() {
        return Err(bad("the port is not a number from 1 to 65535"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(format!("https://{authority}")),
        Some("http") if insecure || is_loopback(host) => Ok(format!("http://{authority}")),
        Some("http") => Err(BadPlace {
            message: "plain HTTP to another machine shows everybody on the way the shared secrets".into(),
            help: "write `https://`; only for a trial, `keyring.insecure: true`".into(),
        }),
        _ => Err(bad("it does not begin with `https://`")),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_reached_over_tls_or_loopback() {
        assert_eq!(check_url("https://authority.bank", false).unwrap(), "https://authority.bank");
        assert_eq!(check_url("https://[::1]:8443/", false).unwrap(), "https://[::1]:8443");
        assert_eq!(check_url("http://127.0.0.1:1", false).unwrap(), "http://127.0.0.1:1");
        assert_eq!(check_url("http://authority", true).unwrap(), "http://authority");
        for bad in [
            "http://authority",
            "https://u:hunter2@a",
            "https://",
            "https://a/b",
            "https://a?b",
            "ftp://a",
            "a",
            "https://a:0",
        ] {
            let error = check_url(bad, false).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{bad}");
        }
    }
}
