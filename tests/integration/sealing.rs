//! The options of an action, through the whole process.

use sidecloak::keyring::{Kind, State};
use sidecloak::name::PartitionName;

use super::stage::{Stage, eventually};

fn rule(options: &str) -> String {
    format!(
        "rules:\n  - name: r\n    match: {{ path: \"/**\" }}\n    protect:\n      - fields: [\"$..ssn\"]\n{options}"
    )
}

fn default() -> PartitionName {
    PartitionName::default_name()
}

#[test]
fn signed_values_carry_a_signature_and_unsigned_ones_are_refused() {
    let stage = Stage::new(&rule("        sign: true\n"));
    stage.post("/1", r#"{"ssn":"123-45-6789"}"#);
    assert!(stage.stored("/1").len() > 4_400);
    assert_eq!(stage.get("/1").text(), r#"{"ssn":"123-45-6789"}"#);

    let unsigned = Stage::new(&rule(""));
    unsigned.post("/1", r#"{"ssn":"canary"}"#);
    let token = unsigned.stored("/1");
    std::fs::write(unsigned.rules_path(), rule("        sign: true\n")).unwrap();
    unsigned.put("/2", token);
    eventually("the rule asks for signatures", || unsigned.get("/2").status == 502);
    std::fs::write(unsigned.rules_path(), rule("        sign: true\n        mode: migrate\n")).unwrap();
    eventually("migrate opens lesser tokens", || unsigned.get("/2").text() == r#"{"ssn":"canary"}"#);
}

#[test]
fn deterministic_values_are_equal_however_they_are_spelled() {
    let stage = Stage::new(&rule("        deterministic: true\n"));
    stage.post("/1", r#"{"ssn":"é/"}"#);
    stage.post("/2", r#"{"ssn":"\u00e9\/"}"#);
    assert_eq!(stage.stored("/1"), stage.stored("/2"));
    stage.post("/3", r#"{"ssn":"e"}"#);
    assert_ne!(stage.stored("/1"), stage.stored("/3"));
    assert_eq!(stage.post("/4", r#"{"ssn":"\ud800"}"#).status, 400, "a lone surrogate has no canonical form");
}

#[test]
fn the_modes_of_a_roll_out() {
    let stage = Stage::new(&rule("        mode: observe\n"));
    let plain = r#"{"ssn":"123-45-6789"}"#;
    stage.post("/old", plain);
    assert_eq!(stage.stored_text("/old"), plain, "observe seals nothing");

    let mode = |mode: &str| std::fs::write(stage.rules_path(), rule(&format!("        mode: {mode}\n"))).unwrap();
    mode("migrate");
    eventually("migrate seals", || {
        stage.post("/new", plain);
        stage.stored_text("/new").contains("sc1.")
    });
    assert_eq!(stage.get("/old").text(), plain, "and lets the old plaintext pass");
    assert_eq!(stage.get("/new").text(), plain);

    mode("enforce");
    eventually("enforce refuses plaintext", || stage.get("/old").status == 502);
    assert_eq!(stage.get("/new").text(), plain);

    mode("read");
    eventually("read seals nothing", || {
        stage.post("/back", plain);
        stage.stored_text("/back") == plain
    });
    assert_eq!(stage.get("/new").text(), plain, "and still opens");
    mode("observe");
    eventually("observe opens nothing", || stage.get("/new").text().contains("sc1."));
}

#[test]
fn what_opening_does_with_a_bad_token_or_plaintext() {
    for (option, expected) in
        [("reject", None), ("pass", Some("\"sc1.bad\"")), ("redact", Some("\"[redacted]\"")), ("nullify", Some("null"))]
    {
        let stage = Stage::new(&rule(&format!("        on_error: {option}\n")));
        stage.put("/1", r#"{"ssn":"sc1.bad"}"#);
        let reply = stage.get("/1");
        match expected {
            None => assert_eq!(reply.status, 502),
            Some(text) => assert_eq!(reply.text(), format!("{{\"ssn\":{text}}}"), "{option}"),
        }
    }
    for (option, expected) in [("reject", None), ("pass", Some("\"plain\"")), ("redact", Some("\"[redacted]\""))] {
        let stage = Stage::new(&rule(&format!("        on_plaintext: {option}\n")));
        stage.put("/1", r#"{"ssn":"plain"}"#);
        let reply = stage.get("/1");
        match expected {
            None => assert_eq!(reply.status, 502),
            Some(text) => assert_eq!(reply.text(), format!("{{\"ssn\":{text}}}"), "{option}"),
        }
    }
}

#[test]
fn masks_are_shown_and_refused_when_they_come_back() {
    let stage = Stage::new(&rule("        reveal: mask(4)\n"));
    stage.post("/1", r#"{"ssn":"4111111111111111"}"#);
    let shown = stage.get("/1").text();
    assert_eq!(shown, r#"{"ssn":"************1111"}"#);
    assert_eq!(stage.post("/1", shown).status, 422, "the mask would overwrite the value");
    assert!(stage.get("/1").text().contains("1111"), "it is still there");
}

#[test]
fn required_max_length_pad_and_max_value() {
    let stage = Stage::new(&rule("        required: true\n        max_length: 100\n        max_value: 64\n"));
    assert_eq!(stage.post("/1", r#"{"other":1}"#).status, 422, "required");
    assert_eq!(stage.post("/1", r#"{"ssn":"4111111111111111"}"#).status, 200);
    assert_eq!(stage.post("/1", r#"{"ssn":"4111111111111111-and-more"}"#).status, 422, "max_length");
    assert_eq!(stage.post("/1", format!(r#"{{"ssn":"{}"}}"#, "x".repeat(100))).status, 413, "max_value");

    let padded = Stage::new(&rule("        pad: 32\n"));
    padded.post("/m", r#"{"ssn":"male"}"#);
    padded.post("/f", r#"{"ssn":"female"}"#);
    assert_eq!(padded.stored("/m").len(), padded.stored("/f").len());
    assert_eq!(padded.get("/m").text(), r#"{"ssn":"male"}"#);
}

#[test]
fn partition_states_and_rollover() {
    let stage = Stage::new(&rule(""));
    let body = r#"{"ssn":"123-45-6789"}"#;
    stage.post("/1", body);
    let before = stage.stored("/1");
    stage.keyring().rollover(&default(), &[Kind::Random]).unwrap();
    stage.post("/2", body);
    assert_ne!(stage.stored("/2")[..26], before[..26], "a new epoch");
    assert_eq!(stage.get("/1").text(), body, "the old one still opens");

    stage.keyring().set_state(&default(), State::DecryptOnly).unwrap();
    eventually("decrypt-only", || stage.post("/3", body).status == 403);
    assert_eq!(stage.get("/1").text(), body);
    stage.keyring().set_state(&default(), State::Paused).unwrap();
    eventually("paused", || stage.get("/1").status == 403);
    assert_eq!(stage.post("/3", body).status, 403);
    stage.keyring().set_state(&default(), State::Active).unwrap();
    eventually("resumed", || stage.get("/1").text() == body);
    assert_eq!(stage.post("/3", body).status, 200);
}

#[test]
fn tenants_by_path_and_by_trusted_header() {
    let rules = r#"rules:
  - name: by-path
    match: { path: "/t/{tenant}/**" }
    provision: true
    max_partitions: 4
    protect: [{ fields: ["$..ssn"], key: "tenant-{tenant}" }]
"#;
    let stage = Stage::new(rules);
    let body = r#"{"ssn":"canary"}"#;
    assert_eq!(stage.post("/t/a/1", body).status, 200);
    assert_eq!(stage.post("/t/b%20c/1", body).status, 200, "a captured value is percent-encoded into the name");
    stage.put("/t/b/1", stage.stored("/t/a/1"));
    assert_eq!(stage.get("/t/b/1").status, 502, "a tenant's token does not open under another");
    assert_eq!(stage.get("/t/a/1").text(), body);
    let over = (0..6).map(|i| stage.post(&format!("/t/n{i}/1"), body).status).collect::<Vec<_>>();
    assert!(over.contains(&403), "max_partitions: {over:?}");
}

#[test]
fn callers_without_permission_get_the_token() {
    let more =
        "callers:\n  - { header: { x-role: clerk }, role: clerk }\n  - { header: { x-role: masked }, role: masked }\n";
    let stage = Stage::with(&rule(""), "    trusted_peers: [127.0.0.0/8]", more);
    use sidecloak::keyring::Permissions;
    stage
        .keyring()
        .set_role(&default(), "masked", Some(Permissions(Permissions::DECRYPT | Permissions::MASK)))
        .unwrap();
    let body = r#"{"ssn":"4111111111111111"}"#;
    stage.post("/1", body);
    let as_role = |role: &str| stage.call("GET", "/1", &[("x-role", role)], "").text();
    assert_eq!(as_role("other"), body, "no caller matches: role `default`");
    assert!(as_role("clerk").contains("sc1."), "a role that is not listed has no permissions");
    eventually("masked", || as_role("masked") == r#"{"ssn":"************1111"}"#);
    let seal = stage.call("POST", "/2", &[("x-role", "clerk"), ("content-type", "application/json")], body);
    assert_eq!(seal.status, 403, "and may not seal");

    let untrusted = Stage::with(&rule(""), "", more);
    untrusted.post("/1", body);
    assert_eq!(
        untrusted.call("GET", "/1", &[("x-role", "clerk")], "").text(),
        body,
        "a role header counts only from trusted peers"
    );

    let elsewhere = Stage::with(&rule(""), "    open_for: [192.0.2.0/24]", "");
    elsewhere.post("/1", body);
    assert!(elsewhere.get("/1").text().contains("sc1."), "open_for");
}

#[test]
fn expose_is_protect_the_other_way_round() {
    let rules = "rules:\n  - name: out\n    match: { path: \"/**\" }\n    expose: [{ fields: [\"$..ssn\"] }]\n";
    let stage = Stage::new(rules);
    stage.answer("/partner", 200, &[("content-type", "application/json")], r#"{"ssn":"from the partner"}"#);
    let sealed = stage.get("/partner").text();
    assert!(sealed.contains("sc1.") && !sealed.contains("partner"), "{sealed}");
    stage.post("/send", sealed);
    assert_eq!(stage.stored_text("/send"), r#"{"ssn":"from the partner"}"#);
}

#[test]
fn actions_pass_and_reject_end_the_search() {
    let rules = r#"rules:
  - name: health
    match: { path: /healthz }
    action: pass
  - name: dump
    match: { path: /actuator/heapdump }
    action: reject
  - name: all
    match: { path: "/**" }
    protect: [{ fields: ["$..ssn"] }]
"#;
    let stage = Stage::new(rules);
    stage.post("/healthz", r#"{"ssn":"1"}"#);
    assert_eq!(stage.stored_text("/healthz"), r#"{"ssn":"1"}"#);
    assert_eq!(stage.get("/actuator/heapdump").status, 403);
    stage.post("/other", r#"{"ssn":"1"}"#);
    assert!(stage.stored_text("/other").contains("sc1."));
    let strict = Stage::with(
        "rules:\n  - name: one\n    match: { path: /one }\n    protect: [{ fields: [\"$.a\"] }]\n",
        "    unmatched: reject",
        "",
    );
    assert_eq!(strict.post("/two", "{}").status, 403);
    assert_eq!(strict.post("/one", "{}").status, 200);
}

#[test]
fn a_changed_answer_loses_the_proofs_of_the_old_bytes() {
    let stage = Stage::new(&rule(""));
    stage.post("/1", r#"{"ssn":"1"}"#);
    let token = stage.stored_text("/1");
    let headers = [
        ("content-type", "application/json"),
        ("etag", "\"x\""),
        ("digest", "sha-256=x"),
        ("content-digest", "sha-256=:x:"),
        ("accept-ranges", "bytes"),
        ("content-md5", "x"),
        ("x-other", "stays"),
    ];
    stage.answer("/2", 200, &headers, token);
    let reply = stage.get("/2");
    assert_eq!(reply.text(), r#"{"ssn":"1"}"#);
    assert!(reply.headers["etag"].to_str().unwrap().starts_with("\"x-sc1-"), "see validators.rs");
    for gone in ["digest", "content-digest", "accept-ranges", "content-md5"] {
        assert!(!reply.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(reply.headers["x-other"], "stays");
    assert_eq!(reply.headers["content-length"], "11");
}

#[test]
fn a_rule_that_observes_hides_nothing_from_one_that_seals() {
    let rules = r#"rules:
  - name: watching
    match: { path: "/{tenant}/**" }
    mode: observe
    protect: [{ fields: ["$.customer", "$..other"], key: "t-{header:x-tenant}" }]
  - name: sealing
    match: { path: "/**" }
    protect: [{ fields: ["$..ssn"] }]
"#;
    let stage = Stage::new(rules);
    let body = r#"{"customer":{"ssn":"1"},"other":"2"}"#;
    assert_eq!(stage.post("/a/1", body).status, 200);
    let stored = stage.stored_text("/a/1");
    assert!(stored.contains(r#"{"customer":{"ssn":"sc1."#) && stored.ends_with(r#""other":"2"}"#), "{stored}");
    assert_eq!(stage.get("/a/1").text(), body);
    let metrics = stage.app().shared().metrics.render();
    assert!(metrics.contains(r#"rule="watching",class="other",event="plaintext"}"#), "{metrics}");
}
