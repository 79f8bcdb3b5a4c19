//! (interface; owner: audit) The audit log: management acts written before the act, their outcome after, counts of what was sealed
//! and opened each second.

use std::sync::Arc;

use crate::clock::SharedClock;
use crate::keyring::{Keyring, KeyringError};
use crate::name::{Class, PartitionName};

/// See the module.
pub struct Audit {
    _keyring: Arc<Keyring>,
    _clock: SharedClock,
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
pub struct Started(());

/// What was done with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// Sealed.
    Sealed,
    /// Opened.
    Opened,
    /// Not sealed or opened, since the caller may not or the value is none.
    Refused,
}

impl Audit {
    /// The log in the store of this keyring.
    pub fn open(keyring: Arc<Keyring>, clock: SharedClock) -> Result<Self, KeyringError> {
        Ok(Self { _keyring: keyring, _clock: clock })
    }

    /// Writes that an act begins; it must not be done if this fails. May block.
    pub fn begin(&self, _act: &Act<'_>) -> Result<Started, KeyringError> {
        Ok(Started(()))
    }

    /// Writes how it ended. May block.
    pub fn end(&self, _started: Started, _outcome: Result<(), &str>) -> Result<(), KeyringError> {
        Ok(())
    }

    /// Counts values; written with the next flush. Never blocks.
    pub fn count(&self, _caller: &str, _partition: &PartitionName, _class: &Class, _what: Use, _values: u64) {}
}
