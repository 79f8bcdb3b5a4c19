//! Who calls: roles and keys by JSON Web Token and client certificate, through the real proxy.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use sidecloak::clock::{Clock, ManualClock, SystemClock};
use sidecloak::crypto::base64url;
use sidecloak::keyring::Permissions;
use sidecloak::name::PartitionName;
use sidecloak::tls::ClientTls;

use super::pki::{Ca, Pair, Secure};
use super::relay;
use super::stage::{Reply, Stage, eventually};

const ISSUER: &str = "https://id.bank";
const BODY: &str = r#"{"ssn":"4111111111111111"}"#;
const MASKED: &str = r#"{"ssn":"************1111"}"#;
const RULES: &str = r#"rules:
  - name: health
    match: { path: /healthz }
    action: pass
  - name: looked-at
    match: { path: "/looked-at/**" }
    mode: observe
    protect: [{ fields: ["$..ssn"] }]
  - name: by-claim
    match: { path: "/tenants/**" }
    provision: true
    protect: [{ fields: ["$..ssn"], key: "tenant-{claim:tenant}.{claim:/kubernetes.io/namespace}" }]
  - name: all
    match: { path: "/**", except: ["/looked-at/**", "/tenants/**"] }
    protect: [{ fields: ["$..ssn"] }]
"#;

/// One of each kind that issuers sign with.
enum Signer {
    Rsa(RsaKeyPair),
    Pss(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Pss(_) => "PS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) | Self::Pss(key) => {
                let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
                let n = base64url::encode(n.big_endian_without_leading_zero());
                let e = base64url::encode(e.big_endian_without_leading_zero());
                json!({"kty": "RSA", "use": "sig", "kid": id, "n": n, "e": e})
            }
            Self::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": base64url::encode(x), "y": base64url::encode(y)})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": base64url::encode(key.public_key().as_ref())})
            }
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |key: &RsaKeyPair, padding| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(padding, &random, text, &mut signature).unwrap();
            signature
        };
        match self {
            Self::Rsa(key) => rsa(key, &RSA_PKCS1_SHA256),
            Self::Pss(key) => rsa(key, &RSA_PSS_SHA256),
            Self::Ec(key) => key.sign(&random, text).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(text).as_ref().to_vec(),
        }
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        self.with_header(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": id}), claims)
    }

    fn with_header(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        format!("{signed}.{}", base64url::encode(&self.sign(signed.as_bytes())))
    }
}

fn part(value: &Value) -> String {
    base64url::encode(value.to_string().as_bytes())
}

fn publish(directory: &Path, keys: &[Value]) {
    let (new, path) = (directory.join("jwks.new"), directory.join("jwks.json"));
    std::fs::write(&new, json!({ "keys": keys }).to_string()).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// What a token says that gives role `reader`.
fn claims(now: u64) -> Value {
    json!({"iss": ISSUER, "aud": ["customers"], "sub": "ann", "scope": "openid pii.read", "iat": now, "exp": now + 600})
}

fn with(claims: &Value, change: &Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            _ => claims[name] = value.clone(),
        }
    }
    claims
}

