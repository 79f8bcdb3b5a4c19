//! What an operator does to a keyring. All of it needs the master key, and reaches other processes at their next tick.

use std::sync::Arc;

use super::cbor::Record;
use super::master::{Master, Masters, PrivateKeys};
use super::record::{Core, EpochRecord, Issuer, PartitionRecord, Recipient, Tombstone, Wrap};
use super::store::{EpochRow, Put};
use super::{Io, KeySource, Keyring, KeyringError, Kind, MANAGED, Options, Permissions, State};
use crate::clock::SharedClock;
use crate::crypto::base64url;
use crate::crypto::kdf::key_id;
use crate::crypto::kem::KemSuite;
use crate::crypto::sign::{SigningKey, VerifyingKey};
use crate::name::PartitionName;
use crate::secret::SecretBytes;
use crate::token::EpochId;

mod retire;
mod rewrap;

pub use rewrap::{Cursor, Rewrapped};

/// Lost races before we give up.
const ATTEMPTS: usize = 32;
const PAGE: usize = 256;

/// What `keys list` shows of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its name.
    pub name: PartitionName,
    /// Its state.
    pub state: State,
    /// Grows with every change.
    pub version: u64,
    /// How many epochs it has.
    pub epochs: usize,
    /// Those that are sealed under now.
    pub current: Vec<EpochInfo>,
    /// Who may open its values.
    pub recipients: Vec<RecipientInfo>,
    /// How many keys may make epochs, beside the owner.
    pub issuers: usize,
    /// Their ids.
    pub issuer_ids: Vec<[u8; 16]>,
    /// Ids of the keys that may sign values, as a rule's `signers:` names them.
    pub signers: Vec<[u8; 16]>,
    /// Roles and their permissions.
    pub roles: Vec<(String, Permissions)>,
}

/// What `keys list` shows of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochInfo {
    /// Its name.
    pub id: EpochId,
    /// What it seals.
    pub kind: Kind,
    /// When it was made (Unix seconds).
    pub created: u64,
    /// Until when it seals (0: no end).
    pub not_after: u64,
    /// Seconds since it was made.
    pub age: u64,
}

impl EpochInfo {
    pub(super) fn of(row: &EpochRow, now: u64) -> Option<Self> {
        let Core { kind, created, not_after, .. } = EpochRecord::decode(&row.record).ok()?.core;
        Some(Self { id: row.id, kind, created, not_after, age: now.saturating_sub(created) })
    }

    /// Whether one process alone may seal under it then, and no roll-over keeps it from that.
    pub fn is_own_at(&self, now: u64) -> bool {
        self.kind == Kind::Private && now < self.not_after
    }
}

/// What `keys list` shows of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientInfo {
    /// `None`: a managed API.
    pub suite: Option<KemSuite>,
    /// The profile that reaches the API that holds the private half.
    pub profile: Option<String>,
    /// Names its encapsulation key.
    pub id: [u8; 16],
    /// Whether its private key is in this keyring; one that is not is for recovery, or another's.
    pub ours: bool,
}

