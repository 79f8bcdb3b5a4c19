//! What an authority does for processes that do not reach its store. Every answer comes from the store, not from memory: whoever
//! was told of a change must not be shown what was before it. Who may ask what is decided by the caller, per partition.

use std::sync::Arc;

use super::caches::Loaded;
use super::cbor::Record;
use super::epoch;
use super::managed::MAX_WRAPPED;
use super::master::Usage;
use super::record::{EpochRecord, Tombstone, Wrap};
use super::store::{EpochRow, Inserted, KeyRow, NewEpoch, Standing};
use super::{Io, Keyring, KeyringError, Kind, MANAGED, Partition, State};
use crate::crypto::kdf::{key_id, sha256};
use crate::crypto::kem::KemSuite;
use crate::name::PartitionName;
use crate::secret::Secret;
use crate::token::EpochId;

/// A data key that is wrapped, with its tag.
const WRAPPED: usize = 48;

/// An epoch as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedEpoch {
    /// Its name.
    pub id: EpochId,
    /// Its partition, as the record says, which the asker verifies.
    pub partition: PartitionName,
    /// Its kind.
    pub kind: Kind,
    /// The encoded record.
    pub record: Vec<u8>,
    /// Whether an opener has unwrapped it.
    pub confirmed: bool,
    /// Whether it is the one to seal under.
    pub current: bool,
}

/// Why an epoch that another process made is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is not right; says what to do.
    #[error("{0}")]
    Invalid(String),
    /// See there.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

impl Keyring {
    /// Differs from the last answer if the store may have changed.
    pub fn served_change(&self) -> Result<u64, KeyringError> {
        Ok(self.store.change()?)
    }

    /// Use and public half of the owner's key and of each recipient's that this process opens with.
    pub fn served_keys(&self) -> Result<Vec<(u8, Vec<u8>)>, KeyringError> {
        let io = self.lock_fresh()?;
        let public = |row: &&KeyRow| match Usage::from_byte(row.usage) {
            Some(Usage::Owner) => row.public == self.owner.as_bytes(),
            Some(Usage::Recipient(_)) => true,
            Some(Usage::Issuer | Usage::Signer) | None => false,
        };
        Ok(io.rows.iter().filter(public).map(|row| (row.usage, row.public.clone())).collect())
    }

    /// A partition's verified record, with its encoded form.
    pub fn served_partition(&self, name: &PartitionName) -> Result<(Arc<Partition>, Vec<u8>), KeyringError> {
        let io = self.lock_fresh()?;
        let loaded = self.load_newest(&io, name)?;
        Ok((loaded.partition.clone(), loaded.encoded.clone()))
    }

    /// An epoch, or, if it was destroyed, its partition with the tombstone.
    #[expect(clippy::type_complexity, reason = "either of two, or none")]
    pub fn served_epoch(
        &self,
        id: EpochId,
    ) -> Result<Option<Result<ServedEpoch, (PartitionName, Vec<u8>)>>, KeyringError> {
        if let Some(encoded) = self.store.tombstone(id)?
            && let Some(stone) = self.own_tombstone(id, &encoded)
        {
            return Ok(Some(Err((stone.partition, encoded))));
        }
        Ok(self.store.epoch(id)?.and_then(|row| self.served(row)).map(Ok))
    }

    /// What the rows of these epochs say.
    pub fn served_standing(&self, ids: &[EpochId]) -> Result<Vec<Standing>, KeyringError> {
        Ok(self.store.standing(ids)?)
    }

    /// The current epoch of a partition and kind.
    pub fn served_current(&self, name: &PartitionName, kind: Kind) -> Result<Option<ServedEpoch>, KeyringError> {
        let served = self.store.current(name, kind)?.and_then(|row| self.served(row));
        Ok(served.filter(|epoch| epoch.partition == *name && epoch.kind == kind))
    }

    /// The deterministic epoch of a partition before the current one.
    pub fn served_previous(&self, name: &PartitionName) -> Result<Option<ServedEpoch>, KeyringError> {
        let Some(current) = self.store.current(name, Kind::Deterministic)? else { return Ok(None) };
        let served = self.store.previous(name, current.id)?.and_then(|row| self.served(row));
        Ok(served.filter(|epoch| epoch.partition == *name && epoch.kind == Kind::Deterministic))
    }

    /// Up to `limit` authentic tombstones after the one numbered `after`, with their partitions, and the number to go on from,
    /// if there may be more.
    #[expect(clippy::type_complexity, reason = "a row")]
    pub fn served_tombstones(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<(u64, EpochId, PartitionName, Vec<u8>)>, Option<u64>), KeyringError> {
        let rows = self.store.tombstones_after(after, limit)?;
        let next = (rows.len() >= limit).then(|| rows.last().map(|(number, ..)| *number)).flatten();
        let served = rows.into_iter().filter_map(|(number, id, encoded)| {
            let partition = self.own_tombstone(id, &encoded)?.partition;
            Some((number, id, partition, encoded))
        });
        Ok((served.collect(), next))
    }

