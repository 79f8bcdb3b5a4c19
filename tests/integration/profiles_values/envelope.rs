//! The API wraps the data key of an epoch: a call or two whatever the traffic; and what granularity sealed does not matter later.

use serde_json::{Value, json};

use super::{Sidecar, Vendor, calls, suite};
use crate::managed::double::Double;

fn rules(profile: &str, more: &str) -> String {
    format!(
        "rules:\n  - name: customers\n    match: {{ path: '/**' }}\n    protect: [{{ fields: ['$..ssn'], key: {profile}{more} }}]\n"
    )
}

/// Writes the profile with further options.
type Profile = Box<dyn Fn(&Double, &str) -> String>;

struct Set {
    name: &'static str,
    api: Double,
    profile: Profile,
}

fn both() -> [Set; 2] {
    let (crittora, ncloud) = (Vendor::new(), Vendor::new());
    let tag = ncloud.ncloud_key(false);
    let apis = (crittora.crittora(), ncloud.ncloud());
    [
        Set { name: "partner", api: apis.0, profile: Box::new(move |api, more| crittora.managed(api, more)) },
        Set { name: "seoul", api: apis.1, profile: Box::new(move |api, more| ncloud.seoul(api, &tag, more)) },
    ]
}

#[test]
fn a_thousand_requests_are_one_call_or_with_a_proof_two() {
    for Set { name, api, profile } in both() {
        let profiles = profile(&api, ", prove: false");
        let mut sidecar = Sidecar::new(&profiles, &rules(name, ""));
        let before = api.calls();
        for n in 0..1_000 {
            sidecar.stores(&format!("/{}", n % 50), &format!(r#"{{"ssn":"value {n}"}}"#));
        }
        assert_eq!(api.calls() - before, 1, "{name}");
        for n in 0..50 {
            assert_eq!(suite(&sidecar.stored(&format!("/{n}"))["ssn"]), 1);
            sidecar.shows(&format!("/{n}"), &format!(r#"{{"ssn":"value {}"}}"#, 950 + n));
        }
        assert_eq!(api.calls() - before, 1, "{name}");
        // Another process opens the epoch once, and goes on with it.
        sidecar.again(&profiles, &rules(name, ""));
        let (before, sealed) = (api.calls(), calls(&api, "/encrypt"));
        for n in 0..50 {
            sidecar.shows(&format!("/{n}"), &format!(r#"{{"ssn":"value {}"}}"#, 950 + n));
        }
        assert_eq!((api.calls() - before, calls(&api, "/encrypt") - sealed), (1, 0), "{name}");

        let sidecar = Sidecar::new(&profile(&api, ""), &rules(name, ""));
        let before = (calls(&api, "/encrypt"), calls(&api, "/decrypt"));
        for n in 0..100 {
            sidecar.stores("/1", &format!(r#"{{"ssn":"value {n}"}}"#));
        }
        let after = (calls(&api, "/encrypt"), calls(&api, "/decrypt"));
        assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1), "{name}");
    }
}

#[test]
fn without_the_api_what_is_in_memory_opens_and_what_is_not_is_asked_for_again_later() {
    for Set { name, api, profile } in both() {
        let profiles =
            profile(&api, ", timeout: 1s, budget: 1s, retries: 0").replace("timeout: 20s, budget: 20s, ", "");
        let mut sidecar = Sidecar::new(&profiles, &rules(name, ""));
        sidecar.stores("/1", r#"{"ssn":"Sesame"}"#);
        api.always(crate::managed::double::Act::status(500));
        sidecar.shows("/1", r#"{"ssn":"Sesame"}"#);
        sidecar.stores("/2", r#"{"ssn":"Sesame"}"#);
        sidecar.again(&profiles, &rules(name, ""));
        let reply = sidecar.stage.get("/1");
        assert!(reply.status == 502 && !reply.text().contains("Sesame"), "{name}: {}", reply.status);
        let reply = sidecar.stage.post("/3", r#"{"ssn":"Sesame"}"#);
        assert_eq!(reply.status, 503, "{name}: {}", reply.text());
        assert!(reply.headers.contains_key("retry-after"));
        api.always(crate::managed::double::Act::Well);
        crate::stage::eventually("it is back", || sidecar.stage.get("/1").status == 200);
        sidecar.shows("/1", r#"{"ssn":"Sesame"}"#);
        sidecar.shows("/2", r#"{"ssn":"Sesame"}"#);
    }
}

#[test]
fn tokens_of_every_granularity_open_under_every_other() {
    for (Set { name, api, profile }, granularities) in
        both().into_iter().zip([&["envelope", "field"][..], &["envelope", "field", "message"]])
    {
        let of = |granularity: &str| profile(&api, &format!(", granularity: {granularity}"));
        let mut sidecar = Sidecar::new(&of("envelope"), &rules(name, ""));
        let mut paths: Vec<String> = Vec::new();
        for round in 0..2 {
            for granularity in granularities {
                sidecar.again(&of(granularity), &rules(name, ""));
                for path in &paths {
                    sidecar.shows(path, &json!({ "ssn": path }).to_string());
                }
                let path = format!("/{round}/{granularity}");
                sidecar.stores(&path, &json!({ "ssn": path }).to_string());
                let suite = suite(&sidecar.stored(&path)["ssn"]);
                assert_eq!(suite >= 0x40, *granularity != "envelope", "{granularity}: {suite}");
                paths.push(path);
            }
        }
        // All of them in one body.
        let all: Vec<Value> = paths.iter().map(|path| sidecar.stored(path)).collect();
        sidecar.stage.put("/all", Value::Array(all).to_string());
        let shown: Vec<Value> = paths.iter().map(|path| json!({ "ssn": path })).collect();
        for granularity in granularities {
            sidecar.again(&of(granularity), &rules(name, ""));
            sidecar.shows("/all", &Value::Array(shown.clone()).to_string());
        }
    }
}

/// Another profile's tokens are not opened, though its API would.
#[test]
fn a_token_of_another_profile_is_refused_without_a_call() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    for granularity in ["envelope", "field"] {
        let one = vendor.managed(&api, &format!(", granularity: {granularity}"));
        let profiles = format!("{one}{}", one.replace("  partner: {", "  other: {"));
        let rules = "rules:
  - name: other
    match: { path: '/other/**' }
    protect: [{ fields: ['$..ssn'], key: other }]
  - name: customers
    match: { path: '/**' }
    protect: [{ fields: ['$..ssn'], key: partner }]
";
        let sidecar = Sidecar::new(&profiles, rules);
        sidecar.stores("/1", r#"{"ssn":"Sesame"}"#);
        sidecar.stage.put("/other/1", sidecar.stage.stored("/1"));
        let before = api.calls();
        let reply = sidecar.stage.get("/other/1");
        assert!(reply.status == 502 && !reply.text().contains("Sesame"), "{granularity}: {}", reply.status);
        assert_eq!(api.calls(), before);
    }
}
