//! The breach switch: an application's state, and what it does to every partition of that name. A partition that was paused by itself
//! stays so when its application is resumed.

use serde::{Deserialize, Serialize};

use super::names::AppId;
use crate::authority::{Authority, Refused};
use crate::directory::Ends;
use crate::keyring::store::Put;
use crate::keyring::{Permissions, State};
use crate::name::PartitionName;

const KIND: &str = "crypteron-app";
/// What a partition's state was before its application was paused.
const BEFORE: &str = "crypteron-paused";
const PAGE: usize = 256;
/// Lost races before we give up.
const ATTEMPTS: usize = 8;

/// An application, as far as it differs from what any is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Nothing is sealed or opened, and no partition is made.
    pub paused: bool,
    /// When it was changed last (Unix seconds); 0: never.
    pub modified: u64,
    /// Roles that its new partitions get beside those of `default`.
    pub roles: Vec<(String, u32)>,
}

/// An application as it is now; one that nobody changed is active. May block.
pub fn app(authority: &Authority, app: &AppId) -> Result<App, Refused> {
    Ok(authority.directory.get::<App>(KIND, app.as_str())?.map(|entry| entry.value).unwrap_or_default())
}

/// Changes an application. May block.
pub fn edit(authority: &Authority, app: &AppId, change: impl Fn(&mut App)) -> Result<App, Refused> {
    for _ in 0..ATTEMPTS {
        let entry = authority.directory.get::<App>(KIND, app.as_str())?;
        let (version, mut value) = entry.map_or_else(|| (0, App::default()), |entry| (entry.version, entry.value));
        change(&mut value);
        value.modified = authority.clock.now();
        if authority.directory.put(KIND, app.as_str(), version, &value, Ends::never())? == Put::Done {
            return Ok(value);
        }
    }
    Err(Refused::Conflict("Others change this application at the same time; try again.".into()))
}

/// Its partitions, whoever made them. May block.
pub fn partitions(authority: &Authority, app: &AppId) -> Result<Vec<PartitionName>, Refused> {
    Ok(authority.keyring.names_with_prefix(&app.prefix())?)
}

/// Pauses a partition, unless it is. May block.
pub fn pause(authority: &Authority, partition: &PartitionName) -> Result<(), Refused> {
    let state = authority.keyring.partition(partition)?.state;
    if !state.opens() {
        return Ok(());
    }
    // First, or the state from before would be forgotten; an entry from a broken attempt tells the same.
    let text = state.name().to_owned();
    let (Put::Done | Put::Conflict) = authority.directory.put(BEFORE, partition.as_str(), 0, &text, Ends::never())?;
    Ok(authority.keyring.set_state(partition, State::Paused)?)
}

/// Up to so many partitions that the switch paused. May block.
pub fn paused(authority: &Authority, app: &AppId) -> Result<Vec<PartitionName>, Refused> {
    let prefix = app.prefix();
    let page = authority.directory.list::<String>(BEFORE, &prefix, PAGE)?;
    let names = page.into_iter().filter(|entry| entry.id.starts_with(&prefix));
    Ok(names.filter_map(|entry| PartitionName::new(&entry.id).ok()).collect())
}

/// Gives a partition back the state from before it was paused with its application. May block.
pub fn resume(authority: &Authority, partition: &PartitionName) -> Result<(), Refused> {
    let before = authority.directory.get::<String>(BEFORE, partition.as_str())?;
    let now = authority.keyring.partition(partition)?.state;
    if let Some(before) = before.filter(|_| now == State::Paused) {
        let state = if before.value == State::DecryptOnly.name() { State::DecryptOnly } else { State::Active };
        authority.keyring.set_state(partition, state)?;
    }
    authority.directory.delete(BEFORE, partition.as_str())?;
    Ok(())
}

/// Makes a new partition what its application is: with its roles, and paused if it was paused meanwhile. May block.
pub fn settle(authority: &Authority, id: &AppId, partition: &PartitionName) -> Result<(), Refused> {
    for (role, bits) in app(authority, id)?.roles {
        authority.keyring.set_role(partition, &role, Some(Permissions(bits)))?;
    }
    if app(authority, id)?.paused { pause(authority, partition) } else { Ok(()) }
}
