//! The grammar of JSON on bitmaps: sixty-four bytes are held against RFC 8259 and UTF-8 in a few dozen operations, whatever they
//! say. A rule that is broken sets the bit of a byte that shows it; the byte-wise scanner then says what is wrong and where, so
//! that a bit too many costs time only, and a bit too few is what the fuzz targets look for.

use fearless_simd::Simd;

use crate::json::scan::{Kind, is_white};
use crate::json::simd::{BLOCK, Bytes, OneOf, parity};

/// What of a block a reader moves by: quotes that open or close strings, and what stands outside of strings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Block {
    /// `{` and `[`
    pub open: u64,
    /// `}` and `]`
    pub close: u64,
    /// `,`
    pub comma: u64,
    /// `:`
    pub colon: u64,
    /// Those that are not escaped.
    pub quote: u64,
    /// Backslashes, anywhere.
    pub backslash: u64,
    /// Colons behind names that may end as one does that is looked for.
    pub named: u64,
    /// The depth at its beginning.
    pub depth: u32,
    /// The least depth there or after any of its brackets.
    pub least: u32,
}

impl Block {
    /// What stands before this byte.
    pub fn up_to(self, byte: u32) -> Self {
        let before = (1 << byte) - 1;
        Self {
            open: self.open & before,
            close: self.close & before,
            comma: self.comma & before,
            colon: self.colon & before,
            quote: self.quote & before,
            backslash: self.backslash & before,
            named: self.named & before,
            ..self
        }
    }
}

/// How the names end that a reader looks for, in one of a few bytes.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    bytes: OneOf,
    /// There are more.
    any: bool,
}

impl Ends {
    /// Of unescaped names.
    pub fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        // Before the end of an empty one is its other quote.
        let mut ends = names.map(|name| name.last().copied().unwrap_or(b'"')).peekable();
        if ends.peek().is_none() {
            return Self { bytes: OneOf::default(), any: false };
        }
        let bytes = OneOf::new(ends);
        Self { any: bytes.is_none(), bytes: bytes.unwrap_or_default() }
    }

    /// Those of these colons that may stand behind such a name.
    #[inline(always)]
    fn behind<S: Simd>(&self, loaded: Bytes<S>, colon: u64, quote: u64, backslash: u64) -> u64 {
        // The bytes before the first ones are not at hand. An escape that begins there has five bytes here at most, then come a quote and
        // a colon.
        const FIRST: u64 = 0x7f;
        if colon == 0 || backslash != 0 || self.any {
            return colon;
        }
        let ends = loaded.are_one_of(&self.bytes);
        colon & (ends << 2 | !(quote << 1) | FIRST)
    }
}

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
    pub fn depth(&self) -> usize {
        self.depth as usize
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
    fn objects(&self) -> u64 {
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

/// What of the bytes before a block matters in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carry {
    /// The first byte is escaped.
    escaped: u64,
    /// That, or it belongs to an escape or a character that begins before it.
    before: u64,
    /// All bits, if the first byte is inside of a string.
    inside: u64,
    /// The next token follows an opening bracket, a comma or a colon.
    after: u64,
    /// It follows one of these.
    after_colon: u64,
    after_name: u64,
    /// All bits, if the innermost container is an object.
    object: u64,
    /// The string is a member name.
    name: u64,
    /// So many bytes from the first on are of a literal that was looked at.
    literal: u64,
    number: Number,
    text: Text,
}

/// Bit 0 each: what the last byte was.
#[derive(Debug, Clone, Copy, Default)]
struct Number {
    /// Of a number or literal. If it was not, none of the others count.
    scalar: u64,
    /// Of a number.
    of_number: u64,
    digit: u64,
    point: u64,
    exponent: u64,
    sign: u64,
    /// The sign that a number begins with.
    minus: u64,
    /// The zero that a number begins with.
    zero: u64,
    /// The sign of an exponent.
    exponent_sign: u64,
    /// The digits of a fraction go on, if the first byte is one.
    fraction: u64,
    exponent_digits: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Text {
    /// Bytes that must be hexadecimal digits, continue a character, or follow a byte that allows few.
    hex: u64,
    more: u64,
    e0: u64,
    ed: u64,
    f0: u64,
    f4: u64,
}

/// Where a check begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// After a value.
    After,
    /// After `{` or `[`.
    Opened,
    /// After a comma.
    Comma,
}

impl Carry {
    /// At the beginning, with these containers around it.
    pub fn at(place: Place, nest: &Nest) -> Self {
        Self { object: nest.objects(), after: u64::from(place != Place::After), ..Self::default() }
    }
}

/// What became of a block.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// It goes on behind it.
    Good,
    /// A byte in it breaks the grammar.
    Wrong,
    /// This byte closes the outermost container.
    Last(u32),
}

