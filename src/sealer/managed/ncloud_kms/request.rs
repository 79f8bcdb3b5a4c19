//! What goes out.

use http::{HeaderName, HeaderValue, header};

use crate::crypto::base64;
use crate::secret::SecretBytes;

/// A call on values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Encrypt,
    Decrypt,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }
}

/// A string for one text, an array for more, as the answer then has it, too.
pub(super) fn encrypt(texts: &[SecretBytes], context: Option<&[u8; 32]>) -> SecretBytes {
    let lengths = texts.iter().map(|text| base64::encoded_len(text.expose().len()));
    body("{\"plaintext\":", lengths, texts, context, |text, out| base64::encode_into(text.expose(), out))
}

/// The ciphertexts have been looked at: nothing in them needs an escape.
pub(super) fn decrypt(ciphertexts: &[Vec<u8>], context: Option<&[u8; 32]>) -> SecretBytes {
    let lengths = ciphertexts.iter().map(Vec::len);
    body("{\"ciphertext\":", lengths, ciphertexts, context, |text, out| out.extend_from_slice(text))
}

fn body<T>(
    head: &str,
    lengths: impl Iterator<Item = usize>,
    values: &[T],
    context: Option<&[u8; 32]>,
    write: impl Fn(&T, &mut Vec<u8>),
) -> SecretBytes {
    let context = context.map(|context| format!(r#","context":"{}""#, base64::encode(context))).unwrap_or_default();
    // The buffer never moves, so that it leaves no copy behind.
    let room = lengths.map(|length| length + 3).sum::<usize>() + head.len() + context.len() + 3;
    let mut body = SecretBytes::new(Vec::with_capacity(room));
    let out = body.expose_mut();
    out.extend_from_slice(head.as_bytes());
    let many = values.len() != 1;
    if many {
        out.push(b'[');
    }
    for (index, value) in values.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        write(value, out);
        out.push(b'"');
    }
    if many {
        out.push(b']');
    }
    out.extend_from_slice(context.as_bytes());
    out.push(b'}');
    body
}

pub(super) fn json() -> (HeaderName, HeaderValue) {
    (header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(mut body: SecretBytes) -> String {
        assert!(body.expose().len() <= body.expose_mut().capacity());
        String::from_utf8(body.expose().to_vec()).unwrap()
    }

    #[test]
    fn bodies_are_as_documented() {
        let [a, b] = ["test", ""].map(|text| SecretBytes::new(text.into()));
        assert_eq!(text(encrypt(std::slice::from_ref(&a), None)), r#"{"plaintext":"dGVzdA=="}"#);
        assert_eq!(text(encrypt(&[a, b], None)), r#"{"plaintext":["dGVzdA==",""]}"#);
        let context = r#""context":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=""#;
        assert_eq!(text(decrypt(&[b"c".to_vec()], Some(&[1; 32]))), format!(r#"{{"ciphertext":"c",{context}}}"#));
        assert_eq!(
            text(decrypt(&[b"c".to_vec(), b"d".to_vec()], Some(&[1; 32]))),
            format!(r#"{{"ciphertext":["c","d"],{context}}}"#)
        );
    }

    #[test]
    fn the_buffer_of_a_body_does_not_move() {
        let texts: Vec<_> = (0..200).map(|n| SecretBytes::new(vec![b'a'; n])).collect();
        let mut body = encrypt(&texts, Some(&[1; 32]));
        let (length, capacity) = (body.expose().len(), body.expose_mut().capacity());
        assert!(length <= capacity && capacity < length + 8, "{length} {capacity}");
    }
}
