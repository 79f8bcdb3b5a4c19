//! Patches: JSON patch (RFC 6902) and merge patch (RFC 7396).

use super::stage::Stage;

const PATCH: [(&str, &str); 1] = [("content-type", "application/json-patch+json")];
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];

fn stage(item: &str) -> Stage {
    Stage::new(&format!("rules:\n  - name: r\n    match: {{ path: \"/c/**\" }}\n    protect: [{{ {item} }}]\n"))
}

#[test]
fn a_json_patch_seals_what_it_writes_at_selected_places() {
    let stage = stage(r#"fields: ["$..ssn", "$.cards[*].pan"]"#);
    let body = r#"[ {"op":"test","path":"/version","value":7},
      {"op":"replace","path":"/ssn","value":"123-45-6789"},
      {"op":"add","path":"/partner","value":{"ssn":"987-65-4321","name":"Zo\u00eb"}},
      {"path":"/cards/-","op":"add","value":{"pan":4111111111111111}},
      {"op":"move","from":"/ssn","path":"/old/ssn"}, {"op":"remove","path":"/note"} ]"#;
    assert_eq!(stage.call("PATCH", "/c/1", &PATCH, body).status, 200);
    let stored = stage.stored_text("/c/1");
    let plain = ["123-45-6789", "987-65-4321", "4111111111111111"];
    assert!(plain.iter().all(|value| !stored.contains(value)), "{stored}");
    assert_eq!(stored.matches("\"sc1.").count(), 3, "{stored}");
    // All but the sealed values leaves as it came, and a record in which they end up opens.
    let tokens: Vec<&str> = stored.split('"').filter(|text| text.starts_with("sc1.")).collect();
    let back = stored
        .replace(tokens[0], plain[0])
        .replace(tokens[1], plain[1])
        .replace(&format!("\"{}\"", tokens[2]), plain[2]);
    assert_eq!(back, body);
    stage.put("/c/1", format!(r#"{{"old":{{"ssn":"{}"}},"cards":[{{"pan":"{}"}}]}}"#, tokens[0], tokens[2]));
    assert_eq!(stage.get("/c/1").text(), r#"{"old":{"ssn":"123-45-6789"},"cards":[{"pan":4111111111111111}]}"#);
}

#[test]
fn a_patch_whose_effect_cannot_be_told_is_refused() {
    let stage = stage(r#"fields: ["$.ssn", "$.card", "$.list[?@.secret].value"]"#);
    for body in [
        r#"{"op":"add","path":"/ssn","value":"123-45-6789"}"#,
        r#"[{"op":"add","path":"/ssn","value":"123-45-6789","path":"/note"}]"#,
        r#"[{"op":"add","path":"ssn","value":"123-45-6789"}]"#,
        r#"[{"op":"test","path":"/ssn","value":"123-45-6789"}]"#,
        r#"[{"op":"copy","from":"/ssn","path":"/note"}]"#,
        r#"[{"op":"copy","from":"/ssn","path":"/card"}]"#,
        r#"[{"op":"move","from":"/note","path":"/ssn"}]"#,
        r#"[{"op":"replace","path":"/card/pan","value":"123-45-6789"}]"#,
        r#"[{"op":"add","path":"/list/0/value","value":"123-45-6789"}]"#,
        r#"[{"op":"add","path":"/note","value":"x","ssn":"123-45-6789"}]"#,
    ] {
        let reply = stage.call("PATCH", "/c/1", &PATCH, body);
        assert_eq!(reply.status, 422, "{body}: {}", reply.text());
        assert!(!reply.text().contains("123-45"), "{}", reply.text());
    }
    assert_eq!(stage.call("PATCH", "/c/1", &PATCH, "[{").status, 400);
    assert!(stage.nothing_stored());
}

#[test]
fn a_test_compares_with_a_deterministic_token() {
    let stage = stage(r#"fields: ["$.ssn"], deterministic: true"#);
    assert_eq!(stage.post("/c/1", r#"{"ssn":"123-45-6789"}"#).status, 200);
    let stored = stage.stored_text("/c/1");
    let token = stored.split('"').find(|text| text.starts_with("sc1.")).unwrap().to_owned();
    let body = r#"[{"op":"test","path":"/ssn","value":"123-45-6789"}]"#;
    assert_eq!(stage.call("PATCH", "/c/1", &PATCH, body).status, 200);
    assert_eq!(stage.stored_text("/c/1"), body.replace("123-45-6789", &token));
}

#[test]
fn what_is_bound_stays_in_its_place() {
    let stage = stage(r#"fields: ["$..ssn"], bind: "@.id""#);
    for body in [
        r#"[{"op":"move","from":"/a/ssn","path":"/b/ssn"}]"#,
        r#"[{"op":"replace","path":"/ssn","value":"123-45-6789"}]"#,
    ] {
        assert_eq!(stage.call("PATCH", "/c/1", &PATCH, body).status, 422, "{body}");
    }
    let body = r#"[{"op":"add","path":"/a","value":{"id":7,"ssn":"123-45-6789"}}]"#;
    assert_eq!(stage.call("PATCH", "/c/1", &PATCH, body).status, 200);
    assert!(!stage.stored_text("/c/1").contains("123-45"));
    let from_root = self::stage(r#"fields: ["$..ssn"], bind: "$.id""#);
    assert_eq!(from_root.call("PATCH", "/c/1", &PATCH, body).status, 422, "the value is not the document");
}

#[test]
fn in_a_merge_patch_null_removes() {
    let rule = "rules:\n  - name: r\n    match: { path: /c/** }\n    request: [{ seal: $..ssn, nulls: seal }]\n";
    let stage = Stage::new(rule);
    let body = r#"{ "ssn" : null, "partner": {"ssn": "123-45-6789"} }"#;
    assert_eq!(stage.call("PATCH", "/c/1", &MERGE, body).status, 200);
    let stored = stage.stored_text("/c/1");
    assert!(stored.contains(r#""ssn" : null"#) && !stored.contains("123-45"), "{stored}");
    assert_eq!(stage.post("/c/2", r#"{"ssn":null}"#).status, 200);
    assert!(stage.stored_text("/c/2").contains("sc1."), "elsewhere the rule has it sealed");
    let filtered = self::stage(r#"fields: ["$[?@.secret].value"]"#);
    let reply = filtered.call("PATCH", "/c/1", &MERGE, r#"{"a":{"value":"123-45-6789"}}"#);
    assert_eq!(reply.status, 422, "whether it is secret is not said in the patch: {}", reply.text());
    assert!(filtered.nothing_stored());
}
