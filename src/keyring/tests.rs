//! Keyrings on disk, several processes (here: several `Keyring`s) on one file, and what goes wrong with them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::crypto::kem::KemSuite;
use crate::token::v1::{self, Plain, SealError};

mod apis;
mod attacks;
#[path = "../../tests/integration/cluster.rs"]
#[expect(dead_code, reason = "shared with the integration tests")]
mod cluster;
mod operators;
mod serve;
mod stores;

use cluster::Cluster;
use store::StorePlace;

const DAY: u64 = 24 * 3600;
const START: u64 = 1_800_000_000;

/// Which store a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Sqlite,
    Postgres,
}

/// A place for one keyring, and a clock for all who open it.
struct Place {
    directory: TempDir,
    options: Options,
    clock: Arc<ManualClock>,
    /// The database, if it lies there.
    database: Option<(&'static Cluster, String)>,
}

/// Every process looks at everything within a minute; with this at once.
const LOOK: &str = "UPDATE change SET number = number + 1, whole = number + 1";

impl Place {
    /// `None`: this store is not installed here.
    fn on(on: On) -> Option<Self> {
        let place = Self::new();
        match on {
            On::Sqlite => Some(place),
            On::Postgres => {
                let cluster = Cluster::shared()?;
                let url = cluster.database();
                let store = StorePlace::parse(&url).unwrap().unwrap();
                let options = Options { store, ..place.options };
                Some(Self { options, database: Some((cluster, url)), ..place })
            }
        }
    }

    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            store: directory.path().join("sidecloak.db").into(),
            master_keys: vec![KeySource::File(directory.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        Self { directory, options, clock: ManualClock::at(START), database: None }
    }

    fn init(&self) -> Keyring {
        Keyring::init(&self.options, KemSuite::MlKem768, self.clock.clone()).unwrap()
    }

    fn open(&self) -> Keyring {
        self.try_open(&self.options).unwrap()
    }

    fn try_open(&self, options: &Options) -> Result<Keyring, KeyringError> {
        Keyring::open(options, self.clock.clone())
    }

    /// Another place for a keyring of its own, on the same kind of store.
    fn beside(&self, name: &str) -> Options {
        let store = match &self.database {
            Some((cluster, _)) => StorePlace::parse(&cluster.database()).unwrap().unwrap(),
            None => self.path(name).into(),
        };
        Options { store, ..self.options.clone() }
    }

    /// The SQLite file.
    fn file(&self) -> PathBuf {
        match &self.options.store {
            StorePlace::Sqlite(path) => path.clone(),
            StorePlace::Postgres(_) | StorePlace::Authority(_) => panic!("the keyring lies in no file"),
        }
    }

    /// What somebody who can write to the SQLite file does.
    fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.file()).unwrap()
    }

    /// What somebody who can write to the store does; `None`: it is refused there.
    fn write(&self, sql: &str) -> Option<()> {
        match &self.database {
            Some((cluster, url)) => {
                cluster.try_sql(url, &format!("SET search_path = sidecloak; {sql}")).ok()?;
                cluster.sql(url, &format!("SET search_path = sidecloak; {LOOK}"));
            }
            None => {
                self.sql().execute(sql, []).ok()?;
                self.sql().execute(LOOK, []).unwrap();
            }
        }
        Some(())
    }

    /// A number from the store.
    fn ask(&self, sql: &str) -> i64 {
        match &self.database {
            Some((cluster, url)) => {
                cluster.sql(url, &format!("SET search_path = sidecloak; {sql}")).unwrap().parse().unwrap()
            }
            None => self.sql().query_row(sql, [], |row| row.get(0)).unwrap(),
        }
    }

    /// Bytes as the store's SQL writes them.
    fn bytes(&self, bytes: &[u8]) -> String {
        match self.database {
            Some(_) => format!("'\\x{}'::bytea", hex::encode(bytes)),
            None => format!("x'{}'", hex::encode(bytes)),
        }
    }

