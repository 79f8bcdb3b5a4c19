//! From files to a [`super::RuleSet`]: parse, check, compile, lint, test. Everything found is reported at once.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bounded;
use crate::crypto::kdf;
use crate::metrics::rollout::Kept;
use crate::report::{Finding, Findings, Source};

use super::action::{self, Direction, Draft, InRule, Shape};
use super::file::{EndAction, FromNode, RuleEntry, RuleFile, TestEntry};
use super::profile::Profile;
use super::route::Match;
use super::yaml::{self, At, Reader};
use super::{Rule, RuleKind, RuleSet, Unreadable, Verb, conditions, file_tests, lint, messages, outside, overlap};

/// Of one file.
const MAX_FILE: u64 = 1 << 20;
/// Of one directory.
const MAX_FILES: usize = 1_000;
/// Of one load.
const MAX_RULES: usize = 2_000;

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
    /// What a rule's `key` may name beside partitions.
    pub profiles: Vec<Arc<Profile>>,
    /// Whether any listener has `case: ignore`.
    pub ignore_case: bool,
    /// What requests can bring; `None`: unknown, nothing is checked against it.
    pub senders: Option<Senders>,
}

/// What is proven of those who send requests, at any listener.
#[derive(Debug, Clone, Copy, Default)]
pub struct Senders {
    /// They speak TLS.
    pub tls: bool,
    /// They are asked for certificates.
    pub certificates: bool,
    /// `callers` reads JSON Web Tokens.
    pub tokens: bool,
}

/// Loads a file, or all `*.yaml`, `*.yml` and `*.json` files of a directory (not below it) in the order of their names; runs their tests.
/// A JSON Schema among them, which editors want beside the rules, is none of them.
pub fn load(path: &Path, context: &Context) -> Loaded {
    let mut findings = Findings::default();
    let mut sources = Vec::new();
    match files(path) {
        Ok(paths) => {
            let of_directory = paths.first().is_some_and(|first| first != path);
            for path in paths {
                let name = path.display().to_string();
                match bounded::read_text_file(&path, MAX_FILE) {
                    Ok(text) if of_directory && is_schema(&path, &text) => {}
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
    if sources.is_empty() && !findings.has_errors() {
        findings.push(no_files(path));
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
    pub host_span: Option<Range<usize>>,
    pub client_span: Option<Range<usize>>,
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
    let matches = conditions::compile(&e.matches, span, context, reader);
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
    outside::segments(&drafts, reader);
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
    if e.action.is_there() {
        // An operator who wrote `on_media_type: reject` beside `action: pass` would believe in it.
        for (name, span) in about_bodies(e) {
            if let Some(span) = span {
                let message = format!("`{name}` is about sealing and opening");
                reader.error(span, "option-without-effect", message, "remove it");
            }
        }
    }
    if let (false, Some(span)) = (e.provision.get() == Some(&true), &e.max_partitions.span) {
        reader.error(
            span,
            "option-without-effect",
            "`max_partitions` bounds `provision: true`",
            "add it, or remove this",
        );
    }
    let limits = messages::compile(e, &drafts, reader);
    let m = e.matches.get();
    RuleDraft {
        name,
        source: reader.source.clone(),
        span: e.name.span.clone().unwrap_or_else(|| span.clone()),
        matches,
        method_span: m.and_then(|m| m.method.span.clone()),
        header_span: m.and_then(|m| m.header.span.clone()),
        host_span: m.and_then(|m| m.host.span.clone()),
        client_span: m.and_then(|m| m.client.span.clone()),
        end: e.action.get().map(|c| c.0),
        drafts,
        limits,
        tests: e.tests.get().cloned().unwrap_or_default(),
    }
}

fn about_bodies(e: &RuleEntry) -> [(&'static str, &Option<Range<usize>>); 14] {
    [
        ("mode", &e.mode.span),
        ("json_types", &e.json_types.span),
        ("signature_headers", &e.signature_headers.span),
        ("on_media_type", &e.on_media_type.span),
        ("on_invalid_json", &e.on_invalid_json.span),
        ("on_encoding", &e.on_encoding.span),
        ("on_too_large", &e.on_too_large.span),
        ("on_upgrade", &e.on_upgrade.span),
        ("on_signature", &e.on_signature.span),
        ("provision", &e.provision.span),
        ("max_buffered", &e.max_buffered.span),
        ("validate", &e.validate.span),
        ("cache", &e.cache.span),
        ("always_length", &e.always_length.span),
    ]
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
        Rule {
            name: self.name,
            pattern,
            matches: self.matches,
            kind,
            limits: self.limits,
            selectors: Arc::default(),
            plans: Default::default(),
            stats: Kept::default(),
        }
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
/// rule shows masked or redacted refuses values of that shape.
fn refuse_masked(rules: &mut [RuleDraft]) {
    let masked: std::collections::HashSet<_> = rules
        .iter()
        .flat_map(|r| &r.drafts)
        .filter(|d| d.action.reveal != super::Reveal::Plain)
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
    Ok(files)
}

fn no_files(path: &Path) -> Finding {
    let message = format!("{} has no *.yaml, *.yml or *.json file with rules", path.display());
    Finding::error("no-files", message).help("put a rules file there; `rules: []` is the empty one")
}

/// Only what declares itself one and has no `rules`: nothing that could hold a rule is ever skipped.
fn is_schema(path: &Path, text: &str) -> bool {
    path.extension().is_some_and(|e| e == "json")
        && serde_json::from_str::<serde_json::Value>(text).is_ok_and(|file| {
            let declared = file.get("$schema").and_then(serde_json::Value::as_str);
            declared.is_some_and(|s| s.starts_with("https://json-schema.org/")) && file.get("rules").is_none()
        })
}

fn digest(sources: &[Source]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for part in sources.iter().flat_map(|s| [s.name.as_bytes(), s.text.as_bytes()]) {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    kdf::sha256(&bytes)
}

#[cfg(test)]
mod tests;
