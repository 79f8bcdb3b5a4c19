//! Recipients that managed APIs hold: what is called and how often, what lies, and what happens when nobody answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Condvar};
use std::thread;

use super::*;
use crate::crypto::aead::Gcm;
use crate::crypto::kdf::key_id;
use crate::crypto::kem::{DecapsulationKey, EncapsulationKey};
use crate::crypto::random;
use crate::keyring::cbor::Record;
use crate::keyring::record::{EpochRecord, Wrap};
use crate::secret::{Secret, SecretBytes};

/// What an API does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Honest,
    Refuses,
    Away,
    /// Opens to another data key.
    OtherKey,
    /// Opens to this text.
    Says(&'static [u8]),
    /// Encrypts to nothing.
    Empty,
    /// Encrypts nothing.
    Echoes,
}

/// Holds calls back until it is opened.
#[derive(Default)]
struct Gate(Mutex<(bool, usize)>, Condvar);

impl Gate {
    fn pass(&self) {
        let mut state = self.0.lock().unwrap();
        state.1 += 1;
        self.1.notify_all();
        while state.0 {
            state = self.1.wait(state).unwrap();
        }
    }

    fn close(&self) {
        *self.0.lock().unwrap() = (true, 0);
    }

    fn open(&self) {
        self.0.lock().unwrap().0 = false;
        self.1.notify_all();
    }

    /// Waits until so many have come since it was closed.
    fn wait_for(&self, count: usize) {
        let mut state = self.0.lock().unwrap();
        while state.1 < count {
            state = self.1.wait(state).unwrap();
        }
    }
}

/// An API with profiles `partner` and `other`, which encrypt, and `kem`, which keeps a key pair.
struct Api {
    key: [u8; 32],
    kem: DecapsulationKey,
    mood: Mutex<Mood>,
    /// Of profile `partner` only.
    gate: Gate,
    wraps: AtomicUsize,
    unwraps: AtomicUsize,
    proves: bool,
    max_stale: Duration,
}

impl Api {
    fn new() -> Arc<Self> {
        Arc::new(Self::with(true, 600))
    }

    fn with(proves: bool, max_stale: u64) -> Self {
        Self {
            key: random::bytes().unwrap(),
            kem: DecapsulationKey::generate(KemSuite::MlKem768).unwrap(),
            mood: Mutex::new(Mood::Honest),
            gate: Gate::default(),
            wraps: AtomicUsize::new(0),
            unwraps: AtomicUsize::new(0),
            proves,
            max_stale: Duration::from_secs(max_stale),
        }
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn calls(&self) -> (usize, usize) {
        (self.wraps.load(Ordering::SeqCst), self.unwraps.load(Ordering::SeqCst))
    }

    fn public(&self) -> Vec<u8> {
        self.kem.encapsulation_key().unwrap().as_bytes().to_vec()
    }

    fn enter(&self, profile: &str) -> Result<Mood, ManagedError> {
        if profile == "partner" {
            self.gate.pass();
        }
        match *self.mood.lock().unwrap() {
            Mood::Refuses => Err(ManagedError::Refused("the key is disabled".into())),
            Mood::Away => Err(ManagedError::Unavailable("it does not answer".into())),
            mood => Ok(mood),
        }
    }
}

impl ManagedKeys for Api {
    fn profile_of(&self, suite: u8, key: &[u8]) -> Option<Arc<str>> {
        match suite {
            MANAGED if key == b"partner" || key == b"other" => std::str::from_utf8(key).ok().map(Arc::from),
            1 if key == self.public() => Some("kem".into()),
            _ => None,
        }
    }

    fn max_stale(&self, _: &str) -> Duration {
        self.max_stale
    }

    fn proves(&self, _: &str) -> bool {
        self.proves
    }

    fn protect(&self, profile: &str, text: &SecretBytes) -> Result<Vec<u8>, ManagedError> {
        self.wraps.fetch_add(1, Ordering::SeqCst);
        match self.enter(profile)? {
            Mood::Empty => return Ok(Vec::new()),
            Mood::Echoes => return Ok(text.expose().to_vec()),
            _ => {}
        }
        let nonce: [u8; 12] = random::bytes().unwrap();
        let mut sealed = text.expose().to_vec();
        let tag = Gcm::new(&self.key).seal(&nonce, profile.as_bytes(), &mut sealed).unwrap();
        Ok([nonce.as_slice(), &sealed, &tag].concat())
    }

