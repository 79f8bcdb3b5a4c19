//! Keys are made, seen and rotated here, and what is due is done. Everything may block, and is in the audit log.

use super::assumptions::{ADMIN, BLOCK, KEYS, MAKER, MOST, READ, SIGN, VERIFY, WRITE};
use super::entry::{Before, KEY, KeyEntry, KeyType, NAME, Protection, Status, USES, VERSIONS, Version, version_id};
use super::hot::Ready;
use super::{private, status};
use crate::audit::Act;
use crate::authority::credentials::ApiKey;
use crate::authority::{Authority, Caller, Refused};
use crate::crypto::random;
use crate::directory::Ends;
use crate::keyring::store::Put;
use crate::keyring::{Epoch, KeyringError, Kind, Permissions, State};
use crate::name::PartitionName;
use crate::token::EpochId;

/// A name whose key was not made by then is free again.
const CLAIM: u64 = 120;
const PAGE: usize = 256;
const ATTEMPTS: usize = 16;
const ANY: u32 = READ | WRITE | SIGN | VERIFY | Permissions::ENCRYPT | Permissions::DECRYPT;

/// What a new key shall be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// See [`KeyEntry`].
    pub name: String,
    /// See [`KeyEntry`].
    pub key_type: KeyType,
    /// See [`KeyEntry`].
    pub memo: String,
    /// See [`KeyEntry`].
    pub convergent: bool,
    /// See [`KeyEntry`].
    pub auto_rotation: bool,
    /// See [`KeyEntry`].
    pub rotation_period: u64,
    /// See [`KeyEntry`].
    pub protection: Protection,
}

/// Whose name it is, and since when.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Claim {
    /// The keyTag.
    pub tag: String,
    at: u64,
}

/// Some of the keys that a caller may see.
#[derive(Debug, Default)]
pub struct Page {
    /// With their keyTags and their partitions' states.
    pub keys: Vec<(String, KeyEntry, State)>,
    /// How many there are in all.
    pub total: usize,
}

/// What [`run_due`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// Keys that got a new version.
    pub rotated: usize,
    /// Keys whose waiting period was over.
    pub destroyed: usize,
    /// Keys that were due and could not be done now; the log says why.
    pub failed: usize,
}

/// Rotates the keys whose period is over and destroys those whose waiting period is; to be called every minute or so, by any
/// number of processes. May block.
pub fn run_due(authority: &Authority) -> Result<Due, Refused> {
    let clockwork = Caller { name: "sidecloak schedule".into(), role: ADMIN.into() };
    let now = authority.clock.now();
    let mut due = Due::default();
    each_key(authority, |tag, entry| {
        let destroy = entry.status == Status::Revoke && entry.destroy_at <= now;
        let rotate = entry.auto_rotation && entry.status == Status::Enable && entry.next_rotation <= now;
        let done = if destroy {
            status::destroy(authority, &clockwork, tag).map(|()| due.destroyed += 1)
        } else if rotate {
            rotate_due(authority, &clockwork, tag, entry).map(|rotated| due.rotated += usize::from(rotated))
        } else {
            Ok(())
        };
        if let Err(refused) = done {
            tracing::warn!("ncloud-kms: a key is due and stays as it is: {refused}");
            due.failed += 1;
        }
        Ok(())
    })?;
    Ok(due)
}

/// Makes a key; its keyTag. That of an access key which is held to an application is one of the application's partitions.
pub fn create(authority: &Authority, by: &ApiKey, new: &NewKey) -> Result<(String, KeyEntry), Refused> {
    let caller = &by.caller();
    if by.partition.is_some() {
        return Err(Refused::Forbidden);
    }
    if caller.role != ADMIN {
        let template = authority.keyring.partition(&PartitionName::default_name())?;
        if !template.permissions(&caller.role).has(WRITE) {
            return Err(Refused::Forbidden);
        }
    }
    let mut keys = 0;
    each_key(authority, |_, _| {
        keys += 1;
        Ok(())
    })?;
    if keys >= KEYS {
        return Err(Refused::Invalid(format!("There are {KEYS} keys already; delete some first.")));
    }
    let tag = by.app.as_ref().map_or_else(new_tag, |app| Ok(format!("{app}.{}", new_tag()?)))?;
    let partition = PartitionName::new(&tag).map_err(|_| Refused::Forbidden)?;
    audited(authority, caller, "ncloud-kms.key.create", &tag, || {
        claim_name(authority, &new.name, &tag)?;
        let keyring = &authority.keyring;
        authority.create_partition(&partition)?;
        keyring.set_role(&partition, &caller.role, Some(Permissions(MAKER)))?;
        let epoch = keyring.sealing(&partition, Kind::Deterministic)?;
        private::ensure(authority, &partition, new.key_type, &epoch)?;
        let now = authority.clock.now();
        let mut entry = KeyEntry {
            id: authority.directory.next_number(KEY)?,
            name: new.name.clone(),
            key_type: new.key_type,
            memo: new.memo.clone(),
            convergent: new.convergent,
            auto_rotation: new.auto_rotation,
            rotation_period: new.rotation_period,
            next_rotation: 0,
            protection: new.protection,
            status: Status::Enable,
            status_at: now,
            before: Before::Active,
            created: now,
            destroy_at: 0,
            versions: vec![Version::of(epoch.id, now)],
        };
        entry.next_rotation = now.saturating_add(entry.period());
        match authority.directory.put(KEY, &tag, 0, &entry, Ends::never())? {
            Put::Done => Ok((tag.clone(), entry)),
            Put::Conflict => Err(Refused::Conflict("the keyTag is taken".into())),
        }
    })
}