    /// True or false as the store's SQL writes them.
    fn truth(&self, value: bool) -> String {
        if self.database.is_some() { value.to_string() } else { u8::from(value).to_string() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn default() -> PartitionName {
    PartitionName::default_name()
}

fn name(text: &str) -> PartitionName {
    PartitionName::new(text).unwrap()
}

fn dek(epoch: &Epoch) -> [u8; 32] {
    *epoch.dek().expose()
}

#[rstest]
fn what_was_sealed_under_opens_after_a_restart(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    for kem in KemSuite::ALL {
        let options = place.beside(kem.name());
        let first = Keyring::init(&options, kem, place.clock.clone()).unwrap();
        for kind in Kind::ALL {
            assert!(matches!(first.sealing_cached(&default(), kind), Cached::Miss));
            let epoch = first.sealing(&default(), kind).unwrap();
            assert_eq!((epoch.kind, epoch.created), (kind, START));
            assert_eq!(epoch.not_after, if kind == Kind::Deterministic { 0 } else { START + DAY });
            assert!(matches!(first.sealing_cached(&default(), kind), Cached::Hit(e) if e.id == epoch.id));
            let second = place.try_open(&options).unwrap();
            assert!(matches!(second.opening_cached(epoch.id), Cached::Miss));
            let opened = second.opening(epoch.id).unwrap();
            assert_eq!((opened.partition.clone(), opened.kind, dek(&opened)), (default(), kind, dek(&epoch)));
            assert!(matches!(second.opening_cached(epoch.id), Cached::Hit(_)));
            let same = second.sealing(&default(), kind).unwrap().id == epoch.id;
            assert_eq!(same, kind != Kind::Private, "a private epoch is its maker's alone");
        }
        assert!(first.signer(&default()).unwrap().is_some());
        first.self_check().unwrap();
        assert_eq!(first.alarms(), 0);
    }
}

#[test]
fn a_first_start_that_broke_off_can_be_repeated() {
    let place = Place::new();
    files::write_new(&place.file(), b"").unwrap();
    store::sqlite::SqliteStore::create(&place.file()).unwrap();
    let error = place.try_open(&place.options).unwrap_err();
    assert!(matches!(error, KeyringError::NoKey(_)), "the key was not made either: {error}");
    place.init().self_check().unwrap();
}

#[rstest]
fn unknown_names_are_remembered_for_a_while(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let id = EpochId([3; 10]);
    assert!(matches!(keyring.opening(id), Err(KeyringError::Unknown(_))));
    assert!(matches!(keyring.opening_cached(id), Cached::Unknown));
    assert!(matches!(keyring.partition(&name("nobody")), Err(KeyringError::Unknown(_))));
    assert!(matches!(keyring.partition_cached(&name("nobody")), Cached::Unknown));
    keyring.provision(&name("nobody"), 2).unwrap();
    assert!(matches!(keyring.partition_cached(&name("nobody")), Cached::Hit(_)));
    assert!(keyring.provision(&name("one-too-many"), 2).is_err());
}

#[rstest]
fn a_pause_in_one_process_reaches_the_caches_of_another(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (operator, proxy) = (place.init(), place.open());
    let epoch = proxy.sealing(&default(), Kind::Random).unwrap();
    proxy.tick();
    assert!(matches!(proxy.sealing_cached(&default(), Kind::Random), Cached::Hit(_)));

    operator.set_state(&default(), State::Paused).unwrap();
    proxy.tick();
    assert!(matches!(proxy.sealing_cached(&default(), Kind::Random), Cached::Denied(State::Paused)));
    assert!(matches!(proxy.opening_cached(epoch.id), Cached::Denied(State::Paused)));
    assert!(proxy.caches.opened(epoch.id).is_none(), "evicted");
    assert!(matches!(proxy.opening(epoch.id), Err(KeyringError::Denied(_, State::Paused))));
    assert!(matches!(proxy.sealing(&default(), Kind::Random), Err(KeyringError::Denied(_, State::Paused))));
    proxy.self_check().unwrap();

    operator.set_state(&default(), State::DecryptOnly).unwrap();
    proxy.tick();
    assert_eq!(dek(&proxy.opening(epoch.id).unwrap()), dek(&epoch));
    assert!(matches!(proxy.sealing_cached(&default(), Kind::Random), Cached::Denied(State::DecryptOnly)));

    operator.set_state(&default(), State::Active).unwrap();
    proxy.tick();
    assert_eq!(proxy.sealing(&default(), Kind::Random).unwrap().id, epoch.id);
}

#[rstest]
fn a_rollover_reaches_other_processes_and_old_epochs_open(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (operator, proxy) = (place.init(), place.open());
    for kind in [Kind::Random, Kind::Deterministic] {
        let old = proxy.sealing(&default(), kind).unwrap();
        operator.rollover(&default(), &[kind]).unwrap();
        proxy.tick();
        let Cached::Hit(new) = proxy.sealing_cached(&default(), kind) else { panic!("not renewed") };
        assert_ne!(new.id, old.id);
        assert_eq!(new.id, operator.sealing(&default(), kind).unwrap().id);
        assert_eq!(dek(&operator.opening(old.id).unwrap()), dek(&old));
    }
}

#[rstest]
fn a_race_for_the_first_epoch_has_one_winner(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    place.init();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|i| {
                let place = &place;
                scope.spawn(move || {
                    let keyring = place.open();
                    let kind = if i % 2 == 0 { Kind::Random } else { Kind::Deterministic };
                    (kind, keyring.sealing(&default(), kind).unwrap().id)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for kind in [Kind::Random, Kind::Deterministic] {
        let mut of_kind: Vec<_> = ids.iter().filter(|(k, _)| *k == kind).map(|(_, id)| id).collect();
        of_kind.dedup();
        assert_eq!(of_kind.len(), 1);
    }
    assert_eq!(place.ask(&format!("SELECT count(*) FROM epoch WHERE current = {}", place.truth(true))), 2);
}

#[rstest]
fn an_epoch_is_renewed_before_it_ends_and_never_seals_after(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let options = Options { max_stale: Duration::from_secs(10 * DAY), ..place.options.clone() };
    place.init();
    let keyring = place.try_open(&options).unwrap();
    let first = keyring.sealing(&default(), Kind::Random).unwrap();
    place.clock.advance(DAY / 2);
    keyring.tick();
    assert_eq!(keyring.sealing(&default(), Kind::Random).unwrap().id, first.id);
    place.clock.advance(DAY * 46 / 100);
    keyring.tick();
    let Cached::Hit(second) = keyring.sealing_cached(&default(), Kind::Random) else { panic!("not renewed") };
    assert_ne!(second.id, first.id);
    place.clock.advance(2 * DAY);
    assert!(matches!(keyring.sealing_cached(&default(), Kind::Random), Cached::Miss), "without a tick");
    let third = keyring.sealing(&default(), Kind::Random).unwrap();
    assert_ne!(third.id, second.id);
    assert_eq!(dek(&keyring.opening(first.id).unwrap()), dek(&first));
}

#[rstest]
fn an_epoch_from_the_future_is_not_sealed_under(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let ahead = ManualClock::at(START + 3600);
    place.init();
    Keyring::open(&place.options, ahead).unwrap().sealing(&default(), Kind::Random).unwrap();
    let error = place.open().sealing(&default(), Kind::Random).unwrap_err();
    assert!(matches!(&error, KeyringError::Unavailable(text) if text.contains("clock")), "{error}");
}

#[test]
fn a_stale_state_neither_seals_nor_opens() {
    let place = Place::new();
    let keyring = place.init();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    let away = place.path("away");
    std::fs::rename(place.file(), &away).unwrap();
    keyring.tick();
    assert!(matches!(keyring.sealing_cached(&default(), Kind::Random), Cached::Hit(_)), "not yet stale");
    place.clock.advance(301);
    keyring.tick();
    assert!(matches!(keyring.sealing_cached(&default(), Kind::Random), Cached::Miss));
    assert!(matches!(keyring.partition_cached(&default()), Cached::Miss));
    assert!(matches!(keyring.opening_cached(epoch.id), Cached::Miss));
    assert!(matches!(keyring.partition(&default()), Err(KeyringError::Unavailable(_))));
    assert!(matches!(keyring.opening(epoch.id), Err(KeyringError::Unavailable(_))));
    assert!(matches!(keyring.sealing(&default(), Kind::Random), Err(KeyringError::Unavailable(_))));
    assert_eq!(keyring.stats().stale_seconds, 301);
    std::fs::rename(&away, place.file()).unwrap();
    keyring.tick();
    assert!(matches!(keyring.sealing_cached(&default(), Kind::Random), Cached::Hit(_)));
}

#[test]
fn what_a_restored_copy_lost_is_put_back() {
    let place = Place::new();
    place.init();
    let copy = place.path("copy");
    place.sql().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
    let keyring = place.open();
    let epochs = Kind::ALL.map(|kind| keyring.sealing(&default(), kind).unwrap());
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", place.file().display())).ok();
    }
    std::fs::rename(&copy, place.file()).unwrap();
    keyring.tick();
    let other = place.open();
    for epoch in epochs {
        assert_eq!(dek(&other.opening(epoch.id).unwrap()), dek(&epoch));
        if epoch.kind != Kind::Private {
            assert_eq!(other.sealing(&default(), epoch.kind).unwrap().id, epoch.id);
        }
    }
}

#[rstest]
fn a_record_is_in_the_mirror_before_its_first_use(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let options = Options { mirror: Some(place.path("epochs")), ..place.options.clone() };
    place.init();
    let made_without_mirror = place.open().sealing(&default(), Kind::Random).unwrap();
    let keyring = place.try_open(&options).unwrap();
    keyring.sealing(&default(), Kind::Random).unwrap();
    let file = |id: EpochId| place.path("epochs").join(format!("{id}.cbor"));
    assert!(file(made_without_mirror.id).exists(), "also of an epoch that another process made");
    let row = keyring.store.epoch(made_without_mirror.id).unwrap().unwrap();
    assert_eq!(bounded(&file(made_without_mirror.id)), row.record);

    std::fs::remove_dir_all(place.path("epochs")).unwrap();
    let error = keyring.rollover(&default(), &[Kind::Random]).unwrap_err();
    assert!(matches!(error, KeyringError::Unavailable(_)), "{error}");
    let Cached::Hit(still) = keyring.sealing_cached(&default(), Kind::Random) else { panic!() };
    assert_eq!(still.id, made_without_mirror.id, "the epoch that is not in the mirror is not used");
    std::fs::create_dir(place.path("epochs")).unwrap();
    keyring.tick();
    let new = keyring.sealing(&default(), Kind::Random).unwrap();
    assert_ne!(new.id, made_without_mirror.id);
    keyring.destroy_epoch(new.id).unwrap();
    assert!(!file(new.id).exists());
    assert!(place.path("epochs").join(format!("{}.destroyed", new.id)).exists());
}

#[rstest]
fn field_keys_are_one_object_for_the_life_of_an_epoch(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    for suite in [Suite::Xaes, Suite::Gcm] {
        let [a, b, other] = ["ssn", "ssn", "pan"].map(|class| keyring.field_key(&epoch, suite, &Class::new(class)));
        assert!(Arc::ptr_eq(&a, &b));
        assert!(!Arc::ptr_eq(&a, &other));
    }
    let stats = keyring.stats();
    assert_eq!((stats.caches[3].hits, stats.caches[3].misses), (1, 2));
    assert_eq!(stats.epoch_ages, [(default(), Kind::Random, 0)]);
    assert!(!format!("{keyring:?} {epoch:?}").contains(&hex::encode(dek(&epoch))));
}

#[test]
fn a_memo_finds_the_key_of_each_class_in_whatever_order() {
    let place = Place::on(On::Sqlite).unwrap();
    let keyring = place.init();
    let epochs = [Kind::Random, Kind::Deterministic].map(|kind| keyring.sealing(&default(), kind).unwrap());
    // In turns, backwards, twice, and more than are kept; by the second memo's time there are keys that it did not ask for.
    let classes = [0, 1, 2, 0, 1, 2, 2, 1, 0, 0].into_iter().chain(0..40).chain([39, 0, 1, 38]);
    for mut memo in [Memo::default(), Memo::default()] {
        for (class, epoch) in classes.clone().flat_map(|class| epochs.each_ref().map(|epoch| (class, epoch))) {
            let class = Class::new(&format!("class-{class}"));
            let Cached::Hit(recalled) = keyring.sealing_recalled(&mut memo, &default(), epoch.kind) else { panic!() };
            let (key, random) = recalled.key(&keyring, Suite::Xaes, &class);
            let plain = Plain { text: b"text", is_string: true, record_id: None, pad: None, signer: None };
            let mut token = Vec::new();
            key.seal(&plain, random, &mut token).unwrap();
            let token = v1::parse(&token).unwrap();
            let opened = keyring.field_key(epoch, Suite::Xaes, &class).open(&token, None, &[], keyring.prefixes());
            assert_eq!(opened.unwrap().text.expose(), b"text", "{class}");
        }
    }
}

#[test]
fn a_memo_counts_each_key_that_was_at_hand_once() {
    let place = Place::on(On::Sqlite).unwrap();
    let keyring = place.init();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    let class = |n: usize| Class::new(&format!("class-{n}"));
    (0..3).for_each(|n| drop(keyring.field_key(&epoch, Suite::Xaes, &class(n))));
    let counted = || {
        let keys = keyring.stats().caches[3];
        (keys.hits, keys.misses)
    };
    let before = counted();
    let mut memo = Memo::default();
    for n in [0, 1, 0, 1, 1, 3, 3, 0] {
        let Cached::Hit(recalled) = keyring.sealing_recalled(&mut memo, &default(), Kind::Random) else { panic!() };
        recalled.key(&keyring, Suite::Xaes, &class(n));
    }
    assert_eq!(counted(), (before.0 + 2, before.1 + 1));
}

#[rstest]
fn a_memo_says_what_the_caches_would_say(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let (operator, proxy) = (place.init(), place.open());
    let mut memo = Memo::default();
    assert!(matches!(proxy.sealing_recalled(&mut memo, &default(), Kind::Random), Cached::Miss));
    let epoch = proxy.sealing(&default(), Kind::Random).unwrap();
    let recalled = |memo: &mut Memo| {
        let sealing = proxy.sealing_recalled(memo, &default(), Kind::Random).map(|recalled| recalled.epoch.clone());
        let opening = proxy.opening_recalled(memo, epoch.id).map(|recalled| recalled.epoch.clone());
        (sealing, opening)
    };
    for _ in 0..2 {
        let (Cached::Hit(sealing), Cached::Hit(opening)) = recalled(&mut memo) else { panic!() };
        assert!(Arc::ptr_eq(&sealing, &epoch) && Arc::ptr_eq(&opening, &epoch));
    }
    let deterministic = proxy.sealing_recalled(&mut memo, &default(), Kind::Deterministic);
    assert!(matches!(deterministic, Cached::Miss), "of another kind");
    assert!(matches!(proxy.sealing_recalled(&mut memo, &name("other"), Kind::Random), Cached::Miss));
    assert!(matches!(proxy.opening_recalled(&mut memo, EpochId([9; 10])), Cached::Miss));
    recalled(&mut memo);

    operator.rollover(&default(), &[Kind::Random]).unwrap();
    proxy.tick();
    let (Cached::Hit(new), Cached::Hit(old)) = recalled(&mut memo) else { panic!() };
    assert!(new.id != epoch.id && old.id == epoch.id, "a roll-over is followed");

    operator.set_state(&default(), State::Paused).unwrap();
    proxy.tick();
    let (sealing, opening) = recalled(&mut memo);
    assert!(matches!(sealing, Cached::Denied(State::Paused)));
    assert!(matches!(opening, Cached::Denied(State::Paused)));
    assert!(!format!("{memo:?}").contains("Epoch("), "nor is its key held");
    operator.set_state(&default(), State::Active).unwrap();
    proxy.tick();
    assert!(matches!(recalled(&mut memo).1, Cached::Miss));

    proxy.opening(epoch.id).unwrap();
    recalled(&mut memo);
    operator.destroy_epoch(epoch.id).unwrap();
    proxy.tick();
    assert!(matches!(recalled(&mut memo).1, Cached::Unknown));
}

#[rstest]
fn a_field_key_goes_when_its_partition_is_paused(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    let key = Arc::downgrade(&keyring.field_key(&epoch, Suite::Xaes, &Class::new("ssn")));
    drop(epoch);
    assert!(key.upgrade().is_some(), "kept");
    keyring.set_state(&default(), State::Paused).unwrap();
    assert!(key.upgrade().is_none(), "and gone");
}

fn bounded(path: &std::path::Path) -> Vec<u8> {
    crate::bounded::read_file(path, 1 << 20).unwrap()
}

#[rstest]
fn a_rollover_helps_after_a_clock_was_wrong(#[values(On::Sqlite, On::Postgres)] on: On) {
    for kind in [Kind::Random, Kind::Deterministic] {
        let Some(place) = Place::on(on) else { return };
        let operator = place.init();
        let wrong = Arc::new(SetClock(AtomicU64::new(START + 10 * DAY)));
        let running = Keyring::open(&place.options, wrong.clone()).unwrap();
        running.sealing(&default(), kind).unwrap();
        wrong.0.store(START, Ordering::SeqCst);
        running.tick();
        assert!(running.sealing(&default(), kind).is_err());
        operator.rollover(&default(), &[kind]).unwrap();
        running.tick();
        let epoch = running.sealing(&default(), kind).unwrap();
        assert_eq!(epoch.created, START);
        wrong.0.store(START + 11 * DAY, Ordering::SeqCst);
        running.tick();
        running.sealing(&default(), kind).unwrap();
    }
}

/// Unlike time, it goes back as well.
struct SetClock(AtomicU64);

impl crate::clock::Clock for SetClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[rstest]
fn a_short_epoch_lives_most_of_its_time(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    place.init();
    let options = Options { epoch_lifetime: Duration::from_secs(8), ..place.options.clone() };
    let keyring = place.try_open(&options).unwrap();
    let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
    place.clock.advance(1);
    keyring.tick();
    assert_eq!(keyring.sealing(&default(), Kind::Random).unwrap().id, epoch.id);
}

#[rstest]
fn a_key_of_suite_2_is_counted_on_after_a_pause(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let keyring = place.init();
    let plain = Plain { text: b"x", is_string: true, record_id: None, pad: None, signer: None };
    let seal = || {
        let epoch = keyring.sealing(&default(), Kind::Random).unwrap();
        keyring.field_key(&epoch, Suite::Gcm, &Class::new("pan")).seal(&plain, &mut Vec::new())
    };
    seal().unwrap();
    let id = keyring.sealing(&default(), Kind::Random).unwrap().id;
    keyring.caches.uses.get(&(id, Class::new("pan"))).unwrap().store(1 << 24, Ordering::Relaxed);
    assert_eq!(seal(), Err(SealError::Exhausted));
    keyring.set_state(&default(), State::Paused).unwrap();
    keyring.set_state(&default(), State::Active).unwrap();
    assert_eq!(keyring.sealing(&default(), Kind::Random).unwrap().id, id);
    assert_eq!(seal(), Err(SealError::Exhausted));
}
