use std::path::{Path, PathBuf};

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::answers::{Encapsulated, Generated, Token};
use super::recipient::{Recipient, Signed};
use super::*;
use crate::clock::SystemClock;
use crate::crypto::kem::{DecapsulationKey, KemSuite};
use crate::crypto::sign::plain::KeyPair;
use crate::sealer::managed::settings::EndpointTls;

fn reply(body: &Value) -> Reply {
    Reply { status: StatusCode::OK, headers: HeaderMap::new(), body: SecretBytes::new(body.to_string().into_bytes()) }
}

/// The value with a member changed, and taken away if there is nothing to change it into.
fn but(value: &Value, name: &str, to: &Value) -> Value {
    let mut changed = value.clone();
    let members = changed.as_object_mut().unwrap();
    if to.is_null() {
        members.remove(name).unwrap();
    } else {
        members.insert(name.into(), to.clone());
    }
    changed
}

/// A lie, and one that is not repeated.
#[track_caller]
fn is_lie<T>(read: Result<T, ApiError>, expected: &str) {
    let error = read.err().expect("a lie");
    assert_eq!(error.kind, Fault::Lie, "{error}");
    assert!(error.text.contains(expected), "{error}");
    assert!(!error.text.contains("hunter2") && !error.text.contains("abab"), "{error}");
}

#[test]
fn an_encapsulation_is_read_in_both_generations_and_lies_are_not() {
    let ab = |bytes: usize| Value::from("ab".repeat(bytes));
    let first = json!({ "cipher": ab(1088), "shared_key": ab(32), "more": 7 });
    let later = json!({ "algorithm": "ML-KEM-768", "ciphertext": "AB".repeat(1088), "shared_secret": ab(32) });
    for right in [&first, &later] {
        let (cipher, shared) = Encapsulated::read(&reply(right), "c").unwrap();
        assert_eq!((cipher, shared.expose()), (vec![0xab; 1088], &[0xab; 32]));
    }
    for (member, lie, expected) in [
        ("cipher", Value::Null, "no ciphertext of 1088 bytes"),
        ("cipher", ab(1087), "no ciphertext"),
        ("cipher", ab(1089), "no ciphertext"),
        ("cipher", "hunter2".into(), "no ciphertext"),
        ("cipher", 7.into(), "not the JSON"),
        ("cipher", json!([ab(1088)]), "not the JSON"),
        ("shared_key", Value::Null, "no shared key of 32 bytes"),
        ("shared_key", "".into(), "no shared key"),
        ("shared_key", ab(31), "no shared key"),
        ("shared_key", json!({ "hunter2": ab(32) }), "not the JSON"),
        ("shared_key", "00".repeat(32).into(), "zeros"),
    ] {
        is_lie(Encapsulated::read(&reply(&but(&first, member, &lie)), "c"), expected);
        if member == "shared_key" {
            is_lie(Decapsulated::read(&reply(&but(&first, member, &lie)), "c"), expected);
        }
    }
    is_lie(Encapsulated::read(&reply(&but(&later, "algorithm", &"ML-KEM-512".into())), "c"), "another algorithm");
    for lie in ["", "null", "[]", "<html>hunter2</html>", r#"{"shared_key":"#] {
        let mut reply = reply(&Value::Null);
        reply.body = SecretBytes::new(lie.as_bytes().to_vec());
        is_lie(Decapsulated::read(&reply, "c"), "");
    }
    let twice = format!(r#"{{"shared_key":"{0}","shared_key":"{0}"}}"#, "ab".repeat(32));
    let mut reply = reply(&Value::Null);
    reply.body = SecretBytes::new(twice.into_bytes());
    is_lie(Decapsulated::read(&reply, "c"), "not the JSON");
}

#[test]
fn a_token_is_what_a_header_may_hold() {
    for right in ["exqt.abc", "a"] {
        assert_eq!(Token::read(&reply(&json!({ "new_token": right })), "c").unwrap().expose(), right.as_bytes());
    }
    for lie in
        [json!(""), json!("a b"), json!("a\r\nhost: x"), json!("é"), json!("a".repeat(513)), json!(null), json!(7)]
    {
        is_lie(Token::read(&reply(&json!({ "new_token": lie })), "c"), "");
    }
}

fn made() -> (Value, DecapsulationKey) {
    let key = DecapsulationKey::generate(KemSuite::MlKem768).unwrap();
    let pk = key.encapsulation_key().unwrap();
    let signer = KeyPair::generate().unwrap();
    let made = json!({
        "pk": hex::encode(pk.as_bytes()),
        "sk": hex::encode(expanded::expand(&key).unwrap().expose()),
        "verification_key": hex::encode(signer.public()),
        "verification_signature": hex::encode(&signer.sign(pk.as_bytes()).unwrap()),
    });
    (made, key)
}

#[test]
fn a_key_pair_is_read_member_by_member() {
    let (made, _) = made();
    assert!(Generated::read(&reply(&made), "c", true).is_ok());
    let older = json!({
        "encapsulation_key": made["pk"],
        "decapsulation_key": made["sk"],
        "verification_key": made["verification_key"],
        "signature": made["verification_signature"],
    });
    assert!(Generated::read(&reply(&older), "c", true).is_ok());
    for member in ["pk", "sk", "verification_key", "verification_signature"] {
        for lie in [Value::Null, "ab".into(), "hunter2".into()] {
            is_lie(Generated::read(&reply(&but(&made, member, &lie)), "c", true), "in hexadecimal");
        }
    }
    let unsigned = but(&but(&made, "verification_key", &Value::Null), "verification_signature", &Value::Null);
    is_lie(Generated::read(&reply(&unsigned), "c", true), "verification key");
    assert!(Generated::read(&reply(&unsigned), "c", false).unwrap().signed.is_none());
}

fn recipient(made: &Value) -> Result<Recipient, &'static str> {
    let bytes = |name: &str| hex::decode(made[name].as_str().unwrap().as_bytes()).unwrap();
    let signed = Signed { verification_key: bytes("verification_key"), signature: bytes("verification_signature") };
    Recipient::check(bytes("pk"), Some(signed))
}

