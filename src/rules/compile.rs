//! From files to a [`super::RuleSet`]: parse, check, compile, lint, test. Everything found is reported at once.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::HeaderName;

use crate::bounded;
use crate::crypto::kdf;
use crate::report::{Finding, Findings, Source};

use super::action::{self, Direction, Draft, InRule, Shape};
use super::file::{Choice, EndAction, FromNode, Given, Many, MatchEntry, RuleEntry, RuleFile, TestEntry};
use super::glob::PathPattern;
use super::media::{PATCHES, essence};
use super::route::Match;
use super::yaml::{self, At, Reader};
use super::{Mode, OnUnreadable, Rule, RuleKind, RuleSet, Unreadable, UnreadableHalf, Verb, file_tests, lint, overlap};

/// Of one file.
const MAX_FILE: u64 = 1 << 20;
/// Of one directory.
const MAX_FILES: usize = 1_000;
/// Of one load.
const MAX_RULES: usize = 10_000;

/// What a load gives: the rules if nothing refuses them, and everything found.
#[derive(Debug)]
pub struct Loaded {
    /// `None` if there are errors.
    pub rules: Option<RuleSet>,
    /// Errors and warnings.
    pub findings: Findings,
    /// How many tests in the files ran.
    pub tests: usize,
    /// SHA-256 over the names and bytes of all files, to notice changes.
    pub digest: [u8; 32],
}

/// What `check` and the load know of the listeners, for warnings and templates.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Names of the listeners; empty: unknown, nothing is checked against them.
    pub listeners: Vec<String>,
    /// `trusted_headers` of any listener, lower case.
    pub trusted_headers: Vec<String>,
    /// Names of profiles, refused as "not available yet".
    pub profiles: Vec<String>,
    /// Whether any listener has `case: ignore`.
    pub ignore_case: bool,
}

/// Loads a file, or all `*.yaml`, `*.yml` and `*.json` files of a directory (not below it) in the order of their names; runs their tests.
pub fn load(path: &Path, context: &Context) -> Loaded {
    let mut findings = Findings::default();
    let mut sources = Vec::new();
    match files(path) {
        Ok(paths) => {
            for path in paths {
                let name = path.display().to_string();
                match bounded::read_text_file(&path, MAX_FILE) {
                    Ok(text) => sources.push(Source { name: name.into(), text: text.into() }),
                    Err(error) => findings.push(
                        Finding::error("unreadable", format!("cannot read {name}: {error}"))
                            .help("make it a UTF-8 text file that this process may read"),
                    ),
                }
            }
        }
        Err(finding) => findings.push(finding),
    }
    load_sources(&sources, context, findings)
}

/// The same for text that is not in a file (the demo's, a test's).
pub fn load_text(name: &str, text: &str, context: &Context) -> Loaded {
    let source = Source { name: name.into(), text: text.into() };
    load_sources(&[source], context, Findings::default())
}

/// A rule with what only the checks need.
#[derive(Debug)]
pub(super) struct RuleDraft {
    pub name: Arc<str>,
    pub source: Source,
    pub span: Range<usize>,
    pub matches: Match,
    pub method_span: Option<Range<usize>>,
    pub header_span: Option<Range<usize>>,
    pub end: Option<EndAction>,
    pub drafts: Vec<Draft>,
    pub limits: Unreadable,
    pub tests: Vec<At<TestEntry>>,
}

fn load_sources(sources: &[Source], context: &Context, mut findings: Findings) -> Loaded {
    let mut rules: Vec<RuleDraft> = Vec::new();
    for source in sources {
        match yaml::parse(source) {
            Ok(node) => {
                let mut reader = Reader { source, findings: &mut findings };
                let Some(file) = RuleFile::from_node(&node, &mut reader) else { continue };
                if !file.rules.is_there() {
                    reader.error(&node.span, "no-rules", "no `rules`", "begin the file with `rules:`");
                }
                for entry in file.rules.get().map_or(&[][..], Vec::as_slice) {
                    rules.push(rule(entry, context, &mut reader));
                }
            }
            Err(finding) => findings.push(finding),
        }
    }
    if rules.len() > MAX_RULES {
        let message = format!("{} rules; at most {MAX_RULES} are taken", rules.len());
        findings.push(
            Finding::error("too-many-rules", message).help("join rules by listing several paths and fields in one"),
        );
        rules.truncate(MAX_RULES);
    }
    duplicate_names(&rules, &mut findings);
    overlap::check(&rules, &mut findings);
    lint::check(&rules, context, &mut findings);
    refuse_masked(&mut rules);
    let digest = digest(sources);
    in_file_order(sources, &mut findings);
    // Tests against rules that are not what was written would only add noise.
    if findings.has_errors() {
        return Loaded { rules: None, findings, tests: 0, digest };
    }
    let tests: Vec<(Source, Arc<str>, Vec<At<TestEntry>>)> =
        rules.iter_mut().map(|r| (r.source.clone(), Arc::clone(&r.name), std::mem::take(&mut r.tests))).collect();
    let set = RuleSet { rules: rules.into_iter().map(|r| Arc::new(r.finish())).collect() };
    let mut ran = 0;
    for (source, rule, entries) in &tests {
        for entry in entries {
            ran += 1;
            let mut reader = Reader { source, findings: &mut findings };
            file_tests::run(&set, rule, entry, context, &mut reader);
        }
    }
    let rules = if findings.has_errors() { None } else { Some(set) };
    Loaded { rules, findings, tests: ran, digest }
}