/// The key, for whoever may do anything with it.
pub fn visible(authority: &Authority, caller: &Caller, tag: &str) -> Result<(KeyEntry, State), Refused> {
    permitted(authority, caller, tag, ANY)
}

/// Up to `limit` keys that the caller may see after the first `skip`, in the order of their keyTags.
pub fn list(authority: &Authority, by: &ApiKey, skip: usize, limit: usize) -> Result<Page, Refused> {
    let caller = &by.caller();
    let mut page = Page::default();
    each_key(authority, |tag, entry| {
        if !by.reaches(tag) {
            return Ok(());
        }
        let Ok(state) = may(authority, caller, tag, ANY) else { return Ok(()) };
        if page.total >= skip && page.keys.len() < limit {
            page.keys.push((tag.to_owned(), entry.clone(), state));
        }
        page.total += 1;
        Ok(())
    })?;
    Ok(page)
}

/// Makes a new version, on request; its number.
pub fn rotate(authority: &Authority, caller: &Caller, tag: &str) -> Result<(usize, Version), Refused> {
    let (entry, _) = permitted(authority, caller, tag, WRITE)?;
    enabled(&entry)?;
    if entry.current() >= VERSIONS {
        return Err(Refused::Invalid(format!("The key has {VERSIONS} versions already; make another key.")));
    }
    audited(authority, caller, "ncloud-kms.key.rotate", tag, || {
        let partition = PartitionName::new(tag).map_err(|_| Refused::Forbidden)?;
        authority.keyring.rollover(&partition, &[Kind::Deterministic])?;
        adopt(authority, &partition)
    })
}

/// Takes the partition's current epoch as a version, unless it is one; its number. Whoever rolled the partition made a version.
pub fn adopt(authority: &Authority, partition: &PartitionName) -> Result<(usize, Version), Refused> {
    let key_type = entry(authority, partition.as_str())?.key_type;
    let epoch = authority.keyring.sealing(partition, Kind::Deterministic)?;
    private::ensure(authority, partition, key_type, &epoch)?;
    let now = authority.clock.now();
    let entry = edit(authority, partition.as_str(), |entry| {
        if entry.number_of(epoch.id).is_none() {
            entry.versions.push(Version::of(epoch.id, now));
            entry.next_rotation = now.saturating_add(entry.period());
        }
        Ok(())
    })?;
    let number = entry.number_of(epoch.id).ok_or(Refused::NotFound)?;
    Ok((number, entry.version(number).cloned().ok_or(Refused::NotFound)?))
}

/// The private key of a version.
pub fn private_key(
    authority: &Authority,
    partition: &PartitionName,
    key_type: KeyType,
    epoch: &Epoch,
) -> Result<Ready, Refused> {
    private::open(authority, partition, key_type, epoch)
}

/// Reserves values to seal under a version; 0: it is used up, and the key was rotated.
pub fn reserve(authority: &Authority, partition: &PartitionName, epoch: EpochId) -> Result<u64, Refused> {
    let id = version_id(partition.as_str(), epoch);
    for _ in 0..ATTEMPTS {
        let counted = authority.directory.get::<u64>(USES, &id)?;
        let (version, reserved) = counted.map_or((0, 0), |entry| (entry.version, entry.value));
        if reserved.saturating_add(BLOCK) > MOST {
            authority.keyring.replace_epoch(partition, Kind::Deterministic, epoch)?;
            adopt(authority, partition)?;
            return Ok(0);
        }
        if authority.directory.put(USES, &id, version, &(reserved + BLOCK), Ends::never())? == Put::Done {
            return Ok(BLOCK);
        }
    }
    Err(Refused::Unavailable("others count the same key; try again".into()))
}

