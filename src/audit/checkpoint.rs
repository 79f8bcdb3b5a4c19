//! A checkpoint: the owner's signature over a line's number and hash, and over when and where it was made. Whoever writes the store can chain what lines he
//! likes, and sign none of them; a checkpoint that is kept elsewhere shows, too, that the log was cut.

use serde::{Deserialize, Serialize};

use super::line::unhex;
use crate::crypto::base64url;
use crate::crypto::hex::encode as hex;
use crate::crypto::kdf::sha256;
use crate::crypto::sign::VerifyingKey;
use crate::keyring::{Keyring, KeyringError};

const LABEL: &str = "sidecloak/1 audit checkpoint";

/// A checkpoint outside the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// `sidecloak/1 audit checkpoint`.
    pub format: String,
    /// Of the line that it vouches for, and so for all before.
    pub number: u64,
    /// SHA-256 of that line, in hexadecimal.
    pub hash: String,
    /// When it was signed.
    pub time: String,
    /// The process that signed it.
    pub instance: String,
    /// The owner's verifying key, in base64url.
    pub owner: String,
    /// In base64url.
    pub signature: String,
}

impl Checkpoint {
    /// Signs one, in a process that holds the master key.
    pub fn sign(
        keyring: &Keyring,
        (number, hash): (u64, [u8; 32]),
        time: &str,
        instance: &str,
    ) -> Result<Self, KeyringError> {
        let number_bytes = number.to_le_bytes();
        let signature = keyring.sign_as_owner(LABEL, &[&number_bytes, &hash, time.as_bytes(), instance.as_bytes()])?;
        Ok(Self {
            format: LABEL.into(),
            number,
            hash: hex(&hash),
            time: time.to_owned(),
            instance: instance.to_owned(),
            owner: base64url::encode(keyring.owner().as_bytes()),
            signature: base64url::encode(&signature),
        })
    }

    /// The line's hash, if the checkpoint is of the owner whose verifying key has this SHA-256.
    pub fn verify(&self, owner: &[u8; 32]) -> Option<[u8; 32]> {
        let key = owner_key(&self.owner).filter(|key| sha256(key.as_bytes()) == *owner)?;
        let hash = unhex(&self.hash)?;
        let made = (self.time.as_str(), self.instance.as_str());
        let genuine = self.format == LABEL && is_signed(&key, (self.number, &hash), made, &self.signature);
        genuine.then_some(hash)
    }
}

/// Whether this is the owner's signature over a line, made at that time by that process.
pub fn is_signed(
    owner: &VerifyingKey,
    (number, hash): (u64, &[u8; 32]),
    (time, instance): (&str, &str),
    signature: &str,
) -> bool {
    let parts: [&[u8]; 4] = [&number.to_le_bytes(), hash, time.as_bytes(), instance.as_bytes()];
    base64url::decode_public(signature.as_bytes()).is_some_and(|s| owner.verify(LABEL, &parts, &s).is_ok())
}

/// A verifying key as lines and checkpoints hold it.
pub fn owner_key(text: &str) -> Option<VerifyingKey> {
    base64url::decode_public(text.as_bytes()).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
}
