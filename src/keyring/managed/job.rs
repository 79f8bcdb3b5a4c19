//! What an API is asked for, and what of its answers is believed: nothing that does not open to the key that was committed to.

use std::sync::Arc;

use super::super::epoch;
use super::super::record::{Core, Recipient, Wrap};
use super::super::{KeyringError, Kind};
use super::{MANAGED, ManagedError, ManagedKeys};
use crate::crypto::base64url;
use crate::crypto::kdf::{key_id, sha256};
use crate::name::PartitionName;
use crate::secret::{Secret, SecretBytes};
use crate::token::EpochId;

/// Most bytes of what an API makes of a data key.
pub const MAX_WRAPPED: usize = 16 * 1024;
const MAX_KEM_CT: usize = 2048;
/// What a data key begins with when it goes to an API, so that it is told from a value.
const PREFIX: &[u8] = b"sc1k:";

/// A recipient whose private half an API holds for this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The profile that reaches the API.
    pub profile: Arc<str>,
    /// As the partition's record lists it.
    pub recipient: Recipient,
}

/// What there is to be done by calls, found out under the lock.
#[derive(Debug)]
pub enum Job {
    /// A data key for a new epoch, wrapped by each of these.
    Make { name: PartitionName, kind: Kind, created: u64, not_after: u64, held: Vec<Held> },
    /// A known data key wrapped to one more.
    Wrap { core: Core, dek: Secret<32>, held: Held },
    /// The data key of an epoch, by the first of these that gives it.
    Open { core: Core, wraps: Vec<(Held, Wrap)> },
}

/// Names a job: while one runs, whoever wants the same waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JobKey {
    /// [`Job::Make`]
    Make(PartitionName, Kind),
    /// [`Job::Wrap`]
    Wrap(EpochId, [u8; 16]),
    /// [`Job::Open`], with [`digest`].
    Open(EpochId, [u8; 32]),
}

impl Job {
    /// Its name.
    pub fn key(&self) -> JobKey {
        match self {
            Self::Make { name, kind, .. } => JobKey::Make(name.clone(), *kind),
            Self::Wrap { core, held, .. } => JobKey::Wrap(core.id(), key_id(&held.recipient.key)),
            Self::Open { core, wraps } => JobKey::Open(core.id(), digest(wraps)),
        }
    }

    /// The profile that its first call goes through.
    pub fn profile(&self) -> Arc<str> {
        let held = match self {
            Self::Make { held, .. } => held.first(),
            Self::Wrap { held, .. } => Some(held),
            Self::Open { wraps, .. } => wraps.first().map(|(held, _)| held),
        };
        held.map_or_else(|| Arc::from(""), |held| held.profile.clone())
    }
}

/// Why an API gave nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// As [`ManagedError::Refused`].
    Refused(String),
    /// As [`ManagedError::Unavailable`] and [`ManagedError::Credential`].
    Unavailable(String),
    /// It gave something else than what was asked for.
    Lied(String),
}

impl Failure {
    /// What it is to whoever wanted something sealed.
    pub fn into_error(self) -> KeyringError {
        match self {
            Self::Unavailable(text) => KeyringError::Unavailable(text),
            Self::Refused(text) => KeyringError::NoKey(format!(
                "{text}; see that its key is there and enabled, and that its credential may encrypt and decrypt with it"
            )),
            Self::Lied(text) => KeyringError::Unavailable(format!("{text}; nothing was stored")),
        }
    }

    fn of(profile: &str, error: ManagedError) -> Self {
        match error {
            ManagedError::Refused(text) => Self::Refused(format!("profile `{profile}`: {text}")),
            ManagedError::Credential(text) | ManagedError::Unavailable(text) => {
                Self::Unavailable(format!("profile `{profile}`: {text}"))
            }
        }
    }
}

/// Names exactly these wraps, so that what was opened from others is not taken for them.
pub fn digest(wraps: &[(Held, Wrap)]) -> [u8; 32] {
    let mut all = Vec::new();
    for (_, wrap) in wraps {
        all.push(wrap.suite);
        all.extend_from_slice(&wrap.recipient);
        all.extend_from_slice(&sha256(&wrap.kem_ct));
        all.extend_from_slice(&sha256(&wrap.wrapped));
    }
    sha256(&all)
}

