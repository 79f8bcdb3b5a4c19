use proptest::prelude::*;

use super::line::{Line, hash};
use super::verify::{Bad, Report, Verifier, each_line};
use super::*;
use crate::clock::{Clock, ManualClock};
use crate::crypto::hex;
use crate::crypto::kem::KemSuite;
use crate::keyring::{KeySource, Options};

struct Place {
    dir: tempfile::TempDir,
    keyring: Arc<Keyring>,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            store: dir.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(dir.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let clock = ManualClock::at(1_700_000_000);
        let keyring = Keyring::init(&options, KemSuite::MlKem768, Arc::clone(&clock) as _).unwrap();
        Self { dir, keyring: Arc::new(keyring), clock }
    }

    fn audit(&self) -> Audit {
        Audit::for_acts(Arc::clone(&self.keyring), Arc::clone(&self.clock) as _).unwrap()
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        each_line::<KeyringError>(&self.keyring, |_, line| {
            lines.push(line.to_vec());
            Ok(())
        })
        .unwrap();
        lines
    }

    fn sql(&self, text: &str) {
        rusqlite::Connection::open(self.dir.path().join("keyring.db")).unwrap().execute_batch(text).unwrap();
    }

    fn owner(&self) -> [u8; 32] {
        self.keyring.owner_fingerprint()
    }
}

const ACT: Act<'_> = Act { who: "user alice", what: "partition.pause", on: "default" };

fn count(audit: &Audit, class: &str, what: Use, n: u64) {
    audit.count("default", &PartitionName::default_name(), &Class::new(class), what, n);
}

fn verified(lines: &[Vec<u8>], owner: [u8; 32], held: &[Checkpoint]) -> Result<Report, Bad> {
    let mut verifier = Verifier::new(Some(owner));
    for checkpoint in held {
        assert!(verifier.hold(checkpoint));
    }
    for line in lines {
        verifier.feed(None, line)?;
    }
    verifier.finish()
}

/// A log with a line of each kind, signed at its end and once within, and the last checkpoint.
fn full() -> (Place, Vec<Vec<u8>>, Checkpoint) {
    let place = Place::new();
    let audit = place.audit();
    for round in 0..3 {
        let started = audit.begin(&ACT).unwrap();
        place.clock.advance(7);
        audit.end(started, if round == 1 { Err("no such partition") } else { Ok(()) }).unwrap();
        count(&audit, "ssn", Use::Sealed, 3 + round);
        count(&audit, "card.pan", Use::Opened, 1);
        audit.flush().unwrap();
        if round == 0 {
            audit.checkpoint().unwrap();
        }
    }
    drop(audit.begin(&ACT).unwrap());
    let checkpoint = audit.checkpoint().unwrap().unwrap();
    let lines = place.lines();
    (place, lines, checkpoint)
}

#[test]
fn a_whole_log_is_sound_and_its_open_act_is_told() {
    let (place, lines, held) = full();
    let report = verified(&lines, place.owner(), &[held]).unwrap();
    assert_eq!((report.lines, report.checkpoints, report.signed_up_to), (13, 2, 12));
    assert_eq!(report.open.keys().copied().collect::<Vec<_>>(), [12]);
    assert_eq!(report.head, hex::encode(&hash(lines.last().unwrap())));
    assert_eq!(verified(&lines, [7; 32], &[]).unwrap_err().number, 1, "another owner's");
}

#[test]
fn a_process_that_starts_again_signs_only_what_nobody_signed() {
    let (place, lines, _) = full();
    let checkpoint = || {
        let chain = Chain::new(Arc::clone(&place.keyring), Arc::clone(&place.clock) as _).unwrap();
        chain.checkpoint(false).unwrap()
    };
    assert!(checkpoint().is_none());
    assert_eq!(place.lines(), lines);
    // What only looks like a checkpoint covers nothing.
    let mut forged = Line::decode(lines.last().unwrap()).unwrap();
    forged.content = Content::Checkpoint { signature: "AAAA".into() };
    let forged: String = hex::encode(&forged.encode().unwrap());
    place.sql(&format!("UPDATE audit SET line = x'{forged}' WHERE number = {}", lines.len()));
    assert!(checkpoint().is_some());
    assert_eq!(place.lines().len(), lines.len() + 1);
}

#[test]
fn every_changed_byte_is_found_where_it_is() {
    let (place, lines, _) = full();
    for (at, line) in lines.iter().enumerate() {
        // A signature and a key verify as a whole: every seventh of their bytes says enough.
        let step = if line.len() > 1000 { 7 } else { 1 };
        for byte in (0..line.len()).step_by(step) {
            for change in [1, 0x20] {
                let mut changed = lines.clone();
                changed[at][byte] ^= change;
                let bad = verified(&changed, place.owner(), &[]).unwrap_err();
                let here = at as u64 + 1;
                assert!(bad.number == here || bad.number == here + 1, "line {here}, byte {byte}: {bad}");
            }
        }
    }
}

