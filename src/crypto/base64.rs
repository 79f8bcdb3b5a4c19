//! Standard base64 with padding (RFC 4648 § 4), strict and fast: for values and signatures on the wire. Keys of ours go through
//! [`super::base64url`], whose time does not depend on what it encodes.

use data_encoding::BASE64;

/// How many characters so many bytes become.
pub fn encoded_len(bytes: usize) -> usize {
    BASE64.encode_len(bytes)
}

/// Appends the encoded bytes to `out`.
pub fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + BASE64.encode_len(bytes.len()), 0);
    if let Some(space) = out.get_mut(start..) {
        BASE64.encode_mut(bytes, space);
    }
}

/// Encodes.
pub fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Appends the decoded bytes to `out` and returns how many there are; `None`, and nothing appended, for anything but canonical
/// base64 of at most `limit` bytes.
pub fn decode_into(text: &[u8], limit: usize, out: &mut Vec<u8>) -> Option<usize> {
    let most = BASE64.decode_len(text.len()).ok()?;
    // Up to two bytes of it may be padding, which the library would take anywhere, as of texts put together.
    let ends_early = memchr::memchr(b'=', text).is_some_and(|at| at + 2 < text.len());
    if most > limit.saturating_add(2) || ends_early {
        return None;
    }
    let start = out.len();
    out.resize(start + most, 0);
    let written = out.get_mut(start..).and_then(|space| BASE64.decode_mut(text, space).ok()).filter(|n| *n <= limit);
    out.truncate(start + written.unwrap_or(0));
    written
}

/// Decodes at most `limit` bytes; `None` for anything but canonical base64.
pub fn decode(text: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    decode_into(text, limit, &mut out)?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_within_its_limit(bytes: Vec<u8>, before: Vec<u8>) {
            let text = encode(&bytes);
            prop_assert_eq!(text.len(), encoded_len(bytes.len()));
            prop_assert_eq!(decode(text.as_bytes(), bytes.len()), Some(bytes.clone()));
            let mut out = before.clone();
            encode_into(&bytes, &mut out);
            prop_assert_eq!(&out[before.len()..], text.as_bytes());
            let mut out = before.clone();
            if bytes.is_empty() {
                prop_assert_eq!(decode_into(text.as_bytes(), 0, &mut out), Some(0));
            } else {
                prop_assert_eq!(decode_into(text.as_bytes(), bytes.len() - 1, &mut out), None);
            }
            prop_assert_eq!(out, before, "nothing is left behind");
        }
    }

    #[test]
    fn only_canonical_base64_decodes() {
        assert_eq!(decode(b"dGVzdA==", 32).unwrap(), b"test");
        for bad in ["dGVzdA", "dGVzdA=", "dGVzdB==", "dGVz dA==", "dGVzdA==\n", "d-Vz", "=", "dGVzdA==dGVzdA=="] {
            assert_eq!(decode(bad.as_bytes(), 32), None, "{bad}");
        }
    }
}
