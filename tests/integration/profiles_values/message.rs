//! All values of a body in one call: how many calls that is, and that bodies of any length and kind come out right.

use serde_json::{Value, json};

use super::field::items;
use super::{Sidecar, Vendor, calls, suite};

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