#[test]
fn every_line_taken_away_doubled_or_moved_is_found() {
    let (place, lines, held) = full();
    let held = [held];
    for at in 0..lines.len() {
        let here = at as u64 + 1;
        let mut without = lines.clone();
        without.remove(at);
        if at + 1 < lines.len() {
            assert_eq!(verified(&without, place.owner(), &held).unwrap_err().number, here, "taken away");
        }
        let mut twice = lines.clone();
        twice.insert(at, lines[at].clone());
        assert_eq!(verified(&twice, place.owner(), &held).unwrap_err().number, here + 1, "doubled");
        for other in at + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            assert_eq!(verified(&swapped, place.owner(), &held).unwrap_err().number, here, "swapped");
        }
        if at + 1 < lines.len() {
            let cut = verified(&lines[..at], place.owner(), &held).unwrap_err();
            assert_eq!(cut.number, here, "cut off: {cut}");
        }
    }
}

#[test]
fn who_can_write_but_not_sign_does_not_get_past_a_checkpoint() {
    let (place, lines, held) = full();
    for at in 1..lines.len() - 1 {
        // All after the change is chained anew, as a store writer can.
        let mut forged = lines[..at].to_vec();
        let mut prev = hash(forged.last().unwrap());
        for (i, bytes) in lines[at..].iter().enumerate() {
            let mut line = Line::decode(bytes).unwrap();
            if i == 0 {
                line.time = line::rfc3339(0);
            }
            line.prev = hex::encode(&prev);
            let bytes = line.encode().unwrap();
            prev = hash(&bytes);
            forged.push(bytes);
        }
        verified(&forged, place.owner(), &[]).unwrap_err();
        let short = &forged[..forged.len() - 1];
        verified(short, place.owner(), std::slice::from_ref(&held)).unwrap_err();
    }
    for forged in [
        Checkpoint { number: held.number - 1, ..held.clone() },
        Checkpoint { time: line::rfc3339(1), ..held.clone() },
        Checkpoint { hash: hex::encode(&[1; 32]), ..held.clone() },
        Checkpoint { instance: String::new(), ..held.clone() },
    ] {
        assert!(!Verifier::new(Some(place.owner())).hold(&forged));
    }
    let other = Place::new();
    assert!(!Verifier::new(Some(other.owner())).hold(&held));
}

#[test]
fn many_writers_make_one_chain_and_counts_add_up() {
    let place = Place::new();
    let audits: Vec<_> = (0..4).map(|_| place.audit()).collect();
    thread::scope(|scope| {
        for audit in audits.iter().cycle().take(8) {
            scope.spawn(move || {
                for round in 0..20 {
                    let started = audit.begin(&ACT).unwrap();
                    count(audit, "ssn", Use::Sealed, 2);
                    if round % 5 == 0 {
                        audit.flush().unwrap();
                        audit.checkpoint().unwrap();
                    }
                    audit.end(started, Ok(())).unwrap();
                }
            });
        }
    });
    audits.iter().for_each(|audit| audit.flush().unwrap());
    let lines = place.lines();
    let report = verified(&lines, place.owner(), &[]).unwrap();
    assert!(report.open.is_empty() && audits.iter().all(|audit| audit.alarms() == 0));
    let counted: u64 = lines.iter().map(|line| counted(&Line::decode(line).unwrap())).sum();
    assert_eq!(counted, 8 * 20 * 2);
}

fn counted(line: &Line) -> u64 {
    match &line.content {
        Content::Counts { counts, .. } => counts.iter().map(|count| count.n).sum(),
        _ => 0,
    }
}

#[test]
fn without_the_log_no_act_begins_and_counts_wait() {
    let place = Place::new();
    let audit = place.audit();
    let started = audit.begin(&ACT).unwrap();
    count(&audit, "ssn", Use::Sealed, 5);
    place.sql("ALTER TABLE audit RENAME TO away");
    assert!(audit.begin(&ACT).is_err());
    let mut done = false;
    let around: Result<(), KeyringError> = audit.around(&ACT, || {
        done = true;
        Ok(())
    });
    assert!(around.is_err() && !done);
    assert!(audit.end(started, Ok(())).is_err());
    assert!(!audit.is_behind());
    assert!(audit.flush().is_err());
    count(&audit, "ssn", Use::Sealed, 6);
    assert!(audit.flush().is_err());
    assert!(audit.is_behind());
    place.sql("ALTER TABLE away RENAME TO audit");
    audit.flush().unwrap();
    assert!(!audit.is_behind());
    let lines = place.lines();
    let report = verified(&lines, place.owner(), &[]).unwrap();
    assert!(report.open.is_empty(), "the outcome came late");
    assert_eq!(lines.iter().map(|line| counted(&Line::decode(line).unwrap())).sum::<u64>(), 11);
}