fn rule(entry: &At<RuleEntry>, context: &Context, reader: &mut Reader<'_>) -> RuleDraft {
    let At { value: e, span } = entry;
    let name: Arc<str> = match e.name.get() {
        Some(name) => {
            let fits = (1..=128).contains(&name.len()) && !name.chars().any(|c| c.is_control());
            if let (false, Some(span)) = (fits, &e.name.span) {
                reader.error(span, "name", "not a rule's name", "1 to 128 bytes without control characters");
            }
            name.as_str().into()
        }
        None => {
            if !e.name.is_there() {
                reader.error(
                    span,
                    "no-name",
                    "a rule without a `name`",
                    "logs and metrics need it: `name: customer-pii`",
                );
            }
            "".into()
        }
    };
    let matches = match_of(&e.matches, span, context, reader);
    let in_rule =
        InRule { name: &name, mode: e.mode.get().map(|c| c.0), paths: &matches.paths, profiles: &context.profiles };
    let lists = [
        (&e.protect, Shape::Protect),
        (&e.expose, Shape::Expose),
        (&e.request, Shape::Request),
        (&e.response, Shape::Response),
    ];
    let mut drafts = Vec::new();
    for (list, shape) in lists {
        if let (Some([]), Some(span)) = (list.get().map(Vec::as_slice), &list.span) {
            reader.error(span, "empty", "an empty list", "name what is sealed or opened, or remove the key");
        }
        for action in list.get().map_or(&[][..], Vec::as_slice) {
            drafts.extend(action::compile(action, shape, &in_rule, reader));
        }
    }
    let acts = lists.iter().any(|(list, _)| list.is_there());
    match (e.action.is_there(), acts) {
        (true, true) => reader.error(
            span,
            "action-and-fields",
            "a rule with `action` does nothing else",
            "make two rules of it; the one with `action` ends the search",
        ),
        (false, false) => reader.error(
            span,
            "no-action",
            "a rule that does nothing",
            "add `protect`, `expose`, `request` or `response`, or `action: pass | reject`",
        ),
        _ => {}
    }
    if let (true, Some(span)) = (e.action.is_there(), &e.mode.span) {
        reader.error(span, "option-without-effect", "`mode` is about sealing and opening", "remove it");
    }
    if let (false, Some(span)) = (e.provision.get() == Some(&true), &e.max_partitions.span) {
        reader.error(
            span,
            "option-without-effect",
            "`max_partitions` bounds `provision: true`",
            "add it, or remove this",
        );
    }
    let limits = limits(e, &drafts, reader);
    let m = e.matches.get();
    RuleDraft {
        name,
        source: reader.source.clone(),
        span: e.name.span.clone().unwrap_or_else(|| span.clone()),
        matches,
        method_span: m.and_then(|m| m.method.span.clone()),
        header_span: m.and_then(|m| m.header.span.clone()),
        end: e.action.get().map(|c| c.0),
        drafts,
        limits,
        tests: e.tests.get().cloned().unwrap_or_default(),
    }
}

impl RuleDraft {
    fn finish(self) -> Rule {
        let pattern = self.matches.paths.first().map_or_else(|| "".into(), |p| Arc::clone(&p.text));
        let kind = match self.end {
            Some(EndAction::Pass) => RuleKind::Pass,
            Some(EndAction::Reject) => RuleKind::Reject,
            None => {
                let (request, response): (Vec<_>, Vec<_>) =
                    self.drafts.into_iter().partition(|d| d.direction == Direction::Request);
                let arcs = |drafts: Vec<Draft>| drafts.into_iter().map(|d| Arc::new(d.action)).collect();
                RuleKind::Fields { request: arcs(request), response: arcs(response) }
            }
        };
        Rule { name: self.name, pattern, matches: self.matches, kind, limits: self.limits }
    }
}

