//! Keys are disabled, scheduled and destroyed here. Everything may block, and is in the audit log.

use super::assumptions::WRITE;
use super::entry::{Before, KEY, KeyEntry, NAME, PRIVATE, Status, USES, Version, version_id};
use super::lifecycle::{Claim, audited, edit, enabled, permitted};
use crate::authority::{Authority, Caller, Refused};
use crate::keyring::State;
use crate::name::PartitionName;

/// How long a key waits for its destruction.
const WAIT: u64 = 72 * 3600;

/// Disables the key: its partition is paused, whichever face asks for it.
pub fn disable(authority: &Authority, caller: &Caller, tag: &str) -> Result<KeyEntry, Refused> {
    let (entry, state) = permitted(authority, caller, tag, WRITE)?;
    match entry.status {
        Status::Disable if !state.opens() => Ok(entry),
        // Also one whose pausing broke off.
        Status::Enable | Status::Disable => {
            audited(authority, caller, "ncloud-kms.key.disable", tag, || pause(authority, tag, Status::Disable, 0))
        }
        Status::Revoke => Err(awaits_deletion()),
    }
}

/// Enables it again, as far as no operator has paused it.
pub fn enable(authority: &Authority, caller: &Caller, tag: &str) -> Result<KeyEntry, Refused> {
    let (entry, state) = permitted(authority, caller, tag, WRITE)?;
    match entry.status {
        Status::Enable if state.opens() => return Ok(entry),
        Status::Enable => return Err(Refused::State(state)),
        Status::Disable => {}
        Status::Revoke => return Err(awaits_deletion()),
    }
    audited(authority, caller, "ncloud-kms.key.enable", tag, || {
        let now = authority.clock.now();
        let state = match entry.before {
            // An operator has resumed it meanwhile.
            _ if state.opens() => state,
            Before::Active => State::Active,
            Before::DecryptOnly => State::DecryptOnly,
            Before::Paused => return Err(Refused::State(State::Paused)),
        };
        // The entry last: where this breaks off, the key stays disabled and can be enabled again. Not of a partition that an
        // operator has destroyed after a wait.
        let partition = PartitionName::new(tag).map_err(|_| Refused::Forbidden)?;
        authority.set_partition_state(&partition, state, None)?;
        let enabled = edit(authority, tag, |entry| {
            if entry.status != Status::Disable {
                return Err(Refused::Conflict("the key was changed meanwhile".into()));
            }
            (entry.status, entry.status_at) = (Status::Enable, now);
            Ok(())
        });
        if enabled.is_err() {
            set_state(authority, tag, State::Paused)?;
        }
        enabled
    })
}

/// Disables the key and destroys it three days later.
pub fn request_deletion(authority: &Authority, caller: &Caller, tag: &str) -> Result<KeyEntry, Refused> {
    let (entry, _) = permitted(authority, caller, tag, WRITE)?;
    if entry.status == Status::Revoke {
        return Err(awaits_deletion());
    }
    audited(authority, caller, "ncloud-kms.key.request-deletion", tag, || {
        pause(authority, tag, Status::Revoke, authority.clock.now().saturating_add(WAIT))
    })
}

/// Takes that back; the key stays disabled.
pub fn cancel_deletion(authority: &Authority, caller: &Caller, tag: &str) -> Result<KeyEntry, Refused> {
    let (entry, _) = permitted(authority, caller, tag, WRITE)?;
    if entry.status != Status::Revoke {
        return Err(Refused::Invalid("No deletion of this key was requested.".into()));
    }
    audited(authority, caller, "ncloud-kms.key.cancel-deletion", tag, || {
        let now = authority.clock.now();
        edit(authority, tag, |entry| {
            if entry.status != Status::Revoke || entry.destroy_at <= now {
                return Err(Refused::Conflict("the key is being destroyed".into()));
            }
            (entry.status, entry.status_at, entry.destroy_at) = (Status::Disable, now, 0);
            Ok(())
        })
    })
}

/// Destroys a key whose deletion was requested, now.
pub fn delete(authority: &Authority, caller: &Caller, tag: &str) -> Result<(), Refused> {
    let (entry, _) = permitted(authority, caller, tag, WRITE)?;
    if entry.status != Status::Revoke {
        return Err(Refused::Invalid("Request the deletion of the key first.".into()));
    }
    destroy(authority, caller, tag)
}