/// Looks at a block, which stands at `at` in `window`, and tells what stands where. `full`: all of the grammar; otherwise only quotes,
/// escapes of quotes, and brackets that match.
#[inline(always)]
pub fn step<S: Simd>(
    simd: S,
    bytes: &[u8; BLOCK],
    (window, at): (&[u8], usize),
    (full, ends): (bool, &Ends),
    (carry, nest): (&mut Carry, &mut Nest),
    found: &mut Block,
) -> Verdict {
    let loaded = Bytes::load(simd, bytes);
    let odd = loaded.are_odd();
    let backslash = loaded.are(b'\\');
    let quote = loaded.are(b'"');
    let none = Block { depth: nest.depth, least: nest.depth, ..Block::default() };
    if odd | backslash | quote | !carry.inside | carry.before == 0 {
        // A string goes on from end to end, and nothing in it means anything.
        *found = none;
        return Verdict::Good;
    }
    let escaped = escaped(backslash, &mut carry.escaped);
    let quote = quote & !escaped;
    let inside = parity(simd, quote) ^ carry.inside;
    carry.inside = if inside >> 63 == 1 { !0 } else { 0 };
    let outside = !inside;
    let mut wrong = 0;
    if (odd & inside) | backslash | carry.before != 0 {
        if full {
            wrong = text_aside(simd, bytes, (inside, backslash, escaped), &mut carry.text);
        }
        carry.before = carry.escaped | carry.text.hex | carry.text.more;
    }
    if quote == 0 && outside == 0 {
        *found = Block { backslash, ..none };
        return if wrong == 0 { Verdict::Good } else { Verdict::Wrong };
    }
    let folded = loaded.folded();
    let open = folded.are(b'{') & outside;
    let close = folded.are(b'}') & outside;
    let comma = loaded.are(b',') & outside;
    let colon = loaded.are(b':') & outside;
    let named = ends.behind(loaded, colon, quote, backslash);
    *found = Block { open, close, comma, colon, quote, backslash, named, ..none };
    let mut objects = carry.object;
    let mut last = None;
    if open | close != 0 {
        objects = match brackets((open, close, loaded.at_least(0x60)), found, nest, &mut carry.object) {
            Brackets::Match(objects) => objects,
            Brackets::Differ => return Verdict::Wrong,
            Brackets::End(objects, byte) => {
                last = Some(byte);
                objects
            }
        };
    }
    if full {
        wrong |= tokens(simd, bytes, (odd, inside), found, objects, (window, at), carry);
    }
    match last {
        // What comes behind the document is the scanner's affair.
        Some(last) if wrong & (!0 >> (63 - last)) == 0 => Verdict::Last(last),
        None if wrong == 0 => Verdict::Good,
        Some(_) | None => Verdict::Wrong,
    }
}

/// Bytes that a backslash stands before which is not escaped itself.
#[inline(always)]
fn escaped(backslash: u64, carry: &mut u64) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    if backslash == 0 {
        return std::mem::take(carry);
    }
    // Runs of backslashes escape every second byte from their first on. A run that begins at an odd place is turned into one
    // that begins at an even place by the sum's carry.
    let may_escape = backslash & !*carry;
    let follows = may_escape << 1;
    let maybe = follows | ODD;
    let series = maybe.wrapping_sub(may_escape);
    let escape_and_code = series ^ ODD;
    let all = escape_and_code ^ (backslash | *carry);
    *carry = (escape_and_code & backslash) >> 63;
    all
}

