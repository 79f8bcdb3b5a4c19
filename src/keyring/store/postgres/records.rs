//! Directory and audit log in the same database. Each write is one statement, so none needs a turn.

use tokio_postgres::{Error, Row};

use super::{PostgresStore, int, put, rows, uint};
use crate::keyring::store::{EntryRow, Put, Records, StoreError};

const COLUMNS: &str =
    "kind, id, version, expires, remaining, CASE WHEN octet_length(sealed) > 1048576 THEN ''::bytea ELSE sealed END";
const LINE: &str = "number, CASE WHEN octet_length(line) > 1048576 THEN ''::bytea ELSE line END";

impl Records for PostgresStore {
    fn entry(&self, kind: &str, id: &str) -> Result<Option<EntryRow>, StoreError> {
        self.one(&format!("SELECT {COLUMNS} FROM entry WHERE kind = $1 AND id = $2"), &[&kind, &id], entry_row)
    }

    fn entries(&self, kind: &str, after: &str, limit: usize) -> Result<Vec<EntryRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3");
        self.all(&sql, &[&kind, &after, &rows(limit)], entry_row)
    }

    fn put_entry(&self, row: &EntryRow, expected: u64) -> Result<Put, StoreError> {
        let left = row.left.map(int);
        let (version, expires) = (int(expected.saturating_add(1)), int(row.expires));
        let changed = if expected == 0 {
            let sql = "INSERT INTO entry (kind, id, version, expires, remaining, sealed) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT DO NOTHING";
            self.execute(sql, &[&row.kind, &row.id, &version, &expires, &left, &row.sealed])
        } else {
            // The count of uses is `take`'s alone: one that was read a moment ago may be too high by now.
            let sql = "UPDATE entry SET version = $3::bigint, expires = $4, sealed = $6 WHERE kind = $1 AND id = $2 \
                 AND version = $3::bigint - 1 AND (remaining IS NULL) = $5";
            self.execute(sql, &[&row.kind, &row.id, &version, &expires, &left.is_none(), &row.sealed])
        };
        changed.map(put)
    }

    fn delete_entry(&self, kind: &str, id: &str, expected: u64) -> Result<Put, StoreError> {
        let sql = "DELETE FROM entry WHERE kind = $1 AND id = $2 AND version = $3";
        self.execute(sql, &[&kind, &id, &int(expected)]).map(put)
    }

    fn take(&self, kind: &str, id: &str, now: u64) -> Result<Option<u64>, StoreError> {
        // Of two at once the second waits for the first, and counts on from what that left.
        let sql = "UPDATE entry SET remaining = remaining - 1 \
             WHERE kind = $1 AND id = $2 AND remaining > 0 AND (expires = 0 OR expires > $3) RETURNING remaining";
        self.one(sql, &[&kind, &id, &int(now)], |row| uint(row, 0))
    }

    fn forget_expired(&self, before: u64, limit: usize) -> Result<usize, StoreError> {
        // Many processes tidy up at once: each takes others.
        let sql = "DELETE FROM entry WHERE (kind, id) IN \
             (SELECT kind, id FROM entry WHERE expires > 0 AND expires < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
        self.execute(sql, &[&int(before), &rows(limit)]).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn last_audit(&self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.one(&format!("SELECT {LINE} FROM audit ORDER BY number DESC LIMIT 1"), &[], audit_row)
    }

    fn append_audit(&self, number: u64, line: &[u8]) -> Result<Put, StoreError> {
        // Of two with one number, the second waits for the first and then does nothing.
        let sql = "INSERT INTO audit (number, line) SELECT $1::bigint, $2::bytea \
             WHERE $1::bigint - 1 = (SELECT coalesce(max(number), 0) FROM audit) ON CONFLICT DO NOTHING";
        self.execute(sql, &[&int(number), &line]).map(put)
    }

    fn audit_after(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let sql = format!("SELECT {LINE} FROM audit WHERE number > $1 ORDER BY number LIMIT $2");
        self.all(&sql, &[&int(after), &rows(limit)], audit_row)
    }
}

fn entry_row(row: &Row) -> Result<EntryRow, Error> {
    let left = row.try_get::<_, Option<i64>>(4)?.map(|left| u64::try_from(left).unwrap_or_default());
    Ok(EntryRow {
        kind: row.try_get(0)?,
        id: row.try_get(1)?,
        version: uint(row, 2)?,
        expires: uint(row, 3)?,
        left,
        sealed: row.try_get(5)?,
    })
}

fn audit_row(row: &Row) -> Result<(u64, Vec<u8>), Error> {
    Ok((uint(row, 0)?, row.try_get(1)?))
}
