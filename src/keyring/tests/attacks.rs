//! What somebody who can write to the store, or to the disk, tries.

use super::*;
use crate::crypto::kem::DecapsulationKey;
use crate::keyring::cbor::Record;
use crate::keyring::master::Master;
use crate::keyring::record::{EpochRecord, PartitionRecord, Recipient, Tombstone};
use crate::keyring::store::EpochRow;
use crate::keyring::store::sqlite::SqliteStore;

fn record_of(keyring: &Keyring, name: &PartitionName) -> PartitionRecord {
    PartitionRecord::decode(&keyring.store.partition(name).unwrap().unwrap()).unwrap()
}

fn write_partition(place: &Place, record: &PartitionRecord) {
    let (bytes, version, name) = (place.bytes(&record.encode()), record.version, &record.name);
    place.write(&format!("UPDATE partition SET record = {bytes}, version = {version} WHERE name = '{name}'")).unwrap();
}

fn row_of(keyring: &Keyring, id: EpochId) -> EpochRow {
    keyring.store.epoch(id).unwrap().unwrap()
}

fn write_epoch(place: &Place, id: EpochId, record: &[u8]) {
    let sql = format!("UPDATE epoch SET record = {} WHERE id = {}", place.bytes(record), place.bytes(&id.0));
    place.write(&sql).unwrap();
}

/// A row that was not there, or was deleted.
fn add_epoch(place: &Place, id: [u8; 10], partition: &str, kind: u8, record: &str, current: bool) {
    let (id, yes, current) = (place.bytes(&id), place.truth(true), place.truth(current));
    let sql = format!(
        "INSERT INTO epoch (id, partition, kind, record, confirmed, current, change) \
         VALUES ({id}, '{partition}', {kind}, {record}, {yes}, {current}, 0)"
    );
    place.write(&sql).unwrap();
}

fn add_tombstone(place: &Place, id: EpochId, record: &[u8]) {
    let (id, record) = (place.bytes(&id.0), place.bytes(record));
    place.write(&format!("INSERT INTO tombstone (id, record, change) VALUES ({id}, {record}, 0)")).unwrap();
}

fn add_partition(place: &Place, name: &str, record: &str) {
    place
        .write(&format!("INSERT INTO partition (name, version, record, change) VALUES ('{name}', 1, {record}, 0)"))
        .unwrap();
}

fn make_current(place: &Place, id: EpochId) {
    place.write(&format!("UPDATE epoch SET current = {}", place.truth(false))).unwrap();
    let sql = format!("UPDATE epoch SET current = {} WHERE id = {}", place.truth(true), place.bytes(&id.0));
    place.write(&sql).unwrap();
}

/// Neither a process that runs nor one that starts opens it.
fn assert_closed(place: &Place, id: EpochId) {
    let keyring = place.open();
    let error = keyring.opening(id).unwrap_err();
    assert!(matches!(error, KeyringError::Unknown(_)), "{error}");
    assert!(keyring.alarms() > 0);
}

#[rstest]
fn a_recipient_added_without_the_owner_gets_nothing(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    place.init().provision(&name("tenant"), 10).unwrap();
    let running = place.open();
    running.sealing(&name("tenant"), Kind::Random).unwrap();
    let mut record = record_of(&running, &name("tenant"));
    let thief = DecapsulationKey::generate(KemSuite::MlKem768).unwrap().encapsulation_key().unwrap();
    record.recipients.push(Recipient { suite: 1, key: thief.as_bytes().to_vec() });
    record.version += 1;
    write_partition(&place, &record);
    running.tick();
    for keyring in [running, place.open()] {
        assert!(!matches!(keyring.sealing_cached(&name("tenant"), Kind::Random), Cached::Hit(_)));
        assert!(matches!(keyring.sealing(&name("tenant"), Kind::Random), Err(KeyringError::Unknown(_))));
        assert!(matches!(keyring.rollover(&name("tenant"), &[Kind::Random]), Err(KeyringError::Unknown(_))));
        assert!(keyring.alarms() > 0);
    }
    assert_eq!(place.ask("SELECT count(*) FROM epoch"), 1, "nothing was wrapped to the thief");
}

