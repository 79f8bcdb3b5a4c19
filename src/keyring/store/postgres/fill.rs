//! A whole keyring at once: making one, reading one, taking one over from another store.

use deadpool_postgres::Transaction;
use tokio_postgres::{Error, IsolationLevel};

use super::connection::WHOLE;
use super::{EPOCH, KEYS, PARTITION, PostgresStore, TOMBSTONE, array, begin_change, epoch_row, int, key_row, uint};
use crate::keyring::store::{Dump, EntryRow, Put, StoreError};
use crate::token::EpochId;

/// Rows sent at once.
const CHUNK: usize = 512;

const IS_ANYTHING_THERE: &str = "SELECT EXISTS (SELECT 1 FROM private_key) OR EXISTS (SELECT 1 FROM partition) \
     OR EXISTS (SELECT 1 FROM epoch) OR EXISTS (SELECT 1 FROM tombstone) OR EXISTS (SELECT 1 FROM entry) \
     OR EXISTS (SELECT 1 FROM audit)";

/// Directory and audit log of another store, a page at a time.
pub trait Source {
    /// Entries that follow this kind and id, in order.
    fn entries(&self, after: &(String, String)) -> Result<Vec<EntryRow>, StoreError>;
    /// Lines after that number, in order.
    fn audit(&self, after: u64) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;
    /// Fails unless it has seen no commit since it had seen as many.
    fn is_still(&self, commits: i64) -> Result<(), StoreError>;
}

/// A source, the commits it had seen, and how many entries and lines were taken from it.
pub type Taken<'a> = (&'a dyn Source, i64, &'a mut [u64; 2]);

impl PostgresStore {
    /// Writes a keyring where there is none, all of it or nothing.
    pub fn fill(&self, rows: &Dump, mut taken: Option<Taken<'_>>) -> Result<Put, StoreError> {
        let mut failed = None;
        let filled = self.bridge.wait(self.connections.with_all(async |client| {
            let tx = client.transaction().await?;
            tx.batch_execute(WHOLE).await?;
            let number = begin_change(&tx).await?;
            // Also a directory alone is somebody's.
            let found: bool = tx.query_one(IS_ANYTHING_THERE, &[]).await?.try_get(0)?;
            if found {
                tx.rollback().await?;
                return Ok(Put::Conflict);
            }
            write(&tx, rows, number).await?;
            if let Some(taken) = &mut taken {
                let checked = match take(&tx, taken).await? {
                    Ok(()) if dump(&tx).await? == *rows => Ok(()),
                    Ok(()) => {
                        Err(StoreError::Damaged("the rows that were written are not those that were read".into()))
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = checked {
                    failed = Some(error);
                    tx.rollback().await?;
                    return Ok(Put::Conflict);
                }
            }
            tx.execute("UPDATE change SET whole = number", &[]).await?;
            tx.commit().await?;
            Ok(Put::Done)
        }));
        failed.map_or(filled, Err)
    }

    /// All rows of the keyring, in one snapshot.
    pub(super) fn read_all(&self) -> Result<Dump, StoreError> {
        self.bridge.wait(self.connections.with_all(async |client| {
            let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
            let tx = snapshot.start().await?;
            tx.batch_execute(WHOLE).await?;
            dump(&tx).await
        }))
    }
}

async fn take(
    tx: &Transaction<'_>,
    (source, commits, counts): &mut Taken<'_>,
) -> Result<Result<(), StoreError>, Error> {
    let mut after = (String::new(), String::new());
    loop {
        let page = match source.entries(&after) {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let Some(last) = page.last() else { break };
        after = (last.kind.clone(), last.id.clone());
        write_entries(tx, &page).await?;
        counts[0] += page.len() as u64;
    }
    let mut after = 0;
    loop {
        let page = match source.audit(after) {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let Some((last, _)) = page.last() else { break };
        after = *last;
        write_audit(tx, &page).await?;
        counts[1] += page.len() as u64;
    }
    let written = tx.query_one("SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM audit)", &[]).await?;
    if [uint(&written, 0)?, uint(&written, 1)?] != **counts {
        return Ok(Err(StoreError::Damaged("rows were lost on the way; nothing was moved".into())));
    }
    Ok(source.is_still(*commits))
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

async fn write_entries(tx: &Transaction<'_>, page: &[EntryRow]) -> Result<(), Error> {
    let kind: Vec<&str> = page.iter().map(|e| e.kind.as_str()).collect();
    let id: Vec<&str> = page.iter().map(|e| e.id.as_str()).collect();
    let version: Vec<i64> = page.iter().map(|e| int(e.version)).collect();
    let expires: Vec<i64> = page.iter().map(|e| int(e.expires)).collect();
    let remaining: Vec<Option<i64>> = page.iter().map(|e| e.left.map(int)).collect();
    let sealed: Vec<&[u8]> = page.iter().map(|e| e.sealed.as_slice()).collect();
    let sql = "INSERT INTO entry (kind, id, version, expires, remaining, sealed) SELECT * \
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])";
    tx.execute(sql, &[&kind, &id, &version, &expires, &remaining, &sealed]).await.map(drop)
}

async fn write_audit(tx: &Transaction<'_>, page: &[(u64, Vec<u8>)]) -> Result<(), Error> {
    let number: Vec<i64> = page.iter().map(|(number, _)| int(*number)).collect();
    let line: Vec<&[u8]> = page.iter().map(|(_, line)| line.as_slice()).collect();
    let sql = "INSERT INTO audit (number, line) SELECT * FROM unnest($1::bigint[], $2::bytea[])";
    tx.execute(sql, &[&number, &line]).await.map(drop)
}

async fn dump(tx: &Transaction<'_>) -> Result<Dump, Error> {
    let partitions = format!("SELECT name, version, {PARTITION} FROM partition ORDER BY name");
    let epochs = format!("SELECT {EPOCH} FROM epoch ORDER BY id");
    let tombstones = format!("SELECT {TOMBSTONE} FROM tombstone ORDER BY seq");
    let rows = async |sql: &str| tx.query(sql, &[]).await;
    Ok(Dump {
        keys: rows(KEYS).await?.iter().map(key_row).collect::<Result<_, _>>()?,
        partitions: rows(&partitions)
            .await?
            .iter()
            .map(|row| Ok((row.try_get(0)?, uint(row, 1)?, row.try_get(2)?)))
            .collect::<Result<_, Error>>()?,
        epochs: rows(&epochs).await?.iter().map(epoch_row).collect::<Result<_, _>>()?,
        tombstones: rows(&tombstones)
            .await?
            .iter()
            .map(|row| Ok((EpochId(array(row, 0)?), row.try_get(1)?)))
            .collect::<Result<_, Error>>()?,
    })
}
