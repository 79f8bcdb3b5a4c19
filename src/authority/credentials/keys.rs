//! API keys in the directory, each under its number.

use serde::{Deserialize, Serialize};

use super::super::Refused;
use super::text::{self, Presented};
use super::{ApiKey, NewApiKey, Purpose};
use crate::crypto::mac::same;
use crate::directory::{Directory, Ends, Entry};
use crate::keyring::KeyringError;
use crate::keyring::store::Put;
use crate::name::PartitionName;
use crate::secret::SecretBytes;

pub const KIND: &str = "apikey";
const LABEL: usize = 200;

/// The entry.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    pub key: ApiKey,
    digest: String,
}

impl Kept {
    /// Whether this is the key that was presented, and for this purpose.
    pub fn is(&self, purpose: Purpose, presented: &Presented<'_>) -> bool {
        let right = same(self.digest.as_bytes(), presented.digest().as_bytes());
        right && self.key.number == presented.number && self.key.purpose == purpose
    }
}

/// Of a fixed length, so that ids sort as numbers do.
pub fn id(number: u64) -> String {
    format!("{number:020}")
}

pub fn create(directory: &Directory, new: &NewApiKey) -> Result<(SecretBytes, ApiKey), Refused> {
    check(new, directory.clock().now())?;
    let number = directory.next_number(KIND)?;
    let (text, digest) = text::new_key(number).map_err(KeyringError::from)?;
    let key = ApiKey {
        number,
        purpose: new.purpose,
        label: new.label.clone(),
        app: new.app.clone(),
        partition: new.partition.clone(),
        role: new.role.clone(),
        created: directory.clock().now(),
        secrets: secrets(new.secrets)?,
    };
    let kept = Kept { key, digest };
    match directory.put(KIND, &id(number), 0, &kept, Ends::at(new.expires))? {
        Put::Done => Ok((text, kept.key)),
        Put::Conflict => Err(Refused::Conflict(format!("there is an API key {number} already; try again"))),
    }
}

pub fn list(directory: &Directory, after: u64, limit: usize) -> Result<Vec<Entry<ApiKey>>, Refused> {
    let found = directory.list::<Kept>(KIND, &id(after), limit)?;
    Ok(found.into_iter().map(|entry| entry.map(|kept| kept.key)).collect())
}

pub fn refresh(directory: &Directory, number: u64) -> Result<Option<(SecretBytes, ApiKey)>, Refused> {
    let (text, digest) = text::new_key(number).map_err(KeyringError::from)?;
    let changed = directory.edit::<Kept, Refused>(KIND, &id(number), |kept| {
        kept.digest.clone_from(&digest);
        for (_, secret) in &mut kept.key.secrets {
            *secret = text::new_secret().map_err(KeyringError::from)?;
        }
        Ok(())
    })?;
    Ok(changed.map(|kept| (text, kept.key)))
}

pub fn revoke(directory: &Directory, number: u64) -> Result<bool, Refused> {
    Ok(directory.delete(KIND, &id(number))?)
}

fn check(new: &NewApiKey, now: u64) -> Result<(), Refused> {
    text::check_text("a label", &new.label, LABEL)?;
    if new.purpose == Purpose::Management && !["admin", "operator", "auditor"].contains(&new.role.as_str()) {
        return Err(Refused::Invalid("the role of a management key is admin, operator or auditor".into()));
    }
    text::check_role(&new.role)?;
    new.app.as_deref().map_or(Ok(()), text::check_app)?;
    if let Some(partition) = &new.partition {
        PartitionName::new(partition).map_err(|error| Refused::Invalid(error.to_string()))?;
    }
    if new.expires != 0 && new.expires <= now {
        return Err(Refused::Invalid("the key would have ended already; give a time to come".into()));
    }
    Ok(())
}

fn secrets(names: &[&str]) -> Result<Vec<(String, String)>, Refused> {
    let secret = |name: &&str| Ok(((*name).to_owned(), text::new_secret().map_err(KeyringError::from)?));
    names.iter().map(secret).collect()
}
