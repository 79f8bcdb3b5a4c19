//! The profiles as the keyring sees them: who opens the data keys of its epochs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::super::settings::Granularity;
use super::super::{ApiError, Fault};
use super::Profiles;
use super::line::Line;
use crate::keyring::{ManagedError, ManagedKeys};
use crate::secret::{Secret, SecretBytes};

/// A data key has no class.
const NO_CLASS: &str = "";

impl ManagedKeys for Profiles {
    fn profile_of(&self, suite: u8, key: &[u8]) -> Option<Arc<str>> {
        self.recipients.get(&(suite, key.to_vec())).cloned()
    }

    fn max_stale(&self, profile: &str) -> Duration {
        self.lines.get(profile).map_or(Duration::ZERO, |line| line.max_stale())
    }

    /// Per value, `prove` is about every value, and off unless it is asked for; a data key is always worth one more call.
    fn proves(&self, profile: &str) -> bool {
        let proves = |line: &Arc<Line>| line.settings.prove || line.settings.granularity != Granularity::Envelope;
        self.lines.get(profile).is_none_or(proves)
    }

    fn protect(&self, profile: &str, text: &SecretBytes) -> Result<Vec<u8>, ManagedError> {
        let texts = vec![text.clone()];
        self.ask(profile, async move |line| one(line.encrypt(&texts, line.how(NO_CLASS, false), false).await?))
    }

    fn unprotect(&self, profile: &str, ciphertext: &[u8]) -> Result<SecretBytes, ManagedError> {
        let ciphertexts = vec![ciphertext.to_vec()];
        self.ask(profile, async move |line| one(line.decrypt(&ciphertexts, line.how(NO_CLASS, false)).await?))
    }

    fn encapsulate(&self, profile: &str) -> Result<(Vec<u8>, Secret<32>), ManagedError> {
        self.ask(profile, async move |line| line.encapsulate().await)
    }

    fn decapsulate(&self, profile: &str, kem_ct: &[u8]) -> Result<Secret<32>, ManagedError> {
        let kem_ct = kem_ct.to_vec();
        self.ask(profile, async move |line| line.decapsulate(&kem_ct).await)
    }

    fn was_wrong(&self, profile: &str, kem_ct: &[u8]) {
        if let Some(line) = self.lines.get(profile) {
            line.forget_secret(kem_ct);
        }
    }
}

impl Profiles {
    fn ask<T: Send + 'static, R>(&self, profile: &str, call: impl FnOnce(Arc<Line>) -> R) -> Result<T, ManagedError>
    where
        R: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let Some(line) = self.lines.get(profile) else {
            return Err(ManagedError::Unavailable("there is no such profile".into()));
        };
        self.block(line.budget(), call(Arc::clone(line))).map_err(|ApiError { kind, text }| match kind {
            Fault::Refused => ManagedError::Refused(text),
            Fault::Credential => ManagedError::Credential(text),
            _ => ManagedError::Unavailable(text),
        })
    }
}

fn one<T>(values: Vec<T>) -> Result<T, ApiError> {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(ApiError::new(Fault::Lie, "it answers one value with another number")),
    }
}
