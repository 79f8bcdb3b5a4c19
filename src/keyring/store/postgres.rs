//! A keyring in a PostgreSQL database, shared by the processes of a fleet.
//!
//! Everything that writes keys, partitions, epochs or tombstones locks the one row of `change` first, so writers take turns as
//! on SQLite, and each transaction sees all that was committed before it. See docs/adr/0007.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Error, Row};

use super::{Changes, Dump, EpochRow, Inserted, KeyRow, NewEpoch, Put, Records, Standing, Store, StoreError};
use crate::keyring::Kind;
use crate::name::PartitionName;
use crate::token::EpochId;

mod bridge;
mod connection;
mod fill;
mod listen;
mod place;
mod records;
mod schema;

pub use fill::Source;
pub use place::{DatabaseTls, PostgresPlace, TlsFiles};

use bridge::Bridge;
use connection::{Connections, Connector};
use listen::News;
use schema::Found;

/// A record longer than any of ours (4096 wraps of ML-KEM-1024) is not sent to us but shown as an empty one, which is
/// damaged: a store writer must not bring down who reads.
const EPOCH: &str =
    "id, partition, kind, CASE WHEN octet_length(record) > 8388608 THEN ''::bytea ELSE record END, confirmed, current";
const TOMBSTONE: &str = "id, CASE WHEN octet_length(record) > 8192 THEN ''::bytea ELSE record END";
const PARTITION: &str = "CASE WHEN octet_length(record) > 33554432 THEN ''::bytea ELSE record END";
const KEYS: &str = "SELECT usage, CASE WHEN octet_length(public) > 8192 THEN ''::bytea ELSE public END, partition, \
     CASE WHEN octet_length(blob) > 8192 THEN ''::bytea ELSE blob END FROM private_key ORDER BY usage, public";

/// How often a process looks at everything, whatever the numbers say: a fail-over may have lost rows.
const LOOK: Duration = Duration::from_secs(60);
/// Bits of [`Store::change`] for the number of the row; above it counts what makes a process look at everything.
const NUMBER: u64 = (1 << 48) - 1;
/// Changed rows that are told one by one.
const TOLD: i64 = 4096;
/// Attempts of a transaction that the server undid for another's sake.
const ATTEMPTS: usize = 4;

/// See the module.
pub struct PostgresStore {
    bridge: Bridge,
    connections: Connections,
    news: Arc<News>,
    /// Counts whole looks, and when the last was begun.
    looks: AtomicU64,
    looked: Mutex<Instant>,
}

impl PostgresStore {
    /// Connects, and makes the tables if there are none. `tls` makes what the place asks for.
    pub fn create(place: &PostgresPlace, tls: Option<DatabaseTls>, i_know: bool) -> Result<Self, StoreError> {
        Self::connect(place, tls, true, i_know)?.ok_or_else(|| StoreError::Damaged(format!("{place} has no tables")))
    }

    /// Connects to what is there, and brings it to the current schema; `None`: there is no keyring.
    pub fn open(place: &PostgresPlace, tls: Option<DatabaseTls>, i_know: bool) -> Result<Option<Self>, StoreError> {
        Self::connect(place, tls, false, i_know)
    }

    fn connect(
        place: &PostgresPlace,
        tls: Option<DatabaseTls>,
        make: bool,
        i_know: bool,
    ) -> Result<Option<Self>, StoreError> {
        let connector = Connector::new(place, tls)?;
        let bridge = Bridge::new()?;
        let connections = Connections::new(&connector)?;
        if bridge.wait(schema::prepare(&connections, make, i_know))? == Found::Nothing {
            return Ok(None);
        }
        let news = Arc::new(News::default());
        bridge.spawn(listen::listen(connector, Arc::clone(&news)));
        let (looks, looked) = (AtomicU64::new(0), Mutex::new(Instant::now()));
        Ok(Some(Self { bridge, connections, news, looks, looked }))
    }

    fn read<T>(&self, f: impl AsyncFnOnce(&mut Object) -> Result<T, Error>) -> Result<T, StoreError> {
        self.bridge.wait(self.connections.with(f))
    }

