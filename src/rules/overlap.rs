//! Two actions that select the same value, and values inside other selected values.

use crate::jsonpath::{Path, Selectors, may_overlap};
use crate::name::Class;
use crate::report::{Finding, Findings};

use super::action::Draft;
use super::compile::RuleDraft;
use super::fields::Written;
use super::place::Part;
use super::{Action, Field};

/// Beyond this many fields the check of every pair would take longer than a load may.
const MAX_PAIRS: usize = 2_000_000;

/// Reports conflicts: an error where it is certain, a warning where only data can tell.
pub(super) fn check(rules: &[RuleDraft], findings: &mut Findings) {
    let mut pairs = 0;
    for (at, rule) in rules.iter().enumerate() {
        for (other_at, other) in rules.iter().enumerate().skip(at) {
            let same_exchanges = at == other_at || rule.matches == other.matches;
            if !same_exchanges && rule.matches.disjoint(&other.matches) {
                continue;
            }
            for (i, a) in rule.drafts.iter().enumerate() {
                let from = if at == other_at { i } else { 0 };
                for b in other.drafts.iter().skip(from).filter(|b| b.direction == a.direction) {
                    pairs += a.fields.len() * b.fields.len();
                    if pairs > MAX_PAIRS {
                        let message =
                            "too many rules meet the same exchanges to check every pair of fields for conflicts";
                        findings.push(Finding::warning("overlap-unchecked", message).help("narrow their paths"));
                        return;
                    }
                    let one = at == other_at && std::ptr::eq(a, b);
                    compare(a, b, one, same_exchanges, findings);
                }
            }
        }
    }
}

fn compare(a: &Draft, b: &Draft, one: bool, same_exchanges: bool, findings: &mut Findings) {
    if a.action.part != b.action.part {
        return;
    }
    bound_to_a_field(a, b, findings);
    bound_to_a_field(b, a, findings);
    let each = |draft: &'_ Draft| draft.action.inside.as_ref().map_or(1, Selectors::count).max(1);
    let parsed = a.action.inside.is_some() || b.action.inside.is_some();
    // Between two items, what a string has inside does not matter: the first that selects the string acts on it. Within one,
    // that alone matters, and is the same for every path that selects strings.
    let (step, other_step) = if parsed && !one { (each(a), each(b)) } else { (1, 1) };
    let fields = if parsed && one { each(a) } else { usize::MAX };
    for (i, (field, place)) in a.action.fields.iter().zip(&a.fields).enumerate().take(fields).step_by(step) {
        let from = if one { i + 1 } else { 0 };
        let others = b.action.fields.iter().zip(&b.fields).take(fields).skip(from).step_by(other_step);
        for (other, other_place) in others {
            let pair = Pair::of((field, place), (other, other_place), one && parsed);
            let span = other_place.span.clone();
            let json = a.action.part == Part::Json;
            if !json && pair.path != pair.other {
                continue;
            }
            if json && (inside(pair.path, pair.other) || inside(pair.other, pair.path)) {
                let (inner, outer) = if inside(pair.path, pair.other) {
                    (&other.selector, &field.selector)
                } else {
                    (&field.selector, &other.selector)
                };
                let message =
                    format!("`{inner}` selects values inside what `{outer}` selects; those are not looked at");
                let finding = Finding::warning("nested-selection", message).at(&b.source, span);
                push_once(findings, finding.help("select one of them, or narrower values"));
                continue;
            }
            let alike = if parsed && !one { same_inside(a, b) } else { field.class == other.class };
            if alike && same_options(&a.action, &b.action) {
                continue;
            }
            let first = || if one { String::new() } else { format!(" (first in rule `{}`)", a.action.rule) };
            if pair.path == pair.other && same_exchanges {
                let message = if parsed && !one {
                    format!("`{}` is selected by two items, and the first alone acts on it{}", pair.other, first())
                } else {
                    format!("`{}` is selected twice with different actions{}", other.selector, first())
                };
                let finding = Finding::error("conflict", message).at(&b.source, span);
                push_once(findings, finding.help("remove one, or narrow one rule's `match`"));
            } else if pair.path == pair.other || pair.may_overlap() {
                let message = format!(
                    "`{}` and `{}` of rule `{}` may select one value with different actions; then the first wins",
                    other.selector, field.selector, a.action.rule
                );
                let finding = Finding::warning("may-conflict", message).at(&b.source, span);
                push_once(findings, finding.help("narrow one of the selectors or one rule's `match`"));
            }
        }
    }
}

/// The paths of two fields that may meet, in canonical form too.
struct Pair<'a> {
    path: &'a str,
    other: &'a str,
    paths: Option<(&'a Path, &'a Path)>,
}

impl<'a> Pair<'a> {
    /// `within`: in the text that both select in.
    fn of(
        (field, place): (&'a Field, &'a Written),
        (other, other_place): (&'a Field, &'a Written),
        within: bool,
    ) -> Self {
        fn of<'a>(field: &'a Field, place: &'a Written, within: bool) -> (&'a str, Option<&'a Path>) {
            let inside = place.inside.as_deref().zip(field.inside.as_deref()).filter(|_| within);
            let path = || (place.canonical.as_str(), field.path().map(AsRef::as_ref));
            inside.map_or_else(path, |(canonical, path)| (canonical, Some(path)))
        }
        let ((path, from), (other, to)) = (of(field, place, within), of(other, other_place, within));
        Self { path, other, paths: from.zip(to) }
    }

    fn may_overlap(&self) -> bool {
        self.paths.is_some_and(|(path, other)| may_overlap(path, other))
    }
}

