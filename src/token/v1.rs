//! Version 1 of the token format.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::crypto::base64url;
use crate::crypto::kdf::pae;
use crate::crypto::random::Batch;
use crate::crypto::sign::{SIGNATURE, SigningKey, VerifyingKey};
use crate::name::{Class, PartitionName};
use crate::secret::{Secret, SecretBytes, wipe};

use super::{EpochId, Suite};
use aad::Head;
use cipher::Cipher;
pub use cipher::{PrefixCache, Recent};
pub use form::{AnyToken, Inspection, Parser, Token, inspect, parse, parse_any, token_len};
pub use short::HeadText;

mod aad;
mod cipher;
mod form;
pub mod managed;
mod padding;
mod prefix;
mod short;

/// The longest value that is sealed; longer ones than any limit of a configuration allows.
const MAX_VALUE: usize = 1 << 30;

/// The key of one (epoch, suite, class), with its cipher objects and use counts.
#[derive(Debug)]
pub struct FieldKey {
    epoch: EpochId,
    suite: Suite,
    partition: PartitionName,
    class: Class,
    cipher: Cipher,
    /// What stands before and beside an unsigned and unbound string, and another value.
    of_string: Head,
    of_other: Head,
}

/// A key in the hands of one piece of work, and what that has in hand of it, which nobody keeps for longer.
#[derive(Debug)]
pub struct InHand<'k> {
    key: &'k FieldKey,
    recent: &'k mut Recent,
}

/// What is sealed.
pub struct Plain<'a> {
    /// JSON text: between the quotes of a string, otherwise the whole lexeme.
    pub text: &'a [u8],
    /// Whether it is a string.
    pub is_string: bool,
    /// The bound record id, as `bind` canonicalised it; never empty.
    pub record_id: Option<&'a [u8]>,
    /// Pads to a multiple of this.
    pub pad: Option<usize>,
    /// Signs.
    pub signer: Option<&'a SigningKey>,
}

impl fmt::Debug for Plain<'_> {
    /// Never the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").field("is_string", &self.is_string).finish_non_exhaustive()
    }
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
    /// A signature or record id with a deterministic key.
    #[error("a deterministic value can be neither signed nor bound")]
    NotDeterministic,
    /// Bytes that would not come back as they are: text that is no UTF-8 or too long, or an empty record id.
    #[error("not a JSON text of at most 1 GiB, or an empty record id")]
    Unsealable,
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

impl FieldKey {
    /// Derives the key of a class under an epoch's data key.
    pub fn derive(dek: &Secret<32>, epoch: EpochId, suite: Suite, partition: &PartitionName, class: &Class) -> Self {
        Self::derive_counting(dek, epoch, suite, partition, class, Arc::default())
    }

    /// The same, counting uses (suite 2) on `uses`: a key that left a cache and is derived anew must not start from zero.
    /// One count for several keys is on the safe side.
    pub fn derive_counting(
        dek: &Secret<32>,
        epoch: EpochId,
        suite: Suite,
        partition: &PartitionName,
        class: &Class,
        uses: Arc<AtomicU64>,
    ) -> Self {
        let info =
            pae(&[b"sidecloak/1 field", &[suite as u8], partition.as_str().as_bytes(), class.as_str().as_bytes()]);
        let [of_string, of_other] =
            [true, false].map(|is_string| Head::new(&form::header(suite, is_string, false, false, epoch)));
        let cipher = Cipher::derive(suite, dek, &info, uses, of_string.unbound());
        Self { epoch, suite, partition: partition.clone(), class: class.clone(), cipher, of_string, of_other }
    }

    /// Appends the token's text to `out`; on failure nothing.
    pub fn seal(&self, plain: &Plain<'_>, out: &mut Vec<u8>) -> Result<(), SealError> {
        self.seal_with(plain, &mut Batch::default(), out)
    }

