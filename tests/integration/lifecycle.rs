//! What is scheduled, waits or takes long, through the command line and the processes that do it.

use std::sync::Arc;
use std::time::Duration;

use sidecloak::audit::Audit;
use sidecloak::authority::lifecycle::{Kinds, Lifecycle, Target, Wait};
use sidecloak::clock::{ManualClock, SharedClock};
use sidecloak::crypto::kem::KemSuite;
use sidecloak::directory::Directory;
use sidecloak::keyring::store::StorePlace;
use sidecloak::keyring::{KeySource, Keyring, Kind, Options, State};
use sidecloak::name::PartitionName;

use super::cli::Place;
use super::cluster::Cluster;
use super::stage::{Stage, eventually};

const RULES: &str =
    "rules:\n  - name: r\n    match: { path: /c/** }\n    protect:\n      - { fields: [\"$..ssn\"], key: shop }\n";

#[test]
fn a_running_process_destroys_what_is_due_and_not_what_is_called_off() {
    let stage = Stage::new(RULES);
    assert_eq!(stage.post("/c/1", r#"{"ssn":"1"}"#).status, 200);
    let path = stage.dir.path().to_owned();
    let run = |args: &[&str]| {
        let mut command = Place::empty().command(args);
        command.current_dir(&path).args(["--keyring", "keyring.db", "--master-key-file", "master.key"]);
        super::cli::done(command)
    };
    run(&["keys", "init", "--partition", "other"]).ends(0);
    run(&["keys", "destroy", "other", "--confirm", "other", "--after", "1h"]).ends(0).shows("keys cancel");
    run(&["keys", "destroy", "other", "--confirm", "other"]).ends(78).says("pending");
    run(&["keys", "due"]).ends(0).shows("partition:other");
    run(&["keys", "destroy", "shop", "--confirm", "shop", "--after", "1s"]).ends(0);
    eventually("destroyed", || {
        stage.keyring().partition(&PartitionName::new("shop").unwrap()).is_ok_and(|p| p.state == State::Destroyed)
    });
    assert_eq!(stage.get("/c/1").status, 403);
    run(&["keys", "cancel", "shop"]).ends(64).says("keys due");
    run(&["keys", "cancel", "other"]).ends(0);
    run(&["keys", "list", "other"]).ends(0).shows("active");
    run(&["keys", "due"]).ends(0).shows("nothing");
    drop(stage);
}

#[test]
fn the_verbs_of_the_life_of_keys() {
    let place = Place::with_keyring();
    place.feed(&["seal", "--class", "ssn", "--partition", "customers"], "\"v\"").ends(0);
    place.run(&["keys", "schedule", "customers", "--every", "90"]).ends(0);
    place.run(&["keys", "schedule", "nosuch", "--every", "90"]).ends(64);
    place.run(&["keys", "schedule", "--app", "nosuch", "--every", "90"]).ends(64);
    let due = place.run(&["keys", "due", "--json"]).ends(0).json();
    assert_eq!(due["schedules"][0]["target"], "partition:customers");
    place.run(&["keys", "schedule", "customers", "--every", "0"]).ends(0);
    place.run(&["keys", "schedule", "customers", "--every", "0"]).ends(64);

    place.run(&["keys", "recovery"]).ends(0);
    let list = place.run(&["keys", "list", "customers", "--json"]).ends(0).json();
    let recipients = list["partitions"][0]["recipients"].as_array().unwrap().clone();
    let of = |here: bool| recipients.iter().find(|r| r["private_key_here"] == here).unwrap()["id"].as_str().unwrap();
    place.run(&["keys", "remove-recipient", "customers", of(true)]).ends(78).says("nothing was changed");
    place.run(&["keys", "remove-recipient", "customers", "zz"]).ends(64);
    place.run(&["keys", "remove-recipient", "customers", of(false)]).ends(0);
    let due = place.run(&["keys", "due", "--run", "--json"]).ends(0).json();
    assert_eq!(due["jobs"][0]["changed"], 1, "{due}");
    assert!(due["jobs"][0]["finished"].is_string());
    let issuer = list["partitions"][0]["issuer_ids"][0].as_str().unwrap().to_owned();
    place.run(&["keys", "remove-issuer", "customers", &issuer]).ends(0);
    place.feed(&["seal", "--class", "ssn", "--partition", "customers"], "\"v\"").ends(0);

    place.run(&["keys", "rewrap", "--master"]).ends(0);
    place.run(&["keys", "due", "--run"]).ends(0).shows("done");
    place.run(&["keys", "rotate-master", "--new-key-file", "new.key"]).ends(0).says("keys rewrap --master");
    let both = ["--master-key-file", "new.key"];
    place.run(&[&["keys", "rotate-master", "--new-key-file", "newer.key", "--reseal"], &both[..]].concat()).ends(78);
    let three = "keyring: { store: \"sqlite:sidecloak.db\", master_key: [\"file:new.key\", \"file:master.key\"] }\n";
    place.write("both.yaml", three);
    place.run(&["keys", "rotate-master", "--new-key-file", "newer.key", "--reseal", "--config", "both.yaml"]).ends(0);
    let both = ["--master-key-file", "newer.key"];
    place.run(&[&["keys", "due"], &both[..]].concat()).ends(0).shows("done");
    place.run(&["audit", "verify"]).ends(78);
    place.run(&[&["audit", "verify"], &both[..]].concat()).ends(0);
}

#[test]
fn ten_processes_on_postgresql_roll_once_and_destroy_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(1_700_000_000);
    let shared: SharedClock = Arc::clone(&clock) as _;
    let options = Options {
        store: StorePlace::parse(&cluster.database()).unwrap().unwrap(),
        master_keys: vec![KeySource::File(directory.path().join("master.key"))],
        i_know: true,
        max_stale: Duration::ZERO,
        ..Options::default()
    };
    let first = Keyring::init(&options, KemSuite::MlKem768, Arc::clone(&shared)).unwrap();
    let [a, b] = ["shop.a", "shop.b"].map(|name| PartitionName::new(name).unwrap());
    for name in [&a, &b] {
        first.create_partition(name).unwrap();
        first.sealing(name, Kind::Deterministic).unwrap();
    }
    let all: Vec<Lifecycle> = (0..10)
        .map(|_| {
            let keyring = Arc::new(Keyring::open(&options, Arc::clone(&shared)).unwrap());
            let directory = Directory::new(Arc::clone(&keyring), Arc::clone(&shared), Duration::ZERO).unwrap();
            let audit = Audit::for_acts(Arc::clone(&keyring), Arc::clone(&shared)).unwrap();
            Lifecycle::new(keyring, directory, audit.into()).unwrap()
        })
        .collect();
    let app = Target::App(PartitionName::new("shop").unwrap());
    all[0].schedule("user alice", &app, 1, Kinds::All).unwrap();
    all[0].destroy_partition("user alice", &b, Wait::For(Duration::from_secs(86_400 * 2))).unwrap();
    all[0].cancel("user alice", "partition:b").unwrap_err();
    clock.advance(86_400);
    // The paused one keeps the schedule from being done; the other is rolled all the same, and once.
    let together = || std::thread::scope(|scope| all.iter().for_each(|one| drop(scope.spawn(|| one.run_due()))));
    together();
    assert_eq!(first.epochs(&a, 9).unwrap().len(), 2);
    clock.advance(86_400);
    together();
    assert_eq!(first.partition(&b).unwrap().state, State::Destroyed);
    assert!(first.epochs(&b, 9).unwrap().is_empty());
    assert_eq!(first.epochs(&a, 9).unwrap().len(), 2);
    clock.advance(3_600);
    together();
    together();
    assert_eq!(first.epochs(&a, 9).unwrap().len(), 2, "it had been rolled for that day");
    assert!(all[3].destructions().unwrap().is_empty());
}
