use super::*;
use crate::audit::verify::{Verifier, each_line};
use crate::clock::{Clock, ManualClock};
use crate::crypto::kem::KemSuite;
use crate::keyring::{KeySource, Options, State};
use crate::secret::SecretBytes;

const DAY: u64 = 86_400;

struct Place {
    _dir: tempfile::TempDir,
    options: Options,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new(partitions: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            store: dir.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(dir.path().join("master.key"))],
            i_know: true,
            max_stale: Duration::ZERO,
            epoch_lifetime: Duration::from_secs(300 * DAY),
            ..Options::default()
        };
        let clock = ManualClock::at(1_700_000_000);
        let keyring = Keyring::init(&options, KemSuite::MlKem768, Arc::clone(&clock) as _).unwrap();
        for partition in partitions {
            keyring.create_partition(&name(partition)).unwrap();
        }
        Self { _dir: dir, options, clock }
    }

    /// As another process would have it.
    fn lifecycle(&self) -> Lifecycle {
        let keyring = Arc::new(Keyring::open(&self.options, Arc::clone(&self.clock) as _).unwrap());
        let directory = Directory::new(Arc::clone(&keyring), Arc::clone(&self.clock) as _, Duration::ZERO).unwrap();
        let audit = Arc::new(Audit::for_acts(Arc::clone(&keyring), Arc::clone(&self.clock) as _).unwrap());
        Lifecycle::new(keyring, directory, audit).unwrap()
    }

    fn after(&self, seconds: u64) {
        self.clock.advance(seconds);
    }
}

fn name(text: &str) -> PartitionName {
    PartitionName::new(text).unwrap()
}

fn sealing(lifecycle: &Lifecycle, partition: &str, kind: Kind) -> EpochId {
    lifecycle.keyring.tick();
    lifecycle.keyring.sealing(&name(partition), kind).unwrap().id
}

