//! What several processes tell, put together by rule and class.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Way;
use super::snapshot::{FieldCounts, RuleCounts, Snapshot};
use crate::metrics::FieldEvent;
use crate::metrics::sketch::Distribution;
use crate::rules::{Mode, Verb};

/// One process, or what keeps it from being asked.
#[derive(Debug, Clone)]
pub struct Replica {
    /// As it was named.
    pub address: String,
    /// What it tells, or why it does not.
    pub told: Result<Snapshot, String>,
}

/// One class of a rule in one direction and mode, of all processes that are in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// The class.
    pub class: String,
    /// In requests or in answers.
    pub direction: Way,
    /// Whether it is sealed or opened.
    pub verb: Verb,
    /// In which mode these were counted.
    pub mode: Mode,
    /// Times that a selector found something in a body.
    pub bodies: u64,
    /// Times that one found nothing.
    pub absent: u64,
    /// Values.
    pub matched: u64,
    /// Of those: no tokens, and none were made of them.
    pub plaintext: u64,
    /// Tokens: made, opened, or there already.
    pub sealed: u64,
    /// Plaintexts whose tokens the application would not take.
    pub unfit: u64,
    /// What became of all values, as in `sidecloak_fields_total`.
    pub events: BTreeMap<String, u64>,
    /// Values that sealing makes strings, by what they are.
    pub types: BTreeMap<String, u64>,
    /// Characters of tokens; of sealing alone.
    pub token_length: Option<Distribution>,
    /// The shortest limit of a token that a rule gives.
    pub max_length: Option<u64>,
    /// The application's own check lets no token pass.
    pub format_refuses: bool,
    /// Tokens in what is to be sealed are refused.
    pub refuses_tokens: bool,
    /// Seconds since a value kept the next step waiting.
    pub unwanted_seconds_ago: Option<u64>,
    /// Values since then, in all processes together.
    pub since_unwanted: u64,
    /// Selectors that found nothing in any process, and of all how many there are.
    #[serde(skip)]
    pub selectors: BTreeMap<String, u64>,
}

impl ClassCounts {
    /// How many values ended so.
    pub fn event(&self, event: FieldEvent) -> u64 {
        self.events.get(event.word()).copied().unwrap_or_default()
    }

    fn new(field: &FieldCounts) -> Self {
        Self {
            class: field.class.clone(),
            direction: field.direction,
            verb: field.verb,
            mode: field.mode,
            bodies: 0,
            absent: 0,
            matched: 0,
            plaintext: 0,
            sealed: 0,
            unfit: 0,
            events: BTreeMap::new(),
            types: BTreeMap::new(),
            token_length: None,
            max_length: None,
            format_refuses: false,
            refuses_tokens: false,
            unwanted_seconds_ago: None,
            since_unwanted: 0,
            selectors: BTreeMap::new(),
        }
    }

    fn add(&mut self, field: &FieldCounts, now: u64) {
        use FieldEvent::{AlreadySealed, Lesser, Masked, Opened, Plaintext, Sealed, Unfit, Withheld};
        let of = |events: &[FieldEvent]| events.iter().map(|event| field.event(*event)).sum::<u64>();
        more(&mut self.bodies, field.bodies);
        more(&mut self.absent, field.absent);
        more(&mut self.matched, field.matched);
        more(&mut self.plaintext, of(&[Plaintext, Unfit]));
        more(&mut self.sealed, of(&[Sealed, Opened, Withheld, Masked, AlreadySealed, Lesser]));
        more(&mut self.unfit, of(&[Unfit]));
        for (all, told) in [(&mut self.events, &field.events), (&mut self.types, &field.types)] {
            told.iter().for_each(|(word, count)| more(all.entry(word.clone()).or_default(), *count));
        }
        if let Some(lengths) = &field.token_length {
            self.token_length = Some(self.token_length.take().unwrap_or_default().with(lengths));
        }
        self.max_length = [self.max_length, field.max_length].into_iter().flatten().min();
        self.format_refuses |= field.format_refuses;
        self.refuses_tokens |= field.refuses_tokens;
        let ago = field.last_unwanted.map(|last| now.saturating_sub(last));
        self.unwanted_seconds_ago = [self.unwanted_seconds_ago, ago].into_iter().flatten().min();
        more(&mut self.since_unwanted, field.since_unwanted);
        if let Some(selector) = &field.selector {
            more(self.selectors.entry(selector.clone()).or_default(), field.matched);
        }
    }
}

/// The classes of one rule, of these processes, in the order of the rule.
pub fn classes<'a>(told: impl Iterator<Item = (&'a Snapshot, &'a RuleCounts)>) -> Vec<ClassCounts> {
    let mut all: Vec<ClassCounts> = Vec::new();
    for (snapshot, rule) in told {
        for field in &rule.fields {
            let same = |c: &ClassCounts| {
                (&c.class, c.direction, c.verb, c.mode) == (&field.class, field.direction, field.verb, field.mode)
            };
            let at = all.iter().position(same).unwrap_or_else(|| {
                all.push(ClassCounts::new(field));
                all.len() - 1
            });
            if let Some(class) = all.get_mut(at) {
                class.add(field, snapshot.process.now);
            }
        }
    }
    all
}

/// A process that was named twice counts once.
pub fn distinct(replicas: Vec<Replica>) -> Vec<Replica> {
    let mut seen = BTreeSet::new();
    replicas
        .into_iter()
        .filter(|r| r.told.as_ref().map_or(true, |told| seen.insert(told.process.instance.clone())))
        .collect()
}

fn more(sum: &mut u64, by: u64) {
    *sum = sum.saturating_add(by);
}
