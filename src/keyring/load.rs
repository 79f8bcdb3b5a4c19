//! Reading records from the store, with every check before one is acted on.

use std::sync::Arc;

use super::caches::Loaded;
use super::cbor::Record;
use super::epoch::{self, Epoch};
use super::record::{EpochRecord, PartitionRecord, Tombstone, Wrap};
use super::sealing::serviced;
use super::store::{EpochRow, Service, ServiceError};
use super::{Io, Keyring, KeyringError, Partition};
use crate::crypto::kdf::key_id;
use crate::name::PartitionName;
use crate::token::EpochId;

/// Wraps of one epoch that an authority is asked about.
const MAX_ASKED: usize = 4;

impl Keyring {
    /// The partition from memory, else from the store.
    pub(super) fn loaded(&self, io: &Io, name: &PartitionName) -> Result<Arc<Loaded>, KeyringError> {
        match self.caches.partition(name) {
            Some(loaded) => Ok(loaded),
            None if self.caches.is_unknown_partition(name) => {
                Err(KeyringError::Unknown(format!("there is no partition {name}, or its record does not verify")))
            }
            None => self.load_partition(io, name),
        }
    }

    /// The partition from the store.
    pub(super) fn load_partition(&self, io: &Io, name: &PartitionName) -> Result<Arc<Loaded>, KeyringError> {
        let Some(encoded) = self.store.partition(name)? else {
            if self.caches.seen_version(name) > 0 {
                self.caches.drop_partition(name);
                self.caches.put_unknown_partition(name);
                return Err(self.refuse(format!("partition {name} has vanished from the keyring")));
            }
            self.caches.put_unknown_partition(name);
            return Err(KeyringError::Unknown(format!("there is no partition {name}")));
        };
        match self.check_partition(io, name, encoded) {
            Ok(loaded) => {
                let loaded = Arc::new(loaded);
                self.caches.put_partition(&loaded);
                Ok(loaded)
            }
            Err(why) => {
                self.caches.drop_partition(name);
                self.caches.put_unknown_partition(name);
                Err(self.refuse(format!("the record of partition {name} {why}")))
            }
        }
    }

