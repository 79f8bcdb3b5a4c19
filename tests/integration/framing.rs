//! How messages begin and end: lengths and chunks, trailers, `Expect`, informational answers, messages without a body, and sides
//! that stop early.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sidecloak::proxy::settings::Address;

use super::stage::Stage;
use super::support::{Client, Message, Next, PATIENCE, Upstream, echo, proxy, proxy_to, upstream};

const RULES: &str = "rules:\n  - name: r\n    match: { path: \"/c/**\" }\n    protect: [{ fields: [\"$..ssn\"] }]\n";
const PLAIN: &str = r#"{"ssn":"123-45-6789"}"#;

fn measured(cap: usize) -> String {
    RULES.replace("    protect", &format!("    always_length: {cap}\n    protect"))
}

/// A document of about as many bytes.
fn long(bytes: usize) -> String {
    let item = r#"{"ssn":"canary-on-disk"}"#;
    format!("[{}]", vec![item; bytes / item.len()].join(","))
}

fn put(client: &mut Client<std::net::TcpStream>, path: &str, body: &str) -> Message {
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut writer = client.write.try_clone().unwrap();
    let body = body.to_owned();
    let sender = std::thread::spawn(move || {
        // A refusal may come before all is sent.
        drop(writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body.as_bytes())));
    });
    let answer = client.receive();
    sender.join().unwrap();
    answer
}

/// Answers 200 and what came.
fn counts() -> Upstream {
    upstream(|request, out| {
        let count = request.body.len().to_string();
        write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{count}", count.len()).unwrap();
        Next::KeepAlive
    })
}

#[test]
fn a_long_changed_request_is_chunked_unless_its_length_is_asked_for() {
    let up = counts();
    for (rules, has_length) in [(RULES.to_owned(), false), (measured(16 << 20), true)] {
        let stage = Stage::before(&up, &rules);
        for size in [100, 60_000, 70_000, 200_000] {
            let body = long(size);
            let answer = put(&mut Client::tcp(stage.front), "/c/1", &body);
            assert_eq!(answer.status(), 200, "{}", answer.text());
            let seen = up.last();
            // Nothing beyond `buffer`, counted before sealing, is held without being asked for.
            let exact = has_length || body.len() <= 64 << 10;
            assert_eq!(seen.field("content-length"), exact.then(|| seen.body.len().to_string()), "{size}");
            assert_eq!(seen.field("transfer-encoding").is_some(), !exact, "{size}");
            assert_eq!(seen.text().matches("\"sc1.").count(), body.matches("ssn").count());
            assert!(seen.text().starts_with(r#"[{"ssn":"sc1."#) && seen.text().ends_with("\"}]"), "{size}");
        }
        assert_eq!(stage.app().shared().budget.used(), 0);
    }
}

#[test]
fn a_changed_request_over_always_length_is_413_and_nobody_sees_it() {
    let up = counts();
    let stage = Stage::before(&up, &measured(100_000));
    let answer = put(&mut Client::tcp(stage.front), "/c/1", &long(90_000));
    assert_eq!((answer.status(), up.count()), (413, 0), "its tokens are longer than its values");
    assert_eq!(answer.field("x-sidecloak-failure").as_deref(), Some("r"));
    assert_eq!(stage.app().shared().budget.used(), 0);
}

/// Whatever this process holds of files without a name.
fn unlinked() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().ends_with("(deleted)") {
            let mut bytes = Vec::new();
            if let Ok(file) = std::fs::File::open(entry.path()) {
                drop(file.take(8 << 20).read_to_end(&mut bytes));
            }
            found.push(bytes);
        }
    }
    found
}

