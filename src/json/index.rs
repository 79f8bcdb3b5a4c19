//! Where a chunk's brackets, commas, colons and quotes are, checked ahead in pieces of two kilobytes: what lets a reader leap.

use std::ops::Range;
use std::sync::OnceLock;

use fearless_simd::{Level, Simd, dispatch};

pub use crate::json::check::Ends;
use crate::json::check::{Block, Carry, Nest, Place, Verdict, replay, step, unplay};
use crate::json::scan::{Scanner, is_white};
use crate::json::simd::BLOCK;

/// Blocks that are looked at together.
const PIECE: usize = 32;

/// See [`Sight`].
const LEAST: usize = 64;

/// How a chunk is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// `None`: not at all.
    level: Option<Level>,
    full: bool,
    /// Fewer bytes than this are not worth it.
    least: usize,
}

impl Sight {
    /// With the best that this machine can do. `full`: the whole grammar is checked, everywhere; otherwise, where nothing is selected,
    /// only brackets, quotes and escapes of quotes.
    pub fn new(full: bool) -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        Self { level: Some(*BEST.get_or_init(Level::new)), full, least: LEAST }
    }

    /// Not at all: the scanner goes from byte to byte.
    pub fn none() -> Self {
        Self { level: None, full: true, least: usize::MAX }
    }

    /// All that this machine can do, the best first, also where it is not worth it.
    pub fn all(full: bool) -> impl Iterator<Item = Self> {
        levels().into_iter().map(move |level| Self { level: Some(level), full, least: 1 })
    }

    /// Whether the whole grammar is checked.
    pub fn is_full(self) -> bool {
        self.full
    }
}

/// All kinds of instructions that this machine has, the best first.
pub(super) fn levels() -> Vec<Level> {
    let best = Level::new();
    #[cfg(target_arch = "x86_64")]
    let others = [
        best.as_avx512().map(Level::Avx512),
        best.as_avx2().map(Level::Avx2),
        best.as_sse4_2().map(Level::Sse4_2),
        best.as_sse2().map(Level::Sse2),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let others = [Some(best)];
    others.into_iter().flatten().collect()
}

/// See the module. It follows a [`Scanner`], from which it takes over at a token's end, and which takes over from it.
pub struct Index<'a> {
    sight: Sight,
    ends: Ends,
    input: &'a [u8],
    /// Where `blocks` begin, and how many of them there are.
    base: usize,
    len: usize,
    blocks: [Block; PIECE],
    /// What is behind this was not looked at, or is not to be relied on.
    end: usize,
    /// There is nothing to be looked at behind `end`.
    over: bool,
    /// The bracket that ends the document stands there.
    closed: bool,
    carry: Carry,
    /// At `end`.
    nest: Nest,
    /// Before the block of this number, which is the first that was looked at last, or one behind it.
    floor: Nest,
    floor_at: usize,
    /// From `end` up to here there is no index, and none is to be made.
    not_before: usize,
    /// The last two quotes before `base`, the later one first.
    quotes: [usize; 2],
    /// The last bracket, comma or colon before `base`.
    last: Option<usize>,
    /// Where a reader is.
    cursor: usize,
}

/// What stands outside of strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// `{` or `[`
    Open,
    /// `}` or `]`
    Close,
    /// `:`
    Colon,
}

/// Which of them a reader moves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// Without colons.
    Brackets,
    /// Colons alone.
    Colons,
    /// All.
    Both,
}

/// What the end of a name says, up to the quote that closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is the name of this id.
    Is(usize),
    /// It has none, unless it is written with escapes.
    IsNone,
    /// Not enough.
    Unknown,
}

impl<'a> Index<'a> {
    /// Of a chunk, in which names are looked for that end so.
    pub fn new(sight: Sight, ends: Ends, input: &'a [u8]) -> Self {
        Self {
            sight,
            ends,
            input,
            base: 0,
            len: 0,
            blocks: [Block::default(); PIECE],
            end: 0,
            over: true,
            closed: false,
            carry: Carry::default(),
            nest: Nest::default(),
            floor: Nest::default(),
            floor_at: 0,
            not_before: if sight.level.is_none() { usize::MAX } else { 0 },
            quotes: [usize::MAX; 2],
            last: None,
            cursor: 0,
        }
    }

    /// Whether nothing is to be had at this place, which costs next to nothing to ask.
    #[inline]
    pub fn is_pointless(&self, at: usize) -> bool {
        at >= self.end && (at < self.not_before || self.input.len().saturating_sub(at) < self.sight.least)
    }

