//! Managed APIs that rules may name as `key`: opened before the keyring, whose epochs they open, and closed after it.

use std::sync::Arc;

use super::{AppError, keys};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::keyring::{Keyring, KeyringError, MANAGED, Managed, Options};
use crate::metrics::Metrics;
use crate::report::{Finding, Findings};
use crate::rules::profile::Profile;
use crate::sealer::managed::exequantum::recipient_key;
use crate::sealer::managed::set::{ProfileError, Profiles};
use crate::sealer::managed::settings::{ProfileSettings, Provider};

/// What rules know of them.
pub fn facts(config: &Config) -> Vec<Arc<Profile>> {
    config.profiles.iter().map(|profile| Arc::new(profile.facts())).collect()
}

/// The profiles of the configuration; `None`: it has none. Calls nobody.
pub fn open(config: &Config, clock: &SharedClock, metrics: &Metrics) -> Result<Option<Arc<Profiles>>, AppError> {
    if config.profiles.is_empty() {
        return Ok(None);
    }
    Ok(Some(Profiles::open(config.profiles.clone(), Arc::clone(clock), metrics)?))
}

/// Those of them that can be used, and why the others cannot: for a command that may not need them.
pub fn open_usable(
    config: &Config,
    clock: &SharedClock,
) -> Result<(Option<Arc<Profiles>>, Vec<ProfileError>), AppError> {
    let mut config = config.clone();
    let mut errors = Vec::new();
    loop {
        match open(&config, clock, &Metrics::default()) {
            Err(AppError::Profiles(error @ ProfileError::Profile(..))) => {
                let before = config.profiles.len();
                config
                    .profiles
                    .retain(|profile| !matches!(&error, ProfileError::Profile(name, _) if *name == profile.name));
                if config.profiles.len() == before {
                    return Err(error.into());
                }
                errors.push(error);
            }
            opened => return Ok((opened?, errors)),
        }
    }
}

/// How the keyring is opened, with the profiles' APIs to open its epochs.
pub fn reaching(options: &Options, profiles: Option<&Arc<Profiles>>) -> Options {
    let managed = Managed(profiles.map(|profiles| Arc::clone(profiles) as _));
    Options { managed, ..options.clone() }
}

/// What there is of a profile's partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// It is there, with the API as a recipient where that keeps keys.
    SetUp,
    /// It is not there.
    Missing,
    /// One of its name is there, without that recipient.
    Another,
}

/// Looks for a profile's partition. May block; calls nobody but the keyring's store.
pub fn partition(profile: &ProfileSettings, keyring: &Keyring) -> Result<Partition, KeyringError> {
    match keyring.partition(&profile.partition) {
        Err(KeyringError::Unknown(_)) => return Ok(Partition::Missing),
        // Paused or destroyed is a state of its own.
        Ok(_) | Err(KeyringError::Denied(..)) => {}
        Err(error) => return Err(error),
    }
    match recipient(profile)? {
        Some((suite, key)) if !keyring.lists_recipient(&profile.partition, (suite, &key))? => Ok(Partition::Another),
        Some(_) | None => Ok(Partition::SetUp),
    }
}

/// Every profile's partition must be there and list the API. With `dev`, those that are missing are made.
pub fn check(profiles: &[ProfileSettings], keyring: Option<&Keyring>, dev: bool) -> Result<(), Findings> {
    let mut findings = Findings::default();
    let mut expected = Vec::with_capacity(profiles.len());
    for profile in profiles {
        let made = match keyring.filter(|_| dev) {
            Some(keyring) => make_missing(profile, keyring),
            None => Ok(()),
        };
        let recipient = made.and_then(|()| recipient(profile));
        match recipient {
            Ok(recipient) => expected.push(keys::Expected {
                profile: Arc::clone(&profile.name),
                partition: profile.partition.clone(),
                recipient,
            }),
            Err(error) => {
                let help = format!("`sidecloak profiles check {}` tries its API", profile.name);
                findings.push(Finding::error("profile", format!("profile `{}`: {error}", profile.name)).help(help));
            }
        }
    }
    if let Err(more) = keys::check_profiles(keyring, &expected) {
        findings.0.extend(more.0);
    }
    if findings.has_errors() { Err(findings) } else { Ok(()) }
}

fn make_missing(profile: &ProfileSettings, keyring: &Keyring) -> Result<(), KeyringError> {
    match partition(profile, keyring)? {
        Partition::Missing => make_partition(profile, keyring),
        Partition::SetUp | Partition::Another => Ok(()),
    }
}

/// Makes it, once the API has opened what it wrapped.
pub fn make_partition(profile: &ProfileSettings, keyring: &Keyring) -> Result<(), KeyringError> {
    match recipient(profile)? {
        Some((suite, key)) => keyring.create_managed(&profile.partition, (suite, &key)),
        None => keyring.create_partition(&profile.partition),
    }
}

/// Suite and key of the recipient whose private half the API keeps.
fn recipient(profile: &ProfileSettings) -> Result<Option<(u8, Vec<u8>)>, KeyringError> {
    match &profile.provider {
        Provider::Crittora(_) | Provider::NcloudKms(_) => Ok(Some((MANAGED, profile.name.as_bytes().to_vec()))),
        Provider::ExeQuantum(settings) => recipient_key(&settings.recipient).map(Some).map_err(KeyringError::NoKey),
        Provider::Crypteron(_) => Ok(None),
    }
}