    fn seal_with(&self, plain: &Plain<'_>, random: &mut Batch, out: &mut Vec<u8>) -> Result<(), SealError> {
        let signed = plain.signer.is_some();
        if self.suite == Suite::Siv && (signed || plain.record_id.is_some()) {
            return Err(SealError::NotDeterministic);
        }
        if plain.text.len() > MAX_VALUE || plain.text.last() == Some(&padding::FILL) || plain.record_id == Some(b"") {
            return Err(SealError::Unsealable);
        }
        let padded = padding::padded_len(plain.text.len(), plain.is_string, plain.pad);
        if padded > MAX_VALUE {
            return Err(SealError::Unsealable);
        }
        let signature = plain.signer.map(|signer| self.signature(signer, plain)).transpose()?;
        let start = out.len();
        let sealed = self.append(plain, (padded, signature.as_deref()), random, out);
        if sealed.is_err() {
            // It may hold the plaintext.
            wipe(out.get_mut(start..).unwrap_or_default());
            out.truncate(start);
        }
        sealed
    }

    /// Encrypts behind the place of the token's body, then writes it there.
    fn append(
        &self,
        plain: &Plain<'_>,
        (padded, signature): (usize, Option<&[u8]>),
        random: &mut Batch,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        const NO_ROOM: SealError = SealError::Unsealable;
        let length = form::body_len(self.suite, padded, signature.is_some());
        let (start, body_at) = (out.len(), form::HEAD_TEXT.saturating_add(base64url::encoded_len(length)));
        // All of it now: a reallocation would leave the plaintext behind.
        out.resize(start.saturating_add(body_at).saturating_add(length), 0);
        let (text, body) = out.get_mut(start..).and_then(|all| all.split_at_mut_checked(body_at)).ok_or(NO_ROOM)?;
        let mut space = body.get_mut(form::head_len(self.suite)..).ok_or(NO_ROOM)?;
        if let Some(signature) = signature {
            let (signed, rest) = space.split_at_mut_checked(signature.len()).ok_or(NO_ROOM)?;
            signed.copy_from_slice(signature);
            space = rest;
        }
        let (value, rest) = space.split_at_mut_checked(plain.text.len()).ok_or(NO_ROOM)?;
        value.copy_from_slice(plain.text);
        if padded > plain.text.len() {
            rest.get_mut(..padded - plain.text.len()).ok_or(NO_ROOM)?.fill(padding::FILL);
        }
        let (mut made, mut bound) = (None, Vec::new());
        let head = self.head((plain.is_string, signature.is_some(), plain.record_id.is_some()), &mut made);
        self.cipher.seal(head.aad(plain.record_id, &mut bound), random, body)?;
        let (head_text, text) = text.split_first_chunk_mut().ok_or(NO_ROOM)?;
        *head_text = *head.text();
        base64url::encode_public_to(body, text);
        out.truncate(start + body_at);
        Ok(())
    }

    /// Opens a token of this key's epoch, suite and class. `record_id` must be there for a bound token and for no other; a
    /// signed token's signer must be one of `signers`.
    pub fn open(
        &self,
        token: &Token,
        record_id: Option<&[u8]>,
        signers: &[VerifyingKey],
        prefixes: &PrefixCache,
    ) -> Result<Opened, OpenError> {
        self.open_in_place(token.clone(), record_id, signers, &mut Recent::default(), prefixes)
    }

    fn open_in_place(
        &self,
        token: Token,
        record_id: Option<&[u8]>,
        signers: &[VerifyingKey],
        recent: &mut Recent,
        prefixes: &PrefixCache,
    ) -> Result<Opened, OpenError> {
        let bound = record_id.is_some_and(|id| !id.is_empty());
        if token.suite != self.suite || token.epoch != self.epoch || token.bound != bound || record_id == Some(b"") {
            return Err(OpenError::NotAuthentic);
        }
        let mut text = SecretBytes::new(token.body);
        let body = text.expose_mut();
        let (mut made, mut space) = (None, Vec::new());
        let head = self.head((token.is_string, token.signed, bound), &mut made);
        let mut plain = self.cipher.open(head.aad(record_id, &mut space), body, recent, prefixes)?;
        let mut signer = None;
        if token.signed {
            let header = form::header(token.suite, token.is_string, token.signed, token.bound, token.epoch);
            signer = Some(self.verify(&header, record_id, body.get(plain.clone()).unwrap_or_default(), signers)?);
            plain.start += form::SIGNED;
        }
        let length = padding::text_len(body.get(plain.clone()).unwrap_or_default());
        body.copy_within(plain.start..plain.start + length, 0);
        body.truncate(length);
        Ok(Opened { text, is_string: token.is_string, signer })
    }

