//! Strings that hold JSON (`parse: json`) through the whole process.

use super::stage::Stage;

fn stage(options: &str) -> Stage {
    Stage::new(&format!(
        "rules:\n  - name: r\n    match: {{ path: \"/c/**\" }}\n    protect: [{{ fields: $..payload, parse: json, inside: [$..ssn, \"$.cards[*].pan\"]{options} }}]\n"
    ))
}

/// As an application writes it that logs or queues its messages.
fn nested(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[test]
fn values_in_strings_are_sealed_and_come_back() {
    let stage = stage("");
    let text = "{ \"ssn\":\"123-45-6789\",\r\n\t\"cards\":[{\"pan\":4111111111111111,\"n\":1e5}],\"path\":\"C:\\\\x\\/\",\"n\\u0061me\":\"Zo\u{eb} \u{1f600}\" }";
    let body =
        format!(r#"{{"n":1.10,"events":[{{"payload":{0} }},{{"payload":null}},{{"payload":{0}}}]}}"#, nested(text));
    assert_eq!(stage.post("/c/1", body.clone()).status, 200);
    let stored = stage.stored_text("/c/1");
    assert!(!stored.contains("123-45") && !stored.contains("411111"), "{stored}");
    assert_eq!(stored.matches(r#"\"sc1."#).count(), 4, "{stored}");
    // All but the sealed values leaves as it came.
    let parts: Vec<&str> = stored.split(r#"\""#).collect();
    let shown: Vec<&str> = parts.iter().copied().filter(|part| !part.starts_with("sc1.")).collect();
    let expected = body.replace(r#"\"123-45-6789\""#, r#"\"\""#).replace("4111111111111111", r#"\"\""#);
    let expected: Vec<&str> = expected.split(r#"\""#).filter(|part| !part.is_empty()).collect();
    assert_eq!(shown, expected);
    assert_eq!(stage.get("/c/1").text(), body);
}

#[test]
fn a_body_that_comes_in_pieces_is_the_same() {
    let stage = stage("");
    let one = |n: usize| format!(r#"{{"payload":{}}}"#, nested(&format!(r#"{{"ssn":"canary \u00e9 {n}","x":[{n}]}}"#)));
    let body = format!("[{}]", (0..2_000).map(one).collect::<Vec<_>>().join(", "));
    assert_eq!(stage.post("/c/1", body.clone()).status, 200);
    let stored = stage.stored_text("/c/1");
    assert_eq!((stored.matches("sc1.").count(), stored.contains("canary")), (2_000, false));
    assert_eq!(stage.get("/c/1").text(), body);
    let json = [("content-type", "application/x-ndjson")];
    let lines = (0..500).map(one).collect::<Vec<_>>().join("\n");
    assert_eq!(stage.call("POST", "/c/2", &json, lines.clone()).status, 200);
    let stored = stage.stored_text("/c/2");
    assert_eq!((stored.matches("sc1.").count(), stored.lines().count()), (500, 500));
    stage.answer("/c/2", 200, &json, stored);
    assert_eq!(stage.get("/c/2").text(), lines);
}

#[test]
fn what_an_application_might_read_otherwise_is_refused() {
    let stage = stage("");
    for payload in [
        r#""{\"ssn\":\"123-45-6789\"} {}""#,
        r#""{\"ssn\":\"123-45-6789\"}\n{\"ssn\":\"123-45-6789\"}""#,
        r#""\ufeff{\"ssn\":\"123-45-6789\"}""#,
        r#""{'ssn':'123-45-6789'}""#,
        r#""{\"ssn\":\"123-45-6789\",}""#,
        r#""{\"a\":\"\ud83d\",\"ssn\":\"123-45-6789\"}""#,
        r#"{"ssn":"123-45-6789"}"#,
        r#"["{\"ssn\":\"123-45-6789\"}"]"#,
    ] {
        let reply = stage.post("/c/1", format!(r#"{{"payload":{payload}}}"#));
        assert_eq!(reply.status, 400, "{payload}: {}", reply.text());
        assert!(!reply.text().contains("123-45"), "{}", reply.text());
    }
    assert!(stage.nothing_stored());
    // Where the rule only opens, it passes.
    stage.put("/c/1", r#"{"payload":"{\"ssn\":"}"#);
    assert_eq!(stage.get("/c/1").text(), r#"{"payload":"{\"ssn\":"}"#);
    for payload in [
        r#""{\"s\u0073n\":\"123-45-6789\"}""#,
        r#""{\"s\\u0073n\":\"123-45-6789\"}""#,
        r#""\u007b\u0022ssn\u0022:\u0022123-45-6789\u0022}""#,
        r#""{\"ssn\":1,\"ssn\":\"123-45-6789\"}""#,
    ] {
        assert_eq!(stage.post("/c/1", format!(r#"{{"p\u0061yload":{payload}}}"#)).status, 200, "{payload}");
        assert!(!stage.stored_text("/c/1").contains("123-45"), "{payload}");
    }
}

#[test]
fn a_token_in_a_string_is_bound_to_its_record_there() {
    let stage = stage(", bind: \"@.id\"");
    let body =
        |id: u8| format!(r#"{{"id":9,"payload":{}}}"#, nested(&format!(r#"{{"id":{id},"ssn":"1","cards":[]}}"#)));
    assert_eq!(stage.post("/c/1", body(7)).status, 200);
    assert_eq!(stage.get("/c/1").text(), body(7));
    stage.put("/c/2", stage.stored_text("/c/1").replace("\\\"id\\\":7", "\\\"id\\\":8"));
    assert_eq!(stage.get("/c/2").status, 502);
    stage.put("/c/3", stage.stored_text("/c/1").replace("\"id\":9", "\"id\":10"));
    assert_eq!(stage.get("/c/3").status, 200, "what stands around the string is another document");
    assert_eq!(stage.post("/c/4", r#"{"id":1,"payload":"{\"ssn\":\"1\"}"}"#).status, 422);
}

#[test]
fn whoever_may_not_see_gets_the_tokens_as_they_are() {
    let rule = "rules:\n  - name: r\n    match: { path: /c/** }\n    protect: [{ fields: $.payload, parse: json, inside: $..ssn, reveal: mask(4) }]\n";
    let stage = Stage::new(rule);
    assert_eq!(stage.post("/c/1", r#"{"payload":"{\"ssn\":\"123-45-6789\",\"n\":\"\\\/\"}"}"#).status, 200);
    let masked = stage.get("/c/1").text();
    assert_eq!(masked, r#"{"payload":"{\"ssn\":\"*******6789\",\"n\":\"\\\/\"}"}"#);
    assert_eq!(stage.post("/c/2", masked).status, 422, "a mask that comes back is no value");
}