/// Writes into the audit log that an act begins, does it, and writes how it ended.
pub fn audited<T>(
    authority: &Authority,
    caller: &Caller,
    what: &'static str,
    on: &str,
    act: impl FnOnce() -> Result<T, Refused>,
) -> Result<T, Refused> {
    let started = authority.audit.begin(&Act { who: &caller.name, what, on })?;
    let result = act();
    let ended = match &result {
        Ok(_) => authority.audit.end(started, Ok(())),
        Err(refused) => authority.audit.end(started, Err(&refused.to_string())),
    };
    if let Err(error) = ended {
        // The act is done or not all the same; its beginning is in the log.
        tracing::error!("ncloud-kms: the audit log lacks the outcome of {what}: {error}");
    }
    result
}

fn rotate_due(authority: &Authority, caller: &Caller, tag: &str, entry: &KeyEntry) -> Result<bool, Refused> {
    let partition = PartitionName::new(tag).map_err(|_| Refused::Forbidden)?;
    let Some(newest) = entry.versions.last() else { return Ok(false) };
    if entry.current() >= VERSIONS {
        return Err(Refused::Invalid(format!("it has {VERSIONS} versions already")));
    }
    audited(authority, caller, "ncloud-kms.key.rotate", tag, || {
        // Only if it still is the newest: whoever was faster has rotated it.
        authority.keyring.replace_epoch(&partition, Kind::Deterministic, newest.epoch())?;
        let (number, _) = adopt(authority, &partition)?;
        Ok(number == entry.current() + 1)
    })
}

/// Refuses unless the key is in use.
pub fn enabled(entry: &KeyEntry) -> Result<(), Refused> {
    if entry.status == Status::Enable { Ok(()) } else { Err(Refused::State(State::Paused)) }
}

/// The key and its partition's state, if the caller's role has any of these bits.
pub fn permitted(authority: &Authority, caller: &Caller, tag: &str, any: u32) -> Result<(KeyEntry, State), Refused> {
    let entry = entry(authority, tag)?;
    Ok((entry, may(authority, caller, tag, any)?))
}

/// Whether the caller's role has any of these bits, whatever the partition's state, which it returns.
fn may(authority: &Authority, caller: &Caller, tag: &str, any: u32) -> Result<State, Refused> {
    let name = PartitionName::new(tag).map_err(|_| Refused::Forbidden)?;
    let partition = authority.keyring.partition(&name)?;
    let permitted = caller.role == ADMIN || partition.permissions(&caller.role).0 & any != 0;
    if permitted { Ok(partition.state) } else { Err(Refused::Forbidden) }
}

fn entry(authority: &Authority, tag: &str) -> Result<KeyEntry, Refused> {
    Ok(authority.directory.get::<KeyEntry>(KEY, tag)?.ok_or(Refused::NotFound)?.value)
}

/// Changes the entry of a key that is there.
pub fn edit(
    authority: &Authority,
    tag: &str,
    change: impl FnMut(&mut KeyEntry) -> Result<(), Refused>,
) -> Result<KeyEntry, Refused> {
    authority.directory.edit(KEY, tag, change)?.ok_or(Refused::NotFound)
}

fn each_key(authority: &Authority, mut f: impl FnMut(&str, &KeyEntry) -> Result<(), Refused>) -> Result<(), Refused> {
    let mut after = String::new();
    loop {
        let page = authority.directory.list::<KeyEntry>(KEY, &after, PAGE)?;
        for entry in &page {
            f(&entry.id, &entry.value)?;
            after.clone_from(&entry.id);
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

/// As long as the vendor's, and of the same characters.
fn new_tag() -> Result<String, Refused> {
    let bytes: [u8; 26] = random::bytes().map_err(KeyringError::from)?;
    Ok(bytes.iter().fold(String::with_capacity(52), |mut tag, byte| {
        use std::fmt::Write;
        // Writing to a string does not fail.
        let _written = write!(tag, "{byte:02x}");
        tag
    }))
}

fn claim_name(authority: &Authority, name: &str, tag: &str) -> Result<(), Refused> {
    let claim = Claim { tag: tag.to_owned(), at: authority.clock.now() };
    for _ in 0..2 {
        if authority.directory.put(NAME, name, 0, &claim, Ends::never())? == Put::Done {
            return Ok(());
        }
        // Somebody's key, or one whose making broke off.
        if let Some(old) = authority.directory.get::<Claim>(NAME, name)? {
            let unused = authority.directory.get::<KeyEntry>(KEY, &old.value.tag)?.is_none();
            if !unused || old.value.at.saturating_add(CLAIM) > claim.at {
                break;
            }
            authority.directory.delete(NAME, name)?;
        }
    }
    Err(Refused::Invalid("There is a key with this keyName already.".into()))
}
