//! All values of a body in one call: how many calls that is, and that bodies of any length and kind come out right.

use serde_json::{Value, json};

use super::field::items;
use super::{Sidecar, Vendor, calls, suite};
use crate::managed::double::Act;

const RULES: &str = "rules:
  - name: customers
    match: { path: '/**' }
    protect: [{ fields: ['$..ssn'], key: seoul }]
";

#[test]
fn two_hundred_values_are_one_call() {
    let vendor = Vendor::new();
    let (api, tag) = (vendor.ncloud(), vendor.ncloud_key(false));
    let sidecar = Sidecar::new(&vendor.seoul(&api, &tag, ", granularity: message"), RULES);
    let before = api.calls();
    let body = items(200, "");
    sidecar.stage.answer("/many", 201, &[], "");
    assert_eq!(sidecar.stage.post("/many", body.clone()).status, 201);
    assert_eq!(api.calls() - before, 1);
    let asked: Value = serde_json::from_slice(&api.seen().last().unwrap().body).unwrap();
    assert_eq!(asked["plaintext"].as_array().unwrap().len(), 200);
    let stored = sidecar.stored("/many");
    assert!(stored["items"].as_array().unwrap().iter().all(|item| suite(&item["ssn"]) == 0x41));
    sidecar.stage.put("/many/1", stored.to_string());
    sidecar.shows("/many/1", &body);
    assert_eq!(api.calls() - before, 2);

    // The other granularity is a call each.
    let sidecar = Sidecar::new(&vendor.seoul(&api, &tag, ", granularity: field, concurrency: 4"), RULES);
    sidecar.stage.answer("/many", 201, &[], "");
    let before = calls(&api, "/encrypt");
    assert_eq!(sidecar.stage.post("/many", items(20, "")).status, 201);
    assert_eq!(calls(&api, "/encrypt") - before, 20);
    assert!(api.most_at_once() <= 4);
}

/// Longer than what is held whole, and with more values than wait at once.
#[test]
fn a_body_that_streams_is_right() {
    let vendor = Vendor::new();
    let (api, tag) = (vendor.ncloud(), vendor.ncloud_key(false));
    let sidecar = Sidecar::new(&vendor.seoul(&api, &tag, ", granularity: message"), RULES);
    let before = api.calls();
    let body = items(2_500, &"é \\u00e9 ".repeat(30));
    assert!(body.len() > 8 * 64 * 1024);
    sidecar.stage.answer("/many", 201, &[], "");
    assert_eq!(sidecar.stage.post("/many", body.clone()).status, 201);
    let sealing = api.calls() - before;
    assert!((3..=100).contains(&sealing), "{sealing}");
    let stored = sidecar.stage.stored_text("/many");
    assert!(!stored.contains("value ") && stored.contains("\\u00e9"));
    sidecar.stage.put("/many/1", stored);
    let reply = sidecar.stage.get("/many/1");
    assert!(reply.status == 200 && !reply.cut && reply.text() == body);
    let opening = api.calls() - before - sealing;
    assert!((3..=100).contains(&opening), "{opening}");

    // One bad value at the end of it: what has left is right, and the answer does not pass for a whole one.
    let mut stored = sidecar.stage.stored_text("/many/1");
    let last = stored.rfind("sc1.").unwrap();
    stored.replace_range(last + 40..last + 41, if &stored[last + 40..last + 41] == "A" { "B" } else { "A" });
    sidecar.stage.put("/many/2", stored);
    let reply = sidecar.stage.get("/many/2");
    assert!(reply.status == 502 || (reply.cut && body.starts_with(&reply.text())), "{}", reply.status);
    assert!(!reply.text().contains("value 2499"));
}

