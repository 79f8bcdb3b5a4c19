//! Opening a keyring, and making the first one.

use std::sync::Arc;
use std::sync::Mutex;

use super::caches::Caches;
use super::cbor::Record;
use super::managed::{Calls, Desk};
use super::master::{self, Master, Masters, PrivateKeys, Usage};
use super::mirror::Mirror;
use super::record::{Issuer, PartitionRecord, Recipient};
use super::store::postgres::{PostgresPlace, PostgresStore};
use super::store::sqlite::SqliteStore;
use super::store::{Dump, KeyRow, Put, Store, StorePlace};
use super::{Io, KeySource, Keyring, KeyringError, Options, Permissions, Provisions, State, files, recovery};
use crate::clock::SharedClock;
use crate::crypto::kdf::sha256;
use crate::crypto::kem::{DecapsulationKey, KemSuite};
use crate::crypto::random;
use crate::crypto::sign::{SigningKey, VerifyingKey};
use crate::name::PartitionName;

impl Keyring {
    /// Opens and checks a keyring; never makes one.
    pub fn open(options: &Options, clock: SharedClock) -> Result<Self, KeyringError> {
        let store = open_store(&options.store, options)?.ok_or_else(|| no_keyring(&options.store))?;
        Self::open_on(store, options, clock)
    }

    /// The same on a store that was opened already.
    pub fn open_on(store: Box<dyn Store>, options: &Options, clock: SharedClock) -> Result<Self, KeyringError> {
        let masters = Masters::load(&options.master_keys)?;
        let own_issuer = options.issuer.as_ref().map(load_issuer).transpose()?;
        let own_recipient = options.recipient.as_ref().map(recovery::load_private).transpose()?;
        let rows = store.keys().map_err(KeyringError::at_start)?;
        let (owner, keys) = if masters.0.is_empty() {
            let opens = own_recipient.is_some() || store.service().is_some() || options.managed.0.is_some();
            let can = own_issuer.is_some() || opens;
            (
                pinned_owner(options, can, &rows)?,
                PrivateKeys { recipients: Vec::from_iter(own_recipient), ..Default::default() },
            )
        } else if own_issuer.is_some() || own_recipient.is_some() {
            return Err(KeyringError::NoKey(
                "give either a master key or an issuer's or recipient's key, not both".into(),
            ));
        } else {
            unwrapped_owner(options, &rows, &masters)?
        };
        let is_remote = store.service().is_some();
        let mirror = options.mirror.as_deref().map(Mirror::open).transpose()?;
        let now = clock.now();
        let io = Io {
            masters: masters.clone(),
            rows,
            keys,
            own_issuer,
            pending: Vec::new(),
            change: None,
            last_tombstone: None,
            complained: false,
            calls: Calls::default(),
            provisions: Provisions { left: Provisions::BURST, since: now },
        };
        let caches = Arc::new(Caches::new(now));
        let [spread] = random::bytes()?;
        let desk = Desk::new(options.managed.0.clone(), Arc::clone(&clock), Arc::clone(&caches), spread);
        let keyring =
            Self { options: options.clone(), clock, store, mirror, owner, masters, caches, desk, io: Mutex::new(io) };
        let mut io = keyring.lock();
        keyring.refresh(&mut io)?;
        match keyring.loaded(&io, &PartitionName::default_name()) {
            // An authority shows a process its own partitions, and `default` need not be one of them.
            Err(KeyringError::Unknown(_)) if is_remote => {}
            Err(KeyringError::Unknown(text)) => {
                return Err(KeyringError::Mismatch(format!("{text}; restore the keyring from a backup")));
            }
            other => drop(other?),
        }
        drop(io);
        Ok(keyring)
    }

    /// Makes a keyring and, if missing, its first master key file (0600), with a `default` partition.
    pub fn init(options: &Options, kem: KemSuite, clock: SharedClock) -> Result<Self, KeyringError> {
        check_place(options)?;
        // What cannot be read is told before anything is written.
        what_it_begins_with(options)?;
        Self::init_on(make_store(options)?, options, kem, clock)
    }

    /// The same on a store that holds nothing yet.
    pub fn init_on(
        store: Box<dyn Store>,
        options: &Options,
        kem: KemSuite,
        clock: SharedClock,
    ) -> Result<Self, KeyringError> {
        let (first, recovery) = what_it_begins_with(options)?;
        let taken = || KeyringError::Mismatch(format!("{} is a keyring already; it was left as it is", options.store));
        // Before a key is made: a new one beside an old keyring would pass for its key.
        if !store.keys()?.is_empty() {
            return Err(taken());
        }
        let master = Master::load_or_make(first)?;
        if store.bootstrap(&first_rows(&master, kem, recovery)?)? == Put::Conflict {
            return Err(taken());
        }
        Self::open_on(store, options, clock)
    }

