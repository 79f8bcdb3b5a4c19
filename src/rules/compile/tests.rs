//! What the compiler takes and refuses, and where it points.

use super::*;
use crate::report::Severity;
use crate::rules::{Action, Key, Mode, OnBad, OnUnreadable, Reveal, Validate, profile};
use crate::token::Suite;
use rstest::rstest;

fn load(text: &str) -> Loaded {
    load_text("rules/a.yaml", text, &Context::default())
}

fn codes(text: &str) -> Vec<(&'static str, usize)> {
    let loaded = load(text);
    loaded.findings.0.iter().map(|f| (f.code, f.line_column().map_or(0, |(line, _)| line))).collect()
}

/// A file with one `protect` item made of these options.
fn item(options: &str) -> String {
    format!("rules:\n  - name: a\n    match: {{ path: \"/x/{{id}}/**\" }}\n    protect:\n      - {{ {options} }}\n")
}

fn halves(text: &str) -> (Vec<Arc<Action>>, Vec<Arc<Action>>, Unreadable) {
    let loaded = load(text);
    let set = loaded.rules.unwrap_or_else(|| panic!("{}", loaded.findings));
    let rule = &set.rules[0];
    let RuleKind::Fields { request, response } = &rule.kind else { panic!() };
    (request.clone(), response.clone(), rule.limits.clone())
}

