//! The authority: the service that a fleet of sidecars shares, and four known APIs on the same partitions. Every face is a router
//! of its own; all go through [`vault`] for values, [`credentials`] for identities and [`crate::audit`] for what is recorded.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::Audit;
use crate::clock::SharedClock;
use crate::directory::Directory;
use crate::keyring::{Changed, Keyring, KeyringError, State};

pub mod apps;
pub mod credentials;
pub mod crittora;
pub mod crypteron;
pub mod exequantum;
pub mod face;
pub mod identity;
pub mod keyring_api;
pub mod lifecycle;
pub mod listen;
pub mod management;
pub mod ncloud_kms;
pub mod settings;
mod strangers;
pub mod vault;

use credentials::Credentials;
use identity::Identities;
use vault::Vault;

pub use settings::Settings;

/// What all faces share.
pub struct Authority {
    /// Partitions and their keys.
    pub keyring: Arc<Keyring>,
    /// Users, API keys and whatever else a face remembers.
    pub directory: Directory,
    /// Who may.
    pub credentials: Credentials,
    /// Whom [`identity::identify`] believes.
    pub(crate) identities: Identities,
    /// Seals and opens.
    pub vault: Vault,
    /// What is recorded.
    pub audit: Arc<Audit>,
    /// The time of day.
    pub clock: SharedClock,
}

impl Authority {
    /// On a keyring whose master key this process holds.
    pub fn new(keyring: Arc<Keyring>, clock: SharedClock, settings: &Settings) -> Result<Self, KeyringError> {
        let directory = Directory::new(Arc::clone(&keyring), Arc::clone(&clock), settings.max_stale)?;
        let audit = Arc::new(Audit::open(Arc::clone(&keyring), Arc::clone(&clock))?);
        let credentials = Credentials::with_limits(directory.clone(), &settings.limits)?;
        let identities = Identities::new(settings)?;
        let vault = Vault::new(Arc::clone(&keyring), Arc::clone(&audit));
        Ok(Self { keyring, directory, credentials, identities, vault, audit, clock })
    }
}

/// Who asks, after authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As the audit log names it, such as `apikey 12` or `user alice`.
    pub name: String,
    /// The role in partitions' access-control entries.
    pub role: String,
}

/// Why a call is not done. Each face words it in its own way; the text of `Invalid` alone may go outside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No credential, or a wrong one.
    #[error("not authenticated")]
    Unauthenticated,
    /// Too many calls or failed log-ins: again after so many seconds.
    #[error("too many requests")]
    TooMany(u64),
    /// The caller's role may not.
    #[error("the caller's role does not allow it")]
    Forbidden,
    /// The partition's state forbids it.
    #[error("the partition is {0}")]
    State(State),
    /// No such thing.
    #[error("there is no such thing")]
    NotFound,
    /// It is there already, or was changed meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// What was sent is not right; says what to do.
    #[error("{0}")]
    Invalid(String),
    /// A ciphertext that does not open, whyever.
    #[error("the value does not open")]
    NotAuthentic,
    /// The store, or this process, cannot now; for the log, never outside.
    #[error("{0}")]
    Unavailable(String),
}

impl From<KeyringError> for Refused {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Denied(_, state) => Self::State(state),
            KeyringError::Unknown(_) => Self::NotFound,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// The new version, unless somebody else was first.
fn changed(changed: Changed) -> Result<u64, Refused> {
    match changed {
        Changed::Done(version) => Ok(version),
        Changed::Stale(version) => Err(Refused::Conflict(format!("it was changed meanwhile, to version {version}"))),
    }
}

/// Runs what may block off the threads that serve. Bounded: more than so many at once wait, and nobody waits for long.
pub async fn blocking<T: Send + 'static, E: From<Refused> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    static THREADS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(64);
    const PATIENCE: Duration = Duration::from_secs(10);
    let work = async {
        let permit = THREADS.acquire().await;
        // The permit lasts as long as the thread is busy, also when nobody waits for it any more.
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Refused::Unavailable("a look-up was broken off".into()).into()),
        Err(_) => Err(Refused::Unavailable("a look-up took too long".into()).into()),
    }
}
