//! The PROXY protocol, versions 1 and 2: what stands before a connection, for whom a load balancer passes it on. Whether there is a
//! header is never guessed from the bytes: it is there if the peer is one of `trusted_peers`, and is not if it is none.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::settings::{Listener, ProxyProtocol};

/// Of version 1, as its specification says.
const LONGEST_TEXT: usize = 107;
/// Of version 2 with all its additions, which are read past.
const LONGEST_BINARY: usize = 2048;
const TEXT: &[u8] = b"PROXY ";
/// The bytes of version 2 up to its length.
const FIXED: usize = 16;

/// For whom the connection is. `None`: the header names no address, so no list of addresses holds it. It comes in place of the
/// peer in all that follows: who it is believed for is the source and not the balancer, since the source writes the request.
pub(super) async fn source(
    listener: &Listener,
    stream: &mut TcpStream,
    peer: SocketAddr,
) -> Result<Option<SocketAddr>, &'static str> {
    let ip = peer.ip().to_canonical();
    let trusted = listener.trusted_peers.iter().any(|net| net.contains(&ip));
    match (listener.proxy_protocol, trusted) {
        (ProxyProtocol::Off, _) | (ProxyProtocol::Trusted, false) => Ok(Some(peer)),
        (ProxyProtocol::Required, false) => {
            Err("a peer that is not in trusted_peers, where proxy_protocol is required")
        }
        (ProxyProtocol::Trusted | ProxyProtocol::Required, true) => match read(stream).await {
            Ok(header) => announced(&header, peer),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err("no header of the PROXY protocol"),
            Err(_) => Err("the connection ended within a header of the PROXY protocol"),
        },
    }
}

/// Reads just the header: what follows belongs to TLS or HTTP.
async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    let mut waiting = [0; LONGEST_BINARY];
    loop {
        let seen = stream.peek(&mut waiting).await?;
        let seen = waiting.get(..seen).unwrap_or_default();
        if seen.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let known = header.len();
        header.extend_from_slice(seen);
        // Unless the header ends within them, all of these bytes are its own.
        let end = length(&header).ok_or(io::ErrorKind::InvalidData)?;
        let whole = end.is_some_and(|end| end <= header.len());
        header.truncate(end.unwrap_or(usize::MAX).min(header.len()));
        let own = header.len().saturating_sub(known);
        stream.read_exact(waiting.get_mut(..own).unwrap_or_default()).await?;
        if whole {
            return Ok(header);
        }
    }
}

/// How long the header is that begins so; `Some(None)`: too little is there to know; `None`: it is none, or too long.
fn length(bytes: &[u8]) -> Option<Option<usize>> {
    let starts = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if starts(v2::PROTOCOL_PREFIX) {
        let Some(&[high, low]) = bytes.get(FIXED - 2..FIXED) else { return Some(None) };
        let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
        return (length <= LONGEST_BINARY).then_some(Some(length));
    }
    if !starts(TEXT) {
        return None;
    }
    match bytes.iter().take(LONGEST_TEXT).position(|b| *b == b'\n') {
        Some(end) => Some(Some(end + 1)),
        None => (bytes.len() < LONGEST_TEXT).then_some(None),
    }
}