#[rstest]
fn a_damaged_default_partition_stops_the_start(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let mut record = record_of(&place.init(), &default());
    record.roles.push(("thief".into(), Permissions(u32::MAX)));
    write_partition(&place, &record);
    assert!(matches!(place.try_open(&place.options), Err(KeyringError::Mismatch(_))));
}

#[rstest]
fn a_record_rolled_back_or_removed_is_refused_by_who_saw_the_newer(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let tenant = name("tenant");
    keyring.provision(&tenant, 10).unwrap();
    let older = record_of(&keyring, &tenant);
    keyring.set_state(&tenant, State::Paused).unwrap();
    write_partition(&place, &older);
    keyring.tick();
    assert!(matches!(keyring.partition_cached(&tenant), Cached::Unknown));
    assert!(matches!(keyring.partition(&tenant), Err(KeyringError::Unknown(_))));
    place.write("DELETE FROM partition WHERE name = 'tenant'").unwrap();
    keyring.tick();
    assert!(matches!(keyring.partition(&tenant), Err(KeyringError::Unknown(_))));
    assert!(keyring.provision(&tenant, 10).is_err(), "it would come back active");
}

#[rstest]
fn one_partitions_record_does_not_serve_another(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    keyring.provision(&name("tenant"), 10).unwrap();
    let sql =
        "UPDATE partition SET record = (SELECT record FROM partition WHERE name = 'default') WHERE name = 'tenant'";
    place.write(sql).unwrap();
    assert!(matches!(place.open().partition(&name("tenant")), Err(KeyringError::Unknown(_))));
}

#[rstest]
fn an_epoch_of_a_foreign_issuer_neither_seals_nor_opens(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let thief = SigningKey::generate().unwrap();
    let unshared = keyring.add_encrypt_only_issuer(&default()).unwrap();
    let seed = crate::crypto::base64url::decode(unshared.expose()).unwrap();
    let unshared = SigningKey::from_seed(crate::secret::Secret::from_slice(&seed).unwrap());
    let recipients = record_of(&keyring, &default()).recipients;
    for kind in [Kind::Random, Kind::Deterministic] {
        let honest = keyring.sealing(&default(), kind).unwrap();
        for issuer in [&thief, &unshared] {
            let not_after = if kind == Kind::Random { START + DAY } else { 0 };
            let (core, dek) = epoch::make_core(&default(), kind, START, not_after).unwrap();
            let forged = epoch::seal_record(core, &dek, &recipients, issuer).unwrap();
            let no = place.truth(false);
            place.write(&format!("UPDATE epoch SET current = {no} WHERE kind = {}", kind as u8)).unwrap();
            let id = forged.core.id();
            add_epoch(&place, id.0, "default", kind as u8, &place.bytes(&forged.encode()), true);
            assert_closed(&place, id);
            let running = place.open();
            assert!(matches!(running.sealing(&default(), kind), Err(KeyringError::Mismatch(_))));
            keyring.tick();
            assert!(matches!(keyring.sealing_cached(&default(), kind), Cached::Miss));
            assert!(matches!(keyring.sealing(&default(), kind), Err(KeyringError::Mismatch(_))));
            keyring.rollover(&default(), &[kind]).unwrap();
            assert_ne!(keyring.sealing(&default(), kind).unwrap().id, id, "the way out");
        }
        assert_eq!(dek(&keyring.opening(honest.id).unwrap()), dek(&honest));
    }
}

