//! Managed APIs as clients: one [`Api`] for each provider, with what keeps its faults from being ours around it.

pub mod credential;
pub mod crittora;
pub mod crypteron;
pub mod exequantum;
pub mod fallback;
pub mod guard;
pub mod http;
pub mod ncloud_kms;
pub mod opened;
mod quoted;
pub mod set;
pub mod settings;
pub mod tokens;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::secret::{Secret, SecretBytes};

/// An answer that is waited for.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// What is asked of every value of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct How {
    /// Sign while encrypting, verify while decrypting.
    pub signed: bool,
    /// Where the API wants a context (convergent keys): this one.
    pub context: Option<[u8; 32]>,
}

/// The value side of a provider: one method call is one call of the API, tried once. Retries, deadlines and limits are around it;
/// each try builds its request anew, so that a signature over the time is fresh. A credential that is refused is renewed once
/// within the try.
pub trait Api: Send + Sync + 'static {
    /// The ciphertexts of these texts, in their order: exactly as many.
    fn encrypt<'a>(&'a self, texts: &'a [SecretBytes], how: How) -> Answering<'a, Vec<Vec<u8>>>;

    /// The texts of these ciphertexts, in their order: exactly as many.
    fn decrypt<'a>(&'a self, ciphertexts: &'a [Vec<u8>], how: How) -> Answering<'a, Vec<SecretBytes>>;
}

/// The key side of a provider that keeps a KEM key pair.
pub trait KemApi: Send + Sync + 'static {
    /// A KEM ciphertext for the recipient that the profile is configured with, and its shared secret.
    fn encapsulate(&self) -> Answering<'_, (Vec<u8>, Secret<32>)>;

    /// The shared secret of a KEM ciphertext.
    fn decapsulate<'a>(&'a self, kem_ct: &'a [u8]) -> Answering<'a, Secret<32>>;
}

/// Why a try came to nothing. Its text names what failed and the way out, and nothing that the API said unless it is known to be
/// harmless (a documented code).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ApiError {
    /// What to make of it.
    pub kind: Fault,
    /// For the log.
    pub text: String,
}

/// See [`ApiError::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection, one that broke off, or a TLS handshake that failed.
    Connection,
    /// The deadline of one try, or the budget of all, has passed.
    Timeout,
    /// 429, or the API's own word for it.
    Throttled(Option<Duration>),
    /// 5xx, or the API's own word for it.
    Server,
    /// The credential is not taken, also after a renewal.
    Credential,
    /// Said no for good: this value, this key, this permission.
    Refused,
    /// What came back cannot be right.
    Lie,
    /// Our own bound on calls at once and in the queue.
    Saturated,
    /// The circuit breaker is open.
    Broken,
}

impl ApiError {
    /// Of this kind.
    pub fn new(kind: Fault, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl Fault {
    /// As a label of metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Throttled(_) => "throttled",
            Self::Server => "server",
            Self::Credential => "credential",
            Self::Refused => "refused",
            Self::Lie => "lie",
            Self::Saturated => "saturated",
            Self::Broken => "broken",
        }
    }

    /// Whether the same call may do better a moment later.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Connection | Self::Timeout | Self::Throttled(_) | Self::Server)
    }

    /// Whether it speaks against the API's health: what it refuses, it has answered.
    pub fn is_outage(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::Timeout | Self::Throttled(_) | Self::Server | Self::Credential | Self::Lie
        )
    }
}