fn match_of(given: &Given<MatchEntry>, rule: &Range<usize>, context: &Context, reader: &mut Reader<'_>) -> Match {
    let help = "say which requests it meets: `match: { path: /customers/** }`";
    let Some(m) = given.get() else {
        if !given.is_there() {
            reader.error(rule, "no-path", "a rule without `match`", help);
        }
        return Match::default();
    };
    if let (false, Some(span)) = (m.path.is_there(), &given.span) {
        reader.error(span, "no-path", "a rule without `match.path`", help);
    }
    let patterns = |given: &Given<Many>, reader: &mut Reader<'_>| -> Vec<PathPattern> {
        let mut all = Vec::new();
        for At { value, span } in texts(given) {
            match PathPattern::parse(value) {
                Ok(pattern) => all.push(pattern),
                Err(bad) => reader.error(span, "path-pattern", bad.message, bad.help),
            }
        }
        all
    };
    let paths = patterns(&m.path, reader);
    let except = patterns(&m.except, reader);
    for At { value, span } in texts(&m.method) {
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
            reader.error(span, "method", format!("`{value}` is not a request method"), "write `POST`, or a list");
        }
    }
    for At { value, span } in texts(&m.listener) {
        if !context.listeners.is_empty() && !context.listeners.contains(value) {
            let close = yaml::closest(value, context.listeners.iter().map(String::as_str));
            let help = match close {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("the listeners are {}", context.listeners.join(", ")),
            };
            reader.error(span, "listener", format!("there is no listener `{value}`"), &help);
        }
    }
    let mut headers = Vec::new();
    for (name, glob) in m.header.get().map_or(&[][..], |p| p.0.as_slice()) {
        match HeaderName::from_bytes(name.value.as_bytes()) {
            Ok(header) => headers.push((header, glob.value.clone())),
            Err(_) => reader.error(&name.span, "header", format!("`{}` is not a header's name", name.value), "fix it"),
        }
    }
    let mut statuses = Vec::new();
    for At { value, span } in m.status.get().map_or(&[][..], |s| s.0.as_slice()) {
        match status(value) {
            Some(range) => statuses.push(range),
            None => reader.error(span, "status", format!("`{value}` is not a status"), "write `404`, `2xx`, or a list"),
        }
    }
    let lower = |given: &Given<Many>| texts(given).iter().map(|t| t.value.to_ascii_lowercase()).collect();
    Match {
        paths,
        except,
        methods: texts(&m.method).iter().map(|t| t.value.to_ascii_uppercase()).collect(),
        listeners: texts(&m.listener).iter().map(|t| t.value.clone()).collect(),
        hosts: lower(&m.host),
        headers,
        statuses,
        content_types: lower(&m.content_type),
    }
}

fn limits(e: &RuleEntry, drafts: &[Draft], reader: &mut Reader<'_>) -> Unreadable {
    let half = |direction: Direction| {
        let mine = || drafts.iter().filter(|d| d.direction == direction).map(|d| &d.action);
        // Observe changes nothing, so it may refuse nothing either, whatever the options say.
        let acts = mine().any(|a| a.mode != Mode::Observe);
        let seals = mine().any(|a| a.verb == Verb::Seal && a.mode >= Mode::Migrate);
        let resolve = |option: &Given<Choice<OnUnreadable>>, default| match (acts, option.get()) {
            (false, _) => OnUnreadable::Pass,
            (true, Some(choice)) => choice.0,
            (true, None) => default,
        };
        let default = if seals { OnUnreadable::Reject } else { OnUnreadable::Pass };
        UnreadableHalf {
            media_type: resolve(&e.on_media_type, default),
            invalid_json: resolve(&e.on_invalid_json, default),
            encoding: resolve(&e.on_encoding, default),
            too_large: resolve(&e.on_too_large, default),
            upgrade: resolve(&e.on_upgrade, default),
            signature: resolve(&e.on_signature, OnUnreadable::Reject),
        }
    };
    let mut json_types = Vec::new();
    for At { value, span } in texts(&e.json_types) {
        let essence = essence(value);
        if PATCHES.contains(&essence.as_str()) {
            reader.error(
                span,
                "not-yet",
                format!("`{essence}` is not available yet"),
                "remove it; such bodies get 415",
            );
        } else if essence.split('/').filter(|part| !part.is_empty()).count() != 2 {
            reader.error(span, "media-type", format!("`{value}` is not a media type"), "write `text/plain`");
        }
        json_types.push(essence);
    }
    let mut signature_headers = Vec::new();
    for At { value, span } in texts(&e.signature_headers) {
        match HeaderName::from_bytes(value.as_bytes()) {
            Ok(name) => signature_headers.push(name.as_str().to_owned()),
            Err(_) => reader.error(span, "header", format!("`{value}` is not a header's name"), "fix it"),
        }
    }
    Unreadable {
        request: half(Direction::Request),
        response: half(Direction::Response),
        json_types,
        signature_headers,
        provision: e.provision.get().copied().unwrap_or(false),
        max_partitions: e.max_partitions.get().copied().unwrap_or(1_000),
    }
}

