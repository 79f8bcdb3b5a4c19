//! A keyring in one SQLite file, shared by the processes of one machine.
//!
//! Everything that writes keys, partitions, epochs or tombstones counts the one row of `change` up in the same transaction, and
//! marks its rows with that number. What somebody wrote without counting is noticed at the next look at everything.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::{Changes, Dump, EpochRow, Inserted, KeyRow, NewEpoch, Put, Records, Store, StoreError};
use crate::keyring::Kind;
use crate::name::PartitionName;
use crate::token::EpochId;

mod connection;
mod records;

use connection::{Connections, explain};

/// A record longer than any of ours (4096 wraps of ML-KEM-1024) is not read into memory but shown as an empty one, which is
/// damaged: a store writer must not bring down who reads.
const EPOCH_COLUMNS: &str = "id, partition, kind, iif(length(record) > 8388608, x'', record), confirmed, current";

const TOMBSTONE_COLUMNS: &str = "id, iif(length(record) > 8192, x'', record)";

const KEYS: &str = "SELECT usage, iif(length(public) > 8192, x'', public), partition, iif(length(blob) > 8192, x'', blob) \
     FROM private_key ORDER BY usage, public";

/// How often a process looks at everything, whatever the numbers say.
const LOOK: Duration = Duration::from_secs(60);
/// Bits of [`Store::change`] for the number of the row; above it counts what makes a process look at everything.
const NUMBER: u64 = (1 << 48) - 1;
/// Changed rows that are told one by one.
const TOLD: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connections: Mutex<Connections>,
    /// How often everything was looked at, and when last.
    looks: Mutex<(u64, Instant)>,
}

impl SqliteStore {
    /// Makes the file (0600), or takes one in which nothing was written yet, and brings it to the current schema.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        connection::create(path)?;
        Self::open(path)
    }

    /// Opens an existing file and brings it to the current schema.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connections = Mutex::new(Connections::open(path, 0)?);
        Ok(Self { path: path.to_owned(), connections, looks: Mutex::new((0, Instant::now())) })
    }

    /// Differs after every commit of any process, also of one that changed no keys.
    pub fn commits(&self) -> Result<i64, StoreError> {
        self.lock().commits().map_err(|e| explain(&self.path, &e))
    }

    /// Behaves from now on as on a full disk (`true`), or as before.
    #[cfg(test)]
    pub fn fill_disk(&self, full: bool) {
        let pages = if full { 1 } else { 1 << 30 };
        self.lock().main.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        f(&self.lock().main).map_err(|e| explain(&self.path, &e))
    }

    fn snapshot<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let connections = self.lock();
        let run = || f(&*connections.main.unchecked_transaction()?);
        run().map_err(|e| explain(&self.path, &e))
    }

    /// A write that is no change of keys.
    fn write<T>(&self, f: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut connections = self.lock();
        let run = || {
            let tx = connections.main.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = f(&tx)?;
            tx.commit()?;
            Ok(result)
        };
        run().map_err(|e| explain(&self.path, &e))
    }

    /// A change of keys, and the number that its rows are marked with. Nothing is written unless `done` is what comes of it.
    fn write_keys<T: PartialEq>(
        &self,
        done: &T,
        f: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connections = self.lock();
        let run = || {
            let tx = connections.main.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let number =
                tx.prepare_cached("UPDATE change SET number = number + 1 RETURNING number")?.query_row([], first)?;
            let result = f(&tx, number)?;
            if result == *done {
                tx.commit()?;
            } else {
                tx.rollback()?;
            }
            Ok(result)
        };
        run().map_err(|e| explain(&self.path, &e))
    }

    /// Counts what makes a process look at everything: time, and other files at the path.
    fn generation(&self, connections: &Connections) -> u64 {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.1.elapsed() >= LOOK {
            *looks = (looks.0.wrapping_add(1), Instant::now());
        }
        looks.0.wrapping_add(connections.generation)
    }
}

fn number(c: &Connection) -> rusqlite::Result<(u64, u64)> {
    c.prepare_cached("SELECT number, whole FROM change")?.query_row([], |row| Ok((uint(row, 0)?, uint(row, 1)?)))
}

impl Store for SqliteStore {
    fn change(&self) -> Result<u64, StoreError> {
        let mut connections = self.lock();
        connections.follow(&self.path)?;
        let generation = self.generation(&connections);
        let (number, _) = number(&connections.main).map_err(|e| explain(&self.path, &e))?;
        Ok((generation << 48) | (number & NUMBER))
    }

