use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::crypto::kem::KemSuite;
use crate::keyring::{KeySource, Keyring, Options};

struct Place {
    _directory: tempfile::TempDir,
    options: Options,
    clock: Arc<ManualClock>,
    credentials: Credentials,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        store: directory.path().join("keyring.db").into(),
        master_keys: vec![KeySource::File(directory.path().join("master.key"))],
        i_know: true,
        ..Options::default()
    };
    let clock = ManualClock::at(1_800_000_000);
    let keyring = Arc::new(Keyring::init(&options, KemSuite::MlKem768, clock.clone()).unwrap());
    let directory_of = Directory::new(keyring, clock.clone(), Duration::from_secs(300)).unwrap();
    Place { _directory: directory, options, clock, credentials: Credentials::new(directory_of).unwrap() }
}

impl Place {
    /// Another process on the same store.
    fn other(&self) -> Credentials {
        let keyring = Arc::new(Keyring::open(&self.options, self.clock.clone()).unwrap());
        Credentials::new(Directory::new(keyring, self.clock.clone(), Duration::from_secs(300)).unwrap()).unwrap()
    }
}

fn new_key() -> NewApiKey {
    NewApiKey {
        purpose: Purpose::Crypteron,
        label: "billing".into(),
        app: Some("2376".into()),
        partition: None,
        role: "default".into(),
        expires: 0,
        secrets: &["secret_key"],
    }
}

fn text(secret: &SecretBytes) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

#[tokio::test]
async fn a_key_is_known_by_its_text_for_its_purpose_alone() {
    let place = place();
    let credentials = &place.credentials;
    let (secret, made) = credentials.create_api_key(&new_key()).unwrap();
    let secret = text(&secret);
    assert_eq!((made.number, made.secrets.len()), (1, 1));
    assert!(secret.ends_with("-1") && secret.len() == 45, "its shape");
    assert_eq!(credentials.api_key(Purpose::Crypteron, &secret).await.unwrap(), made);
    assert_eq!(made.caller(), Caller { name: "apikey 1".into(), role: "default".into() });
    assert_eq!(credentials.api_key(Purpose::Management, &secret).await, Err(Refused::Unauthenticated));
    let (second, _) = credentials.create_api_key(&new_key()).unwrap();
    let crossed = format!("{}-1", text(&second).strip_suffix("-2").unwrap());
    let flipped = format!("{}{}", if secret.starts_with('A') { 'B' } else { 'A' }, secret.get(1..).unwrap());
    for wrong in [
        "",
        "-1",
        "x-1",
        secret.get(1..).unwrap(),
        &flipped,
        &crossed,
        &format!("{secret} "),
        &secret.replace("-1", "-01"),
    ] {
        assert_eq!(credentials.api_key(Purpose::Crypteron, wrong).await, Err(Refused::Unauthenticated), "{wrong}");
    }
    assert!(!format!("{made:?}").contains(&made.secrets[0].1));
}

#[tokio::test]
async fn a_key_ends_is_refreshed_and_revoked_at_every_process() {
    let place = place();
    let other = place.other();
    let now = crate::clock::Clock::now(&*place.clock);
    assert!(place.credentials.create_api_key(&NewApiKey { expires: now, ..new_key() }).is_err());
    let (short, _) = place.credentials.create_api_key(&NewApiKey { expires: now + 60, ..new_key() }).unwrap();
    let (first, key) = place.credentials.create_api_key(&new_key()).unwrap();
    assert!(other.api_key(Purpose::Crypteron, &text(&short)).await.is_ok());
    assert!(other.api_key(Purpose::Crypteron, &text(&first)).await.is_ok());
    place.clock.advance(60);
    assert_eq!(other.api_key(Purpose::Crypteron, &text(&short)).await, Err(Refused::Unauthenticated));
    let (second, refreshed) = place.credentials.refresh_api_key(key.number).unwrap().unwrap();
    assert_ne!(refreshed.secrets, key.secrets);
    place.clock.advance(2);
    assert_eq!(other.api_key(Purpose::Crypteron, &text(&first)).await, Err(Refused::Unauthenticated));
    assert!(other.api_key(Purpose::Crypteron, &text(&second)).await.is_ok());
    let numbers: Vec<_> = other.api_keys(0, 10).unwrap().iter().map(|entry| entry.value.number).collect();
    assert_eq!(numbers, [2], "the first has ended");
    assert!(place.credentials.revoke_api_key(key.number).unwrap());
    assert!(!place.credentials.revoke_api_key(key.number).unwrap());
    assert_eq!(place.credentials.api_key(Purpose::Crypteron, &text(&second)).await, Err(Refused::Unauthenticated));
    place.clock.advance(2);
    assert_eq!(other.api_key(Purpose::Crypteron, &text(&second)).await, Err(Refused::Unauthenticated));
    assert!(place.credentials.refresh_api_key(key.number).unwrap().is_none());
}

