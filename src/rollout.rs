//! Rolling rules out: what a process counts of each rule since it is in force as it is, the counts of a fleet put together, and
//! whether the next step of `mode` is safe.

pub mod fleet;
pub mod judge;
pub mod reason;
pub mod series;
pub mod snapshot;

use std::fmt::Write as _;
use std::sync::Arc;

use crate::crypto::{hex, kdf};
use crate::metrics::rollout::RuleStats;
use crate::rules::{Action, Key, Mode, Rule, RuleKind, RuleSet, Unreadable};

/// Puts counts beside rules that come into force at `now` (Unix seconds): those of the rules before that are the same, mode
/// included, and new ones otherwise. To be called before the first exchange meets them.
pub fn begin(rules: &RuleSet, before: Option<&RuleSet>, now: u64) {
    let before = before.map_or(&[][..], |set| &set.rules);
    for rule in &rules.rules {
        let same = |old: &&Arc<Rule>| {
            old.name == rule.name && modes(old).eq(modes(rule)) && fingerprint(old) == fingerprint(rule)
        };
        let Some(old) = before.iter().find(same) else {
            rule.stats.take(Arc::new(RuleStats::from(now)));
            continue;
        };
        rule.stats.take(Arc::clone(old.stats.get()));
        let fields = |rule| actions(rule).flat_map(|(_, action)| &action.fields);
        for (field, old) in fields(rule).zip(fields(old)) {
            field.stats.take(Arc::clone(old.stats.get()));
        }
    }
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// To the upstream.
    Request,
    /// To the client.
    Response,
}

impl Way {
    /// As a label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// What a rule does in either direction.
fn actions(rule: &Rule) -> impl Iterator<Item = (Way, &Action)> {
    let (request, response) = match &rule.kind {
        RuleKind::Fields { request, response } => (request.as_slice(), response.as_slice()),
        RuleKind::Pass | RuleKind::Reject => (&[][..], &[][..]),
    };
    let of = |way: Way| move |action| (way, Arc::as_ref(action));
    request.iter().map(of(Way::Request)).chain(response.iter().map(of(Way::Response)))
}

fn modes(rule: &Rule) -> impl Iterator<Item = Mode> {
    actions(rule).map(|(_, action)| action.mode)
}

/// Stands for all that a rule does, but for its mode: the same in every process with this rule, of whatever file.
pub fn fingerprint(rule: &Rule) -> String {
    let Unreadable {
        // What they are by default depends on the mode.
        request: _,
        response: _,
        json_types,
        signature_headers,
        provision,
        max_partitions,
        max_buffered,
        max_body,
        validate,
        cache,
        always_length,
    } = &rule.limits;
    let mut text = format!("1\n{:?}\n{json_types:?} {signature_headers:?} {provision} {max_partitions} ", rule.matches);
    text += &format!("{max_buffered:?} {max_body:?} {validate:?} {cache:?} {always_length:?}\n");
    for (way, action) in actions(rule) {
        let told = write(way, action, &mut text);
        debug_assert!(told.is_ok(), "a String takes everything");
    }
    let digest = kdf::sha256(text.as_bytes());
    hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8]))
}

/// Names each option, so that none is forgotten.
fn write(way: Way, action: &Action, text: &mut String) -> std::fmt::Result {
    let Action {
        rule: _,
        verb,
        part,
        fields,
        inside,
        key,
        mode: _,
        deterministic,
        sign,
        signers,
        bind,
        seal_nulls,
        pad,
        required,
        max_length,
        max_value,
        on_error,
        on_plaintext,
        on_token,
        reveal,
        // Other rules decide it.
        refuses_masked: _,
        format_refuses,
        suite,
        text: of_type,
        rewrite,
        embedded,
        keeps_links,
    } = action;
    write!(text, "{way:?} {verb:?} {part:?} {inside:?} ")?;
    for field in fields {
        write!(text, "{:?} {:?} ", field.selector, field.class.as_str())?;
    }
    match key {
        // Where its API is differs from place to place.
        Key::Managed(profile) => write!(text, "{:?} ", profile.name)?,
        key => write!(text, "{key:?} ")?,
    }
    write!(
        text,
        "{deterministic} {sign} {signers:?} {bind:?} {seal_nulls} {pad:?} {required} {max_length:?} {max_value:?} "
    )?;
    write!(text, "{on_error:?} {on_plaintext:?} {on_token:?} {reveal:?} {format_refuses} {suite:?} ")?;
    writeln!(text, "{of_type:?} {rewrite:?} {embedded} {keeps_links}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::rollout::{Body, KINDS};
    use crate::metrics::sketch::Run;
    use crate::rules::compile::{Context, load_text};

    fn rules(ssn: &str, mode: &str) -> RuleSet {
        let text = format!(
            "rules:\n  - name: one\n    mode: {mode}\n    match: {{ path: /c }}\n    protect: [{{ fields: [\"$..{ssn}\"] }}]\n  \
             - name: two\n    match: {{ path: /d }}\n    protect: [{{ fields: [\"$..x\"] }}]\n"
        );
        load_text("t.yaml", &text, &Context::default()).rules.unwrap()
    }

    fn count(set: &RuleSet) {
        for field in set.rules.iter().flat_map(|rule| actions(rule)).flat_map(|(_, action)| &action.fields) {
            let ended = std::iter::empty();
            let body = Body { ended, kinds: &[0; KINDS], values: 1, unwanted: None, now: 5 };
            field.stats.get().add(body, Run::default());
        }
    }

    fn told(set: &RuleSet) -> Vec<(u64, u64)> {
        let bodies = |rule| actions(rule).flat_map(|(_, a)| &a.fields).map(|f| f.stats.get().bodies()).sum();
        set.rules.iter().map(|rule| (rule.stats.get().since(), bodies(rule))).collect()
    }

    #[test]
    fn counts_go_on_while_a_rule_stays_as_it_is_and_begin_anew_with_its_mode() {
        let first = rules("ssn", "observe");
        begin(&first, None, 100);
        count(&first);
        assert_eq!(told(&first), [(100, 2), (100, 2)]);
        let again = rules("ssn", "observe");
        begin(&again, Some(&first), 200);
        count(&again);
        assert_eq!(told(&again), [(100, 4), (100, 4)]);
        let read = rules("ssn", "read");
        begin(&read, Some(&again), 300);
        assert_eq!(told(&read), [(300, 0), (100, 4)]);
        let other = rules("iban", "read");
        begin(&other, Some(&read), 400);
        assert_eq!(told(&other), [(400, 0), (100, 4)]);
        // Nothing is left of what was before.
        let back = rules("ssn", "observe");
        begin(&back, Some(&other), 500);
        assert_eq!(told(&back), [(500, 0), (100, 4)]);
    }

    #[test]
    fn a_fingerprint_tells_rules_apart_by_all_but_their_mode() {
        let of = |ssn, mode| fingerprint(&rules(ssn, mode).rules[0]);
        assert_eq!(of("ssn", "read"), of("ssn", "enforce"));
        assert_ne!(of("ssn", "read"), of("iban", "read"));
        assert_eq!(of("ssn", "read").len(), 16);
        let set = rules("ssn", "read");
        let before = fingerprint(&set.rules[0]);
        begin(&set, None, 1);
        count(&set);
        set.rules[0].selectors[0].get_or_init(|| crate::jsonpath::Selectors::new(&[]));
        assert_eq!(fingerprint(&set.rules[0]), before, "counts are no part of it");
    }
}