    /// One row or none.
    fn one<T>(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        f: fn(&Row) -> Result<T, Error>,
    ) -> Result<Option<T>, StoreError> {
        self.read(async |c| {
            let statement = c.prepare_cached(sql).await?;
            c.query_opt(&statement, parameters).await?.as_ref().map(f).transpose()
        })
    }

    fn all<T>(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        f: fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, StoreError> {
        self.read(async |c| {
            let statement = c.prepare_cached(sql).await?;
            c.query(&statement, parameters).await?.iter().map(f).collect()
        })
    }

    /// A write that is no change of keys: one statement.
    fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        self.read(async |c| {
            let statement = c.prepare_cached(sql).await?;
            c.execute(&statement, parameters).await
        })
    }

    /// A change of keys. What it is numbered with is committed with it, and told to all who listen.
    fn write<T: Outcome>(
        &self,
        mut f: impl AsyncFnMut(&Transaction<'_>, i64) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.read(async |client| {
            let mut attempt = 1;
            loop {
                match write_once(client, &mut f).await {
                    Err(error) if attempt < ATTEMPTS && is_undone(&error) => attempt += 1,
                    done => return done,
                }
            }
        })
    }

    /// A setting of the connections.
    #[cfg(test)]
    pub fn setting(&self, name: &str) -> Result<String, StoreError> {
        Ok(self.one("SELECT current_setting($1)", &[&name], first)?.unwrap_or_default())
    }

    fn number(&self) -> Result<(u64, u64), StoreError> {
        let row = self.one("SELECT number, whole FROM change", &[], |row| Ok((uint(row, 0)?, uint(row, 1)?)))?;
        row.ok_or_else(|| StoreError::Damaged(format!("{} has lost its change number", self.connections.name())))
    }

    /// Counts what makes a process look at everything: time, and connections to what may be another server.
    fn generation(&self) -> u64 {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() >= LOOK {
            *looked = Instant::now();
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
        self.looks.load(Ordering::Relaxed).wrapping_add(self.news.connections())
    }
}

/// Whether a transaction is to be committed.
trait Outcome {
    fn is_change(&self) -> bool;
}

impl Outcome for Put {
    fn is_change(&self) -> bool {
        *self == Self::Done
    }
}

impl Outcome for Inserted {
    fn is_change(&self) -> bool {
        *self == Self::Done
    }
}

