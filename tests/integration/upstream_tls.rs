//! TLS to upstreams, through the real proxy: whom it believes, what it tells them, and what becomes of a part of an answer.

use std::io::Read;
use std::net::SocketAddr;

use rstest::rstest;
use rustls::{NamedGroup, ServerConfig};
use sidecloak::clock::SystemClock;
use sidecloak::proxy::settings::{Address, Listener, UpstreamHost, UpstreamProtocol, UpstreamTls};
use sidecloak::tls::{ClientTls, client};

use super::pki::{Ca, Pair, Secure};
use super::relay::{End, Place, Relay, serving};
use super::stage::{self, Stage, eventually};
use super::support::{Next, Proxy, Upstream, echo, proxy_to, upstream};

fn tcp(up: &Upstream) -> SocketAddr {
    match up.address {
        Address::Tcp(address) => address,
        _ => panic!("no TCP address"),
    }
}

fn before(relay: &Relay, settings: UpstreamTls, more: impl FnOnce(&mut Listener)) -> Proxy {
    let proxy = proxy_to(vec![Address::Tcp(relay.address)]).listener(|listener| {
        listener.upstream_tls = Some(settings);
        more(listener);
    });
    proxy.run()
}

fn trusting(place: &Place) -> UpstreamTls {
    UpstreamTls { client: place.client(), server_name: None }
}

fn plainly(pair: &Pair) -> ServerConfig {
    serving(pair, &["http/1.1"], None, &[])
}

#[test]
fn an_upstream_is_spoken_to_over_tls() {
    let (place, up) = (Place::new(), echo());
    let relay = Relay::new(plainly(&place.servers.server()), tcp(&up), End::Orderly);
    let proxy = before(&relay, trusting(&place), |_| ());
    let mut client = proxy.client();
    for _ in 0..3 {
        let answer = client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\nhi").receive();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hi"));
    }
    assert_eq!(up.last().field("host").as_deref(), Some("app.test"));
    assert_eq!(up.last().field("x-forwarded-proto").as_deref(), Some("http"), "as the client came");
    assert_eq!(relay.secured(), 1, "one handshake serves them all");
    assert_eq!(relay.asked(), None, "an address is not asked for by name");
}

#[test]
fn the_name_that_is_asked_for_is_the_hosts_or_the_one_given() {
    let (place, up) = (Place::new(), echo());
    let relay = Relay::new(plainly(&place.servers.server()), tcp(&up), End::Orderly);
    let host = Address::Host("localhost".into(), relay.address.port());
    let by_host = proxy_to(vec![host]).listener(|listener| listener.upstream_tls = Some(trusting(&place))).run();
    assert_eq!(by_host.client().get("/").status(), 200);
    assert_eq!(relay.asked().as_deref(), Some("localhost"));

    let pair = place.servers.server_at(&["app.internal".to_owned()]);
    let relay = Relay::new(plainly(&pair), tcp(&up), End::Orderly);
    assert_eq!(before(&relay, trusting(&place), |_| ()).client().get("/").status(), 502);
    let named = UpstreamTls { server_name: Some("app.internal".into()), ..trusting(&place) };
    assert_eq!(before(&relay, named, |_| ()).client().get("/").status(), 200);
    assert_eq!(relay.asked().as_deref(), Some("app.internal"));
}

#[derive(Debug, Clone, Copy)]
enum Wrong {
    Name,
    Expired,
    Issuer,
    Classical,
    WantsUs,
    NoTls,
    NotHttp2,
}

