//! A process's view of the keyring: verified partition and epoch records, their keys, and the caches over them.
//!
//! The store is not trusted. What a process acts on is signed by the owner (partitions) or a listed issuer (epochs), and
//! checked on every load; the columns beside the records only help to find them.

use std::fmt;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard};

use crate::clock::SharedClock;
use crate::crypto::kdf::sha256;
use crate::crypto::sign::{SigningKey, VerifyingKey};
use crate::name::{Class, PartitionName};
use crate::token::v1::{FieldKey, PrefixCache};
use crate::token::{EpochId, Suite};

mod caches;
mod cbor;
mod epoch;
mod files;
mod kept;
mod lifecycle;
mod load;
mod manage;
mod managed;
mod master;
mod memo;
mod migrate;
mod mirror;
mod open;
mod options;
mod partition;
mod portable;
mod previous;
mod record;
mod recovery;
mod root;
mod sealing;
mod serve;
pub mod store;
mod watch;

#[cfg(test)]
mod tests;

use caches::{Caches, Loaded};
use master::{Masters, PrivateKeys};
use mirror::Mirror;
use store::{Counted, KeyRow, Service, ServiceError, Store};

pub use caches::CacheStats;
pub use epoch::Epoch;
#[cfg(not(fuzzing))]
pub(crate) use files::check_private;
pub use lifecycle::{Cursor, EpochInfo, PartitionInfo, RecipientInfo, Rewrapped};
pub use manage::{Change, Changed};
pub use managed::{Call, MANAGED, Managed, ManagedError, ManagedKeys, ManagedStats, without_calls};
pub use memo::{Memo, Recalled};
pub use migrate::Moved;
pub use options::{KeySource, KeyringError, Options};
pub use partition::{Kind, Partition, Permissions, State};
pub use recovery::{Recovery, RecoveryKey};
pub use serve::{NotTaken, ServedEpoch};
pub use store::postgres::{DatabaseTls, TlsFiles};
pub use watch::Stats;

/// The answer of a cache that never does I/O.
#[derive(Debug)]
pub enum Cached<T> {
    /// Here it is.
    Hit(T),
    /// Asked for lately, and not (known good) in the keyring.
    Unknown,
    /// The partition's state forbids it.
    Denied(State),
    /// Ask the method that may block.
    Miss,
}

impl<T> Cached<T> {
    /// The same about what is made of it.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Cached<U> {
        match self {
            Self::Hit(value) => Cached::Hit(make(value)),
            Self::Unknown => Cached::Unknown,
            Self::Denied(state) => Cached::Denied(state),
            Self::Miss => Cached::Miss,
        }
    }
}

/// See the module.
pub struct Keyring {
    options: Options,
    clock: SharedClock,
    store: Box<dyn Store>,
    mirror: Option<Mirror>,
    owner: VerifyingKey,
    /// As they were when the keyring was opened.
    masters: Masters,
    caches: Arc<Caches>,
    /// Where managed APIs are called.
    desk: Arc<managed::Desk>,
    /// Held during I/O, so that misses on one key fetch it once; never taken by a method that must not block.
    io: Mutex<Io>,
}

/// What only methods that may block use.
#[derive(Debug)]
struct Io {
    masters: Masters,
    /// The rows that `keys` were unwrapped from.
    rows: Vec<KeyRow>,
    keys: PrivateKeys,
    /// Of a process that only encrypts.
    own_issuer: Option<Arc<SigningKey>>,
    /// Its epochs that no opener has confirmed yet.
    pending: Vec<Arc<caches::Sealing>>,
    change: Option<u64>,
    /// Number and epoch of the last tombstone read.
    last_tombstone: Option<(u64, EpochId)>,
    complained: bool,
    /// What was found to need a call of a managed API.
    calls: managed::Calls,
    /// For partitions that requests ask for.
    provisions: Provisions,
}

/// How fast requests may have partitions made, each of which costs a signature and a synced write.
#[derive(Debug)]
struct Provisions {
    left: u64,
    since: u64,
}

impl Provisions {
    // A fleet that starts with a thousand tenants makes them at once; who invents names is held to 50 a second.
    const BURST: u64 = 1000;
    const PER_SECOND: u64 = 50;

