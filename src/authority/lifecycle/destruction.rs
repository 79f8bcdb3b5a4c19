//! Destruction after a waiting period in which it can be called off. The partition is paused meanwhile, an epoch no longer
//! sealed under: who still needs it finds out while it is there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Claim, Claimed, Lifecycle, RETRY, seconds};
use crate::audit::Act;
use crate::directory::{Ends, Entry};
use crate::keyring::store::Put;
use crate::keyring::{KeyringError, State};
use crate::name::PartitionName;
use crate::token::EpochId;

/// How long it waits unless told otherwise.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(7 * 86_400);

/// How long what is to be destroyed stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Destroyed before the call returns; nothing brings it back.
    None,
    /// It can be called off for so long, at least a second.
    For(Duration),
}

/// Something that will be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destruction {
    /// `partition:NAME` or `epoch:ID`: what [`Lifecycle::cancel`] takes.
    pub what: String,
    /// The partition, or the epoch's.
    pub partition: String,
    /// From when (Unix seconds).
    pub due: u64,
    /// Who asked for it.
    pub asked_by: String,
    /// The epoch.
    epoch: Option<[u8; 10]>,
    /// The partition's state before.
    before: u8,
    retry: u64,
    claim: Option<Claim>,
}

impl Claimed for Destruction {
    const KIND: &'static str = "destruction";

    fn claim(&mut self) -> &mut Option<Claim> {
        &mut self.claim
    }
}

/// Who may seal under an epoch that is destroyed, until it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StillSealing {
    /// Nobody as far as the store knows.
    Nobody,
    /// It was the current one until now: every process that has not seen its successor yet.
    Shared,
    /// The one process that only encrypts and made it, until then (Unix seconds) unless it sees the end before.
    Own(u64),
}

impl StillSealing {
    /// For machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Shared => "shared",
            Self::Own(_) => "own",
        }
    }
}

impl Lifecycle {
    /// Destroys a partition with all its epochs, after the wait.
    pub fn destroy_partition(&self, who: &str, name: &PartitionName, wait: Wait) -> Result<(), KeyringError> {
        let id = format!("partition:{name}");
        let Wait::For(wait) = wait else {
            return self.audit.around(&Act { who, what: "partition.destroy", on: name.as_str() }, || {
                self.keyring.set_state(name, State::Destroyed)?;
                self.directory.delete(Destruction::KIND, &id).map(drop)
            });
        };
        self.audit.around(&Act { who, what: "partition.destroy-later", on: name.as_str() }, || {
            let before = self.keyring.partition(name)?.state;
            if before == State::Destroyed {
                return Err(KeyringError::Denied(name.clone(), before));
            }
            if self.destruction_of(name)?.is_some() {
                return Err(pending(&id));
            }
            // First: what is broken off here leaves it paused, and nothing destroys what is not.
            self.keyring.set_state(name, State::Paused)?;
            self.enter(who, &id, name, None, before, wait)
        })
    }

    /// Destroys an epoch, after the wait; if it is sealed under now, a new one takes its place at once. Says who may still seal
    /// under it when it is destroyed.
    pub fn destroy_epoch(&self, who: &str, epoch: EpochId, wait: Wait) -> Result<StillSealing, KeyringError> {
        let (id, on) = (format!("epoch:{epoch}"), epoch.to_string());
        let what = if wait == Wait::None { "epoch.destroy" } else { "epoch.destroy-later" };
        self.audit.around(&Act { who, what, on: &on }, || {
            let (name, info) = self.keyring.epoch_info(epoch)?;
            let end = match wait {
                Wait::None => self.now(),
                Wait::For(wait) => self.now().saturating_add(seconds(wait)),
            };
            let mut still = if info.is_own_at(end) { StillSealing::Own(info.not_after) } else { StillSealing::Nobody };
            if self.keyring.current_epochs(&name)?.iter().any(|current| current.id == epoch) {
                match self.keyring.rollover(&name, &[info.kind]) {
                    // The others follow at their next tick.
                    Ok(()) if wait == Wait::None => still = StillSealing::Shared,
                    // Nothing is sealed in it now; a paused one rolls when it is destroyed, if it seals by then.
                    Ok(()) | Err(KeyringError::Denied(..)) => {}
                    Err(error) => return Err(error),
                }
            }
            match wait {
                Wait::None => {
                    self.keyring.destroy_epoch(epoch)?;
                    self.directory.delete(Destruction::KIND, &id)?;
                }
                Wait::For(wait) => self.enter(who, &id, &name, Some(epoch.0), State::Active, wait)?,
            }
            Ok(still)
        })
    }

