//! `seal`, `open`, `inspect`.

use std::fs;

use super::{Place, example_rules};

#[test]
fn one_value() {
    let place = Place::with_keyring();
    for value in ["\"Zoë \\u00e9 \\/\"", "1e5", "-0", "true", "{ \"a\" : [1, 2] }", "[]"] {
        let sealed = place.feed(&["seal", "--class", "v"], format!("{value}\n")).ends(0).out;
        assert!(sealed.starts_with("\"sc1.") && sealed.ends_with("\"\n"), "{sealed}");
        assert_eq!(place.feed(&["open", "--class", "v"], &sealed).ends(0).out, format!("{value}\n"));
        place.feed(&["open", "--class", "other"], &sealed).ends(1);
        place.feed(&["open", "--class", "v", "--partition", "customers"], &sealed).ends(1);
    }
    place.feed(&["seal"], "\"x\"").ends(64).says("--class");
    let secret = place.feed(&["seal", "--class", "v"], "tell-nobody").ends(65).says("double quotes");
    assert!(!secret.err.contains("tell-nobody"));
    place.feed(&["seal", "--class", "v"], "\"sc1.already\"").ends(1);
}

#[test]
fn a_document_to_the_byte() {
    let place = Place::with_keyring();
    let document = "{ \"ssn\" : \"123-45-6789\",\r\n \"n\": 1E+2, \"x\":[{\"ssn\":null},{\"ssn\":7.10}] }\n";
    place.write("in.json", document);
    place.run(&["seal", "--fields", "$..ssn", "--output", "sealed.json", "in.json"]).ends(0);
    let sealed = place.read("sealed.json");
    assert!(!sealed.contains("123-45-6789") && !sealed.contains("7.10") && sealed.contains("1E+2"), "{sealed}");
    assert_eq!(place.run(&["open", "--fields", "$..ssn", "sealed.json"]).ends(0).out, document);
    // In place, through a link, and twice in a row from two files.
    std::os::unix::fs::symlink("sealed.json", place.path("link")).unwrap();
    place.chmod("sealed.json", 0o640);
    place.run(&["open", "--fields", "$..ssn", "sealed.json", "--output", "link"]).ends(0);
    assert_eq!((place.read("sealed.json").as_str(), place.mode("sealed.json")), (document, 0o640));
    assert!(fs::symlink_metadata(place.path("link")).unwrap().is_symlink());
    let twice = place.run(&["seal", "--fields", "$.none", "in.json", "in.json"]).ends(0).out;
    assert_eq!(twice, document.repeat(2));
    place.run(&["seal", "--fields", "$..ssn", "nowhere.json"]).ends(66).says("nowhere.json");
    place.run(&["seal", "--fields", "ssn", "in.json"]).ends(64).says("$");
}

#[test]
fn a_failure_leaves_no_half_output() {
    let place = Place::with_keyring();
    place.write("out.json", "kept").write("bad.json", "{\"ssn\":\"1\",");
    place.run(&["seal", "--fields", "$.ssn", "bad.json", "--output", "out.json"]).ends(65);
    assert_eq!(place.read("out.json"), "kept");
    assert_eq!(fs::read_dir(place.path("")).unwrap().filter(|e| e.as_ref().unwrap().file_name() == ".tmp").count(), 0);
    place.run(&["seal", "--fields", "$.ssn", "bad.json", "--output", "no/such/dir"]).ends(66);
}

#[test]
fn lines() {
    let place = Place::with_keyring();
    let lines = "{\"ssn\":1}\n\n  {\"ssn\":\"b\"}\r\n\r\n \t\r{\"ssn\":[]}\n   \n{\"other\":1}\n{\"ssn\":\"last\"}";
    let args = |verb| [verb, "--ndjson", "--fields", "$.ssn"];
    let sealed = place.feed(&args("seal"), lines).ends(0).out;
    assert_eq!(sealed.matches("sc1.").count(), 4, "{sealed}");
    assert_eq!(sealed.matches('\n').count(), lines.matches('\n').count());
    assert_eq!(place.feed(&args("open"), &sealed).ends(0).out, lines);
    assert_eq!(place.feed(&args("seal"), "").ends(0).out, "");
    assert_eq!(place.feed(&args("seal"), "\n\n").ends(0).out, "\n\n");
    place.feed(&args("seal"), "{\"ssn\":1}\n\n{\"ssn\":\n").ends(65).says("line 3");
    // Longer than any buffer.
    let long = format!("{{\"ssn\":\"{}\"}}\n{{\"a\":\"{}\",\"ssn\":1}}\n", "x".repeat(100_000), "y".repeat(300_000));
    let sealed = place.feed(&args("seal"), &long).ends(0).out;
    assert_eq!(place.feed(&args("open"), &sealed).ends(0).out, long);
}

#[test]
fn what_the_rules_do() {
    let place = Place::with_keyring();
    example_rules(&place);
    let document = "{\"ssn\":\"1\",\"email\":\"a@b\",\"c\":2}";
    let args = |verb| [verb, "--rules", "rules", "--path", "/customers/7"];
    let sealed = place.feed(&args("seal"), document).ends(0).out;
    assert!(sealed.matches("sc1.").count() == 2 && sealed.contains("\"c\":2"), "{sealed}");
    assert_eq!(place.feed(&args("open"), &sealed).ends(0).out, document);
    place.feed(&["seal", "--rules", "rules", "--path", "/elsewhere"], document).ends(1).says("explain");
    place.feed(&["seal", "--rules", "nowhere", "--path", "/x"], document).ends(64);
}

#[test]
fn signed_values() {
    let place = Place::with_keyring();
    let signed = place.feed(&["seal", "--class", "v", "--sign"], "\"x\"").ends(0).out;
    let plain = place.feed(&["seal", "--class", "v"], "\"x\"").ends(0).out;
    assert_eq!(place.feed(&["open", "--class", "v", "--sign"], &signed).ends(0).out, "\"x\"");
    place.feed(&["open", "--class", "v", "--sign"], &plain).ends(1);
}

#[test]
fn what_a_token_tells() {
    let place = Place::with_keyring();
    let token = place.feed(&["seal", "--class", "v"], "\"1234567890123456\"").ends(0).out;
    let token = token.trim_matches('"');
    place.run(&["inspect", token]).ends(0).shows("xaes-256-gcm").shows("96");
    let told = place.run(&["inspect", "--json", token]).ends(0).json();
    assert_eq!(
        (told["suite"].as_u64(), told["length"].as_u64(), told["signed"].as_bool()),
        (Some(1), Some(96), Some(false))
    );
    // One per line, quoted or not; a bad one beside a good one.
    let done = place.feed(&["inspect", "--json"], format!("{token}\n\n\"{token}\"\nsc1.bad\n")).ends(1);
    let lines: Vec<serde_json::Value> = done.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[2]["error"].is_string());
    place.run(&["inspect", "hello"]).ends(1);
    // A length that base64url never has: without its last character alone, one in sixteen would still read as a token.
    place.run(&["inspect", &token[..token.len() - 2]]).ends(1);
}
