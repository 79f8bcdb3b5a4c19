//! What operators do: states, roles, destruction, rotation, export, recovery, processes that only encrypt.

use super::*;
use crate::keyring::master::Master;
use crate::secret::SecretBytes;

fn key_file(place: &Place, name: &str, line: &SecretBytes) -> KeySource {
    files::write_new(&place.path(name), line.expose()).unwrap();
    KeySource::File(place.path(name))
}

fn encrypt_only(place: &Place, operator: &Keyring) -> Options {
    let line = operator.add_encrypt_only_issuer(&default()).unwrap();
    Options {
        master_keys: Vec::new(),
        owner: Some(operator.owner_fingerprint()),
        issuer: Some(key_file(place, "issuer.key", &line)),
        ..place.options.clone()
    }
}

#[rstest]
fn partitions_are_made_listed_and_changed(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (keyring, other) = (place.init(), place.open());
    let tenant = name("tenant");
    keyring.create_partition(&tenant).unwrap();
    assert!(keyring.create_partition(&tenant).is_err());
    let epoch = other.sealing(&tenant, Kind::Random).unwrap();
    keyring.set_role(&tenant, "teller", Some(Permissions(Permissions::DECRYPT))).unwrap();
    keyring.set_role(&tenant, "default", None).unwrap();
    other.set_role(&tenant, "clerk", Some(Permissions(Permissions::MASK))).unwrap();
    keyring.tick();
    let partition = keyring.partition(&tenant).unwrap();
    assert_eq!(partition.version, 4);
    assert!(partition.permissions("teller").has(Permissions::DECRYPT));
    assert!(partition.permissions("clerk").has(Permissions::MASK));
    assert_eq!(partition.permissions("default"), Permissions(0));
    place.clock.advance(60);
    let list = keyring.list().unwrap();
    assert_eq!(list.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["default", "tenant"]);
    let info = &list[1];
    assert_eq!((info.state, info.version, info.epochs, info.issuers, info.signers.len()), (State::Active, 4, 1, 1, 1));
    assert_eq!((info.current[0].id, info.current[0].age), (epoch.id, 60));
    assert_eq!(keyring.epochs(&tenant, 10).unwrap(), info.current);
    assert_eq!((info.recipients[0].suite, info.recipients[0].ours), (Some(KemSuite::MlKem768), true));
}

#[rstest]
fn a_destroyed_partition_is_gone_for_good(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (keyring, other) = (place.init(), place.open());
    let tenant = name("tenant");
    keyring.create_partition(&tenant).unwrap();
    let epochs = Kind::ALL.map(|kind| other.sealing(&tenant, kind).unwrap());
    keyring.set_state(&tenant, State::Destroyed).unwrap();
    other.tick();
    for keyring in [&keyring, &other, &place.open()] {
        for epoch in &epochs {
            assert!(!matches!(keyring.opening_cached(epoch.id), Cached::Hit(_)));
            assert!(keyring.opening(epoch.id).is_err());
        }
        assert!(matches!(keyring.sealing(&tenant, Kind::Random), Err(KeyringError::Denied(_, State::Destroyed))));
    }
    let state = keyring.set_state(&tenant, State::Active);
    assert!(matches!(state, Err(KeyringError::Denied(_, State::Destroyed))));
    assert_eq!(keyring.list().unwrap()[1].epochs, 0);
}

#[rstest]
fn changes_by_two_operators_at_once_are_both_kept(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    place.init();
    std::thread::scope(|scope| {
        for i in 0..4 {
            let place = &place;
            scope.spawn(move || {
                let keyring = place.open();
                (0..3).for_each(|j| keyring.set_role(&default(), &format!("r{i}{j}"), Some(Permissions(4))).unwrap());
            });
        }
    });
    assert_eq!(place.open().partition(&default()).unwrap().roles.len(), 13);
}

