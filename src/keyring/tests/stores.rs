//! What every store does, whatever lies above it.

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::keyring::store::postgres::{PostgresStore, Source};
use crate::keyring::store::{EntryRow, Inserted, NewEpoch, Put, Records, StoreError};
use crate::keyring::tests::cluster::Settings;

fn entry(id: &str, left: Option<u64>) -> EntryRow {
    EntryRow { kind: "attempt".into(), id: id.into(), version: 1, expires: 0, left, sealed: vec![1] }
}

fn records(keyring: &Keyring) -> &dyn Records {
    keyring.records().unwrap()
}

#[rstest]
fn entries_are_compared_before_they_are_changed(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let store = records(&keyring);
    let row = entry("a", Some(3));
    assert_eq!(store.put_entry(&row, 0).unwrap(), Put::Done);
    assert_eq!(store.put_entry(&row, 0).unwrap(), Put::Conflict, "it is there");
    assert_eq!(store.entry("attempt", "a").unwrap().unwrap(), row);
    assert_eq!(store.take("attempt", "a", 5).unwrap(), Some(2));
    let second = EntryRow { version: 2, expires: 10, sealed: vec![2], ..row };
    assert_eq!(store.put_entry(&second, 2).unwrap(), Put::Conflict, "of another version");
    assert_eq!(store.put_entry(&EntryRow { left: None, ..second.clone() }, 1).unwrap(), Put::Conflict, "uncounted");
    assert_eq!(store.put_entry(&second, 1).unwrap(), Put::Done);
    assert_eq!(
        store.entry("attempt", "a").unwrap().unwrap(),
        EntryRow { left: Some(2), ..second },
        "the count is kept"
    );
    assert_eq!(store.take("attempt", "a", 10).unwrap(), None, "it has ended");
    assert_eq!(store.take("attempt", "a", 9).unwrap(), Some(1));
    assert_eq!(store.take("attempt", "a", 9).unwrap(), Some(0));
    assert_eq!(store.take("attempt", "a", 9).unwrap(), None);
    assert_eq!(store.take("attempt", "nobody", 9).unwrap(), None);
    for id in ["c", "b", "B", "é"] {
        store.put_entry(&entry(id, None), 0).unwrap();
    }
    assert_eq!(store.take("attempt", "b", 1).unwrap(), None, "not a counted one");
    let names = |after: &str, limit| {
        store.entries("attempt", after, limit).unwrap().into_iter().map(|e| e.id).collect::<Vec<_>>()
    };
    assert_eq!(names("", 9), ["B", "a", "b", "c", "é"], "by bytes");
    assert_eq!(names("a", 2), ["b", "c"]);
    assert_eq!(store.forget_expired(10, 5).unwrap(), 0);
    assert_eq!(store.forget_expired(11, 5).unwrap(), 1);
    assert_eq!(store.delete_entry("attempt", "b", 2).unwrap(), Put::Conflict);
    assert_eq!(store.delete_entry("attempt", "b", 1).unwrap(), Put::Done);
    assert_eq!(names("", 9), ["B", "c", "é"]);
}

#[rstest]
fn of_uses_and_audit_numbers_none_is_given_twice(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    records(&keyring).put_entry(&entry("a", Some(40)), 0).unwrap();
    let counted: Vec<(usize, usize)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let keyring = place.open();
                    let store = records(&keyring);
                    let taken = (0..20).filter(|_| store.take("attempt", "a", 1).unwrap().is_some()).count();
                    let appended = |number| store.append_audit(number, &[7]).unwrap() == Put::Done;
                    (taken, (1..=50).filter(|number| appended(*number)).count())
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(counted.iter().map(|(taken, _)| taken).sum::<usize>(), 40);
    let store = records(&keyring);
    assert_eq!(counted.iter().map(|(_, lines)| lines).sum::<usize>(), 50);
    assert_eq!(store.last_audit().unwrap(), Some((50, vec![7])));
    assert_eq!(store.append_audit(50, &[8]).unwrap(), Put::Conflict);
    assert_eq!(store.append_audit(52, &[8]).unwrap(), Put::Conflict);
    let after = store.audit_after(47, 2).unwrap();
    assert_eq!(after, [(48, vec![7]), (49, vec![7])]);
}