#[test]
fn what_waits_in_a_file_cannot_be_read_there_and_goes_with_the_request() {
    let up = counts();
    let stage = Stage::before(&up, &measured(64 << 20));
    let mut client = Client::tcp(stage.front);
    let body = long(700_000);
    let head = format!(
        "PUT /c/1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(head).send(&body[..body.len() - 10]);
    let is_large = |bytes: &Vec<u8>| bytes.len() > 2_500_000;
    super::stage::eventually("most of it waits in a file", || unlinked().iter().any(is_large));
    let waits = unlinked();
    for bytes in waits.iter().filter(|bytes| is_large(bytes)) {
        for part in ["canary-on-disk", "\"ssn\"", "sc1."] {
            assert!(!bytes.windows(part.len()).any(|window| window == part.as_bytes()), "{part} on disk");
        }
    }
    drop(client);
    super::stage::eventually("the file is gone", || !unlinked().iter().any(is_large));
    super::stage::eventually("and the memory", || stage.app().shared().budget.used() == 0);
    assert_eq!(up.count(), 0);
}

#[test]
fn an_opened_request_waits_in_memory_alone() {
    let up = counts();
    let expose = measured(64 << 20).replace("protect:", "expose:");
    // Plain values do: what counts is that the rule would open.
    let read = expose.replace("    always", "    mode: read\n    always");
    let reading = Stage::before(&up, &read);
    let answer = put(&mut Client::tcp(reading.front), "/c/1", &long(300_000));
    assert_eq!((answer.status(), up.last().text()), (200, long(300_000)));
    assert_eq!(up.last().field("content-length"), Some(long(300_000).len().to_string()));
}

#[test]
fn a_refusal_does_not_ask_for_the_body_first() {
    let up = echo();
    let rules = format!("{RULES}  - name: no\n    match: {{ path: /no }}\n    action: reject\n");
    let stage = Stage::before(&up, &rules);
    for (path, media, status) in
        [("/no", "application/json", 403), ("/c/1", "text/plain", 415), ("/a%2fb", "text/plain", 400)]
    {
        let mut client = Client::tcp(stage.front);
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: {media}\r\nContent-Length: 5\r\n\r\n"));
        assert_eq!(client.receive().status(), status, "{path}");
    }
    let mut client = Client::tcp(stage.front);
    let length = PLAIN.len();
    client.send(format!("POST /c/1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"));
    assert_eq!(client.receive().status(), 100);
    assert_eq!(client.send(PLAIN).receive().text(), PLAIN);
    assert!(up.last().text().contains("sc1."));
    assert_eq!(up.last().field("expect"), None, "it is answered here");
}

#[test]
fn early_hints_do_not_disturb_the_answer() {
    let up = upstream(|request, out| {
        write!(out, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
            .unwrap();
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            request.body.len()
        )
        .unwrap();
        out.write_all(&request.body).unwrap();
        Next::KeepAlive
    });
    let stage = Stage::before(&up, RULES);
    let mut client = Client::tcp(stage.front);
    for path in ["/c/1", "/other", "/c/2"] {
        let answer = put(&mut client, path, PLAIN);
        assert_eq!((answer.status(), answer.text().as_str()), (200, PLAIN), "{path}");
    }
    assert_eq!(*up.connections.lock().unwrap(), 1);
}

#[test]
fn messages_without_a_body_stay_without_where_a_rule_acts() {
    let up = upstream(|request, out| {
        let status = request.first_line().split(['/', ' ']).nth(3).unwrap().to_owned();
        let length = if status == "205" || status == "200" { "content-length: 0\r\n" } else { "" };
        write!(out, "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{length}x-kept: 1\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let stage = Stage::before(&up, RULES);
    let mut client = Client::tcp(stage.front);
    for status in [204, 205, 304, 200] {
        for method in ["DELETE", "GET", "POST"] {
            let answer = client.send(format!("{method} /c/{status} HTTP/1.1\r\nHost: a\r\n\r\n")).receive();
            assert_eq!((answer.status(), answer.body.len(), answer.field("x-kept").as_deref()), (status, 0, Some("1")));
            assert_eq!(answer.field("transfer-encoding"), None, "{method} {status}: {}", answer.head);
        }
    }
    assert_eq!(*up.connections.lock().unwrap(), 1);
}

#[test]
fn head_is_answered_without_the_length_of_what_would_change() {
    let up = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = up.local_addr().unwrap();
    std::thread::spawn(move || {
        let (stream, _) = up.accept().unwrap();
        let mut read = std::io::BufReader::new(stream.try_clone().unwrap());
        let mut write = stream;
        while Message::read(&mut read, false).is_some() {
            write
                .write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\netag: \"e\"\r\n\r\n",
                )
                .unwrap();
        }
    });
    let up = Upstream { address: Address::Tcp(address), seen: Arc::default(), connections: Arc::default() };
    let stage = Stage::before(&up, RULES);
    let mut client = Client::tcp(stage.front);
    for (path, length) in [("/c/1", None), ("/other", Some("900"))] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = Message::read(&mut client.read, true).unwrap();
        assert_eq!((answer.status(), answer.field("content-length").as_deref()), (200, length), "{path}");
    }
}

#[test]
fn a_client_that_stops_writing_still_gets_its_answer() {
    let up = echo();
    let stage = Stage::before(&up, RULES);
    for path in ["/c/1", "/other"] {
        let mut client = Client::tcp(stage.front);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{PLAIN}",
            PLAIN.len()
        ));
        client.no_more();
        assert_eq!(client.receive().text(), PLAIN, "{path}");
        assert!(client.is_at_end());
    }
}

