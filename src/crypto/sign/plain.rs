//! ML-DSA-65 as FIPS 204 has it, over a message as it is: for values that other systems sign and verify. Keys of the keyring never
//! sign here, and keys made here never sign what the keyring trusts: this module has no way to one, so that nobody gets a record
//! signed by asking for a signature.

use getrandom::SysRng;
use ml_dsa::signature::Keypair;
use ml_dsa::{ExpandedSigningKey, ExpandedSigningKeyBytes, MlDsa65, Signature, SigningKey};

use super::{BadSignature, VerifyingKey};
use crate::crypto::random::{self, RandomError};
use crate::secret::{Secret, SecretBytes};

/// Bytes of an expanded secret key.
pub const EXPANDED: usize = 4032;
/// Where the coefficients of s1 and s2 stand in it: after ρ, K and tr, 128 bytes for each of 5 + 6 polynomials.
const COEFFICIENTS: std::ops::Range<usize> = 128..128 + 11 * 128;
/// Of a coefficient as it is encoded: η − c, with η = 4.
const MOST: u8 = 8;

/// A key pair for one use or for somebody else.
pub struct KeyPair {
    expanded: Box<ExpandedSigningKey<MlDsa65>>,
    public: Vec<u8>,
}

impl KeyPair {
    /// A new one from the operating system's randomness.
    pub fn generate() -> Result<Self, RandomError> {
        let seed: Secret<32> = random::secret()?;
        let key = SigningKey::<MlDsa65>::from_seed(seed.expose().into());
        let public = key.verifying_key().encode().as_slice().to_vec();
        Ok(Self { expanded: Box::new(key.expanded_key().clone()), public })
    }

    /// The public key, 1952 bytes.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The secret key as FIPS 204 writes it out, 4032 bytes.
    pub fn secret(&self) -> SecretBytes {
        #[expect(deprecated, reason = "the form that the standard and most clients write")]
        SecretBytes::new(self.expanded.to_expanded().as_slice().to_vec())
    }

    /// Signs, hedged, with an empty context.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RandomError> {
        sign_with(&self.expanded, message).map_err(|_| RandomError)
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(ml-dsa-65)")
    }
}

/// Signs with somebody's secret key, expanded or as its seed (32 bytes).
pub fn sign(secret: &[u8], message: &[u8]) -> Result<Vec<u8>, BadSignature> {
    if let Some(seed) = Secret::<32>::from_slice(secret) {
        return sign_with(&ExpandedSigningKey::from_seed(seed.expose().into()), message);
    }
    // The library trusts this form; a coefficient out of range would make it panic.
    let coefficients = secret.get(COEFFICIENTS).ok_or(BadSignature)?;
    if coefficients.iter().any(|byte| byte & 0xf > MOST || byte >> 4 > MOST) {
        return Err(BadSignature);
    }
    let encoded: &ExpandedSigningKeyBytes<MlDsa65> = secret.try_into().map_err(|_| BadSignature)?;
    #[expect(deprecated, reason = "the form that the standard and most clients write")]
    let key = ExpandedSigningKey::<MlDsa65>::from_expanded(encoded);
    sign_with(&key, message)
}

/// Verifies a signature with an empty context.
pub fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let public = VerifyingKey::from_bytes(public)?;
    let encoded = public.as_bytes().try_into().map_err(|_| BadSignature)?;
    let signature = Signature::<MlDsa65>::try_from(signature).map_err(|_| BadSignature)?;
    if ml_dsa::VerifyingKey::<MlDsa65>::decode(encoded).verify_with_context(message, b"", &signature) {
        Ok(())
    } else {
        Err(BadSignature)
    }
}

fn sign_with(key: &ExpandedSigningKey<MlDsa65>, message: &[u8]) -> Result<Vec<u8>, BadSignature> {
    let signature = key.sign_randomized(message, b"", &mut SysRng).map_err(|_| BadSignature)?;
    Ok(signature.encode().as_slice().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_in_both_its_forms() {
        let pair = KeyPair::generate().unwrap();
        let secret = pair.secret();
        assert_eq!((secret.expose().len(), pair.public().len()), (EXPANDED, 1952));
        assert_eq!(secret.expose()[..32], pair.public()[..32], "both begin with ρ");
        for signature in [pair.sign(b"message").unwrap(), sign(secret.expose(), b"message").unwrap()] {
            verify(pair.public(), b"message", &signature).unwrap();
            assert!(verify(pair.public(), b"massage", &signature).is_err());
            assert!(verify(&pair.public()[1..], b"message", &signature).is_err());
            assert!(verify(pair.public(), b"message", &signature[1..]).is_err());
            assert!(verify(KeyPair::generate().unwrap().public(), b"message", &signature).is_err());
        }
        let public = SigningKey::<MlDsa65>::from_seed(&[7; 32].into()).verifying_key().encode().as_slice().to_vec();
        verify(&public, b"message", &sign(&[7; 32], b"message").unwrap()).unwrap();
    }

    #[test]
    fn what_is_no_secret_key_is_refused() {
        let secret = KeyPair::generate().unwrap().secret();
        for (at, byte) in [(COEFFICIENTS.start, 0x90), (COEFFICIENTS.end - 1, 0x09), (COEFFICIENTS.start + 700, 0xff)] {
            let mut wrong = secret.expose().to_vec();
            wrong[at] = byte;
            assert_eq!(sign(&wrong, b"message"), Err(BadSignature));
        }
        for wrong in [&secret.expose()[1..], &[0; 31], &[]] {
            assert_eq!(sign(wrong, b"message"), Err(BadSignature));
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(8))]
        #[test]
        fn no_secret_key_makes_it_panic(mut secret in proptest::collection::vec(proptest::num::u8::ANY, EXPANDED)) {
            drop(sign(&secret, b"message"));
            for byte in &mut secret[COEFFICIENTS] {
                *byte = (*byte & 0x77) + (*byte >> 7);
            }
            drop(sign(&secret, b"message"));
        }
    }
}
