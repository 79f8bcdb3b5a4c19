//! Paths in writing: one form for every spelling, names as RFC 9535 2.7 writes them.

use std::fmt;

use crate::jsonpath::{Path, Segment, Selector, Span};

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.segments.iter().try_for_each(|segment| segment.fmt(f))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.descendant { "..[" } else { "[" })?;
        for (i, selector) in self.selectors.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            selector.fmt(f)?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                let mut quoted = String::new();
                push_name(name.as_bytes(), &mut quoted);
                f.write_str(&quoted)
            }
            Self::Wildcard => f.write_str("*"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Slice { start, end, step } => {
                write!(f, "{start}:")?;
                end.map_or(Ok(()), |end| write!(f, "{end}"))?;
                if *step == 1 { Ok(()) } else { write!(f, ":{step}") }
            }
            Self::FromEnd(back) => write!(f, "-{back}"),
            Self::Span(Span { start, end, step }) => {
                let bound = |bound: &Option<i64>| bound.map_or_else(String::new, |bound| bound.to_string());
                write!(f, "{}:{}:{step}", bound(start), bound(end))
            }
            Self::Filter(filter) => write!(f, "?{filter}"),
        }
    }
}

/// Appends an unescaped member name in single quotes as a normalized path writes it (RFC 9535 2.7). A lone surrogate, which
/// the specification leaves open, is written as its escape.
pub fn push_name(name: &[u8], out: &mut String) {
    out.push('\'');
    let mut rest = name;
    while let Err(error) = std::str::from_utf8(rest) {
        let (valid, bad) = rest.split_at(error.valid_up_to());
        String::from_utf8_lossy(valid).chars().for_each(|c| push_char(c, out));
        rest = match bad {
            [0xed, a @ 0xa0..=0xbf, b @ 0x80..=0xbf, after @ ..] => {
                push_unit(0xd000 | u32::from(a & 0x3f) << 6 | u32::from(b & 0x3f), out);
                after
            }
            _ => {
                out.push(char::REPLACEMENT_CHARACTER);
                bad.get(1..).unwrap_or_default()
            }
        };
    }
    String::from_utf8_lossy(rest).chars().for_each(|c| push_char(c, out));
    out.push('\'');
}

fn push_char(c: char, out: &mut String) {
    let short = match c {
        '\'' | '\\' => c,
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\0'..='\u{1f}' => return push_unit(u32::from(c), out),
        _ => return out.push(c),
    };
    out.push('\\');
    out.push(short);
}

fn push_unit(unit: u32, out: &mut String) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.extend(char::from_digit(unit >> shift & 15, 16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::text::unescape;

    #[test]
    fn names_as_rfc_9535_writes_them() {
        for (name, written) in [
            ("a", "'a'"),
            ("", "''"),
            ("it's", r"'it\'s'"),
            ("\"", "'\"'"),
            ("\\", r"'\\'"),
            ("\u{8}\t\n\u{c}\r", r"'\b\t\n\f\r'"),
            ("\0\u{b}\u{1f}\u{7f}", "'\\u0000\\u000b\\u001f\u{7f}'"),
            ("é😀", "'é😀'"),
        ] {
            let mut out = String::new();
            push_name(name.as_bytes(), &mut out);
            assert_eq!(out, written);
        }
        let mut out = String::new();
        push_name(&unescape(br"a\ud83db\udfff"), &mut out);
        assert_eq!(out, r"'a\ud83db\udfff'");
    }
}
