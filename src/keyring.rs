//! A process's view of the keyring: verified partition and epoch records, their keys, and the caches over them.
//! (interface; owner: keyring)

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::crypto::kem::KemSuite;
use crate::crypto::sign::{SigningKey, VerifyingKey};
use crate::name::{Class, PartitionName};
use crate::token::v1::{FieldKey, PrefixCache};
use crate::token::{EpochId, Suite};

/// What an epoch's key seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Random tokens (suites 1 and 2), shared by all processes.
    Random = 0,
    /// Deterministic tokens (suite 3).
    Deterministic = 1,
    /// Random tokens of the one process that made the epoch.
    Private = 2,
}

/// Of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Seals and opens.
    Active = 0,
    /// Opens only.
    DecryptOnly = 1,
    /// Neither, until resumed.
    Paused = 2,
    /// Neither, for good.
    Destroyed = 3,
}

/// Permission bits of a role, as in the Crypteron API (apis.md § 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permissions(pub u32);

impl Permissions {
    /// AllowDecrypt | AllowEncrypt | the four audit bits: what role `default` gets in a new partition.
    pub const DEFAULT: Self = Self(983_052);
    /// AllowDecrypt.
    pub const DECRYPT: u32 = 4;
    /// AllowEncrypt.
    pub const ENCRYPT: u32 = 8;
    /// EnforceMask.
    pub const MASK: u32 = 0x400;

    /// Whether all these bits are set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

/// A partition record whose signature has been verified.
#[derive(Debug)]
pub struct Partition {
    /// Its name.
    pub name: PartitionName,
    /// Grows with every change.
    pub version: u64,
    /// Its state.
    pub state: State,
    /// Who may sign values.
    pub signers: Vec<VerifyingKey>,
    /// Roles and their permissions; a role not listed has none.
    pub roles: Vec<(String, Permissions)>,
}

impl Partition {
    /// What a role may do.
    pub fn permissions(&self, role: &str) -> Permissions {
        self.roles.iter().find(|(name, _)| name == role).map_or(Permissions(0), |(_, p)| *p)
    }
}

/// A verified epoch with its data key.
#[derive(Debug)]
pub struct Epoch {
    /// Its name.
    pub id: EpochId,
    /// The partition it belongs to.
    pub partition: PartitionName,
    /// What it seals.
    pub kind: Kind,
    /// When it was made (Unix seconds).
    pub created: u64,
    /// Until when it seals (0: no end).
    pub not_after: u64,
}

/// The answer of a cache that never does I/O.
#[derive(Debug)]
pub enum Cached<T> {
    /// Here it is.
    Hit(T),
    /// Asked for lately, and not (known good) in the keyring.
    Unknown,
    /// The partition's state forbids it.
    Denied(State),
    /// Ask the method that may block.
    Miss,
}

/// Why the keyring gives no key. Its text names no key and no value.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyringError {
    /// The partition's state forbids it: 403.
    #[error("partition {0} is {1:?}")]
    Denied(PartitionName, State),
    /// No such partition or epoch, or a record that does not verify: a token that does not open.
    #[error("{0}")]
    Unknown(String),
    /// The store cannot be read or written, or is stale: 503.
    #[error("the keyring is unavailable: {0}")]
    Unavailable(String),
    /// This process lacks the key for it (no master key, encrypt-only): exit 77 at start.
    #[error("{0}")]
    NoKey(String),
    /// The keyring does not fit the key or is damaged: exit 78 at start.
    #[error("{0}")]
    Mismatch(String),
    /// The operating system's random generator failed.
    #[error(transparent)]
    Random(#[from] crate::crypto::RandomError),
}

/// How a keyring is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Path of the SQLite file.
    pub path: PathBuf,
    /// `file:PATH` or `env:NAME`, the first wraps, any unwraps.
    pub master_keys: Vec<KeySource>,
    /// SHA-256 of the owner's verifying key, pinned by a process without the master key.
    pub owner: Option<[u8; 32]>,
    /// Recipients written into each new partition record.
    pub recovery: Vec<KeySource>,
    /// A directory that gets every epoch record, synced, before its first use.
    pub mirror: Option<PathBuf>,
    /// How old the partition state may be.
    pub max_stale: Duration,
    /// How long a random epoch seals.
    pub epoch_lifetime: Duration,
    /// Seal only under epochs that an opener confirmed.
    pub require_confirmed: bool,
    /// Accept file systems that lose data (tmpfs, overlay, nfs, cifs, fuse).
    pub i_know: bool,
}

