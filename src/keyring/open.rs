//! Opening a keyring, and making the first one.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::caches::Caches;
use super::cbor::Record;
use super::master::{self, Master, Masters, PrivateKeys, Usage};
use super::mirror::Mirror;
use super::record::{Issuer, PartitionRecord, Recipient};
use super::store::sqlite::SqliteStore;
use super::store::{Dump, KeyRow, Put, Store};
use super::{Io, KeySource, Keyring, KeyringError, Options, Permissions, Provisions, State, files, recovery};
use crate::clock::SharedClock;
use crate::crypto::kdf::sha256;
use crate::crypto::kem::{DecapsulationKey, KemSuite};
use crate::crypto::sign::{SigningKey, VerifyingKey};
use crate::name::PartitionName;

impl Keyring {
    /// Opens and checks a keyring; never makes one.
    pub fn open(options: &Options, clock: SharedClock) -> Result<Self, KeyringError> {
        if let Some(remote) = &options.remote {
            return Err(KeyringError::NoKey(format!(
                "this needs the store and the master key, and the keyring is at {}: run it there, or give \
                 `--keyring sqlite:PATH` and the master key",
                remote.url
            )));
        }
        if !options.path.exists() {
            return Err(KeyringError::NoKey(format!(
                "there is no keyring {}; `sidecloak keys init` makes one",
                options.path.display()
            )));
        }
        check_place(options)?;
        files::check_private(&options.path, "the keyring")?;
        Self::open_on(options, Box::new(SqliteStore::open(&options.path)?), clock)
    }

    /// The same on a store that is open already.
    pub fn open_on(options: &Options, store: Box<dyn Store>, clock: SharedClock) -> Result<Self, KeyringError> {
        let masters = Masters::load(&options.master_keys)?;
        let own_issuer = options.issuer.as_ref().map(load_issuer).transpose()?;
        let own_recipient = options.recipient.as_ref().map(recovery::load_private).transpose()?;
        let rows = store.keys()?;
        let (owner, keys) = if masters.0.is_empty() {
            let can = own_issuer.is_some() || own_recipient.is_some() || store.service().is_some();
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
            provisions: Provisions { left: Provisions::BURST, since: now },
        };
        let keyring = Self {
            options: options.clone(),
            clock,
            store,
            mirror,
            owner,
            masters,
            caches: Caches::new(now),
            alarms: AtomicU64::new(0),
            io: Mutex::new(io),
        };
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
        let recovery = options.recovery.iter().map(recovery::read_public).collect::<Result<Vec<_>, _>>()?;
        let Some((first, others)) = options.master_keys.split_first() else {
            return Err(KeyringError::NoKey("a new keyring needs a master key; name a file as `master_key`".into()));
        };
        let taken =
            || KeyringError::Mismatch(format!("{} is a keyring already; it was left as it is", options.path.display()));
        // What cannot be read is told before anything is written.
        let is_new = matches!(first, KeySource::File(path) if !path.exists());
        Masters::load(if is_new { others } else { &options.master_keys })?;
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
}

/// Refuses a place that loses data, unless the operator knows.
pub(super) fn check_place(options: &Options) -> Result<(), KeyringError> {
    if options.i_know { Ok(()) } else { files::check_file_system(&options.path) }
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
        partitions: vec![(record.name.to_string(), 1, record.encode())],
        ..Dump::default()
    })
}