    /// Puts the reader where the scanner is, behind the byte before `at`; `false`: here the scanner is on its own.
    pub fn enter(&mut self, scanner: &Scanner, at: usize) -> bool {
        if self.is_pointless(at) {
            return false;
        }
        let Some(place) = scanner.place() else { return false };
        while at >= self.end && !self.over {
            self.advance();
        }
        if at >= self.end {
            if self.is_pointless(at) || !self.begin(scanner, place, at) {
                return false;
            }
            self.advance();
        }
        self.cursor = at;
        (self.base..self.end).contains(&at)
    }

    /// The next bracket, behind which the reader then is; `None`: at the end of what can be told.
    #[inline]
    pub fn next_bracket(&mut self) -> Option<(Mark, usize)> {
        self.next_named(Marks::Brackets, |_| Ending::Unknown, |_, _, _| None).map(|(mark, at, _)| (mark, at))
    }

    /// The next of these marks, of colons such behind a name that has an id. `ending` looks at what stands before the quote that ends the
    /// name, and `id`, where that does not do, at the name itself: it is what the text begins with, so long and as it is written, and may
    /// have escapes. A colon whose name cannot be told counts, without an id.
    #[inline(always)]
    pub fn next_named(
        &mut self,
        which: Marks,
        ending: impl Fn(&'a [u8]) -> Ending,
        id: impl Fn(&'a [u8], usize, bool) -> Option<usize>,
    ) -> Option<(Mark, usize, Option<usize>)> {
        let (brackets, colons) = match which {
            Marks::Brackets => (!0, 0),
            Marks::Colons => (0, !0),
            Marks::Both => (!0, !0),
        };
        loop {
            if self.cursor >= self.end {
                if self.over {
                    return None;
                }
                self.advance();
                continue;
            }
            let inside = self.cursor - self.base;
            let mut start = self.cursor - inside % BLOCK;
            let mut from = !0 << (inside % BLOCK);
            for block in self.blocks.get(inside / BLOCK..self.len)? {
                let mut marks = (((block.open | block.close) & brackets) | (block.named & colons)) & from;
                from = !0;
                while marks != 0 {
                    let bit = marks & marks.wrapping_neg();
                    let at = start + marks.trailing_zeros() as usize;
                    marks ^= bit;
                    let (mark, id) = if block.colon & bit == 0 {
                        (if block.open & bit != 0 { Mark::Open } else { Mark::Close }, None)
                    } else {
                        let before = self.input.get(..at).and_then(|before| before.strip_suffix(b"\""));
                        let quotes = block.quote & (bit - 1);
                        match before.map_or(Ending::Unknown, &ending) {
                            Ending::Is(id) => (Mark::Colon, Some(id)),
                            // It stands in this block from its first quote on.
                            Ending::IsNone if block.backslash == 0 && quotes & quotes.wrapping_sub(1) != 0 => continue,
                            Ending::IsNone | Ending::Unknown => match self.id_before(at, &id) {
                                Some(None) => continue,
                                Some(id) => (Mark::Colon, id),
                                None => (Mark::Colon, None),
                            },
                        }
                    };
                    self.cursor = at + 1;
                    return Some((mark, at, id));
                }
                start += BLOCK;
            }
            self.cursor = self.end;
        }
    }

    /// The id of the name before the colon at `at`, which was the last mark, if it has one; `None`: the name cannot be told.
    #[inline(never)]
    fn id_before(&self, at: usize, id: &impl Fn(&'a [u8], usize, bool) -> Option<usize>) -> Option<Option<usize>> {
        let (name, escapes) = self.name_before(at)?;
        Some(id(self.input.get(name.start..)?, name.len(), escapes))
    }

    /// Moves to the bracket that closes the container at this depth (the outermost's is 1) and stays before it; `None`: it is not
    /// in sight, and the reader is at the end.
    pub fn close_of(&mut self, depth: usize, now: usize) -> Option<usize> {
        let mut now = now;
        loop {
            let Some((n, from)) = self.place() else {
                if self.over {
                    return None;
                }
                self.advance();
                continue;
            };
            let block = self.blocks.get(n)?;
            let whole = from == !0;
            if whole && block.least as usize >= depth && self.base + (n + 1) * BLOCK <= self.end {
                self.cursor = self.base + (n + 1) * BLOCK;
                now = self.depth_before(n + 1);
                continue;
            }
            let mut marks = (block.open | block.close) & from;
            while marks != 0 {
                let bit = marks & marks.wrapping_neg();
                marks ^= bit;
                let at = self.base + n * BLOCK + bit.trailing_zeros() as usize;
                if at >= self.end {
                    break;
                }
                if block.open & bit != 0 {
                    now += 1;
                } else if now == depth {
                    self.cursor = at;
                    return Some(at);
                } else {
                    now -= 1;
                }
            }
            self.cursor = (self.base + (n + 1) * BLOCK).min(self.end);
        }
    }

    /// Where the member name before the colon at `at` stands, which was the last mark, and whether it may have escapes; `None`: it
    /// cannot be told.
    pub fn name_before(&self, at: usize) -> Option<(Range<usize>, bool)> {
        let inside = at.checked_sub(self.base)?;
        let block = self.blocks.get(inside / BLOCK)?;
        let quotes = block.quote & ((1 << (inside % BLOCK)) - 1);
        if quotes & quotes.wrapping_sub(1) == 0 {
            return self.long_name_before(inside);
        }
        let close = 63 - quotes.leading_zeros();
        let open = 63 - (quotes ^ 1 << close).leading_zeros();
        let between = (1_u64 << close) - (1 << open);
        let start = at - inside % BLOCK;
        Some((start + open as usize + 1..start + close as usize, block.backslash & between != 0))
    }

    /// The same, which may begin in another block.
    #[inline(never)]
    fn long_name_before(&self, inside: usize) -> Option<(Range<usize>, bool)> {
        let n = inside / BLOCK;
        let block = self.blocks.get(n)?;
        let mut quotes = block.quote & ((1 << (inside % BLOCK)) - 1);
        if let Some(before) = n.checked_sub(1).and_then(|before| self.blocks.get(before)) {
            // Most begin in the one before it.
            let two = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
            let quotes = two(before.quote, quotes);
            if quotes.count_ones() > 1 {
                let close = 127 - quotes.leading_zeros();
                let open = 127 - (quotes ^ 1 << close).leading_zeros();
                let start = self.base + (n - 1) * BLOCK;
                let between = (1_u128 << close) - (1 << open);
                let escapes = two(before.backslash, block.backslash) & between != 0;
                return Some((start + open as usize + 1..start + close as usize, escapes));
            }
        }
        let mut n = n;
        let mut close = None;
        let [last, last_but_one] = self.quotes;
        let open = loop {
            if quotes != 0 {
                let top = 63 - quotes.leading_zeros();
                quotes ^= 1 << top;
                let quote = self.base + n * BLOCK + top as usize;
                if close.is_some() {
                    break quote;
                }
                close = Some(quote);
            } else if n > 0 {
                n -= 1;
                quotes = self.blocks.get(n)?.quote;
            } else {
                break if close.is_some() { last } else { last_but_one };
            }
        };
        Some((open.checked_add(1)?..close.unwrap_or(last), true))
    }

    /// Where the reader is.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// The first byte that is not white at or behind this place, if it can be relied on.
    pub fn value_at(&self, at: usize) -> Option<u8> {
        let rest = self.input.get(at..self.end.max(at))?;
        rest.iter().copied().find(|byte| !is_white(*byte))
    }

    /// The string, number or literal behind the colon at `at`, which was the last mark, a string with its quotes; `None`: there is none,
    /// or what follows it is not in sight. Behind it a reader can go on. Only where the whole grammar is checked.
    #[inline(always)]
    pub fn scalar_behind(&mut self, at: usize) -> Option<Range<usize>> {
        let (from, first) = match self.input.get(at + 1..self.end)? {
            // Mostly there is one space at most.
            [b'"', ..] => (at + 1, b'"'),
            [b' ', b'"', ..] => (at + 2, b'"'),
            rest => {
                let white = rest.iter().position(|byte| !is_white(*byte))?;
                (at + 1 + white, *rest.get(white)?)
            }
        };
        if first != b'"' {
            return self.bare_behind(at, from, first);
        }
        let inside = from.checked_sub(self.base)?;
        let after = self.blocks.get(inside / BLOCK)?.quote & (!1 << (inside % BLOCK));
        let close = self.first_of(at, inside / BLOCK, after, |block| block.quote)?;
        let end = self.end + usize::from(self.closed);
        let follows = match self.input.get(close + 1..end)? {
            [b',' | b'}', ..] => true,
            rest => matches!(rest.iter().find(|byte| !is_white(**byte)), Some(b',' | b'}')),
        };
        follows.then_some(from..close + 1)
    }

    /// The number or literal that begins there with this byte.
    #[inline(never)]
    fn bare_behind(&mut self, at: usize, from: usize, first: u8) -> Option<Range<usize>> {
        if matches!(first, b'{' | b'[') {
            return None;
        }
        let inside = from.checked_sub(self.base)?;
        let ends = |block: &Block| block.comma | block.close;
        let after = ends(self.blocks.get(inside / BLOCK)?) & (!0 << (inside % BLOCK));
        let end = self.first_of(at, inside / BLOCK, after, ends).or_else(|| self.closed_at())?;
        let white = self.input.get(from..end)?.iter().rev().take_while(|byte| is_white(**byte)).count();
        Some(from..end - white)
    }

    /// Moves the reader behind what [`Index::scalar_behind`] found.
    pub fn pass_scalar(&mut self, scalar: &Range<usize>) {
        self.cursor = scalar.end;
    }

    /// The first of these bits of block `n`, or of those of the blocks behind it. Where they end, more are looked at, but none from that
    /// of `from` on is given up.
    #[inline(always)]
    fn first_of(&mut self, from: usize, n: usize, bits: u64, of: impl Fn(&Block) -> u64) -> Option<usize> {
        let (mut n, mut bits) = (n, bits);
        while bits == 0 {
            n += 1;
            if n >= self.len {
                n -= self.advance_from(from)?;
                if n >= self.len {
                    return None;
                }
            }
            bits = of(self.blocks.get(n)?);
        }
        Some(self.base + n * BLOCK + bits.trailing_zeros() as usize)
    }

    /// The last bracket, comma or colon before the end.
    pub fn last(&self) -> Option<usize> {
        self.last_of(self.len)
    }

    /// The same before the end of so many blocks.
    fn last_of(&self, blocks: usize) -> Option<usize> {
        for n in (0..blocks).rev() {
            let block = self.blocks.get(n)?;
            let marks = block.open | block.close | block.comma | block.colon;
            if marks != 0 {
                return Some(self.base + n * BLOCK + 63 - marks.leading_zeros() as usize);
            }
        }
        self.last
    }

    /// Where the bracket stands that ends the document, if all before it was looked at.
    pub fn closed_at(&self) -> Option<usize> {
        self.closed.then_some(self.end)
    }

    /// The containers around the end.
    pub fn nest(&self) -> &Nest {
        &self.nest
    }

    /// The containers around the mark at this place, which was the last one. Brackets of the blocks before it are gone over once,
    /// however many marks this is asked of.
    pub fn nest_at(&mut self, at: usize) -> Option<Nest> {
        let inside = at.checked_sub(self.base)?;
        let n = inside / BLOCK;
        let (from, to) = (self.floor_at.min(n), self.floor_at.max(n));
        let (blocks, bytes) = (self.blocks.get(from..to)?, self.input.get(self.base + from * BLOCK..)?);
        // Blocks that were kept stand before the floor.
        let step = if n < self.floor_at { unplay } else { replay };
        step(blocks, bytes, &mut self.floor);
        self.floor_at = n;
        let mut nest = self.floor;
        let part = self.blocks.get(n)?.up_to(u32::try_from(inside % BLOCK).ok()?);
        replay(&[part], self.input.get(self.base + n * BLOCK..)?, &mut nest);
        Some(nest)
    }

    /// Moves the reader behind the bracket that [`Index::close_of`] found.
    pub fn pass(&mut self, at: usize) {
        self.cursor = at + 1;
    }

    fn depth_before(&self, n: usize) -> usize {
        self.blocks.get(n).filter(|_| n < self.len).map_or_else(|| self.nest.depth(), |block| block.depth as usize)
    }

    /// The block in which the reader is, and the bits that are before it.
    #[inline]
    fn place(&self) -> Option<(usize, u64)> {
        let inside = self.cursor - self.base;
        (self.cursor < self.end).then_some((inside / BLOCK, !0 << (inside % BLOCK)))
    }

    /// Starts anew.
    fn begin(&mut self, scanner: &Scanner, place: Place, at: usize) -> bool {
        let Some(nest) = Nest::new(scanner.stack(), scanner.max_depth()).filter(|nest| nest.depth() > 0) else {
            self.not_before = usize::MAX;
            return false;
        };
        self.carry = Carry::at(place, &nest);
        (self.nest, self.floor, self.floor_at) = (nest, nest, 0);
        (self.base, self.len, self.end, self.over) = (at, 0, at, false);
        (self.quotes, self.last, self.closed) = ([usize::MAX; 2], None, false);
        true
    }

    /// Looks at the next piece.
    fn advance(&mut self) {
        // The last block stays: a name may begin in it.
        self.advance_keeping(self.len.saturating_sub(1));
    }

    /// The same, and keeps the blocks from that of `from` on; how many were given up.
    #[inline(never)]
    fn advance_from(&mut self, from: usize) -> Option<usize> {
        let keep = (from - self.base) / BLOCK;
        if keep == 0 || self.over {
            return None;
        }
        self.advance_keeping(keep);
        Some(keep)
    }

    /// Keeps the blocks from this one on, which is not the first of as many as there may be.
    fn advance_keeping(&mut self, keep: usize) {
        self.remember_quotes(keep);
        self.last = self.last_of(keep);
        self.blocks.copy_within(keep..self.len, 0);
        (self.base, self.len) = (self.base + keep * BLOCK, self.len - keep);
        (self.floor, self.floor_at) = (self.nest, self.len);
        let Sight { level: Some(level), full, .. } = self.sight else { return self.over = true };
        dispatch!(level, simd => self.piece(simd, full));
    }

    #[inline(always)]
    fn piece<S: Simd>(&mut self, simd: S, full: bool) {
        let (first, from) = (self.len, self.end);
        let window = self.input;
        let (whole, tail) = window.get(from..).unwrap_or_default().as_chunks::<BLOCK>();
        let mut padded = [b' '; BLOCK];
        if let Some(padded) = padded.get_mut(..tail.len()) {
            padded.copy_from_slice(tail);
        }
        let rest = std::slice::from_ref(&padded).get(usize::from(tail.is_empty())..).unwrap_or_default();
        let (mut carry, mut nest) = (self.carry, self.nest);
        let ends = self.ends;
        let mut end = from;
        let mut verdict = Verdict::Good;
        let slots = self.blocks.get_mut(first..).unwrap_or_default();
        let (slots, slot) = slots.split_at_mut(whole.len().min(slots.len()));
        'all: for (blocks, slots) in [(whole, slots), (rest, slot)] {
            for (bytes, slot) in blocks.iter().zip(slots) {
                verdict = step(simd, bytes, (window, end), (full, &ends), (&mut carry, &mut nest), slot);
                if !matches!(verdict, Verdict::Good) {
                    break 'all;
                }
                end += BLOCK;
            }
        }
        let len = first + (end - from) / BLOCK;
        (self.len, self.end) = (len, end);
        if !matches!(verdict, Verdict::Good) {
            // Back to before this block.
            nest = self.nest;
            let blocks = self.blocks.get(first..len).unwrap_or_default();
            replay(blocks, self.input.get(from..).unwrap_or_default(), &mut nest);
            self.over = true;
            self.not_before = end + BLOCK;
            if let Verdict::Last(last) = verdict {
                // The scanner ends the document.
                nest = nest.outermost();
                self.end += last as usize;
                self.closed = true;
                self.not_before = usize::MAX;
                if let Some(slot) = self.blocks.get_mut(len) {
                    *slot = slot.up_to(last);
                }
                self.len += 1;
            }
        }
        (self.carry, self.nest) = (carry, nest);
        if self.end >= self.input.len() {
            self.end = self.input.len();
            self.over = true;
            self.not_before = usize::MAX;
        }
    }

    /// Those of so many blocks.
    fn remember_quotes(&mut self, blocks: usize) {
        let mut found = [usize::MAX; 2];
        let mut slots = found.iter_mut();
        'all: for n in (0..blocks).rev() {
            let mut quotes = self.blocks.get(n).map_or(0, |block| block.quote);
            while quotes != 0 {
                let top = 63 - quotes.leading_zeros();
                quotes ^= 1 << top;
                let Some(slot) = slots.next() else { break 'all };
                *slot = self.base + n * BLOCK + top as usize;
            }
        }
        let [last, _] = self.quotes;
        self.quotes = match found {
            [usize::MAX, _] => self.quotes,
            [only, usize::MAX] => [only, last],
            both => both,
        };
    }
}
