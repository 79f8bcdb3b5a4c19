//! Who may, and in what state the partition is, is asked before any API: what is not allowed makes no call.

use std::collections::BTreeMap;

use serde_json::Value;
use sidecloak::clock::SystemClock;
use sidecloak::keyring::Permissions;
use sidecloak::name::PartitionName;

use super::{Sidecar, Vendor};
use crate::stage::eventually;

const RULES: &str = "rules:
  - name: customers
    match: { path: '/**' }
    protect:
      - { fields: ['$.ssn'], key: partner }
      - { fields: ['$.iban'], key: partner, sign: true }
";
const LISTENER: &str = "    trusted_peers: [127.0.0.0/8]";
const CALLERS: &str = "callers:
  - { header: { x-role: clerk }, role: clerk }
  - { header: { x-role: teller }, role: teller }
";

/// A profile, and the class of its partition's name.
fn sidecar(vendor: &Vendor, api: &crate::managed::double::Double, more: &str) -> Sidecar {
    let profiles = vendor.managed(api, &format!(", partition: customers{more}"));
    Sidecar::with(&profiles, RULES, LISTENER, CALLERS, SystemClock::shared())
}

#[test]
fn a_role_without_the_right_gets_the_token_and_no_call_is_made() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    for more in [", granularity: field", ", bare: true"] {
        let sidecar = sidecar(&vendor, &api, more);
        let partition = PartitionName::new("customers").unwrap();
        let teller = Permissions(Permissions::DECRYPT | Permissions::MASK);
        sidecar.stage.keyring().set_role(&partition, "teller", Some(teller)).unwrap();
        let body = r#"{"ssn":"Sesame 4444","iban":"DE02"}"#;
        sidecar.stores("/1", body);
        let stored = sidecar.stage.stored_text("/1");
        let before = api.calls();
        let ask = |role: &str| sidecar.stage.call("GET", "/1", &[("x-role", role)], "").text();
        assert_eq!(ask("clerk"), stored);
        let json = [("x-role", "clerk"), ("content-type", "application/json")];
        assert_eq!(sidecar.stage.call("POST", "/2", &json, body).status, 403);
        assert_eq!(api.calls(), before, "{more}");
        assert_eq!(ask("other"), body);
        let masked = ask("teller");
        assert!(masked.contains("4444") && !masked.contains("Sesame"), "{masked}");
    }
}

#[test]
fn a_paused_partition_makes_no_call() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    for more in [", granularity: field", ", granularity: envelope", ", bare: true"] {
        let sidecar = sidecar(&vendor, &api, more);
        let body = r#"{"ssn":"Sesame"}"#;
        sidecar.stores("/1", body);
        sidecar.run(&["keys", "pause", "customers"]).ends(0);
        eventually("paused", || sidecar.stage.get("/1").status == 403);
        let before = api.calls();
        for _ in 0..5 {
            let reply = sidecar.stage.get("/1");
            assert!(reply.status == 403 && !reply.text().contains("Sesame"), "{}", reply.text());
            assert_eq!(sidecar.stage.post("/2", body).status, 403);
        }
        assert_eq!(api.calls(), before, "{more}");
        sidecar.run(&["keys", "resume", "customers"]).ends(0);
        eventually("resumed", || sidecar.stage.get("/1").text() == body);
        sidecar.stores("/2", body);
    }
}

#[test]
fn the_audit_log_counts_values_under_the_profiles_partition() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let mut sidecar = sidecar(&vendor, &api, ", granularity: field");
    sidecar.stage.answer("/1", 200, &[], "");
    for _ in 0..7 {
        let reply = sidecar.stage.post("/1", r#"{"ssn":"CANARYVALUE","iban":"CANARYVALUE"}"#);
        assert_eq!(reply.status, 200);
    }
    sidecar.stage.put("/2", sidecar.stage.stored("/1"));
    for _ in 0..3 {
        assert_eq!(sidecar.stage.get("/2").status, 200);
    }
    sidecar.stage.put("/3", sidecar.stage.stored_text("/1").replace("\"iban\"", "\"x\":\"y\",\"was\""));
    let swapped = sidecar.stage.stored_text("/1").replace("ssn", "tmp").replace("iban", "ssn").replace("tmp", "iban");
    sidecar.stage.put("/4", swapped);
    assert_eq!(sidecar.stage.get("/4").status, 502);
    let json = [("x-role", "clerk"), ("content-type", "application/json")];
    assert_eq!(sidecar.stage.call("POST", "/5", &json, r#"{"ssn":"CANARYVALUE"}"#).status, 403);
    sidecar.stop();

    let report = sidecar.run(&["audit", "verify", "--json"]).ends(0).json();
    assert_eq!(report["ok"], true, "{report}");
    let log = sidecar.run(&["audit", "export"]).ends(0).out;
    assert!(!log.contains("CANARY"));
    let mut counted: BTreeMap<[String; 4], u64> = BTreeMap::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for count in line["fields"]["counts"].as_array().into_iter().flatten() {
            let of = ["caller", "partition", "class", "use"].map(|name| count[name].as_str().unwrap().to_owned());
            *counted.entry(of).or_insert(0) += count["n"].as_u64().unwrap();
        }
    }
    let count = |caller: &str, class: &str, what: &str| {
        counted.get(&[caller, "customers", class, what].map(str::to_owned)).copied().unwrap_or(0)
    };
    assert_eq!((count("default", "ssn", "sealed"), count("default", "iban", "sealed")), (7, 7), "{counted:?}");
    assert_eq!((count("default", "ssn", "opened"), count("default", "iban", "opened")), (3, 3), "{counted:?}");
    assert!(count("default", "ssn", "refused") + count("default", "iban", "refused") >= 1, "{counted:?}");
    assert_eq!(count("clerk", "ssn", "refused"), 1, "{counted:?}");
}
