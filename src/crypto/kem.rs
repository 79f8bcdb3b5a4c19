//! Key encapsulation: ML-KEM-768 and -1024 (FIPS 203) and X-Wing (draft-connolly-cfrg-xwing-kem-06).

use ml_kem::kem::{Decapsulate, Decapsulator, Encapsulate, FromSeed, Kem, KeyExport, TryKeyInit};
use ml_kem::{MlKem768, MlKem1024, ml_kem_768, ml_kem_1024};
use x_wing::XWingKem;

use super::random::{self, RandomError};
use crate::secret::{Secret, SecretBytes};

pub mod expanded;

/// The KEM of a recipient, by the number that records carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum KemSuite {
    /// ML-KEM-768, the default.
    MlKem768 = 1,
    /// ML-KEM-1024.
    MlKem1024 = 2,
    /// X-Wing: ML-KEM-768 and X25519 together.
    XWing = 3,
}

impl KemSuite {
    /// All suites, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::MlKem768, Self::MlKem1024, Self::XWing];

    /// The suite with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| *suite as u8 == byte)
    }

    /// The suite with this name, as `keys init --kem` takes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// `ml-kem-768`, `ml-kem-1024` or `x-wing`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MlKem768 => "ml-kem-768",
            Self::MlKem1024 => "ml-kem-1024",
            Self::XWing => "x-wing",
        }
    }

    /// Bytes of a private key's seed: (d, z) of ML-KEM, or X-Wing's seed.
    pub fn seed_len(self) -> usize {
        match self {
            Self::MlKem768 | Self::MlKem1024 => 64,
            Self::XWing => 32,
        }
    }
}

/// An encapsulation key or ciphertext of the wrong length, or one that FIPS 203 § 7.2 refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid key or ciphertext of this KEM")]
pub struct BadKem;

/// The public half of a recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct EncapsulationKey {
    suite: KemSuite,
    bytes: Vec<u8>,
}

impl EncapsulationKey {
    /// Checks and takes an encoded key.
    pub fn from_bytes(suite: KemSuite, bytes: &[u8]) -> Result<Self, BadKem> {
        match suite {
            KemSuite::MlKem768 => ml_kem_768::EncapsulationKey::new_from_slice(bytes).map(drop).map_err(|_| BadKem)?,
            KemSuite::MlKem1024 => {
                ml_kem_1024::EncapsulationKey::new_from_slice(bytes).map(drop).map_err(|_| BadKem)?
            }
            KemSuite::XWing => x_wing::EncapsulationKey::new_from_slice(bytes).map(drop).map_err(|_| BadKem)?,
        }
        Ok(Self { suite, bytes: bytes.to_vec() })
    }

    /// The suite.
    pub fn suite(&self) -> KemSuite {
        self.suite
    }

    /// The encoded key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A fresh shared secret and the ciphertext that carries it.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, Secret<32>), BadKem> {
        macro_rules! encapsulate {
            ($key:ty) => {{
                let (ct, ss) = <$key>::new_from_slice(&self.bytes).map_err(|_| BadKem)?.encapsulate();
                Ok((ct.as_slice().to_vec(), Secret::from_slice(ss.as_slice()).ok_or(BadKem)?))
            }};
        }
        match self.suite {
            KemSuite::MlKem768 => encapsulate!(ml_kem_768::EncapsulationKey),
            KemSuite::MlKem1024 => encapsulate!(ml_kem_1024::EncapsulationKey),
            KemSuite::XWing => encapsulate!(x_wing::EncapsulationKey),
        }
    }
}

impl std::fmt::Debug for EncapsulationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EncapsulationKey({})", self.suite.name())
    }
}

/// The private half of a recipient, kept as its seed.
pub struct DecapsulationKey {
    suite: KemSuite,
    seed: SecretBytes,
}

impl DecapsulationKey {
    /// A new key from the operating system's randomness.
    pub fn generate(suite: KemSuite) -> Result<Self, RandomError> {
        let mut seed = SecretBytes::new(vec![0; suite.seed_len()]);
        random::fill(seed.expose_mut())?;
        Ok(Self { suite, seed })
    }

