//! Access-control entries: the roles of a partition's signed record, each under a number that stays.

use serde::Serialize;
use serde_json::Value;

use super::assumed;
use super::entity::Entity;
use crate::authority::credentials::check_role;
use crate::authority::{Authority, Refused};
use crate::keyring::{Partition, Permissions};

/// Of the numbers.
const SEQUENCE: &str = "crypteron-ace";
/// All bits that mean something.
const KNOWN: u32 = 0x000F_07FF;

/// One entry.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessEntry {
    ace_id: u64,
    role_id: String,
    permissions: u32,
    key_entity_id: u64,
}

/// The entity with a number for every role of the record, which any face may have changed. May block.
pub fn numbered(authority: &Authority, entity: Entity, partition: &Partition) -> Result<Entity, Refused> {
    let missing = |entity: &Entity| -> Vec<String> {
        let known = |role: &str| entity.aces.iter().any(|(_, listed)| listed == role);
        partition.roles.iter().map(|(role, _)| role.clone()).filter(|role| !known(role)).collect()
    };
    if missing(&entity).is_empty() {
        return Ok(entity);
    }
    let mut numbers = Vec::new();
    for role in missing(&entity) {
        numbers.push((authority.directory.next_number(SEQUENCE)?, role));
    }
    let changed =
        authority.directory.edit::<Entity, Refused>(super::entity::KIND, partition.name.as_str(), |stored| {
            for (number, role) in &numbers {
                if !stored.aces.iter().any(|(_, listed)| listed == role) {
                    stored.aces.push((*number, role.clone()));
                }
            }
            Ok(())
        })?;
    changed.ok_or(Refused::NotFound)
}

/// As the API shows them.
pub fn shown(entity: &Entity, partition: &Partition) -> Vec<AccessEntry> {
    let entry = |(role, permissions): &(String, Permissions)| AccessEntry {
        ace_id: entity.aces.iter().find(|(_, listed)| listed == role).map_or(0, |(number, _)| *number),
        role_id: role.clone(),
        permissions: permissions.0,
        key_entity_id: entity.key_id,
    };
    partition.roles.iter().map(entry).collect()
}

/// Reads entries as they are shown; what is numbered by us may be missing or wrong.
pub fn read(value: &Value) -> Result<Vec<(String, Permissions)>, String> {
    let Value::Array(entries) = value else { return Err("The AccessControlEntries field is not a list.".into()) };
    if entries.len() > assumed::ENTRIES {
        return Err(format!("The AccessControlEntries field has more than {} entries.", assumed::ENTRIES));
    }
    let mut roles: Vec<(String, Permissions)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let member = |name: &str| {
            let found = entry.as_object()?.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value)
        };
        let role = read_role(member("RoleId").unwrap_or(&Value::Null))?;
        let permissions = read_permissions(member("Permissions").unwrap_or(&Value::Null))?;
        if roles.iter().any(|(listed, _)| *listed == role) {
            return Err("The AccessControlEntries field has a RoleId more than once.".into());
        }
        roles.push((role, permissions));
    }
    Ok(roles)
}

/// Reads a role's name.
pub fn read_role(value: &Value) -> Result<String, String> {
    let role = value.as_str().ok_or("The RoleId field is missing or no text.")?;
    check_role(role).map_err(|error| error.to_string())?;
    Ok(role.to_owned())
}

/// Reads permission bits; one that means nothing could mean something one day.
pub fn read_permissions(value: &Value) -> Result<Permissions, String> {
    let bits = value.as_u64().and_then(|bits| u32::try_from(bits).ok()).filter(|bits| bits & !KNOWN == 0);
    bits.map(Permissions).ok_or_else(|| "The Permissions field is missing or has bits that mean nothing.".into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_read_as_they_are_shown() {
        let shown = json!([{ "AceId": 472, "RoleId": "default", "Permissions": 983_052, "KeyEntityId": 416 }]);
        assert_eq!(read(&shown), Ok(vec![("default".into(), Permissions::DEFAULT)]));
        assert_eq!(read(&json!([{ "roleid": "a", "PERMISSIONS": 4 }])), Ok(vec![("a".into(), Permissions(4))]));
        assert_eq!(read(&json!([])), Ok(vec![]));
        for wrong in [
            json!({}),
            json!([{}]),
            json!([7]),
            json!([{ "RoleId": "a" }]),
            json!([{ "RoleId": "a b", "Permissions": 4 }]),
            json!([{ "RoleId": "a", "Permissions": 0x800 }]),
            json!([{ "RoleId": "a", "Permissions": -1 }]),
            json!([{ "RoleId": "a", "Permissions": 4 }, { "RoleId": "a", "Permissions": 8 }]),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
