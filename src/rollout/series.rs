//! The same counts as metrics, by class instead of by selector.

use std::collections::BTreeMap;

use super::{Way, actions};
use crate::metrics::FieldEvent;
use crate::metrics::series::{Group, Series, Value};
use crate::metrics::sketch::Distribution;
use crate::rules::{Action, Field, Mode, Rule, RuleKind, RuleSet, Verb};

/// Upper bounds for lengths of tokens: those of common columns among them.
const CHARACTERS: [u64; 14] = [63, 79, 95, 127, 159, 191, 255, 383, 511, 1023, 2047, 4095, 8191, 65_535];
/// Microseconds.
const MICROS: [u64; 14] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000];

/// All of these rules.
pub fn series(rules: &RuleSet) -> Vec<Group> {
    let rules: Vec<&Rule> =
        rules.rules.iter().map(AsRef::as_ref).filter(|r| matches!(r.kind, RuleKind::Fields { .. })).collect();
    let mut groups: Vec<Group> = HELP.iter().map(|(name, help)| Group { name, help, series: Vec::new() }).collect();
    let [fields, types, lengths, longest, added, info, since, matched] = groups.as_mut_slice() else { return groups };
    for rule in rules {
        let name = || ("rule", rule.name.to_string());
        let by_class = by_class(rule);
        for ((class, way, mode), of) in &by_class {
            let labels = || {
                vec![
                    name(),
                    ("class", (*class).to_owned()),
                    ("direction", way.word().into()),
                    ("mode", mode.word().into()),
                ]
            };
            for event in [FieldEvent::Matched, FieldEvent::Absent].into_iter().chain(FieldEvent::ENDS) {
                let count = of.iter().map(|(_, field)| field.stats.get().events(event)).sum();
                // An alert needs what may be missing to be there as 0.
                if count > 0 || event == FieldEvent::Matched {
                    fields.add([labels(), vec![("event", event.word().into())]].concat(), Value::Counter(count));
                }
            }
            let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
            let counted = of.iter().flat_map(|(_, field)| field.stats.get().kinds()).filter(|(_, n)| *n > 0);
            counted.for_each(|(kind, n)| *kinds.entry(kind.word()).or_default() += n);
            for (kind, count) in kinds {
                types.add([labels(), vec![("type", kind.into())]].concat(), Value::Counter(count));
            }
            if of.iter().any(|(action, _)| action.verb == Verb::Seal) {
                let all = of.iter().map(|(_, field)| field.stats.get().lengths.read());
                let all = all.reduce(|one, other| one.with(&other)).unwrap_or_default();
                lengths.add(labels(), histogram(&all, &CHARACTERS, 1.0));
                longest.add(labels(), gauge(all.max));
            }
        }
        let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
        for ((class, ..), of) in &by_class {
            if let Some(last) = of.iter().filter_map(|(_, field)| field.stats.get().last_matched()).max() {
                let latest = classes.entry(class).or_default();
                *latest = last.max(*latest);
            }
        }
        for (class, last) in classes {
            matched.add(vec![name(), ("class", class.into())], gauge(last));
        }
        for mode in Mode::ALL.into_iter().filter(|mode| by_class.keys().any(|(.., of)| of == mode)) {
            info.add(vec![name(), ("mode", mode.word().into())], Value::Gauge(1.0));
        }
        let stats = rule.stats.get();
        added.add(vec![name()], histogram(&stats.added.read(), &MICROS, 1e-6));
        since.add(vec![name()], gauge(stats.since()));
    }
    groups
}

const HELP: [(&str, &str); 8] = [
    ("rollout_fields", "Selected fields, since the rule is in force as it is"),
    ("rollout_types", "Values that sealing makes strings, by what they are"),
    ("rollout_token_length_characters", "Lengths of tokens: forecast in observe and read, then real"),
    ("rollout_token_length_max_characters", "The longest of them"),
    ("rule_added_latency_seconds", "Time that this process added to exchanges that met the rule"),
    ("rule_info", "1 for each mode that the rule is in"),
    ("rule_since_timestamp_seconds", "Since when the rule is in force as it is"),
    ("rule_last_matched_timestamp_seconds", "When the rule last selected a value of the class"),
];

impl Group {
    fn add(&mut self, labels: Vec<(&'static str, String)>, value: Value) {
        self.series.push(Series { labels, value });
    }
}

type ByClass<'a> = BTreeMap<(&'a str, Way, Mode), Vec<(&'a Action, &'a Field)>>;

fn by_class(rule: &Rule) -> ByClass<'_> {
    let mut found = ByClass::new();
    for (way, action) in actions(rule) {
        for field in &action.fields {
            found.entry((field.class.as_str(), way, action.mode)).or_default().push((action, field));
        }
    }
    found
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn gauge(number: u64) -> Value {
    Value::Gauge(number as f64)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn histogram(of: &Distribution, bounds: &[u64], unit: f64) -> Value {
    let mut below = 0;
    let mut buckets: Vec<_> = of
        .within(bounds)
        .into_iter()
        .zip(bounds)
        .map(|(within, bound)| (*bound as f64 * unit, within - std::mem::replace(&mut below, within)))
        .collect();
    buckets.push((f64::MAX, of.count - below));
    Value::Histogram(buckets, of.sum as f64 * unit)
}
