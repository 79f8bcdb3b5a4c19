//! A bound on calls at once, and on those that wait for their turn: first come, first served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::super::settings::CallLimits;
use super::super::{ApiError, Fault};
use super::deadline::Deadline;
use crate::metrics::CallMetrics;

#[derive(Debug)]
pub(super) struct Limit {
    turns: Semaphore,
    waiting: Arc<AtomicUsize>,
    queue: usize,
    seen: CallMetrics,
}

/// The right to one call; dropped, it is the next one's.
pub(super) struct Permit<'a> {
    _turn: SemaphorePermit<'a>,
    seen: &'a CallMetrics,
}

/// A place in the queue.
struct Place<'a>(&'a Limit);

impl Limit {
    pub(super) fn new(limits: &CallLimits, seen: CallMetrics) -> Self {
        let at_once = limits.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self { turns: Semaphore::new(at_once), waiting: Arc::default(), queue: limits.queue, seen }
    }

    /// Waits for a turn, at most until the deadline; a full queue is said at once.
    pub(super) async fn permit(&self, what: &str, deadline: Deadline) -> Result<Permit<'_>, ApiError> {
        let turn = match self.turns.try_acquire() {
            Ok(turn) => turn,
            Err(_) => {
                let _place = self.place(what)?;
                let turn = timeout_at(deadline.end, self.turns.acquire()).await.map_err(|_| deadline.spent(what))?;
                turn.map_err(|_| ApiError::new(Fault::Saturated, "there are no more calls: the process ends"))?
            }
        };
        self.seen.in_flight.inc();
        Ok(Permit { _turn: turn, seen: &self.seen })
    }

    fn place(&self, what: &str) -> Result<Place<'_>, ApiError> {
        let free = |waiting: usize| (waiting < self.queue).then(|| waiting.saturating_add(1));
        if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_err() {
            let text = format!(
                "`{what}` is turned away: {} calls wait for their turn already; raise the profile's concurrency, or delegate less",
                self.queue
            );
            return Err(ApiError::new(Fault::Saturated, text));
        }
        self.seen.queued.inc();
        Ok(Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.seen.queued.dec();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.seen.in_flight.dec();
    }
}