/// As an operator works through them: what has no place first, then from top to bottom.
fn in_file_order(sources: &[Source], findings: &mut Findings) {
    findings.0.sort_by_key(|f| {
        let (source, span) = f.place.as_ref()?;
        Some((sources.iter().position(|s| s.name == source.name), span.start))
    });
}

fn duplicate_names(rules: &[RuleDraft], findings: &mut Findings) {
    let mut first = std::collections::HashMap::new();
    for rule in rules.iter().filter(|r| !r.name.is_empty()) {
        if let Some(other) = first.insert(&rule.name, rule) {
            let message = format!("a second rule named `{}` (another is in {})", rule.name, other.source.name);
            findings.push(
                Finding::error("duplicate-name", message)
                    .at(&rule.source, rule.span.clone())
                    .help("names tell rules apart in logs and metrics; rename one"),
            );
        }
    }
}

/// A form that was read masked, edited and saved would overwrite the value with its mask: so whoever seals a class that any
/// rule shows masked refuses values of masked shape.
fn refuse_masked(rules: &mut [RuleDraft]) {
    let masked: std::collections::HashSet<_> = rules
        .iter()
        .flat_map(|r| &r.drafts)
        .filter(|d| matches!(d.action.reveal, super::Reveal::Mask(_)))
        .flat_map(|d| d.action.fields.iter().map(|f| f.class.clone()))
        .collect();
    for draft in rules.iter_mut().flat_map(|r| &mut r.drafts).filter(|d| d.action.verb == Verb::Seal) {
        draft.action.refuses_masked = draft.action.fields.iter().any(|f| masked.contains(&f.class));
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Finding> {
    let unreadable = |error: std::io::Error| {
        Finding::error("unreadable", format!("cannot read {}: {error}", path.display()))
            .help("`rules` names a file, or a directory of *.yaml, *.yml and *.json files")
    };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        // Kubernetes keeps the real files under `..data`, editors their copies under dot names.
        let hidden = file.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
        let ours = file.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
        if !hidden && ours && file.is_file() {
            files.push(file);
        }
    }
    if files.len() > MAX_FILES {
        let message = format!("{} has {} files; at most {MAX_FILES} are read", path.display(), files.len());
        return Err(Finding::error("too-many-files", message).help("join them"));
    }
    files.sort();
    if files.is_empty() {
        let message = format!("{} has no *.yaml, *.yml or *.json file", path.display());
        return Err(Finding::error("no-files", message).help("put a rules file there; `rules: []` is the empty one"));
    }
    Ok(files)
}

fn digest(sources: &[Source]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for part in sources.iter().flat_map(|s| [s.name.as_bytes(), s.text.as_bytes()]) {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    kdf::sha256(&bytes)
}

fn status(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|c| (1..=5).contains(c))?;
        return Some((class * 100, class * 100 + 99));
    }
    let status: u16 = text.parse().ok().filter(|s| (100..=599).contains(s))?;
    Some((status, status))
}

