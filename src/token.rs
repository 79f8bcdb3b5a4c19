//! Sealed values: `sc1.<header>.<body>`, as `docs/token-format.md` lays them out.

use std::fmt;

pub mod v1;

/// What every token begins with.
pub const PREFIX: &[u8] = b"sc1.";

/// Whether an unescaped value claims to be a token. It may still be anything: only opening it tells.
pub fn looks_sealed(unescaped: &[u8]) -> bool {
    unescaped.starts_with(PREFIX)
}

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

impl Suite {
    /// All suites, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Xaes, Self::Gcm, Self::Siv];

    /// The suite with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| *suite as u8 == byte)
    }

    /// `xaes-256-gcm`, `aes-256-gcm` or `aes-256-siv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xaes => "xaes-256-gcm",
            Self::Gcm => "aes-256-gcm",
            Self::Siv => "aes-256-siv",
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_prefix_makes_it_look_sealed() {
        assert!(looks_sealed(b"sc1."));
        assert!(looks_sealed(b"sc1.anything"));
        assert!(!looks_sealed(b"sc1"));
        assert!(!looks_sealed(b"SC1.x"));
        assert!(!looks_sealed(b" sc1.x"));
    }

    #[test]
    fn an_epoch_id_shows_as_hex() {
        assert_eq!(EpochId([0, 1, 2, 3, 4, 5, 6, 7, 8, 255]).to_string(), "000102030405060708ff");
    }
}
