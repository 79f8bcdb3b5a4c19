//! One real round trip with a profile's API.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::exit::{Exit, Failure};
use crate::clock::SystemClock;
use crate::crypto::mac::same;
use crate::crypto::{hex, random};
use crate::keyring::{ManagedError, ManagedKeys, State};
use crate::metrics::Metrics;
use crate::sealer::managed::crypteron::{Crypteron, Standing};
use crate::sealer::managed::http::Http;
use crate::sealer::managed::set::Profiles;
use crate::sealer::managed::settings::{CrypteronSettings, ProfileSettings, Provider};
use crate::sealer::managed::{ApiError, Fault};
use crate::secret::SecretBytes;

/// What an API showed.
pub(super) struct Tried {
    /// How long all of it took.
    pub took: Duration,
    /// What it does now, in words.
    pub does: String,
}

/// Has the API do what the profile is there for.
pub(super) fn round_trip(profile: &ProfileSettings) -> Result<Tried, Failure> {
    let name = &*profile.name;
    let begun = Instant::now();
    let does = match &profile.provider {
        Provider::Crittora(_) | Provider::NcloudKms(_) => {
            let profiles = alone(profile)?;
            let begun = Instant::now();
            let noise = random::bytes::<16>().map_err(|_| Failure::internal("there are no random bytes"))?;
            let text = SecretBytes::new(format!("sidecloak check {}", hex::encode(&noise)).into_bytes());
            let ciphertext = profiles.protect(name, &text).map_err(|error| managed(name, &error))?;
            let opened = profiles.unprotect(name, &ciphertext).map_err(|error| managed(name, &error))?;
            agree(name, opened.expose(), text.expose(), "text")?;
            return Ok(Tried { took: begun.elapsed(), does: "encrypts and decrypts".to_owned() });
        }
        Provider::ExeQuantum(_) => {
            let profiles = alone(profile)?;
            let begun = Instant::now();
            let (ciphertext, ours) = profiles.encapsulate(name).map_err(|error| managed(name, &error))?;
            let theirs = profiles.decapsulate(name, &ciphertext).map_err(|error| managed(name, &error))?;
            agree(name, theirs.expose(), ours.expose(), "shared secret")?;
            return Ok(Tried { took: begun.elapsed(), does: "encapsulates and decapsulates".to_owned() });
        }
        Provider::Crypteron(settings) => standing(profile, settings)?,
    };
    Ok(Tried { took: begun.elapsed(), does })
}

/// Has Crypteron know the partition from now on.
pub(super) fn provision(profile: &ProfileSettings, settings: &CrypteronSettings) -> Result<Standing, Failure> {
    let description = format!("Sidecloak profile {}", profile.name);
    wait(profile, async |http| client(http, settings)?.provision(&description).await)
}

fn standing(profile: &ProfileSettings, settings: &CrypteronSettings) -> Result<String, Failure> {
    let standing = wait(profile, async |http| client(http, settings)?.standing().await)?;
    let state = match standing.state {
        State::Active => "active",
        State::DecryptOnly => "decrypt-only",
        State::Paused => "paused",
        State::Destroyed => "destroyed",
    };
    Ok(format!("says: {state}, version {}", standing.version))
}

fn client(http: Http, settings: &CrypteronSettings) -> Result<Crypteron, ApiError> {
    Crypteron::new(http, settings).map_err(|text| ApiError::new(Fault::Credential, text))
}

/// Calls of a client that stands outside the set of profiles, within the profile's budget for each of its few calls.
pub(super) fn wait<T, F: Future<Output = Result<T, ApiError>>>(
    profile: &ProfileSettings,
    calls: impl FnOnce(Http) -> F,
) -> Result<T, Failure> {
    let name = &*profile.name;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("a runtime", &error))?;
    runtime.block_on(async {
        let http = Http::new(&profile.endpoint, &profile.tls, profile.calls.answer)
            .map_err(|text| Failure::new(Exit::NoPermission, format!("profile `{name}`: {text}")))?;
        let budget = profile.calls.budget.saturating_mul(4);
        let late = |_| Err(ApiError::new(Fault::Timeout, "the API does not answer in time"));
        let answer = tokio::time::timeout(budget, calls(http)).await.unwrap_or_else(late);
        answer.map_err(|error| {
            let code = match error.kind {
                Fault::Credential => Exit::NoPermission,
                Fault::Refused | Fault::Lie => Exit::No,
                Fault::Connection
                | Fault::Timeout
                | Fault::Throttled(_)
                | Fault::Server
                | Fault::Saturated
                | Fault::Broken => Exit::Unavailable,
            };
            Failure::new(code, format!("profile `{name}`: {error}"))
        })
    })
}

/// The profile without the others, so that their faults are not its own.
pub(super) fn alone(profile: &ProfileSettings) -> Result<Arc<Profiles>, Failure> {
    Ok(Profiles::open(vec![profile.clone()], SystemClock::shared(), &Metrics::default())?)
}

fn agree(profile: &str, found: &[u8], expected: &[u8], what: &str) -> Result<(), Failure> {
    if same(found, expected) {
        return Ok(());
    }
    let text = format!("profile `{profile}`: the API does not give back the {what} that it was given");
    Err(Failure::new(Exit::No, text).help("do not seal with it; is `endpoint` the vendor's?"))
}

fn managed(profile: &str, error: &ManagedError) -> Failure {
    let code = match error {
        ManagedError::Refused(_) => Exit::No,
        ManagedError::Credential(_) => Exit::NoPermission,
        ManagedError::Unavailable(_) => Exit::Unavailable,
    };
    Failure::new(code, format!("profile `{profile}`: {error}"))
}