#[test]
fn all_errors_at_once_each_with_its_place_and_a_way_out() {
    let text = r#"rules:
  - name: a
    match:
      path: /customers/**
    mod: enforce
    protect:
      - feilds: ["$..ssn"]
      - fields: ["$.a[", "ssn", "path:x", "header:te", "$[0]"]
        parse: json
        on_error:
        mode: enforced
        key: "{tenant}"
  - name: a
    request:
      - seal: ["$.x"]
        reveal: plain
        on_error: nullify
        pad: 0
      - open: "$.y"
        suite: 3
      - seal: $.z
        open: $.z
  - match: { path: customers }
    action: nope
"#;
    let expected = [
        ("unknown-key", 5),
        ("no-fields", 7),
        ("unknown-key", 7),
        ("selector", 8),
        ("selector", 8),
        ("field-capture", 8),
        ("header-unfit", 8),
        ("class", 8),
        ("parse-without-inside", 9),
        ("null", 10),
        ("unknown-word", 11),
        ("key-prefix", 12),
        ("no-path", 13),
        ("duplicate-name", 13),
        ("option-without-effect", 16),
        ("destroys-data", 17),
        ("number", 18),
        ("option-without-effect", 20),
        ("suite", 20),
        ("seal-and-open", 21),
        ("no-name", 23),
        ("path-pattern", 23),
        ("unknown-word", 24),
    ];
    let mut got = codes(text);
    let mut expected = expected.to_vec();
    got.sort_by_key(|(code, line)| (*line, *code));
    expected.sort_by_key(|(code, line)| (*line, *code));
    assert_eq!(got, expected);
    let loaded = load(text);
    assert!(loaded.rules.is_none());
    assert!(loaded.findings.0.iter().all(|f| f.help.is_some() && f.place.is_some()));
    let shown = loaded.findings.to_string();
    assert!(shown.contains("did you mean `mode`?") && shown.contains("rules/a.yaml:5:5"), "{shown}");
}

#[rstest]
#[case("deterministic: true, bind: \"@.id\"", "deterministic-bind")]
#[case("bind: id", "bind")]
#[case("bind: \"@\"", "bind")]
#[case("bind: \"@.*\"", "bind")]
#[case("bind: \"@.a == 1 || @.b\"", "bind")]
#[case("bind: \"@..id\"", "bind")]
#[case("bind: \"path:id\"", "bind")]
#[case("bind: \"@.x\", class: c, fields: [\"$.a[0]\"]", "bind")]
#[case("bind: \"@.ssn\", fields: [\"$.ssn\"]", "bind-selected")]
#[case("parse: json, inside: [\"$..a\", \"$.b\"], bind: \"$.b\"", "bind-selected")]
#[case("bind: \"@.id.x\", fields: [\"$..a\", \"$..id\"]", "bind-selected")]
fn binds_that_are_refused(#[case] options: &str, #[case] code: &str) {
    let fields = if options.contains("fields") { "" } else { ", fields: $.a" };
    let found = codes(&format!("rules: [{{ name: a, match: {{ path: /x }}, protect: [{{ {options}{fields} }}] }}]"));
    assert!(found.iter().any(|(found, _)| *found == code), "{found:?}");
}

#[rstest]
#[case("match: { path: /x }\n    max_body: 0\n    protect: [{ fields: $.a }]", "`max_body` cannot be 0")]
#[case(
    "match: { path: \"/{a}\" }\n    protect: [{ fields: \"path:a\", deterministic: true, rewrite: all }]",
    "this item has no `query:`"
)]
#[case(
    "match: { path: /x }\n    protect: [{ fields: \"form:a\", deterministic: true, rewrite: fallback }]",
    "about look-ups by query, path, header or cookie"
)]
#[case("match: { path: /x }\n    protect: [{ fields: $.a, type: number }]", "about text outside of JSON")]
fn what_is_wrong_is_said(#[case] rule: &str, #[case] says: &str) {
    let loaded = load(&format!("rules:\n  - name: a\n    {rule}\n"));
    assert!(loaded.rules.is_none() && loaded.findings.to_string().contains(says), "{}", loaded.findings);
}

#[rstest]
#[case("deterministic: true, sign: true", "deterministic-sign")]
#[case("deterministic: true, suite: 2", "deterministic-suite")]
#[case("signers: [\"00112233445566778899aabbccddeeff\"]", "signers-without-sign")]
#[case("sign: true, signers: abc", "signer")]
#[case("sign: true, signers: +0112233445566778899aabbccddeeff", "signer")]
#[case("key: \"t-*\"", "glob-seals")]
#[case("key: \"t-{tenant}\"", "key-capture")]
#[case("reveal: mask", "unknown-word")]
#[case("reveal: mask(x)", "unknown-word")]
#[case("on_plaintext: nullify", "unknown-word")]
#[case("pad: \"32\"", "type")]
#[case("sign: \"true\"", "type")]
#[case("mode: ~", "null")]
#[case("seal: $.b", "misplaced")]
#[case("on_error: null", "null")]
#[case("parse: json", "parse-without-inside")]
#[case("inside: $.b", "inside-without-parse")]
#[case("parse: xml, inside: $.b", "unknown-word")]
#[case("parse: json, inside: \"$[0]\"", "class")]
#[case("parse: json, inside: ssn", "selector")]
#[case("parse: json, inside: \"query:b\"", "selector")]
#[case("parse: json, inside: \"$.b[0]\", bind: \"@.id\"", "bind")]
#[case("parse: json, inside: $..b, bind: \"@.b.id\"", "bind-selected")]
fn options_that_are_refused(#[case] options: &str, #[case] code: &str) {
    let text = item(&format!("fields: $.a, {options}"));
    assert_eq!(codes(&text).iter().map(|c| c.0).collect::<Vec<_>>(), [code]);
}

#[test]
fn a_shorthand_gives_each_half_what_is_its_own() {
    let text = item(
        "fields: [$.a, \"$['b','c']\"], on_error: redact, reveal: mask(4), on_plaintext: pass, required: true, suite: 2, pad: 16, key: \"t-{id}\"",
    );
    let (request, response, limits) = halves(&text);
    let (seal, open) = (&request[0], &response[0]);
    assert_eq!((seal.verb, open.verb), (Verb::Seal, Verb::Open));
    assert_eq!((seal.on_error, open.on_error), (OnBad::Reject, OnBad::Redact));
    assert_eq!((seal.reveal, open.reveal), (Reveal::Plain, Reveal::Mask(4)));
    assert!(seal.required && !open.required && seal.refuses_masked && !open.refuses_masked);
    assert_eq!((seal.suite, seal.pad), (Suite::Gcm, Some(16)));
    assert!(matches!(seal.key, Key::Template(_)) && seal.key == open.key);
    let classes: Vec<&str> = seal.fields.iter().map(|f| f.class.as_str()).collect();
    assert_eq!(classes, ["a", "b", "c"]);
    assert_eq!(limits.request.media_type, OnUnreadable::Reject);
    assert_eq!(limits.response.media_type, OnUnreadable::Pass);
    assert_eq!(limits.response.signature, OnUnreadable::Reject);
    let (request, response, limits) = halves(&text.replace("protect", "expose"));
    assert_eq!((request[0].verb, response[0].verb), (Verb::Open, Verb::Seal));
    assert_eq!((request[0].on_error, response[0].on_error), (OnBad::Redact, OnBad::Reject));
    assert_eq!(limits.response.media_type, OnUnreadable::Reject);
}

#[test]
fn defaults_and_modes() {
    let (request, _, limits) = halves(&item("fields: $.a"));
    let a = &request[0];
    assert_eq!((a.mode, a.suite, a.on_token), (Mode::Enforce, Suite::Xaes, crate::rules::OnToken::Reject));
    assert_eq!(a.key, Key::Fixed(crate::name::PartitionName::default_name()));
    assert!(!a.sign && !a.deterministic && !a.seal_nulls && !a.required && a.max_value.is_none());
    assert_eq!((limits.max_partitions, limits.provision, limits.validate), (1_000, false, Validate::Full));
    let (.., limits) = halves(&item("fields: $.a").replace("protect", "validate: structure\n    protect"));
    assert_eq!(limits.validate, Validate::Structure);
    let (request, ..) = halves(&item("fields: $.a, deterministic: true"));
    assert_eq!(request[0].suite, Suite::Siv);
    let observed = item("fields: $.a").replace("protect", "mode: observe\n    on_media_type: reject\n    protect");
    let (request, _, limits) = halves(&observed);
    assert_eq!((request[0].mode, limits.request.media_type), (Mode::Observe, OnUnreadable::Pass));
    let (_, _, limits) = halves(&item("fields: $.a, mode: read"));
    assert_eq!(limits.request.media_type, OnUnreadable::Pass);
}

#[test]
fn two_actions_on_one_value() {
    let both = |a: &str, b: &str| {
        format!(
            "rules:\n  - name: a\n    match: {{ path: /x/** }}\n    protect:\n      - {{ fields: \"{a}\" }}\n      - {{ fields: \"{b}\", key: other }}\n"
        )
    };
    assert_eq!(codes(&both("$.a", "$['a']")), [("conflict", 6)]);
    assert_eq!(codes(&both("$..a", "$.b.a")), [("may-conflict", 6)]);
    assert_eq!(codes(&both("$.a", "$.a.b")), [("nested-selection", 6)]);
    assert_eq!(codes(&both("$..ssn", "$.cards[*].pan")), []);
    let rules = |path: &str| {
        format!(
            "rules:\n  - {{ name: a, match: {{ path: /x/** }}, protect: [{{ fields: $.a }}] }}\n  - {{ name: b, match: {{ path: {path} }}, protect: [{{ fields: $.a, key: b }}] }}\n"
        )
    };
    assert_eq!(codes(&rules("/x/**")), [("conflict", 3)]);
    assert_eq!(codes(&rules("/x/y")), [("may-conflict", 3)]);
    assert_eq!(codes(&rules("/y")), []);
    assert_eq!(codes(&rules("/x/y").replace("path: /x/** ", "path: /x/**, except: /x/y ")), []);
}

#[rstest]
#[case("match: { path: /x, method: POST }\n    protect: [{ fields: $.a }]", "sealing-by-method")]
#[case("match: { path: /x, header: { x-a: b } }\n    protect: [{ fields: $.a }]", "sealing-by-header")]
#[case("match: { path: /x, host: a.example }\n    protect: [{ fields: $.a }]", "sealing-by-host")]
#[case("match: { path: /x }\n    on_too_large: pass\n    protect: [{ fields: $.a }]", "sealing-passes")]
#[case("match: { path: /x }\n    protect: [{ fields: $.a, key: \"t-{header:x-t}\" }]", "untrusted-header")]
#[case("match: { path: \"/**/{t}/x\" }\n    protect: [{ fields: $.a, key: \"t-{t}\" }]", "movable-capture")]
#[case(
    "match: { path: \"/{t}/x\" }\n    protect: [{ fields: $.a, key: \"de{t}\" }, { fields: $.b }]",
    "template-meets-fixed"
)]
#[case("match: { path: /x }\n    cache: keep\n    protect: [{ fields: $.a }]", "cached-plaintext")]
#[case("match: { path: /x }\n    response: [{ open: $.a, key: \"*\" }]", "glob-opens-all")]
#[case("match: { path: /x }\n    protect: [{ fields: $.a, on_token: keep }]", "keep-without-bind")]
#[case("match: { path: /x }\n    request: [{ seal: $.a, on_error: pass }]", "plaintext-on-error")]
#[case(
    "match: { path: /x }\n    protect: [{ fields: $.a, deterministic: true, format: country }]",
    "deterministic-few"
)]
#[case("match: { path: /x }\n    protect: [{ fields: $.a, deterministic: true, max_value: 4 }]", "deterministic-short")]
#[case("match: { path: /x }\n    protect: [{ fields: $.a, format: email }]", "format")]
#[case(
    "match: { path: /x }\n    protect: [{ fields: $.a.n }, { fields: $.b.n, deterministic: true }]",
    "deterministic-mixed"
)]
#[case(
    "match: { path: /x }\n    action: pass\n  - name: b\n    match: { path: /x }\n    protect: [{ fields: $.a }]",
    "never-reached"
)]
fn warnings(#[case] rule: &str, #[case] code: &str) {
    let loaded = load(&format!("rules:\n  - name: a\n    {rule}\n"));
    assert!(loaded.rules.is_some(), "{}", loaded.findings);
    assert!(loaded.findings.0.iter().any(|f| f.code == code), "{}", loaded.findings);
    assert!(loaded.findings.0.iter().all(|f| f.severity == Severity::Warning && f.help.is_some() && f.place.is_some()));
    let docs = include_str!("../../../docs/rules.md");
    assert!(docs.contains(&format!("`{code}`")), "docs/rules.md does not explain `{code}`");
}

