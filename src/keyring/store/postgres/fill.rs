//! A whole keyring at once: making one, reading one, taking one over from another store.

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Error;

use super::connection::WHOLE;
use super::{EPOCH, KEYS, PARTITION, PostgresStore, TOMBSTONE, array, begin_change, epoch_row, int, key_row, uint};
use crate::keyring::store::{Dump, EntryRow, Put, StoreError};
use crate::token::EpochId;

/// Rows sent at once.
const CHUNK: usize = 512;

/// Directory and audit log, beside the keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// The directory.
    pub entries: Vec<EntryRow>,
    /// Number and line.
    pub audit: Vec<(u64, Vec<u8>)>,
}

impl PostgresStore {
    /// Writes a keyring where there is none, all of it or nothing.
    pub fn fill(&self, rows: &Dump, moved: Option<&Moved>) -> Result<Put, StoreError> {
        self.bridge.wait(self.connections.with_all(async |client| {
            let tx = client.transaction().await?;
            tx.batch_execute(WHOLE).await?;
            let number = begin_change(&tx).await?;
            // Also a directory alone is somebody's.
            let found: bool = tx
                .query_one(
                    "SELECT EXISTS (SELECT 1 FROM private_key) OR EXISTS (SELECT 1 FROM partition) OR EXISTS (SELECT 1 FROM epoch) \
                     OR EXISTS (SELECT 1 FROM tombstone) OR EXISTS (SELECT 1 FROM entry) OR EXISTS (SELECT 1 FROM audit)",
                    &[],
                )
                .await?
                .try_get(0)?;
            if found {
                tx.rollback().await?;
                return Ok(Put::Conflict);
            }
            write(&tx, rows, number).await?;
            if let Some(moved) = moved {
                write_moved(&tx, moved).await?;
            }
            tx.execute("UPDATE change SET whole = number", &[]).await?;
            tx.commit().await?;
            Ok(Put::Done)
        }))
    }
}

async fn write(tx: &Transaction<'_>, rows: &Dump, number: i64) -> Result<(), Error> {
    for chunk in rows.keys.chunks(CHUNK) {
        let usage: Vec<i16> = chunk.iter().map(|k| i16::from(k.usage)).collect();
        let public: Vec<&[u8]> = chunk.iter().map(|k| k.public.as_slice()).collect();
        let partition: Vec<&str> = chunk.iter().map(|k| k.partition.as_str()).collect();
        let blob: Vec<&[u8]> = chunk.iter().map(|k| k.blob.as_slice()).collect();
        let sql = "INSERT INTO private_key (usage, public, partition, blob, change) \
             SELECT *, $5 FROM unnest($1::smallint[], $2::bytea[], $3::text[], $4::bytea[])";
        tx.execute(sql, &[&usage, &public, &partition, &blob, &number]).await?;
    }
    for chunk in rows.partitions.chunks(CHUNK) {
        let name: Vec<&str> = chunk.iter().map(|(name, ..)| name.as_str()).collect();
        let version: Vec<i64> = chunk.iter().map(|(_, version, _)| int(*version)).collect();
        let record: Vec<&[u8]> = chunk.iter().map(|(.., record)| record.as_slice()).collect();
        let sql = "INSERT INTO partition (name, version, record, change) \
             SELECT *, $4 FROM unnest($1::text[], $2::bigint[], $3::bytea[])";
        tx.execute(sql, &[&name, &version, &record, &number]).await?;
    }
    for chunk in rows.epochs.chunks(CHUNK) {
        let id: Vec<&[u8]> = chunk.iter().map(|e| e.id.0.as_slice()).collect();
        let partition: Vec<&str> = chunk.iter().map(|e| e.partition.as_str()).collect();
        let kind: Vec<i16> = chunk.iter().map(|e| i16::from(e.kind)).collect();
        let record: Vec<&[u8]> = chunk.iter().map(|e| e.record.as_slice()).collect();
        let confirmed: Vec<bool> = chunk.iter().map(|e| e.confirmed).collect();
        let current: Vec<bool> = chunk.iter().map(|e| e.current).collect();
        let sql = "INSERT INTO epoch (id, partition, kind, record, confirmed, current, change) SELECT *, $7 \
             FROM unnest($1::bytea[], $2::text[], $3::smallint[], $4::bytea[], $5::boolean[], $6::boolean[])";
        tx.execute(sql, &[&id, &partition, &kind, &record, &confirmed, &current, &number]).await?;
    }
    for chunk in rows.tombstones.chunks(CHUNK) {
        let id: Vec<&[u8]> = chunk.iter().map(|(id, _)| id.0.as_slice()).collect();
        let record: Vec<&[u8]> = chunk.iter().map(|(_, record)| record.as_slice()).collect();
        let sql = "INSERT INTO tombstone (id, record, change) SELECT id, record, $3 \
             FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS t (id, record, place) ORDER BY place";
        tx.execute(sql, &[&id, &record, &number]).await?;
    }
    Ok(())
}