/// Changes when the key is rotated: the period, and whether at all.
pub fn schedule(
    authority: &Authority,
    caller: &Caller,
    tag: &str,
    period: Option<u64>,
    automatic: Option<bool>,
) -> Result<KeyEntry, Refused> {
    permitted(authority, caller, tag, WRITE)?;
    audited(authority, caller, "ncloud-kms.key.schedule", tag, || {
        let now = authority.clock.now();
        edit(authority, tag, |entry| {
            entry.rotation_period = period.unwrap_or(entry.rotation_period);
            entry.auto_rotation = automatic.unwrap_or(entry.auto_rotation);
            entry.next_rotation = now.saturating_add(entry.period());
            Ok(())
        })
    })
}

/// Enables or disables a version other than the newest.
pub fn set_version(
    authority: &Authority,
    caller: &Caller,
    tag: &str,
    number: usize,
    status: Status,
) -> Result<Version, Refused> {
    let (entry, _) = permitted(authority, caller, tag, WRITE)?;
    enabled(&entry)?;
    if number >= entry.current() || entry.version(number).is_none() {
        return Err(Refused::Invalid("Only a version before the newest is enabled or disabled.".into()));
    }
    audited(authority, caller, "ncloud-kms.version.status", tag, || {
        let now = authority.clock.now();
        let entry = edit(authority, tag, |entry| {
            let version = number.checked_sub(1).and_then(|at| entry.versions.get_mut(at));
            let version = version.ok_or(Refused::NotFound)?;
            (version.status, version.status_at) = (status, now);
            Ok(())
        })?;
        entry.version(number).cloned().ok_or(Refused::NotFound)
    })
}

/// Destroys a key that awaits it; what an earlier call left undone, too.
pub fn destroy(authority: &Authority, caller: &Caller, tag: &str) -> Result<(), Refused> {
    let partition = PartitionName::new(tag).map_err(|_| Refused::Forbidden)?;
    audited(authority, caller, "ncloud-kms.key.destroy", tag, || {
        // From here on nobody takes it back; what breaks off goes on at the next call of `run_due`.
        let entry = edit(authority, tag, |entry| {
            if entry.status != Status::Revoke {
                return Err(Refused::Conflict("the deletion was taken back".into()));
            }
            entry.destroy_at = entry.destroy_at.min(authority.clock.now());
            Ok(())
        })?;
        authority.keyring.set_state(&partition, State::Destroyed)?;
        for version in &entry.versions {
            let id = version_id(tag, version.epoch());
            authority.directory.delete(PRIVATE, &id)?;
            authority.directory.delete(USES, &id)?;
        }
        if authority.directory.get::<Claim>(NAME, &entry.name)?.is_some_and(|claim| claim.value.tag == tag) {
            authority.directory.delete(NAME, &entry.name)?;
        }
        authority.directory.delete(KEY, tag)?;
        Ok(())
    })
}

fn pause(authority: &Authority, tag: &str, status: Status, destroy_at: u64) -> Result<KeyEntry, Refused> {
    let partition = PartitionName::new(tag).map_err(|_| Refused::Forbidden)?;
    let before = match authority.keyring.partition(&partition)?.state {
        State::Active => Before::Active,
        State::DecryptOnly => Before::DecryptOnly,
        State::Paused | State::Destroyed => Before::Paused,
    };
    let now = authority.clock.now();
    let entry = edit(authority, tag, |entry| {
        if entry.status == Status::Enable {
            entry.before = before;
        }
        if entry.status == Status::Revoke {
            return Err(awaits_deletion());
        }
        (entry.status, entry.status_at, entry.destroy_at) = (status, now, destroy_at);
        Ok(())
    })?;
    set_state(authority, tag, State::Paused)?;
    Ok(entry)
}

fn set_state(authority: &Authority, tag: &str, state: State) -> Result<(), Refused> {
    let partition = PartitionName::new(tag).map_err(|_| Refused::Forbidden)?;
    authority.set_partition_state(&partition, state, None).map(drop)
}

fn awaits_deletion() -> Refused {
    Refused::Invalid("The key awaits its deletion; cancel that first.".into())
}