#[rstest]
fn of_many_new_epochs_one_becomes_current(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let stores: Vec<_> = (0..6).map(|_| place.open()).collect();
    for round in 0..8u8 {
        let previous = keyring.store.current(&default(), Kind::Random).unwrap().map(|row| row.id);
        let start = Barrier::new(stores.len());
        let outcomes: Vec<Inserted> = thread::scope(|scope| {
            let threads: Vec<_> = stores
                .iter()
                .zip(0..)
                .map(|(keyring, i)| {
                    let start = &start;
                    scope.spawn(move || {
                        let row = NewEpoch {
                            id: EpochId([round, i, 1, 1, 1, 1, 1, 1, 1, 1]),
                            partition: &default(),
                            kind: Kind::Random,
                            record: &[round],
                            confirmed: true,
                            replaces: Some(previous),
                            under: None,
                        };
                        start.wait();
                        keyring.store.insert_epoch(&row).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|o| **o == Inserted::Done).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|o| **o == Inserted::Raced).count(), 5);
        assert_ne!(keyring.store.current(&default(), Kind::Random).unwrap().map(|row| row.id), previous);
    }
    assert_eq!(keyring.store.epoch_count(&default()).unwrap(), 8);
}

#[rstest]
fn a_partition_is_changed_by_one_at_a_time(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    place.init();
    thread::scope(|scope| {
        for i in 0..4 {
            let place = &place;
            scope.spawn(move || {
                let keyring = place.open();
                for j in 0..3 {
                    // `edit` gives up after some lost races, and says so.
                    while keyring.set_role(&default(), &format!("role-{i}-{j}"), Some(Permissions(4))).is_err() {}
                }
            });
        }
    });
    assert_eq!(place.open().partition(&default()).unwrap().roles.len(), 13, "none is lost");
}

#[test]
fn a_keyring_moves_to_postgresql_whole() {
    let Some((empty, cluster, url)) = postgres() else { return };
    let place = Place::new();
    let keyring = place.init();
    keyring.provision(&name("tenant"), 10).unwrap();
    let epochs = Kind::ALL.map(|kind| keyring.sealing(&name("tenant"), kind).unwrap());
    let gone = [(); 3].map(|()| {
        keyring.rollover(&default(), &[Kind::Random]).unwrap();
        keyring.sealing(&default(), Kind::Random).unwrap().id
    });
    for id in gone {
        keyring.destroy_epoch(id).unwrap();
    }
    let store = records(&keyring);
    for i in 0..700u64 {
        store.put_entry(&EntryRow { kind: format!("kind-{}", i % 3), ..entry(&i.to_string(), Some(i)) }, 0).unwrap();
        store.append_audit(i + 1, &i.to_be_bytes()).unwrap();
    }
    let migrate = || Keyring::migrate(&place.options, &empty.options.store, place.clock.clone());
    let moved = migrate().unwrap();
    assert_eq!((moved.partitions, moved.epochs, moved.entries, moved.audit), (2, 3, 700, 700));
    let there =
        Keyring::open(&Options { store: empty.options.store.clone(), ..place.options.clone() }, place.clock.clone())
            .unwrap();
    assert_eq!(there.store.dump().unwrap(), keyring.store.dump().unwrap());
    for epoch in &epochs {
        assert_eq!(dek(&there.opening(epoch.id).unwrap()), dek(epoch));
    }
    for (id, kind) in [(699u64, 0), (1, 1), (350, 2)] {
        let kind = format!("kind-{kind}");
        let entry = store.entry(&kind, &id.to_string()).unwrap();
        assert!(entry.is_some());
        assert_eq!(records(&there).entry(&kind, &id.to_string()).unwrap(), entry);
    }
    assert_eq!(records(&there).audit_after(0, 1000).unwrap(), store.audit_after(0, 1000).unwrap());
    there.rollover(&default(), &[Kind::Random]).unwrap();
    assert!(there.opening(gone[0]).is_err());
    drop(there);
    let error = migrate().unwrap_err();
    assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("already")), "{error}");
    let back = Options { store: empty.options.store.clone(), ..place.options.clone() };
    assert!(Keyring::migrate(&back, &place.options.store, place.clock.clone()).is_err(), "not the other way");
    // A directory alone is somebody's, too.
    for table in ["private_key", "partition", "epoch", "tombstone", "audit"] {
        cluster.sql(&url, &format!("DELETE FROM sidecloak.{table}"));
    }
    assert!(migrate().is_err());
    cluster.sql(&url, "DELETE FROM sidecloak.entry");
    migrate().unwrap();
}

fn postgres() -> Option<(Place, &'static Cluster, String)> {
    let mut place = Place::on(On::Postgres)?;
    let (cluster, url) = place.database.take()?;
    Some((place, cluster, url))
}

#[rstest]
fn only_what_changed_is_read_again(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (operator, proxy) = (place.init(), place.open());
    let tenant = name("tenant");
    operator.provision(&tenant, 10).unwrap();
    proxy.sealing(&tenant, Kind::Random).unwrap();
    // Whole looks come first, for the connection that listens.
    let settled = |keyring: &Keyring| {
        while on == On::Postgres && keyring.store.change().unwrap() >> 48 == 0 {
            thread::yield_now();
        }
        keyring.tick();
        keyring.store.change().unwrap()
    };
    let known = settled(&proxy);
    assert_eq!(proxy.store.changes_since(known).unwrap().unwrap(), store::Changes::default());
    operator.set_state(&tenant, State::Paused).unwrap();
    let changes = proxy.store.changes_since(known).unwrap().unwrap();
    assert_eq!((changes.partitions, changes.sealing, changes.keys), (vec![tenant.clone()], vec![], false));
    operator.rollover(&default(), &[Kind::Random]).unwrap();
    let epoch = operator.sealing(&default(), Kind::Random).unwrap();
    let changes = proxy.store.changes_since(known).unwrap().unwrap();
    assert_eq!((changes.sealing, changes.tombstones), (vec![default()], false));
    operator.destroy_epoch(epoch.id).unwrap();
    operator.rotate_master(&KeySource::File(place.path("new.key"))).unwrap();
    let changes = proxy.store.changes_since(known).unwrap().unwrap();
    assert!(changes.tombstones && changes.keys);
    proxy.tick();
    assert!(matches!(proxy.sealing_cached(&tenant, Kind::Random), Cached::Denied(State::Paused)));
    assert!(matches!(proxy.opening_cached(epoch.id), Cached::Unknown));
    let now = proxy.store.change().unwrap();
    assert_eq!(proxy.store.changes_since(now).unwrap().unwrap(), store::Changes::default());
    records(&operator).put_entry(&entry("a", None), 0).unwrap();
    records(&operator).append_audit(1, &[1]).unwrap();
    records(&operator).take("attempt", "a", 1).unwrap();
    assert_eq!(operator.store.add_key(&operator.store.keys().unwrap()[0]).unwrap(), Put::Conflict);
    assert_eq!(proxy.store.change().unwrap(), now, "the directory and the audit log are no change of keys");
    assert_eq!(proxy.store.changes_since(now + 9).unwrap(), None, "the database is older than what was known");
}

#[test]
fn a_change_is_heard_of() {
    let Some((place, ..)) = postgres() else { return };
    let (operator, proxy) = (place.init(), place.open());
    while proxy.store.change().unwrap() >> 48 == 0 {
        thread::yield_now();
    }
    let is_paused =
        |keyring: &Keyring| matches!(keyring.sealing_cached(&default(), Kind::Random), Cached::Denied(State::Paused));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            while !is_paused(&proxy) {
                proxy.wait(Duration::from_secs(600));
                proxy.tick();
            }
        });
        operator.set_state(&default(), State::Paused).unwrap();
        waiting.join().unwrap();
    });
}

