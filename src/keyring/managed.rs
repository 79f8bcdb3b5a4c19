//! Recipients whose private half a managed API holds, named by the profile that reaches it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

mod calls;
mod desk;
mod job;
mod lease;
mod partitions;

pub(super) use desk::{Desk, Ticket};
pub(super) use job::{Failure, Held, Job, MAX_WRAPPED};
pub(super) use lease::Lease;

pub(super) use calls::Calls;
pub use calls::{Call, without_calls};

use crate::secret::{Secret, SecretBytes};

/// The KEM suite of a recipient that is no key pair of ours: its key is the UTF-8 of a profile's name.
pub const MANAGED: u8 = 0x40;

/// The managed APIs that keep recipients' private halves. Every method but [`ManagedKeys::profile_of`] and those that tell a
/// setting calls out, for as long as the profile's budget lasts: never call one with a lock held.
pub trait ManagedKeys: Send + Sync + 'static {
    /// The profile that opens for this recipient, as a partition record lists it: [`MANAGED`] with the profile's name, or the
    /// suite and encapsulation key of a pair that was made there. `None`: no profile of this process does.
    fn profile_of(&self, suite: u8, key: &[u8]) -> Option<Arc<str>>;

    /// For how long an epoch that the profile's API opened is used without the API's opening it again.
    fn max_stale(&self, profile: &str) -> Duration;

    /// Whether what the API has just wrapped is opened by it once before anything is sealed under it.
    fn proves(&self, profile: &str) -> bool;

    /// The API's ciphertext of a text (`sc1k:` and a data key).
    fn protect(&self, profile: &str, text: &SecretBytes) -> Result<Vec<u8>, ManagedError>;

    /// The text of such a ciphertext.
    fn unprotect(&self, profile: &str, ciphertext: &[u8]) -> Result<SecretBytes, ManagedError>;

    /// A KEM ciphertext with its shared secret, encapsulated by the API to the recipient that it keeps.
    fn encapsulate(&self, profile: &str) -> Result<(Vec<u8>, Secret<32>), ManagedError>;

    /// The shared secret of such a KEM ciphertext.
    fn decapsulate(&self, profile: &str, kem_ct: &[u8]) -> Result<Secret<32>, ManagedError>;
}

/// Why a managed API did nothing, in words that name the profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagedError {
    /// It says no, and would again: no such key, a key that is disabled, a ciphertext that is none of its own, no permission.
    #[error("{0}")]
    Refused(String),
    /// Not now: it does not answer, answers with something that cannot be right, or is asked too much.
    #[error("{0}")]
    Unavailable(String),
}

/// What was asked of managed APIs so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ManagedStats {
    /// Calls that wrapped a data key.
    pub wraps: u64,
    /// Calls that opened one.
    pub unwraps: u64,
    /// Those of both that came to nothing.
    pub failures: u64,
    /// Renewals in the background that fail now and are tried again.
    pub failing: u64,
    /// Until the first epoch that only an API opens is used no more, unless the API answers; `None`: there is none.
    pub seconds_left: Option<u64>,
}

/// Hands [`ManagedKeys`] to a keyring; none by default.
#[derive(Clone, Default)]
pub struct Managed(pub Option<Arc<dyn ManagedKeys>>);

impl fmt::Debug for Managed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Managed(…)" } else { "Managed(none)" })
    }
}