    fn unprotect(&self, profile: &str, ciphertext: &[u8]) -> Result<SecretBytes, ManagedError> {
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        match self.enter(profile)? {
            Mood::OtherKey => {
                let mut text = b"sc1k:".to_vec();
                crate::crypto::base64url::encode_into(&[9; 32], &mut text);
                return Ok(SecretBytes::new(text));
            }
            Mood::Says(text) => return Ok(SecretBytes::new(text.to_vec())),
            Mood::Echoes => return Ok(SecretBytes::new(ciphertext.to_vec())),
            _ => {}
        }
        let refused = || ManagedError::Refused("it is none of its own".into());
        let (nonce, sealed) = ciphertext.split_first_chunk::<12>().ok_or_else(refused)?;
        let (sealed, tag) = sealed.split_last_chunk().ok_or_else(refused)?;
        let mut text = sealed.to_vec();
        Gcm::new(&self.key).open(nonce, profile.as_bytes(), &mut text, tag).map_err(|_| refused())?;
        Ok(SecretBytes::new(text))
    }

    fn encapsulate(&self, profile: &str) -> Result<(Vec<u8>, Secret<32>), ManagedError> {
        self.wraps.fetch_add(1, Ordering::SeqCst);
        self.enter(profile)?;
        Ok(EncapsulationKey::from_bytes(KemSuite::MlKem768, &self.public()).unwrap().encapsulate().unwrap())
    }

