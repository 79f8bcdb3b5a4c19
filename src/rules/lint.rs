//! What loads but is probably not meant. Every warning has a stable code; docs/rules.md lists them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::name::Class;
use crate::report::{Finding, Findings};
use crate::token::v1::token_len;

use super::action::{Direction, Draft};
use super::compile::{Context, RuleDraft};
use super::glob::{PathPattern, wild};
use super::profile::Profile;
use super::route::Match;
use super::value::EndAction;
use super::{Caching, Key, KeyPart, Mode, OnBad, OnToken, OnUnreadable, TextType, Verb};

/// A value this short gives itself away when equal values give equal tokens.
const SHORT: usize = 8;
/// Formats with so few values that all of them can be tried.
const FEW: [&str; 9] = ["boolean", "bool", "gender", "sex", "digit", "country", "currency", "year", "age"];

/// Adds every warning that rules.md names, and the like.
pub(super) fn check(rules: &[RuleDraft], context: &Context, findings: &mut Findings) {
    for (index, rule) in rules.iter().enumerate() {
        conditions_of_the_sender(rule, rules.get(index + 1..).unwrap_or_default(), findings);
        messages_that_pass(rule, findings);
        kept_plaintext(rule, findings);
        for draft in &rule.drafts {
            key(rule, draft, rules, context, findings);
            sealing(draft, findings);
        }
    }
    super::outside::lint(rules, findings);
    names_of_profiles(context, findings);
    deterministic_here_and_not_there(rules, findings);
    never_reached(rules, findings);
}

pub(super) fn warn(findings: &mut Findings, draft: &Draft, code: &'static str, message: String, help: &str) {
    push(findings, Finding::warning(code, message).at(&draft.source, draft.span.clone()).help(help));
}

/// What this rule's conditions leave out of its paths meets a rule that rejects it, and none that passes it before that.
fn the_rest_is_rejected(rule: &RuleDraft, later: &[RuleDraft]) -> bool {
    let ends = later.iter().take_while(|r| r.end != Some(EndAction::Pass));
    let rejects: Vec<_> = ends.filter(|r| r.end.is_some() && by_path_alone(&r.matches)).collect();
    rule.matches.paths.iter().all(|path| {
        rejects.iter().flat_map(|r| &r.matches.paths).any(|all| all.text == path.text || &*all.text == "/**")
    })
}

fn by_path_alone(matches: &Match) -> bool {
    *matches == Match { paths: matches.paths.clone(), ..Match::default() }
}

/// Both halves of a shorthand say the same.
fn push(findings: &mut Findings, finding: Finding) {
    if !findings.0.contains(&finding) {
        findings.push(finding);
    }
}

fn conditions_of_the_sender(rule: &RuleDraft, later: &[RuleDraft], findings: &mut Findings) {
    if !rule.drafts.iter().any(|d| d.action.verb == Verb::Seal) || the_rest_is_rejected(rule, later) {
        return;
    }
    let spans = [
        ("sealing-by-method", "method", &rule.method_span),
        ("sealing-by-header", "header", &rule.header_span),
        ("sealing-by-host", "host", &rule.host_span),
    ];
    for (code, what, span) in spans.into_iter().filter_map(|(code, what, span)| Some((code, what, span.clone()?))) {
        let message =
            format!("rule `{}` seals only in some exchanges, by their {what}, which the sender chooses", rule.name);
        let help = format!(
            "remove `{what}`, or add a rule for the rest after it; one with `action: reject` ends this warning"
        );
        push(findings, Finding::warning(code, message).at(&rule.source, span).help(help));
    }
}

fn messages_that_pass(rule: &RuleDraft, findings: &mut Findings) {
    for (direction, half) in [(Direction::Request, rule.limits.request), (Direction::Response, rule.limits.response)] {
        let seals =
            |d: &Draft| d.direction == direction && d.action.verb == Verb::Seal && d.action.mode == Mode::Enforce;
        if !rule.drafts.iter().any(seals) {
            continue;
        }
        let options = [
            ("on_media_type", half.media_type),
            ("on_invalid_json", half.invalid_json),
            ("on_encoding", half.encoding),
            ("on_too_large", half.too_large),
            ("on_upgrade", half.upgrade),
        ];
        for (name, _) in options.into_iter().filter(|(_, value)| *value == OnUnreadable::Pass) {
            let message = format!("rule `{}` seals, and `{name}: pass` lets plaintext through unread", rule.name);
            let help = "leave it at `reject`, or split the rule so that only opening passes";
            push(findings, Finding::warning("sealing-passes", message).at(&rule.source, rule.span.clone()).help(help));
        }
    }
}

