//! The frozen vectors read by the program itself: its store, its keyring's reader and its sealer; and, where a rule can ask for what
//! a vector is opened for, the whole process over HTTP.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use sidecloak::clock::SystemClock;
use sidecloak::keyring::store::sqlite::SqliteStore;
use sidecloak::keyring::store::{Dump, EpochRow, KeyRow, Put, Store};
use sidecloak::keyring::{KeySource, Keyring, Memo, Options};
use sidecloak::name::{Class, PartitionName};
use sidecloak::sealer::local::Local;
use sidecloak::token::{EpochId, v1};
use sidecloak::transform::{OpenJob, Ready, Sealer};

use super::super::stage::Stage;
use super::cbor::Cbor;
use super::load;

/// Each vector with the keyring it is for.
fn vectors() -> Vec<(Value, Value)> {
    let mut all = Vec::new();
    for file in ["tokens.json", "negative.json"] {
        let corpus = load(file);
        for vector in corpus["tokens"].as_array().unwrap() {
            let mut keyring = corpus["keyring"].clone();
            for (member, value) in vector["replace"].as_object().into_iter().flatten() {
                keyring[member] = value.clone();
            }
            all.push((keyring, vector.clone()));
        }
    }
    all
}

fn opens(vector: &Value) -> bool {
    vector["opens"].as_bool().unwrap_or(true)
}

#[test]
fn the_keyring_and_the_sealer_agree_with_every_vector() {
    let mut keyrings: BTreeMap<String, (tempfile::TempDir, Option<Arc<Keyring>>)> = BTreeMap::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (rows, vector) in vectors() {
        let (_, keyring) = keyrings.entry(rows.to_string()).or_insert_with(|| {
            let dir = tempfile::tempdir().unwrap();
            write(&rows, dir.path());
            let keyring = open_keyring(&rows, dir.path());
            (dir, keyring)
        });
        let opened = keyring.as_ref().and_then(|keyring| runtime.block_on(open(keyring, &vector)));
        let name = vector["name"].as_str().unwrap();
        assert_eq!(opened.is_some(), opens(&vector), "{name}");
        if let (Some(lexeme), Some(text)) = (opened, vector["text"].as_str()) {
            let is_string = vector["is_string"].as_bool().unwrap();
            assert_eq!(lexeme, if is_string { format!("\"{text}\"") } else { text.to_owned() }, "{name}");
        }
    }
}

#[test]
fn the_proxy_agrees_with_every_vector_that_a_rule_can_ask_for() {
    let mut by_keyring: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    let askable =
        |vector: &Value| vector["record_id"].is_null() && vector["class"] != "" && vector["replace"].is_null();
    for (rows, vector) in vectors().into_iter().filter(|(_, vector)| askable(vector)) {
        by_keyring.entry(rows.to_string()).or_insert_with(|| (rows, Vec::new())).1.push(vector);
    }
    for (rows, vectors) in by_keyring.into_values() {
        let dir = tempfile::tempdir().unwrap();
        write(&rows, dir.path());
        let rules: String = vectors.iter().enumerate().map(|(i, vector)| rule(i, vector)).collect();
        let stage = Stage::inside(dir, &format!("rules:\n{rules}"), "", "", SystemClock::shared());
        for (i, vector) in vectors.iter().enumerate() {
            let path = format!("/{i}");
            stage.put(&path, format!("{{ \"v\" : {} }}", vector["token"]));
            let reply = stage.get(&path);
            let name = &vector["name"];
            if !opens(vector) {
                assert_eq!(reply.status, 502, "{name}: {}", reply.text());
            } else if let Some(text) = vector["text"].as_str() {
                let quote = if vector["is_string"] == true { "\"" } else { "" };
                assert_eq!(reply.text(), format!("{{ \"v\" : {quote}{text}{quote} }}"), "{name}");
            } else {
                assert_eq!((reply.status, reply.text().contains("sc1.")), (200, false), "{name}");
            }
        }
    }
}

