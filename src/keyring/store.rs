//! Where the records of a keyring lie. A store is not trusted: all it holds is signed or wrapped, and checked after reading.

use std::thread;
use std::time::Duration;

use crate::crypto::kdf::sha256;
use crate::name::PartitionName;
use crate::token::EpochId;

use super::Kind;

mod authority;
pub mod place;
pub mod postgres;
pub mod records;
mod service;
pub mod sqlite;

pub use authority::{Credential, Remote, check_url};
pub use place::{BadPlace, StorePlace};
pub use records::{EntryRow, Records};
pub use service::{Counted, Service, ServiceError};

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, read or written now (locked, full, gone); nothing was changed.
    #[error("{0}")]
    Unavailable(String),
    /// Whoever keeps it does not take what this process shows; nothing was changed.
    #[error("{0}")]
    Unauthorized(String),
    /// It is no store of ours, or damaged.
    #[error("{0}")]
    Damaged(String),
}

/// Why a compare-and-set changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Durable.
    Done,
    /// Another process was first: read again.
    Conflict,
}

/// What became of a new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// Durable (and current, if asked for).
    Done,
    /// Its id is taken or was destroyed: make another data key.
    Taken,
    /// Another epoch became current, or the partition changed, meanwhile: look again.
    Raced,
}

/// A private key, wrapped under a master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// 0 owner, 1–3 recipient of that KEM, 4 issuer, 5 signer.
    pub usage: u8,
    /// The public half.
    pub public: Vec<u8>,
    /// The partition it is for; empty for a key that serves several.
    pub partition: String,
    /// `id(master) | nonce | ciphertext | tag`.
    pub blob: Vec<u8>,
}

/// An epoch as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRow {
    /// Its name.
    pub id: EpochId,
    /// Its partition, as the row says.
    pub partition: String,
    /// Its kind, as the row says.
    pub kind: u8,
    /// The encoded record.
    pub record: Vec<u8>,
    /// Whether an opener has unwrapped it.
    pub confirmed: bool,
    /// Whether it is the one to seal under.
    pub current: bool,
}

/// A new epoch row and what must be true for it to enter.
#[derive(Debug)]
pub struct NewEpoch<'a> {
    /// Its name.
    pub id: EpochId,
    /// Its partition.
    pub partition: &'a PartitionName,
    /// Its kind.
    pub kind: Kind,
    /// The encoded record.
    pub record: &'a [u8],
    /// Whether an opener has unwrapped it already.
    pub confirmed: bool,
    /// `Some(previous)`: becomes current, provided that the current one still is `previous`.
    pub replaces: Option<Option<EpochId>>,
    /// The partition's record that it was made under, which must still be the stored one: a recipient added meanwhile would
    /// miss it, and a partition paused meanwhile gets no epoch.
    pub under: Option<&'a [u8]>,
}

/// Rows that make a whole keyring.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Private keys.
    pub keys: Vec<KeyRow>,
    /// Name, version, record.
    pub partitions: Vec<(String, u64, Vec<u8>)>,
    /// Epochs.
    pub epochs: Vec<EpochRow>,
    /// Epoch id and record of each destroyed epoch.
    pub tombstones: Vec<(EpochId, Vec<u8>)>,
}

/// What was written since a process last looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Private keys were.
    pub keys: bool,
    /// Tombstones were.
    pub tombstones: bool,
    /// Partitions whose records were.
    pub partitions: Vec<PartitionName>,
    /// Partitions of whose epochs any was.
    pub sealing: Vec<PartitionName>,
}

/// What the columns of an epoch's row say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub id: EpochId,
    /// Its partition.
    pub partition: String,
    /// Its kind.
    pub kind: u8,
    /// Whether it is the one to seal under.
    pub current: bool,
}

/// A place for records, shared by processes. Every method that writes is atomic (all or nothing, also when the machine
/// stops) and **durable when it returns** `Done`; `Err` means that nothing was changed, or, if the connection broke during
/// a commit, that the caller must read again. Methods block; none is called on a path that must not wait.
pub trait Store: Send + Sync {
    /// Something that differs from the last answer if any process, this one included, may have written since. Fails if the
    /// store cannot be read. Must be cheap: it is asked four times a second.
    fn change(&self) -> Result<u64, StoreError>;

    /// What was written since [`Self::change`] said `change`, also what was while this is asked; `None`: look at everything.
    fn changes_since(&self, change: u64) -> Result<Option<Changes>, StoreError> {
        let _ = change;
        Ok(None)
    }

    /// Waits until another process has written since [`Self::change`] was last asked, at most for `timeout`. May return early
    /// without a reason, and may hear of nothing: [`Self::change`] is what tells.
    fn wait(&self, timeout: Duration) {
        thread::park_timeout(timeout);
    }

