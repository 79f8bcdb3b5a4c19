//! Who asks, and what its role may do in which partition. What a caller may not see looks as if it were not there.

use std::sync::Arc;

use http::HeaderMap;

use super::Api;
use super::problem::Problem;
use crate::audit::Use;
use crate::authority::credentials::Purpose;
use crate::authority::identity::{Identity, identify};
use crate::authority::listen::Peer;
use crate::authority::{Authority, Refused, blocking};
use crate::keyring::{KeyringError, Permissions};
use crate::name::{Class, PartitionName};

impl Api {
    /// Who sent this request.
    pub async fn sidecar(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Identity, Problem> {
        let identified = identify(&self.authority, headers, peer, Purpose::Sidecar).await;
        if let Err(Refused::Unauthenticated) = &identified {
            let nobody = PartitionName::default_name();
            self.authority.audit.count("nobody", &nobody, &Class::new("keyring-api"), Use::Refused, 1);
        }
        Ok(identified?)
    }

    /// A partition that this sidecar may see.
    pub async fn partition(&self, sidecar: &Identity, name: &str) -> Result<Seen, Problem> {
        let name = PartitionName::new(name).map_err(|_| Problem::not_there())?;
        let (authority, identity) = (Arc::clone(&self.authority), sidecar.clone());
        let seen = blocking(move || see(&authority, &identity, &name)).await?;
        seen.ok_or_else(Problem::not_there)
    }

    /// Counts a refusal.
    pub fn refused(&self, sidecar: &Identity, partition: &PartitionName) {
        self.count(sidecar, partition, Use::Refused);
    }

    /// Counts what was done with the key of an epoch.
    pub fn count(&self, sidecar: &Identity, partition: &PartitionName, what: Use) {
        self.authority.audit.count(&sidecar.caller.name, partition, &Class::new("epoch-key"), what, 1);
    }
}

/// The partition, unless it is not there, out of the identity's reach, or one in which its role may nothing. May block.
pub fn see(authority: &Authority, sidecar: &Identity, name: &PartitionName) -> Result<Option<Seen>, Refused> {
    if !sidecar.reaches(name) {
        return Ok(None);
    }
    let (partition, encoded) = match authority.keyring.served_partition(name) {
        Ok(found) => found,
        Err(KeyringError::Unknown(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let permissions = partition.permissions(&sidecar.caller.role);
    if permissions.0 == 0 {
        authority.audit.count(&sidecar.caller.name, name, &Class::new("epoch-key"), Use::Refused, 1);
        return Ok(None);
    }
    Ok(Some(Seen { name: name.clone(), encoded, permissions }))
}

/// See [`Api::partition`].
#[derive(Debug)]
pub struct Seen {
    /// Its name.
    pub name: PartitionName,
    /// Its verified record, encoded.
    pub encoded: Vec<u8>,
    /// What the role may do.
    permissions: Permissions,
}

impl Seen {
    /// Whether values may be opened, whole.
    pub fn may_open(&self) -> bool {
        self.permissions.has(Permissions::DECRYPT) && !self.permissions.has(Permissions::MASK)
    }

    /// Whether values may be sealed.
    pub fn may_seal(&self) -> bool {
        self.permissions.has(Permissions::ENCRYPT)
    }
}
