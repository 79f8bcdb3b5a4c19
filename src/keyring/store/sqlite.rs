//! A keyring in one SQLite file, shared by the processes of one machine.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::{Dump, EpochRow, Inserted, KeyRow, NewEpoch, Put, Store, StoreError};
use crate::keyring::Kind;
use crate::name::PartitionName;
use crate::token::EpochId;

/// `SCK1`, which `file` and the `sqlite3` shell show.
const APPLICATION_ID: i64 = 0x5343_4b31;
/// Step n brings a file from `user_version` n to n + 1. Only ever appended to.
const MIGRATIONS: [&str; 1] = [include_str!("sqlite/1.sql")];
/// How long another process may hold the write lock before we give up.
const BUSY: Duration = Duration::from_secs(5);
/// Files up to this size are checked whole when they are opened.
const CHECKED_SIZE: u64 = 64 << 20;

const EPOCH_COLUMNS: &str = "id, partition, kind, record, confirmed, current";

/// See the module.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connections: Mutex<Connections>,
}

#[derive(Debug)]
struct Connections {
    main: Connection,
    /// `data_version` tells of commits by *other* connections, so a second one sees those of `main` too.
    watch: Connection,
    /// Device and inode of the open file: a file moved over it is another file.
    file: (u64, u64),
    generation: u64,
}

impl SqliteStore {
    /// Makes the file (0600), or takes one in which nothing was written yet, and brings it to the current schema.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(StoreError::Unavailable(format!("cannot create {}: {error}", path.display())));
            }
            _ => {}
        }
        let mut main = connect(path)?;
        if is_empty(&main) {
            let mut migrated = || {
                main.execute_batch("PRAGMA journal_mode = WAL")?;
                let tx = main.transaction_with_behavior(TransactionBehavior::Immediate)?;
                if is_empty(&tx) {
                    migrate(&tx, 0)?; // unless another process was first
                }
                tx.commit()
            };
            migrated().map_err(|e| explain(path, &e))?;
        }
        drop(main);
        if let Some(directory) = path.parent() {
            // The new name must survive a power cut as well as the content.
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            std::fs::File::open(directory)
                .and_then(|d| d.sync_all())
                .map_err(|e| StoreError::Unavailable(format!("cannot sync {}: {e}", directory.display())))?;
        }
        Self::open(path)
    }

    /// Opens an existing file and brings it to the current schema.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: path.to_owned(), connections: Mutex::new(Connections::open(path, 0)?) })
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
}

impl Connections {
    fn open(path: &Path, generation: u64) -> Result<Self, StoreError> {
        let file = identity(path)?;
        let mut main = connect(path)?;
        check(path, &mut main)?;
        let watch = connect(path)?;
        Ok(Self { main, watch, file, generation })
    }
}

impl Store for SqliteStore {
    fn change(&self) -> Result<u64, StoreError> {
        let mut connections = self.lock();
        if identity(&self.path)? != connections.file {
            let generation = connections.generation.wrapping_add(1);
            *connections = Connections::open(&self.path, generation)?;
        }
        let version = pragma(&connections.watch, "data_version").map_err(|e| explain(&self.path, &e))?;
        // Touches the file: `data_version` alone would not notice that it became unreadable.
        tables(&connections.watch).map_err(|e| explain(&self.path, &e))?;
        Ok((connections.generation << 40) ^ u64::try_from(version).unwrap_or_default())
    }

    fn bootstrap(&self, rows: &Dump) -> Result<Put, StoreError> {
        self.write(|tx| {
            let found: i64 = tx.query_row(
                "SELECT (SELECT count(*) FROM private_key) + (SELECT count(*) FROM partition)",
                [],
                first,
            )?;
            if found != 0 {
                return Ok(Put::Conflict);
            }
            for key in &rows.keys {
                insert_key(tx, key)?;
            }
            for (name, version, record) in &rows.partitions {
                tx.execute(
                    "INSERT INTO partition (name, version, record) VALUES (?1, ?2, ?3)",
                    params![name, int(*version), record],
                )?;
            }
            for (id, record) in &rows.tombstones {
                tx.execute("INSERT INTO tombstone (id, record) VALUES (?1, ?2)", params![id.0, record])?;
            }
            for e in &rows.epochs {
                insert_epoch(tx, (e.id, &e.partition, e.kind), &e.record, e.confirmed, e.current)?;
            }
            Ok(Put::Done)
        })
    }

