//! Requests whose end can be read in more than one way. Whatever comes, the upstream sees at most one request with exactly one framing, and
//! what an attacker wrote behind it is never taken for a request of its own; looked at byte for byte at the upstream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::stage::Stage;
use super::support::{Message, PATIENCE, proxy_to};
use sidecloak::proxy::settings::Address;

/// Keeps every byte that it is sent, by connection, and answers each piece that ends a header section or a chunked body.
struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let all = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), all) = (stream, Arc::clone(&all)) else { return };
                let index = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                thread::spawn(move || record(stream, &all, index));
            }
        });
        Self { address, seen }
    }

    fn take(&self) -> Vec<Vec<u8>> {
        let mut seen = self.seen.lock().unwrap();
        seen.iter_mut().map(std::mem::take).filter(|bytes| !bytes.is_empty()).collect()
    }
}

fn record(mut stream: TcpStream, all: &Mutex<Vec<Vec<u8>>>, index: usize) {
    let mut piece = [0; 4096];
    let mut answered = 0;
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        let mut all = all.lock().unwrap();
        let bytes = &mut all[index];
        if bytes.is_empty() {
            answered = 0;
        }
        bytes.extend_from_slice(&piece[..count]);
        let whole = requests(bytes).len();
        drop(all);
        for _ in answered..whole {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        }
        answered = whole;
    }
}

/// The whole requests in these bytes, as a strict reader understands them.
fn requests(bytes: &[u8]) -> Vec<Message> {
    let mut rest = std::io::BufReader::new(bytes);
    std::iter::from_fn(|| Message::read(&mut rest, false)).collect()
}

