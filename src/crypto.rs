//! The primitives, one file each; no file outside this folder imports a crypto crate.

pub mod aead;
pub mod base64;
pub mod ecdsa;
pub mod hex;
pub mod hs256;
pub mod kdf;
pub mod kem;
pub mod mac;
pub mod password;
pub mod random;
pub mod rsa;
pub mod short;
pub mod sign;

pub use random::RandomError;

/// Strict base64url without padding (RFC 4648 § 5): spare bits must be zero. In constant time, except for what says `public`.
pub mod base64url {
    use base64_simd::{AsOut, URL_SAFE_NO_PAD};
    use base64ct::{Base64UrlUnpadded, Encoding};

    /// How many characters so many bytes become.
    pub fn encoded_len(bytes: usize) -> usize {
        bytes.saturating_add(bytes.div_ceil(3))
    }

    /// Encodes bytes that are no secret into `space`, which is as long as [`encoded_len`] says; otherwise nothing is written.
    pub fn encode_public_to(bytes: &[u8], space: &mut [u8]) {
        if space.len() == encoded_len(bytes.len()) {
            let _written = URL_SAFE_NO_PAD.encode(bytes, space.as_out());
        }
    }

    /// Appends the encoded bytes, which are no secret, to `out`.
    pub fn encode_public_into(bytes: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + encoded_len(bytes.len()), 0);
        encode_public_to(bytes, out.get_mut(start..).unwrap_or_default());
    }

    /// Decodes what is no secret; `None` for anything but canonical base64url.
    pub fn decode_public(text: &[u8]) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode_to_vec(text).ok()
    }

    /// Appends what comes of it to `out`; on failure nothing.
    pub fn decode_public_into(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        URL_SAFE_NO_PAD.decode_append(text, out).ok()
    }

    /// Of a room for a short text's bytes.
    pub const SHORT: usize = BLOCK * 8;

    /// So many bytes, and room behind them.
    pub type Room = [u8; SHORT + APART];

    /// Bytes that the library encodes by vectors at once, and those that it takes one by one around them.
    const BLOCK: usize = 24;
    const APART: usize = 6 + 4;

    /// Appends the first `len` bytes encoded, which are no secret, to `out`; `None`, and nothing appended, for more than [`SHORT`].
    /// As many are encoded as make whole blocks, since the end of one would take as long as all the rest.
    #[inline]
    pub fn encode_room(room: &mut Room, len: usize, out: &mut Vec<u8>) -> Option<()> {
        if len > SHORT {
            return None;
        }
        // Spare bits of the last character are those of the byte behind it.
        *room.get_mut(len..)?.first_chunk_mut()? = [0; 2];
        let whole = len.saturating_sub(APART).div_ceil(BLOCK) * BLOCK + APART;
        let end = out.len() + encoded_len(len);
        URL_SAFE_NO_PAD.encode_append(room.get(..whole)?, out);
        out.truncate(end);
        Some(())
    }

    /// Decodes what is no secret into the beginning of `room`, and returns how many bytes there are; `None` for what is longer
    /// than [`SHORT`] or anything but canonical base64url.
    pub fn decode_room(text: &[u8], room: &mut Room) -> Option<usize> {
        if text.len() > SHORT / 3 * 4 {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text, room.as_mut_slice().as_out()).ok().map(|bytes| bytes.len())
    }

    /// The same where `N` bytes must come of it.
    pub fn decode_public_array<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
        if text.len() != encoded_len(N) {
            return None;
        }
        let mut bytes = [0; N];
        URL_SAFE_NO_PAD.decode(text, bytes.as_mut_slice().as_out()).ok()?;
        Some(bytes)
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

    /// A codec that looks at many characters at once may be wrong at some places only.
    #[test]
    fn one_byte_that_does_not_belong_is_seen_wherever_it_stands() {
        for length in [1_usize, 2, 3, 12, 24, 27, 28, 29, 40, 56, 68, 97] {
            let good = base64url::encode(&vec![0; length]).into_bytes();
            assert_eq!(base64url::encoded_len(length), good.len());
            for at in 0..good.len() {
                for byte in 0..=255 {
                    let mut text = good.clone();
                    text[at] = byte;
                    let strict = base64url::decode(&text);
                    assert_eq!(base64url::decode_public(&text), strict, "{byte:#x} at {at} of {length}");
                    assert_eq!(decoded(&text), strict, "{byte:#x} at {at} of {length}");
                    let array = base64url::decode_public_array::<12>(&text).map(Vec::from);
                    assert_eq!(array, strict.filter(|_| length == 12));
                }
            }
        }
    }

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        let mut room = [7; _];
        base64url::decode_room(text, &mut room).map(|len| room[..len].to_vec())
    }

    #[test]
    fn short_texts_are_taken_and_made_alike_in_a_room() {
        for length in 0..=base64url::SHORT + 1 {
            let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n * 41 % 256).unwrap() ^ 0xf5).collect();
            let text = base64url::encode(&bytes);
            let mut room: base64url::Room = [0xff; _];
            let mut out = b"kept".to_vec();
            if length > base64url::SHORT {
                assert_eq!(base64url::encode_room(&mut room, length, &mut out), None);
                assert_eq!((out.as_slice(), decoded(text.as_bytes())), (&b"kept"[..], None));
                continue;
            }
            room[..length].copy_from_slice(&bytes);
            base64url::encode_room(&mut room, length, &mut out).unwrap();
            assert_eq!(out, [b"kept", text.as_bytes()].concat(), "{length}");
            assert_eq!(decoded(text.as_bytes()), Some(bytes));
            for cut in 1..text.len().min(40) {
                let text = &text.as_bytes()[cut..];
                assert_eq!(decoded(text), base64url::decode(text), "{length} without the first {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn both_codecs_take_and_make_the_same(bytes: Vec<u8>, text in "[A-Za-z0-9_+/=\\n-]{0,24}", long in "[A-Za-z0-9_-]{0,200}") {
            let (mut secret, mut public) = (Vec::new(), Vec::new());
            base64url::encode_into(&bytes, &mut secret);
            base64url::encode_public_into(&bytes, &mut public);
            prop_assert_eq!(&secret, &public);
            prop_assert_eq!(base64url::decode_public(&public), Some(bytes));
            for text in [text, long] {
                let (mut out, strict) = (b"kept".to_vec(), base64url::decode(text.as_bytes()));
                prop_assert_eq!(base64url::decode_public_into(text.as_bytes(), &mut out), strict.as_ref().map(|_| ()));
                prop_assert_eq!(out, [b"kept", strict.unwrap_or_default().as_slice()].concat());
                prop_assert_eq!(base64url::decode_public(text.as_bytes()), base64url::decode(text.as_bytes()));
            }
        }
    }
}
