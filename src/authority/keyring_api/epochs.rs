//! Epochs: what there is, what sidecars make, and shared secrets of wraps.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;

use super::Api;
use super::access::Seen;
use super::problem::Problem;
use super::request::{answer, json, parameter};
use crate::audit::{Act, Use};
use crate::authority::identity::Identity;
use crate::authority::{Refused, blocking};
use crate::keyring::store::Inserted;
use crate::keyring::{Kind, NotTaken, ServedEpoch};
use crate::name::PartitionName;
use crate::remote_keyring::wire::{self, Bytes, Id, MAX_RECORD, MAX_SMALL, PAGE};
use crate::token::EpochId;

type Name = Result<Path<String>, PathRejection>;

/// An epoch of a partition that the caller may see, or its tombstone.
pub async fn one(State(api): State<Api>, id: Name, request: Request) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let id = epoch_id(id)?;
    let authority = Arc::clone(&api.authority);
    let found = blocking(move || Ok::<_, Refused>(authority.keyring.served_epoch(id)?)).await?;
    let found = found.ok_or_else(Problem::not_there)?;
    let partition = match &found {
        Ok(epoch) => &epoch.partition,
        Err((partition, _)) => partition,
    };
    api.partition(&sidecar, partition.as_str()).await?;
    Ok(answer(&match found {
        Ok(epoch) if sidecar.encrypt_only && epoch.kind != Kind::Private => return Err(Problem::not_there()),
        Ok(epoch) => wire::Found { epoch: Some(on_wire(epoch)), tombstone: None },
        Err((_, tombstone)) => wire::Found { epoch: None, tombstone: Some(Bytes(tombstone)) },
    }))
}

/// The current epoch of a partition: `?kind=0` (random) or `?kind=1` (deterministic).
pub async fn current(State(api): State<Api>, name: Name, request: Request) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    let kind = match parameter(&request, "kind")? {
        Some("0") => Kind::Random,
        Some("1") => Kind::Deterministic,
        _ => return Err(Problem::invalid("`kind` is 0 or 1")),
    };
    let seen = visible(&api, &sidecar, name).await?;
    not_encrypt_only(&api, &sidecar, &seen)?;
    let authority = Arc::clone(&api.authority);
    let epoch = blocking(move || Ok::<_, Refused>(authority.keyring.served_current(&seen.name, kind)?)).await?;
    Ok(answer(&wire::Found { epoch: epoch.map(on_wire), tombstone: None }))
}

/// The deterministic epoch of a partition before the current one, under which look-ups find what was sealed before a rollover.
pub async fn previous(State(api): State<Api>, name: Name, request: Request) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let seen = visible(&api, &sidecar, name).await?;
    not_encrypt_only(&api, &sidecar, &seen)?;
    let authority = Arc::clone(&api.authority);
    let epoch = blocking(move || Ok::<_, Refused>(authority.keyring.served_previous(&seen.name)?)).await?;
    Ok(answer(&wire::Found { epoch: epoch.map(on_wire), tombstone: None }))
}

/// Tombstones after a number, of the caller's partitions.
pub async fn tombstones(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    let after = match parameter(&request, "after")? {
        None => 0,
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map_err(|_| Problem::invalid("`after` is a number"))?
        }
        Some(_) => return Err(Problem::invalid("`after` is a number")),
    };
    // The store counts with a sign.
    let after = u64::min(after, i64::MAX.unsigned_abs());
    let authority = Arc::clone(&api.authority);
    let (found, next) = blocking(move || Ok::<_, Refused>(authority.keyring.served_tombstones(after, PAGE)?)).await?;
    let mut seen: Vec<(PartitionName, bool)> = Vec::new();
    let mut tombstones = Vec::new();
    for (number, epoch, partition, record) in found {
        let known = seen.iter().find(|(name, _)| *name == partition).map(|(_, may)| *may);
        let may = match known {
            Some(may) => may,
            None => {
                let may = match api.partition(&sidecar, partition.as_str()).await {
                    Ok(_) => true,
                    Err(problem) if problem.is_not_there() => false,
                    Err(problem) => return Err(problem),
                };
                seen.push((partition, may));
                may
            }
        };
        if may {
            tombstones.push(wire::Tombstone { number, epoch: Id(epoch), record: Bytes(record) });
        }
    }
    Ok(answer(&wire::Tombstones { tombstones, next }))
}

/// Takes an epoch that a sidecar made and signed with an issuer's key of its own, or puts back one that the store lost.
pub async fn insert(State(api): State<Api>, name: Name, request: Request) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let seen = visible(&api, &sidecar, name).await?;
    must_seal(&api, &sidecar, &seen)?;
    let new: wire::NewEpoch = json(request, MAX_RECORD).await?;
    let replaces = new.replaces.map(|replaces| replaces.epoch.map(|id| id.0));
    if sidecar.encrypt_only && replaces.is_some() {
        api.refused(&sidecar, &seen.name);
        return Err(Problem::forbidden("who only encrypts makes epochs of its own, not the current one of all"));
    }
    let under = new.under.map(|under| digest(&under)).transpose()?;
    let authority = Arc::clone(&api.authority);
    let inserted = acted(&api, &sidecar, "epoch.insert", &seen.name, move |name| {
        authority.keyring.take_epoch(name, &new.record.0, replaces, under)
    })
    .await?;
    Ok(answer(&wire::Outcome { outcome: word(inserted), record: None }))
}