fn rule(number: usize, vector: &Value) -> String {
    format!(
        "  - name: v{number}\n    match: {{ path: /{number} }}\n    response: [{{ open: $.v, key: {}, class: {} }}]\n",
        vector["partition"], vector["class"]
    )
}

/// Writes the rows into a store and the key files beside it.
fn write(rows: &Value, dir: &Path) {
    let list = |member: &str| rows[member].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let dump = Dump {
        keys: list("private_keys")
            .iter()
            .map(|row| KeyRow {
                usage: u8::try_from(row["use"].as_u64().unwrap()).unwrap(),
                public: bytes(&row["public_key"]),
                partition: text(&row["partition"]),
                blob: bytes(&row["row"]),
            })
            .collect(),
        partitions: list("partitions").iter().map(|row| (text(&row["name"]), 1, bytes(&row["record"]))).collect(),
        epochs: list("epochs")
            .iter()
            .map(|row| EpochRow {
                id: EpochId(bytes(&row["epoch_id"]).try_into().unwrap()),
                partition: text(&row["partition"]),
                kind: 0,
                record: bytes(&row["record"]),
                confirmed: true,
                current: false,
            })
            .collect(),
        tombstones: list("destroyed")
            .iter()
            .map(|row| {
                let record = bytes(&row["record"]);
                let commit = Cbor::decode(&record).unwrap().array().unwrap()[2].bytes().unwrap()[..10].to_vec();
                (EpochId(commit.try_into().unwrap()), record)
            })
            .collect(),
    };
    let store = SqliteStore::create(&dir.join("keyring.db")).unwrap();
    assert_eq!(store.bootstrap(&dump).unwrap(), Put::Done);
    for (line, name) in list("master_keys").iter().zip(["master.key", "master-2.key"]) {
        std::fs::write(dir.join(name), text(line) + "\n").unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.join(name), private).unwrap();
    }
}

/// As a process would that starts on it.
fn open_keyring(rows: &Value, dir: &Path) -> Option<Arc<Keyring>> {
    let master_keys = ["master.key", "master-2.key"].map(|name| dir.join(name));
    let options = Options {
        store: dir.join("keyring.db").into(),
        master_keys: master_keys.into_iter().filter(|path| path.exists()).map(KeySource::File).collect(),
        owner: rows["owner"].as_str().map(|owner| hex::decode(owner).unwrap().try_into().unwrap()),
        i_know: true,
        ..Options::default()
    };
    Keyring::open(&options, SystemClock::shared()).ok().map(Arc::new)
}

/// As the engine opens a value; the JSON text that would stand in the document.
async fn open(keyring: &Arc<Keyring>, vector: &Value) -> Option<String> {
    let sealer = Local::new(Arc::clone(keyring));
    let token = v1::parse(vector["token"].as_str().unwrap().as_bytes()).ok()?;
    let partition = PartitionName::new(vector["partition"].as_str().unwrap()).unwrap();
    let class = Class::new(vector["class"].as_str().unwrap());
    let record_id = vector["record_id"].as_str().map(str::as_bytes);
    let epoch = token.epoch;
    let opened = loop {
        let job = OpenJob { token: token.clone(), class: &class, signers: &[], record_id };
        match sealer.open(job, &mut Memo::default()).ok()? {
            Ready::Now(opened) => break opened,
            Ready::After(need) => sealer.fetch(need).await.ok()?,
        }
    };
    match sealer.partition_of(epoch, &mut Memo::default()) {
        sidecloak::keyring::Cached::Hit(home) if home == partition => {}
        _ => return None,
    }
    let value = String::from_utf8(opened.text.expose().to_vec()).ok()?;
    let lexeme = if opened.is_string { format!("\"{value}\"") } else { value };
    let scanned: &RawValue = serde_json::from_str(&lexeme).ok()?;
    (scanned.get() == lexeme && lexeme.starts_with('"') == opened.is_string).then_some(lexeme)
}