#[test]
fn answers_of_several_documents_open() {
    let vendor = Vendor::new();
    let (api, tag) = (vendor.ncloud(), vendor.ncloud_key(false));
    let sidecar = Sidecar::new(&vendor.seoul(&api, &tag, ", granularity: message"), RULES);
    let mut tokens = Vec::new();
    for n in 0..40 {
        let path = format!("/{n}");
        sidecar.stores(&path, &json!({ "ssn": format!("value {n}") }).to_string());
        tokens.push(sidecar.stored(&path)["ssn"].clone());
    }
    let line = |n: usize, value: &Value| json!({ "n": n, "ssn": value }).to_string();
    let of = |n: usize| Value::from(format!("value {n}"));
    let text = |around: (&str, &str), value: &dyn Fn(usize) -> Value| -> String {
        (0..tokens.len()).map(|n| format!("{}{}{}", around.0, line(n, &value(n)), around.1)).collect()
    };
    for (media_type, around) in [("application/x-ndjson", ("", "\n")), ("text/event-stream", ("id: 7\ndata: ", "\n\n"))]
    {
        let before = api.calls();
        sidecar.stage.answer("/all", 200, &[("content-type", media_type)], text(around, &|n| tokens[n].clone()));
        let reply = sidecar.stage.get("/all");
        assert_eq!((reply.status, reply.text()), (200, text(around, &of)), "{media_type}");
        let calls = api.calls() - before;
        assert!((1..=40).contains(&calls), "{media_type}: {calls}");
    }
    // And requests of several are sealed.
    let body = text(("", "\n"), &of);
    let ndjson = [("content-type", "application/x-ndjson")];
    sidecar.stage.answer("/stored", 201, &[], "");
    assert_eq!(sidecar.stage.call("POST", "/stored", &ndjson, body).status, 201);
    let stored = sidecar.stage.stored_text("/stored");
    assert!(stored.lines().count() == 40 && stored.matches("sc1.").count() == 40 && !stored.contains("value"));
}

/// Whatever of a long body has left, an application never takes it for a whole one.
#[test]
fn an_api_that_fails_amid_a_body_that_streams_has_nothing_stored() {
    let vendor = Vendor::new();
    let (api, tag) = (vendor.ncloud(), vendor.ncloud_key(false));
    let sidecar = Sidecar::new(&vendor.seoul(&api, &tag, ", granularity: message, retries: 0"), RULES);
    let before = api.calls();
    api.by(move |n, _| if n < before + 2 { Act::Well } else { Act::status(500) });
    let body = items(2_500, &"0123456789".repeat(30));
    // The connection may be cut before the whole body was taken.
    let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sidecar.stage.post("/many", body.clone())));
    assert!(sent.as_ref().map_or(true, |reply| reply.status >= 500), "{sent:?}");
    assert!(api.calls() > before + 2 && sidecar.stage.nothing_stored());
    api.always(Act::Well);
    sidecar.stage.answer("/many", 201, &[], "");
    assert_eq!(sidecar.stage.post("/many", body).status, 201);
}

/// Each call within what the API takes and what its answer may be, each value in one or the other form.
#[test]
fn long_values_are_spread_over_calls_and_the_longest_are_sealed_here() {
    let vendor = Vendor::new();
    let (ncloud, crittora, tag) = (vendor.ncloud(), vendor.crittora(), vendor.ncloud_key(false));
    let rules = RULES.to_owned()
        + "  - name: others
    match: { path: '/crittora/**' }
    protect: [{ fields: ['$..text'], key: partner }]
";
    let profiles =
        vendor.seoul(&ncloud, &tag, ", granularity: message") + &vendor.managed(&crittora, ", granularity: field");
    let sidecar = Sidecar::new(&profiles, &rules);
    let around = 200;
    for (path, name, most) in [("/1", "ssn", 32 << 10), ("/crittora/1", "text", 64 << 10)] {
        let mut suites = Vec::new();
        for length in [most - around, most - 1, most, most + 1, 4 * most] {
            let body = format!(r#"{{"{name}":"{}"}}"#, "x".repeat(length));
            sidecar.stores(path, &body);
            suites.push(suite(&sidecar.stored(path)[name]));
            sidecar.shows(path, &body);
        }
        assert!(suites[0] >= 0x40 && suites[1..] == [1; 4], "{suites:?}");
    }
    let values: Vec<_> = (0..80).map(|n| format!(r#"{{"ssn":"{n}{}"}}"#, "é".repeat(15_000))).collect();
    let body = format!("[{}]", values.join(",\n"));
    sidecar.stage.answer("/many", 201, &[], "");
    assert_eq!(sidecar.stage.post("/many", body.clone()).status, 201);
    let stored = sidecar.stored("/many");
    assert!(stored.as_array().unwrap().iter().all(|one| suite(&one["ssn"]) == 0x41));
    sidecar.stage.put("/many/1", sidecar.stage.stored("/many"));
    let reply = sidecar.stage.get("/many/1");
    assert!(reply.status == 200 && !reply.cut && reply.text() == body);
}
