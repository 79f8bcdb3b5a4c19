//! Keeping up with the store: what other processes wrote, what it lost, and epochs that end soon.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::caches::{CacheStats, Loaded, Sealing};
use super::cbor::Record;
use super::master::PrivateKeys;
use super::record::EpochRecord;
use super::store::{Changes, Inserted, NewEpoch, Standing};
use super::{Io, Keyring, KeyringError, Kind, ManagedStats, State};
use crate::crypto::kdf::sha256;
use crate::name::PartitionName;
use crate::token::EpochId;

/// Rows read at once.
const PAGE: usize = 256;
/// Epochs renewed in one tick, so that others wait for the lock only briefly.
const RENEWALS: usize = 16;

/// What a keyring reports of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Of each cache.
    pub caches: [CacheStats; 4],
    /// Partition, kind and age in seconds of each epoch this process seals under.
    pub epoch_ages: Vec<(PartitionName, Kind, u64)>,
    /// As [`Keyring::alarms`].
    pub alarms: u64,
    /// What managed APIs were asked.
    pub managed: ManagedStats,
    /// How old the partition states may be.
    pub stale_seconds: u64,
    /// Until nothing is sealed or opened any more, unless the store answers.
    pub seconds_left: u64,
}

impl Keyring {
    /// To be called about every 250 ms, and after [`Self::wait`], by a background thread: notices what other processes wrote,
    /// refreshes partition states, renews epochs before `not_after`, re-inserts records that the store lost.
    pub fn tick(&self) {
        let mut io = self.lock();
        match self.refresh(&mut io) {
            Ok(()) => {
                if io.complained {
                    tracing::info!("the keyring is back");
                }
                io.complained = false;
                Self::in_background(&mut io, |io| self.renew_early(io));
                self.tend(&mut io);
            }
            Err(error) if !io.complained => {
                tracing::error!("{error}; values are sealed and opened from memory until `max_stale`");
                io.complained = true;
            }
            Err(_) => {}
        }
        drop(io);
        self.end_leases();
        self.caches.tidy();
    }

    /// Waits until another process writes, at most for `timeout`: then it is time for [`Self::tick`].
    pub fn wait(&self, timeout: Duration) {
        self.store.wait(timeout);
    }

    /// Counts and ages.
    pub fn stats(&self) -> Stats {
        let now = self.clock.now();
        let stale_seconds = self.caches.freshness().age(now);
        let age = |s: &Arc<Sealing>| (s.epoch.partition.clone(), s.epoch.kind, now.saturating_sub(s.epoch.created));
        Stats {
            caches: self.caches.stats(),
            epoch_ages: self.caches.all_sealing().iter().map(age).collect(),
            alarms: self.alarms(),
            managed: self.desk.stats(),
            stale_seconds,
            seconds_left: self.options.max_stale.as_secs().saturating_sub(stale_seconds),
        }
    }

    /// Asks the store for news and acts on them.
    pub(super) fn refresh(&self, io: &mut Io) -> Result<(), KeyringError> {
        let sample = self.caches.freshness().sample(self.clock.now());
        let change = self.store.change()?;
        if io.change != Some(change) {
            let changes = io.change.map_or(Ok(None), |known| self.store.changes_since(known))?;
            self.caches.forget_unknown();
            Self::in_background(io, |io| match changes {
                Some(changes) => self.take_changes(io, &changes),
                None => self.look_at_everything(io),
            })?;
            io.change = Some(change);
        }
        self.caches.freshness().renew(sample);
        Ok(())
    }

    fn look_at_everything(&self, io: &mut Io) -> Result<(), KeyringError> {
        self.take_tombstones(io)?;
        self.refresh_keys(io)?;
        self.refresh_partitions(io, &self.caches.partitions())?;
        self.refresh_sealing(io, &self.caches.all_sealing())?;
        self.confirm_new(io)
    }

