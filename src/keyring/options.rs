//! How a keyring is opened, and why it gives no key.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::store::postgres::DatabaseTls;
use super::store::{StoreError, StorePlace};
use super::{Managed, State};
use crate::name::PartitionName;

/// Why the keyring gives no key. Its text names no key and no value.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyringError {
    /// The partition's state forbids it: 403.
    #[error("partition {0} is {1}")]
    Denied(PartitionName, State),
    /// No such partition or epoch, or a record that does not verify: a token that does not open.
    #[error("{0}")]
    Unknown(String),
    /// The store cannot be read or written, or is stale: 503.
    #[error("the keyring is unavailable: {0}")]
    Unavailable(String),
    /// This process lacks the key for it (no master key, encrypt-only), or shows none that is taken: exit 77 at start.
    #[error("{0}")]
    NoKey(String),
    /// The keyring does not fit the key or is damaged: exit 78 at start.
    #[error("{0}")]
    Mismatch(String),
    /// The operating system's random generator failed.
    #[error(transparent)]
    Random(#[from] crate::crypto::RandomError),
}

impl KeyringError {
    /// Of a store that is asked for the first time: a credential that it does not take is no passing trouble.
    pub fn at_start(error: StoreError) -> Self {
        match error {
            StoreError::Unauthorized(text) => Self::NoKey(text),
            other => other.into(),
        }
    }

    /// What happened, without the partition's name: a name that a template made carries a piece of a path or header.
    pub fn without_name(&self) -> String {
        match self {
            Self::Denied(_, state) => format!("the partition is {}", state.name()),
            Self::Unknown(_) => "no such partition or epoch, and none is to be made now: `sidecloak keys init --partition` makes one, `provision` as many as `max_partitions` lets it".into(),
            Self::Unavailable(_) | Self::NoKey(_) | Self::Mismatch(_) | Self::Random(_) => self.to_string(),
        }
    }
}

impl From<StoreError> for KeyringError {
    fn from(error: StoreError) -> Self {
        match error {
            // What is held goes on being used, as while the store is away: a credential may be renewed.
            StoreError::Unavailable(text) | StoreError::Unauthorized(text) => Self::Unavailable(text),
            StoreError::Damaged(text) => Self::Mismatch(text),
        }
    }
}

/// How a keyring is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it lies.
    pub store: StorePlace,
    /// The database's password, where the place's URL holds none: `file:PATH` or `env:NAME`.
    pub store_password: Option<KeySource>,
    /// Makes TLS to a database; `None`: this process has none, and opens no database that asks for it.
    pub tls: Option<DatabaseTls>,
    /// `file:PATH` or `env:NAME`, the first wraps, any unwraps.
    pub master_keys: Vec<KeySource>,
    /// SHA-256 of the owner's verifying key, pinned by a process without the master key.
    pub owner: Option<[u8; 32]>,
    /// Recipients written into each new partition record.
    pub recovery: Vec<KeySource>,
    /// A directory that gets every epoch record, synced, before its first use.
    pub mirror: Option<PathBuf>,
    /// How old the partition state may be. At 0 nothing is sealed or opened within a second of the store's going away.
    pub max_stale: Duration,
    /// How long a random epoch seals.
    pub epoch_lifetime: Duration,
    /// Seal only under epochs that an opener confirmed.
    pub require_confirmed: bool,
    /// The key of an issuer: without `recipient` of one that is not shared, for a process that only encrypts. Such a process
    /// has no master key and pins `owner`.
    pub issuer: Option<KeySource>,
    /// The private key of a recipient of this process's own, so that no authority opens for it.
    pub recipient: Option<KeySource>,
    /// The managed APIs that hold recipients.
    pub managed: Managed,
    /// Accept file systems that lose data (tmpfs, overlay, nfs, cifs, fuse).
    pub i_know: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            store: StorePlace::Sqlite(PathBuf::from("sidecloak.db")),
            store_password: None,
            tls: None,
            master_keys: Vec::new(),
            owner: None,
            recovery: Vec::new(),
            mirror: None,
            max_stale: Duration::from_secs(300),
            epoch_lifetime: Duration::from_secs(24 * 3600),
            require_confirmed: false,
            issuer: None,
            recipient: None,
            managed: Managed::default(),
            i_know: false,
        }
    }
}

/// Where a secret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `file:PATH`
    File(PathBuf),
    /// `env:NAME`
    Env(String),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}
