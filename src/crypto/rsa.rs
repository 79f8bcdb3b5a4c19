//! RSA with 2048 bits (RFC 8017): OAEP with SHA-256 and MGF1-SHA-256 to encrypt, PSS with SHA-256 to sign.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::{self, KeyPair as _, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256};

use crate::secret::SecretBytes;

/// The longest plaintext: the modulus less two hashes and two bytes.
pub const PLAINTEXT: usize = 190;
/// Bytes of a ciphertext and of a signature.
pub const MODULUS: usize = 256;

/// A key that does not decode, a ciphertext that does not open, or a failure of the random generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the RSA operation failed")]
pub struct BadRsa;

/// A private key, ready for use.
pub struct RsaKey {
    signing: KeyPair,
    encrypting: OaepPublicEncryptingKey,
    decrypting: OaepPrivateDecryptingKey,
    public: Vec<u8>,
}

impl RsaKey {
    /// A new one of 2048 bits, as PKCS #8. Takes a while.
    pub fn generate() -> Result<SecretBytes, BadRsa> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| BadRsa)?;
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(|_| BadRsa)?;
        Ok(SecretBytes::new(der.as_ref().to_vec()))
    }

    /// Takes back what [`Self::generate`] gave.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, BadRsa> {
        let private = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| BadRsa)?;
        if private.key_size_bytes() != MODULUS {
            return Err(BadRsa);
        }
        let signing = KeyPair::from_pkcs8(pkcs8).map_err(|_| BadRsa)?;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(signing.public_key()).map_err(|_| BadRsa)?.as_ref().to_vec();
        Ok(Self {
            encrypting: OaepPublicEncryptingKey::new(private.public_key()).map_err(|_| BadRsa)?,
            decrypting: OaepPrivateDecryptingKey::new(private).map_err(|_| BadRsa)?,
            signing,
            public,
        })
    }

    /// The public half as SubjectPublicKeyInfo.
    pub fn public_der(&self) -> &[u8] {
        &self.public
    }

    /// Encrypts at most [`PLAINTEXT`] bytes; `label` must be known again to decrypt.
    pub fn encrypt(&self, plaintext: &[u8], label: &[u8]) -> Result<Vec<u8>, BadRsa> {
        let mut out = vec![0; MODULUS];
        let written = self
            .encrypting
            .encrypt(&OAEP_SHA256_MGF1SHA256, plaintext, &mut out, Some(label))
            .map_err(|_| BadRsa)?
            .len();
        out.truncate(written);
        Ok(out)
    }

    /// Decrypts.
    pub fn decrypt(&self, ciphertext: &[u8], label: &[u8]) -> Result<SecretBytes, BadRsa> {
        let mut out = SecretBytes::new(vec![0; self.decrypting.min_output_size()]);
        let written = self
            .decrypting
            .decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, out.expose_mut(), Some(label))
            .map_err(|_| BadRsa)?
            .len();
        out.expose_mut().truncate(written);
        Ok(out)
    }

    /// Signs, with a salt as long as the hash.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BadRsa> {
        let mut out = vec![0; MODULUS];
        self.signing.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut out).map_err(|_| BadRsa)?;
        Ok(out)
    }

    /// Whether this key signed the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = signature::UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, self.public.as_slice());
        public.verify(message, signature).is_ok()
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_decrypts_and_verifies_its_own_alone() {
        let pkcs8 = RsaKey::generate().unwrap();
        let key = RsaKey::from_pkcs8(pkcs8.expose()).unwrap();
        let sealed = key.encrypt(&[7; PLAINTEXT], b"label").unwrap();
        assert_eq!(sealed.len(), MODULUS);
        assert_eq!(key.decrypt(&sealed, b"label").unwrap().expose(), [7; PLAINTEXT]);
        assert!(key.decrypt(&sealed, b"").is_err());
        assert!(key.encrypt(&[7; PLAINTEXT + 1], b"").is_err());
        let signature = key.sign(b"message").unwrap();
        assert!(key.verifies(b"message", &signature) && !key.verifies(b"massage", &signature));
        let other = RsaKey::from_pkcs8(RsaKey::generate().unwrap().expose()).unwrap();
        assert!(other.decrypt(&sealed, b"label").is_err());
        assert!(!other.verifies(b"message", &signature));
        assert!(key.public_der().starts_with(&[0x30, 0x82]));
        assert!(RsaKey::from_pkcs8(&pkcs8.expose()[1..]).is_err());
    }
}