    /// Writes the rows of a new keyring, or `Conflict` if there is one.
    fn bootstrap(&self, rows: &Dump) -> Result<Put, StoreError>;

    /// All rows, read in one snapshot.
    fn dump(&self) -> Result<Dump, StoreError>;

    /// All private keys (a handful).
    fn keys(&self) -> Result<Vec<KeyRow>, StoreError>;

    /// Adds a private key, or `Conflict` if (usage, public) is there.
    fn add_key(&self, row: &KeyRow) -> Result<Put, StoreError>;

    /// Replaces the blob of (usage, public) if it still is `old`.
    fn rewrap_key(&self, usage: u8, public: &[u8], old: &[u8], new: &[u8]) -> Result<Put, StoreError>;

    /// How many partitions there are.
    fn partition_count(&self) -> Result<usize, StoreError>;

    /// Up to `limit` names that sort after `after`, in order.
    fn partition_names(&self, after: &str, limit: usize) -> Result<Vec<String>, StoreError>;

    /// The encoded record.
    fn partition(&self, name: &PartitionName) -> Result<Option<Vec<u8>>, StoreError>;

    /// SHA-256 of each encoded record, in the order of the names; `None`: there is none.
    fn digests(&self, names: &[PartitionName]) -> Result<Vec<Option<[u8; 32]>>, StoreError> {
        names.iter().map(|name| Ok(self.partition(name)?.map(|record| sha256(&record)))).collect()
    }

    /// Writes a record of version `expected + 1`, provided that the stored version is `expected` (0: that there is none).
    fn put_partition(&self, name: &PartitionName, expected: u64, record: &[u8]) -> Result<Put, StoreError>;

    /// The epoch of that name.
    fn epoch(&self, id: EpochId) -> Result<Option<EpochRow>, StoreError>;

    /// What is said of those of these epochs that are there, in any order.
    fn standing(&self, ids: &[EpochId]) -> Result<Vec<Standing>, StoreError> {
        let mut found = Vec::new();
        for id in ids {
            if let Some(EpochRow { id, partition, kind, current, .. }) = self.epoch(*id)? {
                found.push(Standing { id, partition, kind, current });
            }
        }
        Ok(found)
    }

    /// The current epoch; at most one per partition and kind, kinds 0 and 1 only.
    fn current(&self, name: &PartitionName, kind: Kind) -> Result<Option<EpochRow>, StoreError>;

    /// Up to `limit` epochs of a partition whose ids sort after `after`, in order.
    fn epochs_of(&self, name: &PartitionName, after: EpochId, limit: usize) -> Result<Vec<EpochRow>, StoreError>;

    /// The newest deterministic epoch of a partition but for `current`.
    fn previous(&self, name: &PartitionName, current: EpochId) -> Result<Option<EpochRow>, StoreError> {
        super::previous::newest_but(self, name, current)
    }

    /// How many epochs a partition has.
    fn epoch_count(&self, name: &PartitionName) -> Result<usize, StoreError>;

    /// Up to `limit` epochs that no opener has confirmed, whose ids sort after `after`, in order.
    fn unconfirmed(&self, after: EpochId, limit: usize) -> Result<Vec<EpochRow>, StoreError>;

    /// Adds an epoch. One transaction checks id, tombstone, partition and current epoch, and writes.
    fn insert_epoch(&self, row: &NewEpoch<'_>) -> Result<Inserted, StoreError>;

    /// Replaces the record if it still is `old`.
    fn rewrap_epoch(&self, id: EpochId, old: &[u8], new: &[u8]) -> Result<Put, StoreError>;

    /// Marks an epoch as unwrapped by an opener, provided that its record still is `record`.
    fn confirm(&self, id: EpochId, record: &[u8]) -> Result<(), StoreError>;

    /// Deletes an epoch and leaves the tombstone, in one transaction; an epoch that is not there gets one all the same.
    fn destroy(&self, id: EpochId, tombstone: &[u8]) -> Result<(), StoreError>;

    /// The tombstone of that epoch.
    fn tombstone(&self, id: EpochId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` tombstones written after the one numbered `after`, with their numbers, in order.
    fn tombstones_after(&self, after: u64, limit: usize) -> Result<Vec<(u64, EpochId, Vec<u8>)>, StoreError>;

    /// Directory and audit log, if this store has them (an authority's API does not hand them out).
    fn records(&self) -> Option<&dyn Records> {
        None
    }

    /// What an authority behind this store does for a process without the master key.
    fn service(&self) -> Option<&dyn Service> {
        None
    }
}
