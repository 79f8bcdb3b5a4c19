//! Partitions whose epochs a managed API opens.

use super::super::cbor::Record;
use super::super::record::Recipient;
use super::super::store::Put;
use super::super::{Cursor, Keyring, KeyringError, State};
use super::Held;
use crate::crypto::kdf::key_id;
use crate::name::PartitionName;

/// Epochs brought to a new list of recipients at once.
const PAGE: usize = 256;

impl Keyring {
    /// Makes a partition that this recipient opens, by suite and key as [`super::ManagedKeys::profile_of`] knows it, beside the
    /// recipients of `default` whose private keys are elsewhere, for recovery; issuers, signers and roles are those of `default`.
    /// First the API opens a challenge that it wrapped. Needs the master key; may block.
    pub fn create_managed(&self, name: &PartitionName, (suite, key): (u8, &[u8])) -> Result<(), KeyringError> {
        let held = self.reached(suite, key)?;
        let taken = || KeyringError::Mismatch(format!("there is a partition {name} already; it was left as it is"));
        {
            let io = self.lock_fresh()?;
            self.owner_key(&io)?;
            if self.caches.seen_version(name) > 0 || self.store.partition(name)?.is_some() {
                return Err(taken());
            }
        }
        self.desk.challenge(name, &held)?;
        let io = self.lock_fresh()?;
        let mut record = self.load_partition(&io, &PartitionName::default_name())?.record.clone();
        let ours = |r: &Recipient| io.keys.recipients.iter().any(|(ours, _)| *ours == key_id(&r.key));
        record.recipients.retain(|r| r.suite != super::MANAGED && !ours(r) && self.held(r).is_none());
        record.recipients.insert(0, held.recipient);
        record.name = name.clone();
        record.version = 1;
        record.state = State::Active;
        record.sign(self.owner_key(&io)?)?;
        if self.store.put_partition(name, 0, &record.encode())? == Put::Conflict {
            return Err(taken());
        }
        self.caches.forget_unknown();
        self.load_partition(&io, name).map(drop)
    }

    /// Adds such a recipient to a partition and has it wrap all its epochs, after it has opened a challenge. An epoch that does not
    /// open here stays as it is, with a warning. Needs the master key; may block.
    pub fn add_managed(&self, name: &PartitionName, (suite, key): (u8, &[u8])) -> Result<(), KeyringError> {
        let held = self.reached(suite, key)?;
        let loaded = {
            let io = self.lock_fresh()?;
            self.owner_key(&io)?;
            self.load_partition(&io, name)?
        };
        if loaded.partition.state == State::Destroyed {
            return Err(KeyringError::Denied(name.clone(), State::Destroyed));
        }
        self.desk.challenge(name, &held)?;
        self.add_recipient_to(name, &held.recipient)
    }

    /// Takes such a recipient off a partition and off all its epochs, and begins new ones. May block.
    pub fn remove_managed(&self, name: &PartitionName, (_, key): (u8, &[u8])) -> Result<(), KeyringError> {
        // Before the partition forgets through whom they open: afterwards nobody could wrap them to the others.
        self.rewrap_all(name)?;
        self.remove_recipient(name, key_id(key))?;
        self.rewrap_all(name)
    }

    /// Whether a partition's record lists this recipient. May block.
    pub fn lists_recipient(&self, name: &PartitionName, (suite, key): (u8, &[u8])) -> Result<bool, KeyringError> {
        let io = self.lock_fresh()?;
        let loaded = self.loaded(&io, name)?;
        Ok(loaded.record.recipients.iter().any(|recipient| recipient.suite == suite && recipient.key == key))
    }

    fn rewrap_all(&self, name: &PartitionName) -> Result<(), KeyringError> {
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.rewrap(Some(name), &from, PAGE)?.next;
        }
        Ok(())
    }

    fn reached(&self, suite: u8, key: &[u8]) -> Result<Held, KeyringError> {
        self.held(&Recipient { suite, key: key.to_vec() }).ok_or_else(|| {
            KeyringError::NoKey(
                "no profile of this process opens for that recipient; run it with the configuration that names it under \
                 `profiles`"
                    .into(),
            )
        })
    }
}
