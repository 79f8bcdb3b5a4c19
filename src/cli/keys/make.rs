//! What makes a keyring, moves one, or changes the key it lies under.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::common::folder;
use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::change::done;
use super::{acting, advise, hex, named, open, place, suite};
use crate::bounded;
use crate::clock::SystemClock;
use crate::crypto::kem::KemSuite;
use crate::directory::Directory;
use crate::keyring::{KeySource, Keyring, KeyringError, Moved, Options};
use crate::name::PartitionName;

/// An export of some hundred thousand epochs.
const MAX_EXPORT: u64 = 4 << 30;

pub(super) fn init(options: &Options, kem: Option<&str>, partitions: &[String], out: &mut Out) -> Result<(), Failure> {
    let path = &options.store;
    let names = partitions.iter().map(|name| named(name)).collect::<Result<Vec<_>, _>>()?;
    let key = options.master_keys.first();
    let made_key = matches!(key, Some(KeySource::File(file)) if !file.exists());
    let kem_suite = suite(kem.unwrap_or("ml-kem-768"))?;
    let (keyring, there) = existing_or_new(options, kem_suite)?;
    let keyring = Arc::new(keyring);
    if !there {
        // Before it was there, there was no log.
        acting(&keyring, ("keyring.init", &path.to_string()), |_| Ok(()))?;
    }
    if there && names.is_empty() {
        let failure = Failure::new(Exit::Usage, format!("{path} is a keyring already; it was left as it is"));
        return Err(
            failure.help("add `--partition NAME` to make a further partition, or name another file with --keyring")
        );
    }
    if there && kem.is_some() {
        let failure =
            Failure::new(Exit::Usage, "the KEM is chosen when a keyring is made, and this one is there already");
        return Err(failure.help("leave `--kem` out"));
    }
    let made = make_partitions(&keyring, &names)?;
    let owner = hex(&keyring.owner_fingerprint());
    if out.json() {
        return out.value(&json!({
            "keyring": path.to_string(), "made": !there, "made_master_key": made_key, "owner": owner,
            "partitions": made.iter().map(|n| n.as_str()).collect::<Vec<_>>(),
        }));
    }
    if !there {
        out.line(&format!("made keyring {path}, owner {owner}, with partition default"))?;
    }
    for name in &names {
        let what = if made.contains(&name) { "made partition" } else { "there already: partition" };
        out.line(&format!("{what} {name}"))?;
    }
    if made_key && let Some(key) = key {
        out.line(&format!("made master key {key} (0600)"))?;
        advise(
            out,
            "next: keep a copy of the master key and of the keyring, apart from each other: without either, nothing opens",
        );
    }
    if !there && keyring.list()?.iter().all(|p| p.recipients.iter().all(|r| r.ours || r.profile.is_some())) {
        advise(out, "next: `sidecloak keys recovery` makes an offline key for the day the master key is lost");
    }
    Ok(())
}