/// Where a secret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `file:PATH`
    File(PathBuf),
    /// `env:NAME`
    Env(String),
}

/// See the module.
pub struct Keyring {}

impl Keyring {
    /// Opens and checks a keyring; never makes one.
    pub fn open(_options: &Options, _clock: SharedClock) -> Result<Self, KeyringError> {
        Err(KeyringError::NoKey("interface only".into()))
    }

    /// Makes a keyring and, if missing, its first master key file (0600), with a `default` partition.
    pub fn init(_options: &Options, _kem: KemSuite, _clock: SharedClock) -> Result<Self, KeyringError> {
        Err(KeyringError::NoKey("interface only".into()))
    }

    /// The partition's verified record. Never blocks.
    pub fn partition_cached(&self, _name: &PartitionName) -> Cached<Arc<Partition>> {
        Cached::Miss
    }

    /// The partition's verified record. May block.
    pub fn partition(&self, _name: &PartitionName) -> Result<Arc<Partition>, KeyringError> {
        Err(KeyringError::NoKey("interface only".into()))
    }

    /// The epoch to seal under now (an encrypt-only process gets its own private epoch for `Kind::Random`). Never blocks.
    pub fn sealing_cached(&self, _name: &PartitionName, _kind: Kind) -> Cached<Arc<Epoch>> {
        Cached::Miss
    }

    /// The same; may block, and makes (durably) an epoch where none is current.
    pub fn sealing(&self, _name: &PartitionName, _kind: Kind) -> Result<Arc<Epoch>, KeyringError> {
        Err(KeyringError::NoKey("interface only".into()))
    }

    /// The epoch that a token names, for opening. Never blocks.
    pub fn opening_cached(&self, _id: EpochId) -> Cached<Arc<Epoch>> {
        Cached::Miss
    }

    /// The same; may block.
    pub fn opening(&self, _id: EpochId) -> Result<Arc<Epoch>, KeyringError> {
        Err(KeyringError::NoKey("interface only".into()))
    }

    /// The key of a class under an epoch; cached, derived on a miss, never blocks on I/O.
    pub fn field_key(&self, _epoch: &Epoch, _suite: Suite, _class: &Class) -> Arc<FieldKey> {
        unimplemented!()
    }

    /// XAES keys by prefix.
    pub fn prefixes(&self) -> &PrefixCache {
        unimplemented!()
    }

    /// This process's signing key for values in that partition, if it has one that the partition lists. May block the first time.
    pub fn signer(&self, _name: &PartitionName) -> Result<Option<Arc<SigningKey>>, KeyringError> {
        Ok(None)
    }

    /// Makes a partition if there is none (copying recipients, issuers, signers and roles from `default`), unless there are
    /// `max` already. May block.
    pub fn provision(&self, _name: &PartitionName, _max: usize) -> Result<Arc<Partition>, KeyringError> {
        Err(KeyringError::NoKey("interface only".into()))
    }

    /// Rolls the partition's epochs of these kinds.
    pub fn rollover(&self, _name: &PartitionName, _kinds: &[Kind]) -> Result<(), KeyringError> {
        Ok(())
    }

    /// To be called about every 250 ms by a background thread: notices what other processes wrote (SQLite `data_version`),
    /// refreshes partition states, renews epochs before `not_after`, re-inserts records that the store lost.
    pub fn tick(&self) {}
}
