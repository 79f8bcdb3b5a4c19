//! The NAVER Cloud KMS face, through its router: every route, happy and refused.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use sidecloak::authority::credentials::{NewApiKey, Purpose};
use sidecloak::authority::{Authority, Settings, ncloud_kms};
use sidecloak::clock::{Clock, ManualClock};
use sidecloak::crypto::base64;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::{KeySource, Keyring, Kind, Options, Permissions, State};
use sidecloak::name::PartitionName;
use tower::ServiceExt;

#[path = "ncloud_kms/clients.rs"]
mod clients;
#[path = "ncloud_kms/lifecycle.rs"]
mod lifecycle;
#[path = "ncloud_kms/refusals.rs"]
mod refusals;

const NOW: u64 = 1_800_000_000;

/// An access key with its secret key.
#[derive(Clone)]
pub struct Access {
    pub id: String,
    pub secret: String,
    pub number: u64,
}

pub struct Stage {
    directory: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub authority: Arc<Authority>,
    pub router: Router,
    pub runtime: tokio::runtime::Runtime,
    pub admin: Access,
}

impl Stage {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(NOW);
        let keyring = Keyring::init(&options(&directory), KemSuite::MlKem768, clock.clone()).unwrap();
        let authority = Authority::new(Arc::new(keyring), clock.clone(), &Settings::default()).unwrap().into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let router = ncloud_kms::router(Arc::clone(&authority));
        let admin = access(&authority, "admin");
        Self { directory, clock, authority, router, runtime, admin }
    }

    /// Another process on the same store.
    pub fn another(&self) -> Arc<Authority> {
        let keyring = Keyring::open(&options(&self.directory), self.clock.clone()).unwrap();
        Authority::new(Arc::new(keyring), self.clock.clone(), &Settings::default()).unwrap().into()
    }

    pub fn access(&self, role: &str) -> Access {
        access(&self.authority, role)
    }

    /// A signed request.
    pub fn signed(&self, by: &Access, method: &str, target: &str, body: impl Into<Body>) -> Request<Body> {
        let time = (self.clock.now() * 1000).to_string();
        Request::builder()
            .method(method)
            .uri(target)
            .header("x-ncp-apigw-timestamp", &time)
            .header("x-ncp-iam-access-key", &by.id)
            .header("x-ncp-apigw-signature-v2", ncloud_kms::sign(method, target, &time, &by.id, &by.secret))
            .body(body.into())
            .unwrap()
    }

    pub fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        self.send_to(&self.router, request)
    }

    pub fn send_to(&self, router: &Router, request: Request<Body>) -> (StatusCode, Value) {
        self.runtime.block_on(async {
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap();
            (status, serde_json::from_slice(&body).unwrap())
        })
    }

    pub fn call(&self, by: &Access, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let (status, answer) = self.send(self.signed(by, method, target, body));
        (status.as_u16(), answer)
    }

    /// A call as admin that succeeds: its data.
    pub fn ok(&self, method: &str, target: &str, body: &Value) -> Value {
        let (status, answer) = self.call(&self.admin, method, target, body);
        assert_eq!((status, &answer["code"]), (200, &json!("SUCCESS")), "{method} {target}: {answer}");
        answer["data"].clone()
    }

    /// A call as admin that is refused by the key service: status, code.
    pub fn refused(&self, method: &str, target: &str, body: &Value) -> (u16, String) {
        let (status, answer) = self.call(&self.admin, method, target, body);
        assert!(answer["msg"].is_string(), "{method} {target}: {answer}");
        (status, answer["code"].as_str().unwrap().to_owned())
    }

    pub fn make_key(&self, name: &str, key_type: &str, convergent: bool) -> String {
        let asked = json!({
            "keyName": name, "keyType": key_type, "isConvergent": convergent, "isAutoRotation": false,
            "protectionType": "BASIC",
        });
        self.ok("POST", "/kms/v1/keys", &asked)["keyTag"].as_str().unwrap().to_owned()
    }

    pub fn encrypt(&self, tag: &str, plaintext: &[u8]) -> String {
        let asked = json!({ "plaintext": base64::encode(plaintext) });
        self.ok("POST", &of(tag, "encrypt"), &asked)["ciphertext"].as_str().unwrap().to_owned()
    }

    pub fn decrypt(&self, tag: &str, ciphertext: &str) -> Vec<u8> {
        let data = self.ok("POST", &of(tag, "decrypt"), &json!({ "ciphertext": ciphertext }));
        base64::decode(data["plaintext"].as_str().unwrap().as_bytes(), 1 << 20).unwrap()
    }
}

