//! TLS and the PROXY protocol on the proxy's listeners, through the real proxy: who gets in, as whom, and how it ends.

#[path = "listener_tls/announced.rs"]
mod announced;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use rstest::rstest;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use sidecloak::clock::ManualClock;
use sidecloak::tls::{ServerTls, client};

use super::pki::{Ca, Mounted, Pair, Secure};
use super::relay::{self, Place, classical, connect, offering};
use super::stage::eventually;
use super::support::{Next, PATIENCE, Proxy, ProxyBuilder, Upstream, echo, proxy, upstream};

fn behind(up: &Upstream, tls: ServerTls) -> ProxyBuilder {
    proxy(&[up]).listener(|listener| listener.tls = Some(tls))
}

fn get(proxy: &Proxy, config: &Arc<ClientConfig>) -> Option<u16> {
    Secure::connect(proxy.tcp(0), config).get("/").map(|answer| answer.status())
}

/// Bytes as they come, over TLS.
fn raw(to: SocketAddr, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

/// What a peer in the clear is answered until the connection ends.
fn plain(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset is an end, too.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_spoken_and_the_upstream_is_told_of_https() {
    let (place, up) = (Place::new(), echo());
    let proxy = behind(&up, place.server()).run();
    let address = proxy.tcp(0);
    let settings = place.client();
    let http1 = offering(&settings, &["http/1.1"]);
    let answer = tokio::task::spawn_blocking(move || Secure::connect(address, &http1).call("POST", "/a", &[], "hello"));
    assert_eq!(answer.await.unwrap().unwrap().text(), "hello");
    assert_eq!(up.last().field("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(up.last().field("forwarded").as_deref(), Some("for=127.0.0.1;proto=https;host=\"a.test\""));

    let request = http::Request::post("https://app.test/b").body(Full::new(Bytes::from_static(b"two"))).unwrap();
    let answer = relay::http2(address, &offering(&settings, &["h2", "http/1.1"]), request).await;
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"two"[..]));
    assert_eq!(up.last().field("x-forwarded-proto").as_deref(), Some("https"));
    // Who asks for nothing by ALPN gets what it speaks.
    let unasked = client::config(&settings).unwrap();
    assert_eq!(tokio::task::spawn_blocking(move || get(&proxy, &unasked)).await.unwrap(), Some(200));
    assert!(connect(address, "localhost", &offering(&settings, &["spdy/3"])).await.is_err());
}

