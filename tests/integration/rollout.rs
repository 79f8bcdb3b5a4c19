//! What a roll-out is judged by, counted by a whole process: each mode, there and back.

use serde_json::Value;

use super::stage::{Stage, eventually};
use super::support::Client;

const ADMIN: &str = "probe: { bind: 127.0.0.1:0 }\n";

fn rules(mode: &str) -> String {
    format!(
        "rules:\n  - name: pii\n    mode: {mode}\n    match: {{ path: \"/c/{{id}}\" }}\n    protect:\n      \
         - {{ fields: [\"$..ssn\"], max_length: 200 }}\n      - {{ fields: [\"$..n\"] }}\n"
    )
}

/// What the process tells, without what its probe leaves out.
fn told(stage: &Stage) -> Value {
    let probe = stage.app().ports().probe.unwrap();
    serde_json::from_slice(&Client::tcp(probe).get("/rollout").body).unwrap()
}

fn field<'a>(told: &'a Value, class: &str, verb: &str) -> &'a Value {
    let fields = told["rules"][0]["fields"].as_array().unwrap();
    fields.iter().find(|field| field["class"] == class && field["verb"] == verb).unwrap()
}

fn go(stage: &Stage, mode: &str) {
    std::fs::write(stage.rules_path(), rules(mode)).unwrap();
    eventually("the mode is in force", || told(stage)["rules"][0]["fields"][0]["mode"] == mode);
}

/// Waits until the counts of the last exchange are there: those of an answer come with its end.
fn settled(stage: &Stage, requests: u64) -> Value {
    eventually("all are counted", || told(stage)["rules"][0]["requests"] == requests);
    told(stage)
}

