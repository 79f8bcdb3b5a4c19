use std::path::Path;

use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::PublicKeyData;
use serde_json::{Value, json};

use super::*;
use crate::authority::credentials::NewApiKey;
use crate::authority::settings::{Issuer, TokenRule};
use crate::clock::ManualClock;
use crate::crypto::base64url;
use crate::crypto::kem::KemSuite;
use crate::jwt::keys::Source;
use crate::keyring::{KeySource, Keyring, Options};
use crate::tls::PeerIdentity;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://kubernetes.default.svc";

struct Place {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    authority: Authority,
    key: rcgen::KeyPair,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        store: directory.path().join("keyring.db").into(),
        master_keys: vec![KeySource::File(directory.path().join("master.key"))],
        i_know: true,
        ..Options::default()
    };
    let clock = ManualClock::at(NOW);
    let keyring = Arc::new(Keyring::init(&options, KemSuite::MlKem768, clock.clone()).unwrap());
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let jwks = directory.path().join("jwks.json");
    publish(&jwks, &[jwk("one", &key)]);
    let payments = Grant {
        app: Some("2376".into()),
        partitions: vec!["2376.t*".into()],
        encrypt_only: true,
        ..Grant::new(Purpose::Sidecar, "teller")
    };
    let settings = Settings {
        certificates: vec![
            CertificateRule { name: "spiffe://bank/ns/teller/*".into(), grant: Grant::new(Purpose::Sidecar, "teller") },
            CertificateRule { name: "ops.bank.example".into(), grant: Grant::new(Purpose::Management, "operator") },
        ],
        issuers: vec![Issuer {
            issuer: ISSUER.into(),
            audiences: vec!["sidecloak".into()],
            jwks: Source::File(jwks),
            rules: vec![
                TokenRule { claims: vec![("sub".into(), "system:serviceaccount:payments:*".into())], grant: payments },
                TokenRule {
                    claims: vec![("scope".into(), "keys.admin".into()), ("amr".into(), "hwk".into())],
                    grant: Grant::new(Purpose::Management, "admin"),
                },
            ],
        }],
        ..Settings::default()
    };
    let authority = Authority::new(keyring, clock.clone(), &settings).unwrap();
    Place { directory, clock, authority, key }
}

fn jwk(id: &str, key: &rcgen::KeyPair) -> Value {
    let point = key.der_bytes();
    let (x, y) = point[1..].split_at(32);
    json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": base64url::encode(x), "y": base64url::encode(y)})
}

fn publish(path: &Path, keys: &[Value]) {
    let new = path.with_extension("new");
    std::fs::write(&new, json!({ "keys": keys }).to_string()).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn token(key: &rcgen::KeyPair, id: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = id.map(Into::into);
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&key.serialize_der())).unwrap()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": ["sidecloak"], "sub": "system:serviceaccount:payments:web", "exp": NOW + 600, "nbf": NOW})
}

fn with(change: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

impl Place {
    async fn bearer(&self, text: &str, purpose: Purpose) -> Result<Identity, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {text}")).unwrap());
        identify(&self.authority, &headers, None, purpose).await
    }

    async fn claims(&self, claims: &Value) -> Result<Identity, Refused> {
        self.bearer(&token(&self.key, Some("one"), claims), Purpose::Sidecar).await
    }
}

fn name(text: &str) -> PartitionName {
    PartitionName::new(text).unwrap()
}

#[tokio::test]
async fn a_service_account_comes_in_by_its_token() {
    let place = place();
    let identity = place.claims(&claims()).await.unwrap();
    assert_eq!(identity.caller.role, "teller");
    assert_eq!(identity.caller.name, "token system:serviceaccount:payments:web of https://kubernetes.default.svc");
    assert!(identity.encrypt_only);
    for (partition, reached) in
        [("2376.t1", true), ("2376.x", false), ("23761.t1", false), ("2376", false), ("2376.", false)]
    {
        assert_eq!(identity.reaches(&name(partition)), reached, "{partition}");
    }
    // For that purpose alone.
    let web = token(&place.key, Some("one"), &claims());
    assert_eq!(place.bearer(&web, Purpose::Management).await, Err(Refused::Unauthenticated));
    let admin = with(&json!({"sub": null, "scope": "openid keys.admin", "amr": ["pwd", "hwk"]}));
    let admin = place.bearer(&token(&place.key, None, &admin), Purpose::Management).await.unwrap();
    assert_eq!((admin.caller.role.as_str(), admin.partitions), ("admin", Partitions::All));
}

