//! Bodies of several documents through the whole process.

use super::stage::Stage;

fn stage() -> Stage {
    Stage::new("rules:\n  - name: r\n    match: { path: \"/**\" }\n    protect: [{ fields: [\"$..ssn\"] }]\n")
}

#[test]
fn every_line_is_a_document() {
    let stage = stage();
    let lines: Vec<String> = (0..3_000).map(|n| format!(r#"{{"n":{n} ,"ssn":"canary {n}"}}"#)).collect();
    let body = lines.join("\n") + "\n\n";
    let json = [("content-type", "application/x-ndjson")];
    assert_eq!(stage.call("POST", "/1", &json, body.clone()).status, 200);
    let stored = stage.stored_text("/1");
    assert_eq!((stored.matches("sc1.").count(), stored.contains("canary")), (3_000, false));
    assert_eq!(stored.lines().count(), 3_001);
    stage.answer("/1", 200, &json, stored.clone());
    assert_eq!(stage.get("/1").text(), body, "to the byte");

    let broken = stage.call("POST", "/2", &json, "{\"ssn\":\"canary\"\n}\n");
    assert_eq!(broken.status, 400, "a line that is no document");
    let swapped = stored.lines().rev().collect::<Vec<_>>().join("\n");
    stage.answer("/3", 200, &json, swapped);
    assert!(stage.get("/3").text().starts_with("\n{\"n\":2999 ,\"ssn\":\"canary 2999\"}"));
}

#[test]
fn events_open_one_by_one() {
    let stage = stage();
    let kind = [("content-type", "text/event-stream")];
    assert_eq!(stage.call("POST", "/0", &kind, "data: {\"ssn\":\"canary\"}\n\n").status, 415, "events come as answers");
    assert!(stage.nothing_stored());
    stage.post("/1", r#"{"ssn":"canary"}"#);
    let sealed = stage.stored_text("/1");
    let body = |data: &str| {
        format!("event: made\ndata: {data}\n\n: beat\n\ndata: {{\"id\":1,\"ssn\":null}}\n\ndata: [DONE]\n\n")
    };
    stage.answer("/1", 200, &kind, body(&sealed));
    assert_eq!(stage.get("/1").text(), body(r#"{"ssn":"canary"}"#), "what is no JSON passes where a rule only opens");
}

#[test]
fn text_sequences_keep_their_separators() {
    let stage = stage();
    let kind = [("content-type", "application/json-seq")];
    let body = "\u{1e}{\"ssn\":\"1\"}\n\u{1e}{\n\"ssn\":2}\n";
    assert_eq!(stage.call("POST", "/1", &kind, body).status, 200);
    stage.answer("/1", 200, &kind, stage.stored("/1"));
    assert_eq!(stage.get("/1").text(), body);
}
