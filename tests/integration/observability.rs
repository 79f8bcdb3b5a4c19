//! `deploy/observability`: alerts and board, held to the metrics of a running process and to Prometheus's own tool.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::Value;
use sidecloak::proxy::settings::Address;

use super::cli::Place;
use super::cli::process::{Running, free_port};
use super::pki::Ca;
use super::support::{Client, echo};
use super::tools;

/// What Prometheus, or what scrapes for it, adds to every series.
const TARGET: [&str; 4] = ["namespace", "job", "instance", "le"];

fn folder() -> PathBuf {
    tools::repository().join("deploy/observability")
}

fn text(name: &str) -> String {
    String::from_utf8(tools::read(&folder().join(name))).unwrap()
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).unwrap()
}

/// Prometheus's tool, of Debian's package `prometheus`; without it the calling test says so.
fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
    let found = ["/usr/bin/promtool", "/usr/local/bin/promtool"].into_iter().find(|path| Path::new(path).exists());
    let Some(path) = found else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "promtool is missing: install the package `prometheus`");
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let line = format!("SKIPPED {name}: promtool is missing; install the package `prometheus`\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    let mut command = Command::new(path);
    command.args(args).current_dir(folder()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(said).unwrap()))
}

/// A process with rules in every mode, TLS, and traffic that all of it has to do with.
fn live() -> String {
    let (place, app) = (Place::with_keyring(), echo());
    let Address::Tcp(upstream) = app.address else { panic!("a TCP upstream") };
    Ca::new("place").server().write(&place.path("."), "tls");
    let (front, probe, secure) = (free_port(), free_port(), free_port());
    place.write(
        "sidecloak.yaml",
        format!(
            "listeners:\n  - {{ name: front, bind: \"{front}\", upstream: \"http://{upstream}\" }}\n  \
             - {{ name: secure, bind: \"{secure}\", upstream: \"http://{upstream}\", tls: {{ cert: tls.crt, key: tls.key }} }}\n\
             rules: rules.yaml\nprobe: {{ bind: \"{probe}\" }}\ndrain: {{ delay: 0s, deadline: 5s }}\n"
        ),
    );
    let rule = |mode: &str| {
        format!(
            "  - name: {mode}\n    mode: {mode}\n    match: {{ path: /{mode} }}\n    max_body: 1000\n    \
             protect: [{{ fields: [$.ssn, $.n, $.none], max_length: 99 }}]\n"
        )
    };
    place.write("rules.yaml", format!("rules:\n{}", ["observe", "read", "migrate", "enforce"].map(rule).concat()));
    let mut running = Running::configured(&place, &["run"], front, probe);
    running.eventually("ready", Running::is_ready);
    let post = |path: &str, kind: &str, body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: app.test\r\ncontent-type: {kind}\r\n");
        Client::tcp(front).send(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).receive().status()
    };
    for mode in ["observe", "read", "migrate", "enforce"] {
        assert_eq!(post(&format!("/{mode}"), "application/json", r#"{"ssn":"1","n":7}"#), 200);
    }
    assert_eq!(post("/observe", "application/json", &format!(r#"{{"ssn":"{}"}}"#, "1".repeat(90))), 200);
    assert_eq!(post("/observe", "text/html", "<p>"), 200);
    assert_eq!(post("/enforce", "application/json", r#"{"ssn":"sc1.x"}"#), 422);
    assert_eq!(post("/enforce", "application/json", &" ".repeat(2_000)), 413);
    let metrics = Client::tcp(probe).get("/metrics").text();
    assert!(metrics.ends_with("# EOF\n"));
    metrics
}

/// The labels of each metric.
type Known = BTreeMap<String, BTreeSet<String>>;

fn known(metrics: &str) -> Known {
    let line = Regex::new(r"^([a-z_]+)(?:\{(.*)\})? ").unwrap();
    let label = Regex::new(r#"([a-z_]+)="(?:[^"\\]|\\.)*""#).unwrap();
    let mut known = Known::new();
    for found in metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|text| line.captures(text)) {
        let labels = known.entry(found[1].to_owned()).or_default();
        let told = found.get(2).map_or("", |labels| labels.as_str());
        labels.extend(label.captures_iter(told).map(|label| label[1].to_owned()));
    }
    // Those of profiles are there where there are profiles; their table is what other tests hold to.
    let docs = String::from_utf8(tools::read(&tools::repository().join("docs/operations.md"))).unwrap();
    let quoted = Regex::new("`([a-z_{},]+)`").unwrap();
    for row in docs.lines().filter(|row| row.starts_with("| `managed_")) {
        let mut cells = row.split(" | ");
        let (names, labels) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        let labels: BTreeSet<String> = quoted.captures_iter(labels).map(|label| label[1].to_owned()).collect();
        for name in quoted.captures_iter(names) {
            for end in ["", "_bucket", "_count", "_sum"] {
                known.insert(format!("sidecloak_{}{end}", &name[1]), labels.clone());
            }
        }
    }
    known
}

/// What an expression asks for that no process tells.
fn unknown(expression: &str, known: &Known) -> Vec<String> {
    let metric = Regex::new(r"(sidecloak_[a-z0-9_]+)(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let grouped = Regex::new(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)").unwrap();
    let mut wrong = Vec::new();
    let mut all: BTreeSet<&str> = TARGET.into();
    for found in metric.captures_iter(expression) {
        let Some(labels) = known.get(&found[1]) else {
            wrong.push(format!("metric {}", &found[1]));
            continue;
        };
        all.extend(labels.iter().map(String::as_str));
        for label in matcher.captures_iter(found.get(2).map_or("", |labels| labels.as_str())) {
            if !labels.contains(&label[1]) && !TARGET.contains(&&label[1]) {
                wrong.push(format!("label {} of {}", &label[1], &found[1]));
            }
        }
    }
    for list in grouped.captures_iter(expression) {
        for label in list[1].split(',').map(str::trim).filter(|label| !label.is_empty() && !all.contains(label)) {
            wrong.push(format!("label {label}"));
        }
    }
    wrong
}

fn alerts(groups: &Value) -> Vec<&Value> {
    groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect()
}

#[test]
fn the_rules_are_what_prometheus_reads_and_the_operators_are_the_same() {
    let Some((good, said)) = promtool(&["check", "rules", "prometheus-rules.yaml"], "") else { return };
    assert!(good && said.contains("SUCCESS"), "{said}");
    let (plain, operator) = (yaml("prometheus-rules.yaml"), yaml("prometheusrule.yaml"));
    assert_eq!((&operator["kind"], &operator["spec"]["groups"]), (&"PrometheusRule".into(), &plain["groups"]));
    assert_eq!(alerts(&plain["groups"])[0]["alert"], "SidecloakRuleStoppedMatching", "the first one");
    for alert in alerts(&plain["groups"]) {
        let complete = ["summary", "description"].iter().all(|part| alert["annotations"][part].is_string());
        assert!(complete && alert["labels"]["severity"].is_string(), "{alert}");
    }
}

#[test]
fn each_alert_fires_when_it_must_and_only_then() {
    let tests = yaml("alerts_test.yaml");
    let checks = tests["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let mut seen: BTreeMap<&str, [bool; 2]> = BTreeMap::new();
    for check in checks {
        let fires = !check["exp_alerts"].as_array().unwrap().is_empty();
        seen.entry(check["alertname"].as_str().unwrap()).or_default()[usize::from(fires)] = true;
    }
    for alert in alerts(&yaml("prometheus-rules.yaml")["groups"]) {
        let name = alert["alert"].as_str().unwrap();
        assert_eq!(seen.get(name), Some(&[true, true]), "{name} is tested firing and not firing");
    }
    let Some((good, said)) = promtool(&["test", "rules", "alerts_test.yaml"], "") else { return };
    assert!(good, "{said}");
}

#[test]
fn alerts_and_board_ask_only_for_what_a_process_tells() {
    let known = known(&live());
    let board: Value = serde_json::from_str(&text("grafana.json")).unwrap();
    let mut expressions: Vec<String> = Vec::new();
    let rules = yaml("prometheus-rules.yaml");
    expressions.extend(alerts(&rules["groups"]).iter().map(|alert| alert["expr"].as_str().unwrap().to_owned()));
    let panels = board["panels"].as_array().unwrap();
    let rows: Vec<&str> =
        panels.iter().filter(|p| p["type"] == "row").map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(rows, ["Roll-out by rule", "Traffic and latency", "Refusals", "Keys", "Upstreams", "Resources"]);
    let label = Regex::new(r"\{\{([a-z_]+)\}\}").unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            for label in label.captures_iter(target["legendFormat"].as_str().unwrap()) {
                assert!(expression.contains(&label[1]) || TARGET.contains(&&label[1]), "{} in {panel}", &label[1]);
            }
            expressions.push(expression.to_owned());
        }
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        expressions.extend(variable["definition"].as_str().map(ToOwned::to_owned));
    }
    assert!(expressions.len() > 60, "{}", expressions.len());
    for expression in &expressions {
        assert_eq!(unknown(expression, &known), [""; 0], "in {expression}");
    }
    // Words of labels are those that the documents explain.
    let docs = String::from_utf8(tools::read(&tools::repository().join("docs/operations.md"))).unwrap();
    let value = Regex::new(r#"(?:event|reason|mode)=~?"([^"$]+)""#).unwrap();
    for word in expressions
        .iter()
        .flat_map(|text| value.captures_iter(text))
        .flat_map(|words| words[1].split('|').map(ToOwned::to_owned).collect::<Vec<_>>())
    {
        assert!(docs.contains(&format!("`{word}`")), "{word}");
    }
    // And the check finds what is wrong.
    for (wrong, what) in [
        ("sidecloak_nothing_total", "metric sidecloak_nothing_total"),
        (r#"sidecloak_rules{rule="a"}"#, "label rule of sidecloak_rules"),
        ("sum by (colour) (sidecloak_rules)", "label colour"),
        ("sum by (job) (rate(sidecloak_fields[5m]))", "metric sidecloak_fields"),
    ] {
        assert_eq!(unknown(wrong, &known), [what]);
    }
}

#[test]
fn prometheus_has_nothing_to_say_against_the_metrics() {
    let metrics = live();
    // The tool reads the older text format, in which a counter's name stands whole in its comments.
    let counters: BTreeSet<&str> =
        metrics.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let lines = metrics.lines().filter(|line| *line != "# EOF").map(|line| {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                format!("# {what} {name}_total {rest}\n")
            }
            _ => format!("{line}\n"),
        }
    });
    let Some((good, said)) = promtool(&["check", "metrics"], &lines.collect::<String>()) else { return };
    assert!(good && said.trim().is_empty(), "{said}");
}
