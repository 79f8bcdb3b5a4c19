//! The tables, in a schema of their own, and how they come to be.

use deadpool_postgres::Object;
use tokio_postgres::Error;

use super::super::StoreError;
use super::connection::{Connections, WHOLE};

/// Step n brings the tables from version n to n + 1. Only ever appended to.
const MIGRATIONS: [&str; 1] = [include_str!("1.sql")];

/// `SCK1`; for advisory locks, so that of many processes that start at once one changes the tables.
const LOCK: i64 = 0x5343_4b31;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No tables at all.
    Nothing,
    /// Tables of this Sidecloak.
    Current,
}

/// Looks, and brings what is older up to date; makes the tables where there are none if `make` says so.
pub async fn prepare(connections: &Connections, make: bool, i_know: bool) -> Result<Found, StoreError> {
    let name = connections.name();
    let (encoding, fsync, version) = connections
        .with(async |client| {
            let row =
                client.query_one("SELECT current_setting('server_encoding'), current_setting('fsync')", &[]).await?;
            Ok((row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?, version(client).await?))
        })
        .await?;
    if encoding != "UTF8" {
        return Err(StoreError::Damaged(format!("{name} is not encoded in UTF-8; make it with `createdb -E UTF8`")));
    }
    if fsync != "on" && !i_know {
        return Err(StoreError::Unavailable(format!(
            "{name} runs with `fsync = off` and may lose keys, and with them every value sealed under them; turn it on, or \
             pass `--i-know`"
        )));
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    match version {
        Some(version) if version == known => return Ok(Found::Current),
        Some(version) if version > known => {
            return Err(StoreError::Damaged(format!(
                "{name} was written by a newer Sidecloak (schema {version}, this one knows {known}); use that version"
            )));
        }
        None if !make => return Ok(Found::Nothing),
        _ => {}
    }
    connections.with_all(async |client| migrate(client).await).await?;
    Ok(Found::Current)
}

async fn migrate(client: &mut Object) -> Result<(), Error> {
    let tx = client.transaction().await?;
    tx.batch_execute(WHOLE).await?;
    tx.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    tx.batch_execute(
        "CREATE SCHEMA IF NOT EXISTS sidecloak; \
         CREATE TABLE IF NOT EXISTS sidecloak.schema_version (one boolean PRIMARY KEY DEFAULT true CHECK (one), version bigint NOT NULL)",
    )
    .await?;
    // Another process may have been first.
    let found = tx.query_opt("SELECT version FROM schema_version", &[]).await?;
    let found: i64 = found.map_or(Ok(0), |row| row.try_get(0))?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        tx.batch_execute(step).await?;
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO schema_version (version) VALUES ($1) \
         ON CONFLICT (one) DO UPDATE SET version = greatest(schema_version.version, $1)",
        &[&known],
    )
    .await?;
    tx.commit().await
}

/// `None`: there are no tables.
async fn version(client: &Object) -> Result<Option<i64>, Error> {
    // Not `to_regclass`, which needs the right to use the schema, and would say "nothing" to who lacks it.
    let there = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid \
         WHERE n.nspname = 'sidecloak' AND c.relname = 'schema_version')";
    if !client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    client.query_opt("SELECT version FROM sidecloak.schema_version", &[]).await?.map(|row| row.try_get(0)).transpose()
}