#[rstest]
fn a_changed_epoch_record_does_not_open(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let [a, b] = [(); 2].map(|()| {
        keyring.rollover(&default(), &[Kind::Random]).unwrap();
        keyring.sealing(&default(), Kind::Random).unwrap().id
    });
    let (row_a, row_b) = (row_of(&keyring, a), row_of(&keyring, b));
    let record = EpochRecord::decode(&row_a.record).unwrap();
    let change = |f: &dyn Fn(&mut EpochRecord)| {
        let mut changed = record.clone();
        f(&mut changed);
        changed.encode()
    };
    let other = EpochRecord::decode(&row_b.record).unwrap();
    let thief = crate::crypto::random::secret().unwrap();
    let recipients = record_of(&keyring, &default()).recipients;
    let changed = [
        row_b.record,
        change(&|r| r.core.not_after += DAY),
        change(&|r| r.core.kind = Kind::Deterministic),
        change(&|r| r.core.partition = name("tenant")),
        change(&|r| r.wraps[0].wrapped[0] ^= 1),
        change(&|r| r.wraps[0].kem_ct[0] ^= 1),
        change(&|r| r.wraps = other.wraps.clone()),
        change(&|r| r.wraps.clear()),
        // Anybody can wrap a key of their own to a public key; only the commitment tells.
        change(&|r| r.wraps = vec![epoch::wrap(&r.core, &thief, &recipients[0]).unwrap()]),
        change(&|r| r.signature[9] ^= 1),
        change(&|r| r.core.commit[31] ^= 1),
        [row_a.record.as_slice(), &[0]].concat(),
        Vec::new(),
    ];
    keyring.provision(&name("tenant"), 10).unwrap();
    for record in changed {
        write_epoch(&place, a, &record);
        assert_closed(&place, a);
    }
    write_epoch(&place, a, &row_a.record);
    place.open().opening(a).unwrap();
}

#[rstest]
fn an_ended_epoch_marked_as_current_is_not_sealed_under(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let ended = keyring.sealing(&default(), Kind::Random).unwrap();
    place.clock.advance(DAY);
    let now = keyring.sealing(&default(), Kind::Random).unwrap();
    make_current(&place, ended.id);
    let fresh = place.open().sealing(&default(), Kind::Random).unwrap();
    assert!(fresh.id != ended.id && fresh.id != now.id);
}

#[rstest]
fn a_deterministic_epoch_from_before_a_rollover_is_not_sealed_under(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let old = keyring.sealing(&default(), Kind::Deterministic).unwrap();
    place.clock.advance(1);
    keyring.rollover(&default(), &[Kind::Deterministic]).unwrap();
    make_current(&place, old.id);
    keyring.tick();
    assert!(matches!(keyring.sealing_cached(&default(), Kind::Deterministic), Cached::Miss));
    assert!(matches!(keyring.sealing(&default(), Kind::Deterministic), Err(KeyringError::Mismatch(_))));
    keyring.rollover(&default(), &[Kind::Deterministic]).unwrap();
    assert_ne!(keyring.sealing(&default(), Kind::Deterministic).unwrap().id, old.id);
}

/// Records tell whole seconds, and a script rolls over more than once in one.
#[rstest]
fn of_epochs_made_within_a_second_the_one_before_is_the_previous_one(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let mut before = keyring.sealing(&default(), Kind::Deterministic).unwrap();
    for _ in 0..12 {
        keyring.rollover(&default(), &[Kind::Deterministic]).unwrap();
        let current = keyring.sealing(&default(), Kind::Deterministic).unwrap();
        assert_eq!(keyring.previous(&default()).unwrap().map(|epoch| epoch.id), Some(before.id));
        assert_eq!(place.open().previous(&default()).unwrap().map(|epoch| epoch.id), Some(before.id));
        before = current;
    }
}

#[rstest]
fn an_epoch_marked_as_another_kind_or_partition_is_not_sealed_under(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    keyring.provision(&name("tenant"), 10).unwrap();
    keyring.sealing(&default(), Kind::Random).unwrap();
    place.write("UPDATE epoch SET kind = 1").unwrap();
    assert!(matches!(place.open().sealing(&default(), Kind::Deterministic), Err(KeyringError::Mismatch(_))));
    place.write("UPDATE epoch SET kind = 0, partition = 'tenant'").unwrap();
    assert!(matches!(place.open().sealing(&name("tenant"), Kind::Random), Err(KeyringError::Mismatch(_))));
}