fn announced(header: &[u8], peer: SocketAddr) -> Result<Option<SocketAddr>, &'static str> {
    const BAD: &str = "a header of the PROXY protocol that cannot be read";
    if header.starts_with(TEXT) {
        let header = v1::Header::try_from(header).map_err(|_| BAD)?;
        return Ok(match header.addresses {
            v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
            v1::Addresses::Tcp6(a) => Some((a.source_address, a.source_port).into()),
            // The balancer passes on what it does not know: taken for its own connection, anybody would have its rights.
            v1::Addresses::Unknown => None,
        });
    }
    let header = v2::Header::try_from(header).map_err(|_| BAD)?;
    match (header.command, header.protocol, &header.addresses) {
        // The balancer speaks for itself, as to see whether we are there.
        (v2::Command::Local, ..) => Ok(Some(peer)),
        (v2::Command::Proxy, v2::Protocol::Datagram, _) => Err("a header of the PROXY protocol for datagrams"),
        (v2::Command::Proxy, _, v2::Addresses::IPv4(a)) => Ok(Some((a.source_address, a.source_port).into())),
        (v2::Command::Proxy, _, v2::Addresses::IPv6(a)) => Ok(Some((a.source_address, a.source_port).into())),
        (v2::Command::Proxy, _, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn balancer() -> SocketAddr {
        "10.0.0.1:4000".parse().unwrap()
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    fn says(header: &[u8]) -> Result<Option<SocketAddr>, &'static str> {
        assert_eq!(length(header), Some(Some(header.len())), "{header:?}");
        announced(header, balancer())
    }

    #[rstest]
    #[case("PROXY TCP4 192.0.2.7 10.0.0.9 5000 443\r\n", Some("192.0.2.7:5000"))]
    #[case("PROXY TCP6 2001:db8::7 2001:db8::1 5000 443\r\n", Some("[2001:db8::7]:5000"))]
    #[case("PROXY UNKNOWN\r\n", None)]
    #[case("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None)]
    fn version_1(#[case] header: &str, #[case] source: Option<&str>) {
        assert_eq!(says(header.as_bytes()), Ok(source.map(|s| s.parse().unwrap())));
    }

    #[rstest]
    #[case("PROXY TCP4 192.0.2.7 10.0.0.9 5000\r\n")]
    #[case("PROXY TCP4 192.0.2.7 10.0.0.9 5000 443 1\r\n")]
    #[case("PROXY TCP4 2001:db8::7 2001:db8::1 5000 443\r\n")]
    #[case("PROXY TCP4 192.0.2.7 10.0.0.9 65536 443\r\n")]
    #[case("PROXY TCP4 192.0.2.7 10.0.0.9 5000 443\n")]
    #[case("PROXY UDP4 192.0.2.7 10.0.0.9 5000 443\r\n")]
    #[case("PROXY \r\n")]
    fn no_version_1(#[case] header: &str) {
        assert!(says(header.as_bytes()).is_err());
    }

    #[test]
    fn version_2() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 9, 0x13, 0x88, 1, 0xbb];
        let v6 = [[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]; 2].concat();
        let with_more = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        let source = |text: &str| Ok(Some(text.parse().unwrap()));
        assert_eq!(says(&binary(0x21, 0x11, &v4)), source("192.0.2.7:5000"));
        assert_eq!(says(&binary(0x21, 0x11, &with_more)), source("192.0.2.7:5000"));
        assert_eq!(
            says(&binary(0x21, 0x21, &[&v6[..], &[0x13, 0x88, 1, 0xbb]].concat())),
            source("[2001:db8::7]:5000")
        );
        assert_eq!(says(&binary(0x20, 0x00, &[])), Ok(Some(balancer())));
        assert_eq!(says(&binary(0x20, 0x11, &v4)), Ok(Some(balancer())));
        assert_eq!(says(&binary(0x21, 0x00, &[])), Ok(None));
        assert_eq!(says(&binary(0x21, 0x31, &[b'/'; 216])), Ok(None));
        for bad in
            [binary(0x11, 0x11, &v4), binary(0x22, 0x11, &v4), binary(0x21, 0x12, &v4), binary(0x21, 0x11, &v4[1..])]
        {
            assert!(says(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_something_else_is_none() {
        assert_eq!(length(&[b"PROXY ".as_slice(), &[b'x'; 200]].concat()), None);
        assert_eq!(length(&binary(0x21, 0x11, &[0; LONGEST_BINARY])), None);
        for other in ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "\x16\x03\x01", "PROXx", "PROXY\t"] {
            assert_eq!(length(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        /// Where a header ends does not depend on how much of it, or of what follows, is there.
        #[test]
        fn a_part_never_ends_early(cut in 0usize..64, more in any::<Vec<u8>>()) {
            let text = b"PROXY TCP4 192.0.2.7 10.0.0.9 5000 443\r\n".to_vec();
            let v2 = binary(0x21, 0x11, &[7; 20]);
            for header in [text, v2] {
                let part = &header[..cut.min(header.len() - 1)];
                prop_assert!(matches!(length(part), Some(None)) || length(part) == Some(Some(header.len())));
                prop_assert_eq!(length(&[&header[..], &more].concat()), Some(Some(header.len())));
            }
        }

        #[test]
        fn nothing_panics(bytes in any::<Vec<u8>>()) {
            for start in [&b""[..], TEXT, v2::PROTOCOL_PREFIX] {
                let header = [start, &bytes].concat();
                if let Some(Some(end)) = length(&header) && let Some(header) = header.get(..end) {
                    drop(announced(header, balancer()));
                }
            }
        }
    }
}
