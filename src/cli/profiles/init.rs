//! `sidecloak profiles init`.

use std::sync::Arc;

use serde_json::json;

use super::super::exit::{Exit, Failure};
use super::super::keys::acting;
use super::super::out::Out;
use super::trial::{self, round_trip};
use super::{provider, recipient};
use crate::app::profiles::{self, Partition, reaching};
use crate::clock::SystemClock;
use crate::keyring::{Keyring, Options};
use crate::sealer::managed::settings::{ProfileSettings, Provider};

pub(super) fn init(profile: &ProfileSettings, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let store = &options.store;
    if !Keyring::exists(options)? {
        let failure = Failure::new(Exit::NoPermission, format!("there is no keyring at {store}"));
        return Err(failure.help("make it with `sidecloak keys init`: a profile's partition lies in it"));
    }
    let written = match &profile.provider {
        Provider::ExeQuantum(settings) => recipient::ensure(profile, settings)?,
        Provider::Crypteron(settings) => trial::provision(profile, settings).map(|_| Vec::new())?,
        Provider::Crittora(_) | Provider::NcloudKms(_) => Vec::new(),
    };
    if !out.json() {
        written.iter().try_for_each(|file| out.line(&format!("made {file}")))?;
    }
    // What does not work now would only be found out by the first request.
    round_trip(profile)?;
    let api = trial::alone(profile)?;
    let keyring = Arc::new(Keyring::open(&reaching(options, Some(&api)), SystemClock::shared())?);
    let name = &profile.partition;
    let made = match profiles::partition(profile, &keyring)? {
        Partition::SetUp => false,
        Partition::Missing => {
            acting(&keyring, ("partition.create", name.as_str()), |k| profiles::make_partition(profile, k))?;
            true
        }
        Partition::Another => {
            let text = format!("there is a partition {name} already, which profile `{}` does not open", profile.name);
            let help =
                "give the profile a `partition` of its own: what a partition's keys seal must not change in passing";
            return Err(Failure::new(Exit::Usage, text).help(help));
        }
    };
    if out.json() {
        return out.value(&json!({
            "profile": &*profile.name, "provider": provider(profile), "partition": name.as_str(), "made": made,
            "files": written,
        }));
    }
    let what = if made { "made partition" } else { "there already: partition" };
    out.line(&format!("{what} {name} of profile {}", profile.name))
}