    /// The shared secret of one wrap of an epoch of that partition, as it lies in the store. With `to_seal` only of the epoch
    /// that is sealed under now.
    pub fn decapsulate_for(
        &self,
        name: &PartitionName,
        id: EpochId,
        (suite, recipient, kem_ct): (u8, [u8; 16], &[u8]),
        to_seal: bool,
    ) -> Result<Secret<32>, KeyringError> {
        let unknown = || KeyringError::Unknown(format!("epoch {id} has no such wrap"));
        let io = self.lock_fresh()?;
        let state = self.load_newest(&io, name)?.partition.state;
        if !state.opens() || (to_seal && state != State::Active) {
            return Err(KeyringError::Denied(name.clone(), state));
        }
        let row = self.store.epoch(id)?.ok_or_else(unknown)?;
        let record = self.verified(&io, &row)?;
        if record.core.partition != *name {
            return Err(unknown());
        }
        let is_current =
            || Ok::<_, KeyringError>(self.store.current(name, record.core.kind)?.is_some_and(|r| r.id == id));
        if to_seal && (record.core.kind == Kind::Private || !is_current()?) {
            return Err(unknown());
        }
        let asked = record
            .wraps
            .iter()
            .find(|w| w.suite == suite && w.recipient == recipient && w.kem_ct == kem_ct)
            .ok_or_else(unknown)?;
        let (_, key) = io.keys.recipients.iter().find(|(id, _)| *id == recipient).ok_or_else(unknown)?;
        epoch::shared_secret(&record.core, asked, key)
            .ok_or_else(|| self.refuse(format!("epoch {id} does not open: its wrapped key was changed")))
    }

    /// Takes an epoch that another process made and signed, if every process would take it. `under`: SHA-256 of the partition's
    /// record that it was made under.
    pub fn take_epoch(
        &self,
        name: &PartitionName,
        record: &[u8],
        replaces: Option<Option<EpochId>>,
        under: Option<[u8; 32]>,
    ) -> Result<Inserted, NotTaken> {
        let io = self.lock_fresh()?;
        let record = decode(name, record)?;
        let loaded = self.load_active(&io, name)?;
        epoch::verify(&record, &loaded.record, &self.owner).map_err(|error| NotTaken::Invalid(error.to_string()))?;
        if under.is_some_and(|under| under != sha256(&loaded.encoded)) {
            return Ok(Inserted::Raced);
        }
        self.must_fit(&record, replaces)?;
        self.insert(&io, &loaded, &record, replaces, under.is_some())
    }

    /// Signs and takes an epoch that a process without an issuer's key made.
    pub fn issue_epoch(
        &self,
        name: &PartitionName,
        draft: &[u8],
        replaces: Option<EpochId>,
        under: [u8; 32],
    ) -> Result<(Inserted, Vec<u8>), NotTaken> {
        let io = self.lock_fresh()?;
        let draft = decode(name, draft)?;
        if draft.core.kind == Kind::Private {
            return Err(invalid("epochs of one process need that process's own issuer key"));
        }
        let now = self.clock.now();
        if draft.core.created.abs_diff(now) > epoch::CLOCK_SKEW {
            return Err(invalid("the epoch was not made now: set the clock of the process that made it"));
        }
        let loaded = self.load_active(&io, name)?;
        if under != sha256(&loaded.encoded) {
            return Ok((Inserted::Raced, Vec::new()));
        }
        self.must_fit(&draft, Some(replaces))?;
        // Rolling one ends equality, which is the operator's to do.
        if draft.core.kind == Kind::Deterministic && replaces.is_some() {
            return Err(invalid("a deterministic epoch is rolled by `sidecloak keys rollover`, not by a sidecar"));
        }
        let issuer = self.issuer(&io, &loaded, draft.core.kind)?;
        let record = EpochRecord::sign(draft.core, issuer, draft.wraps).map_err(KeyringError::from)?;
        let inserted = self.insert(&io, &loaded, &record, Some(replaces), true)?;
        Ok((inserted, record.encode()))
    }

    fn insert(
        &self,
        io: &Io,
        loaded: &Loaded,
        record: &EpochRecord,
        replaces: Option<Option<EpochId>>,
        is_new: bool,
    ) -> Result<Inserted, NotTaken> {
        if is_new {
            must_cover(record, loaded)?;
        }
        let ours = |wrap: &Wrap| io.keys.recipients.iter().any(|(id, _)| *id == wrap.recipient);
        let confirmed = record.wraps.iter().any(ours);
        if confirmed && epoch::unwrap(record, &io.keys.recipients).is_err() {
            return Err(invalid("the epoch does not open to the key that it commits to"));
        }
        let encoded = record.encode();
        let row = NewEpoch {
            id: record.core.id(),
            partition: &record.core.partition,
            kind: record.core.kind,
            record: &encoded,
            confirmed,
            replaces,
            under: is_new.then_some(loaded.encoded.as_slice()),
        };
        let inserted = self.store.insert_epoch(&row).map_err(KeyringError::from)?;
        if inserted == Inserted::Done
            && let Some(mirror) = &self.mirror
        {
            mirror.ensure(row.id, &encoded)?;
        }
        Ok(inserted)
    }