/// Lines of the log with this act, of which the log must be sound.
fn acts(lifecycle: &Lifecycle, what: &str) -> usize {
    let mut verifier = Verifier::new(Some(lifecycle.keyring.owner_fingerprint()));
    let mut found = 0;
    each_line::<KeyringError>(&lifecycle.keyring, |number, line| {
        verifier.feed(Some(number), line).unwrap();
        found += usize::from(String::from_utf8_lossy(line).contains(&format!(r#""what":"{what}""#)));
        Ok(())
    })
    .unwrap();
    assert!(verifier.finish().unwrap().open.is_empty());
    found
}

use crate::token::EpochId;

#[test]
fn of_many_who_see_that_it_is_due_one_rolls_once() {
    let place = Place::new(&["shop.a", "shop.b"]);
    let all: Vec<Lifecycle> = (0..4).map(|_| place.lifecycle()).collect();
    let before: Vec<_> = ["shop.a", "shop.b"].map(|p| sealing(&all[0], p, Kind::Random)).to_vec();
    let siv = sealing(&all[0], "shop.a", Kind::Deterministic);
    all[0].schedule("user alice", &Target::App(name("shop")), 90, Kinds::Random).unwrap();
    assert_eq!(all[1].run_due(), 0, "not due yet");
    for round in 1..=3 {
        place.after(90 * DAY);
        std::thread::scope(|scope| all.iter().for_each(|one| drop(scope.spawn(|| one.run_due()))));
        assert_eq!(all.iter().map(Lifecycle::run_due).sum::<usize>(), 0);
        assert_eq!(acts(&all[0], "partition.rollover"), round);
        for partition in ["shop.a", "shop.b"] {
            let epochs = all[0].keyring.epochs(&name(partition), 100).unwrap();
            assert_eq!(epochs.iter().filter(|e| e.kind == Kind::Random).count(), round + 1, "{partition}");
        }
    }
    assert_ne!(before[0], sealing(&all[2], "shop.a", Kind::Random));
    assert_eq!(siv, sealing(&all[2], "shop.a", Kind::Deterministic), "equality was not asked to end");
    let schedule = all[3].schedules().unwrap().remove(0);
    assert_eq!((schedule.last, schedule.next), (Some(place.clock.now()), place.clock.now() + 90 * DAY));
    all[0].schedule("user alice", &Target::App(name("shop")), 0, Kinds::All).unwrap();
    place.after(90 * DAY);
    assert_eq!(all[1].run_due(), 0);
}

#[test]
fn who_takes_over_from_one_that_died_rolls_only_what_was_not() {
    let place = Place::new(&["a"]);
    let (dead, heir) = (place.lifecycle(), place.lifecycle());
    sealing(&dead, "a", Kind::Random);
    let target = Target::Partition(name("a"));
    dead.schedule("user alice", &target, 1, Kinds::All).unwrap();
    place.after(DAY);
    // It claimed and rolled, and died before it could say so.
    drop(dead.claim::<Schedule>(&target.to_string(), |_| true).unwrap().unwrap());
    dead.keyring.rollover(&name("a"), &[Kind::Random]).unwrap();
    let rolled = sealing(&dead, "a", Kind::Random);
    assert_eq!(heir.run_due(), 0, "it may live");
    place.after(LEASE + 1);
    assert_eq!(heir.run_due(), 1);
    assert_eq!(sealing(&heir, "a", Kind::Random), rolled);
    assert_eq!(*heir.schedules().unwrap()[0].claim(), None);
}

#[test]
fn what_is_to_be_destroyed_waits_paused_and_comes_back_if_cancelled() {
    let place = Place::new(&["a", "b"]);
    let (one, other) = (place.lifecycle(), place.lifecycle());
    let wait = Wait::For(DEFAULT_WAIT);
    for partition in ["a", "b"] {
        sealing(&one, partition, Kind::Random);
        one.destroy_partition("user alice", &name(partition), wait).unwrap();
        assert!(one.destroy_partition("user alice", &name(partition), wait).is_err(), "pending");
    }
    assert_eq!(other.keyring.partition(&name("a")).unwrap().state, State::Paused);
    place.after(7 * DAY - 1);
    assert_eq!(other.run_due(), 0);
    other.cancel("user bob", "partition:b").unwrap();
    assert!(other.cancel("user bob", "partition:b").is_err());
    assert_eq!(one.keyring.partition(&name("b")).unwrap().state, State::Active);
    place.after(1);
    std::thread::scope(|scope| [&one, &other].into_iter().for_each(|l| drop(scope.spawn(|| l.run_due()))));
    one.keyring.tick();
    assert_eq!(acts(&one, "partition.destroy"), 1);
    assert_eq!(one.keyring.partition(&name("a")).unwrap().state, State::Destroyed);
    assert!(one.keyring.epochs(&name("a"), 9).unwrap().is_empty());
    assert!(one.keyring.set_state(&name("a"), State::Active).is_err(), "destroyed stays destroyed");
    assert!(one.destroy_partition("user alice", &name("a"), wait).is_err());
    assert_eq!(one.keyring.partition(&name("b")).unwrap().state, State::Active);
    assert!(one.destructions().unwrap().is_empty());
    one.destroy_partition("user alice", &name("b"), Wait::None).unwrap();
    other.keyring.tick();
    assert_eq!(other.keyring.partition(&name("b")).unwrap().state, State::Destroyed);
}

#[test]
fn what_somebody_resumed_meanwhile_is_not_destroyed() {
    let place = Place::new(&["a"]);
    let one = place.lifecycle();
    one.destroy_partition("user alice", &name("a"), Wait::For(Duration::from_secs(5))).unwrap();
    one.keyring.set_state(&name("a"), State::Active).unwrap();
    place.after(5);
    one.run_due();
    assert_eq!(one.keyring.partition(&name("a")).unwrap().state, State::Active);
    assert!(one.destructions().unwrap().is_empty());
}

#[test]
fn an_epoch_to_be_destroyed_is_sealed_under_no_more_and_opens_till_then() {
    let place = Place::new(&["a"]);
    let one = place.lifecycle();
    let epoch = sealing(&one, "a", Kind::Random);
    let still = one.destroy_epoch("user alice", epoch, Wait::For(Duration::from_secs(60))).unwrap();
    assert_eq!(still, StillSealing::Nobody, "they follow long before");
    assert_ne!(sealing(&one, "a", Kind::Random), epoch);
    assert_eq!(one.keyring.opening(epoch).unwrap().id, epoch);
    place.after(60);
    assert_eq!(one.run_due(), 1);
    let other = place.lifecycle();
    assert!(matches!(other.keyring.opening(epoch), Err(KeyringError::Unknown(_))));
    let id = format!("epoch:{epoch}");
    assert!(matches!(other.cancel("user alice", &id), Err(KeyringError::Unknown(_))), "too late");
}

#[test]
fn a_removed_recipient_opens_nothing_new_and_its_wraps_go() {
    let place = Place::new(&["a"]);
    let one = place.lifecycle();
    let ids: Vec<_> = (0..80)
        .map(|_| {
            one.keyring.rollover(&name("a"), &[Kind::Random]).unwrap();
            sealing(&one, "a", Kind::Random)
        })
        .collect();
    let recovery = one.keyring.make_recovery(KemSuite::MlKem768).unwrap();
    let line = SecretBytes::new(recovery.private_line.expose().to_vec());
    let lost = crate::keyring::Recovery::open(&place.options, &line, None).unwrap();
    assert!(ids.iter().all(|id| lost.epoch(*id).is_ok()));
    let info = one.keyring.partition_info(&name("a")).unwrap();
    let ours = info.recipients.iter().find(|r| r.ours).unwrap().id;
    assert!(one.remove_recipient("user alice", &name("a"), ours).is_err(), "the last that opens here");
    let theirs = info.recipients.iter().find(|r| !r.ours).unwrap().id;
    let job = one.remove_recipient("user alice", &name("a"), theirs).unwrap();
    assert_eq!(job.total, 81, "and the one that is sealed under now");
    let current = sealing(&one, "a", Kind::Random);
    assert!(!ids.contains(&current) && lost.epoch(current).is_err());

    // A process that dies half way leaves the rest to the next.
    let mut entry = one.claim::<Job>(&one.all::<Job>().unwrap()[0].id, |_| true).unwrap().unwrap();
    assert!(!one.step(&mut entry.value).unwrap());
    assert!(one.keep_claim(&mut entry).unwrap());
    assert!(!one.step(&mut entry.value).unwrap());
    let heir = place.lifecycle();
    assert_eq!(heir.run_due(), 0, "it may live");
    place.after(LEASE + 1);
    heir.run_due();
    let job = heir.jobs().unwrap().remove(0);
    assert_eq!((job.done, job.finished.is_some()), (81, true));
    assert!(ids.iter().all(|id| lost.epoch(*id).is_err()), "no wrap is left");
    let fresh = place.lifecycle();
    assert!(ids.iter().all(|id| fresh.keyring.opening(*id).is_ok()));
    assert_eq!(acts(&fresh, "rewrap.finished"), 1);
}

#[test]
fn what_a_removed_issuer_made_still_opens() {
    let place = Place::new(&["a"]);
    let one = place.lifecycle();
    let before = sealing(&one, "a", Kind::Random);
    let issuer = one.keyring.partition_info(&name("a")).unwrap().issuer_ids[0];
    assert_eq!(one.remove_issuer("user alice", &name("a"), issuer).unwrap(), 1);
    assert!(one.remove_issuer("user alice", &name("a"), issuer).is_err());
    let fresh = place.lifecycle();
    assert_eq!(fresh.keyring.opening(before).unwrap().id, before);
    fresh.keyring.rollover(&name("a"), &[Kind::Random]).unwrap();
    assert!(fresh.keyring.opening(sealing(&fresh, "a", Kind::Random)).is_ok(), "the owner makes them now");
    assert_eq!(fresh.keyring.alarms(), 0);
}

#[test]
fn what_ended_an_hour_ago_is_forgotten_and_nothing_else() {
    let place = Place::new(&["a"]);
    let one = place.lifecycle();
    let now = one.now();
    for n in 0..600 {
        one.directory.put("token", &format!("ended {n}"), 0, &n, Ends::at(now - 3601)).unwrap();
    }
    one.directory.put("attempt", "just ended", 0, &1, Ends::at(now - 3600)).unwrap();
    one.directory.put("apikey", "endless", 0, &1, Ends::never()).unwrap();
    assert_eq!(one.forget_ended().unwrap(), 600);
    let records = one.keyring.records().unwrap();
    assert!(records.entries("token", "", 9).unwrap().is_empty());
    assert!(records.entry("attempt", "just ended").unwrap().is_some());
    assert!(records.entry("apikey", "endless").unwrap().is_some());
}

#[test]
fn the_directory_comes_under_a_new_master_key_and_the_old_one_may_go() {
    let place = Place::new(&["a"]);
    let one = place.lifecycle();
    for n in 0..70 {
        one.directory.put("apikey", &n.to_string(), 0, &n, Ends::never()).unwrap();
    }
    one.directory.put("temporary", "t", 0, &1, Ends { at: 0, after: Some(3) }).unwrap();
    let new = KeySource::File(place._dir.path().join("new.key"));
    one.keyring.rotate_master(&new).unwrap();
    let mut options = place.options.clone();
    options.master_keys.insert(0, new);
    let both = Place { options, clock: Arc::clone(&place.clock), _dir: tempfile::tempdir().unwrap() };
    let both_keys = both.lifecycle();
    assert_eq!(both_keys.rewrap("user alice", Goal::Master, None).unwrap().total, 71);
    assert_eq!(one.run_due(), 0, "not of a process that seals under the old key");
    while both_keys.run_due() > 0 {}
    assert!(both_keys.jobs().unwrap()[0].finished.is_some());
    assert_eq!(both_keys.directory.under_others().unwrap(), 0);
    let mut options = both.options;
    options.master_keys.truncate(1);
    let alone = Place { options, clock: Arc::clone(&place.clock), _dir: tempfile::tempdir().unwrap() }.lifecycle();
    assert_eq!(alone.directory.get::<u32>("apikey", "7").unwrap().unwrap().value, 7);
    assert_eq!(alone.directory.take("temporary", "t").unwrap(), Some(2), "uses stay counted");
    assert_eq!(alone.directory.list::<u32>("apikey", "", 100).unwrap().len(), 70);
}

#[test]
fn what_was_resumed_a_moment_ago_is_not_destroyed() {
    let place = Place::new(&["a"]);
    let (one, other) = (place.lifecycle(), place.lifecycle());
    one.destroy_partition("user alice", &name("a"), Wait::For(Duration::from_secs(DAY))).unwrap();
    place.after(DAY);
    assert_eq!(other.keyring.partition(&name("a")).unwrap().state, State::Paused);
    one.keyring.set_state(&name("a"), State::Active).unwrap();
    other.run_due();
    one.keyring.tick();
    assert_eq!(one.keyring.partition(&name("a")).unwrap().state, State::Active);
}