    fn dump(&self) -> Result<Dump, StoreError> {
        self.snapshot(|tx| {
            Ok(Dump {
                keys: all(
                    tx,
                    "SELECT usage, public, partition, blob FROM private_key ORDER BY usage, public",
                    key_row,
                )?,
                partitions: all(tx, "SELECT name, version, record FROM partition ORDER BY name", |row| {
                    Ok((row.get(0)?, uint(row, 1)?, row.get(2)?))
                })?,
                epochs: all(tx, &format!("SELECT {EPOCH_COLUMNS} FROM epoch ORDER BY id"), epoch_row)?,
                tombstones: all(tx, "SELECT id, record FROM tombstone ORDER BY seq", |row| {
                    Ok((EpochId(row.get(0)?), row.get(1)?))
                })?,
            })
        })
    }

    fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.read(|c| all(c, "SELECT usage, public, partition, blob FROM private_key ORDER BY usage, public", key_row))
    }

    fn add_key(&self, row: &KeyRow) -> Result<Put, StoreError> {
        self.write(|tx| insert_key(tx, row).map(put))
    }

    fn rewrap_key(&self, usage: u8, public: &[u8], old: &[u8], new: &[u8]) -> Result<Put, StoreError> {
        let sql = "UPDATE private_key SET blob = ?4 WHERE usage = ?1 AND public = ?2 AND blob = ?3";
        self.write(|tx| tx.execute(sql, params![usage, public, old, new]).map(put))
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
        let sql = "SELECT record FROM partition WHERE name = ?1";
        self.read(|c| c.prepare_cached(sql)?.query_row([name.as_str()], first).optional())
    }

    fn put_partition(&self, name: &PartitionName, expected: u64, record: &[u8]) -> Result<Put, StoreError> {
        let sql = if expected == 0 {
            "INSERT OR IGNORE INTO partition (name, version, record) VALUES (?1, ?2 + 1, ?3)"
        } else {
            "UPDATE partition SET version = ?2 + 1, record = ?3 WHERE name = ?1 AND version = ?2"
        };
        self.write(|tx| tx.execute(sql, params![name.as_str(), int(expected), record]).map(put))
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
        self.write(|tx| {
            let taken =
                "SELECT EXISTS (SELECT 1 FROM epoch WHERE id = ?1) OR EXISTS (SELECT 1 FROM tombstone WHERE id = ?1)";
            if tx.query_row(taken, [row.id.0], first)? {
                return Ok(Inserted::Taken);
            }
            if let Some(previous) = row.replaces {
                let sql = "SELECT id FROM epoch WHERE partition = ?1 AND kind = ?2 AND current = 1";
                let key = params![row.partition.as_str(), row.kind as u8];
                let current: Option<[u8; 10]> = tx.query_row(sql, key, first).optional()?;
                if current != previous.map(|id| id.0) {
                    return Ok(Inserted::Raced);
                }
                tx.execute("UPDATE epoch SET current = 0 WHERE partition = ?1 AND kind = ?2 AND current = 1", key)?;
            }
            let name = (row.id, row.partition.as_str(), row.kind as u8);
            insert_epoch(tx, name, row.record, row.confirmed, row.replaces.is_some())?;
            Ok(Inserted::Done)
        })
    }

    fn rewrap_epoch(&self, id: EpochId, old: &[u8], new: &[u8]) -> Result<Put, StoreError> {
        let sql = "UPDATE epoch SET record = ?3 WHERE id = ?1 AND record = ?2";
        self.write(|tx| tx.execute(sql, params![id.0, old, new]).map(put))
    }

    fn confirm(&self, id: EpochId, record: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE epoch SET confirmed = 1 WHERE id = ?1 AND record = ?2";
        self.write(|tx| tx.execute(sql, params![id.0, record]).map(drop))
    }

    fn destroy(&self, id: EpochId, tombstone: &[u8]) -> Result<(), StoreError> {
        self.write(|tx| {
            // REPLACE, so that a forged tombstone does not keep the real one out.
            tx.execute("INSERT OR REPLACE INTO tombstone (id, record) VALUES (?1, ?2)", params![id.0, tombstone])?;
            tx.execute("DELETE FROM epoch WHERE id = ?1", [id.0]).map(drop)
        })
    }

    fn tombstone(&self, id: EpochId) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT record FROM tombstone WHERE id = ?1";
        self.read(|c| c.prepare_cached(sql)?.query_row([id.0], first).optional())
    }

    fn tombstones_after(&self, after: u64, limit: usize) -> Result<Vec<(u64, EpochId, Vec<u8>)>, StoreError> {
        self.read(|c| {
            let mut statement =
                c.prepare_cached("SELECT seq, id, record FROM tombstone WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
            let found = statement
                .query_map(params![int(after), rows(limit)], |r| Ok((uint(r, 0)?, EpochId(r.get(1)?), r.get(2)?)))?;
            found.collect()
        })
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    // No CREATE: a keyring that vanished must be an error, not a new empty one.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| explain(path, &e))?;
    let set_up = || {
        connection.busy_timeout(BUSY)?;
        // The file's writer is not trusted, so neither is the code that its schema may hold.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        // FULL: the write-ahead log is synced at every commit. `secure_delete`: a destroyed record is overwritten.
        connection.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; PRAGMA cell_size_check = ON",
        )
    };
    set_up().map_err(|e| explain(path, &e))?;
    Ok(connection)
}

