//! Where a chunk's brackets, commas, colons and quotes are, checked ahead in pieces of a kilobyte: what lets a reader leap.

use std::ops::Range;
use std::sync::OnceLock;

use fearless_simd::{Level, Simd, dispatch};

use crate::json::check::{Block, Carry, Found, Nest, Place, replay, step};
use crate::json::scan::{Scanner, is_white};
use crate::json::simd::BLOCK;

/// Blocks that are looked at together.
const PIECE: usize = 16;

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
    input: &'a [u8],
    /// Where `blocks` begin, and how many of them there are.
    base: usize,
    len: usize,
    blocks: [Block; PIECE],
    /// What is behind this was not looked at, or is not to be relied on.
    end: usize,
    /// There is nothing to be looked at behind `end`.
    over: bool,
    carry: Carry,
    /// At `end`.
    nest: Nest,
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

impl<'a> Index<'a> {
    /// Of a chunk.
    pub fn new(sight: Sight, input: &'a [u8]) -> Self {
        Self {
            sight,
            input,
            base: 0,
            len: 0,
            blocks: [Block::default(); PIECE],
            end: 0,
            over: true,
            carry: Carry::default(),
            nest: Nest::default(),
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

    /// The next of these marks, behind which the reader then is; `None`: at the end of what can be told.
    #[inline]
    pub fn next(&mut self, colons: bool) -> Option<(Mark, usize)> {
        loop {
            let Some((n, from)) = self.place() else {
                if self.over {
                    return None;
                }
                self.advance();
                continue;
            };
            let block = self.blocks.get(n)?;
            let colon = if colons { block.colon } else { 0 };
            let marks = (block.open | block.close | colon) & from;
            if marks == 0 {
                self.cursor = self.base + (n + 1) * BLOCK;
                continue;
            }
            let bit = marks & marks.wrapping_neg();
            let at = self.base + n * BLOCK + bit.trailing_zeros() as usize;
            if at >= self.end {
                self.cursor = self.end;
                continue;
            }
            let mark = if block.colon & bit != 0 {
                Mark::Colon
            } else if block.open & bit != 0 {
                Mark::Open
            } else {
                Mark::Close
            };
            self.cursor = at + 1;
            return Some((mark, at));
        }
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
            if whole && block.least >= depth && self.base + (n + 1) * BLOCK <= self.end {
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

    /// The member name before the colon at `at`, which was the last mark, and whether it may have escapes; `None`: there is none.
    #[inline]
    pub fn name_before(&self, at: usize) -> Option<(&'a [u8], bool)> {
        let inside = at.checked_sub(self.base)?;
        let block = self.blocks.get(inside / BLOCK)?;
        let quotes = block.quote & ((1 << (inside % BLOCK)) - 1);
        let close = 63_u32.checked_sub(quotes.leading_zeros());
        let rest = close.map_or(0, |close| quotes ^ (1 << close));
        if let (Some(close), Some(open)) = (close, 63_u32.checked_sub(rest.leading_zeros())) {
            let start = self.base + inside / BLOCK * BLOCK;
            let between = (1_u64 << close) - (1 << open);
            let raw = self.input.get(start + open as usize + 1..start + close as usize)?;
            return Some((raw, block.backslash & between != 0));
        }
        self.long_name_before(inside).map(|raw| (raw, true))
    }

    /// The same for one that begins in another block.
    #[cold]
    fn long_name_before(&self, inside: usize) -> Option<&'a [u8]> {
        let mut n = inside / BLOCK;
        let mut quotes = self.blocks.get(n)?.quote & ((1 << (inside % BLOCK)) - 1);
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
        self.input.get(open.checked_add(1)?..close.unwrap_or(last))
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

    /// The string behind the colon at `at`, which was the last mark, with its quotes; `None`: there is none, or what follows it is not
    /// in sight. Behind it a reader can go on.
    pub fn string_behind(&self, at: usize) -> Option<Range<usize>> {
        let follows = |from: usize| {
            let rest = self.input.get(from..self.end)?;
            let (white, byte) = rest.iter().enumerate().find(|(_, byte)| !is_white(**byte))?;
            Some((from + white, *byte))
        };
        let (open, _) = follows(at + 1).filter(|(_, byte)| *byte == b'"')?;
        let close = self.quote_from(open + 1)?;
        matches!(follows(close + 1), Some((_, b',' | b'}'))).then_some(open..close + 1)
    }

    /// Moves the reader behind what [`Index::string_behind`] found.
    pub fn pass_string(&mut self, string: &Range<usize>) {
        self.cursor = string.end;
    }

    /// The first quote from there on.
    fn quote_from(&self, from: usize) -> Option<usize> {
        let inside = from.checked_sub(self.base)?;
        let (first, mut seen) = (inside / BLOCK, !0 << (inside % BLOCK));
        for (n, block) in self.blocks.iter().enumerate().take(self.len).skip(first) {
            let quotes = block.quote & seen;
            if quotes != 0 {
                return Some(self.base + n * BLOCK + quotes.trailing_zeros() as usize).filter(|at| *at < self.end);
            }
            seen = !0;
        }
        None
    }

    /// The last bracket, comma or colon before the end.
    pub fn last(&self) -> Option<usize> {
        for n in (0..self.len).rev() {
            let block = self.blocks.get(n)?;
            let start = self.base + n * BLOCK;
            let marks = block.open | block.close | block.comma | block.colon;
            let marks = match self.end.saturating_sub(start) {
                within @ 0..BLOCK => marks & ((1 << within) - 1),
                _ => marks,
            };
            if marks != 0 {
                return Some(start + 63 - marks.leading_zeros() as usize);
            }
        }
        self.last
    }

    /// The containers around the end.
    pub fn nest(&self) -> &Nest {
        &self.nest
    }

    /// Moves the reader behind the bracket that [`Index::close_of`] found.
    pub fn pass(&mut self, at: usize) {
        self.cursor = at + 1;
    }

    fn depth_before(&self, n: usize) -> usize {
        self.blocks.get(n).filter(|_| n < self.len).map_or_else(|| self.nest.depth(), |block| block.depth)
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
        self.carry = Carry::at(place);
        self.nest = nest;
        (self.base, self.len, self.end, self.over) = (at, 0, at, false);
        (self.quotes, self.last) = ([usize::MAX; 2], None);
        true
    }

    /// Looks at the next piece.
    fn advance(&mut self) {
        self.remember_quotes();
        self.last = self.last();
        (self.base, self.len) = (self.end, 0);
        let Sight { level: Some(level), full, .. } = self.sight else { return self.over = true };
        dispatch!(level, simd => self.piece(simd, full));
    }

    #[inline(always)]
    fn piece<S: Simd>(&mut self, simd: S, full: bool) {
        let (whole, tail) = self.input.get(self.base..).unwrap_or_default().as_chunks::<BLOCK>();
        let mut padded = [b' '; BLOCK];
        let rest = (!tail.is_empty()).then(|| {
            padded.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
            &padded
        });
        let (mut carry, mut nest) = (self.carry, self.nest);
        for (bytes, slot) in whole.iter().chain(rest).zip(&mut self.blocks) {
            let found = step(simd, bytes, (self.input, self.end), full, &mut carry, &mut nest);
            let Found { block, wrong, last } = found;
            if wrong != 0 || last.is_some() {
                // Back to before this block.
                nest = self.nest;
                let (blocks, _) = self.blocks.split_at(self.len);
                replay(blocks, self.input.get(self.base..).unwrap_or_default(), &mut nest);
                self.over = true;
                self.not_before = self.end + BLOCK;
                if let Some(last) = last.filter(|_| wrong == 0) {
                    // The scanner ends the document.
                    nest = nest.outermost();
                    self.end += last as usize;
                    self.not_before = usize::MAX;
                    if let Some(slot) = self.blocks.get_mut(self.len) {
                        *slot = block;
                    }
                    self.len += 1;
                }
                break;
            }
            *slot = block;
            self.len += 1;
            self.end += BLOCK;
        }
        (self.carry, self.nest) = (carry, nest);
        if self.end >= self.input.len() {
            self.end = self.input.len();
            self.over = true;
            self.not_before = usize::MAX;
        }
    }

    fn remember_quotes(&mut self) {
        let mut found = [usize::MAX; 2];
        let mut slots = found.iter_mut();
        'all: for n in (0..self.len).rev() {
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