#[rstest]
#[case("- { name: b, match: { path: /x/** }, action: reject }", false)]
#[case("- { name: b, match: { path: /** }, action: reject }", false)]
#[case("- { name: b, match: { path: /x }, action: reject }", true)]
#[case("- { name: b, match: { path: /x/**, except: /x/y }, action: reject }", true)]
#[case("- { name: b, match: { path: /x/**, method: PUT }, action: reject }", true)]
#[case("- { name: b, match: { path: /x/** }, action: pass }", true)]
#[case(
    "- { name: c, match: { path: /x/y }, action: pass }\n  - { name: b, match: { path: /x/** }, action: reject }",
    true
)]
fn a_rule_by_method_is_safe_where_the_rest_is_rejected(#[case] after: &str, #[case] warns: bool) {
    let rule = "- { name: a, match: { path: /x/**, method: POST }, protect: [{ fields: $.a }] }";
    let found = codes(&format!("rules:\n  {rule}\n  {after}\n"));
    assert_eq!(found.iter().any(|(code, _)| *code == "sealing-by-method"), warns, "{found:?}");
}

#[rstest]
#[case("max_length: 20", 1)]
#[case("max_length: 96, max_value: 16", 0)]
#[case("max_length: 95, max_value: 16", 1)]
#[case("max_length: 80, max_value: 16, suite: 2", 0)]
#[case("max_length: 64, max_value: 16, deterministic: true", 0)]
#[case("max_length: 63, max_value: 16, deterministic: true", 1)]
#[case("max_length: 4000, max_value: 16, sign: true", 1)]
fn a_column_too_narrow_is_forecast(#[case] options: &str, #[case] warnings: usize) {
    let found = codes(&item(&format!("fields: $.a, {options}")));
    assert_eq!(found.iter().filter(|(code, _)| *code == "max-length").count(), warnings, "{found:?}");
}