    fn decapsulate(&self, profile: &str, kem_ct: &[u8]) -> Result<Secret<32>, ManagedError> {
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        if self.enter(profile)? == Mood::OtherKey {
            return Ok(Secret::from_slice(&[9; 32]).unwrap());
        }
        self.kem.decapsulate(kem_ct).map_err(|_| ManagedError::Refused("it is none of its own".into()))
    }
}

const PARTNER: (u8, &[u8]) = (MANAGED, b"partner");
const OTHER: (u8, &[u8]) = (MANAGED, b"other");

/// A keyring whose partition `partner` the API opens; the calls of the challenge are not counted.
fn with_api(place: &Place, api: &Arc<Api>) -> (Options, Keyring) {
    place.init();
    let options = Options { managed: Managed(Some(api.clone())), ..place.options.clone() };
    let keyring = place.try_open(&options).unwrap();
    keyring.create_managed(&name("partner"), PARTNER).unwrap();
    assert_eq!(api.calls(), (1, 1), "a challenge");
    api.wraps.store(0, Ordering::SeqCst);
    api.unwraps.store(0, Ordering::SeqCst);
    (options, keyring)
}

fn record_of(keyring: &Keyring, id: EpochId) -> EpochRecord {
    EpochRecord::decode(&keyring.store.epoch(id).unwrap().unwrap().record).unwrap()
}

/// As somebody does who can write to the store.
fn overwrite(place: &Place, id: EpochId, record: &EpochRecord) {
    let (record, id) = (place.bytes(&record.encode()), place.bytes(&id.0));
    place.write(&format!("UPDATE epoch SET record = {record} WHERE id = {id}")).unwrap();
}

/// Ticks until it is so: the background does its work on threads of its own.
fn tick_until(keyring: &Keyring, what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2000 {
        keyring.tick();
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}

#[rstest]
fn an_epoch_is_wrapped_once_and_opens_elsewhere(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let api = Api::new();
    let (options, keyring) = with_api(&place, &api);
    let epochs = [Kind::Random, Kind::Deterministic].map(|kind| keyring.sealing(&name("partner"), kind).unwrap());
    assert_eq!(api.calls(), (2, 2), "each wrapped once and proven once");
    let second = place.try_open(&options).unwrap();
    for epoch in &epochs {
        let wraps = record_of(&keyring, epoch.id).wraps;
        assert!(matches!(&wraps[..], [Wrap { suite: MANAGED, kem_ct, recipient, .. }]
            if kem_ct.is_empty() && *recipient == key_id(b"partner")));
        assert_eq!(dek(&second.opening(epoch.id).unwrap()), dek(epoch));
        assert_eq!(second.sealing(&name("partner"), epoch.kind).unwrap().id, epoch.id);
        assert!(matches!(second.opening_cached(epoch.id), Cached::Hit(_)));
    }
    assert_eq!(api.calls(), (2, 4), "each opened once by the second");
    assert_eq!((keyring.alarms(), second.alarms()), (0, 0));
    let stats = second.stats().managed;
    assert_eq!((stats.unwraps, stats.failures, stats.seconds_left), (2, 0, Some(600)));
    // A process without the profile opens nothing, and raises no alarm for it.
    let without = place.open();
    assert!(matches!(without.opening(epochs[0].id), Err(KeyringError::Unknown(_))));
    assert!(matches!(without.rollover(&name("partner"), &[Kind::Random]), Err(KeyringError::NoKey(_))));
    assert_eq!(without.alarms(), 0);
    let info = without.partition_info(&name("partner")).unwrap();
    assert_eq!(info.recipients[0].profile.as_deref(), Some("partner"));
}

#[test]
fn a_profile_that_does_not_prove_calls_once() {
    let (place, api) = (Place::new(), Arc::new(Api::with(false, 600)));
    let (_, keyring) = with_api(&place, &api);
    keyring.sealing(&name("partner"), Kind::Random).unwrap();
    tick_until(&keyring, "a tick", || true);
    assert_eq!(api.calls(), (1, 0));
}

#[test]
fn a_thousand_who_want_the_same_make_one_call() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    api.gate.close();
    let ids: Vec<_> = thread::scope(|scope| {
        let seal = || keyring.sealing(&name("partner"), Kind::Random).unwrap().id;
        let threads: Vec<_> = (0..1000).map(|_| scope.spawn(seal)).collect();
        api.gate.wait_for(1);
        api.gate.open();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(api.calls(), (1, 1));
    let second = place.try_open(&options).unwrap();
    api.gate.close();
    thread::scope(|scope| {
        for _ in 0..1000 {
            scope.spawn(|| second.opening(ids[0]).unwrap());
        }
        api.gate.wait_for(1);
        api.gate.open();
    });
    assert_eq!(api.calls(), (1, 2));
}

#[test]
fn a_slow_api_holds_up_nobody_else() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let old = keyring.sealing(&name("partner"), Kind::Random).unwrap().id;
    keyring.create_managed(&name("beside"), OTHER).unwrap();
    let second = place.try_open(&options).unwrap();
    api.gate.close();
    thread::scope(|scope| {
        let slow = scope.spawn(|| second.opening(old));
        api.gate.wait_for(1);
        // All of this ends while the call hangs.
        second.sealing(&default(), Kind::Random).unwrap();
        second.sealing(&name("beside"), Kind::Random).unwrap();
        second.provision(&name("tenant"), 100).unwrap();
        second.tick();
        let left = without_calls(|| second.opening(old)).unwrap_err();
        assert!(!left.is_own() && &*left.profile() == "partner", "another makes the call");
        let made = without_calls(|| second.sealing(&default(), Kind::Deterministic)).unwrap().unwrap();
        assert_eq!(made.kind, Kind::Deterministic);
        assert!(!slow.is_finished());
        api.gate.open();
        slow.join().unwrap().unwrap();
        left.make().unwrap();
    });
    assert!(matches!(second.opening_cached(old), Cached::Hit(_)));
}

#[test]
fn a_look_up_without_calls_says_what_it_waits_for() {
    let (place, api) = (Place::new(), Api::new());
    let (_, keyring) = with_api(&place, &api);
    let call = without_calls(|| keyring.sealing(&name("partner"), Kind::Random)).unwrap_err();
    assert!(call.is_own() && &*call.profile() == "partner" && api.calls() == (0, 0));
    let waits = without_calls(|| keyring.sealing(&name("partner"), Kind::Random)).unwrap_err();
    assert!(!waits.is_own());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| waits.make());
        call.make().unwrap();
        waiting.join().unwrap().unwrap();
    });
    let sealing = without_calls(|| keyring.sealing(&name("partner"), Kind::Random)).unwrap().unwrap();
    assert!(matches!(keyring.sealing_cached(&name("partner"), Kind::Random), Cached::Hit(e) if e.id == sealing.id));
    // One that nobody makes fails for those who wait, and is begun anew by the next.
    let dropped = without_calls(|| keyring.rollover(&name("partner"), &[Kind::Random])).unwrap_err();
    let waits = without_calls(|| keyring.rollover(&name("partner"), &[Kind::Random])).unwrap_err();
    drop(dropped);
    assert!(matches!(waits.make(), Err(KeyringError::Unavailable(_))));
    keyring.rollover(&name("partner"), &[Kind::Random]).unwrap();
}

#[rstest]
#[case(Mood::OtherKey)]
#[case(Mood::Says(b""))]
#[case(Mood::Says(b"sc1k:"))]
#[case(Mood::Says(b"sc1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))]
#[case(Mood::Says(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))]
#[case(Mood::Says(b"<html>"))]
#[case(Mood::Empty)]
#[case(Mood::Echoes)]
fn nothing_is_stored_that_an_api_lies_about(#[case] mood: Mood) {
    let (place, api) = (Place::new(), Api::new());
    let (_, keyring) = with_api(&place, &api);
    api.set(mood);
    let error = keyring.sealing(&name("partner"), Kind::Random).unwrap_err();
    assert!(matches!(error, KeyringError::Unavailable(_)), "{error}");
    assert!(keyring.alarms() > 0);
    assert_eq!(place.ask("SELECT count(*) FROM epoch"), 0);
    assert!(keyring.create_managed(&name("next"), OTHER).is_err(), "nor does it pass a challenge");
    assert!(keyring.store.partition(&name("next")).unwrap().is_none());
    api.set(Mood::Honest);
    keyring.sealing(&name("partner"), Kind::Random).unwrap();
}