async fn write_moved(tx: &Transaction<'_>, moved: &Moved) -> Result<(), Error> {
    for chunk in moved.entries.chunks(CHUNK) {
        let kind: Vec<&str> = chunk.iter().map(|e| e.kind.as_str()).collect();
        let id: Vec<&str> = chunk.iter().map(|e| e.id.as_str()).collect();
        let version: Vec<i64> = chunk.iter().map(|e| int(e.version)).collect();
        let expires: Vec<i64> = chunk.iter().map(|e| int(e.expires)).collect();
        let remaining: Vec<Option<i64>> = chunk.iter().map(|e| e.left.map(int)).collect();
        let sealed: Vec<&[u8]> = chunk.iter().map(|e| e.sealed.as_slice()).collect();
        let sql = "INSERT INTO entry (kind, id, version, expires, remaining, sealed) SELECT * \
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])";
        tx.execute(sql, &[&kind, &id, &version, &expires, &remaining, &sealed]).await?;
    }
    for chunk in moved.audit.chunks(CHUNK) {
        let number: Vec<i64> = chunk.iter().map(|(number, _)| int(*number)).collect();
        let line: Vec<&[u8]> = chunk.iter().map(|(_, line)| line.as_slice()).collect();
        let sql = "INSERT INTO audit (number, line) SELECT * FROM unnest($1::bigint[], $2::bytea[])";
        tx.execute(sql, &[&number, &line]).await?;
    }
    Ok(())
}

/// All rows of the keyring, in one snapshot.
pub async fn dump(client: &mut Object) -> Result<Dump, Error> {
    let snapshot =
        client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).read_only(true);
    let tx = snapshot.start().await?;
    tx.batch_execute(WHOLE).await?;
    let partitions = format!("SELECT name, version, {PARTITION} FROM partition ORDER BY name");
    let dump = Dump {
        keys: tx.query(KEYS, &[]).await?.iter().map(key_row).collect::<Result<_, _>>()?,
        partitions: tx
            .query(&partitions, &[])
            .await?
            .iter()
            .map(|row| Ok((row.try_get(0)?, uint(row, 1)?, row.try_get(2)?)))
            .collect::<Result<_, Error>>()?,
        epochs: tx
            .query(&format!("SELECT {EPOCH} FROM epoch ORDER BY id"), &[])
            .await?
            .iter()
            .map(epoch_row)
            .collect::<Result<_, _>>()?,
        tombstones: tx
            .query(&format!("SELECT {TOMBSTONE} FROM tombstone ORDER BY seq"), &[])
            .await?
            .iter()
            .map(|row| Ok((EpochId(array(row, 0)?), row.try_get(1)?)))
            .collect::<Result<_, Error>>()?,
    };
    tx.commit().await?;
    Ok(dump)
}
