use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};
use serde_json::json;

use super::keys::{KeySet, Source};
use super::*;
use crate::crypto::base64url;

const NOW: u64 = 1_800_000_000;

fn ec() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn ec_jwk(id: &str, key: &KeyPair) -> Value {
    let point = key.der_bytes();
    let (x, y) = point[1..].split_at(32);
    json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": base64url::encode(x), "y": base64url::encode(y)})
}

fn ed_jwk(id: &str, key: &KeyPair) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": base64url::encode(key.der_bytes())})
}

fn set(keys: &[Value]) -> (tempfile::TempDir, KeySet) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    let set = KeySet::open(&Source::File(path)).unwrap();
    (directory, set)
}

fn claims() -> Value {
    json!({"iss": "i", "aud": "a", "exp": NOW + 60})
}

fn sign(key: &KeyPair, id: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = id.map(Into::into);
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&key.serialize_der())).unwrap()
}

fn judge(token: &str, set: &KeySet) -> Result<Claims, Invalid> {
    let token = verify(token, "i", &["a".to_owned(), "b".to_owned()], &set.keys().unwrap())?;
    token.in_time(NOW)?;
    Ok((*token.claims).clone())
}

#[test]
fn each_kind_of_key_verifies_its_own() {
    let (key, edwards) = (ec(), KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let (_directory, set) = set(&[ec_jwk("one", &key), ed_jwk("two", &edwards)]);
    assert_eq!(judge(&sign(&key, Some("one"), &claims()), &set).unwrap()["aud"], "a");
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("two".into());
    let eddsa = |header: &Header| {
        jsonwebtoken::encode(header, &claims(), &EncodingKey::from_ed_der(&edwards.serialize_der())).unwrap()
    };
    assert!(judge(&eddsa(&header), &set).is_ok());
    header.kid = Some("one".into());
    assert_eq!(judge(&eddsa(&header), &set), Err(Invalid::UnknownKey), "the key of that name is for another algorithm");
}

#[test]
fn what_is_wrong_is_told_apart() {
    let (key, stranger) = (ec(), ec());
    let (_directory, set) = set(&[ec_jwk("one", &key)]);
    let changed = |change: Value| {
        let mut all = claims();
        all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        judge(&sign(&key, Some("one"), &all), &set)
    };
    assert_eq!(changed(json!({"exp": NOW - LEEWAY})), Err(Invalid::Expired));
    assert!(changed(json!({"exp": NOW - LEEWAY + 1, "nbf": NOW + LEEWAY})).is_ok());
    assert_eq!(changed(json!({"nbf": NOW + LEEWAY + 1})), Err(Invalid::NotYet));
    assert_eq!(changed(json!({"aud": ["c"]})), Err(Invalid::Audience));
    assert!(changed(json!({"aud": ["c", "b"]})).is_ok());
    assert_eq!(changed(json!({"iss": "j"})), Err(Invalid::Issuer));
    assert_eq!(changed(json!({"exp": null})), Err(Invalid::Claims));
    assert_eq!(changed(json!({"exp": -1})), Err(Invalid::Claims));
    assert_eq!(changed(json!({"nbf": "soon"})), Err(Invalid::Claims));
    assert_eq!(judge(&sign(&stranger, Some("one"), &claims()), &set), Err(Invalid::Signature));
    assert_eq!(judge(&sign(&key, Some("two"), &claims()), &set), Err(Invalid::UnknownKey));
    assert!(judge(&sign(&key, None, &claims()), &set).is_ok(), "without a name, each key is tried");
    let good = sign(&key, Some("one"), &claims());
    assert_eq!(judge(&format!("{good}.."), &set), Err(Invalid::Malformed));
    assert_eq!(judge(&"a".repeat(MAX_TOKEN + 1), &set), Err(Invalid::TooLong));
    let body = good.split('.').nth(1).unwrap();
    for alg in ["none", "None", "NONE", ""] {
        let header = base64url::encode(json!({"alg": alg, "kid": "one"}).to_string().as_bytes());
        assert_eq!(judge(&format!("{header}.{body}."), &set), Err(Invalid::Malformed), "{alg}");
    }
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("one".into());
    let hmac = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(key.der_bytes())).unwrap();
    assert_eq!(judge(&hmac, &set), Err(Invalid::Algorithm));
    let secret = EncodingKey::from_ec_der(&key.serialize_der());
    let mut header = Header::new(Algorithm::ES256);
    header.crit = Some(vec!["exp".into()]);
    assert_eq!(judge(&jsonwebtoken::encode(&header, &claims(), &secret).unwrap(), &set), Err(Invalid::Critical));
    // A key that comes with the token is nobody's.
    let mut header = Header::new(Algorithm::ES256);
    header.jwk = serde_json::from_value(ec_jwk("own", &stranger)).unwrap();
    let own = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_ec_der(&stranger.serialize_der())).unwrap();
    assert_eq!(judge(&own, &set), Err(Invalid::Signature));
}

