//! The cipher under a field key: nonces, how often a key may be used, and the derived keys that are kept.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::{OpenError, SealError};
use crate::crypto::aead::{Gcm, Siv, TAG, Xaes};
use crate::crypto::kdf::hkdf;
use crate::crypto::random::{self, Batch, RandomError};
use crate::secret::Secret;
use crate::token::Suite;

/// Values sealed under one XAES prefix: with 12 random bytes each, two nonces meet with probability under 2^-36.
const MAX_PER_PREFIX: u64 = 1 << 30;

/// Values sealed under one key of suite 2 by one process; 256 processes stay under the 2^32 of SP 800-38D 8.3.
const MAX_PER_GCM_KEY: u64 = 1 << 24;

const TOO_SHORT: OpenError = OpenError::Malformed("the body is too short");

/// Derived XAES keys by prefix, shared by all field keys of a process; bounded.
#[derive(Debug)]
pub struct PrefixCache(moka::sync::Cache<(u64, [u8; 12]), Arc<Gcm>>);

impl PrefixCache {
    /// Holds at most this many keys.
    pub fn new(capacity: u64) -> Self {
        Self(moka::sync::Cache::new(capacity))
    }

    /// Drops all keys, as when a partition is paused or destroyed.
    pub fn clear(&self) {
        self.0.invalidate_all();
        self.0.run_pending_tasks();
    }
}

#[derive(Debug)]
pub(super) enum Cipher {
    Xaes {
        /// Boxed, since it is large and used for new prefixes alone.
        xaes: Box<Xaes>,
        /// Names this object in a [`PrefixCache`], where no key may stand for another's.
        serial: u64,
        sealing: ArcSwapOption<Prefix>,
        /// What the last value was opened with: neighbours are often of one process.
        opened: ArcSwapOption<Derived>,
    },
    Gcm {
        gcm: Gcm,
        uses: Arc<AtomicU64>,
    },
    Siv(Siv),
}

/// A prefix and its key.
#[derive(Debug)]
pub(super) struct Derived {
    bytes: [u8; 12],
    gcm: Arc<Gcm>,
}

/// The prefix that nonces begin with for now, and its key.
#[derive(Debug)]
pub(super) struct Prefix {
    bytes: [u8; 12],
    gcm: Gcm,
    uses: AtomicU64,
}

/// Uses that a piece of work which goes on sealing counts at once.
const USES: u64 = 32;

/// What a key was used with last by one piece of work, which asks the key, that all threads share, but once.
#[derive(Debug, Default)]
pub(super) struct Recent {
    sealing: Option<Arc<Prefix>>,
    /// Uses of `sealing` that are counted already.
    counted: u64,
    opened: Option<Arc<Derived>>,
}