    /// Times, and what it replaces.
    fn must_fit(&self, record: &EpochRecord, replaces: Option<Option<EpochId>>) -> Result<(), NotTaken> {
        let (core, now) = (&record.core, self.clock.now());
        if core.created > now.saturating_add(epoch::CLOCK_SKEW) {
            return Err(invalid("the epoch was made in the future: set the clock of the process that made it"));
        }
        let life = self.options.epoch_lifetime.as_secs().saturating_add(epoch::CLOCK_SKEW);
        if core.kind != Kind::Deterministic && (core.not_after <= core.created || core.not_after - core.created > life)
        {
            return Err(NotTaken::Invalid(format!(
                "the epoch seals for longer than this authority's `keyring.epoch_lifetime` ({} s), or not at all",
                self.options.epoch_lifetime.as_secs()
            )));
        }
        let Some(replaced) = replaces else { return Ok(()) };
        if core.kind == Kind::Private {
            return Err(invalid("an epoch of one process never is the current one of all"));
        }
        let current = self.store.current(&core.partition, core.kind).map_err(KeyringError::from)?;
        let before = current.filter(|row| Some(row.id) == replaced);
        let before = before.and_then(|row| EpochRecord::decode(&row.record).ok()).map_or(0, |r| r.core.created);
        let newest = self.caches.newest(&core.partition, core.kind);
        let newest = if newest <= now.saturating_add(epoch::CLOCK_SKEW) { newest } else { 0 };
        if core.created < before.max(newest) || (core.kind != Kind::Deterministic && core.not_after <= now) {
            return Err(invalid("the epoch is older than the one it would replace, or has ended"));
        }
        Ok(())
    }

    /// The partition as the store has it, verified again only if that is something new.
    fn load_newest(&self, io: &Io, name: &PartitionName) -> Result<Arc<Loaded>, KeyringError> {
        if let Some(loaded) = self.caches.partition(name)
            && self.store.partition(name)?.as_deref() == Some(&loaded.encoded)
        {
            return Ok(loaded);
        }
        self.load_partition(io, name)
    }

    fn load_active(&self, io: &Io, name: &PartitionName) -> Result<Arc<Loaded>, KeyringError> {
        let loaded = self.load_newest(io, name)?;
        match loaded.partition.state {
            State::Active => Ok(loaded),
            state => Err(KeyringError::Denied(name.clone(), state)),
        }
    }

    fn served(&self, row: EpochRow) -> Option<ServedEpoch> {
        let record = EpochRecord::decode(&row.record).ok().filter(|record| record.core.id() == row.id);
        let Some(EpochRecord { core, .. }) = record else {
            self.alarm(&format!("epoch {} is damaged", row.id));
            return None;
        };
        let EpochRow { id, record, confirmed, current, .. } = row;
        Some(ServedEpoch { id, partition: core.partition, kind: core.kind, record, confirmed, current })
    }

    fn own_tombstone(&self, id: EpochId, encoded: &[u8]) -> Option<Tombstone> {
        let stone = Tombstone::decode(encoded).ok().filter(|stone| stone.id() == id)?;
        (self.caches.is_destroyed(id) || self.take_tombstone(id, encoded)).then_some(stone)
    }
}

fn decode(name: &PartitionName, record: &[u8]) -> Result<EpochRecord, NotTaken> {
    let record = EpochRecord::decode(record).map_err(|_| invalid("this is no epoch record"))?;
    if record.core.partition != *name {
        return Err(invalid("the epoch is of another partition than the path names"));
    }
    Ok(record)
}

/// One wrap for each recipient that the partition lists, and none for anybody else.
fn must_cover(record: &EpochRecord, loaded: &Loaded) -> Result<(), NotTaken> {
    let mut listed: Vec<_> = loaded.record.recipients.iter().map(|r| (r.suite, key_id(&r.key))).collect();
    let mut wrapped: Vec<_> = record.wraps.iter().map(|wrap| (wrap.suite, wrap.recipient)).collect();
    listed.sort_unstable();
    listed.dedup();
    wrapped.sort_unstable();
    let fits = |wrap: &Wrap| match wrap.suite {
        // Whether that opens is for those to say who reach the API.
        MANAGED => wrap.kem_ct.is_empty() && (1..=MAX_WRAPPED).contains(&wrap.wrapped.len()),
        suite => KemSuite::from_byte(suite).is_some() && wrap.wrapped.len() == WRAPPED && wrap.kem_ct.len() <= 2048,
    };
    if wrapped == listed && record.wraps.iter().all(fits) {
        Ok(())
    } else {
        Err(invalid("the epoch is not wrapped to each recipient of its partition, and to nobody else"))
    }
}

fn invalid(text: &str) -> NotTaken {
    NotTaken::Invalid(text.to_owned())
}