#[test]
fn a_line_whose_answer_was_lost_is_not_written_twice() {
    let place = Place::new();
    let (audit, other) = (place.audit(), place.audit());
    // Written, as far as the store goes, while the process hears of an error.
    let lost = |content: Content, fails: &dyn Fn() -> bool| {
        place.sql("ALTER TABLE audit RENAME TO away");
        assert!(fails());
        place.sql("ALTER TABLE away RENAME TO audit");
        let lines = place.lines();
        let instance = Line::decode(&lines[1]).unwrap().instance;
        let (number, prev) = (lines.len() as u64 + 1, hex::encode(&hash(lines.last().unwrap())));
        let line = Line { number, time: line::rfc3339(place.clock.now()), instance, prev, content };
        place.sql(&format!("INSERT INTO audit VALUES ({number}, CAST('{}' AS BLOB))", text(&line)));
        place.clock.advance(90);
    };
    for others in [false, true] {
        let started = audit.begin(&ACT).unwrap();
        let act = started.0;
        let started = std::cell::Cell::new(Some(started));
        let ends = || audit.end(started.take().unwrap(), Ok(())).is_err();
        lost(Content::Outcome { act, ok: true, error: None }, &ends);
        if others {
            drop(other.begin(&ACT).unwrap());
        }
        audit.flush().unwrap();
        count(&audit, "ssn", Use::Sealed, 5);
        let of = line::Of { caller: "default".into(), partition: "default".into(), class: "ssn".into() };
        let counts = vec![line::Count { of: Some(of), what: Use::Sealed, n: 5 }];
        let now = place.clock.now();
        lost(Content::Counts { minute: line::rfc3339(now - now % 60), counts }, &|| audit.flush().is_err());
        if others {
            drop(other.begin(&ACT).unwrap());
        }
        audit.flush().unwrap();
    }
    let lines = place.lines();
    assert_eq!(lines.iter().map(|line| counted(&Line::decode(line).unwrap())).sum::<u64>(), 10);
    let report = verified(&lines, place.owner(), &[]).unwrap();
    assert_eq!((report.lines, report.open.len()), (9, 2));
}

fn text(line: &Line) -> String {
    String::from_utf8(line.encode().unwrap()).unwrap()
}

#[test]
fn no_count_is_too_large_and_no_line_too_long_for_the_log() {
    let place = Place::new();
    let audit = place.audit();
    for _ in 0..3 {
        count(&audit, "ssn", Use::Sealed, 1 << 53);
        count(&audit, "ssn", Use::Opened, u64::MAX);
    }
    let name = PartitionName::new(&"p".repeat(255)).unwrap();
    for n in 0..600 {
        let class = Class::new(&format!("{n}{}", "\u{1}".repeat(300)));
        audit.count(&"\u{1}".repeat(300), &name, &class, Use::Refused, 1);
    }
    audit.flush().unwrap();
    verified(&place.lines(), place.owner(), &[]).unwrap();
}

#[test]
fn a_process_that_saw_a_line_tells_that_it_was_exchanged() {
    for (change, alarms) in [
        // Then its own next line does not follow from what is there.
        ("DELETE FROM audit WHERE number > 2", 0),
        ("DELETE FROM audit", 1),
        ("UPDATE audit SET line = CAST(replace(CAST(line AS TEXT), 'alice', 'mally') AS BLOB)", 1),
        ("INSERT INTO audit SELECT number + 3, line FROM audit WHERE number = 1", 1),
    ] {
        let place = Place::new();
        let (one, other) = (place.audit(), place.audit());
        drop(one.begin(&ACT).unwrap());
        drop(one.begin(&ACT).unwrap());
        place.sql(change);
        drop(other.begin(&ACT).unwrap());
        drop(one.begin(&ACT).unwrap());
        one.checkpoint().unwrap();
        assert_eq!(one.alarms(), alarms, "{change}");
        verified(&place.lines(), place.owner(), &[]).unwrap_err();
    }
}

#[test]
fn a_role_is_recorded_as_its_audit_bits_say() {
    let (all, none) = (Permissions::DEFAULT, Permissions(Permissions::DECRYPT | Permissions::ENCRYPT));
    let silent = Permissions(Permissions::DEFAULT.0 & !Permissions::AUDIT_DECRYPT);
    assert!([Use::Sealed, Use::Opened, Use::Refused].into_iter().all(|what| what.is_recorded(all)));
    assert!(!Use::Sealed.is_recorded(none) && Use::Refused.is_recorded(none));
    assert!(Use::Sealed.is_recorded(silent) && !Use::Opened.is_recorded(silent));
}

#[test]
fn in_the_background_it_is_written_and_signed_at_the_end() {
    let place = Place::new();
    let audit = Audit::open(Arc::clone(&place.keyring), Arc::clone(&place.clock) as _).unwrap();
    count(&audit, "ssn", Use::Sealed, 5);
    drop(audit);
    let lines = place.lines();
    let report = verified(&lines, place.owner(), &[]).unwrap();
    assert_eq!((report.lines, report.signed_up_to), (3, 2));
}

proptest! {
    #[test]
    fn no_line_comes_from_elsewhere(text: Vec<u8>, at in 0usize..4) {
        let lines: Vec<Vec<u8>> = LINES.with(Clone::clone);
        let mut changed = lines;
        changed.insert(at, text);
        let mut verifier = Verifier::new(None);
        prop_assert!(changed.iter().try_for_each(|line| verifier.feed(None, line).map(drop)).is_err());
    }
}

thread_local! {
    static LINES: Vec<Vec<u8>> = full().1;
}
