//! The containers around a place, in bits.

use crate::json::check::Block;
use crate::json::scan::Kind;
use crate::json::simd::BLOCK;

/// The containers around a place, 512 at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nest {
    /// Whether they are objects, up to 64 of them, the innermost in bit 0.
    kinds: u64,
    /// Those around these, 64 each, the outermost first.
    outer: [u64; 8],
    depth: u32,
    max: u32,
}

impl Nest {
    const MOST: u32 = 512;

    /// `None`: deeper than fits.
    pub fn new(stack: &[Kind], max: usize) -> Option<Self> {
        let max = u32::try_from(max).map_or(Self::MOST, |max| max.min(Self::MOST));
        let mut nest = Self { max, ..Self::default() };
        stack.iter().all(|kind| nest.push(*kind == Kind::Object)).then_some(nest)
    }

    /// How many.
    #[inline(always)]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Whether the one at this level, from 0, is an object.
    fn is_object(&self, level: u32) -> bool {
        let innermost = self.depth.saturating_sub(1);
        if level / 64 == innermost / 64 {
            return self.kinds >> (innermost - level) & 1 == 1;
        }
        self.outer.get(level as usize / 64).is_some_and(|word| word >> (63 - level % 64) & 1 == 1)
    }

    /// All bits, if the innermost is an object.
    #[inline(always)]
    pub fn objects(&self) -> u64 {
        (self.kinds & 1).wrapping_neg()
    }

    /// `false`: too deep.
    #[inline(always)]
    pub fn push(&mut self, object: bool) -> bool {
        let fits = self.depth < self.max;
        if fits {
            if self.depth.is_multiple_of(64) && self.depth > 0 {
                self.put_aside();
            }
            self.kinds = self.kinds << 1 | u64::from(object);
            self.depth += 1;
        }
        fits
    }

    /// The innermost ends.
    #[inline(always)]
    pub fn pop(&mut self) {
        self.kinds >>= 1;
        self.depth = self.depth.saturating_sub(1);
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            self.take_back();
        }
    }

    /// `kinds` is full.
    #[inline(never)]
    fn put_aside(&mut self) {
        if let Some(word) = (self.depth as usize / 64).checked_sub(1).and_then(|at| self.outer.get_mut(at)) {
            *word = self.kinds;
        }
        self.kinds = 0;
    }

    /// The other way round.
    #[inline(never)]
    fn take_back(&mut self) {
        let word = (self.depth as usize / 64).checked_sub(1).and_then(|at| self.outer.get(at));
        self.kinds = word.copied().unwrap_or_default();
    }

    /// The outermost alone.
    pub fn outermost(self) -> Self {
        let kinds = u64::from(self.depth > 0 && self.is_object(0));
        Self { kinds, depth: self.depth.min(1), ..self }
    }

    /// From the outermost on.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        (0..self.depth).map(|level| if self.is_object(level) { Kind::Object } else { Kind::Array })
    }
}

/// Goes over the brackets of blocks that were good before, which this input begins with.
pub fn replay(blocks: &[Block], input: &[u8], nest: &mut Nest) {
    for (n, block) in blocks.iter().enumerate() {
        let mut rest = block.open | block.close;
        while rest != 0 {
            let bit = rest.trailing_zeros();
            if block.open >> bit & 1 == 1 {
                nest.push(input.get(n * BLOCK + bit as usize) == Some(&b'{'));
            } else {
                nest.pop();
            }
            rest &= rest - 1;
        }
    }
}

/// The other way round: from behind such blocks to before them.
pub fn unplay(blocks: &[Block], input: &[u8], nest: &mut Nest) {
    for (n, block) in blocks.iter().enumerate().rev() {
        let mut rest = block.open | block.close;
        while rest != 0 {
            let bit = 63 - rest.leading_zeros();
            rest ^= 1 << bit;
            if block.close >> bit & 1 == 1 {
                nest.push(input.get(n * BLOCK + bit as usize) == Some(&b'}'));
            } else {
                nest.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_nest_is_a_stack(steps in prop::collection::vec(prop::option::weighted(0.55, any::<bool>()), 0..1500), max in 1_usize..600) {
            let mut nest = Nest::new(&[], max).unwrap();
            let mut stack = Vec::new();
            for step in steps {
                match step {
                    Some(object) => {
                        let fits = stack.len() < max.min(512);
                        prop_assert_eq!(nest.push(object), fits);
                        stack.extend(fits.then_some(object));
                    }
                    None => {
                        nest.pop();
                        stack.pop();
                    }
                }
                prop_assert_eq!(nest.depth() as usize, stack.len());
                prop_assert_eq!(nest.objects() & 1 == 1, stack.last().copied().unwrap_or_default());
            }
            let kinds = |stack: &[bool]| stack.iter().map(|object| if *object { Kind::Object } else { Kind::Array }).collect::<Vec<_>>();
            prop_assert_eq!(nest.kinds().collect::<Vec<_>>(), kinds(&stack));
            stack.truncate(1);
            prop_assert_eq!(nest.outermost().kinds().collect::<Vec<_>>(), kinds(&stack));
        }

        #[test]
        fn a_nest_is_found_both_ways(text in "[\\[{\\]} ]{0,320}", before in prop::collection::vec(any::<bool>(), 0..200)) {
            let before: Vec<Kind> = before.iter().map(|object| if *object { Kind::Object } else { Kind::Array }).collect();
            let (mut stack, mut bytes) = (before.clone(), Vec::new());
            for byte in text.bytes() {
                // Those that fit.
                let fits = match byte {
                    b'{' => Some(Kind::Object),
                    b'[' => Some(Kind::Array),
                    b' ' => None,
                    _ => {
                        let closed = stack.pop();
                        bytes.extend(closed.map(|kind| if kind == Kind::Object { b'}' } else { b']' }));
                        continue;
                    }
                };
                stack.extend(fits);
                bytes.push(byte);
            }
            let bits = |of: [u8; 2], bytes: &[u8]| (0..).zip(bytes).fold(0, |all, (n, byte)| all | u64::from(of.contains(byte)) << n);
            let block = |bytes: &[u8]| Block { open: bits(*b"{[", bytes), close: bits(*b"}]", bytes), ..Block::default() };
            let blocks: Vec<Block> = bytes.chunks(BLOCK).map(block).collect();
            let mut nest = Nest::new(&before, 512).unwrap();
            replay(&blocks, &bytes, &mut nest);
            prop_assert_eq!(nest.kinds().collect::<Vec<_>>(), stack);
            unplay(&blocks, &bytes, &mut nest);
            prop_assert_eq!(nest.kinds().collect::<Vec<_>>(), before);
        }
    }
}
