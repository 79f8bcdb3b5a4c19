//! A resumable, strict tokenizer (RFC 8259): chunks of any size, split anywhere, in memory bounded by the depth.

mod string;

use std::ops::Range;

use crate::json::JsonError;
use crate::json::check::Place;
use crate::json::nest::Nest;
pub use string::Text;

/// Tells where values and member names begin and end; it never looks back, and it never recurses.
pub struct Scanner {
    state: State,
    /// The containers around the current place.
    stack: Vec<Kind>,
    max_depth: usize,
    /// How many bytes were taken in.
    offset: u64,
    name: Name,
    failed: Option<JsonError>,
}

/// What the scanner came across, in document order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A value begins; its first byte is the one just taken.
    Begin(Kind),
    /// The value that began last and is still open ends before the next byte to be taken.
    End(Kind),
    /// A member name ended; [`Scanner::name`] tells it until the next call.
    Name,
}

/// The kinds of value that the grammar tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Members between braces.
    Object,
    /// Elements between brackets.
    Array,
    /// A string, number or literal.
    Scalar,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A value must come; in a fresh array the end may come too.
    Value {
        or_end: bool,
    },
    /// A member name must come; in a fresh object the end may come too.
    Member {
        or_end: bool,
    },
    Colon,
    After,
    String(Text),
    MemberName(Text),
    Number(Number),
    /// What is still missing of `true`, `false` or `null`.
    Literal(&'static [u8]),
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// The member name that is being read, raw (with its escapes).
#[derive(Default)]
struct Name {
    /// Names longer than this are not kept across chunks.
    cap: usize,
    kept: Vec<u8>,
    too_long: bool,
    /// Where it stands in the current chunk, if it stands there whole.
    inside: Option<Range<usize>>,
}

impl Scanner {
    /// `max_depth` bounds how deep arrays and objects nest. A member name cut by the end of a chunk is kept up to
    /// `max_name` raw bytes; a longer one is still checked, but [`Scanner::name`] no longer tells it.
    pub fn new(max_depth: usize, max_name: usize) -> Self {
        Self {
            state: State::Value { or_end: false },
            stack: Vec::new(),
            max_depth,
            offset: 0,
            name: Name { cap: max_name, ..Name::default() },
            failed: None,
        }
    }

    /// Goes on from `input[*at]` to the next event and moves `at` behind it; `None`: the chunk is used up. A scanner that
    /// failed fails again. On an error `at` is the byte at fault.
    pub fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Event>, JsonError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let from = *at;
        let result = self.advance(input, at);
        self.offset += (*at - from) as u64;
        result.map_err(|what| {
            let error = JsonError { what, offset: self.offset };
            self.failed = Some(error);
            error
        })
    }

    /// The document has ended. A number at the top ends only here.
    pub fn finish(&mut self) -> Result<Option<Event>, JsonError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.state {
            State::After if self.stack.is_empty() => Ok(None),
            State::Number(number) if self.stack.is_empty() && number.may_end() => {
                self.state = State::After;
                Ok(Some(Event::End(Kind::Scalar)))
            }
            state => {
                let fresh = self.stack.is_empty() && matches!(state, State::Value { .. });
                let what = if fresh { "no JSON value" } else { "the document ends too early" };
                let error = JsonError { what, offset: self.offset };
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// The raw member name that `Event::Name` announced, given the same chunk; `None`: longer than `max_name`.
    pub fn name<'a>(&'a self, input: &'a [u8]) -> Option<&'a [u8]> {
        match self.name_range() {
            Some(range) => input.get(range),
            None if self.name.too_long => None,
            None => Some(&self.name.kept),
        }
    }

    /// Where in the chunk the member name stands; `None`: not in one piece.
    pub fn name_range(&self) -> Option<Range<usize>> {
        self.name.inside.clone()
    }

    /// How many containers are open.
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    /// How many bytes were taken in.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes held in buffers.
    pub fn held(&self) -> usize {
        self.name.kept.capacity() + self.stack.capacity()
    }

    /// Where it stands between tokens in an array or object; `None`: elsewhere, or before the value of a member.
    pub(super) fn place(&self) -> Option<Place> {
        let innermost = self.stack.last()?;
        match self.state {
            State::After if self.failed.is_none() => Some(Place::After),
            State::Member { or_end: true } | State::Value { or_end: true } => Some(Place::Opened),
            State::Member { or_end: false } => Some(Place::Comma),
            State::Value { or_end: false } if *innermost == Kind::Array => Some(Place::Comma),
            _ => None,
        }
    }

    /// The containers around it.
    pub(crate) fn stack(&self) -> &[Kind] {
        &self.stack
    }

    /// How deep it may get.
    pub(super) fn max_depth(&self) -> usize {
        self.max_depth
    }

    /// A container was entered by somebody else, who will call [`Scanner::land`].
    pub(crate) fn push(&mut self, kind: Kind) {
        self.stack.push(kind);
    }

    /// A container was left by somebody else, who will call [`Scanner::land`].
    pub(crate) fn pop(&mut self) -> Option<Kind> {
        self.stack.pop()
    }

    /// Somebody else went on by so many bytes, which are good, and the last of them is this bracket, comma or colon.
    pub(crate) fn land(&mut self, bytes: usize, last: u8) {
        self.offset += bytes as u64;
        let in_object = self.stack.last() == Some(&Kind::Object);
        self.state = match last {
            b'{' => State::Member { or_end: true },
            b'[' => State::Value { or_end: true },
            b',' if in_object => State::Member { or_end: false },
            b',' | b':' => State::Value { or_end: false },
            _ => State::After,
        };
    }

    /// The same, where the containers changed: these are around it now.
    pub(crate) fn land_in(&mut self, nest: &Nest, bytes: usize, last: u8) {
        self.stack.clear();
        self.stack.extend(nest.kinds());
        self.land(bytes, last);
    }

    /// The same up to before the bracket that closes the container at this depth.
    pub(crate) fn land_before_close(&mut self, depth: usize, bytes: usize) {
        self.stack.truncate(depth);
        self.offset += bytes as u64;
        self.state = State::After;
    }

    fn advance(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Event>, &'static str> {
        let mut name_from = *at;
        while let Some(&byte) = input.get(*at) {
            match self.state {
                State::String(mut text) => {
                    let closed = text.advance(input, at)?;
                    self.state = if closed { State::After } else { State::String(text) };
                    if closed {
                        return Ok(Some(Event::End(Kind::Scalar)));
                    }
                }
                State::MemberName(mut text) => {
                    if text.advance(input, at)? {
                        self.state = State::Colon;
                        self.name.end(input, name_from..at.saturating_sub(1));
                        return Ok(Some(Event::Name));
                    }
                    self.state = State::MemberName(text);
                    self.name.keep(input.get(name_from..).unwrap_or_default());
                }
                State::Number(number) => match number.next(byte)? {
                    Some(next) => {
                        *at += 1;
                        self.state = State::Number(next);
                    }
                    None => {
                        self.state = State::After;
                        return Ok(Some(Event::End(Kind::Scalar)));
                    }
                },
                State::Literal(rest) => {
                    let Some((expected, rest)) = rest.split_first() else { return Err("no JSON value") };
                    if byte != *expected {
                        return Err("a literal other than true, false and null");
                    }
                    *at += 1;
                    if rest.is_empty() {
                        self.state = State::After;
                        return Ok(Some(Event::End(Kind::Scalar)));
                    }
                    self.state = State::Literal(rest);
                }
                _ if is_white(byte) => *at += 1,
                State::Value { or_end } => {
                    let event = if or_end && byte == b']' { self.close(Kind::Array)? } else { self.open(byte)? };
                    *at += 1;
                    return Ok(Some(event));
                }
                State::Member { or_end } => match byte {
                    b'"' => {
                        *at += 1;
                        name_from = *at;
                        self.name.begin();
                        self.state = State::MemberName(Text::Plain);
                    }
                    b'}' if or_end => {
                        let event = self.close(Kind::Object)?;
                        *at += 1;
                        return Ok(Some(event));
                    }
                    _ => return Err("a member name must stand here"),
                },
                State::Colon if byte == b':' => {
                    *at += 1;
                    self.state = State::Value { or_end: false };
                }
                State::Colon => return Err("a colon must stand here"),
                State::After => {
                    let event = self.after(byte)?;
                    *at += 1;
                    if event.is_some() {
                        return Ok(event);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The first byte of a value.
    fn open(&mut self, byte: u8) -> Result<Event, &'static str> {
        self.state = match byte {
            b'"' => State::String(Text::Plain),
            b'{' => return self.nest(Kind::Object, State::Member { or_end: true }),
            b'[' => return self.nest(Kind::Array, State::Value { or_end: true }),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            _ => return Err("a value must stand here"),
        };
        Ok(Event::Begin(Kind::Scalar))
    }

    fn nest(&mut self, kind: Kind, state: State) -> Result<Event, &'static str> {
        if self.stack.len() >= self.max_depth {
            return Err("arrays and objects nest too deeply");
        }
        self.stack.push(kind);
        self.state = state;
        Ok(Event::Begin(kind))
    }

    /// A byte after a value.
    fn after(&mut self, byte: u8) -> Result<Option<Event>, &'static str> {
        match (self.stack.last(), byte) {
            (None, _) => Err("text after the document"),
            (Some(Kind::Object), b',') => {
                self.state = State::Member { or_end: false };
                Ok(None)
            }
            (Some(_), b',') => {
                self.state = State::Value { or_end: false };
                Ok(None)
            }
            (Some(Kind::Object), b'}') => self.close(Kind::Object).map(Some),
            (Some(Kind::Array), b']') => self.close(Kind::Array).map(Some),
            (Some(_), _) => Err("a comma or the end of the array or object must stand here"),
        }
    }

    fn close(&mut self, kind: Kind) -> Result<Event, &'static str> {
        self.stack.pop();
        self.state = State::After;
        Ok(Event::End(kind))
    }
}

/// White space between tokens.
pub fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

impl Number {
    /// The state after `byte`; `None`: the number ended before it.
    fn next(self, byte: u8) -> Result<Option<Self>, &'static str> {
        let next = match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Digits, b'0'..=b'9') => Self::Digits,
            (Self::Zero | Self::Digits, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Self::ExponentDigits,
            (Self::Zero, b'0'..=b'9') => return Err("a number begins with a needless zero"),
            _ if self.may_end() => return Ok(None),
            _ => return Err("a digit must stand here"),
        };
        Ok(Some(next))
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::ExponentDigits)
    }
}

impl Name {
    fn begin(&mut self) {
        self.kept.clear();
        self.too_long = false;
        self.inside = None;
    }

    /// The chunk ends inside the name.
    fn keep(&mut self, piece: &[u8]) {
        if self.kept.len() + piece.len() > self.cap {
            self.too_long = true;
            self.kept.clear();
        } else if !self.too_long {
            self.kept.extend_from_slice(piece);
        }
    }

    fn end(&mut self, input: &[u8], range: Range<usize>) {
        if self.kept.is_empty() && !self.too_long {
            self.inside = Some(range);
        } else {
            self.keep(input.get(range).unwrap_or_default());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
