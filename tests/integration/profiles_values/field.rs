//! Each value by a call of its own: what travels, what is kept apart, and how many calls that is.

use serde_json::{Value, json};
use sidecloak::crypto::base64url;

use super::{Sidecar, Vendor, calls, header, suite};
use crate::managed::double::Act;

const RULES: &str = "rules:
  - name: out
    match: { path: '/partner/**' }
    expose: [{ fields: ['$..ssn'], key: partner }]
  - name: customers
    match: { path: '/**' }
    protect:
      - { fields: ['$..[\"ssn\",\"number\",\"flag\",\"nothing\",\"object\",\"empty\",\"long\",\"escaped\"]'], key: partner, nulls: seal }
      - { fields: ['$..iban'], key: partner, sign: true }
";

/// As callers write it, byte for byte.
fn customer() -> String {
    let long = "Sesame é ".repeat(8_000);
    format!(
        r#"{{ "ssn":"Sesame 123","number" : 1.10,"flag":true,"nothing":null,"object":{{ "Sesame" : [1e2,"\u00e9"] }},"empty":"", "long":"{long}","escaped":"caf\u00e9 \/ \ud83d\ude00 Sesame","iban":"DE02 Sesame","plain":"\u00e9" }}"#
    )
}

#[test]
fn every_kind_of_value_is_stored_as_a_token_and_comes_back_to_the_byte() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let sidecar = Sidecar::new(&vendor.managed(&api, ", granularity: field"), RULES);
    let before = api.calls();
    sidecar.stage.answer("/customers", 201, &[], "");
    assert_eq!(sidecar.stage.post("/customers", customer()).status, 201);
    let stored = sidecar.stored("/customers");
    for name in ["ssn", "number", "flag", "nothing", "object", "empty", "escaped", "iban"] {
        assert_eq!(suite(&stored[name]), 0x40, "{name}");
    }
    assert_eq!((suite(&stored["long"]), &stored["plain"]), (1, &json!("é")));
    assert_eq!((calls(&api, "/v1/sign-encrypt"), calls(&api, "/v1/decrypt-verify")), (1, 0));
    let text = sidecar.stage.stored_text("/customers");
    assert!(!text.contains("Sesame") && !text.contains("1.10"), "{text:.2000}");
    assert!(text.contains(r#""plain":"\u00e9""#), "what is not sealed is not written anew");
    // Nine values, of which the long one is sealed here: a data key is wrapped, and proven, for it.
    assert_eq!(api.calls() - before, 8 + 2);

    sidecar.stage.put("/customers/1", text);
    let before = api.calls();
    sidecar.shows("/customers/1", &customer());
    assert_eq!((api.calls() - before, calls(&api, "/v1/decrypt-verify")), (8, 1));
}

/// Whoever writes to the application's data: what was moved, retyped or damaged does not open, and nothing of it leaves.
#[test]
fn tokens_that_were_tampered_with_are_refused() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let sidecar = Sidecar::new(&vendor.managed(&api, ", granularity: field"), RULES);
    sidecar.stores("/1", r#"{"ssn":"Sesame","number":17171717,"iban":"DE02 Sesame","escaped":"Sesame"}"#);
    let stored = sidecar.stored("/1");
    let token = |name: &str| stored[name].as_str().unwrap().to_owned();
    let altered = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let token = token(name);
        let mut head = header(&token);
        change(&mut head);
        format!("sc1.{}.{}", base64url::encode(&head), token.rsplit('.').next().unwrap())
    };
    let ssn = token("ssn");
    let broken = [
        ("ssn", token("escaped"), true),
        ("ssn", token("number"), true),
        ("ssn", token("iban"), true),
        ("iban", ssn.clone(), false),
        ("number", altered("number", &|head| head[1] ^= 1), true),
        ("ssn", altered("ssn", &|head| head[1] ^= 1), true),
        ("ssn", altered("ssn", &|head| head[1] ^= 8), true),
        ("ssn", altered("ssn", &|head| head[1] ^= 32), false),
        ("ssn", altered("ssn", &|head| head[0] ^= 1), false),
        ("ssn", altered("ssn", &|head| head[3] ^= 1), false),
        ("ssn", ssn[..ssn.len() - 5].to_owned(), true),
        ("ssn", "sc1.A.B".into(), false),
        ("ssn", "Sesame".into(), false),
    ];
    for (name, put, asks) in broken {
        let before = api.calls();
        let body = json!({ name: put, "plain": "here" }).to_string();
        sidecar.stage.put("/2", body.clone());
        let reply = sidecar.stage.get("/2");
        assert_eq!(reply.status, 502, "{name} {put:.40}: {}", reply.text());
        assert!(!reply.text().contains("Sesame") && !reply.text().contains("1717"), "{}", reply.text());
        assert_eq!(api.calls() > before, asks, "{name} {put:.40}");
        if name == "ssn" {
            let reply = sidecar.stage.post("/partner/2", body);
            assert_eq!(reply.status, 422, "{put:.40}: {}", reply.text());
        }
    }
    assert!(sidecar.stage.everything().iter().all(|(path, _)| !path.starts_with("/partner")), "nothing was passed on");
    // And untouched it does.
    sidecar.stage.answer("/partner/1", 200, &[], "");
    assert_eq!(sidecar.stage.post("/partner/1", json!({ "ssn": ssn }).to_string()).status, 200);
    assert_eq!(sidecar.stored("/partner/1"), json!({ "ssn": "Sesame" }));
}

/// What an API says beside a signature that does not hold is not shown.
#[test]
fn a_signature_that_does_not_hold_shows_nothing() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let sidecar = Sidecar::new(&vendor.managed(&api, ", granularity: field"), RULES);
    sidecar.stores("/1", r#"{"iban":"DE02 Sesame"}"#);
    sidecar.shows("/1", r#"{"iban":"DE02 Sesame"}"#);
    api.always(Act::lies(|answer| {
        if let Some(body) = answer.pointer_mut("/body").filter(|body| body.get("is_valid_signature").is_some()) {
            body["is_valid_signature"] = Value::Bool(false);
        }
    }));
    let reply = sidecar.stage.get("/1");
    assert!(reply.status == 502 && !reply.text().contains("Sesame"), "{} {}", reply.status, reply.text());
}

#[test]
fn two_hundred_values_are_two_hundred_calls_and_never_too_many_at_once() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let sidecar = Sidecar::new(&vendor.managed(&api, ", granularity: field, concurrency: 5"), RULES);
    let before = api.calls();
    let body = items(200, "");
    sidecar.stage.answer("/many", 201, &[], "");
    assert_eq!(sidecar.stage.post("/many", body.clone()).status, 201);
    assert_eq!(api.calls() - before, 200);
    let stored = sidecar.stored("/many");
    assert!(stored["items"].as_array().unwrap().iter().all(|item| suite(&item["ssn"]) == 0x40));
    sidecar.stage.put("/many/1", stored.to_string());
    sidecar.shows("/many/1", &body);
    assert_eq!(api.calls() - before, 400);
    assert!((2..=5).contains(&api.most_at_once()), "{}", api.most_at_once());
}

pub(super) fn items(number: usize, padding: &str) -> String {
    let items: Vec<_> = (0..number).map(|n| format!(r#"{{"ssn":"value {n}","note":"{padding}"}}"#)).collect();
    format!(r#"{{"items":[{}]}}"#, items.join(","))
}
