//! What a peer may take, in bytes and in time: clients that trickle, stall or bring too much are cut or refused, and those that
//! are just slow are not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rstest::rstest;
use sidecloak::proxy::settings::Address;

use super::floods::{Frame, Http2, kind};
use super::stage::eventually;
use super::support::{Client, Next, PATIENCE, Proxy, ProxyBuilder, Upstream, echo, proxy, proxy_to, upstream};

const SHORT: Duration = Duration::from_millis(300);
/// Well below [`SHORT`].
const STEP: Duration = Duration::from_millis(40);
const LARGE: usize = 200 << 20;
/// More than the buffers of the two kernels' sockets and ours hold together.
const HELD: usize = 40 << 20;

fn limited(proxy: &Proxy, limit: &str) -> bool {
    let line = format!("sidecloak_limits_total{{listener=\"front\",limit=\"{limit}\"}}");
    proxy.shared.metrics.render().contains(&line)
}

fn timed(up: &Upstream, change: impl FnOnce(&mut sidecloak::proxy::settings::Timeouts)) -> ProxyBuilder {
    proxy(&[up]).settings(|s| change(&mut s.timeouts))
}

#[rstest]
#[case("GET / HTTP/1.1\r\nHost: a.test\r\nx-")]
#[case("G")]
#[case("PRI * HT")]
fn a_header_section_that_trickles_is_cut(#[case] begin: &str) {
    let up = echo();
    let proxy = timed(&up, |t| (t.header, t.keep_alive) = (SHORT, SHORT)).run();
    let mut client = proxy.client();
    client.send(begin);
    let start = Instant::now();
    // However long it goes on: until the proxy has had enough.
    while client.write.write_all(b"x").is_ok() {
        assert!(start.elapsed() < PATIENCE, "never cut");
        thread::sleep(STEP);
    }
    assert_eq!(up.count(), 0);
}

#[test]
fn a_header_section_that_is_slow_but_in_time_is_served_again_and_again() {
    let up = echo();
    let proxy = timed(&up, |t| t.header = Duration::from_secs(10)).run();
    let mut client = proxy.client();
    for _ in 0..3 {
        for piece in "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".as_bytes().chunks(8) {
            client.send(piece);
            thread::sleep(STEP);
        }
        assert_eq!(client.receive().status(), 200);
    }
}

#[test]
fn a_later_header_section_is_timed_from_its_first_byte_and_silence_apart() {
    let up = echo();
    let proxy = timed(&up, |t| (t.header, t.keep_alive) = (SHORT, PATIENCE * 9)).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    thread::sleep(SHORT * 3);
    assert_eq!(client.get("/").status(), 200, "idle for longer than a header section may take");
    client.send("GET / HTTP/1.1\r\n");
    assert!(client.is_at_end());
    eventually("counted", || limited(&proxy, "timeouts.header"));

    let proxy = timed(&up, |t| t.keep_alive = SHORT).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    assert!(client.is_at_end(), "idle");
    assert!(!limited(&proxy, "timeouts.keep_alive"), "closed in order");
}

