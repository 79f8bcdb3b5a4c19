//! What becomes of partitions and epochs over time: roll-overs that are due, destruction after a waiting period, epochs brought
//! to new recipients and entries to a new master key. It all stands in the directory, so that any process with the master key
//! may do what is due, and among many one does: it takes a claim that ends by itself should the process die.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Authority;
use crate::audit::{Act, Audit};
use crate::crypto::hex::encode as hex;
use crate::crypto::random;
use crate::directory::{Directory, Ends, Entry};
use crate::keyring::store::Put;
use crate::keyring::{Keyring, KeyringError, Kind};
use crate::name::PartitionName;

mod destruction;
mod rewrap;
mod schedule;

pub use destruction::{DEFAULT_WAIT, Destruction, StillSealing, Wait};
pub use rewrap::{Goal, Job};
pub use schedule::Schedule;

/// How long a process may be at one thing before another takes it over.
const LEASE: u64 = 120;
/// Entries read at once.
const PAGE: usize = 256;
/// What has ended is forgotten so many seconds later: another process's clock may be behind.
const GRACE: u64 = 3600;
/// Ended entries forgotten in one transaction, and transactions in one round.
const FORGOTTEN: usize = 256;
const FORGETS: usize = 8;
/// After a failure it is tried again so many seconds later.
const RETRY: u64 = 3600;

/// See the module. Methods may block.
pub struct Lifecycle {
    keyring: Arc<Keyring>,
    directory: Directory,
    audit: Arc<Audit>,
    instance: String,
    /// What failed last, of each thing that is run: said once, not every few seconds.
    complaints: Mutex<HashMap<&'static str, String>>,
}

/// What an act is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One partition.
    Partition(PartitionName),
    /// All partitions whose names begin with this and a dot.
    App(PartitionName),
}

/// Which of a partition's epochs are rolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kinds {
    /// Those of random tokens.
    Random,
    /// Those of deterministic tokens: equality with older ones ends.
    Deterministic,
    /// Both.
    All,
}

/// Who is at it, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    by: String,
    until: u64,
}

/// An entry that one process at a time works on.
trait Claimed: Serialize + DeserializeOwned {
    const KIND: &'static str;

    fn claim(&mut self) -> &mut Option<Claim>;
}

/// Does what is due; to be called every few seconds by a thread that may wait. One that keeps a [`Lifecycle`] calls
/// [`Lifecycle::run_due`] instead, which says only once what fails.
pub fn run_due(authority: &Authority) {
    match Lifecycle::of(authority) {
        Ok(lifecycle) => drop(lifecycle.run_due()),
        Err(error) => tracing::error!("what is due cannot be done: {error}"),
    }
}