#[test]
fn each_mode_counts_what_it_finds_and_begins_anew() {
    let stage = Stage::with(&rules("observe"), "", ADMIN);
    let long = "x".repeat(150);
    stage.post("/c/1", r#"{"ssn":"123-45-6789","n":[7,true,"seven",null]}"#);
    stage.post("/c/2", format!(r#"{{"ssn":"{long}"}}"#));
    stage.post("/c/3", r#"{"other":1}"#);
    let now = settled(&stage, 3);
    let ssn = field(&now, "ssn", "seal");
    for (key, count) in [("bodies", 2), ("absent", 1), ("matched", 2)] {
        assert_eq!(ssn[key], count, "{key} of {ssn}");
    }
    assert_eq!((&ssn["events"]["plaintext"], &ssn["events"]["unfit"]), (&1.into(), &1.into()));
    assert_eq!((&ssn["max_length"], &ssn["refuses_tokens"]), (&200.into(), &true.into()));
    let n = field(&now, "n", "seal");
    assert_eq!(n["types"], serde_json::json!({ "array": 1 }), "the outermost value is the one that is sealed");
    // The application echoes, so answers hold the same.
    assert_eq!(field(&now, "ssn", "open")["events"]["plaintext"], 2);
    assert!(field(&now, "ssn", "open")["token_length"].is_null());
    assert!(now["rules"][0]["added_latency_us"]["p99"].as_u64().unwrap() > 0, "{now}");

    go(&stage, "read");
    assert_eq!(
        (&told(&stage)["rules"][0]["requests"], &field(&told(&stage), "ssn", "seal")["matched"]),
        (&0.into(), &0.into())
    );
    stage.post("/c/1", r#"{"ssn":"123-45-6789"}"#);
    let read = settled(&stage, 1);
    let open = field(&read, "ssn", "open");
    assert_eq!((&open["events"]["plaintext"], &open["since_unwanted"]), (&1.into(), &1.into()));
    assert!(open["last_unwanted"].is_null(), "no token yet");

    go(&stage, "migrate");
    stage.put("/c/old", r#"{"ssn":"old"}"#);
    stage.post("/c/1", r#"{"ssn":"123-45-6789"}"#);
    stage.get("/c/old");
    let migrate = settled(&stage, 2);
    assert_eq!(field(&migrate, "ssn", "seal")["events"], serde_json::json!({ "sealed": 1 }));
    let open = field(&migrate, "ssn", "open");
    assert_eq!((&open["events"]["opened"], &open["events"]["plaintext"]), (&1.into(), &1.into()));
    assert_eq!(open["since_unwanted"], 0);
    assert!(open["last_unwanted"].is_u64());
    stage.get("/c/1");
    assert_eq!(field(&settled(&stage, 3), "ssn", "open")["since_unwanted"], 1);

    go(&stage, "enforce");
    assert_eq!(stage.get("/c/old").status, 502);
    let enforce = settled(&stage, 1);
    assert_eq!(enforce["rules"][0]["refused"], serde_json::json!({ "plaintext": 1 }));
    assert!(enforce["rules"][0]["last_refused"].is_u64());

    // Back: tokens are what must end now.
    go(&stage, "read");
    stage.get("/c/1");
    let open = field(&settled(&stage, 1), "ssn", "open").clone();
    assert_eq!((&open["events"]["opened"], &open["since_unwanted"]), (&1.into(), &0.into()));
    go(&stage, "observe");
    stage.get("/c/1");
    assert_eq!(field(&settled(&stage, 1), "ssn", "open")["events"], serde_json::json!({ "already-sealed": 1 }));
}

#[test]
fn the_forecast_is_what_tokens_will_have() {
    let stage = Stage::with(&rules("observe"), "", ADMIN);
    let bodies: Vec<String> = (1..=100)
        .map(|n| format!(r#"{{"ssn":"{}","n":{}}}"#, "9".repeat(n * 9 / 10), 10u64.pow((n % 15) as u32)))
        .collect();
    let send = || bodies.iter().enumerate().for_each(|(n, body)| drop(stage.post(&format!("/c/{n}"), body.clone())));
    send();
    let observed = settled(&stage, 100);
    go(&stage, "migrate");
    send();
    let real = settled(&stage, 100);
    for class in ["ssn", "n"] {
        let mut lengths: Vec<u64> = Vec::new();
        for n in 0..100 {
            let stored: Value = serde_json::from_slice(&stage.stored(&format!("/c/{n}"))).unwrap();
            lengths.push(stored[class].as_str().unwrap().len() as u64);
        }
        lengths.sort_unstable();
        let told = &field(&observed, class, "seal")["token_length"];
        assert_eq!(told, &field(&real, class, "seal")["token_length"], "forecast and made, {class}");
        assert_eq!(told["max"], lengths[99]);
        for (key, at) in [("p50", 49), ("p95", 94), ("p99", 98)] {
            let (forecast, exact) = (told[key].as_u64().unwrap(), lengths[at]);
            assert!(forecast >= exact && forecast <= exact + exact / 32, "{class} {key}: {forecast} for {exact}");
        }
    }
    assert_eq!(field(&observed, "n", "seal")["types"], serde_json::json!({ "number": 100 }));
    assert_eq!(field(&real, "n", "seal")["types"], serde_json::json!({ "number": 100 }));
}

#[test]
fn a_deterministic_value_is_forecast_as_it_is_sealed() {
    let rules = |mode: &str| {
        format!(
            "rules:\n  - name: pii\n    mode: {mode}\n    match: {{ path: /c/** }}\n    protect: [{{ fields: [$.ssn], deterministic: true }}]\n"
        )
    };
    let stage = Stage::with(&rules("observe"), "", ADMIN);
    let body = format!(r#"{{"ssn":"{}"}}"#, "\\u0041".repeat(40));
    stage.post("/c/1", body.clone());
    let forecast = settled(&stage, 1);
    std::fs::write(stage.rules_path(), rules("enforce")).unwrap();
    eventually("in force", || told(&stage)["rules"][0]["fields"][0]["mode"] == "enforce");
    stage.post("/c/1", body);
    let real = settled(&stage, 1);
    assert_eq!(field(&forecast, "ssn", "seal")["token_length"], field(&real, "ssn", "seal")["token_length"]);
}

#[test]
fn a_reload_that_leaves_a_rule_alone_leaves_its_counts_alone() {
    let stage = Stage::with(&rules("observe"), "", ADMIN);
    stage.post("/c/1", r#"{"ssn":"1"}"#);
    let before = settled(&stage, 1)["rules"][0].clone();
    let other = "  - { name: other, match: { path: /o }, protect: [{ fields: [$.x] }] }\n";
    std::fs::write(stage.rules_path(), rules("observe") + other).unwrap();
    eventually("in force", || told(&stage)["rules"][1]["name"] == "other");
    assert_eq!(told(&stage)["rules"][0], before);
    stage.post("/c/1", r#"{"ssn":"1"}"#);
    assert_eq!(field(&settled(&stage, 2), "ssn", "seal")["matched"], 2);
}

#[test]
fn messages_that_a_rule_cannot_read_are_counted_by_direction() {
    let stage = Stage::with(&rules("observe"), "", ADMIN);
    stage.call("POST", "/c/1", &[("content-type", "text/plain")], "{}");
    stage.call("POST", "/c/2", &[("content-type", "application/json")], "{");
    stage.call("POST", "/c/3", &[("content-type", "application/x-ndjson")], "{\"ssn\":\"1\"}\n{]\n{\"ssn\":\"2\"}\n");
    stage.answer("/c/page", 200, &[("content-type", "text/html")], "<p>");
    stage.get("/c/page");
    let rule = settled(&stage, 4)["rules"][0].clone();
    assert_eq!(rule["unread_requests"], serde_json::json!({ "invalid-json": 2, "media-type": 1 }));
    assert_eq!(rule["unread_responses"]["media-type"], 1, "{rule}");
}

#[test]
fn the_counts_are_metrics_too() {
    let stage = Stage::with(&rules("observe"), "", ADMIN);
    stage.post("/c/1", r#"{"ssn":"123-45-6789","n":7}"#);
    settled(&stage, 1);
    let metrics = stage.app().shared().metrics.render();
    for line in [
        r#"sidecloak_rollout_fields_total{rule="pii",class="ssn",direction="request",mode="observe",event="matched"} 1"#,
        r#"sidecloak_rollout_fields_total{rule="pii",class="ssn",direction="request",mode="observe",event="plaintext"} 1"#,
        r#"sidecloak_rollout_types_total{rule="pii",class="n",direction="request",mode="observe",type="number"} 1"#,
        r#"sidecloak_rollout_token_length_characters_bucket{le="95.0",rule="pii",class="ssn",direction="request",mode="observe"} 1"#,
        r#"sidecloak_rule_info{rule="pii",mode="observe"} 1"#,
        r#"sidecloak_rule_added_latency_seconds_count{rule="pii"} 1"#,
        r#"sidecloak_rule_last_matched_timestamp_seconds{rule="pii",class="ssn"} 1"#,
        r#"sidecloak_rule_since_timestamp_seconds{rule="pii"} 1"#,
        r#"sidecloak_fields_total{rule="pii",class="ssn",event="matched"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    go(&stage, "read");
    let metrics = stage.app().shared().metrics.render();
    assert!(!metrics.contains(r#"mode="observe""#), "what was counted in another mode is told no more");
    assert!(metrics.contains(r#"sidecloak_fields_total{rule="pii",class="ssn",event="matched"} 2"#), "but here");
}

#[test]
fn exchanges_of_no_rule_are_charged_with_nothing() {
    let stage = Stage::with(&rules("enforce"), "", ADMIN);
    stage.get("/elsewhere");
    stage.post("/c/1", r#"{"ssn":"1"}"#);
    assert_eq!(settled(&stage, 1)["rules"][0]["added_latency_us"]["count"], 1);
}
