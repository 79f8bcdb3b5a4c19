//! An issuer's public keys: a JSON Web Key Set (RFC 7517) in a file that is read again when it changes, or at a URL.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::Uri;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use crate::bounded;

/// Of a whole set, in bytes.
pub(super) const MAX_SET: u64 = 1 << 20;
const MAX_KEYS: usize = 100;
/// How long keys from a URL are believed that could not be fetched again.
const MAX_STALE: Duration = Duration::from_hours(24);

/// Where a key set is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// At an `https://` URL, or on loopback at an `http://` one.
    Url(String),
}

/// A key set that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot read the key set {set}: {problem}; give a JSON Web Key Set (RFC 7517)")]
pub struct KeySetError {
    set: String,
    problem: String,
}

/// See the module.
pub struct KeySet {
    source: Source,
    keys: ArcSwap<Keys>,
    stamp: Mutex<Option<Stamp>>,
    /// Why the file could not be read the last time, so that it is told once.
    told: Mutex<String>,
    looked: AtomicU64,
    /// When the keys were fetched last; `None`: never.
    fetched: Mutex<Option<Instant>>,
    wanted: AtomicBool,
}

/// The keys as they were at one time.
#[derive(Default)]
pub struct Keys {
    keys: Vec<Key>,
    /// Grows with every change; 0: nothing was read yet.
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

impl Source {
    /// `file:PATH` or `https://…`, as written in a configuration. What is wrong, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some((scheme @ ("https" | "http"), _)) => {
                let uri: Uri = text.parse().map_err(|_| "the key set's URL is none".to_owned())?;
                let host = uri.host().unwrap_or_default();
                if host.is_empty() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
                    return Err("the key set's URL has no host, or a password".into());
                }
                if scheme == "http" && !is_loopback(host) {
                    return Err("a key set over `http://` could be anybody's".into());
                }
                Ok(Self::Url(text.to_owned()))
            }
            _ => Err("a key set is a file or a URL".into()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            // A query may hold a credential.
            Self::Url(url) => f.write_str(url.split(['?', '#']).next().unwrap_or_default()),
        }
    }
}

impl KeySet {
    /// Holds no keys yet.
    pub fn new(source: &Source) -> Self {
        Self {
            source: source.clone(),
            keys: ArcSwap::default(),
            stamp: Mutex::default(),
            told: Mutex::default(),
            looked: AtomicU64::new(0),
            fetched: Mutex::default(),
            wanted: AtomicBool::new(false),
        }
    }

    /// Reads it, if it is a file; what is at a URL comes later.
    pub fn open(source: &Source) -> Result<Self, KeySetError> {
        let set = Self::new(source);
        set.read()?;
        Ok(set)
    }

    /// Reads the file, if it is one. May block.
    pub fn read(&self) -> Result<(), KeySetError> {
        let Source::File(path) = &self.source else { return Ok(()) };
        self.read_file(path).map(drop).map_err(|problem| KeySetError { set: self.source.to_string(), problem })
    }

    /// Where it is.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The keys; `None`: they are not known, or no longer.
    pub fn keys(&self) -> Option<Arc<Keys>> {
        let keys = self.keys.load_full();
        let fresh = match self.source {
            Source::File(_) => true,
            Source::Url(_) => lock(&self.fetched).is_some_and(|at| at.elapsed() < MAX_STALE),
        };
        (fresh && keys.generation > 0).then_some(keys)
    }

    /// Whether nobody has looked at the file this second; who is told so looks.
    pub fn is_due(&self, now: u64) -> bool {
        matches!(self.source, Source::File(_)) && self.looked.swap(now, Ordering::Relaxed) != now
    }

    /// Reads the file if it changed. One that cannot be read leaves the keys as they were. May block.
    pub fn look(&self) {
        let Source::File(path) = &self.source else { return };
        let seen = *lock(&self.stamp);
        if stamp(path).is_ok_and(|stamp| Some(stamp) == seen) {
            lock(&self.told).clear();
            return;
        }
        match self.read_file(path) {
            Ok(keys) => {
                lock(&self.told).clear();
                tracing::info!(path = %path.display(), keys, "the key set was read again");
            }
            Err(error) if *lock(&self.told) == error => {}
            Err(error) => {
                tracing::error!(path = %path.display(), "the key set cannot be read, so the keys stay as they were: {error}");
                *lock(&self.told) = error;
            }
        }
    }

    /// Notes that a token names a key that is not there: its issuer may have a new one.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wanted a key since the last call.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Takes what was fetched; how many keys that are.
    pub(super) fn fetched(&self, text: &[u8]) -> Result<usize, String> {
        let keys = keys(text)?;
        let count = self.take(keys);
        *lock(&self.fetched) = Some(Instant::now());
        Ok(count)
    }

    fn read_file(&self, path: &Path) -> Result<usize, String> {
        // Before the content: a change in between is seen the next time.
        let stamp = stamp(path).map_err(|error| error.to_string())?;
        let text = bounded::read_file(path, MAX_SET).map_err(|error| error.to_string())?;
        let count = self.take(keys(&text)?);
        *lock(&self.stamp) = Some(stamp);
        Ok(count)
    }

    fn take(&self, keys: Vec<Key>) -> usize {
        let (count, old) = (keys.len(), self.keys.load());
        if count == 0 {
            tracing::warn!(set = %self.source, "the key set has no key for signatures: no token will be believed");
        }
        self.keys.store(Arc::new(Keys { keys, generation: old.generation + 1 }));
        count
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({})", self.source)
    }
}

impl Keys {
    /// Those that a token with this header may be signed with.
    pub(super) fn fitting(&self, algorithm: Algorithm, id: Option<&str>) -> impl Iterator<Item = &DecodingKey> {
        let fits = move |key: &&Key| {
            (key.fits)(algorithm)
                && key.algorithm.is_none_or(|own| own == algorithm.into())
                && id.is_none_or(|id| key.id.as_deref() == Some(id))
        };
        self.keys.iter().filter(fits).map(|key| &key.key)
    }
}

/// The keys of a set. Those for other purposes, or of kinds that are not taken, may stand beside.
fn keys(text: &[u8]) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|error| format!("it is no key set: {error}"))?;
    if set.keys.len() > MAX_KEYS {
        return Err(format!("it holds more than {MAX_KEYS} keys"));
    }
    Ok(set.keys.into_iter().filter_map(|key| Key::new(&serde_json::from_value(key).ok()?)).collect())
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
            AlgorithmParameters::RSA(_) => is_rsa,
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

fn is_rsa(algorithm: Algorithm) -> bool {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let of = std::fs::metadata(path)?;
    Ok((of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