#[test]
fn many_processes_that_start_at_once_make_one_keyring() {
    let Some((place, cluster, url)) = postgres() else { return };
    let made = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Keyring::init(&place.options, KemSuite::MlKem768, place.clock.clone()).is_ok()))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).filter(|made| *made).count()
    });
    assert_eq!(made, 1);
    place.open().self_check().unwrap();
    cluster.sql(&url, "UPDATE sidecloak.schema_version SET version = 99");
    let error = place.try_open(&place.options).unwrap_err();
    assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("newer")), "{error}");
    cluster.sql(&url, "UPDATE sidecloak.schema_version SET version = 1; DROP TABLE sidecloak.partition");
    let error = place.try_open(&place.options).unwrap_err();
    assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("another form")), "{error}");
}

#[test]
fn a_database_that_is_none_says_so() {
    let Some((place, cluster, url)) = postgres() else { return };
    let error = place.try_open(&place.options).unwrap_err();
    assert!(matches!(&error, KeyringError::NoKey(text) if text.contains("sidecloak keys init")), "{error}");
    let at = |url: &str| Options { store: StorePlace::parse(url).unwrap().unwrap(), ..place.options.clone() };
    for (url, says) in [
        (cluster.url("nowhere"), "does not exist"),
        ("postgres://sidecloak:hunter2@127.0.0.1:1/x".into(), "cannot be reached"),
        (url.replace("sidecloak@", "stranger:hunter2@"), "user and password"),
    ] {
        let error = place.try_open(&at(&url)).unwrap_err();
        let text = error.to_string();
        let refused = matches!(error, KeyringError::NoKey(_));
        assert_eq!(refused, says == "user and password", "{text}");
        assert!((refused || matches!(error, KeyringError::Unavailable(_))) && text.contains(says), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("stranger"), "{text}");
    }
    let error = place.try_open(&at(&format!("{url}?sslmode=require"))).unwrap_err();
    assert!(error.to_string().contains("asks for TLS, which this process has none of"), "{error}");
    // Takes connections and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = place.try_open(&at(&format!("postgres://u@{}/d", mute.local_addr().unwrap()))).unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    let careful = Options { i_know: false, ..place.options.clone() };
    let error = place.try_open(&careful).unwrap_err();
    assert!(error.to_string().contains("fsync = off"), "{error}");
    cluster.sql(&cluster.url("postgres"), "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'");
    let error = Keyring::init(&at(&cluster.url("latin")), KemSuite::MlKem768, place.clock.clone()).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn a_user_without_the_right_to_change_tables_serves() {
    let Some((place, cluster, url)) = postgres() else { return };
    place.init();
    cluster.sql(&url, "CREATE ROLE server LOGIN; CREATE ROLE stranger_too LOGIN");
    let grants = "GRANT USAGE ON SCHEMA sidecloak TO server; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sidecloak TO server; \
         REVOKE INSERT, UPDATE, DELETE ON sidecloak.schema_version FROM server; \
         REVOKE UPDATE, DELETE ON sidecloak.audit FROM server";
    cluster.sql(&url, grants);
    let as_user = |user: &str| {
        let url = url.replace("sidecloak@", &format!("{user}@"));
        Options { store: StorePlace::parse(&url).unwrap().unwrap(), ..place.options.clone() }
    };
    let keyring = place.try_open(&as_user("server")).unwrap();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    keyring.destroy_epoch(epoch.id).unwrap();
    records(&keyring).append_audit(1, &[1]).unwrap();
    let error = place.try_open(&as_user("stranger_too")).unwrap_err();
    assert!(error.to_string().contains("docs/fleet.md"), "{error}");
}

#[test]
fn a_commit_is_on_disk_whatever_the_database_says() {
    let Some((place, cluster, url)) = postgres() else { return };
    let database = url.rsplit('/').next().unwrap();
    cluster.sql(&url, &format!("ALTER DATABASE {database} SET synchronous_commit = off"));
    cluster.sql(&url, &format!("ALTER DATABASE {database} SET default_transaction_isolation = serializable"));
    let StorePlace::Postgres(at) = &place.options.store else { panic!() };
    let store = PostgresStore::create(at, None, true).unwrap();
    assert_eq!(store.setting("synchronous_commit").unwrap(), "on");
    assert_eq!(store.setting("default_transaction_isolation").unwrap(), "read committed");
    assert_eq!(store.setting("search_path").unwrap(), "sidecloak");
    assert!(matches!(store.setting("nonsense"), Err(StoreError::Unavailable(_))));
}

#[rstest]
fn with_no_age_allowed_nothing_is_sealed_without_the_store(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    place.init();
    let options = Options { max_stale: Duration::ZERO, ..place.options.clone() };
    let keyring = place.try_open(&options).unwrap();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    for _ in 0..3 {
        place.clock.advance(1);
        assert!(matches!(keyring.sealing_cached(&default(), Kind::Random), Cached::Miss), "not asked in this second");
        assert_eq!(keyring.sealing(&default(), Kind::Random).unwrap().id, epoch.id);
        assert!(matches!(keyring.sealing_cached(&default(), Kind::Random), Cached::Hit(_)));
    }
    match &place.database {
        None => std::fs::rename(place.file(), place.path("away")).unwrap(),
        Some((cluster, url)) => drop(cluster.sql(url, "ALTER TABLE sidecloak.change RENAME TO away")),
    }
    place.clock.advance(1);
    keyring.tick();
    assert!(matches!(keyring.sealing_cached(&default(), Kind::Random), Cached::Miss));
    assert!(keyring.sealing(&default(), Kind::Random).is_err());
    assert!(keyring.opening(epoch.id).is_err());
    assert_eq!(keyring.stats().seconds_left, 0);
}

#[test]
fn without_the_database_values_are_sealed_until_its_state_is_too_old() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let place = Place::new();
    let store = StorePlace::parse(&cluster.database()).unwrap().unwrap();
    let place = Place { options: Options { store, ..place.options.clone() }, ..place };
    let keyring = place.init();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    for command in ["crash", "stop"] {
        keyring.tick();
        let seals = || matches!(keyring.sealing_cached(&default(), Kind::Random), Cached::Hit(e) if e.id == epoch.id);
        assert_eq!(keyring.stats().seconds_left, 300);
        cluster.command(command);
        place.clock.advance(300);
        keyring.tick();
        assert!(seals() && matches!(keyring.opening_cached(epoch.id), Cached::Hit(_)));
        // Of the monotonic clock a second may have passed as well.
        assert!(keyring.stats().seconds_left <= 1);
        let error = keyring.partition(&name("tenant")).unwrap_err();
        assert!(matches!(error, KeyringError::Unavailable(_)), "what is not in memory: {error}");
        place.clock.advance(1);
        keyring.tick();
        assert!(!seals() && matches!(keyring.opening_cached(epoch.id), Cached::Miss));
        assert_eq!((keyring.stats().seconds_left, keyring.stats().stale_seconds), (0, 301));
        let errors = [
            keyring.sealing(&default(), Kind::Random).map(drop),
            keyring.opening(epoch.id).map(drop),
            keyring.rollover(&default(), &[Kind::Random]),
            keyring.set_state(&default(), State::Paused),
            place.try_open(&place.options).map(drop),
        ];
        for error in errors {
            assert!(matches!(error, Err(KeyringError::Unavailable(_))), "{error:?}");
        }
        cluster.command("start");
        while keyring.stats().stale_seconds > 0 {
            keyring.tick();
        }
        assert!(seals());
    }
    assert_eq!(keyring.alarms(), 0);
}

