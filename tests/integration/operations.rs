//! What an operator sees of a running process: probe, metrics, admin socket.

use bytes::Bytes;

use super::stage::{Stage, call};

const RULES: &str =
    "rules:\n  - name: pii\n    match: { path: \"/c/{id}\" }\n    protect: [{ fields: [\"$..ssn\", \"$..never\"] }]\n";

fn get(to: std::net::SocketAddr, path: &str) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reply = runtime.block_on(call(to, "GET", path, &[], Bytes::new()));
    (reply.status, reply.text())
}

#[test]
fn metrics_count_what_happened_to_each_field() {
    let stage = Stage::with(RULES, "", "probe: { bind: 127.0.0.1:0 }\n");
    let probe = stage.app().ports().probe.unwrap();
    assert_eq!(get(probe, "/livez").0, 200);
    let (status, body) = get(probe, "/readyz");
    assert_eq!(status, 200, "{body}");
    assert_eq!(get(probe, "/rules").0, 404, "the probe has nothing else");

    stage.post("/c/1", r#"{"ssn":"1"}"#); // the application echoes it, so it is opened as well
    stage.get("/c/1");
    stage.put("/c/2", r#"{"ssn":"plain"}"#);
    assert_eq!(stage.get("/c/2").status, 502);
    stage.post("/c/3", r#"{"ssn":"sc1.x"}"#);
    let (_, metrics) = get(probe, "/metrics");
    for line in [
        "sidecloak_fields_total{rule=\"pii\",class=\"ssn\",event=\"sealed\"} 1",
        "sidecloak_fields_total{rule=\"pii\",class=\"ssn\",event=\"opened\"} 2",
        "sidecloak_fields_total{rule=\"pii\",class=\"never\",event=\"absent\"} 3",
        "rule=\"pii\",reason=\"plaintext\"} 1",
        "rule=\"pii\",reason=\"token\"} 1",
        "sidecloak_keyring_alarms_total 0",
        "sidecloak_cache_field_keys_hits_total",
        "sidecloak_epoch_age_seconds",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains("/c/1"), "never a raw path");
}

#[test]
fn every_metric_profiles_metrics_included_stands_in_the_docs() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let table = docs.split_once("## Metrics").unwrap().1.split_once("\n## ").unwrap().0;
    // `a_{b,c}_{d,e}_total` stands for four.
    let mut told: Vec<String> = table.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    while let Some(at) = told.iter().position(|name| name.contains('{')) {
        let name = told.swap_remove(at);
        let (before, rest) = name.split_once('{').unwrap();
        let Some((words, after)) = rest.split_once('}') else { continue };
        told.extend(words.split(',').map(|word| format!("{before}{word}{after}")));
    }
    let stage = Stage::new(RULES);
    let metrics = &stage.app().shared().metrics;
    metrics.managed("partner");
    let text = metrics.render();
    let names: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE sidecloak_")).collect();
    assert!(names.len() > 30, "{names:?}");
    for line in names {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        assert!(told.contains(&name), "{name} is not in docs/operations.md");
    }
}

#[test]
fn a_bad_edit_shows_in_the_readiness_body_and_keeps_the_process_ready() {
    let stage = Stage::with(RULES, "", "probe: { bind: 127.0.0.1:0 }\n");
    let probe = stage.app().ports().probe.unwrap();
    std::fs::write(stage.rules_path(), "rules:\n  - nam: x\n").unwrap();
    super::stage::eventually("the bad edit shows", || get(probe, "/readyz").1.contains("\"last_reload\":\"failed\""));
    assert_eq!(get(probe, "/readyz").0, 200, "the running rules are good");
}