#[rstest]
fn a_destroyed_epoch_stays_destroyed(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (keyring, other, late) = (place.init(), place.open(), place.open());
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    other.opening(epoch.id).unwrap();
    let row = row_of(&keyring, epoch.id);
    keyring.destroy_epoch(epoch.id).unwrap();
    other.tick();
    for keyring in [&keyring, &other] {
        assert!(matches!(keyring.opening_cached(epoch.id), Cached::Unknown));
        assert!(keyring.opening(epoch.id).is_err());
        assert_ne!(keyring.sealing(&default(), Kind::Random).unwrap().id, epoch.id);
    }
    let restore = || {
        place.write(&format!("DELETE FROM epoch WHERE id = {}", place.bytes(&row.id.0))).unwrap();
        add_epoch(&place, row.id.0, "default", 0, &place.bytes(&row.record), false);
    };
    restore();
    assert!(late.opening(epoch.id).is_err(), "also for who has not yet read the tombstones");
    assert!(place.open().opening(epoch.id).is_err(), "the tombstone beats a restored copy");
    let again = store::NewEpoch {
        id: row.id,
        partition: &default(),
        kind: Kind::Random,
        record: &row.record,
        confirmed: true,
        replaces: None,
        under: None,
    };
    place.write("DELETE FROM epoch").unwrap();
    assert_eq!(keyring.store.insert_epoch(&again).unwrap(), store::Inserted::Taken);
    place.write("DELETE FROM tombstone").unwrap();
    restore();
    other.tick();
    assert!(other.opening(epoch.id).is_err(), "whoever saw the tombstone remembers it");
}

#[rstest]
fn a_forged_tombstone_destroys_nothing(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    let commit = EpochRecord::decode(&row_of(&keyring, epoch.id).record).unwrap().core.commit;
    let forged = Tombstone::sign(default(), commit, START, &SigningKey::generate().unwrap()).unwrap();
    add_tombstone(&place, epoch.id, &forged.encode());
    let other = place.open();
    other.opening(epoch.id).unwrap();
    assert!(other.alarms() > 0);
    other.destroy_epoch(epoch.id).unwrap();
    assert!(place.open().opening(epoch.id).is_err(), "the owner's takes its place");
}

#[rstest]
fn changed_private_keys_stop_the_start_and_not_who_runs(#[values(On::Sqlite, On::Postgres)] on: On) {
    let changes = [
        "UPDATE private_key SET blob = (SELECT blob FROM private_key WHERE usage = 5) WHERE usage = 4",
        "UPDATE private_key SET public = (SELECT public FROM private_key WHERE usage = 5) WHERE usage = 0",
        "UPDATE private_key SET partition = 'tenant' WHERE usage = 1",
        "UPDATE private_key SET usage = 0 WHERE usage = 4",
        "UPDATE private_key SET blob = zeroblob(88) WHERE usage = 0",
        "DELETE FROM private_key WHERE usage = 0",
        "UPDATE private_key SET usage = 9 WHERE usage = 5",
        "UPDATE private_key SET blob = 'text' WHERE usage = 5",
    ];
    for change in changes {
        let Some(place) = Place::on(on) else { return };
        let running = place.init();
        let epoch = running.sealing(&default(), Kind::Random).unwrap();
        if place.write(&change.replace("zeroblob(88)", &place.bytes(&[0; 88]))).is_none() {
            continue; // the schema itself refuses it
        }
        let error = place.try_open(&place.options).unwrap_err();
        assert!(matches!(error, KeyringError::Mismatch(_)), "{change}: {error}");
        running.tick();
        assert!(matches!(running.opening_cached(epoch.id), Cached::Hit(_)), "{change}");
        running.rollover(&default(), &[Kind::Random]).unwrap();
    }
}