#[test]
fn keys_for_other_purposes_are_none() {
    let key = ec();
    let with = |change: Value| {
        let mut jwk = ec_jwk("one", &key);
        jwk.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        jwk
    };
    for jwk in
        [with(json!({"use": "enc"})), with(json!({"alg": "ES384"})), json!({"kty": "oct", "k": "AAAA", "kid": "one"})]
    {
        let (_directory, set) = set(std::slice::from_ref(&jwk));
        assert_eq!(judge(&sign(&key, Some("one"), &claims()), &set), Err(Invalid::UnknownKey), "{jwk}");
    }
    let (_directory, set) = set(&[json!({"kty": "novel"}), with(json!({"alg": "ES256"}))]);
    assert!(judge(&sign(&key, Some("one"), &claims()), &set).is_ok());
}

#[test]
fn claims_match_as_they_are_meant() {
    let claims = json!({
        "sub": "system:serviceaccount:pay:web", "scope": "openid pii.read", "groups": ["staff", "tellers"], "level": 3,
        "verified": true, "nothing": null, "kubernetes.io": { "namespace": "pay" }, "aud": ["x", "y"]
    });
    let claims = claims.as_object().unwrap();
    let fits = |name: &str, pattern: &str| matches(&[(name.into(), pattern.into())], claims);
    for (name, pattern) in [
        ("sub", "system:serviceaccount:pay:*"),
        ("scope", "pii.read"),
        ("scope", "pii.*"),
        ("groups", "tellers"),
        ("level", "3"),
        ("verified", "true"),
        ("/kubernetes.io/namespace", "pay"),
    ] {
        assert!(fits(name, pattern), "{name} {pattern}");
    }
    for (name, pattern) in [
        ("sub", "system:serviceaccount:pa"),
        ("scope", "pii"),
        ("scope", "openid pii.read"),
        ("groups", "staff tellers"),
        ("nothing", "*"),
        ("kubernetes.io", "*"),
        ("none", "*"),
    ] {
        assert!(!fits(name, pattern), "{name} {pattern}");
    }
    assert!(matches(&[], claims));
    assert!(is_for(claims, &["z".into(), "y".into()]) && !is_for(claims, &["z".into()]));
}

#[test]
fn a_key_set_is_a_file_or_is_fetched_safely() {
    assert_eq!(Source::parse("file:/a/b"), Ok(Source::File("/a/b".into())));
    for text in ["https://id.bank/keys?x=1", "http://127.0.0.1:8080/keys", "http://localhost/k", "http://[::1]:1/k"] {
        assert_eq!(Source::parse(text), Ok(Source::Url(text.into())));
    }
    for text in [
        "/a/b",
        "file:",
        "http://id.bank/keys",
        "https://",
        "https://u:p@id.bank/",
        "ftp://a",
        "http://127.0.0.1.evil/k",
    ] {
        assert!(Source::parse(text).is_err(), "{text}");
    }
    assert_eq!(Source::Url("https://id.bank/keys?secret".into()).to_string(), "https://id.bank/keys");
    let set = KeySet::open(&Source::Url("https://id.bank/keys".into())).unwrap();
    assert!(set.keys().is_none(), "nothing was fetched yet");
    assert!(set.fetched(b"<html>").is_err() && set.keys().is_none());
    assert_eq!(set.fetched(br#"{"keys":[]}"#), Ok(0));
    assert_eq!(set.keys().unwrap().generation, 1);
}

/// A file is looked at twice a second; a log that repeats itself at that rate hides everything else.
#[test]
fn why_a_file_cannot_be_read_is_told_once() {
    let key = ec();
    let (directory, set) = set(&[ec_jwk("one", &key)]);
    let good = crate::bounded::read_file(&directory.path().join("jwks.json"), 1 << 20).unwrap();
    let (log, path) = (tempfile::NamedTempFile::new().unwrap(), directory.path().join("jwks.json"));
    let file = std::sync::Mutex::new(log.reopen().unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(file).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || {
        for content in [&b"{"[..], b"{", b"[]", &good, b"{"] {
            std::fs::write(&path, content).unwrap();
            set.look();
            set.look();
            assert!(judge(&sign(&key, Some("one"), &claims()), &set).is_ok());
        }
    });
    let log = crate::bounded::read_text_file(log.path(), 1 << 20).unwrap();
    let told = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((told("cannot be read"), told("was read again")), (3, 1), "{log}");
}
