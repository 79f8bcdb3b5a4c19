//! Planted values are in no log line of any level, no metric, no error, no trace.

use std::io;
use std::sync::{Arc, Mutex, Once, PoisonError};

use sidecloak::telemetry::{Format, subscriber};
use tracing_subscriber::filter::LevelFilter;

use super::stage::Stage;

/// Everything this binary logs, at every level, from every crate.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() -> Log {
    static START: Once = Once::new();
    static LOG: Mutex<Option<Log>> = Mutex::new(None);
    START.call_once(|| {
        let log = Log::default();
        // As the process itself sets it up, at its most talkative.
        let writer = log.clone();
        let subscriber = subscriber(LevelFilter::TRACE, Format::Text, move || writer.clone());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        *LOG.lock().unwrap() = Some(log);
    });
    LOG.lock().unwrap().clone().unwrap()
}

#[test]
fn planted_values_are_in_no_log_metric_or_error() {
    let log = log();
    let rules = r#"rules:
  - name: r
    match: { path: "/c/{canary}/**" }
    provision: true
    protect:
      - fields: ["$..ssn"]
        key: "t-{canary}"
        max_length: 200
"#;
    let stage = Stage::new(rules);
    let mut answers = String::new();
    let canaries =
        ["CANARYVALUE", "CANARYPATH", "CANARYQUERY", "CANARYHEADER", "CANARYNAME", "CANARYREFERER", "CANARYCOOKIE"];
    let bodies = [
        r#"{"ssn":"CANARYVALUE"}"#.to_owned(),
        r#"{"ssn":"CANARYVALUE""#.to_owned(),
        r#"{"CANARYNAME":{"ssn":["CANARYVALUE",{"ssn":1}]}}"#.to_owned(),
        r#"{"ssn":"sc1.CANARYVALUE.CANARYVALUE"}"#.to_owned(),
        format!(r#"{{"ssn":"{}"}}"#, "CANARYVALUE".repeat(100)),
        "CANARYVALUE".to_owned(),
        format!("{}CANARYVALUE", "[".repeat(1_000)),
    ];
    let headers = [
        ("content-type", "application/json"),
        ("x-secret", "CANARYHEADER"),
        ("authorization", "Bearer CANARYHEADER"),
        ("referer", "http://x/CANARYREFERER"),
        ("cookie", "a=CANARYCOOKIE"),
    ];
    for body in bodies {
        for path in ["/c/CANARYPATH/1?q=CANARYQUERY", "/c/%2543ANARYPATH/CANARYPATH?CANARYQUERY"] {
            let reply = stage.call("POST", path, &headers, body.clone());
            if reply.status >= 400 {
                answers.push_str(&reply.text());
                answers.push_str(&format!("{:?}", reply.headers));
            }
        }
    }
    stage.put("/c/x/1", r#"{"ssn":"sc1.CANARYVALUE.CANARYVALUE"}"#);
    answers.push_str(&stage.get("/c/x/1?CANARYQUERY").text());
    stage.put("/c/x/1", r#"{"ssn":"CANARYVALUE"}"#);
    answers.push_str(&stage.get("/c/x/1").text());
    let metrics = stage.app().shared().metrics.render();
    std::fs::write(stage.rules_path(), "rules: [ CANARYNAME").unwrap();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    stage.call("GET", "/c/x/1", &[("traceparent", traceparent)], "");
    drop(stage);

    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("/c/{canary}/**"), "the route's pattern is logged:\n{logged}");
    for canary in canaries {
        // The broken rule file is the operator's own text and may be quoted back.
        let place = logged
            .lines()
            .find(|line| line.contains(canary) && !line.contains("rules.yaml") && !line.contains("rules: ["));
        assert!(place.is_none(), "{canary} is logged: {place:?}");
        assert!(!metrics.contains(canary), "{canary} is in a metric");
        assert!(!answers.contains(canary), "{canary} is in an error:\n{answers}");
    }
}