#[test]
fn what_is_no_keyring_says_so() {
    let place = Place::new();
    let error = place.try_open(&place.options).unwrap_err();
    assert!(matches!(&error, KeyringError::NoKey(text) if text.contains("sidecloak keys init")), "{error}");
    place.init();
    let before = bounded(&place.file());
    let write = |bytes: &[u8]| {
        for suffix in ["", "-wal", "-shm"] {
            std::fs::remove_file(format!("{}{suffix}", place.file().display())).ok();
        }
        files::write_new(&place.file(), bytes).unwrap();
    };
    let mut header = before.clone();
    header[0] ^= 0xff;
    let mut page = before.clone();
    page[5000..9000].fill(0xa5);
    for damaged in [header.as_slice(), &page, &before[..before.len() / 2], b"not a database at all, but long", b""] {
        write(damaged);
        let error = place.try_open(&place.options).unwrap_err();
        assert!(matches!(error, KeyringError::Mismatch(_)), "{error}");
        if damaged.len() > 10 {
            assert!(Keyring::init(&place.options, KemSuite::MlKem768, place.clock.clone()).is_err());
            assert_eq!(bounded(&place.file()), damaged, "left as it is");
        }
    }
    write(&before);
    place.open();
    let lost_key = Options { master_keys: vec![KeySource::File(place.path("second.key"))], ..place.options.clone() };
    for options in [&place.options, &lost_key] {
        let error = Keyring::init(options, KemSuite::MlKem768, place.clock.clone()).unwrap_err();
        assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("left as it is")), "{error}");
    }
    assert!(!place.path("second.key").exists(), "no new key passes for the lost one");
    place.open();
    let foreign = place.path("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    std::fs::set_permissions(&foreign, std::fs::Permissions::from_mode(0o600)).unwrap();
    let options = Options { store: foreign.clone().into(), ..place.options.clone() };
    let content = bounded(&foreign);
    assert!(matches!(place.try_open(&options), Err(KeyringError::Mismatch(_))));
    assert!(Keyring::init(&options, KemSuite::MlKem768, place.clock.clone()).is_err());
    assert_eq!(bounded(&foreign), content, "somebody else's database is left as it is");
    place.sql().execute_batch("PRAGMA user_version = 99").unwrap();
    let error = place.try_open(&place.options).unwrap_err();
    assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("newer")), "{error}");
}

#[test]
fn a_wrong_missing_or_open_key_is_refused() {
    let place = Place::new();
    place.init();
    let KeySource::File(path) = place.options.master_keys[0].clone() else { panic!() };
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&place.file())), (0o600, 0o600));
    assert_eq!(bounded(&path).len(), 44, "43 characters and a line end");

    let other = place.path("other.key");
    Master::load_or_make(&KeySource::File(other.clone())).unwrap();
    let with = |keys: &[&PathBuf]| Options {
        master_keys: keys.iter().map(|path| KeySource::File((*path).clone())).collect(),
        ..place.options.clone()
    };
    let right = Master::load(&KeySource::File(path.clone())).unwrap();
    let error = place.try_open(&with(&[&other])).unwrap_err();
    let id = hex::encode(&right.id()[..4]);
    assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains(&id)), "{error}");
    place.try_open(&with(&[&other, &path])).unwrap();

    let error = place.try_open(&with(&[&place.path("none.key")])).unwrap_err();
    assert!(matches!(&error, KeyringError::NoKey(text) if text.contains("sidecloak keys init")), "{error}");
    let error = place.try_open(&with(&[])).unwrap_err();
    assert!(matches!(&error, KeyringError::NoKey(text) if text.contains("sidecloak keys init")), "{error}");
    let short = place.path("short.key");
    files::write_new(&short, b"c2hvcnQ\n").unwrap();
    assert!(matches!(place.try_open(&with(&[&short])), Err(KeyringError::NoKey(_))));

    for open in [&path, &place.file()] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = place.try_open(&place.options).unwrap_err();
        assert!(matches!(&error, KeyringError::NoKey(text) if text.contains("chmod")), "{error}");
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    place.open();
}

