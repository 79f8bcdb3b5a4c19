use std::path::Path;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::clock::ManualClock;
use crate::crypto::kem::KemSuite;
use crate::keyring::{KeySource, Options};

pub struct Place {
    directory: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    rolls: Arc<AtomicUsize>,
}

fn options(directory: &Path) -> Options {
    Options {
        store: directory.join("keyring.db").into(),
        master_keys: vec![KeySource::File(directory.join("master.key"))],
        i_know: true,
        ..Options::default()
    }
}

fn settings() -> CrypteronSettings {
    CrypteronSettings {
        app_id: "2376".into(),
        sec_part_id: "a/ü".into(),
        api_key: KeySource::Env("PATH".into()),
        poll: Duration::from_secs(15),
    }
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(1_800_000_000);
        drop(Keyring::init(&options(directory.path()), KemSuite::MlKem768, clock.clone()).unwrap());
        Self { directory, clock, rolls: Arc::default() }
    }

    /// That of one more process.
    pub fn process(&self) -> Rollover {
        let rolls = Arc::clone(&self.rolls);
        self.process_that(move |_| {
            rolls.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    }

    fn process_that(&self, roll: impl Fn(&PartitionName) -> Result<(), String> + Send + Sync + 'static) -> Rollover {
        let keyring = Arc::new(Keyring::open(&options(self.directory.path()), self.clock.clone()).unwrap());
        let partition = PartitionName::default_name();
        Rollover::new(&keyring, self.clock.clone(), "p", partition, &settings(), Arc::new(roll)).unwrap()
    }

    pub fn rolls(&self) -> usize {
        self.rolls.load(Ordering::SeqCst)
    }
}

#[test]
fn ten_processes_roll_once_and_a_restart_does_not_again() {
    let place = Place::new();
    let fleet: Vec<Rollover> = (0..10).map(|_| place.process()).collect();
    for (version, expected) in [(1, 0), (2, 1), (2, 1), (5, 2), (4, 2)] {
        std::thread::scope(|scope| {
            for process in &fleet {
                scope.spawn(|| process.follow(version).unwrap());
            }
        });
        assert_eq!(place.rolls(), expected, "version {version}");
        // Whoever left it to another learns at the next poll that it is done.
        for process in &fleet {
            process.follow(version).unwrap();
            assert!(!process.is_due(version));
        }
        assert_eq!(place.rolls(), expected, "version {version}, again");
    }
    drop(fleet);
    let restarted = place.process();
    assert!(restarted.is_due(5) && !restarted.follow(5).unwrap());
    assert_eq!(place.rolls(), 2);
}

#[test]
fn a_version_that_was_never_seen_is_rolled_to_unless_it_is_the_first() {
    let place = Place::new();
    assert!(!place.process().follow(1).unwrap());
    assert!(place.process().follow(7).unwrap());
}

#[test]
fn who_fails_lets_the_next_try_and_who_is_gone_is_waited_for() {
    let place = Place::new();
    let failing = place.process_that(|_| Err("paused".into()));
    assert_eq!(failing.follow(2).unwrap_err().to_string(), "paused");
    assert!(failing.is_due(2));
    let broken = place.process_that(|_| panic!("killed"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| broken.follow(2))).is_err());
    let next = place.process();
    assert!(!next.follow(2).unwrap(), "somebody is at it");
    assert!(next.is_due(2));
    place.clock.advance(LEASE);
    assert!(next.follow(2).unwrap());
    assert_eq!(place.rolls(), 1);
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_waiting() {
    let place = Place::new();
    let broken = place.process_that(|_| panic!("killed"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| broken.follow(2))).is_err());
    let keyring = Keyring::open(&options(place.directory.path()), ManualClock::at(1_000_000_000)).unwrap();
    let rollover = Rollover::new(
        &Arc::new(keyring),
        ManualClock::at(1_000_000_000),
        "p",
        PartitionName::default_name(),
        &settings(),
        Arc::new(|_| Ok(())),
    );
    assert!(rollover.unwrap().follow(2).unwrap());
}

#[test]
fn a_keyring_without_the_master_key_is_refused_by_name() {
    let place = Place::new();
    let issuer = place.directory.path().join("issuer.key");
    let owner = {
        let keyring = Keyring::open(&options(place.directory.path()), place.clock.clone()).unwrap();
        let line = keyring.add_encrypt_only_issuer(&PartitionName::default_name()).unwrap();
        std::fs::write(&issuer, line.expose()).unwrap();
        std::fs::set_permissions(&issuer, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        keyring.owner_fingerprint()
    };
    let without = Options {
        master_keys: Vec::new(),
        owner: Some(owner),
        issuer: Some(KeySource::File(issuer)),
        ..options(place.directory.path())
    };
    let keyring = Keyring::open(&without, place.clock.clone()).unwrap();
    let partition = PartitionName::default_name();
    let error = Rollover::new(&Arc::new(keyring), place.clock, "billing", partition, &settings(), Arc::new(|_| Ok(())))
        .err()
        .unwrap();
    assert!(error.contains("`billing` (crypteron)") && error.contains("records"), "{error}");
}
