//! Opening the file, its schema, and what SQLite's errors mean.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::keyring::store::StoreError;

/// `SCK1`, which `file` and the `sqlite3` shell show.
const APPLICATION_ID: i64 = 0x5343_4b31;
/// Step n brings a file from `user_version` n to n + 1. Only ever appended to.
const MIGRATIONS: [&str; 3] = [include_str!("1.sql"), include_str!("2.sql"), include_str!("3.sql")];
/// How long another process may hold the write lock before we give up.
const BUSY: Duration = Duration::from_secs(5);
/// Files up to this size are checked whole when they are opened.
const CHECKED_SIZE: u64 = 64 << 20;

/// The open file.
#[derive(Debug)]
pub struct Connections {
    /// Reads and writes.
    pub main: Connection,
    /// `data_version` tells of commits by *other* connections, so a second one sees those of `main` too.
    watch: Connection,
    /// Device and inode of the open file: a file moved over it is another file.
    file: (u64, u64),
    /// Counts the files that were opened.
    pub generation: u64,
}

impl Connections {
    /// Opens and checks a file.
    pub fn open(path: &Path, generation: u64) -> Result<Self, StoreError> {
        let file = identity(path)?;
        let mut main = connect(path)?;
        check(path, &mut main)?;
        let watch = connect(path)?;
        Ok(Self { main, watch, file, generation })
    }

    /// Opens the file that is at `path` now, if that is another than the one open.
    pub fn follow(&mut self, path: &Path) -> Result<(), StoreError> {
        if identity(path)? != self.file {
            *self = Self::open(path, self.generation.wrapping_add(1))?;
        }
        Ok(())
    }

    /// Differs after every commit of any connection, whatever it wrote.
    pub fn commits(&self) -> rusqlite::Result<i64> {
        pragma(&self.watch, "data_version")
    }
}

/// Makes a file (0600) with the current schema, or brings an empty one to it; leaves any other as it is.
pub fn create(path: &Path) -> Result<(), StoreError> {
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
    Ok(())
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
        let found: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|e| explain(path, &e))?;
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

/// Says what happened and what to do.
pub fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
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
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => StoreError::Unavailable(format!(
            "{path} cannot be read or written; check its disk, its quota and its permissions"
        )),
        Some(code) => StoreError::Unavailable(format!("{path}: SQLite says {code:?}")),
        // A missing table or a column of another type: the file is not what its header says.
        None => StoreError::Damaged(format!("{path} holds rows of another form than a keyring's")),
    }
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

fn tables(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}
