//! Sidecars without access to the store, on the API of a real authority.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sidecloak::audit::{Recorder, Reports, Use};
use sidecloak::authority::credentials::{NewApiKey, Purpose};
use sidecloak::authority::keyring_api;
use sidecloak::clock::SystemClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::store::{Credential, Remote, StorePlace};
use sidecloak::keyring::{Cached, KeySource, Keyring, KeyringError, Kind, Options, Permissions, State};
use sidecloak::name::{Class, PartitionName};
use sidecloak::token::Suite;
use sidecloak::token::v1::{self, Plain};

use super::authority::Place;

#[path = "remote_keyring/fleet.rs"]
mod fleet;
#[path = "remote_keyring/liar.rs"]
mod liar;
#[path = "remote_keyring/routes.rs"]
mod routes;

fn name(text: &str) -> PartitionName {
    PartitionName::new(text).unwrap()
}

/// An authority with partitions `default` and `tenant`, in both of which these roles may do something.
fn authority() -> (Place, SocketAddr) {
    let place = Place::new(&["tenant"]);
    for (role, bits) in [("sidecar", Permissions::DEFAULT), ("reader", Permissions(4)), ("writer", Permissions(8))] {
        place.authority.keyring.set_role(&name("tenant"), role, Some(bits)).unwrap();
    }
    place.authority.keyring.set_role(&name("default"), "sidecar", Some(Permissions::DEFAULT)).unwrap();
    let address = place.serve(keyring_api::router(Arc::clone(&place.authority)));
    (place, address)
}

fn api_key(place: &Place, purpose: Purpose, role: &str, partition: Option<&str>) -> String {
    let new = NewApiKey {
        purpose,
        label: "a test".into(),
        app: None,
        partition: partition.map(Into::into),
        role: role.into(),
        expires: 0,
        secrets: &[],
    };
    let (text, _) = place.authority.credentials.create_api_key(&new).unwrap();
    String::from_utf8(text.expose().to_vec()).unwrap()
}

fn private_file(path: &Path, content: &[u8]) -> KeySource {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    KeySource::File(path.to_owned())
}

/// How a sidecar with this key opens its keyring.
fn options(place: &Place, address: SocketAddr, key: &str) -> Options {
    static FILES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = FILES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = private_file(&place.directory.path().join(format!("api-{number}.key")), key.as_bytes());
    Options {
        store: StorePlace::Authority(Box::new(Remote {
            url: format!("http://{address}"),
            credential: Some(Credential::ApiKey(file)),
            ..Remote::default()
        })),
        owner: Some(place.authority.keyring.owner_fingerprint()),
        ..Options::default()
    }
}

fn open(options: &Options) -> Result<Keyring, KeyringError> {
    sidecloak::app::keys::open(options, false, &SystemClock::shared())
}

fn sidecar(place: &Place, address: SocketAddr, role: &str) -> Keyring {
    open(&options(place, address, &api_key(place, Purpose::Sidecar, role, None))).unwrap()
}

fn seal(keyring: &Keyring, partition: &str, suite: Suite) -> Result<Vec<u8>, KeyringError> {
    let kind = if suite == Suite::Siv { Kind::Deterministic } else { Kind::Random };
    let epoch = keyring.sealing(&name(partition), kind)?;
    let plain = Plain { text: b"secret", is_string: true, record_id: None, pad: None, signer: None };
    let mut token = Vec::new();
    keyring.field_key(&epoch, suite, &Class::new("ssn")).seal(&plain, &mut token).unwrap();
    Ok(token)
}

fn opened(keyring: &Keyring, token: &[u8]) -> Result<Vec<u8>, KeyringError> {
    let token = v1::parse(token).unwrap();
    let epoch = keyring.opening(token.epoch)?;
    let key = keyring.field_key(&epoch, token.suite, &Class::new("ssn"));
    Ok(key.open(&token, None, &[], keyring.prefixes()).unwrap().text.expose().to_vec())
}

/// Calls `tick` as a process would until it is so; how long it took is printed, not judged.
#[expect(clippy::print_stdout, reason = "how long it took is told, not judged")]
fn until(what: &str, keyring: &Keyring, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: never");
        std::thread::sleep(Duration::from_millis(20));
        keyring.tick();
    }
    println!("{what}: after {} ms", start.elapsed().as_millis());
}