#[test]
fn on_a_full_disk_nothing_is_sealed_under_an_epoch_that_is_not_stored() {
    let place = Place::new();
    let mut keyring = place.init();
    let stored = keyring.sealing(&default(), Kind::Deterministic).unwrap();
    for full in [true, false] {
        let store = SqliteStore::open(&place.file()).unwrap();
        store.fill_disk(full);
        keyring.store = Box::new(store);
        let made = keyring.sealing(&default(), Kind::Random);
        let rolled = (0..20).try_for_each(|_| keyring.rollover(&default(), &[Kind::Deterministic]));
        if full {
            let error = made.err().or_else(|| rolled.err()).unwrap();
            assert!(matches!(&error, KeyringError::Unavailable(text) if text.contains("no space")), "{error}");
        } else {
            made.unwrap();
            rolled.unwrap();
        }
        let other = place.open();
        assert_eq!(dek(&other.opening(stored.id).unwrap()), dek(&stored), "nothing was lost");
        let current = keyring.sealing(&default(), Kind::Deterministic).unwrap();
        assert_eq!(dek(&other.opening(current.id).unwrap()), dek(&current));
    }
}

#[rstest]
fn rows_that_do_not_verify_do_not_spoil_an_export(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    keyring.provision(&name("tenant"), 10).unwrap();
    let epoch = keyring.sealing(&name("tenant"), Kind::Random).unwrap();
    let gone = keyring.sealing(&default(), Kind::Random).unwrap();
    let row = row_of(&keyring, gone.id);
    keyring.destroy_epoch(gone.id).unwrap();
    add_epoch(&place, [7; 10], "tenant", 0, &place.bytes(&[0]), false);
    add_epoch(&place, row.id.0, "default", 0, &place.bytes(&row.record), false);
    add_tombstone(&place, epoch.id, &[0]);
    add_partition(&place, "thief", &place.bytes(&[0]));
    place.write("UPDATE partition SET version = 99 WHERE name = 'tenant'").unwrap();
    let exported = keyring.export().unwrap();
    assert!(keyring.alarms() > 0);
    let options = place.beside("imported.db");
    let imported = Keyring::import(&options, &exported, place.clock).unwrap();
    assert_eq!(dek(&imported.opening(epoch.id).unwrap()), dek(&epoch));
    assert!(imported.opening(gone.id).is_err());
    assert_eq!(imported.list().unwrap().len(), 2);
    imported.set_state(&name("tenant"), State::Paused).unwrap();
}

#[rstest]
fn a_huge_row_is_not_read_and_stops_nothing(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    let huge = if on == On::Postgres { "decode(repeat('00', 40000000), 'hex')" } else { "zeroblob(40000000)" };
    add_epoch(&place, [7; 10], "default", 0, huge, false);
    add_partition(&place, "huge", huge);
    keyring.tick();
    let row = keyring.store.epoch(EpochId([7; 10])).unwrap().unwrap();
    assert!(row.record.is_empty());
    assert!(matches!(keyring.opening(row.id), Err(KeyringError::Unknown(_))));
    assert!(matches!(keyring.partition(&name("huge")), Err(KeyringError::Unknown(_))));
    assert_eq!(place.open().opening(epoch.id).unwrap().id, epoch.id);
}

#[test]
fn a_tombstone_in_a_restored_file_is_seen_though_its_number_was_there_before() {
    let place = Place::new();
    let (keyring, proxy) = (place.init(), place.open());
    let [kept, gone] = [(); 2].map(|()| {
        keyring.rollover(&default(), &[Kind::Random]).unwrap();
        keyring.sealing(&default(), Kind::Random).unwrap().id
    });
    keyring.sealing(&default(), Kind::Deterministic).unwrap();
    let copy = place.path("copy.db");
    place.sql().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
    keyring.destroy_epoch(gone).unwrap();
    proxy.opening(kept).unwrap();
    proxy.tick();
    drop(keyring);
    std::fs::rename(&copy, place.file()).unwrap();
    place.open().destroy_epoch(kept).unwrap();
    proxy.tick();
    assert!(!matches!(proxy.opening_cached(kept), Cached::Hit(_)));
    assert!(proxy.opening(kept).is_err());
}