#[rstest]
fn an_upstream_that_cannot_be_believed_gets_not_a_byte(
    #[values(
        Wrong::Name,
        Wrong::Expired,
        Wrong::Issuer,
        Wrong::Classical,
        Wrong::WantsUs,
        Wrong::NoTls,
        Wrong::NotHttp2
    )]
    wrong: Wrong,
    #[values(UpstreamProtocol::Http1, UpstreamProtocol::Http2)] protocol: UpstreamProtocol,
) {
    let (place, up) = (Place::new(), echo());
    let (good, alpn) = (place.servers.server(), &["h2", "http/1.1"][..]);
    let mut settings = trusting(&place);
    let config = match wrong {
        Wrong::Name => serving(&place.servers.server_at(&["other.test".to_owned()]), alpn, None, &[]),
        Wrong::Expired => serving(&place.servers.expired_server(), alpn, None, &[]),
        Wrong::Issuer => serving(&Ca::new("servers").server(), alpn, None, &[]),
        Wrong::Classical => {
            settings.client.pq_only = true;
            serving(&good, alpn, None, &[NamedGroup::X25519])
        }
        Wrong::WantsUs => serving(&good, alpn, Some(&place.clients), &[]),
        Wrong::NoTls => serving(&good, alpn, None, &[]),
        Wrong::NotHttp2 if protocol == UpstreamProtocol::Http2 => serving(&good, &["http/1.1"], None, &[]),
        Wrong::NotHttp2 => return,
    };
    let relay = Relay::new(config, tcp(&up), End::Orderly);
    let target = if matches!(wrong, Wrong::NoTls) { tcp(&up) } else { relay.address };
    let proxy = proxy_to(vec![Address::Tcp(target)]).listener(|listener| {
        listener.upstream_tls = Some(settings);
        listener.upstream_protocol = protocol;
    });
    let proxy = proxy.run();
    let answer = proxy.client().get("/?secret=1");
    assert_eq!(answer.status(), 502);
    // Why is told in the log, and to nobody else.
    for word in ["certificate", "TLS", "expired", "issuer", "other.test"] {
        assert!(!answer.text().contains(word), "{}", answer.text());
    }
    assert_eq!(up.count(), 0);
}

#[test]
fn our_certificate_is_shown_to_an_upstream_that_wants_it() {
    let (place, up) = (Place::new(), echo());
    let config = serving(&place.servers.server(), &["http/1.1"], Some(&place.clients), &[]);
    let relay = Relay::new(config, tcp(&up), End::Orderly);
    let with = |pair: &Pair| UpstreamTls { client: place.client_with(pair), server_name: None };
    let good = with(&place.clients.client("spiffe://bank/sidecar"));
    assert_eq!(before(&relay, good, |_| ()).client().get("/").status(), 200);
    let foreign = with(&Ca::new("clients").client("spiffe://bank/sidecar"));
    assert_eq!(before(&relay, foreign, |_| ()).client().get("/").status(), 502);
    assert_eq!(up.count(), 1);
}

#[test]
fn a_part_of_an_answer_is_not_taken_for_the_whole() {
    let place = Place::new();
    // Its end is the connection's: only close_notify tells it from a cut.
    let up = upstream(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it?").unwrap();
        Next::Close
    });
    for (end, whole) in [(End::Orderly, true), (End::Cut, false)] {
        let relay = Relay::new(plainly(&place.servers.server()), tcp(&up), end);
        let proxy = before(&relay, trusting(&place), |_| ());
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = super::support::Message::read(&mut client.read, false);
        assert_eq!(answer.map(|answer| answer.text()), whole.then(|| "all of it?".to_owned()), "{end:?}");
    }
}

#[test]
fn the_roots_follow_their_file_and_what_is_connected_goes_on() {
    let (place, up) = (Place::new(), echo());
    let second = Ca::new("second");
    let relay = Relay::new(plainly(&second.server()), tcp(&up), End::Orderly);
    let first = Relay::new(plainly(&place.servers.server()), tcp(&up), End::Orderly);
    let to_second = before(&relay, trusting(&place), |_| ());
    let to_first = before(&first, trusting(&place), |_| ());
    assert_eq!(to_first.client().get("/").status(), 200);
    assert_eq!(to_second.client().get("/").status(), 502);
    std::fs::write(place.path().join("servers.pem"), second.pem()).unwrap();
    eventually("the second authority is trusted", || to_second.client().get("/").status() == 200);
}

