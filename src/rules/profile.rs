//! What rules and plans know of a profile: a managed API that a rule names as its `key`.

use std::sync::Arc;

use crate::name::PartitionName;
use crate::token::v1::managed::profile_id;

/// Characters of base64url that 16 bytes take: no ciphertext that authenticates is shorter.
const LEAST: usize = 22;

/// A profile, as far as the engine is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What rules write as `key`.
    pub name: Arc<str>,
    /// The partition whose state and roles count, and whose epochs its local sealing uses.
    pub partition: PartitionName,
    /// Whether values are sealed here, under the partition's epochs (`granularity: envelope`), rather than by the API.
    pub local: bool,
    /// What the API does with single values; `None`: nothing, so that all there is to the profile is its partition.
    pub per_value: Option<PerValue>,
}

/// How values go to an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerValue {
    /// At most so many values in one call; 1 where each value is a call of its own.
    pub batch: usize,
    /// Hands over the value alone and stores the API's own ciphertext, for other clients of that API.
    pub bare: bool,
    /// Whether the API signs and verifies (`sign: true`).
    pub signs: bool,
    /// Whether equal inputs give equal ciphertexts, always.
    pub convergent: bool,
    /// The longest text that the API takes, in bytes; longer values are sealed here, under the partition's epochs.
    pub longest: usize,
    /// What each of the API's own ciphertexts begins with, as far as is known.
    pub prefix: &'static str,
    /// Whether its ciphertexts have only characters that a token's body may have (`A-Za-z0-9_-`): suite 0x40, else 0x41.
    pub plain_text: bool,
}

impl Profile {
    /// How values go to its API, if they do.
    pub fn delegated(&self) -> Option<&PerValue> {
        self.per_value.as_ref().filter(|_| !self.local)
    }

    /// Its name in the header of a token.
    pub fn id(&self) -> [u8; 10] {
        profile_id(&self.name)
    }
}

impl PerValue {
    /// Under `bare`: whether a text can be one of the API's ciphertexts, as far as its form tells.
    pub fn may_be_ciphertext(&self, text: &[u8]) -> bool {
        if !self.prefix.is_empty() {
            return text.starts_with(self.prefix.as_bytes());
        }
        let body = [&b"=="[..], b"="].iter().find_map(|fill| text.strip_suffix(*fill)).unwrap_or(text);
        body.len() >= LEAST && body.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    }
}
