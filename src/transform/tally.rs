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
    /// All values.
    values: u64,
    /// By the event that a value ended in; `Matched` here is a value that is let be (`null`).
    events: [u64; FieldEvent::COUNT],
    /// A bit for each of those that is not 0.
    seen: u16,
    /// Values that sealing makes strings.
    kinds: [u64; KINDS],
    /// Of tokens.
    lengths: Run,
}

impl Counts {
    fn ended_so(&mut self, event: FieldEvent) {
        if let Some(count) = self.events.get_mut(event as usize) {
            self.values += 1;
            self.seen |= 1 << event as u16;
            *count += 1;
        }
    }

    fn of(&self, event: FieldEvent) -> u64 {
        self.events.get(event as usize).copied().unwrap_or_default()
    }

    /// How values ended that are not let be.
    fn ended(&self) -> impl Iterator<Item = (FieldEvent, u64)> {
        let mut left = self.seen & !(1 << FieldEvent::Matched as u16);
        std::iter::from_fn(move || {
            let event = FieldEvent::ALL.get(left.trailing_zeros() as usize).copied()?;
            left &= left.wrapping_sub(1);
            Some((event, self.of(event)))
        })
    }
}

impl Tally {
    /// Of so many fields.
    pub fn of(fields: usize) -> Self {
        Self(vec![Counts::default(); fields])
    }

    /// One more value ended so.
    pub fn add(&mut self, field: usize, event: FieldEvent) {
        if let Some(counts) = self.0.get_mut(field) {
            counts.ended_so(event);
        }
    }

    /// As [`Tally::add`] and [`Tally::token`] of a string that was sealed.
    pub fn sealed(&mut self, field: usize, length: usize, stats: &FieldStats) {
        let Some(counts) = self.0.get_mut(field) else { return };
        counts.ended_so(FieldEvent::Sealed);
        counts.lengths.add(length as u64, &stats.lengths);
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
        self.0.get(field).is_some_and(|counts| counts.values > 0)
    }

    /// Adds it all to the metrics, and for a field without a value that it had none.
    pub fn count(&self, fields: &[PlannedField], metrics: &Metrics) {
        let now = metrics.now();
        for (field, counts) in fields.iter().zip(&self.0) {
            let Some(of) = field.action.fields.get(field.index) else { continue };
            let labels = (&*field.action.rule, of.class.as_str());
            if counts.values == 0 {
                of.counters.count(metrics, labels, [(FieldEvent::Absent, 1)].into_iter());
                of.stats.get().absent();
                continue;
            }
            let (kinds, values, unwanted) = (&counts.kinds, counts.values, unwanted(&field.action, counts));
            of.counters.count(metrics, labels, counts.ended().chain([(FieldEvent::Matched, values)]));
            of.stats.get().add(Body { ended: counts.ended(), kinds, values, unwanted, now }, counts.lengths);
        }
    }

    /// How many values of a field the audit log calls sealed, opened and refused.
    pub fn uses(&self, field: usize) -> [(Use, u64); 3] {
        let counts = self.0.get(field).filter(|counts| counts.values > 0);
        let of = |event| counts.map_or(0, |counts| counts.of(event));
        [
            (Use::Sealed, of(FieldEvent::Sealed)),
            (Use::Opened, of(FieldEvent::Opened) + of(FieldEvent::Masked) + of(FieldEvent::Lesser)),
            (Use::Refused, of(FieldEvent::Withheld) + of(FieldEvent::Refused)),
        ]
    }
}

/// Values that keep the next step of a roll-out waiting: on the way forward those that `enforce` would refuse, before `migrate`
/// those that nobody could read any more on the way back.
fn unwanted(action: &Action, counts: &Counts) -> Option<u64> {
    use FieldEvent::{AlreadySealed, Lesser, Masked, Opened, Plaintext, Refused, Withheld};
    let unwanted: &[FieldEvent] = match (action.verb, action.mode) {
        (Verb::Seal, _) => return None,
        (Verb::Open, Mode::Observe | Mode::Read) => &[Opened, Withheld, Masked, AlreadySealed, Lesser, Refused],
        (Verb::Open, Mode::Migrate | Mode::Enforce) => &[Plaintext, Lesser],
    };
    Some(unwanted.iter().map(|event| counts.of(*event)).sum())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_audit_log_is_told_is_what_it_calls_each_event() {
        let mut tally = Tally::of(2);
        assert!(!tally.any(0) && tally.uses(0).iter().all(|(_, values)| *values == 0));
        for (n, event) in FieldEvent::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, n);
            (0..=n).for_each(|_| tally.add(0, event));
            let ended = tally.0[0].ended().map(|(event, count)| (event as u64, count));
            assert!(ended.eq((1..=n as u64).map(|n| (n, n + 1))), "all but what is let be");
        }
        for (what, values) in tally.uses(0) {
            let expected =
                FieldEvent::ALL.into_iter().filter(|event| used(*event) == Some(what)).map(|event| event as u64 + 1);
            assert_eq!(values, expected.sum::<u64>(), "{what:?}");
        }
        assert!(tally.any(0) && !tally.any(1) && !tally.any(2));
        tally.add(2, FieldEvent::Sealed);
        assert!(tally.uses(2).iter().all(|(_, values)| *values == 0), "of no field of the plan");
    }
}
