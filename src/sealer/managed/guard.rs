//! What is around every call of an API, so that its faults stay its own: from the outside in, a bound on calls at once and in the
//! queue, a circuit breaker, a deadline; and around these, retries within one budget. One concern a file.

mod breaker;
mod deadline;
mod limit;
mod retry;

use std::future::Future;

use tokio::time::Instant;

use self::breaker::Breaker;
use self::deadline::Deadline;
use self::limit::Limit;
use super::settings::CallLimits;
use super::{ApiError, Fault};
use crate::metrics::CallMetrics;

/// Of one profile (or endpoint). Its calls share the breaker and the bounds.
#[derive(Debug)]
pub struct Guard {
    limits: CallLimits,
    limit: Limit,
    breaker: Breaker,
    seen: CallMetrics,
}

impl Guard {
    /// With closed breaker and empty queue.
    pub fn new(profile: &str, limits: &CallLimits, seen: CallMetrics) -> Self {
        Self {
            limits: limits.clone(),
            limit: Limit::new(limits, seen.clone()),
            breaker: Breaker::new(profile, limits, seen.clone()),
            seen,
        }
    }

    /// Makes a call: tries it, again where that may help, and ends within the budget. `what` is the operation, for texts and metrics.
    /// A future that is dropped gives back what it holds.
    pub async fn run<T, F, R>(&self, what: &'static str, try_once: F) -> Result<T, ApiError>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, ApiError>>,
    {
        let measured = Measured { seen: &self.seen, what, began: Instant::now(), outcome: "cancelled" };
        let deadline = Deadline::new(&self.limits);
        let result = retry::within(
            deadline,
            self.limits.retries,
            || self.seen.retried(what),
            || self.once(what, deadline, &try_once),
        )
        .await;
        measured.ended(&result);
        result
    }

    /// Whether a call would be turned away now: the breaker is open, and it is not yet time for a probe, or one is on its way.
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    async fn once<T, F, R>(&self, what: &'static str, deadline: Deadline, try_once: &F) -> Result<T, ApiError>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, ApiError>>,
    {
        if self.breaker.is_open() {
            return Err(self.breaker.refusal());
        }
        let permit = self.limit.permit(what, deadline).await?;
        // Looked at again: many may have waited for their turn while it opened.
        let pass = self.breaker.pass()?;
        let (result, telling) = deadline.bound(what, try_once()).await;
        drop(permit);
        match &result {
            // A call that we gave less time than it is due says nothing of the API, nor does what we refused ourselves.
            Err(error) if !telling || matches!(error.kind, Fault::Saturated | Fault::Broken) => drop(pass),
            Err(error) if error.kind.is_outage() => pass.failed(&error.text),
            Ok(_) | Err(_) => pass.answered(),
        }
        result
    }
}

/// Counts a call, also one that was dropped.
struct Measured<'a> {
    seen: &'a CallMetrics,
    what: &'static str,
    began: Instant,
    outcome: &'static str,
}

impl Measured<'_> {
    fn ended<T>(mut self, result: &Result<T, ApiError>) {
        self.outcome = result.as_ref().map_or_else(|error| error.kind.word(), |_| "ok");
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.seen.finished(self.what, self.outcome, self.began.elapsed());
    }
}

#[cfg(test)]
mod tests;