    /// Calls a destruction off; a partition is again as it was before.
    pub fn cancel(&self, who: &str, what: &str) -> Result<(), KeyringError> {
        self.audit.around(&Act { who, what: "destruction.cancel", on: what }, || {
            // With a claim: from here on no other process begins with it.
            let mut entry = self.claim::<Destruction>(what, |_| true)?.ok_or_else(|| {
                KeyringError::Unknown(format!("no destruction of {what} is pending, or it is being done now"))
            })?;
            if entry.value.epoch.is_none()
                && let Ok(name) = PartitionName::new(&entry.value.partition)
                && self.keyring.partition(&name)?.state == State::Paused
            {
                let before = state(entry.value.before);
                if before != State::Paused
                    && let Err(error) = self.keyring.set_state(&name, before)
                {
                    self.release(&mut entry)?;
                    return Err(error);
                }
            }
            self.directory.delete(Destruction::KIND, what).map(drop)
        })
    }

    /// All that are pending.
    pub fn destructions(&self) -> Result<Vec<Destruction>, KeyringError> {
        Ok(self.all::<Destruction>()?.into_iter().map(|entry| entry.value).collect())
    }

    /// The one of a partition.
    pub fn destruction_of(&self, name: &PartitionName) -> Result<Option<Destruction>, KeyringError> {
        let entry = self.directory.get::<Destruction>(Destruction::KIND, &format!("partition:{name}"))?;
        Ok(entry.map(|entry| entry.value))
    }

    pub(super) fn run_destructions(&self) -> Result<usize, KeyringError> {
        let now = self.now();
        let due = |destruction: &Destruction| destruction.due <= now && destruction.retry <= now;
        let mut done = 0;
        for entry in self.all::<Destruction>()?.into_iter().filter(|entry| due(&entry.value)) {
            if let Some(entry) = self.claim(&entry.id, due)? {
                self.run_destruction(entry)?;
                done += 1;
            }
        }
        Ok(done)
    }

    fn run_destruction(&self, mut entry: Entry<Destruction>) -> Result<(), KeyringError> {
        let destruction = &entry.value;
        let who = format!("destruction asked by {}", destruction.asked_by);
        let what = if destruction.epoch.is_some() { "epoch.destroy" } else { "partition.destroy" };
        let done = self.audit.around(&Act { who: &who, what, on: &destruction.what }, || self.destroy(destruction));
        match done {
            // Told in the audit log; it is not for us to decide which of the two was meant.
            Ok(()) | Err(KeyringError::Denied(..) | KeyringError::Unknown(_)) => {
                self.directory.delete(Destruction::KIND, &entry.id)?;
            }
            Err(_) => {
                entry.value.retry = self.now() + RETRY;
                self.release(&mut entry)?;
            }
        }
        done
    }

    fn destroy(&self, destruction: &Destruction) -> Result<(), KeyringError> {
        let name = PartitionName::new(&destruction.partition)
            .map_err(|_| KeyringError::Unknown("the destruction is of no partition".into()))?;
        if let Some(epoch) = destruction.epoch.map(EpochId) {
            if self.keyring.current_epochs(&name)?.iter().any(|current| current.id == epoch) {
                let kind = self.keyring.epoch_info(epoch)?.1.kind;
                match self.keyring.rollover(&name, &[kind]) {
                    Ok(()) | Err(KeyringError::Denied(..)) => {}
                    Err(error) => return Err(error),
                }
            }
            return self.keyring.destroy_epoch(epoch);
        }
        // If somebody resumed it, somebody uses it.
        self.keyring.destroy_paused(&name)
    }

    fn enter(
        &self,
        who: &str,
        id: &str,
        name: &PartitionName,
        epoch: Option<[u8; 10]>,
        before: State,
        wait: Duration,
    ) -> Result<(), KeyringError> {
        let destruction = Destruction {
            what: id.to_owned(),
            partition: name.to_string(),
            due: self.now() + seconds(wait).max(1),
            asked_by: who.to_owned(),
            epoch,
            before: before as u8,
            retry: 0,
            claim: None,
        };
        match self.directory.put(Destruction::KIND, id, 0, &destruction, Ends::never())? {
            Put::Done => Ok(()),
            Put::Conflict => Err(pending(id)),
        }
    }
}

fn pending(id: &str) -> KeyringError {
    KeyringError::Mismatch(format!("the destruction of {id} is pending already; cancel it first to change its time"))
}

fn state(byte: u8) -> State {
    match byte {
        0 => State::Active,
        1 => State::DecryptOnly,
        _ => State::Paused,
    }
}