impl Keyring {
    /// All partitions, in order. One whose record does not verify is left out, with an alarm.
    pub fn list(&self) -> Result<Vec<PartitionInfo>, KeyringError> {
        let io = self.lock_fresh()?;
        let mut infos = Vec::new();
        self.each_partition(|name| {
            match self.info(&io, name) {
                Ok(info) => infos.push(info),
                Err(KeyringError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        Ok(infos)
    }

    /// The names of all partitions that begin so, whatever their state. May block.
    pub fn names_with_prefix(&self, prefix: &str) -> Result<Vec<PartitionName>, KeyringError> {
        let mut names = Vec::new();
        self.each_partition(|name| {
            if name.as_str().starts_with(prefix) {
                names.push(name.clone());
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Up to `limit` epochs of a partition, in no meaningful order; for destroying the right one.
    pub fn epochs(&self, name: &PartitionName, limit: usize) -> Result<Vec<EpochInfo>, KeyringError> {
        let io = self.lock_fresh()?;
        self.load_partition(&io, name)?;
        let now = self.clock.now();
        let rows = self.store.epochs_of(name, EpochId([0; 10]), limit)?;
        Ok(rows.iter().filter_map(|row| EpochInfo::of(row, now)).collect())
    }

    /// Makes a partition with what `default` lists; refuses a name that is taken.
    pub fn create_partition(&self, name: &PartitionName) -> Result<(), KeyringError> {
        if self.store.partition(name)?.is_some() {
            return Err(KeyringError::Mismatch(format!("there is a partition {name} already")));
        }
        self.provision(name, usize::MAX).map(drop)
    }

    /// Sets the state. Destroying destroys every epoch with it, and cannot be undone.
    pub fn set_state(&self, name: &PartitionName, state: State) -> Result<(), KeyringError> {
        self.change_state(name, state, |before| before != State::Destroyed || state == State::Destroyed)
    }

    /// Destroys a partition unless somebody resumed it: what counts is the state in the store, at that very moment.
    pub fn destroy_paused(&self, name: &PartitionName) -> Result<(), KeyringError> {
        self.change_state(name, State::Destroyed, |before| matches!(before, State::Paused | State::Destroyed))
    }

    fn change_state(
        &self,
        name: &PartitionName,
        state: State,
        fits: impl Fn(State) -> bool,
    ) -> Result<(), KeyringError> {
        self.edit(&*self.lock_fresh()?, name, |record| {
            if !fits(record.state) {
                return Err(KeyringError::Denied(name.clone(), record.state));
            }
            record.state = state;
            Ok(())
        })?;
        if state == State::Destroyed {
            // For each anew: who waits for a key goes between.
            self.each_epoch(name, |row| match self.bury(&*self.lock_fresh()?, row) {
                Err(KeyringError::Unknown(_)) => Ok(()), // damaged, hence no key either; the alarm was raised
                other => other,
            })?;
        }
        Ok(())
    }

    /// Gives a role its permissions, or with `None` takes the role away.
    pub fn set_role(
        &self,
        name: &PartitionName,
        role: &str,
        permissions: Option<Permissions>,
    ) -> Result<(), KeyringError> {
        let io = self.lock_fresh()?;
        self.edit(&io, name, |record| {
            record.roles.retain(|(listed, _)| listed != role);
            record.roles.extend(permissions.map(|permissions| (role.to_owned(), permissions)));
            Ok(())
        })
    }

    /// Gives these roles their permissions and takes all others away, in one change.
    pub fn set_roles(&self, name: &PartitionName, roles: &[(String, Permissions)]) -> Result<(), KeyringError> {
        let io = self.lock_fresh()?;
        self.edit(&io, name, |record| {
            if record.state == State::Destroyed {
                return Err(KeyringError::Denied(name.clone(), State::Destroyed));
            }
            record.roles = roles.to_vec();
            Ok(())
        })
    }

    /// Destroys an epoch: its record goes, a signed tombstone stays. As good as the deletion of every copy.
    pub fn destroy_epoch(&self, id: EpochId) -> Result<(), KeyringError> {
        let io = self.lock_fresh()?;
        match self.store.epoch(id)? {
            Some(row) => self.bury(&io, &row),
            None => Err(KeyringError::Unknown(format!("there is no epoch {id}"))),
        }
    }

    /// Adds an issuer for a process that only encrypts, and returns its key as the line that [`super::Options::issuer`]
    /// reads. The key is kept nowhere else.
    pub fn add_encrypt_only_issuer(&self, name: &PartitionName) -> Result<SecretBytes, KeyringError> {
        let io = self.lock_fresh()?;
        let issuer = SigningKey::generate()?;
        self.edit(&io, name, |record| {
            record.issuers.push(Issuer { key: issuer.verifying_key().clone(), shared: false });
            Ok(())
        })?;
        let mut line = SecretBytes::new(Vec::with_capacity(64));
        base64url::encode_into(issuer.seed().expose(), line.expose_mut());
        Ok(line)
    }

    /// Opens the keyring for [`Self::rotate_master`], also where an earlier rotation to `new` broke off.
    pub fn open_to_rotate(options: &Options, new: &KeySource, clock: SharedClock) -> Result<Self, KeyringError> {
        let mut options = options.clone();
        if matches!(new, KeySource::File(path) if path.exists()) {
            options.master_keys.push(new.clone());
        }
        Self::open(&options, clock)
    }

    /// Re-wraps every private key under the key of `new`, whose file is made if missing, row by row while all processes
    /// run. Afterwards `new` goes first in every configuration, and the old key may go once all have restarted.
    pub fn rotate_master(&self, new: &KeySource) -> Result<(), KeyringError> {
        let mut io = self.lock_fresh()?;
        self.owner_key(&io)?;
        let new = Master::load_or_make(new)?;
        let mut masters = vec![new.clone()];
        masters.extend(io.masters.0.iter().filter(|m| m.id() != new.id()).cloned());
        io.masters = Masters(masters);
        let new_only = Masters(vec![new.clone()]);
        for _ in 0..ATTEMPTS {
            let rows = self.store.keys()?;
            let old: Vec<_> = rows.iter().filter(|row| new_only.by_id(&row.blob).is_none()).collect();
            if old.is_empty() {
                PrivateKeys::unwrap(&rows, &new_only)?;
                io.rows = rows;
                return Ok(());
            }
            for row in old {
                let seed = io.masters.unwrap(row)?;
                let blob = new.wrap(row.usage, &row.public, &row.partition, seed.expose())?;
                // On a conflict another process re-wrapped it: seen in the next round.
                let (Put::Done | Put::Conflict) = self.store.rewrap_key(row.usage, &row.public, &row.blob, &blob)?;
            }
        }
        Err(KeyringError::Unavailable("another process re-wraps the same keys; try again".into()))
    }

    /// Adds a recipient to every partition and wraps all their epochs to it.
    pub(super) fn add_recipient(&self, recipient: &Recipient) -> Result<(), KeyringError> {
        self.each_partition(|name| self.add_recipient_to(name, recipient))
    }

    /// The same for one partition.
    pub(super) fn add_recipient_to(&self, name: &PartitionName, recipient: &Recipient) -> Result<(), KeyringError> {
        {
            let io = self.lock_fresh()?;
            let loaded = self.load_partition(&io, name)?;
            if loaded.partition.state == State::Destroyed {
                return Ok(());
            }
            if !loaded.record.recipients.contains(recipient) {
                self.edit(&io, name, |record| {
                    record.recipients.push(recipient.clone());
                    Ok(())
                })?;
            }
        }
        self.each_epoch(name, |row| match self.with_calls(|io| self.wrap_also(io, row, recipient)) {
            // Only a managed API opens it, which this process does not reach, or which refuses.
            Err(KeyringError::NoKey(text)) => {
                tracing::warn!(
                    "{text}; it is not wrapped to the new recipient: run `sidecloak keys rewrap` where it opens"
                );
                Ok(())
            }
            other => other,
        })
    }

    /// Changes a partition's record: signed anew, one version up, not lost to another process that does the same.
    pub(super) fn edit(
        &self,
        io: &Io,
        name: &PartitionName,
        mut change: impl FnMut(&mut PartitionRecord) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        let owner = self.owner_key(io)?;
        for _ in 0..ATTEMPTS {
            let before = self.load_partition(io, name)?;
            let mut record = before.record.clone();
            change(&mut record)?;
            record.version += 1;
            record.sign(owner)?;
            let encoded = record.encode();
            if PartitionRecord::decode(&encoded).is_err() {
                return Err(KeyringError::Mismatch(format!(
                    "partition {name} would list more than a record holds (4096 of a kind); nothing was changed"
                )));
            }
            if self.store.put_partition(name, before.record.version, &encoded)? == Put::Done {
                return self.load_partition(io, name).map(drop);
            }
        }
        Err(KeyringError::Unavailable(format!("partition {name} is being changed by other processes; try again")))
    }

    pub(super) fn info(&self, io: &Io, name: &PartitionName) -> Result<PartitionInfo, KeyringError> {
        let loaded = self.load_partition(io, name)?;
        let record = &loaded.record;
        let now = self.clock.now();
        let mut current = Vec::new();
        for kind in [Kind::Random, Kind::Deterministic] {
            current.extend(self.store.current(name, kind)?.and_then(|row| EpochInfo::of(&row, now)));
        }
        let recipient = |r: &Recipient| {
            let id = key_id(&r.key);
            let ours = io.keys.recipients.iter().any(|(ours, _)| *ours == id);
            let named = || (r.suite == MANAGED).then(|| std::str::from_utf8(&r.key).ok().map(Arc::from)).flatten();
            let profile = self.held(r).map(|held| held.profile).or_else(named);
            let profile = profile.map(|profile| profile.escape_debug().to_string());
            RecipientInfo { suite: KemSuite::from_byte(r.suite), profile, id, ours }
        };
        Ok(PartitionInfo {
            name: name.clone(),
            state: record.state,
            version: record.version,
            epochs: self.store.epoch_count(name)?,
            current,
            recipients: record.recipients.iter().map(recipient).collect(),
            issuers: record.issuers.len(),
            issuer_ids: record.issuers.iter().map(|issuer| issuer.key.id()).collect(),
            signers: record.signers.iter().map(VerifyingKey::id).collect(),
            roles: record.roles.clone(),
        })
    }

    fn bury(&self, io: &Io, row: &EpochRow) -> Result<(), KeyringError> {
        let record = EpochRecord::decode(&row.record).ok().filter(|record| record.core.id() == row.id);
        let Some(EpochRecord { core, .. }) = record else {
            return Err(self.refuse(format!("epoch {} is damaged, so it opens nothing; it was left as it is", row.id)));
        };
        let stone = Tombstone::sign(core.partition, core.commit, self.clock.now(), self.owner_key(io)?)?.encode();
        // First: who tries again, after this broke off, finds in the store what is still to be done.
        self.mirror.as_ref().map_or(Ok(()), |mirror| mirror.bury(row.id, &stone))?;
        self.store.destroy(row.id, &stone)?;
        self.caches.put_destroyed(row.id);
        Ok(())
    }

    /// Wraps an epoch to one more recipient. One that does not verify is left as it is, with an alarm.
    fn wrap_also(&self, io: &Io, row: &EpochRow, recipient: &Recipient) -> Result<(), KeyringError> {
        let mut row = row.clone();
        for _ in 0..ATTEMPTS {
            let opened = self.verified(io, &row).and_then(|record| Ok((self.unwrapped(io, &record)?, record)));
            let (epoch, mut record) = match opened {
                Ok(opened) => opened,
                Err(KeyringError::Unknown(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            let new: Wrap = self.wrap_to(io, &record, &epoch, recipient)?;
            record.wraps.retain(|wrap| wrap.recipient != new.recipient);
            record.wraps.push(new);
            let encoded = record.encode();
            if self.store.rewrap_epoch(row.id, &row.record, &encoded)? == Put::Done {
                return self.mirror.as_ref().map_or(Ok(()), |mirror| mirror.write(row.id, &encoded));
            }
            match self.store.epoch(row.id)? {
                Some(again) => row = again,
                None => return Ok(()),
            }
        }
        Err(KeyringError::Unavailable(format!("epoch {} is being re-wrapped by other processes; try again", row.id)))
    }

    fn each_partition(
        &self,
        mut f: impl FnMut(&PartitionName) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        let mut after = String::new();
        loop {
            let page = self.store.partition_names(&after, PAGE)?;
            for name in &page {
                // A row whose name is none cannot hold a record that verifies.
                if let Ok(name) = PartitionName::new(name) {
                    f(&name)?;
                }
                after.clone_from(name);
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    pub(super) fn each_epoch(
        &self,
        name: &PartitionName,
        mut f: impl FnMut(&EpochRow) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        let mut after = EpochId([0; 10]);
        loop {
            let page = self.store.epochs_of(name, after, PAGE)?;
            for row in &page {
                f(row)?;
                after = row.id;
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }
}
