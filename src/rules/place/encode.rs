//! How a text is written where a field stands, and what can stand there.

use crate::rules::path::normalize;
use crate::rules::place::Place;

/// Appends a text as it is written at such a place.
pub fn encode(place: &Place, text: &[u8], out: &mut Vec<u8>) {
    match place {
        Place::Json(_) | Place::Header(_) => out.extend_from_slice(text),
        Place::Query(_) | Place::Segment(_) | Place::Form(_) => percent(text, out),
        Place::Cookie(_) => {
            escape(text, out, |b| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\' | b'%'))
        }
    }
}

/// Appends a text with all but what RFC 3986 leaves unreserved percent-encoded.
pub fn percent(text: &[u8], out: &mut Vec<u8>) {
    escape(text, out, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
}

/// Whether a text can stand at such a place, so that it is read there as what it is.
pub fn holds(place: &Place) -> fn(&[u8]) -> bool {
    match place {
        Place::Json(_) => |_| true,
        Place::Query(_) | Place::Cookie(_) | Place::Form(_) => |text| !text.contains(&0),
        Place::Header(_) => |text| {
            let bare = |byte: Option<&u8>| byte.is_none_or(|byte| !matches!(byte, b' ' | b'\t'));
            bare(text.first()) && bare(text.last()) && !text.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f)
        },
        // Whoever reads the path must find the segment where it stood, and nothing else in it.
        Place::Segment(_) => |text| {
            let mut path = b"/".to_vec();
            percent(text, &mut path);
            let read = std::str::from_utf8(&path).ok().and_then(|path| normalize(path, false).ok());
            !text.is_empty() && read.is_some_and(|read| read.0.strip_prefix('/').map(str::as_bytes) == Some(text))
        },
    }
}

fn escape(text: &[u8], out: &mut Vec<u8>, stays: fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
    for &byte in text {
        if stays(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_holds_what_is_read_there_again() {
        let holds = holds(&Place::Segment("a".into()));
        for good in ["1", "a b", "100%", "é", "a+b", "a..b"] {
            assert!(holds(good.as_bytes()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "a;b", "%41", "a\0", " a", "a\nb"] {
            assert!(!holds(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_header_holds_one_line() {
        let holds = holds(&Place::Header(http::header::LOCATION));
        assert!(holds(b"a b\tc") && holds("é".as_bytes()) && holds(b""));
        assert!(!holds(b"a\r\nb: c") && !holds(b"a\0") && !holds(b" a") && !holds(b"a "));
    }
}
