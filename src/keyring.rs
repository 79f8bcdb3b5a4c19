//! A process's view of the keyring: verified partition and epoch records, their keys, and the caches over them.
//!
//! The store is not trusted. What a process acts on is signed by the owner (partitions) or a listed issuer (epochs), and
//! checked on every load; the columns beside the records only help to find them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;
use crate::crypto::kdf::sha256;
use crate::crypto::kem::{DecapsulationKey, KemSuite};
use crate::crypto::sign::{SigningKey, VerifyingKey};
use crate::name::{Class, PartitionName};
use crate::token::v1::{FieldKey, PrefixCache};
use crate::token::{EpochId, Suite};

mod caches;
mod cbor;
mod epoch;
mod files;
mod lifecycle;
mod load;
mod master;
mod mirror;
mod portable;
mod record;
mod recovery;
mod sealing;
pub mod store;
mod watch;

#[cfg(test)]
mod tests;

use caches::Caches;
use master::{Master, Masters, PrivateKeys, Usage};
use mirror::Mirror;
use record::{Issuer, PartitionRecord, Recipient};
use store::sqlite::SqliteStore;
use store::{Dump, KeyRow, Put, Store, StoreError};

pub use caches::CacheStats;
pub use epoch::Epoch;
pub use lifecycle::{EpochInfo, PartitionInfo, RecipientInfo};
pub use recovery::{Recovery, RecoveryKey};
pub use watch::Stats;

/// What an epoch's key seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Random tokens (suites 1 and 2), shared by all processes.
    Random = 0,
    /// Deterministic tokens (suite 3).
    Deterministic = 1,
    /// Random tokens of the one process that made the epoch.
    Private = 2,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Random, Self::Deterministic, Self::Private];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Seals and opens.
    Active = 0,
    /// Opens only.
    DecryptOnly = 1,
    /// Neither, until resumed.
    Paused = 2,
    /// Neither, for good.
    Destroyed = 3,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl State {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Active, Self::DecryptOnly, Self::Paused, Self::Destroyed].into_iter().find(|s| *s as u8 == byte)
    }

    /// `active`, `decrypt-only`, `paused` or `destroyed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::DecryptOnly => "decrypt-only",
            Self::Paused => "paused",
            Self::Destroyed => "destroyed",
        }
    }

    fn opens(self) -> bool {
        matches!(self, Self::Active | Self::DecryptOnly)
    }
}

/// Permission bits of a role, as in the Crypteron API (apis.md § 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permissions(pub u32);

impl Permissions {
    /// AllowDecrypt | AllowEncrypt | the four audit bits: what role `default` gets in a new partition.
    pub const DEFAULT: Self = Self(983_052);
    /// AllowDecrypt.
    pub const DECRYPT: u32 = 4;
    /// AllowEncrypt.
    pub const ENCRYPT: u32 = 8;
    /// EnforceMask.
    pub const MASK: u32 = 0x400;

    /// Whether all these bits are set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

/// A partition record whose signature has been verified.
#[derive(Debug)]
pub struct Partition {
    /// Its name.
    pub name: PartitionName,
    /// Grows with every change.
    pub version: u64,
    /// Its state.
    pub state: State,
    /// Who may sign values.
    pub signers: Vec<VerifyingKey>,
    /// Roles and their permissions; a role not listed has none.
    pub roles: Vec<(String, Permissions)>,
}

impl Partition {
    /// What a role may do.
    pub fn permissions(&self, role: &str) -> Permissions {
        self.roles.iter().find(|(name, _)| name == role).map_or(Permissions(0), |(_, p)| *p)
    }
}

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

/// Why the keyring gives no key. Its text names no key and no value.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyringError {
    /// The partition's state forbids it: 403.
    #[error("partition {0} is {1}")]
    Denied(PartitionName, State),
    /// No such partition or epoch, or a record that does not verify: a token that does not open.
    #[error("{0}")]
    Unknown(String),
    /// The store cannot be read or written, or is stale: 503.
    #[error("the keyring is unavailable: {0}")]
    Unavailable(String),
    /// This process lacks the key for it (no master key, encrypt-only): exit 77 at start.
    #[error("{0}")]
    NoKey(String),
    /// The keyring does not fit the key or is damaged: exit 78 at start.
    #[error("{0}")]
    Mismatch(String),
    /// The operating system's random generator failed.
    #[error(transparent)]
    Random(#[from] crate::crypto::RandomError),
}

impl From<StoreError> for KeyringError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(text) => Self::Unavailable(text),
            StoreError::Damaged(text) => Self::Mismatch(text),
        }
    }
}

