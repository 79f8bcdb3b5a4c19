//! One partition behind several faces: whichever face or process an operator turns to, all obey.

use serde_json::{Value, json};
use sidecloak::crypto::{base64, base64url};

use super::{App, Cluster, Fleet, PASSWORD, Service, until};

struct Stage {
    fleet: Fleet,
    authorities: [Service; 2],
    proxy: Service,
    app: App,
    partner: [String; 3],
    crypteron: String,
    exequantum: String,
}

impl Stage {
    fn new() -> Option<Self> {
        let (fleet, app) = (Fleet::new(&Cluster::shared()?.database()), App::start());
        let authorities = [(); 2].map(|()| fleet.authority("").started());
        fleet.user("alice", "default");
        let made =
            fleet.key(&["--purpose", "crittora", "--label", "acme", "--partition", "2376.shared", "--role", "default"]);
        let partner = [&made["key"], &made["secrets"]["access_key"], &made["secrets"]["secret_key"]]
            .map(|text| text.as_str().unwrap().to_owned());
        let key = |purpose: &str, more: &[&str]| {
            let made = fleet.key(&[&["--purpose", purpose, "--label", purpose], more].concat());
            made["key"].as_str().unwrap().to_owned()
        };
        let crypteron = key("crypteron", &["--role", "admin"]);
        let exequantum = key("exequantum", &["--role", "default", "--partition", "2376.shared"]);
        let proxy = fleet.sidecar(&authorities[1], &app).started();
        Some(Self { fleet, authorities, proxy, app, partner, crypteron, exequantum })
    }

    /// A managed call of the Crittora API.
    fn crittora(&self, at: usize, call: &str, body: &Value) -> (u16, Value) {
        let [key, access, secret] = &self.partner;
        let headers = [
            ("username", "alice"),
            ("password", PASSWORD),
            ("api_key", key),
            ("access_key", access),
            ("secret_key", secret),
        ];
        self.fleet.call(self.authorities[at].face("crittora"), "POST", &format!("/v1/{call}"), &headers, body)
    }

    fn crypteron(&self, at: usize, method: &str, target: &str, body: &Value) -> Value {
        let key = self.basic();
        let to = self.authorities[at].face("crypteron");
        let (status, answer) = self.fleet.call(to, method, target, &[("authorization", &key)], body);
        assert!((200..300).contains(&status), "{method} {target}: {status} {answer}");
        answer
    }

    fn basic(&self) -> String {
        format!("Basic {}", base64::encode(format!(":{}", self.crypteron).as_bytes()))
    }

    fn exequantum(&self, at: usize) -> u16 {
        let key = format!("bearer {}", self.exequantum);
        let body = json!({ "unencrypted": "text", "key": "00".repeat(32) });
        let to = self.authorities[at].face("exequantum");
        self.fleet.call(to, "POST", "/api/aes/encrypt_text", &[("authorization", &key)], &body).0
    }

