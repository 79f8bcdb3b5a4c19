//! What a hostile reading of the code found, one test each.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::stage::Stage;
use super::support::{Next, proxy, upstream};

const RULE: &str = "rules:\n  - name: r\n    match: { path: \"/**\" }\n    protect: [{ fields: [\"$..ssn\"] }]\n";

/// `observe` changes nothing: neither what another rule seals nor what it opens.
#[test]
fn a_rule_on_trial_does_not_stop_another_from_acting() {
    for trial in ["$.customer", "$..ssn", "$"] {
        let stage = Stage::new(&format!(
            "rules:\n  - name: trial\n    match: {{ path: [\"/**\", \"/trial\"] }}\n    mode: observe\n    protect: [{{ fields: [\"{trial}\"], class: trial }}]\n{}",
            &RULE["rules:\n".len()..]
        ));
        let body = r#"{"customer":{"ssn":"canary"}}"#;
        assert_eq!(stage.post("/1", body).status, 200);
        let stored = stage.stored_text("/1");
        assert!(!stored.contains("canary") && stored.contains("sc1."), "{trial}: {stored}");
        assert_eq!(stage.get("/1").text(), body, "{trial}");
        let text = stage.app().shared().metrics.render();
        assert!(text.lines().any(|l| l.contains("trial") && l.contains("plaintext")), "{trial} still reports: {text}");
    }
}

