//! SHA-256, HKDF-SHA-256 (RFC 5869) with an empty salt, and the encoding that everything hashed or authenticated goes through.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// `PAE(a, b, …)`: for each part a 4-byte little-endian length, then the bytes. No two lists of parts encode alike.
pub fn pae(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len() + 4).sum());
    for part in parts {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// HKDF-SHA-256 with an empty salt. `N` is at most 255 × 32.
pub fn hkdf<const N: usize>(ikm: &[u8], info: &[u8]) -> Secret<N> {
    const { assert!(N <= 255 * 32) };
    let filled = Secret::filled_by(|okm| Hkdf::<Sha256>::new(None, ikm).expand(info, okm));
    #[expect(clippy::expect_used, reason = "`expand` fails only for lengths that the assertion above rules out")]
    filled.expect("length checked at compile time")
}

/// SHA-256 (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// `id(k)` = SHA-256(public key)[..16], the name by which records and tokens refer to a public key.
pub fn key_id(public_key: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(sha256(public_key).split_at(16).0);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pae_separates_what_concatenation_would_mix() {
        assert_eq!(pae(&[b"ab", b""]), [2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]);
        assert_ne!(pae(&[b"a", b"b"]), pae(&[b"ab"]));
    }

    /// RFC 5869 appendix A.3: no salt, no info.
    #[test]
    fn hkdf_vector() {
        let okm = hkdf::<42>(&[0x0b; 22], b"");
        assert_eq!(
            hex::encode(okm.expose()),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        );
    }
}