#[test]
fn a_trusted_header_is_not_warned_about() {
    let context = Context { trusted_headers: vec!["x-t".into()], ..Context::default() };
    let loaded = load_text("a.yaml", &item("fields: $.a, key: \"t-{header:X-T}\""), &context);
    assert!(loaded.findings.0.is_empty(), "{}", loaded.findings);
}

#[rstest]
#[case("rules:\n", "null")]
#[case("{}", "no-rules")]
#[case("", "type")]
#[case("[]", "type")]
#[case("rules: [", "yaml")]
#[case("rules: [{ name: a, match: { path: /x } }]", "no-action")]
#[case("rules: [{ name: a, match: { path: /x }, action: pass, protect: [{ fields: $.a }] }]", "action-and-fields")]
#[case("rules: [{ name: a, match: { path: [] }, action: pass }]", "empty")]
#[case("rules: [{ name: a, match: { method: GET }, action: pass }]", "no-path")]
#[case("rules: [{ name: a, match: { path: /x }, protect: [] }]", "empty")]
#[case("rules: [{ name: a, match: { path: /x }, protect: [{ fields: [] }] }]", "empty")]
#[case("rules: [{ name: a, match: { path: /x, status: 9xx }, action: pass }]", "status")]
#[case("rules: [{ name: a, match: { path: /x, listener: frnt }, action: pass }]", "listener")]
#[case("rules: [{ name: a, match: { path: /x }, action: pass, max_partitions: 5 }]", "option-without-effect")]
#[case("rules: [{ name: a, match: { path: /x }, action: pass, provision: true }]", "option-without-effect")]
#[case("rules: [{ name: a, match: { path: /x }, action: pass, on_media_type: reject }]", "option-without-effect")]
#[case("rules: [{ name: a, match: { path: /x }, action: pass, on_signature: reject }]", "option-without-effect")]
#[case("rules: [{ name: a, match: { path: /x }, action: reject, json_types: text/plain }]", "option-without-effect")]
#[case(
    "rules: [{ name: a, match: { path: /x }, json_types: application/json-patch+json, protect: [{ fields: $.a }] }]",
    "media-type"
)]
fn files_that_are_refused(#[case] text: &str, #[case] code: &str) {
    let context = Context { listeners: vec!["front".into()], ..Context::default() };
    let loaded = load_text("a.yaml", text, &context);
    assert!(loaded.rules.is_none());
    assert_eq!(loaded.findings.0.iter().map(|f| f.code).collect::<Vec<_>>(), [code], "{}", loaded.findings);
    assert!(!loaded.findings.to_string().is_empty());
}

