//! A keyring as it lies on disk, written out as `tests/interop/README.md` describes a corpus.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Value, json};
use sidecloak::crypto::kdf::key_id;

use super::super::tools;

/// The corpus of the keyring in `dir`, with these vectors; those that do not say by whom they were signed get the keyring's signer.
pub fn corpus(dir: &Path, vectors: &[Value]) -> Value {
    let file = Connection::open_with_flags(dir.join("keyring.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let keys = rows(
        &file,
        "SELECT usage, partition, public, blob FROM private_key",
        |row| json!({ "use": row.get::<_, u8>(0).unwrap(), "partition": text(row, 1), "public_key": bytes(row, 2), "row": bytes(row, 3) }),
    );
    let signer =
        keys.iter().find(|key| key["use"] == 5).map(|key| hex::decode(key["public_key"].as_str().unwrap()).unwrap());
    let mut vectors = vectors.to_vec();
    for vector in &mut vectors {
        if vector.get("signer").is_none() {
            vector["signer"] = json!(hex::encode(key_id(signer.as_ref().unwrap())));
        }
    }
    json!({
        "format": "sidecloak corpus 1",
        "keyring": {
            "master_keys": [String::from_utf8(tools::read(&dir.join("master.key"))).unwrap().trim_end()],
            "owner": null,
            "private_keys": keys,
            "partitions": rows(&file, "SELECT name, record FROM partition", |row| {
                json!({ "name": text(row, 0), "record": bytes(row, 1) })
            }),
            "epochs": rows(&file, "SELECT partition, id, record FROM epoch", |row| {
                json!({ "partition": text(row, 0), "epoch_id": bytes(row, 1), "record": bytes(row, 2) })
            }),
            "destroyed": rows(&file, "SELECT record FROM tombstone", |row| json!({ "partition": null, "record": bytes(row, 0) })),
        },
        "tokens": vectors,
    })
}

fn rows(file: &Connection, sql: &str, read: impl Fn(&Row<'_>) -> Value) -> Vec<Value> {
    file.prepare(sql).unwrap().query_map([], |row| Ok(read(row))).unwrap().collect::<Result<_, _>>().unwrap()
}

fn text(row: &Row<'_>, column: usize) -> String {
    row.get(column).unwrap()
}

fn bytes(row: &Row<'_>, column: usize) -> String {
    hex::encode(row.get::<_, Vec<u8>>(column).unwrap())
}
