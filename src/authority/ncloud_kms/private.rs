//! Private keys of RSA2048 and ECDSA: made once for a version, sealed under its epoch's key, and so gone when the epoch is
//! destroyed, whoever holds a copy of the store.

use serde::{Deserialize, Serialize};

use super::assumptions::PRIVATE_LABEL;
use super::entry::{KeyType, PRIVATE, version_id};
use super::hot::Ready;
use crate::authority::{Authority, Refused};
use crate::crypto::aead::Gcm;
use crate::crypto::base64url;
use crate::crypto::ecdsa::EcdsaKey;
use crate::crypto::kdf::pae;
use crate::crypto::random;
use crate::crypto::rsa::RsaKey;
use crate::directory::Ends;
use crate::keyring::{Epoch, KeyringError};
use crate::name::PartitionName;
use crate::secret::SecretBytes;

#[derive(Serialize, Deserialize)]
struct Private {
    /// base64url of nonce, ciphertext and tag.
    sealed: String,
}

/// Makes the private key of a version, unless there is one or needs to be none.
pub fn ensure(
    authority: &Authority,
    partition: &PartitionName,
    key_type: KeyType,
    epoch: &Epoch,
) -> Result<(), Refused> {
    let id = version_id(partition.as_str(), epoch.id);
    if key_type == KeyType::Aes || authority.directory.get::<Private>(PRIVATE, &id)?.is_some() {
        return Ok(());
    }
    let made = match key_type {
        KeyType::Rsa => RsaKey::generate().ok(),
        KeyType::Ecdsa => EcdsaKey::generate().ok(),
        KeyType::Aes => None,
    };
    let pkcs8 = made.ok_or_else(|| Refused::Unavailable("no private key could be made".into()))?;
    let private = Private { sealed: seal(partition, key_type, epoch, pkcs8.expose())? };
    // On a conflict another process made it: theirs is the key.
    authority.directory.put(PRIVATE, &id, 0, &private, Ends::never())?;
    Ok(())
}

/// Opens the private key of a version.
pub fn open(
    authority: &Authority,
    partition: &PartitionName,
    key_type: KeyType,
    epoch: &Epoch,
) -> Result<Ready, Refused> {
    let damaged = || Refused::Unavailable("a private key is missing or damaged".into());
    let id = version_id(partition.as_str(), epoch.id);
    let private = authority.directory.get::<Private>(PRIVATE, &id)?.ok_or_else(damaged)?;
    let sealed = base64url::decode(private.value.sealed.as_bytes()).ok_or_else(damaged)?;
    let (nonce, rest) = sealed.split_first_chunk().ok_or_else(damaged)?;
    let (ciphertext, tag) = rest.split_last_chunk().ok_or_else(damaged)?;
    let mut pkcs8 = SecretBytes::new(ciphertext.to_vec());
    key(epoch).open(nonce, &aad(partition, key_type), pkcs8.expose_mut(), tag).map_err(|_| damaged())?;
    match key_type {
        KeyType::Rsa => RsaKey::from_pkcs8(pkcs8.expose()).map(|key| Ready::Rsa(Box::new(key))).map_err(|_| damaged()),
        KeyType::Ecdsa => {
            EcdsaKey::from_pkcs8(pkcs8.expose()).map(|key| Ready::Ecdsa(Box::new(key))).map_err(|_| damaged())
        }
        KeyType::Aes => Err(damaged()),
    }
}

fn seal(partition: &PartitionName, key_type: KeyType, epoch: &Epoch, pkcs8: &[u8]) -> Result<String, Refused> {
    let nonce: [u8; 12] = random::bytes().map_err(KeyringError::from)?;
    let mut buffer = SecretBytes::new(pkcs8.to_vec());
    let tag = key(epoch).seal(&nonce, &aad(partition, key_type), buffer.expose_mut());
    let tag = tag.map_err(|_| Refused::Unavailable("a private key could not be sealed".into()))?;
    Ok(base64url::encode(&[&nonce, buffer.expose(), &tag].concat()))
}

fn key(epoch: &Epoch) -> Gcm {
    Gcm::new(epoch.key_for(PRIVATE_LABEL).expose())
}

fn aad(partition: &PartitionName, key_type: KeyType) -> Vec<u8> {
    let name: &[u8] = match key_type {
        KeyType::Aes => b"AES256",
        KeyType::Rsa => b"RSA2048",
        KeyType::Ecdsa => b"ECDSA",
    };
    pae(&[partition.as_str().as_bytes(), name])
}
