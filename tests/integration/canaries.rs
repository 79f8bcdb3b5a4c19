//! Planted values are in no log line of any level, no metric, no error, no trace.

use super::log::log;
use super::stage::Stage;

#[test]
fn planted_values_are_in_no_log_metric_or_error() {
    let log = log();
    let rules = r#"rules:
  - name: r
    match: { path: "/c/{tenant}/**" }
    provision: true
    protect:
      - fields: ["$..ssn"]
        key: "t-{tenant}"
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

    let logged = log.text();
    assert!(logged.contains("/c/{tenant}/**"), "the route's pattern is logged:\n{logged}");
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
