//! Sixty-four bytes at a time as bitmaps, in which bit n says something of byte n. fearless_simd chooses the instructions when
//! the program runs (AVX-512, AVX2, SSE 4.2, SSE2, NEON), so that nothing here is unsafe.

use fearless_simd::prelude::*;
use fearless_simd::{Bytes as _, Level, Simd, i8x64, u8x16, u8x64};

/// How many bytes a block has.
pub const BLOCK: usize = 64;

/// The bytes of a block, in registers.
#[derive(Clone, Copy)]
pub struct Bytes<S: Simd>(u8x64<S>);

/// A few bytes that are looked for together.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneOf {
    /// The same one more than once, if there are fewer; 0xff: none at all.
    bytes: [u8; 6],
    /// By their last four bits, where no two of them have the same. A place without one has a byte that has others.
    by_low: Option<[u8; 16]>,
}

impl OneOf {
    /// `None`: too many.
    pub fn new(all: impl Iterator<Item = u8>) -> Option<Self> {
        let mut few = Vec::with_capacity(6);
        for byte in all {
            if !few.contains(&byte) {
                few.push(byte);
            }
        }
        let mut bytes = [few.first().copied()?; 6];
        let mut by_low = Some(std::array::from_fn(|low| u8::from(low == 0)));
        for (n, byte) in few.iter().enumerate() {
            *bytes.get_mut(n)? = *byte;
            let low = usize::from(*byte % 16);
            let empty = u8::from(low == 0);
            let slot = by_low.as_mut().and_then(|table| table.get_mut(low));
            match slot {
                Some(slot) if *slot == empty => *slot = *byte,
                Some(_) | None => by_low = None,
            }
        }
        Some(Self { bytes, by_low })
    }
}

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

    /// Which bytes are one of these.
    #[inline(always)]
    pub fn are_one_of(self, few: &OneOf) -> u64 {
        if let Some(table) = few.by_low.filter(|_| has_tables(self.0.token())) {
            let table: u8x16<S> = table.simd_into(self.0.token());
            let table: u8x64<S> = u8x64::block_splat(table);
            return self.0.simd_eq(table.swizzle_dyn_within_blocks(self.0 & 0x0f)).to_bitmask();
        }
        few.bytes.iter().fold(0, |all, byte| all | self.are(*byte))
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

    /// Which bytes are digits.
    #[inline(always)]
    pub fn digits(self) -> u64 {
        self.at_least(b'0') & self.at_most(b'9')
    }

    /// Which bytes are control characters, or not ASCII.
    #[inline(always)]
    pub fn are_odd(self) -> u64 {
        let signed: i8x64<S> = self.0.bitcast();
        signed.simd_lt(0x20).to_bitmask()
    }

    /// With bit 5 set: letters become small, `[` and `]` become `{` and `}`.
    #[inline(always)]
    pub fn folded(self) -> Self {
        Self(self.0 | 0x20)
    }
}

/// Whether sixteen bytes are looked up by one instruction.
#[inline(always)]
fn has_tables<S: Simd>(simd: S) -> bool {
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) | Level::Avx2(_) | Level::Sse4_2(_) => true,
        #[cfg(target_arch = "aarch64")]
        Level::Neon(_) => true,
        _ => false,
    }
}

/// Bit n: how many of the bits up to n are set is odd.
#[inline(always)]
pub fn parity<S: Simd>(simd: S, mut bits: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let Level::Avx512(avx512) = simd.level() {
        return times_ones(avx512, bits);
    }
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(target_arch = "x86_64")]
fearless_simd::kernel!(
    /// The product without carries with as many ones.
    #[inline(always)]
    fn times_ones(_avx512: Avx512, bits: u64) -> u64 {
        use std::arch::x86_64::{_mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_set1_epi8};
        let product = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(bits.cast_signed()), _mm_set1_epi8(-1));
        _mm_cvtsi128_si64(product).cast_unsigned()
    }
);

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
                let [are, least, most, folded, odd, digits] = dispatch!(level, simd => {
                    let loaded = Bytes::load(simd, &block);
                    let (odd, digits) = (loaded.are_odd(), loaded.digits());
                    [loaded.are(byte), loaded.at_least(byte), loaded.at_most(byte), loaded.folded().are(byte), odd, digits]
                });
                prop_assert_eq!(are, expect(&|b| b == byte), "{:?}", level);
                prop_assert_eq!(least, expect(&|b| b >= byte), "{:?}", level);
                prop_assert_eq!(most, expect(&|b| b <= byte), "{:?}", level);
                prop_assert_eq!(folded, expect(&|b| b | 0x20 == byte), "{:?}", level);
                prop_assert_eq!(odd, expect(&|b| !matches!(b, 0x20..=0x7f)), "{:?}", level);
                prop_assert_eq!(digits, expect(&|b| b.is_ascii_digit()), "{:?}", level);
            }
        }

        #[test]
        fn few_bytes_are_found_together(bytes: [u8; 32], few in prop::collection::vec(any::<u8>(), 1..9), also in 0_usize..32) {
            let mut block = [0; BLOCK];
            block[..32].copy_from_slice(&bytes);
            block[32 + also] = few[0];
            let distinct = few.iter().enumerate().filter(|(n, byte)| !few[..*n].contains(byte)).count();
            let found = OneOf::new(few.iter().copied());
            prop_assert_eq!(found.is_some(), distinct <= 6);
            let Some(found) = found else { return Ok(()) };
            let expect = (0..64).filter(|n| few.contains(&block[*n])).fold(0_u64, |all, n| all | 1 << n);
            for level in crate::json::index::levels() {
                let are = dispatch!(level, simd => Bytes::load(simd, &block).are_one_of(&found));
                prop_assert_eq!(are, expect, "{:?} {:?}", level, few);
            }
        }

        #[test]
        fn parity_counts(bits: u64) {
            for level in crate::json::index::levels() {
                let parity = dispatch!(level, simd => parity(simd, bits));
                for n in 0..64 {
                    let odd = (bits << (63 - n)).count_ones() % 2 == 1;
                    prop_assert_eq!(parity >> n & 1 == 1, odd, "{:?}", level);
                }
            }
        }
    }
}
