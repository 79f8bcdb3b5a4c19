//! What the master key and the owner's key do beside the keyring itself: directory entries, audit checkpoints.

use super::store::Records;
use super::{Keyring, KeyringError};
use crate::crypto::sign::VerifyingKey;
use crate::secret::{Secret, SecretBytes};

impl Keyring {
    /// Directory and audit log of the store.
    pub fn records(&self) -> Result<&dyn Records, KeyringError> {
        self.store.records().ok_or_else(|| {
            KeyringError::NoKey(
                "this keyring's store keeps no directory and no audit log: use the authority's own".into(),
            )
        })
    }

    /// Seals bytes under the first master key.
    pub fn seal_under_master(&self, label: &str, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, KeyringError> {
        self.masters.first()?.seal(label, aad, plaintext)
    }

    /// Opens what [`Self::seal_under_master`] gave, under any master key of this process; `None` if it is not authentic.
    pub fn open_under_master(&self, label: &str, aad: &[u8], sealed: &[u8]) -> Option<SecretBytes> {
        self.masters.by_id(sealed)?.open(label, aad, sealed)
    }

    /// Whether sealed bytes are under the first master key, by their own word.
    pub fn is_under_first_master(&self, sealed: &[u8]) -> bool {
        self.masters.first().is_ok_and(|master| sealed.starts_with(&master.id()))
    }

    /// Names the first master key; `None` in a process without.
    pub fn first_master(&self) -> Option<[u8; 16]> {
        self.masters.first().ok().map(super::master::Master::id)
    }

    /// A key derived from each master key for one purpose, the one that wraps first.
    pub fn derived_from_master(&self, label: &str) -> Vec<Secret<32>> {
        self.masters.0.iter().map(|master| master.derive(label)).collect()
    }

    /// The owner's signature; of a process with the master key. May block.
    pub fn sign_as_owner(&self, label: &str, parts: &[&[u8]]) -> Result<Vec<u8>, KeyringError> {
        let io = self.lock();
        Ok(self.owner_key(&io)?.sign(label, parts)?)
    }

    /// The owner's verifying key.
    pub fn owner(&self) -> &VerifyingKey {
        &self.owner
    }
}
