//! Who makes the calls of a job, and who waits for them.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::super::super::KeyringError;
use super::super::job::{Failure, Job, JobKey};
use super::Desk;

/// Longer than any profile's budget; the one who makes the calls answers within that.
const PATIENCE: Duration = Duration::from_secs(180);

/// What somebody waits for, or is to do, without the lock.
#[must_use]
pub struct Ticket(pub(super) Seat);

pub(super) enum Seat {
    /// It was done a moment ago.
    Done,
    /// The profile, and whether it is for opening.
    Waits(Arc<Flight>, Arc<str>, bool),
    Does(Option<Box<Task>>),
}

impl Ticket {
    /// The profile that the first call goes through.
    pub fn profile(&self) -> Arc<str> {
        match &self.0 {
            Seat::Does(Some(task)) => task.job.profile(),
            Seat::Waits(_, profile, _) => Arc::clone(profile),
            Seat::Does(None) | Seat::Done => Arc::from(""),
        }
    }

    /// Whether this is who makes the calls.
    pub fn is_own(&self) -> bool {
        matches!(&self.0, Seat::Does(Some(_)))
    }

    /// Does it, or waits for who does. Blocks for as long as the API takes.
    pub fn work(self) -> Result<(), KeyringError> {
        let (done, opens) = match self.0 {
            Seat::Done | Seat::Does(None) => return Ok(()),
            Seat::Waits(flight, _, opens) => (flight.wait(), opens),
            Seat::Does(Some(task)) => {
                let (desk, key) = (Arc::clone(&task.desk), task.key.clone());
                let done = (*task).work();
                if done.is_ok() {
                    desk.failing().remove(&key);
                }
                (done, matches!(key, JobKey::Open(..)))
            }
        };
        // The next look finds what was refused, and says it as fits there.
        if opens && !matches!(done, Err(Failure::Unavailable(_))) {
            return Ok(());
        }
        done.map_err(Failure::into_error)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}

/// The right, and the duty, to make the calls.
pub(super) struct Task {
    pub(super) desk: Arc<Desk>,
    pub(super) key: JobKey,
    pub(super) job: Job,
    pub(super) flight: Arc<Flight>,
}

impl Task {
    pub(super) fn work(self) -> Result<(), Failure> {
        let done = self.desk.perform(&self.job);
        // In one step: whoever finds nobody at work finds what was done.
        let mut flights = self.desk.flights();
        let done = self.desk.keep(&self.key, done);
        flights.remove(&self.key);
        drop(flights);
        self.flight.land(done.clone());
        done
    }
}

impl Drop for Task {
    /// Also after a panic, or where nobody took it on.
    fn drop(&mut self) {
        if self.flight.is_up() {
            self.desk.flights().remove(&self.key);
            self.flight.land(Err(Failure::Unavailable("a call of a managed API was broken off; try again".into())));
        }
    }
}

/// Those who wait for one task.
#[derive(Default)]
pub(super) struct Flight {
    landed: Mutex<Option<Result<(), Failure>>>,
    arrived: Condvar,
}

impl Flight {
    fn is_up(&self) -> bool {
        self.landed.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn land(&self, done: Result<(), Failure>) {
        *self.landed.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        self.arrived.notify_all();
    }

    fn wait(&self) -> Result<(), Failure> {
        let landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        let (landed, _) = self
            .arrived
            .wait_timeout_while(landed, PATIENCE, |landed| landed.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        landed.clone().unwrap_or_else(|| Err(Failure::Unavailable("a managed API takes too long".into())))
    }
}