    fn check_partition(&self, io: &Io, name: &PartitionName, encoded: Vec<u8>) -> Result<Loaded, &'static str> {
        let record = PartitionRecord::decode(&encoded).map_err(|_| "is damaged")?;
        if record.name != *name {
            return Err("is another partition's");
        }
        record.verify(&self.owner).map_err(|_| "is not signed by the keyring's owner")?;
        if record.version < self.caches.seen_version(name) {
            return Err("is older than one seen before");
        }
        let partition = Arc::new(Partition {
            name: record.name.clone(),
            version: record.version,
            state: record.state,
            signers: record.signers.clone(),
            roles: record.roles.clone(),
        });
        let signer = io.keys.signers.iter().find(|key| record.signers.contains(key.verifying_key())).cloned();
        Ok(Loaded { partition, record, encoded, signer })
    }

    /// The epoch that a token names.
    pub(super) fn opening_epoch(&self, io: &Io, id: EpochId) -> Result<Arc<Epoch>, KeyringError> {
        if let Some(epoch) = self.caches.opened(id).filter(|epoch| !epoch.is_stale(|| self.clock.now())) {
            self.must_open(io, &epoch.partition)?;
            return Ok(epoch);
        }
        if self.caches.is_unknown(id) {
            return Err(KeyringError::Unknown(format!("there is no epoch {id}")));
        }
        let Some(row) = self.store.epoch(id)? else {
            self.caches.put_unknown(id);
            return Err(KeyringError::Unknown(format!("there is no epoch {id}")));
        };
        if row.id != id {
            return Err(self.refuse(format!("asked for epoch {id}, the store gives another")));
        }
        let loaded = self.check_row(io, &row);
        if let Err(KeyringError::Unknown(_) | KeyringError::NoKey(_)) = loaded {
            self.caches.put_unknown(id);
        }
        let epoch = loaded?;
        self.caches.put_opened(&epoch);
        Ok(epoch)
    }

    /// Decodes, verifies and unwraps a row for opening; refuses where the partition does not open.
    fn check_row(&self, io: &Io, row: &EpochRow) -> Result<Arc<Epoch>, KeyringError> {
        let record = self.verified(io, row)?;
        self.caches.put_home(row.id, &record.core.partition);
        if let Err(error) = self.must_open(io, &record.core.partition) {
            // Paused while an API was asked: what it gave is not kept.
            self.caches.drop_unwrapped(row.id);
            return Err(error);
        }
        self.unwrapped(io, &record)
    }

    /// Decodes a row and verifies its record.
    pub(super) fn verified(&self, io: &Io, row: &EpochRow) -> Result<EpochRecord, KeyringError> {
        let id = row.id;
        if self.is_destroyed(id)? {
            return Err(KeyringError::Unknown(format!("epoch {id} was destroyed")));
        }
        let record = EpochRecord::decode(&row.record).map_err(|_| self.refuse(format!("epoch {id} is damaged")))?;
        if record.core.id() != id {
            return Err(self.refuse(format!("the record stored as epoch {id} is another's")));
        }
        let loaded = self.loaded(io, &record.core.partition)?;
        epoch::verify(&record, &loaded.record, &self.owner).map_err(|error| self.refuse(error.to_string()))?;
        Ok(record)
    }

    /// The epoch of a verified record.
    pub(super) fn unwrapped(&self, io: &Io, record: &EpochRecord) -> Result<Arc<Epoch>, KeyringError> {
        let core = &record.core;
        if self.is_encrypt_only() {
            // What it seals under may outlive the entry among the opened ones.
            let own = self.caches.sealing(&core.partition, core.kind).filter(|own| own.epoch.id == core.id());
            return own.map(|own| own.epoch.clone()).ok_or_else(|| {
                KeyringError::NoKey(format!("epoch {} is another's, and this process only encrypts", core.id()))
            });
        }
        match (epoch::unwrap(record, &io.keys.recipients), self.service()) {
            (Ok(dek), _) => Ok(Arc::new(Epoch::new(core, dek))),
            (Err(_), Some(service)) if self.authority_opens(io, record) => self.unwrapped_by(service, io, record),
            (Err(_), Some(_)) => {
                let id = core.id();
                let text = format!("epoch {id} is wrapped neither to this process nor to anything its authority opens");
                self.unwrapped_by_api(io, record, text)
            }
            (Err(error), None) => self.unwrapped_by_api(io, record, error.to_string()),
        }
    }

    /// Whether the authority behind the store has the private key of a recipient.
    pub(super) fn authority_opens(&self, io: &Io, record: &EpochRecord) -> bool {
        let has =
            |wrap: &Wrap| io.rows.iter().any(|row| row.usage == wrap.suite && key_id(&row.public) == wrap.recipient);
        self.service().is_some() && record.wraps.iter().any(has)
    }

    /// The epoch of a verified record that an authority decapsulates for. A wrong answer opens nothing, or not to the key that
    /// the record commits to.
    fn unwrapped_by(&self, service: &dyn Service, io: &Io, record: &EpochRecord) -> Result<Arc<Epoch>, KeyringError> {
        let core = &record.core;
        let public = |wrap: &Wrap| {
            let rows = io.rows.iter().filter(|row| row.usage == wrap.suite && key_id(&row.public) == wrap.recipient);
            rows.map(|row| row.public.as_slice()).next()
        };
        let wraps = record.wraps.iter().filter_map(|wrap| Some((wrap, public(wrap)?)));
        for (wrap, public) in wraps.take(MAX_ASKED) {
            if let Some(known) = self.caches.shared(wrap)
                && known.0 == core.partition
                && let Some(dek) = epoch::unwrap_shared(core, wrap, public, &known.1)
            {
                return Ok(Arc::new(Epoch::new(core, dek)));
            }
            let shared = match service.decapsulate(core.id(), wrap.suite, &wrap.recipient, &wrap.kem_ct) {
                Ok(shared) => shared,
                Err(ServiceError::NotThere) => continue,
                Err(error) => return Err(serviced(&core.partition, error)),
            };
            if let Some(dek) = epoch::unwrap_shared(core, wrap, public, &shared) {
                self.caches.put_shared(wrap, &core.partition, shared);
                return Ok(Arc::new(Epoch::new(core, dek)));
            }
            self.alarm(&format!("what the authority gave for epoch {} does not open it", core.id()));
        }
        let id = core.id();
        Err(self.refuse(format!("epoch {id} is wrapped neither to this process nor to anything its authority opens")))
    }

    /// Whether a tombstone that the owner signed says so, now or earlier.
    pub(super) fn is_destroyed(&self, id: EpochId) -> Result<bool, KeyringError> {
        if self.caches.is_destroyed(id) {
            return Ok(true);
        }
        match self.store.tombstone(id)? {
            Some(encoded) => Ok(self.take_tombstone(id, &encoded)),
            None => Ok(false),
        }
    }

    /// Remembers a tombstone if it is authentic. A forged one is ignored: it would destroy without the right to.
    pub(super) fn take_tombstone(&self, id: EpochId, encoded: &[u8]) -> bool {
        let authentic =
            Tombstone::decode(encoded).is_ok_and(|stone| stone.id() == id && stone.verify(&self.owner).is_ok());
        if authentic {
            self.caches.put_destroyed(id);
        } else {
            self.alarm(&format!("the tombstone of epoch {id} is not signed by the keyring's owner"));
        }
        authentic
    }

    fn must_open(&self, io: &Io, name: &PartitionName) -> Result<(), KeyringError> {
        let state = self.loaded(io, name)?.partition.state;
        if state.opens() { Ok(()) } else { Err(KeyringError::Denied(name.clone(), state)) }
    }

    /// An alarm, and the error that goes with it.
    pub(super) fn refuse(&self, text: String) -> KeyringError {
        self.alarm(&text);
        KeyringError::Unknown(text)
    }
}