#[tokio::test]
async fn tokens_that_are_none_of_ours_are_refused() {
    let place = place();
    let wrong = [
        json!({"iss": "https://elsewhere"}),
        json!({"iss": null}),
        json!({"aud": "another"}),
        json!({"aud": null}),
        json!({"exp": null}),
        json!({"exp": "never"}),
        json!({"exp": -5}),
        json!({"exp": NOW - 31}),
        json!({"nbf": NOW + 60}),
        json!({"nbf": "soon"}),
        json!({"sub": "system:serviceaccount:other:web"}),
        json!({"sub": null, "scope": "keys.admin"}),
        json!({"sub": {"system:serviceaccount:payments:web": 1}}),
    ];
    for change in wrong {
        assert_eq!(place.claims(&with(&change)).await, Err(Refused::Unauthenticated), "{change}");
    }
    let good = token(&place.key, Some("one"), &claims());
    let (rest, signature) = good.rsplit_once('.').unwrap();
    let (header, body) = rest.split_once('.').unwrap();
    let part = |value: Value| base64url::encode(value.to_string().as_bytes());
    let none = part(json!({"alg": "none", "typ": "JWT"}));
    let hmac = {
        let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
        let secret = EncodingKey::from_secret(place.key.der_bytes());
        jsonwebtoken::encode(&header, &claims(), &secret).unwrap()
    };
    let critical = {
        let mut header = Header::new(Algorithm::ES256);
        header.crit = Some(vec!["x".into()]);
        jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_ec_der(&place.key.serialize_der())).unwrap()
    };
    let another = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut own_key = Header::new(Algorithm::ES256);
    own_key.jwk = serde_json::from_value(jwk("one", &another)).unwrap();
    let own_key =
        jsonwebtoken::encode(&own_key, &claims(), &EncodingKey::from_ec_der(&another.serialize_der())).unwrap();
    for wrong in [
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{header}.{body}."),
        format!("{header}.{}.{signature}", part(with(&json!({"exp": NOW + 9999})))),
        format!("{good}A"),
        hmac,
        critical,
        own_key,
        token(&another, Some("one"), &claims()),
        token(&place.key, Some("two"), &claims()),
        "..".into(),
        format!("{}.{}.", part(json!({})), "A".repeat(20_000)),
    ] {
        assert_eq!(place.bearer(&wrong, Purpose::Sidecar).await, Err(Refused::Unauthenticated), "{wrong}");
    }
    assert!(place.bearer(&good, Purpose::Sidecar).await.is_ok());
}

#[tokio::test]
async fn a_verified_token_ends_in_its_time_and_with_its_key() {
    let place = place();
    let good = token(&place.key, Some("one"), &claims());
    assert!(place.bearer(&good, Purpose::Sidecar).await.is_ok());
    place.clock.advance(620);
    assert!(place.bearer(&good, Purpose::Sidecar).await.is_ok(), "within the leeway");
    place.clock.advance(10);
    assert_eq!(place.bearer(&good, Purpose::Sidecar).await, Err(Refused::Unauthenticated));
    let longer = with(&json!({"exp": (NOW + 9000) as f64 + 0.5}));
    assert!(place.claims(&longer).await.is_ok());
    let another = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let path = place.directory.path().join("jwks.json");
    publish(&path, &[json!({"kty": "oct", "k": "AAAA"}), json!({"kty": "novel"}), jwk("two", &another)]);
    place.clock.advance(1);
    assert_eq!(place.claims(&longer).await, Err(Refused::Unauthenticated), "its key is gone");
    assert!(place.bearer(&token(&another, Some("two"), &longer), Purpose::Sidecar).await.is_ok());
    std::fs::write(&path, "{").unwrap();
    place.clock.advance(1);
    assert!(place.bearer(&token(&another, Some("two"), &longer), Purpose::Sidecar).await.is_ok(), "kept as it was");
}

