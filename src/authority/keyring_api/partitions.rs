//! Public keys and partition records.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;

use super::Api;
use super::access::see;
use super::problem::Problem;
use super::request::{answer, json, parameter};
use crate::audit::Act;
use crate::authority::{Refused, blocking};
use crate::crypto::kdf::sha256;
use crate::keyring::{KeyringError, Kind, Permissions};
use crate::name::PartitionName;
use crate::remote_keyring::wire::{self, Bytes, Id, MAX_SMALL, PAGE};

/// More bytes than that many names and ids have.
const MAX_KNOWN: usize = 128 * 1024;

/// Public halves; a private key lies in the store only wrapped, and does not leave it that way either.
pub async fn keys(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let authority = Arc::clone(&api.authority);
    let keys = blocking(move || Ok::<_, Refused>(authority.keyring.served_keys()?)).await?;
    let keys = keys.into_iter().map(|(usage, public)| wire::Key { usage, public: Bytes(public) }).collect();
    Ok(answer(&wire::Keys { version: wire::VERSION, keys }))
}

/// The record as the owner signed it.
pub async fn record(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let Path(name) = name.map_err(|_| Problem::not_there())?;
    let seen = api.partition(&sidecar, &name).await?;
    Ok(answer(&wire::Partition { record: Bytes(seen.encoded) }))
}

/// Whether what a sidecar has in memory still is so, in one call for many.
pub async fn look(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let known: wire::Known = json(request, MAX_KNOWN).await?;
    if known.partitions.len() > PAGE || known.epochs.len() > PAGE {
        return Err(Problem::invalid("too much is asked about at once"));
    }
    let authority = Arc::clone(&api.authority);
    let stand = blocking(move || {
        let mut partitions = Vec::with_capacity(known.partitions.len());
        for name in &known.partitions {
            let seen = match PartitionName::new(name) {
                Ok(name) => see(&authority, &sidecar, &name)?,
                Err(_) => None,
            };
            partitions.push(seen.map(|seen| Bytes(sha256(&seen.encoded).to_vec())));
        }
        let ids: Vec<_> = known.epochs.iter().map(|id| id.0).collect();
        let mut epochs = authority.keyring.served_standing(&ids)?;
        let mut reached: HashMap<String, bool> = HashMap::new();
        for epoch in &epochs {
            if !reached.contains_key(&epoch.partition) {
                let seen = match PartitionName::new(&epoch.partition) {
                    Ok(name) => see(&authority, &sidecar, &name)?.is_some(),
                    Err(_) => false,
                };
                reached.insert(epoch.partition.clone(), seen);
            }
        }
        epochs.retain(|epoch| {
            let is_shown = !sidecar.encrypt_only || epoch.kind == Kind::Private as u8;
            is_shown && reached.get(&epoch.partition) == Some(&true)
        });
        let epochs = epochs
            .into_iter()
            .map(|e| wire::Standing { id: Id(e.id), partition: e.partition, kind: e.kind, current: e.current })
            .collect();
        Ok::<_, Refused>(wire::Stand { partitions, epochs })
    })
    .await?;
    Ok(answer(&stand))
}

/// Makes a partition like `default`, for a caller that may seal there, and so in the new one.
pub async fn provision(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let Path(name) = name.map_err(|_| Problem::not_there())?;
    let wire::Provision { max } = json(request, MAX_SMALL).await?;
    match api.partition(&sidecar, &name).await {
        Ok(seen) => return Ok(answer(&wire::Partition { record: Bytes(seen.encoded) })),
        Err(problem) if !problem.is_not_there() => return Err(problem),
        Err(_) => {}
    }
    let name = PartitionName::new(&name)
        .map_err(|_| Problem::invalid("a partition's name has 1 to 255 characters of A-Z a-z 0-9 . _ % -"))?;
    if !sidecar.reaches(&name) {
        return Err(Problem::not_there());
    }
    let (authority, who, wanted) = (Arc::clone(&api.authority), sidecar.caller.clone(), name.clone());
    blocking(move || {
        let keyring = &authority.keyring;
        // There, and not this caller's: it is not told.
        match keyring.served_partition(&wanted) {
            Err(KeyringError::Unknown(_)) => {}
            other => {
                other?;
                return Err(Refused::NotFound);
            }
        }
        let (model, _) = keyring.served_partition(&PartitionName::default_name())?;
        if !model.permissions(&who.role).has(Permissions::ENCRYPT) {
            return Err(Refused::NotFound);
        }
        let act = Act { who: &who.name, what: "partition.provision", on: wanted.as_str() };
        let started = authority.audit.begin(&act)?;
        let made = keyring.provision(&wanted, usize::try_from(max.min(u64::from(u32::MAX))).unwrap_or(usize::MAX));
        authority.audit.end(started, made.as_ref().map(drop).map_err(|_| "refused"))?;
        match made {
            Ok(_) => Ok(()),
            // Too many, or too fast.
            Err(KeyringError::Unknown(text)) => Err(Refused::Conflict(text)),
            Err(error) => Err(error.into()),
        }
    })
    .await?;
    let seen = api.partition(&sidecar, name.as_str()).await?;
    Ok(answer(&wire::Partition { record: Bytes(seen.encoded) }))
}