impl Lifecycle {
    /// On this keyring, whose master key the process holds.
    pub fn new(keyring: Arc<Keyring>, directory: Directory, audit: Arc<Audit>) -> Result<Self, KeyringError> {
        let instance = random::bytes::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { keyring, directory, audit, instance, complaints: Mutex::default() })
    }

    /// How many entries could not be read; see [`Directory::unread`].
    pub fn unread(&self) -> u64 {
        self.directory.unread()
    }

    /// On an authority's.
    pub fn of(authority: &Authority) -> Result<Self, KeyringError> {
        Self::new(Arc::clone(&authority.keyring), authority.directory.clone(), Arc::clone(&authority.audit))
    }

    /// Does what is due, and a bounded piece of what takes long. Returns how much there was; what fails is in the log, and
    /// tried again later.
    pub fn run_due(&self) -> usize {
        let mut done = 0;
        for (what, run) in [
            ("scheduled roll-overs", self.run_schedules()),
            ("destructions", self.run_destructions()),
            ("re-wrapping", self.run_jobs()),
            ("forgetting what has ended", self.forget_ended()),
        ] {
            let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
            match run.map_err(|error| error.to_string()) {
                Ok(more) => {
                    done += more;
                    complaints.remove(what);
                }
                Err(error) => {
                    if complaints.get(what) != Some(&error) {
                        tracing::error!("{what}: {error}; tried again later");
                        complaints.insert(what, error);
                    }
                }
            }
        }
        done
    }

    /// Deletes entries of every kind that ended a while ago: tokens, quotas, attempts.
    fn forget_ended(&self) -> Result<usize, KeyringError> {
        let mut forgotten = 0;
        for _ in 0..FORGETS {
            let more = self.keyring.records()?.forget_expired(self.now().saturating_sub(GRACE), FORGOTTEN)?;
            forgotten += more;
            if more < FORGOTTEN {
                break;
            }
        }
        Ok(forgotten)
    }

    /// Begins new epochs in a partition, or in all of an app.
    pub fn rollover(&self, who: &str, target: &Target, kinds: Kinds) -> Result<(), KeyringError> {
        let on = target.to_string();
        self.audit.around(&Act { who, what: "partition.rollover", on: &on }, || {
            self.for_each(target, |name| self.keyring.rollover(name, kinds.as_kinds()))
        })
    }

    /// Takes a recipient away from a partition: new epochs begin, and a job takes away its wraps of older ones.
    pub fn remove_recipient(&self, who: &str, name: &PartitionName, id: [u8; 16]) -> Result<Job, KeyringError> {
        let on = format!("{name} {}", hex(&id));
        self.audit.around(&Act { who, what: "partition.remove-recipient", on: &on }, || {
            self.keyring.remove_recipient(name, id)
        })?;
        self.rewrap(who, Goal::Recipients, Some(name))
    }

    /// Takes an issuer away from a partition; the owner vouches for what it made. Returns how many epochs that were.
    pub fn remove_issuer(&self, who: &str, name: &PartitionName, id: [u8; 16]) -> Result<u64, KeyringError> {
        let on = format!("{name} {}", hex(&id));
        self.audit
            .around(&Act { who, what: "partition.remove-issuer", on: &on }, || self.keyring.remove_issuer(name, id))
    }

    /// Does it to each, and goes on after a failure, of which it returns the first.
    fn for_each(
        &self,
        target: &Target,
        mut each: impl FnMut(&PartitionName) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        let app = match target {
            Target::Partition(name) => return each(name),
            Target::App(app) => app,
        };
        let prefix = format!("{app}.");
        let (mut after, mut any, mut failed) = (app.to_string(), false, None);
        loop {
            let page = self.keyring.partition_names(&after, PAGE)?;
            for name in page.iter().filter(|name| name.starts_with(&prefix)) {
                // A row whose name is none cannot hold a record that verifies.
                let Ok(name) = PartitionName::new(name) else { continue };
                any = true;
                if let Err(error) = each(&name) {
                    failed.get_or_insert(error);
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE && (last.starts_with(&prefix) || *last < prefix) => {
                    after.clone_from(last);
                }
                _ => break,
            }
        }
        match failed {
            Some(error) => Err(error),
            None if !any => Err(KeyringError::Unknown(format!("app {app} has no partition"))),
            None => Ok(()),
        }
    }

    fn now(&self) -> u64 {
        self.directory.clock().now()
    }

    /// All entries of a kind.
    fn all<T: Claimed>(&self) -> Result<Vec<Entry<T>>, KeyringError> {
        let mut all: Vec<Entry<T>> = Vec::new();
        loop {
            let after = all.last().map_or("", |entry| entry.id.as_str()).to_owned();
            let page = self.directory.list(T::KIND, &after, PAGE)?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// The entry, if it is due and nobody else is at it.
    fn claim<T: Claimed>(&self, id: &str, due: impl Fn(&T) -> bool) -> Result<Option<Entry<T>>, KeyringError> {
        let now = self.now();
        let Some(mut entry) = self.directory.get::<T>(T::KIND, id)? else { return Ok(None) };
        if !due(&entry.value) || entry.value.claim().as_ref().is_some_and(|claim| claim.until > now) {
            return Ok(None);
        }
        Ok(self.keep_claim(&mut entry)?.then_some(entry))
    }

    /// Writes the entry with a claim that begins now; `false`: another process has taken it over, so let go.
    fn keep_claim<T: Claimed>(&self, entry: &mut Entry<T>) -> Result<bool, KeyringError> {
        *entry.value.claim() = Some(Claim { by: self.instance.clone(), until: self.now() + LEASE });
        self.write(entry)
    }

    /// Writes the entry without one.
    fn release<T: Claimed>(&self, entry: &mut Entry<T>) -> Result<bool, KeyringError> {
        *entry.value.claim() = None;
        self.write(entry)
    }

    fn write<T: Claimed>(&self, entry: &mut Entry<T>) -> Result<bool, KeyringError> {
        let put = self.directory.put(T::KIND, &entry.id, entry.version, &entry.value, Ends::at(entry.expires))?;
        entry.version += 1;
        Ok(put == Put::Done)
    }
}

impl Kinds {
    /// As the keyring has them.
    pub fn as_kinds(self) -> &'static [Kind] {
        match self {
            Self::Random => &[Kind::Random],
            Self::Deterministic => &[Kind::Deterministic],
            Self::All => &[Kind::Random, Kind::Deterministic],
        }
    }
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let (what, name) = text.split_once(':')?;
        let name = PartitionName::new(name).ok()?;
        match what {
            "partition" => Some(Self::Partition(name)),
            "app" => Some(Self::App(name)),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(name) => write!(f, "partition:{name}"),
            Self::App(name) => write!(f, "app:{name}"),
        }
    }
}

/// Whole seconds, at least one unless it is none.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
