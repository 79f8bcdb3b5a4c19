//! What one process tells: `GET /rollout`. Names from the rules and numbers, never a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Way, actions, fingerprint};
use crate::metrics::FieldEvent;
use crate::metrics::sketch::Distribution;
use crate::rules::{Action, Field, Mode, OnToken, Rule, RuleKind, RuleSet, Verb};

/// The shape that this program writes and reads.
pub const VERSION: u32 = 1;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// See [`VERSION`].
    pub version: u32,
    /// Which process, and how it is.
    #[serde(flatten)]
    pub process: Process,
    /// Those that seal or open.
    pub rules: Vec<RuleCounts>,
}

/// One rule, since it is in force as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCounts {
    /// Its name.
    pub name: String,
    /// Its route pattern.
    pub pattern: String,
    /// Of all that it does, but for its mode.
    pub fingerprint: String,
    /// Since when these are counted.
    pub since: u64,
    /// Exchanges that met it.
    pub requests: u64,
    /// Microseconds that this process added to each of them.
    pub added_latency_us: Distribution,
    /// Exchanges that it refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// When the last one was.
    pub last_refused: Option<u64>,
    /// Requests that it could not read and that passed, by reason.
    pub unread_requests: BTreeMap<String, u64>,
    /// The same of answers.
    pub unread_responses: BTreeMap<String, u64>,
    /// Each selector.
    pub fields: Vec<FieldCounts>,
}

/// One selector of a rule in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldCounts {
    /// As written; the probe does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The class of its values.
    pub class: String,
    /// In requests or in answers.
    pub direction: Way,
    /// Whether it seals or opens.
    pub verb: Verb,
    /// Its mode.
    pub mode: Mode,
    /// The longest token that the application takes, as the rule says.
    pub max_length: Option<u64>,
    /// What the application checks (`format`) lets no token pass.
    pub format_refuses: bool,
    /// Whether tokens in what is to be sealed are refused (`on_token: reject`).
    pub refuses_tokens: bool,
    /// Bodies with at least one value.
    pub bodies: u64,
    /// Bodies without any.
    pub absent: u64,
    /// Values selected.
    pub matched: u64,
    /// What became of them, as in `sidecloak_fields_total`.
    pub events: BTreeMap<String, u64>,
    /// Values that sealing makes strings, by what they are.
    pub types: BTreeMap<String, u64>,
    /// Characters of tokens: forecast in `observe` and `read`, then real; of sealing alone.
    pub token_length: Option<Distribution>,
    /// When a value was last selected.
    pub last_matched: Option<u64>,
    /// When a value last kept the next step waiting: a plaintext in `migrate`, a token in `read`; of opening alone.
    pub last_unwanted: Option<u64>,
    /// Values since then.
    pub since_unwanted: u64,
}

/// What is told beside the counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Random, of this process.
    pub instance: String,
    /// When this was told (Unix seconds).
    pub now: u64,
    /// SHA-256 of the files of rules in force.
    pub digest: Option<String>,
    /// When they were loaded.
    pub loaded: u64,
    /// Whether a later load failed, so that these stayed.
    pub reload_failed: bool,
    /// Whether the process is about to stop.
    pub draining: bool,
}

impl Snapshot {
    /// What these rules counted; with their selectors or without.
    pub fn of(process: Process, rules: &RuleSet, selectors: bool) -> Self {
        let acts = |rule: &&std::sync::Arc<Rule>| matches!(rule.kind, RuleKind::Fields { .. });
        let rules = rules.rules.iter().filter(acts).map(|rule| RuleCounts::of(rule, selectors)).collect();
        Self { version: VERSION, process, rules }
    }
}

impl RuleCounts {
    fn of(rule: &Rule, selectors: bool) -> Self {
        let stats = rule.stats.get();
        let (rare, added) = (stats.rare(), stats.added.read());
        let words = |counts: &BTreeMap<&'static str, u64>| counts.iter().map(|(w, n)| ((*w).to_owned(), *n)).collect();
        let [requests, responses] = &rare.unread;
        let fields = actions(rule).flat_map(|(way, action)| {
            action.fields.iter().map(move |field| FieldCounts::of(way, action, field, selectors))
        });
        Self {
            name: rule.name.to_string(),
            pattern: rule.pattern.to_string(),
            fingerprint: fingerprint(rule),
            since: stats.since(),
            requests: added.count,
            added_latency_us: added,
            refused: words(&rare.refused),
            last_refused: rare.last_refused,
            unread_requests: words(requests),
            unread_responses: words(responses),
            fields: fields.collect(),
        }
    }
}

impl FieldCounts {
    fn of(direction: Way, action: &Action, field: &Field, selectors: bool) -> Self {
        let stats = field.stats.get();
        let ends = FieldEvent::ENDS.into_iter().map(|event| (event.word().to_owned(), stats.events(event)));
        let kinds = stats.kinds().map(|(kind, count)| (kind.word().to_owned(), count));
        let (last_unwanted, since_unwanted) = stats.unwanted();
        let seals = action.verb == Verb::Seal;
        Self {
            selector: selectors.then(|| field.selector.to_string()),
            class: field.class.as_str().to_owned(),
            direction,
            verb: action.verb,
            mode: action.mode,
            max_length: action.max_length.filter(|_| seals).map(|max| max as u64),
            format_refuses: seals && action.format_refuses,
            refuses_tokens: seals && action.on_token == OnToken::Reject,
            bodies: stats.bodies(),
            absent: stats.events(FieldEvent::Absent),
            matched: stats.events(FieldEvent::Matched),
            events: ends.filter(|(_, count)| *count > 0).collect(),
            types: kinds.filter(|(_, count)| *count > 0).collect(),
            token_length: seals.then(|| stats.lengths.read()),
            last_matched: stats.last_matched(),
            last_unwanted,
            since_unwanted,
        }
    }

    /// How many values ended so.
    pub fn event(&self, event: FieldEvent) -> u64 {
        self.events.get(event.word()).copied().unwrap_or_default()
    }
}