fn kept_plaintext(rule: &RuleDraft, findings: &mut Findings) {
    if rule.limits.cache == Caching::Keep {
        let message = format!("rule `{}` lets caches keep answers with opened values", rule.name);
        let help = "remove `cache: keep`, unless the upstream forbids shared caches and every way to it has the same `open_for`";
        push(findings, Finding::warning("cached-plaintext", message).at(&rule.source, rule.span.clone()).help(help));
    }
}

fn key(rule: &RuleDraft, draft: &Draft, rules: &[RuleDraft], context: &Context, findings: &mut Findings) {
    let mut at_key = |code, message: String, help: &str| {
        push(findings, Finding::warning(code, message).at(&draft.source, draft.key_span.clone()).help(help));
    };
    match &draft.action.key {
        Key::Glob(glob) if glob.chars().all(|c| c == '*') => {
            at_key("glob-opens-all", "this key opens tokens of every partition".into(), "narrow it, such as `tenant-*`")
        }
        Key::Template(parts) => {
            for part in parts {
                match part {
                    KeyPart::Header(name) if !context.trusted_headers.contains(name) => at_key(
                        "untrusted-header",
                        format!(
                            "header `{name}` chooses the partition, and whoever sends a request chooses the header"
                        ),
                        "list it under the listener's `trusted_headers`, or use a path segment",
                    ),
                    KeyPart::Segment(name)
                        if rule.matches.paths.iter().any(|p| p.movable_captures().any(|c| c == name)) =>
                    {
                        at_key(
                            "movable-capture",
                            format!("`{{{name}}}` stands behind `**`, so the sender chooses which segment it is"),
                            "write the segments before it out",
                        );
                    }
                    _ => {}
                }
            }
            let glob = draft.action.key.as_glob();
            let fixed = rules.iter().flat_map(|r| &r.drafts).find_map(|d| match &d.action.key {
                Key::Fixed(name) if wild(&glob, name.as_str()) => Some(name),
                Key::Managed(profile) if wild(&glob, profile.partition.as_str()) => Some(&profile.partition),
                _ => None,
            });
            let other = |p: &&Arc<Profile>| *p.name != *p.partition.as_str() && wild(&glob, &p.name);
            if let Some(profile) = context.profiles.iter().find(other) {
                at_key(
                    "template-meets-profile",
                    format!(
                        "a request can make this template name a partition `{}`, and that is a profile",
                        profile.name
                    ),
                    "give the template a prefix of its own",
                );
            }
            if let Some(name) = fixed {
                at_key(
                    "template-meets-fixed",
                    format!("a request can make this template name `{name}`, which a rule names as such"),
                    "give the template a prefix of its own",
                );
            }
        }
        _ => {}
    }
}