async fn write_once<T: Outcome>(
    client: &mut Object,
    f: &mut impl AsyncFnMut(&Transaction<'_>, i64) -> Result<T, Error>,
) -> Result<T, Error> {
    let tx = client.transaction().await?;
    let number = begin_change(&tx).await?;
    let outcome = f(&tx, number).await?;
    if outcome.is_change() {
        tx.commit().await?
    } else {
        tx.rollback().await?
    }
    Ok(outcome)
}

/// Waits for its turn. Who listens hears of it at the commit.
async fn begin_change(tx: &Transaction<'_>) -> Result<i64, Error> {
    let sql = "WITH next AS (UPDATE change SET number = number + 1 RETURNING number) \
         SELECT number, pg_notify('sidecloak', number::text) FROM next";
    let statement = tx.prepare_cached(sql).await?;
    tx.query_one(&statement, &[]).await?.try_get(0)
}

/// Nothing was committed, and the same may succeed now.
fn is_undone(error: &Error) -> bool {
    use tokio_postgres::error::SqlState;
    error
        .code()
        .is_some_and(|code| *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED)
}

impl Store for PostgresStore {
    fn change(&self) -> Result<u64, StoreError> {
        self.news.asking();
        // The generation first: one that is counted meanwhile shows the next time.
        let generation = self.generation();
        let (number, _) = self.number()?;
        Ok((generation << 48) | (number & NUMBER))
    }

    fn changes_since(&self, change: u64) -> Result<Option<Changes>, StoreError> {
        let known = change & NUMBER;
        let (number, whole) = self.number()?;
        if change >> 48 != self.generation() & 0xffff || known > number || known < whole {
            return Ok(None);
        }
        // A name that is too long is no partition's.
        let sql = "SELECT 0 AS what, left(name, 300) AS name, ''::bytea AS id FROM partition WHERE change > $1 \
             UNION ALL SELECT 1, left(partition, 300), id FROM epoch WHERE change > $1 \
             UNION ALL SELECT 2, '', id FROM tombstone WHERE change > $1 \
             UNION ALL SELECT 3, '', ''::bytea FROM private_key WHERE change > $1 LIMIT $2";
        let rows: Vec<(i32, String)> =
            self.all(sql, &[&int(known), &TOLD], |row| Ok((row.try_get(0)?, row.try_get(1)?)))?;
        if rows.len() >= usize::try_from(TOLD).unwrap_or(usize::MAX) {
            return Ok(None);
        }
        let mut changes = Changes::default();
        for (what, name) in rows {
            match what {
                0 => changes.partitions.extend(PartitionName::new(&name)),
                1 => changes.sealing.extend(PartitionName::new(&name)),
                2 => changes.tombstones = true,
                _ => changes.keys = true,
            }
        }
        Ok(Some(changes))
    }

    fn wait(&self, timeout: Duration) {
        self.news.wait(timeout);
    }

    fn bootstrap(&self, rows: &Dump) -> Result<Put, StoreError> {
        self.fill(rows, None)
    }

    fn dump(&self) -> Result<Dump, StoreError> {
        self.read_all()
    }

    fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.all(KEYS, &[], key_row)
    }

    fn add_key(&self, row: &KeyRow) -> Result<Put, StoreError> {
        let sql = "INSERT INTO private_key (usage, public, partition, blob, change) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING";
        let usage = i16::from(row.usage);
        self.write(async |tx, n| run(tx, sql, &[&usage, &row.public, &row.partition, &row.blob, &n]).await.map(put))
    }

    fn rewrap_key(&self, usage: u8, public: &[u8], old: &[u8], new: &[u8]) -> Result<Put, StoreError> {
        let sql = "UPDATE private_key SET blob = $4, change = $5 \
             WHERE usage = $1 AND sha256(public) = sha256($2) AND public = $2 AND blob = $3";
        let usage = i16::from(usage);
        self.write(async |tx, n| run(tx, sql, &[&usage, &public, &old, &new, &n]).await.map(put))
    }

    fn partition_count(&self) -> Result<usize, StoreError> {
        Ok(self.one("SELECT count(*) FROM partition", &[], count)?.unwrap_or_default())
    }

    fn partition_names(&self, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.all("SELECT name FROM partition WHERE name > $1 ORDER BY name LIMIT $2", &[&after, &rows(limit)], first)
    }

    fn partition(&self, name: &PartitionName) -> Result<Option<Vec<u8>>, StoreError> {
        self.one(&format!("SELECT {PARTITION} FROM partition WHERE name = $1"), &[&name.as_str()], first)
    }

    fn digests(&self, names: &[PartitionName]) -> Result<Vec<Option<[u8; 32]>>, StoreError> {
        let asked: Vec<&str> = names.iter().map(PartitionName::as_str).collect();
        let sql = format!("SELECT name, sha256({PARTITION}) FROM partition WHERE name = ANY($1)");
        let found = self.all(&sql, &[&asked], |row| Ok((row.try_get(0)?, array(row, 1)?)))?;
        let found: std::collections::HashMap<String, [u8; 32]> = found.into_iter().collect();
        Ok(asked.into_iter().map(|name| found.get(name).copied()).collect())
    }

    fn put_partition(&self, name: &PartitionName, expected: u64, record: &[u8]) -> Result<Put, StoreError> {
        let sql = if expected == 0 {
            "INSERT INTO partition (name, version, record, change) VALUES ($1, $2::bigint + 1, $3, $4) ON CONFLICT DO NOTHING"
        } else {
            "UPDATE partition SET version = $2::bigint + 1, record = $3, change = $4 WHERE name = $1 AND version = $2::bigint"
        };
        let (name, expected) = (name.as_str(), int(expected));
        self.write(async |tx, n| run(tx, sql, &[&name, &expected, &record, &n]).await.map(put))
    }

    fn epoch(&self, id: EpochId) -> Result<Option<EpochRow>, StoreError> {
        self.one(&format!("SELECT {EPOCH} FROM epoch WHERE id = $1"), &[&id.0.as_slice()], epoch_row)
    }

    fn standing(&self, ids: &[EpochId]) -> Result<Vec<Standing>, StoreError> {
        let ids: Vec<&[u8]> = ids.iter().map(|id| id.0.as_slice()).collect();
        self.all("SELECT id, left(partition, 300), kind, current FROM epoch WHERE id = ANY($1)", &[&ids], |row| {
            Ok(Standing {
                id: EpochId(array(row, 0)?),
                partition: row.try_get(1)?,
                kind: byte(row, 2)?,
                current: row.try_get(3)?,
            })
        })
    }

    fn current(&self, name: &PartitionName, kind: Kind) -> Result<Option<EpochRow>, StoreError> {
        let sql = format!("SELECT {EPOCH} FROM epoch WHERE partition = $1 AND kind = $2 AND current");
        self.one(&sql, &[&name.as_str(), &i16::from(kind as u8)], epoch_row)
    }

    fn epochs_of(&self, name: &PartitionName, after: EpochId, limit: usize) -> Result<Vec<EpochRow>, StoreError> {
        let sql = format!("SELECT {EPOCH} FROM epoch WHERE partition = $1 AND id > $2 ORDER BY id LIMIT $3");
        self.all(&sql, &[&name.as_str(), &after.0.as_slice(), &rows(limit)], epoch_row)
    }

    fn epoch_count(&self, name: &PartitionName) -> Result<usize, StoreError> {
        let sql = "SELECT count(*) FROM epoch WHERE partition = $1";
        Ok(self.one(sql, &[&name.as_str()], count)?.unwrap_or_default())
    }

    fn unconfirmed(&self, after: EpochId, limit: usize) -> Result<Vec<EpochRow>, StoreError> {
        let sql = format!("SELECT {EPOCH} FROM epoch WHERE NOT confirmed AND id > $1 ORDER BY id LIMIT $2");
        self.all(&sql, &[&after.0.as_slice(), &rows(limit)], epoch_row)
    }

    fn insert_epoch(&self, row: &NewEpoch<'_>) -> Result<Inserted, StoreError> {
        let (id, name, kind) = (row.id.0.as_slice(), row.partition.as_str(), i16::from(row.kind as u8));
        self.write(async |tx, n| {
            let taken =
                "SELECT EXISTS (SELECT 1 FROM epoch WHERE id = $1) OR EXISTS (SELECT 1 FROM tombstone WHERE id = $1)";
            if value(tx, taken, &[&id]).await?.unwrap_or(true) {
                return Ok(Inserted::Taken);
            }
            let unchanged = "SELECT EXISTS (SELECT 1 FROM partition WHERE name = $1 AND record = $2)";
            if let Some(record) = row.under
                && !value(tx, unchanged, &[&name, &record]).await?.unwrap_or(false)
            {
                return Ok(Inserted::Raced);
            }
            if let Some(previous) = row.replaces {
                let sql = "SELECT id FROM epoch WHERE partition = $1 AND kind = $2 AND current";
                let current: Option<Vec<u8>> = value(tx, sql, &[&name, &kind]).await?;
                if current != previous.map(|id| id.0.to_vec()) {
                    return Ok(Inserted::Raced);
                }
                let sql =
                    "UPDATE epoch SET current = false, change = $3 WHERE partition = $1 AND kind = $2 AND current";
                run(tx, sql, &[&name, &kind, &n]).await?;
            }
            let sql = "INSERT INTO epoch (id, partition, kind, record, confirmed, current, change) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)";
            run(tx, sql, &[&id, &name, &kind, &row.record, &row.confirmed, &row.replaces.is_some(), &n]).await?;
            Ok(Inserted::Done)
        })
    }

    fn rewrap_epoch(&self, id: EpochId, old: &[u8], new: &[u8]) -> Result<Put, StoreError> {
        let sql = "UPDATE epoch SET record = $3, change = $4 WHERE id = $1 AND record = $2";
        let id = id.0.as_slice();
        self.write(async |tx, n| run(tx, sql, &[&id, &old, &new, &n]).await.map(put))
    }

    fn confirm(&self, id: EpochId, record: &[u8]) -> Result<(), StoreError> {
        // One that is confirmed already is left alone: of a fleet's processes each confirms what it finds.
        let sql = "UPDATE epoch SET confirmed = true, change = $3 WHERE id = $1 AND record = $2 AND NOT confirmed";
        let id = id.0.as_slice();
        self.write(async |tx, n| run(tx, sql, &[&id, &record, &n]).await.map(put)).map(drop)
    }

    fn destroy(&self, id: EpochId, tombstone: &[u8]) -> Result<(), StoreError> {
        let id = id.0.as_slice();
        self.write(async |tx, n| {
            // Written anew, so that a forged tombstone does not keep the real one out.
            run(tx, "DELETE FROM tombstone WHERE id = $1", &[&id]).await?;
            run(tx, "INSERT INTO tombstone (id, record, change) VALUES ($1, $2, $3)", &[&id, &tombstone, &n]).await?;
            run(tx, "DELETE FROM epoch WHERE id = $1", &[&id]).await?;
            Ok(Put::Done)
        })?;
        self.vacuum();
        Ok(())
    }

    fn tombstone(&self, id: EpochId) -> Result<Option<Vec<u8>>, StoreError> {
        let sql =
            "SELECT CASE WHEN octet_length(record) > 8192 THEN ''::bytea ELSE record END FROM tombstone WHERE id = $1";
        self.one(sql, &[&id.0.as_slice()], first)
    }

    fn tombstones_after(&self, after: u64, limit: usize) -> Result<Vec<(u64, EpochId, Vec<u8>)>, StoreError> {
        let sql = format!("SELECT seq, {TOMBSTONE} FROM tombstone WHERE seq > $1 ORDER BY seq LIMIT $2");
        self.all(&sql, &[&int(after), &rows(limit)], |row| {
            Ok((uint(row, 0)?, EpochId(array(row, 1)?), row.try_get(2)?))
        })
    }

    fn records(&self) -> Option<&dyn Records> {
        Some(self)
    }
}

