//! A circuit breaker: after failures in a row calls are refused at once, so that nobody waits for an API that is down, and it is left
//! in peace; after a pause one call at a time probes whether it is back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::settings::CallLimits;
use super::super::{ApiError, Fault};
use crate::metrics::CallMetrics;

/// Between two openings that are told.
const QUIET: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Breaker {
    profile: Arc<str>,
    failures: u32,
    pause: Duration,
    inner: Mutex<Inner>,
    seen: CallMetrics,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Grows with each change of the state: who comes back from an earlier one has nothing to say.
    serial: u64,
    /// The last failure that counted, for texts.
    last: String,
    told: Option<Instant>,
    /// Whether the log says that it is open.
    told_open: bool,
}

#[derive(Debug)]
enum State {
    /// So many failures in a row.
    Closed(u32),
    /// Until then.
    Open(Instant),
    /// One call is on its way.
    Probing,
}

/// The right to try once. Dropped without a word, it has said nothing of the API.
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    serial: u64,
}

impl Breaker {
    pub(super) fn new(profile: &str, limits: &CallLimits, seen: CallMetrics) -> Self {
        Self {
            profile: profile.into(),
            failures: limits.breaker_failures.max(1),
            pause: limits.breaker_pause,
            inner: Mutex::new(Inner {
                state: State::Closed(0),
                serial: 0,
                last: String::new(),
                told: None,
                told_open: false,
            }),
            seen,
        }
    }

    /// Whether [`Self::pass`] would refuse.
    pub(super) fn is_open(&self) -> bool {
        match self.inner().state {
            State::Closed(_) => false,
            State::Open(until) => Instant::now() < until,
            State::Probing => true,
        }
    }

    /// For one try; the first one after the pause is the probe.
    pub(super) fn pass(&self) -> Result<Pass<'_>, ApiError> {
        let mut inner = self.inner();
        match inner.state {
            State::Closed(_) => {}
            State::Open(until) if Instant::now() >= until => inner.become_(State::Probing),
            State::Open(_) | State::Probing => {
                drop(inner);
                return Err(self.refusal());
            }
        }
        Ok(Pass { breaker: self, serial: inner.serial })
    }

    /// What is said to whoever is turned away.
    pub(super) fn refusal(&self) -> ApiError {
        let last = self.inner().last.clone();
        ApiError::new(Fault::Broken, format!("not called, since its last calls failed; the last of them: {last}"))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, inner: &mut Inner) {
        self.seen.breaker_opened();
        let now = Instant::now();
        if inner.told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET) {
            inner.told = Some(now);
            inner.told_open = true;
            tracing::error!(
                profile = %self.profile,
                "a managed API fails call after call, and is not called for now but for a probe every {:?}; the last failure: {}",
                self.pause,
                inner.last
            );
        }
    }

    fn closed(&self, inner: &mut Inner) {
        self.seen.breaker_closed();
        if std::mem::take(&mut inner.told_open) {
            tracing::info!(profile = %self.profile, "a managed API answers again, and is called as before");
        }
    }
}

impl Inner {
    fn become_(&mut self, state: State) {
        self.state = state;
        self.serial = self.serial.wrapping_add(1);
    }
}

impl Pass<'_> {
    /// The API is well.
    pub(super) fn answered(self) {
        let mut inner = self.breaker.inner();
        if inner.serial != self.serial {
            return;
        }
        match &mut inner.state {
            State::Closed(failures) => *failures = 0,
            State::Probing => {
                inner.become_(State::Closed(0));
                self.breaker.closed(&mut inner);
            }
            State::Open(_) => {}
        }
    }

    /// It is not.
    pub(super) fn failed(self, text: &str) {
        let mut inner = self.breaker.inner();
        if inner.serial != self.serial {
            return;
        }
        text.clone_into(&mut inner.last);
        let now = Instant::now();
        let until = now.checked_add(self.breaker.pause).unwrap_or(now);
        match &mut inner.state {
            State::Closed(failures) => {
                *failures = failures.saturating_add(1);
                if *failures >= self.breaker.failures {
                    inner.become_(State::Open(until));
                    self.breaker.opened(&mut inner);
                }
            }
            State::Probing => inner.become_(State::Open(until)),
            State::Open(_) => {}
        }
    }
}

/// A probe that came to no end leaves its turn to the next call.
impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut inner = self.breaker.inner();
        if inner.serial == self.serial && matches!(inner.state, State::Probing) {
            inner.become_(State::Open(Instant::now()));
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if !matches!(self.inner().state, State::Closed(_)) {
            self.seen.breaker_closed();
        }
    }
}
