//! The audit log of whole processes: what they write together, under load and when they are killed, and what `sidecloak audit`
//! says when somebody changed it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sidecloak::audit::line::{Content, Line};
use sidecloak::audit::verify::{Report, Verifier, each_line};
use sidecloak::audit::{Act, Audit, Use, line};
use sidecloak::authority::Caller;
use sidecloak::clock::SystemClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::directory::{Directory, Ends};
use sidecloak::keyring::store::StorePlace;
use sidecloak::keyring::{KeySource, Keyring, KeyringError, Options, Permissions};
use sidecloak::name::{Class, PartitionName};
use sidecloak::token::Suite;
use sidecloak::transform::SealJob;

use super::authority::Place as AuthorityPlace;
use super::cli::Place;
use super::cluster::Cluster;
use super::stage::Stage;

/// The lines of a keyring's log, which must be sound.
fn sound(keyring: &Keyring) -> (Vec<Line>, Report) {
    let mut verifier = Verifier::new(Some(keyring.owner_fingerprint()));
    let mut lines = Vec::new();
    each_line::<KeyringError>(keyring, |number, bytes| {
        lines.push(verifier.feed(Some(number), bytes).unwrap_or_else(|bad| panic!("{bad}")));
        Ok(())
    })
    .unwrap();
    (lines, verifier.finish().unwrap())
}

fn counted(lines: &[Line], caller: &str, partition: &str, class: &str, what: Use) -> u64 {
    let counts = lines.iter().filter_map(|line| match &line.content {
        Content::Counts { counts, .. } => Some(counts),
        _ => None,
    });
    let same = |of: &line::Of| of.caller == caller && of.partition == partition && of.class == class;
    counts.flatten().filter(|c| c.what == what && c.of.as_ref().is_some_and(same)).map(|c| c.n).sum()
}

