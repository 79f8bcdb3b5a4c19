//! The deterministic epoch before the current one: tokens that were sealed under it are looked for after a rollover.

use std::sync::Arc;

use super::epoch::Epoch;
use super::store::Store;
use super::{Cached, Io, Keyring, KeyringError, Kind};
use crate::name::PartitionName;
use crate::token::EpochId;

impl Keyring {
    /// The deterministic epoch before the one that is sealed under now, if there was one. Never blocks.
    pub fn previous_cached(&self, name: &PartitionName) -> Cached<Option<Arc<Epoch>>> {
        let current = match self.sealing_cached(name, Kind::Deterministic) {
            Cached::Hit(epoch) => epoch.id,
            Cached::Unknown => return Cached::Unknown,
            Cached::Denied(state) => return Cached::Denied(state),
            Cached::Miss => return Cached::Miss,
        };
        match self.caches.previous(name, current) {
            Some(Some(id)) => match self.opening_cached(id) {
                // Destroyed, or not to be opened: there is none to look under.
                Cached::Unknown => Cached::Hit(None),
                found => found.map(Some),
            },
            Some(None) => Cached::Hit(None),
            None => Cached::Miss,
        }
    }

    /// The same; may block.
    pub fn previous(&self, name: &PartitionName) -> Result<Option<Arc<Epoch>>, KeyringError> {
        self.with_calls(|io| self.previous_epoch(io, name))
    }

    fn previous_epoch(&self, io: &mut Io, name: &PartitionName) -> Result<Option<Arc<Epoch>>, KeyringError> {
        let current = self.sealing_epoch(io, name, Kind::Deterministic)?;
        let known = self.caches.previous(name, current.id);
        let id = match known {
            Some(known) => known,
            None => {
                let row = self.store.previous(name, current.id)?;
                let id = row.map(|row| row.id).filter(|id| *id != current.id);
                self.caches.put_previous(name, current.id, id);
                id
            }
        };
        let Some(id) = id else { return Ok(None) };
        let none = |why: &str| {
            tracing::debug!(partition = %name, "{why}");
            self.caches.put_previous(name, current.id, None);
        };
        match self.opening_epoch(io, id) {
            Ok(epoch) if epoch.partition == *name && epoch.kind == Kind::Deterministic => Ok(Some(epoch)),
            Ok(_) => {
                none("what the store calls the previous epoch is of another partition or kind");
                Ok(None)
            }
            Err(KeyringError::Unknown(_) | KeyringError::NoKey(_)) => {
                none("the previous epoch does not open");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Pages of [`Store::epochs_of`] that are looked through, and their size.
const PAGES: usize = 64;
const PAGE: usize = 500;

/// The newest deterministic epoch of a partition but for `current`, by what the rows say; records are verified by whoever asks.
pub(super) fn newest_but<S: Store + ?Sized>(
    store: &S,
    name: &PartitionName,
    current: EpochId,
) -> Result<Option<super::store::EpochRow>, super::store::StoreError> {
    use super::cbor::Record;
    use super::record::EpochRecord;
    let mut newest: Option<(u64, super::store::EpochRow)> = None;
    let mut after = EpochId([0; 10]);
    for _ in 0..PAGES {
        let rows = store.epochs_of(name, after, PAGE)?;
        let full = rows.len() >= PAGE;
        let Some(last) = rows.last() else { break };
        after = last.id;
        for row in rows.into_iter().filter(|row| row.kind == Kind::Deterministic as u8 && row.id != current) {
            let Ok(record) = EpochRecord::decode(&row.record) else { continue };
            if newest.as_ref().is_none_or(|(created, _)| *created <= record.core.created) {
                newest = Some((record.core.created, row));
            }
        }
        if !full {
            break;
        }
    }
    Ok(newest.map(|(_, row)| row))
}
