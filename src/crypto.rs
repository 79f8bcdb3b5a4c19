//! The primitives, one file each; no file outside this folder imports a crypto crate.

pub mod aead;
pub mod kdf;
pub mod kem;
pub mod mac;
pub mod password;
pub mod random;
pub mod sign;

pub use random::RandomError;

/// Strict base64url without padding (RFC 4648 § 5): spare bits must be zero. In constant time, except for what says `public`.
pub mod base64url {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use data_encoding::BASE64URL_NOPAD;

    /// Appends the encoded bytes, which are no secret, to `out`.
    pub fn encode_public_into(bytes: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + BASE64URL_NOPAD.encode_len(bytes.len()), 0);
        if let Some(space) = out.get_mut(start..) {
            BASE64URL_NOPAD.encode_mut(bytes, space);
        }
    }

    /// Decodes what is no secret; `None` for anything but canonical base64url.
    pub fn decode_public(text: &[u8]) -> Option<Vec<u8>> {
        BASE64URL_NOPAD.decode(text).ok()
    }

    /// Encodes.
    pub fn encode(bytes: &[u8]) -> String {
        Base64UrlUnpadded::encode_string(bytes)
    }

    /// Appends the encoded bytes to `out`.
    pub fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + Base64UrlUnpadded::encoded_len(bytes), 0);
        if let Some(space) = out.get_mut(start..) {
            let written = Base64UrlUnpadded::encode(bytes, space).map_or(0, str::len);
            out.truncate(start + written);
        }
    }

    /// Decodes; `None` for anything but canonical base64url.
    pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
        Base64UrlUnpadded::decode_vec(std::str::from_utf8(text).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::base64url;

    proptest! {
        #[test]
        fn both_codecs_take_and_make_the_same(bytes: Vec<u8>, text in "[A-Za-z0-9_+/=\\n-]{0,24}") {
            let (mut secret, mut public) = (Vec::new(), Vec::new());
            base64url::encode_into(&bytes, &mut secret);
            base64url::encode_public_into(&bytes, &mut public);
            prop_assert_eq!(&secret, &public);
            prop_assert_eq!(base64url::decode_public(&public), Some(bytes));
            prop_assert_eq!(base64url::decode_public(text.as_bytes()), base64url::decode(text.as_bytes()));
        }
    }
}