#[test]
fn what_no_key_may_be_is_refused() {
    let place = place();
    let wrong = [
        NewApiKey { label: String::new(), ..new_key() },
        NewApiKey { label: "a\nb".into(), ..new_key() },
        NewApiKey { role: "no role".into(), ..new_key() },
        NewApiKey { app: Some("a.b".into()), ..new_key() },
        NewApiKey { partition: Some("a/b".into()), ..new_key() },
        NewApiKey { purpose: Purpose::Management, ..new_key() },
    ];
    for new in wrong {
        assert!(matches!(place.credentials.create_api_key(&new), Err(Refused::Invalid(_))), "{new:?}");
    }
}

#[tokio::test]
async fn a_password_is_right_until_it_changes() {
    let place = place();
    let (here, other) = (&place.credentials, place.other());
    let (first, second) = (SecretBytes::new(b"first password".to_vec()), SecretBytes::new(b"second password".to_vec()));
    here.put_user("alice", &first, "default").unwrap();
    let user = other.password("alice", "first password").await.unwrap();
    assert_eq!(user.caller(), Caller { name: "user alice".into(), role: "default".into() });
    assert_eq!(other.password("alice", "first passwore").await, Err(Refused::Unauthenticated));
    assert_eq!(other.password("bob", "first password").await, Err(Refused::Unauthenticated));
    here.put_user("alice", &second, "teller").unwrap();
    place.clock.advance(2);
    assert_eq!(other.password("alice", "first password").await, Err(Refused::Unauthenticated), "was remembered");
    let changed = other.password("alice", "second password").await.unwrap();
    assert!(changed.generation > user.generation && changed.role == "teller");
    assert!(here.set_user_role("alice", "clerk").unwrap());
    assert!(here.delete_user("alice").unwrap());
    place.clock.advance(2);
    assert_eq!(other.password("alice", "second password").await, Err(Refused::Unauthenticated));
    here.put_user("alice", &first, "default").unwrap();
    let again = here.password("alice", "first password").await.unwrap();
    assert!(again.generation > changed.generation);
    assert!(!format!("{again:?}").contains("argon2"));
}

#[tokio::test]
async fn guesses_lock_out_and_what_is_remembered_goes_on() {
    let place = place();
    let credentials = &place.credentials;
    let from = |n| Some(IpAddr::from([192, 0, 2, n]));
    credentials.put_user("alice", &SecretBytes::new(b"the password".to_vec()), "default").unwrap();
    credentials.password_from("alice", "the password", from(1)).await.unwrap();
    for n in 0..5 {
        let refused = credentials.password_from("alice", &format!("guess {n}"), from(2)).await;
        assert_eq!(refused, Err(Refused::Unauthenticated));
    }
    assert_eq!(credentials.password_from("alice", "guess 6", from(2)).await, Err(Refused::TooMany(1)));
    assert!(credentials.password_from("alice", "the password", from(1)).await.is_ok());
    // Nobody is told whether a name exists.
    for n in 0..5 {
        let refused = credentials.password_from("nobody", &format!("guess {n}"), from(2)).await;
        assert_eq!(refused, Err(Refused::Unauthenticated));
    }
    assert_eq!(credentials.password_from("nobody", "guess 6", from(2)).await, Err(Refused::TooMany(1)));
    place.clock.advance(1);
    assert_eq!(credentials.password_from("alice", "guess 6", from(2)).await, Err(Refused::Unauthenticated));
    assert_eq!(credentials.password_from("alice", "guess 7", from(2)).await, Err(Refused::TooMany(2)));
}

#[tokio::test]
async fn a_hundred_calls_at_once_are_verified_once() {
    let place = place();
    place.credentials.put_user("alice", &SecretBytes::new(b"the password".to_vec()), "default").unwrap();
    let calls = (0..100).map(|_| place.credentials.password("alice", "the password"));
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap();
    }
}

#[test]
fn weak_or_broken_users_are_refused() {
    let place = place();
    let put = |name: &str, password: &[u8], role: &str| {
        place.credentials.put_user(name, &SecretBytes::new(password.to_vec()), role)
    };
    for (name, password, role) in [
        ("", &b"long enough"[..], "r"),
        (" a", b"long enough", "r"),
        ("a\u{0}", b"long enough", "r"),
        ("a", b"short", "r"),
        ("a", &[0xff; 9], "r"),
        ("a", &[b'x'; 1025], "r"),
        ("a", b"long enough", ""),
    ] {
        assert!(matches!(put(name, password, role), Err(Refused::Invalid(_))), "{name:?} {role:?}");
    }
}
