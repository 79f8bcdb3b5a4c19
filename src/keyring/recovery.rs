//! The offline recipient: every epoch is wrapped to it too, so that whoever holds its private key and a copy of the store
//! can open everything after the master key is lost.

use std::sync::Arc;

use super::cbor::Record;
use super::epoch::{self, Epoch};
use super::master::Usage;
use super::open::open_store;
use super::record::{Core, EpochRecord, PartitionRecord, Recipient, Tombstone};
use super::store::{EpochRow, Inserted, NewEpoch, Store};
use super::{Io, KeySource, Keyring, KeyringError, Options, State};
use crate::crypto::kdf::{key_id, sha256};
use crate::crypto::kem::{DecapsulationKey, EncapsulationKey, KemSuite};
use crate::crypto::sign::VerifyingKey;
use crate::crypto::{base64url, random};
use crate::name::PartitionName;
use crate::secret::{Secret, SecretBytes};
use crate::token::EpochId;

const PAGE: usize = 256;

/// A new offline recipient.
#[derive(Debug)]
pub struct RecoveryKey {
    /// For `recovery.pub`: base64url(kem_suite | encapsulation key).
    pub public_line: String,
    /// For the safe, shown once and kept nowhere: base64url(kem_suite | seed).
    pub private_line: SecretBytes,
}

impl Keyring {
    /// Makes an offline recipient, adds it to every partition, and wraps all their epochs to it.
    pub fn make_recovery(&self, kem: KemSuite) -> Result<RecoveryKey, KeyringError> {
        self.owner_key(&*self.lock_fresh()?)?;
        let (key, recipient) = new_recipient(kem)?;
        self.add_recipient(&recipient)?;
        Ok(key)
    }

    /// Makes a recipient for a process without the master key that shall open one partition by itself, adds it there, and wraps
    /// the partition's epochs to it. Its key is kept nowhere else.
    pub fn make_recipient(&self, kem: KemSuite, name: &PartitionName) -> Result<RecoveryKey, KeyringError> {
        {
            let io = self.lock_fresh()?;
            self.owner_key(&io)?;
            self.load_partition(&io, name)?;
        }
        let (key, recipient) = new_recipient(kem)?;
        self.add_recipient_to(name, &recipient)?;
        Ok(key)
    }

    /// Has whoever holds the master key open a partition, such as one that only a managed API opened so far: adds the recipients of
    /// `default` whose private keys are here, and wraps the partition's epochs to them. May block.
    pub fn add_own_recipient(&self, name: &PartitionName) -> Result<(), KeyringError> {
        let own: Vec<Recipient> = {
            let io = self.lock_fresh()?;
            self.owner_key(&io)?;
            self.load_partition(&io, name)?;
            let loaded = self.load_partition(&io, &PartitionName::default_name())?;
            let ours = |r: &&Recipient| io.keys.recipients.iter().any(|(ours, _)| *ours == key_id(&r.key));
            loaded.record.recipients.iter().filter(ours).cloned().collect()
        };
        if own.is_empty() {
            return Err(KeyringError::Mismatch("partition default has no recipient whose private key is here".into()));
        }
        own.iter().try_for_each(|recipient| self.add_recipient_to(name, recipient))
    }

    /// Takes over every epoch that `from` opens, into this keyring: tokens of the old one open here from then on. Missing
    /// partitions are made; nothing new is sealed under what was taken over. Returns how many there were.
    pub fn recover_from(&self, from: &Recovery) -> Result<usize, KeyringError> {
        let mut taken = 0;
        for name in from.partitions()? {
            let missing = self.store.partition(&name)?.is_none();
            self.provision(&name, usize::MAX)?;
            let state = from.record(&name)?.state;
            if missing && state != State::Active {
                // The breach switch stays as it was thrown.
                self.set_state(&name, state)?;
            }
            let mut after = EpochId([0; 10]);
            loop {
                let page = from.store.epochs_of(&name, after, PAGE)?;
                for row in &page {
                    after = row.id;
                    let Ok((record, dek)) = from.unwrap(row) else { continue };
                    let record = self.with_calls(|io| self.taken_over(io, &record.core, &dek))?;
                    let (id, kind) = (record.core.id(), record.core.kind);
                    let encoded = record.encode();
                    let row = NewEpoch {
                        id,
                        partition: &name,
                        kind,
                        record: &encoded,
                        confirmed: true,
                        replaces: None,
                        under: None,
                    };
                    if self.store.insert_epoch(&row)? == Inserted::Done {
                        taken += 1;
                        self.mirror.as_ref().map_or(Ok(()), |mirror| mirror.ensure(id, &encoded))?;
                    }
                }
                if page.len() < PAGE {
                    break;
                }
            }
        }
        self.caches.forget_unknown();
        Ok(taken)
    }

