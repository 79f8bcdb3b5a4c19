//! Addresses as written: `127.0.0.1:8080`, `unix:/run/x.sock`, and for upstreams `http://host:port`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::proxy::settings::Address;

/// What is wrong with an address, and the way out.
pub(super) type Problem = (&'static str, String, String);

/// Where to listen: a numeric address with a port, or a unix socket.
pub(super) fn listen(text: &str) -> Result<Address, Problem> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    text.parse::<SocketAddr>().map(Address::Tcp).map_err(|_| {
        let help = match text.rsplit_once(':') {
            Some(("localhost", port)) => format!("write `127.0.0.1:{port}`"),
            Some(("" | "*", port)) => format!("write `0.0.0.0:{port}` for every interface, or `127.0.0.1:{port}`"),
            _ => "write a numeric address with a port, such as `127.0.0.1:8080` or `[::1]:8080`, or `unix:/PATH`"
                .to_owned(),
        };
        ("bad-address", format!("`{text}` is no address to listen on"), help)
    })
}

/// Where to forward to, and whether by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) tls: bool,
}

/// Where to forward to.
pub(super) fn upstream(text: &str) -> Result<Target, Problem> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(|address| Target { address, tls: false });
    }
    let bad = |why: &str| {
        let help =
            "write `http://host:port`, such as `http://127.0.0.1:9000`, or `https://host`, or `unix:/PATH`".to_owned();
        // The text itself is left out where it may hold a password.
        ("bad-upstream", format!("this is no upstream: {why}"), help)
    };
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let tls = scheme.eq_ignore_ascii_case("https");
    if !tls && !scheme.eq_ignore_ascii_case("http") {
        return Err(bad("it does not begin with `http://`, `https://` or `unix:`"));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(bad("a path is not allowed, requests keep theirs"));
    }
    if authority.contains('@') {
        return Err(bad("credentials are not allowed"));
    }
    let authority: http::uri::Authority = authority.parse().map_err(|_| bad("host or port cannot be read"))?;
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        None if authority.as_str().ends_with(':') || authority.as_str().len() != authority.host().len() => {
            return Err(bad("the port is not a number from 1 to 65535"));
        }
        None if tls => 443,
        None => 80,
    };
    if port == 0 {
        return Err(bad("the port is not a number from 1 to 65535"));
    }
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(Target { address: Address::Tcp(SocketAddr::new(ip, port)), tls }),
        Err(_) if host.is_empty() || bare.len() != host.len() => Err(bad("the host cannot be read")),
        Err(_) => Ok(Target { address: Address::Host(host.to_owned(), port), tls }),
    }
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, Problem> {
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        let help = "write `10.0.0.0/8`, or a single address".to_owned();
        ("bad-network", format!("`{text}` is no network"), help)
    })
}

fn unix(path: &str) -> Result<Address, Problem> {
    // `sun_path` has 108 bytes, one of them for the end.
    if path.is_empty() || path.len() > 107 || path.contains('\0') {
        let help = "write `unix:/PATH` with a path of at most 107 bytes".to_owned();
        return Err(("bad-address", "this is no path of a unix socket".to_owned(), help));
    }
    Ok(Address::Unix(PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn tcp(text: &str) -> Address {
        Address::Tcp(text.parse().unwrap())
    }

    #[test]
    fn listening() {
        assert_eq!(listen("127.0.0.1:8080").unwrap(), tcp("127.0.0.1:8080"));
        assert_eq!(listen("[::1]:0").unwrap(), tcp("[::1]:0"));
        assert_eq!(listen("unix:./a.sock").unwrap(), Address::Unix("./a.sock".into()));
        assert_eq!(listen("localhost:80").unwrap_err().2, "write `127.0.0.1:80`");
        for bad in [":80", "127.0.0.1", "example:80", "unix:", "http://127.0.0.1:80", "127.0.0.1:70000"] {
            assert!(listen(bad).is_err(), "{bad}");
        }
        assert!(listen(&format!("unix:/{}", "x".repeat(107))).is_err());
    }

    #[rstest]
    #[case("http://127.0.0.1:9000", tcp("127.0.0.1:9000"))]
    #[case("http://127.0.0.1:9000/", tcp("127.0.0.1:9000"))]
    #[case("http://[::1]:9000", tcp("[::1]:9000"))]
    #[case("http://app", Address::Host("app".into(), 80))]
    #[case("http://app.local:81", Address::Host("app.local".into(), 81))]
    #[case("HTTP://app", Address::Host("app".into(), 80))]
    #[case("https://app", Address::Host("app".into(), 443))]
    #[case("HTTPS://127.0.0.1:8443", tcp("127.0.0.1:8443"))]
    #[case("unix:/run/app.sock", Address::Unix("/run/app.sock".into()))]
    fn upstreams(#[case] text: &str, #[case] address: Address) {
        let tls = text.to_ascii_lowercase().starts_with("https");
        assert_eq!(upstream(text).unwrap(), Target { address, tls });
    }

    #[rstest]
    #[case("https://", "bad-upstream")]
    #[case("ftp://app", "bad-upstream")]
    #[case("127.0.0.1:9000", "bad-upstream")]
    #[case("http://", "bad-upstream")]
    #[case("http://app/v1", "bad-upstream")]
    #[case("http://app?x", "bad-upstream")]
    #[case("http://app:", "bad-upstream")]
    #[case("http://app:0", "bad-upstream")]
    #[case("http://app:99999", "bad-upstream")]
    #[case("http://u:secret@app", "bad-upstream")]
    #[case("http://[::1", "bad-upstream")]
    #[case("http://[zz]:1", "bad-upstream")]
    fn no_upstreams(#[case] text: &str, #[case] code: &str) {
        let problem = upstream(text).unwrap_err();
        assert_eq!(problem.0, code);
        assert!(!format!("{problem:?}").contains("secret"));
    }

    #[test]
    fn networks() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        assert!(network("10.0.0.0/33").is_err() && network("any").is_err());
    }
}
