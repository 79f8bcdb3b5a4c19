//! What became of a body's values, counted by field: for the metrics, and for the audit log.

use super::plan::PlannedField;
use crate::audit::Use;
use crate::metrics::rollout::{Body, FieldStats, KINDS, Kind};
use crate::metrics::sketch::Run;
use crate::metrics::{FieldEvent, Metrics};
use crate::rules::{Action, Mode, Verb};

/// Counts per field of the plan.
#[derive(Debug, Clone)]
pub(super) struct Tally(Vec<Counts>);

#[derive(Debug, Clone, Default)]
struct Counts {
    events: [u64; EVENTS.len()],
    /// Values that sealing makes strings.
    kinds: [u64; KINDS],
    /// Of tokens.
    lengths: Run,
}

/// The events that a value can end in; `Matched` here is a value that is let be (`null`).
const EVENTS: [FieldEvent; 10] = [
    FieldEvent::Matched,
    FieldEvent::Sealed,
    FieldEvent::Opened,
    FieldEvent::Withheld,
    FieldEvent::Masked,
    FieldEvent::Plaintext,
    FieldEvent::Unfit,
    FieldEvent::AlreadySealed,
    FieldEvent::Lesser,
    FieldEvent::Refused,
];

impl Tally {
    /// Of so many fields.
    pub fn of(fields: usize) -> Self {
        Self(vec![Counts::default(); fields])
    }

    /// One more value ended so.
    pub fn add(&mut self, field: usize, event: FieldEvent) {
        let slot = EVENTS.iter().position(|e| *e == event);
        if let Some(count) = self.0.get_mut(field).zip(slot).and_then(|(counts, slot)| counts.events.get_mut(slot)) {
            *count += 1;
        }
    }

    /// A value has, or would have, a token of this length; `kind`: what it is, if it is no string.
    pub fn token(&mut self, field: usize, length: Option<usize>, kind: Option<Kind>, stats: &FieldStats) {
        let Some(counts) = self.0.get_mut(field) else { return };
        if let Some(length) = length {
            counts.lengths.add(length as u64, &stats.lengths);
        }
        if let Some(count) = kind.and_then(|kind| counts.kinds.get_mut(kind as usize)) {
            *count += 1;
        }
    }

    /// Whether the field had any value.
    pub fn any(&self, field: usize) -> bool {
        self.0.get(field).is_some_and(|counts| counts.events.iter().any(|count| *count > 0))
    }

    /// Adds it all to the metrics, and for a field without a value that it had none.
    pub fn count(&self, fields: &[PlannedField], metrics: &Metrics) {
        let now = metrics.now();
        for (field, Counts { events, kinds, lengths }) in fields.iter().zip(&self.0) {
            let Some(of) = field.action.fields.get(field.index) else { continue };
            let any: u64 = events.iter().sum();
            let found = if any == 0 { (FieldEvent::Absent, 1) } else { (FieldEvent::Matched, any) };
            let ended = EVENTS.into_iter().zip(events.iter().copied());
            of.counters.count(metrics, &field.action.rule, of.class.as_str(), ended.clone().chain([found]));
            let unwanted = unwanted(&field.action, ended.clone());
            of.stats.get().add(Body { ended, kinds, values: any, unwanted, now }, *lengths);
        }
    }

    /// How often the audit log calls the ends of a field's values what.
    pub fn uses(&self, field: usize) -> [(Use, u64); 3] {
        let counts = self.0.get(field);
        [Use::Sealed, Use::Opened, Use::Refused].map(|what| {
            let of = EVENTS
                .into_iter()
                .zip(counts.into_iter().flat_map(|c| &c.events))
                .filter(|(event, _)| used(*event) == Some(what));
            (what, of.map(|(_, count)| count).sum())
        })
    }
}

/// Values that keep the next step of a roll-out waiting: on the way forward those that `enforce` would refuse, before `migrate`
/// those that nobody could read any more on the way back.
fn unwanted(action: &Action, ended: impl Iterator<Item = (FieldEvent, u64)>) -> Option<u64> {
    use FieldEvent::{AlreadySealed, Lesser, Masked, Opened, Plaintext, Refused, Withheld};
    let unwanted: &[FieldEvent] = match (action.verb, action.mode) {
        (Verb::Seal, _) => return None,
        (Verb::Open, Mode::Observe | Mode::Read) => &[Opened, Withheld, Masked, AlreadySealed, Lesser, Refused],
        (Verb::Open, Mode::Migrate | Mode::Enforce) => &[Plaintext, Lesser],
    };
    Some(ended.filter(|(event, _)| unwanted.contains(event)).map(|(_, count)| count).sum())
}

/// What the audit log calls it, if it goes there.
pub(super) fn used(event: FieldEvent) -> Option<Use> {
    match event {
        FieldEvent::Sealed => Some(Use::Sealed),
        FieldEvent::Opened | FieldEvent::Masked | FieldEvent::Lesser => Some(Use::Opened),
        FieldEvent::Withheld | FieldEvent::Refused => Some(Use::Refused),
        FieldEvent::Matched
        | FieldEvent::Absent
        | FieldEvent::Plaintext
        | FieldEvent::Unfit
        | FieldEvent::AlreadySealed => None,
    }
}
