//! What a rule does not select leaves exactly as it came; what it does select comes back exactly as it was.

use super::stage::Stage;

const RULES: &str =
    "rules:\n  - name: r\n    match: { path: \"/**\" }\n    protect:\n      - fields: [\"$..secret\"]\n";

/// Everything that a parser which prints again would change.
const ODD: &str = concat!(
    " {\n\t\"z\" : 1e5,\r\n \"a\":1E+2 ,\"big\":100000000000000000000, \"f\":0.1000,\"m\":-0,\"s\":\"\\u00e9\\/\\ud83d\\ude00\",",
    "\"dup\":1,\"dup\":2,\"empty\":[ ],\"o\":{ },\"deep\":[[[{\"secret\":\"x\\u00e9\\/\\n\",\"k\":null}]]],\"t\":true }\n"
);

#[test]
fn untouched_bytes_are_identical() {
    let stage = Stage::new(RULES);
    stage.post("/a", ODD);
    let stored = stage.stored_text("/a");
    let (head, tail) = ODD.split_once("\"x\\u00e9\\/\\n\"").unwrap();
    assert!(stored.starts_with(head) && stored.ends_with(tail), "{stored}");
    assert!(stored[head.len()..].starts_with("\"sc1."));
    assert_eq!(stage.get("/a").text(), ODD);
}

#[test]
fn sealed_values_of_every_kind_come_back_identical() {
    let stage = Stage::new(RULES);
    for value in [
        "1e5",
        "1E+2",
        "100000000000000000000",
        "0.1000",
        "-0",
        "\"\"",
        "\"\\u00e9\"",
        "\"\\/\"",
        "\"\\ud800\"",
        "\"ü😀\"",
        "true",
        "false",
        "[]",
        "[1, 2 ]",
        "{\"b\":1,\"a\":{\"secret\":2}, \"a\":3}",
        "\"sc2.no token\"",
        "12345678901234567890.10",
    ] {
        let body = format!("{{\"secret\": {value} ,\"x\":{value}}}");
        let reply = stage.post("/v", body.clone());
        assert_eq!((reply.status, reply.text()), (200, body.clone()), "{value}");
        let stored = stage.stored_text("/v");
        assert!(stored.starts_with("{\"secret\": \"sc1.") && stored.contains(" ,\"x\":"), "{stored}");
        assert_eq!(stage.get("/v").text(), body);
    }
}

#[test]
fn null_is_absence_and_stays() {
    let stage = Stage::new(RULES);
    stage.post("/n", "{\"secret\":null}");
    assert_eq!(stage.stored_text("/n"), "{\"secret\":null}");
}

#[test]
fn escaped_and_duplicate_names_are_matched() {
    let stage = Stage::new(RULES);
    stage.post(
        "/e",
        r#"{"s\u0065cret":"canary-1","secret":"canary-2","\u0073\u0065\u0063\u0072\u0065\u0074":{"x":"canary-3"}}"#,
    );
    let stored = stage.stored_text("/e");
    assert!(!stored.contains("canary") && stored.matches("sc1.").count() == 3, "{stored}");
    assert!(stored.contains(r#""s\u0065cret":"#), "the names themselves stay as they were: {stored}");
}

#[test]
fn what_no_rule_matches_passes_byte_for_byte() {
    let stage =
        Stage::new("rules:\n  - name: r\n    match: { path: /only }\n    protect: [{ fields: [\"$..secret\"] }]\n");
    let body: Vec<u8> = (0..=255u8).cycle().take(200_000).collect();
    stage.call("POST", "/other", &[("content-type", "application/octet-stream")], body.clone());
    assert_eq!(stage.stored("/other"), body);
}

#[test]
fn large_bodies_stream_and_come_back() {
    let stage = Stage::new(RULES);
    let row = r#"{"secret":"4111111111111111","n":1.10,"pad":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#;
    let body = format!("[{}]", vec![row; 20_000].join(",\n "));
    let reply = stage.post("/big", body.clone());
    assert_eq!(reply.status, 200);
    assert!(!reply.cut && reply.text() == body);
    let stored = stage.stored_text("/big");
    assert_eq!(stored.matches("sc1.").count(), 20_000);
    assert!(!stored.contains("4111111111111111"));
    assert!(stage.stored_headers("/big").get("content-length").is_none(), "streamed");
}

#[test]
fn sizes_are_as_documented() {
    let rules = "rules:\n  - name: r\n    match: { path: \"/**\" }\n    protect:\n      - fields: [\"$..one\"]\n      - fields: [\"$..two\"]\n        suite: 2\n      - fields: [\"$..three\"]\n        deterministic: true\n";
    let stage = Stage::new(rules);
    let card = "4111111111111111";
    stage.post("/s", format!(r#"{{"one":"{card}","two":"{card}","three":"{card}"}}"#));
    let stored: serde_json::Value = serde_json::from_slice(&stage.stored("/s")).unwrap();
    let length = |name: &str| stored[name].as_str().unwrap().len();
    assert_eq!([length("one"), length("two"), length("three")], [96, 80, 64]);

    let list = format!("[{}]", vec![format!(r#"{{"one":"{card}"}}"#); 300].join(","));
    stage.post("/l", list);
    assert!(stage.stored("/l").len() < 32 * 1024, "{}", stage.stored("/l").len());
}