#[test]
fn a_directory_is_read_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let rule = |name: &str| format!("rules: [{{ name: {name}, match: {{ path: /x }}, action: pass }}]\n");
    let put = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
    let context = Context::default();
    assert!(super::load(dir.path(), &context).rules.is_none());
    put("schema.json", include_str!("../../../rules/schema.json"));
    assert!(super::load(dir.path(), &context).rules.is_none(), "a schema alone is no set of rules");
    put("20.yml", &rule("b"));
    put("10.yaml", &rule("a"));
    put("30.json", "{\"rules\": [{\"name\": \"c\", \"match\": {\"path\": \"/y\"}, \"action\": \"pass\"}]}");
    put("notes.txt", "not a rule");
    put("schema.json", include_str!("../../../rules/schema.json"));
    put(".hidden.yaml", "not a rule");
    std::fs::create_dir(dir.path().join("..data")).unwrap();
    std::fs::create_dir(dir.path().join("dir.yaml")).unwrap();
    let first = super::load(dir.path(), &context);
    let names: Vec<_> = first.rules.unwrap().rules.iter().map(|r| r.name.to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    put("20.yml", &rule("d"));
    assert_ne!(super::load(dir.path(), &context).digest, first.digest);
    put("schema.json", &rule("s"));
    assert_eq!(super::load(dir.path(), &context).rules.unwrap().rules.len(), 4, "rules are rules under any name");
    put("40.yaml", &rule("a"));
    let loaded = super::load(dir.path(), &context);
    assert!(loaded.findings.to_string().contains("10.yaml"), "{}", loaded.findings);
    std::fs::write(dir.path().join("50.yaml"), vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(super::load(dir.path(), &context).findings.0.iter().any(|f| f.code == "unreadable"));
    assert!(super::load(&dir.path().join("missing"), &context).findings.has_errors());
}

#[test]
fn the_example_loads_without_a_word() {
    let context = Context { trusted_headers: vec!["x-tenant".into()], ..Context::default() };
    let loaded = load_text("rules/example.yaml", include_str!("../../../rules/example.yaml"), &context);
    assert!(loaded.rules.is_some() && loaded.findings.0.is_empty(), "{}", loaded.findings);
    assert!(loaded.tests >= 8);
}

#[cfg(unix)]
#[test]
fn a_config_map_is_read_through_its_links() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("..2026_11_22");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("a.yaml"), "rules: [{ name: a, match: { path: /x }, action: pass }]\n").unwrap();
    std::os::unix::fs::symlink(&data, dir.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
    assert_eq!(super::load(dir.path(), &Context::default()).rules.unwrap().rules.len(), 1);
}

#[test]
fn a_large_rule_set_loads() {
    let mut text = "rules:\n".to_owned();
    for i in 0..500 {
        text.push_str(&format!(
            "  - {{ name: r{i}, match: {{ path: \"/{{a}}/r{i}/**\" }}, protect: [{{ fields: [$.a, $..b], key: \"t-{{a}}\" }}] }}\n"
        ));
    }
    let loaded = load(&text);
    assert_eq!(loaded.rules.map(|r| r.rules.len()), Some(500), "{}", loaded.findings);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_loader_or_its_report_panic(
        at in 0usize..3_000, len in 0usize..60, put in "[a-z$.\\[\\]{}:,&*!|>'\"# \n\t\u{e9}\u{0}0-9-]{0,12}",
    ) {
        let text: Vec<char> = include_str!("../../../rules/example.yaml").chars().collect();
        let at = at.min(text.len());
        let broken: String = text[..at].iter().chain(put.chars().collect::<Vec<_>>().iter()).chain(text[(at + len).min(text.len())..].iter()).collect();
        let loaded = load(&broken);
        let _shown = loaded.findings.to_string();
        assert_eq!(loaded.rules.is_none(), loaded.findings.has_errors());
        assert!(loaded.findings.0.iter().all(|f| f.help.is_some()));
    }
}