/// What is known of a block's brackets.
enum Brackets {
    /// All of them match. All positions whose innermost container is an object.
    Match(u64),
    /// One of them closes what is none of its kind, or nests too deeply.
    Differ,
    /// This one closes the outermost container.
    End(u64, u32),
}

/// Matches the brackets, of which those of objects are among `braces`.
#[inline(always)]
fn brackets((open, close, braces): (u64, u64, u64), found: &mut Block, nest: &mut Nest, object: &mut u64) -> Brackets {
    let mut inner = *object;
    let mut objects = inner;
    let mut rest = open | close;
    while rest != 0 {
        let bit = rest & rest.wrapping_neg();
        rest ^= bit;
        // All positions behind it change if the container around them does.
        let before = inner;
        if open & bit != 0 {
            if !nest.push(braces & bit != 0) {
                return Brackets::Differ;
            }
            inner = if braces & bit != 0 { !0 } else { 0 };
        } else {
            if (inner ^ braces) & bit != 0 {
                return Brackets::Differ;
            }
            nest.pop();
            found.least = found.least.min(nest.depth);
            if nest.depth == 0 {
                return Brackets::End(objects, bit.trailing_zeros());
            }
            inner = nest.objects();
        }
        objects ^= (before ^ inner) & !(bit | (bit - 1));
    }
    *object = inner;
    Brackets::Match(objects)
}

/// The same for blocks that were good before, which this input begins with.
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

/// Control characters and escapes in strings, and UTF-8, for the few blocks in which there may be any: what they take is kept out of
/// the way of the others.
#[inline(never)]
fn text_aside<S: Simd>(simd: S, bytes: &[u8; BLOCK], strings: (u64, u64, u64), carry: &mut Text) -> u64 {
    simd.vectorize(
        #[inline(always)]
        || text(Bytes::load(simd, bytes), strings, carry),
    )
}

#[inline(always)]
fn text<S: Simd>(loaded: Bytes<S>, (inside, backslash, escaped): (u64, u64, u64), carry: &mut Text) -> u64 {
    let mut wrong = loaded.at_most(0x1f) & inside;
    if backslash | escaped | carry.hex != 0 {
        let folded = loaded.folded();
        let unit = escaped & loaded.are(b'u');
        let short = [b'b', b'f', b'n', b'r', b't', b'/', b'"', b'\\'];
        let known = short.iter().fold(unit, |all, byte| all | loaded.are(*byte));
        let digits = unit << 1 | unit << 2 | unit << 3 | unit << 4 | carry.hex;
        carry.hex = unit >> 63 | unit >> 62 | unit >> 61 | unit >> 60;
        let hex = loaded.digits() | (folded.at_least(b'a') & folded.at_most(b'f'));
        wrong |= (escaped & !known) | (digits & !hex);
    }
    let high = loaded.at_least(0x80);
    if high | carry.more != 0 {
        let (c0, c2, e0, f0) =
            (loaded.at_least(0xc0), loaded.at_least(0xc2), loaded.at_least(0xe0), loaded.at_least(0xf0));
        let f5 = loaded.at_least(0xf5);
        let (of_two, of_three, of_four) = (c2 & !f5, e0 & !f5, f0 & !f5);
        let more = of_two << 1 | of_three << 2 | of_four << 3 | carry.more;
        carry.more = of_two >> 63 | of_three >> 62 | of_four >> 61;
        wrong |= (more ^ (high & !c0)) | (c0 & !c2) | f5;
        let (from_90, from_a0) = (loaded.at_least(0x90), loaded.at_least(0xa0));
        wrong |= behind(loaded.are(0xe0), &mut carry.e0) & !from_a0;
        wrong |= behind(loaded.are(0xed), &mut carry.ed) & from_a0;
        wrong |= behind(loaded.are(0xf0), &mut carry.f0) & !from_90;
        wrong |= behind(loaded.are(0xf4), &mut carry.f4) & from_90;
    }
    wrong
}