#[test]
fn a_connection_speaks_what_was_agreed_on_and_nothing_else() {
    let (place, up) = (Place::new(), echo());
    let proxy = behind(&up, place.server()).run();
    let mut client = raw(proxy.tcp(0), &offering(&place.client(), &["http/1.1"]));
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut answer = Vec::new();
    drop(client.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let mut client = raw(proxy.tcp(0), &offering(&place.client(), &["h2"]));
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    drop(client.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(up.count(), 0);
}

#[test]
fn curl_gets_in_with_either_version_of_tls_and_http() {
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let (place, up) = (Place::new(), echo());
    let proxy = behind(&up, place.server()).run();
    let url = format!("https://localhost:{}/", proxy.tcp(0).port());
    for (flags, version) in [
        (&["--tlsv1.2", "--tls-max", "1.2", "--http1.1"][..], "1.1"),
        (&["--tlsv1.2", "--tls-max", "1.2", "--http2"], "2"),
        (&["--tlsv1.3", "--http2"], "2"),
        (&["--tlsv1.3", "--http1.1"], "1.1"),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-4", "--noproxy", "*", "-d", "hello", "-w", " %{http_version} %{http_code}", "--cacert"]);
        let output = curl.arg(place.path().join("servers.pem")).args(flags).arg(&url).output().unwrap();
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said, format!("hello {version} 200"), "{flags:?} {errors}");
    }
}

#[rstest]
fn who_shows_a_certificate_must_show_a_good_one(#[values(false, true)] required: bool) {
    let (place, up) = (Place::new(), echo());
    let proxy = behind(&up, place.mutual(required)).run();
    let with = |pair: Option<Pair>| {
        let settings = pair.map_or_else(|| place.client(), |pair| place.client_with(&pair));
        get(&proxy, &client::config(&settings).unwrap())
    };
    assert_eq!(with(Some(place.clients.client("spiffe://bank/web"))), Some(200));
    assert_eq!(with(None), (!required).then_some(200));
    let before = up.count();
    for bad in [
        place.clients.expired_client("spiffe://bank/web"),
        Ca::new("clients").client("spiffe://bank/web"),
        place.servers.server(),
    ] {
        assert_eq!(with(Some(bad)), None);
    }
    assert_eq!(up.count(), before, "nothing of them reaches the application");
    assert!(proxy.shared.metrics.render().contains("sidecloak_tls_handshake_failures_total{listener=\"front\"}"));
}

#[test]
fn only_post_quantum_key_exchange_if_that_is_asked_for() {
    let (place, up) = (Place::new(), echo());
    let classical = classical(&place.servers);
    let hybrid = client::config(&place.client()).unwrap();
    for (pq_only, expected) in [(false, Some(200)), (true, None)] {
        let proxy = behind(&up, ServerTls { pq_only, ..place.server() }).run();
        assert_eq!((get(&proxy, &classical), get(&proxy, &hybrid)), (expected, Some(200)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_asked_for_chooses_the_certificate() {
    let (place, up) = (Place::new(), echo());
    let pair = |name: &str| place.servers.server_at(&[name.to_owned()]).write(place.path(), &name.replace('*', "any"));
    let tls = ServerTls { more: vec![pair("a.test"), pair("*.b.test")], ..place.server() };
    let proxy = behind(&up, tls).run();
    let config = client::config(&place.client()).unwrap();
    for (name, shown) in [
        ("localhost", true),
        ("a.test", true),
        ("x.b.test", true),
        ("127.0.0.1", true),
        ("b.test", false),
        ("c.test", false),
    ] {
        // The first is shown to whoever asks for a name that none has: it is for the client to refuse it.
        assert_eq!(connect(proxy.tcp(0), name, &config).await.is_ok(), shown, "{name}");
    }
}

#[test]
fn certificates_change_under_load_and_no_connection_is_lost() {
    let (place, up) = (Place::new(), echo());
    let mut mounted = Mounted::new(&place.path().join("mounted"), &place.servers.server());
    let tls = ServerTls { cert: mounted.cert(), key: mounted.key(), ..ServerTls::default() };
    let proxy = behind(&up, tls).settings(|s| s.workers = 2).run();
    let address = proxy.tcp(0);
    // Both authorities are trusted, so that only a connection that is lost can fail.
    let second = Ca::new("second");
    let (both, only) = (place.path().join("both.pem"), place.path().join("second.pem"));
    std::fs::write(&both, place.servers.pem() + &second.pem()).unwrap();
    std::fs::write(&only, second.pem()).unwrap();
    let trusting = |ca| client::config(&sidecloak::tls::ClientTls { ca: Some(ca), ..Default::default() }).unwrap();
    let (config, second_only) = (trusting(both), trusting(only));

    let (stop, kept, new) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (config, stop, kept, new) =
                (Arc::clone(&config), Arc::clone(&stop), Arc::clone(&kept), Arc::clone(&new));
            std::thread::spawn(move || {
                let mut one = Secure::connect(address, &config);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(one.get("/kept").expect("a kept connection is lost").status(), 200);
                    kept.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(Secure::connect(address, &config).get("/new").expect("no connection").status(), 200);
                    new.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        mounted.swap(&second.server());
        eventually("the second authority's", || get(&proxy, &second_only).is_some());
        mounted.swap(&place.servers.server());
        eventually("the first authority's again", || get(&proxy, &second_only).is_none());
    }
    // A bad pair: what is in force stays, and the probe says so.
    mounted.swap(&Pair { cert: "no certificate".into(), key: String::new() });
    eventually("told", || proxy.shared.certificates.look(0)[0].reload_failed);
    assert!(proxy.shared.metrics.render().contains("sidecloak_tls_reload_failures_total{listener=\"front\"} 1"));
    assert_eq!(get(&proxy, &config), Some(200));
    mounted.swap(&second.server());
    eventually("taken up", || !proxy.shared.certificates.look(0)[0].reload_failed);
    assert!(proxy.shared.certificates.look(0)[0].expires_in > 1_700_000_000);
    eventually("load", || {
        let few = kept.load(Ordering::Relaxed) <= 10 || new.load(Ordering::Relaxed) <= 10;
        !few || clients.iter().any(std::thread::JoinHandle::is_finished)
    });
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
}

#[rstest]
#[case(b"")]
#[case(b"\x16")]
#[case(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")]
fn a_handshake_that_does_not_come_to_an_end_is_cut(#[case] begun: &[u8]) {
    let (place, up) = (Place::new(), echo());
    let quick = Duration::from_millis(300);
    let proxy = behind(&up, place.server()).shared(move |shared| shared.settings.timeouts.handshake = quick).run();
    assert_eq!(plain(proxy.tcp(0), begun), "");
    assert_eq!(get(&proxy, &client::config(&place.client()).unwrap()), Some(200), "and others are served");
}

#[test]
fn what_is_not_tls_is_told_so_if_it_is_http_and_else_closed() {
    let (place, up) = (Place::new(), echo());
    let proxy = behind(&up, place.server()).run();
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = plain(proxy.tcp(0), request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("use https://\n"), "{answer}");
    }
    for garbage in [&b"\x00\x01\x02\x03"[..], &[0xff; 4096], b"\x16\x03\x01\xff\xff\xff", b"\x80\x2e\x01\x00\x02"] {
        assert!(!plain(proxy.tcp(0), garbage).starts_with("HTTP"));
    }
    assert_eq!(up.count(), 0);
    assert_eq!(get(&proxy, &client::config(&place.client()).unwrap()), Some(200));
}

#[test]
fn an_answer_that_is_cut_does_not_look_whole_to_http_1_0_over_tls() {
    let place = Place::new();
    let up = upstream(|request, out| {
        let whole = request.first_line().contains("/whole");
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").unwrap();
        out.write_all(if whole { b"0123456789" } else { b"01234" }).unwrap();
        Next::Close
    });
    let proxy = behind(&up, place.server()).run();
    let config = client::config(&place.client()).unwrap();
    let ask = |path: &str| {
        let mut client = raw(proxy.tcp(0), &config);
        write!(client, "GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).map(|_| answer)
    };
    let whole = ask("/whole").expect("an orderly end with close_notify");
    assert!(whole.ends_with(b"0123456789"));
    assert!(ask("/cut").is_err(), "a close_notify would make a part look whole");
}

#[test]
fn a_request_that_is_cut_is_not_taken_for_whole() {
    let (place, up) = (Place::new(), echo());
    let proxy = behind(&up, place.server()).run();
    let config = client::config(&place.client()).unwrap();
    for framing in ["Content-Length: 10\r\n\r\n01234", "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n"] {
        let mut client = raw(proxy.tcp(0), &config);
        write!(client, "POST / HTTP/1.1\r\nHost: a\r\n{framing}").unwrap();
        client.flush().unwrap();
        // The connection ends without close_notify.
        client.sock.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        drop(client.read_to_end(&mut answer));
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(up.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_connections_in_order() {
    let (place, up) = (Place::new(), echo());
    let proxy = behind(&up, place.server()).run();
    let address = proxy.tcp(0);
    let http1 = client::config(&place.client()).unwrap();
    let mut kept = tokio::task::spawn_blocking(move || {
        let mut kept = raw(address, &http1);
        kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        kept.read_exact(&mut [0; 64]).unwrap();
        kept
    })
    .await
    .unwrap();
    let stream = connect(address, "localhost", &offering(&place.client(), &["h2"])).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    let ended = tokio::spawn(connection);
    let request = || http::Request::get("https://a.test/").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(sender.send_request(request()).await.unwrap().status(), 200);
    proxy.server.drain();
    // GOAWAY, then the end of the connection, without an error.
    ended.await.unwrap().unwrap();
    let rest = tokio::task::spawn_blocking(move || kept.read_to_end(&mut Vec::new()));
    rest.await.unwrap().expect("close_notify, then the end");
    tokio::task::spawn_blocking(move || proxy.server.join()).await.unwrap();
}

#[test]
fn a_connection_ends_when_its_clients_certificate_does() {
    let (place, up) = (Place::new(), echo());
    // The certificate is good by the system's clock, and over by the process's own when the connection is served.
    let late = |shared: &mut sidecloak::proxy::Shared| shared.clock = ManualClock::at(u64::MAX);
    let proxy = behind(&up, place.mutual(false)).shared(late).run();
    let with = client::config(&place.client_with(&place.clients.client("spiffe://bank/web"))).unwrap();
    let mut known = Secure::connect(proxy.tcp(0), &with);
    assert_eq!(known.get("/").unwrap().status(), 200, "the request it is at is finished");
    eventually("it ends", || known.get("/").is_none());
    let mut nobody = Secure::connect(proxy.tcp(0), &client::config(&place.client()).unwrap());
    for _ in 0..3 {
        assert_eq!(nobody.get("/").unwrap().status(), 200);
    }
}

#[test]
fn who_says_nothing_takes_the_places_of_its_own_address_alone() {
    let (place, up) = (Place::new(), echo());
    let bounded = |s: &mut sidecloak::proxy::settings::Settings| {
        (s.limits.client_connections, s.timeouts.handshake) = (Some(2), PATIENCE * 9);
    };
    let proxy = behind(&up, place.server()).settings(bounded).run();
    let mut silent: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    assert!(silent[2].is_at_end(), "one too many");
    drop(silent);
    let config = client::config(&place.client()).unwrap();
    eventually("its places are free again", || get(&proxy, &config) == Some(200));
}

#[test]
fn a_drain_does_not_wait_for_who_says_nothing() {
    let (place, up) = (Place::new(), echo());
    let patient = |s: &mut sidecloak::proxy::settings::Settings| {
        (s.drain.deadline, s.timeouts.handshake) = (PATIENCE * 9, PATIENCE * 9);
    };
    let proxy = behind(&up, place.server()).settings(patient).run();
    let _silent = proxy.client();
    assert_eq!(get(&proxy, &client::config(&place.client()).unwrap()), Some(200), "both have been accepted");
    proxy.server.drain();
    let (done, ended) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        proxy.server.join();
        done.send(()).unwrap();
    });
    ended.recv_timeout(PATIENCE).expect("the server ends");
}

#[test]
fn handshakes_that_stand_still_make_room_for_others() {
    let (place, up) = (Place::new(), echo());
    let proxy = behind(&up, place.server()).settings(|s| s.timeouts.handshake = PATIENCE * 9).run();
    let config = client::config(&place.client()).unwrap();
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(&config), name).unwrap().write_tls(&mut hello).unwrap();
    let halves: Vec<_> = (0..300)
        .map(|n| {
            let mut half = TcpStream::connect(proxy.tcp(0)).unwrap();
            half.set_read_timeout(Some(PATIENCE)).unwrap();
            half.write_all(&hello).unwrap();
            if n < 256 {
                half.read_exact(&mut [0]).unwrap();
            }
            half
        })
        .collect();
    assert_eq!(get(&proxy, &config), Some(200), "behind {}", halves.len());
}