#[test]
fn each_path_in_what_is_parsed_is_a_field() {
    let text = item("fields: [$.a, \"$['b','c'][0]\"], parse: json, inside: [\"$..['x','y']\", $.z], bind: \"@.id\"");
    let (request, response, _) = halves(&text);
    for action in [&request[0], &response[0]] {
        let fields: Vec<_> = action.fields.iter().map(|f| format!("{} {} {}", f.place, f.selector, f.class)).collect();
        let inner = [("$..['x','y']", "x"), ("$..['x','y']", "y"), ("$.z", "z")];
        let outer = [("$['a']", "$.a"), ("$['b'][0]", "$['b','c'][0]"), ("$['c'][0]", "$['b','c'][0]")];
        let pairs = outer.iter().flat_map(|(path, o)| inner.map(|(i, class)| format!("{path} {o} > {i} {class}")));
        assert_eq!(fields, pairs.collect::<Vec<_>>());
        assert_eq!(action.inside.as_ref().map(crate::jsonpath::Selectors::count), Some(3));
        let bound = |path: &crate::jsonpath::Path| path.buffering() > crate::jsonpath::Buffering::Streaming;
        assert!(action.fields.iter().all(
            |f| !f.path().is_some_and(|path| bound(path)) && f.inside.as_ref().is_some_and(|inside| bound(inside))
        ));
    }
    assert_eq!(codes(&item("fields: \"$[0]\", parse: json, inside: $.b")), [], "the string itself has no class");
    assert_eq!(codes(&item("fields: \"$[0]\", parse: json, inside: $, class: c")), []);
}

#[test]
fn two_items_never_parse_one_string() {
    let both = |a: &str, b: &str| {
        let text = format!(
            "rules:\n  - name: a\n    match: {{ path: /x/** }}\n    request:\n      - {{ {a} }}\n      - {{ {b} }}\n"
        );
        codes(&text)
    };
    let parsed = |outer: &str, inside: &str| format!("seal: {outer}, parse: json, inside: {inside}");
    // The second would never act, whatever it selects inside.
    assert_eq!(both(&parsed("$.a", "$.x"), &parsed("\"$['a']\"", "$.y")), [("conflict", 6)]);
    assert_eq!(both(&parsed("$.a", "[$.x, $.y]"), &parsed("$.a", "$.x")), [("conflict", 6)]);
    assert_eq!(both(&parsed("$.a", "[$.x, $.y]"), &parsed("$..a", "[$.x, $.z]")), [("may-conflict", 6)]);
    assert_eq!(both(&parsed("$.a", "$.x"), "seal: $.a"), [("conflict", 6)]);
    assert_eq!(both("seal: $..a", &parsed("$.b.a", "[$.x, $.y]")), [("may-conflict", 6)]);
    assert_eq!(both(&parsed("$.a", "$.x"), "seal: $.a.b"), [("nested-selection", 6)]);
    assert_eq!(both(&parsed("$.a", "$.x"), &parsed("$.b", "$.x")), []);
    assert_eq!(both(&parsed("$.a", "$.x"), "seal: $.x"), [], "that is another document");
    assert_eq!(both(&parsed("$.a", "[$.x, $.y]"), &parsed("$.a", "[$.x, $.y]")), [], "they agree");
    assert_eq!(both(&parsed("$.a", "$.x"), "seal: $.b, bind: $.a"), [("bind-selected", 6)]);
    assert_eq!(both(&parsed("$.a", "$.x, bind: $.id"), "seal: $.id"), [], "that is another document");
    // Within one item, what matters is what is selected inside.
    let one = |inside: &str| codes(&item(&format!("fields: [$.a, $..a], parse: json, inside: {inside}")));
    assert_eq!(one("[$.x, $.y]"), []);
    assert_eq!(one("[$.x, $.x.y]"), [("nested-selection", 5)]);
    assert_eq!(one("[$..x, $.*, $.y]"), [("class", 5)]);
    assert_eq!(one("[$..x, $.y.*]"), [("may-conflict", 5)]);
}

/// Of `partner`; `there` has no values of its own.
fn with_profiles(api: profile::PerValue, local: bool) -> Context {
    let partition = |name: &str| crate::name::PartitionName::new(name).unwrap();
    let partner = Profile { name: "partner".into(), partition: partition("shop"), local, per_value: Some(api) };
    let there = Profile { name: "there".into(), partition: partition("else"), local: true, per_value: None };
    Context { profiles: vec![Arc::new(partner), Arc::new(there)], ..Context::default() }
}

fn managed_api() -> profile::PerValue {
    profile::PerValue {
        batch: 1,
        bare: false,
        signs: false,
        convergent: false,
        longest: 1_000,
        prefix: "api:",
        plain_text: true,
    }
}

#[rstest]
#[case("deterministic: true", "profile-deterministic")]
#[case("sign: true", "profile-sign")]
#[case("suite: 2", "profile-option")]
#[case("pad: 16", "profile-option")]
#[case("parse: json, inside: $.b", "profile-parse")]
fn what_an_api_does_not_do_is_refused_by_name(#[case] option: &str, #[case] code: &str) {
    let text = item(&format!("fields: $.a, key: partner, {option}"));
    let loaded = load_text("a.yaml", &text, &with_profiles(managed_api(), false));
    assert_eq!(loaded.findings.0.iter().map(|f| f.code).collect::<Vec<_>>(), [code]);
    // Sealed here, all of it is possible.
    let local = load_text("a.yaml", &text, &with_profiles(managed_api(), true));
    assert!(local.findings.0.is_empty(), "{}", local.findings);
}