#[test]
fn what_one_sidecar_seals_another_and_the_authority_open() {
    let (place, address) = authority();
    let [one, other] = [(), ()].map(|()| sidecar(&place, address, "sidecar"));
    for suite in Suite::ALL {
        let token = seal(&one, "tenant", suite).unwrap();
        assert_eq!(opened(&other, &token).unwrap(), b"secret");
        assert_eq!(opened(&place.authority.keyring, &token).unwrap(), b"secret");
        assert_eq!(
            v1::parse(&seal(&other, "tenant", suite).unwrap()).unwrap().epoch,
            v1::parse(&token).unwrap().epoch,
            "one current epoch"
        );
    }
    let token = seal(&place.authority.keyring, "default", Suite::Xaes).unwrap();
    assert_eq!(opened(&one, &token).unwrap(), b"secret");
    for keyring in [&one, &other, &*place.authority.keyring] {
        assert_eq!(keyring.alarms(), 0);
    }
    one.self_check().unwrap();
}

#[test]
fn a_partition_that_a_request_asks_for_is_made_by_the_authority() {
    let (place, address) = authority();
    let one = sidecar(&place, address, "sidecar");
    assert!(matches!(one.partition(&name("new")), Err(KeyringError::Unknown(_))));
    assert!(one.provision(&name("new"), 2).unwrap_err().to_string().contains("max_partitions"));
    one.provision(&name("new"), 10).unwrap();
    let token = seal(&one, "new", Suite::Xaes).unwrap();
    assert_eq!(opened(&place.authority.keyring, &token).unwrap(), b"secret");
    let reader = sidecar(&place, address, "reader");
    assert!(reader.provision(&name("another"), 10).is_err(), "it may not seal in `default`");
    assert!(place.authority.keyring.partition(&name("another")).is_err());
}

#[test]
fn roles_decide_who_seals_and_opens() {
    let (place, address) = authority();
    let token = seal(&place.authority.keyring, "tenant", Suite::Xaes).unwrap();
    place.authority.keyring.rollover(&name("tenant"), &[Kind::Random]).unwrap();
    let reader = sidecar(&place, address, "reader");
    assert_eq!(opened(&reader, &token).unwrap(), b"secret");
    let writer = sidecar(&place, address, "writer");
    let error = opened(&writer, &token).unwrap_err();
    assert!(matches!(error, KeyringError::Unknown(_) | KeyringError::NoKey(_)), "{error}");
    let sealed = seal(&writer, "tenant", Suite::Xaes).unwrap();
    assert_eq!(opened(&reader, &sealed).unwrap(), b"secret");
    let stranger = sidecar(&place, address, "nobody");
    assert!(matches!(opened(&stranger, &token), Err(KeyringError::Unknown(_))));
    assert!(matches!(seal(&stranger, "tenant", Suite::Xaes), Err(KeyringError::Unknown(_))));
    // A role that only reads makes no epoch.
    place.authority.keyring.create_partition(&name("fresh")).unwrap();
    place.authority.keyring.set_role(&name("fresh"), "reader", Some(Permissions(4))).unwrap();
    let error = seal(&reader, "fresh", Suite::Xaes).unwrap_err();
    assert!(matches!(&error, KeyringError::NoKey(text) if text.contains("does not seal")), "{error}");
}

#[test]
fn a_pause_a_rollover_and_a_destruction_reach_a_sidecar() {
    let (place, address) = authority();
    let keyring = &place.authority.keyring;
    let one = sidecar(&place, address, "sidecar");
    let token = seal(&one, "tenant", Suite::Xaes).unwrap();
    keyring.set_state(&name("tenant"), State::Paused).unwrap();
    let epoch = v1::parse(&token).unwrap().epoch;
    until("a pause", &one, || matches!(one.opening_cached(epoch), Cached::Denied(State::Paused)));
    assert!(matches!(seal(&one, "tenant", Suite::Xaes), Err(KeyringError::Denied(_, State::Paused))));
    keyring.set_state(&name("tenant"), State::Active).unwrap();
    until("a resume", &one, || opened(&one, &token).is_ok());
    let first = one.sealing(&name("tenant"), Kind::Random).unwrap().id;
    keyring.rollover(&name("tenant"), &[Kind::Random]).unwrap();
    until("a rollover", &one, || one.sealing(&name("tenant"), Kind::Random).unwrap().id != first);
    assert_eq!(opened(&one, &token).unwrap(), b"secret");
    keyring.destroy_epoch(first).unwrap();
    until("a destruction", &one, || opened(&one, &token).is_err());
}