#[rstest]
#[case(Mood::OtherKey)]
#[case(Mood::Says(b"sc1k:AAAA"))]
fn nothing_opens_that_an_api_lies_about(#[case] mood: Mood) {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let id = keyring.sealing(&name("partner"), Kind::Random).unwrap().id;
    let second = place.try_open(&options).unwrap();
    api.set(mood);
    assert!(matches!(second.opening(id), Err(KeyringError::Unknown(_))));
    assert!(second.alarms() > 0);
    assert!(second.sealing(&name("partner"), Kind::Random).is_err());
    api.set(Mood::Honest);
    place.write("UPDATE partition SET version = version").unwrap();
    second.tick();
    second.opening(id).unwrap();
}

#[test]
fn unavailable_is_not_unknown() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let id = keyring.sealing(&name("partner"), Kind::Random).unwrap().id;
    let second = place.try_open(&options).unwrap();
    api.set(Mood::Away);
    assert!(matches!(second.opening(id), Err(KeyringError::Unavailable(_))));
    assert!(matches!(second.opening_cached(id), Cached::Miss));
    assert!(matches!(second.sealing(&name("partner"), Kind::Random), Err(KeyringError::Unavailable(_))));
    assert!(matches!(second.sealing(&name("partner"), Kind::Deterministic), Err(KeyringError::Unavailable(_))));
    api.set(Mood::Honest);
    second.opening(id).unwrap();
    assert_eq!(second.alarms(), 0);
}

#[test]
fn what_an_api_refuses_does_not_open_and_is_not_asked_again_at_once() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let id = keyring.sealing(&name("partner"), Kind::Random).unwrap().id;
    let second = place.try_open(&options).unwrap();
    api.set(Mood::Refuses);
    let before = api.calls().1;
    for _ in 0..10 {
        assert!(matches!(second.opening(id), Err(KeyringError::Unknown(_))));
        assert!(matches!(second.opening_cached(id), Cached::Unknown));
        assert!(matches!(second.sealing(&name("partner"), Kind::Random), Err(KeyringError::NoKey(_))));
    }
    assert_eq!(api.calls().1, before + 1);
    let error = second.sealing(&name("partner"), Kind::Deterministic).unwrap_err();
    assert!(matches!(&error, KeyringError::NoKey(text) if text.contains("enabled")), "{error}");
    assert_eq!(second.alarms(), 0);
}

#[rstest]
fn an_epoch_is_opened_again_in_time(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let api = Api::new();
    let (options, keyring) = with_api(&place, &api);
    let id = keyring.sealing(&name("partner"), Kind::Random).unwrap().id;
    let second = place.try_open(&Options { max_stale: Duration::from_secs(DAY), ..options }).unwrap();
    second.opening(id).unwrap();
    place.clock.advance(299);
    second.tick();
    assert_eq!(api.calls().1, 2);
    place.clock.advance(1);
    tick_until(&second, "it is opened again", || second.stats().managed.seconds_left == Some(600));
    assert_eq!(api.calls().1, 3);
    // While the API is away it is used for as long as was agreed, and no longer.
    api.set(Mood::Away);
    place.clock.advance(600);
    second.tick();
    assert!(matches!(second.opening_cached(id), Cached::Hit(_)));
    tick_until(&second, "the failure shows", || second.stats().managed.failing == 1);
    place.clock.advance(1);
    assert!(matches!(second.opening_cached(id), Cached::Miss), "also between two ticks");
    second.tick();
    assert!(matches!(second.opening(id), Err(KeyringError::Unavailable(_))));
    assert!(matches!(second.sealing(&name("partner"), Kind::Random), Err(KeyringError::Unavailable(_))));
    second.sealing(&default(), Kind::Random).unwrap();
    api.set(Mood::Honest);
    second.opening(id).unwrap();
    assert_eq!(second.stats().managed.failing, 0);
    assert_eq!(second.alarms(), 0);
}

