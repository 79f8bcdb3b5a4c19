//! The authority's listeners with handlers of the tests' own behind them: bounds, TLS, panics, time, and the end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::routing::{get, post};
use bytes::Bytes;
use http::header;
use rstest::rstest;
use sidecloak::authority::face::Door;
use sidecloak::authority::listen::{Bind, ListenError, Peer, Server, Settings, Timeouts};
use sidecloak::metrics::Metrics;
use sidecloak::proxy::settings::{Drain, Limits};
use sidecloak::tls::{ClientTls, ServerTls, client};

use crate::pki::{Ca, Secure};
use crate::support::{Client, Message, PATIENCE};

/// A server with one listener, and what its slow handler waits for.
struct Stage {
    server: Server,
    metrics: Metrics,
    go: SyncSender<()>,
    begun: Receiver<()>,
}

fn settings() -> Settings {
    Settings {
        binds: vec![Bind { door: Door::Own, address: ([127, 0, 0, 1], 0).into(), tls: None }],
        insecure: false,
        workers: 2,
        limits: Limits {
            memory: 32 << 20,
            header: 16 << 10,
            value: 1 << 20,
            in_flight: 16,
            connections: 16,
            buffer: 64 << 10,
            decoded: 256 << 20,
            ratio: 200,
        },
        drain: Drain { delay: Duration::ZERO, deadline: PATIENCE },
        timeouts: Timeouts { call: PATIENCE, ..Timeouts::default() },
    }
}

