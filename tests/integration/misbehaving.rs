//! An upstream that misbehaves on command, and what its clients see of it: the table in docs/operations.md.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use rstest::rstest;
use sidecloak::clock::SystemClock;
use sidecloak::proxy::settings::{Address, Retry, UpstreamProtocol};

use super::passthrough::http2_client;
use super::stage::{Stage, eventually, start, tcp};
use super::support::{Client, Message, Next, PATIENCE, ProxyBuilder, Upstream, echo, proxy, proxy_to, upstream};

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
enum See {
    /// An answer that came to its end.
    Whole(u16, String),
    /// One of our own.
    Refused(u16, String),
    /// One that broke off, and could not be taken for whole.
    Cut,
}

use See::{Cut, Refused, Whole};

fn whole(text: &str) -> See {
    Whole(200, text.into())
}

fn bad_gateway() -> See {
    Refused(502, "upstream".into())
}

const SECRET: &str = "123-45-6789";
const JSON: &str = r#"{"a":1,"b":"123456789"}"#;

fn json(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}\r\n").into_bytes()
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// How an upstream ends what it has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
    Keep,
}

/// An upstream that answers every request with these bytes.
fn raw(bytes: Vec<u8>, end: End) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let up = Upstream { address, seen: Arc::clone(&seen), connections: Arc::clone(&connections) };
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            *connections.lock().unwrap() += 1;
            let (bytes, seen) = (bytes.clone(), Arc::clone(&seen));
            std::thread::spawn(move || {
                let mut read = BufReader::new(stream.try_clone().unwrap());
                while let Some(request) = Message::read(&mut read, false) {
                    seen.lock().unwrap().push(request);
                    drop(stream.write_all(&bytes));
                    match end {
                        End::Keep => {}
                        End::Fin => return drop(stream.shutdown(Shutdown::Both)),
                        End::Reset => {
                            // What was sent before must have been read, or the reset overtakes it.
                            std::thread::sleep(Duration::from_millis(100));
                            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                            return;
                        }
                    }
                }
            });
        }
    });
    up
}

