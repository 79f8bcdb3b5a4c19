//! A key as the API shows it, in the directory under its partition's name. State and access-control entries are not in it: they are the
//! partition's signed record's, so that this face and every other tell the same.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

use super::acl::{self, AccessEntry};
use super::answer::Problem;
use super::assumed;
use super::names::AppId;
use crate::authority::{Authority, Refused};
use crate::directory::Ends;
use crate::keyring::State;
use crate::keyring::store::Put;
use crate::name::PartitionName;

/// Entries by partition.
pub const KIND: &str = "crypteron-key";
/// The partition of each KeyId.
const NUMBER: &str = "crypteron-key-number";
const PAGE: usize = 256;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Never used twice.
    pub key_id: u64,
    /// The application.
    pub app: String,
    /// Its partition's name there.
    pub sec_part: String,
    /// Counts rollovers that were asked for, from 1.
    pub version: u64,
    /// What people wrote.
    pub description: Option<String>,
    /// Who made it.
    pub added_by: String,
    /// When (Unix seconds).
    pub created: u64,
    /// When it was changed last.
    pub modified: u64,
    /// How often it rolls by itself; 0: never.
    pub rollover_days: u64,
    /// The AceId of each role that was ever shown.
    pub aces: Vec<(u64, String)>,
    /// It was deleted, and its partition is to be destroyed or is.
    pub deleted: bool,
}

/// In the order that is documented; what is ours comes last, and only where there is something to tell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shown {
    key_id: u64,
    app_id: Value,
    sec_part_id: String,
    sec_part_ver: u64,
    description: Option<String>,
    added_by: String,
    created_at: String,
    modified_at: String,
    oid: &'static str,
    access_control_entries: Vec<AccessEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollover_days: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

impl Shown {
    /// For the address of a new one.
    pub fn key_id(&self) -> u64 {
        self.key_id
    }
}

impl Entity {
    /// Its partition.
    pub fn partition(&self) -> Result<PartitionName, Refused> {
        let name = AppId::parse(&self.app).and_then(|app| app.partition(&self.sec_part));
        name.map_err(|_| Refused::Unavailable("an entry of the Crypteron face is damaged".into()))
    }

    /// The key of a partition, unless it was deleted. May block.
    pub fn of(authority: &Authority, partition: &PartitionName) -> Result<Option<Self>, Refused> {
        Ok(authority.directory.get::<Self>(KIND, partition.as_str())?.map(|entry| entry.value))
    }

    /// The key of that number, if it is there and not deleted. May block.
    pub fn numbered(authority: &Authority, number: u64) -> Result<Self, Refused> {
        let partition = authority.directory.get::<String>(NUMBER, &id(number))?.ok_or(Refused::NotFound)?;
        let entry = authority.directory.get::<Self>(KIND, &partition.value)?;
        let entity = entry.map(|entry| entry.value).filter(|entity| entity.key_id == number && !entity.deleted);
        entity.ok_or(Refused::NotFound)
    }

    /// Enters a new one under a new number; `None` if there is one of this partition already. May block.
    pub fn enter(mut self, authority: &Authority, partition: &PartitionName) -> Result<Option<Self>, Refused> {
        let directory = &authority.directory;
        self.key_id = directory.next_number(KIND)?;
        // First: a key that nobody finds by its number would be worse than a number that leads nowhere.
        let name = partition.as_str().to_owned();
        let (Put::Done | Put::Conflict) = directory.put(NUMBER, &id(self.key_id), 0, &name, Ends::never())?;
        match directory.put(KIND, partition.as_str(), 0, &self, Ends::never())? {
            Put::Done => Ok(Some(self)),
            Put::Conflict => {
                directory.delete(NUMBER, &id(self.key_id))?;
                Ok(None)
            }
        }
    }

    /// Changes one, and tells how it is now. May block.
    pub fn edit(
        authority: &Authority,
        partition: &PartitionName,
        mut change: impl FnMut(&mut Self) -> Result<(), Refused>,
    ) -> Result<Self, Refused> {
        let now = authority.clock.now();
        let edited = authority.directory.edit::<Self, Refused>(KIND, partition.as_str(), |entity| {
            if entity.deleted {
                return Err(Refused::NotFound);
            }
            entity.modified = now;
            change(entity)
        })?;
        edited.ok_or(Refused::NotFound)
    }

    /// Takes back that it was deleted. May block.
    pub fn revive(authority: &Authority, partition: &PartitionName) -> Result<(), Refused> {
        let edited = authority.directory.edit::<Self, Refused>(KIND, partition.as_str(), |entity| {
            entity.deleted = false;
            Ok(())
        })?;
        edited.map(drop).ok_or(Refused::NotFound)
    }

    /// Those of an application, or of all, in the order of their numbers. May block.
    pub fn list(authority: &Authority, app: Option<&AppId>) -> Result<Vec<Self>, Refused> {
        let prefix = app.map(AppId::prefix).unwrap_or_default();
        let (mut found, mut after) = (Vec::new(), prefix.clone());
        loop {
            let page = authority.directory.list::<Self>(KIND, &after, PAGE)?;
            let full = page.len() == PAGE;
            after = page.last().map(|entry| entry.id.clone()).unwrap_or_default();
            let more = after.starts_with(&prefix);
            found.extend(page.into_iter().filter(|entry| entry.id.starts_with(&prefix)).map(|entry| entry.value));
            if !full || !more || found.len() >= assumed::LISTED {
                break;
            }
        }
        found.retain(|entity| !entity.deleted);
        found.truncate(assumed::LISTED);
        found.sort_by_key(|entity| entity.key_id);
        Ok(found)
    }

    /// As the API shows it. May block.
    pub fn show(self, authority: &Authority) -> Result<Shown, Problem> {
        let partition = authority.keyring.partition(&self.partition()?)?;
        let entity = acl::numbered(authority, self, &partition)?;
        let app_id = AppId::parse(&entity.app).map_or(Value::Null, |app| app.to_value());
        Ok(Shown {
            key_id: entity.key_id,
            app_id,
            access_control_entries: acl::shown(&entity, &partition),
            sec_part_id: entity.sec_part,
            sec_part_ver: entity.version,
            description: entity.description,
            added_by: entity.added_by,
            created_at: instant(entity.created),
            modified_at: instant(entity.modified),
            oid: assumed::OID,
            rollover_days: Some(entity.rollover_days).filter(|days| *days > 0),
            state: match partition.state {
                State::Active => None,
                State::DecryptOnly => Some("DecryptOnly"),
                State::Paused => Some("Paused"),
                State::Destroyed => Some("Destroyed"),
            },
        })
    }
}

/// `2016-12-08T00:00:13.3357136Z`: our clock has whole seconds.
pub fn instant(seconds: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&format).ok()).unwrap_or_default()
}

/// Of a fixed length, so that ids sort as numbers do.
fn id(number: u64) -> String {
    format!("{number:020}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_seven_digits() {
        assert_eq!(instant(1_481_155_213), "2016-12-08T00:00:13.0000000Z");
        assert_eq!(instant(u64::MAX), "");
    }
}
