//! `sidecloak report`: real processes of a fleet, asked over their admin sockets and probes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;
use sidecloak::proxy::settings::Address;

use super::cli::process::Running;
use super::cli::{Done, Place};
use super::support::{Client, Message, Next, Upstream, upstream};

type Rows = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// Keeps bodies by path.
fn application() -> (Upstream, Rows) {
    let rows = Rows::default();
    let kept = Arc::clone(&rows);
    let app = upstream(move |request, out| {
        let mut rows = kept.lock().unwrap();
        let path = request.first_line().split(' ').nth(1).unwrap_or_default().to_owned();
        if !request.first_line().starts_with("GET") {
            rows.insert(path.clone(), request.body.clone());
        }
        let body = rows.get(&path).cloned().unwrap_or_else(|| b"{}".to_vec());
        write!(out, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len())
            .unwrap();
        out.write_all(&body).unwrap();
        Next::KeepAlive
    });
    (app, rows)
}

fn rules(mode: &str, more: &str) -> String {
    format!(
        "rules:\n  - name: customers\n    mode: {mode}\n    match: {{ path: \"/customers/{{id}}\" }}\n    \
         protect: [{{ fields: [\"$..ssn\"], max_length: 255{more} }}]\n"
    )
}

struct Fleet {
    place: Place,
    _app: Upstream,
    rows: Rows,
    replicas: Vec<Option<Running>>,
}

impl Fleet {
    fn of(modes: &[&str]) -> Self {
        let (place, (app, rows)) = (Place::with_keyring(), application());
        place.write("sidecloak.yaml", "drain: { delay: 0s, deadline: 5s }\n");
        let mut fleet = Self { place, _app: app, rows, replicas: Vec::new() };
        for (n, mode) in modes.iter().enumerate() {
            fleet.place.write(&format!("rules-{n}.yaml"), rules(mode, ""));
            let replica = fleet.start(n);
            fleet.replicas.push(Some(replica));
        }
        fleet
    }

    fn start(&self, n: usize) -> Running {
        let Address::Tcp(app) = self._app.address else { panic!("a TCP upstream") };
        let (upstream, file, admin) = (format!("http://{app}"), format!("rules-{n}.yaml"), self.admin(n));
        Running::command(&self.place, &["run", "--upstream", &upstream, "--rules", &file, "--admin", &admin])
    }

    fn admin(&self, n: usize) -> String {
        format!("unix:{}", self.place.path(&format!("admin-{n}.sock")).display())
    }

    fn front(&self, n: usize) -> std::net::SocketAddr {
        self.replicas[n].as_ref().unwrap().front
    }

