//! What becomes of a key over time: it rolls by itself, and is destroyed after a wait.

use crate::authority::lifecycle::{DEFAULT_WAIT, Kinds, Lifecycle, Target, Wait};
use crate::authority::{Authority, Refused};
use crate::keyring::{KeyringError, State};
use crate::name::PartitionName;

/// Rolls a partition every so many days; 0: no longer. May block.
pub fn schedule(authority: &Authority, who: &str, partition: &PartitionName, days: u64) -> Result<(), Refused> {
    let days = u32::try_from(days).unwrap_or(u32::MAX);
    let target = Target::Partition(partition.clone());
    match Lifecycle::of(authority)?.schedule(who, &target, days, Kinds::All) {
        // Nothing was scheduled.
        Err(KeyringError::Unknown(_)) if days == 0 => Ok(()),
        done => Ok(done?),
    }
}

/// Destroys a partition after the usual wait, in which it is paused; once is enough. May block.
pub fn destroy(authority: &Authority, who: &str, partition: &PartitionName) -> Result<(), Refused> {
    if is_doomed(authority, partition)? {
        return Ok(());
    }
    Lifecycle::of(authority)?.destroy_partition(who, partition, Wait::For(DEFAULT_WAIT))?;
    // It is its own pause from now on: resuming its application does not wake it.
    authority.set_partition_state(partition, State::Paused, None)?;
    Ok(())
}

/// Whether a partition is destroyed, or will be. May block.
pub fn is_doomed(authority: &Authority, partition: &PartitionName) -> Result<bool, Refused> {
    let destroyed = authority.keyring.partition(partition)?.state == State::Destroyed;
    Ok(destroyed || Lifecycle::of(authority)?.destruction_of(partition)?.is_some())
}