fn texts(given: &Given<Many>) -> &[At<String>] {
    given.get().map_or(&[][..], |m| m.0.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Severity;
    use crate::rules::{Action, Key, OnBad, Reveal};
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
      - fields: ["$.a[", "ssn", "query:x", "$.a[-1]", "$[0]"]
        bind: "@.id"
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
            ("not-yet", 8),
            ("not-yet", 8),
            ("class", 8),
            ("not-yet", 9),
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
    #[case("bind: \"@.id\"", "`bind` is not available yet")]
    #[case("parse: json", "`parse` is not available yet")]
    #[case("embedded: true", "`embedded` is not available yet")]
    #[case("rewrite: all", "`rewrite` is not available yet")]
    #[case("type: number", "`type` is not available yet")]
    #[case("key: \"t-{client}\"", "`{client}` is not available yet")]
    #[case("key: \"t-{sni}\"", "`{sni}` is not available yet")]
    #[case("key: \"t-{claim:org}\"", "`{claim:}` is not available yet")]
    #[case("key: vault", "is a managed profile, and those are not available yet")]
    fn what_is_not_yet_is_refused_by_name(#[case] option: &str, #[case] message: &str) {
        let context = Context { profiles: vec!["vault".into()], ..Context::default() };
        let loaded = load_text("a.yaml", &item(&format!("fields: $.a, {option}")), &context);
        assert!(loaded.rules.is_none());
        assert!(
            loaded.findings.0.iter().any(|f| f.code == "not-yet" && f.message.contains(message)),
            "{}",
            loaded.findings
        );
    }

    #[rstest]
    #[case("query:a")]
    #[case("path:a")]
    #[case("header:a")]
    #[case("cookie:a")]
    #[case("form:a")]
    #[case("$.a[?(@.b==1)]")]
    #[case("$.a[-1]")]
    #[case("$.a[::2]")]
    #[case("$.a[-2:]")]
    fn fields_not_yet(#[case] field: &str) {
        assert_eq!(codes(&item(&format!("fields: [\"{field}\"]")))[0].0, "not-yet");
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
        assert_eq!((limits.max_partitions, limits.provision), (1_000, false));
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
    }

    #[rstest]
    #[case("match: { path: /x, method: POST }\n    protect: [{ fields: $.a }]", "sealing-by-method")]
    #[case("match: { path: /x, header: { x-a: b } }\n    protect: [{ fields: $.a }]", "sealing-by-header")]
    #[case("match: { path: /x }\n    on_too_large: pass\n    protect: [{ fields: $.a }]", "sealing-passes")]
    #[case("match: { path: /x }\n    protect: [{ fields: $.a, key: \"t-{header:x-t}\" }]", "untrusted-header")]
    #[case("match: { path: \"/**/{t}/x\" }\n    protect: [{ fields: $.a, key: \"t-{t}\" }]", "movable-capture")]
    #[case(
        "match: { path: \"/{t}/x\" }\n    protect: [{ fields: $.a, key: \"de{t}\" }, { fields: $.b }]",
        "template-meets-fixed"
    )]
    #[case("match: { path: /x }\n    response: [{ open: $.a, key: \"*\" }]", "glob-opens-all")]
    #[case("match: { path: /x }\n    protect: [{ fields: $.a, on_token: keep }]", "keep-without-bind")]
    #[case("match: { path: /x }\n    request: [{ seal: $.a, on_error: pass }]", "plaintext-on-error")]
    #[case(
        "match: { path: /x }\n    protect: [{ fields: $.a, deterministic: true, format: country }]",
        "deterministic-few"
    )]
    #[case(
        "match: { path: /x }\n    protect: [{ fields: $.a, deterministic: true, max_value: 4 }]",
        "deterministic-short"
    )]
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
        assert!(
            loaded.findings.0.iter().all(|f| f.severity == Severity::Warning && f.help.is_some() && f.place.is_some())
        );
        let docs = include_str!("../../docs/rules.md");
        assert!(docs.contains(&format!("`{code}`")), "docs/rules.md does not explain `{code}`");
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
    #[case(
        "rules: [{ name: a, match: { path: /x }, json_types: application/json-patch+json, protect: [{ fields: $.a }] }]",
        "not-yet"
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
        put("20.yml", &rule("b"));
        put("10.yaml", &rule("a"));
        put("30.json", "{\"rules\": [{\"name\": \"c\", \"match\": {\"path\": \"/y\"}, \"action\": \"pass\"}]}");
        put("notes.txt", "not a rule");
        put(".hidden.yaml", "not a rule");
        std::fs::create_dir(dir.path().join("..data")).unwrap();
        std::fs::create_dir(dir.path().join("dir.yaml")).unwrap();
        let first = super::load(dir.path(), &context);
        let names: Vec<_> = first.rules.unwrap().rules.iter().map(|r| r.name.to_string()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        put("20.yml", &rule("d"));
        assert_ne!(super::load(dir.path(), &context).digest, first.digest);
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
        let loaded = load_text("rules/example.yaml", include_str!("../../rules/example.yaml"), &context);
        assert!(loaded.rules.is_some() && loaded.findings.0.is_empty(), "{}", loaded.findings);
        assert!(loaded.tests >= 8);
    }
}