    /// What stands before and beside a value of these flags: kept by the key, or put in `made`.
    fn head<'a>(&'a self, (is_string, signed, bound): (bool, bool, bool), made: &'a mut Option<Head>) -> &'a Head {
        match (signed || bound, is_string) {
            (false, true) => &self.of_string,
            (false, false) => &self.of_other,
            (true, _) => made.insert(Head::new(&form::header(self.suite, is_string, signed, bound, self.epoch))),
        }
    }

    /// The signer's id and its signature. Never inlined: signing takes 80 KB of the stack, which every value would touch.
    #[cold]
    #[inline(never)]
    fn signature(&self, signer: &SigningKey, plain: &Plain<'_>) -> Result<Vec<u8>, SealError> {
        let header = form::header(self.suite, plain.is_string, true, plain.record_id.is_some(), self.epoch);
        let mut signature = Vec::with_capacity(form::SIGNED);
        signature.extend_from_slice(&signer.verifying_key().id());
        let parts = self.signed_parts(&header, plain.record_id, plain.text);
        signature.extend_from_slice(&signer.sign(SIGN_LABEL, &parts)?);
        Ok(signature)
    }

    /// Verifies `id | signature | value | padding`; returns the id. Not inlined for the same reason.
    #[cold]
    #[inline(never)]
    fn verify(
        &self,
        header: &[u8],
        record_id: Option<&[u8]>,
        plain: &[u8],
        signers: &[VerifyingKey],
    ) -> Result<[u8; 16], OpenError> {
        let (id, rest) = plain.split_first_chunk::<16>().ok_or(OpenError::Signature)?;
        let (signature, padded) = rest.split_at_checked(SIGNATURE).ok_or(OpenError::Signature)?;
        let value = padded.get(..padding::text_len(padded)).unwrap_or_default();
        let signer = signers.iter().find(|signer| signer.id() == *id).ok_or(OpenError::Signature)?;
        signer
            .verify(SIGN_LABEL, &self.signed_parts(header, record_id, value), signature)
            .map_err(|_| OpenError::Signature)?;
        Ok(*id)
    }

    fn signed_parts<'a>(&'a self, header: &'a [u8], record_id: Option<&'a [u8]>, value: &'a [u8]) -> [&'a [u8]; 5] {
        [
            header,
            self.partition.as_str().as_bytes(),
            self.class.as_str().as_bytes(),
            record_id.unwrap_or_default(),
            value,
        ]
    }
}

impl<'k> InHand<'k> {
    /// `recent`: of this key, and new to begin with.
    pub fn new(key: &'k FieldKey, recent: &'k mut Recent) -> Self {
        Self { key, recent }
    }

    /// As [`FieldKey::seal`], with random bytes that serve several values.
    pub fn seal(&self, plain: &Plain<'_>, random: &mut Batch, out: &mut Vec<u8>) -> Result<(), SealError> {
        self.key.seal_with(plain, random, out)
    }

    /// As [`FieldKey::open`]; the plaintext takes the place of the token's body.
    pub fn open_in_place(
        &mut self,
        token: Token,
        record_id: Option<&[u8]>,
        signers: &[VerifyingKey],
        prefixes: &PrefixCache,
    ) -> Result<Opened, OpenError> {
        self.key.open_in_place(token, record_id, signers, self.recent, prefixes)
    }
}

const SIGN_LABEL: &str = "sidecloak/1 sign";

#[cfg(test)]
mod tests;
