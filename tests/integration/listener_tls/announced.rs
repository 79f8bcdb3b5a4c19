//! The PROXY protocol: whom a load balancer passes on, and who may say so.

use std::io::{Read, Write};
use std::time::Duration;

use rstest::rstest;
use sidecloak::proxy::settings::{Caller, Listener, ProxyProtocol};
use sidecloak::tls::client;

use super::super::pki::Secure;
use super::super::relay::Place;
use super::super::support::{Client, Message, Proxy, Upstream, echo, proxy};
use super::{plain, raw};

const TEXT: &str = "PROXY TCP4 192.0.2.7 10.0.0.9 5000 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 9, 0x13, 0x88, 1, 0xbb];

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &u16::try_from(rest.len()).unwrap().to_be_bytes(), rest].concat()
}

/// Our clients come from 127.0.0.1: here they are load balancers.
fn balanced(up: &Upstream, protocol: ProxyProtocol, more: impl FnOnce(&mut Listener)) -> Proxy {
    let builder = proxy(&[up]).listener(|listener| {
        listener.proxy_protocol = protocol;
        listener.trusted_peers = vec!["127.0.0.0/8".parse().unwrap()];
        more(listener);
    });
    builder.run()
}

fn ask(proxy: &Proxy, header: &[u8]) -> Message {
    let mut client = Client::tcp(proxy.tcp(0));
    client.send([header, b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"].concat()).receive()
}

#[rstest]
#[case(TEXT.as_bytes().to_vec(), Some("192.0.2.7"))]
#[case(b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 443\r\n".to_vec(), Some("2001:db8::7"))]
#[case(binary(0x21, 0x11, &V4), Some("192.0.2.7"))]
// With a TLV.
#[case(binary(0x21, 0x11, &[&V4[..], &[4, 0, 2, 1, 2]].concat()), Some("192.0.2.7"))]
#[case(b"PROXY UNKNOWN\r\n".to_vec(), None)]
#[case(binary(0x21, 0x31, &[0; 216]), None)]
#[case(binary(0x21, 0x00, &[]), None)]
fn the_source_takes_the_peers_place(
    #[values(ProxyProtocol::Trusted, ProxyProtocol::Required)] protocol: ProxyProtocol,
    #[case] header: Vec<u8>,
    #[case] source: Option<&str>,
) {
    let up = echo();
    let proxy = balanced(&up, protocol, |_| ());
    assert_eq!(ask(&proxy, &header).status(), 200);
    // What the source itself writes is its own invention: the balancer is believed for its header, not for what follows.
    assert_eq!(up.last().field("x-forwarded-for").as_deref(), source);
}

#[test]
fn a_balancer_speaking_for_itself_is_the_peer() {
    let up = echo();
    let proxy = balanced(&up, ProxyProtocol::Required, |_| ());
    assert_eq!(ask(&proxy, &binary(0x20, 0, &[])).status(), 200);
    assert_eq!(up.last().field("x-forwarded-for").as_deref(), Some("203.0.113.9, 127.0.0.1"), "it is a trusted peer");
}

#[test]
fn whoever_comes_through_a_balancer_has_none_of_its_rights() {
    let up = echo();
    let admin = Caller {
        headers: vec![("x-role".parse().unwrap(), "admin".into())],
        role: "admin".into(),
        ..Caller::default()
    };
    let proxy = proxy(&[&up]).callers(vec![admin]).listener(|listener| {
        listener.proxy_protocol = ProxyProtocol::Required;
        listener.trusted_peers = vec!["127.0.0.0/8".parse().unwrap()];
        listener.trusted_headers = vec!["x-tenant".parse().unwrap()];
    });
    let proxy = proxy.run();
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Role: admin\r\nX-Tenant: other\r\n\r\n";
    for header in [TEXT.as_bytes(), b"PROXY UNKNOWN\r\n", &binary(0x21, 0x31, &[0; 216])] {
        let mut client = Client::tcp(proxy.tcp(0));
        assert_eq!(client.send([header, request].concat()).receive().status(), 200);
        assert_eq!((up.last().field("x-role"), up.last().field("x-tenant")), (None, None));
    }
    // Its own connections, and those of a source that is trusted itself.
    for header in [&binary(0x20, 0, &[])[..], b"PROXY TCP4 127.0.0.5 127.0.0.1 1 2\r\n"] {
        let mut client = Client::tcp(proxy.tcp(0));
        client.send([header, request].concat()).receive();
        assert_eq!(up.last().field("x-tenant").as_deref(), Some("other"));
    }
}

#[test]
fn who_is_not_trusted_is_not_believed() {
    let up = echo();
    let stranger =
        |protocol| balanced(&up, protocol, |listener| listener.trusted_peers = vec!["10.0.0.0/8".parse().unwrap()]);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for header in [TEXT.as_bytes(), &binary(0x21, 0x11, &V4)] {
        let spoofed = [header, request.as_bytes()].concat();
        for protocol in [ProxyProtocol::Off, ProxyProtocol::Trusted, ProxyProtocol::Required] {
            let answer = plain(stranger(protocol).tcp(0), &spoofed);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{protocol:?} {answer}");
        }
        // Nor is a trusted one where it is off.
        let answer = plain(balanced(&up, ProxyProtocol::Off, |_| ()).tcp(0), &spoofed);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert_eq!(up.count(), 0);
    // Without a header it is served as who it is, unless one is required.
    assert!(plain(stranger(ProxyProtocol::Trusted).tcp(0), request.as_bytes()).starts_with("HTTP/1.1 200"));
    assert_eq!(up.last().field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(plain(stranger(ProxyProtocol::Required).tcp(0), request.as_bytes()), "");
    assert_eq!(up.count(), 1);
}

#[rstest]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec())]
#[case(b"PROXY TCP4 192.0.2.7 10.0.0.9 5000\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec())]
#[case([b"PROXY TCP4 ".as_slice(), &[b'1'; 200], b"\r\n"].concat())]
#[case(binary(0x21, 0x11, &[0; 4096]))]
#[case(binary(0x31, 0x11, &V4))]
#[case(binary(0x21, 0x11, &V4[..4]))]
#[case(binary(0x21, 0x12, &V4))]
fn a_header_that_is_bad_or_missing_ends_the_connection(#[case] bytes: Vec<u8>) {
    let up = echo();
    let proxy = balanced(&up, ProxyProtocol::Required, |_| ());
    assert_eq!(plain(proxy.tcp(0), &bytes), "");
    assert_eq!(up.count(), 0);
    assert!(proxy.shared.metrics.render().contains("sidecloak_proxy_protocol_failures_total{listener=\"front\"} 1"));
}

#[test]
fn a_header_may_come_in_pieces_and_in_time() {
    let up = echo();
    let proxy = balanced(&up, ProxyProtocol::Required, |_| ());
    for header in [TEXT.as_bytes().to_vec(), binary(0x21, 0x11, &[&V4[..], &[4, 0, 1, 0]].concat())] {
        let mut client = Client::tcp(proxy.tcp(0));
        for byte in &header {
            client.send([*byte]);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(client.get("/").status(), 200);
        assert_eq!(up.last().field("x-forwarded-for").as_deref(), Some("192.0.2.7"));
    }
    let quick = Duration::from_millis(200);
    let slow = super::super::support::proxy(&[&up])
        .shared(move |shared| shared.settings.timeouts.handshake = quick)
        .listener(|l| {
            l.proxy_protocol = ProxyProtocol::Required;
            l.trusted_peers = vec!["127.0.0.0/8".parse().unwrap()];
        });
    let slow = slow.run();
    assert_eq!(plain(slow.tcp(0), b"PROXY TCP4 192.0"), "");
}

#[test]
fn the_header_stands_before_the_handshake() {
    let (place, up) = (Place::new(), echo());
    let proxy = balanced(&up, ProxyProtocol::Required, |listener| listener.tls = Some(place.server()));
    let config = client::config(&place.client()).unwrap();
    let mut client = raw(proxy.tcp(0), &config);
    client.sock.write_all(TEXT.as_bytes()).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(up.last().field("forwarded").as_deref(), Some("for=192.0.2.7;proto=https;host=\"a\""));
    assert!(Secure::connect(proxy.tcp(0), &config).get("/").is_none(), "a handshake is no header");
    assert_eq!(up.count(), 1);
}
