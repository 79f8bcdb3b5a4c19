//! Before httpbin, which answers in codings, piece by piece, late, and on conditions: what a rule opens there, and what HTTP/2 clients
//! get from it.

use std::io::Write as _;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sidecloak::proxy::coding::encode::Form;

use super::httpbin::httpbin;
use super::{Front, json};
use crate::codings::{coded, decoded};
use crate::relay::{Place, connect, offering};
use crate::stage::Reply;
use crate::support::Client;

const SSN: &str = "123-45-6789";

/// httpbin shows headers, so a header is what it knows of the request and answers with.
const RULES: &str = r#"rules:
  - name: sealed
    match: { path: "/anything/**" }
    request:
      - { seal: ["header:x-ssn", "$..ssn"], class: ssn }
  - name: both
    match: { path: /**, except: "/anything/**" }
    protect:
      - { fields: ["header:x-ssn", "$.headers['X-Ssn']"], class: ssn }
"#;

fn get(front: &Front, path: &str, headers: &[(&str, &str)]) -> Reply {
    front.ask("GET", path, &[&[("x-ssn", SSN)], headers].concat(), "")
}

/// What a body says, out of its coding.
fn read(reply: &Reply) -> Value {
    let plain = match reply.headers.get("content-encoding") {
        Some(coding) => decoded(coding.to_str().unwrap(), &reply.body).0,
        None => reply.body.clone(),
    };
    serde_json::from_slice(&plain).unwrap_or_else(|_| panic!("{}: {}", reply.status, String::from_utf8_lossy(&plain)))
}

#[test]
fn coded_answers_are_opened_and_coded_again() {
    let Some(httpbin) = httpbin() else { return };
    let front = Front::new(&httpbin, RULES);
    let sealing =
        Front::new(&httpbin, "rules:\n  - { name: r, match: { path: /** }, request: [{ seal: \"header:x-ssn\" }] }\n");
    for (path, coding) in [("/gzip", "gzip"), ("/deflate", "deflate"), ("/brotli", "br")] {
        // It codes whatever it is asked for.
        for (accepts, asked) in [
            (None, "identity"),
            (Some("gzip, deflate, br"), "gzip, deflate, br"),
            (Some("br;q=0.5, snappy, gzip"), "br;q=0.5, gzip"),
            (Some("identity"), "identity"),
            (Some("zstd, gzip;q=0"), "zstd, gzip;q=0"),
        ] {
            let accepts: Vec<_> = accepts.map(|accepts| ("accept-encoding", accepts)).into_iter().collect();
            let reply = get(&front, path, &accepts);
            assert_eq!((reply.status, reply.headers["content-encoding"].to_str().unwrap()), (200, coding));
            assert_eq!(reply.headers["content-length"], reply.body.len().to_string());
            let told = &read(&reply)["headers"];
            assert_eq!((&told["X-Ssn"], &told["Accept-Encoding"]), (&json!(SSN), &json!(asked)), "{path} {accepts:?}");
            let kept = &read(&get(&sealing, path, &accepts))["headers"]["X-Ssn"];
            assert!(kept.as_str().unwrap().starts_with("sc1."), "{path}: {kept}");
        }
        let head = front.ask("HEAD", path, &[("x-ssn", SSN)], "");
        assert_eq!((head.status, head.headers.contains_key("content-length")), (200, false), "it would be another");
    }
}

/// The body that httpbin was sent and cannot read, which it shows as a `data:` URL.
fn uploaded(seen: &Value) -> Vec<u8> {
    let data = seen["data"].as_str().unwrap().strip_prefix("data:application/octet-stream;base64,").unwrap();
    data_encoding::BASE64.decode(data.as_bytes()).unwrap()
}

#[test]
fn coded_uploads_are_sealed_in_chunks_and_with_a_length() {
    let Some(httpbin) = httpbin() else { return };
    let front = Front::new(&httpbin, RULES);
    for (count, framed) in [(3, "content-length"), (3_000, "transfer-encoding")] {
        let items: Vec<String> = (0..count).map(|n| format!(r#"{{"id":{n},"ssn":"{n:09}"}}"#)).collect();
        let plain = format!("[{}]", items.join(", "));
        for (coding, form) in [("gzip", Form::Gzip), ("br", Form::Brotli), ("zstd", Form::Zstd)] {
            let body = coded(&[form], plain.as_bytes());
            let head = format!(
                "POST /anything/x HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\nContent-Encoding: {coding}\r\n"
            );
            let mut client = Client::tcp(front.address);
            client.send(format!("{head}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"));
            assert_eq!(client.receive().status(), 100);
            for piece in body.chunks(777) {
                write!(client.write, "{:x}\r\n", piece.len()).unwrap();
                client.send(piece).send("\r\n");
            }
            let chunked = client.send("0\r\n\r\n").receive();
            let whole = client.send(format!("{head}Content-Length: {}\r\n\r\n", body.len())).send(&body).receive();
            for answer in [chunked, whole] {
                assert_eq!(answer.status(), 200, "{coding} {count}: {}", answer.text());
                let seen: Value = serde_json::from_slice(&answer.body).unwrap();
                let sealed = decoded(coding, &uploaded(&seen)).0;
                let sealed: Value = serde_json::from_slice(&sealed).unwrap();
                let sealed = sealed.as_array().unwrap();
                assert!(sealed.len() == count && sealed.iter().all(|i| i["ssn"].as_str().unwrap().starts_with("sc1.")));
                let headers = seen["headers"].as_object().unwrap();
                let framing = |name: &str| headers.keys().any(|key| key.eq_ignore_ascii_case(name));
                assert!(framing(framed) && framing("content-length") != framing("transfer-encoding"), "{headers:?}");
            }
        }
    }
}

#[test]
fn what_comes_piece_by_piece_comes_whole() {
    let Some(httpbin) = httpbin() else { return };
    let front = Front::new(&httpbin, RULES);
    // Lines under a type that says one document: no rule reads them, and tokens stay tokens.
    for lines in [1, 5, 100] {
        let reply = get(&front, &format!("/stream/{lines}"), &[]);
        let seen: Vec<Value> = reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((reply.status, reply.cut, seen.len()), (200, false, lines));
        let shown = |value: &Value| match lines {
            1 => value == SSN,
            _ => value.as_str().unwrap().starts_with("sc1."),
        };
        assert!(seen.iter().all(|line| shown(&line["headers"]["X-Ssn"])), "{lines}: {}", seen[0]);
    }
    let drip = get(&front, "/drip?numbytes=5&duration=1&delay=0", &[]);
    assert_eq!((drip.status, drip.text().as_str(), drip.cut), (200, "*****", false));
    let bytes = "/stream-bytes/100000?seed=7&chunk_size=999";
    assert_eq!(get(&front, bytes, &[]).body, httpbin.ask("GET", bytes, &[], "").body);
}

#[test]
fn an_application_that_is_late_is_waited_for_as_long_as_the_configuration_says() {
    let Some(httpbin) = httpbin() else { return };
    let front = Front::with(&httpbin, RULES, "", "timeouts: { first_byte: 1s, response_idle: 1s }\n");
    let reply = get(&front, "/delay/10", &[]);
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert_eq!(read(&get(&front, "/delay/0", &[]))["headers"]["X-Ssn"], SSN);
    // Two bytes in time, and long nothing.
    let reply = get(&front, "/drip?numbytes=3&duration=15&delay=0", &[]);
    assert!(reply.status == 200 && reply.cut && reply.body.len() < 3, "{reply:?}");
}

#[test]
fn tags_and_ranges_of_what_is_opened() {
    let Some(httpbin) = httpbin() else { return };
    let front = Front::new(&httpbin, RULES);
    // Without quotes: httpbin is one of the many that write tags so.
    let reply = get(&front, "/etag/v1", &[]);
    let tag = reply.headers["etag"].to_str().unwrap().to_owned();
    assert!(tag.starts_with("v1-sc1-") && read(&reply)["headers"]["X-Ssn"] == SSN, "{tag}");
    for (name, value, status) in [
        ("if-none-match", tag.as_str(), 304),
        ("if-none-match", &format!("\"v0\", {tag}"), 304),
        ("if-none-match", &format!("\"{tag}\""), 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "v1", 200),
        ("if-none-match", "v2", 200),
        ("if-match", &tag, 200),
        ("if-match", "v2", 412),
        ("if-match", "*", 200),
    ] {
        let reply = get(&front, "/etag/v1", &[(name, value)]);
        assert_eq!(reply.status, status, "{name}: {value}");
        if status != 412 {
            assert_eq!(reply.headers["etag"], tag, "{name}: {value}");
        }
    }
    // It takes any condition for a reason to send nothing.
    let first = get(&front, "/cache", &[]);
    let ours = first.headers["etag"].to_str().unwrap();
    assert_eq!(first.headers["cache-control"], "no-store");
    assert_eq!(get(&front, "/cache", &[("if-none-match", ours)]).status, 304);
    for condition in [("if-none-match", "abc"), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")] {
        assert_eq!(get(&front, "/cache", &[condition]).status, 200, "{condition:?}");
        assert_eq!(httpbin.ask("GET", "/cache", &[condition], "").status, 304);
    }
    let whole = get(&front, "/range/100", &[("range", "bytes=10-19"), ("if-range", "range100")]);
    assert_eq!((whole.status, whole.body.len()), (200, 100));
    let without = Front::new(&httpbin, &RULES.replace("path: /**", "path: /none"));
    assert_eq!(get(&without, "/range/100", &[("range", "bytes=10-19")]).status, 206);
}

/// Browsers speak HTTP/2, and few applications do.
#[test]
fn clients_of_http2_over_tls_get_all_of_it() {
    let Some(httpbin) = httpbin() else { return };
    let place = Place::new();
    let pair = place.server();
    let tls = format!("    tls: {{ cert: {}, key: {} }}", pair.cert.display(), pair.key.display());
    let front = Front::with(&httpbin, RULES, &tls, "");
    let config = offering(&place.client(), &["h2", "http/1.1"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = connect(front.address, "localhost", &config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>| {
            let mut request =
                http::Request::builder().method(method).uri(format!("https://app.test{path}")).header("x-ssn", SSN);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
            let mut sender = sender.clone();
            async move {
                let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
                let body = body.collect().await.unwrap().to_bytes().to_vec();
                Reply { status: parts.status.as_u16(), headers: parts.headers, body, cut: false }
            }
        };
        let coded_json = [("content-type", "application/json"), ("content-encoding", "gzip")];
        let upload =
            || coded(&[Form::Gzip], format!(r#"[{}{{"ssn":"1"}}]"#, r#"{"ssn":"x"},"#.repeat(2_000)).as_bytes());
        // All on one connection, and at once.
        let (gzip, brotli, uploaded_, bytes, teapot, cookies, slow) = tokio::join!(
            ask("GET", "/gzip", &[("accept-encoding", "gzip")], vec![]),
            ask("GET", "/brotli", &[], vec![]),
            ask("POST", "/anything/x", &coded_json, upload()),
            ask("GET", "/stream-bytes/100000?seed=7", &[], vec![]),
            ask("GET", "/status/418", &[], vec![]),
            ask("GET", "/cookies/set?a=b", &[], vec![]),
            ask("GET", "/delay/1", &[], vec![]),
        );
        for reply in [&gzip, &brotli, &slow] {
            assert_eq!((reply.status, &read(reply)["headers"]["X-Ssn"]), (200, &json!(SSN)));
        }
        let sealed = decoded("gzip", &uploaded(&json(&uploaded_))).0;
        assert_eq!(String::from_utf8(sealed).unwrap().matches("sc1.").count(), 2_001);
        assert_eq!((bytes.status, bytes.body.len(), teapot.status), (200, 100_000, 418));
        assert_eq!(
            (cookies.status, &cookies.headers["set-cookie"]),
            (302, &"a=b; Secure; Path=/".parse().unwrap()),
            "told of https"
        );
        assert_eq!(ask("HEAD", "/gzip", &[], vec![]).await.status, 200);
        // A browser splits its cookies over several fields; the application sees one.
        let split = [("cookie", "a=1"), ("cookie", "b=2")];
        assert_eq!(read(&ask("GET", "/cookies", &split, vec![]).await)["cookies"], json!({ "a": "1", "b": "2" }));
        driver.abort();
    });
}