#[test]
fn a_rule_on_trial_refuses_nothing() {
    let stage = Stage::new(
        "rules:\n  - name: trial\n    match: { path: \"/**\" }\n    mode: observe\n    protect: [{ fields: [\"$..ssn\"], key: \"t-{header:x-tenant}\" }]\n",
    );
    assert_eq!(stage.post("/1", r#"{"ssn":"1"}"#).status, 200, "the key of a rule that only looks may be missing");
    stage.answer("/file", 206, &[("content-range", "bytes 1-2/9")], "xx");
    let ranged = stage.call("GET", "/file", &[("range", "bytes=1-2")], "");
    assert_eq!(ranged.status, 206);
}

/// Whoever walks through names must not use up `max_partitions` with requests that seal nothing.
#[test]
fn reading_makes_no_partition() {
    let stage = Stage::new(
        "rules:\n  - name: r\n    match: { path: \"/t/{tenant}/**\" }\n    provision: true\n    max_partitions: 3\n    protect: [{ fields: [\"$..ssn\"], key: \"t-{tenant}\" }]\n",
    );
    for i in 0..6 {
        assert_eq!(stage.get(&format!("/t/guess{i}/1")).status, 404);
    }
    assert_eq!(stage.post("/t/real/1", r#"{"ssn":"1"}"#).status, 200);
    assert_eq!(stage.get("/t/real/1").text(), r#"{"ssn":"1"}"#);
}

#[test]
fn a_kept_token_of_an_unknown_epoch_is_refused_like_any_other() {
    let stage = Stage::new(&RULE.replace("] }]", "], on_token: keep }]"));
    stage.post("/1", r#"{"ssn":"canary"}"#);
    let token = stage.stored_text("/1");
    let mut unknown = token.into_bytes();
    // The epoch's name begins with the third byte of the header.
    unknown[16] = if unknown[16] == b'A' { b'B' } else { b'A' };
    for attempt in 0..2 {
        assert_eq!(stage.post("/2", unknown.clone()).status, 422, "attempt {attempt}");
    }
}

/// A form that shows `[redacted]`, edited and saved, would overwrite the value.
#[test]
fn a_redaction_that_comes_back_is_refused() {
    let stage = Stage::new(&RULE.replace("] }]", "], reveal: redact }]"));
    stage.post("/1", r#"{"ssn":"1"}"#);
    let stored = stage.stored("/1");
    let shown = stage.get("/1").text();
    assert_eq!(shown, r#"{"ssn":"[redacted]"}"#);
    assert_eq!(stage.post("/1", shown).status, 422);
    assert_eq!(stage.stored("/1"), stored);
}

/// GET and HEAD may carry a body; one whose length is not known must arrive or be refused, never vanish.
#[test]
fn a_get_with_a_body_of_unknown_length_arrives_whole() {
    let app = upstream(|request, out| {
        write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len()).unwrap();
        out.write_all(&request.body).unwrap();
        Next::KeepAlive
    });
    let proxy = proxy(&[&app]).run();
    let mut client = proxy.client();
    client.send("GET /search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n");
    assert_eq!(client.receive().text(), "query");

    let stage = Stage::new(RULE);
    let body = format!(r#"{{"ssn":"canary","pad":"{}"}}"#, "x".repeat(200_000));
    let reply = stage.call("GET", "/nothing", &[], body);
    assert_eq!(reply.status, 404, "the upstream has read the request to its end");
}

/// An HTTP/1.0 client takes the end of the connection for the end of the answer, so a cut must be no orderly end.
#[test]
fn an_answer_that_is_cut_does_not_look_whole_to_http_1_0() {
    let stage = Stage::new(RULE);
    let mut body = format!("[{}", r#"{"n":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"#.repeat(5_000));
    body.push_str(r#"{"ssn":"sc1.AAAA.AAAA"}]"#);
    stage.answer("/cut", 200, &[("content-type", "application/json")], body);
    let mut stream = TcpStream::connect(stage.front).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /cut HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "bounded by `take`")]
    let ended = stream.take(1 << 24).read_to_end(&mut answer);
    assert!(ended.is_err(), "{} bytes and an orderly end", answer.len());
}

/// A connection that never says anything holds one of `limits.connections`.
#[test]
fn a_connection_that_stays_silent_is_closed() {
    let app = upstream(|_, _| Next::Close);
    let proxy = proxy(&[&app]).shared(|shared| shared.settings.timeouts.header = Duration::from_millis(200)).run();
    assert!(proxy.client().is_at_end(), "nothing sent");
    let mut client = proxy.client();
    client.send("PRI * HT");
    assert!(client.is_at_end(), "the beginning of a preface");
    client.write.shutdown(Shutdown::Both).ok();
}

/// Trailers can carry digests too.
#[test]
fn trailers_lose_the_digests_of_the_old_bytes() {
    let app = upstream(|_, out| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: digest, x-other\r\n\r\n";
        write!(out, "{head}c\r\n{{\"ssn\":null}}\r\n0\r\ndigest: sha-256=x\r\nx-other: stays\r\n\r\n").unwrap();
        Next::Close
    });
    let stage = Stage::before(&app, RULE);
    let mut client = super::support::Client::tcp(stage.front);
    client.send("GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n");
    let answer = client.receive();
    assert_eq!(answer.text(), r#"{"ssn":null}"#);
    assert!(answer.trailers.contains("x-other") && !answer.trailers.contains("digest"), "{}", answer.trailers);
}

/// Only OPTIONS may ask for `*`; there an application that takes everything would take a body that no pattern meets.
#[test]
fn nothing_but_options_asks_for_the_asterisk() {
    let stage = Stage::new(RULE);
    let mut client = super::support::Client::tcp(stage.front);
    client.send("POST * HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n{\"ssn\":\"canary\"}");
    assert_eq!(client.receive().status(), 400);
    assert!(stage.nothing_stored());
    let mut client = super::support::Client::tcp(stage.front);
    assert_ne!(client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").receive().status(), 400);
}

/// A document sent in parts would pass: no part of it holds what a selector names.
#[test]
fn a_part_of_a_body_is_not_taken_for_one() {
    let stage = Stage::new(RULE);
    let headers = [("content-type", "application/json"), ("content-range", "bytes 7-14/16")];
    let reply = stage.call("PUT", "/1", &headers, r#""canary""#);
    assert_eq!(reply.status, 415);
    assert!(stage.nothing_stored());
    let answer = [("content-type", "application/json"), ("content-range", "bytes 7-14/16")];
    stage.answer("/part", 206, &answer, r#""plain""#);
    assert_eq!(stage.get("/part").status, 206, "where a rule only opens, it passes");
    let expose = Stage::new(&RULE.replace("protect", "expose"));
    expose.answer("/part", 206, &answer, r#""canary""#);
    let reply = expose.get("/part");
    assert_eq!((reply.status, reply.text().contains("canary")), (502, false));
}
