//! A key as the directory keeps it. Which epoch is which version stands here; the keys themselves are the epochs of the partition
//! of the same name, and the private keys of RSA2048 and ECDSA, each sealed under its version's epoch.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::token::EpochId;

/// Kind of the entries of keys, by keyTag.
pub const KEY: &str = "ncloud-key";
/// Kind of the entries that keep key names unique, by name.
pub const NAME: &str = "ncloud-name";
/// Kind of the entries of private keys, by keyTag and epoch.
pub const PRIVATE: &str = "ncloud-private";
/// Kind of the counts of what was sealed, by keyTag and epoch.
pub const USES: &str = "ncloud-uses";

/// Versions a key may have when it is rotated on request.
pub const VERSIONS: usize = 100;

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    /// AES-256-GCM.
    #[serde(rename = "AES256")]
    Aes,
    /// RSA with 2048 bits.
    #[serde(rename = "RSA2048")]
    Rsa,
    /// ECDSA on P-256.
    #[serde(rename = "ECDSA")]
    Ecdsa,
}

/// As the vendor shows it, not as it is: all keys here lie sealed in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// `BASIC`.
    #[serde(rename = "BASIC")]
    Basic,
    /// `COMMON_HSM`.
    #[serde(rename = "COMMON_HSM")]
    CommonHsm,
}

/// Of a key or of one of its versions (which are never `Revoke`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// In use.
    Enable,
    /// Not in use; its partition is paused.
    Disable,
    /// Not in use, and destroyed at its time.
    Revoke,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enable => "ENABLE",
            Self::Disable => "DISABLE",
            Self::Revoke => "REVOKE",
        })
    }
}

/// What the partition's state was when the key was disabled, so that enabling it never undoes what an operator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Before {
    /// Sealed and opened.
    Active,
    /// Opened only.
    DecryptOnly,
    /// Paused already.
    Paused,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Counts up.
    pub id: u64,
    /// Unique.
    pub name: String,
    /// What it does.
    pub key_type: KeyType,
    /// For people.
    pub memo: String,
    /// Equal input gives equal ciphertext.
    pub convergent: bool,
    /// Whether [`super::run_due`] rotates it.
    pub auto_rotation: bool,
    /// Days between rotations.
    pub rotation_period: u64,
    /// When it is rotated next (Unix seconds).
    pub next_rotation: u64,
    /// What was asked for.
    pub protection: Protection,
    /// Its status.
    pub status: Status,
    /// Since when.
    pub status_at: u64,
    /// Where enabling it leads back to.
    pub before: Before,
    /// When it was made.
    pub created: u64,
    /// When it is destroyed; 0: not.
    pub destroy_at: u64,
    /// Version n stands at n - 1.
    pub versions: Vec<Version>,
}

/// A version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    epoch: [u8; 10],
    /// When it was made.
    pub created: u64,
    /// Its status.
    pub status: Status,
    /// Since when.
    pub status_at: u64,
}

impl Version {
    /// The version that this epoch is.
    pub fn of(epoch: EpochId, created: u64) -> Self {
        Self { epoch: epoch.0, created, status: Status::Enable, status_at: created }
    }

    /// Its epoch.
    pub fn epoch(&self) -> EpochId {
        EpochId(self.epoch)
    }
}

impl KeyEntry {
    /// The newest version, by its number.
    pub fn current(&self) -> usize {
        self.versions.len()
    }

    /// The number of the version that this epoch is.
    pub fn number_of(&self, epoch: EpochId) -> Option<usize> {
        // Mostly the newest.
        self.versions.iter().rposition(|version| version.epoch() == epoch).map(|at| at + 1)
    }

    /// The version with this number.
    pub fn version(&self, number: usize) -> Option<&Version> {
        self.versions.get(number.checked_sub(1)?)
    }

    /// Days in seconds.
    pub fn period(&self) -> u64 {
        self.rotation_period.saturating_mul(24 * 3600)
    }
}

/// The id of what belongs to one version.
pub fn version_id(tag: &str, epoch: EpochId) -> String {
    format!("{tag}.{epoch}")
}