#[test]
fn what_an_api_refuses_to_open_again_is_let_go_of() {
    let (place, api) = (Place::new(), Api::new());
    let (_, keyring) = with_api(&place, &api);
    let epoch = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    let local = keyring.sealing(&default(), Kind::Random).unwrap();
    drop(keyring.field_key(&epoch, Suite::Xaes, &Class::new("ssn")));
    api.set(Mood::Refuses);
    place.clock.advance(300);
    tick_until(&keyring, "it is let go of", || keyring.caches.opened(epoch.id).is_none());
    assert!(keyring.caches.sealing(&name("partner"), Kind::Random).is_none());
    assert!(epoch.kept().all().get(Suite::Xaes, &Class::new("ssn")).is_none(), "with its field keys");
    assert!(matches!(keyring.opening(epoch.id), Err(KeyringError::Unknown(_))));
    assert!(matches!(keyring.sealing(&name("partner"), Kind::Random), Err(KeyringError::NoKey(_))));
    keyring.opening(local.id).unwrap();
}

#[test]
fn what_a_private_key_opens_needs_no_api() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let old = keyring.sealing(&default(), Kind::Random).unwrap();
    keyring.add_managed(&default(), OTHER).unwrap();
    assert_eq!(record_of(&keyring, old.id).wraps.len(), 2);
    let calls = api.calls();
    let second = place.try_open(&options).unwrap();
    assert_eq!(dek(&second.opening(old.id).unwrap()), dek(&old));
    assert_eq!(api.calls(), calls);
    api.set(Mood::Away);
    place.clock.advance(700);
    second.tick();
    second.opening(old.id).unwrap();
    assert_eq!(second.stats().managed.seconds_left, None);
    // A new epoch needs both.
    assert!(matches!(second.rollover(&default(), &[Kind::Random]), Err(KeyringError::Unavailable(_))));
    api.set(Mood::Honest);
    second.rollover(&default(), &[Kind::Random]).unwrap();
    let new = second.sealing(&default(), Kind::Random).unwrap();
    let mut record = record_of(&second, new.id);
    assert_eq!(record.wraps.len(), 2);
    // The API's wrap alone opens it as well.
    record.wraps.retain(|wrap| wrap.suite == MANAGED);
    overwrite(&place, new.id, &record);
    assert_eq!(dek(&place.try_open(&options).unwrap().opening(new.id).unwrap()), dek(&new));
}

#[rstest]
fn a_key_pair_at_a_service_is_encapsulated_to_by_call(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let api = Api::new();
    let (options, keyring) = with_api(&place, &api);
    let public = api.public();
    keyring.create_managed(&name("kem"), (1, &public)).unwrap();
    assert_eq!(api.calls(), (1, 1));
    let epoch = keyring.sealing(&name("kem"), Kind::Random).unwrap();
    assert_eq!(api.calls(), (2, 2));
    let wraps = record_of(&keyring, epoch.id).wraps;
    assert!(matches!(&wraps[..], [wrap] if wrap.suite == 1 && wrap.kem_ct.len() == 1088 && wrap.wrapped.len() == 48));
    let second = place.try_open(&options).unwrap();
    api.set(Mood::OtherKey);
    assert!(matches!(second.opening(epoch.id), Err(KeyringError::Unknown(_))));
    api.set(Mood::Honest);
    let third = place.try_open(&options).unwrap();
    assert_eq!(dek(&third.opening(epoch.id).unwrap()), dek(&epoch));
    assert_eq!(third.partition_info(&name("kem")).unwrap().recipients[0].profile.as_deref(), Some("kem"));
}

#[rstest]
fn a_store_writer_gains_nothing(#[values(On::Sqlite, On::Postgres)] on: On) {
    let Some(place) = Place::on(on) else { return };
    let api = Api::new();
    let (options, keyring) = with_api(&place, &api);
    let first = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    keyring.rollover(&name("partner"), &[Kind::Random]).unwrap();
    let second = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    let [one, two] = [first.id, second.id].map(|id| record_of(&keyring, id));
    let with = |wraps: &[Wrap]| EpochRecord { wraps: wraps.to_vec(), ..one.clone() };
    let junk = Wrap { wrapped: vec![7; 100], ..one.wraps[0].clone() };
    let forms = [
        ("copied from another epoch", with(&two.wraps), true),
        ("stripped", with(&[]), true),
        ("emptied", with(&[Wrap { wrapped: Vec::new(), ..one.wraps[0].clone() }]), true),
        ("too long", with(&[Wrap { wrapped: vec![7; 17 * 1024], ..one.wraps[0].clone() }]), true),
        ("with a KEM ciphertext", with(&[Wrap { kem_ct: vec![1], ..one.wraps[0].clone() }]), true),
        ("of a stranger", with(&[Wrap { recipient: [9; 16], ..one.wraps[0].clone() }]), true),
        ("that the API refuses", with(&[junk]), false),
    ];
    for (what, record, alarms) in forms {
        overwrite(&place, first.id, &record);
        let process = place.try_open(&options).unwrap();
        let error = process.opening(first.id).unwrap_err();
        assert!(matches!(error, KeyringError::Unknown(_)), "{what}: {error}");
        assert_eq!(process.alarms() > 0, alarms, "{what}");
        assert_eq!(dek(&process.opening(second.id).unwrap()), dek(&second));
    }
    // Nor is anything sealed under what was tampered with.
    overwrite(&place, second.id, &EpochRecord { wraps: one.wraps.clone(), ..two });
    let process = place.try_open(&options).unwrap();
    let error = process.sealing(&name("partner"), Kind::Random).unwrap_err();
    assert!(matches!(error, KeyringError::Mismatch(_)), "{error}");
}