fn http1(address: SocketAddr) -> See {
    let mut client = Client::tcp(address);
    client.send("GET /record HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let Some(message) = Message::read(&mut client.read, false) else { return Cut };
    // A body without a length that ends with a reset is no whole one.
    if message.field("content-length").is_none()
        && message.field("transfer-encoding").is_none()
        && client.read.fill_buf().is_err()
    {
        return Cut;
    }
    match message.field("x-sidecloak-failure") {
        Some(failure) => Refused(message.status(), failure),
        None => Whole(message.status(), message.text()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn http2(address: SocketAddr) -> See {
    let mut client = http2_client(address).await;
    let request = Request::get(format!("http://{address}/record")).body(Full::new(Bytes::new())).unwrap();
    let Ok(response) = client.send_request(request).await else { return Cut };
    let (parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Err(_) => return Cut,
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match parts.headers.get("x-sidecloak-failure") {
        Some(failure) => Refused(parts.status.as_u16(), failure.to_str().unwrap().into()),
        None => Whole(parts.status.as_u16(), text),
    }
}

const RULES: &str =
    "rules:\n  - name: records\n    match: { path: \"/**\" }\n    protect:\n      - fields: [\"$..ssn\"]\n";

/// On a route without a rule, and on one whose answers are opened: the latter is checked whole before its first byte leaves.
#[rstest]
#[case::close_before_answer(b"".to_vec(), End::Fin, bad_gateway(), bad_gateway())]
#[case::reset_before_answer(b"".to_vec(), End::Reset, bad_gateway(), bad_gateway())]
#[case::close_mid_header(b"HTTP/1.1 200 OK\r\ncontent-type: appl".to_vec(), End::Fin, bad_gateway(), bad_gateway())]
#[case::reset_mid_header(b"HTTP/1.1 200 OK\r\ncontent-type: appl".to_vec(), End::Reset, bad_gateway(), bad_gateway())]
#[case::close_mid_body(joined(&[&json("content-length: 100\r\n"), JSON.as_bytes()]), End::Fin, Cut, Refused(502, "records".into()))]
#[case::reset_mid_body(joined(&[&json("content-length: 100\r\n"), JSON.as_bytes()]), End::Reset, Cut, Refused(502, "records".into()))]
#[case::close_mid_chunk(joined(&[&json("transfer-encoding: chunked\r\n"), b"17\r\n", JSON.as_bytes(), b"\r\n5\r\nab"]), End::Fin, Cut, Cut)]
#[case::close_before_last_chunk(joined(&[&json("transfer-encoding: chunked\r\n"), b"17\r\n", JSON.as_bytes(), b"\r\n"]), End::Fin, Cut, Refused(502, "records".into()))]
#[case::without_a_length(joined(&[&json("connection: close\r\n"), JSON.as_bytes()]), End::Fin, whole(JSON), whole(JSON))]
#[case::without_a_length_and_reset(joined(&[&json("connection: close\r\n"), JSON.as_bytes()]), End::Reset, Cut, Refused(502, "records".into()))]
#[case::without_a_length_and_short(joined(&[&json("connection: close\r\n"), br#"{"a":1,"#]), End::Fin, whole(r#"{"a":1,"#), whole(r#"{"a":1,"#))]
#[case::longer_than_said(joined(&[&json("content-length: 23\r\n"), JSON.as_bytes(), b"and more"]), End::Keep, whole(JSON), whole(JSON))]
#[case::garbage(b"\x00\x01\x02\xff\xfe\r\n\r\n".to_vec(), End::Fin, bad_gateway(), bad_gateway())]
#[case::not_http(b"SSH-2.0-x\r\n\r\n".to_vec(), End::Keep, bad_gateway(), bad_gateway())]
#[case::http_09(b"hello, world".to_vec(), End::Fin, bad_gateway(), bad_gateway())]
#[case::two_lengths(joined(&[&json("content-length: 23\r\ncontent-length: 2\r\n"), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::negative_length(joined(&[&json("content-length: -23\r\n"), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::signed_length(joined(&[&json("content-length: +23\r\n"), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::length_list(joined(&[&json("content-length: 23, 24\r\n"), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::huge_length(joined(&[&json("content-length: 99999999999999999999999\r\n"), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::chunked_and_length(joined(&[&json("transfer-encoding: chunked\r\ncontent-length: 5\r\n"), b"17\r\n", JSON.as_bytes(), b"\r\n0\r\n\r\n"]), End::Keep, whole(JSON), whole(JSON))]
#[case::folded(joined(&[&json("x-a: 1\r\n folded\r\ncontent-length: 23\r\n"), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::space_before_colon(joined(&[&json("content-length : 23\r\n"), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::bare_return(joined(&[&json("x-a: 1\rset-cookie: evil\r\ncontent-length: 23\r\n"), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::nul_in_a_value(joined(&[&json("x-a: 1\0\r\ncontent-length: 23\r\n"), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::bad_chunk_size(joined(&[&json("transfer-encoding: chunked\r\n"), b"17\r\n", JSON.as_bytes(), b"\r\nzz\r\n0\r\n\r\n"]), End::Keep, Cut, Refused(502, "records".into()))]
#[case::huge_chunk_size(joined(&[&json("transfer-encoding: chunked\r\n"), b"17\r\n", JSON.as_bytes(), b"\r\nfffffffffffffffff\r\n"]), End::Keep, Cut, Refused(502, "records".into()))]
#[case::no_end_of_chunk(joined(&[&json("transfer-encoding: chunked\r\n"), b"17\r\n", JSON.as_bytes(), b"0\r\n\r\n"]), End::Keep, Cut, Refused(502, "records".into()))]
#[case::huge_header(joined(&[&json(&format!("x-a: {}\r\ncontent-length: 23\r\n", "a".repeat(200_000))), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::many_fields(joined(&[&json(&"x-a: 1\r\n".repeat(1_000)), JSON.as_bytes()]), End::Keep, bad_gateway(), bad_gateway())]
#[case::interim_answers(joined(&[&b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n".repeat(3), &json("content-length: 23\r\n"), JSON.as_bytes()]), End::Keep, whole(JSON), whole(JSON))]
#[case::interim_answers_without_end(b"HTTP/1.1 100 Continue\r\nx-a: 0123456789012345678901234567890123456789\r\n\r\n".repeat(100_000), End::Keep, bad_gateway(), bad_gateway())]
#[case::switch_unasked(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n".to_vec(), End::Keep, bad_gateway(), bad_gateway())]
fn what_clients_see(#[case] bytes: Vec<u8>, #[case] end: End, #[case] passed: See, #[case] opened: See) {
    let up = raw(bytes, end);
    let plain = proxy(&[&up]).run();
    assert_eq!(http1(plain.tcp(0)), passed, "HTTP/1.1, no rule");
    assert_eq!(http2(plain.tcp(0)), passed, "HTTP/2, no rule");
    let asked = up.count();
    assert_eq!(asked, 2, "nothing was sent again");

    let stage = Stage::before(&up, RULES);
    assert_eq!(http1(stage.front), opened, "HTTP/1.1, a rule");
    assert_eq!(http2(stage.front), opened, "HTTP/2, a rule");
}

#[test]
fn an_answer_that_drips_is_whole() {
    let up = upstream(|_, out| {
        for byte in joined(&[&json("content-length: 23\r\n"), JSON.as_bytes()]) {
            out.write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_micros(500));
        }
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).run();
    assert_eq!((http1(proxy.tcp(0)), http2(proxy.tcp(0))), (whole(JSON), whole(JSON)));
}

/// Who sends `GET / HTTP/1.1` twice on one connection could be given the answer of another.
#[rstest]
#[case::at_once(Duration::ZERO)]
#[case::later(Duration::from_millis(30))]
fn an_answer_that_nobody_asked_for_reaches_nobody(#[case] later: Duration) {
    let up = upstream(move |request, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        if request.first_line().contains("/evil") {
            std::thread::sleep(later);
            drop(out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"));
        }
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/evil").text(), "ok");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(client.get("/next").text(), "ok");
    assert_eq!(*up.connections.lock().unwrap(), 2);
}

#[test]
fn an_answer_before_the_requests_end_passes_and_its_connection_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut read = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    if read.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                }
                drop(stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno"));
                drop(read.read_to_string(&mut String::new()));
            });
        }
    });
    let proxy = proxy_to(vec![address]).run();
    let mut client = proxy.client();
    let answer = client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nbegun").receive();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "no"));
    assert_eq!(proxy.client().get("/").status(), 413);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn silence_is_504_with_a_name() {
    let up = upstream(|_, _| {
        std::thread::sleep(PATIENCE);
        Next::Close
    });
    let proxy = proxy(&[&up]).shared(|s| s.settings.timeouts.first_byte = Duration::from_millis(100)).run();
    assert_eq!(http1(proxy.tcp(0)), Refused(504, "timeout".into()));
    assert_eq!(http2(proxy.tcp(0)), Refused(504, "timeout".into()));
    assert_eq!(up.count(), 2, "what may be at work is not asked again");
}

/// The first request of each connection is answered, and so is `/ok`; any other request ends its connection.
fn mortal() -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let up = Upstream { address, seen: Arc::clone(&seen), connections: Arc::clone(&connections) };
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            *connections.lock().unwrap() += 1;
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || {
                let mut read = BufReader::new(stream.try_clone().unwrap());
                let mut served = 0;
                while let Some(request) = Message::read(&mut read, false) {
                    let fine = served == 0 && !request.first_line().contains("/never");
                    served += 1;
                    let ok = request.first_line().contains("/ok");
                    seen.lock().unwrap().push(request.clone());
                    if !fine && !ok {
                        return drop(stream.shutdown(Shutdown::Both));
                    }
                    let length = request.body.len();
                    let kind = request.field("content-type").unwrap_or_else(|| "text/plain".into());
                    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")
                        .unwrap();
                    stream.write_all(&request.body).unwrap();
                }
            });
        }
    });
    up
}