#[test]
fn header_sections_have_a_size_a_count_and_a_first_line() {
    let up = echo();
    let proxy = proxy(&[&up]).settings(|s| (s.limits.headers, s.limits.request_line) = (20, 100)).run();
    let fields = |count: usize| {
        let fields: String = (0..count).map(|n| format!("x-{n}: y\r\n")).collect();
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")).receive().status()
    };
    assert_eq!((fields(19), fields(20), fields(99), fields(200)), (200, 431, 431, 431));
    let line = |path: usize| {
        let mut client = proxy.client();
        client.send(format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(path))).receive().status()
    };
    assert_eq!((line(86), line(87), line(1000)), (200, 414, 414));
    let mut client = proxy.client();
    let large = format!("GET / HTTP/1.1\r\nHost: a.test\r\nx: {}\r\n\r\n", "a".repeat(40 << 10));
    assert_eq!(client.send(large).receive().status(), 431);

    let more = super::support::proxy(&[&up]).settings(|s| s.limits.headers = 300).run();
    let many: String = (0..250).map(|n| format!("x-{n}: y\r\n")).collect();
    let mut client = more.client();
    assert_eq!(client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{many}\r\n")).receive().status(), 200);
    assert!(limited(&proxy, "headers") && limited(&proxy, "request_line"));
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_before_it_is_asked_for() {
    let up = echo();
    let proxy = proxy(&[&up]).settings(|s| s.limits.body = Some(1000)).run();
    let post = |more: &str| format!("POST / HTTP/1.1\r\nHost: a.test\r\n{more}\r\n");
    let mut client = proxy.client();
    let refused = client.send(post("Content-Length: 1001\r\nExpect: 100-continue\r\n")).receive();
    assert_eq!((refused.status(), refused.field("x-sidecloak-failure").as_deref()), (413, Some("too-large")));
    assert_eq!(up.count(), 0, "nothing was forwarded");
    let mut client = proxy.client();
    assert_eq!(client.send(post("Content-Length: 1000\r\n")).send("x".repeat(1000)).receive().status(), 200);
    assert_eq!(up.last().body.len(), 1000);
    // Of no known length: it is cut, and the upstream has no end of it.
    let mut client = proxy.client();
    client.send(post("Transfer-Encoding: chunked\r\n"));
    client.send(format!("{:x}\r\n{}\r\n", 900, "x".repeat(900)));
    thread::sleep(STEP);
    client.send(format!("{:x}\r\n{}\r\n0\r\n\r\n", 900, "x".repeat(900)));
    assert_eq!(client.receive().status(), 413);
    assert_eq!(up.count(), 1, "no second whole request");
    assert!(limited(&proxy, "body"));
}

#[test]
fn the_nearest_bound_of_a_body_counts() {
    let rules = "rules:
  - { name: uploads, match: { path: /up/** }, action: pass, max_body: 5000 }
  - { name: small, match: { path: /small }, max_body: 10, protect: [{ fields: [$.ssn] }] }\n";
    let stage = super::stage::Stage::with(rules, "    limits: { body: 2000B }\n", "limits: { body: 100B }\n");
    let post = |path: &str, length: usize| stage.post(path, format!("[{}]", "1".repeat(length - 2))).status;
    assert_eq!((post("/up/1", 5000), post("/up/1", 5001)), (200, 413));
    assert_eq!((post("/small", 10), post("/small", 11)), (200, 413));
    assert_eq!((post("/other", 2000), post("/other", 2001)), (200, 413));
}

#[rstest]
#[case::stands_still(0)]
#[case::trickles(1)]
fn a_body_that_does_not_come_is_refused(#[case] bytes: usize) {
    let up = echo();
    let proxy = timed(&up, |t| t.request_idle = SHORT).run();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nx");
    let mut dripping = client.write.try_clone().unwrap();
    let drip = thread::spawn(move || {
        while dripping.write_all(&b"x"[..bytes]).is_ok() && dripping.take_error().unwrap().is_none() {
            thread::sleep(STEP);
            if bytes == 0 {
                return;
            }
        }
    });
    assert_eq!(client.receive().status(), 408);
    drop(client);
    drip.join().unwrap();
    assert_eq!(up.count(), 0);
    assert!(limited(&proxy, "timeouts.request_idle"));
}

#[test]
fn a_body_that_keeps_to_the_rate_may_take_as_long_as_it_likes() {
    let up = echo();
    let proxy = timed(&up, |t| t.request_idle = Duration::from_secs(2)).run();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6000\r\n\r\n");
    for _ in 0..60 {
        client.send([b'x'; 100]);
        thread::sleep(STEP);
    }
    assert_eq!(client.receive().status(), 200);

    let proxy = timed(&up, |t| t.request_idle = PATIENCE).settings(|s| s.limits.min_rate = None).run();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20\r\n\r\n");
    for _ in 0..20 {
        client.send("x");
        thread::sleep(STEP);
    }
    assert_eq!(client.receive().status(), 200);
}

/// An upstream whose answer is large; how much of it could be written, and whether it was cut.
fn large_answer() -> (Upstream, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (written, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counts, cuts) = (Arc::clone(&written), Arc::clone(&cut));
    let up = upstream(move |_, out| {
        write!(out, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {LARGE}\r\n\r\n[").unwrap();
        let piece = b"1,".repeat(32 << 10);
        for _ in 0..LARGE / piece.len() {
            if out.write_all(&piece).is_err() {
                cuts.fetch_add(1, Ordering::Relaxed);
                return Next::Close;
            }
            counts.fetch_add(piece.len(), Ordering::Relaxed);
        }
        Next::Close
    });
    (up, written, cut)
}

/// Waits until the count stands still.
fn stands_still(count: &AtomicUsize) -> usize {
    loop {
        let before = count.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(500));
        if before > 0 && count.load(Ordering::Relaxed) == before {
            return before;
        }
    }
}

const OPENING: &str = "rules:\n  - { name: r, match: { path: /** }, protect: [{ fields: [\"$..ssn\"] }] }\n";

#[rstest]
#[case::http1(false)]
#[case::http2(true)]
fn a_client_that_does_not_read_holds_up_the_upstream_and_is_cut(#[case] http2: bool) {
    let (up, written, cut) = large_answer();
    let proxy = timed(&up, |t| t.send = Duration::from_secs(3)).run();
    let mut one = proxy.client();
    let mut two = None;
    if http2 {
        let mut client = Http2::new(proxy.tcp(0));
        client.request(1, "GET", true);
        two = Some(client);
    } else {
        one.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    let held = stands_still(&written);
    assert!(held < HELD, "{held} bytes went somewhere");
    assert!(proxy.shared.budget.used() < 1 << 20);
    eventually("cut", || cut.load(Ordering::Relaxed) == 1);
    eventually("counted", || limited(&proxy, "timeouts.send"));
    if let Some(mut client) = two {
        // The stream alone: the connection goes on.
        assert!(client.until(|frame| frame.kind == kind::RST_STREAM && frame.stream == 1));
        client.ping();
        assert!(client.until(|frame| frame.kind == kind::PING && frame.flags == 1));
    }
}

#[test]
fn a_client_that_does_not_read_what_a_rule_changes_holds_up_the_upstream() {
    let (up, written, cut) = large_answer();
    let stage = super::stage::Stage::before(&up, OPENING);
    let mut client = Client::tcp(stage.front);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let held = stands_still(&written);
    assert!(held < HELD, "{held} bytes went somewhere");
    assert_eq!(cut.load(Ordering::Relaxed), 0);
    drop(client);
    eventually("cut", || cut.load(Ordering::Relaxed) == 1);
}

#[test]
fn a_client_that_reads_slowly_is_served_to_the_end() {
    let up = upstream(|_, out| {
        let body = vec![b'x'; 16 << 20];
        write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
        out.write_all(&body).unwrap();
        Next::KeepAlive
    });
    let proxy = timed(&up, |t| t.send = Duration::from_secs(2)).run();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut read = 0;
    let mut buffer = vec![0; 256 << 10];
    while read < 16 << 20 {
        let count = client.read.get_mut().read(&mut buffer).unwrap();
        assert!(count > 0, "cut after {read}");
        read += count;
        thread::sleep(STEP);
    }
}

#[rstest]
#[case::http1(false, "")]
#[case::http2(true, "")]
#[case::with_a_rule(false, OPENING)]
fn an_upstream_that_does_not_read_holds_up_the_client(#[case] http2: bool, #[case] rules: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let silent = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut few = [0; 64];
        stream.read_exact(&mut few).unwrap();
        stream
    });
    let (proxy, stage);
    let front = if rules.is_empty() {
        proxy = proxy_to(vec![address]).run();
        proxy.tcp(0)
    } else {
        let up = Upstream { address, seen: Arc::default(), connections: Arc::default() };
        stage = super::stage::Stage::before(&up, rules);
        stage.front
    };
    let sent = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&sent);
    let stream = TcpStream::connect(front).unwrap();
    let mut writes = stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        let piece = b"1,".repeat(8 << 10);
        if http2 {
            // Whatever the window says: what is over it is never taken.
            writes.write_all(&Http2::preface()).unwrap();
            writes.write_all(&Frame::request(1, "POST", false).bytes()).unwrap();
        } else {
            let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\n";
            write!(writes, "{head}Content-Length: {LARGE}\r\n\r\n[").unwrap();
        }
        for n in 0..LARGE / piece.len() {
            let window_left = !http2 || n < 3;
            if !window_left
                || writes.write_all(&if http2 { Frame::data(1, &piece, false).bytes() } else { piece.clone() }).is_err()
            {
                return;
            }
            counts.fetch_add(piece.len(), Ordering::Relaxed);
        }
    });
    let upstream = silent.join().unwrap();
    let held = stands_still(&sent);
    assert!(held < HELD, "{held} bytes went somewhere");
    drop((stream, upstream));
    // The write ends with the connection.
    drop(thread::spawn(move || writer.join()));
}

#[test]
fn a_connection_brings_so_many_requests_and_lives_so_long() {
    let up = echo();
    let proxy = proxy(&[&up]).settings(|s| s.limits.requests = Some(3)).run();
    let mut client = proxy.client();
    assert!((0..2).all(|_| client.get("/").field("connection").is_none()));
    assert_eq!(client.get("/").status(), 200);
    assert!(client.is_at_end());

    let proxy = timed(&up, |t| t.connection_age = Some(SHORT)).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    assert!(client.is_at_end());
    let mut client = Http2::new(proxy.tcp(0));
    assert!(client.until(|frame| frame.kind == kind::GOAWAY));
}

#[test]
fn a_tunnel_that_is_silent_ends_and_one_that_talks_does_not() {
    let up = upstream(|_, out| {
        out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")
            .unwrap();
        thread::sleep(PATIENCE);
        Next::Close
    });
    let proxy = timed(&up, |t| t.tunnel_idle = Some(Duration::from_secs(1))).run();
    let mut client = proxy.client();
    let ask = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.send(ask).receive().status(), 101);
    for _ in 0..60 {
        client.send("x");
        thread::sleep(STEP);
    }
    let mut five = [0; 5];
    client.read.read_exact(&mut five).unwrap();
    assert!(client.is_at_end());
    eventually("counted", || limited(&proxy, "timeouts.tunnel_idle"));
}

#[test]
fn who_waits_for_a_connection_gets_that_of_one_who_is_idle() {
    let up = echo();
    let proxy = proxy(&[&up]).settings(|s| s.limits.connections = 4).run();
    let mut idle: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    assert!(idle.iter_mut().all(|client| client.get("/").status() == 200));
    let mut others: Vec<_> = (0..2).map(|_| proxy.client()).collect();
    assert!(others.iter_mut().all(|client| client.get("/").status() == 200), "served in spite of four that are idle");
    eventually("counted", || limited(&proxy, "connections"));
}

#[test]
fn one_client_has_so_many_connections() {
    let up = echo();
    let proxy = proxy(&[&up]).settings(|s| s.limits.client_connections = Some(2)).run();
    let mut two: Vec<_> = (0..2).map(|_| proxy.client()).collect();
    assert!(two.iter_mut().all(|client| client.get("/").status() == 200));
    let mut third = proxy.client();
    assert!(third.is_at_end());
    drop(two);
    eventually("free again", || {
        let mut client = proxy.client();
        drop(client.write.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        super::support::Message::read(&mut client.read, false).is_some_and(|answer| answer.status() == 200)
    });
    assert!(limited(&proxy, "client_connections"));
}

/// An upstream that keeps its answers for as long as the second is held.
pub fn held() -> (Upstream, std::sync::mpsc::SyncSender<()>) {
    waiting()
}

/// An upstream that answers when it is told to.
fn waiting() -> (Upstream, std::sync::mpsc::SyncSender<()>) {
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(16);
    let wait = std::sync::Mutex::new(wait);
    let up = upstream(move |_, out| {
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        Next::KeepAlive
    });
    (up, go)
}

#[test]
fn what_is_too_much_at_once_is_shed_and_what_runs_ends() {
    let (up, go) = waiting();
    let proxy = proxy(&[&up]).listener(|l| l.limits.in_flight = Some(1)).run();
    let mut first = proxy.client();
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("begun", || up.count() == 1);
    let mut waits = Vec::new();
    for _ in 0..20 {
        let shed = proxy.client().get("/");
        assert_eq!(shed.status(), 503);
        waits.push(shed.field("retry-after").unwrap().parse::<u32>().unwrap());
    }
    assert!(waits.iter().all(|seconds| (1..=5).contains(seconds)), "{waits:?}");
    assert!(waits.iter().any(|seconds| *seconds != waits[0]), "all come back together: {waits:?}");
    go.send(()).unwrap();
    assert_eq!(first.receive().text(), "ok");
    assert!(limited(&proxy, "in_flight"));
}

#[test]
fn the_queue_for_the_upstream_is_bounded() {
    let (up, go) = waiting();
    let proxy = proxy(&[&up])
        .settings(|s| (s.upstream_limits.connections, s.upstream_limits.queue, s.timeouts.queue) = (1, 1, PATIENCE))
        .run();
    let mut clients: Vec<_> = (0..2).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        eventually("begun", || up.count() == 1);
    }
    eventually("both in flight", || {
        proxy.shared.metrics.render().contains("sidecloak_in_flight{listener=\"front\"} 2")
    });
    assert_eq!(proxy.client().get("/").status(), 503, "the third is told at once");
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert!(clients.iter_mut().all(|client| client.receive().text() == "ok"));
    assert!(limited(&proxy, "queue"));
}

#[test]
fn a_whole_exchange_has_its_time() {
    let (up, _go) = waiting();
    let proxy = timed(&up, |t| t.total = Some(SHORT)).run();
    assert_eq!(proxy.client().get("/").status(), 504);
    // Within the answer it is cut.
    let up = upstream(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        while out.write_all(b"1\r\nx\r\n").is_ok() {
            thread::sleep(STEP);
        }
        Next::Close
    });
    let proxy = timed(&up, |t| t.total = Some(SHORT)).run();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(super::support::Message::read(&mut client.read, false).is_none(), "no whole answer");
    assert!(limited(&proxy, "timeouts.total"));
}

#[test]
fn what_http2_lets_come_is_paid_for() {
    let (up, go) = waiting();
    let proxy = proxy(&[&up]).run();
    let mut client = Http2::new(proxy.tcp(0));
    client.request(1, "POST", false);
    eventually("leased", || proxy.shared.budget.used() == 64 << 10);
    client.send(&Frame::data(1, b"x", true));
    go.send(()).unwrap();
    assert!(client.until(|frame| frame.kind == kind::DATA && frame.stream == 1));
    eventually("given back", || proxy.shared.budget.used() == 0);

    let proxy = super::support::proxy(&[&up]).settings(|s| s.limits.memory = 100 << 10).run();
    let mut client = Http2::new(proxy.tcp(0));
    client.request(1, "POST", false);
    client.request(3, "POST", false);
    // `:status: 503` has no entry in the static table, so it is found as text (or Huffman, of which this is 503).
    assert!(client.until(|frame| frame.kind == kind::HEADERS && frame.stream == 3));
    assert!(limited(&proxy, "memory"));
}

#[test]
fn a_client_that_takes_one_byte_of_an_answer_does_not_hold_the_rest_for_ever() {
    let up = upstream(|_, out| {
        write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 4000\r\n\r\n{}", "x".repeat(4000)).unwrap();
        Next::KeepAlive
    });
    let proxy = timed(&up, |t| t.send = SHORT).run();
    let mut client = Http2::new(proxy.tcp(0));
    // SETTINGS_INITIAL_WINDOW_SIZE
    client.send(&Frame::new(kind::SETTINGS, 0, 0, [0, 4, 0, 0, 0, 1]));
    client.request(1, "GET", true);
    assert!(client.until(|frame| frame.kind == kind::DATA && frame.payload == b"x"), "its window");
    assert!(client.until(|frame| frame.kind == kind::RST_STREAM && frame.stream == 1), "held without end");
    eventually("counted", || limited(&proxy, "timeouts.send"));
}

#[test]
fn who_waits_at_one_listener_does_not_end_the_connections_of_another() {
    let hangs = upstream(|_, _| {
        thread::sleep(PATIENCE);
        Next::Close
    });
    let other = echo();
    let mut builder = proxy(&[&hangs]).listener(|listener| listener.limits.connections = Some(1));
    let second = super::support::listener("other", vec![other.address]);
    builder.settings.listeners.push(Arc::new(second));
    let proxy = builder.run();
    let mut busy = proxy.client();
    busy.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("forwarded", || hangs.count() == 1);
    let _waits = proxy.client();
    let mut kept = Client::tcp(proxy.tcp(1));
    for _ in 0..10 {
        assert_eq!(kept.get("/").status(), 200);
        thread::sleep(STEP * 2);
    }
}

#[test]
fn an_answer_may_have_as_many_fields_as_a_request_and_no_more() {
    let up = upstream(|request, out| {
        let count: usize = request.first_line().split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        let fields: String = (1..count).map(|n| format!("x-{n}: y\r\n")).collect();
        write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{fields}\r\n").unwrap();
        Next::KeepAlive
    });
    for (most, allowed, refused) in [(20, 20, [21, 200]), (300, 300, [301, 400])] {
        let proxy = proxy(&[&up]).settings(|s| s.limits.headers = most).run();
        let mut client = proxy.client();
        assert_eq!(client.get(&format!("/{allowed}")).status(), 200, "{most}");
        for count in refused {
            let answer = client.get(&format!("/{count}"));
            let failure = answer.field("x-sidecloak-failure");
            assert_eq!((answer.status(), failure.as_deref()), (502, Some("upstream")), "{count} of {most}");
        }
    }
}