    fn changes_since(&self, change: u64) -> Result<Option<Changes>, StoreError> {
        let known = change & NUMBER;
        let mut connections = self.lock();
        connections.follow(&self.path)?;
        if change >> 48 != self.generation(&connections) & 0xffff {
            return Ok(None);
        }
        let run = || {
            let tx = connections.main.unchecked_transaction()?;
            let (number, whole) = number(&tx)?;
            if known > number || known < whole { Ok(None) } else { changes(&tx, known) }
        };
        run().map_err(|e| explain(&self.path, &e))
    }

    fn bootstrap(&self, rows: &Dump) -> Result<Put, StoreError> {
        self.write_keys(&Put::Done, |tx, n| {
            let found: i64 = tx.query_row(
                "SELECT (SELECT count(*) FROM private_key) + (SELECT count(*) FROM partition)",
                [],
                first,
            )?;
            if found != 0 {
                return Ok(Put::Conflict);
            }
            for key in &rows.keys {
                insert_key(tx, key, n)?;
            }
            for (name, version, record) in &rows.partitions {
                tx.execute(
                    "INSERT INTO partition (name, version, record, change) VALUES (?1, ?2, ?3, ?4)",
                    params![name, int(*version), record, n],
                )?;
            }
            for (id, record) in &rows.tombstones {
                let sql = "INSERT INTO tombstone (id, record, change) VALUES (?1, ?2, ?3)";
                tx.execute(sql, params![id.0, record, n])?;
            }
            for e in &rows.epochs {
                insert_epoch(tx, (e.id, &e.partition, e.kind), (&e.record, n), e.confirmed, e.current)?;
            }
            tx.execute("UPDATE change SET whole = number", [])?;
            Ok(Put::Done)
        })
    }

    fn dump(&self) -> Result<Dump, StoreError> {
        self.snapshot(|tx| {
            Ok(Dump {
                keys: all(tx, KEYS, key_row)?,
                partitions: all(
                    tx,
                    "SELECT name, version, iif(length(record) > 33554432, x'', record) FROM partition ORDER BY name",
                    |row| Ok((row.get(0)?, uint(row, 1)?, row.get(2)?)),
                )?,
                epochs: all(tx, &format!("SELECT {EPOCH_COLUMNS} FROM epoch ORDER BY id"), epoch_row)?,
                tombstones: all(tx, &format!("SELECT {TOMBSTONE_COLUMNS} FROM tombstone ORDER BY seq"), |row| {
                    Ok((EpochId(row.get(0)?), row.get(1)?))
                })?,
            })
        })
    }

    fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.read(|c| all(c, KEYS, key_row))
    }

    fn add_key(&self, row: &KeyRow) -> Result<Put, StoreError> {
        self.write_keys(&Put::Done, |tx, n| insert_key(tx, row, n).map(put))
    }

    fn rewrap_key(&self, usage: u8, public: &[u8], old: &[u8], new: &[u8]) -> Result<Put, StoreError> {
        let sql = "UPDATE private_key SET blob = ?4, change = ?5 WHERE usage = ?1 AND public = ?2 AND blob = ?3";
        self.write_keys(&Put::Done, |tx, n| tx.execute(sql, params![usage, public, old, new, n]).map(put))
    }

    fn partition_count(&self) -> Result<usize, StoreError> {
        self.read(|c| c.query_row("SELECT count(*) FROM partition", [], count))
    }

    fn partition_names(&self, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.read(|c| {
            let mut statement =
                c.prepare_cached("SELECT name FROM partition WHERE name > ?1 ORDER BY name LIMIT ?2")?;
            statement.query_map(params![after, rows(limit)], first)?.collect()
        })
    }

    fn partition(&self, name: &PartitionName) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT iif(length(record) > 33554432, x'', record) FROM partition WHERE name = ?1";
        self.read(|c| c.prepare_cached(sql)?.query_row([name.as_str()], first).optional())
    }

    fn put_partition(&self, name: &PartitionName, expected: u64, record: &[u8]) -> Result<Put, StoreError> {
        let sql = if expected == 0 {
            "INSERT OR IGNORE INTO partition (name, version, record, change) VALUES (?1, ?2 + 1, ?3, ?4)"
        } else {
            "UPDATE partition SET version = ?2 + 1, record = ?3, change = ?4 WHERE name = ?1 AND version = ?2"
        };
        self.write_keys(&Put::Done, |tx, n| tx.execute(sql, params![name.as_str(), int(expected), record, n]).map(put))
    }

    fn epoch(&self, id: EpochId) -> Result<Option<EpochRow>, StoreError> {
        let sql = format!("SELECT {EPOCH_COLUMNS} FROM epoch WHERE id = ?1");
        self.read(|c| c.prepare_cached(&sql)?.query_row([id.0], epoch_row).optional())
    }

    fn current(&self, name: &PartitionName, kind: Kind) -> Result<Option<EpochRow>, StoreError> {
        let sql = format!("SELECT {EPOCH_COLUMNS} FROM epoch WHERE partition = ?1 AND kind = ?2 AND current = 1");
        self.read(|c| c.prepare_cached(&sql)?.query_row(params![name.as_str(), kind as u8], epoch_row).optional())
    }

    fn epochs_of(&self, name: &PartitionName, after: EpochId, limit: usize) -> Result<Vec<EpochRow>, StoreError> {
        let sql = format!("SELECT {EPOCH_COLUMNS} FROM epoch WHERE partition = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
        self.read(|c| {
            let mut statement = c.prepare_cached(&sql)?;
            statement.query_map(params![name.as_str(), after.0, rows(limit)], epoch_row)?.collect()
        })
    }

    fn epoch_count(&self, name: &PartitionName) -> Result<usize, StoreError> {
        self.read(|c| c.query_row("SELECT count(*) FROM epoch WHERE partition = ?1", [name.as_str()], count))
    }

    fn unconfirmed(&self, after: EpochId, limit: usize) -> Result<Vec<EpochRow>, StoreError> {
        let sql = format!("SELECT {EPOCH_COLUMNS} FROM epoch WHERE confirmed = 0 AND id > ?1 ORDER BY id LIMIT ?2");
        self.read(|c| {
            let mut statement = c.prepare_cached(&sql)?;
            statement.query_map(params![after.0, rows(limit)], epoch_row)?.collect()
        })
    }

    fn insert_epoch(&self, row: &NewEpoch<'_>) -> Result<Inserted, StoreError> {
        self.write_keys(&Inserted::Done, |tx, n| {
            let taken =
                "SELECT EXISTS (SELECT 1 FROM epoch WHERE id = ?1) OR EXISTS (SELECT 1 FROM tombstone WHERE id = ?1)";
            if tx.query_row(taken, [row.id.0], first)? {
                return Ok(Inserted::Taken);
            }
            let unchanged = "SELECT EXISTS (SELECT 1 FROM partition WHERE name = ?1 AND record = ?2)";
            if let Some(record) = row.under
                && !tx.query_row(unchanged, params![row.partition.as_str(), record], first)?
            {
                return Ok(Inserted::Raced);
            }
            if let Some(previous) = row.replaces {
                let sql = "SELECT id FROM epoch WHERE partition = ?1 AND kind = ?2 AND current = 1";
                let key = params![row.partition.as_str(), row.kind as u8];
                let current: Option<[u8; 10]> = tx.query_row(sql, key, first).optional()?;
                if current != previous.map(|id| id.0) {
                    return Ok(Inserted::Raced);
                }
                let sql =
                    "UPDATE epoch SET current = 0, change = ?3 WHERE partition = ?1 AND kind = ?2 AND current = 1";
                tx.execute(sql, params![row.partition.as_str(), row.kind as u8, n])?;
            }
            let name = (row.id, row.partition.as_str(), row.kind as u8);
            insert_epoch(tx, name, (row.record, n), row.confirmed, row.replaces.is_some())?;
            Ok(Inserted::Done)
        })
    }

    fn rewrap_epoch(&self, id: EpochId, old: &[u8], new: &[u8]) -> Result<Put, StoreError> {
        let sql = "UPDATE epoch SET record = ?3, change = ?4 WHERE id = ?1 AND record = ?2";
        self.write_keys(&Put::Done, |tx, n| tx.execute(sql, params![id.0, old, new, n]).map(put))
    }

    fn confirm(&self, id: EpochId, record: &[u8]) -> Result<(), StoreError> {
        // One that is confirmed already is left alone: each process confirms what it finds.
        let sql = "UPDATE epoch SET confirmed = 1, change = ?3 WHERE id = ?1 AND record = ?2 AND confirmed = 0";
        self.write_keys(&Put::Done, |tx, n| tx.execute(sql, params![id.0, record, n]).map(put)).map(drop)
    }

    fn destroy(&self, id: EpochId, tombstone: &[u8]) -> Result<(), StoreError> {
        self.write_keys(&(), |tx, n| {
            // REPLACE, so that a forged tombstone does not keep the real one out.
            let sql = "INSERT OR REPLACE INTO tombstone (id, record, change) VALUES (?1, ?2, ?3)";
            tx.execute(sql, params![id.0, tombstone, n])?;
            tx.execute("DELETE FROM epoch WHERE id = ?1", [id.0]).map(drop)
        })?;
        // What was deleted is still in the write-ahead log. A reader may keep it there: then the next checkpoint removes it.
        self.read(|c| c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))).or(Ok(()))
    }

    fn tombstone(&self, id: EpochId) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT iif(length(record) > 8192, x'', record) FROM tombstone WHERE id = ?1";
        self.read(|c| c.prepare_cached(sql)?.query_row([id.0], first).optional())
    }

    fn tombstones_after(&self, after: u64, limit: usize) -> Result<Vec<(u64, EpochId, Vec<u8>)>, StoreError> {
        self.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT seq, {TOMBSTONE_COLUMNS} FROM tombstone WHERE seq > ?1 ORDER BY seq LIMIT ?2"
            ))?;
            let found = statement
                .query_map(params![int(after), rows(limit)], |r| Ok((uint(r, 0)?, EpochId(r.get(1)?), r.get(2)?)))?;
            found.collect()
        })
    }

    fn records(&self) -> Option<&dyn Records> {
        Some(self)
    }
}

