//! How JSON documents stand in a body.

use std::ops::Range;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The body is one.
    One,
    /// The body is one: operations on another (RFC 6902).
    Patch,
    /// The body is one: members that are merged into another (RFC 7396).
    Merge,
    /// One a line (NDJSON, JSON Lines); empty lines are none.
    Lines,
    /// Each behind a record separator, U+001E (RFC 7464).
    Sequence,
    /// Each in one `data:` line of an event stream.
    Events,
}

impl Framing {
    /// Whether the body is one document.
    pub fn is_one(self) -> bool {
        matches!(self, Self::One | Self::Patch | Self::Merge)
    }

    /// Where the documents of a whole body stand.
    pub fn split(self, body: &[u8]) -> Vec<Range<usize>> {
        let delimiter = |byte: &u8| match self {
            Self::One | Self::Patch | Self::Merge => false,
            Self::Lines => *byte == b'\n',
            Self::Sequence => *byte == 0x1e,
            Self::Events => matches!(byte, b'\n' | b'\r'),
        };
        let mut at = 0;
        let mut found = Vec::new();
        for piece in body.split(delimiter) {
            let mut range = at..at + piece.len();
            at = range.end + 1;
            if self == Self::Events {
                let first = if range.start == 0 { piece.strip_prefix("\u{feff}".as_bytes()) } else { None };
                let Some(data) = first.unwrap_or(piece).strip_prefix(b"data:") else { continue };
                range.start = range.end - data.len();
            }
            if self.is_one() || !body.get(range.clone()).unwrap_or_default().trim_ascii().is_empty() {
                found.push(range);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_where_their_framing_puts_them() {
        let texts = |framing: Framing, body: &'static str| -> Vec<&str> {
            framing.split(body.as_bytes()).into_iter().map(|range| body.get(range).unwrap()).collect()
        };
        assert_eq!(texts(Framing::One, "1\n2"), ["1\n2"]);
        assert_eq!(texts(Framing::Lines, "1\r\n\n {} \n[]"), ["1\r", " {} ", "[]"]);
        assert_eq!(texts(Framing::Sequence, "\u{1e}1\n\u{1e}{\n}\n"), ["1\n", "{\n}\n"]);
        assert_eq!(texts(Framing::Events, "\u{feff}data:1\nid: 7\r\ndata: {}\r\rdata\ndata:\n"), ["1", " {}"]);
    }
}