#[rstest]
#[case(UpstreamHost::Keep, "app.test")]
#[case(UpstreamHost::Name("api.test".parse().unwrap()), "api.test")]
#[case(UpstreamHost::Upstream, "127.0.0.1")]
fn the_upstream_sees_the_host_that_it_is_to_see(#[case] host: UpstreamHost, #[case] expected: &str) {
    let (place, up) = (Place::new(), echo());
    let relay = Relay::new(plainly(&place.servers.server()), tcp(&up), End::Orderly);
    let proxy = before(&relay, trusting(&place), |listener| listener.upstream_host = host);
    assert_eq!(proxy.client().get("/").status(), 200);
    let seen = up.last().field("host").unwrap();
    assert_eq!(seen.split(':').next(), Some(expected));
    assert_eq!(up.last().field("x-forwarded-host").as_deref(), Some("app.test"));
}

/// An upstream that would rather speak HTTP/2 gets HTTP/1.1 for what only that can.
#[test]
fn a_websocket_is_asked_for_in_http_1_1_whatever_the_upstream_prefers() {
    let place = Place::new();
    let up = upstream(|_, out| {
        out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nframes")
            .unwrap();
        Next::KeepAlive
    });
    let relay = Relay::new(serving(&place.servers.server(), &["h2", "http/1.1"], None, &[]), tcp(&up), End::Orderly);
    let proxy = before(&relay, trusting(&place), |listener| listener.upstream_protocol = UpstreamProtocol::Auto);
    let mut client = proxy.client();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.receive().status(), 101);
    let mut frames = [0; 6];
    client.read.read_exact(&mut frames).unwrap();
    assert_eq!(&frames, b"frames");
}

const RULES: &str =
    "rules:\n  - name: customers\n    match: { path: '/customers/**' }\n    protect: [{ fields: ['$.ssn'] }]\n";

/// Fields are sealed and opened between two connections that are both encrypted, in every version on either side.
#[rstest]
fn fields_are_sealed_between_tls_and_tls(
    #[values("http1", "http2", "auto")] protocol: &str,
    #[values(&["http/1.1"][..], &["h2"], &["h2", "http/1.1"])] speaks: &[&str],
) {
    if (protocol == "http1" && speaks == ["h2"]) || (protocol == "http2" && speaks == ["http/1.1"]) {
        return;
    }
    let place = Place::new();
    let stage = Stage::new(RULES);
    let relay = Relay::new(serving(&place.servers.server(), speaks, None, &[]), stage.upstream, End::Orderly);
    let (cert, key) = place.servers.server().write(place.path(), "front");
    let text = format!(
        "listeners: [{{ bind: '127.0.0.1:0', upstream: 'https://{}', upstream_protocol: {protocol}, \
         upstream_tls: {{ ca: {} }}, tls: {{ cert: {}, key: {}, pq_only: true }} }}]\n\
         rules: {}\nkeyring: {{ store: 'sqlite:{}', master_key: 'file:{}' }}\ndrain: {{ delay: 0s, deadline: 3s }}\n",
        relay.address,
        place.path().join("servers.pem").display(),
        cert.display(),
        key.display(),
        stage.rules_path().display(),
        place.path().join("keyring.db").display(),
        place.path().join("master.key").display(),
    );
    let app = stage::start_from(&text, SystemClock::shared());
    let address = stage::tcp(&app, "front");
    let config = client::config(&ClientTls { pq_only: true, ..place.client() }).unwrap();
    let json = &[("content-type", "application/json")][..];
    let body = r#"{"name":"Ada","ssn":"123-45-6789"}"#;
    let mut client = Secure::connect(address, &config);
    assert_eq!(client.call("POST", "/customers/1", json, body).unwrap().status(), 200);
    let stored = stage.stored_text("/customers/1");
    assert!(stored.contains("sc1.") && !stored.contains("123-45"), "{stored}");
    assert_eq!(client.get("/customers/1").unwrap().text(), body);
    app.stop();
}

#[test]
fn each_upstream_of_a_list_has_connections_of_its_own() {
    let (place, up) = (Place::new(), echo());
    let relays: Vec<_> = (0..2).map(|_| Relay::new(plainly(&place.servers.server()), tcp(&up), End::Orderly)).collect();
    let addresses = relays.iter().map(|relay| Address::Tcp(relay.address)).collect();
    let proxy = proxy_to(addresses).listener(|listener| listener.upstream_tls = Some(trusting(&place))).run();
    let mut client = proxy.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert!(relays.iter().all(|relay| relay.secured() == 1));
}
