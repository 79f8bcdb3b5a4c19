//! A second place for epoch records: a directory with one file for each, synced before the epoch's first use.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{KeyringError, files};
use crate::token::EpochId;

/// See the module. The files are public records: without a recipient's private key they open nothing.
#[derive(Debug)]
pub struct Mirror(PathBuf);

impl Mirror {
    /// Makes the directory if it is missing.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        let mirror = Self(path.to_owned());
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => files::sync_directory(path).map_err(|e| mirror.failed(&e))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(mirror.failed(&error)),
        }
        Ok(mirror)
    }

    /// Makes sure that the record is there and on disk.
    pub fn ensure(&self, id: EpochId, record: &[u8]) -> Result<(), KeyringError> {
        let path = self.0.join(format!("{id}.cbor"));
        // Written whole or not at all (`write_over` renames), so a file of that length is the record or a re-wrap of it.
        if std::fs::metadata(&path).is_ok_and(|m| m.len() == record.len() as u64) {
            return Ok(());
        }
        self.write(id, record)
    }

    /// Writes the record anew (it was re-wrapped).
    pub fn write(&self, id: EpochId, record: &[u8]) -> Result<(), KeyringError> {
        files::write_over(&self.0.join(format!("{id}.cbor")), record).map_err(|e| self.failed(&e))
    }

    /// Leaves a tombstone in the record's place.
    pub fn bury(&self, id: EpochId, tombstone: &[u8]) -> Result<(), KeyringError> {
        let record = self.0.join(format!("{id}.cbor"));
        files::write_over(&self.0.join(format!("{id}.destroyed")), tombstone).map_err(|e| self.failed(&e))?;
        match std::fs::remove_file(&record) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed(&error)),
            _ => files::sync_directory(&record).map_err(|e| self.failed(&e)),
        }
    }

    fn failed(&self, error: &std::io::Error) -> KeyringError {
        KeyringError::Unavailable(format!("the mirror {} cannot be written: {error}", self.0.display()))
    }
}