/// Which token may follow which.
#[inline(always)]
fn tokens<S: Simd>(
    simd: S,
    bytes: &[u8; BLOCK],
    (odd, inside): (u64, u64),
    block: &Block,
    objects: u64,
    place: (&[u8], usize),
    carry: &mut Carry,
) -> u64 {
    let loaded = Bytes::load(simd, bytes);
    let outside = !inside;
    let (opening, closing) = (block.quote & inside, block.quote & outside);
    let mut white = loaded.are(b' ') & outside;
    if odd & outside != 0 {
        white |= (loaded.are(b'\n') | loaded.are(b'\r') | loaded.are(b'\t')) & outside;
    }
    let separators = block.open | block.comma | block.colon;
    let scalar = outside & !(closing | white | block.close | separators);
    let starts = scalar & !behind_of(scalar, carry.number.scalar);

    // A value stands behind every separator, and nowhere else; behind an opening bracket there may be none.
    let after = next(separators, white, &mut carry.after);
    let differ = after ^ (opening | block.open | starts);
    let mut wrong = differ & !block.close;
    if differ & block.close != 0 {
        wrong |= behind_no_opening(differ & block.close, place);
    }

    // In an object a name follows what opens or separates, a colon follows the name, and nothing else does.
    let after_colon = next(block.colon, white, &mut carry.after_colon);
    let names = after & objects & !after_colon;
    wrong |= names & !(opening | block.close);
    let (sum, over) = inside.overflowing_add((names & opening) | carry.name);
    carry.name = u64::from(over);
    let after_name = next(sum & outside, white, &mut carry.after_name);
    wrong |= after_name ^ block.colon;

    if scalar | carry.number.scalar != 0 {
        wrong |= scalars(simd, bytes, (scalar, starts), place, carry);
    }
    wrong
}

/// Those of these closing brackets, each of them behind an opening bracket, a comma or a colon, of which it cannot be told that it
/// is a bracket.
#[inline(never)]
fn behind_no_opening(mut close: u64, (window, at): (&[u8], usize)) -> u64 {
    let mut wrong = 0;
    while close != 0 {
        let bit = close & close.wrapping_neg();
        close ^= bit;
        let before = window.get(..at + bit.trailing_zeros() as usize).unwrap_or_default();
        if !matches!(before.iter().rev().find(|byte| !is_white(**byte)), Some(b'[' | b'{')) {
            wrong |= bit;
        }
    }
    wrong
}

/// Numbers and literals, and where they begin.
#[inline(always)]
fn scalars<S: Simd>(
    simd: S,
    bytes: &[u8; BLOCK],
    (scalar, starts): (u64, u64),
    place: (&[u8], usize),
    carry: &mut Carry,
) -> u64 {
    let loaded = Bytes::load(simd, bytes);
    let number = &mut carry.number;
    let digit = loaded.digits() & scalar;
    let zero = starts & loaded.are(b'0');
    let leading = zero << 1 & digit;
    if scalar == digit && number.scalar == 0 {
        if scalar >> 63 != 0 {
            *number = Number { scalar: 1, of_number: 1, digit: 1, zero: zero >> 63, ..Number::default() };
        }
        return leading;
    }
    let point = loaded.are(b'.');
    if (scalar ^ digit) & !point | number.scalar | scalar >> 63 != 0 {
        return scalars_aside(simd, bytes, (scalar, starts), place, carry);
    }
    // Digits around points, one in each number.
    let point = point & scalar;
    let fraction = point << 1;
    leading | (point & !(digit << 1)) | (fraction & !digit) | (digit.wrapping_add(fraction) & !digit & point)
}

/// The same whatever they are.
#[inline(never)]
fn scalars_aside<S: Simd>(
    simd: S,
    bytes: &[u8; BLOCK],
    (scalar, starts): (u64, u64),
    place: (&[u8], usize),
    carry: &mut Carry,
) -> u64 {
    simd.vectorize(
        #[inline(always)]
        || {
            let loaded = Bytes::load(simd, bytes);
            let mut wrong = 0;
            if carry.number.scalar == 0 {
                carry.number = Number::default();
            }
            let literals = literals(loaded, starts, place, &mut carry.literal, &mut wrong);
            wrong |= numbers(loaded, scalar & !literals, starts, &mut carry.number);
            carry.number.scalar = scalar >> 63;
            wrong
        },
    )
}

