//! A keyring as one sealed file, to be kept elsewhere or moved to another store.
//!
//! ```text
//! file      = "sidecloak keyring 1\n" | id(master) (16) | nonce (24) | XAES-256-GCM(HKDF(master, PAE("sidecloak/1 export"), 32),
//!             nonce, rows, aad = "sidecloak keyring 1\n")
//! rows      = [1, [[use, public key, partition or "", private key], …], [[name, version, partition record], …],
//!             [[epoch_id, partition, kind, epoch record, confirmed, current], …], [[epoch_id, tombstone], …]]
//! ```
//!
//! `rows` is deterministic CBOR; records and private keys are those of `docs/token-format.md`, so what is signed or wrapped
//! stays so inside. Only a holder of the master key it was exported under can import it: keep that key elsewhere still.

use std::collections::HashSet;

use super::cbor::{BadRecord, Reader, Record, Writer};
use super::master::{Masters, PrivateKeys};
use super::open::{check_place, make_store};
use super::record::{EpochRecord, PartitionRecord, Tombstone};
use super::store::{Dump, EpochRow, KeyRow, Put};
use super::{Keyring, KeyringError, Options};
use crate::clock::SharedClock;
use crate::crypto::sign::VerifyingKey;
use crate::token::EpochId;

const MAGIC: &[u8] = b"sidecloak keyring 1\n";
const LABEL: &str = "sidecloak/1 export";
/// Rows of one table; a file claiming more is refused before anything is allocated for them.
const MAX_ROWS: u64 = 1 << 22;

impl Keyring {
    /// The whole keyring as one sealed file.
    pub fn export(&self) -> Result<Vec<u8>, KeyringError> {
        let io = self.lock_fresh()?;
        let mut rows = self.store.dump()?;
        self.sift(&mut rows);
        let sealed = io.masters.first()?.seal(LABEL, MAGIC, &rows.encode())?;
        Ok([MAGIC, &sealed].concat())
    }

    /// Leaves out, with an alarm, what does not verify: an import would refuse the whole export for one such row, on the day
    /// it is needed, and who writes the store could see to that.
    fn sift(&self, rows: &mut Dump) {
        let owner = &self.owner;
        for (name, version, encoded) in &mut rows.partitions {
            // The column is only for looking up; the record says it.
            *version = partition(name, encoded, owner).map_or(*version, |record| record.version);
        }
        let before = rows.partitions.len() + rows.epochs.len() + rows.tombstones.len();
        rows.partitions.retain(|(name, _, encoded)| partition(name, encoded, owner).is_some());
        rows.tombstones.retain(|(id, encoded)| is_tombstone(*id, encoded, owner));
        let destroyed = buried(rows);
        rows.epochs.retain(|row| is_epoch(row, &destroyed));
        let left_out = before - rows.partitions.len() - rows.epochs.len() - rows.tombstones.len();
        if left_out > 0 {
            self.alarm(&format!("the keyring holds rows that do not verify; {left_out} are left out of the export"));
        }
    }

    /// Makes a keyring of an exported one, where there is none yet, and opens it. The master key must be there.
    pub fn import(options: &Options, exported: &[u8], clock: SharedClock) -> Result<Self, KeyringError> {
        check_place(options)?;
        if Self::exists(options)? {
            return Err(KeyringError::Mismatch(format!(
                "{} exists; name a place where there is none, or move it away",
                options.store
            )));
        }
        let masters = Masters::load(&options.master_keys)?;
        masters.first()?;
        let no_export = || {
            KeyringError::Mismatch(
                "the file is no exported Sidecloak keyring, or it is damaged; `sidecloak keys export` writes one"
                    .into(),
            )
        };
        let sealed = exported.strip_prefix(MAGIC).ok_or_else(no_export)?;
        let master = masters.by_id(sealed).ok_or_else(|| {
            KeyringError::Mismatch(
                "the keyring was exported under another master key; name that as `master_key`".into(),
            )
        })?;
        let rows = master.open(LABEL, MAGIC, sealed).ok_or_else(no_export)?;
        let rows = Dump::decode(rows.expose()).map_err(|_| no_export())?;
        check(&rows, &masters)?;
        if make_store(options)?.bootstrap(&rows)? == Put::Conflict {
            return Err(KeyringError::Mismatch(format!("{} is a keyring already", options.store)));
        }
        Self::open(options, clock)
    }
}