    /// What the proxy answers for a document whose value Crittora sealed.
    fn through_the_proxy(&self, encrypted: &str) -> u16 {
        let token = String::from_utf8(base64url::decode(encrypted.as_bytes()).unwrap()).unwrap();
        let document = json!({ "value": token }).to_string();
        self.app.stored.lock().unwrap().insert("/shared/1".into(), document.into_bytes());
        let answer = self.proxy.get("/shared/1").unwrap();
        match answer.status() {
            200 => assert_eq!(answer.text(), r#"{"value":"4111 1111"}"#),
            _ => assert!(!answer.text().contains("4111 "), "{}", answer.text()),
        }
        answer.status()
    }
}

#[test]
fn what_one_face_sealed_obeys_what_another_says() {
    let Some(stage) = Stage::new() else { return };
    let encrypt = json!({ "data": "4111 1111" });
    let (status, answer) = stage.crittora(0, "encrypt", &encrypt);
    assert_eq!(status, 200, "{answer}");
    let encrypted = answer["body"]["encrypted_data"].as_str().unwrap();
    let decrypt = json!({ "encrypted_data": encrypted });
    assert_eq!(stage.crittora(1, "decrypt", &decrypt).1["body"]["decrypted_data"], "4111 1111");
    assert_eq!((stage.through_the_proxy(encrypted), stage.exequantum(0)), (200, 200));
    // And the other way: what the proxy sealed as text of that class.
    let answer = stage.proxy.post("/shared/2", r#"{"value":"from a sidecar"}"#).unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let token = stage.app.document("/shared/2")["value"].as_str().unwrap().to_owned();
    let sealed = json!({ "encrypted_data": base64url::encode(token.as_bytes()) });
    assert_eq!(stage.crittora(0, "decrypt", &sealed).1["body"]["decrypted_data"], "from a sidecar");

    // A key of the NAVER Cloud KMS is a partition of its own, which the operator pauses as any other.
    let made = stage.fleet.key(&["--purpose", "ncloud-kms", "--label", "kms", "--role", "admin"]);
    let by = (made["key"].as_str().unwrap(), made["secrets"]["secret_key"].as_str().unwrap());
    let kms = |at: usize, target: &str, body: &Value| {
        stage.fleet.signed(&stage.authorities[at], by, "POST", &format!("/kms/v1/keys{target}"), body)
    };
    let asked = json!({ "keyName": "shared", "keyType": "AES256", "isAutoRotation": false, "protectionType": "BASIC" });
    let tag = kms(0, "", &asked).1["data"]["keyTag"].as_str().unwrap().to_owned();
    let use_it = |at: usize| kms(at, &format!("/{tag}/encrypt"), &json!({ "plaintext": base64::encode(b"4111") }));
    assert_eq!(use_it(1).0, 200);

    // The switch of the application, at one authority, stops everything at the other as well.
    let key = stage.crypteron(0, "POST", "/v1/keys", &json!({ "AppId": "2376", "SecPartId": "shared" }));
    for round in 0..2 {
        stage.crypteron(round, "PUT", "/v1/apps/2376", &json!({ "State": "Paused" }));
        stage.fleet.at(&stage.authorities[round], &["partitions", "pause", &tag]).ends(0);
        for at in 0..2 {
            until("Crittora stops", || stage.crittora(at, "decrypt", &decrypt).0 == 403);
            assert_eq!(stage.crittora(at, "encrypt", &encrypt).0, 403);
            until("ExeQuantum stops", || stage.exequantum(at) == 403);
            until("NAVER Cloud stops", || use_it(at).0 == 422);
        }
        until("the proxy stops", || stage.through_the_proxy(encrypted) == 403);
        // Not to be got round by making another partition of the application.
        let more = json!({ "AppId": "2376", "SecPartId": format!("more-{round}") }).to_string();
        let basic = stage.basic();
        let to = stage.authorities[1 - round].face("crypteron");
        let body: Value = serde_json::from_str(&more).unwrap();
        assert_eq!(stage.fleet.call(to, "POST", "/v1/keys", &[("authorization", &basic)], &body).0, 409);
        stage.fleet.at(&stage.authorities[1 - round], &["apps", "resume", "2376"]).ends(0);
        stage.fleet.at(&stage.authorities[1 - round], &["partitions", "resume", &tag]).ends(0);
        for at in 0..2 {
            until("Crittora goes on", || stage.crittora(at, "decrypt", &decrypt).0 == 200);
            until("NAVER Cloud goes on", || use_it(at).0 == 200);
        }
        until("the proxy goes on", || stage.through_the_proxy(encrypted) == 200);
    }

    // Roles are the same ones, whoever sets them.
    let entries = |bits: u32| json!({ "AccessControlEntries": [{ "RoleId": "default", "Permissions": bits }] });
    let at_key = format!("/v1/keys/{}", key["KeyId"]);
    stage.crypteron(1, "PUT", &at_key, &entries(8));
    for at in 0..2 {
        until("Crittora only encrypts", || stage.crittora(at, "decrypt", &decrypt).0 == 403);
        assert_eq!(stage.crittora(at, "encrypt", &encrypt).0, 200);
    }
    let withheld = || stage.proxy.get("/shared/1").is_some_and(|answer| !answer.text().contains("4111 "));
    until("the proxy does not show it", withheld);
    let roles = stage.fleet.at(&stage.authorities[0], &["roles", "list", "2376.shared", "--json"]).ends(0).json();
    assert!(roles.to_string().contains(r#""permissions":8"#), "{roles}");
    // No audit bits: nothing of it is counted.
    let Stage { fleet, mut authorities, mut proxy, .. } = stage;
    proxy.end();
    authorities.iter_mut().for_each(|authority| drop(authority.end()));
    let counted = fleet.counted();
    let count = |class: &str, what: &str| counted.get(&("2376.shared".into(), class.into(), what.into())).copied();
    assert_eq!(count("crittora", "sealed"), Some(2), "by a partner and by a sidecar: {counted:?}");
    assert!(count("crittora", "opened") > Some(3) && count("crittora", "refused") > Some(3), "{counted:?}");
    assert!(count("exequantum.aes", "sealed") >= Some(1), "{counted:?}");
}