#[test]
fn what_an_api_is_given_alone_can_be_bound_to_nothing() {
    let bare = profile::PerValue { bare: true, signs: true, ..managed_api() };
    let codes = |options: &str, api: profile::PerValue| -> Vec<&'static str> {
        let text = item(&format!("fields: $.a, key: partner, {options}"));
        let loaded = load_text("a.yaml", &text, &with_profiles(api, false));
        loaded.findings.0.iter().map(|f| f.code).collect()
    };
    assert_eq!(codes("bind: '@.id', nulls: seal", bare.clone()), ["profile-bare", "profile-bare"]);
    assert_eq!(codes("sign: true", bare.clone()), Vec::<&str>::new());
    assert_eq!(codes("sign: true, signers: ['00']", bare), ["profile-option", "signer"]);
    let convergent = profile::PerValue { convergent: true, ..managed_api() };
    assert_eq!(codes("mode: enforce", convergent.clone()), ["profile-convergent"]);
    assert_eq!(codes("deterministic: true", convergent.clone()), Vec::<&str>::new());
    let open = "rules:\n  - name: a\n    match: { path: /x }\n    response: [{ open: $.a, key: partner }]\n";
    assert!(load_text("a.yaml", open, &with_profiles(convergent, false)).findings.0.is_empty());
}

#[test]
fn a_key_names_a_profile_or_its_partition() {
    let key = |name: &str, local: bool| {
        let text = item(&format!("fields: $.a, key: {name}"));
        let loaded = load_text("a.yaml", &text, &with_profiles(managed_api(), local));
        let set = loaded.rules.unwrap_or_else(|| panic!("{}", loaded.findings));
        let RuleKind::Fields { request, .. } = &set.rules[0].kind else { panic!() };
        request[0].key.clone()
    };
    assert!(matches!(key("partner", false), Key::Managed(profile) if profile.delegated().is_some()));
    assert!(matches!(key("partner", true), Key::Managed(profile) if profile.delegated().is_none()));
    assert!(matches!(key("there", true), Key::Fixed(name) if name.as_str() == "else"));
    assert!(matches!(key("shop", false), Key::Fixed(name) if name.as_str() == "shop"));
    let sealed =
        Key::Managed(Arc::clone(&with_profiles(profile::PerValue { bare: true, ..managed_api() }, false).profiles[0]));
    assert!(sealed.looks_sealed(b"sc1.x") && sealed.looks_sealed(b"api:x") && !sealed.looks_sealed(b"ap"));
    assert!(!Key::Managed(Arc::clone(&with_profiles(managed_api(), false).profiles[0])).looks_sealed(b"api:x"));
}

#[test]
fn a_name_means_one_thing() {
    let mut context = with_profiles(managed_api(), false);
    let other = Profile {
        name: "else".into(),
        partition: crate::name::PartitionName::new("third").unwrap(),
        local: true,
        per_value: None,
    };
    context.profiles.push(Arc::new(other));
    let loaded = load_text("a.yaml", &item("fields: $.a"), &context);
    assert_eq!(loaded.findings.0.iter().map(|f| f.code).collect::<Vec<_>>(), ["profile-name"]);
    let template = item("fields: $.a, key: \"p{id}\"");
    let loaded = load_text("a.yaml", &template, &with_profiles(managed_api(), false));
    assert_eq!(loaded.findings.0.iter().map(|f| f.code).collect::<Vec<_>>(), ["template-meets-profile"]);
}

#[test]
fn what_may_be_a_ciphertext() {
    let any = profile::PerValue { prefix: "", ..managed_api() };
    let least = "Aa0_-Aa0_-Aa0_-Aa0_-Aa";
    for (text, may) in [
        (least.to_owned(), true),
        (format!("{least}=="), true),
        (format!("{least}="), true),
        (format!("{least}==="), false),
        (least.replacen('A', "", 1), false),
        (format!("{least} x"), false),
        (format!("{least}+"), false),
        (String::new(), false),
    ] {
        assert_eq!(any.may_be_ciphertext(text.as_bytes()), may, "{text}");
    }
    assert!(managed_api().may_be_ciphertext(b"api:") && !managed_api().may_be_ciphertext(least.as_bytes()));
    assert_eq!([0, 1, 7].map(|n| any.calls(n)), [0, 1, 7]);
    let batches = profile::PerValue { batch: 3, ..any };
    assert_eq!([0, 1, 3, 4].map(|n| batches.calls(n)), [0, 1, 1, 2]);
}

