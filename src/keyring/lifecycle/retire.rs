//! Taking a recipient or an issuer away from a partition.

use super::super::cbor::Record;
use super::super::epoch;
use super::super::record::{EpochRecord, PartitionRecord};
use super::super::store::EpochRow;
use super::super::{Keyring, KeyringError, Kind, State};
use super::{EpochInfo, PAGE, PartitionInfo};
use crate::crypto::kdf::key_id;
use crate::name::PartitionName;
use crate::token::EpochId;

impl Keyring {
    /// One partition.
    pub fn partition_info(&self, name: &PartitionName) -> Result<PartitionInfo, KeyringError> {
        let io = self.lock_fresh()?;
        self.info(&io, name)
    }

    /// The epochs that a partition seals under now.
    pub fn current_epochs(&self, name: &PartitionName) -> Result<Vec<EpochInfo>, KeyringError> {
        let now = self.clock.now();
        let mut current = Vec::new();
        for kind in [Kind::Random, Kind::Deterministic] {
            current.extend(self.store.current(name, kind)?.and_then(|row| EpochInfo::of(&row, now)));
        }
        Ok(current)
    }

    /// The epochs under which processes that only encrypt may seal now: each makes its own, and goes on until that ends. At most `limit`.
    pub fn own_epochs(&self, name: &PartitionName, limit: usize) -> Result<Vec<EpochInfo>, KeyringError> {
        let (now, mut after, mut own) = (self.clock.now(), EpochId([0; 10]), Vec::new());
        loop {
            let page = self.store.epochs_of(name, after, PAGE)?;
            own.extend(page.iter().filter_map(|row| EpochInfo::of(row, now)).filter(|epoch| epoch.is_own_at(now)));
            match page.last() {
                Some(last) if page.len() == PAGE && own.len() < limit => after = last.id,
                _ => break,
            }
        }
        own.truncate(limit);
        Ok(own)
    }

    /// The names that partitions lie under in the store, up to `limit` of those that sort after `after`.
    pub fn partition_names(&self, after: &str, limit: usize) -> Result<Vec<String>, KeyringError> {
        Ok(self.store.partition_names(after, limit)?)
    }

    /// The partition, kind and times of an epoch.
    pub fn epoch_info(&self, id: EpochId) -> Result<(PartitionName, EpochInfo), KeyringError> {
        let io = self.lock_fresh()?;
        let unknown = || KeyringError::Unknown(format!("there is no epoch {id}"));
        let row = self.store.epoch(id)?.ok_or_else(unknown)?;
        let record = self.verified(&io, &row)?;
        Ok((record.core.partition, EpochInfo::of(&row, self.clock.now()).ok_or_else(unknown)?))
    }

    /// Takes a recipient off a partition's list and begins new epochs, which it cannot open. The wraps that older epochs have
    /// for it go with [`Self::rewrap`]; a copy that it made of them stays as good as it is. Only of an active partition: in another
    /// no epoch can begin, and the one that it opens would be sealed under again once that is resumed.
    pub fn remove_recipient(&self, name: &PartitionName, id: [u8; 16]) -> Result<(), KeyringError> {
        let io = self.lock_fresh()?;
        self.edit(&io, name, |record| {
            if record.state != State::Active {
                return Err(KeyringError::Denied(name.clone(), record.state));
            }
            let before = record.recipients.len();
            record.recipients.retain(|recipient| key_id(&recipient.key) != id);
            if record.recipients.len() == before {
                return Err(KeyringError::Unknown(format!("partition {name} lists no such recipient")));
            }
            let ours = |key: &[u8]| io.keys.recipients.iter().any(|(ours, _)| *ours == key_id(key));
            if record.recipients.iter().any(|recipient| ours(&recipient.key) || self.held(recipient).is_some()) {
                return Ok(());
            }
            Err(KeyringError::Mismatch(format!(
                "without it partition {name} has no recipient whose private key is in this keyring or at an API that this process reaches, so nothing could be opened; nothing was changed"
            )))
        })?;
        drop(io);
        self.roll_current(name)
    }

    /// Takes an issuer off a partition's list; the owner vouches for the epochs that it made. Returns how many there were.
    pub fn remove_issuer(&self, name: &PartitionName, id: [u8; 16]) -> Result<u64, KeyringError> {
        let listed = self.load_partition(&*self.lock_fresh()?, name)?.record.clone();
        if !listed.issuers.iter().any(|issuer| issuer.key.id() == id) {
            return Err(KeyringError::Unknown(format!("partition {name} lists no such issuer")));
        }
        // First what there is, so that nothing is without an issuer for a moment; then what it made meanwhile.
        let mut signed = self.sign_for(&listed, id)?;
        self.edit(&*self.lock_fresh()?, name, |record| {
            record.issuers.retain(|issuer| issuer.key.id() != id);
            Ok(())
        })?;
        signed += self.sign_for(&listed, id)?;
        Ok(signed)
    }

    /// Begins new epochs in place of those that there are.
    pub fn roll_current(&self, name: &PartitionName) -> Result<(), KeyringError> {
        let kinds: Vec<Kind> = self.current_epochs(name)?.iter().map(|epoch| epoch.kind).collect();
        match self.rollover(name, &kinds) {
            // Nothing is sealed in it, or nothing until it is resumed.
            Err(KeyringError::Denied(_, State::Destroyed | State::DecryptOnly)) => Ok(()),
            other => other,
        }
    }

    /// The owner signs what that issuer made, as the partition was `listed`.
    fn sign_for(&self, listed: &PartitionRecord, id: [u8; 16]) -> Result<u64, KeyringError> {
        let mut signed = 0;
        self.each_epoch(&listed.name, |row: &EpochRow| {
            // For each anew: who waits for a key goes between.
            let io = self.lock_fresh()?;
            let owner = self.owner_key(&io)?;
            let mut row = row.clone();
            for _ in 0..super::ATTEMPTS {
                let Ok(record) = EpochRecord::decode(&row.record) else { return Ok(()) };
                let genuine = record.core.id() == row.id && epoch::verify(&record, listed, &self.owner).is_ok();
                if record.issuer != id || !genuine {
                    return Ok(());
                }
                let record = EpochRecord::sign(record.core, owner, record.wraps)?;
                if self.replace(&row, &record)? {
                    signed += 1;
                    return Ok(());
                }
                match self.store.epoch(row.id)? {
                    Some(again) => row = again,
                    None => return Ok(()),
                }
            }
            Err(KeyringError::Unavailable(format!("epoch {} is being changed by other processes; try again", row.id)))
        })?;
        Ok(signed)
    }
}