#[rstest]
fn an_encrypt_only_process_opens_nothing_but_its_own(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let operator = place.init();
    let others = operator.sealing(&default(), Kind::Random).unwrap();
    let options = encrypt_only(&place, &operator);
    let sealer = place.try_open(&options).unwrap();
    let own = sealer.sealing(&default(), Kind::Random).unwrap();
    assert_eq!(own.kind, Kind::Private);
    assert!(matches!(sealer.sealing_cached(&default(), Kind::Random), Cached::Hit(e) if e.id == own.id));
    sealer.self_check().unwrap();
    assert!(matches!(sealer.opening(others.id), Err(KeyringError::NoKey(_))));
    assert!(matches!(sealer.sealing(&default(), Kind::Deterministic), Err(KeyringError::NoKey(_))));
    assert!(matches!(sealer.provision(&name("tenant"), 10), Err(KeyringError::NoKey(_))));
    assert!(matches!(sealer.set_state(&default(), State::Paused), Err(KeyringError::NoKey(_))));
    assert!(sealer.signer(&default()).unwrap().is_none());
    assert_eq!(dek(&operator.opening(own.id).unwrap()), dek(&own));
    let again = place.try_open(&options).unwrap();
    assert!(matches!(again.opening(own.id), Err(KeyringError::NoKey(_))), "not even after a restart");
    assert_ne!(again.sealing(&default(), Kind::Random).unwrap().id, own.id);

    operator.set_state(&default(), State::Paused).unwrap();
    sealer.tick();
    assert!(matches!(sealer.sealing_cached(&default(), Kind::Random), Cached::Denied(State::Paused)));
    for wrong in [
        Options { owner: None, ..options.clone() },
        Options { issuer: None, ..options.clone() },
        Options { master_keys: place.options.master_keys.clone(), ..options.clone() },
    ] {
        assert!(matches!(place.try_open(&wrong), Err(KeyringError::NoKey(_))));
    }
    let pinned = Options { owner: Some([7; 32]), ..options };
    assert!(matches!(place.try_open(&pinned), Err(KeyringError::Mismatch(_))));
    let pinned = Options { owner: Some([7; 32]), ..place.options.clone() };
    assert!(matches!(place.try_open(&pinned), Err(KeyringError::Mismatch(_))));
}

#[rstest]
fn a_sealer_can_wait_for_an_openers_confirmation(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let operator = place.init();
    let options = Options { require_confirmed: true, ..encrypt_only(&place, &operator) };
    let sealer = place.try_open(&options).unwrap();
    for _ in 0..3 {
        assert!(matches!(sealer.sealing(&default(), Kind::Random), Err(KeyringError::Unavailable(_))));
    }
    assert_eq!(place.ask("SELECT count(*) FROM epoch"), 1, "one waits, no new one each time");
    operator.tick();
    let epoch = sealer.sealing(&default(), Kind::Random).unwrap();
    place.clock.advance(DAY * 96 / 100);
    sealer.tick();
    assert_eq!(sealer.sealing(&default(), Kind::Random).unwrap().id, epoch.id, "the old one meanwhile");
    operator.tick();
    sealer.tick();
    assert_ne!(sealer.sealing(&default(), Kind::Random).unwrap().id, epoch.id);
    assert_eq!(operator.alarms(), 0);
}

#[rstest]
fn an_opener_raises_an_alarm_for_a_record_it_cannot_open(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let operator = place.init();
    let sealer = place.try_open(&encrypt_only(&place, &operator)).unwrap();
    let epoch = sealer.sealing(&default(), Kind::Random).unwrap();
    let mut record: record::EpochRecord =
        cbor::Record::decode(&operator.store.epoch(epoch.id).unwrap().unwrap().record).unwrap();
    record.wraps[0].wrapped[1] ^= 1;
    place.write(&format!("UPDATE epoch SET record = {}", place.bytes(&cbor::Record::encode(&record)))).unwrap();
    operator.tick();
    assert!(operator.alarms() > 0);
    assert!(!operator.store.epoch(epoch.id).unwrap().unwrap().confirmed);
}

