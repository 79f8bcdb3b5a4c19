//! Upstreams that refuse, hang, close, switch protocols; and our own bounds.

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use sidecloak::proxy::settings::Address;

use super::support::{Next, PATIENCE, echo, proxy, proxy_to, upstream};

/// An address where nobody listens, as long as the socket lives: the system gives its port to nobody else.
fn nobody() -> (socket2::Socket, Address) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, Address::Tcp(address))
}

#[test]
fn an_upstream_that_refuses_is_502_without_retry_after() {
    let (_held, nobody) = nobody();
    let proxy = proxy_to(vec![nobody]).run();
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/path?query");
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.field("retry-after"), None);
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["type"], "urn:sidecloak:problem:upstream");
        assert_eq!(problem["status"], 502);
        assert_eq!(problem["instance"].as_str().unwrap().len(), 32);
        assert!(!answer.text().contains("path") && !answer.text().contains("query"));
    }
}

#[test]
fn an_upstream_that_refuses_rests_while_another_serves() {
    let up = echo();
    let (_held, nobody) = nobody();
    let proxy = proxy_to(vec![nobody, up.address]).run();
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..10).map(|_| client.get("/").status()).collect();
    assert!(statuses.iter().filter(|status| **status != 200).count() <= 1, "{statuses:?}");
}

#[test]
fn several_upstreams_are_taken_in_turn() {
    let ups = [echo(), echo(), echo()];
    let proxy = proxy(&[&ups[0], &ups[1], &ups[2]]).run();
    let mut client = proxy.client();
    for _ in 0..9 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(ups.map(|up| up.count()), [3, 3, 3]);
}

#[test]
fn an_upstream_that_is_silent_is_504() {
    let (hold, held) = sync_channel::<()>(0);
    let held = Mutex::new(held);
    let up = upstream(move |_, _| {
        held.lock().unwrap().recv().ok();
        Next::Close
    });
    let proxy = proxy(&[&up]).shared(|s| s.settings.timeouts.first_byte = Duration::from_millis(100)).run();
    let answer = proxy.client().get("/");
    assert_eq!((answer.status(), answer.field("retry-after")), (504, None));
    drop(hold);
}

#[test]
fn an_upload_that_moves_is_no_silence() {
    let up = echo();
    let proxy = proxy(&[&up]).shared(|s| s.settings.timeouts.first_byte = Duration::from_secs(1)).run();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n");
    for _ in 0..14 {
        std::thread::sleep(Duration::from_millis(100));
        client.send("x");
    }
    assert_eq!(client.receive().text(), "x".repeat(14));
}

#[test]
fn an_idle_connection_that_the_upstream_closed_is_no_502() {
    // Each connection serves one request and then closes, without saying so beforehand.
    let up = upstream(|request, out| {
        write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len()).unwrap();
        out.write_all(&request.body).unwrap();
        Next::Close
    });
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    for i in 0..50 {
        let answer = client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").receive();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "abc"), "request {i}");
        // Until the upstream's end of the connection has closed.
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(*up.connections.lock().unwrap(), 50);
}

#[test]
fn an_upstream_that_breaks_off_cuts_the_answer() {
    let up = upstream(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").unwrap();
        Next::Close
    });
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut all = Vec::new();
    // An error (a reset) is a cut too; what must not come is the rest.
    drop(client.read.get_mut().take(10_000).read_to_string(&mut String::new()).map(|n| all.resize(n, 0)));
    assert!(all.len() < 400);
    let cut = || proxy.shared.metrics.render().contains(r#"sidecloak_answers_cut_total{listener="front"} 1"#);
    while !cut() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_upstream_that_goes_silent_within_its_answer_is_cut() {
    let (hold, held) = sync_channel::<()>(0);
    let held = Mutex::new(held);
    let up = upstream(move |_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").unwrap();
        held.lock().unwrap().recv().ok();
        Next::Close
    });
    let proxy = proxy(&[&up]).shared(|s| s.settings.timeouts.response_idle = Duration::from_millis(100)).run();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        super::support::Message::read(&mut client.read, false).is_none(),
        "the connection ends before the body does"
    );
    drop(hold);
}

