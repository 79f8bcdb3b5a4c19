//! Applications behind this face: there is no call that makes one, so whatever names one does. Their switch is the authority's own;
//! roles that all their partitions have are kept here.

use serde::{Deserialize, Serialize};

use super::names::AppId;
use crate::authority::apps::App;
use crate::authority::{Authority, Refused};
use crate::directory::Ends;
use crate::keyring::store::Put;
use crate::keyring::{KeyringError, Permissions, State};
use crate::name::PartitionName;

const ROLES: &str = "crypteron-roles";
/// Lost races before we give up.
const ATTEMPTS: usize = 8;

/// Of an application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles(pub Vec<(String, u32)>);

/// The application, made if it is new. One that has the name of a partition is not: its switch would be that partition's, which may be
/// another API's, or `default`. May block.
pub fn known(authority: &Authority, id: &AppId) -> Result<App, Refused> {
    if let Some(app) = authority.app(id.as_str())? {
        return Ok(app);
    }
    let head = PartitionName::new(id.as_str()).map_err(|_| Refused::NotFound)?;
    match authority.keyring.partition(&head) {
        Err(KeyringError::Unknown(_)) => {}
        Ok(_) => return Err(Refused::Conflict("There is a partition of this name; use another AppId.".into())),
        Err(error) => return Err(error.into()),
    }
    match authority.create_app(id.as_str(), id.as_str()) {
        Ok(app) => Ok(app),
        Err(Refused::Conflict(_)) => authority.app(id.as_str())?.ok_or(Refused::NotFound),
        Err(refused) => Err(refused),
    }
}

/// How many partitions it has, whoever made them. May block.
pub fn count(authority: &Authority, id: &AppId) -> Result<usize, Refused> {
    Ok(authority.keyring.names_with_prefix(&id.prefix())?.len())
}

/// Roles that all its partitions have, beside their own. May block.
pub fn roles(authority: &Authority, id: &AppId) -> Result<Roles, Refused> {
    Ok(authority.directory.get::<Roles>(ROLES, id.as_str())?.map(|entry| entry.value).unwrap_or_default())
}

/// Gives a role to the application and all its partitions, or takes it away. May block.
pub fn change_role(
    authority: &Authority,
    id: &AppId,
    role: &str,
    permissions: Option<Permissions>,
) -> Result<(), Refused> {
    remember(authority, id, role, permissions)?;
    for partition in authority.keyring.names_with_prefix(&id.prefix())? {
        if authority.keyring.partition(&partition)?.state != State::Destroyed {
            authority.keyring.set_role(&partition, role, permissions)?;
        }
    }
    Ok(())
}

/// Gives a new partition the roles of its application. May block.
pub fn settle(authority: &Authority, id: &AppId, partition: &PartitionName) -> Result<(), Refused> {
    for (role, bits) in roles(authority, id)?.0 {
        authority.keyring.set_role(partition, &role, Some(Permissions(bits)))?;
    }
    Ok(())
}

fn remember(authority: &Authority, id: &AppId, role: &str, permissions: Option<Permissions>) -> Result<(), Refused> {
    for _ in 0..ATTEMPTS {
        let entry = authority.directory.get::<Roles>(ROLES, id.as_str())?;
        let (version, mut roles) = entry.map_or_else(|| (0, Roles::default()), |entry| (entry.version, entry.value));
        roles.0.retain(|(listed, _)| listed != role);
        roles.0.extend(permissions.map(|permissions| (role.to_owned(), permissions.0)));
        if roles.0.len() > super::assumed::ENTRIES {
            return Err(Refused::Conflict("The application has too many roles.".into()));
        }
        if authority.directory.put(ROLES, id.as_str(), version, &roles, Ends::never())? == Put::Done {
            return Ok(());
        }
    }
    Err(Refused::Conflict("Others change this application at the same time; try again.".into()))
}
