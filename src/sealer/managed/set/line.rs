//! One profile at run time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use super::super::crypteron::{Crypteron, Standing};
use super::super::fallback::{Asked, End};
use super::super::opened::{Name, OpenedValues};
use super::super::settings::ProfileSettings;
use super::super::{Api, ApiError, Fault, How, KemApi};
use super::checks;
use super::order::Order;
use crate::crypto::kdf::{pae, sha256};
use crate::metrics::ManagedMetrics;
use crate::rules::profile::{PerValue, Profile};
use crate::secret::{Secret, SecretBytes};

/// Shared secrets kept: the epochs that a process has opened lately, and then some.
const SECRETS: u64 = 4_096;
/// No shared secret is kept for longer.
const SECRET_LIFETIME: Duration = Duration::from_hours(1);

/// See the module.
pub struct Line {
    /// As configured.
    pub settings: ProfileSettings,
    /// What the rules know of it.
    pub facts: Profile,
    /// Who is asked.
    pub ends: Ends,
    /// If the settings say so.
    pub opened: Option<Arc<OpenedValues>>,
    /// By the ciphertexts that they were decapsulated from, which are no secret.
    secrets: Cache<[u8; 32], Secret<32>>,
    /// Whether there may be any: the cache's own count lags behind.
    any_secret: AtomicBool,
    seen: ManagedMetrics,
}

/// The clients of a profile, the primary first.
pub enum Ends {
    /// It encrypts values.
    Values(Vec<End<dyn Api>>),
    /// It keeps a KEM key pair.
    Kem(Vec<End<dyn KemApi>>),
    /// It has no keys, and says what may be done with those that are here.
    Control(Vec<End<Crypteron>>),
}

impl Line {
    /// With these clients.
    pub fn new(settings: ProfileSettings, ends: Ends, seen: ManagedMetrics) -> Result<Self, String> {
        let opened = settings.opened_cache.map(OpenedValues::new).transpose().map_err(|error| error.to_string())?;
        let lifetime = secret_lifetime(&settings);
        let secrets = Cache::builder().max_capacity(SECRETS).time_to_live(lifetime).build();
        let facts = settings.facts();
        Ok(Self {
            facts,
            settings,
            ends,
            opened: opened.map(Arc::new),
            secrets,
            any_secret: AtomicBool::new(false),
            seen,
        })
    }

    /// How values go to the API, whether or not the profile has them go there now: what an operator sealed before is opened.
    pub fn per_value(&self) -> Option<&PerValue> {
        self.facts.per_value.as_ref()
    }

    /// For how long a call may take, however many endpoints there are.
    pub fn budget(&self) -> Duration {
        self.settings.calls.budget
    }

    /// What the API needs beside the values of this class.
    pub fn how(&self, class: &str, signed: bool) -> How {
        let convergent = self.per_value().is_some_and(|per_value| per_value.convergent);
        let context = || sha256(&pae(&[b"sidecloak/1 context", self.facts.name.as_bytes(), class.as_bytes()]));
        How { signed, context: convergent.then(context) }
    }

    /// The ciphertexts of these texts, by the primary alone: what another endpoint sealed, this one need not open. With `prove`
    /// they are opened once before they count.
    pub async fn encrypt(&self, texts: &[SecretBytes], how: How, prove: bool) -> Result<Vec<Vec<u8>>, ApiError> {
        let Ends::Values(ends) = &self.ends else { return Err(no_keys()) };
        let Some(primary) = ends.first() else { return Err(no_keys()) };
        let encrypt = || async {
            let ciphertexts = primary.client.encrypt(texts, how).await?;
            checks::sealed(texts, &ciphertexts, self.per_value(), how)?;
            Ok(ciphertexts)
        };
        let ciphertexts = primary.guard.run("encrypt", encrypt).await?;
        if prove {
            let decrypt = || async {
                let opened = opened(&*primary.client, &ciphertexts, how).await?;
                checks::proven(texts, &opened)
            };
            primary.guard.run("decrypt", decrypt).await?;
        }
        Ok(ciphertexts)
    }