#[rstest]
fn the_master_key_is_exchanged_while_others_run(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (operator, proxy) = (place.init(), place.open());
    let epoch = proxy.sealing(&default(), Kind::Random).unwrap();
    let new = KeySource::File(place.path("new.key"));
    operator.rotate_master(&new).unwrap();
    operator.rotate_master(&new).unwrap();
    proxy.tick();
    assert_eq!(proxy.alarms(), 0);
    proxy.rollover(&default(), &[Kind::Random]).unwrap();
    operator.set_role(&default(), "teller", Some(Permissions(4))).unwrap();
    assert!(matches!(place.try_open(&place.options), Err(KeyringError::Mismatch(_))), "the old key alone");
    let old = place.options.master_keys[0].clone();
    for keys in [vec![new.clone()], vec![new.clone(), old.clone()], vec![old, new]] {
        let keyring = place.try_open(&Options { master_keys: keys, ..place.options.clone() }).unwrap();
        assert_eq!(dek(&keyring.opening(epoch.id).unwrap()), dek(&epoch));
    }
}

#[rstest]
fn an_export_opens_elsewhere_for_the_master_key_alone(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    keyring.provision(&name("tenant"), 10).unwrap();
    let epochs = Kind::ALL.map(|kind| keyring.sealing(&name("tenant"), kind).unwrap());
    let gone = keyring.sealing(&default(), Kind::Random).unwrap();
    keyring.destroy_epoch(gone.id).unwrap();
    let exported = keyring.export().unwrap();

    let options = place.beside("imported.db");
    let imported = Keyring::import(&options, &exported, place.clock.clone()).unwrap();
    assert_eq!(imported.store.dump().unwrap(), keyring.store.dump().unwrap());
    for epoch in epochs {
        assert_eq!(dek(&imported.opening(epoch.id).unwrap()), dek(&epoch));
    }
    assert!(imported.opening(gone.id).is_err());
    assert!(Keyring::import(&options, &exported, place.clock.clone()).is_err(), "it exists");

    let options = place.beside("again.db");
    for at in [0, 25, 40, 70, exported.len() - 1] {
        let mut changed = exported.clone();
        changed[at] ^= 1;
        let error = Keyring::import(&options, &changed, place.clock.clone()).unwrap_err();
        assert!(matches!(error, KeyringError::Mismatch(_)), "{error}");
    }
    let other = KeySource::File(place.path("other.key"));
    Master::load_or_make(&other).unwrap();
    let foreign = Options { master_keys: vec![other], ..options.clone() };
    assert!(matches!(Keyring::import(&foreign, &exported, place.clock), Err(KeyringError::Mismatch(_))));
    assert!(!Keyring::exists(&options).unwrap());
}

#[rstest]
fn a_recovery_key_opens_everything_without_the_master_key(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (keyring, proxy) = (place.init(), place.open());
    keyring.provision(&name("tenant"), 10).unwrap();
    let before = proxy.sealing(&name("tenant"), Kind::Random).unwrap();
    let key = keyring.make_recovery(KemSuite::XWing).unwrap();
    assert!(!format!("{key:?}").contains(std::str::from_utf8(key.private_line.expose()).unwrap()));
    proxy.tick();
    assert_eq!(proxy.sealing(&name("tenant"), Kind::Random).unwrap().id, before.id, "re-wrapped, not rolled");
    let after = proxy.sealing(&name("tenant"), Kind::Deterministic).unwrap();
    keyring.provision(&name("later"), 10).unwrap();
    let later = proxy.sealing(&name("later"), Kind::Random).unwrap();
    assert_eq!(keyring.list().unwrap()[2].recipients.iter().filter(|r| !r.ours).count(), 1);

    keyring.provision(&name("stopped"), 10).unwrap();
    keyring.set_state(&name("stopped"), State::Paused).unwrap();

    let owner = Some(keyring.owner_fingerprint());
    let recovery = Recovery::open(&place.options, &key.private_line, owner).unwrap();
    for epoch in [&before, &after, &later] {
        assert_eq!(dek(&recovery.epoch(epoch.id).unwrap()), dek(epoch));
    }
    assert!(Recovery::open(&place.options, &key.private_line, Some([1; 32])).is_err());
    let stranger = Place::new().init().make_recovery(KemSuite::MlKem768).unwrap();
    let blind = Recovery::open(&place.options, &stranger.private_line, owner).unwrap();
    assert!(blind.epoch(before.id).is_err());

    let new = Place::new();
    let rescued = new.init();
    assert_eq!(rescued.recover_from(&recovery).unwrap(), 3);
    assert_eq!(rescued.recover_from(&recovery).unwrap(), 0, "again does no harm");
    assert_eq!(rescued.partition(&name("stopped")).unwrap().state, State::Paused);
    for epoch in [&before, &after, &later] {
        assert_eq!(dek(&new.open().opening(epoch.id).unwrap()), dek(epoch));
    }
    let fresh = rescued.sealing(&name("tenant"), Kind::Deterministic).unwrap();
    assert_ne!(fresh.id, after.id);
}

