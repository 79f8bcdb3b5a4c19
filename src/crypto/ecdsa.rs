//! ECDSA on P-256 with SHA-256 (FIPS 186-5); signatures in ASN.1 DER.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};

use crate::secret::SecretBytes;

/// A key that does not decode, or a failure of the random generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ECDSA operation failed")]
pub struct BadEcdsa;

/// A private key, ready for use.
pub struct EcdsaKey {
    pair: EcdsaKeyPair,
    public: Vec<u8>,
}

impl EcdsaKey {
    /// A new one, as PKCS #8.
    pub fn generate() -> Result<SecretBytes, BadEcdsa> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| BadEcdsa)?;
        Ok(SecretBytes::new(pair.to_pkcs8v1().map_err(|_| BadEcdsa)?.as_ref().to_vec()))
    }

    /// Takes back what [`Self::generate`] gave.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, BadEcdsa> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map_err(|_| BadEcdsa)?;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_err(|_| BadEcdsa)?.as_ref().to_vec();
        Ok(Self { pair, public })
    }

    /// The public half as SubjectPublicKeyInfo.
    pub fn public_der(&self) -> &[u8] {
        &self.public
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BadEcdsa> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| BadEcdsa)?;
        Ok(signature.as_ref().to_vec())
    }

    /// Whether this key signed the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.public.as_slice()).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for EcdsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcdsaKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_verifies_its_own_alone() {
        let pkcs8 = EcdsaKey::generate().unwrap();
        let key = EcdsaKey::from_pkcs8(pkcs8.expose()).unwrap();
        let signature = key.sign(b"message").unwrap();
        assert!(key.verifies(b"message", &signature) && !key.verifies(b"massage", &signature));
        let other = EcdsaKey::from_pkcs8(EcdsaKey::generate().unwrap().expose()).unwrap();
        assert!(!other.verifies(b"message", &signature));
        assert_eq!(key.public_der().len(), 91);
        assert!(EcdsaKey::from_pkcs8(&pkcs8.expose()[1..]).is_err());
    }
}
