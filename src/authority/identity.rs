//! Who calls our own faces: by API key, by token of an issuer, or by client certificate.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::credentials::{ApiKey, Purpose};
use super::listen::Peer;
use super::settings::{CertificateRule, Grant, Settings};
use super::{Authority, Caller, Refused};
use crate::keyring::KeyringError;
use crate::name::PartitionName;
use crate::rules::glob::wild;

mod tokens;

#[cfg(test)]
mod tests;

use tokens::Tokens;

/// Who asks, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As the audit log and access-control entries name it.
    pub caller: Caller,
    /// What it was let in for.
    pub purpose: Purpose,
    /// Only partitions of this application.
    pub app: Option<String>,
    /// Which partitions.
    pub partitions: Partitions,
    /// Encapsulates only.
    pub encrypt_only: bool,
}

/// Partitions that an identity is let at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partitions {
    /// Every one.
    All,
    /// Those whose names match one of these globs.
    Matching(Arc<[String]>),
}

impl Identity {
    /// Whether this partition is within what the identity was let in for; its role there is another question.
    pub fn reaches(&self, partition: &PartitionName) -> bool {
        let name = partition.as_str();
        let of_app = self.app.as_deref().is_none_or(|app| in_app(name, app));
        of_app
            && match &self.partitions {
                Partitions::All => true,
                Partitions::Matching(globs) => globs.iter().any(|glob| wild(glob, name)),
            }
    }

    fn of_key(key: &ApiKey) -> Self {
        let partitions = match &key.partition {
            // A name holds no `*`, so it matches itself alone.
            Some(name) => Partitions::Matching([name.clone()].into()),
            None => Partitions::All,
        };
        Self {
            caller: key.caller(),
            purpose: key.purpose.served_as(),
            app: key.app.clone(),
            partitions,
            encrypt_only: key.purpose == Purpose::EncryptOnly,
        }
    }

    fn granted(name: String, grant: &Grant) -> Self {
        let partitions = if grant.partitions.is_empty() {
            Partitions::All
        } else {
            Partitions::Matching(grant.partitions.as_slice().into())
        };
        Self {
            caller: Caller { name, role: grant.role.clone() },
            purpose: grant.purpose.served_as(),
            app: grant.app.clone(),
            partitions,
            encrypt_only: grant.encrypt_only || grant.purpose == Purpose::EncryptOnly,
        }
    }
}

/// Whether a partition is one of an application: `AppId.SecPartId`.
pub fn in_app(partition: &str, app: &str) -> bool {
    partition.split_once('.').is_some_and(|(of, rest)| of == app && !rest.is_empty())
}

/// What an authority is configured to believe.
pub struct Identities {
    certificates: Vec<CertificateRule>,
    tokens: Tokens,
}

impl Identities {
    /// Reads the issuers' key sets.
    pub fn new(settings: &Settings) -> Result<Self, KeyringError> {
        settings.check().map_err(KeyringError::NoKey)?;
        Ok(Self { certificates: settings.certificates.clone(), tokens: Tokens::new(&settings.issuers)? })
    }
}

/// Who sends these headers over this connection, and may come in for that purpose. Whoever sends a key or token is judged by it,
/// whatever certificate came with the connection. Counts towards the identity's rate limit.
pub async fn identify(
    authority: &Authority,
    headers: &HeaderMap,
    peer: Option<&Peer>,
    purpose: Purpose,
) -> Result<Identity, Refused> {
    let Some(presented) = bearer(headers)? else {
        let identity = by_certificate(&authority.identities.certificates, peer, purpose, authority.clock.now())?;
        authority.credentials.limit(&identity.caller.name)?;
        return Ok(identity);
    };
    if tokens::looks_like_one(presented) {
        let identity = authority.identities.tokens.identify(presented, purpose, authority.clock.now()).await?;
        authority.credentials.limit(&identity.caller.name)?;
        return Ok(identity);
    }
    let key = match (authority.credentials.api_key(purpose, presented).await, purpose) {
        (Err(Refused::Unauthenticated), Purpose::Sidecar) => {
            authority.credentials.api_key(Purpose::EncryptOnly, presented).await?
        }
        (found, _) => found?,
    };
    Ok(Identity::of_key(&key))
}

/// The text after `Bearer`; `None` without the header. Two headers, or another scheme, are no credential.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refused::Unauthenticated);
    }
    let (scheme, text) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refused::Unauthenticated)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(text.trim())) } else { Err(Refused::Unauthenticated) }
}

/// The certificate was verified when the connection began; it may have ended since.
fn by_certificate(
    rules: &[CertificateRule],
    peer: Option<&Peer>,
    purpose: Purpose,
    now: u64,
) -> Result<Identity, Refused> {
    let identity = peer.and_then(|peer| peer.identity.as_ref()).filter(|identity| now <= identity.expires);
    let names = identity.map_or(&[][..], |identity| identity.names.as_slice());
    for rule in rules.iter().filter(|rule| rule.grant.purpose.served_as() == purpose) {
        if let Some(name) = names.iter().find(|name| wild(&rule.name, name)) {
            return Ok(Identity::granted(shown("certificate", name), &rule.grant));
        }
    }
    Err(Refused::Unauthenticated)
}

/// A name that others chose, fit for the audit log.
fn shown(kind: &str, name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    format!("{kind} {name}")
}
