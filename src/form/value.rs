//! The text of a value as it stands in a form.

use super::Form;
use crate::secret::SecretBytes;

/// The text of a value as a scanner hands it over: in an urlencoded form with the `=` in front. `None`: it is
/// not what the form says that it is.
pub fn decode(form: &Form, raw: &[u8]) -> Option<SecretBytes> {
    let text = match form {
        Form::Urlencoded => unescape(raw.strip_prefix(b"=").unwrap_or(raw))?,
        Form::Multipart(_) => SecretBytes::new(raw.to_vec()),
    };
    std::str::from_utf8(text.expose()).is_ok().then_some(text)
}

/// Appends a text so that [`decode`] gives it back. `false`: the form has no place for it.
pub fn encode(form: &Form, text: &str, out: &mut Vec<u8>) -> bool {
    match form {
        Form::Urlencoded => {
            out.push(b'=');
            for &byte in text.as_bytes() {
                match byte {
                    b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'*' | b'-' | b'.' | b'_' => out.push(byte),
                    b' ' => out.push(b'+'),
                    _ => out.extend_from_slice(percent_encoding::percent_encode_byte(byte).as_bytes()),
                }
            }
        }
        Form::Multipart(_) => {
            if !holds(form, text.as_bytes()) {
                return false;
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    true
}

/// Whether the form has a place for a text.
pub fn holds(form: &Form, text: &[u8]) -> bool {
    match form {
        Form::Urlencoded => true,
        // Wherever it stands: some readers see a delimiter there.
        Form::Multipart(boundary) => memchr::memmem::find(text, boundary.dashed()).is_none(),
    }
}

/// `+` and `%XX`; `None`: a `%` that begins no such.
pub(super) fn unescape(raw: &[u8]) -> Option<SecretBytes> {
    // Never longer than its source, so the buffer never moves and leaves no copy behind.
    let mut text = SecretBytes::new(Vec::with_capacity(raw.len()));
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => hex(*bytes.next()?)? << 4 | hex(*bytes.next()?)?,
            byte => byte,
        };
        text.expose_mut().push(byte);
    }
    Some(text)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
