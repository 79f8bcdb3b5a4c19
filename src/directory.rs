//! What an authority knows beside keys: users, API keys, applications, temporary tokens. Every entry is sealed under the master
//! key and bound to its place and version, so that whoever holds or writes the store can neither read nor make one; what is
//! left to a store writer is to put back an older entry, or to take one away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::SharedClock;
use crate::crypto::kdf::pae;
use crate::keyring::store::{EntryRow, Put};
use crate::keyring::{Keyring, KeyringError};
use crate::secret::SecretBytes;

const LABEL: &str = "sidecloak/1 directory";
const CACHED: u64 = 65_536;
/// How old an entry may be that [`Directory::recall`] gives without asking the store.
const FRESH: u64 = 1;
/// Rows read at once.
const PAGE: usize = 256;
/// Lost races before we give up.
const ATTEMPTS: usize = 16;

/// See the module.
#[derive(Clone)]
pub struct Directory {
    keyring: Arc<Keyring>,
    clock: SharedClock,
    max_stale: Duration,
    cache: Cache<(&'static str, String), Arc<Recalled>>,
    unread: Arc<AtomicU64>,
}

/// An entry with what is true of its row.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// Unique in its kind.
    pub id: String,
    /// Grows with every change.
    pub version: u64,
    /// When it ends (Unix seconds); 0: never.
    pub expires: u64,
    /// How often it may still be used.
    pub left: Option<u64>,
    /// The content.
    pub value: T,
}

impl<T> Entry<T> {
    /// The same of another content.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Entry<U> {
        let Self { id, version, expires, left, value } = self;
        Entry { id, version, expires, left, value: make(value) }
    }
}

struct Recalled {
    row: Option<(EntryRow, SecretBytes)>,
    at: u64,
}

impl Directory {
    /// On the store of this keyring, which must hold the master key.
    pub fn new(keyring: Arc<Keyring>, clock: SharedClock, max_stale: Duration) -> Result<Self, KeyringError> {
        keyring.records()?;
        let cache = Cache::builder().max_capacity(CACHED).time_to_idle(Duration::from_secs(600)).build();
        Ok(Self { keyring, clock, max_stale, cache, unread: Arc::default() })
    }

    /// The entry as the store has it now, unless it has ended. May block.
    pub fn get<T: DeserializeOwned>(&self, kind: &'static str, id: &str) -> Result<Option<Entry<T>>, KeyringError> {
        self.fetch(kind, id)?.map_or(Ok(None), |recalled| self.entry(&recalled))
    }

    /// The entry as it was at most a second ago, or, while the store cannot be reached, at most `max_stale` ago. May block.
    pub fn recall<T: DeserializeOwned>(&self, kind: &'static str, id: &str) -> Result<Option<Entry<T>>, KeyringError> {
        match self.recall_cached(kind, id) {
            Some(found) => found,
            None => self.fetch(kind, id)?.map_or(Ok(None), |recalled| self.entry(&recalled)),
        }
    }

    /// The same from memory alone; the outer `None`: ask [`Self::recall`]. Never blocks.
    pub fn recall_cached<T: DeserializeOwned>(
        &self,
        kind: &'static str,
        id: &str,
    ) -> Option<Result<Option<Entry<T>>, KeyringError>> {
        let recalled = self.cache.get(&(kind, id.to_owned()))?;
        (self.clock.now().saturating_sub(recalled.at) <= FRESH).then(|| self.entry(&recalled))
    }