    /// An epoch of another keyring, signed and wrapped as this one's are.
    fn taken_over(&self, io: &Io, core: &Core, dek: &Secret<32>) -> Result<EpochRecord, KeyringError> {
        let loaded = self.load_partition(io, &core.partition)?;
        let mut record = EpochRecord::sign(core.clone(), self.owner_key(io)?, Vec::new())?;
        let epoch = Epoch::new(core, dek.clone());
        for recipient in &loaded.record.recipients {
            let wrap = self.wrap_to(io, &record, &epoch, recipient)?;
            record.wraps.push(wrap);
        }
        Ok(record)
    }
}

/// A store opened with a recovery key instead of the master key. Reads only.
pub struct Recovery {
    store: Box<dyn Store>,
    owner: VerifyingKey,
    key: [([u8; 16], DecapsulationKey); 1],
}

impl Recovery {
    /// Opens the store that the options name (or a copy). `owner` pins SHA-256 of the owner's verifying key; without it the owner that the store
    /// names is believed, so whoever could write to the store could have added epochs of their own.
    pub fn open(options: &Options, private_line: &SecretBytes, owner: Option<[u8; 32]>) -> Result<Self, KeyringError> {
        let key = read_private(private_line)?;
        let public = key.encapsulation_key().map_err(|_| no_key())?;
        let id = key_id(public.as_bytes());
        // A copy from a backup, wherever it was put.
        let options = Options { i_know: true, ..options.clone() };
        let store = open_store(&options.store, &options)?
            .ok_or_else(|| KeyringError::NoKey(format!("there is no keyring {}", options.store)))?;
        let owner = store
            .keys()?
            .iter()
            .filter(|row| row.usage == Usage::Owner.to_byte())
            .filter(|row| owner.is_none_or(|pin| sha256(&row.public) == pin))
            .find_map(|row| VerifyingKey::from_bytes(&row.public).ok())
            .ok_or_else(|| KeyringError::Mismatch("the keyring is not of that owner".into()))?;
        Ok(Self { store, owner, key: [(id, key)] })
    }

    /// Opens one epoch.
    pub fn epoch(&self, id: EpochId) -> Result<Arc<Epoch>, KeyringError> {
        let row = self.store.epoch(id)?.ok_or_else(|| KeyringError::Unknown(format!("there is no epoch {id}")))?;
        let (record, dek) = self.unwrap(&row)?;
        Ok(Arc::new(Epoch::new(&record.core, dek)))
    }

    fn partitions(&self) -> Result<Vec<PartitionName>, KeyringError> {
        let mut names = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.store.partition_names(&after, PAGE)?;
            for name in &page {
                after.clone_from(name);
                names.extend(PartitionName::new(name).ok().filter(|name| self.record(name).is_ok()));
            }
            if page.len() < PAGE {
                return Ok(names);
            }
        }
    }

    fn record(&self, name: &PartitionName) -> Result<PartitionRecord, KeyringError> {
        self.store
            .partition(name)?
            .and_then(|encoded| PartitionRecord::decode(&encoded).ok())
            .filter(|record| record.name == *name && record.verify(&self.owner).is_ok())
            .ok_or_else(|| KeyringError::Unknown(format!("the record of partition {name} does not verify")))
    }

    fn unwrap(&self, row: &EpochRow) -> Result<(EpochRecord, Secret<32>), KeyringError> {
        let damaged = || KeyringError::Unknown(format!("epoch {} is damaged", row.id));
        let record = EpochRecord::decode(&row.record).map_err(|_| damaged())?;
        if record.core.id() != row.id {
            return Err(damaged());
        }
        let buried = |stone: &[u8]| {
            Tombstone::decode(stone).is_ok_and(|stone| stone.id() == row.id && stone.verify(&self.owner).is_ok())
        };
        if self.store.tombstone(row.id)?.is_some_and(|stone| buried(&stone)) {
            return Err(KeyringError::Unknown(format!("epoch {} was destroyed", row.id)));
        }
        epoch::verify(&record, &self.record(&record.core.partition)?, &self.owner)?;
        let dek = epoch::unwrap(&record, &self.key)?;
        Ok((record, dek))
    }
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recovery(…)")
    }
}

