//! What became of a body's values, counted by field: for the metrics, and for the audit log.

use super::plan::PlannedField;
use crate::audit::Use;
use crate::metrics::{FieldEvent, Metrics};

/// Events per field of the plan.
#[derive(Debug, Clone)]
pub(super) struct Tally(Vec<[u64; EVENTS.len()]>);

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
        Self(vec![[0; EVENTS.len()]; fields])
    }

    /// One more value ended so.
    pub fn add(&mut self, field: usize, event: FieldEvent) {
        let slot = EVENTS.iter().position(|e| *e == event);
        if let Some(count) = self.0.get_mut(field).zip(slot).and_then(|(counts, slot)| counts.get_mut(slot)) {
            *count += 1;
        }
    }

    /// Whether the field had any value.
    pub fn any(&self, field: usize) -> bool {
        self.0.get(field).is_some_and(|counts| counts.iter().any(|count| *count > 0))
    }

    /// Adds it all to the metrics, and for a field without a value that it had none.
    pub fn count(&self, fields: &[PlannedField], metrics: &Metrics) {
        for (field, counts) in fields.iter().zip(&self.0) {
            let Some(of) = field.action.fields.get(field.index) else { continue };
            let any: u64 = counts.iter().sum();
            let found = if any == 0 { (FieldEvent::Absent, 1) } else { (FieldEvent::Matched, any) };
            let events = EVENTS.into_iter().zip(counts.iter().copied()).chain([found]);
            of.counters.count(metrics, &field.action.rule, of.class.as_str(), events);
        }
    }

    /// How often the audit log calls the ends of a field's values what.
    pub fn uses(&self, field: usize) -> [(Use, u64); 3] {
        let counts = self.0.get(field);
        [Use::Sealed, Use::Opened, Use::Refused].map(|what| {
            let of =
                EVENTS.into_iter().zip(counts.into_iter().flatten()).filter(|(event, _)| used(*event) == Some(what));
            (what, of.map(|(_, count)| count).sum())
        })
    }
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
