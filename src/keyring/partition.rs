//! What a partition is to those who use it.

use std::fmt;

use crate::crypto::sign::VerifyingKey;
use crate::name::PartitionName;

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

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Random, Self::Deterministic, Self::Private];

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl State {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Active, Self::DecryptOnly, Self::Paused, Self::Destroyed].into_iter().find(|s| *s as u8 == byte)
    }

    /// `active`, `decrypt-only`, `paused` or `destroyed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::DecryptOnly => "decrypt-only",
            Self::Paused => "paused",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether tokens open in this state.
    pub fn opens(self) -> bool {
        matches!(self, Self::Active | Self::DecryptOnly)
    }
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
    /// AuditOnDecrypt.
    pub const AUDIT_DECRYPT: u32 = 0x4_0000;
    /// AuditOnEncrypt.
    pub const AUDIT_ENCRYPT: u32 = 0x8_0000;

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
