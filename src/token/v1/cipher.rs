//! The cipher under a field key: nonces, how often a key may be used, and the derived keys that are kept.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::prefix::{Derived, Hashing, Opened, Sealing};
use super::{OpenError, SealError};
use crate::crypto::aead::{Gcm, Siv, TAG, Xaes};
use crate::crypto::kdf::hkdf;
use crate::crypto::random::Batch;
use crate::crypto::short::{self, Hash, ShortGcm};
use crate::secret::Secret;
use crate::token::Suite;

/// Values sealed under one key of suite 2 by one process; 256 processes stay under the 2^32 of SP 800-38D 8.3.
const MAX_PER_GCM_KEY: u64 = 1 << 24;

const TOO_SHORT: OpenError = OpenError::Malformed("the body is too short");

/// Derived XAES keys by prefix, shared by all field keys of a process; bounded.
#[derive(Debug)]
pub struct PrefixCache(moka::sync::Cache<(u64, [u8; 12]), Arc<Ciphers>>);

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
        sealing: Sealing,
        opened: Opened,
        /// What is authenticated with most values.
        usual: Box<[u8]>,
    },
    Gcm {
        ciphers: Box<Ciphers>,
        uses: Arc<AtomicU64>,
    },
    Siv(Siv),
}

/// The two ways of AES-256-GCM under one key.
#[derive(Debug)]
pub(super) struct Ciphers {
    gcm: Gcm,
    /// For short texts beside what is authenticated with most values.
    short: Option<Box<ShortGcm>>,
}

/// What one piece of work has in hand of a key, which all threads share.
#[derive(Debug, Default)]
pub struct Recent {
    hash: Hashing,
    last: Option<Arc<Derived>>,
}

/// Stands for the prefix of a key that has none.
const NONE: &[u8; 12] = &[0; 12];