const BEHIND: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// Header sections that announce a body in a way that somebody reads otherwise, and the body.
fn ambiguous() -> Vec<(&'static str, String)> {
    let chunked = |fields: &str| format!("{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\n{BEHIND}");
    let zero = |fields: &str| format!("{fields}\r\n\r\n0\r\n\r\n{BEHIND}");
    let three = |fields: &str| format!("{fields}\r\n\r\nabc{BEHIND}");
    let long = format!("{}", 3 + BEHIND.len());
    vec![
        ("CL.TE", zero(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked", 5 + BEHIND.len()))),
        ("TE.CL", zero("Transfer-Encoding: chunked\r\nContent-Length: 4")),
        ("TE.CL of nothing", chunked("Transfer-Encoding: chunked\r\nContent-Length: 0")),
        ("two lengths that differ", three(&format!("Content-Length: 3\r\nContent-Length: {long}"))),
        ("two lengths that differ, the long one first", three(&format!("Content-Length: {long}\r\nContent-Length: 3"))),
        ("two lengths in one field", three("Content-Length: 3, 3")),
        ("two lengths in one field that differ", three(&format!("Content-Length: 3, {long}"))),
        ("a length with a sign", three("Content-Length: +3")),
        ("a negative length", three("Content-Length: -3")),
        ("a length in hexadecimal", three("Content-Length: 0x3")),
        ("a length with a fraction", three("Content-Length: 3.0")),
        ("a length with a blank inside", three("Content-Length: 3 3")),
        ("a length of nothing", three("Content-Length: ")),
        ("a length beyond all numbers", three("Content-Length: 99999999999999999999")),
        ("a length behind a vertical tab", three("Content-Length: \x0b3")),
        ("a blank before the colon of the length", three("Content-Length : 3")),
        ("a blank before the colon of the coding", chunked("Transfer-Encoding : chunked")),
        ("a name that begins with a blank", chunked("X: y\r\n Transfer-Encoding: chunked")),
        ("a folded coding", chunked("Transfer-Encoding:\r\n chunked")),
        ("a folded field before the coding", chunked("X: y\r\n\tz\r\nTransfer-Encoding: chunked")),
        ("a bare line feed before the coding", chunked("X: y\nTransfer-Encoding: chunked")),
        ("a bare carriage return before the coding", chunked("X: y\rTransfer-Encoding: chunked")),
        ("a zero byte in the coding", chunked("Transfer-Encoding: \0chunked")),
        ("another name for chunked", chunked("Transfer-Encoding: xchunked")),
        ("chunked in quotes", chunked("Transfer-Encoding: \"chunked\"")),
        ("chunked with a parameter", chunked("Transfer-Encoding: chunked;q=1")),
        ("chunked twice", chunked("Transfer-Encoding: chunked, chunked")),
        ("chunked in two fields", chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
        ("chunked and identity", chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")),
        ("identity and chunked", chunked("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked")),
        ("identity with a length", three("Transfer-Encoding: identity\r\nContent-Length: 3")),
        ("chunked, then something else", chunked("Transfer-Encoding: chunked, gzip")),
        ("gzip, then chunked", chunked("Transfer-Encoding: gzip, chunked")),
        ("an empty coding", three("Transfer-Encoding:\r\nContent-Length: 3")),
        ("a comma and chunked", chunked("Transfer-Encoding: , chunked")),
        ("chunked in capitals", chunked("TRANSFER-ENCODING: CHUNKED")),
        ("an underscore for the hyphen", three("Content-Length: 3\r\nTransfer_Encoding: chunked")),
        ("the length hidden by Connection", three("Connection: close, content-length\r\nContent-Length: 3")),
        ("the coding hidden by Connection", chunked("Connection: transfer-encoding\r\nTransfer-Encoding: chunked")),
        (
            "the coding hidden by Connection behind a length",
            chunked("Content-Length: 2\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked"),
        ),
    ]
}

/// Chunks that somebody reads otherwise.
const CHUNKS: [&str; 16] = [
    "3;\r\nabc\r\n0\r\n\r\n",
    "3;a=b\r\nabc\r\n0\r\n\r\n",
    "3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
    "3 \r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "003\r\nabc\r\n000\r\n\r\n",
    "3\nabc\n0\n\n",
    "3\r\nabc0\r\n\r\n",
    "3\r\nabcX\r\n0\r\n\r\n",
    "3\rabc\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\nContent-Length: 9\r\nX: y\r\n\r\n",
];

/// Sends it and reads until the proxy closes, or has answered twice.
fn exchange(to: SocketAddr, text: &str) -> Vec<u16> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may close before it has read everything.
    drop(stream.write_all(text.as_bytes()));
    drop(stream.shutdown(std::net::Shutdown::Write));
    let mut read = std::io::BufReader::new(stream);
    std::iter::from_fn(|| Message::read(&mut read, false)).map(|answer| answer.status()).collect()
}

/// The fields of a request that somebody takes for its framing.
fn framings(request: &Message) -> Vec<&str> {
    let is = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase().replace('_', "-");
        name == "content-length" || name == "transfer-encoding"
    };
    request.head.lines().filter(is).collect()
}

/// What has come to the upstream is one request with one framing, its body `abc` or nothing.
fn is_clean(name: &str, seen: &[Vec<u8>]) {
    let all: Vec<u8> = seen.concat();
    let text = String::from_utf8_lossy(&all).into_owned();
    let found = requests(&all);
    assert!(found.len() <= 1 && seen.len() <= 1, "{name}: {text}");
    for request in found {
        assert!(framings(&request).len() <= 1, "{name}: {}", request.head);
        assert!(request.first_line().contains("/first"), "{name}: {}", request.head);
        assert!(matches!(request.body.as_slice(), b"abc" | b""), "{name}: {text}");
    }
    assert!(!text.contains("/smuggled"), "{name}: {text}");
}

#[test]
fn a_request_with_an_ambiguous_end_is_refused_or_framed_anew_and_nothing_behind_it_is_heard() {
    let upstream = Recorder::start();
    let proxy = proxy_to(vec![Address::Tcp(upstream.address)]).run();
    for (name, rest) in ambiguous() {
        let answers = exchange(proxy.tcp(0), &format!("POST /first HTTP/1.1\r\nHost: app.test\r\n{rest}"));
        let seen = upstream.take();
        // Read by everybody as the same, these are no attack: two requests, each with its end. A line feed alone ends a line, too
        // (RFC 9112 § 2.2): what is forwarded has none.
        let plain = [
            "chunked in capitals",
            "an underscore for the hyphen",
            "a bare line feed before the coding",
            "the coding hidden by Connection",
        ];
        if plain.contains(&name) && answers.len() == 2 {
            let all: Vec<u8> = seen.concat();
            let first = requests(&all).remove(0);
            assert_eq!(first.body, b"abc", "{name}");
            assert_eq!(first.head.matches("\r\n").count(), first.head.matches('\n').count(), "{name}: {}", first.head);
            assert_eq!(framings(&first).len(), 1, "{name}: {}", first.head);
            assert!(!first.head.to_ascii_lowercase().contains("transfer_encoding"), "{name}: {}", first.head);
            continue;
        }
        assert!(answers.len() <= 1, "{name}: the connection goes on: {answers:?}");
        if seen.is_empty() {
            assert!(answers.iter().all(|status| (400..=501).contains(status)), "{name}: {answers:?}");
        }
        is_clean(name, &seen);
    }
}

#[test]
fn chunks_that_somebody_reads_otherwise_are_refused_or_framed_anew() {
    let upstream = Recorder::start();
    let proxy = proxy_to(vec![Address::Tcp(upstream.address)]).run();
    for chunks in CHUNKS {
        let head = "POST /first HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answers = exchange(proxy.tcp(0), &format!("{head}{chunks}{BEHIND}"));
        let all: Vec<u8> = upstream.take().concat();
        let text = String::from_utf8_lossy(&all).into_owned();
        let found = requests(&all);
        // What every reader understands is passed on, spelled in the one way that we write.
        for request in found.iter().filter(|request| request.first_line().contains("/first")) {
            assert_eq!(request.body, b"abc", "{chunks:?}: {text}");
            assert!(!text.contains("a=b") && !text.contains("\r\n003"), "{chunks:?}: {text}");
        }
        if answers.first().is_none_or(|status| *status >= 400) {
            // A chunk that never ends has the rest of the connection for its data.
            assert!(found.is_empty(), "{chunks:?}: it was refused, and yet was whole for the upstream: {text}");
        }
    }
}

#[test]
fn a_field_hidden_behind_an_ambiguous_end_does_not_reach_the_application_unsealed() {
    let stage = Stage::new("rules: [{ name: r, match: { path: /** }, protect: [{ fields: $..ssn }] }]\n");
    let hidden = r#"{"ssn":"123-45-6789"}"#;
    let behind = format!(
        "POST /hidden HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    for (name, rest) in ambiguous() {
        let rest = rest.replace(BEHIND, &behind).replace("abc", "{}\n").replace("app.test", "a");
        exchange(stage.front, &format!("POST /first HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{rest}"));
        for (path, body) in stage.everything() {
            assert!(!body.contains("123-45-6789"), "{name}: {path} {body}");
        }
    }
}

#[test]
fn an_http_1_0_request_has_no_chunks_and_ends_its_connection() {
    let upstream = Recorder::start();
    let proxy = proxy_to(vec![Address::Tcp(upstream.address)]).run();
    for (name, rest) in ambiguous() {
        let answers = exchange(proxy.tcp(0), &format!("POST /first HTTP/1.0\r\nHost: app.test\r\n{rest}"));
        assert!(answers.len() <= 1, "{name}: {answers:?}");
        is_clean(name, &upstream.take());
    }
}

/// An application behind WSGI, Rack or PHP cannot tell `X_Tenant` from `X-Tenant`.
#[test]
fn fields_that_pass_for_others_in_an_underscore_do_not_reach_the_application() {
    let upstream = Recorder::start();
    let proxy = proxy_to(vec![Address::Tcp(upstream.address)])
        .listener(|listener| listener.trusted_headers = vec![http::HeaderName::from_static("x-tenant")])
        .run();
    let forged = "X_Tenant: forged\r\nx-Tenant: forged\r\nX_Forwarded-For: forged\r\nX_forwarded_for: forged\r\nContent_Length: 7\r\n";
    let own = "X_Own: kept\r\nuser_name: kept\r\n";
    exchange(proxy.tcp(0), &format!("GET /first HTTP/1.1\r\nHost: app.test\r\n{forged}{own}\r\n"));
    let seen = upstream.take().concat();
    let text = String::from_utf8_lossy(&seen);
    assert!(!text.contains("forged") && !text.to_lowercase().contains("content_length"), "{text}");
    assert_eq!(text.matches("kept").count(), 2, "{text}");
}
