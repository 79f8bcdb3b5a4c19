//! What an exchange is charged with while it runs, for the counts of its rules: the time that this process adds, and messages
//! that a rule could not read. Time spent waiting for the client or the upstream is none of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::metrics::{Metrics, count};
use crate::refusal::Reason;
use crate::transform::body::BodyEdit;
use crate::transform::plan::Direction;

use super::exchange::Exchange;

/// Of one exchange; cheap to clone.
#[derive(Clone)]
pub struct Ledger(Of);

#[derive(Clone)]
enum Of {
    Exchange(Arc<Exchange>),
    /// A body that is driven alone.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests"))]
    Nothing(Metrics),
}

impl Ledger {
    pub(super) fn of(exchange: &Arc<Exchange>) -> Self {
        Self(Of::Exchange(Arc::clone(exchange)))
    }

    /// Of no exchange.
    #[cfg(test)]
    pub(super) fn alone() -> Self {
        Self(Of::Nothing(Metrics::default()))
    }

    /// Charges what passes until [`Ledger::end`].
    pub fn begin(&self) -> Instant {
        Instant::now()
    }

    /// See [`Ledger::begin`].
    pub fn end(&self, begun: Instant) {
        if let Of::Exchange(exchange) = &self.0 {
            exchange.charge(begun);
        }
    }

    /// Counts what a body held.
    pub fn account(&self, direction: Direction, edit: &BodyEdit) {
        let metrics = match &self.0 {
            Of::Exchange(exchange) => &exchange.shared.metrics,
            Of::Nothing(metrics) => metrics,
        };
        edit.account(metrics);
        if let (Of::Exchange(exchange), Some(rule)) = (&self.0, edit.unread()) {
            exchange.note_unread(direction, rule, Reason::InvalidJson);
        }
    }

    /// Counts a message that a rule could not read and that passed.
    pub fn unread(&self, direction: Direction, rule: &str, reason: Reason) {
        match &self.0 {
            Of::Exchange(exchange) => exchange.unread(direction, rule, reason),
            Of::Nothing(metrics) => metrics.passed_unread(rule, reason),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

impl Exchange {
    /// Charges the time since `begun`. Where no rule is met, nobody asks for it.
    pub(super) fn charge(&self, begun: Instant) {
        if !self.route.rules.is_empty() {
            let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            // An exchange stays on its worker's thread: nobody else adds meanwhile.
            count::add(&self.added, nanos, true);
        }
    }

    /// Counts a message that a rule could not read and that passed.
    pub(super) fn unread(&self, direction: Direction, rule: &str, reason: Reason) {
        self.shared.metrics.passed_unread(rule, reason);
        self.note_unread(direction, rule, reason);
    }

    fn note_unread(&self, direction: Direction, rule: &str, reason: Reason) {
        let of = |(met, _): &&(Arc<crate::rules::Rule>, _)| *met.name == *rule;
        if let Some((rule, _)) = self.route.rules.iter().find(of) {
            rule.stats.get().unread(direction == Direction::Response, reason);
        }
    }

    /// It is over: what it was charged with goes to its rules.
    pub(super) fn close(&self) {
        let micros = self.added.load(Ordering::Relaxed).div_ceil(1_000);
        for (rule, _) in &self.route.rules {
            rule.stats.get().added.add(micros);
        }
    }
}