    /// Up to `limit` entries of a kind after `after`, in the order of their ids; fewer only if there are no more. One that does
    /// not authenticate is left out, and logged. May block.
    pub fn list<T: DeserializeOwned>(
        &self,
        kind: &'static str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Entry<T>>, KeyringError> {
        let (mut found, mut after, limit) = (Vec::new(), after.to_owned(), limit.max(1));
        loop {
            let rows = self.keyring.records()?.entries(kind, &after, limit)?;
            let more = rows.len() >= limit;
            for row in rows {
                after.clone_from(&row.id);
                match self
                    .open(&row)
                    .and_then(|content| if row.kind == kind { Ok(content) } else { Err(damaged(kind)) })
                {
                    Ok(content) => found.extend(self.entry(&Recalled { row: Some((row, content)), at: 0 })?),
                    Err(error) => {
                        self.unread.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(alarm = true, "{error}");
                    }
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            if !more {
                return Ok(found);
            }
        }
    }

    /// How often [`Self::list`] left an entry out: whoever shows a list says so.
    pub fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// Writes an entry over version `expected` (0: a new one). `Conflict`: somebody else was first. May block.
    pub fn put<T: Serialize>(
        &self,
        kind: &'static str,
        id: &str,
        expected: u64,
        value: &T,
        ends: Ends,
    ) -> Result<Put, KeyringError> {
        let content = SecretBytes::new(serde_json::to_vec(value).map_err(|_| damaged(kind))?);
        let mut row = EntryRow {
            kind: kind.to_owned(),
            id: id.to_owned(),
            version: expected + 1,
            expires: ends.at,
            left: ends.after,
            sealed: Vec::new(),
        };
        row.sealed = self.keyring.seal_under_master(LABEL, &aad(&row), content.expose())?;
        let put = self.keyring.records()?.put_entry(&row, expected);
        // Also after a failure: a connection that broke leaves open what was written.
        self.cache.invalidate(&(kind, id.to_owned()));
        Ok(put?)
    }

    /// Changes an entry, again if somebody else changed it meanwhile; `None`: there is none. The count of uses stays. May block.
    pub fn edit<T: Serialize + DeserializeOwned, E: From<KeyringError>>(
        &self,
        kind: &'static str,
        id: &str,
        mut change: impl FnMut(&mut T) -> Result<(), E>,
    ) -> Result<Option<T>, E> {
        for _ in 0..ATTEMPTS {
            let Some(mut entry) = self.get::<T>(kind, id)? else { return Ok(None) };
            change(&mut entry.value)?;
            let ends = Ends { at: entry.expires, after: entry.left };
            if self.put(kind, id, entry.version, &entry.value, ends)? == Put::Done {
                return Ok(Some(entry.value));
            }
        }
        Err(KeyringError::Unavailable("an entry of the directory is being changed by others; try again".into()).into())
    }

    /// Deletes an entry; whether there was one. May block.
    pub fn delete(&self, kind: &'static str, id: &str) -> Result<bool, KeyringError> {
        for _ in 0..ATTEMPTS {
            let Some(row) = self.keyring.records()?.entry(kind, id)? else { return Ok(false) };
            let deleted = self.keyring.records()?.delete_entry(kind, id, row.version);
            self.cache.invalidate(&(kind, id.to_owned()));
            if deleted? == Put::Done {
                return Ok(true);
            }
        }
        Err(KeyringError::Unavailable("an entry of the directory is being changed by others; try again".into()))
    }

    /// Uses an entry that may be used so many times once; what is left after it, `None` if nothing was. May block.
    pub fn take(&self, kind: &'static str, id: &str) -> Result<Option<u64>, KeyringError> {
        Ok(self.keyring.records()?.take(kind, id, self.clock.now())?)
    }

    /// The next number of a sequence, from 1; none is given twice. May block.
    pub fn next_number(&self, sequence: &str) -> Result<u64, KeyringError> {
        for _ in 0..ATTEMPTS {
            let last = self.get::<u64>("sequence", sequence)?;
            let (version, next) = last.map_or((0, 1), |entry| (entry.version, entry.value + 1));
            if self.put("sequence", sequence, version, &next, Ends::never())? == Put::Done {
                return Ok(next);
            }
        }
        Err(KeyringError::Unavailable("others number entries at the same time; try again".into()))
    }

    /// Whether every entry authenticates under the master keys of this process. May block.
    pub fn check(&self) -> Result<(), KeyringError> {
        self.each_row(|row| self.open(&row).map(|_| true))
    }

    /// Whether there is any entry. May block.
    pub fn is_used(&self) -> Result<bool, KeyringError> {
        let mut used = false;
        self.each_row(|_| {
            used = true;
            Ok(false)
        })?;
        Ok(used)
    }

    /// How many entries there are that are not sealed under the first master key. May block.
    pub fn under_others(&self) -> Result<u64, KeyringError> {
        let mut count = 0;
        self.each_row(|row| {
            count += u64::from(!self.keyring.is_under_first_master(&row.sealed));
            Ok(true)
        })?;
        Ok(count)
    }

    /// Seals up to `limit` entries under the first master key that are not yet, and returns how many it did; 0: all are. May block.
    pub fn reseal(&self, limit: u64) -> Result<u64, KeyringError> {
        let mut done = 0;
        self.each_row(|row| {
            if self.keyring.is_under_first_master(&row.sealed) {
                return Ok(true);
            }
            let content = self.open(&row)?;
            let mut new = EntryRow { version: row.version + 1, ..row };
            new.sealed = self.keyring.seal_under_master(LABEL, &aad(&new), content.expose())?;
            // On a conflict somebody else changed it, and so sealed it, or it is gone.
            let (Put::Done | Put::Conflict) = self.keyring.records()?.put_entry(&new, new.version - 1)?;
            done += 1;
            Ok(done < limit)
        })?;
        Ok(done)
    }

    fn each_row(&self, mut each: impl FnMut(EntryRow) -> Result<bool, KeyringError>) -> Result<(), KeyringError> {
        let records = self.keyring.records()?;
        for kind in records.entry_kinds()? {
            let mut after = String::new();
            loop {
                let page = records.entries(&kind, &after, PAGE)?;
                let last = page.len() < PAGE;
                for row in page {
                    after.clone_from(&row.id);
                    if !each(row)? {
                        return Ok(());
                    }
                }
                if last {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Of what it tells the time by.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The keyring beside it.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    fn fetch(&self, kind: &'static str, id: &str) -> Result<Option<Arc<Recalled>>, KeyringError> {
        let (key, at) = ((kind, id.to_owned()), self.clock.now());
        let row = match self.keyring.records()?.entry(kind, id) {
            Ok(row) => row,
            Err(error) => {
                let old = self.cache.get(&key).filter(|old| at.saturating_sub(old.at) <= self.max_stale.as_secs());
                return old.map_or_else(|| Err(error.into()), |old| Ok(Some(old)));
            }
        };
        let row = match row {
            // Whoever has the store chooses which row comes.
            Some(row) if row.kind != kind || row.id != id => return Err(damaged(kind)),
            Some(row) => {
                let content = self.open(&row)?;
                Some((row, content))
            }
            None => None,
        };
        let recalled = Arc::new(Recalled { row, at });
        self.cache.insert(key, Arc::clone(&recalled));
        Ok(Some(recalled))
    }

    fn entry<T: DeserializeOwned>(&self, recalled: &Recalled) -> Result<Option<Entry<T>>, KeyringError> {
        let Some((row, content)) = &recalled.row else { return Ok(None) };
        if row.expires != 0 && row.expires <= self.clock.now() {
            return Ok(None);
        }
        let value = serde_json::from_slice(content.expose()).map_err(|_| damaged(&row.kind))?;
        Ok(Some(Entry { id: row.id.clone(), version: row.version, expires: row.expires, left: row.left, value }))
    }

    fn open(&self, row: &EntryRow) -> Result<SecretBytes, KeyringError> {
        self.keyring.open_under_master(LABEL, &aad(row), &row.sealed).ok_or_else(|| damaged(&row.kind))
    }
}

/// When an entry ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends {
    /// At this time (Unix seconds); 0: never.
    pub at: u64,
    /// After so many uses.
    pub after: Option<u64>,
}

impl Ends {
    /// Only when it is deleted.
    pub fn never() -> Self {
        Self::default()
    }

    /// At this time.
    pub fn at(at: u64) -> Self {
        Self { at, after: None }
    }
}

/// The count of uses is not in it, since the store counts it down.
fn aad(row: &EntryRow) -> Vec<u8> {
    pae(&[
        row.kind.as_bytes(),
        row.id.as_bytes(),
        &row.version.to_le_bytes(),
        &row.expires.to_le_bytes(),
        &[u8::from(row.left.is_some())],
    ])
}

fn damaged(kind: &str) -> KeyringError {
    KeyringError::Mismatch(format!(
        "an entry of the directory ({kind}) does not authenticate: it was written by somebody else, or the master key that it is under is not given"
    ))
}