#[test]
fn connection_close_is_kept_on_both_sides_apart() {
    let up = echo();
    let stage = Stage::before(&up, RULES);
    let mut client = Client::tcp(stage.front);
    client.send(format!("POST /c/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{PLAIN}", PLAIN.len()));
    let answer = client.receive();
    assert_eq!((answer.text().as_str(), answer.field("connection").as_deref()), (PLAIN, Some("close")));
    assert!(client.is_at_end());
    assert_ne!(up.last().field("connection").as_deref(), Some("close"), "the upstream's connection is another matter");
}

/// Answers as soon as it has the head, and reads no more.
fn hasty(answer: &'static [u8]) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let up = Upstream { address, seen, connections: Arc::default() };
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                    head.extend(byte);
                }
                drop(stream.write_all(answer));
                // Open until the other side lets go: an answer that was sent must not be lost to a reset.
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                drop(stream.shutdown(std::net::Shutdown::Write));
                let mut sink = [0; 4096];
                while stream.read(&mut sink).is_ok_and(|n| n > 0) {}
            });
        }
    });
    up
}

#[test]
fn an_upstream_that_answers_before_the_body_ends_is_heard() {
    let up = hasty(b"HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig");
    let stage = Stage::before(&up, RULES);
    for path in ["/c/1", "/other"] {
        let mut client = Client::tcp(stage.front);
        client.send(format!(
            "PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900000000\r\n\r\n["
        ));
        let mut writer = client.write.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            let chunk = format!("{},", r#"{"ssn":"1"}"#).repeat(5_000);
            for _ in 0..16_000 {
                if writer.write_all(chunk.as_bytes()).is_err() {
                    break;
                }
            }
        });
        let answer = client.receive();
        assert_eq!((answer.status(), answer.text().as_str()), (413, "big"), "{path}");
        drop(client);
        sender.join().unwrap();
    }
}

#[test]
fn framings_that_readers_disagree_on_never_reach_an_upstream() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: -1",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked;x=1",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer\u{1}-Encoding: chunked",
    ] {
        let mut client = proxy.client();
        client.send(format!("POST /first HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n{smuggled}"));
        // The line ends of a folded or a broken field may be refused by a close without an answer.
        let answer = Message::read(&mut client.read, false);
        assert!(answer.as_ref().is_none_or(|answer| answer.status() == 400), "{fields}: {answer:?}");
        assert!(client.is_at_end(), "{fields}: the connection is over");
    }
    for broken in [
        "x\r\n\r\n",
        "-1\r\nab\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1 \n\na\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\na\r\n",
    ] {
        let mut client = proxy.client();
        client
            .send(format!("POST /broken HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{broken}{smuggled}"));
        let answer = Message::read(&mut client.read, false);
        assert!(answer.as_ref().is_none_or(|answer| answer.status() == 400), "{broken:?}: {answer:?}");
        assert!(client.is_at_end(), "{broken:?}");
    }
    assert_eq!(up.count(), 0);
    // Both framings at once: chunks win, the upstream sees that one alone, and the connection is not used again.
    let mut client = proxy.client();
    let both =
        "POST /both HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let answer = Message::read(&mut client.send(format!("{both}{smuggled}")).read, false);
    if answer.is_some_and(|answer| answer.status() == 200) {
        assert_eq!((up.last().body.as_slice(), up.last().field("content-length")), (&b"hi"[..], None));
        assert!(client.is_at_end(), "the connection is over");
    }
    assert!(up.seen.lock().unwrap().iter().all(|seen| !seen.first_line().contains("smuggled")));
}

