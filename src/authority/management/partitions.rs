//! Partitions, their epochs and roles.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderName, StatusCode};

use super::super::credentials::check_role;
use super::super::{Refused, changed};
use super::bits;
use super::problem::Problem;
use super::request::{Body, Call, Expected, Named, Page};
use super::shapes::{Bits, Epoch, List, NewPartition, NewRole, NewState, Partition, Role, RollableKind, Rollover};
use crate::keyring::{Change, Kind, PartitionInfo, Permissions, State};
use crate::name::PartitionName;
use crate::token::EpochId;

pub async fn list(call: Call, page: Page) -> Result<Json<List<Partition>>, Problem> {
    let (infos, next) = call
        .read(move |call| {
            let prefix = call.identity.app.as_ref().map(|app| format!("{app}.")).unwrap_or_default();
            let wanted = |name: &PartitionName| call.identity.reaches(name);
            Ok(call.authority.keyring.partition_page(&prefix, &page.after, page.limit, wanted)?)
        })
        .await?;
    Ok(Json(List { items: infos.iter().map(Partition::from).collect(), next }))
}

pub async fn show(call: Call, Named(name): Named<String>) -> Result<Response, Problem> {
    let info = call
        .read(move |call| {
            let name = call.reach(&name)?;
            Ok(call.authority.keyring.partition_info(&name)?)
        })
        .await?;
    Ok(shown(&info))
}

pub async fn create(call: Call, Body(new): Body<NewPartition>) -> Result<Response, Problem> {
    let name = PartitionName::new(&new.name).map_err(|error| Refused::Invalid(error.to_string()))?;
    if !call.identity.reaches(&name) {
        return Err(Refused::Forbidden.into());
    }
    let place = format!("/manage/v1/partitions/{}", name.as_str().replace('%', "%25"));
    let on = name.to_string();
    let info = call
        .act("partition.create", on, move |call| {
            call.authority.create_partition(&name)?;
            Ok(call.authority.keyring.partition_info(&name)?)
        })
        .await?;
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(Partition::from(&info))).into_response())
}

pub async fn set_state(
    call: Call,
    Named(name): Named<String>,
    Expected(version): Expected,
    Body(new): Body<NewState>,
) -> Result<Response, Problem> {
    let name = call.reach(&name)?;
    let state = new.state.state();
    let what = match state {
        State::Active => "partition.resume",
        State::DecryptOnly => "partition.decrypt-only",
        _ => "partition.pause",
    };
    let info = call
        .act(what, name.to_string(), move |call| {
            call.authority.set_partition_state(&name, state, version)?;
            Ok(call.authority.keyring.partition_info(&name)?)
        })
        .await?;
    Ok(shown(&info))
}

pub async fn rollover(
    call: Call,
    Named(name): Named<String>,
    Body(asked): Body<Rollover>,
) -> Result<Json<Partition>, Problem> {
    let name = call.reach(&name)?;
    let kinds: Vec<Kind> = [(RollableKind::Random, Kind::Random), (RollableKind::Deterministic, Kind::Deterministic)]
        .into_iter()
        .filter(|(word, _)| asked.kinds.contains(word))
        .map(|(_, kind)| kind)
        .collect();
    if kinds.is_empty() || asked.kinds.len() > kinds.len() {
        return Err(Refused::Invalid("`kinds` names `random`, `deterministic`, or each once".into()).into());
    }
    let info = call
        .act("partition.rollover", name.to_string(), move |call| {
            call.authority.keyring.rollover(&name, &kinds)?;
            Ok(call.authority.keyring.partition_info(&name)?)
        })
        .await?;
    Ok(Json(Partition::from(&info)))
}

pub async fn epochs(call: Call, Named(name): Named<String>, page: Page) -> Result<Json<List<Epoch>>, Problem> {
    let name = call.reach(&name)?;
    let after = if page.after.is_empty() {
        EpochId([0; 10])
    } else {
        epoch(&page.after).ok_or_else(|| Refused::Invalid("`after` is the id of an epoch here".into()))?
    };
    let limit = page.limit;
    let found = call.read(move |call| Ok(call.authority.keyring.epoch_page(&name, after, limit)?)).await?;
    let items = found.iter().map(|(info, current)| Epoch::new(info, *current)).collect();
    Ok(Json(List::new(items, limit, |epoch: &Epoch| epoch.id.clone())))
}

pub async fn set_role(
    call: Call,
    Named((name, role)): Named<(String, String)>,
    Expected(version): Expected,
    Body(new): Body<NewRole>,
) -> Result<Response, Problem> {
    let name = call.reach(&name)?;
    check_role(&role)?;
    let permissions = permissions(&new.permissions)?;
    let answer = Role::new(&role, permissions);
    let version = call
        .act("role.set", format!("{name} {role} {:#x}", permissions.0), move |call| {
            let change = Change::Role(&role, Some(permissions));
            changed(call.authority.keyring.change_partition(&name, version, change)?)
        })
        .await?;
    Ok(([tag(version)], Json(answer)).into_response())
}

pub async fn remove_role(
    call: Call,
    Named((name, role)): Named<(String, String)>,
    Expected(version): Expected,
) -> Result<Response, Problem> {
    let name = call.reach(&name)?;
    check_role(&role)?;
    let version = call
        .act("role.remove", format!("{name} {role}"), move |call| {
            let keyring = &call.authority.keyring;
            if !keyring.partition_info(&name)?.roles.iter().any(|(listed, _)| *listed == role) {
                return Err(Refused::NotFound);
            }
            changed(keyring.change_partition(&name, version, Change::Role(&role, None))?)
        })
        .await?;
    Ok((StatusCode::NO_CONTENT, [tag(version)]).into_response())
}

fn permissions(bits: &Bits) -> Result<Permissions, Refused> {
    match bits {
        Bits::Number(number) if bits::all_known(*number) => Ok(Permissions(*number)),
        Bits::Number(_) => Err(Refused::Invalid("`permissions` has bits that mean nothing".into())),
        Bits::Names(names) => names.iter().try_fold(Permissions(0), |all, name| {
            let bit = bits::bit(name);
            bit.map(|bit| Permissions(all.0 | bit)).ok_or_else(|| {
                let known = bits::NAMES.map(|(_, name)| name).join(", ");
                Refused::Invalid(format!("`permissions` has a name that is none of {known}"))
            })
        }),
    }
}

fn shown(info: &PartitionInfo) -> Response {
    ([tag(info.version)], Json(Partition::from(info))).into_response()
}

fn tag(version: u64) -> (HeaderName, String) {
    (ETAG, format!("\"{version}\""))
}

/// The id that is written as 20 hexadecimal digits.
pub fn epoch(text: &str) -> Option<EpochId> {
    let mut id = [0; 10];
    if text.len() != 20 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(EpochId(id))
}