impl PostgresStore {
    /// What was deleted stays in the table's file until the table is vacuumed. Who does not own the table may not, and a large
    /// one takes too long: then the server's own vacuum comes later.
    fn vacuum(&self) {
        if let Err(error) = self.read(async |client| client.batch_execute("VACUUM epoch").await) {
            tracing::debug!("a destroyed epoch is not vacuumed away yet: {error}");
        }
    }
}

async fn run(tx: &Transaction<'_>, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
    let statement = tx.prepare_cached(sql).await?;
    tx.execute(&statement, parameters).await
}

/// The first column of the one row, if there is one.
async fn value<T: for<'a> FromSql<'a>>(
    tx: &Transaction<'_>,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<T>, Error> {
    let statement = tx.prepare_cached(sql).await?;
    tx.query_opt(&statement, parameters).await?.map(|row| row.try_get(0)).transpose()
}

fn first<T: for<'a> FromSql<'a>>(row: &Row) -> Result<T, Error> {
    row.try_get(0)
}

fn count(row: &Row) -> Result<usize, Error> {
    uint(row, 0).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

fn put(changed: u64) -> Put {
    if changed == 0 { Put::Conflict } else { Put::Done }
}

/// PostgreSQL's integers are signed. A version or number out of range cannot be one of ours, so the largest does.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn uint(row: &Row, column: usize) -> Result<u64, Error> {
    row.try_get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or_default())
}

/// Of a column that is one byte of ours; what is not is no byte of ours.
fn byte(row: &Row, column: usize) -> Result<u8, Error> {
    row.try_get::<_, i16>(column).map(|n| u8::try_from(n).unwrap_or(u8::MAX))
}

/// Of a column whose length the table checks; another length is nobody's id.
fn array<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], Error> {
    row.try_get::<_, &[u8]>(column).map(|bytes| bytes.try_into().unwrap_or([0; N]))
}

fn key_row(row: &Row) -> Result<KeyRow, Error> {
    Ok(KeyRow { usage: byte(row, 0)?, public: row.try_get(1)?, partition: row.try_get(2)?, blob: row.try_get(3)? })
}

fn epoch_row(row: &Row) -> Result<EpochRow, Error> {
    Ok(EpochRow {
        id: EpochId(array(row, 0)?),
        partition: row.try_get(1)?,
        kind: byte(row, 2)?,
        record: row.try_get(3)?,
        confirmed: row.try_get(4)?,
        current: row.try_get(5)?,
    })
}