    /// Takes so many records through a replica, there and back.
    fn traffic(&self, n: usize, records: usize) {
        let mut client = Client::tcp(self.front(n));
        for record in 0..records {
            let (path, body) = (format!("/customers/{n}-{record}"), format!(r#"{{"ssn":"123-45-{record:04}"}}"#));
            let put = format!("PUT {path} HTTP/1.1\r\nHost: app.test\r\ncontent-type: application/json\r\n");
            assert_eq!(
                client.send(format!("{put}content-length: {}\r\n\r\n{body}", body.len())).receive().status(),
                200
            );
            assert_eq!(client.get(&path).text(), body, "whatever the mode");
        }
    }

    fn get(&self, n: usize, path: &str) -> Message {
        Client::tcp(self.front(n)).get(path)
    }

    /// Changes the mode of a replica while it runs.
    fn go(&self, n: usize, mode: &str) {
        self.rewrite(n, &rules(mode, ""));
        super::stage::eventually("the rules are in force", || self.told(n)["rules"][0]["fields"][0]["mode"] == mode);
    }

    fn rewrite(&self, n: usize, text: &str) {
        self.place.write(&format!("rules-{n}.yaml"), text);
    }

    fn told(&self, n: usize) -> Value {
        let socket = self.place.path(&format!("admin-{n}.sock"));
        serde_json::from_slice(&Client::unix(&socket).get("/rollout").body).unwrap()
    }

    /// Asks all replicas over their admin sockets.
    fn report(&self, args: &[&str]) -> Done {
        let admins: Vec<String> = (0..self.replicas.len()).map(|n| self.admin(n)).collect();
        let mut all = vec!["report", "--json", "--min-requests", "20"];
        if !args.contains(&"--window") {
            all.extend(["--window", "0s"]);
        }
        admins.iter().for_each(|admin| all.extend(["--admin", admin]));
        self.place.run(&[&all, args].concat())
    }

    /// Brings all to a mode, with traffic in it.
    fn all(&self, mode: &str) {
        (0..self.replicas.len()).for_each(|n| {
            self.go(n, mode);
            self.traffic(n, 12);
        });
    }
}

#[track_caller]
fn codes(done: &Done) -> Vec<String> {
    let json = done.json();
    let reasons = json["reasons"].as_array().unwrap();
    let mut codes: Vec<_> = reasons.iter().map(|reason| reason["code"].as_str().unwrap().to_owned()).collect();
    codes.dedup();
    codes
}

#[test]
fn a_fleet_goes_there_and_back_and_each_step_is_judged() {
    let fleet = Fleet::of(&["observe", "observe", "observe"]);
    assert_eq!(codes(&fleet.report(&[]).ends(1)), ["too-little-evidence", "never-matched"]);
    for (mode, next) in [("observe", "read"), ("read", "migrate"), ("migrate", "enforce")] {
        fleet.all(mode);
        let report = fleet.report(&[]).ends(0).json();
        assert_eq!((&report["safe"], &report["next"]), (&true.into(), &next.into()), "{report}");
        assert_eq!(report["rules"][0]["modes"][mode].as_array().unwrap().len(), 3, "{report}");
    }
    // What was stored before is read: plaintext, and the window begins anew.
    fleet.rows.lock().unwrap().insert("/customers/old".into(), br#"{"ssn":"1"}"#.to_vec());
    assert_eq!(fleet.get(1, "/customers/old").text(), r#"{"ssn":"1"}"#);
    let report = fleet.report(&["--window", "1h"]).ends(1);
    assert_eq!(codes(&report), ["plaintext", "too-early"], "{}", report.out);
    let plain = report.json()["reasons"][0].clone();
    assert_eq!((&plain["rule"], &plain["class"]), (&"customers".into(), &"ssn".into()));
    assert!(plain["help"].as_str().unwrap().contains("sidecloak rewrite"));

    fleet.all("enforce");
    let report = fleet.report(&[]).ends(0).json();
    assert_eq!((&report["safe"], &report["next"]), (&true.into(), &Value::Null));
    assert_eq!(fleet.get(1, "/customers/old").status(), 502);
    let back = ["--toward", "observe"];
    let report = fleet.report(&back).ends(0).json();
    assert_eq!((&report["next"], &report["rules"][0]["refused"]["plaintext"]), (&"migrate".into(), &1.into()));
    fleet.all("migrate");
    assert_eq!(fleet.report(&back).ends(0).json()["next"], "read");
    (0..3).for_each(|n| fleet.go(n, "read"));
    assert!(fleet.get(0, "/customers/0-0").text().contains("123-45"), "tokens open still");
    (0..3).for_each(|n| fleet.traffic(n, 12));
    assert_eq!(codes(&fleet.report(&[&back[..], &["--window", "1h"]].concat()).ends(1)), ["tokens-seen", "too-early"]);
    assert_eq!(fleet.report(&back).ends(0).json()["next"], "observe");
    fleet.all("observe");
    assert_eq!(fleet.report(&back).ends(0).json()["next"], Value::Null);
}

#[test]
fn replicas_that_disagree_or_do_not_answer_are_named() {
    let mut fleet = Fleet::of(&["read", "read"]);
    (0..2).for_each(|n| fleet.traffic(n, 20));
    fleet.report(&[]).ends(0);
    assert_eq!(codes(&fleet.report(&["--replicas", "3"]).ends(1)), ["too-few-replicas"]);

    // On the way: one step apart is a roll-out.
    fleet.go(1, "migrate");
    let report = fleet.report(&[]).ends(0).json();
    assert_eq!(report["rules"][0]["notes"][0]["code"], "under-way", "{report}");
    // Two are not.
    fleet.go(0, "observe");
    let report = fleet.report(&[]).ends(1);
    assert!(codes(&report).contains(&"modes-apart".into()), "{}", report.out);
    assert_eq!(report.json()["rules"][0]["modes"]["migrate"][0], fleet.admin(1));

    // Another rule of the same name.
    fleet.go(0, "migrate");
    fleet.traffic(0, 20);
    fleet.rewrite(1, &rules("migrate", ", deterministic: true"));
    super::stage::eventually("they differ", || {
        fleet.told(0)["rules"][0]["fingerprint"] != fleet.told(1)["rules"][0]["fingerprint"]
    });
    fleet.traffic(1, 20);
    assert_eq!(codes(&fleet.report(&[]).ends(1)), ["rules-differ"]);
    // Rules that one refuses: it goes on with those it has.
    fleet.rewrite(1, &rules("migrate", ""));
    super::stage::eventually("they agree", || {
        fleet.told(0)["rules"][0]["fingerprint"] == fleet.told(1)["rules"][0]["fingerprint"]
    });
    fleet.traffic(1, 20);
    fleet.report(&[]).ends(0);
    fleet.rewrite(1, "rules:\n  - nam: x\n");
    super::stage::eventually("refused", || fleet.told(1)["reload_failed"] == true);
    let failed = fleet.report(&[]).ends(1);
    assert_eq!(codes(&failed), ["reload-failed"]);
    assert!(failed.json()["reasons"][0]["message"].as_str().unwrap().contains("admin-1.sock"));
    fleet.report(&["--accept", "reload-failed"]).ends(0);
    // Without the rule.
    fleet.rewrite(1, "rules: [{ name: other, match: { path: /x }, action: pass }]\n");
    super::stage::eventually("without", || fleet.told(1)["rules"].as_array().unwrap().is_empty());
    assert_eq!(codes(&fleet.report(&[]).ends(1)), ["missing-rule"]);

    let gone = fleet.replicas[1].take().unwrap();
    gone.signal(Signal::TERM);
    gone.end();
    let report = fleet.report(&[]).ends(1).json();
    assert_eq!((&report["reasons"][0]["code"], &report["safe"]), (&"unreachable".into(), &false.into()));
    assert_eq!(report["replicas"][1]["address"], fleet.admin(1));
    assert!(report["replicas"][1]["error"].is_string() && report["replicas"][0]["error"].is_null());
}

#[test]
fn probes_files_and_tables_tell_the_same() {
    let fleet = Fleet::of(&["observe"]);
    fleet.traffic(0, 25);
    let place = &fleet.place;
    let probe = fleet.replicas[0].as_ref().unwrap().probe.to_string();
    let least = ["report", "--min-requests", "20"];
    let by_probe = place.run(&[&least[..], &["--json", "--probe", &probe]].concat()).ends(0).json();
    assert_eq!(by_probe["rules"][0]["classes"][0]["plaintext"], 25);
    let told = fleet.told(0);
    assert_eq!(told["rules"][0]["fields"][0]["selector"], "$..ssn");
    let open: Value = serde_json::from_slice(&Client::tcp(probe.parse().unwrap()).get("/rollout").body).unwrap();
    assert!(open["rules"][0]["fields"][0].get("selector").is_none(), "anybody may ask the probe");

    place.write("saved.json", told.to_string());
    let saved = place.run(&[&least[..], &["--json", "--from", "saved.json"]].concat()).ends(0).json();
    assert_eq!(saved["rules"], {
        let admin = fleet.report(&[]).ends(0).json();
        let mut rules = admin["rules"].clone();
        rules[0]["modes"]["observe"][0] = "saved.json".into();
        rules[0]["seconds"] = saved["rules"][0]["seconds"].clone();
        rules
    });
    // One process by two ways counts once.
    let both = ["--json", "--replicas", "2", "--probe", &probe, "--from", "saved.json"];
    assert_eq!(codes(&place.run(&[&least[..], &both].concat()).ends(1)), ["too-few-replicas"]);

    let table = place.run(&[&least[..], &["--admin", &fleet.admin(0)]].concat()).ends(0);
    for part in
        ["customers (/customers/{id})  observe -> read: safe", "CLASS", "LONGEST", "255", "50 requests", "safe: read"]
    {
        assert!(table.out.contains(part), "{part} is not in\n{}", table.out);
    }
    let table = place.run(&["report", "--from", "saved.json"]).ends(1);
    assert!(table.out.contains("no: [too-little-evidence]") && table.out.contains("help: "), "{}", table.out);
    assert!(table.out.ends_with("not safe\n"), "{}", table.out);
    let all = format!("{}{}{told}{open}", table.out, place.run(&["report", "--json", "--from", "saved.json"]).out);
    assert!(!all.contains("123-45"), "no value");
}

#[test]
fn what_cannot_be_asked() {
    let place = Place::empty();
    place.run(&["report"]).ends(64).says("neither an admin interface nor a probe");
    place.run(&["report", "--admin", "nowhere"]).ends(64).says("no address");
    place.run(&["report", "--accept", "nothing"]).ends(64).says("type-change");
    place.run(&["report", "--from", "missing.json"]).ends(66);
    place.write("other.json", "{}");
    place.run(&["report", "--from", "other.json"]).ends(65).says("GET /rollout");
    let done = place.run(&["report", "--json", "--probe", "127.0.0.1:9", "--admin", "unix:/nowhere.sock"]).ends(1);
    assert_eq!(codes(&done), ["unreachable"]);
}