fn check(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let damaged = |what: &str| {
        StoreError::Damaged(format!(
            "{} {what}; name another file, or restore this one from a backup with `sidecloak keys import`",
            path.display()
        ))
    };
    let id = pragma(connection, "application_id").map_err(|e| explain(path, &e))?;
    if id != APPLICATION_ID {
        return Err(damaged("is not a Sidecloak keyring"));
    }
    let version = pragma(connection, "user_version").map_err(|e| explain(path, &e))?;
    let known = MIGRATIONS.len();
    match usize::try_from(version) {
        Ok(version) if version > known => {
            return Err(StoreError::Damaged(format!(
                "{} was written by a newer Sidecloak (schema {version}, this one knows {known}); use that version",
                path.display()
            )));
        }
        Ok(version) if (1..known).contains(&version) => {
            let mut migrated = || {
                let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let found = pragma(&tx, "user_version")?; // another process may have been first
                migrate(&tx, usize::try_from(found).unwrap_or(known))?;
                tx.commit()
            };
            migrated().map_err(|e| explain(path, &e))?;
        }
        Ok(version) if version == known => {}
        _ => return Err(damaged("has an impossible schema version")),
    }
    if std::fs::metadata(path).is_ok_and(|m| m.len() <= CHECKED_SIZE) {
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], first).map_err(|e| explain(path, &e))?;
        if found != "ok" {
            return Err(damaged("is damaged"));
        }
    }
    Ok(())
}

fn is_empty(connection: &Connection) -> bool {
    (pragma(connection, "application_id"), tables(connection)) == (Ok(0), Ok(0))
}

fn migrate(tx: &Transaction<'_>, from: usize) -> rusqlite::Result<()> {
    for step in MIGRATIONS.iter().skip(from) {
        tx.execute_batch(step)?;
    }
    tx.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}", MIGRATIONS.len()))
}

fn identity(path: &Path) -> Result<(u64, u64), StoreError> {
    let metadata =
        std::fs::metadata(path).map_err(|e| StoreError::Unavailable(format!("cannot read {}: {e}", path.display())))?;
    Ok((metadata.dev(), metadata.ino()))
}

fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged(format!(
            "{path} is damaged or no Sidecloak keyring; restore it from a backup with `sidecloak keys import`"
        )),
        Some(ErrorCode::DiskFull) => StoreError::Unavailable(format!("no space left for {path}; nothing was changed")),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Unavailable(format!("{path} is locked by another process"))
        }
        Some(ErrorCode::ReadOnly) => {
            StoreError::Unavailable(format!("{path} cannot be written; check its permissions"))
        }
        Some(code) => StoreError::Unavailable(format!("{path}: {code:?}")),
        // A missing table or a column of another type: the file is not what its header says.
        None => StoreError::Damaged(format!("{path} holds rows of another form than a keyring's")),
    }
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA {name}"), [], first)
}

fn tables(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], first)
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

fn put(changed: usize) -> Put {
    if changed == 0 { Put::Conflict } else { Put::Done }
}

fn insert_key(tx: &Transaction<'_>, row: &KeyRow) -> rusqlite::Result<usize> {
    tx.execute(
        "INSERT OR IGNORE INTO private_key (usage, public, partition, blob) VALUES (?1, ?2, ?3, ?4)",
        params![row.usage, row.public, row.partition, row.blob],
    )
}

fn insert_epoch(
    tx: &Transaction<'_>,
    (id, partition, kind): (EpochId, &str, u8),
    record: &[u8],
    confirmed: bool,
    current: bool,
) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO epoch (id, partition, kind, record, confirmed, current) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id.0, partition, kind, record, confirmed, current],
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