/// Reads a line of `recovery.pub`.
pub(super) fn read_public(source: &KeySource) -> Result<Recipient, KeyringError> {
    let bad =
        || KeyringError::Mismatch(format!("{source} holds no recovery key; `sidecloak keys recovery` prints one"));
    let line = super::master::read_public_line(source)?;
    let bytes = base64url::decode(line.trim_ascii()).ok_or_else(bad)?;
    let (suite, key) = bytes.split_first().ok_or_else(bad)?;
    let suite = KemSuite::from_byte(*suite).ok_or_else(bad)?;
    EncapsulationKey::from_bytes(suite, key).map_err(|_| bad())?;
    Ok(Recipient { suite: suite as u8, key: key.to_vec() })
}

/// A recipient of a process's own, in the form of a recovery key.
pub(super) fn load_private(source: &KeySource) -> Result<([u8; 16], DecapsulationKey), KeyringError> {
    let bad =
        || KeyringError::NoKey(format!("{source} holds no recipient's key; `sidecloak keys recipient` makes one"));
    let key = read_private(&super::master::read_line(source, "the recipient's key")?).map_err(|_| bad())?;
    let id = key_id(key.encapsulation_key().map_err(|_| bad())?.as_bytes());
    Ok((id, key))
}

fn read_private(line: &SecretBytes) -> Result<DecapsulationKey, KeyringError> {
    let bytes = base64url::decode(line.expose().trim_ascii()).map(SecretBytes::new).ok_or_else(no_key)?;
    let (suite, seed) = bytes.expose().split_first().ok_or_else(no_key)?;
    let suite = KemSuite::from_byte(*suite).ok_or_else(no_key)?;
    DecapsulationKey::from_seed(suite, seed).map_err(|_| no_key())
}

/// A new key that has opened a challenge, with what will be printed: a recipient that cannot open must not enter a list.
fn new_recipient(kem: KemSuite) -> Result<(RecoveryKey, Recipient), KeyringError> {
    let broken = |_| KeyringError::Mismatch("the new key does not open what is sealed to it".into());
    let private = DecapsulationKey::generate(kem)?;
    let public = private.encapsulation_key().map_err(broken)?;
    let mut line = SecretBytes::new(Vec::with_capacity(256));
    let raw = SecretBytes::new([&[kem as u8], private.seed()].concat());
    base64url::encode_into(raw.expose(), line.expose_mut());
    let recipient = Recipient { suite: kem as u8, key: public.as_bytes().to_vec() };
    challenge(&recipient, &read_private(&line)?)?;
    let public_line = base64url::encode(&[&[kem as u8], public.as_bytes()].concat());
    Ok((RecoveryKey { public_line, private_line: line }, recipient))
}

fn challenge(recipient: &Recipient, private: &DecapsulationKey) -> Result<(), KeyringError> {
    let dek = random::secret::<32>()?;
    let (core, _) = epoch::make_core(&PartitionName::default_name(), super::Kind::Random, 0, 0)?;
    let wrap = epoch::wrap(&core, &dek, recipient)?;
    if epoch::unwrap_unchecked(&core, &wrap, private).is_some_and(|opened| opened.expose() == dek.expose()) {
        Ok(())
    } else {
        Err(KeyringError::Mismatch("the new recovery key does not open what is sealed to it".into()))
    }
}

fn no_key() -> KeyringError {
    KeyringError::NoKey("this is no recovery key: it is the one line that `sidecloak keys recovery` printed".into())
}