#[test]
fn recovery_files_enter_new_keyrings() {
    let key = Place::new().init().make_recovery(KemSuite::MlKem1024).unwrap();
    let mut place = Place::new();
    std::fs::write(place.path("recovery.pub"), format!("{}\n", key.public_line)).unwrap();
    place.options.recovery = vec![KeySource::File(place.path("recovery.pub"))];
    let epoch = place.init().sealing(&default(), Kind::Random).unwrap();
    let recovery = Recovery::open(&place.options, &key.private_line, None).unwrap();
    assert_eq!(dek(&recovery.epoch(epoch.id).unwrap()), dek(&epoch));
    std::fs::write(place.path("recovery.pub"), "nonsense").unwrap();
    let options = place.beside("x.db");
    assert!(Keyring::init(&options, KemSuite::MlKem768, place.clock).is_err());
    assert!(!Keyring::exists(&options).unwrap());
}

#[rstest]
fn partitions_that_requests_ask_for_are_made_at_a_bounded_rate(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    assert_eq!(keyring.lock().provisions.left, 1000);
    keyring.lock().provisions.left = 20;
    let made = |round: u32| {
        (0..200).take_while(|i| keyring.provision(&name(&format!("t-{round}-{i}")), 10_000).is_ok()).count()
    };
    assert_eq!(made(0), 20);
    assert!(keyring.provision(&name("t-0-0"), 10_000).is_ok(), "one that is there costs nothing");
    place.clock.advance(1);
    assert_eq!(made(1), 50);
    keyring.create_partition(&name("by-hand")).unwrap();
}

#[rstest]
fn a_record_refused_for_its_issuer_is_looked_at_again_once_that_is_listed(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let operator = place.init();
    let sealer = place.try_open(&encrypt_only(&place, &operator)).unwrap();
    let before = place.open().store.partition(&default()).unwrap().unwrap();
    let mut record: record::PartitionRecord = cbor::Record::decode(&before).unwrap();
    let issuer = record.issuers.pop().unwrap();
    let owner = operator.lock().keys.owner.clone().unwrap();
    let epoch = sealer.sealing(&default(), Kind::Random).unwrap();
    let put = |record: &mut record::PartitionRecord| {
        record.version += 1;
        record.sign(&owner).unwrap();
        let put = operator.store.put_partition(&default(), record.version - 1, &cbor::Record::encode(record));
        assert_eq!(put.unwrap(), store::Put::Done);
        operator.tick();
    };
    put(&mut record);
    assert!(!operator.store.epoch(epoch.id).unwrap().unwrap().confirmed);
    record.issuers.push(issuer);
    put(&mut record);
    assert!(operator.store.epoch(epoch.id).unwrap().unwrap().confirmed);
}

#[rstest]
fn what_a_removed_issuer_made_neither_seals_nor_opens_any_more(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (operator, proxy) = (place.init(), place.open());
    let epochs = [Kind::Random, Kind::Deterministic].map(|kind| proxy.sealing(&default(), kind).unwrap());
    let mut record: record::PartitionRecord =
        cbor::Record::decode(&operator.store.partition(&default()).unwrap().unwrap()).unwrap();
    record.issuers.clear();
    record.version += 1;
    record.sign(&operator.lock().keys.owner.clone().unwrap()).unwrap();
    operator.store.put_partition(&default(), record.version - 1, &cbor::Record::encode(&record)).unwrap();
    proxy.tick();
    for epoch in epochs {
        assert!(!matches!(proxy.opening_cached(epoch.id), Cached::Hit(_)));
        assert!(matches!(proxy.opening(epoch.id), Err(KeyringError::Unknown(_))));
        assert!(!matches!(proxy.sealing_cached(&default(), epoch.kind), Cached::Hit(_)));
    }
}

