//! Who asks, and what its role may do in which partition. What a caller may not see looks as if it were not there.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Api;
use super::problem::Problem;
use crate::audit::Use;
use crate::authority::credentials::Purpose;
use crate::authority::listen::Peer;
use crate::authority::{Caller, Refused, blocking};
use crate::keyring::Permissions;
use crate::name::{Class, PartitionName};

/// An authenticated sidecar.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// Its name in the audit log, and its role.
    pub caller: Caller,
    /// The one partition that it is for, if it is for one.
    partition: Option<String>,
    /// Whether it gets encapsulation keys and partition records alone.
    pub encrypt_only: bool,
}

impl Api {
    /// Who sent this request.
    pub async fn sidecar(&self, headers: &HeaderMap, _peer: Option<&Peer>) -> Result<Sidecar, Problem> {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let presented = value.and_then(|value| value.split_once(' ')).filter(|(s, _)| s.eq_ignore_ascii_case("bearer"));
        let presented = presented.map(|(_, key)| key.trim().to_owned()).ok_or(Refused::Unauthenticated)?;
        let key = self.authority.credentials.api_key(Purpose::Sidecar, &presented).await?;
        Ok(Sidecar { caller: key.caller(), partition: key.partition, encrypt_only: false })
    }

    /// A partition that this sidecar may see, with its encoded record and what the role may do there.
    pub async fn partition(&self, sidecar: &Sidecar, name: &str) -> Result<Seen, Problem> {
        let name = PartitionName::new(name).map_err(|_| Problem::not_there())?;
        if !sidecar.is_for(&name) {
            return Err(Problem::not_there());
        }
        let authority = Arc::clone(&self.authority);
        let wanted = name.clone();
        let (partition, encoded) =
            blocking(move || Ok::<_, Refused>(authority.keyring.served_partition(&wanted)?)).await?;
        let permissions = partition.permissions(&sidecar.caller.role);
        if permissions.0 == 0 {
            self.refused(sidecar, &name);
            return Err(Problem::not_there());
        }
        Ok(Seen { name, encoded, permissions })
    }

    /// Counts a refusal.
    pub fn refused(&self, sidecar: &Sidecar, partition: &PartitionName) {
        self.count(sidecar, partition, Use::Refused);
    }

    /// Counts what was done with the key of an epoch.
    pub fn count(&self, sidecar: &Sidecar, partition: &PartitionName, what: Use) {
        self.authority.audit.count(&sidecar.caller.name, partition, &Class::new("epoch-key"), what, 1);
    }
}

impl Sidecar {
    /// Whether a partition of this name is within what this identity is for; its role must allow more than that.
    pub fn is_for(&self, name: &PartitionName) -> bool {
        self.partition.as_deref().is_none_or(|only| only == name.as_str())
    }
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
