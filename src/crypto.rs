//! The primitives, one file each; no file outside this folder imports a crypto crate.

pub mod aead;
pub mod kdf;
pub mod kem;
pub mod random;
pub mod sign;

pub use random::RandomError;

/// Strict base64url without padding (RFC 4648 § 5): spare bits must be zero.
pub mod base64url {
    use base64ct::{Base64UrlUnpadded, Encoding};

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
