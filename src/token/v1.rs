//! Version 1 of the token format. (interface; owner: token)

use crate::crypto::sign::{SigningKey, VerifyingKey};
use crate::name::{Class, PartitionName};
use crate::secret::{Secret, SecretBytes};

use super::{EpochId, Suite};

/// The key of one (epoch, suite, class), with its cipher objects and use counts.
#[derive(Debug)]
pub struct FieldKey {}

/// What is sealed.
#[derive(Debug)]
pub struct Plain<'a> {
    /// JSON text: between the quotes of a string, otherwise the whole lexeme.
    pub text: &'a [u8],
    /// Whether it is a string.
    pub is_string: bool,
    /// The bound record id, as `bind` canonicalised it.
    pub record_id: Option<&'a [u8]>,
    /// Pads to a multiple of this.
    pub pad: Option<usize>,
    /// Signs.
    pub signer: Option<&'a SigningKey>,
}

/// Derived XAES keys by prefix, shared by all field keys of a process; bounded.
#[derive(Debug)]
pub struct PrefixCache {}

impl PrefixCache {
    /// Holds at most this many keys.
    pub fn new(_capacity: u64) -> Self {
        Self {}
    }
}

/// A token taken apart, nothing verified yet.
#[derive(Debug)]
pub struct Token {
    /// The AEAD.
    pub suite: Suite,
    /// Bit 0 clear: the value was a string.
    pub is_string: bool,
    /// Bit 3.
    pub signed: bool,
    /// Bit 5.
    pub bound: bool,
    /// Names the epoch.
    pub epoch: EpochId,
    /// The decoded body.
    pub body: Vec<u8>,
}

/// What came out of a token.
#[derive(Debug)]
pub struct Opened {
    /// JSON text, as in [`Plain::text`]; not yet re-scanned.
    pub text: SecretBytes,
    /// Whether it goes between quotes.
    pub is_string: bool,
    /// The id of the signer that verified, if signed.
    pub signer: Option<[u8; 16]>,
}

/// Why sealing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key has sealed all it may (suite 2); a new epoch is due.
    #[error("this key has sealed as many values as it may")]
    Exhausted,
    /// No randomness.
    #[error(transparent)]
    Random(#[from] crate::crypto::RandomError),
    /// A signature or record id with a deterministic key, or a value too long.
    #[error("a deterministic value can be neither signed nor bound")]
    NotDeterministic,
}

/// Why a token does not open. All look the same from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a token of a form we know.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// Does not authenticate.
    #[error("does not authenticate")]
    NotAuthentic,
    /// The signer is not listed, or the signature is bad.
    #[error("the signature does not verify")]
    Signature,
}

/// Takes a token's text (unescaped, without quotes) apart.
pub fn parse(_text: &[u8]) -> Result<Token, OpenError> {
    Err(OpenError::Malformed("interface only"))
}

impl FieldKey {
    /// Derives the key of a class under an epoch's data key.
    pub fn derive(
        _dek: &Secret<32>,
        _epoch: EpochId,
        _suite: Suite,
        _partition: &PartitionName,
        _class: &Class,
    ) -> Self {
        Self {}
    }

    /// Appends the token's text to `out`.
    pub fn seal(&self, _plain: &Plain<'_>, _out: &mut Vec<u8>) -> Result<(), SealError> {
        Err(SealError::Exhausted)
    }

    /// Opens a token of this key's epoch, suite and class.
    pub fn open(
        &self,
        _token: &Token,
        _record_id: Option<&[u8]>,
        _signers: &[VerifyingKey],
        _prefixes: &PrefixCache,
    ) -> Result<Opened, OpenError> {
        Err(OpenError::NotAuthentic)
    }
}

/// Characters of the token for a value of `text_len` bytes, for forecasts and `max_length`.
pub fn token_len(_suite: Suite, _text_len: usize, _is_string: bool, _pad: Option<usize>, _signed: bool) -> usize {
    0
}