impl Cipher {
    /// The cipher whose key HKDF makes of `dek` and `info`.
    /// `usual`: what is authenticated with most values.
    pub(super) fn derive(suite: Suite, dek: &Secret<32>, info: &[u8], uses: Arc<AtomicU64>, usual: &[u8]) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        match suite {
            Suite::Xaes => Self::Xaes {
                xaes: Box::new(Xaes::new(hkdf::<32>(dek.expose(), info).expose())),
                serial: SERIAL.fetch_add(1, Ordering::Relaxed),
                sealing: Sealing::default(),
                opened: Opened::default(),
                usual: usual.into(),
            },
            Suite::Gcm => {
                Self::Gcm { ciphers: Box::new(Ciphers::new(hkdf::<32>(dek.expose(), info).expose(), usual)), uses }
            }
            Suite::Siv => Self::Siv(Siv::new(hkdf::<64>(dek.expose(), info))),
        }
    }

    /// Encrypts `body` in place: [`super::form::head_len`] bytes are left for the nonce or synthetic IV, then comes the plaintext,
    /// then room for the tag, where the suite has one.
    #[inline]
    pub(super) fn seal(&self, aad: &[u8], random: &mut Batch, body: &mut [u8]) -> Result<(), SealError> {
        let (gcm, body) = match self {
            Self::Xaes { xaes, sealing, usual, .. } => {
                let (before, rest) = body.split_first_chunk_mut::<12>().ok_or(SealError::Unsealable)?;
                let prefix = sealing.prefix(|bytes| Ciphers::derived(xaes, bytes, usual))?;
                *before = prefix.bytes;
                (&prefix.ciphers.gcm, rest)
            }
            Self::Gcm { ciphers, uses } => {
                count(uses)?;
                (&ciphers.gcm, body)
            }
            Self::Siv(siv) => {
                let (iv, plain) = body.split_first_chunk_mut::<TAG>().ok_or(SealError::Unsealable)?;
                *iv = siv.seal(aad, plain).map_err(|_| SealError::Unsealable)?;
                return Ok(());
            }
        };
        seal_gcm(gcm, aad, random, body)
    }

    /// As [`Self::seal`] beside the usual associated data: writes the body to the beginning of `room`; `None` if that has to do it.
    #[inline]
    pub(super) fn seal_short(
        &self,
        random: &mut Batch,
        recent: &mut Recent,
        text: &[u8],
        room: &mut [u8],
    ) -> Option<()> {
        if text.len() > short::MOST {
            return None;
        }
        match self {
            Self::Xaes { xaes, sealing, usual, .. } => {
                let (before, rest) = room.split_first_chunk_mut::<12>()?;
                let prefix = sealing.prefix(|bytes| Ciphers::derived(xaes, bytes, usual)).ok()?;
                *before = prefix.bytes;
                let short = prefix.ciphers.short.as_ref()?;
                seal_short(short, recent.hash.of(&prefix.bytes, short), random, text, rest)
            }
            Self::Gcm { ciphers, uses } => {
                let short = ciphers.short.as_ref()?;
                count(uses).ok()?;
                seal_short(short, recent.hash.of(NONE, short), random, text, room)
            }
            Self::Siv(_) => None,
        }
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
                match opened.find(prefix, &mut recent.last) {
                    Some(ciphers) => (&ciphers.gcm, rest, prefix.len()),
                    None => return self.open_under(prefix, aad, rest, prefixes),
                }
            }
            Self::Gcm { ciphers, .. } => (&ciphers.gcm, body, 0),
            Self::Siv(siv) => {
                let (iv, ciphertext) = body.split_first_chunk_mut().ok_or(TOO_SHORT)?;
                siv.open(aad, ciphertext, iv).map_err(|_| OpenError::NotAuthentic)?;
                return Ok(iv.len()..body.len());
            }
        };
        let plain = open_gcm(gcm, aad, body)?;
        Ok(plain.start + before..plain.end + before)
    }

    /// As [`Self::open`] beside the usual associated data, for a body of `len` bytes in a `room` with some more behind it; `None`, and
    /// nothing is changed, if that has to do it.
    #[inline]
    pub(super) fn open_short(
        &self,
        recent: &mut Recent,
        room: &mut [u8],
        len: usize,
    ) -> Option<Result<Range<usize>, OpenError>> {
        let (ciphers, prefix, before) = match self {
            Self::Xaes { opened, .. } => {
                let prefix = room.first_chunk()?;
                (opened.find(prefix, &mut recent.last)?, *prefix, prefix.len())
            }
            Self::Gcm { ciphers, .. } => (&**ciphers, *NONE, 0),
            Self::Siv(_) => return None,
        };
        let (nonce, rest) = room.get_mut(before..)?.split_first_chunk_mut()?;
        let from = before + nonce.len();
        let text = len.checked_sub(from + TAG).filter(|text| *text <= short::MOST)?;
        let short = ciphers.short.as_ref()?;
        let opened = short.open(recent.hash.of(&prefix, short), nonce, rest, text);
        Some(opened.map(|()| from..from + text).ok_or(OpenError::NotAuthentic))
    }

    /// Under a prefix that is not at hand.
    #[inline(never)]
    fn open_under(
        &self,
        prefix: &[u8; 12],
        aad: &[u8],
        rest: &mut [u8],
        prefixes: &PrefixCache,
    ) -> Result<Range<usize>, OpenError> {
        let Self::Xaes { xaes, serial, opened, usual, .. } = self else { return Err(OpenError::NotAuthentic) };
        let place = (*serial, *prefix);
        let known = prefixes.0.get(&place);
        let is_known = known.is_some();
        let ciphers = known.unwrap_or_else(|| Arc::new(Ciphers::derived(xaes, prefix, usual)));
        let plain = open_gcm(&ciphers.gcm, aad, rest)?;
        // Only now: whoever can present made-up tokens must not fill the cache with their prefixes.
        if !is_known {
            prefixes.0.insert(place, Arc::clone(&ciphers));
        }
        opened.keep(prefix, ciphers);
        Ok(plain.start + prefix.len()..plain.end + prefix.len())
    }
}

