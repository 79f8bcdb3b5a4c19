//! The authority's URL.

use http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Why a text is no authority's URL. Repeats nothing of it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadPlace {
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: String,
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

/// A name of ours as one segment of a path, whatever is in it.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
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

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(segment("a%2Fb"), "a%252Fb");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