#[rstest]
#[case("fields: \"query:\"", "field")]
#[case("fields: \"header:a b\"", "field")]
#[case("fields: \"cookie:a=b\"", "field")]
#[case("fields: \"path:nobody\"", "field-capture")]
#[case("fields: \"header:Host\"", "header-unfit")]
#[case("fields: \"header:authorization\"", "header-unfit")]
#[case("fields: \"header:transfer-encoding\"", "header-unfit")]
#[case("fields: \"header:cookie\"", "header-unfit")]
#[case("fields: \"header:location\"", "header-unfit")]
#[case("fields: \"query:a\", bind: \"@.id\"", "bind-outside")]
#[case("fields: \"query:a\", on_error: nullify", "nullify-outside")]
#[case("fields: \"query:a\", rewrite: all", "rewrite-random")]
#[case("fields: \"query:a\", parse: json, inside: $.b", "parse-outside")]
#[case("fields: $.a, type: number", "option-without-effect")]
#[case("fields: \"cookie:a\", deterministic: true, rewrite: all", "option-without-effect")]
#[case("fields: \"query:a\", embedded: true", "embedded-seals")]
#[case("fields: \"path:id\", key: \"t-{id}\"", "key-selected")]
#[case("fields: \"path:id\", bind: \"path:id\"", "bind-selected")]
#[case("fields: [\"query:a\", $.b], key: \"t-*\"", "glob-seals")]
fn fields_outside_of_json_that_are_refused(#[case] options: &str, #[case] code: &str) {
    let found = codes(&item(options));
    assert!(found.iter().any(|(found, _)| *found == code), "{options}: {found:?}");
}

#[test]
fn an_item_is_an_action_for_each_part_of_a_message() {
    let text =
        item("fields: [\"query:a b\", $..ssn, \"header:X-Ssn\", \"form:ssn\", \"path:id\"], deterministic: true");
    let (request, response, _) = halves(&text);
    let shown = |actions: &[Arc<Action>]| -> Vec<String> {
        let of = |a: &Arc<Action>| {
            let fields: Vec<_> = a.fields.iter().map(|f| format!("{} ({})", f.place, f.class)).collect();
            format!("{:?}: {}", a.part, fields.join(", "))
        };
        actions.iter().map(of).collect()
    };
    assert_eq!(
        shown(&request),
        [
            "Json: $..['ssn'] (ssn)",
            "Form: form:ssn (ssn)",
            "Outside: query:a b (a b), header:x-ssn (x-ssn), path:id (id)"
        ]
    );
    assert_eq!(shown(&response), ["Json: $..['ssn'] (ssn)", "Outside: header:x-ssn (x-ssn)"]);
    let open_only = |field: &str| {
        codes(&format!("rules: [{{ name: a, match: {{ path: /x }}, response: [{{ open: \"{field}\" }}] }}]"))
    };
    assert_eq!(open_only("query:a")[0].0, "field-of-requests");
    assert_eq!((open_only("form:a"), open_only("cookie:a")), (vec![], vec![]), "what an item for answers says of them");
}

#[rstest]
#[case("protect: [{ fields: \"query:ssn\" }]", "lookup-random")]
#[case("protect: [{ fields: \"path:id\" }]", "lookup-random")]
#[case("protect: [{ fields: \"path:last\", deterministic: true }]", "movable-capture")]
#[case("protect: [{ fields: \"query:a\", deterministic: true, type: boolean }]", "deterministic-few")]
#[case("response: [{ open: \"header:location\", embedded: true }]", "embedded-class")]
#[case("protect: [{ fields: [\"form:ssn\", \"query:pan\"], deterministic: true }]", "form-by-query")]
#[case(
    "protect: [{ fields: \"query:a\", deterministic: true }, { fields: \"query:b\", class: a, deterministic: true, type: number }]",
    "type-mixed"
)]
fn warnings_of_fields_outside_of_json(#[case] items: &str, #[case] code: &str) {
    let text = format!("rules:\n  - name: a\n    match: {{ path: \"/x/{{id}}/**/{{last}}\" }}\n    {items}\n");
    let loaded = load(&text);
    assert!(loaded.rules.is_some(), "{}", loaded.findings);
    assert!(loaded.findings.0.iter().any(|f| f.code == code && f.severity == Severity::Warning), "{}", loaded.findings);
}

#[test]
fn a_parameter_beside_its_field_of_a_form_is_no_look_up() {
    let text = "rules:\n  - name: a\n    match: { path: /register }\n    protect: [{ fields: [\"form:ssn\", \"query:ssn\"] }]\n";
    let loaded = load(text);
    assert!(loaded.findings.0.is_empty(), "{}", loaded.findings);
}
