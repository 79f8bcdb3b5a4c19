//! `check`, `explain`.

use super::{Place, example_rules};
use crate::pki::Ca;

#[test]
fn rules_alone() {
    let place = Place::empty();
    example_rules(&place);
    place.run(&["check", "rules"]).ends(0).shows("2 rules, 1 test").shows(": ok");
    place.run(&["check", "rules", "--strict"]).ends(0);
    let told = place.run(&["check", "rules/", "--json"]).ends(0).json();
    assert_eq!((told["ok"].as_bool(), told["rules"].as_u64(), told["tests"].as_u64()), (Some(true), Some(2), Some(1)));
    Place::empty().run(&["check"]).ends(64).says("nothing to check");
    Place::empty().run(&["check", "nowhere"]).ends(64);
}

#[test]
fn warnings_and_errors() {
    let place = Place::empty();
    place.write(
        "w.yaml",
        "rules:\n  - name: a\n    match: { path: /x, method: POST }\n    protect: [{ fields: [\"$.ssn\"] }]\n",
    );
    place.run(&["check", "w.yaml"]).ends(0).shows("1 warning").shows("w.yaml:3");
    place.run(&["check", "w.yaml", "--strict"]).ends(1).shows("--strict");
    let told = place.run(&["check", "w.yaml", "--json", "--strict"]).ends(1).json();
    assert_eq!((told["ok"].as_bool(), told["findings"][0]["code"].as_str()), (Some(false), Some("sealing-by-method")));
    place.write(
        "e.yaml",
        "rules:\n  - name: a\n    match: { path: /x }\n    protect: [{ fields: [\"$.ssn\"], bnd: 1 }]\n",
    );
    place.run(&["check", "e.yaml"]).ends(64).shows("e.yaml:4").shows("refused");
    place.write("t.yaml", "rules:\n  - name: a\n    match: { path: /x }\n    protect: [{ fields: [\"$.ssn\"] }]\n    tests: [{ when: { path: /x }, request: { ssn: 1 }, untouched: true }]\n");
    place.run(&["check", "t.yaml"]).ends(64).shows("expected untouched");
    place.chmod("w.yaml", 0o666);
    place.run(&["check", "w.yaml"]).ends(0).shows("chmod o-w").shows("2 warnings");
}

#[test]
fn a_configuration_with_its_rules_and_keyring() {
    let place = Place::with_keyring();
    example_rules(&place);
    place.write("sidecloak.yaml", "listeners: [{ upstream: 'http://127.0.0.1:9000' }]\n");
    place.run(&["check"]).ends(0).shows("no recovery recipient").shows("keys recovery");
    place.run(&["check", "--strict"]).ends(1);
    place.run(&["keys", "recovery"]).ends(0);
    place.run(&["check", "--strict"]).ends(0).shows("2 rules, 1 test: ok");
    place.write(
        "rules/more.yaml",
        "rules:\n  - name: more\n    match: { path: /m }\n    protect: [{ fields: [\"$.x\"], key: nosuch }]\n",
    );
    place.run(&["check"]).ends(64).shows("nosuch").shows("keys init --partition nosuch");
    // What is made on first use is not missing, and a check does not make it.
    place.write("rules/more.yaml", "rules:\n  - name: more\n    match: { path: /m }\n    provision: true\n    protect: [{ fields: [\"$.x\"], key: nosuch }]\n");
    place.run(&["check", "--strict"]).ends(0);
    place.run(&["keys", "list", "nosuch"]).ends(64);
    place.write("bad.yaml", "listeners: [{ upstream: 'http://127.0.0.1:9000' }]\nlimits: { header: 32 }\n");
    place.run(&["check", "--config", "bad.yaml"]).ends(64).shows("8KiB").shows("what it names was not looked at");
    place.chmod("master.key", 0o604);
    place.run(&["check"]).ends(77).shows("chmod 600");
    place.write("sidecloak.yaml", "listeners: [{ name: front }]\n");
    place.chmod("master.key", 0o600);
    place.run(&["check"]).ends(0).shows("--upstream");
    place.write("sidecloak.yaml", "listners: []\n");
    let told = place.run(&["check", "--json"]).ends(64).json();
    assert_eq!(told["findings"][0]["line"], 1);
}