#[test]
fn an_upstream_that_speaks_no_http_is_502() {
    let up = upstream(|_, out| {
        out.write_all(b"SSH-2.0-x\r\n\r\n").unwrap();
        Next::Close
    });
    assert_eq!(proxy(&[&up]).run().client().get("/").status(), 502);
}

#[test]
fn over_in_flight_is_503_with_retry_after() {
    let (arrived, arrives) = sync_channel(4);
    let (go, goes) = sync_channel::<()>(4);
    let goes = Mutex::new(goes);
    let up = upstream(move |_, out| {
        arrived.send(()).unwrap();
        goes.lock().unwrap().recv().ok();
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).settings(|s| s.limits.in_flight = 1).run();
    let mut first = proxy.client();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    arrives.recv_timeout(PATIENCE).unwrap();
    let mut second = proxy.client();
    let refused = second.get("/");
    let seconds = refused.field("retry-after").unwrap().parse::<u8>().unwrap();
    assert_eq!((refused.status(), (1..=5).contains(&seconds)), (503, true), "{seconds}");
    go.send(()).unwrap();
    assert_eq!(first.receive().status(), 200);
    go.send(()).unwrap();
    while second.get("/").status() != 200 {
        go.try_send(()).ok();
    }
}

#[test]
fn over_the_limit_of_connections_a_client_waits_its_turn() {
    let up = echo();
    let proxy = proxy(&[&up]).settings(|s| s.limits.connections = 1).run();
    let mut first = proxy.client();
    assert_eq!(first.get("/").status(), 200);
    let mut second = proxy.client();
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(second.receive().status(), 200);
    assert!(first.is_at_end(), "it stood between two requests, and made room");
}

#[test]
fn connections_to_the_upstream_are_bounded() {
    let (now, most) = (std::sync::Arc::new(AtomicUsize::new(0)), std::sync::Arc::new(AtomicUsize::new(0)));
    let (a, b) = (std::sync::Arc::clone(&now), std::sync::Arc::clone(&most));
    let up = upstream(move |_, out| {
        b.fetch_max(a.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        a.fetch_sub(1, Ordering::SeqCst);
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).settings(|s| (s.workers, s.upstream_limits.connections) = (2, 3)).run();
    let address = proxy.tcp(0);
    let clients: Vec<_> =
        (0..12).map(|_| std::thread::spawn(move || super::support::Client::tcp(address).get("/").status())).collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), 200, "waiting is no failure");
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
}

#[test]
fn a_wait_for_a_connection_is_bounded() {
    let (arrived, arrives) = sync_channel(4);
    let (go, goes) = sync_channel::<()>(4);
    let goes = Mutex::new(goes);
    let up = upstream(move |_, _| {
        arrived.send(()).unwrap();
        goes.lock().unwrap().recv().ok();
        Next::Close
    });
    let proxy = proxy(&[&up])
        .settings(|s| s.upstream_limits.connections = 1)
        .shared(|s| s.settings.timeouts.queue = Duration::from_millis(50))
        .run();
    let mut first = proxy.client();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    arrives.recv_timeout(PATIENCE).unwrap();
    assert_eq!(proxy.client().get("/").status(), 503);
    drop(go);
}

#[test]
fn a_websocket_passes_where_no_rule_acts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut peer =
            super::support::Client { read: std::io::BufReader::new(stream.try_clone().unwrap()), write: stream };
        let request = peer.receive();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        let mut ping = [0; 4];
        peer.read.read_exact(&mut ping).unwrap();
        peer.send(ping);
        request
    });
    let proxy = proxy_to(vec![address]).run();
    let mut client = proxy.client();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n");
    let answer = client.receive();
    assert_eq!((answer.status(), answer.field("upgrade").as_deref()), (101, Some("websocket")));
    let mut bytes = [0; 5];
    client.read.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    client.send("ping");
    client.read.read_exact(&mut bytes[..4]).unwrap();
    assert_eq!(&bytes[..4], b"ping");
    let seen = server.join().unwrap();
    assert_eq!(seen.field("sec-websocket-key").as_deref(), Some("k"));
    client.no_more();
    assert!(client.is_at_end());
}
