//! Sixty-four bytes at a time as bitmaps, in which bit n says something of byte n. fearless_simd chooses the instructions when
//! the program runs (AVX-512, AVX2, SSE 4.2, SSE2, NEON), so that nothing here is unsafe.

use fearless_simd::prelude::*;
use fearless_simd::{Simd, u8x64};

/// How many bytes a block has.
pub const BLOCK: usize = 64;

/// The bytes of a block, in registers.
#[derive(Clone, Copy)]
pub struct Bytes<S: Simd>(u8x64<S>);

impl<S: Simd> Bytes<S> {
    /// Loads a block.
    #[inline(always)]
    pub fn load(simd: S, bytes: &[u8; BLOCK]) -> Self {
        Self((*bytes).simd_into(simd))
    }

    /// Which bytes are this one.
    #[inline(always)]
    pub fn are(self, byte: u8) -> u64 {
        self.0.simd_eq(byte).to_bitmask()
    }

    /// Which bytes are this one or greater.
    #[inline(always)]
    pub fn at_least(self, byte: u8) -> u64 {
        self.0.simd_ge(byte).to_bitmask()
    }

    /// Which bytes are this one or less.
    #[inline(always)]
    pub fn at_most(self, byte: u8) -> u64 {
        self.0.simd_le(byte).to_bitmask()
    }

    /// With bit 5 set: letters become small, `[` and `]` become `{` and `}`.
    #[inline(always)]
    pub fn folded(self) -> Self {
        Self(self.0 | 0x20)
    }
}

/// Bit n: how many of the bits up to n are set is odd.
#[inline(always)]
pub fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
mod tests {
    use fearless_simd::dispatch;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bitmaps_say_what_bytes_are(bytes: [u8; 32], more: [u8; 32], byte: u8) {
            let mut block = [0; BLOCK];
            block[..32].copy_from_slice(&bytes);
            block[32..].copy_from_slice(&more);
            block[usize::from(byte % 64)] = byte;
            let expect = |is: &dyn Fn(u8) -> bool| (0..64).filter(|n| is(block[*n])).fold(0_u64, |all, n| all | 1 << n);
            for level in crate::json::index::levels() {
                let [are, least, most, folded] = dispatch!(level, simd => {
                    let loaded = Bytes::load(simd, &block);
                    [loaded.are(byte), loaded.at_least(byte), loaded.at_most(byte), loaded.folded().are(byte)]
                });
                prop_assert_eq!(are, expect(&|b| b == byte), "{:?}", level);
                prop_assert_eq!(least, expect(&|b| b >= byte), "{:?}", level);
                prop_assert_eq!(most, expect(&|b| b <= byte), "{:?}", level);
                prop_assert_eq!(folded, expect(&|b| b | 0x20 == byte), "{:?}", level);
            }
        }

        #[test]
        fn parity_counts(bits: u64) {
            for n in 0..64 {
                let odd = (bits << (63 - n)).count_ones() % 2 == 1;
                prop_assert_eq!(parity(bits) >> n & 1 == 1, odd);
            }
        }
    }
}
