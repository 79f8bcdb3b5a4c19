//! What an authority does for processes without its store, and what it does not.

use super::*;
use crate::crypto::kdf::sha256;
use crate::keyring::cbor::Record;
use crate::keyring::epoch;
use crate::keyring::record::{Core, EpochRecord, Issuer, PartitionRecord, Wrap};
use crate::keyring::store::Inserted;

/// A keyring with a partition `tenant`, for which an issuer that is not shared may make epochs.
fn place() -> (Place, Keyring, SigningKey, PartitionRecord) {
    let place = Place::new();
    let keyring = place.init();
    keyring.create_partition(&name("tenant")).unwrap();
    let issuer = SigningKey::generate().unwrap();
    let io = keyring.lock();
    let listed = Issuer { key: issuer.verifying_key().clone(), shared: false };
    keyring
        .edit(&io, &name("tenant"), |record| {
            record.issuers.push(listed.clone());
            Ok(())
        })
        .unwrap();
    drop(io);
    let (_, encoded) = keyring.served_partition(&name("tenant")).unwrap();
    let record = PartitionRecord::decode(&encoded).unwrap();
    (place, keyring, issuer, record)
}

fn draft(partition: &PartitionRecord, kind: Kind, created: u64, not_after: u64) -> EpochRecord {
    let (core, dek) = epoch::make_core(&partition.name, kind, created, not_after).unwrap();
    let wraps = epoch::wrap_all(&core, &dek, &partition.recipients).unwrap();
    EpochRecord { core, issuer: [0; 16], signature: Vec::new(), wraps }
}

fn signed(draft: EpochRecord, issuer: &SigningKey) -> EpochRecord {
    EpochRecord::sign(draft.core, issuer, draft.wraps).unwrap()
}

fn asked(wrap: &Wrap) -> (u8, [u8; 16], &[u8]) {
    (wrap.suite, wrap.recipient, &wrap.kem_ct)
}

#[test]
fn a_wrap_of_another_epoch_is_not_decapsulated() {
    let (_place, keyring, issuer, tenant) = place();
    let victim = keyring.sealing(&default(), Kind::Random).unwrap();
    let victim = keyring.served_epoch(victim.id).unwrap().unwrap().unwrap();
    let victim = EpochRecord::decode(&victim.record).unwrap();

    // Who may make epochs of `tenant` puts the other partition's wrap beside its own.
    let mut record = draft(&tenant, Kind::Private, START, START + DAY);
    let own = record.wraps[0].clone();
    record.wraps.push(victim.wraps[0].clone());
    let record = signed(record, &issuer);
    let id = record.core.id();
    let inserted = keyring.take_epoch(&name("tenant"), &record.encode(), None, None).unwrap();
    assert_eq!(inserted, Inserted::Done);

    let ask = |of: &str, id, wrap: &Wrap| keyring.decapsulate_for(&name(of), id, asked(wrap), false);
    let shared = ask("tenant", id, &own).unwrap();
    let public = &tenant.recipients[0].key;
    assert!(epoch::unwrap_shared(&record.core, &own, public, &shared).is_some());
    assert!(ask("tenant", id, &victim.wraps[0]).is_err(), "it opens under another core");
    assert!(keyring.alarms() > 0);
    assert!(ask("tenant", victim.core.id(), &victim.wraps[0]).is_err(), "another partition's epoch");
    assert!(ask("default", id, &own).is_err());
    let shared = ask("default", victim.core.id(), &victim.wraps[0]).unwrap();
    assert!(epoch::unwrap_shared(&victim.core, &victim.wraps[0], public, &shared).is_some());
    let mut changed = own;
    changed.kem_ct[7] ^= 1;
    assert!(ask("tenant", id, &changed).is_err(), "no ciphertext but the stored one");
}

#[test]
fn a_state_stops_decapsulation_and_who_only_seals_gets_current_epochs() {
    let (_place, keyring, _, _) = place();
    let old = keyring.sealing(&default(), Kind::Random).unwrap().id;
    keyring.rollover(&default(), &[Kind::Random]).unwrap();
    let current = keyring.sealing(&default(), Kind::Random).unwrap().id;
    let record =
        |id| EpochRecord::decode(&keyring.served_epoch(id).unwrap().unwrap().unwrap().record).unwrap().wraps.remove(0);
    let (old_wrap, current_wrap) = (record(old), record(current));
    let ask = |id, wrap: &Wrap, to_seal| keyring.decapsulate_for(&default(), id, asked(wrap), to_seal);
    assert!(ask(old, &old_wrap, false).is_ok() && ask(current, &current_wrap, true).is_ok());
    assert!(matches!(ask(old, &old_wrap, true), Err(KeyringError::Unknown(_))));
    keyring.set_state(&default(), State::DecryptOnly).unwrap();
    assert!(ask(current, &current_wrap, false).is_ok());
    assert!(matches!(ask(current, &current_wrap, true), Err(KeyringError::Denied(..))));
    keyring.set_state(&default(), State::Paused).unwrap();
    assert!(matches!(ask(current, &current_wrap, false), Err(KeyringError::Denied(..))));
    keyring.set_state(&default(), State::Active).unwrap();
    keyring.destroy_epoch(old).unwrap();
    assert!(ask(old, &old_wrap, false).is_err());
}

