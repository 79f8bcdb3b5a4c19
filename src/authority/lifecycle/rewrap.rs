//! Work over all epochs, or all entries of the directory, done piece by piece by whichever process has time; what a process that
//! died had done stays done, and what it was at is done once more, to no harm.

use serde::{Deserialize, Serialize};

use super::{Claim, Claimed, Lifecycle, RETRY, hex};
use crate::audit::Act;
use crate::directory::{Ends, Entry};
use crate::keyring::store::Put;
use crate::keyring::{Cursor, KeyringError};
use crate::name::PartitionName;

/// Epochs or entries done between two notes of how far it came.
const STEP: usize = 32;
/// Steps in one call of `run_due`: others wait for the store, too.
const STEPS: usize = 8;
/// How long a finished job is shown.
const SHOWN: u64 = 30 * 86_400;

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Every epoch is wrapped to exactly the recipients that its partition lists.
    Recipients,
    /// Every entry of the directory is sealed under the first master key of the process that asks.
    Master,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub number: u64,
    /// What it is for.
    pub goal: Goal,
    /// The only partition; `None`: all.
    pub partition: Option<String>,
    /// Epochs or entries looked at.
    pub done: u64,
    /// How many there were when it began.
    pub total: u64,
    /// How many had to be changed.
    pub changed: u64,
    /// When it was asked for (Unix seconds).
    pub asked: u64,
    /// By whom.
    pub asked_by: String,
    /// When it was finished.
    pub finished: Option<u64>,
    /// Why it does not go on for now.
    pub error: Option<String>,
    master: Option<[u8; 16]>,
    cursor: Cursor,
    retry: u64,
    claim: Option<Claim>,
}

impl Claimed for Job {
    const KIND: &'static str = "rewrap";

    fn claim(&mut self) -> &mut Option<Claim> {
        &mut self.claim
    }
}

impl Lifecycle {
    /// Asks for a job; [`Lifecycle::run_due`] of any process does it.
    pub fn rewrap(&self, who: &str, goal: Goal, partition: Option<&PartitionName>) -> Result<Job, KeyringError> {
        let on = partition.map_or("all", PartitionName::as_str);
        let what = match goal {
            Goal::Recipients => "rewrap.recipients",
            Goal::Master => "rewrap.master",
        };
        self.audit.around(&Act { who, what, on }, || {
            if let Some(name) = partition {
                self.keyring.partition(name)?;
            }
            let total = match goal {
                Goal::Recipients => self.keyring.epoch_total(partition)?,
                Goal::Master => self.directory.under_others()?,
            };
            let job = Job {
                number: self.directory.next_number(Job::KIND)?,
                goal,
                partition: partition.map(ToString::to_string),
                done: 0,
                total,
                changed: 0,
                asked: self.now(),
                asked_by: who.to_owned(),
                finished: None,
                error: None,
                master: self.keyring.first_master(),
                cursor: Cursor::default(),
                retry: 0,
                claim: None,
            };
            match self.directory.put(Job::KIND, &id(job.number), 0, &job, Ends::never())? {
                Put::Done => Ok(job),
                Put::Conflict => Err(KeyringError::Unavailable("the job's number is taken; try again".into())),
            }
        })
    }

    /// All jobs, also those that were finished lately, in the order they were asked for.
    pub fn jobs(&self) -> Result<Vec<Job>, KeyringError> {
        Ok(self.all::<Job>()?.into_iter().map(|entry| entry.value).collect())
    }

    pub(super) fn run_jobs(&self) -> Result<usize, KeyringError> {
        let now = self.now();
        let (mut done, mut left) = (0, STEPS);
        for entry in self.all::<Job>()? {
            if left == 0 {
                break;
            }
            let due = |job: &Job| self.is_ours(job) && job.finished.is_none() && job.retry <= now;
            if due(&entry.value)
                && let Some(entry) = self.claim(&entry.id, due)?
            {
                left -= self.run_job(entry, left)?;
                done += 1;
            }
        }
        Ok(done)
    }

    /// A master key that is not the first here cannot be sealed under.
    fn is_ours(&self, job: &Job) -> bool {
        job.goal == Goal::Recipients || job.master == self.keyring.first_master()
    }

    fn run_job(&self, mut entry: Entry<Job>, steps: usize) -> Result<usize, KeyringError> {
        for step in 1..=steps {
            match self.step(&mut entry.value) {
                Ok(true) => return self.finish(entry).map(|()| step),
                // Each note keeps the claim. Who lost it lets the other go on from the note before.
                Ok(false) if step < steps => {
                    if !self.keep_claim(&mut entry)? {
                        return Ok(step);
                    }
                }
                Ok(false) => {}
                Err(error) => {
                    entry.value.error = Some(error.to_string());
                    entry.value.retry = self.now() + RETRY;
                    self.release(&mut entry)?;
                    return Err(error);
                }
            }
        }
        self.release(&mut entry)?;
        Ok(steps)
    }

    /// Whether that was the last.
    pub(super) fn step(&self, job: &mut Job) -> Result<bool, KeyringError> {
        job.error = None;
        match job.goal {
            Goal::Recipients => {
                let only = job.partition.as_deref().and_then(|name| PartitionName::new(name).ok());
                let step = self.keyring.rewrap(only.as_ref(), &job.cursor, STEP)?;
                job.done += step.seen;
                job.changed += step.changed;
                let last = step.next.is_none();
                job.cursor = step.next.unwrap_or_default();
                Ok(last)
            }
            Goal::Master => {
                let resealed = self.directory.reseal(STEP as u64)?;
                job.done += resealed;
                job.changed += resealed;
                // The note of this very step is sealed anew by itself.
                Ok(resealed == 0)
            }
        }
    }

    fn finish(&self, mut entry: Entry<Job>) -> Result<(), KeyringError> {
        let now = self.now();
        entry.value.finished = Some(now);
        entry.expires = now + SHOWN;
        let job = &entry.value;
        let who = format!("job {} of {}", job.number, job.asked_by);
        let on = format!("{} of {} changed", job.changed, job.done);
        let act = Act { who: &who, what: "rewrap.finished", on: &on };
        self.audit.around(&act, || Ok::<_, KeyringError>(()))?;
        self.release(&mut entry).map(drop)
    }
}

/// Sorts as numbers do.
fn id(number: u64) -> String {
    hex(&number.to_be_bytes())
}
