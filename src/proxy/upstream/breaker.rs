//! A circuit breaker before an upstream that fails again and again: for a while exchanges are refused at once, instead of
//! waiting for it one by one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::UpstreamMetrics;
use crate::refusal::{Reason, Refusal};

use super::pool::jittered;

/// Doublings of the time it stays open.
const LONGEST: u32 = 16;

/// Of one listener's upstream in one worker.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Opens after so many failures in a row.
    after: u32,
    /// So many exchanges at once find out whether the upstream is well again, and all must succeed.
    probes: u32,
    rest: (Duration, Duration),
    state: Mutex<State>,
    metrics: Arc<UpstreamMetrics>,
}

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    /// Open until then; half-open afterwards.
    Open {
        until: Instant,
        opened: u32,
        trying: u32,
        well: u32,
    },
}

/// Leave to try. It must be told what came of it; one that is dropped says nothing.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    breaker: Option<&'a Breaker>,
    /// The end of the rest after which it probes.
    probe: Option<Instant>,
}

impl Breaker {
    pub(super) fn new(after: u32, probes: u32, rest: (Duration, Duration), metrics: &Arc<UpstreamMetrics>) -> Self {
        let state = Mutex::new(State::Closed { failures: 0 });
        Self { after, probes: probes.max(1), rest, state, metrics: Arc::clone(metrics) }
    }

    /// Leave for one exchange, or 503.
    pub(super) fn enter(&self) -> Result<Leave<'_>, Refusal> {
        let mut state = self.state();
        let probe = match &mut *state {
            State::Closed { .. } => None,
            State::Open { until, trying, well, .. } if Instant::now() >= *until && *trying + *well < self.probes => {
                *trying += 1;
                Some(*until)
            }
            State::Open { .. } => {
                let detail = "the upstream failed again and again; it is left alone for a while";
                return Err(Refusal::new(Reason::Unavailable, detail));
            }
        };
        Ok(Leave { breaker: Some(self), probe })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self, probe: Option<Instant>) {
        let mut state = self.state();
        match &mut *state {
            State::Closed { failures } => *failures = 0,
            State::Open { until, trying, well, .. } if probe == Some(*until) => {
                *trying = trying.saturating_sub(1);
                *well += 1;
                if *well >= self.probes {
                    *state = State::Closed { failures: 0 };
                    self.metrics.breakers_open.dec();
                }
            }
            // Begun before it opened.
            State::Open { .. } => {}
        }
    }

    fn failed(&self, probe: Option<Instant>) {
        let mut state = self.state();
        let opened = match &mut *state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures < self.after {
                    return;
                }
                self.metrics.breakers_open.inc();
                0
            }
            State::Open { until, opened, .. } if probe == Some(*until) => *opened + 1,
            State::Open { .. } => return,
        };
        self.metrics.breaker_openings.inc();
        let rest = self.rest.0.saturating_mul(1 << opened.min(LONGEST)).min(self.rest.1);
        *state = State::Open { until: Instant::now() + jittered(rest), opened, trying: 0, well: 0 };
    }
}

impl Leave<'_> {
    /// Where there is no breaker.
    pub(super) fn free() -> Self {
        Self { breaker: None, probe: None }
    }

    /// The upstream has answered, whatever it said.
    pub(super) fn succeeded(mut self) {
        if let Some(breaker) = self.breaker.take() {
            breaker.succeeded(self.probe);
        }
    }

    /// It could not be reached, or did not answer.
    pub(super) fn failed(mut self) {
        if let Some(breaker) = self.breaker.take() {
            breaker.failed(self.probe);
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let (Some(breaker), Some(probe)) = (self.breaker, self.probe)
            && let State::Open { until, trying, .. } = &mut *breaker.state()
            && *until == probe
        {
            *trying = trying.saturating_sub(1);
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if matches!(*self.state(), State::Open { .. }) {
            self.metrics.breakers_open.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(rest: Duration) -> Breaker {
        Breaker::new(3, 2, (rest, rest), &crate::metrics::Metrics::default().upstream("front"))
    }

    #[test]
    fn it_opens_after_failures_in_a_row() {
        let breaker = breaker(Duration::from_secs(1000));
        for _ in 0..4 {
            breaker.enter().unwrap().failed();
            breaker.enter().unwrap().failed();
            breaker.enter().unwrap().succeeded();
        }
        (0..3).for_each(|_| breaker.enter().unwrap().failed());
        assert_eq!(breaker.enter().unwrap_err().reason, Reason::Unavailable);
    }

    #[test]
    fn several_at_once_find_out_whether_it_is_well() {
        let breaker = breaker(Duration::ZERO);
        (0..3).for_each(|_| breaker.enter().unwrap().failed());
        let (first, second) = (breaker.enter().unwrap(), breaker.enter().unwrap());
        assert!(breaker.enter().is_err(), "no more than two");
        drop(first);
        let third = breaker.enter().unwrap();
        second.succeeded();
        assert!(breaker.enter().is_err());
        third.succeeded();
        (0..5).map(|_| breaker.enter().unwrap()).for_each(Leave::succeeded);
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let breaker = breaker(Duration::ZERO);
        (0..3).for_each(|_| breaker.enter().unwrap().failed());
        let late = breaker.enter().unwrap();
        breaker.enter().unwrap().failed();
        late.succeeded();
        let probes: Vec<_> = (0..2).map(|_| breaker.enter()).collect();
        assert!(probes.iter().all(Result::is_ok));
        assert!(breaker.enter().is_err());
    }
}
