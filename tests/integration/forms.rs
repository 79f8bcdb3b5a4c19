//! Fields of forms, through the whole process: what the application gets, to the byte.

#[path = "forms/parsers.rs"]
mod parsers;

use super::stage::{Reply, Stage};

const URLENCODED: &str = "application/x-www-form-urlencoded";
const BOUNDARY: &str = "----WebKitFormBoundary7MA4YWxkTrZu0gW";

fn rule(options: &str) -> String {
    format!(
        "rules:\n  - name: r\n    match: {{ path: \"/**\" }}\n{options}\n    request:\n      - seal: [form:ssn, \"form:é x\"]\n\
         \x20   response:\n      - open: [\"$..ssn\", form:ssn]\n        class: ssn\n"
    )
}

fn sealing() -> Stage {
    Stage::new(&rule(""))
}

fn post(stage: &Stage, path: &str, content_type: &str, body: &str) -> Reply {
    stage.call("POST", path, &[("content-type", content_type)], body.as_bytes().to_vec())
}

fn multipart() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// `|` is a line end, `~` the boundary with its hyphens.
fn parts(body: &str) -> String {
    body.replace('|', "\r\n").replace('~', &format!("--{BOUNDARY}"))
}

/// The token in a text, and what stands before and behind it.
fn around_token(text: &str) -> (&str, &str, &str) {
    let start = text.find("sc1.").unwrap_or_else(|| panic!("no token in {text}"));
    let of_token = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let length = text[start..].find(|c| !of_token(c)).unwrap_or(text.len() - start);
    (&text[..start], &text[start..start + length], &text[start + length..])
}

