//! Destroying partitions and epochs, after a wait in which it can be called off.

use std::time::Duration;

use axum::Json;
use http::StatusCode;

use super::super::Refused;
use super::super::lifecycle::{Lifecycle, Wait};

use super::partitions::epoch;
use super::problem::Problem;
use super::request::{Body, Call, Named};
use super::shapes::{Destruction, NewDestruction};
use crate::name::PartitionName;
use crate::token::EpochId;

const DAY: u64 = 86_400;
const DEFAULT_DAYS: u64 = 7;
const MOST_DAYS: u64 = 365;

pub async fn show_partition(call: Call, Named(name): Named<String>) -> Result<Json<Destruction>, Problem> {
    let name = call.reach(&name)?;
    let found = call.read(move |call| pending(call, &format!("partition:{name}"))).await?;
    Ok(Json(found))
}

pub async fn destroy_partition(
    call: Call,
    Named(name): Named<String>,
    Body(new): Body<NewDestruction>,
) -> Result<(StatusCode, Json<Destruction>), Problem> {
    let name = call.reach(&name)?;
    let wait = confirmed(&new, name.as_str())?;
    let id = format!("partition:{name}");
    let begun = call
        .run(move |call| {
            if name == PartitionName::default_name() {
                return Err(Refused::Invalid(
                    "every partition is made after `default`; it cannot be destroyed here".into(),
                ));
            }
            free(call, &id)?;
            Lifecycle::of(&call.authority)?.destroy_partition(&call.identity.caller.name, &name, wait)?;
            pending(call, &id)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

pub async fn keep_partition(call: Call, Named(name): Named<String>) -> Result<StatusCode, Problem> {
    let name = call.reach(&name)?;
    call.run(move |call| {
        let app = name.as_str().split_once('.').map_or(name.as_str(), |(app, _)| app);
        if call.authority.app(app)?.is_some_and(|app| app.paused) {
            return Err(Refused::Conflict("its application is paused; resume that first".into()));
        }
        let id = format!("partition:{name}");
        pending(call, &id)?;
        Ok(Lifecycle::of(&call.authority)?.cancel(&call.identity.caller.name, &id)?)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn destroy_epoch(
    call: Call,
    Named((name, id)): Named<(String, String)>,
    Body(new): Body<NewDestruction>,
) -> Result<(StatusCode, Json<Destruction>), Problem> {
    let (name, epoch) = (call.reach(&name)?, epoch(&id).ok_or(Refused::NotFound)?);
    let wait = confirmed(&new, &epoch.to_string())?;
    let begun = call
        .run(move |call| {
            let id = of_partition(call, &name, epoch)?;
            free(call, &id)?;
            Lifecycle::of(&call.authority)?.destroy_epoch(&call.identity.caller.name, epoch, wait)?;
            pending(call, &id)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

pub async fn keep_epoch(call: Call, Named((name, id)): Named<(String, String)>) -> Result<StatusCode, Problem> {
    let (name, epoch) = (call.reach(&name)?, epoch(&id).ok_or(Refused::NotFound)?);
    call.run(move |call| {
        let id = of_partition(call, &name, epoch)?;
        pending(call, &id)?;
        Ok(Lifecycle::of(&call.authority)?.cancel(&call.identity.caller.name, &id)?)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who destroys says its name once more.
fn confirmed(new: &NewDestruction, name: &str) -> Result<Wait, Refused> {
    let days = new.wait_days.unwrap_or(DEFAULT_DAYS);
    if new.confirm != name {
        return Err(Refused::Invalid("`confirm` is the name of what is to be destroyed, once more".into()));
    }
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(Refused::Invalid(format!("`wait_days` is 1 to {MOST_DAYS}")));
    }
    Ok(Wait::For(Duration::from_secs(days * DAY)))
}

fn pending(call: &Call, id: &str) -> Result<Destruction, Refused> {
    let all = Lifecycle::of(&call.authority)?.destructions()?;
    all.into_iter().find(|pending| pending.what == id).map(Destruction::from).ok_or(Refused::NotFound)
}

fn free(call: &Call, id: &str) -> Result<(), Refused> {
    match pending(call, id) {
        Ok(_) => Err(Refused::Conflict("its destruction is pending already".into())),
        Err(Refused::NotFound) => Ok(()),
        Err(refused) => Err(refused),
    }
}

fn of_partition(call: &Call, name: &PartitionName, epoch: EpochId) -> Result<String, Refused> {
    let (home, _) = call.authority.keyring.epoch_info(epoch)?;
    if home == *name { Ok(format!("epoch:{epoch}")) } else { Err(Refused::NotFound) }
}