#[test]
fn recipients_come_and_go() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let recovery = keyring.make_recovery(KemSuite::MlKem768).unwrap();
    let old = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    let error = keyring.remove_managed(&name("partner"), PARTNER).unwrap_err();
    assert!(matches!(error, KeyringError::Mismatch(_)), "nothing would open: {error}");
    keyring.add_managed(&name("partner"), OTHER).unwrap();
    let suites = |id| record_of(&keyring, id).wraps.iter().map(|wrap| wrap.recipient).collect::<Vec<_>>();
    assert!(suites(old.id).contains(&key_id(b"other")) && suites(old.id).len() == 3);
    keyring.remove_managed(&name("partner"), PARTNER).unwrap();
    assert!(!suites(old.id).contains(&key_id(b"partner")) && suites(old.id).len() == 2);
    let new = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    assert!(new.id != old.id && !suites(new.id).contains(&key_id(b"partner")));
    assert!(keyring.lists_recipient(&name("partner"), OTHER).unwrap());
    assert!(!keyring.lists_recipient(&name("partner"), PARTNER).unwrap());
    let second = place.try_open(&options).unwrap();
    for epoch in [&old, &new] {
        assert_eq!(dek(&second.opening(epoch.id).unwrap()), dek(epoch));
    }
    // The offline recipient opens both without any API, and another keyring takes them over.
    let offline = Recovery::open(&options, &recovery.private_line, None).unwrap();
    for epoch in [&old, &new] {
        assert_eq!(dek(&offline.epoch(epoch.id).unwrap()), dek(epoch));
    }
    let fresh = Options { managed: Managed::default(), ..place.beside("fresh.db") };
    let fresh = Keyring::init(&fresh, KemSuite::MlKem768, place.clock).unwrap();
    assert_eq!(fresh.recover_from(&offline).unwrap(), 2);
    assert_eq!(dek(&fresh.opening(old.id).unwrap()), dek(&old));
    assert_eq!((keyring.alarms(), second.alarms(), fresh.alarms()), (0, 0, 0));
}

#[test]
fn a_rewrap_never_leaves_an_epoch_that_nobody_opens() {
    let (place, api) = (Place::new(), Api::new());
    let (_, keyring) = with_api(&place, &api);
    let epoch = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    keyring.add_managed(&name("partner"), OTHER).unwrap();
    // Somebody spoils one of the two wraps; dropping the other would be the end of the epoch.
    let mut record = record_of(&keyring, epoch.id);
    record.wraps.iter_mut().find(|wrap| wrap.recipient == key_id(b"other")).unwrap().wrapped = vec![1; 64];
    overwrite(&place, epoch.id, &record);
    keyring.tick();
    keyring.remove_recipient(&name("partner"), key_id(b"partner")).unwrap();
    let done = keyring.rewrap(Some(&name("partner")), &Cursor::default(), 100);
    assert!(done.is_err() || done.is_ok_and(|done| done.changed == 0));
    assert!(record_of(&keyring, epoch.id).wraps.iter().any(|wrap| wrap.recipient == key_id(b"partner")));
}

#[test]
fn an_epoch_is_renewed_without_anybody_waiting() {
    let (place, api) = (Place::new(), Api::new());
    let (options, _) = with_api(&place, &api);
    let options = Options { max_stale: Duration::from_secs(10 * DAY), ..options };
    let long = Arc::new(Api { max_stale: Duration::from_secs(10 * DAY), ..copy(&api) });
    let keyring = place.try_open(&Options { managed: Managed(Some(long.clone())), ..options }).unwrap();
    let epoch = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    long.set(Mood::Away);
    place.clock.advance(DAY - DAY / 20);
    tick_until(&keyring, "it is tried", || keyring.stats().managed.failing > 0);
    let tried = long.calls();
    keyring.tick();
    assert_eq!(long.calls(), tried, "not at every tick");
    assert!(matches!(keyring.sealing_cached(&name("partner"), Kind::Random), Cached::Hit(e) if e.id == epoch.id));
    long.set(Mood::Honest);
    long.gate.close();
    place.clock.advance(1);
    keyring.tick();
    long.gate.wait_for(1);
    // The call hangs, and neither ticks nor requests do.
    keyring.tick();
    assert_eq!(keyring.sealing(&name("partner"), Kind::Random).unwrap().id, epoch.id);
    long.gate.open();
    tick_until(
        &keyring,
        "it is renewed",
        || matches!(keyring.sealing_cached(&name("partner"), Kind::Random), Cached::Hit(e) if e.id != epoch.id),
    );
    assert_eq!((keyring.stats().managed.failing, keyring.alarms()), (0, 0));
}