    /// Takes a seed back.
    pub fn from_seed(suite: KemSuite, seed: &[u8]) -> Result<Self, BadKem> {
        if seed.len() != suite.seed_len() {
            return Err(BadKem);
        }
        Ok(Self { suite, seed: SecretBytes::new(seed.to_vec()) })
    }

    /// The suite.
    pub fn suite(&self) -> KemSuite {
        self.suite
    }

    /// The seed, to be wrapped under the master key.
    pub fn seed(&self) -> &[u8] {
        self.seed.expose()
    }

    /// The public half.
    pub fn encapsulation_key(&self) -> Result<EncapsulationKey, BadKem> {
        let bytes = match self.suite {
            KemSuite::MlKem768 => self.ml_kem_768()?.encapsulation_key().to_bytes().as_slice().to_vec(),
            KemSuite::MlKem1024 => self.ml_kem_1024()?.encapsulation_key().to_bytes().as_slice().to_vec(),
            KemSuite::XWing => self.x_wing()?.encapsulation_key().to_bytes().as_slice().to_vec(),
        };
        Ok(EncapsulationKey { suite: self.suite, bytes })
    }

    /// The shared secret of `ciphertext`. ML-KEM rejects implicitly: a foreign ciphertext gives an unrelated secret.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret<32>, BadKem> {
        let shared = match self.suite {
            KemSuite::MlKem768 => self.ml_kem_768()?.decapsulate_slice(ciphertext).map_err(|_| BadKem)?,
            KemSuite::MlKem1024 => self.ml_kem_1024()?.decapsulate_slice(ciphertext).map_err(|_| BadKem)?,
            KemSuite::XWing => self.x_wing()?.decapsulate_slice(ciphertext).map_err(|_| BadKem)?,
        };
        Secret::from_slice(shared.as_slice()).ok_or(BadKem)
    }

    fn ml_kem_768(&self) -> Result<<MlKem768 as Kem>::DecapsulationKey, BadKem> {
        let seed = self.seed.expose().try_into().map_err(|_| BadKem)?;
        Ok(MlKem768::from_seed(seed).0)
    }

    fn ml_kem_1024(&self) -> Result<<MlKem1024 as Kem>::DecapsulationKey, BadKem> {
        let seed = self.seed.expose().try_into().map_err(|_| BadKem)?;
        Ok(MlKem1024::from_seed(seed).0)
    }

    fn x_wing(&self) -> Result<<XWingKem as Kem>::DecapsulationKey, BadKem> {
        let seed: [u8; 32] = self.seed.expose().try_into().map_err(|_| BadKem)?;
        Ok(x_wing::DecapsulationKey::from(seed))
    }
}

impl std::fmt::Debug for DecapsulationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecapsulationKey({})", self.suite.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_agrees_on_a_secret() {
        for suite in KemSuite::ALL {
            let dk = DecapsulationKey::generate(suite).unwrap();
            let ek = dk.encapsulation_key().unwrap();
            let (ct, ss) = ek.encapsulate().unwrap();
            let again = DecapsulationKey::from_seed(suite, dk.seed()).unwrap();
            assert_eq!(again.decapsulate(&ct).unwrap().expose(), ss.expose());
            assert_eq!(EncapsulationKey::from_bytes(suite, ek.as_bytes()).unwrap(), ek);
            assert!(EncapsulationKey::from_bytes(suite, &ek.as_bytes()[1..]).is_err());
            assert!(dk.decapsulate(&ct[1..]).is_err());
            let mut other = ct;
            other[0] ^= 1;
            assert_ne!(dk.decapsulate(&other).unwrap().expose(), ss.expose(), "implicit rejection");
        }
    }

    #[test]
    fn lengths_are_those_of_the_standards() {
        let lengths = KemSuite::ALL.map(|suite| {
            let ek = DecapsulationKey::generate(suite).unwrap().encapsulation_key().unwrap();
            (ek.as_bytes().len(), ek.encapsulate().unwrap().0.len())
        });
        assert_eq!(lengths, [(1184, 1088), (1568, 1568), (1216, 1120)]);
    }
}
