//! The recipient file: the public half of a key pair that the service made. Nothing in it is a secret; that nobody put another in
//! its place, the partition's signed record says.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Generation;
use crate::bounded;
use crate::crypto::hex;
use crate::crypto::kem::{EncapsulationKey, KemSuite, expanded};
use crate::crypto::mac::same;
use crate::crypto::sign::plain;
use crate::secret::SecretBytes;

/// The one that we take, as the service writes it.
pub const ALGORITHM: &str = "ML-KEM-768";
/// Bytes of an encapsulation key,
pub const KEY: usize = 1184;
/// of a private key, written out or as its seed,
pub const PRIVATE: [usize; 2] = [expanded::EXPANDED, 64];
/// of what verifies the signature over the encapsulation key,
pub const VERIFICATION_KEY: usize = crate::crypto::sign::VERIFYING_KEY;
/// and of that signature.
pub const SIGNATURE: usize = crate::crypto::sign::SIGNATURE;
/// Of the file.
const LONGEST: u64 = 65_536;

/// A recipient whose key is one and whose signature, where there is any, verifies.
pub struct Recipient {
    /// The public half.
    pub key: EncapsulationKey,
    /// In the first generation.
    pub signed: Option<Signed>,
}

/// See [`Recipient::signed`].
pub struct Signed {
    pub verification_key: Vec<u8>,
    pub signature: Vec<u8>,
}

/// Suite and encapsulation key of the recipient in this file, checked, as a partition record lists them.
pub fn recipient_key(path: &Path) -> Result<(u8, Vec<u8>), String> {
    let recipient = Recipient::read(path)?;
    Ok((recipient.key.suite() as u8, recipient.key.as_bytes().to_vec()))
}

impl Recipient {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong =
            |what: &str| format!("the recipient {} {what}; `sidecloak profiles init` writes one", path.display());
        let text = bounded::read_file(path, LONGEST).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let file: File = serde_json::from_slice(&text).map_err(|_| wrong("is not what that command writes"))?;
        if file.algorithm != ALGORITHM {
            return Err(wrong("is of another algorithm than ML-KEM-768"));
        }
        let bytes = |text: &str| hex::decode(text.as_bytes()).ok_or_else(|| wrong("is not in hexadecimal"));
        let signed = match (&file.verification_key, &file.signature, file.generation) {
            (Some(key), Some(signature), Written::First) => {
                Some(Signed { verification_key: bytes(key)?, signature: bytes(signature)? })
            }
            (None, None, Written::Later) => None,
            _ => return Err(wrong("has no signature, or one that its generation has not")),
        };
        Self::check(bytes(&file.encapsulation_key)?, signed).map_err(wrong)
    }

    /// Takes a key over once all that can be verified is.
    pub fn check(key: Vec<u8>, signed: Option<Signed>) -> Result<Self, &'static str> {
        let key = EncapsulationKey::from_bytes(KemSuite::MlKem768, &key)
            .map_err(|_| "has an encapsulation key that is none of ML-KEM-768")?;
        if let Some(Signed { verification_key, signature }) = &signed {
            plain::verify(verification_key, key.as_bytes(), signature)
                .map_err(|_| "has a signature over its encapsulation key that does not verify")?;
        }
        Ok(Self { key, signed })
    }

    /// The encapsulation key in hexadecimal.
    pub fn hex(&self) -> String {
        hex::encode(self.key.as_bytes())
    }

    /// Whether a private key (its bytes) takes out what is put in for this recipient.
    pub fn is_opened_by(&self, private: &SecretBytes) -> bool {
        let Ok((cipher, shared)) = self.key.encapsulate() else { return false };
        expanded::decapsulate(private.expose(), &cipher).is_ok_and(|opened| same(opened.expose(), shared.expose()))
    }

    /// The file's content.
    pub fn to_file(&self, generation: Generation) -> String {
        let signed = self.signed.as_ref();
        let file = File {
            algorithm: ALGORITHM.into(),
            generation: match generation {
                Generation::First => Written::First,
                Generation::Later => Written::Later,
            },
            encapsulation_key: self.hex(),
            verification_key: signed.map(|signed| hex::encode(&signed.verification_key)),
            signature: signed.map(|signed| hex::encode(&signed.signature)),
        };
        // It has text members alone, so that it cannot fail.
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
        text.push('\n');
        text
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    algorithm: String,
    generation: Written,
    encapsulation_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verification_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    First,
    Later,
}