    fn take(&mut self, now: u64) -> bool {
        let refill = now.saturating_sub(self.since).saturating_mul(Self::PER_SECOND);
        self.left = self.left.saturating_add(refill).min(Self::BURST);
        self.since = now;
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}

impl Keyring {
    /// SHA-256 of the owner's verifying key, for `owner:` in the configuration of processes without the master key.
    pub fn owner_fingerprint(&self) -> [u8; 32] {
        sha256(self.owner.as_bytes())
    }

    /// The partition's verified record, whatever its state. Never blocks.
    pub fn partition_cached(&self, name: &PartitionName) -> Cached<Arc<Partition>> {
        self.loaded_cached(name).map(|loaded| Arc::clone(&loaded.partition))
    }

    fn loaded_cached(&self, name: &PartitionName) -> Cached<Arc<Loaded>> {
        if !self.is_fresh() {
            return Cached::Miss;
        }
        match self.caches.partition(name) {
            Some(loaded) => Cached::Hit(loaded),
            None if self.caches.is_unknown_partition(name) => Cached::Unknown,
            None => Cached::Miss,
        }
    }

    /// The partition's verified record, whatever its state. May block.
    pub fn partition(&self, name: &PartitionName) -> Result<Arc<Partition>, KeyringError> {
        let io = self.lock_fresh()?;
        Ok(self.loaded(&io, name)?.partition.clone())
    }

    /// The epoch to seal under now (an encrypt-only process gets its own private epoch for `Kind::Random`). Never blocks.
    pub fn sealing_cached(&self, name: &PartitionName, kind: Kind) -> Cached<Arc<Epoch>> {
        match self.partition_cached(name) {
            Cached::Hit(partition) if partition.state != State::Active => return Cached::Denied(partition.state),
            Cached::Hit(_) => {}
            Cached::Unknown => return Cached::Unknown,
            Cached::Denied(state) => return Cached::Denied(state),
            Cached::Miss => return Cached::Miss,
        }
        self.sealing_of_active(name, kind).map_or(Cached::Miss, Cached::Hit)
    }

    /// The same of a partition that is known to be active.
    fn sealing_of_active(&self, name: &PartitionName, kind: Kind) -> Option<Arc<Epoch>> {
        let seals = |sealing: &Arc<caches::Sealing>| self.seals(&sealing.epoch).then(|| Arc::clone(&sealing.epoch));
        self.caches.sealing_as(name, self.effective(kind), seals)?
    }

    /// The same; may block, and makes (durably) an epoch where none is current.
    pub fn sealing(&self, name: &PartitionName, kind: Kind) -> Result<Arc<Epoch>, KeyringError> {
        self.with_calls(|io| self.sealing_epoch(io, name, kind))
    }

    /// The epoch that a token names, for opening. Never blocks.
    pub fn opening_cached(&self, id: EpochId) -> Cached<Arc<Epoch>> {
        self.opening_by(id, |home| self.partition_cached(home).map(|partition| partition.state))
    }

    /// The same, where `state` tells that of the epoch's partition.
    fn opening_by(&self, id: EpochId, state: impl FnOnce(&PartitionName) -> Cached<State>) -> Cached<Arc<Epoch>> {
        let opened = self.caches.opened(id).filter(|epoch| !epoch.is_stale(|| self.clock.now()));
        let other = if opened.is_none() { self.caches.home(id) } else { None };
        if let Some(home) = opened.as_ref().map(|epoch| &epoch.partition).or(other.as_ref()) {
            match state(home) {
                Cached::Hit(state) if !state.opens() => return Cached::Denied(state),
                Cached::Hit(_) => {}
                Cached::Denied(state) => return Cached::Denied(state),
                Cached::Unknown | Cached::Miss => return Cached::Miss,
            }
        }
        match opened {
            Some(epoch) => Cached::Hit(epoch),
            None if self.is_fresh() && self.caches.is_unknown(id) => Cached::Unknown,
            None => Cached::Miss,
        }
    }

    /// The same; may block.
    pub fn opening(&self, id: EpochId) -> Result<Arc<Epoch>, KeyringError> {
        let opened = self.with_calls(|io| self.opening_epoch(io, id));
        match opened {
            // Why it does not open is the operator's to know.
            Err(KeyringError::NoKey(text)) if !self.is_encrypt_only() => {
                if self.caches.is_new(&text) {
                    tracing::warn!("{text}");
                }
                Err(KeyringError::Unknown(text))
            }
            other => other,
        }
    }