fn access(authority: &Authority, role: &str) -> Access {
    let new = NewApiKey {
        purpose: Purpose::NcloudKms,
        label: "test".into(),
        app: None,
        partition: None,
        role: role.into(),
        expires: 0,
        secrets: &[ncloud_kms::SECRET_KEY],
    };
    let (text, key) = authority.credentials.create_api_key(&new).unwrap();
    let id = String::from_utf8(text.expose().to_vec()).unwrap();
    Access { id, secret: key.secrets[0].1.clone(), number: key.number }
}

fn options(directory: &tempfile::TempDir) -> Options {
    Options {
        store: directory.path().join("keyring.db").into(),
        master_keys: vec![KeySource::File(directory.path().join("master.key"))],
        i_know: true,
        ..Options::default()
    }
}

pub fn of(tag: &str, verb: &str) -> String {
    format!("/kms/v1/keys/{tag}/{verb}")
}

pub fn partition(tag: &str) -> PartitionName {
    PartitionName::new(tag).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

#[test]
fn a_value_comes_back_in_the_shape_it_came_in() {
    let stage = Stage::new();
    let tag = stage.make_key("values", "AES256", false);
    assert!(tag.len() == 52 && tag.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{tag}");
    let sealed = stage.encrypt(&tag, b"123-45-6789");
    assert!(sealed.starts_with("ncpkms:v1:"), "{sealed}");
    assert_eq!(base64::decode(&sealed.as_bytes()[10..], 100).unwrap().len(), 12 + 11 + 16);
    assert_ne!(sealed, stage.encrypt(&tag, b"123-45-6789"), "random nonces");
    assert_eq!(stage.decrypt(&tag, &sealed), b"123-45-6789");
    assert_eq!(stage.decrypt(&tag, &stage.encrypt(&tag, b"")), b"");

    let many = stage.ok("POST", &of(&tag, "encrypt"), &json!({ "plaintext": ["YQ==", "Yg=="] }));
    let back = stage.ok("POST", &of(&tag, "decrypt"), &json!({ "ciphertext": many["ciphertext"] }));
    assert_eq!(back, json!({ "plaintext": ["YQ==", "Yg=="] }));
    let one = stage.ok("POST", &of(&tag, "encrypt"), &json!({ "plaintext": ["YQ=="] }));
    assert_eq!(one["ciphertext"].as_array().unwrap().len(), 1, "an array of one is an array");
    assert_eq!(stage.ok("POST", &of(&tag, "encrypt"), &json!({ "plaintext": [] })), json!({ "ciphertext": [] }));

    let with = |context: &str| json!({ "ciphertext": many["ciphertext"], "context": context });
    assert_eq!(stage.ok("POST", &of(&tag, "decrypt"), &with(""))["plaintext"], json!(["YQ==", "Yg=="]));
    assert_eq!(stage.refused("POST", &of(&tag, "decrypt"), &with("YQ==")).0, 422, "what had no context has none");
    let bound = stage.ok("POST", &of(&tag, "encrypt"), &json!({ "plaintext": "YQ==", "context": "Yg==" }));
    let open = |context: Value| {
        stage
            .call(
                &stage.admin,
                "POST",
                &of(&tag, "decrypt"),
                &json!({ "ciphertext": bound["ciphertext"], "context": context }),
            )
            .0
    };
    assert_eq!([open(json!("Yg==")), open(json!("Yw==")), open(Value::Null)], [200, 422, 422]);
}

#[test]
fn escapes_in_json_are_no_part_of_base64() {
    let stage = Stage::new();
    let tag = stage.make_key("escapes", "AES256", false);
    let body = r#"{"context":null,"plaintext":"\/\/\u002f+","more":[1]}"#;
    let (status, answer) = stage.send(stage.signed(&stage.admin, "POST", &of(&tag, "encrypt"), body));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(base64::encode(&stage.decrypt(&tag, &text(&answer["data"]["ciphertext"]))), "///+");
}

#[test]
fn a_convergent_key_is_equal_for_equal_input_and_context() {
    let stage = Stage::new();
    let tag = stage.make_key("equal", "AES256", true);
    let other = stage.make_key("other", "AES256", true);
    let seal = |tag: &str, plaintext: &str, context: &str| {
        let asked = json!({ "plaintext": plaintext, "context": context });
        text(&stage.ok("POST", &of(tag, "encrypt"), &asked)["ciphertext"])
    };
    let sealed = seal(&tag, "YQ==", "Yg==");
    assert_eq!(sealed, seal(&tag, "YQ==", "Yg=="));
    assert_ne!(sealed, seal(&tag, "YQ==", "Yw=="), "another context");
    assert_ne!(sealed, seal(&tag, "Yg==", "Yg=="), "another value");
    assert_ne!(sealed, seal(&other, "YQ==", "Yg=="), "another key");
    let opened = stage.ok("POST", &of(&tag, "decrypt"), &json!({ "ciphertext": sealed, "context": "Yg==" }));
    assert_eq!(opened["plaintext"], "YQ==");
    for context in [json!({}), json!({ "context": "" }), json!({ "context": null })] {
        let mut asked = json!({ "plaintext": "YQ==", "ciphertext": sealed });
        asked.as_object_mut().unwrap().extend(context.as_object().unwrap().clone());
        for verb in ["encrypt", "decrypt", "re-encrypt", "create-custom-key"] {
            assert_eq!(stage.refused("POST", &of(&tag, verb), &asked).0, 400, "{verb} needs a context");
        }
    }
}

#[test]
fn rotation_keeps_old_versions_readable() {
    let stage = Stage::new();
    for (name, key_type) in [("rotated", "AES256"), ("rotated-rsa", "RSA2048")] {
        let tag = stage.make_key(name, key_type, false);
        let first = stage.encrypt(&tag, b"one");
        stage.clock.advance(10);
        let rotated = stage.ok("POST", &of(&tag, "rotate"), &Value::Null);
        assert_eq!(rotated, json!({ "keyTag": tag, "version": 2, "rotatedDate": stage.clock.now() * 1000 }));
        let second = stage.encrypt(&tag, b"two");
        assert!(second.starts_with("ncpkms:v2:"), "{second}");
        assert_eq!((stage.decrypt(&tag, &first), stage.decrypt(&tag, &second)), (b"one".to_vec(), b"two".to_vec()));
        let both = stage.ok("POST", &of(&tag, "decrypt"), &json!({ "ciphertext": [first, second] }));
        assert_eq!(both["plaintext"], json!(["b25l", "dHdv"]));
        for verb in ["re-encrypt", "reencrypt"] {
            let again = stage.ok("POST", &of(&tag, verb), &json!({ "ciphertext": first }));
            let again = text(&again["ciphertext"]);
            assert!(again.starts_with("ncpkms:v2:") && again != second, "{again}");
            assert_eq!(stage.decrypt(&tag, &again), b"one");
        }
        let forged = second.replacen("v2", "v1", 1);
        assert_eq!(stage.refused("POST", &of(&tag, "decrypt"), &json!({ "ciphertext": forged })).0, 422);
        let versions = stage.ok("GET", &of(&tag, "versions"), &Value::Null);
        assert_eq!(versions["currentVersion"], 2);
        let numbers: Vec<_> =
            versions["versionList"].as_array().unwrap().iter().map(|v| v["version"].clone()).collect();
        assert_eq!(numbers, [json!(1), json!(2)]);
    }
}

#[test]
fn custom_keys_come_sealed_and_on_request_plain() {
    let stage = Stage::new();
    for (name, key_type) in [("custom", "AES256"), ("custom-rsa", "RSA2048")] {
        let tag = stage.make_key(name, key_type, false);
        for bits in [128, 256, 512] {
            let asked = json!({ "requestPlainKey": true, "bits": bits });
            let made = stage.ok("POST", &of(&tag, "create-custom-key"), &asked);
            let plain = base64::decode(text(&made["plaintext"]).as_bytes(), 64).unwrap();
            assert_eq!((plain.len() * 8, &made["key_version"]), (bits, &json!(1)));
            assert_eq!(stage.decrypt(&tag, &text(&made["ciphertext"])), plain);
        }
        let made = stage.ok("POST", &of(&tag, "create-custom-key"), &Value::Null);
        assert!(made.get("plaintext").is_none(), "{made}");
        assert_eq!(stage.decrypt(&tag, &text(&made["ciphertext"])).len(), 32);
        assert_eq!(stage.refused("POST", &of(&tag, "create-custom-key"), &json!({ "bits": 192 })).0, 400);
    }
}

#[test]
fn signatures_verify_under_their_key_and_version() {
    let stage = Stage::new();
    for (name, key_type) in [("signs-rsa", "RSA2048"), ("signs-ecdsa", "ECDSA")] {
        let tag = stage.make_key(name, key_type, false);
        let data = base64::encode(b"message");
        let signature = text(&stage.ok("POST", &of(&tag, "sign"), &json!({ "data": data }))["signature"]);
        assert!(signature.starts_with("ncpkms:v1:"), "{signature}");
        let key = text(&stage.ok("POST", &of(&tag, "get-pub-key"), &Value::Null)["publicKey"]);
        assert!(
            key.starts_with("-----BEGIN PUBLIC KEY-----\n") && key.ends_with("-----END PUBLIC KEY-----\n"),
            "{key}"
        );
        stage.ok("POST", &of(&tag, "rotate"), &Value::Null);
        let verify = |data: &str, signature: &str| {
            stage.ok("POST", &of(&tag, "verify"), &json!({ "data": data, "signature": signature }))["valid"].clone()
        };
        assert_eq!(verify(&data, &signature), true);
        assert_eq!(verify(&base64::encode(b"massage"), &signature), false);
        assert_eq!(verify(&data, &signature.replacen("v1", "v2", 1)), false, "another version");
        assert_eq!(verify(&data, &signature.replacen("v1", "v3", 1)), false, "no version");
        let bare = json!({ "data": data, "signature": &signature[10..] });
        assert_eq!(stage.refused("POST", &of(&tag, "verify"), &bare).0, 400);
        let newest = stage.ok("POST", &of(&tag, "get-pub-key"), &json!({ "keyVersion": 2 }));
        assert_ne!(newest["publicKey"], key);
        assert_eq!(stage.ok("POST", &of(&tag, "get-pub-key"), &json!({ "keyVersion": 1 }))["publicKey"], key);
        assert_eq!(stage.refused("POST", &of(&tag, "get-pub-key"), &json!({ "keyVersion": 3 })).0, 400);
        let at_most = |bytes: usize| {
            stage.call(&stage.admin, "POST", &of(&tag, "sign"), &json!({ "data": base64::encode(&vec![1; bytes]) })).0
        };
        assert_eq!([at_most(0), at_most(8192), at_most(8193)], [200, 200, 400]);
    }
}

#[test]
fn each_type_does_what_it_does() {
    let stage = Stage::new();
    let (aes, ecdsa) = (stage.make_key("aes", "AES256", false), stage.make_key("ecdsa", "ECDSA", false));
    let asked =
        json!({ "data": "YQ==", "signature": "ncpkms:v1:YQ==", "plaintext": "YQ==", "ciphertext": "ncpkms:v1:YQ==" });
    for verb in ["sign", "verify", "get-pub-key"] {
        assert_eq!(stage.refused("POST", &of(&aes, verb), &asked), (400, "INVALID_REQUEST".into()), "{verb}");
    }
    for verb in ["encrypt", "decrypt", "re-encrypt", "create-custom-key"] {
        assert_eq!(stage.refused("POST", &of(&ecdsa, verb), &asked), (400, "INVALID_REQUEST".into()), "{verb}");
    }
}

#[test]
fn sizes_are_held_at_the_edge() {
    let stage = Stage::new();
    let (aes, rsa) = (stage.make_key("edge", "AES256", false), stage.make_key("edge-rsa", "RSA2048", false));
    let encrypt = |tag: &str, bytes: usize, context: usize| {
        let asked =
            json!({ "plaintext": base64::encode(&vec![7; bytes]), "context": base64::encode(&vec![8; context]) });
        stage.call(&stage.admin, "POST", &of(tag, "encrypt"), &asked).0
    };
    assert_eq!([encrypt(&aes, 32_768, 0), encrypt(&aes, 32_769, 0)], [200, 400]);
    assert_eq!([encrypt(&rsa, 190, 0), encrypt(&rsa, 191, 0)], [200, 400]);
    assert_eq!([encrypt(&aes, 1, 50), encrypt(&aes, 1, 51)], [200, 400]);
    let sealed = stage.encrypt(&aes, &vec![7; 32_768]);
    assert_eq!(stage.decrypt(&aes, &sealed).len(), 32_768);
    let sealed = stage.encrypt(&rsa, &[7; 190]);
    assert_eq!(stage.decrypt(&rsa, &sealed), [7; 190]);

    let array = |tag: &str, values: usize| {
        stage.call(&stage.admin, "POST", &of(tag, "encrypt"), &json!({ "plaintext": vec!["YQ=="; values] })).0
    };
    assert_eq!([array(&aes, 1000), array(&aes, 1001)], [200, 400]);
    assert_eq!(array(&rsa, 101), 400);
    let body = "x".repeat((4 << 20) + 1);
    let (status, answer) = stage.send(stage.signed(&stage.admin, "POST", &of(&aes, "encrypt"), body));
    assert_eq!((status.as_u16(), &answer["error"]["errorCode"]), (413, &json!("430")));
}

#[test]
fn one_bad_element_refuses_the_array() {
    let stage = Stage::new();
    let tag = stage.make_key("arrays", "AES256", false);
    for bad in [json!("YQ"), json!("!"), json!(1), json!(null), json!(["YQ=="])] {
        let asked = json!({ "plaintext": ["YQ==", bad, "Yg=="] });
        assert_eq!(stage.refused("POST", &of(&tag, "encrypt"), &asked).0, 400, "{bad}");
    }
    let (good, other) = (stage.encrypt(&tag, b"a"), stage.encrypt(&stage.make_key("another", "AES256", false), b"a"));
    for (bad, status) in [("ncpkms:v1:YQ==", 422), (&*other, 422), ("ncpkms:v7:YQ==", 422), ("vault:v1:YQ==", 400)] {
        let (got, answer) =
            stage.call(&stage.admin, "POST", &of(&tag, "decrypt"), &json!({ "ciphertext": [good, bad] }));
        assert_eq!(got, status, "{bad}: {answer}");
        assert!(answer.get("data").is_none());
    }
}

#[test]
fn a_key_shows_what_it_is() {
    let stage = Stage::new();
    let asked = json!({
        "keyName": "shown", "keyType": "AES256", "memo": "메모", "isConvergent": true, "isAutoRotation": true,
        "rotationPeriod": 30, "protectionType": "COMMON_HSM",
    });
    let made = stage.ok("POST", "/kms/v1/keys", &asked);
    let tag = text(&made["keyTag"]);
    let millis = NOW * 1000;
    let next = millis + 30 * 24 * 3600 * 1000;
    let shown = json!({
        "keyId": 1, "keyTag": tag, "keyName": "shown", "keyType": "AES256", "status": "ENABLE", "keystoreId": 1,
        "currentVersion": 1, "protectionType": "COMMON_HSM", "memo": "메모", "isConvergent": true, "isAutoRotation": true,
        "rotationPeriod": 30, "nextRotationDate": next, "registerDate": millis,
    });
    let info = stage.ok("GET", &format!("/kms/v1/keys/{tag}"), &Value::Null);
    assert_eq!(info, shown);
    let mut without = shown;
    without.as_object_mut().unwrap().remove("currentVersion");
    assert_eq!(made, without);
    let list = stage.ok("GET", "/kms/v1/keys", &Value::Null);
    assert_eq!(
        list,
        json!({
            "keyList": [{
                "keyId": 1, "keyTag": tag, "keyName": "shown", "keyType": "AES256", "status": "ENABLE",
                "protectionType": "COMMON_HSM", "isConvergent": true, "registerDate": millis, "destroyDate": null,
            }],
            "currentPageNo": 1, "totalPageNo": 1, "totalCount": 1,
        })
    );
    assert_eq!(stage.refused("POST", "/kms/v1/keys", &asked).0, 400, "a name is given once");
}

#[test]
fn lists_come_in_pages() {
    let stage = Stage::new();
    let mut tags: Vec<String> = (0..5).map(|n| stage.make_key(&format!("key-{n}"), "AES256", false)).collect();
    tags.sort();
    let page = |query: &str| {
        let list = stage.ok("GET", &format!("/kms/v1/keys?{query}"), &Value::Null);
        let keys: Vec<String> = list["keyList"].as_array().unwrap().iter().map(|key| text(&key["keyTag"])).collect();
        (keys, list["currentPageNo"].clone(), list["totalPageNo"].clone(), list["totalCount"].clone())
    };
    assert_eq!(page("pageNo=1&pageSize=2"), (tags[..2].to_vec(), json!(1), json!(3), json!(5)));
    assert_eq!(page("pageNo=3&pageSize=2"), (tags[4..].to_vec(), json!(3), json!(3), json!(5)));
    assert_eq!(page("pageNo=4&pageSize=2"), (vec![], json!(4), json!(3), json!(5)));
    for bad in ["pageNo=0", "pageSize=201", "pageSize=x"] {
        assert_eq!(stage.refused("GET", &format!("/kms/v1/keys?{bad}"), &Value::Null).0, 400, "{bad}");
    }
}

#[test]
fn whoever_rolls_the_partition_makes_a_version() {
    let stage = Stage::new();
    let tag = stage.make_key("rolled", "RSA2048", false);
    let first = stage.encrypt(&tag, b"one");
    stage.authority.keyring.rollover(&partition(&tag), &[Kind::Deterministic]).unwrap();
    let second = stage.encrypt(&tag, b"two");
    assert!(second.starts_with("ncpkms:v2:"), "{second}");
    assert_eq!((stage.decrypt(&tag, &first), stage.decrypt(&tag, &second)), (b"one".to_vec(), b"two".to_vec()));
}

#[test]
fn a_version_is_replaced_well_before_its_nonces_run_out() {
    let stage = Stage::new();
    let tag = stage.make_key("used-up", "AES256", false);
    let epoch = stage.authority.keyring.sealing(&partition(&tag), Kind::Deterministic).unwrap().id;
    let id = format!("{tag}.{epoch}");
    let ends = sidecloak::directory::Ends::never();
    stage.authority.directory.put("ncloud-uses", &id, 0, &(1_u64 << 31), ends).unwrap();
    assert!(stage.encrypt(&tag, b"one").starts_with("ncpkms:v2:"));
    assert_eq!(stage.ok("GET", &of(&tag, "versions"), &Value::Null)["currentVersion"], 2);
}

#[test]
fn roles_say_who_may_do_what() {
    let stage = Stage::new();
    let tag = stage.make_key("roles", "AES256", false);
    let sealed = stage.encrypt(&tag, b"secret");
    let (writer, reader, masked, nobody) =
        (stage.access("writer"), stage.access("reader"), stage.access("masked"), stage.access("nobody"));
    for (role, bits) in [("writer", 8), ("reader", 4), ("masked", 4 | Permissions::MASK)] {
        stage.authority.keyring.set_role(&partition(&tag), role, Some(Permissions(bits))).unwrap();
    }
    let encrypt = |by| stage.call(by, "POST", &of(&tag, "encrypt"), &json!({ "plaintext": "YQ==" })).0;
    let decrypt = |by| stage.call(by, "POST", &of(&tag, "decrypt"), &json!({ "ciphertext": sealed })).0;
    let again = |by| stage.call(by, "POST", &of(&tag, "re-encrypt"), &json!({ "ciphertext": sealed })).0;
    assert_eq!([encrypt(&writer), encrypt(&reader), encrypt(&masked), encrypt(&nobody)], [200, 403, 403, 403]);
    assert_eq!([decrypt(&writer), decrypt(&reader), decrypt(&masked), decrypt(&nobody)], [403, 200, 403, 403]);
    assert_eq!([again(&writer), again(&reader), again(&masked), again(&nobody)], [403, 403, 403, 403]);
    stage.authority.keyring.set_state(&partition(&tag), State::DecryptOnly).unwrap();
    assert_eq!((encrypt(&writer), decrypt(&reader)), (422, 200));
}
