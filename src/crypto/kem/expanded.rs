//! ML-KEM-768 decapsulation keys as FIPS 203 writes them out (2400 bytes), for clients that know no seeds.

use ml_kem::kem::Decapsulate;
use ml_kem::ml_kem_768;

use super::{BadKem, DecapsulationKey, KemSuite};
use crate::secret::{Secret, SecretBytes};

/// Bytes of an expanded decapsulation key.
pub const EXPANDED: usize = 2400;

/// The expanded form of an ML-KEM-768 key; other suites have none here.
pub fn expand(key: &DecapsulationKey) -> Result<SecretBytes, BadKem> {
    match key.suite {
        #[expect(deprecated, reason = "the form that the standard and most clients write")]
        KemSuite::MlKem768 => {
            use ml_kem::ExpandedKeyEncoding;
            Ok(SecretBytes::new(key.ml_kem_768()?.to_expanded_bytes().as_slice().to_vec()))
        }
        KemSuite::MlKem1024 | KemSuite::XWing => Err(BadKem),
    }
}

/// The shared secret of an ML-KEM-768 ciphertext under a key given as its seed (64 bytes) or expanded, which is checked as
/// FIPS 203 § 7.3 wants it.
pub fn decapsulate(key: &[u8], ciphertext: &[u8]) -> Result<Secret<32>, BadKem> {
    if key.len() != EXPANDED {
        return DecapsulationKey::from_seed(KemSuite::MlKem768, key)?.decapsulate(ciphertext);
    }
    let encoded = key.try_into().map_err(|_| BadKem)?;
    #[expect(deprecated, reason = "the form that the standard and most clients write")]
    let key = ml_kem_768::DecapsulationKey::from_expanded(encoded).map_err(|_| BadKem)?;
    let shared = key.decapsulate_slice(ciphertext).map_err(|_| BadKem)?;
    Secret::from_slice(shared.as_slice()).ok_or(BadKem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_decapsulates_in_both_its_forms() {
        let key = DecapsulationKey::generate(KemSuite::MlKem768).unwrap();
        let expanded = expand(&key).unwrap();
        let public = key.encapsulation_key().unwrap();
        assert_eq!(expanded.expose().len(), EXPANDED);
        assert_eq!(&expanded.expose()[1152..1152 + 1184], public.as_bytes(), "dk holds ek (FIPS 203, algorithm 16)");
        let (ciphertext, shared) = public.encapsulate().unwrap();
        for form in [expanded.expose(), key.seed()] {
            assert_eq!(decapsulate(form, &ciphertext).unwrap().expose(), shared.expose());
            assert!(decapsulate(&form[1..], &ciphertext).is_err());
            assert!(decapsulate(form, &ciphertext[1..]).is_err());
        }
        let mut wrong = expanded;
        wrong.expose_mut()[2400 - 33] ^= 1;
        assert!(decapsulate(wrong.expose(), &ciphertext).is_err(), "the hash of ek does not fit");
        assert!(expand(&DecapsulationKey::generate(KemSuite::XWing).unwrap()).is_err());
    }
}
