//! Names that are checked once, where they enter, and then carried as types.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A partition's name: 1–255 characters of `A-Za-z0-9._%-`.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct PartitionName(Arc<str>);

/// The logical field a value belongs to (`ssn`, `card.pan`); part of its key derivation.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct Class(Arc<str>);

/// Why a text is no partition name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a partition name: use 1 to 255 characters of A-Z a-z 0-9 . _ % -")]
pub struct BadPartitionName(String);

impl PartitionName {
    /// Checks and takes a name.
    pub fn new(text: &str) -> Result<Self, BadPartitionName> {
        let fits = (1..=255).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'%' | b'-'));
        if fits { Ok(Self(text.into())) } else { Err(BadPartitionName(text.chars().take(80).collect())) }
    }

    /// The partition that rules without a `key:` use.
    pub fn default_name() -> Self {
        Self("default".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends any bytes in a form that may stand in a name, percent-encoded but for `A-Za-z0-9_-`: no two encode alike, and none
    /// holds a dot.
    pub fn escape_into(bytes: &[u8], out: &mut String) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for byte in bytes {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
                out.push(char::from(*byte));
            } else {
                out.push('%');
                let digits =
                    [byte >> 4, byte & 0xf].map(|digit| HEX.get(usize::from(digit)).copied().unwrap_or_default());
                out.extend(digits.map(char::from));
            }
        }
    }
}

impl Class {
    /// Any text names a class, the empty one too (a member may be named `""`).
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The class as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! is_its_text {
    ($($name:ident),*) => {$(
        impl PartialEq for $name {
            /// Most that are compared are one object: those are not read.
            #[inline]
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )*};
}
is_its_text!(PartitionName, Class);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_can_be_escaped_into_a_name() {
        let mut name = String::new();
        PartitionName::escape_into("a.b%2E_-/é".as_bytes(), &mut name);
        assert_eq!(name, "a%2Eb%252E_-%2F%C3%A9");
        assert!(PartitionName::new(&name).is_ok());
    }

    #[test]
    fn a_partition_name_is_checked() {
        for good in ["a", "tenant-7", "2376.tenant4758", "a%2Fb", &"x".repeat(255)] {
            assert_eq!(PartitionName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "é", "a/b", "a*", &"x".repeat(256)] {
            assert!(PartitionName::new(bad).is_err(), "{bad}");
        }
    }
}
