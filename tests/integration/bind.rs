//! Values bound to their records: a token that is copied into another record does not open there.

use super::stage::Stage;

fn rule(bind: &str, more: &str) -> String {
    format!(
        "rules:\n  - name: r\n    match: {{ path: \"/c/{{id}}\" }}\n    protect: [{{ fields: [\"$..ssn\"], bind: \"{bind}\"{more} }}]\n"
    )
}

/// The text of the first token in a stored body.
fn token(stored: &str) -> &str {
    let from = stored.find("sc1.").unwrap();
    stored[from..].split('"').next().unwrap()
}

#[test]
fn a_token_opens_in_its_own_record_alone() {
    for (before, after) in [(r#""id":7,"#, ""), ("", r#","\u0069d" : 7"#)] {
        let stage = Stage::new(&rule("@.id", ""));
        let body = format!(r#"{{"list":[{{{before}"ssn":"123-45-6789"{after}}}],"x":1e5}}"#);
        assert_eq!(stage.post("/c/7", body.clone()).status, 200);
        let stored = stage.stored_text("/c/7");
        assert_eq!(stage.get("/c/7").text(), body, "sibling before or after");
        let others = [
            ("8", 502, false),
            ("\"7\"", 200, true),
            ("7.0", 502, false),
            ("null", 502, false),
            // Unreadable, and an answer that only opens passes unread.
            ("7,\"id\":7", 200, false),
        ];
        for (other, status, opens) in others {
            stage.put("/c/8", format!(r#"{{"id":{other},"ssn":"{}"}}"#, token(&stored)));
            let reply = stage.get("/c/8");
            assert_eq!(reply.status, status, "{other}: {}", reply.text());
            assert_eq!(reply.text().contains("123-45"), opens, "{other}");
        }
    }
}

#[test]
fn what_there_is_nothing_to_bind_to_is_refused() {
    let stage = Stage::new(&rule("@.id", ""));
    for body in [
        r#"{"ssn":"1"}"#,
        r#"{"ssn":"1","id":""}"#,
        r#"{"ssn":"1","id":null}"#,
        r#"{"ssn":"1","id":{"id":1}}"#,
        r#"{"ssn":"1","id":1,"id":1}"#,
        r#"{"id":1,"inner":{"ssn":"1"}}"#,
    ] {
        assert_eq!(stage.post("/c/1", body).status, 422, "{body}");
    }
    assert!(stage.nothing_stored());
}

#[test]
fn the_document_or_the_path_may_name_the_record() {
    let stage = Stage::new(&rule("$.customer.id", ""));
    let body = r#"{"people":[{"ssn":"1"},{"ssn":"2"}],"customer":{"id":"c-7"}}"#;
    assert_eq!(stage.post("/c/1", body).status, 200);
    assert_eq!(stage.get("/c/1").text(), body);
    stage.put("/c/2", stage.stored_text("/c/1").replace("c-7", "c-8"));
    assert_eq!(stage.get("/c/2").status, 502);

    let stage = Stage::new(&rule("path:id", ""));
    assert_eq!(stage.post("/c/a%20b", r#"{"ssn":"1"}"#).status, 200);
    assert_eq!(stage.get("/c/a%20b").text(), r#"{"ssn":"1"}"#);
    stage.put("/c/2", stage.stored("/c/a%20b"));
    assert_eq!(stage.get("/c/2").status, 502);
}

#[test]
fn a_roll_out_reads_tokens_from_before() {
    let stage =
        Stage::new("rules:\n  - name: r\n    match: { path: \"/c/{id}\" }\n    protect: [{ fields: [\"$..ssn\"] }]\n");
    stage.post("/c/1", r#"{"ssn":"1","id":1}"#);
    for (more, status) in [(", mode: migrate", 200), ("", 502)] {
        std::fs::write(stage.rules_path(), rule("@.id", more)).unwrap();
        super::stage::eventually("reloaded", || stage.get("/c/1").status == status);
    }
    stage.post("/c/2", r#"{"ssn":"2","id":2}"#);
    assert_eq!(stage.get("/c/2").text(), r#"{"ssn":"2","id":2}"#);
}