/// Whether two items select the same within what they parse.
fn same_inside(a: &Draft, b: &Draft) -> bool {
    fn all(draft: &Draft) -> impl Iterator<Item = (Option<&str>, &Class)> {
        let count = draft.action.inside.as_ref().map_or(0, Selectors::count);
        let fields = draft.fields.iter().zip(&draft.action.fields).take(count);
        fields.map(|(place, field)| (place.inside.as_deref(), &field.class))
    }
    a.action.inside.is_some() && b.action.inside.is_some() && all(a).eq(all(b))
}

/// What is bound to a value that is itself sealed would, when it is opened, find a token there.
fn bound_to_a_field(a: &Draft, b: &Draft, findings: &mut Findings) {
    for (field, Written { span, .. }) in a.action.fields.iter().zip(&a.fields) {
        // What is bound in a parsed text is bound to something in that text.
        let Some(path) = field.inside.as_ref().or(field.path()) else { continue };
        let bind = path.of_bind();
        let any = |path: &Path| bind.iter().any(|bind| may_overlap(bind, path));
        let meets = |other: &&Field| match (&field.inside, &other.inside) {
            (None, _) => other.path().is_some_and(|path| any(path)),
            (Some(_), Some(inside)) => {
                let both = field.path().zip(other.path());
                any(inside) && both.is_some_and(|(path, other)| may_overlap(path, other))
            }
            (Some(_), None) => false,
        };
        if let Some(other) = b.action.fields.iter().find(meets) {
            let message = format!(
                "`{}` is bound to a value that `{}` of rule `{}` may select",
                field.selector, other.selector, b.action.rule
            );
            let help = "bind to a value that no rule seals or opens, such as an id";
            push_once(findings, Finding::error("bind-selected", message).at(&a.source, span.clone()).help(help));
        }
    }
}

/// A shorthand's halves would say everything twice.
fn push_once(findings: &mut Findings, finding: Finding) {
    if !findings.0.iter().any(|f| f.code == finding.code && f.place == finding.place && f.message == finding.message) {
        findings.push(finding);
    }
}

fn same_options(a: &Action, b: &Action) -> bool {
    a.verb == b.verb
        && a.key == b.key
        && a.mode == b.mode
        && a.deterministic == b.deterministic
        && a.sign == b.sign
        && a.signers == b.signers
        && a.bind == b.bind
        && a.seal_nulls == b.seal_nulls
        && a.pad == b.pad
        && a.max_length == b.max_length
        && a.max_value == b.max_value
        && a.on_error == b.on_error
        && a.on_plaintext == b.on_plaintext
        && a.on_token == b.on_token
        && a.reveal == b.reveal
        && a.suite == b.suite
        && a.text == b.text
        && a.rewrite == b.rewrite
        && a.embedded == b.embedded
}

/// Whether every value that `inner` selects certainly lies inside one that `outer` selects, by their canonical paths.
fn inside(outer: &str, inner: &str) -> bool {
    let (outer, inner) = (segments(outer), segments(inner));
    if let [prefix @ .., last] = outer.as_slice()
        && let Some(name) = last.strip_prefix("..")
        && !prefix.iter().any(|s| s.starts_with(".."))
    {
        let Some(rest) = inner.get(prefix.len()..) else { return false };
        let covered = prefix.iter().zip(&inner).all(|(o, i)| covers(o, i));
        let before_last = rest.split_last().map_or(&[][..], |(_, before)| before);
        return covered && before_last.iter().any(|s| name == "[*]" || s.trim_start_matches("..") == name);
    }
    outer.len() < inner.len() && outer.iter().zip(&inner).all(|(o, i)| covers(o, i))
}

fn covers(outer: &str, inner: &str) -> bool {
    outer == inner || (outer == "[*]" && !inner.starts_with(".."))
}

/// A canonical path taken apart: `$['a'][0]..['b']` is `['a']`, `[0]`, `..['b']`.
fn segments(canonical: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let (mut start, mut quote, mut escaped, mut depth) = (None, None, false, 0_usize);
    for (at, c) in canonical.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '.') => start = start.or(Some(at)),
            (None, '[') => {
                start = start.or(Some(at));
                depth += 1;
            }
            // A filter has brackets of its own.
            (None, ']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    all.extend(start.take().and_then(|s| canonical.get(s..=at)));
                }
            }
            (None, _) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certain_nesting() {
        for (outer, inner) in [
            ("$", "$['a']"),
            ("$['a']", "$['a']['b']"),
            ("$['a']", "$['a']..['b']"),
            ("$['a'][*]", "$['a'][0]['b']"),
            ("$..['a']", "$['x']['a']['b']"),
            ("$..['a']", "$..['a'][*]"),
            ("$..[*]", "$['a']['b']"),
            ("$['it\\'s]']", "$['it\\'s]'][0]"),
            ("$['a'][?@['x']['y']==1]", "$['a'][?@['x']['y']==1]['b']"),
        ] {
            assert!(inside(outer, inner), "{outer} {inner}");
            assert!(!inside(inner, outer), "{inner} {outer}");
        }
        for (a, b) in [
            ("$['a']", "$['a']"),
            ("$['a']", "$['b']['a']"),
            ("$..['ssn']", "$['cards'][*]['pan']"),
            ("$..['a']", "$['x']['a']"),
            ("$['a'][*]", "$['a']..['b']"),
            ("$['a'][?@['x']]", "$['a'][?@['x']['y']]"),
        ] {
            assert!(!inside(a, b) && !inside(b, a), "{a} {b}");
        }
    }
}