#[test]
fn only_an_epoch_that_every_process_takes_is_signed() {
    let (_place, keyring, issuer, tenant) = place();
    let (_, encoded) = keyring.served_partition(&name("tenant")).unwrap();
    let under = sha256(&encoded);
    let issue = |record: &EpochRecord, replaces, under| {
        keyring.issue_epoch(&name("tenant"), &record.encode(), replaces, under).map_err(|error| error.to_string())
    };
    let good = draft(&tenant, Kind::Random, START, START + DAY);
    for (what, record) in [
        ("one process", draft(&tenant, Kind::Private, START, START + DAY)),
        ("not made now", draft(&tenant, Kind::Random, START - 301, START + DAY)),
        ("not made now", draft(&tenant, Kind::Random, START + 301, START + DAY)),
        ("epoch_lifetime", draft(&tenant, Kind::Random, START, START + DAY + 301)),
        ("epoch_lifetime", draft(&tenant, Kind::Random, START, START)),
        ("each recipient", EpochRecord { wraps: Vec::new(), ..good.clone() }),
        ("each recipient", EpochRecord { wraps: vec![good.wraps[0].clone(); 2], ..good.clone() }),
        ("does not open", EpochRecord { core: Core { commit: [7; 32], ..good.core.clone() }, ..good.clone() }),
        ("another partition", EpochRecord { core: Core { partition: default(), ..good.core.clone() }, ..good.clone() }),
    ] {
        let error = issue(&record, None, under).unwrap_err();
        assert!(error.contains(what), "{what}: {error}");
    }
    assert_eq!(issue(&good, None, [0; 32]).unwrap().0, Inserted::Raced, "made under another record");
    let (inserted, record) = issue(&good, None, under).unwrap();
    assert_eq!(inserted, Inserted::Done);
    let record = EpochRecord::decode(&record).unwrap();
    epoch::verify(&record, &tenant, &keyring.owner).unwrap();
    assert_eq!(keyring.sealing(&name("tenant"), Kind::Random).unwrap().id, good.core.id());
    assert_eq!(issue(&good, Some(good.core.id()), under).unwrap().0, Inserted::Taken);
    let older = draft(&tenant, Kind::Random, START - 1, START + DAY);
    assert!(issue(&older, Some(good.core.id()), under).unwrap_err().contains("older"));
    assert_eq!(issue(&draft(&tenant, Kind::Random, START, START + 9), None, under).unwrap().0, Inserted::Raced);
    let next = draft(&tenant, Kind::Random, START, START + DAY);
    assert_eq!(issue(&next, Some(good.core.id()), under).unwrap().0, Inserted::Done);

    // A deterministic epoch is made where there is none, and rolled by nobody but an operator.
    let first = draft(&tenant, Kind::Deterministic, START, 0);
    assert_eq!(issue(&first, None, under).unwrap().0, Inserted::Done);
    let error = issue(&draft(&tenant, Kind::Deterministic, START, 0), Some(first.core.id()), under).unwrap_err();
    assert!(error.contains("keys rollover"), "{error}");

    // An issuer that is not shared makes epochs of its own only, and none is made while the partition rests.
    let take = |record: EpochRecord, replaces| {
        let record = signed(record, &issuer).encode();
        keyring.take_epoch(&name("tenant"), &record, replaces, Some(under)).map_err(|error| error.to_string())
    };
    assert!(take(draft(&tenant, Kind::Random, START, START + DAY), None).unwrap_err().contains("may not make"));
    let private = draft(&tenant, Kind::Private, START, START + DAY);
    assert!(take(private.clone(), Some(None)).unwrap_err().contains("never is the current"));
    let stranger = SigningKey::generate().unwrap();
    let forged = signed(private.clone(), &stranger).encode();
    assert!(keyring.take_epoch(&name("tenant"), &forged, None, None).is_err());
    assert_eq!(take(private, None).unwrap(), Inserted::Done);
    keyring.set_state(&name("tenant"), State::DecryptOnly).unwrap();
    assert!(take(draft(&tenant, Kind::Private, START, START + DAY), None).unwrap_err().contains("decrypt-only"));
}

#[test]
fn no_private_key_is_handed_out() {
    let (_place, keyring, _, _) = place();
    let keys = keyring.served_keys().unwrap();
    assert_eq!(keys.iter().map(|(usage, _)| *usage).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(keys[0].1, keyring.owner.as_bytes());
}
