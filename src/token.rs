//! Sealed values: `sc1.<header>.<body>`.

use std::fmt;

pub mod v1;

/// What every token begins with.
pub const PREFIX: &[u8] = b"sc1.";

/// The AEAD of a token, by the number its header carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// XAES-256-GCM, the default.
    Xaes = 1,
    /// AES-256-GCM with random nonces.
    Gcm = 2,
    /// AES-256-SIV, in deterministic epochs only.
    Siv = 3,
}

/// The name of an epoch, unique in a keyring.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EpochId(pub [u8; 10]);

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochId({self})")
    }
}