fn first<T: rusqlite::types::FromSql>(row: &Row<'_>) -> rusqlite::Result<T> {
    row.get(0)
}

fn count(row: &Row<'_>) -> rusqlite::Result<usize> {
    uint(row, 0).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// SQLite's integers are signed. A version or number out of range cannot be one of ours, so the largest does.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn uint(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or_default())
}

fn all<T>(c: &Connection, sql: &str, f: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
    c.prepare(sql)?.query_map([], f)?.collect()
}

fn all_of<T>(rows: impl Iterator<Item = rusqlite::Result<T>>) -> rusqlite::Result<Vec<T>> {
    rows.collect()
}

fn put(changed: usize) -> Put {
    if changed == 0 { Put::Conflict } else { Put::Done }
}

/// What was written after the change numbered `known`; `None`: too much to tell.
fn changes(tx: &Transaction<'_>, known: u64) -> rusqlite::Result<Option<Changes>> {
    // A name that is too long is no partition's.
    let sql = "SELECT 0, substr(name, 1, 300) FROM partition WHERE change > ?1 \
         UNION ALL SELECT 1, substr(partition, 1, 300) FROM epoch WHERE change > ?1 \
         UNION ALL SELECT 2, '' FROM tombstone WHERE change > ?1 \
         UNION ALL SELECT 3, '' FROM private_key WHERE change > ?1 LIMIT ?2";
    let mut changes = Changes::default();
    let mut told = 0;
    let mut statement = tx.prepare_cached(sql)?;
    let mut found = statement.query(params![int(known), rows(TOLD)])?;
    while let Some(row) = found.next()? {
        told += 1;
        let name = || row.get::<_, String>(1).map(|name| PartitionName::new(&name).ok());
        match row.get::<_, i64>(0)? {
            0 => changes.partitions.extend(name()?),
            1 => changes.sealing.extend(name()?),
            2 => changes.tombstones = true,
            _ => changes.keys = true,
        }
    }
    Ok((told < TOLD).then_some(changes))
}

fn insert_key(tx: &Transaction<'_>, row: &KeyRow, number: i64) -> rusqlite::Result<usize> {
    tx.execute(
        "INSERT OR IGNORE INTO private_key (usage, public, partition, blob, change) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![row.usage, row.public, row.partition, row.blob, number],
    )
}

fn insert_epoch(
    tx: &Transaction<'_>,
    (id, partition, kind): (EpochId, &str, u8),
    (record, number): (&[u8], i64),
    confirmed: bool,
    current: bool,
) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO epoch (id, partition, kind, record, confirmed, current, change) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![id.0, partition, kind, record, confirmed, current, number],
    )
    .map(drop)
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow { usage: row.get(0)?, public: row.get(1)?, partition: row.get(2)?, blob: row.get(3)? })
}

fn epoch_row(row: &Row<'_>) -> rusqlite::Result<EpochRow> {
    Ok(EpochRow {
        id: EpochId(row.get(0)?),
        partition: row.get(1)?,
        kind: row.get(2)?,
        record: row.get(3)?,
        confirmed: row.get(4)?,
        current: row.get(5)?,
    })
}