fn copy(api: &Api) -> Api {
    let kem = DecapsulationKey::from_seed(KemSuite::MlKem768, api.kem.seed()).unwrap();
    Api { key: api.key, kem, ..Api::with(api.proves, 600) }
}

#[test]
fn who_seals_may_pause_and_destroy_as_ever() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let epoch = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    let second = place.try_open(&options).unwrap();
    api.gate.close();
    thread::scope(|scope| {
        let slow = scope.spawn(|| second.opening(epoch.id));
        api.gate.wait_for(1);
        // Paused while the API is asked: its answer opens nothing any more.
        keyring.set_state(&name("partner"), State::Paused).unwrap();
        second.tick();
        api.gate.open();
        assert!(matches!(slow.join().unwrap(), Err(KeyringError::Denied(_, State::Paused))));
    });
    keyring.set_state(&name("partner"), State::Active).unwrap();
    second.tick();
    api.gate.close();
    thread::scope(|scope| {
        let slow = scope.spawn(|| second.opening(epoch.id));
        api.gate.wait_for(1);
        keyring.destroy_epoch(epoch.id).unwrap();
        second.tick();
        api.gate.open();
        assert!(matches!(slow.join().unwrap(), Err(KeyringError::Unknown(_))));
    });
}

#[test]
fn a_recipient_that_comes_while_the_api_is_asked_is_not_missed() {
    let (place, api) = (Place::new(), Api::new());
    let (_, keyring) = with_api(&place, &api);
    api.gate.close();
    thread::scope(|scope| {
        let slow = scope.spawn(|| keyring.sealing(&name("partner"), Kind::Random));
        api.gate.wait_for(1);
        keyring.add_managed(&name("partner"), OTHER).unwrap();
        api.gate.open();
        let id = slow.join().unwrap().unwrap().id;
        assert_eq!(record_of(&keyring, id).wraps.len(), 2);
    });
}

#[test]
fn an_opener_with_the_profile_confirms_what_others_made() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let epoch = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    let set = |confirmed| {
        let sql = format!("UPDATE epoch SET confirmed = {}", place.truth(confirmed));
        place.write(&sql).unwrap();
    };
    set(false);
    let without = place.open();
    without.tick();
    assert!(!keyring.store.epoch(epoch.id).unwrap().unwrap().confirmed);
    assert_eq!(without.alarms(), 0);
    let with = place.try_open(&options).unwrap();
    tick_until(&with, "it is confirmed", || with.store.epoch(epoch.id).unwrap().unwrap().confirmed);
    assert_eq!(with.alarms(), 0);
}

#[test]
fn an_exported_keyring_keeps_what_apis_wrapped() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let epoch = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    let exported = keyring.export().unwrap();
    let other = Options { store: place.path("imported.db").into(), ..options };
    let other = Keyring::import(&other, &exported, place.clock).unwrap();
    assert_eq!(dek(&other.opening(epoch.id).unwrap()), dek(&epoch));
}

#[test]
fn requests_meet_at_a_barrier_and_renew_once() {
    let (place, api) = (Place::new(), Api::new());
    let (_, keyring) = with_api(&place, &api);
    let used_up = keyring.sealing(&name("partner"), Kind::Random).unwrap().id;
    let (before, barrier) = (api.calls(), Barrier::new(50));
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                barrier.wait();
                keyring.replace_epoch(&name("partner"), Kind::Random, used_up).unwrap();
            });
        }
    });
    assert_eq!(api.calls(), (before.0 + 1, before.1 + 1));
}

#[test]
fn what_an_api_refused_is_not_used_though_a_look_up_puts_it_back() {
    let (place, api) = (Place::new(), Api::new());
    let (_, keyring) = with_api(&place, &api);
    let epoch = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    let sealing = keyring.caches.sealing(&name("partner"), Kind::Random).unwrap();
    api.set(Mood::Refuses);
    place.clock.advance(300);
    tick_until(&keyring, "it is let go of", || keyring.caches.opened(epoch.id).is_none());
    // As one does that found it a moment before.
    keyring.caches.put_sealing(sealing);
    assert!(!matches!(keyring.opening_cached(epoch.id), Cached::Hit(_)));
    assert!(!matches!(keyring.sealing_cached(&name("partner"), Kind::Random), Cached::Hit(_)));
    assert!(keyring.sealing(&name("partner"), Kind::Random).is_err());
    api.set(Mood::Honest);
    keyring.caches.forget_unknown();
    assert_eq!(dek(&keyring.opening(epoch.id).unwrap()), dek(&epoch));
}