#[test]
fn explanations() {
    let place = Place::empty();
    example_rules(&place);
    place.write(
        "body.json",
        "{\"ssn\":\"123-45-6789\",\"list\":[{\"ssn\":null},{\"ssn\":\"sc1.x\"}],\"email\":\"zoe@example.com\"}",
    );
    let explain = |args: &[&str]| {
        let done = place.run(&[&["explain", "--body", "body.json"], args].concat()).ends(0);
        for value in ["123-45", "zoe@"] {
            assert!(!done.out.contains(value) && !done.err.contains(value), "{done:?}");
        }
        done
    };
    explain(&["--path", "/customers/7"])
        .shows("health: the path matches none")
        .shows("$['ssn']  sealed")
        .shows("key customers")
        .shows("token of 89 characters")
        .shows("$['list'][0]['ssn']  stays")
        .shows("refused with 422");
    let told = explain(&["--path", "/customers/7?q=1", "--json"]).json();
    assert_eq!((told["method"].as_str(), told["path"].as_str()), (Some("POST"), Some("/customers/7")));
    assert_eq!(
        (told["rules"][0]["matches"].as_bool(), told["rules"][1]["matches"].as_bool()),
        (Some(false), Some(true))
    );
    assert_eq!(told["actions"][1]["suite"], "aes-256-siv");
    let email = &told["values"][3];
    assert_eq!(email["location"], "$['email']");
    let sealed =
        Place::with_keyring().feed(&["seal", "--class", "email", "--deterministic"], "\"zoe@example.com\"").ends(0).out;
    assert_eq!(email["token_length"], serde_json::json!(sealed.trim_matches('"').len()), "the forecast holds");
    explain(&["--path", "/customers/7", "--response"]).shows("open $..ssn").shows("refused with 502");
    explain(&["--path", "/healthz"]).shows("+ health").shows("passes as it is");
    explain(&["--path", "/else"]).shows("no rule matches");
    explain(&["--path", "/customers/7", "--content-type", "text/plain"]).shows("refused with 415");
    explain(&["--path", "/customers/7", "--content-type", "text/plain", "--response"]).shows("passes unread");
    explain(&["--path", "/customers/7", "--content-type", "application/merge-patch+json"]).shows("$['ssn']  sealed");
    explain(&["--path", "/customers/7", "--content-type", "application/json-patch+json"])
        .shows("refused with 422")
        .shows("array of operations");
    explain(&["--path", "/customers/7", "-H", "Content-Encoding: compress"]).shows("refused with 415");
    explain(&["--path", "/customers%2f7"]).shows("refused with 400");
    explain(&["--path", "/customers/7", "-H", "X-HTTP-Method-Override: GET"]).shows("refused with 400");
    place.run(&["explain", "--path", "/x", "-H", "secret-without-colon"]).ends(64);
    place.write("body.json", r#"[{"op":"replace","path":"/email","value":"zoe@example.com"}]"#);
    explain(&["--path", "/customers/7", "--content-type", "application/json-patch+json"])
        .shows("$[0]['value']  sealed; by $.email");
    place.write("body.json", "{\"ssn\":");
    explain(&["--path", "/customers/7"]).shows("refused with 400").shows("not JSON");
    place.write("rules/customers.yaml", "rules: 7\n");
    place.run(&["explain", "--path", "/x"]).ends(64);
}

#[test]
fn explanations_of_single_values() {
    let place = Place::empty();
    place.write(
        "rules.yaml",
        "rules:\n  - name: a\n    match: { path: \"/a/{id}\" }\n    protect:\n      - { fields: [\"$.card\"], reveal: mask(4), key: \"t-{id}\" }\n      \
         - { fields: [\"$.long\"], max_value: 8 }\n      - { fields: [\"$.narrow\"], max_length: 75, suite: 2, required: true }\n  \
         - name: b\n    match: { path: /b, status: 2xx }\n    mode: observe\n    protect: [{ fields: [\"$.x\"] }]\n",
    );
    let explain = |path: &str, body: &str, more: &[&str]| {
        let args = ["explain", "--rules", "rules.yaml", "--path", path, "--body", "-"];
        place.feed(&[&args, more].concat(), body).ends(0)
    };
    explain("/a/7", "{\"card\":\"*****1111\",\"narrow\":1}", &[])
        .shows("shape of a mask")
        .shows("refused with 422")
        .shows("key t-7");
    explain("/a/7", "{\"long\":\"123456789\",\"narrow\":1}", &[]).shows("max_value").shows("refused with 413");
    explain("/a/7", "{\"narrow\":\"0123456789012345\"}", &[]).shows("max_length: 75").shows("refused with 422");
    explain("/a/7", "{\"card\":\"1\"}", &[]).shows("requires $.narrow").shows("refused with 422");
    let done = explain("/b", "{\"x\":1}", &[]).shows("would be sealed").shows("nothing is changed");
    assert!(!done.out.contains("refused"), "{done:?}");
    explain("/b", "{\"x\":1}", &["--response", "--status", "404"]).shows("`status`").shows("passes as it is");
    explain("/b", "", &[]).shows("no body");
}

#[test]
fn an_authoritys_certificates() {
    let place = Place::empty();
    let ca = Ca::new("servers");
    let (good, old) = (ca.server(), ca.expired_server());
    place
        .write("good.crt", &good.cert)
        .write("old.crt", &old.cert)
        .write("good.key", &good.key)
        .write("old.key", &old.key);
    let check = |cert: &str, key: &str| {
        place.write(
            "a.yaml",
            format!("authority:\n  tls: {{ cert: {cert}, key: {key} }}\n  crittora: {{ bind: 127.0.0.1:8441 }}\n"),
        );
        place.run(&["check", "--config", "a.yaml", "--json"])
    };
    place.chmod("good.key", 0o600);
    place.chmod("old.key", 0o600);
    // Nothing is said of rules, which an authority has none of.
    assert_eq!(check("good.crt", "good.key").ends(0).json()["findings"].as_array().unwrap().len(), 0);
    let told = check("old.crt", "old.key").ends(0).json();
    assert_eq!(told["findings"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["findings"][0]["code"], "certificate");
    let told = check("none.crt", "good.key").ends(64).json();
    assert_eq!(told["findings"][0]["code"], "tls");
    check("good.crt", "old.key").ends(64).shows("does not belong");
    place.chmod("good.key", 0o644);
    check("good.crt", "good.key").ends(64).shows("chmod 600");
}

#[test]
fn the_files_of_tls_on_both_sides() {
    let place = Place::empty();
    let ca = Ca::new("servers");
    std::fs::write(place.path("ca.pem"), ca.pem()).unwrap();
    ca.server().write(&place.path("."), "good");
    ca.expired_server().write(&place.path("."), "old");
    let listener = |tls: &str, upstream: &str| {
        format!(
            "listeners: [{{ bind: '0.0.0.0:8443', tls: {{ {tls} }}, upstream: 'https://app', upstream_tls: {{ {upstream} }} }}]\n"
        )
    };
    place.write("sidecloak.yaml", listener("cert: good.crt, key: good.key, client_ca: ca.pem", "ca: ca.pem"));
    place.run(&["check"]).ends(0).shows(": ok");
    place.write("sidecloak.yaml", listener("cert: old.crt, key: old.key", "ca: ca.pem"));
    place.run(&["check"]).ends(0).shows("old.crt has expired");
    place.write("sidecloak.yaml", listener("cert: good.crt, key: old.key", "ca: nowhere.pem"));
    place.run(&["check"]).ends(64).shows("does not belong to the certificate").shows("nowhere.pem");
    place.write("sidecloak.yaml", "listeners: [{ bind: '0.0.0.0:8080', upstream: 'http://app' }]\n");
    place.run(&["check"]).ends(0).shows("without TLS").shows("insecure_listen");
}