    /// The texts of these ciphertexts, by the first endpoint that answers.
    pub async fn decrypt(&self, ciphertexts: &[Vec<u8>], how: How) -> Result<Vec<SecretBytes>, ApiError> {
        let Ends::Values(ends) = &self.ends else { return Err(no_keys()) };
        let mut asked = Asked::default();
        for end in ends {
            let decrypt = || opened(&*end.client, ciphertexts, how);
            if let ControlFlow::Break(answer) = asked.and(end.guard.run("decrypt", decrypt).await) {
                return answer;
            }
        }
        Err(asked.failed())
    }

    /// A KEM ciphertext and its shared secret.
    pub async fn encapsulate(&self) -> Result<(Vec<u8>, Secret<32>), ApiError> {
        let Ends::Kem(ends) = &self.ends else { return Err(no_keys()) };
        let Some(primary) = ends.first() else { return Err(no_keys()) };
        primary.guard.run("encapsulate", || primary.client.encapsulate()).await
    }

    /// The shared secret of a KEM ciphertext, by the first endpoint that answers.
    pub async fn decapsulate(&self, kem_ct: &[u8]) -> Result<Secret<32>, ApiError> {
        let Ends::Kem(ends) = &self.ends else { return Err(no_keys()) };
        let name = sha256(kem_ct);
        if let Some(secret) = self.secrets.get(&name) {
            self.seen.shared_secrets.hits.inc();
            return Ok(secret);
        }
        self.seen.shared_secrets.misses.inc();
        let mut asked = Asked::default();
        for end in ends {
            let answer = end.guard.run("decapsulate", || end.client.decapsulate(kem_ct)).await;
            if let ControlFlow::Break(answer) = asked.and(answer) {
                let secret = answer?;
                self.secrets.insert(name, secret.clone());
                self.any_secret.store(true, Ordering::Release);
                return Ok(secret);
            }
        }
        Err(asked.failed())
    }

    /// What was given for it opens nothing.
    pub fn forget_secret(&self, kem_ct: &[u8]) {
        self.secrets.invalidate(&sha256(kem_ct));
    }

    /// What the control plane says now.
    pub async fn standing(&self) -> Result<Standing, ApiError> {
        let Ends::Control(ends) = &self.ends else { return Err(no_keys()) };
        let Some(primary) = ends.first() else { return Err(no_keys()) };
        primary.guard.run("standing", || primary.client.standing()).await
    }

    /// A value that was opened a moment ago.
    pub fn find_opened(&self, name: Name) -> Option<SecretBytes> {
        let value = self.opened.as_ref()?.find(name);
        let counter = if value.is_some() { &self.seen.opened_values.hits } else { &self.seen.opened_values.misses };
        counter.inc();
        value
    }

    /// For how long an epoch counts as opened. Its shared secret may have been kept for a while before.
    pub fn max_stale(&self) -> Duration {
        match self.ends {
            Ends::Kem(_) => self.settings.max_stale.saturating_sub(secret_lifetime(&self.settings)),
            Ends::Values(_) | Ends::Control(_) => self.settings.max_stale,
        }
    }

    /// Forgets what was opened.
    pub fn forget(&self) {
        if let Some(opened) = &self.opened {
            opened.clear();
        }
        if self.any_secret.swap(false, Ordering::AcqRel) {
            self.secrets.invalidate_all();
            self.secrets.run_pending_tasks();
        }
    }
}

/// The texts of ciphertexts, each asked for in several places of the array where there is more than one.
async fn opened(client: &dyn Api, ciphertexts: &[Vec<u8>], how: How) -> Result<Vec<SecretBytes>, ApiError> {
    let order = Order::new(ciphertexts.len())?;
    let texts = order.read(client.decrypt(&order.ask(ciphertexts), how).await?)?;
    checks::opened(ciphertexts, &texts)?;
    Ok(texts)
}

/// A part of `max_stale`, so that an epoch that is opened again before that passes is opened by the API.
fn secret_lifetime(settings: &ProfileSettings) -> Duration {
    (settings.max_stale / 4).min(SECRET_LIFETIME)
}

fn no_keys() -> ApiError {
    ApiError::new(Fault::Refused, "its API does nothing of the kind")
}
