//! Values that a managed API seals and opens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::name::Class;
use crate::rules::profile::Profile;
use crate::secret::SecretBytes;

/// The answers of [`super::Sealer::delegate`], in the order of what was asked.
pub type Delegating<'a> = Pin<Box<dyn Future<Output = Vec<Result<Answer, DelegateError>>> + Send + 'a>>;

/// One value on its way to a managed API.
#[derive(Clone)]
pub struct Delegated {
    /// Which.
    pub profile: Arc<Profile>,
    /// The value's class: where the API wants a context, it is made of this.
    pub class: Class,
    /// With or under a signature of the API's own.
    pub signed: bool,
    /// What is to be done.
    pub work: Work,
}

/// See [`Delegated::work`].
#[derive(Clone)]
pub enum Work {
    /// Encrypt exactly this text.
    Seal(SecretBytes),
    /// Decrypt exactly this ciphertext.
    Open(Vec<u8>),
}

/// What came back, checked as far as the API's own form goes.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The API's ciphertext, as it is.
    Sealed(Vec<u8>),
    /// The text that was encrypted.
    Opened(SecretBytes),
}

/// Why nothing did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegateError {
    /// The API says no to this value: when opening, it is none of its ciphertexts.
    #[error("{0}")]
    Refused(String),
    /// Not now: the API does not answer, or with something that cannot be right, or is asked too much.
    #[error("{0}")]
    Unavailable(String),
}

impl fmt::Debug for Delegated {
    /// Never the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delegated")
            .field("profile", &self.profile.name)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}