impl Cipher {
    /// The cipher whose key HKDF makes of `dek` and `info`.
    pub(super) fn derive(suite: Suite, dek: &Secret<32>, info: &[u8], uses: Arc<AtomicU64>) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        match suite {
            Suite::Xaes => Self::Xaes {
                xaes: Box::new(Xaes::new(hkdf::<32>(dek.expose(), info).expose())),
                serial: SERIAL.fetch_add(1, Ordering::Relaxed),
                sealing: ArcSwapOption::empty(),
                opened: ArcSwapOption::empty(),
            },
            Suite::Gcm => Self::Gcm { gcm: Gcm::new(hkdf::<32>(dek.expose(), info).expose()), uses },
            Suite::Siv => Self::Siv(Siv::new(hkdf::<64>(dek.expose(), info))),
        }
    }

    /// Encrypts `body` in place: [`super::form::head_len`] bytes are left for the nonce or synthetic IV, then comes the plaintext,
    /// then room for the tag, where the suite has one.
    #[inline]
    pub(super) fn seal(
        &self,
        aad: &[u8],
        random: &mut Batch,
        recent: &mut Recent,
        body: &mut [u8],
    ) -> Result<(), SealError> {
        let (gcm, body) = match self {
            Self::Xaes { xaes, sealing, .. } => {
                let (before, rest) = body.split_first_chunk_mut::<12>().ok_or(SealError::Unsealable)?;
                let prefix = recent.prefix(xaes, sealing)?;
                *before = prefix.bytes;
                (&prefix.gcm, rest)
            }
            Self::Gcm { gcm, uses } => {
                if uses.fetch_add(1, Ordering::Relaxed) >= MAX_PER_GCM_KEY {
                    return Err(SealError::Exhausted);
                }
                (gcm, body)
            }
            Self::Siv(siv) => {
                let (iv, plain) = body.split_first_chunk_mut::<TAG>().ok_or(SealError::Unsealable)?;
                *iv = siv.seal(aad, plain).map_err(|_| SealError::Unsealable)?;
                return Ok(());
            }
        };
        seal_gcm(gcm, aad, random, body)
    }

    /// Decrypts a body in place; the plaintext then lies in this range of it.
    #[inline]
    pub(super) fn open(
        &self,
        aad: &[u8],
        body: &mut [u8],
        recent: &mut Recent,
        prefixes: &PrefixCache,
    ) -> Result<Range<usize>, OpenError> {
        let (gcm, body, before) = match self {
            Self::Xaes { opened, .. } => {
                let (prefix, rest) = body.split_first_chunk_mut::<12>().ok_or(TOO_SHORT)?;
                if recent.opened.as_ref().is_none_or(|last| last.bytes != *prefix) {
                    recent.opened = opened.load_full();
                }
                match recent.opened.as_deref() {
                    Some(last) if last.bytes == *prefix => (&*last.gcm, rest, prefix.len()),
                    _ => return self.open_under(prefix, aad, rest, prefixes),
                }
            }
            Self::Gcm { gcm, .. } => (gcm, body, 0),
            Self::Siv(siv) => {
                let (iv, ciphertext) = body.split_first_chunk_mut().ok_or(TOO_SHORT)?;
                siv.open(aad, ciphertext, iv).map_err(|_| OpenError::NotAuthentic)?;
                return Ok(iv.len()..body.len());
            }
        };
        let plain = open_gcm(gcm, aad, body)?;
        Ok(plain.start + before..plain.end + before)
    }

    /// Under another prefix than the last one.
    #[inline(never)]
    fn open_under(
        &self,
        prefix: &[u8; 12],
        aad: &[u8],
        rest: &mut [u8],
        prefixes: &PrefixCache,
    ) -> Result<Range<usize>, OpenError> {
        let Self::Xaes { xaes, serial, opened, .. } = self else { return Err(OpenError::NotAuthentic) };
        let place = (*serial, *prefix);
        let known = prefixes.0.get(&place);
        let is_known = known.is_some();
        let gcm = known.unwrap_or_else(|| Arc::new(xaes.derive(prefix)));
        let plain = open_gcm(&gcm, aad, rest)?;
        // Only now: whoever can present made-up tokens must not fill the cache with their prefixes.
        if !is_known {
            prefixes.0.insert(place, Arc::clone(&gcm));
        }
        opened.store(Some(Arc::new(Derived { bytes: *prefix, gcm })));
        Ok(plain.start + prefix.len()..plain.end + prefix.len())
    }
}

impl Recent {
    /// The prefix for one more value.
    fn prefix(&mut self, xaes: &Xaes, sealing: &ArcSwapOption<Prefix>) -> Result<&Prefix, RandomError> {
        if self.sealing.is_none() || self.counted == 0 {
            let (current, uses) = match self.sealing.take() {
                Some(prefix) => (Some(prefix), USES),
                None => (sealing.load_full(), 1),
            };
            (self.sealing, self.counted) = match current.filter(|prefix| prefix.is_good_for(uses)) {
                Some(prefix) => (Some(prefix), uses),
                None => (Some(fresh_prefix(xaes, sealing)?), 1),
            };
        }
        self.counted -= 1;
        self.sealing.as_deref().ok_or(RandomError)
    }
}

impl Prefix {
    /// Counts so many uses.
    fn is_good_for(&self, uses: u64) -> bool {
        self.uses.fetch_add(uses, Ordering::Relaxed) <= MAX_PER_PREFIX - uses
    }
}

/// Puts a new prefix in the place of one that is used up, and counts one use of it. Two threads that do so at once make two: both
/// are good, the later one stays.
fn fresh_prefix(xaes: &Xaes, sealing: &ArcSwapOption<Prefix>) -> Result<Arc<Prefix>, RandomError> {
    let bytes = random::bytes()?;
    let fresh = Arc::new(Prefix { bytes, gcm: xaes.derive(&bytes), uses: AtomicU64::new(1) });
    sealing.store(Some(Arc::clone(&fresh)));
    Ok(fresh)
}

/// `nonce (12) | plaintext | room for the tag`
#[inline]
fn seal_gcm(gcm: &Gcm, aad: &[u8], random: &mut Batch, body: &mut [u8]) -> Result<(), SealError> {
    let (nonce, rest) = body.split_first_chunk_mut().ok_or(SealError::Unsealable)?;
    let (plain, tag) = rest.split_last_chunk_mut().ok_or(SealError::Unsealable)?;
    *nonce = random.take()?;
    *tag = gcm.seal(nonce, aad, plain).map_err(|_| SealError::Unsealable)?;
    Ok(())
}