#[test]
fn what_does_not_verify_is_no_recipient() {
    let ((one, key), (other, other_key)) = (made(), made());
    let checked = recipient(&one).unwrap();
    assert!(checked.is_opened_by(&key.seed().to_vec().into_secret()));
    assert!(checked.is_opened_by(&expanded::expand(&key).unwrap()));
    assert!(!checked.is_opened_by(&other_key.seed().to_vec().into_secret()));
    assert!(!checked.is_opened_by(&SecretBytes::new(vec![0; 2400])));
    for member in ["pk", "verification_key", "verification_signature"] {
        assert!(recipient(&but(&one, member, &other[member])).is_err(), "{member}");
    }
    assert!(recipient(&but(&one, "pk", &"ff".repeat(1184).into())).is_err());
}

trait IntoSecret {
    fn into_secret(self) -> SecretBytes;
}

impl IntoSecret for Vec<u8> {
    fn into_secret(self) -> SecretBytes {
        SecretBytes::new(self)
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_recipient_file_is_believed_only_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let checked = recipient(&made().0).unwrap();
    let text = checked.to_file(Generation::First);
    assert!(
        text.starts_with(
            "{\n  \"algorithm\": \"ML-KEM-768\",\n  \"generation\": \"first\",\n  \"encapsulation_key\": \""
        )
    );
    let read = |text: &str| recipient_key(&write(directory.path(), "recipient.json", text));
    assert_eq!(read(&text).unwrap(), (1, checked.key.as_bytes().to_vec()));
    let unsigned = Recipient { signed: None, ..recipient(&made().0).unwrap() };
    assert!(read(&unsigned.to_file(Generation::Later)).is_ok());

    let value: Value = serde_json::from_str(&text).unwrap();
    for (member, to) in [
        ("algorithm", "ML-KEM-1024".into()),
        ("generation", "later".into()),
        ("generation", "third".into()),
        ("generation", Value::Null),
        ("encapsulation_key", "hunter2".into()),
        ("encapsulation_key", made().0["pk"].clone()),
        ("signature", "00".into()),
        ("signature", Value::Null),
        ("verification_key", made().0["verification_key"].clone()),
        ("private_key", "hunter2".into()),
    ] {
        let error = read(&but(&value, member, &to).to_string()).unwrap_err();
        assert!(error.contains("recipient.json") && error.contains("sidecloak profiles init"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = recipient_key(&directory.path().join("missing.json")).unwrap_err();
    assert!(error.contains("missing.json cannot be read"), "{error}");
}

#[test]
fn settings_that_can_never_open_anything_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (one, key) = made();
    let checked = recipient(&one).unwrap();
    let first = write(directory.path(), "first.json", &checked.to_file(Generation::First));
    let later = Recipient { signed: None, ..recipient(&one).unwrap() }.to_file(Generation::Later);
    let later = write(directory.path(), "later.json", &later);
    let token = KeySource::File(write(directory.path(), "token", "T\n"));
    let right = KeySource::File(write(directory.path(), "right", &format!("{}\n", hex::encode(key.seed()))));
    let other = KeySource::File(write(directory.path(), "other", made().0["sk"].as_str().unwrap()));
    let http = || Http::new("http://127.0.0.1:1", &EndpointTls::default(), 1 << 20).unwrap();
    let new = |generation, recipient: &PathBuf, recipient_secret: Option<&KeySource>| {
        let settings = ExeQuantumSettings {
            generation,
            token: token.clone(),
            temporary: None,
            recipient: recipient.clone(),
            recipient_secret: recipient_secret.cloned(),
        };
        ExeQuantum::new(http(), &settings, SystemClock::shared()).map(drop)
    };
    assert_eq!(new(Generation::First, &first, None), Ok(()));
    assert_eq!(new(Generation::First, &first, Some(&right)), Ok(()));
    assert_eq!(new(Generation::Later, &later, Some(&right)), Ok(()));
    assert_eq!(new(Generation::Later, &first, Some(&right)), Ok(()));
    for (generation, recipient, secret, expected) in [
        (Generation::First, &later, Some(&right), "no signature"),
        (Generation::Later, &later, None, "give `recipient_secret`"),
        (Generation::First, &first, Some(&other), "not the private key"),
        (Generation::Later, &later, Some(&token), "recipient_secret"),
    ] {
        let error = new(generation, recipient, secret).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_body_is_one_object() {
    let body = object(&[("a", b"00"), ("b", b"")]);
    assert_eq!(body.expose(), br#"{"a":"00","b":""}"#);
}
