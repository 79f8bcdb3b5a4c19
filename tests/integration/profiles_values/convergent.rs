//! Keys that give equal values equal ciphertexts, and an application that finds records by them; with each of the credentials that
//! the API takes.

use std::sync::Mutex;

use serde_json::{Value, json};
use sidecloak::clock::SystemClock;
use sidecloak::proxy::settings::Address;

use super::{Sidecar, Vendor, suite};
use crate::stage;
use crate::support::{Next, Upstream, upstream};

const RULES: &str = "rules:
  - name: customers
    match: { path: ['/customers/**', '/search'] }
    protect:
      - { fields: ['$..ssn'], key: seoul, deterministic: true }
";

/// Keeps documents, and answers a search with those whose `ssn` is the same text.
fn directory() -> Upstream {
    let all: Mutex<Vec<Value>> = Mutex::default();
    upstream(move |request, out| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let mut all = all.lock().unwrap();
        let answer = if request.first_line().contains("/search") {
            all.iter().filter(|one| one["ssn"] == asked["ssn"]).cloned().collect()
        } else {
            all.push(asked);
            Value::Array(all.clone())
        };
        let answer = answer.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        write!(out, "{head}content-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
        Next::KeepAlive
    })
}

/// A proxy that stands before it.
fn before(app: &Upstream, profiles: &str) -> Sidecar {
    let Address::Tcp(address) = app.address else { panic!("no TCP address") };
    let mut sidecar = Sidecar::new(profiles, RULES);
    sidecar.stop();
    let more = format!("profiles:\n{profiles}");
    let running = stage::start(sidecar.stage.dir.path(), address, "", &more, SystemClock::shared());
    sidecar.stage.front = stage::tcp(&running, "front");
    sidecar.stage.app = Some(running);
    sidecar
}

#[test]
fn a_look_up_finds_what_was_sealed_whatever_the_credential() {
    let vendor = Vendor::new();
    let (api, tag) = (vendor.ncloud(), vendor.ncloud_key(true));
    let hours = json!({ "accessTokenHours": 24, "refreshTokenHours": 48 });
    let set = vendor.ncloud_call(&format!("/kms/v1/keys/{tag}/token-set"), &hours);
    for name in ["accessToken", "refreshToken"] {
        vendor.file(name, set[name].as_str().unwrap());
    }
    let options = ", granularity: message, convergent: true";
    let of = |name: &str, file: &str| {
        vendor.seoul_with(&api, &tag, &format!("{name}: 'file:{}'{options}", vendor.path(file)))
    };
    let all = [
        ("x-ncp-apigw-signature-v2", vendor.seoul(&api, &tag, options)),
        ("x-ncp-ocapi-token", of("token", "accessToken")),
        ("x-ncp-ocapi-token", of("refresh_token", "refreshToken")),
    ];
    let app = directory();
    let mut first: Option<Value> = None;
    for (header, profiles) in all {
        let sidecar = before(&app, &profiles);
        let stage = &sidecar.stage;

        let before = api.calls();
        let customers = [("111-11", "Ada"), ("222-22", "Zoë"), ("111-11", "Bob"), ("", "nobody")];
        for (ssn, name) in customers {
            let body = json!({ "ssn": ssn, "name": name }).to_string();
            assert_eq!(stage.post("/customers", body).status, 200);
        }
        let found = stage.post("/search", json!({ "ssn": "111-11" }).to_string());
        let found: Value = serde_json::from_str(&found.text()).unwrap();
        let names: Vec<_> = found.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        let so_far = if first.is_some() { names.len() / 2 } else { 1 };
        assert_eq!(names, ["Ada", "Bob"].repeat(so_far), "{header}");
        assert!(found.as_array().unwrap().iter().all(|one| one["ssn"] == "111-11"));
        let none = stage.post("/search", json!({ "ssn": "333-33" }).to_string());
        assert_eq!(none.text(), "[]");
        assert!(api.seen()[before..].iter().all(|call| call.field(header).is_some() || call.text().is_empty()));

        // What the application compared, and that it is equal under every credential.
        let stored: Value = serde_json::from_slice(&app.last().body).unwrap();
        assert_eq!(suite(&stored["ssn"]), 0x41);
        let seen = app.seen.lock().unwrap().clone();
        let sealed: Vec<Value> =
            seen.iter().rev().take(6).map(|call| serde_json::from_slice(&call.body).unwrap()).collect();
        // The searches for 333-33 and 111-11, then the customers, the last first.
        assert!(sealed[1]["ssn"] == sealed[5]["ssn"] && sealed[3]["ssn"] == sealed[5]["ssn"]);
        assert!(sealed[4]["ssn"] != sealed[5]["ssn"] && sealed[2]["ssn"] != sealed[5]["ssn"]);
        let equal = first.get_or_insert_with(|| sealed[5]["ssn"].clone());
        assert_eq!(*equal, sealed[5]["ssn"]);
    }
}

/// Equality is of one field: the same value in another has another token.
#[test]
fn another_class_or_type_is_another_token() {
    let vendor = Vendor::new();
    let (api, tag) = (vendor.ncloud(), vendor.ncloud_key(true));
    let rules = "rules:
  - name: customers
    match: { path: '/**' }
    protect: [{ fields: ['$.a', '$.b', '$.c[*]'], key: seoul, deterministic: true }]
";
    let sidecar = Sidecar::new(&vendor.seoul(&api, &tag, ", granularity: field, convergent: true"), rules);
    let body = r#"{"a":"7","b":"7","c":["7",7,"\u0037",7.0,"8"]}"#;
    sidecar.stores("/1", body);
    let stored = sidecar.stored("/1");
    assert_ne!(stored["a"], stored["b"]);
    let c = stored["c"].as_array().unwrap();
    assert!(c[0] != c[1] && c[0] == c[2] && c[0] != c[4] && c[0] != stored["a"], "{stored}");
    let shown: Value = serde_json::from_str(&sidecar.stage.get("/1").text()).unwrap();
    assert_eq!(
        shown,
        serde_json::from_str::<Value>(r#"{"a":"7","b":"7","c":["7",7,"7",7,"8"]}"#).map_or(Value::Null, |mut v| {
            v["c"][3] = shown["c"][3].clone();
            v
        })
    );
    // A longer one is as deterministic under the partition's epochs.
    let long = "x".repeat(40_000);
    let body = json!({ "a": long }).to_string();
    sidecar.stores("/2", &body);
    sidecar.stores("/3", &body);
    assert!(suite(&sidecar.stored("/2")["a"]) == 3 && sidecar.stored("/2") == sidecar.stored("/3"));
    sidecar.shows("/3", &body);
}

/// Under `bare` equality is the vendor's own, of one field.
#[test]
fn bare_ciphertexts_of_a_convergent_key_are_equal_for_equal_values() {
    let vendor = Vendor::new();
    let (api, tag) = (vendor.ncloud(), vendor.ncloud_key(true));
    let profiles = vendor.seoul(&api, &tag, ", bare: true, granularity: message, convergent: true");
    let app = directory();
    let sidecar = before(&app, &profiles);
    for ssn in ["111-11", "222-22", "111-11"] {
        let reply = sidecar.stage.post("/customers", json!({ "ssn": ssn, "name": "Ada" }).to_string());
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(app.last().text().contains("ncpkms:v1:") && !app.last().text().contains(ssn));
    }
    let found = sidecar.stage.post("/search", json!({ "ssn": "111-11" }).to_string());
    assert_eq!(found.text().matches(r#""ssn":"111-11""#).count(), 2, "{}", found.text());
}