    /// The key of a class under an epoch; cached, derived on a miss, never blocks on I/O.
    pub fn field_key(&self, epoch: &Epoch, suite: Suite, class: &Class) -> Arc<FieldKey> {
        self.caches.field_key(epoch, suite, class)
    }

    /// XAES keys by prefix.
    pub fn prefixes(&self) -> &PrefixCache {
        &self.caches.prefixes
    }

    /// This process's signing key for values in that partition, if it has one that the partition lists. May block the first time.
    pub fn signer(&self, name: &PartitionName) -> Result<Option<Arc<SigningKey>>, KeyringError> {
        if self.is_fresh()
            && let Some(loaded) = self.caches.partition(name)
        {
            return Ok(loaded.signer.clone());
        }
        let io = self.lock_fresh()?;
        Ok(self.loaded(&io, name)?.signer.clone())
    }

    /// The same from the cache; never blocks.
    pub fn signer_cached(&self, name: &PartitionName) -> Cached<Option<Arc<SigningKey>>> {
        if !self.is_fresh() {
            return Cached::Miss;
        }
        match self.caches.partition(name) {
            Some(loaded) => Cached::Hit(loaded.signer.clone()),
            None if self.caches.is_unknown_partition(name) => Cached::Unknown,
            None => Cached::Miss,
        }
    }

    /// How often a record was found that somebody without the right must have written, or that does not open.
    pub fn alarms(&self) -> u64 {
        self.caches.alarm_count()
    }

    /// Whether this process can find an epoch to seal under in the default partition, and opens it to the same key. Its
    /// being paused is no fault of this process. May block.
    pub fn self_check(&self) -> Result<(), KeyringError> {
        let name = PartitionName::default_name();
        let sealing = match self.sealing(&name, Kind::Random) {
            Ok(epoch) => epoch,
            Err(KeyringError::Denied(..)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let opening = self.opening(sealing.id)?;
        if opening.dek().expose() == sealing.dek().expose() {
            Ok(())
        } else {
            Err(KeyringError::Mismatch("the current epoch opens to another key than it seals under".into()))
        }
    }

    fn lock(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(|poisoned| {
            let io = poisoned.into_inner();
            io.calls.break_off();
            io
        })
    }

    /// Locks, and asks the store for news if the last are older than `max_stale`.
    fn lock_fresh(&self) -> Result<MutexGuard<'_, Io>, KeyringError> {
        let mut io = self.lock();
        if !self.is_fresh() {
            self.refresh(&mut io)?;
        }
        Ok(io)
    }

    fn is_fresh(&self) -> bool {
        self.caches.freshness().age(self.clock.now()) <= self.options.max_stale.as_secs()
    }

    /// Whether an authority keeps this keyring.
    pub fn is_remote(&self) -> bool {
        self.store.service().is_some()
    }

    /// Tells the authority behind the store what was sealed and opened here. May block.
    pub fn report(&self, counts: &[Counted<'_>]) -> Result<(), ServiceError> {
        self.service().map_or(Ok(()), |service| service.report(counts))
    }

    /// An issuer's key without anything to open with: whoever else opens for this process shall not be asked to.
    fn is_encrypt_only(&self) -> bool {
        self.options.master_keys.is_empty() && self.options.issuer.is_some() && self.options.recipient.is_none()
    }

    /// The authority, for a process that opens with its help.
    fn service(&self) -> Option<&dyn Service> {
        self.store.service()
    }

    /// Whether it may seal now: neither ended, nor given by an API that is silent for too long.
    fn seals(&self, epoch: &Epoch) -> bool {
        let now = self.clock.now();
        epoch.seals_at(now) && !epoch.is_stale(|| now)
    }

    fn effective(&self, kind: Kind) -> Kind {
        if kind == Kind::Random && self.is_encrypt_only() { Kind::Private } else { kind }
    }

    fn alarm(&self, text: &str) {
        self.caches.alarm(text);
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("store", &self.options.store).finish_non_exhaustive()
    }
}