#[rstest]
fn a_rotation_that_broke_off_goes_on_where_it_was(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let epoch = place.init().sealing(&default(), Kind::Random).unwrap();
    let (old, new) = (place.options.master_keys[0].clone(), KeySource::File(place.path("new.key")));
    let (from, to) = (Master::load(&old).unwrap(), Master::load_or_make(&new).unwrap());
    let keyring = place.open();
    let rows = keyring.store.keys().unwrap();
    let seed = Masters(vec![from]).unwrap(&rows[1]).unwrap();
    let blob = to.wrap(rows[1].usage, &rows[1].public, &rows[1].partition, seed.expose()).unwrap();
    keyring.store.rewrap_key(rows[1].usage, &rows[1].public, &rows[1].blob, &blob).unwrap();

    Keyring::open_to_rotate(&place.options, &new, place.clock.clone()).unwrap().rotate_master(&new).unwrap();
    let after = place.try_open(&Options { master_keys: vec![new], ..place.options.clone() }).unwrap();
    assert_eq!(dek(&after.opening(epoch.id).unwrap()), dek(&epoch));
}

#[rstest]
fn an_epoch_made_while_its_partition_changes_is_made_anew(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let (core, dek) = epoch::make_core(&default(), Kind::Random, START, START + DAY).unwrap();
    let older = keyring.store.partition(&default()).unwrap().unwrap();
    let listed: record::PartitionRecord = cbor::Record::decode(&older).unwrap();
    let issuer = keyring.lock().keys.issuers[0].clone();
    let record = epoch::seal_record(core, &dek, &listed.recipients, &issuer).unwrap();
    keyring.make_recovery(KemSuite::MlKem768).unwrap();
    let row = store::NewEpoch {
        id: record.core.id(),
        partition: &default(),
        kind: Kind::Random,
        record: &cbor::Record::encode(&record),
        confirmed: true,
        replaces: Some(None),
        under: Some(&older),
    };
    let inserted = keyring.store.insert_epoch(&row).unwrap();
    assert_eq!(inserted, store::Inserted::Raced, "the recovery key would never open it");
}

#[rstest]
fn a_destruction_that_broke_off_at_the_mirror_is_finished_by_the_next(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    place.init();
    let mirror = place.path("epochs");
    let keyring = place.try_open(&Options { mirror: Some(mirror.clone()), ..place.options.clone() }).unwrap();
    let tenant = name("tenant");
    keyring.create_partition(&tenant).unwrap();
    let ids = [Kind::Random, Kind::Deterministic].map(|kind| keyring.sealing(&tenant, kind).unwrap().id);
    std::fs::rename(&mirror, place.path("away")).unwrap();
    assert!(keyring.set_state(&tenant, State::Destroyed).is_err());
    std::fs::rename(place.path("away"), &mirror).unwrap();
    keyring.set_state(&tenant, State::Destroyed).unwrap();
    for id in ids {
        assert!(!mirror.join(format!("{id}.cbor")).exists());
        assert!(mirror.join(format!("{id}.destroyed")).exists());
        assert!(keyring.store.epoch(id).unwrap().is_none());
    }
}

#[rstest]
fn a_partition_never_gets_a_record_that_nobody_reads(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let roles = || (0..5000).map(|n| (format!("role-{n}"), Permissions(4))).collect();
    let io = keyring.lock();
    let full = keyring.edit(&io, &default(), |record| {
        record.roles = roles();
        Ok(())
    });
    assert!(matches!(full, Err(KeyringError::Mismatch(_))), "{full:?}");
    drop(io);
    keyring.sealing(&default(), Kind::Random).unwrap();
    place.open();
}