#[test]
fn a_websocket_is_refused_where_a_rule_seals_and_passes_where_it_says_so() {
    let up = upstream(|request, out| {
        if request.field("upgrade").is_none() {
            write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            return Next::KeepAlive;
        }
        write!(out, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x01\x02")
            .unwrap();
        Next::Close
    });
    let ask = |stage: &Stage| {
        let mut client = Client::tcp(stage.front);
        client.send("GET /c/1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n");
        let status = client.receive().status();
        let mut bytes = [0; 2];
        let came = status == 101 && client.read.read_exact(&mut bytes).is_ok();
        (status, came && bytes == [1, 2])
    };
    assert_eq!(ask(&Stage::before(&up, RULES)), (415, false));
    assert_eq!(up.count(), 0);
    assert_eq!(ask(&Stage::before(&up, &format!("{RULES}    on_upgrade: pass\n"))), (101, true));
}

// ---- HTTP/2

type Sent = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn frames(data: &[&'static [u8]], trailer: Option<(&'static str, &'static str)>) -> Sent {
    let mut frames: Vec<_> = data.iter().map(|d| Ok(Frame::data(Bytes::from_static(d)))).collect();
    if let Some((name, value)) = trailer {
        let mut map = http::HeaderMap::new();
        map.insert(name, value.parse().unwrap());
        frames.push(Ok(Frame::trailers(map)));
    }
    StreamBody::new(futures_util::stream::iter(frames))
}

type Seen = Arc<Mutex<Vec<(http::HeaderMap, Vec<u8>, Option<http::HeaderMap>)>>>;

/// Speaks HTTP/2 and answers with what came, as gRPC does: messages, then a status in trailers.
async fn grpc() -> (Address, Seen) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let seen = Seen::default();
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let told = Arc::clone(&told);
            let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                let told = Arc::clone(&told);
                async move {
                    let (parts, body) = request.into_parts();
                    let collected = body.collect().await?;
                    let trailers = collected.trailers().cloned();
                    let bytes = collected.to_bytes();
                    told.lock().unwrap().push((parts.headers, bytes.to_vec(), trailers));
                    let mut status = http::HeaderMap::new();
                    status.insert("grpc-status", "0".parse().unwrap());
                    let frames = vec![Ok::<_, Infallible>(Frame::data(bytes)), Ok(Frame::trailers(status))];
                    let body = StreamBody::new(futures_util::stream::iter(frames));
                    Ok::<_, hyper::Error>(
                        http::Response::builder()
                            .header("content-type", "application/grpc")
                            .header("trailer", "grpc-status")
                            .body(body)
                            .unwrap(),
                    )
                }
            });
            let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(serve.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, seen)
}

async fn http2(address: std::net::SocketAddr) -> hyper::client::conn::http2::SendRequest<Sent> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "bodies of our own tests")]
async fn grpc_passes_with_its_trailers_both_ways() {
    let (up, seen) = grpc().await;
    let proxy = proxy_to(vec![up])
        .listener(|l| l.upstream_protocol = sidecloak::proxy::settings::UpstreamProtocol::Http2)
        .run();
    let mut client = http2(proxy.tcp(0)).await;
    let request = http::Request::post("http://app.test/pkg.Service/Method")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(frames(&[b"\0\0\0\0\x02", b"hi"], Some(("x-client-sum", "7"))));
    let response = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes().as_ref(), b"\0\0\0\0\x02hi");
    let (headers, bytes, trailers) = seen.lock().unwrap().pop().unwrap();
    assert_eq!((headers["te"].as_bytes(), bytes.as_slice()), (&b"trailers"[..], &b"\0\0\0\0\x02hi"[..]));
    assert_eq!(trailers.unwrap()["x-client-sum"], "7");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "bodies of our own tests")]
async fn trailers_cross_between_http_versions() {
    // HTTP/2 in, HTTP/1.1 out.
    let up = upstream(|_, out| {
        out.write_all(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 9\r\n\r\n",
        )
        .unwrap();
        Next::KeepAlive
    });
    let front = proxy(&[&up]).run();
    let mut client = http2(front.tcp(0)).await;
    let request = http::Request::post("http://app.test/x").header("te", "trailers").header("trailer", "x-client-sum");
    let response =
        client.send_request(request.body(frames(&[b"ab", b"cd"], Some(("x-client-sum", "7")))).unwrap()).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "9");
    assert_eq!(body.to_bytes().as_ref(), b"hi");
    let last = up.last();
    assert_eq!((last.text().as_str(), last.trailers.as_str()), ("abcd", "x-client-sum: 7\r\n\r\n"));

    // HTTP/1.1 in, HTTP/2 out.
    let (up, seen) = grpc().await;
    let front = proxy_to(vec![up])
        .listener(|l| l.upstream_protocol = sidecloak::proxy::settings::UpstreamProtocol::Http2)
        .run();
    let address = front.tcp(0);
    let answer = tokio::task::spawn_blocking(move || {
        let request = "POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nTrailer: x-client-sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-client-sum: 7\r\n\r\n";
        Client::tcp(address).send(request).receive()
    });
    let answer = answer.await.unwrap();
    assert_eq!(answer.text(), "hi");
    assert_eq!(answer.trailers.to_lowercase(), "grpc-status: 0\r\n\r\n", "{}", answer.head);
    assert_eq!(seen.lock().unwrap().pop().unwrap().2.unwrap()["x-client-sum"], "7");
}