/// `nonce (12) | ciphertext | tag`
#[inline]
fn open_gcm(gcm: &Gcm, aad: &[u8], body: &mut [u8]) -> Result<Range<usize>, OpenError> {
    let (nonce, rest) = body.split_first_chunk_mut().ok_or(TOO_SHORT)?;
    let (ciphertext, tag) = rest.split_last_chunk_mut().ok_or(TOO_SHORT)?;
    gcm.open(nonce, aad, ciphertext, tag).map_err(|_| OpenError::NotAuthentic)?;
    Ok(nonce.len()..nonce.len() + ciphertext.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(suite: Suite) -> Cipher {
        Cipher::derive(suite, &Secret::from_slice(&[3; 32]).unwrap(), b"info", Arc::default())
    }

    fn sealed(cipher: &Cipher, head: usize) -> Vec<u8> {
        let mut body = vec![0; head];
        body.extend_from_slice(b"value");
        body.extend_from_slice(&[0; TAG]);
        cipher.seal(b"aad", &mut Batch::default(), &mut Recent::default(), &mut body).unwrap();
        body
    }

    fn opened(cipher: &Cipher, aad: &[u8], body: &[u8], prefixes: &PrefixCache) -> Result<Vec<u8>, OpenError> {
        let mut body = body.to_vec();
        let range = cipher.open(aad, &mut body, &mut Recent::default(), prefixes)?;
        Ok(body[range].to_vec())
    }

    #[test]
    fn a_prefix_is_kept_until_it_is_used_up() {
        let cipher = cipher(Suite::Xaes);
        let (first, second) = (sealed(&cipher, 24), sealed(&cipher, 24));
        assert_eq!(first[..12], second[..12]);
        assert_ne!(first[12..24], second[12..24]);
        let Cipher::Xaes { sealing, .. } = &cipher else { panic!() };
        sealing.load_full().unwrap().uses.store(MAX_PER_PREFIX, Ordering::Relaxed);
        let third = sealed(&cipher, 24);
        assert_ne!(first[..12], third[..12]);
        assert_eq!(third[..12], sealed(&cipher, 24)[..12]);
    }

    #[test]
    fn each_object_has_a_prefix_of_its_own() {
        assert_ne!(sealed(&cipher(Suite::Xaes), 24)[..12], sealed(&cipher(Suite::Xaes), 24)[..12]);
    }

    #[test]
    fn a_gcm_key_is_used_so_often_and_no_more() {
        let uses = Arc::new(AtomicU64::new(MAX_PER_GCM_KEY - 1));
        let key = Secret::from_slice(&[3; 32]).unwrap();
        let one = Cipher::derive(Suite::Gcm, &key, b"info", Arc::clone(&uses));
        sealed(&one, 12);
        let again = Cipher::derive(Suite::Gcm, &key, b"info", uses);
        for cipher in [one, again] {
            let sealed = cipher.seal(b"aad", &mut Batch::default(), &mut Recent::default(), &mut [0; 40]);
            assert_eq!(sealed, Err(SealError::Exhausted));
        }
    }

    #[test]
    fn a_prefix_enters_the_cache_once_a_value_has_authenticated() {
        let prefixes = PrefixCache::new(10);
        let cipher = cipher(Suite::Xaes);
        let body = sealed(&cipher, 24);
        for forged in [0, 20, body.len() - 1] {
            let mut other = body.clone();
            other[forged] ^= 1;
            assert!(opened(&cipher, b"aad", &other, &prefixes).is_err());
        }
        prefixes.0.run_pending_tasks();
        assert_eq!(prefixes.0.entry_count(), 0);
        for _ in 0..2 {
            assert_eq!(opened(&cipher, b"aad", &body, &prefixes).unwrap(), b"value");
        }
        prefixes.0.run_pending_tasks();
        assert_eq!(prefixes.0.entry_count(), 1);
        assert!(opened(&cipher, b"other", &body, &prefixes).is_err(), "a kept key authenticates no less");
        prefixes.clear();
        assert_eq!(prefixes.0.entry_count(), 0);
        opened(&cipher, b"aad", &body, &prefixes).unwrap();
    }

    #[test]
    fn the_cache_is_bounded() {
        let prefixes = PrefixCache::new(4);
        for _ in 0..50 {
            let cipher = cipher(Suite::Xaes);
            opened(&cipher, b"aad", &sealed(&cipher, 24), &prefixes).unwrap();
        }
        prefixes.0.run_pending_tasks();
        assert!(prefixes.0.entry_count() <= 4);
    }
}
