//! What is shown instead of a plaintext: masks and redactions, and how to recognise one that comes back.

use crate::rules::Reveal;

/// What `redact` shows.
pub const REDACTED: &[u8] = b"\"[redacted]\"";

/// What a value that is no string shows under a mask.
const MASKED_OTHER: &[u8] = b"\"****\"";

/// Appends what may be seen of a JSON text (`text` without the quotes of a string).
pub fn show(reveal: Reveal, text: &[u8], is_string: bool, out: &mut Vec<u8>) {
    match reveal {
        Reveal::Plain if is_string => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
        Reveal::Plain => out.extend_from_slice(text),
        Reveal::Redact => out.extend_from_slice(REDACTED),
        Reveal::Mask(_) if !is_string => out.extend_from_slice(MASKED_OTHER),
        Reveal::Mask(shown) => mask(text, shown, out),
    }
}

/// The same for a whole lexeme as it stands in a document.
pub fn show_lexeme(reveal: Reveal, lexeme: &[u8], out: &mut Vec<u8>) {
    match string_content(lexeme) {
        Some(text) => show(reveal, text, true, out),
        None => show(reveal, lexeme, false, out),
    }
}

/// What stands between the quotes, if the lexeme is a string.
pub fn string_content(lexeme: &[u8]) -> Option<&[u8]> {
    lexeme.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Whether a value to be sealed looks like something that `show` made: storing it would overwrite the value with its mask.
pub fn looks_masked(lexeme: &[u8]) -> bool {
    lexeme == REDACTED || lexeme.starts_with(b"\"*")
}

/// Every character but the last `shown` becomes `*`; with `shown` or fewer, all.
fn mask(text: &[u8], shown: usize, out: &mut Vec<u8>) {
    let plain = crate::json::text::unescape(text);
    let plain = String::from_utf8_lossy(&plain);
    let count = plain.chars().count();
    let hidden = if count <= shown { count } else { count - shown };
    out.push(b'"');
    out.extend(std::iter::repeat_n(b'*', hidden));
    let tail: String = plain.chars().skip(hidden).collect();
    crate::json::text::escape_into(&tail, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reveal: Reveal, lexeme: &str) -> String {
        let mut out = Vec::new();
        show_lexeme(reveal, lexeme.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn masks_show_the_last_characters_of_longer_values_only() {
        assert_eq!(shown(Reveal::Mask(4), r#""4111111111111111""#), r#""************1111""#);
        assert_eq!(shown(Reveal::Mask(4), r#""1111""#), r#""****""#);
        assert_eq!(shown(Reveal::Mask(2), r#""Z\u00fcrich""#), r#""****ch""#);
        assert_eq!(shown(Reveal::Mask(1), r#""a\"""#), r#""*\"""#);
        assert_eq!(shown(Reveal::Mask(4), "123456789"), r#""****""#);
        assert_eq!(shown(Reveal::Redact, "1.10"), r#""[redacted]""#);
        assert_eq!(shown(Reveal::Plain, "1.10"), "1.10");
    }

    #[test]
    fn what_was_masked_is_recognised_when_it_comes_back() {
        for masked in [r#""****""#, r#""************1111""#, r#""[redacted]""#] {
            assert!(looks_masked(masked.as_bytes()), "{masked}");
        }
        assert!(!looks_masked(br#""4*""#) && !looks_masked(b"12"));
    }
}
