//! JSON strings in memory that is wiped: what goes to an API and comes back from it is plaintext.

use serde_json::value::RawValue;

use crate::json::text::{escape_into, unescape};
use crate::secret::SecretBytes;

/// How long a text is between its quotes, and with them.
pub(super) fn quoted_len(text: &[u8]) -> usize {
    let escaped = |byte: &u8| match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.iter().map(escaped).sum::<usize>() + 2
}

/// Appends a text as a JSON string, quotes and all; `None`, and nothing appended, if it is not UTF-8.
pub(super) fn quote_into(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    out.push(b'"');
    escape_into(text, out);
    out.push(b'"');
    Some(())
}

/// The text of a JSON string, a lone surrogate in its generalised UTF-8 form; `None` if the value is no string.
pub(super) fn unquote(value: &RawValue) -> Option<SecretBytes> {
    let raw = value.get().strip_prefix('"')?.strip_suffix('"')?;
    Some(SecretBytes::new(unescape(raw.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_comes_back_and_its_buffer_never_moves(text: String) {
            let mut out = Vec::new();
            quote_into(text.as_bytes(), &mut out).unwrap();
            prop_assert_eq!(out.len(), quoted_len(text.as_bytes()));
            let value: &RawValue = serde_json::from_slice(&out).unwrap();
            let back = unquote(value).unwrap();
            prop_assert_eq!(back.expose(), text.as_bytes());
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn only_strings_have_a_text() {
        for other in ["1", "null", "true", "[\"a\"]", "{\"a\":\"b\"}"] {
            assert!(unquote(serde_json::from_str(other).unwrap()).is_none(), "{other}");
        }
        let mut out = vec![1];
        assert!(quote_into(&[0xff], &mut out).is_none());
        assert_eq!(out, [1]);
    }
}