impl Ciphers {
    fn new(key: &[u8; 32], usual: &[u8]) -> Self {
        Self { gcm: Gcm::new(key), short: ShortGcm::new(key, usual) }
    }

    fn derived(xaes: &Xaes, prefix: &[u8; 12], usual: &[u8]) -> Self {
        xaes.derive_by(prefix, |key| Self::new(key, usual))
    }
}

/// Counts a use of a key of suite 2.
fn count(uses: &AtomicU64) -> Result<(), SealError> {
    if uses.fetch_add(1, Ordering::Relaxed) >= MAX_PER_GCM_KEY {
        return Err(SealError::Exhausted);
    }
    Ok(())
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

/// The same from a short text.
#[inline]
fn seal_short(short: &ShortGcm, hash: &mut Hash, random: &mut Batch, text: &[u8], room: &mut [u8]) -> Option<()> {
    let (place, rest) = room.split_first_chunk_mut()?;
    let nonce = random.take().ok()?;
    *place = nonce;
    short.seal(hash, &nonce, text, rest)
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
        Cipher::derive(suite, &Secret::from_slice(&[3; 32]).unwrap(), b"info", Arc::default(), b"aad")
    }

    fn sealed(cipher: &Cipher, head: usize) -> Vec<u8> {
        let mut body = vec![0; head];
        body.extend_from_slice(b"value");
        body.extend_from_slice(&[0; TAG]);
        cipher.seal(b"aad", &mut Batch::default(), &mut body).unwrap();
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
        let Cipher::Xaes { sealing, xaes, usual, .. } = &cipher else { panic!() };
        sealing.prefix(|bytes| Ciphers::derived(xaes, bytes, usual)).unwrap().use_up();
        let third = sealed(&cipher, 24);
        assert_ne!(first[..12], third[..12]);
        assert_eq!(third[..12], sealed(&cipher, 24)[..12]);
    }

    #[test]
    fn a_prefix_that_is_used_up_in_one_hand_takes_its_hash_along() {
        let cipher = cipher(Suite::Xaes);
        let (mut random, mut recent) = (Batch::default(), Recent::default());
        let Cipher::Xaes { sealing, xaes, usual, .. } = &cipher else { panic!() };
        let mut prefixes = std::collections::HashSet::new();
        for round in 1..10 {
            let mut room = [0; 24 + 16 + TAG];
            if cipher.seal_short(&mut random, &mut recent, b"value", &mut room).is_none() {
                return;
            }
            let body = &room[..24 + 5 + TAG];
            assert_eq!(opened(&cipher, b"aad", body, &PrefixCache::new(10)).unwrap(), b"value");
            prefixes.insert(body[..12].to_vec());
            if round % 3 == 0 {
                sealing.prefix(|bytes| Ciphers::derived(xaes, bytes, usual)).unwrap().use_up();
            }
        }
        assert_eq!(prefixes.len(), 3);
    }

    #[test]
    fn each_object_has_a_prefix_of_its_own() {
        assert_ne!(sealed(&cipher(Suite::Xaes), 24)[..12], sealed(&cipher(Suite::Xaes), 24)[..12]);
    }

    #[test]
    fn a_gcm_key_is_used_so_often_and_no_more() {
        let uses = Arc::new(AtomicU64::new(MAX_PER_GCM_KEY - 1));
        let key = Secret::from_slice(&[3; 32]).unwrap();
        let one = Cipher::derive(Suite::Gcm, &key, b"info", Arc::clone(&uses), b"aad");
        sealed(&one, 12);
        let again = Cipher::derive(Suite::Gcm, &key, b"info", uses, b"aad");
        for cipher in [one, again] {
            let sealed = cipher.seal(b"aad", &mut Batch::default(), &mut [0; 40]);
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
