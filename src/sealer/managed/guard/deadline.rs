//! The deadline of one try, inside the budget of all.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::super::settings::CallLimits;
use super::super::{ApiError, Fault};

/// Of one call, from its beginning on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// When its budget is spent.
    pub(super) end: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn new(limits: &CallLimits) -> Self {
        let now = Instant::now();
        Self { end: now.checked_add(limits.budget).unwrap_or(now), timeout: limits.timeout.min(limits.budget) }
    }

    /// What is left of the budget.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// The try's result, at the latest when its time is over; and whether a timeout speaks against the API: not if the budget left
    /// it less than half of what a try is due.
    pub(super) async fn bound<T>(
        &self,
        what: &str,
        attempt: impl Future<Output = Result<T, ApiError>>,
    ) -> (Result<T, ApiError>, bool) {
        let due = self.timeout.min(self.left());
        let until = Instant::now().checked_add(due).filter(|_| !due.is_zero());
        let Some(until) = until else { return (Err(self.spent(what)), false) };
        match timeout_at(until, attempt).await {
            Ok(result) => (result, true),
            Err(_) => {
                let text = format!("`{what}` was not answered in {due:?}");
                (Err(ApiError::new(Fault::Timeout, text)), due >= self.timeout / 2)
            }
        }
    }

    /// The budget is spent without a try.
    pub(super) fn spent(&self, what: &str) -> ApiError {
        ApiError::new(
            Fault::Timeout,
            format!(
                "`{what}` did not come to its turn within its budget: the API is too slow for as many calls; raise the profile's \
                 concurrency, or delegate less"
            ),
        )
    }
}
