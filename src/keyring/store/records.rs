//! What else lies in a store beside keys: the authority's directory (users, API keys, temporary tokens) and the audit log.
//! Untrusted like the rest; whoever uses it seals or chains what it writes.

use super::{Put, StoreError};

/// An entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// What it is, such as `apikey`.
    pub kind: String,
    /// Unique in its kind.
    pub id: String,
    /// Grows with every change.
    pub version: u64,
    /// When it ends (Unix seconds); 0: never.
    pub expires: u64,
    /// How often it may still be used; `None`: any number of times. Changed by [`Records::take`] alone once it is written.
    pub left: Option<u64>,
    /// The sealed content.
    pub sealed: Vec<u8>,
}

/// Directory and audit log of a store. Methods block, are atomic, and durable when they return `Done`.
pub trait Records: Send + Sync {
    /// One entry, also an expired one.
    fn entry(&self, kind: &str, id: &str) -> Result<Option<EntryRow>, StoreError>;

    /// Up to `limit` entries of a kind whose ids sort (by bytes) after `after`, in order.
    fn entries(&self, kind: &str, after: &str, limit: usize) -> Result<Vec<EntryRow>, StoreError>;

    /// All kinds of entries that there are, in order.
    fn entry_kinds(&self) -> Result<Vec<String>, StoreError>;

    /// Writes an entry whose version is `expected + 1`, provided that the stored version is `expected` (0: that there is none).
    fn put_entry(&self, row: &EntryRow, expected: u64) -> Result<Put, StoreError>;

    /// Deletes an entry, provided that the stored version is `expected`.
    fn delete_entry(&self, kind: &str, id: &str, expected: u64) -> Result<Put, StoreError>;

    /// Uses an entry once: counts `left` down and returns what is left after it, `None` if there is no such entry with a count
    /// above zero that has not expired at `now`. However many processes ask, as many are told yes as there were uses.
    fn take(&self, kind: &str, id: &str, now: u64) -> Result<Option<u64>, StoreError>;

    /// Deletes up to `limit` entries that ended before `before`; returns how many.
    fn forget_expired(&self, before: u64, limit: usize) -> Result<usize, StoreError>;

    /// Number and line of the newest entry of the audit log.
    fn last_audit(&self) -> Result<Option<(u64, Vec<u8>)>, StoreError>;

    /// Appends a line as number `number`; `Conflict` unless the newest is `number - 1` (1 is the first).
    fn append_audit(&self, number: u64, line: &[u8]) -> Result<Put, StoreError>;

    /// Up to `limit` lines with numbers above `after`, in order.
    fn audit_after(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;
}