    /// Whether there is anything where the keyring lies.
    pub fn exists(options: &Options) -> Result<bool, KeyringError> {
        match &options.store {
            StorePlace::Sqlite(path) => Ok(path.exists()),
            StorePlace::Postgres(_) => match open_store(&options.store, options)? {
                Some(store) => Ok(!store.keys()?.is_empty()),
                None => Ok(false),
            },
            // Whoever asks it will be told.
            StorePlace::Authority(_) => Ok(true),
        }
    }
}

/// The store at a place; `None`: there is none.
pub(super) fn open_store(place: &StorePlace, options: &Options) -> Result<Option<Box<dyn Store>>, KeyringError> {
    Ok(match place {
        StorePlace::Sqlite(path) if !path.exists() => None,
        StorePlace::Sqlite(path) => {
            if !options.i_know {
                files::check_file_system(path)?;
            }
            files::check_private(path, "the keyring")?;
            Some(Box::new(SqliteStore::open(path)?))
        }
        StorePlace::Postgres(place) => {
            PostgresStore::open(&with_password(place, options)?, options.tls, options.i_know)
                .map_err(KeyringError::at_start)?
                .map(|store| Box::new(store) as Box<dyn Store>)
        }
        StorePlace::Authority(_) => return Err(elsewhere(place)),
    })
}

/// The store at the keyring's place, made if there is none.
pub(super) fn make_store(options: &Options) -> Result<Box<dyn Store>, KeyringError> {
    Ok(match &options.store {
        StorePlace::Sqlite(path) => Box::new(SqliteStore::create(path)?),
        StorePlace::Postgres(place) => {
            let made = PostgresStore::create(&with_password(place, options)?, options.tls, options.i_know);
            Box::new(made.map_err(KeyringError::at_start)?)
        }
        StorePlace::Authority(_) => return Err(elsewhere(&options.store)),
    })
}

pub(super) fn with_password(place: &PostgresPlace, options: &Options) -> Result<PostgresPlace, KeyringError> {
    let mut place = place.clone();
    if let Some(source) = options.store_password.as_ref().filter(|_| !place.has_password()) {
        place.set_password(&master::read_line(source, "the database's password")?);
    }
    Ok(place)
}

fn elsewhere(place: &StorePlace) -> KeyringError {
    KeyringError::NoKey(format!(
        "this needs the store and the master key, and the keyring is at {place}: run it there, or name the store with \
         `--keyring sqlite:PATH` or `--keyring postgres://…`"
    ))
}

fn no_keyring(place: &StorePlace) -> KeyringError {
    KeyringError::NoKey(format!("there is no keyring {place}; `sidecloak keys init` makes one"))
}

/// The master key that a new keyring lies under, and its recovery recipients.
fn what_it_begins_with(options: &Options) -> Result<(&KeySource, Vec<Recipient>), KeyringError> {
    let recovery = options.recovery.iter().map(recovery::read_public).collect::<Result<Vec<_>, _>>()?;
    let Some((first, others)) = options.master_keys.split_first() else {
        return Err(KeyringError::NoKey("a new keyring needs a master key; name a file as `master_key`".into()));
    };
    let is_new = matches!(first, KeySource::File(path) if !path.exists());
    Masters::load(if is_new { others } else { &options.master_keys })?;
    Ok((first, recovery))
}

/// Refuses a place that loses data, unless the operator knows.
pub(super) fn check_place(options: &Options) -> Result<(), KeyringError> {
    match &options.store {
        StorePlace::Sqlite(path) if !options.i_know => files::check_file_system(path),
        StorePlace::Sqlite(_) | StorePlace::Postgres(_) | StorePlace::Authority(_) => Ok(()),
    }
}

fn load_issuer(source: &KeySource) -> Result<Arc<SigningKey>, KeyringError> {
    let line = master::read_line(source, "the issuer key")?;
    Ok(Arc::new(SigningKey::from_seed(master::parse_key(&line, source)?)))
}

fn pinned_owner(options: &Options, can: bool, rows: &[KeyRow]) -> Result<VerifyingKey, KeyringError> {
    let (Some(pin), true) = (options.owner, can) else {
        return Err(KeyringError::NoKey(
            "no master key is given; name its file as `master_key` (`sidecloak keys init` makes one), \
             or for a process without it pin `owner`, and give an issuer's or recipient's key or an authority as `store`"
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
            options.store
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
        partitions: vec![(record.name.to_string(), 1, record.encode())],
        ..Dump::default()
    })
}
