//! ML-DSA-65 (FIPS 204), hedged, with an empty context: the label that every message begins with separates the domains.

use getrandom::SysRng;
use ml_dsa::signature::Keypair;
use ml_dsa::{ExpandedSigningKey, MlDsa65, Signature, SigningKey as Inner};

use super::kdf::pae;
use super::random::{self, RandomError};
use crate::secret::{Secret, SecretBytes};

pub mod plain;

/// Bytes of a signature.
pub const SIGNATURE: usize = 3309;
/// Bytes of a verifying key.
pub const VERIFYING_KEY: usize = 1952;

/// A signature or key that does not verify or decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// A signing key, kept expanded (expanding costs a third of a signature) beside its seed.
pub struct SigningKey {
    seed: Secret<32>,
    expanded: Box<ExpandedSigningKey<MlDsa65>>,
    public: VerifyingKey,
}

impl SigningKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self::from_seed(random::secret()?))
    }

    /// Takes a seed back.
    pub fn from_seed(seed: Secret<32>) -> Self {
        let inner = Inner::<MlDsa65>::from_seed(seed.expose().into());
        let public = VerifyingKey(inner.verifying_key().encode().as_slice().into());
        let expanded = Box::new(inner.expanded_key().clone());
        Self { seed, expanded, public }
    }

    /// The seed, to be wrapped under the master key.
    pub fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// The public half.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// `sign(label, …)`: a signature over PAE(label, parts…).
    pub fn sign(&self, label: &str, parts: &[&[u8]]) -> Result<Vec<u8>, RandomError> {
        let signature = self
            .expanded
            .sign_randomized(labelled(label, parts).expose(), b"", &mut SysRng)
            .map_err(|_| RandomError)?;
        Ok(signature.encode().as_slice().to_vec())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(ml-dsa-65)")
    }
}

/// The public half of a signing key, as its encoded bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifyingKey(Box<[u8]>);

impl VerifyingKey {
    /// Checks the length and takes an encoded key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadSignature> {
        if bytes.len() == VERIFYING_KEY { Ok(Self(bytes.into())) } else { Err(BadSignature) }
    }

    /// The encoded key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `id(vk)` = SHA-256(vk)[..16].
    pub fn id(&self) -> [u8; 16] {
        super::kdf::key_id(&self.0)
    }

    /// Verifies a signature over PAE(label, parts…).
    pub fn verify(&self, label: &str, parts: &[&[u8]], signature: &[u8]) -> Result<(), BadSignature> {
        let encoded = self.0.as_ref().try_into().map_err(|_| BadSignature)?;
        let key = ml_dsa::VerifyingKey::<MlDsa65>::decode(encoded);
        let signature = Signature::<MlDsa65>::try_from(signature).map_err(|_| BadSignature)?;
        if key.verify_with_context(labelled(label, parts).expose(), b"", &signature) {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VerifyingKey(ml-dsa-65)")
    }
}

/// The message; secret, since a value may be among the parts.
fn labelled(label: &str, parts: &[&[u8]]) -> SecretBytes {
    let mut all = Vec::with_capacity(parts.len() + 1);
    all.push(label.as_bytes());
    all.extend_from_slice(parts);
    SecretBytes::new(pae(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_bound_to_its_label_and_parts() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_seed(key.seed().clone());
        let signature = again.sign("label", &[b"a", b"b"]).unwrap();
        assert_eq!(signature.len(), SIGNATURE);
        let public = VerifyingKey::from_bytes(key.verifying_key().as_bytes()).unwrap();
        assert_eq!(public.as_bytes().len(), VERIFYING_KEY);
        public.verify("label", &[b"a", b"b"], &signature).unwrap();
        assert!(public.verify("other", &[b"a", b"b"], &signature).is_err());
        assert!(public.verify("label", &[b"ab", b""], &signature).is_err());
        assert!(public.verify("label", &[b"a", b"b"], &signature[1..]).is_err());
        assert_ne!(signature, again.sign("label", &[b"a", b"b"]).unwrap(), "hedged");
    }
}
