//! The audit log: management acts written before the act, their outcome after, counts of what was sealed and opened each
//! second. Every line holds the hash of the one before, and the owner signs it now and then; `docs/audit.md` has the format.
//! No line holds a value, a key or a credential.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::clock::SharedClock;
use crate::keyring::{Keyring, KeyringError, Permissions};
use crate::name::{Class, PartitionName};

mod chain;
mod checkpoint;
mod counts;
mod flusher;
pub mod line;
mod reports;
pub mod verify;

#[cfg(test)]
mod tests;

use chain::Chain;
use flusher::Flusher;
use line::{Content, short};

pub use checkpoint::Checkpoint;
pub use reports::Reports;

/// See the module.
pub struct Audit {
    flusher: Arc<Flusher>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// A management act that is about to be done.
#[derive(Debug, Clone)]
pub struct Act<'a> {
    /// Who asks for it, such as `apikey 12`, `user alice`, `local uid 1000`.
    pub who: &'a str,
    /// What, such as `partition.pause`.
    pub what: &'static str,
    /// On what, such as a partition's name. Never a value, a key or a credential.
    pub on: &'a str,
}

/// An act whose line is in the log and whose outcome is not yet.
#[derive(Debug)]
#[must_use = "the outcome goes into the log, too"]
pub struct Started(u64);

/// What was done with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Sealed.
    Sealed,
    /// Opened.
    Opened,
    /// Not sealed or opened, since the caller may not or the value is none.
    Refused,
}

/// Counts what is done with values, for a log. Never blocks.
pub trait Recorder: Send + Sync {
    /// So many values of these classes, for a caller.
    fn count(&self, caller: &str, partition: &PartitionName, done: &[(&Class, Use, u64)]);
}

impl Recorder for Audit {
    fn count(&self, caller: &str, partition: &PartitionName, done: &[(&Class, Use, u64)]) {
        self.flusher.counts().add(caller, partition, done);
    }
}

impl Use {
    /// Whether a role with these permissions has it counted. What is refused always is.
    pub fn is_recorded(self, permissions: Permissions) -> bool {
        match self {
            Self::Sealed => permissions.has(Permissions::AUDIT_ENCRYPT),
            Self::Opened => permissions.has(Permissions::AUDIT_DECRYPT),
            Self::Refused => true,
        }
    }
}

impl Audit {
    /// The log in the store of this keyring, in a process that runs on: a thread flushes what is counted each second, and signs
    /// a checkpoint now and then if the process holds the master key. Dropping it flushes and signs once more.
    pub fn open(keyring: Arc<Keyring>, clock: SharedClock) -> Result<Self, KeyringError> {
        let audit = Self::for_acts(keyring, clock)?;
        let flusher = Arc::clone(&audit.flusher);
        let thread = thread::Builder::new().name("audit".into()).spawn(move || flusher.run());
        let thread = thread.map_err(|error| KeyringError::Unavailable(format!("cannot start a thread: {error}")))?;
        *audit.thread() = Some(thread);
        Ok(audit)
    }

    /// The same for a process that does one act and ends: nothing is flushed before [`Self::flush`] is called.
    pub fn for_acts(keyring: Arc<Keyring>, clock: SharedClock) -> Result<Self, KeyringError> {
        let chain = Chain::new(keyring, Arc::clone(&clock))?;
        Ok(Self { flusher: Arc::new(Flusher::new(chain, clock)), thread: Mutex::default() })
    }

    /// Writes that an act begins; it must not be done if this fails. May block.
    pub fn begin(&self, act: &Act<'_>) -> Result<Started, KeyringError> {
        let content = Content::Act { who: short(act.who), what: act.what.into(), on: short(act.on) };
        self.flusher.chain().append(&content).map(Started)
    }

    /// Writes how it ended, or else tries again until the process ends. May block.
    #[expect(clippy::needless_pass_by_value, reason = "an act ends once")]
    pub fn end(&self, started: Started, outcome: Result<(), &str>) -> Result<(), KeyringError> {
        let Started(act) = started;
        let content = Content::Outcome { act, ok: outcome.is_ok(), error: outcome.err().map(short) };
        self.flusher.chain().append_once(&content).inspect_err(|_| self.flusher.later(content))
    }

    /// Begins an act, does it, and writes how it ended. An act whose outcome could not be written was done all the same.
    pub fn around<T, E: From<KeyringError> + ToString>(
        &self,
        act: &Act<'_>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let started = self.begin(act)?;
        let done = work();
        let text = done.as_ref().err().map(ToString::to_string);
        if let Err(error) = self.end(started, text.as_deref().map_or(Ok(()), Err)) {
            tracing::error!("the outcome of {} is not in the audit log yet: {error}", act.what);
        }
        done
    }

    /// Counts values; written with the next flush. Never blocks.
    pub fn count(&self, caller: &str, partition: &PartitionName, class: &Class, what: Use, values: u64) {
        self.flusher.counts().add(caller, partition, &[(class, what, values)]);
    }

    /// Counts values of all callers beyond those that another process tells apart. Never blocks.
    pub fn count_others(&self, what: Use, values: u64) {
        self.flusher.counts().add_others(what, values);
    }

    /// Writes what was counted. May block.
    pub fn flush(&self) -> Result<(), KeyringError> {
        self.flusher.flush()
    }

    /// Signs the log as it stands, to be kept elsewhere. `None`: it is empty. May block.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, KeyringError> {
        self.flusher.chain().checkpoint(true)
    }

    /// How often this process found that the log was changed behind it.
    pub fn alarms(&self) -> u64 {
        self.flusher.chain().alarms()
    }

    /// Whether something waits that the log's store does not take.
    pub fn is_behind(&self) -> bool {
        self.flusher.is_behind()
    }

    /// Flushes, signs and ends the thread; what is counted afterwards is flushed by hand alone.
    pub fn stop(&self) {
        if let Some(thread) = self.thread().take() {
            self.flusher.stop();
            thread.thread().unpark();
            drop(thread.join());
        }
    }

    fn thread(&self) -> MutexGuard<'_, Option<thread::JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.stop();
    }
}
