//! Field events. What counts them is found once and kept: a look-up takes a lock and hashes the labels.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::count::Counter;
use super::labels::FieldLabels;
use super::{FieldEvent, Metrics};

/// The counters of one rule and class, to be kept beside them; those of events that never happen are never made.
#[derive(Default)]
pub struct FieldCounters(OnceLock<Found>);

struct Found {
    within: Metrics,
    counters: [OnceLock<Counter>; FieldEvent::COUNT],
}

impl FieldCounters {
    /// Counts events of this rule and class, always the same ones.
    pub fn count(
        &self,
        metrics: &Metrics,
        (rule, class): (&str, &str),
        events: impl Iterator<Item = (FieldEvent, u64)>,
    ) {
        let found = self.0.get_or_init(|| Found { within: metrics.clone(), counters: Default::default() });
        let ours = Arc::ptr_eq(&found.within.0, &metrics.0);
        for (event, count) in events.filter(|(_, count)| *count > 0) {
            match found.counters.get(event as usize).filter(|_| ours) {
                Some(counter) => counter.get_or_init(|| metrics.counter(rule, class, event)).inc_by(count),
                None => metrics.counter(rule, class, event).inc_by(count),
            };
        }
    }
}

impl Metrics {
    fn counter(&self, rule: &str, class: &str, event: FieldEvent) -> Counter {
        self.0.fields.get_or_create_owned(&FieldLabels::new(rule, class, event))
    }
}

impl fmt::Debug for FieldCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FieldCounters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_counters_count_where_they_are_told_to() {
        let (kept, one, other) = (FieldCounters::default(), Metrics::default(), Metrics::default());
        for metrics in [&one, &one, &other] {
            let events = [(FieldEvent::Sealed, 2), (FieldEvent::Matched, 3), (FieldEvent::Refused, 0)];
            kept.count(metrics, ("customers", "ssn"), events.into_iter());
        }
        one.field("customers", "ssn", FieldEvent::Sealed, 1);
        for (metrics, sealed) in [(one, 5), (other, 2)] {
            let text = metrics.render();
            let line = format!(r#"sidecloak_fields_total{{rule="customers",class="ssn",event="sealed"}} {sealed}"#);
            assert!(text.contains(&line), "{line} is not in\n{text}");
            assert!(!text.contains("refused\"}"), "what never happened is not counted");
        }
    }
}