fn stage(settings: &Settings) -> Stage {
    let (begin, begun) = sync_channel(16);
    let (go, wait) = sync_channel::<()>(16);
    let wait = Arc::new(tokio::sync::Mutex::new(wait));
    let slow = move || {
        let (begin, wait) = (begin.clone(), Arc::clone(&wait));
        async move {
            begin.send(()).unwrap();
            let wait = wait.lock_owned().await;
            tokio::task::spawn_blocking(move || wait.recv_timeout(PATIENCE).unwrap()).await.unwrap();
            "done"
        }
    };
    let events = || async {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let first = futures_util::stream::iter([Ok(Bytes::from_static(b"data: 1\n\n"))]);
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(futures_util::StreamExt::chain(first, never)))
    };
    let router = Router::new()
        .route("/manage/v1/fast", get(|| async { "fast" }))
        .route("/manage/v1/slow", get(slow))
        .route("/manage/v1/events", get(events))
        .route("/manage/v1/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/manage/v1/panic", get(|| async { std::hint::black_box(None::<&'static str>).expect("on purpose") }))
        .route("/manage/v1/endless", get(std::future::pending::<&'static str>))
        .route(
            "/manage/v1/who",
            get(|Extension(peer): Extension<Peer>| async move {
                format!("{} {:?}", peer.address.ip(), peer.identity.map(|identity| identity.names))
            }),
        );
    let metrics = Metrics::default();
    let server = Server::start_with(settings, |_| vec![("/manage/v1", router.clone())], &metrics).unwrap();
    Stage { server, metrics, go, begun }
}

impl Stage {
    fn address(&self) -> SocketAddr {
        self.server.addresses()[0].1
    }

    fn client(&self) -> Client<TcpStream> {
        Client::tcp(self.address())
    }

    #[track_caller]
    fn counts(&self, line: &str) {
        let start = std::time::Instant::now();
        while !self.metrics.render().contains(line) {
            assert!(start.elapsed() < PATIENCE, "no {line} in {}", self.metrics.render());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

const SLOW: &str = "GET /manage/v1/slow HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn calls_are_answered_and_counted() {
    let stage = stage(&settings());
    let mut client = stage.client();
    assert_eq!(client.get("/manage/v1/fast").text(), "fast");
    assert_eq!(client.get("/manage/v1/who").text(), "127.0.0.1 None");
    for path in ["/nowhere", "/", "/manage/v10", "/manage"] {
        let answer = client.get(path);
        assert_eq!((answer.status(), answer.field("content-type").as_deref()), (404, Some("application/problem+json")));
    }
    assert_eq!(client.get("/openapi.json").status(), 200);
    stage.counts(r#"sidecloak_requests_total{listener="authority",status="2xx"} 3"#);
    stage.counts(r#"sidecloak_requests_total{listener="authority",status="4xx"} 4"#);
    stage.counts(r#"sidecloak_in_flight{listener="authority"} 0"#);
}

#[test]
fn what_is_too_large_is_refused() {
    let stage = stage(&settings());
    let head = format!("GET /manage/v1/fast HTTP/1.1\r\nHost: a.test\r\nx-long: {}\r\n\r\n", "x".repeat(40_000));
    assert_eq!(stage.client().send(head).receive().status(), 431);

    let post = "POST /manage/v1/length HTTP/1.1\r\nHost: a.test\r\n";
    let large = 9 << 20;
    assert_eq!(stage.client().send(format!("{post}content-length: {large}\r\n\r\n")).receive().status(), 413);
    let mut client = stage.client();
    client.send(format!("{post}transfer-encoding: chunked\r\n\r\n{large:x}\r\n"));
    let (mut write, body) = (client.write.try_clone().unwrap(), vec![b'x'; large]);
    // The answer comes before the body has gone.
    let sender = std::thread::spawn(move || drop(write.write_all(&body)));
    assert_eq!(client.receive().status(), 413);
    drop(client);
    sender.join().unwrap();
    let fits = format!("{post}content-length: 3000000\r\n\r\n{}", "x".repeat(3_000_000));
    assert_eq!(stage.client().send(fits).receive().text(), "3000000");
}

#[test]
fn a_panic_is_one_answer_and_nothing_more() {
    let stage = stage(&settings());
    let mut client = stage.client();
    for _ in 0..3 {
        let answer = client.get("/manage/v1/panic");
        assert_eq!(answer.status(), 500);
        assert!(!answer.text().contains("purpose"));
    }
    assert_eq!(client.get("/manage/v1/fast").status(), 200);
    stage.counts(r#"sidecloak_requests_total{listener="authority",status="5xx"} 3"#);
}

#[test]
fn a_call_that_takes_too_long_is_broken_off() {
    let mut settings = settings();
    settings.timeouts.call = Duration::from_millis(50);
    let stage = stage(&settings);
    let mut client = stage.client();
    assert_eq!(client.get("/manage/v1/endless").status(), 504);
    // So is one whose body does not come.
    client.send("POST /manage/v1/length HTTP/1.1\r\nHost: a.test\r\ncontent-length: 5\r\n\r\nab");
    assert_eq!(client.receive().status(), 504);
    stage.counts(r#"sidecloak_in_flight{listener="authority"} 0"#);
}

#[rstest]
#[case("", false)]
#[case("GET /manage/v1/fast HTT", false)]
#[case("GET /manage/v1/fast HTTP/1.1\r\nHost: a", false)]
#[case("", true)]
#[case("\u{16}\u{3}\u{1}", true)]
fn a_slow_client_is_cut(#[case] bytes: &str, #[case] tls: bool) {
    let (directory, ca) = (tempfile::tempdir().unwrap(), Ca::new("servers"));
    let mut settings = settings();
    settings.timeouts.headers = Duration::from_millis(50);
    settings.timeouts.handshake = Duration::from_millis(50);
    if tls {
        settings.binds[0].tls = Some(server_tls(directory.path(), &ca));
    }
    let stage = stage(&settings);
    let mut client = stage.client();
    client.send(bytes);
    let mut rest = Vec::new();
    client.read.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    if tls {
        stage.counts(r#"sidecloak_tls_handshake_failures_total{listener="authority"} 1"#);
    }
}

#[test]
fn calls_and_memory_have_a_bound() {
    let mut settings = settings();
    settings.limits.in_flight = 1;
    settings.limits.memory = 1000;
    let stage = stage(&settings);
    let mut first = stage.client();
    first.send(SLOW);
    stage.begun.recv_timeout(PATIENCE).unwrap();
    let refused = stage.client().get("/manage/v1/fast");
    assert_eq!((refused.status(), refused.field("retry-after").as_deref()), (503, Some("1")));
    stage.go.send(()).unwrap();
    assert_eq!(first.receive().text(), "done");

    let post = |length: usize| {
        let head = format!("POST /manage/v1/length HTTP/1.1\r\nHost: a.test\r\ncontent-length: {length}\r\n\r\n");
        stage.client().send(head + &"x".repeat(length)).receive()
    };
    stage.counts(r#"sidecloak_in_flight{listener="authority"} 0"#);
    assert_eq!(post(2000).status(), 503);
    assert_eq!(post(1000).text(), "1000");
    stage.counts("sidecloak_budget_used_bytes 0");
}

#[test]
fn a_connection_over_the_limit_waits_for_its_turn() {
    let mut settings = settings();
    settings.limits.connections = 1;
    let stage = stage(&settings);
    let mut first = stage.client();
    assert_eq!(first.get("/manage/v1/fast").status(), 200);
    let mut second = stage.client();
    second.send("GET /manage/v1/fast HTTP/1.1\r\nHost: a.test\r\n\r\n");
    second.write.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(second.read.get_mut().read(&mut [0]).is_err(), "it waits");
    second.write.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(first);
    assert_eq!(second.receive().status(), 200);
}

#[test]
fn a_drain_waits_for_calls_and_ends_streams_of_events() {
    let stage = stage(&settings());
    let (mut slow, mut events, mut idle) = (stage.client(), stage.client(), stage.client());
    slow.send(SLOW);
    stage.begun.recv_timeout(PATIENCE).unwrap();
    events.send("GET /manage/v1/events HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut head = [0; 12];
    events.read.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    assert_eq!(idle.get("/manage/v1/fast").status(), 200);
    let stopper = stage.server.stopper();
    stopper.signal();
    assert!(stopper.is_draining());
    let mut rest = Vec::new();
    events.read.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream ends as a stream: {}", String::from_utf8_lossy(&rest));
    assert!(idle.is_at_end());
    stage.go.send(()).unwrap();
    assert_eq!(slow.receive().text(), "done");
    let address = stage.address();
    stage.server.join();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_second_signal_and_the_deadline_cut() {
    for second in [true, false] {
        let mut settings = settings();
        if !second {
            settings.drain.deadline = Duration::from_millis(50);
        }
        let stage = stage(&settings);
        let mut slow = stage.client();
        slow.send("GET /manage/v1/endless HTTP/1.1\r\nHost: a.test\r\n\r\n");
        stage.counts(r#"sidecloak_in_flight{listener="authority"} 1"#);
        let stopper = stage.server.stopper();
        stopper.signal();
        if second {
            stopper.signal();
        }
        stage.server.join();
        assert!(Message::read(&mut slow.read, false).is_none());
    }
}

fn server_tls(directory: &std::path::Path, ca: &Ca) -> ServerTls {
    let (cert, key) = ca.server().write(directory, "server");
    ServerTls { cert, key, ..ServerTls::default() }
}

#[test]
fn a_client_certificate_reaches_the_handler() {
    let (directory, servers, clients) = (tempfile::tempdir().unwrap(), Ca::new("servers"), Ca::new("clients"));
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("servers.pem"), servers.pem()).unwrap();
    std::fs::write(path("clients.pem"), clients.pem()).unwrap();
    let mut settings = settings();
    settings.binds[0].tls = Some(ServerTls {
        client_ca: Some(path("clients.pem")),
        require_client: true,
        ..server_tls(directory.path(), &servers)
    });
    let stage = stage(&settings);
    let with = |identity: Option<(PathBuf, PathBuf)>| {
        let client = ClientTls { ca: Some(path("servers.pem")), identity, pq_only: true };
        Secure::connect(stage.address(), &client::config(&client).unwrap()).get("/manage/v1/who")
    };
    let good = clients.client("spiffe://bank/web").write(directory.path(), "good");
    assert_eq!(with(Some(good)).unwrap().text(), r#"127.0.0.1 Some(["spiffe://bank/web"])"#);
    let foreign = Ca::new("clients").client("spiffe://bank/web").write(directory.path(), "foreign");
    let expired = clients.expired_client("spiffe://bank/web").write(directory.path(), "expired");
    for refused in [None, Some(foreign), Some(expired)] {
        assert!(with(refused).is_none());
    }
    stage.counts(r#"sidecloak_tls_handshake_failures_total{listener="authority"} 3"#);
    // Who speaks in the clear is no client either.
    let mut plain = stage.client();
    plain.send("GET /manage/v1/who HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut rest = Vec::new();
    plain.read.read_to_end(&mut rest).ok();
    assert!(!rest.starts_with(b"HTTP"));
}

#[test]
fn http_2_is_spoken_over_tls() {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    let (directory, ca) = (tempfile::tempdir().unwrap(), Ca::new("servers"));
    std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
    let mut settings = settings();
    settings.binds[0].tls = Some(server_tls(directory.path(), &ca));
    let stage = stage(&settings);
    let config = client::config(&ClientTls { ca: Some(directory.path().join("ca.pem")), ..ClientTls::default() });
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(rustls::ClientConfig::clone(&config.unwrap()))
        .https_only()
        .enable_http2()
        .build();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (path, status) in [("/manage/v1/fast", 200), ("/manage/v1/panic", 500), ("/nowhere", 404)] {
            let uri = format!("https://127.0.0.1:{}{path}", stage.address().port()).parse().unwrap();
            let answer = client.get(uri).await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (status, http::Version::HTTP_2));
            answer.into_body().collect().await.unwrap();
        }
    });
}

#[test]
fn beyond_loopback_there_must_be_tls() {
    let mut settings = settings();
    settings.binds[0].address = ([0, 0, 0, 0], 0).into();
    let start = |settings: &Settings| Server::start_with(settings, |_| Vec::new(), &Metrics::default());
    let error = start(&settings).unwrap_err();
    assert!(matches!(error, ListenError::Exposed { .. }) && error.to_string().contains("--insecure-listen"), "{error}");
}

/// An HTTP/2 client may give answers no room, and then they wait. Those of nobody in particular must not hold places of calls.
#[test]
fn answers_that_nobody_takes_hold_no_calls() {
    use http_body_util::Empty;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let mut settings = settings();
    settings.limits.in_flight = 4;
    let stage = stage(&settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TokioIo::new(tokio::net::TcpStream::connect(stage.address()).await.unwrap());
        let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut untaken = Vec::new();
        for path in ["/nowhere", "/openapi.json", "/manage/v1/fast"].iter().cycle().take(12) {
            let uri = format!("http://127.0.0.1{path}");
            let answer = client.send_request(http::Request::get(uri).body(Empty::<Bytes>::new()).unwrap()).await;
            untaken.push(answer.unwrap());
        }
        let statuses: Vec<u16> = untaken.iter().map(|answer| answer.status().as_u16()).collect();
        assert_eq!(statuses, [404, 200, 200].repeat(4));
        let address = stage.address();
        let other = tokio::task::spawn_blocking(move || Client::tcp(address).get("/manage/v1/fast").status());
        assert_eq!(other.await.unwrap(), 200);
    });
}