fn with_retry(up: &Upstream, retry: Retry) -> ProxyBuilder {
    proxy(&[up]).settings(|s| s.upstream_failures.retry = retry)
}

#[rstest]
#[case::get("GET", "", Retry::Idempotent, Some(2))]
#[case::put("PUT", "Content-Length: 4\r\n", Retry::Idempotent, Some(2))]
#[case::delete("DELETE", "", Retry::Idempotent, Some(2))]
#[case::post("POST", "Content-Length: 4\r\n", Retry::Idempotent, None)]
#[case::patch("PATCH", "Content-Length: 4\r\n", Retry::Idempotent, None)]
#[case::unknown("BREW", "", Retry::Idempotent, None)]
#[case::post_as_told("POST", "Content-Length: 4\r\n", Retry::Any, Some(2))]
#[case::get_as_told("GET", "", Retry::Never, None)]
fn a_kept_connection_that_dies_is_replaced_once(
    #[case] method: &str,
    #[case] fields: &str,
    #[case] retry: Retry,
    #[case] times: Option<usize>,
) {
    let up = mortal();
    let proxy = with_retry(&up, retry).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/ok").status(), 200);
    let body = if fields.is_empty() { "" } else { "body" };
    let answer = client.send(format!("{method} /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")).receive();
    let asked: Vec<_> = up.seen.lock().unwrap().iter().filter(|m| m.first_line().contains("/x")).cloned().collect();
    match times {
        Some(times) => {
            assert_eq!((answer.status(), answer.text().as_str()), (200, body));
            assert_eq!(asked.len(), times);
            assert_eq!((&asked[0].head, &asked[0].body), (&asked[1].head, &asked[1].body), "the same bytes");
        }
        None => {
            assert_eq!((answer.status(), answer.field("x-sidecloak-failure").as_deref()), (502, Some("upstream")));
            assert_eq!(asked.len(), 1);
        }
    }
    let counted = format!(r#"sidecloak_upstream_retries_total{{listener="front"}} {}"#, usize::from(times.is_some()));
    assert!(proxy.shared.metrics.render().contains(&counted), "{counted}");
}

#[test]
fn never_more_than_twice_and_on_a_new_connection_once() {
    let up = mortal();
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/ok").status(), 200);
    assert_eq!(client.get("/never").status(), 502);
    assert_eq!(up.count(), 3, "once on the kept connection, once on a new one");
    assert_eq!(client.get("/never").status(), 502);
    assert_eq!(up.count(), 4, "a new connection that dies of it is no reason to try another");
}

#[test]
fn a_body_that_has_begun_to_stream_is_not_sent_again() {
    let up = mortal();
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/ok").status(), 200);
    client.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").send(vec![b'x'; 200_000]);
    assert_eq!(client.receive().status(), 502);
    assert_eq!(up.seen.lock().unwrap().iter().filter(|m| m.first_line().contains("/x")).count(), 1);
}

#[test]
fn what_was_sealed_is_sent_again_as_it_was_sealed() {
    let up = mortal();
    let mut stage = Stage::new(RULES);
    stage.app.take().unwrap().stop();
    let Address::Tcp(address) = up.address else { panic!() };
    // Each worker has connections of its own.
    let app = start(stage.dir.path(), address, "", "workers: 1\n", SystemClock::shared());
    stage.front = tcp(&app, "front");
    stage.app = Some(app);
    assert_eq!(stage.get("/ok").status, 200);
    let reply = stage.call("PUT", "/x", &[("content-type", "application/json")], format!(r#"{{"ssn":"{SECRET}"}}"#));
    assert_eq!((reply.status, reply.text()), (200, format!(r#"{{"ssn":"{SECRET}"}}"#)));
    let seen: Vec<_> = up.seen.lock().unwrap().iter().filter(|m| m.first_line().contains("/x")).cloned().collect();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].text().contains("sc1.") && !seen[0].text().contains(SECRET));
    assert_eq!(seen[0].body, seen[1].body, "no second token for one value");
    assert_eq!(seen[0].head, seen[1].head);
}

#[test]
fn an_upstream_says_how_long_it_keeps_a_connection() {
    let up = upstream(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=1, max=100\r\ncontent-length: 0\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/").field("keep-alive"), None);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(*up.connections.lock().unwrap(), 2, "half a second is what a second leaves");
    let opened = r#"sidecloak_upstream_connections_opened_total{listener="front"} 2"#;
    assert!(proxy.shared.metrics.render().contains(opened));
}

#[test]
fn an_upstream_that_says_close_is_believed() {
    let up = upstream(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
        // And it waits for us.
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    (0..3).for_each(|_| assert_eq!(client.get("/").status(), 200));
    assert_eq!(*up.connections.lock().unwrap(), 3);
}

#[test]
fn idle_connections_close_beyond_their_number_and_time() {
    let up = echo();
    let proxy = proxy(&[&up])
        .settings(|s| {
            s.upstream_limits.idle = 2;
            s.upstream_limits.idle_timeout = Duration::from_secs(1);
        })
        .run();
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    clients.iter_mut().for_each(|c| assert_eq!(c.receive().status(), 200));
    let idle = |n: usize| {
        let line = format!(r#"sidecloak_upstream_connections_idle{{listener="front"}} {n}"#);
        eventually(&line, || proxy.shared.metrics.render().lines().any(|l| l == line));
    };
    if *up.connections.lock().unwrap() >= 2 {
        idle(2);
    }
    idle(0);
}

#[test]
fn a_connection_retires() {
    let up = echo();
    let proxy = proxy(&[&up]).settings(|s| s.upstream_limits.max_age = Duration::from_millis(50)).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(*up.connections.lock().unwrap(), 2);
}

#[test]
fn a_name_is_resolved_and_one_that_is_none_is_502() {
    let up = echo();
    let Address::Tcp(at) = up.address else { panic!() };
    let proxy = proxy_to(vec![Address::Host("localhost".into(), at.port())]).run();
    let answer = proxy.client().send("GET / HTTP/1.0\r\n\r\n").receive();
    assert_eq!(answer.status(), 200);
    assert_eq!(up.last().field("host").unwrap(), format!("localhost:{}", at.port()));

    let none = proxy_to(vec![Address::Host("no-such-name.invalid".into(), 80)])
        .shared(|s| s.settings.timeouts.connect = Duration::from_secs(10))
        .run();
    assert_eq!(none.client().get("/").status(), 502);
    assert!(none.shared.metrics.render().contains(r#"sidecloak_upstream_names_unresolved_total{listener="front"} 1"#));
}

#[test]
fn an_address_that_cannot_be_reached_costs_no_answer() {
    let up = echo();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let nobody = Address::Tcp(socket.local_addr().unwrap().as_socket().unwrap());
    let proxy = proxy_to(vec![nobody, up.address]).run();
    let mut client = proxy.client();
    for _ in 0..10 {
        let answer = client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").receive();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hi"), "nothing had left yet");
    }
}

#[test]
fn a_breaker_opens_and_lets_the_upstream_come_back() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let up = upstream(move |_, out| {
        if is_down.load(Ordering::SeqCst) {
            return Next::Close;
        }
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let proxy = proxy(&[&up])
        .settings(|s| {
            s.upstream_failures.breaker_after = 3;
            s.upstream_failures.rest = Duration::from_millis(300);
            s.upstream_failures.longest_rest = Duration::from_millis(300);
        })
        .run();
    let mut client = proxy.client();
    (0..3).for_each(|_| assert_eq!(client.get("/").status(), 502));
    let refused = client.get("/");
    assert_eq!(refused.status(), 503);
    assert!(refused.field("retry-after").is_some_and(|seconds| (1..=5).contains(&seconds.parse().unwrap())));
    assert_eq!(refused.field("x-sidecloak-failure").as_deref(), Some("upstream-unavailable"));
    assert_eq!(up.count(), 3);
    down.store(false, Ordering::SeqCst);
    eventually("the upstream is well again", || client.get("/").status() == 200);
    (0..10).for_each(|_| assert_eq!(client.get("/").status(), 200));
    let text = proxy.shared.metrics.render();
    assert!(text.contains(r#"sidecloak_upstream_breakers_open{listener="front"} 0"#), "{text}");
}

/// What an HTTP/2 upstream does with the n-th request.
#[derive(Debug, Clone, Copy)]
enum Do {
    Answer,
    /// RST_STREAM with this code.
    Reset(u8),
    /// GOAWAY without an error, and the request is above its last stream or not.
    GoAway {
        processed: bool,
    },
    /// Half a body, then RST_STREAM.
    Half,
    Close,
}

fn http2_upstream(acts: &'static [Do]) -> (Address, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || drop(speak_http2(stream, acts, &counted)));
        }
    });
    (address, asked)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn speak_http2(mut stream: TcpStream, acts: &[Do], asked: &AtomicUsize) -> std::io::Result<()> {
    const HEADERS: u8 = 1;
    let mut read = BufReader::new(stream.try_clone()?);
    read.read_exact(&mut [0; 24])?;
    stream.write_all(&frame(4, 0, 0, &[]))?;
    loop {
        let mut head = [0; 9];
        read.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        read.read_exact(&mut vec![0; length])?;
        if head[3] == 4 && head[4] == 0 {
            stream.write_all(&frame(4, 1, 0, &[]))?;
        }
        if head[3] != HEADERS {
            continue;
        }
        let (status, last) = (&[0x88][..], |id: u32| [id.to_be_bytes(), [0; 4]].concat());
        match acts[asked.fetch_add(1, Ordering::SeqCst)] {
            Do::Answer => stream.write_all(&frame(HEADERS, 5, id, status))?,
            Do::Reset(code) => stream.write_all(&frame(3, 0, id, &[0, 0, 0, code]))?,
            Do::GoAway { processed: false } => stream.write_all(&frame(7, 0, 0, &last(id.saturating_sub(2))))?,
            Do::GoAway { processed: true } => {
                stream.write_all(&frame(7, 0, 0, &last(id)))?;
                return stream.shutdown(Shutdown::Both);
            }
            Do::Half => {
                stream.write_all(&frame(HEADERS, 4, id, status))?;
                stream.write_all(&frame(0, 0, id, b"half of it"))?;
                stream.write_all(&frame(3, 0, id, &[0, 0, 0, 2]))?;
            }
            Do::Close => return stream.shutdown(Shutdown::Both),
        }
    }
}

const REFUSED_STREAM: u8 = 7;
const INTERNAL_ERROR: u8 = 2;

#[rstest]
#[case::refused_stream(&[Do::Answer, Do::Reset(REFUSED_STREAM), Do::Answer], "POST", Some(200), 3)]
#[case::goaway_below(&[Do::Answer, Do::GoAway { processed: false }, Do::Answer], "POST", Some(200), 3)]
#[case::goaway_at_once(&[Do::Answer, Do::GoAway { processed: true }], "POST", Some(502), 2)]
#[case::goaway_at_once_and_get(&[Do::Answer, Do::GoAway { processed: true }, Do::Answer], "GET", Some(200), 3)]
#[case::closed(&[Do::Answer, Do::Close], "POST", Some(502), 2)]
#[case::closed_and_get(&[Do::Answer, Do::Close, Do::Answer], "GET", Some(200), 3)]
#[case::reset(&[Do::Answer, Do::Reset(INTERNAL_ERROR)], "GET", Some(502), 2)]
#[case::refused_twice(&[Do::Answer, Do::Reset(REFUSED_STREAM), Do::Reset(REFUSED_STREAM)], "GET", Some(502), 3)]
#[case::half(&[Do::Answer, Do::Half], "GET", None, 2)]
fn an_http2_upstream_that_does_not_take_a_request(
    #[case] acts: &'static [Do],
    #[case] method: &str,
    #[case] status: Option<u16>,
    #[case] times: usize,
) {
    let (address, asked) = http2_upstream(acts);
    let proxy = proxy_to(vec![address]).listener(|l| l.upstream_protocol = UpstreamProtocol::Http2).run();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
    let answer = Message::read(&mut client.read, false);
    assert_eq!(answer.map(|answer| answer.status()), status);
    assert_eq!(asked.load(Ordering::SeqCst), times);
}