/// Signs an epoch that a sidecar made and makes it the current one. Its data key came here only wrapped.
pub async fn issue(State(api): State<Api>, name: Name, request: Request) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let seen = visible(&api, &sidecar, name).await?;
    must_seal(&api, &sidecar, &seen)?;
    not_encrypt_only(&api, &sidecar, &seen)?;
    let new: wire::NewEpoch = json(request, MAX_RECORD).await?;
    let (Some(replaces), Some(under)) = (new.replaces, new.under) else {
        return Err(Problem::invalid(
            "an epoch to be issued says what it replaces, and under which record it was made",
        ));
    };
    let (replaces, under) = (replaces.epoch.map(|id| id.0), digest(&under)?);
    let authority = Arc::clone(&api.authority);
    let (inserted, record) = acted(&api, &sidecar, "epoch.issue", &seen.name, move |name| {
        authority.keyring.issue_epoch(name, &new.record.0, replaces, under)
    })
    .await?;
    let record = (inserted == Inserted::Done).then_some(Bytes(record));
    Ok(answer(&wire::Outcome { outcome: word(inserted), record }))
}

/// The shared secret of a wrap that the named epoch has in the store: whoever gets it can open that epoch, and nothing else.
pub async fn decapsulate(State(api): State<Api>, id: Name, request: Request) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let id = epoch_id(id)?;
    let wrap: wire::Wrap = json(request, MAX_SMALL).await?;
    let recipient: [u8; 16] =
        wrap.recipient.0.as_slice().try_into().map_err(|_| Problem::invalid("a recipient is named by 16 bytes"))?;
    let authority = Arc::clone(&api.authority);
    let found = blocking(move || Ok::<_, Refused>(authority.keyring.served_epoch(id)?)).await?;
    let Some(Ok(epoch)) = found else { return Err(Problem::not_there()) };
    let seen = api.partition(&sidecar, epoch.partition.as_str()).await?;
    not_encrypt_only(&api, &sidecar, &seen)?;
    if !seen.may_open() && !seen.may_seal() {
        api.refused(&sidecar, &seen.name);
        return Err(Problem::forbidden("the caller's role neither opens nor seals in this partition"));
    }
    let (authority, name, to_seal) = (Arc::clone(&api.authority), seen.name.clone(), !seen.may_open());
    let shared = blocking(move || {
        let wrap = (wrap.kem_suite, recipient, wrap.kem_ct.0.as_slice());
        Ok::<_, Refused>(authority.keyring.decapsulate_for(&name, id, wrap, to_seal)?)
    })
    .await;
    api.count(&sidecar, &seen.name, if shared.is_ok() { Use::Opened } else { Use::Refused });
    Ok(answer(&serde_json::json!({ "shared_secret": Bytes(shared?.expose().to_vec()) })))
}

/// Does it between two lines of the audit log.
async fn acted<T: Send + 'static>(
    api: &Api,
    sidecar: &Identity,
    what: &'static str,
    name: &PartitionName,
    act: impl FnOnce(&PartitionName) -> Result<T, NotTaken> + Send + 'static,
) -> Result<T, Problem> {
    let (authority, who, on) = (Arc::clone(&api.authority), sidecar.caller.name.clone(), name.clone());
    let done = blocking(move || {
        let line = Act { who: &who, what, on: on.as_str() };
        let started = authority.audit.begin(&line).map_err(Refused::from)?;
        let done = act(&on);
        authority.audit.end(started, done.as_ref().map(drop).map_err(|_| "refused")).map_err(Refused::from)?;
        done.map_err(Failed::NotTaken)
    })
    .await;
    done.map_err(|failed| {
        api.refused(sidecar, name);
        match failed {
            Failed::NotTaken(error) => error.into(),
            Failed::Refused(refused) => refused.into(),
        }
    })
}

enum Failed {
    NotTaken(NotTaken),
    Refused(Refused),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

async fn visible(api: &Api, sidecar: &Identity, name: Name) -> Result<Seen, Problem> {
    let Path(name) = name.map_err(|_| Problem::not_there())?;
    api.partition(sidecar, &name).await
}

fn must_seal(api: &Api, sidecar: &Identity, seen: &Seen) -> Result<(), Problem> {
    if seen.may_seal() {
        return Ok(());
    }
    api.refused(sidecar, &seen.name);
    Err(Problem::forbidden("the caller's role does not seal in this partition"))
}

fn not_encrypt_only(api: &Api, sidecar: &Identity, seen: &Seen) -> Result<(), Problem> {
    if !sidecar.encrypt_only {
        return Ok(());
    }
    api.refused(sidecar, &seen.name);
    Err(Problem::forbidden("who only encrypts gets encapsulation keys and partition records alone"))
}

fn epoch_id(id: Name) -> Result<EpochId, Problem> {
    let Path(id) = id.map_err(|_| Problem::not_there())?;
    Id::parse(&id).map(|id| id.0).ok_or_else(Problem::not_there)
}

fn digest(bytes: &Bytes) -> Result<[u8; 32], Problem> {
    bytes.0.as_slice().try_into().map_err(|_| Problem::invalid("`under` is a SHA-256"))
}

fn on_wire(epoch: ServedEpoch) -> wire::Epoch {
    wire::Epoch { id: Id(epoch.id), record: Bytes(epoch.record), confirmed: epoch.confirmed, current: epoch.current }
}

fn word(inserted: Inserted) -> wire::Word {
    match inserted {
        Inserted::Done => wire::Word::Done,
        Inserted::Taken => wire::Word::Taken,
        Inserted::Raced => wire::Word::Raced,
    }
}
