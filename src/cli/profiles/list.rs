//! `sidecloak profiles list`.

use serde_json::json;

use super::super::exit::Failure;
use super::super::keys::{advise, columns};
use super::super::out::Out;
use super::{granularity, provider};
use crate::app::{keys, profiles};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::keyring::{Keyring, KeyringError, State};
use crate::sealer::managed::settings::{ProfileSettings, Provider};

const HEAD: [&str; 6] = ["PROFILE", "PROVIDER", "GRANULARITY", "PARTITION", "STATE", "ENDPOINT"];

pub(super) fn list(config: &Config, out: &mut Out) -> Result<(), Failure> {
    let keyring = match config.keyring.as_ref() {
        Some(options) if Keyring::exists(options)? => Some(keys::open(options, false, &SystemClock::shared())?),
        Some(_) | None => None,
    };
    let states: Vec<_> = config.profiles.iter().map(|profile| Standing::of(profile, keyring.as_ref())).collect();
    if out.json() {
        let value = |(profile, state): (&ProfileSettings, &Standing)| {
            json!({
                "profile": &*profile.name, "provider": provider(profile), "granularity": shown(profile),
                "bare": profile.bare, "partition": profile.partition.as_str(), "endpoint": profile.endpoint,
                "fallback_endpoints": profile.fallback_endpoints, "set_up": matches!(state, Standing::SetUp(_)), "state": state.words(),
            })
        };
        return out.value(&config.profiles.iter().zip(&states).map(value).collect());
    }
    if config.profiles.is_empty() {
        advise(out, "no profiles: write them under `profiles:` in sidecloak.yaml, or name the file with --config");
        return Ok(());
    }
    let row = |(profile, state): (&ProfileSettings, &Standing)| {
        let granularity = format!("{}{}", shown(profile), if profile.bare { ", bare" } else { "" });
        [
            profile.name.to_string(),
            provider(profile).to_owned(),
            granularity,
            profile.partition.to_string(),
            state.words(),
            profile.endpoint.clone(),
        ]
    };
    columns(HEAD, config.profiles.iter().zip(&states).map(row).collect(), out)?;
    if states.iter().any(|state| matches!(state, Standing::Missing)) {
        advise(out, "next: `sidecloak profiles init NAME` sets a profile up");
    }
    Ok(())
}

/// Values never go to ExeQuantum or Crypteron.
fn shown(profile: &ProfileSettings) -> &'static str {
    match profile.provider {
        Provider::Crittora(_) | Provider::NcloudKms(_) => granularity(profile),
        Provider::ExeQuantum(_) | Provider::Crypteron(_) => "-",
    }
}

/// Of a profile's partition.
enum Standing {
    /// Unless it is active, the partition's state.
    SetUp(Option<State>),
    Missing,
    Another,
    NoKeyring,
    Unknown(KeyringError),
}

impl Standing {
    fn of(profile: &ProfileSettings, keyring: Option<&Keyring>) -> Self {
        let Some(keyring) = keyring else { return Self::NoKeyring };
        match profiles::partition(profile, keyring) {
            Ok(profiles::Partition::SetUp) => match keyring.partition(&profile.partition) {
                Ok(found) if found.state != State::Active => Self::SetUp(Some(found.state)),
                _ => Self::SetUp(None),
            },
            Ok(profiles::Partition::Missing) => Self::Missing,
            Ok(profiles::Partition::Another) => Self::Another,
            // The recipient is not there yet, or is damaged.
            Err(KeyringError::NoKey(_)) => Self::Missing,
            Err(error) => Self::Unknown(error),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::SetUp(None) => "set up".to_owned(),
            Self::SetUp(Some(state)) => format!("set up, {}", state.name()),
            Self::Missing => "not set up".to_owned(),
            Self::Another => "not set up: the partition has other recipients".to_owned(),
            Self::NoKeyring => "not set up: no keyring".to_owned(),
            Self::Unknown(error) => error.to_string(),
        }
    }
}