#[test]
fn a_store_that_takes_nothing_makes_no_storm_of_calls() {
    let (place, api) = (Place::new(), Api::new());
    let (_, keyring) = with_api(&place, &api);
    let first = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    // No second epoch is taken.
    place.sql().execute("CREATE UNIQUE INDEX full ON epoch (kind)", []).unwrap();
    for _ in 0..5 {
        keyring.rollover(&name("partner"), &[Kind::Random]).unwrap_err();
    }
    assert_eq!(api.calls(), (2, 2), "what was made once is offered again");
    place.sql().execute("DROP INDEX full", []).unwrap();
    keyring.rollover(&name("partner"), &[Kind::Random]).unwrap();
    assert_eq!(api.calls(), (2, 2));
    let second = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    keyring.rollover(&name("partner"), &[Kind::Random]).unwrap();
    let third = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    let deks = [&first, &second, &third].map(|epoch| dek(epoch));
    assert!(deks[0] != deks[1] && deks[1] != deks[2], "and then never again");
}

#[test]
fn a_silent_api_does_not_keep_the_epochs_of_another_from_being_renewed() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let mut old: Vec<_> = (0..20)
        .map(|_| {
            keyring.rollover(&name("partner"), &[Kind::Random]).unwrap();
            keyring.sealing(&name("partner"), Kind::Random).unwrap().id
        })
        .collect();
    keyring.create_managed(&name("beside"), OTHER).unwrap();
    let other = keyring.sealing(&name("beside"), Kind::Random).unwrap().id;
    let second = place.try_open(&Options { max_stale: Duration::from_secs(DAY), ..options }).unwrap();
    old.drain(..).for_each(|id| drop(second.opening(id).unwrap()));
    place.clock.advance(1);
    second.opening(other).unwrap();
    let lease = second.desk.leases().all(START).into_iter().find(|(id, _)| *id == other).unwrap().1;
    place.clock.advance(400);
    api.gate.close();
    let now = START + 401;
    tick_until(&second, "the other is renewed", || !lease.is_half_over(now));
    api.gate.open();
}

#[test]
fn an_epoch_that_an_api_refuses_for_a_while_is_confirmed_when_it_opens_again() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let epoch = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    place.write(&format!("UPDATE epoch SET confirmed = {}", place.truth(false))).unwrap();
    api.set(Mood::Refuses);
    let second = place.try_open(&options).unwrap();
    tick_until(&second, "it is refused", || second.stats().managed.failing > 0);
    second.tick();
    api.set(Mood::Honest);
    second.caches.forget_unknown(); // as time does
    place.clock.advance(200);
    tick_until(&second, "it is confirmed", || second.store.epoch(epoch.id).unwrap().unwrap().confirmed);
}

#[test]
fn what_waits_to_be_confirmed_waits_on_when_the_store_fails() {
    let (place, api) = (Place::new(), Api::new());
    let (options, keyring) = with_api(&place, &api);
    let epoch = keyring.sealing(&name("partner"), Kind::Random).unwrap();
    keyring.sealing(&default(), Kind::Random).unwrap();
    let id = place.bytes(&epoch.id.0);
    place.write(&format!("UPDATE epoch SET confirmed = {} WHERE id = {id}", place.truth(false))).unwrap();
    api.gate.close();
    let second = place.try_open(&options).unwrap();
    api.gate.wait_for(1);
    // The other one is confirmed: no second may be.
    place.sql().execute("CREATE UNIQUE INDEX full ON epoch (confirmed)", []).unwrap();
    api.gate.open();
    for _ in 0..50 {
        second.tick();
        thread::sleep(Duration::from_millis(2));
    }
    place.sql().execute("DROP INDEX full", []).unwrap();
    tick_until(&second, "it is confirmed", || second.store.epoch(epoch.id).unwrap().unwrap().confirmed);
}

#[test]
fn a_panic_under_the_lock_does_not_outlive_itself() {
    let (place, api) = (Place::new(), Api::new());
    let (_, keyring) = with_api(&place, &api);
    let panics = || Keyring::in_background(&mut keyring.lock(), |_| panic!("as a library may"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    keyring.sealing(&name("partner"), Kind::Random).unwrap();
    assert_eq!(api.calls(), (1, 1));
}