    /// With a thousand partitions in memory, a change of one costs no more than with two.
    fn take_changes(&self, io: &mut Io, changes: &Changes) -> Result<(), KeyringError> {
        if changes.tombstones {
            self.take_tombstones(io)?;
        }
        if changes.keys {
            self.refresh_keys(io)?;
        }
        let among = |names: &[PartitionName]| names.iter().cloned().collect::<HashSet<_>>();
        let changed = among(&changes.partitions);
        let mut partitions = self.caches.partitions();
        partitions.retain(|loaded| changed.contains(&loaded.partition.name));
        self.refresh_partitions(io, &partitions)?;
        let changed = among(&changes.sealing);
        let mut sealing = self.caches.all_sealing();
        sealing.retain(|sealing| changed.contains(&sealing.epoch.partition));
        self.refresh_sealing(io, &sealing)?;
        // Also after a change of partitions alone: an issuer may be listed now whose epochs were refused.
        self.confirm_new(io)
    }

    fn take_tombstones(&self, io: &mut Io) -> Result<(), KeyringError> {
        if let Some((number, id)) = io.last_tombstone {
            let there = self.store.tombstones_after(number.saturating_sub(1), 1)?;
            if there.first().is_none_or(|(n, i, _)| (*n, *i) != (number, id)) {
                // A restored copy counts from where it was.
                io.last_tombstone = None;
            }
        }
        loop {
            let page = self.store.tombstones_after(io.last_tombstone.map_or(0, |(number, _)| number), PAGE)?;
            for (number, id, encoded) in &page {
                if !self.caches.is_destroyed(*id) {
                    self.take_tombstone(*id, encoded);
                }
                io.last_tombstone = Some((*number, *id));
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn refresh_keys(&self, io: &mut Io) -> Result<(), KeyringError> {
        if self.is_encrypt_only() {
            return Ok(());
        }
        let rows = self.store.keys()?;
        if self.options.master_keys.is_empty() {
            // Public halves only: what an authority opens.
            io.rows = rows;
            return Ok(());
        }
        if rows == io.rows {
            return Ok(());
        }
        match PrivateKeys::unwrap(&rows, &io.masters) {
            Ok(keys) if keys.owner.as_ref().is_some_and(|owner| *owner.verifying_key() == self.owner) => io.keys = keys,
            // Keys stay as they were: after a master-key rotation this process serves on with what it has unwrapped.
            Ok(_) => self.alarm("the keyring's owner key was exchanged"),
            Err(KeyringError::Mismatch(text)) => {
                tracing::warn!("private keys in the keyring changed and were not taken over: {text}");
            }
            Err(error) => return Err(error),
        }
        io.rows = rows;
        Ok(())
    }

    fn refresh_partitions(&self, io: &Io, cached: &[Arc<Loaded>]) -> Result<(), KeyringError> {
        for page in cached.chunks(PAGE) {
            let names: Vec<_> = page.iter().map(|loaded| loaded.partition.name.clone()).collect();
            let digests = self.store.digests(&names)?;
            for (i, loaded) in page.iter().enumerate() {
                if digests.get(i).copied().flatten() == Some(sha256(&loaded.encoded)) {
                    continue;
                }
                match self.load_partition(io, &loaded.partition.name) {
                    Ok(_) | Err(KeyringError::Unknown(_)) => {} // refused: gone from memory too, with an alarm
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Follows roll-overs, and puts back what the store lost (a fail-over, a restored copy).
    fn refresh_sealing(&self, io: &Io, cached: &[Arc<Sealing>]) -> Result<(), KeyringError> {
        for page in cached.chunks(PAGE) {
            let ids: Vec<_> = page.iter().map(|sealing| sealing.epoch.id).collect();
            let standing = self.store.standing(&ids)?;
            for sealing in page {
                let row = standing.iter().find(|row| row.id == sealing.epoch.id);
                self.refresh_epoch(io, sealing, row)?;
            }
        }
        Ok(())
    }

    fn refresh_epoch(&self, io: &Io, sealing: &Sealing, row: Option<&Standing>) -> Result<(), KeyringError> {
        let epoch = &sealing.epoch;
        let (name, kind) = (&epoch.partition, epoch.kind);
        let in_place = |row: &Standing| row.current && row.partition == name.as_str() && row.kind == kind as u8;
        match row {
            // There is one current epoch of a partition and kind.
            Some(row) if in_place(row) => return Ok(()),
            Some(_) => {}
            None => self.put_back(sealing)?,
        }
        if kind == Kind::Private {
            return Ok(());
        }
        let current = self.store.current(name, kind)?.map(|row| row.id);
        if current == Some(epoch.id) {
            return Ok(());
        }
        self.caches.drop_sealing_kind(name, kind);
        if current.is_some()
            && self.loaded(io, name).is_ok_and(|loaded| loaded.partition.state == State::Active)
            && let Err(error @ KeyringError::Unavailable(_)) = self.current(io, name, kind, None)
            && !Self::waits(io)
        {
            return Err(error);
        }
        Ok(())
    }

    fn put_back(&self, sealing: &Sealing) -> Result<(), KeyringError> {
        let epoch = &sealing.epoch;
        if self.is_destroyed(epoch.id)? {
            return Ok(());
        }
        tracing::warn!(epoch = %epoch.id, "the store lost an epoch in use; its record is put back");
        let current = match epoch.kind {
            Kind::Private => None,
            // An older one than ours is current again: the copy is from before ours was made.
            kind => match self.store.current(&epoch.partition, kind)? {
                None => Some(None),
                Some(row) => EpochRecord::decode(&row.record)
                    .is_ok_and(|record| record.core.created < epoch.created)
                    .then_some(Some(row.id)),
            },
        };
        let row = |replaces| NewEpoch {
            id: epoch.id,
            partition: &epoch.partition,
            kind: epoch.kind,
            record: &sealing.record,
            confirmed: sealing.confirmed,
            replaces,
            under: None,
        };
        if self.store.insert_epoch(&row(current))? == Inserted::Raced {
            self.store.insert_epoch(&row(None))?;
        }
        Ok(())
    }

    /// An opener unwraps every new record at once: a mistake or a forgery shows before much is sealed under it.
    fn confirm_new(&self, io: &Io) -> Result<(), KeyringError> {
        if self.is_encrypt_only() {
            return Ok(());
        }
        let mut after = EpochId([0; 10]);
        loop {
            let page = self.store.unconfirmed(after, PAGE)?;
            for row in &page {
                after = row.id;
                if self.caches.is_refused(row) {
                    continue;
                }
                self.confirm_row(io, row)?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Renews epochs in the last tenth of their life; the id spreads them over the first half of it.
    fn renew_early(&self, io: &mut Io) {
        let now = self.clock.now();
        let due = |sealing: &Arc<Sealing>| {
            let epoch = &sealing.epoch;
            let spread = u64::from(epoch.id.0.first().copied().unwrap_or_default());
            let life = epoch.not_after.saturating_sub(epoch.created);
            let wait = if self.is_held(io, &epoch.partition) {
                // Twice as early, since an API may be away for a while, and spread over processes, since each calls for itself.
                (life - life / 5).saturating_add((life / (20 * 256)).saturating_mul(self.desk.spread()))
            } else {
                (life - life / 10).saturating_add((life / (20 * 256)).saturating_mul(spread))
            };
            epoch.kind != Kind::Deterministic && now >= epoch.created.saturating_add(wait)
        };
        let due: Vec<_> = self.caches.all_sealing().into_iter().filter(due).take(RENEWALS).collect();
        for sealing in due {
            let epoch = &sealing.epoch;
            let renewed = match epoch.kind {
                Kind::Private => self.own(io, &epoch.partition),
                kind => self.current(io, &epoch.partition, kind, Some(epoch.id)),
            };
            if let Err(error) = renewed {
                // Tried again at the next tick; the old one seals until its end.
                tracing::debug!("an epoch is not renewed yet: {error}");
            }
        }
    }
}
