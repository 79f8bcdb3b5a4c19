//! Strings and values as text.

use std::borrow::Cow;

use crate::json::scan::{Scanner, Text, is_white};
use crate::secret::SecretBytes;

/// Of names and short values.
const SHORT: usize = 48;

/// Whether these bytes may stand between the quotes of a JSON string.
pub fn is_string_content(raw: &[u8]) -> bool {
    // Most are ASCII without escapes.
    if Text::is_plain(raw) {
        return true;
    }
    let mut text = Text::Plain;
    matches!(text.advance(raw, &mut 0), Ok(false)) && text == Text::Plain
}

/// Whether these bytes are exactly one JSON value, without white space around it. Nesting is bounded by the length alone:
/// nothing recurses here.
pub fn is_value(raw: &[u8]) -> bool {
    let mut scanner = Scanner::new(usize::MAX, 0);
    let mut at = 0;
    loop {
        match scanner.next(raw, &mut at) {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(_) => return false,
        }
    }
    let bare = |byte: Option<&u8>| byte.is_some_and(|byte| !is_white(*byte));
    bare(raw.first()) && bare(raw.last()) && scanner.finish().is_ok()
}

/// The content of a string with its escapes resolved; a lone surrogate becomes its three-byte generalised UTF-8 form.
pub fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    // In a short one a search by vectors costs more than it saves.
    if raw.len() < SHORT && !may_hold_backslash(raw) {
        return Cow::Borrowed(raw);
    }
    let Some(first) = memchr::memchr(b'\\', raw) else { return Cow::Borrowed(raw) };
    // Never longer than its source, so the buffer never moves and leaves no copy behind.
    let mut out = Vec::with_capacity(raw.len());
    let (before, mut rest) = raw.split_at(first);
    out.extend_from_slice(before);
    while let Some((escape, after)) = split_escape(rest) {
        match escape {
            Escape::Byte(byte) => out.push(byte),
            Escape::Code(code) => push_code(code, &mut out),
        }
        let plain = memchr::memchr(b'\\', after).unwrap_or(after.len());
        let (before, next) = after.split_at(plain);
        out.extend_from_slice(before);
        rest = next;
    }
    // Empty, unless the content was not a string's.
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Whether a byte is a backslash, eight at a time; may say so where none is.
fn may_hold_backslash(raw: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let holds = |bytes: &[u8; 8]| {
        let word = u64::from_le_bytes(*bytes) ^ (ONES * u64::from(b'\\'));
        word.wrapping_sub(ONES) & !word & (ONES << 7) != 0
    };
    // The last eight overlap those before them.
    match raw.last_chunk() {
        Some(last) => holds(last) || raw.as_chunks().0.iter().any(holds),
        None => raw.contains(&b'\\'),
    }
}

/// Tells where in the content of a string, as it is written, bytes of [`unescape`]'s result come from.
#[derive(Debug)]
pub struct Written<'a> {
    raw: &'a [u8],
    /// Both at the same place.
    at: usize,
    unescaped: usize,
}

impl<'a> Written<'a> {
    /// From the start.
    pub fn new(raw: &'a [u8]) -> Self {
        Self { raw, at: 0, unescaped: 0 }
    }

    /// Where the character is written that begins at this byte of the unescaped content. Asked in ascending order.
    pub fn place(&mut self, unescaped: usize) -> usize {
        while self.unescaped < unescaped {
            let rest = self.raw.get(self.at..).unwrap_or_default();
            if let Some((escape, after)) = split_escape(rest) {
                self.at = self.raw.len() - after.len();
                self.unescaped += escape.len();
                continue;
            }
            let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len()).min(unescaped - self.unescaped);
            if plain == 0 {
                break;
            }
            self.at += plain;
            self.unescaped += plain;
        }
        self.at
    }
}

/// The content of a string as RFC 8785 writes it; `None` if it holds a lone surrogate.
pub fn canonical_string(raw: &[u8]) -> Option<Vec<u8>> {
    let owned;
    let bytes = match unescape(raw) {
        Cow::Borrowed(bytes) => bytes,
        Cow::Owned(bytes) => {
            owned = SecretBytes::new(bytes);
            owned.expose()
        }
    };
    // Generalised UTF-8 is UTF-8 exactly if no surrogate is in it.
    let text = std::str::from_utf8(bytes).ok()?;
    let mut out = Vec::with_capacity(raw.len());
    escape_into(text, &mut out);
    Some(out)
}

/// Appends `text` as the content of a JSON string (without the quotes), as RFC 8785 writes it.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text.as_bytes() {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0..=0x1f => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
}

enum Escape {
    Byte(u8),
    Code(u32),
}

impl Escape {
    /// How many bytes [`unescape`] makes of it.
    fn len(&self) -> usize {
        match self {
            Self::Byte(_) => 1,
            Self::Code(code) => char::from_u32(*code).map_or(3, char::len_utf8),
        }
    }
}

/// Takes one escape (two, if they are a surrogate pair) off the front.
fn split_escape(raw: &[u8]) -> Option<(Escape, &[u8])> {
    let (byte, rest) = match raw {
        [b'\\', byte @ (b'"' | b'\\' | b'/'), rest @ ..] => (*byte, rest),
        [b'\\', b'b', rest @ ..] => (0x08, rest),
        [b'\\', b'f', rest @ ..] => (0x0c, rest),
        [b'\\', b'n', rest @ ..] => (b'\n', rest),
        [b'\\', b'r', rest @ ..] => (b'\r', rest),
        [b'\\', b't', rest @ ..] => (b'\t', rest),
        _ => {
            let (code, rest) = split_unit(raw)?;
            if let (0xd800..=0xdbff, Some((low @ 0xdc00..=0xdfff, rest))) = (code, split_unit(rest)) {
                return Some((Escape::Code(0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00)), rest));
            }
            return Some((Escape::Code(code), rest));
        }
    };
    Some((Escape::Byte(byte), rest))
}

