//! The grammar of JSON on bitmaps: sixty-four bytes are held against RFC 8259 and UTF-8 in a few dozen operations, whatever they
//! say. A rule that is broken sets the bit of a byte that shows it; the byte-wise scanner then says what is wrong and where, so
//! that a bit too many costs time only, and a bit too few is what the fuzz targets look for.

use fearless_simd::Simd;

use crate::json::scan::Kind;
use crate::json::simd::{BLOCK, Bytes, parity};

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
    /// The same one more than once, if there are fewer.
    bytes: [u8; 6],
    /// There are more.
    any: bool,
}

impl Ends {
    /// Whatever they end in.
    pub const ANY: Self = Self { bytes: [0; 6], any: true };

    /// Of unescaped names.
    pub fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut all = Vec::with_capacity(6);
        for name in names {
            // Before the end of an empty one is its other quote.
            let byte = name.last().copied().unwrap_or(b'"');
            if !all.contains(&byte) {
                all.push(byte);
            }
        }
        let Some(first) = all.first().copied().filter(|_| all.len() <= 6) else {
            return Self { bytes: [0; 6], any: !all.is_empty() };
        };
        let mut bytes = [first; 6];
        bytes.iter_mut().zip(&all).for_each(|(to, byte)| *to = *byte);
        Self { bytes, any: false }
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
        let ends = self.bytes.iter().fold(0, |all, byte| all | loaded.are(*byte));
        colon & (ends << 2 | !(quote << 1) | FIRST)
    }
}

/// The containers around a place, 512 at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nest {
    /// Bit n: level n is an object.
    bits: [u64; 8],
    depth: u32,
    max: u32,
}

impl Nest {
    const MOST: u32 = 512;

    /// `None`: deeper than fits.
    pub fn new(stack: &[Kind], max: usize) -> Option<Self> {
        let max = u32::try_from(max).map_or(Self::MOST, |max| max.min(Self::MOST));
        let mut nest = Self { bits: [0; 8], depth: 0, max };
        stack.iter().all(|kind| nest.push(*kind == Kind::Object)).then_some(nest)
    }

    /// How many.
    pub fn depth(&self) -> usize {
        self.depth as usize
    }

    /// Whether the one at this level, from 0, is an object.
    fn is_object(&self, level: u32) -> bool {
        self.bits.get(level as usize / 64).is_some_and(|word| word >> (level % 64) & 1 == 1)
    }

    /// All bits, if the innermost is an object.
    #[inline(always)]
    fn objects(&self) -> u64 {
        if self.depth > 0 && self.is_object(self.depth - 1) { !0 } else { 0 }
    }

    /// `false`: too deep.
    #[inline(always)]
    pub fn push(&mut self, object: bool) -> bool {
        let bit = 1 << (self.depth % 64);
        let fits = self.depth < self.max;
        if let Some(word) = self.bits.get_mut(self.depth as usize / 64).filter(|_| fits) {
            *word = if object { *word | bit } else { *word & !bit };
            self.depth += 1;
        }
        fits
    }

    /// The innermost ends.
    #[inline(always)]
    pub fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// The outermost alone.
    pub fn outermost(self) -> Self {
        Self { depth: self.depth.min(1), ..self }
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
    /// All bits, if the first byte is inside of a string.
    inside: u64,
    /// The next token follows one of these.
    after_open: u64,
    after_comma: u64,
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
    /// Of a number or literal.
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
        Self {
            object: nest.objects(),
            after_open: u64::from(place == Place::Opened),
            after_comma: u64::from(place == Place::Comma),
            ..Self::default()
        }
    }
}

/// What was found in a block.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// What stands where.
    pub block: Block,
    /// Bytes that break the grammar.
    pub wrong: u64,
    /// The byte that closes the outermost container.
    pub last: Option<u32>,
}

/// Looks at a block, which stands at `at` in `window`. `full`: all of the grammar; otherwise only quotes, escapes of quotes, and
/// brackets that match.
#[inline(always)]
pub fn step<S: Simd>(
    simd: S,
    bytes: &[u8; BLOCK],
    (window, at): (&[u8], usize),
    (full, ends): (bool, &Ends),
    carry: &mut Carry,
    nest: &mut Nest,
) -> Found {
    let loaded = Bytes::load(simd, bytes);
    let folded = loaded.folded();
    let backslash = loaded.are(b'\\');
    let escaped = escaped(backslash, &mut carry.escaped);
    let quote = loaded.are(b'"') & !escaped;
    let inside = parity(quote) ^ carry.inside;
    carry.inside = if inside >> 63 == 1 { !0 } else { 0 };
    let outside = !inside;
    if quote == 0 && outside == 0 {
        // A string goes on from end to end.
        let block = Block { depth: nest.depth, least: nest.depth, backslash, ..Block::default() };
        let strings = Strings { inside, quote, backslash, escaped };
        let wrong = if full { text(loaded, folded, &strings, &mut carry.text) } else { 0 };
        return Found { block, wrong, last: None };
    }
    let colon = loaded.are(b':') & outside;
    let block = Block {
        open: folded.are(b'{') & outside,
        close: folded.are(b'}') & outside,
        comma: loaded.are(b',') & outside,
        colon,
        quote,
        named: ends.behind(loaded, colon, quote, backslash),
        depth: nest.depth,
        least: nest.depth,
        backslash,
    };
    let mut found = Found { block, wrong: 0, last: None };
    let objects = brackets(&mut found, loaded.at_least(0x60), nest, &mut carry.object);
    if full {
        let strings = Strings { inside, quote, backslash, escaped };
        found.wrong |= text(loaded, folded, &strings, &mut carry.text);
        found.wrong |= tokens(loaded, folded, &strings, &found.block, objects, (window, at), carry);
        if let Some(last) = found.last {
            // What comes behind the document is the scanner's affair.
            found.wrong &= !0 >> (63 - last);
        }
    }
    found
}

