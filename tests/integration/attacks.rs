//! What an attacker would try, who writes to the store, chooses documents, paths, methods and headers, or has seen a token.

use sidecloak::keyring::Kind;
use sidecloak::name::{Class, PartitionName};
use sidecloak::token::Suite;
use sidecloak::token::v1::Plain;

use super::stage::Stage;

const TWO: &str = r#"rules:
  - name: a
    match: { path: "/a/**" }
    protect:
      - fields: ["$..ssn", "$..pan"]
  - name: b
    match: { path: "/b/**" }
    protect:
      - fields: ["$..ssn"]
        key: other
"#;

fn token_of(stage: &Stage, path: &str, name: &str) -> String {
    let stored: serde_json::Value = serde_json::from_slice(&stage.stored(path)).unwrap();
    stored[name].as_str().unwrap().to_owned()
}

/// The answer to a token that does not open: 502, and nothing of it.
fn refused(stage: &Stage, path: &str, canary: &str) {
    let reply = stage.get(path);
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert!(!reply.text().contains(canary) && reply.text().contains("upstream_status"), "{}", reply.text());
    assert!(!reply.headers.contains_key("retry-after"));
}

#[test]
fn a_token_moved_to_another_field_or_partition_does_not_open() {
    let stage = Stage::new(TWO);
    stage.post("/a/1", r#"{"ssn":"canary-ssn","pan":"canary-pan"}"#);
    stage.post("/b/1", r#"{"ssn":"canary-b"}"#);
    let (ssn, pan) = (token_of(&stage, "/a/1", "ssn"), token_of(&stage, "/a/1", "pan"));
    stage.put("/a/2", format!(r#"{{"ssn":"{pan}","pan":"{ssn}"}}"#));
    refused(&stage, "/a/2", "canary");
    stage.put("/b/2", format!(r#"{{"ssn":"{ssn}"}}"#));
    refused(&stage, "/b/2", "canary");
    stage.put("/a/3", format!(r#"{{"ssn":"{}"}}"#, token_of(&stage, "/b/1", "ssn")));
    refused(&stage, "/a/3", "canary");
    stage.put("/a/4", format!(r#"{{"ssn":"{ssn}"}}"#));
    assert_eq!(
        stage.get("/a/4").text(),
        r#"{"ssn":"canary-ssn"}"#,
        "the same class of another record: a documented limit"
    );
}

#[test]
fn no_character_of_a_token_can_be_changed() {
    let stage = Stage::new(TWO);
    stage.post("/a/1", r#"{"ssn":"canary"}"#);
    let token = token_of(&stage, "/a/1", "ssn");
    for i in 0..token.len() {
        for other in ['A', 'B', '.', '*'] {
            let mut changed = token.clone().into_bytes();
            if changed[i] == other as u8 {
                continue;
            }
            changed[i] = other as u8;
            let changed = String::from_utf8(changed).unwrap();
            stage.put("/a/2", format!(r#"{{"ssn":"{changed}"}}"#));
            let reply = stage.get("/a/2");
            assert_eq!(reply.status, 502, "{i} {changed}");
            assert!(!reply.text().contains("canary"));
        }
    }
    for shorter in [&token[..token.len() - 1], &token[..30], "sc1.", "sc1..", "sc1.AAAA.AAAA"] {
        stage.put("/a/2", format!(r#"{{"ssn":"{shorter}"}}"#));
        refused(&stage, "/a/2", "canary");
    }
}

/// Whoever holds a field key could seal anything; even then a plaintext never changes the document around it.
#[test]
fn a_plaintext_cannot_break_out_of_its_place() {
    let stage = Stage::new(TWO);
    let epoch = stage.keyring().sealing(&PartitionName::default_name(), Kind::Random).unwrap();
    let key = stage.keyring().field_key(&epoch, Suite::Xaes, &Class::new("ssn"));
    for (text, is_string) in [
        (r#"x","admin":true,"y":""#, true),
        ("a\nb", true),
        (r#"a\"#, true),
        (r#"1,"admin":true"#, false),
        ("1 ", false),
        ("", false),
        (r#""a string""#, false),
        ("{\"a\":1}}", false),
        ("tru", false),
    ] {
        let mut token = Vec::new();
        key.seal(&Plain { text: text.as_bytes(), is_string, record_id: None, pad: None, signer: None }, &mut token)
            .unwrap();
        stage.put("/a/x", format!(r#"{{"ssn":"{}"}}"#, String::from_utf8(token).unwrap()));
        refused(&stage, "/a/x", "admin");
    }
}

#[test]
fn a_stolen_token_is_refused_unless_the_rule_says_otherwise() {
    let rules = |on_token: &str| {
        format!(
            "rules:\n  - name: r\n    match: {{ path: \"/**\" }}\n    protect:\n      - fields: [\"$..ssn\"]\n        on_token: {on_token}\n      - fields: [\"$..pan\"]\n        on_token: {on_token}\n"
        )
    };
    let reject = Stage::new(&rules("reject"));
    reject.post("/1", r#"{"ssn":"canary"}"#);
    let token = token_of(&reject, "/1", "ssn");
    for body in [
        format!(r#"{{"ssn":"{token}"}}"#),
        format!(r#"{{"ssn":"\u0073c1.{}"}}"#, &token[4..]),
        r#"{"ssn":"sc1.not a token"}"#.into(),
    ] {
        let reply = reject.post("/2", body);
        assert_eq!(reply.status, 422, "{}", reply.text());
    }

    let seal = Stage::new(&rules("seal"));
    seal.post("/1", r#"{"ssn":"canary"}"#);
    let token = token_of(&seal, "/1", "ssn");
    seal.post("/2", format!(r#"{{"ssn":"{token}"}}"#));
    assert_ne!(token_of(&seal, "/2", "ssn"), token, "it is data, sealed again");
    assert_eq!(
        seal.get("/2").text(),
        format!(r#"{{"ssn":"{token}"}}"#),
        "and comes back as the token it was, not as plaintext"
    );

    let keep = Stage::new(&rules("keep"));
    keep.post("/1", r#"{"ssn":"canary"}"#);
    let token = token_of(&keep, "/1", "ssn");
    assert_eq!(keep.post("/2", format!(r#"{{"ssn":"{token}"}}"#)).status, 200);
    assert_eq!(token_of(&keep, "/2", "ssn"), token);
    for body in
        [format!(r#"{{"pan":"{token}"}}"#), format!(r#"{{"ssn":"{}x"}}"#, token), r#"{"ssn":"sc1.junk"}"#.to_owned()]
    {
        assert_eq!(keep.post("/3", body.clone()).status, 422, "{body}");
    }
}

/// However a path or method is spelled, what reaches the application under it is sealed, or nothing reaches it.
#[test]
fn no_spelling_of_a_path_stores_plaintext() {
    let rules =
        "rules:\n  - name: r\n    match: { path: \"/customers/**\" }\n    protect: [{ fields: [\"$..ssn\"] }]\n";
    let spellings = [
        "/customers/7",
        "/customers",
        "/customers/",
        "//customers/7",
        "///customers//7",
        "/./customers/7",
        "/x/../customers/7",
        "/customers/./7",
        "/customers/x/../7",
        "/%63ustomers/7",
        "/c%75stomers/7",
        "/customer%73/7",
        "/%63%75%73%74%6f%6d%65%72%73/7",
        "/%63%75%73%74%6F%6D%65%72%73/7",
        "/customers;v=1/7",
        "/customers;jsessionid=a/7;b",
        ";a/customers/7",
        "/;a/customers/7",
        "/customers/7;ssn=1",
        "/customers/%37",
        "/customers/7?x=1",
        "/customers?id=7",
        "/customers/7?/other",
        "/customers/%2e/7",
        "/customers/%2e%2e/customers/7",
        "/x/%2E%2E/customers/7",
        "/x%2f..%2fcustomers/7",
        "/customers%2f7",
        "/customers%5c7",
        "/customers\\7",
        "/%2563ustomers/7",
        "/customers%00/7",
        "/customers/7%00.txt",
        "/customers/%c0%ae/7",
        "/customers/7#frag",
        "/customers/7/",
        "/customers/7//",
        "/customers/7/..",
        "/customers/..;/customers/7",
        "/x/..;/customers/7",
        "/customers/%252e%252e/7",
        "/%ff/../customers/7",
        "/customers%20/7",
        "/customers%3b/7",
        "/customers/7%3f",
    ];
    assert!(spellings.len() >= 40);
    for method in ["POST", "PUT", "PATCH", "DELETE", "post", "QUERY"] {
        let stage = Stage::new(rules);
        for path in spellings {
            send_raw(stage.front, method, path, "", r#"{"ssn":"canary-plain"}"#);
        }
        let stored = String::from_utf8_lossy(&stage.all_stored()).into_owned();
        // A spelling that our rules take for another resource may pass, if no application resolves it to ours.
        for (path, body) in stage.everything() {
            let resolves = path_means_customers(&path);
            assert!(!(resolves && body.contains("canary-plain")), "{method} {path} stored plaintext");
        }
        assert!(stored.contains("sc1."), "{method}: the plain spelling arrives sealed");
    }
}

#[test]
fn override_headers_are_refused() {
    let rules =
        "rules:\n  - name: r\n    match: { path: \"/customers/**\" }\n    protect: [{ fields: [\"$..ssn\"] }]\n";
    let stage = Stage::new(rules);
    for header in [
        "X-Original-URL: /customers/7",
        "X-Rewrite-URL: /customers/7",
        "X-HTTP-Method-Override: PUT",
        "x-original-url: /customers/7",
    ] {
        let status = send_raw(stage.front, "POST", "/healthz", &format!("{header}\r\n"), r#"{"ssn":"canary-plain"}"#);
        assert_eq!(status, 400, "{header}");
    }
    assert!(stage.nothing_stored());
}

#[test]
fn a_media_type_does_not_dodge_a_sealing_rule() {
    let stage = Stage::new(TWO);
    let body = r#"{"ssn":"canary-plain"}"#;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/octet-stream",
        "application/jsonx",
        "text/json",
        "application/json; charset=utf-16",
        "application/json; charset*=utf-8''utf-7",
        "application/json; charset=utf-8; charset*0=utf-7",
        "application/json, text/plain",
        "garbage",
        "text/event-stream",
    ] {
        let reply = stage.call("POST", "/a/1", &[("content-type", content_type)], body);
        assert_eq!(reply.status, 415, "{content_type}: {}", reply.text());
    }
    for good in
        ["application/json", "APPLICATION/JSON; charset=UTF-8", "application/vnd.api+json", "application/json;v=1"]
    {
        assert_eq!(stage.call("POST", "/a/1", &[("content-type", good)], body).status, 200, "{good}");
        assert!(!stage.stored_text("/a/1").contains("canary"));
    }
    let merged = stage.call("POST", "/a/6", &[("content-type", "application/merge-patch+json")], body);
    assert_eq!((merged.status, stage.stored_text("/a/6").contains("canary")), (200, false));
    let patch = stage.call("POST", "/a/7", &[("content-type", "application/json-patch+json")], body);
    assert_eq!(patch.status, 422, "no operations");
    for several in ["application/x-ndjson", "application/jsonl", "application/json-seq"] {
        let reply = stage.call("POST", "/a/4", &[("content-type", several)], body);
        assert_eq!((reply.status, stage.stored_text("/a/4").contains("canary")), (200, false), "{several}");
        let broken = stage.call("POST", "/a/5", &[("content-type", several)], "{\n\"ssn\":\"canary-plain\"}\n\u{1e}x");
        assert_eq!(broken.status, 400, "{several}");
    }
    assert_eq!(stage.call("POST", "/a/1", &[], body).status, 200, "no Content-Type at all is JSON");
    let two = [("content-type", "text/plain"), ("content-type", "application/json")];
    assert_eq!(stage.call("POST", "/a/2", &two, body).status, 415, "two Content-Types");
    for coding in ["gzip", "br", "identity, gzip", "x-custom"] {
        let reply =
            stage.call("POST", "/a/3", &[("content-type", "application/json"), ("content-encoding", coding)], body);
        assert_eq!(reply.status, 415, "{coding}");
    }
    let stored = String::from_utf8_lossy(&stage.all_stored()).into_owned();
    assert!(!stored.contains("canary-plain"), "{stored}");
}

/// Sends a request line as it is, which client libraries would normalise, and returns the status (0: closed without one).
fn send_raw(to: std::net::SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> u16 {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "bounded by `take`")]
    drop(stream.take(1 << 20).read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
}

/// How a lenient application could resolve a raw path: decoded until nothing changes, parameters and dot segments resolved.
fn path_means_customers(raw: &str) -> bool {
    let mut path = raw.to_owned();
    for _ in 0..3 {
        path = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
    }
    let path = path.replace('\\', "/");
    let mut segments: Vec<String> = Vec::new();
    for segment in path.split('/') {
        match segment.split([';', '\0', '?']).next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            s => segments.push(s.to_owned()),
        }
    }
    segments.first().is_some_and(|s| s == "customers")
}