fn sealing(draft: &Draft, findings: &mut Findings) {
    let action = &draft.action;
    if action.verb != Verb::Seal {
        return;
    }
    let names = || {
        let mut names: Vec<_> = action.fields.iter().map(|f| format!("`{}`", f.selector)).collect();
        // A union is one selector for each of its names.
        names.dedup();
        names.join(", ")
    };
    if action.on_token == OnToken::Keep && action.bind.is_none() {
        let message =
            "`on_token: keep` without `bind`: a token stolen from one record opens in any other it is sent to";
        let help = "use `reject` or `seal`, or bind the value to its record: `bind: \"@.id\"`";
        warn(findings, draft, "keep-without-bind", message.into(), help);
    }
    if action.on_error == OnBad::Pass {
        let message = format!("where {} cannot be sealed, plaintext goes through", names());
        warn(findings, draft, "plaintext-on-error", message, "use `on_error: reject`");
    }
    let format = draft.format.as_ref().map(|f| f.value.as_str());
    if action.deterministic {
        let boolean = (action.text == TextType::Boolean).then_some("boolean");
        let few = format.filter(|f| FEW.contains(f)).or(boolean);
        if let Some(format) = few {
            let message = format!("{}: equal tokens show which of the few values of `{format}` it is", names());
            warn(findings, draft, "deterministic-few", message, "use random tokens");
        } else if action.max_value.is_some_and(|max| max < SHORT) {
            let message = format!("{}: values this short can all be tried against a deterministic token", names());
            warn(findings, draft, "deterministic-short", message, "use random tokens");
        }
    }
    // How long an API makes its ciphertexts is its own affair.
    let max_length = action.max_length.filter(|_| action.key.delegated().is_none());
    // The shortest token there is, and that of the longest value the rule takes.
    let length = |text| token_len(action.suite, text, true, action.pad, action.sign);
    if let Some(max) = max_length {
        let (least, most) = (length(0), action.max_value.map(length));
        if least > max {
            let message =
                format!("no token is as short as `max_length: {max}`; the empty text takes {least} characters");
            warn(
                findings,
                draft,
                "max-length",
                message,
                "widen the column, or use a shorter form: suite 2, or deterministic",
            );
        } else if let Some(most) = most.filter(|most| *most > max) {
            let message = format!("a value of `max_value` bytes takes {most} characters, over `max_length: {max}`");
            warn(findings, draft, "max-length", message, "lower `max_value`, or widen the column");
        }
    }
    if let Some(format) = format
        && action.format_refuses
    {
        let message = format!("an application that checks {} for `{format}` will refuse tokens", names());
        warn(findings, draft, "format", message, "a token is text of A-Z a-z 0-9 . _ - and begins with `sc1.`");
    }
}

/// A name in a rule would mean the one thing or the other.
fn names_of_profiles(context: &Context, findings: &mut Findings) {
    for profile in &context.profiles {
        let taken = |other: &&Arc<Profile>| *other.partition.as_str() == *profile.name && other.name != profile.name;
        if let Some(other) =
            context.profiles.iter().find(taken).filter(|_| *profile.partition.as_str() != *profile.name)
        {
            let message = format!("`{}` is a profile, and the partition of profile `{}`", profile.name, other.name);
            findings.push(
                Finding::error("profile-name", message)
                    .help("rename the profile, or give the other another `partition`"),
            );
        }
    }
}

fn deterministic_here_and_not_there(rules: &[RuleDraft], findings: &mut Findings) {
    let mut seen: HashMap<&Class, (bool, &Draft)> = HashMap::new();
    for draft in rules.iter().flat_map(|r| &r.drafts).filter(|d| d.action.verb == Verb::Seal) {
        for field in &draft.action.fields {
            let entry = (draft.action.deterministic, draft);
            let (deterministic, first) = seen.entry(&field.class).or_insert(entry);
            if *deterministic != draft.action.deterministic {
                let message = format!(
                    "class `{}` is deterministic in one rule and not in another (`{}`); look-ups will miss",
                    field.class, first.action.rule
                );
                warn(findings, draft, "deterministic-mixed", message, "make them agree, or give one its own `class`");
            }
        }
    }
}

/// A rule whose exchanges all meet an earlier `action`.
fn never_reached(rules: &[RuleDraft], findings: &mut Findings) {
    let mut ends: HashMap<&str, &RuleDraft> = HashMap::new();
    for rule in rules {
        let behind = |pattern: &PathPattern| ends.get(&*pattern.text).or_else(|| ends.get("/**")).copied();
        let all: Option<Vec<&RuleDraft>> = rule.matches.paths.iter().map(behind).collect();
        if let Some(earlier) = all.as_deref().and_then(<[_]>::first) {
            let message =
                format!("rule `{}` is never reached: `{}` ends the search before it", rule.name, earlier.name);
            let finding = Finding::warning("never-reached", message).at(&rule.source, rule.span.clone());
            push(findings, finding.help("put the rule with `action` last"));
        }
        if rule.end.is_some() && by_path_alone(&rule.matches) {
            for pattern in &rule.matches.paths {
                ends.entry(&pattern.text).or_insert(rule);
            }
        }
    }
}