#[test]
fn a_sidecar_with_keys_of_its_own_asks_the_authority_for_none() {
    let (place, address) = authority();
    let keyring = &place.authority.keyring;
    let before = seal(keyring, "tenant", Suite::Xaes).unwrap();
    let key = keyring.make_recipient(KemSuite::XWing, &name("tenant")).unwrap();
    let recipient = private_file(&place.directory.path().join("recipient.key"), key.private_line.expose());
    // A role that may neither seal nor open, so that the authority would not decapsulate for it.
    keyring.set_role(&name("tenant"), "blind", Some(Permissions(0x400))).unwrap();
    let blind = options(&place, address, &api_key(&place, Purpose::Sidecar, "blind", None));
    let own = open(&Options { recipient: Some(recipient), ..blind.clone() }).unwrap();
    assert_eq!(opened(&own, &before).unwrap(), b"secret", "its epochs were wrapped to the new recipient, too");
    assert!(opened(&open(&blind).unwrap(), &before).is_err());

    // With an issuer's key as well, and an identity that may only insert.
    let line = keyring.add_encrypt_only_issuer(&name("tenant")).unwrap();
    let issuer = private_file(&place.directory.path().join("issuer.key"), line.expose());
    let key = api_key(&place, Purpose::EncryptOnly, "writer", None);
    let encrypts = open(&Options { issuer: Some(issuer), ..options(&place, address, &key) }).unwrap();
    let token = seal(&encrypts, "tenant", Suite::Xaes).unwrap();
    assert_eq!(opened(&encrypts, &token).unwrap(), b"secret", "its own");
    until("a new issuer", &own, || opened(&own, &token).is_ok());
    assert_eq!(opened(keyring, &token).unwrap(), b"secret");
    assert!(matches!(opened(&encrypts, &before), Err(KeyringError::NoKey(_) | KeyringError::Unknown(_))));
    let error = seal(&encrypts, "tenant", Suite::Siv).unwrap_err();
    assert!(matches!(error, KeyringError::NoKey(_)), "{error}");
}

#[test]
fn what_does_not_fit_is_told_at_start() {
    let (place, address) = authority();
    let good = options(&place, address, &api_key(&place, Purpose::Sidecar, "sidecar", None));
    let error = open(&Options { owner: Some([7; 32]), ..good.clone() }).unwrap_err();
    assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("pins")), "{error}");
    let error = open(&Options { owner: None, ..good.clone() }).unwrap_err();
    assert!(matches!(&error, KeyringError::NoKey(text) if text.contains("owner")), "{error}");
    let error = open(&options(&place, address, "sck_wrong")).unwrap_err();
    assert!(
        matches!(&error, KeyringError::NoKey(text) if text.contains("credential") && !text.contains("sck_wrong")),
        "{error}"
    );
    let mut gone = good.clone();
    let nowhere = Remote { url: "http://127.0.0.1:9".into(), ..Remote::default() };
    gone.store = StorePlace::Authority(Box::new(nowhere));
    assert!(matches!(open(&gone), Err(KeyringError::Unavailable(_))));
    let error = Keyring::open(&good, SystemClock::shared()).unwrap_err();
    assert!(matches!(&error, KeyringError::NoKey(text) if text.contains("master key")), "{error}");
}

#[test]
fn what_a_sidecar_counted_is_in_the_log_of_the_authority() {
    let (place, address) = authority();
    let reports = Reports::start(Arc::new(sidecar(&place, address, "sidecar"))).unwrap();
    for n in 0..300 {
        let class = Class::new(&format!("class-{n}"));
        reports.count("teller", &name("tenant"), &[(&class, Use::Opened, 3)]);
    }
    reports.count("teller", &name("nowhere"), &[(&Class::new("class"), Use::Sealed, 1)]);
    reports.stop();
    place.authority.audit.flush().unwrap();
    let lines = place.authority.keyring.records().unwrap().audit_after(0, 100).unwrap();
    let text: String = lines.iter().map(|(_, line)| String::from_utf8_lossy(line)).collect();
    let opened = text.matches(r#"partition":"tenant","use":"opened""#).count();
    assert_eq!(opened, 300, "{text}");
    assert!(text.contains(r#""caller":"apikey 1, teller","class":"class-299","n":3"#), "{text}");
    assert!(!text.contains("nowhere"), "{text}");
}
