//! An issuer's keys, from a file that is read again when it changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use crate::bounded;
use crate::keyring::KeyringError;

const MAX_FILE: u64 = 1 << 20;
const MAX_KEYS: usize = 100;

/// See the module.
pub struct KeySet {
    path: PathBuf,
    keys: ArcSwap<Keys>,
    looked: AtomicU64,
}

/// The keys as the file held them.
pub struct Keys {
    keys: Vec<Key>,
    stamp: Stamp,
    /// Grows with every reading.
    pub generation: u64,
}

/// What differs when a file was changed or exchanged.
type Stamp = (u64, u64, u64, i64, i64);

struct Key {
    id: Option<String>,
    algorithm: Option<KeyAlgorithm>,
    fits: fn(Algorithm) -> bool,
    key: DecodingKey,
}

impl KeySet {
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        let keys = Keys::read(path, 1).map_err(|error| {
            KeyringError::NoKey(format!(
                "cannot read the key set {}: {error}; give a JSON Web Key Set (RFC 7517)",
                path.display()
            ))
        })?;
        Ok(Self { path: path.to_owned(), keys: ArcSwap::from_pointee(keys), looked: AtomicU64::new(0) })
    }

    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// Whether nobody has looked at the file this second; who is told so looks.
    pub fn is_due(&self, now: u64) -> bool {
        self.looked.swap(now, Ordering::Relaxed) != now
    }

    /// Reads the file if it changed. One that cannot be read leaves the keys as they were. May block.
    pub fn look(&self) {
        let old = self.keys();
        if stamp(&self.path).is_ok_and(|stamp| stamp == old.stamp) {
            return;
        }
        match Keys::read(&self.path, old.generation + 1) {
            Ok(keys) => {
                tracing::info!(path = %self.path.display(), keys = keys.keys.len(), "the key set was read again");
                self.keys.store(Arc::new(keys));
            }
            Err(error) => tracing::error!(
                path = %self.path.display(),
                "the key set cannot be read, so the keys stay as they were: {error}"
            ),
        }
    }
}

impl Keys {
    /// Those that a token with this header may be signed with.
    pub fn fitting(&self, algorithm: Algorithm, id: Option<&str>) -> impl Iterator<Item = &DecodingKey> {
        let fits = move |key: &&Key| {
            (key.fits)(algorithm)
                && key.algorithm.is_none_or(|own| own == algorithm.into())
                && id.is_none_or(|id| key.id.as_deref() == Some(id))
        };
        self.keys.iter().filter(fits).map(|key| &key.key)
    }

    fn read(path: &Path, generation: u64) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        // Before the content: a change in between is seen the next time.
        let stamp = stamp(path).map_err(|error| error.to_string())?;
        let text = bounded::read_file(path, MAX_FILE).map_err(|error| error.to_string())?;
        let set: Set = serde_json::from_slice(&text).map_err(|error| format!("it is no key set: {error}"))?;
        if set.keys.len() > MAX_KEYS {
            return Err(format!("it holds more than {MAX_KEYS} keys"));
        }
        // Keys for other purposes, or of kinds that we do not take, may stand beside ours.
        let keys = set.keys.into_iter().filter_map(|key| Key::new(&serde_json::from_value(key).ok()?)).collect();
        Ok(Self { keys, stamp, generation })
    }
}

impl Key {
    /// `None` for what is no public key for signatures of a kind that we take.
    fn new(jwk: &Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return None;
        }
        let fits: fn(Algorithm) -> bool = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
                EllipticCurve::P256 => |algorithm| algorithm == Algorithm::ES256,
                EllipticCurve::P384 => |algorithm| algorithm == Algorithm::ES384,
                _ => return None,
            },
            AlgorithmParameters::RSA(_) => |algorithm| matches!(algorithm, Algorithm::RS256 | Algorithm::PS256),
            AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
                |algorithm| algorithm == Algorithm::EdDSA
            }
            // A symmetric key in a file of public ones would let every reader of it sign.
            _ => return None,
        };
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithm: jwk.common.key_algorithm,
            fits,
            key: DecodingKey::from_jwk(jwk).ok()?,
        })
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let of = std::fs::metadata(path)?;
    Ok((of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
}
