//! Moving a keyring, with directory and audit log, from a SQLite file to PostgreSQL.

use super::open::with_password;
use super::store::postgres::{PostgresStore, Source};
use super::store::sqlite::SqliteStore;
use super::store::{EntryRow, Put, Records, Store, StoreError, StorePlace};
use super::{Keyring, KeyringError, Options};
use crate::clock::SharedClock;

/// Rows read at once.
const PAGE: usize = 512;

/// How much was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Partitions.
    pub partitions: usize,
    /// Epochs.
    pub epochs: usize,
    /// Entries of the directory.
    pub entries: u64,
    /// Lines of the audit log.
    pub audit: u64,
}

impl Keyring {
    /// Copies every row to an empty database, in one transaction that is compared with the file before it is committed. The
    /// file stays as it is; if a process writes to it meanwhile, nothing is moved.
    pub fn migrate(options: &Options, to: &StorePlace, clock: SharedClock) -> Result<Moved, KeyringError> {
        let (StorePlace::Sqlite(from), StorePlace::Postgres(place)) = (&options.store, to) else {
            return Err(KeyringError::Mismatch(format!(
                "a keyring moves from a SQLite file to PostgreSQL, not from {} to {to}; `sidecloak keys export` and `import` \
                 carry its keys anywhere",
                options.store
            )));
        };
        // With its checks: what does not open here would not open there.
        drop(Self::open(options, clock.clone())?);
        let file = File { store: SqliteStore::open(from)?, name: options.store.to_string() };
        let before = file.store.commits()?;
        let rows = file.store.dump()?;
        let target = PostgresStore::create(&with_password(place, options)?, options.tls, options.i_know)?;
        let mut counts = [0; 2];
        if target.fill(&rows, Some((&file, before, &mut counts)))? == Put::Conflict {
            return Err(KeyringError::Mismatch(format!(
                "{to} holds a keyring already; it was left as it is: name an empty database"
            )));
        }
        drop(target);
        let moved = Options { store: to.clone(), ..options.clone() };
        drop(Self::open(&moved, clock)?);
        let [entries, audit] = counts;
        Ok(Moved { partitions: rows.partitions.len(), epochs: rows.epochs.len(), entries, audit })
    }
}

/// What is moved.
struct File {
    store: SqliteStore,
    name: String,
}

impl Source for File {
    fn entries(&self, after: &(String, String)) -> Result<Vec<EntryRow>, StoreError> {
        self.store.entries_of_all_kinds(after, PAGE)
    }

    fn audit(&self, after: u64) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.store.audit_after(after, PAGE)
    }

    fn is_still(&self, commits: i64) -> Result<(), StoreError> {
        if self.store.commits()? == commits {
            return Ok(());
        }
        let text = "was written to meanwhile, so nothing was moved; stop every process that uses it, and try again";
        Err(StoreError::Unavailable(format!("{} {text}", self.name)))
    }
}