/// The keyring and whether it was there. What a first start left that broke off before anything was in it is no keyring.
fn existing_or_new(options: &Options, kem: KemSuite) -> Result<(Keyring, bool), Failure> {
    let make = || Keyring::init(options, kem, SystemClock::shared());
    if !Keyring::exists(options)? {
        return Ok((make()?, false));
    }
    match Keyring::open(options, SystemClock::shared()) {
        Ok(keyring) => Ok((keyring, true)),
        // `init` leaves a file as it is that holds anything, and then the first error says what is wrong.
        Err(error @ (KeyringError::Mismatch(_) | KeyringError::NoKey(_))) => match make() {
            Ok(keyring) => Ok((keyring, false)),
            Err(_) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Makes those that are not there yet.
fn make_partitions<'a>(keyring: &Arc<Keyring>, names: &'a [PartitionName]) -> Result<Vec<&'a PartitionName>, Failure> {
    let mut made = Vec::new();
    for name in names {
        match keyring.partition(name) {
            Ok(_) => {}
            Err(KeyringError::Unknown(_)) => {
                acting(keyring, ("partition.create", name.as_str()), |keyring| keyring.create_partition(name))?;
                made.push(name);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(made)
}

pub(super) fn rotate_master(options: &Options, new: &Path, reseal: bool, out: &mut Out) -> Result<(), Failure> {
    let new = KeySource::File(new.to_owned());
    if options.master_keys.contains(&new) {
        let failure = Failure::new(Exit::Usage, format!("{new} is a master key of this keyring already"));
        return Err(failure.help("name another file; it is made if it is missing"));
    }
    let keyring = Arc::new(Keyring::open_to_rotate(options, &new, SystemClock::shared())?);
    if reseal {
        // Before anything is changed: what cannot be read cannot be sealed anew.
        Directory::new(Arc::clone(&keyring), SystemClock::shared(), Duration::ZERO)?.check()?;
    }
    acting(&keyring, ("keyring.rotate-master", &new.to_string()), |keyring| keyring.rotate_master(&new))?;
    let left = under_old(options, &new, reseal)?;
    let old: Vec<String> = options.master_keys.iter().map(ToString::to_string).collect();
    if out.json() {
        return out.value(&json!({ "master_key": new.to_string(), "old": old, "entries_under_old": left }));
    }
    out.line(&format!("every private key of {} now lies under {new}", options.store))?;
    if left > 0 {
        advise(
            out,
            &format!(
                "{left} entries of the authority's directory still lie under {0}: put {new} before {0} in `master_key`, restart \
                 every process, and run `sidecloak keys rewrap --master`. When `sidecloak keys due` says that it is done, take {0} away",
                old.join(" and ")
            ),
        );
        return Ok(());
    }
    advise(
        out,
        &format!(
            "next: put {new} first in `master_key` (or name it with --master-key-file) and restart every process; then keep a \
         copy of it, and take {} away. Old exports still open with the old key",
            old.join(" and ")
        ),
    );
    Ok(())
}

/// How many entries of the directory do not lie under the new key; with `reseal` none afterwards.
fn under_old(options: &Options, new: &KeySource, reseal: bool) -> Result<u64, Failure> {
    let mut options = options.clone();
    options.master_keys.insert(0, new.clone());
    let keyring = open(&options)?;
    let directory = Directory::new(Arc::clone(&keyring), SystemClock::shared(), Duration::ZERO)?;
    if reseal {
        acting(&keyring, ("rewrap.master", "all"), |_| {
            while directory.reseal(1024)? > 0 {}
            Ok(())
        })?;
    }
    Ok(directory.under_others()?)
}

pub(super) fn export(options: &Options, file: &Path, out: &mut Out) -> Result<(), Failure> {
    let what = file.display();
    let on = what.to_string();
    let keyring = open(options)?;
    let (sealed, alarms) =
        acting(&keyring, ("keyring.export", &on), |keyring| Ok((keyring.export()?, keyring.alarms())))?;
    let directory = Directory::new(keyring, SystemClock::shared(), Duration::ZERO)?.is_used()?;
    if alarms > 0 {
        advise(
            out,
            "warning: the keyring holds rows that do not verify; they are not in the export: find out who wrote them",
        );
    }
    // Readable by the owner alone, and there is never half an export under this name.
    let failed = |e: &std::io::Error| Failure::io(&what, e);
    let mut temporary = tempfile::NamedTempFile::new_in(folder(file)).map_err(|e| failed(&e))?;
    temporary.write_all(&sealed).map_err(|e| failed(&e))?;
    temporary.as_file().sync_all().map_err(|e| failed(&e))?;
    temporary.persist_noclobber(file).map_err(|e| match e.error.kind() {
        std::io::ErrorKind::AlreadyExists => there_already(&what),
        _ => failed(&e.error),
    })?;
    if directory {
        let lost = "users, API keys, schedules and what NAVER Cloud keys sign with";
        advise(
            out,
            &format!(
                "warning: the authority's directory ({lost}) is not in the export, nor the audit log: back up the store itself"
            ),
        );
    }
    advise(out, "note: it opens with the master key alone: keep that one elsewhere");
    let text = format!("exported {} to {what}, sealed under the master key", options.store);
    done(out, &text, &json!({ "file": what.to_string(), "bytes": sealed.len(), "directory_left_out": directory }))
}

pub(super) fn import(options: &Options, file: &Path, out: &mut Out) -> Result<(), Failure> {
    let exported = bounded::read_file(file, MAX_EXPORT).map_err(|e| Failure::io(file.display(), &e))?;
    if Keyring::exists(options)? {
        return Err(there_already(&options.store));
    }
    let keyring = Arc::new(Keyring::import(options, &exported, SystemClock::shared())?);
    acting(&keyring, ("keyring.import", &file.display().to_string()), |_| Ok(()))?;
    let partitions = keyring.list()?.len();
    let text =
        format!("imported {} with {partitions} partition{}", options.store, if partitions == 1 { "" } else { "s" });
    let owner = hex(&keyring.owner_fingerprint());
    done(out, &text, &json!({ "keyring": options.store.to_string(), "partitions": partitions, "owner": owner }))
}

pub(super) fn migrate(options: &Options, to: &str, out: &mut Out) -> Result<(), Failure> {
    let to = place(to)?;
    let moved = Keyring::migrate(options, &to, SystemClock::shared())?;
    let Moved { partitions, epochs, entries, audit } = moved;
    let from = &options.store;
    let text = format!(
        "moved {from} to {to}: {partitions} partition(s), {epochs} epoch(s), {entries} entries of the directory, {audit} lines of \
         the audit log"
    );
    done(
        out,
        &text,
        &json!({
            "keyring": to.to_string(), "partitions": partitions, "epochs": epochs, "entries": entries, "audit": audit,
        }),
    )?;
    advise(
        out,
        &format!(
            "next: name the database as `keyring.store` of every process and start them; {from} is as it was. Nothing may write to \
             it any more: keep it as a backup, or destroy it"
        ),
    );
    Ok(())
}

/// Keys are never overwritten.
pub(super) fn there_already(place: impl Display) -> Failure {
    Failure::new(Exit::Usage, format!("{place} is there already; it was left as it is"))
        .help("name a file that is not there, or move it away")
}