struct Strings {
    /// From the opening quote to before the closing one.
    inside: u64,
    quote: u64,
    backslash: u64,
    escaped: u64,
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

/// Matches the brackets. All positions whose innermost container is an object.
#[inline(always)]
fn brackets(found: &mut Found, braces: u64, nest: &mut Nest, object: &mut u64) -> u64 {
    let Block { open, close, .. } = found.block;
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
                found.wrong |= bit;
                break;
            }
            inner = if braces & bit != 0 { !0 } else { 0 };
        } else {
            if (inner ^ braces) & bit != 0 {
                found.wrong |= bit;
                break;
            }
            nest.pop();
            found.block.least = found.block.least.min(nest.depth);
            if nest.depth == 0 {
                found.last = Some(bit.trailing_zeros());
                break;
            }
            inner = nest.objects();
        }
        objects ^= (before ^ inner) & !(bit | (bit - 1));
    }
    *object = inner;
    objects
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

/// Control characters and escapes in strings, and UTF-8.
#[inline(always)]
fn text<S: Simd>(loaded: Bytes<S>, folded: Bytes<S>, strings: &Strings, carry: &mut Text) -> u64 {
    let mut wrong = loaded.at_most(0x1f) & strings.inside;
    if strings.backslash | strings.escaped | carry.hex != 0 {
        let unit = strings.escaped & loaded.are(b'u');
        let short = [b'b', b'f', b'n', b'r', b't', b'/', b'"', b'\\'];
        let known = short.iter().fold(unit, |all, byte| all | loaded.are(*byte));
        let digits = unit << 1 | unit << 2 | unit << 3 | unit << 4 | carry.hex;
        carry.hex = unit >> 63 | unit >> 62 | unit >> 61 | unit >> 60;
        let hex = (loaded.at_least(b'0') & loaded.at_most(b'9')) | (folded.at_least(b'a') & folded.at_most(b'f'));
        wrong |= (strings.escaped & !known) | (digits & !hex);
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
    loaded: Bytes<S>,
    folded: Bytes<S>,
    strings: &Strings,
    block: &Block,
    objects: u64,
    place: (&[u8], usize),
    carry: &mut Carry,
) -> u64 {
    let outside = !strings.inside;
    let (opening, closing) = (strings.quote & strings.inside, strings.quote & outside);
    let space = loaded.are(b' ') & outside;
    let white = if loaded.at_most(0x20) & outside == space {
        space
    } else {
        space | (loaded.are(b'\n') | loaded.are(b'\r') | loaded.are(b'\t')) & outside
    };
    let scalar = outside & !(closing | white | block.open | block.close | block.comma | block.colon);
    let starts = scalar & !behind_of(scalar, carry.number.scalar);
    let values = opening | block.open | starts;

    let after_open = next(block.open, white, &mut carry.after_open);
    let after_comma = next(block.comma, white, &mut carry.after_comma);
    let after_colon = next(block.colon, white, &mut carry.after_colon);
    let must = after_comma | after_colon;
    let mut wrong = must & !values;
    wrong |= after_open & !(values | block.close);
    wrong |= values & !(must | after_open);

    // In an object a name follows what opens or separates, a colon follows the name, and nothing else does.
    let names = (after_open | after_comma) & objects;
    wrong |= names & !(opening | block.close);
    let (sum, over) = strings.inside.overflowing_add((names & opening) | carry.name);
    carry.name = u64::from(over);
    let after_name = next(sum & outside, white, &mut carry.after_name);
    wrong |= after_name ^ block.colon;

    if scalar | carry.number.scalar != 0 {
        let literals = literals(loaded, starts, place, &mut carry.literal, &mut wrong);
        wrong |= numbers(loaded, folded, scalar & !literals, starts, &mut carry.number);
    }
    carry.number.scalar = scalar >> 63;
    wrong
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
fn numbers<S: Simd>(loaded: Bytes<S>, folded: Bytes<S>, all: u64, starts: u64, carry: &mut Number) -> u64 {
    let digit = loaded.at_least(b'0') & loaded.at_most(b'9') & all;
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
    let exponent = folded.are(b'e') & all;
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
    *carry = bits >> 63 | u64::from(over);
    sum & !white
}

/// The first byte behind the runs of `through` in which `from` stands.
#[inline(always)]
fn run(from: u64, through: u64, carry: &mut u64) -> u64 {
    let (sum, over) = through.overflowing_add(from | *carry);
    *carry = u64::from(over);
    sum & !through
}