#[test]
fn the_proxy_counts_every_value_and_holds_none() {
    let rules = r#"rules:
  - name: r
    match: { path: "/c/{tenant}/**" }
    provision: true
    protect:
      - fields: ["$..ssn"]
        key: "t-{tenant}"
      - fields: ["$.email"]
        deterministic: true
"#;
    let stage = Stage::new(rules);
    std::thread::scope(|scope| {
        for tenant in ["a", "b"] {
            let stage = &stage;
            scope.spawn(move || {
                for n in 0..25 {
                    let path = format!("/c/{tenant}/{n}");
                    let body = r#"{"ssn":"CANARYSSN","x":[{"ssn":"CANARYSSN"}],"email":"CANARYMAIL"}"#;
                    assert_eq!(stage.post(&path, body).status, 200);
                    assert!(stage.get(&path).text().contains("CANARYSSN"));
                }
            });
        }
    });
    let broken = stage.stored_text("/c/a/1").replace("sc1.", "sc1.A");
    stage.put("/c/a/1", broken);
    assert_ne!(stage.get("/c/a/1").status, 200);
    let Stage { app, dir, .. } = &mut { stage };
    app.take().unwrap().stop();

    let options = Options {
        store: dir.path().join("keyring.db").into(),
        master_keys: vec![KeySource::File(dir.path().join("master.key"))],
        i_know: true,
        ..Options::default()
    };
    let keyring = Keyring::open(&options, SystemClock::shared()).unwrap();
    let (lines, report) = sound(&keyring);
    // The plain answer to the POST is one that is opened, too: the application echoes nothing, so only GETs count.
    for (tenant, opened) in [("t-a", 50), ("t-b", 50)] {
        assert_eq!(counted(&lines, "default", tenant, "ssn", Use::Sealed), 50, "{tenant}");
        assert!(counted(&lines, "default", tenant, "ssn", Use::Opened) >= opened, "{tenant}");
    }
    assert_eq!(counted(&lines, "default", "default", "email", Use::Sealed), 50);
    assert_eq!(counted(&lines, "default", "t-b", "ssn", Use::Refused), 0);
    assert_eq!(report.signed_up_to, report.lines - 1, "signed when it stopped");
    each_line::<KeyringError>(&keyring, |_, bytes| {
        assert!(!String::from_utf8_lossy(bytes).contains("CANARY"));
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_vault_counts_as_the_role_says() {
    let place = AuthorityPlace::new(&["tenant"]);
    let (keyring, vault) = (&place.authority.keyring, &place.authority.vault);
    let partition = PartitionName::new("tenant").unwrap();
    let class = Class::new("ssn");
    let silent = Permissions(Permissions::ENCRYPT | Permissions::DECRYPT | Permissions::AUDIT_DECRYPT);
    keyring.set_role(&partition, "silent", Some(silent)).unwrap();
    let job = SealJob {
        partition: &partition,
        class: &class,
        suite: Suite::Xaes,
        sign: false,
        pad: None,
        text: b"CANARY",
        is_string: true,
        record_id: None,
    };
    for (role, sealed, opened, refused) in [("default", 3, 3, 0), ("silent", 0, 3, 0), ("nobody", 0, 0, 3)] {
        let caller = Caller { name: format!("user {role}"), role: role.into() };
        for _ in 0..3 {
            if let Ok(token) = place.block_on(vault.seal(&caller, &job)) {
                place.block_on(vault.open(&caller, &partition, &class, &token)).unwrap();
            }
        }
        place.authority.audit.flush().unwrap();
        let (lines, _) = sound(keyring);
        let of = |what| counted(&lines, &caller.name, "tenant", "ssn", what);
        assert_eq!((of(Use::Sealed), of(Use::Opened), of(Use::Refused)), (sealed, opened, refused), "{role}");
    }
}

#[test]
fn whatever_is_changed_verify_finds_it_and_says_where() {
    let place = Place::with_keyring();
    for action in ["pause", "resume", "pause", "resume"] {
        place.run(&["keys", action, "customers"]).ends(0);
    }
    place.run(&["keys", "pause", "nosuch"]).ends(64);
    place.run(&["audit", "checkpoint", "--out", "held.json"]).ends(0);
    let owner = place.run(&["keys", "list", "--json"]).json()["owner"].as_str().unwrap().to_owned();
    place.run(&["audit", "export", "--out", "log.ndjson"]).ends(0);
    let file = ["audit", "verify", "--file", "log.ndjson", "--owner", &owner, "--checkpoint", "held.json"];
    let report = place.run(&[&file[..], &["--json"]].concat()).ends(0).json();
    assert_eq!((report["ok"].clone(), report["open"].clone()), (Value::Bool(true), Value::Array(vec![])));
    place.run(&["audit", "verify", "--checkpoint", "held.json"]).ends(0).shows("sound");
    let zeros = "0".repeat(64);
    place.run(&["audit", "verify", "--file", "log.ndjson", "--owner", &zeros]).ends(1).says("another owner");

    let list = place.run(&["audit", "list"]).ends(0);
    assert!(list.out.contains("partition.pause") && list.out.contains("local uid "), "{}", list.out);
    assert!(list.out.contains("no partition nosuch"), "what failed is told: {}", list.out);
    place.run(&["audit", "list", "--what", "partition.create", "--json"]).ends(0).shows("customers");
    place.run(&["audit", "list", "--since", "tomorrow"]).ends(64);

    let whole = place.read("log.ndjson");
    let lines: Vec<&str> = whole.lines().collect();
    for (name, changed) in [
        ("edited", lines.join("\n").replace("nosuch", "nasuch")),
        ("cut", lines[..lines.len() - 3].join("\n")),
        ("without one", [&lines[..4], &lines[5..]].concat().join("\n")),
        ("swapped", [&lines[..4], &[lines[5], lines[4]], &lines[6..]].concat().join("\n")),
        ("half", whole[..whole.len() - 40].to_owned()),
    ] {
        place.write("log.ndjson", changed + "\n");
        let bad = place.run(&file).ends(1).says("line ");
        assert!(bad.err.contains("tampered"), "{name}: {}", bad.err);
    }
    let database = rusqlite::Connection::open(place.path("sidecloak.db")).unwrap();
    let sql = "UPDATE audit SET line = CAST(replace(CAST(line AS TEXT), 'resume', 'pause') AS BLOB) WHERE number = 8";
    assert_eq!(database.execute(sql, []).unwrap(), 1);
    let bad = place.run(&["audit", "verify", "--json"]).ends(1).json();
    assert!([8, 9].contains(&bad["first_bad"].as_u64().unwrap()), "{bad}");
}

#[test]
fn processes_that_write_at_once_and_are_killed_leave_one_chain() {
    let place = Place::with_keyring();
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let place = &place;
            scope.spawn(move || {
                for round in 0..8u64 {
                    let mut child = place.command(&["keys", "rollover", "customers"]).spawn().unwrap();
                    // Every other is killed, each time at another moment.
                    if (round + writer) % 2 == 0 {
                        std::thread::sleep(Duration::from_millis(20 + 13 * (round * 4 + writer)));
                        child.kill().unwrap();
                    }
                    child.wait().unwrap();
                }
            });
        }
    });
    let report = place.run(&["audit", "verify", "--json"]).ends(0).json();
    let acts = place.run(&["audit", "list", "--what", "partition.rollover", "--json"]).ends(0);
    let of =
        |outcome: &str| acts.out.lines().filter(|line| line.contains(&format!(r#""outcome":"{outcome}""#))).count();
    assert_eq!(of("none"), report["open"].as_array().unwrap().len());
    assert!(of("done") >= 16, "those that were let be: {}", acts.out);
    place.run(&["keys", "rollover", "customers"]).ends(0);
}

#[test]
fn many_processes_on_postgresql_leave_one_chain() {
    let Some(cluster) = Cluster::shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        store: StorePlace::parse(&cluster.database()).unwrap().unwrap(),
        master_keys: vec![KeySource::File(directory.path().join("master.key"))],
        i_know: true,
        ..Options::default()
    };
    let first = Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()).unwrap();
    std::thread::scope(|scope| {
        for process in 0..6 {
            let options = &options;
            scope.spawn(move || {
                let keyring = Arc::new(Keyring::open(options, SystemClock::shared()).unwrap());
                let audit = Audit::open(keyring, SystemClock::shared()).unwrap();
                for round in 0..15u32 {
                    let act = Act { who: "user alice", what: "partition.pause", on: "default" };
                    audit.around::<_, KeyringError>(&act, || Ok(())).unwrap();
                    audit.count("default", &PartitionName::default_name(), &Class::new("ssn"), Use::Sealed, 2);
                    if (round + process) % 5 == 0 {
                        audit.checkpoint().unwrap();
                    }
                }
                assert_eq!(audit.alarms(), 0);
            });
        }
    });
    let (lines, report) = sound(&first);
    assert!(report.open.is_empty());
    assert_eq!(counted(&lines, "default", "default", "ssn", Use::Sealed), 6 * 15 * 2);
    assert_eq!(lines.iter().filter(|line| matches!(line.content, Content::Act { .. })).count(), 6 * 15);
    // And what re-sealing goes through is there.
    let directory = Directory::new(first.into(), SystemClock::shared(), Duration::ZERO).unwrap();
    directory.put("apikey", "1", 0, &1, Ends::never()).unwrap();
    assert_eq!((directory.under_others().unwrap(), directory.reseal(9).unwrap()), (0, 0));
}
