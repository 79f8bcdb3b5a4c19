//! Directory and audit log in the same file.

use rusqlite::{OptionalExtension, Row, params};

use super::{SqliteStore, all_of, int, put, rows, uint};
use crate::keyring::store::{EntryRow, Put, Records, StoreError};

const COLUMNS: &str = "kind, id, version, expires, remaining, iif(length(sealed) > 1048576, x'', sealed)";
const LINE: &str = "number, iif(length(line) > 1048576, x'', line)";

impl SqliteStore {
    /// Up to `limit` entries after this kind and id, in order.
    pub fn entries_of_all_kinds(&self, after: &(String, String), limit: usize) -> Result<Vec<EntryRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE (kind, id) > (?1, ?2) ORDER BY kind, id LIMIT ?3");
        self.read(|c| all_of(c.prepare_cached(&sql)?.query_map(params![after.0, after.1, rows(limit)], entry_row)?))
    }
}

impl Records for SqliteStore {
    fn entry(&self, kind: &str, id: &str) -> Result<Option<EntryRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE kind = ?1 AND id = ?2");
        self.read(|c| c.prepare_cached(&sql)?.query_row([kind, id], entry_row).optional())
    }

    fn entries(&self, kind: &str, after: &str, limit: usize) -> Result<Vec<EntryRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
        self.read(|c| all_of(c.prepare_cached(&sql)?.query_map(params![kind, after, rows(limit)], entry_row)?))
    }

    fn put_entry(&self, row: &EntryRow, expected: u64) -> Result<Put, StoreError> {
        let sql = if expected == 0 {
            "INSERT OR IGNORE INTO entry (kind, id, version, expires, remaining, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        } else {
            // The count of uses is `take`'s alone: one that was read a moment ago may be too high by now.
            "UPDATE entry SET version = ?3, expires = ?4, sealed = ?6 WHERE kind = ?1 AND id = ?2 AND version = ?3 - 1 \
             AND (remaining IS NULL) = (?5 IS NULL)"
        };
        let row = params![row.kind, row.id, int(expected + 1), int(row.expires), row.left.map(int), row.sealed];
        self.write(|tx| tx.execute(sql, row).map(put))
    }

    fn delete_entry(&self, kind: &str, id: &str, expected: u64) -> Result<Put, StoreError> {
        let sql = "DELETE FROM entry WHERE kind = ?1 AND id = ?2 AND version = ?3";
        self.write(|tx| tx.execute(sql, params![kind, id, int(expected)]).map(put))
    }

    fn take(&self, kind: &str, id: &str, now: u64) -> Result<Option<u64>, StoreError> {
        let sql = "UPDATE entry SET remaining = remaining - 1 \
             WHERE kind = ?1 AND id = ?2 AND remaining > 0 AND (expires = 0 OR expires > ?3) RETURNING remaining";
        self.write(|tx| tx.prepare_cached(sql)?.query_row(params![kind, id, int(now)], |row| uint(row, 0)).optional())
    }

    fn forget_expired(&self, before: u64, limit: usize) -> Result<usize, StoreError> {
        let sql = "DELETE FROM entry WHERE (kind, id) IN \
             (SELECT kind, id FROM entry WHERE expires > 0 AND expires < ?1 LIMIT ?2)";
        self.write(|tx| tx.execute(sql, params![int(before), rows(limit)]))
    }

    fn last_audit(&self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let sql = format!("SELECT {LINE} FROM audit ORDER BY number DESC LIMIT 1");
        self.read(|c| c.prepare_cached(&sql)?.query_row([], audit_row).optional())
    }

    fn append_audit(&self, number: u64, line: &[u8]) -> Result<Put, StoreError> {
        self.write(|tx| {
            let last: u64 = tx.query_row("SELECT coalesce(max(number), 0) FROM audit", [], |row| uint(row, 0))?;
            if last.checked_add(1) != Some(number) {
                return Ok(Put::Conflict);
            }
            tx.execute("INSERT INTO audit (number, line) VALUES (?1, ?2)", params![int(number), line]).map(put)
        })
    }

    fn audit_after(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let sql = format!("SELECT {LINE} FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2");
        self.read(|c| all_of(c.prepare_cached(&sql)?.query_map(params![int(after), rows(limit)], audit_row)?))
    }
}

fn entry_row(row: &Row<'_>) -> rusqlite::Result<EntryRow> {
    let left = row.get::<_, Option<i64>>(4)?.map(|left| u64::try_from(left).unwrap_or_default());
    Ok(EntryRow {
        kind: row.get(0)?,
        id: row.get(1)?,
        version: uint(row, 2)?,
        expires: uint(row, 3)?,
        left,
        sealed: row.get(5)?,
    })
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<(u64, Vec<u8>)> {
    Ok((uint(row, 0)?, row.get(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, version: u64, expires: u64, left: Option<u64>) -> EntryRow {
        EntryRow { kind: "k".into(), id: id.into(), version, expires, left, sealed: vec![7] }
    }

    #[test]
    fn entries_change_only_over_the_version_that_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(&dir.path().join("keyring.db")).unwrap();
        let first = row("a", 1, 0, None);
        assert_eq!(store.put_entry(&first, 0).unwrap(), Put::Done);
        assert_eq!(store.put_entry(&first, 0).unwrap(), Put::Conflict);
        assert_eq!(store.put_entry(&row("a", 2, 9, None), 1).unwrap(), Put::Done);
        assert_eq!(store.put_entry(&row("a", 2, 9, None), 1).unwrap(), Put::Conflict);
        assert_eq!(store.entry("k", "a").unwrap(), Some(row("a", 2, 9, None)));
        assert_eq!(store.put_entry(&row("b", 1, 0, None), 0).unwrap(), Put::Done);
        assert_eq!(store.entries("k", "a", 9).unwrap().len(), 1);
        assert_eq!(store.forget_expired(10, 9).unwrap(), 1);
        assert_eq!(store.delete_entry("k", "b", 2).unwrap(), Put::Conflict);
        assert_eq!(store.delete_entry("k", "b", 1).unwrap(), Put::Done);
        assert!(store.entries("k", "", 9).unwrap().is_empty());
    }

    #[test]
    fn uses_are_counted_down_and_never_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(&dir.path().join("keyring.db")).unwrap();
        store.put_entry(&row("a", 1, 100, Some(2)), 0).unwrap();
        assert_eq!(store.take("k", "a", 99).unwrap(), Some(1));
        assert_eq!(store.take("k", "a", 100).unwrap(), None, "ended");
        store.put_entry(&row("a", 2, 200, Some(2)), 1).unwrap();
        assert_eq!(store.take("k", "a", 100).unwrap(), Some(0));
        assert_eq!(store.take("k", "a", 100).unwrap(), None);
        assert_eq!(store.take("k", "b", 100).unwrap(), None);
    }

    #[test]
    fn the_log_only_grows_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(&dir.path().join("keyring.db")).unwrap();
        assert_eq!(store.append_audit(2, b"x").unwrap(), Put::Conflict);
        assert_eq!(store.append_audit(1, b"x").unwrap(), Put::Done);
        assert_eq!(store.append_audit(1, b"y").unwrap(), Put::Conflict);
        assert_eq!(store.append_audit(2, b"y").unwrap(), Put::Done);
        assert_eq!(store.last_audit().unwrap(), Some((2, b"y".to_vec())));
        assert_eq!(store.audit_after(1, 5).unwrap(), [(2, b"y".to_vec())]);
    }
}