#[test]
fn what_a_database_lost_is_put_back_after_a_fail_over() {
    let Some((place, cluster, url)) = postgres() else { return };
    place.init();
    let keyring = place.open();
    let epochs = Kind::ALL.map(|kind| keyring.sealing(&default(), kind).unwrap());
    // As on a standby that had not heard of them.
    cluster.sql(&url, "DELETE FROM sidecloak.epoch; UPDATE sidecloak.change SET number = 1");
    keyring.tick();
    let other = place.open();
    for epoch in epochs {
        assert_eq!(dek(&other.opening(epoch.id).unwrap()), dek(&epoch));
    }
}

#[test]
fn nothing_is_moved_while_somebody_writes() {
    struct Busy;
    impl Source for Busy {
        fn entries(&self, after: &(String, String)) -> Result<Vec<EntryRow>, StoreError> {
            Ok(if after.0.is_empty() { vec![entry("a", None)] } else { Vec::new() })
        }
        fn audit(&self, _: u64) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
            Ok(Vec::new())
        }
        fn is_still(&self, _: i64) -> Result<(), StoreError> {
            Err(StoreError::Unavailable("written to".into()))
        }
    }
    let Some((place, ..)) = postgres() else { return };
    let source = Place::new();
    let rows = source.init().store.dump().unwrap();
    let StorePlace::Postgres(at) = &place.options.store else { panic!() };
    let store = PostgresStore::create(at, None, true).unwrap();
    let error = store.fill(&rows, Some((&Busy, 1, &mut [0; 2]))).unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text == "written to"), "{error}");
    assert_eq!(store.dump().unwrap(), store::Dump::default());
    assert!(store.entry("attempt", "a").unwrap().is_none());
}