#[tokio::test]
async fn certificates_are_mapped_by_the_first_rule_that_fits() {
    let place = place();
    let come = async |names: &[&str], purpose| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let peer = Peer { address: ([127, 0, 0, 1], 1).into(), identity: Some(PeerIdentity { names, expires: NOW }) };
        identify(&place.authority, &HeaderMap::new(), Some(&peer), purpose).await
    };
    let teller = come(&["spiffe://bank/ns/teller/sa/web"], Purpose::Sidecar).await.unwrap();
    assert_eq!(
        teller.caller,
        Caller { name: "certificate spiffe://bank/ns/teller/sa/web".into(), role: "teller".into() }
    );
    assert!(come(&["x.example", "ops.bank.example"], Purpose::Management).await.is_ok());
    for names in [&["spiffe://bank/ns/tellers"][..], &["x.spiffe://bank/ns/teller/a"], &["ops.bank.example"], &[]] {
        assert_eq!(come(names, Purpose::Sidecar).await, Err(Refused::Unauthenticated), "{names:?}");
    }
    let nobody = identify(&place.authority, &HeaderMap::new(), None, Purpose::Sidecar).await;
    assert_eq!(nobody, Err(Refused::Unauthenticated));
    place.clock.advance(1);
    let over = come(&["spiffe://bank/ns/teller/sa/web"], Purpose::Sidecar).await;
    assert_eq!(over, Err(Refused::Unauthenticated), "the connection lasts longer than the certificate");
}

#[tokio::test]
async fn keys_come_in_by_the_header_alone_and_a_wrong_one_is_not_made_good_by_a_certificate() {
    let place = place();
    let new = NewApiKey {
        purpose: Purpose::EncryptOnly,
        label: "edge".into(),
        app: None,
        partition: Some("tenant".into()),
        role: "default".into(),
        expires: 0,
        secrets: &[],
    };
    let (text, _) = place.authority.credentials.create_api_key(&new).unwrap();
    let text = String::from_utf8(text.expose().to_vec()).unwrap();
    let identity = place.bearer(&text, Purpose::Sidecar).await.unwrap();
    assert!(identity.encrypt_only && identity.purpose == Purpose::Sidecar);
    assert!(identity.reaches(&name("tenant")) && !identity.reaches(&name("tenant2")));
    assert_eq!(place.bearer(&text, Purpose::Management).await, Err(Refused::Unauthenticated));
    let names = vec!["spiffe://bank/ns/teller/sa/web".to_owned()];
    let peer = Peer { address: ([127, 0, 0, 1], 1).into(), identity: Some(PeerIdentity { names, expires: NOW }) };
    for values in [&["Bearer wrong-1"][..], &["Basic eDp5"], &["Bearer"], &[&format!("Bearer {text}"), "Bearer x"]] {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let refused = identify(&place.authority, &headers, Some(&peer), Purpose::Sidecar).await;
        assert_eq!(refused, Err(Refused::Unauthenticated), "{values:?}");
    }
}

#[test]
fn settings_that_let_everybody_in_are_refused() {
    let grant = || Grant::new(Purpose::Sidecar, "teller");
    let issuer = |audiences: &[&str], claims: &[(&str, &str)]| Settings {
        issuers: vec![Issuer {
            issuer: ISSUER.into(),
            audiences: audiences.iter().map(|a| (*a).to_owned()).collect(),
            jwks: Source::File("jwks.json".into()),
            rules: vec![TokenRule {
                claims: claims.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
                grant: grant(),
            }],
        }],
        ..Settings::default()
    };
    let certificate = |name: &str, grant: Grant| Settings {
        certificates: vec![CertificateRule { name: name.into(), grant }],
        ..Settings::default()
    };
    assert_eq!(issuer(&["a"], &[("sub", "x")]).check(), Ok(()));
    assert_eq!(certificate("spiffe://bank/*", grant()).check(), Ok(()));
    for wrong in [
        issuer(&[], &[("sub", "x")]),
        issuer(&["a"], &[]),
        issuer(&["a"], &[("sub", "*")]),
        certificate("*", grant()),
        certificate("a", Grant::new(Purpose::Management, "teller")),
        certificate("a", Grant { app: Some("a.b".into()), ..grant() }),
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
}
