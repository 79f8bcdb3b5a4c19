//! Strings and values as text. (interface; owner: json)

use std::borrow::Cow;

/// Whether these bytes may stand between the quotes of a JSON string.
pub fn is_string_content(_raw: &[u8]) -> bool {
    false
}

/// Whether these bytes are exactly one JSON value, without white space around it.
pub fn is_value(_raw: &[u8]) -> bool {
    false
}

/// The content of a string with its escapes resolved; a lone surrogate becomes its three-byte generalised UTF-8 form.
pub fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(raw)
}

/// The content of a string as RFC 8785 writes it; `None` if it holds a lone surrogate.
pub fn canonical_string(_raw: &[u8]) -> Option<Vec<u8>> {
    None
}

/// Appends `text` as the content of a JSON string (without the quotes), as RFC 8785 writes it.
pub fn escape_into(_text: &str, _out: &mut Vec<u8>) {}