struct Place {
    stage: Stage,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new(keys: &[Value], listener: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        publish(directory.path(), keys);
        let jwks = format!("jwks: \"file:{}\", issuer: \"{ISSUER}\"", directory.path().join("jwks.json").display());
        let callers = format!(
            "callers:
  - {{ jwt: {{ {jwks}, audience: customers, claims: {{ scope: pii.read }} }}, role: reader }}
  - {{ jwt: {{ {jwks}, audience: customers, claims: {{ /kubernetes.io/namespace: \"tell*\" }} }}, role: teller }}
  - {{ jwt: {{ {jwks}, audience: [customers, desk], header: x-token, claims: {{ groups: tellers }} }}, role: teller }}
  - {{ header: {{ x-role: teller }}, role: teller }}
"
        );
        let clock = ManualClock::at(SystemClock.now());
        let stage = Stage::inside(directory, RULES, listener, &callers, clock.clone());
        let role = |role: &str, bits| {
            stage.keyring().set_role(&PartitionName::default_name(), role, Some(Permissions(bits))).unwrap();
        };
        role("default", Permissions::ENCRYPT);
        role("reader", Permissions::DECRYPT | Permissions::ENCRYPT);
        role("teller", Permissions::DECRYPT | Permissions::MASK);
        let place = Self { stage, clock };
        eventually("roles are in force", || {
            place.stage.post("/1", BODY).status == 200 && !place.get(&[]).text().contains("41111111")
        });
        place
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn get(&self, headers: &[(&str, &str)]) -> Reply {
        self.stage.call("GET", "/1", headers, "")
    }

    fn bearer(&self, token: &str) -> Reply {
        self.get(&[("authorization", &format!("Bearer {token}"))])
    }

    fn refuses(&self, token: &str) -> bool {
        let reply = self.bearer(token);
        let told = reply.headers.get("www-authenticate").is_some_and(|v| v == "Bearer error=\"invalid_token\"");
        assert_eq!(reply.status == 401, told);
        assert!(!reply.text().contains("41111111"));
        reply.status == 401
    }

    fn metrics(&self) -> String {
        self.stage.app().shared().metrics.render()
    }
}

#[test]
fn every_algorithm_of_the_issuer_gives_the_role() {
    let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let signers =
        [Signer::Rsa(rsa()), Signer::Pss(rsa()), Signer::ec(), Signer::Ed(Ed25519KeyPair::generate().unwrap())];
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk(signer.algorithm())).collect();
    let place = Place::new(&keys, "");
    let claims = claims(place.now());
    for signer in &signers {
        let id = signer.algorithm();
        for _ in 0..2 {
            assert_eq!(place.bearer(&signer.token(id, &claims)).text(), BODY, "{id}");
        }
        let other = signers.iter().find(|other| other.algorithm() != id).unwrap();
        assert!(place.refuses(&other.with_header(&json!({"alg": id, "kid": id}), &claims)), "{id}");
        // What is signed by one key stays so under no other name.
        assert!(place.refuses(&signer.token(other.algorithm(), &claims)), "{id}");
    }
    assert_eq!(place.get(&[("authorization", "bearer  x.y.z")]).status, 401);
    let metrics = place.metrics();
    assert!(metrics.contains("sidecloak_callers_total{role=\"reader\"} 8"), "{metrics}");
    assert!(metrics.contains("sidecloak_caller_tokens_total{result=\"valid\"} 8"), "{metrics}");
    let mut samples = metrics.lines().filter(|line| !line.starts_with('#'));
    assert!(!samples.any(|line| line.contains("ann")), "labels name nobody");
}

#[test]
fn roles_follow_the_claims_and_the_first_entry_that_fits() {
    let signer = Signer::ec();
    let place = Place::new(&[signer.jwk("one")], "");
    let claims = claims(place.now());
    let says = |change: Value| place.bearer(&signer.token("one", &with(&claims, &change)));
    assert_eq!(says(json!({})).text(), BODY);
    let projected = json!({"scope": null, "kubernetes.io": {"namespace": "tellers", "pod": {"name": "web-1"}}});
    assert_eq!(says(projected.clone()).text(), MASKED, "a projected token of a cluster");
    assert_eq!(says(with(&projected, &json!({"scope": "pii.read"}))).text(), BODY, "the first entry that fits");
    for change in [
        json!({"scope": "pii"}),
        json!({"scope": "pii.reader"}),
        json!({"scope": null}),
        json!({"scope": null, "kubernetes.io": "tellers"}),
        json!({"scope": null, "kubernetes.io": {"namespace": "hotel"}}),
        json!({"scope": null, "kubernetes.io/namespace": "tellers"}),
    ] {
        let reply = says(change.clone());
        assert!(reply.status == 200 && reply.text().contains("sc1."), "valid, and of nobody in particular: {change}");
    }
    // A header of its own, and an audience of its own.
    let desk = with(&claims, &json!({"aud": "desk", "groups": ["staff", "tellers"]}));
    assert_eq!(place.get(&[("x-token", &signer.token("one", &desk))]).text(), MASKED);
    assert_eq!(place.get(&[("x-token", &format!("Bearer {}", signer.token("one", &desk)))]).text(), MASKED);
    assert!(place.refuses(&signer.token("one", &desk)), "that audience is for the other header");
    // Both: the first entry that fits has the say.
    let (reader, teller) = (format!("Bearer {}", signer.token("one", &claims)), signer.token("one", &desk));
    assert_eq!(place.get(&[("authorization", &reader), ("x-token", &teller)]).text(), BODY);
}

#[test]
fn what_is_forged_or_bent_is_refused() {
    let (signer, stranger) = (Signer::ec(), Signer::ec());
    let place = Place::new(&[signer.jwk("one"), json!({"kty": "oct", "kid": "shared", "k": "c2VjcmV0"})], "");
    let claims = claims(place.now());
    let good = signer.token("one", &claims);
    let parts: Vec<&str> = good.split('.').collect();
    let Value::Object(jwk) = stranger.jwk("own") else { panic!() };
    let es256 = |more: Value| with(&json!({"alg": "ES256", "kid": "one"}), &more);
    let mut bent = vec![
        stranger.token("one", &claims),
        stranger.with_header(&es256(json!({"kid": null, "jwk": jwk})), &claims),
        stranger.with_header(&es256(json!({"jku": "http://127.0.0.1:1/keys"})), &claims),
        signer.with_header(&es256(json!({"crit": ["exp"], "exp": 1})), &claims),
        signer.with_header(&es256(json!({"b64": false})), &claims),
        signer.token("two", &claims),
        signer.token("shared", &claims),
        format!("{}.{}.{}", parts[0], part(&with(&claims, &json!({"sub": "bob"}))), parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}A"),
        format!("{good}, {good}"),
        "opaque".to_owned(),
        "a".repeat(17 << 10),
    ];
    for alg in ["none", "NONE", "nOnE", "HS256", "ES384", "ES512", ""] {
        let header = part(&json!({"alg": alg, "kid": "one"}));
        bent.push(format!("{header}.{}.{}", parts[1], parts[2]));
        bent.push(format!("{header}.{}.", parts[1]));
    }
    // HMAC under the public key, as text and as its bytes.
    for secret in [signer.jwk("one").to_string(), "secret".to_owned()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        for id in ["one", "shared"] {
            let signed = format!("{}.{}", part(&json!({"alg": "HS256", "kid": id})), parts[1]);
            let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
            bent.push(format!("{signed}.{}", base64url::encode(tag.as_ref())));
        }
    }
    let now = place.now();
    for change in [
        json!({"iss": "https://id.bank.evil"}),
        json!({"iss": null}),
        json!({"aud": "another"}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"exp": null}),
        json!({"exp": now - 31}),
        json!({"exp": "tomorrow"}),
        json!({"nbf": now + 60}),
        json!({"nbf": "x"}),
    ] {
        bent.push(signer.token("one", &with(&claims, &change)));
    }
    for token in &bent {
        assert!(place.refuses(token), "{token}");
    }
    let bearer = format!("Bearer {good}");
    for twice in [
        &[("authorization", &*bearer), ("authorization", &*bearer)][..],
        &[("authorization", &bearer), ("authorization", "Basic eDp5")],
    ] {
        assert_eq!(place.get(twice).status, 401);
    }
    assert_eq!(place.bearer(&good).text(), BODY);
    assert_eq!(place.get(&[("authorization", "Basic eDp5")]).status, 200, "another scheme is no token");
    let answer = place.bearer(&bent[0]).text();
    assert!(answer.contains("invalid-token") && !answer.contains("signature"), "{answer}");
}

#[test]
fn a_token_ends_in_its_time_and_with_its_key() {
    let (old, new) = (Signer::ec(), Signer::ec());
    let place = Place::new(&[old.jwk("old")], "");
    let token = old.token("old", &claims(place.now()));
    assert_eq!(place.bearer(&token).text(), BODY);
    place.clock.advance(629);
    assert_eq!(place.bearer(&token).text(), BODY, "within the leeway");
    place.clock.advance(1);
    assert!(place.refuses(&token), "what is remembered ends too");
    let (before, after) = (old.token("old", &claims(place.now())), new.token("new", &claims(place.now())));
    assert_eq!(place.bearer(&before).text(), BODY);
    assert!(place.refuses(&after));
    publish(place.stage.dir.path(), &[old.jwk("old"), new.jwk("new")]);
    eventually("the new key counts", || place.bearer(&after).text() == BODY);
    assert_eq!(place.bearer(&before).text(), BODY, "and the old one still");
    publish(place.stage.dir.path(), &[new.jwk("new")]);
    eventually("the old key is gone", || place.bearer(&before).status == 401);
    std::fs::write(place.stage.dir.path().join("jwks.json"), "{").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(place.bearer(&after).text(), BODY, "a damaged file leaves the keys as they were");
}

#[test]
fn nobody_is_refused_where_no_rule_acts_or_the_listener_ignores() {
    let signer = Signer::ec();
    let place = Place::new(&[signer.jwk("one")], "");
    let expired = format!("Bearer {}", signer.token("one", &with(&claims(place.now()), &json!({"exp": 1}))));
    let call = |place: &Place, path: &str| place.stage.call("POST", path, &[("authorization", &expired)], BODY).status;
    assert_eq!(call(&place, "/healthz"), 200, "no rule acts");
    assert_eq!(call(&place, "/looked-at/1"), 200, "observe changes nothing");
    assert_eq!(call(&place, "/2"), 401);
    assert!(place.stage.everything().iter().all(|(path, _)| path != "/2"), "the application saw nothing of it");

    let place = Place::new(&[signer.jwk("one")], "    on_invalid_jwt: ignore\n");
    let reply = place.get(&[("authorization", &expired)]);
    assert!(reply.status == 200 && reply.text().contains("sc1."), "it counts as none");
    assert_eq!(place.get(&[("authorization", "Bearer opaque")]).status, 200);
    let spoofed = place.get(&[("authorization", &expired), ("x-role", "teller")]);
    assert!(spoofed.text().contains("sc1."), "and nothing else stands in for it");
    let metrics = place.metrics();
    assert!(metrics.contains("sidecloak_caller_tokens_total{result=\"expired\"} 2"), "{metrics}");
}

#[test]
fn keys_are_filled_from_claims_that_were_proven() {
    let signer = Signer::ec();
    let place = Place::new(&[signer.jwk("one")], "");
    let claims = with(&claims(place.now()), &json!({"tenant": "acme", "kubernetes.io": {"namespace": "pay"}}));
    let call = |method: &str, claims: Option<&Value>, body: &str| {
        let token = claims.map(|claims| format!("Bearer {}", signer.token("one", claims)));
        let headers: Vec<(&str, &str)> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        let reply = place.stage.call(method, "/tenants/1", &headers, body.to_owned());
        (reply.status, reply.text())
    };
    // A provisioned partition takes the roles of `default`, of which the reader may do both.
    assert_eq!(call("POST", Some(&claims), BODY).0, 200);
    assert!(place.stage.stored_text("/tenants/1").contains("sc1."));
    assert_eq!(call("GET", Some(&claims), ""), (200, BODY.to_owned()));
    let names: Vec<String> = place.stage.keyring().list().unwrap().iter().map(|p| p.name.to_string()).collect();
    assert!(names.contains(&"tenant-acme.pay".to_owned()), "{names:?}");
    let other = with(&claims, &json!({"tenant": "evil"}));
    assert_ne!(call("GET", Some(&other), "").0, 200, "another tenant's token does not open");
    for change in
        [json!({"tenant": null}), json!({"tenant": ["acme"]}), json!({"tenant": ""}), json!({"kubernetes.io": 1})]
    {
        assert_eq!(call("POST", Some(&with(&claims, &change)), BODY).0, 422, "{change}");
    }
    assert_eq!(call("POST", None, BODY).0, 422);
}

#[test]
fn role_headers_count_from_trusted_peers_alone() {
    let signer = Signer::ec();
    let place = Place::new(&[signer.jwk("one")], "");
    assert!(place.get(&[("x-role", "teller")]).text().contains("sc1."), "nobody is trusted");
    let place = Place::new(&[signer.jwk("one")], "    trusted_peers: [127.0.0.0/8]\n");
    assert_eq!(place.get(&[("x-role", "teller")]).text(), MASKED);
    assert!(place.get(&[("x-role", "teller"), ("x-role", "teller")]).text().contains("sc1."), "twice is not once");
}

/// A listener that asks for certificates, and who comes with one.
struct Mutual {
    place: relay::Place,
    stage: Stage,
}

impl Mutual {
    fn new(rules: &str, callers: &str) -> Self {
        let place = relay::Place::new();
        let server = place.mutual(false);
        let listener = format!(
            "    tls: {{ cert: \"{}\", key: \"{}\", client_ca: \"{}\" }}\n",
            server.cert.display(),
            server.key.display(),
            server.client_ca.as_ref().unwrap().display()
        );
        let stage = Stage::with(rules, &listener, callers);
        Self { place, stage }
    }

    /// Somebody with a certificate, or without.
    fn client(&self, name: &str, pair: Option<&Pair>) -> Arc<ClientConfig> {
        let identity = pair.map(|pair| pair.write(self.place.path(), name));
        relay::offering(&ClientTls { identity, ..self.place.client() }, &["http/1.1"])
    }

    fn call(&self, client: &Arc<ClientConfig>, method: &str, path: &str, body: &str) -> (u16, String) {
        let name = ServerName::try_from("localhost").unwrap();
        let mut secure = Secure::to(self.stage.front, name, client).unwrap();
        let answer = secure.call(method, path, &[("content-type", "application/json")], body).unwrap();
        (answer.status(), answer.text())
    }
}

#[test]
fn certificates_give_roles_keys_and_rules() {
    let rules = r#"rules:
  - name: desk-alone
    match: { path: "/desk/**", client: ["spiffe://bank/ns/desk/*", "spiffe://bank/ns/teller/*"] }
    protect: [{ fields: ["$..ssn"] }]
  - name: desk-done
    match: { path: "/desk/**", client: ["spiffe://bank/ns/desk/*", "spiffe://bank/ns/teller/*"] }
    action: pass
  - name: nobody-else
    match: { path: "/desk/**" }
    action: reject
  - name: by-client
    match: { path: "/mine/**" }
    provision: true
    protect: [{ fields: ["$..ssn"], key: "own-{client}.{sni}" }]
  - name: all
    match: { path: "/**", except: ["/mine/**"] }
    protect: [{ fields: ["$..ssn"] }]
"#;
    let callers =
        "callers:\n  - { client: \"spiffe://bank/ns/teller/*\", role: teller }\n  - { client: \"*\", role: staff }\n";
    let mutual = Mutual::new(rules, callers);
    let role = |role: &str, bits| {
        mutual.stage.keyring().set_role(&PartitionName::default_name(), role, Some(Permissions(bits))).unwrap();
    };
    role("default", Permissions::ENCRYPT);
    role("staff", Permissions::DECRYPT | Permissions::MASK | Permissions::ENCRYPT);
    role("teller", Permissions::DECRYPT | Permissions::ENCRYPT);
    let ca = &mutual.place.clients;
    let teller = mutual.client("teller", Some(&ca.client("spiffe://bank/ns/teller/sa/web")));
    let other = mutual.client("other", Some(&ca.client("spiffe://bank/ns/tellers/sa/web")));
    let nobody = mutual.client("nobody", None);
    let forged = mutual.client("forged", Some(&Ca::new("clients").client("spiffe://bank/ns/teller/sa/web")));

    assert_eq!(mutual.call(&nobody, "POST", "/1", BODY).0, 200);
    eventually("roles are in force", || !mutual.call(&nobody, "GET", "/1", "").1.contains("41111111"));
    assert_eq!(mutual.call(&teller, "GET", "/1", "").1, BODY);
    assert_eq!(mutual.call(&other, "GET", "/1", "").1, MASKED, "the glob ends at a slash");
    assert!(mutual.call(&nobody, "GET", "/1", "").1.contains("sc1."));
    let name = ServerName::try_from("localhost").unwrap();
    let let_in = Secure::to(mutual.stage.front, name, &forged).and_then(|mut secure| secure.get("/1"));
    assert!(let_in.is_none(), "another authority of the same name");

    assert_eq!(mutual.call(&teller, "POST", "/desk/1", BODY).0, 200);
    assert_eq!(mutual.call(&other, "POST", "/desk/2", BODY).0, 403);
    assert_eq!(mutual.call(&nobody, "POST", "/desk/2", BODY).0, 403);

    assert_eq!(mutual.call(&teller, "POST", "/mine/1", BODY).0, 200);
    assert_eq!(mutual.call(&teller, "GET", "/mine/1", "").1, BODY);
    assert_ne!(mutual.call(&other, "GET", "/mine/1", "").0, 200, "another client's token does not open");
    assert_eq!(mutual.call(&nobody, "POST", "/mine/2", BODY).0, 422);
    let names: Vec<String> = mutual.stage.keyring().list().unwrap().iter().map(|p| p.name.to_string()).collect();
    assert!(names.contains(&"own-spiffe%3A%2F%2Fbank%2Fns%2Fteller%2Fsa%2Fweb.localhost".to_owned()), "{names:?}");
    let metrics = mutual.stage.app().shared().metrics.render();
    assert!(metrics.contains("role=\"teller\"") && !metrics.contains("spiffe"), "{metrics}");
}

/// What a server of keys answers; counts how often it was asked.
type Answer = Arc<Mutex<(String, u32)>>;

/// A server of keys on loopback. It goes with the process.
fn serve(answer: &Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::clone(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            drop(stream.read(&mut [0; 4096]));
            let text = {
                let mut answer = answer.lock().unwrap();
                answer.1 += 1;
                answer.0.clone()
            };
            drop(stream.write_all(text.as_bytes()));
        }
    });
    format!("http://{address}/keys")
}

fn http(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn keys_are_fetched_and_until_then_no_token_can_be_judged() {
    let (signer, next) = (Signer::ec(), Signer::ec());
    let answer: Answer = Arc::new(Mutex::new((http(503, ""), 0)));
    let url = serve(&answer);
    let callers = format!(
        "callers:\n  - {{ jwt: {{ jwks: \"{url}\", issuer: \"{ISSUER}\", audience: customers }}, role: reader }}\n"
    );
    let stage = Stage::with(RULES, "", &callers);
    let default = PartitionName::default_name();
    stage.keyring().set_role(&default, "default", Some(Permissions(Permissions::ENCRYPT))).unwrap();
    stage.keyring().set_role(&default, "reader", Some(Permissions(Permissions::DECRYPT))).unwrap();
    eventually("roles are in force", || {
        stage.post("/1", BODY).status == 200 && !stage.get("/1").text().contains("41111111")
    });
    let claims = claims(SystemClock.now());
    let get = |signer: &Signer, id: &str| {
        let bearer = format!("Bearer {}", signer.token(id, &claims));
        let reply = stage.call("GET", "/1", &[("authorization", &bearer)], "");
        (reply.status, reply.text())
    };
    assert_eq!(get(&signer, "one").0, 503, "its keys are not known, which is not the caller's fault");
    answer.lock().unwrap().0 = http(200, &json!({"keys": [signer.jwk("one")]}).to_string());
    eventually("the keys are fetched", || get(&signer, "one") == (200, BODY.to_owned()));
    // What it says next is no key set; the last keys stay.
    answer.lock().unwrap().0 = http(200, "<html>");
    assert_eq!(get(&next, "two").0, 401);
    let asked = answer.lock().unwrap().1;
    let start = std::time::Instant::now();
    while answer.lock().unwrap().1 == asked && start.elapsed().as_secs() < 20 {
        assert_eq!(get(&next, "two").0, 401);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(get(&signer, "one").0, 200);
    // A key that is not known has the set fetched early.
    answer.lock().unwrap().0 = http(200, &json!({"keys": [next.jwk("two")]}).to_string());
    eventually("the new key is fetched", || get(&next, "two").0 == 200);
    assert_eq!(get(&signer, "one").0, 401, "the old key is gone, and what it signed with it");
}