/// The bytes of `true`, `false` and `null`.
#[inline(always)]
fn literals<S: Simd>(
    loaded: Bytes<S>,
    starts: u64,
    (window, at): (&[u8], usize),
    carry: &mut u64,
    wrong: &mut u64,
) -> u64 {
    let mut all = std::mem::take(carry);
    let mut rest = starts & loaded.at_least(b'A');
    while rest != 0 {
        let bit = rest.trailing_zeros();
        rest &= rest - 1;
        let text = window.get(at + bit as usize..).unwrap_or_default();
        let length = if text.starts_with(b"true") || text.starts_with(b"null") {
            4
        } else if text.starts_with(b"false") {
            5
        } else {
            *wrong |= 1 << bit;
            continue;
        };
        let bytes = (1_u64 << length) - 1;
        all |= bytes << bit;
        *carry |= bytes.checked_shr(64 - bit).unwrap_or(0);
    }
    all
}

/// Numbers: everything outside of strings that is nothing else.
#[inline(always)]
fn numbers<S: Simd>(loaded: Bytes<S>, all: u64, starts: u64, carry: &mut Number) -> u64 {
    let digit = loaded.digits() & all;
    let minus = loaded.are(b'-') & all;
    let odd = all & !digit;
    let begin = all & !behind(all, &mut carry.of_number);
    let after_digit = behind(digit, &mut carry.digit);
    // Nothing joins a literal.
    let mut wrong = begin & !starts;

    let first_minus = minus & begin;
    let first_digit = digit & (begin | behind(first_minus, &mut carry.minus));
    wrong |= behind(first_digit & loaded.are(b'0'), &mut carry.zero) & digit;

    let had = carry.point | carry.exponent | carry.sign | carry.exponent_sign | carry.fraction | carry.exponent_digits;
    if odd | had == 0 {
        return wrong;
    }
    let plus = loaded.are(b'+') & all;
    let point = loaded.are(b'.') & all;
    let exponent = loaded.folded().are(b'e') & all;
    wrong |= odd & !(minus | plus | point | exponent);
    let after_exponent = behind(exponent, &mut carry.exponent);
    let sign = minus | plus;
    wrong |= (sign & !(first_minus | after_exponent)) | ((point | exponent) & !after_digit);
    wrong |= behind(sign, &mut carry.sign) & !digit;
    let after_point = behind(point, &mut carry.point);
    wrong |= after_point & !digit;
    wrong |= after_exponent & !(digit | sign);

    // One fraction, and one exponent behind it.
    let exponent_sign = behind(sign & after_exponent, &mut carry.exponent_sign);
    let after_fraction = run(after_point & digit, digit, &mut carry.fraction);
    let after_all = run((after_exponent | exponent_sign) & digit, digit, &mut carry.exponent_digits);
    wrong | (after_fraction & point) | (after_all & (point | exponent))
}

/// The byte after each of `bits`.
#[inline(always)]
fn behind(bits: u64, carry: &mut u64) -> u64 {
    let all = behind_of(bits, *carry);
    *carry = bits >> 63;
    all
}

#[inline(always)]
fn behind_of(bits: u64, carry: u64) -> u64 {
    bits << 1 | carry
}

/// The first byte that is not white after each of `bits`.
#[inline(always)]
fn next(bits: u64, white: u64, carry: &mut u64) -> u64 {
    let begin = bits << 1 | *carry;
    let (sum, over) = begin.overflowing_add(white);
    // Never both: the last byte is white, or it is not.
    *carry = (bits >> 63).wrapping_add(u64::from(over));
    sum & !white
}

/// The first byte behind the runs of `through` in which `from` stands.
#[inline(always)]
fn run(from: u64, through: u64, carry: &mut u64) -> u64 {
    let (sum, over) = through.overflowing_add(from | *carry);
    *carry = u64::from(over);
    sum & !through
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
                prop_assert_eq!(nest.depth(), stack.len());
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