#[test]
fn an_urlencoded_value_is_sealed_and_everything_else_arrives_as_it_was_sent() {
    let stage = sealing();
    let reply = post(&stage, "/1", URLENCODED, "a=%zz+&&%73sn=123-45%2D6789&ssn2=x&=;&b");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let stored = stage.stored_text("/1");
    let (before, token, behind) = around_token(&stored);
    assert_eq!((before, behind), ("a=%zz+&&%73sn=", "&ssn2=x&=;&b"));
    assert_eq!(stage.stored_headers("/1")["content-length"], stored.len().to_string());
    // The same token opens in JSON, and in an urlencoded answer.
    stage.put("/json", format!(r#"{{"ssn":"{token}"}}"#));
    assert_eq!(stage.get("/json").text(), r#"{"ssn":"123-45-6789"}"#);
    stage.answer("/form", 200, &[("content-type", URLENCODED)], format!("x=%2f&ssn={token}"));
    let reply = stage.get("/form");
    assert_eq!((reply.status, reply.text().as_str()), (200, "x=%2f&ssn=123-45-6789"));
}

#[test]
fn the_text_of_a_part_is_sealed_and_everything_else_arrives_as_it_was_sent() {
    let stage = sealing();
    let head = "Content-Disposition: form-data; name=";
    let file = "\0\u{1}\r\n--\n-- not a boundary\r\n\r\n";
    let before = format!(
        "~|{head}\"f\"; filename=\"a;b.bin\"|Content-Type: application/octet-stream|Content-Length: {}||{file}|~|{head}\"ssn\"||",
        file.len()
    );
    let behind = format!("|~|{head}other||x|~--|epilogue");
    let reply = post(&stage, "/1", &multipart(), &parts(&format!("{before}line one\r\nlínea dos{behind}")));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let stored = stage.stored_text("/1");
    let (found, token, rest) = around_token(&stored);
    assert_eq!((found, rest), (parts(&before).as_str(), parts(&behind).as_str()));
    stage.put("/json", format!(r#"{{"ssn":"{token}"}}"#));
    assert_eq!(stage.get("/json").text(), "{\"ssn\":\"line one\\r\\nlínea dos\"}");
    stage.answer(
        "/form",
        200,
        &[("content-type", &multipart())],
        parts(&format!("~|{head}\"ssn\"|Content-Length: {}||{token}|~--|", token.len())),
    );
    let reply = stage.get("/form");
    assert_eq!(reply.text(), parts(&format!("~|{head}\"ssn\"||line one\r\nlínea dos|~--|")));
}

#[test]
fn what_could_be_read_in_two_ways_reaches_no_application() {
    let stage = sealing();
    let head = "Content-Disposition: form-data; name=";
    let hidden = format!("{head}\"ssn\"||canary");
    for body in [
        "a=1;ssn=canary",
        "+ssn=canary",
        "SSN=canary",
        "ssn[]=canary",
        "ssn%00=canary",
        "%u0073sn=canary",
        "_charset_=utf-7&ssn=canary",
        "ssn=%",
    ] {
        let reply = post(&stage, "/1", URLENCODED, body);
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.text().contains("invalid-form"), "{}", reply.text());
    }
    for body in [
        format!("~|{head}\"a\"||x\n~|{hidden}|~--|"),
        format!("~|{head}\"a\"||x|~--|~|{hidden}|~--|"),
        format!("~|{head}\"a\"; name=\"ssn\"||canary|~--|"),
        format!("~|{head}\"ssn\"; filename=\"x\"||canary|~--|"),
        format!("~|{hidden}"),
    ] {
        assert_eq!(post(&stage, "/1", &multipart(), &parts(&body)).status, 400, "{body}");
    }
    let good = parts(&format!("~|{hidden}|~--|"));
    for content_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=\"a b\"",
        "multipart/mixed; boundary=a",
        "application/x-www-form-urlencoded; charset=utf-16",
        "text/plain",
        "application/json",
    ] {
        let reply = post(&stage, "/1", content_type, &good);
        assert_eq!(reply.status, 415, "{content_type}: {}", reply.text());
    }
    assert!(stage.nothing_stored());
}

#[test]
fn each_rule_reads_what_it_has_fields_for() {
    let rules = |options: &str| {
        format!(
            "rules:\n  - name: json\n    match: {{ path: \"/**\" }}\n    protect: [{{ fields: $..ssn }}]\n{options}\n\
             \x20 - name: forms\n    match: {{ path: \"/forms/**\" }}\n    protect: [{{ fields: form:ssn }}]\n    on_media_type: pass\n"
        )
    };
    let stage = Stage::new(&rules(""));
    assert_eq!(post(&stage, "/forms/1", URLENCODED, "ssn=1").status, 415, "the rule about JSON reads no form");
    assert_eq!(post(&stage, "/forms/1", "application/json", r#"{"ssn":1}"#).status, 200);
    assert!(stage.stored_text("/forms/1").contains("sc1."));
    let stage = Stage::new(&rules("    on_media_type: pass"));
    assert_eq!(post(&stage, "/forms/2", URLENCODED, "ssn=1").status, 200);
    assert!(stage.stored_text("/forms/2").starts_with("ssn=sc1."));
    assert_eq!(post(&stage, "/2", URLENCODED, "ssn=1").status, 200);
    assert_eq!(stage.stored_text("/2"), "ssn=1", "as the rule says");

    let both = Stage::new(
        "rules:\n  - name: r\n    match: { path: \"/**\" }\n    protect: [{ fields: [$..ssn, form:ssn], required: true }]\n",
    );
    for (content_type, body) in [("application/json", r#"{"ssn":"1"}"#), (URLENCODED, "ssn=1")] {
        assert_eq!(post(&both, "/3", content_type, body).status, 200, "{body}");
        assert!(both.stored_text("/3").contains("sc1."));
    }
    assert_eq!(post(&both, "/3", URLENCODED, "a=1").status, 422, "required");
    assert_eq!(post(&both, "/3", "application/json", "{}").status, 422, "required");
}

#[test]
fn options_mean_what_they_mean_elsewhere() {
    let stage = Stage::new(
        "rules:\n  - name: r\n    match: { path: \"/**\" }\n    protect:\n      - { fields: [form:account, $..account], deterministic: true, type: number }\n      - { fields: form:note, max_value: 8, max_length: 90 }\n",
    );
    assert_eq!(post(&stage, "/1", URLENCODED, "account=42").status, 200);
    assert_eq!(post(&stage, "/2", "application/json", r#"{"account":42}"#).status, 200);
    assert!(stage.stored_text("/2").contains(around_token(&stage.stored_text("/1")).1), "equal values, equal tokens");
    assert_eq!(post(&stage, "/3", URLENCODED, "account=x").status, 422, "no number");
    assert_eq!(post(&stage, "/3", URLENCODED, "account=sc1.x").status, 422, "begins as a token");
    assert_eq!(post(&stage, "/3", URLENCODED, "note=123456789").status, 413);
    assert_eq!(post(&stage, "/3", URLENCODED, "note=%31%32%33%34%35%36%37%38").status, 200);
}

#[test]
fn modes_that_only_look_change_no_byte() {
    for mode in ["observe", "read"] {
        let stage = Stage::new(&format!(
            "rules:\n  - name: r\n    match: {{ path: \"/**\" }}\n    mode: {mode}\n    protect: [{{ fields: form:ssn }}]\n"
        ));
        for body in ["ssn=1&b", "ssn&%", "a=1;ssn=2"] {
            assert_eq!(post(&stage, "/1", URLENCODED, body).status, 200, "{mode} {body}");
            assert_eq!(stage.stored_text("/1"), body);
        }
        let metrics = stage.app().shared().metrics.render();
        assert!(metrics.contains("plaintext"), "{mode}: {metrics}");
    }
}

#[test]
fn an_upload_streams_past_a_sealed_field_in_bounded_memory() {
    let stage = Stage::with(&rule(""), "", "limits: { memory: 6MiB, value: 64KiB }");
    let head = "Content-Disposition: form-data; name=";
    let before = parts(&format!("~|{head}\"f\"; filename=\"big\"||"));
    let between = parts(&format!("|~|{head}\"ssn\"||"));
    let behind = parts("|~--|");
    // With everything in it that might be taken for a boundary.
    let block: Vec<u8> =
        (0..=255).cycle().take(60_000).chain(b"\r\n--\r\n------WebKitFormBoundary\r\n".iter().copied()).collect();
    let file = block.repeat((20 << 20) / block.len());
    let body = [before.as_bytes(), &file, between.as_bytes(), b"123-45-6789", behind.as_bytes()].concat();
    let reply = stage.call("POST", "/1", &[("content-type", &multipart())], body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let stored = stage.stored("/1");
    let expected = [before.as_bytes(), &file, between.as_bytes()].concat();
    assert!(stored.starts_with(&expected), "the file came through");
    let rest = String::from_utf8(stored[expected.len()..].to_vec()).unwrap();
    let (found, _, end) = around_token(&rest);
    assert_eq!((found, end), ("", behind.as_str()));
}