/// Has the API wrap a data key.
pub fn wrap(keys: &dyn ManagedKeys, core: &Core, dek: &Secret<32>, held: &Held) -> Result<Wrap, Failure> {
    let Held { profile, recipient } = held;
    let failed = |error| Failure::of(profile, error);
    let lied = |what: &str| Failure::Lied(format!("profile `{profile}`: {what}"));
    if recipient.suite == MANAGED {
        let text = to_text(dek);
        let wrapped = keys.protect(profile, &text).map_err(failed)?;
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED {
            return Err(lied("what its API made of a data key is empty or longer than 16 KiB"));
        }
        // An API that encrypts nothing would open it again without a fault.
        if shows(&wrapped, dek.expose()) || shows(&wrapped, text.expose().split_at(PREFIX.len()).1) {
            return Err(lied("its API gave the data key back as it was, not encrypted"));
        }
        return Ok(Wrap { suite: MANAGED, recipient: key_id(&recipient.key), kem_ct: Vec::new(), wrapped });
    }
    let (kem_ct, shared) = keys.encapsulate(profile).map_err(failed)?;
    if kem_ct.is_empty() || kem_ct.len() > MAX_KEM_CT {
        return Err(lied("what its API gave is no KEM ciphertext"));
    }
    epoch::wrap_shared(core, dek, recipient, kem_ct, &shared).map_err(|_| lied("a data key cannot be wrapped"))
}

/// Has the API open a wrap, and compares what it gives with what the epoch commits to.
pub fn open(keys: &dyn ManagedKeys, core: &Core, held: &Held, wrap: &Wrap) -> Result<Secret<32>, Failure> {
    let Held { profile, recipient } = held;
    let failed = |error| Failure::of(profile, error);
    let lied = || {
        let id = core.id();
        Failure::Lied(format!(
            "epoch {id} does not open: profile `{profile}` gave another data key than it commits to, or its wrap was changed"
        ))
    };
    if wrap.suite != recipient.suite || wrap.wrapped.is_empty() || wrap.wrapped.len() > MAX_WRAPPED {
        return Err(lied());
    }
    if wrap.suite == MANAGED {
        if !wrap.kem_ct.is_empty() {
            return Err(lied());
        }
        let text = keys.unprotect(profile, &wrap.wrapped).map_err(failed)?;
        return from_text(&text).filter(|dek| epoch::commits(core, dek)).ok_or_else(lied);
    }
    if wrap.kem_ct.len() > MAX_KEM_CT {
        return Err(lied());
    }
    let shared = keys.decapsulate(profile, &wrap.kem_ct).map_err(failed)?;
    epoch::unwrap_shared(core, wrap, &recipient.key, &shared).ok_or_else(|| {
        keys.was_wrong(profile, &wrap.kem_ct);
        lied()
    })
}

fn to_text(dek: &Secret<32>) -> SecretBytes {
    let mut text = SecretBytes::new(Vec::with_capacity(64));
    text.expose_mut().extend_from_slice(PREFIX);
    base64url::encode_into(dek.expose(), text.expose_mut());
    text
}

fn from_text(text: &SecretBytes) -> Option<Secret<32>> {
    let bytes = base64url::decode(text.expose().strip_prefix(PREFIX)?).map(SecretBytes::new)?;
    Secret::from_slice(bytes.expose())
}

fn shows(text: &[u8], secret: &[u8]) -> bool {
    text.windows(secret.len()).any(|window| window == secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_text_of_a_data_key_is_taken() {
        let dek = Secret::from_slice(&[7; 32]).unwrap();
        let text = to_text(&dek);
        assert_eq!(from_text(&text).unwrap().expose(), dek.expose());
        let (good, mut spare) = (text.expose().to_vec(), text.expose().to_vec());
        *spare.last_mut().unwrap() += 1;
        let long = [&good[..], b"A"].concat();
        let padded = [&good[..], b"="].concat();
        let short = good[..good.len() - 1].to_vec();
        let value = [b"sc1:", &good[5..]].concat();
        for bad in [vec![], b"sc1k:".to_vec(), good[5..].to_vec(), spare, long, padded, short, value] {
            assert!(from_text(&SecretBytes::new(bad)).is_none());
        }
    }
}