/// How a keyring is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Path of the SQLite file.
    pub path: PathBuf,
    /// `file:PATH` or `env:NAME`, the first wraps, any unwraps.
    pub master_keys: Vec<KeySource>,
    /// SHA-256 of the owner's verifying key, pinned by a process without the master key.
    pub owner: Option<[u8; 32]>,
    /// Recipients written into each new partition record.
    pub recovery: Vec<KeySource>,
    /// A directory that gets every epoch record, synced, before its first use.
    pub mirror: Option<PathBuf>,
    /// How old the partition state may be.
    pub max_stale: Duration,
    /// How long a random epoch seals.
    pub epoch_lifetime: Duration,
    /// Seal only under epochs that an opener confirmed.
    pub require_confirmed: bool,
    /// The key of an issuer that is not shared, for a process that only encrypts: it has no master key and pins `owner`.
    pub issuer: Option<KeySource>,
    /// Accept file systems that lose data (tmpfs, overlay, nfs, cifs, fuse).
    pub i_know: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: PathBuf::from("sidecloak.db"),
            master_keys: Vec::new(),
            owner: None,
            recovery: Vec::new(),
            mirror: None,
            max_stale: Duration::from_secs(300),
            epoch_lifetime: Duration::from_secs(24 * 3600),
            require_confirmed: false,
            issuer: None,
            i_know: false,
        }
    }
}

/// Where a secret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `file:PATH`
    File(PathBuf),
    /// `env:NAME`
    Env(String),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
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
    caches: Caches,
    alarms: AtomicU64,
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
    tombstones_seen: u64,
    complained: bool,
}

impl Keyring {
    /// Opens and checks a keyring; never makes one.
    pub fn open(options: &Options, clock: SharedClock) -> Result<Self, KeyringError> {
        if !options.path.exists() {
            return Err(KeyringError::NoKey(format!(
                "there is no keyring {}; `sidecloak keys init` makes one",
                options.path.display()
            )));
        }
        check_place(options)?;
        files::check_private(&options.path, "the keyring")?;
        let masters = Masters::load(&options.master_keys)?;
        let own_issuer = options.issuer.as_ref().map(load_issuer).transpose()?;
        let store = SqliteStore::open(&options.path)?;
        let rows = store.keys()?;
        let (owner, keys) = if masters.0.is_empty() {
            (pinned_owner(options, own_issuer.is_some(), &rows)?, PrivateKeys::default())
        } else if own_issuer.is_some() {
            return Err(KeyringError::NoKey("give either a master key or an issuer key, not both".into()));
        } else {
            unwrapped_owner(options, &rows, &masters)?
        };
        let mirror = options.mirror.as_deref().map(Mirror::open).transpose()?;
        let now = clock.now();
        let io = Io {
            masters,
            rows,
            keys,
            own_issuer,
            pending: Vec::new(),
            change: None,
            tombstones_seen: 0,
            complained: false,
        };
        let keyring = Self {
            options: options.clone(),
            clock,
            store: Box::new(store),
            mirror,
            owner,
            caches: Caches::new(now),
            alarms: AtomicU64::new(0),
            io: Mutex::new(io),
        };
        let mut io = keyring.lock();
        keyring.refresh(&mut io)?;
        keyring.loaded(&io, &PartitionName::default_name()).map_err(|error| match error {
            KeyringError::Unknown(text) => KeyringError::Mismatch(format!("{text}; restore the keyring from a backup")),
            other => other,
        })?;
        drop(io);
        Ok(keyring)
    }

    /// Makes a keyring and, if missing, its first master key file (0600), with a `default` partition.
    pub fn init(options: &Options, kem: KemSuite, clock: SharedClock) -> Result<Self, KeyringError> {
        check_place(options)?;
        let recovery = options.recovery.iter().map(recovery::read_public).collect::<Result<Vec<_>, _>>()?;
        let Some((first, others)) = options.master_keys.split_first() else {
            return Err(KeyringError::NoKey("a new keyring needs a master key; name a file as `master_key`".into()));
        };
        let taken =
            || KeyringError::Mismatch(format!("{} is a keyring already; it was left as it is", options.path.display()));
        Masters::load(others)?;
        let store = SqliteStore::create(&options.path)?;
        // Before a key is made: a new one beside an old keyring would pass for its key.
        if !store.keys()?.is_empty() {
            return Err(taken());
        }
        let master = Master::load_or_make(first)?;
        if store.bootstrap(&first_rows(&master, kem, recovery)?)? == Put::Conflict {
            return Err(taken());
        }
        drop(store);
        Self::open(options, clock)
    }

    /// SHA-256 of the owner's verifying key, for `owner:` in the configuration of processes without the master key.
    pub fn owner_fingerprint(&self) -> [u8; 32] {
        sha256(self.owner.as_bytes())
    }

