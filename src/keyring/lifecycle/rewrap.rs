//! Bringing the wraps of epochs to what their partitions list now, some at a time, so that it can be broken off and gone on with.

use serde::{Deserialize, Serialize};

use super::super::cbor::Record;
use super::super::epoch;
use super::super::record::EpochRecord;
use super::super::store::{EpochRow, Put};
use super::super::{Io, Keyring, KeyringError, State};
use super::ATTEMPTS;
use crate::crypto::kdf::key_id;
use crate::name::PartitionName;
use crate::token::EpochId;

/// How far a re-wrapping has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The partition it is in; empty before the first.
    partition: String,
    /// The last epoch that was looked at there.
    epoch: [u8; 10],
}

/// What one step of a re-wrapping did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// Epochs looked at.
    pub seen: u64,
    /// Those whose wraps were others than their partition lists.
    pub changed: u64,
    /// Where to go on; `None`: that was all.
    pub next: Option<Cursor>,
}

impl Keyring {
    /// How many epochs there are, in this partition or in all.
    pub fn epoch_total(&self, only: Option<&PartitionName>) -> Result<u64, KeyringError> {
        let mut total = 0;
        let mut add = |name: &PartitionName| {
            total += self.store.epoch_count(name)? as u64;
            Ok(())
        };
        match only {
            Some(name) => add(name)?,
            None => self.each_partition(add)?,
        }
        Ok(total)
    }

    /// Wraps up to `limit` epochs, of this partition or of all, to exactly the recipients that their partition lists.
    pub fn rewrap(&self, only: Option<&PartitionName>, from: &Cursor, limit: usize) -> Result<Rewrapped, KeyringError> {
        let mut cursor = from.clone();
        let mut done = Rewrapped { seen: 0, changed: 0, next: None };
        if let (Some(name), true) = (only, cursor.partition.is_empty()) {
            cursor.partition = name.to_string();
        }
        let mut left = limit;
        loop {
            // A row whose name is none cannot hold a record that verifies.
            if let Ok(name) = PartitionName::new(&cursor.partition) {
                let page = self.store.epochs_of(&name, EpochId(cursor.epoch), left)?;
                for row in &page {
                    done.changed += u64::from(self.rewrap_one(&name, row)?);
                    done.seen += 1;
                    cursor.epoch = row.id.0;
                }
                left = left.saturating_sub(page.len());
                if left == 0 {
                    done.next = Some(cursor);
                    return Ok(done);
                }
            }
            let next = match only {
                Some(_) => None,
                None => self.store.partition_names(&cursor.partition, 1)?.pop(),
            };
            let Some(partition) = next else { return Ok(done) };
            cursor = Cursor { partition, epoch: [0; 10] };
        }
    }

    /// Whether it had to be done. One that does not verify is left as it is, with an alarm.
    pub(super) fn rewrap_one(&self, name: &PartitionName, row: &EpochRow) -> Result<bool, KeyringError> {
        // For each anew: who waits for a key goes between.
        self.with_calls(|io| self.rewrap_under(io, name, row))
    }

    fn rewrap_under(&self, io: &Io, name: &PartitionName, row: &EpochRow) -> Result<bool, KeyringError> {
        let mut row = row.clone();
        for _ in 0..ATTEMPTS {
            let loaded = match self.load_partition(io, name) {
                Ok(loaded) if loaded.partition.state != State::Destroyed => loaded,
                Ok(_) | Err(KeyringError::Unknown(_)) => return Ok(false),
                Err(error) => return Err(error),
            };
            let mut record = match self.verified(io, &row) {
                Ok(record) if record.core.partition == *name => record,
                Ok(_) | Err(KeyringError::Unknown(_)) => return Ok(false),
                Err(error) => return Err(error),
            };
            let recipients = &loaded.record.recipients;
            let listed: Vec<_> = recipients.iter().map(|recipient| (recipient.suite, key_id(&recipient.key))).collect();
            let wrapped: Vec<_> = record.wraps.iter().map(|wrap| (wrap.suite, wrap.recipient)).collect();
            if listed.iter().all(|one| wrapped.contains(one)) && wrapped.iter().all(|one| listed.contains(one)) {
                return Ok(false);
            }
            let opened = match self.unwrapped(io, &record) {
                Ok(opened) => opened,
                Err(KeyringError::Unknown(_)) => return Ok(false),
                Err(error) => return Err(error),
            };
            let old = std::mem::take(&mut record.wraps);
            for (recipient, (suite, id)) in recipients.iter().zip(listed) {
                let kept = old.iter().find(|wrap| wrap.suite == suite && wrap.recipient == id);
                record.wraps.push(match kept {
                    Some(wrap) => wrap.clone(),
                    None => self.wrap_to(io, &record, &opened, recipient)?,
                });
            }
            // Opened as any other process would, before the old wraps are gone for good.
            let again = epoch::unwrap(&record, &io.keys.recipients);
            let again = again.is_ok_and(|dek| dek.expose() == opened.dek().expose());
            if !again && !self.api_opens(io, &loaded.record, &record)? {
                return Err(KeyringError::Mismatch(format!(
                    "epoch {} would no longer open here: partition {name} lists no recipient whose private key is in this keyring",
                    row.id
                )));
            }
            if self.replace(&row, &record)? {
                return Ok(true);
            }
            match self.store.epoch(row.id)? {
                Some(again) => row = again,
                None => return Ok(false),
            }
        }
        Err(KeyringError::Unavailable(format!("epoch {} is being re-wrapped by other processes; try again", row.id)))
    }

    /// Puts a record in the place of a row's, unless that was changed meanwhile.
    pub(super) fn replace(&self, row: &EpochRow, record: &EpochRecord) -> Result<bool, KeyringError> {
        let encoded = record.encode();
        if self.store.rewrap_epoch(row.id, &row.record, &encoded)? == Put::Conflict {
            return Ok(false);
        }
        self.mirror.as_ref().map_or(Ok(()), |mirror| mirror.write(row.id, &encoded))?;
        Ok(true)
    }
}