/// All signatures of the owner hold, and rows are under the names that their records say.
fn check(rows: &Dump, masters: &Masters) -> Result<(), KeyringError> {
    let bad = |what: &str| KeyringError::Mismatch(format!("the exported keyring holds {what} that does not verify"));
    let keys = PrivateKeys::unwrap(&rows.keys, masters)?;
    let owner = keys.owner.ok_or_else(|| bad("an owner key"))?;
    let owner = owner.verifying_key();
    let same = |(name, version, encoded): &(String, u64, Vec<u8>)| {
        partition(name, encoded, owner).is_some_and(|record| record.version == *version)
    };
    if !rows.partitions.iter().all(same) {
        return Err(bad("a partition record"));
    }
    if !rows.tombstones.iter().all(|(id, encoded)| is_tombstone(*id, encoded, owner)) {
        return Err(bad("a tombstone"));
    }
    let destroyed = buried(rows);
    if !rows.epochs.iter().all(|row| is_epoch(row, &destroyed)) {
        return Err(bad("an epoch record"));
    }
    Ok(())
}

fn partition(name: &str, encoded: &[u8], owner: &VerifyingKey) -> Option<PartitionRecord> {
    PartitionRecord::decode(encoded).ok().filter(|r| r.name.as_str() == name && r.verify(owner).is_ok())
}

fn is_tombstone(id: EpochId, encoded: &[u8], owner: &VerifyingKey) -> bool {
    Tombstone::decode(encoded).is_ok_and(|stone| stone.id() == id && stone.verify(owner).is_ok())
}

fn buried(rows: &Dump) -> HashSet<EpochId> {
    rows.tombstones.iter().map(|(id, _)| *id).collect()
}

/// Issuers are checked whenever an epoch is loaded: one may have been removed since.
fn is_epoch(row: &EpochRow, destroyed: &HashSet<EpochId>) -> bool {
    EpochRecord::decode(&row.record).is_ok_and(|r| {
        let core = &r.core;
        core.id() == row.id
            && core.partition.as_str() == row.partition
            && core.kind as u8 == row.kind
            && !destroyed.contains(&row.id)
    })
}

impl Record for Dump {
    fn write(&self, out: &mut Writer) {
        out.array(5).uint(1);
        out.list(&self.keys, |out, key| {
            out.array(4).uint(u64::from(key.usage)).bytes(&key.public).text(&key.partition).bytes(&key.blob);
        });
        out.list(&self.partitions, |out, (name, version, record)| {
            out.array(3).text(name).uint(*version).bytes(record);
        });
        out.list(&self.epochs, |out, row| {
            out.array(6).bytes(&row.id.0).text(&row.partition).uint(u64::from(row.kind)).bytes(&row.record);
            out.uint(u64::from(row.confirmed)).uint(u64::from(row.current));
        });
        out.list(&self.tombstones, |out, (id, record)| {
            out.array(2).bytes(&id.0).bytes(record);
        });
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BadRecord> {
        from.array(5)?;
        from.expect(1)?;
        Ok(Self {
            keys: from.list_up_to(MAX_ROWS, |from| {
                from.array(4)?;
                Ok(KeyRow {
                    usage: from.byte()?,
                    public: from.bytes()?.to_vec(),
                    partition: from.text()?.to_owned(),
                    blob: from.bytes()?.to_vec(),
                })
            })?,
            partitions: from.list_up_to(MAX_ROWS, |from| {
                from.array(3)?;
                Ok((from.text()?.to_owned(), from.uint()?, from.bytes()?.to_vec()))
            })?,
            epochs: from.list_up_to(MAX_ROWS, |from| {
                from.array(6)?;
                Ok(EpochRow {
                    id: EpochId(from.exactly()?),
                    partition: from.text()?.to_owned(),
                    kind: from.byte()?,
                    record: from.bytes()?.to_vec(),
                    confirmed: from.flag()?,
                    current: from.flag()?,
                })
            })?,
            tombstones: from.list_up_to(MAX_ROWS, |from| {
                from.array(2)?;
                Ok((EpochId(from.exactly()?), from.bytes()?.to_vec()))
            })?,
        })
    }
}