    /// The partition's verified record, whatever its state. Never blocks.
    pub fn partition_cached(&self, name: &PartitionName) -> Cached<Arc<Partition>> {
        if !self.is_fresh() {
            return Cached::Miss;
        }
        match self.caches.partition(name) {
            Some(loaded) => Cached::Hit(loaded.partition.clone()),
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
        match self.caches.sealing(name, self.effective(kind)) {
            Some(sealing) if sealing.epoch.seals_at(self.clock.now()) => Cached::Hit(sealing.epoch.clone()),
            _ => Cached::Miss,
        }
    }

    /// The same; may block, and makes (durably) an epoch where none is current.
    pub fn sealing(&self, name: &PartitionName, kind: Kind) -> Result<Arc<Epoch>, KeyringError> {
        let mut io = self.lock_fresh()?;
        self.sealing_epoch(&mut io, name, kind)
    }

    /// The epoch that a token names, for opening. Never blocks.
    pub fn opening_cached(&self, id: EpochId) -> Cached<Arc<Epoch>> {
        let opened = self.caches.opened(id);
        let home = opened.as_ref().map(|epoch| epoch.partition.clone()).or_else(|| self.caches.home(id));
        if let Some(home) = home {
            match self.partition_cached(&home) {
                Cached::Hit(partition) if !partition.state.opens() => return Cached::Denied(partition.state),
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
        let io = self.lock_fresh()?;
        self.opening_epoch(&io, id)
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

    /// How often a record was found that somebody without the right must have written, or that does not open.
    pub fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::Relaxed)
    }

    /// Seals and opens internally under the default partition; its being paused is no fault of this process.
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
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn is_encrypt_only(&self) -> bool {
        self.options.master_keys.is_empty()
    }

    fn effective(&self, kind: Kind) -> Kind {
        if kind == Kind::Random && self.is_encrypt_only() { Kind::Private } else { kind }
    }

    fn alarm(&self, text: &str) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
        if self.caches.is_new_alarm(text) {
            tracing::error!(alarm = true, "keyring: {text}");
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("path", &self.options.path).finish_non_exhaustive()
    }
}

fn check_place(options: &Options) -> Result<(), KeyringError> {
    if options.i_know { Ok(()) } else { files::check_file_system(&options.path) }
}

fn load_issuer(source: &KeySource) -> Result<Arc<SigningKey>, KeyringError> {
    let line = master::read_line(source, "the issuer key")?;
    Ok(Arc::new(SigningKey::from_seed(master::parse_key(&line, source)?)))
}

fn pinned_owner(options: &Options, has_issuer: bool, rows: &[KeyRow]) -> Result<VerifyingKey, KeyringError> {
    let (Some(pin), true) = (options.owner, has_issuer) else {
        return Err(KeyringError::NoKey(
            "no master key is given; name its file as `master_key` (`sidecloak keys init` makes one), \
             or for a process that only encrypts an issuer key and `owner`"
                .into(),
        ));
    };
    rows.iter()
        .filter(|row| row.usage == Usage::Owner.to_byte() && sha256(&row.public) == pin)
        .find_map(|row| VerifyingKey::from_bytes(&row.public).ok())
        .ok_or_else(|| KeyringError::Mismatch("the keyring is not of the owner that `owner` pins".into()))
}

fn unwrapped_owner(
    options: &Options,
    rows: &[KeyRow],
    masters: &Masters,
) -> Result<(VerifyingKey, PrivateKeys), KeyringError> {
    let keys = PrivateKeys::unwrap(rows, masters)?;
    let Some(owner) = &keys.owner else {
        return Err(KeyringError::Mismatch(format!(
            "{} holds no owner key; it was not made to the end: remove it and run `sidecloak keys init`",
            options.path.display()
        )));
    };
    if options.owner.is_some_and(|pin| sha256(owner.verifying_key().as_bytes()) != pin) {
        return Err(KeyringError::Mismatch("the keyring is not of the owner that `owner` pins".into()));
    }
    Ok((owner.verifying_key().clone(), keys))
}

/// One owner, recipient, issuer and signer, all shared by the partitions to come, and `default`.
fn first_rows(master: &Master, kem: KemSuite, recovery: Vec<Recipient>) -> Result<Dump, KeyringError> {
    let broken = |_| KeyringError::Mismatch("a new recipient key is broken".into());
    let private = DecapsulationKey::generate(kem)?;
    let public = private.encapsulation_key().map_err(broken)?.as_bytes().to_vec();
    let [owner, issuer, signer] = [SigningKey::generate()?, SigningKey::generate()?, SigningKey::generate()?];
    let mut recipients = vec![Recipient { suite: kem as u8, key: public.clone() }];
    recipients.extend(recovery);
    let mut record = PartitionRecord {
        name: PartitionName::default_name(),
        version: 1,
        state: State::Active,
        recipients,
        issuers: vec![Issuer { key: issuer.verifying_key().clone(), shared: true }],
        signers: vec![signer.verifying_key().clone()],
        roles: vec![("default".into(), Permissions::DEFAULT)],
        signature: Vec::new(),
    };
    record.sign(&owner)?;
    let row = |usage: Usage, public: &[u8], seed: &[u8]| {
        let usage = usage.to_byte();
        let blob = master.wrap(usage, public, "", seed)?;
        Ok::<_, KeyringError>(KeyRow { usage, public: public.to_vec(), partition: String::new(), blob })
    };
    let signing = |usage: Usage, key: &SigningKey| row(usage, key.verifying_key().as_bytes(), key.seed().expose());
    Ok(Dump {
        keys: vec![
            signing(Usage::Owner, &owner)?,
            row(Usage::Recipient(kem), &public, private.seed())?,
            signing(Usage::Issuer, &issuer)?,
            signing(Usage::Signer, &signer)?,
        ],
        partitions: vec![(record.name.to_string(), 1, cbor::Record::encode(&record))],
        ..Dump::default()
    })
}
