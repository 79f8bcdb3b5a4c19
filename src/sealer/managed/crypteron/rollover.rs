//! A new version at the service is a rollover of the partition's epochs here: once for all processes on one keyring, also when one
//! of them ends in the middle of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CrypteronSettings;
use crate::clock::SharedClock;
use crate::directory::{Directory, Ends, Entry};
use crate::keyring::store::Put;
use crate::keyring::{Keyring, KeyringError};
use crate::name::PartitionName;

const KIND: &str = "crypteron-rolled";
/// Lost races before it is left to the next poll.
const ATTEMPTS: usize = 8;
/// How long others leave a rollover to who began it (seconds). It takes a second; who needs longer is taken to be gone.
const LEASE: u64 = 60;
/// Of a partition that was never rolled.
const FIRST: u64 = 1;

/// Rolls the partition's epochs over; the error says why not. May block.
pub type Roll = Arc<dyn Fn(&PartitionName) -> Result<(), String> + Send + Sync>;

/// See the module. Clones share what they know.
#[derive(Clone)]
pub struct Rollover {
    directory: Directory,
    clock: SharedClock,
    partition: PartitionName,
    /// Names the entry.
    id: String,
    roll: Roll,
    /// The version that is known to be rolled to.
    rolled: Arc<AtomicU64>,
}

/// The entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rolled {
    version: u64,
    /// Until when (Unix seconds) somebody is at a later one.
    leased: Option<u64>,
}

/// Why nothing was rolled.
#[derive(Debug, thiserror::Error)]
pub enum NotRolled {
    /// Where it is remembered.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The rollover itself.
    #[error("{0}")]
    Roll(String),
}

impl Rollover {
    /// On a keyring whose store keeps what was done, and whose master key is here; the error names the profile where it is not so.
    pub fn new(
        keyring: &Arc<Keyring>,
        clock: SharedClock,
        profile: &str,
        partition: PartitionName,
        settings: &CrypteronSettings,
        roll: Roll,
    ) -> Result<Self, String> {
        let directory = Directory::new(Arc::clone(keyring), Arc::clone(&clock), Duration::ZERO)
            .ok()
            .filter(|_| keyring.first_master().is_some());
        let directory = directory.ok_or_else(|| {
            format!(
                "profile `{profile}` (crypteron) cannot follow versions with this keyring, which keeps no records of its own: use a store that this process opens itself (SQLite or PostgreSQL) with its master key, or let the authority serve Crypteron's API and leave the profile out"
            )
        })?;
        let mut id = format!("{partition}/{}/", settings.app_id);
        PartitionName::escape_into(settings.sec_part_id.as_bytes(), &mut id);
        Ok(Self { directory, clock, partition, id, roll, rolled: Arc::default() })
    }

    /// Whether this version may still have to be rolled to. Does not block.
    pub fn is_due(&self, version: u64) -> bool {
        version > self.rolled.load(Ordering::Acquire)
    }

    /// Rolls over if the keyring was not yet rolled to this version and nobody is at it; whether it did. May block.
    pub fn follow(&self, version: u64) -> Result<bool, NotRolled> {
        for _ in 0..ATTEMPTS {
            let entry = self.directory.get::<Rolled>(KIND, &self.id)?;
            let (at, found) = match entry {
                Some(Entry { version: at, value, .. }) => (at, value),
                None => (0, Rolled { version: FIRST, leased: None }),
            };
            if found.version >= version {
                self.rolled.fetch_max(found.version, Ordering::AcqRel);
                return Ok(false);
            }
            let now = self.clock.now();
            // One that ends later than any may was written before the clock was set back.
            if found.leased.is_some_and(|until| until > now && until <= now.saturating_add(LEASE)) {
                return Ok(false);
            }
            let leased = Rolled { version: found.version, leased: Some(now.saturating_add(LEASE)) };
            if self.put(at, &leased)? == Put::Done {
                return self.roll_to(version, found, at + 1);
            }
        }
        Ok(false)
    }

    fn roll_to(&self, version: u64, before: Rolled, at: u64) -> Result<bool, NotRolled> {
        if let Err(error) = (self.roll)(&self.partition) {
            // So that the next poll of any process tries again; on a conflict somebody does already.
            let (Put::Done | Put::Conflict) = self.put(at, &Rolled { leased: None, ..before })?;
            return Err(NotRolled::Roll(error));
        }
        // On a conflict the lease had run out, and somebody else rolls as well: once too often, and not once too little.
        let (Put::Done | Put::Conflict) = self.put(at, &Rolled { version, leased: None })?;
        self.rolled.fetch_max(version, Ordering::AcqRel);
        Ok(true)
    }

    fn put(&self, at: u64, rolled: &Rolled) -> Result<Put, KeyringError> {
        self.directory.put(KIND, &self.id, at, rolled, Ends::never())
    }
}

#[cfg(test)]
mod tests;
