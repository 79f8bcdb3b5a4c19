//! Input that is wrong: the documented status, a message that says what to do, nothing lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::stage::Stage;

const RULES: &str = "rules:\n  - name: r\n    match: { path: \"/**\" }\n    protect: [{ fields: [\"$..ssn\"] }]\n";

#[test]
fn what_is_not_json_is_refused_before_the_application_sees_it() {
    let stage = Stage::new(RULES);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    for bad in [
        "not json",
        "{\"ssn\":\"1\"",
        "{\"ssn\":\"1\"}x",
        "{\"ssn\":\"1\"}{}",
        "{'ssn':1}",
        "{\"ssn\":01}",
        "{\"ssn\":1,}",
        "[1,]",
        "\u{feff}{}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\\x\"}",
        "nul",
        "NaN",
        " ",
        &deep,
    ] {
        let reply = stage.post("/1", bad.to_owned());
        let shown: String = bad.chars().take(30).collect();
        assert_eq!(reply.status, 400, "{shown}");
        assert_eq!(reply.headers["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(problem["status"], 400, "{shown}");
        assert!(problem["instance"].as_str().is_some_and(|id| !id.is_empty()));
    }
    assert_eq!(stage.call("POST", "/1", &[], &b"{\"ssn\":\"\xff\"}"[..]).status, 400, "not UTF-8");
    assert!(stage.nothing_stored());
    assert_eq!(stage.post("/empty", "").status, 200, "an empty body is no body");
}

#[test]
fn an_answer_that_is_not_json_passes_where_the_rule_only_opens() {
    let stage = Stage::new(RULES);
    let page = "<html>it broke</html>";
    stage.answer("/html", 500, &[("content-type", "text/html")], page);
    let reply = stage.get("/html");
    assert_eq!((reply.status, reply.text().as_str()), (500, page));
    stage.answer("/lie", 200, &[("content-type", "application/json")], page);
    assert_eq!(stage.get("/lie").text(), page, "on_invalid_json: pass is the default where a rule only opens");
}

#[test]
fn values_and_bodies_beyond_their_limits() {
    let stage = Stage::with(RULES, "", "limits: { value: 1KiB }\n");
    let reply = stage.post("/1", format!(r#"{{"ssn":"{}"}}"#, "x".repeat(2_000)));
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert_eq!(
        stage.post("/1", format!(r#"{{"other":"{}"}}"#, "x".repeat(200_000))).status,
        200,
        "what is not selected may be long"
    );
}

#[test]
fn a_request_that_fails_half_way_never_looks_whole() {
    let stage = Stage::new(RULES);
    // Valid for longer than `buffer`, then not JSON: the stream to the application has begun and is cut.
    let body = format!(
        "[{}  oops",
        r#"{"ssn":"canary","pad":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"#.repeat(3_000)
    );
    let reply = stage.post("/cut", body);
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(stage.nothing_stored(), "the application never saw an end");
}

#[test]
fn an_answer_that_fails_half_way_is_cut() {
    let stage = Stage::new(RULES);
    let mut body = format!(
        "[{}",
        r#"{"n":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},"#.repeat(3_000)
    );
    body.push_str(r#"{"ssn":"sc1.AAAA.AAAA"}]"#);
    stage.answer("/cut", 200, &[("content-type", "application/json")], body);
    let reply = stage.get("/cut");
    assert!(reply.cut, "{} bytes arrived as if whole", reply.body.len());
}

/// 100 MB pass through a sealing rule; the memory budget is a tenth of that, so holding the body would be refused.
#[test]
fn a_hundred_megabytes_pass_in_constant_memory() {
    let stage = Stage::with(RULES, "", "limits: { memory: 8MiB }\n");
    let row = format!("{{\"ssn\":\"123-45-6789\",\"text\":\"{}\"}},\n", "lorem ipsum ".repeat(80));
    let rows = 100_000_000 / row.len();
    let length = 1 + rows * row.len() + "null]".len();
    let mut stream = TcpStream::connect(stage.front).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "DELETE /discard HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n[")
        .unwrap();
    for _ in 0..rows {
        stream.write_all(row.as_bytes()).unwrap();
    }
    stream.write_all(b"null]").unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let stored = stage.stored("/discard");
    assert!(stored.len() > length && stored.ends_with(b"null]"));
    assert_eq!(memchr::memmem::find_iter(&stored, b"\"sc1.").count(), rows);
}

#[test]
fn upgrades_ranges_and_heads_on_a_rules_route() {
    let stage = Stage::new(RULES);
    stage.post("/1", r#"{"ssn":"1"}"#);
    let reply = stage.call("GET", "/1", &[("range", "bytes=0-3"), ("accept-encoding", "gzip")], "");
    assert_eq!(reply.text(), r#"{"ssn":"1"}"#);
    let head = stage.call("HEAD", "/1", &[], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let tag = head.headers.get("etag").map(|tag| tag.to_str().unwrap().starts_with("\"v1-sc1-"));
    assert_ne!(tag, Some(false), "the application's own tag is of other bytes");
}