/// Takes a `\uXXXX` off the front.
fn split_unit(raw: &[u8]) -> Option<(u32, &[u8])> {
    let [b'\\', b'u', a, b, c, d, rest @ ..] = raw else { return None };
    let mut code = 0;
    for digit in [a, b, c, d] {
        code = code << 4 | char::from(*digit).to_digit(16)?;
    }
    Some((code, rest))
}

/// Appends a code point, a surrogate too, in (generalised) UTF-8.
fn push_code(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            let continuation = |shift: u32| u8::try_from(code >> shift & 0x3f).unwrap_or_default() | 0x80;
            out.extend_from_slice(&[0xed, continuation(6), continuation(0)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_of_a_string() {
        for good in ["", "a", "é", "\u{10ffff}", "\u{7f}", r"\n\/\u00e9", r"\ud800", r"\udc00\ud800"] {
            assert!(is_string_content(good.as_bytes()), "{good}");
        }
        for bad in
            [&b"\""[..], b"a\"b", b"\\", b"\\x", b"\\u12", b"\\u12g4", b"\n", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80"]
        {
            assert!(!is_string_content(bad), "{bad:?}");
        }
    }

    #[test]
    fn one_bare_value() {
        for good in ["1", "-0.5e+3", "\"\"", "null", "[]", "{\"a\":[1, 2]}", "1.10"] {
            assert!(is_value(good.as_bytes()), "{good}");
        }
        for bad in ["", " 1", "1 ", "1,2", "[", "]", "-", "01", "1.", "nul", "\"", "\"\"\"\"", "{}{}", "1\n"] {
            assert!(!is_value(bad.as_bytes()), "{bad}");
        }
        assert!(is_value(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes()));
    }

    #[test]
    fn escapes_resolve() {
        assert!(matches!(unescape(b"plain"), Cow::Borrowed(b"plain")));
        assert_eq!(unescape(br#"\"\\\/\b\f\n\r\t"#).as_ref(), b"\"\\/\x08\x0c\n\r\t");
        assert_eq!(unescape(br"s\u0073n").as_ref(), b"ssn");
        assert_eq!(unescape(br"\ud83d\ude00 \u00E9 \u20ac").as_ref(), "😀 é €".as_bytes());
        assert_eq!(unescape(br"\ud83d").as_ref(), b"\xed\xa0\xbd");
        assert_eq!(unescape(br"\ude00\ud83d").as_ref(), b"\xed\xb8\x80\xed\xa0\xbd");
        assert_eq!(unescape(br"\ud83d\u0041").as_ref(), b"\xed\xa0\xbdA");
        assert_eq!(unescape(br"\ud83d\ud83d\ude00").as_ref(), b"\xed\xa0\xbd\xf0\x9f\x98\x80");
        assert_eq!(unescape(br"a\u12").as_ref(), br"a\u12");
    }

    #[test]
    fn canonical_is_rfc_8785() {
        let canonical = |raw: &str| canonical_string(raw.as_bytes()).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(
            canonical(r"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\/").as_deref(),
            Some(r#"€$\u000f\nA'B\"\\\\/"#)
        );
        assert_eq!(canonical("\u{7f}\u{2028}").as_deref(), Some("\u{7f}\u{2028}"));
        assert_eq!(canonical(r"\ud83d\ude00").as_deref(), Some("😀"));
        assert_eq!(canonical(r"\ud83d"), None);
        assert_eq!(canonical_string(b"\xed\xa0\x80"), None);
    }

    proptest! {
        #[test]
        fn every_character_is_found_where_it_is_written(
            pieces in prop::collection::vec((any::<char>(), 0..3_u8), 0..40),
        ) {
            let (mut raw, mut starts) = (String::new(), Vec::new());
            for (c, how) in pieces {
                starts.push((raw.len(), c.len_utf8()));
                match c {
                    _ if how == 0 => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| raw.push_str(&format!("\\u{unit:04X}"))),
                    '"' | '\\' => raw.extend(['\\', c]),
                    '/' if how == 1 => raw.push_str("\\/"),
                    '\n' => raw.push_str("\\n"),
                    '\0'..='\x1f' => raw.push_str(&format!("\\u{:04x}", u32::from(c))),
                    c => raw.push(c),
                }
            }
            let mut written = Written::new(raw.as_bytes());
            let mut unescaped = 0;
            for (start, length) in starts {
                prop_assert_eq!(written.place(unescaped), start);
                unescaped += length;
            }
            prop_assert_eq!(written.place(unescaped), raw.len());
            prop_assert_eq!(unescape(raw.as_bytes()).len(), unescaped);
        }

        #[test]
        fn escaping_and_back(text in any::<String>()) {
            let mut raw = Vec::new();
            escape_into(&text, &mut raw);
            prop_assert!(is_string_content(&raw));
            prop_assert_eq!(unescape(&raw).into_owned(), text.as_bytes());
            prop_assert_eq!(canonical_string(&raw).unwrap(), raw.clone());
            let quoted = format!("\"{}\"", String::from_utf8(raw).unwrap());
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
    }
}
