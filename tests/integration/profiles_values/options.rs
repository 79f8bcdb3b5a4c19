//! Options of rules and profiles where an API seals: they mean what they mean with keys of one's own.

use serde_json::json;
use sidecloak::keyring::State;
use sidecloak::name::PartitionName;

use super::{Sidecar, Vendor, suite};
use crate::stage::eventually;

fn rule(options: &str) -> String {
    format!(
        "rules:\n  - name: customers\n    match: {{ path: '/**' }}\n    protect: [{{ fields: ['$..ssn'], key: partner{options} }}]\n"
    )
}

#[test]
fn a_bound_token_opens_in_its_record_alone() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let sidecar = Sidecar::new(&vendor.managed(&api, ", granularity: field"), &rule(", bind: '@.id'"));
    let body = r#"[{"id":7,"ssn":"Sesame"},{"id":8,"ssn":"Sesame too"}]"#;
    sidecar.stores("/1", body);
    sidecar.shows("/1", body);
    let stored = sidecar.stored("/1");
    for moved in [
        json!([{ "id": 8, "ssn": stored[0]["ssn"] }]),
        json!([{ "id": 7, "ssn": stored[1]["ssn"] }]),
        json!([{ "ssn": stored[0]["ssn"] }]),
    ] {
        sidecar.stage.put("/2", moved.to_string());
        let reply = sidecar.stage.get("/2");
        assert!(reply.status == 502 && !reply.text().contains("Sesame"), "{}", reply.text());
    }
    let before = api.calls();
    assert_eq!(sidecar.stage.post("/3", r#"{"ssn":"Sesame"}"#).status, 422);
    assert_eq!(api.calls(), before);
}

#[test]
fn who_only_looks_makes_no_call() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let profiles = vendor.managed(&api, ", granularity: field");
    let mut sidecar = Sidecar::new(&profiles, &rule(""));
    sidecar.stores("/1", r#"{"ssn":"Sesame"}"#);
    let stored = sidecar.stage.stored_text("/1");
    sidecar.again(&profiles, &rule(", mode: observe"));
    let before = api.calls();
    sidecar.shows("/1", &stored);
    sidecar.stores("/2", r#"{"ssn":"plain"}"#);
    assert_eq!((sidecar.stage.stored_text("/2"), api.calls()), (r#"{"ssn":"plain"}"#.into(), before));
}

#[test]
fn patches_are_sealed() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let sidecar = Sidecar::new(&vendor.managed(&api, ", granularity: field"), &rule(""));
    let patch = |media_type: &str, body: &str| {
        sidecar.stage.answer("/1", 204, &[], "");
        assert_eq!(sidecar.stage.call("PATCH", "/1", &[("content-type", media_type)], body.to_owned()).status, 204);
        sidecar.stored("/1")
    };
    let merge = patch("application/merge-patch+json", r#"{"ssn":"Sesame","a":{"ssn":null}}"#);
    assert!(suite(&merge["ssn"]) == 0x40 && merge["a"]["ssn"].is_null(), "{merge}");
    let patched = patch("application/json-patch+json", r#"[{"op":"add","path":"/ssn","value":"Sesame"}]"#);
    sidecar.stage.put("/2", json!({ "ssn": patched[0]["value"], "a": { "ssn": merge["ssn"] } }).to_string());
    sidecar.shows("/2", r#"{"ssn":"Sesame","a":{"ssn":"Sesame"}}"#);
}

#[test]
fn what_was_opened_a_moment_ago_is_not_asked_for_again_unless_the_partition_was_paused() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let profiles = vendor.managed(&api, ", granularity: field, opened_cache: { ttl: 60s }");
    let sidecar = Sidecar::new(&profiles, &rule(""));
    let body = r#"{"ssn":"Sesame"}"#;
    sidecar.stage.answer("/1", 201, &[], "");
    assert_eq!(sidecar.stage.post("/1", body).status, 201);
    sidecar.stage.put("/2", sidecar.stage.stored("/1"));
    let before = api.calls();
    for _ in 0..20 {
        sidecar.shows("/2", body);
    }
    assert_eq!(api.calls() - before, 1);
    sidecar.run(&["keys", "pause", "partner"]).ends(0);
    eventually("paused", || sidecar.stage.get("/2").status == 403);
    sidecar.run(&["keys", "resume", "partner"]).ends(0);
    eventually("resumed", || sidecar.stage.get("/2").status == 200);
    sidecar.shows("/2", body);
    assert_eq!(api.calls() - before, 2);
    let misses = r#"sidecloak_managed_cache_misses_total{profile="partner",cache="opened-values"} 2"#;
    assert!(sidecar.metrics().contains(misses), "{}", sidecar.metrics());
}

/// The vendor's own switch: whoever pauses there stops this as well.
#[test]
fn what_the_vendor_refuses_neither_opens_nor_seals() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let acme = PartitionName::new("acme").unwrap();
    for granularity in ["field", "envelope"] {
        let profiles = vendor.managed(&api, &format!(", granularity: {granularity}"));
        let mut sidecar = Sidecar::new(&profiles, &rule(""));
        let body = r#"{"ssn":"Sesame"}"#;
        sidecar.stores("/1", body);
        vendor.authority.keyring.set_state(&acme, State::Paused).unwrap();
        sidecar.again(&profiles, &rule(""));
        let reply = sidecar.stage.get("/1");
        assert!(reply.status == 502 && !reply.text().contains("Sesame"), "{granularity}: {}", reply.text());
        let reply = sidecar.stage.post("/2", body);
        assert_eq!(reply.status, 503, "{granularity}: {}", reply.text());
        vendor.authority.keyring.set_state(&acme, State::Active).unwrap();
        eventually("it is back", || sidecar.stage.get("/1").status == 200);
        eventually("it seals again", || sidecar.stage.post("/2", body).status == 200);
    }
}

#[test]
fn whom_the_listener_does_not_open_for_gets_tokens_without_a_call() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let profiles = vendor.managed(&api, ", granularity: field");
    let clock = sidecloak::clock::SystemClock::shared();
    let sidecar = Sidecar::with(&profiles, &rule(""), "    open_for: [192.0.2.0/24]", "", clock);
    sidecar.stores("/1", r#"{"ssn":"Sesame"}"#);
    let before = api.calls();
    sidecar.shows("/1", &sidecar.stage.stored_text("/1"));
    assert_eq!(api.calls(), before);
}
