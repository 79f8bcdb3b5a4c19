//! Managed APIs that rules may name as `key`: opened before the keyring, whose epochs they open, and closed after it.

use std::sync::Arc;

use super::AppError;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::keyring::{Keyring, KeyringError, Managed, Options};
use crate::metrics::Metrics;
use crate::name::PartitionName;
use crate::report::{Finding, Findings};
use crate::rules::glob::wild;
use crate::rules::profile::Profile;
use crate::rules::{RuleKind, RuleSet};
use crate::sealer::managed::set::{self, ProfileError, Profiles};
use crate::sealer::managed::settings::ProfileSettings;

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

/// Those of them that can be used, and why the others cannot: for whoever may not need them.
pub fn open_usable(
    config: &Config,
    clock: &SharedClock,
    metrics: &Metrics,
) -> Result<(Option<Arc<Profiles>>, Vec<ProfileError>), AppError> {
    let mut config = config.clone();
    let mut errors = Vec::new();
    loop {
        match open(&config, clock, metrics) {
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

/// The code of a finding about a profile whose credentials or certificates cannot be read.
pub const UNUSABLE: &str = "profile-unusable";

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

/// The profiles of a configuration, held against keyring and rules.
#[derive(Debug, Default)]
pub struct Configured {
    settings: Vec<ProfileSettings>,
    /// Those that cannot be used, and why.
    unusable: Vec<ProfileError>,
}

impl Configured {
    /// With what [`open_usable`] says of them.
    pub fn new(config: &Config, unusable: Vec<ProfileError>) -> Self {
        Self { settings: config.profiles.clone(), unusable }
    }

    /// Whether the partition is a profile's.
    pub fn have(&self, partition: &PartitionName) -> bool {
        self.settings.iter().any(|profile| profile.partition == *partition)
    }

    /// What rules may name, for a text.
    pub fn names(&self) -> Vec<String> {
        self.settings.iter().map(|profile| format!("`{}`", profile.name)).collect()
    }

    /// A profile that rules may use must be usable, and its partition must be there and list the recipient that its API holds, or
    /// values would be sealed under other keys than the profile says: an error. Of a profile that no rule uses it is a warning, so
    /// that one can be configured before it is set up. With `dev`, partitions that are missing are made. Without rules, all are
    /// in use.
    pub fn check(&self, rules: Option<&RuleSet>, keyring: Option<&Keyring>, dev: bool) -> Findings {
        let finding = |profile: &ProfileSettings| {
            let (text, help) = self.problem(profile, keyring, dev)?;
            let used = rules.is_none_or(|rules| uses(rules, profile));
            let finding = if used { Finding::error } else { Finding::warning };
            let code = if self.unusable(profile).is_some() { UNUSABLE } else { "profile" };
            Some(finding(code, text).help(help))
        };
        Findings(self.settings.iter().filter_map(finding).collect())
    }

    fn unusable(&self, profile: &ProfileSettings) -> Option<&ProfileError> {
        let of = |error: &&ProfileError| matches!(error, ProfileError::Profile(other, _) if *other == profile.name);
        self.unusable.iter().find(of)
    }

    /// What is wrong, and the way out.
    fn problem(&self, profile: &ProfileSettings, keyring: Option<&Keyring>, dev: bool) -> Option<(String, String)> {
        let ProfileSettings { name, partition: place, .. } = profile;
        let init = format!("run `sidecloak profiles init {name}`");
        if let Some(error) = self.unusable(profile) {
            return Some((error.to_string(), format!("mend that, and see `sidecloak profiles check {name}`")));
        }
        let Some(keyring) = keyring else {
            let text = format!("profile `{name}` needs a keyring for its partition {place}, and there is none");
            return Some((text, format!("see `sidecloak keys init`, then {init}")));
        };
        if let Ok(like) = PartitionName::new(name)
            && like != *place
            && !matches!(keyring.partition(&like), Err(KeyringError::Unknown(_)))
        {
            let text = format!("profile `{name}` is named like a partition that is not its own");
            return Some((text, "give the profile another name, since a rule's `key` would name both".into()));
        }
        let made = if dev { make_missing(profile, keyring) } else { Ok(()) };
        match made.and_then(|()| partition(profile, keyring)) {
            Ok(Partition::SetUp) => None,
            Ok(Partition::Missing) => {
                Some((format!("the partition {place} of profile `{name}` is not in the keyring"), init))
            }
            Ok(Partition::Another) => {
                let text = format!("the partition {place} is not wrapped by the API of profile `{name}`");
                Some((text, format!("{init}, or name another `partition` for it")))
            }
            Err(error) => {
                let help = format!("`sidecloak profiles check {name}` tries its API");
                Some((format!("profile `{name}`: {error}"), help))
            }
        }
    }
}

/// Whether a rule may seal or open in the profile's partition.
fn uses(rules: &RuleSet, profile: &ProfileSettings) -> bool {
    let actions = rules.rules.iter().filter_map(|rule| match &rule.kind {
        RuleKind::Fields { request, response } => Some(request.iter().chain(response)),
        _ => None,
    });
    actions.flatten().any(|action| wild(&action.key.as_glob(), profile.partition.as_str()))
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

fn recipient(profile: &ProfileSettings) -> Result<Option<(u8, Vec<u8>)>, KeyringError> {
    set::recipient(profile).map_err(KeyringError::NoKey)
}

#[cfg(test)]
mod tests;
