//! What no rule touches passes byte for byte.

use std::io::Write;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sidecloak::proxy::settings::{Address, UpstreamProtocol};
use sidecloak::proxy::{Server, StartError};

use super::support::{self, Client, Next, echo, listener, proxy, proxy_to, unix_upstream, upstream};

/// Bytes without a pattern that a wrong offset would hide.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(length)
    .collect()
}

const SIZES: [usize; 8] = [0, 1, 17, 8191, 8192, 65_536, 65_537, 5 << 20];

#[test]
fn bodies_with_a_length_pass_byte_for_byte_over_one_connection() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    for size in SIZES {
        let body = noise(size);
        let mut writer = client.write.try_clone().unwrap();
        let sent = body.clone();
        let sender = std::thread::spawn(move || {
            write!(writer, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").unwrap();
            writer.write_all(&sent).unwrap();
        });
        let answer = client.receive();
        sender.join().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.field("content-length").unwrap(), size.to_string());
        assert!(up.last().body == body && answer.body == body, "{size} bytes");
        assert_eq!(up.last().field("content-length").as_deref(), Some(size.to_string().as_str()));
    }
    assert_eq!(*up.connections.lock().unwrap(), 1, "the upstream connection is kept alive");
}

#[test]
fn chunked_bodies_pass_byte_for_byte_both_ways() {
    let up = upstream(|request, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        for chunk in request.body.chunks(50_000) {
            write!(out, "{:x}\r\n", chunk.len()).unwrap();
            out.write_all(chunk).unwrap();
            out.write_all(b"\r\n").unwrap();
        }
        out.write_all(b"0\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    for size in SIZES {
        let body = noise(size);
        let mut writer = client.write.try_clone().unwrap();
        let sent = body.clone();
        let sender = std::thread::spawn(move || {
            writer.write_all(b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            for chunk in sent.chunks(7_000) {
                write!(writer, "{:X}\r\n", chunk.len()).unwrap();
                writer.write_all(chunk).unwrap();
                writer.write_all(b"\r\n").unwrap();
            }
            writer.write_all(b"0\r\n\r\n").unwrap();
        });
        let answer = client.receive();
        sender.join().unwrap();
        assert!(up.last().body == body && answer.body == body, "{size} bytes");
    }
}

#[test]
fn trailers_pass_to_a_client_that_takes_them() {
    let up = upstream(|_, out| {
        out.write_all(
            b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n",
        )
        .unwrap();
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).run();
    let answer = proxy.client().send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n").receive();
    assert_eq!((answer.text().as_str(), answer.trailers.as_str()), ("hi", "x-sum: 7\r\n\r\n"));
    assert_eq!(up.last().field("te").as_deref(), Some("trailers"));
}

#[test]
fn the_target_is_forwarded_as_it_came() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    for target in ["/a%2Fb;v=1//c?x=%20", "//a/../b/./", "/?", "/%C3%A9%00?a=b&&c=%zz", "/a?b?c=/d", "/x//"] {
        client.get(target);
        assert_eq!(up.last().first_line(), format!("GET {target} HTTP/1.1"));
    }
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").receive();
    assert_eq!(up.last().first_line(), "OPTIONS * HTTP/1.1");
    client.send("GET http://other.test:81/p?q HTTP/1.1\r\nHost: a\r\n\r\n").receive();
    assert_eq!(up.last().first_line(), "GET /p?q HTTP/1.1");
    assert_eq!(up.last().field("host").as_deref(), Some("other.test:81"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    let all: String =
        (0..20).map(|i| format!("POST /{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{i:02}")).collect();
    client.send(all);
    for i in 0..20 {
        assert_eq!(client.receive().text(), format!("{i:02}"));
    }
}

#[test]
fn answers_without_a_body_have_none() {
    let up = upstream(|request, out| {
        let text: &[u8] = match request.first_line() {
            line if line.starts_with("HEAD") => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n",
            line if line.contains("/204") => b"HTTP/1.1 204 No Content\r\n\r\n",
            _ => b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n",
        };
        out.write_all(text).unwrap();
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = support::Message::read(&mut client.read, true).unwrap();
    assert_eq!((head.status(), head.field("content-length").as_deref()), (200, Some("10")));
    assert_eq!(client.get("/204").status(), 204);
    let not_modified = client.get("/304");
    assert_eq!((not_modified.status(), not_modified.field("etag").as_deref()), (304, Some("\"a\"")));
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(client.receive().status(), 100);
    assert_eq!(client.send("abc").receive().text(), "abc");
    assert_eq!(up.last().field("expect"), None);
}

#[test]
fn unix_sockets_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let up = unix_upstream(&dir.path().join("app"), |_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        Next::KeepAlive
    });
    let front = dir.path().join("front");
    let bind = Address::Unix(front.clone());
    let proxy = proxy(&[&up]).listener(|l| l.bind = vec![bind]).settings(|s| s.workers = 2).run();
    for _ in 0..6 {
        assert_eq!(Client::unix(&front).get("/").text(), "ok");
    }
    assert_eq!(up.last().field("x-forwarded-for"), None);
    assert_eq!(up.last().field("forwarded").as_deref(), Some("for=unknown;proto=http;host=\"app.test\""));
    drop(proxy);
    assert!(!front.exists(), "the socket's file goes with the process");
}

#[test]
fn several_listeners_and_workers_each_reach_their_own_upstream() {
    let ups: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|name| {
            upstream(move |_, out| {
                write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{name}").unwrap();
                Next::KeepAlive
            })
        })
        .collect();
    let second = Arc::new(listener("second", vec![ups[1].address.clone()]));
    let proxy = proxy(&[&ups[0]])
        .settings(|s| {
            s.listeners.push(second);
            s.workers = 3;
        })
        .run();
    for _ in 0..12 {
        assert_eq!(Client::tcp(proxy.tcp(0)).get("/").text(), "a");
        assert_eq!(Client::tcp(proxy.tcp(1)).get("/").text(), "b");
    }
    let metrics = proxy.shared.metrics.render();
    assert!(metrics.contains(r#"sidecloak_requests_total{listener="second",status="2xx"} 12"#), "{metrics}");
}

#[test]
fn a_port_in_use_is_an_error_that_says_so() {
    let up = echo();
    let first = proxy(&[&up]).settings(|s| s.workers = 2).run();
    let taken = Address::Tcp(first.tcp(0));
    let second = proxy(&[&up]).listener(|l| l.bind = vec![taken]).settings(|s| s.workers = 2);
    let shared = sidecloak::proxy::Shared::new(
        second.settings,
        second.rules,
        None,
        sidecloak::metrics::Metrics::default(),
        sidecloak::clock::SystemClock::shared(),
    );
    let error = Server::start(Arc::new(shared.unwrap())).unwrap_err();
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("front") && error.to_string().contains("in use"), "{error}");
}

/// An upstream that speaks HTTP/2 alone, says what it saw and echoes; it runs as long as the runtime.
async fn http2_upstream() -> Address {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(socket.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let seen = format!("{:?} {}", request.version(), request.uri());
                Ok::<_, hyper::Error>(
                    http::Response::builder().header("x-seen", seen).body(request.into_body()).unwrap(),
                )
            });
            let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(serve.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A client that speaks HTTP/2 with prior knowledge.
pub async fn http2_client(address: std::net::SocketAddr) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[expect(clippy::disallowed_methods, reason = "what a test's own peer sends")]
async fn whole(response: http::Response<hyper::body::Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn http2_in_and_http1_out() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = http2_client(proxy.tcp(0)).await;
    for size in SIZES {
        let body = noise(size);
        let request =
            http::Request::post("http://app.test/a%2Fb?c=%20").header("cookie", "a=1").header("cookie", "b=2");
        let response = client.send_request(request.body(Full::new(body.clone().into())).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(whole(response).await == body, "{size} bytes");
    }
    let seen = up.last();
    assert_eq!(seen.first_line(), "POST /a%2Fb?c=%20 HTTP/1.1");
    assert_eq!(seen.field("host").as_deref(), Some("app.test"));
    assert_eq!(seen.field("cookie").as_deref(), Some("a=1; b=2"), "one field in HTTP/1.1 (RFC 9113 § 8.2.3)");
}

#[tokio::test]
async fn http1_in_and_http2_out_and_both_in_http2() {
    let up = http2_upstream().await;
    let proxy = proxy_to(vec![up]).listener(|l| l.upstream_protocol = UpstreamProtocol::Http2).run();
    let address = proxy.tcp(0);
    let answer = tokio::task::spawn_blocking(move || {
        let mut client = Client::tcp(address);
        client.send("POST /p%2F?q HTTP/1.1\r\nHost: app.test:81\r\nContent-Length: 3\r\n\r\nabc").receive()
    });
    let answer = answer.await.unwrap();
    assert_eq!(answer.field("x-seen").as_deref(), Some("HTTP/2.0 http://app.test:81/p%2F?q"));
    assert_eq!(answer.text(), "abc");

    let mut client = http2_client(address).await;
    for size in SIZES {
        let body = noise(size);
        let request = http::Request::post("http://two.test/").body(Full::new(body.clone().into())).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.headers()["x-seen"], "HTTP/2.0 http://two.test/");
        assert!(whole(response).await == body, "{size} bytes");
    }
}
