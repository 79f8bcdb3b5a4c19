//! Two decoders that were written from `docs/token-format.md` alone read the frozen vectors, and what this program sealed through HTTP
//! under keyrings that it made.

#[path = "interop/export.rs"]
mod export;
#[path = "interop/values.rs"]
mod values;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sidecloak::clock::SystemClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::{KeySource, Keyring, Kind, Options, State};
use sidecloak::name::PartitionName;

use super::stage::{self, Stage};
use super::tools::{self, Process};

/// Its language, and what begins its command line.
type Decoder = (&'static str, Box<dyn Fn() -> Command>);

/// The decoders that are installed here.
fn decoders() -> Vec<Decoder> {
    let mut decoders: Vec<Decoder> = Vec::new();
    if let Some(place) = tools::installed("python", "tests/interop/python/requirements.txt") {
        let script = tools::repository().join("tests/interop/python/decode.py");
        decoders.push((
            "Python",
            Box::new(move || {
                let mut command = Command::new(place.join("venv/bin/python"));
                command.arg("-B").arg(&script);
                command
            }),
        ));
    }
    if let Some(place) = tools::installed("javascript", "tests/interop/javascript/package.json") {
        decoders.push(("JavaScript", Box::new(move || tools::node(place.join("decode.mjs")))));
    }
    decoders
}

/// Every decoder finds each vector of the corpora to behave as it should; so many there are.
fn all_agree(corpora: &[PathBuf], vectors: usize) {
    for (language, decoder) in decoders() {
        let (agrees, out, err) = Process::start(decoder().args(corpora)).finish();
        assert!(agrees, "{language}: {out}{err}");
        assert_eq!(out.trim(), format!("ok {vectors}"), "{language}");
    }
}

#[test]
fn both_decoders_agree_with_the_frozen_vectors() {
    let corpora = ["tokens.json", "negative.json"].map(|name| tools::repository().join("tests/vectors").join(name));
    let count = |path: &PathBuf| {
        let corpus: Value = serde_json::from_slice(&tools::read(path)).unwrap();
        corpus["tokens"].as_array().unwrap().len()
    };
    all_agree(&corpora, corpora.iter().map(count).sum());
}

#[test]
fn a_decoder_fails_on_a_vector_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrong.json");
    let bytes = tools::read(&tools::repository().join("tests/vectors/tokens.json"));
    let corpus: Value = serde_json::from_slice(&bytes).unwrap();
    for (member, wrong) in [("text", json!("another")), ("opens", json!(false)), ("class", json!("another"))] {
        let mut corpus = corpus.clone();
        corpus["tokens"][3][member] = wrong;
        std::fs::write(&path, corpus.to_string()).unwrap();
        for (language, decoder) in decoders() {
            let (agrees, _, err) = Process::start(decoder().arg(&path)).finish();
            assert!(!agrees && err.contains("escapes come back as they were"), "{language}, {member}: {err}");
        }
    }
}

#[test]
fn both_decoders_open_what_the_proxy_seals_under_ml_kem_768() {
    sealed_by_the_proxy(KemSuite::MlKem768);
}

#[test]
fn both_decoders_open_what_the_proxy_seals_under_ml_kem_1024() {
    sealed_by_the_proxy(KemSuite::MlKem1024);
}

#[test]
fn both_decoders_open_what_the_proxy_seals_under_x_wing() {
    sealed_by_the_proxy(KemSuite::XWing);
}

/// One class for each way to seal; every value is posted under each, in every partition.
const WAYS: &str = "\
protect:
      - { fields: '$.plain[*]', nulls: seal, key: KEY }
      - { fields: '$.gcm[*]', nulls: seal, suite: 2, key: KEY }
      - { fields: '$.deterministic[*]', nulls: seal, deterministic: true, key: KEY }
      - { fields: '$.padded[*]', nulls: seal, pad: 32, key: KEY }
      - { fields: '$.signed[*]', nulls: seal, sign: true, key: KEY }
      - { fields: '$.all[*]', nulls: seal, suite: 2, sign: true, pad: 100, key: KEY, class: 'straße 7' }
";

fn sealed_by_the_proxy(kem: KemSuite) {
    let dir = tempfile::tempdir().unwrap();
    drop(Keyring::init(&options(dir.path()), kem, SystemClock::shared()).unwrap());
    let rule = |name: &str, path: &str, key: &str| {
        let ways = WAYS.replace("KEY", key);
        format!("  - name: {name}\n    provision: true\n    match: {{ path: {path} }}\n    {ways}")
    };
    let rules = format!(
        "rules:\n{}{}",
        rule("fixed", "/fixed/*", "default"),
        rule("tenants", "'/tenants/{tenant}/*'", "'tenant-{tenant}'")
    );
    let stage = Stage::inside(dir, &rules, "", "", SystemClock::shared());

    let mut vectors = Vec::new();
    let places = [("/fixed", "default"), ("/tenants/Zo%C3%AB.", "tenant-Zo%C3%AB%2E")];
    for (path, partition) in places {
        vectors.extend(values::through(&stage, &format!("{path}/1"), partition));
    }
    // Older epochs stay readable; in one partition every kind has two, and the later ones are wrapped to a recovery key as well.
    stage.keyring().make_recovery(KemSuite::MlKem1024).unwrap();
    stage.keyring().rollover(&PartitionName::default_name(), &[Kind::Random, Kind::Deterministic]).unwrap();
    vectors.extend(values::through(&stage, "/fixed/2", "default"));

    let corpus = export::corpus(stage.dir.path(), &vectors);
    let keys = corpus["keyring"]["private_keys"].as_array().unwrap();
    assert!(keys.iter().any(|key| key["use"] == kem as u8), "the keyring is of this KEM");
    assert!(corpus["keyring"]["epochs"].as_array().unwrap().len() >= 6);
    let path = stage.dir.path().join("corpus.json");
    std::fs::write(&path, corpus.to_string()).unwrap();
    all_agree(&[path], vectors.len());
    refused_as_another(&stage, &corpus);
}

/// The same records and tokens, each with one thing changed: a decoder that opened these would open anything.
fn refused_as_another(stage: &Stage, corpus: &Value) {
    let mut corpus = corpus.clone();
    let tokens = corpus["tokens"].as_array_mut().unwrap();
    // Some are enough.
    *tokens = std::mem::take(tokens).into_iter().step_by(5).collect();
    for (i, vector) in tokens.iter_mut().enumerate() {
        vector["opens"] = json!(false);
        match i % 3 {
            0 => vector["class"] = json!("another"),
            1 => {
                vector["partition"] =
                    json!(if vector["partition"] == "default" { "tenant-Zo%C3%AB%2E" } else { "default" })
            }
            _ => vector["token"] = json!(changed(vector["token"].as_str().unwrap())),
        }
    }
    let count = tokens.len();
    let path = stage.dir.path().join("refused.json");
    std::fs::write(&path, corpus.to_string()).unwrap();
    all_agree(&[path], count);
}

/// With another character in the middle of the body.
fn changed(token: &str) -> String {
    let at = (17 + 4 + token.len()) / 2;
    let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
    [&token[..at], other, &token[at + 1..]].concat()
}

#[test]
fn the_decoders_obey_a_paused_partition_and_a_destroyed_epoch() {
    let rules = format!("rules:\n  - name: r\n    match: {{ path: '/**' }}\n    {}", WAYS.replace("KEY", "default"));
    let stage = Stage::new(&rules);
    let vectors = values::through(&stage, "/1", "default");
    let keyring = stage.keyring();
    let default = PartitionName::default_name();
    let write = |name: &str, opens: &dyn Fn(&Value) -> bool| {
        let mut corpus = export::corpus(stage.dir.path(), &vectors);
        for vector in corpus["tokens"].as_array_mut().unwrap() {
            vector["opens"] = json!(opens(vector));
        }
        let path = stage.dir.path().join(name);
        std::fs::write(&path, corpus.to_string()).unwrap();
        path
    };
    keyring.set_state(&default, State::Paused).unwrap();
    let paused = write("paused.json", &|_| false);
    keyring.set_state(&default, State::DecryptOnly).unwrap();
    let decrypt_only = write("decrypt-only.json", &|_| true);
    keyring.set_state(&default, State::Active).unwrap();
    let id = keyring.sealing(&default, Kind::Random).unwrap().id;
    keyring.destroy_epoch(id).unwrap();
    let destroyed = write("destroyed.json", &|vector| vector["class"] == "deterministic");
    all_agree(&[paused, decrypt_only, destroyed], 3 * vectors.len());
}

#[test]
fn both_decoders_open_what_a_process_that_only_encrypts_sealed() {
    let rules = "rules:\n  - name: r\n    match: { path: '/**' }\n    protect: [{ fields: ['$.plain[*]'] }]\n";
    let stage = Stage::new(rules);
    let dir = stage.dir.path();
    let issuer = stage.keyring().add_encrypt_only_issuer(&PartitionName::default_name()).unwrap();
    std::fs::write(dir.join("issuer.key"), issuer.expose()).unwrap();
    std::fs::set_permissions(dir.join("issuer.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(dir.join("sealing.yaml"), rules.replace("protect: [{ fields", "request: [{ seal")).unwrap();
    let text = format!(
        "listeners: [{{ name: front, bind: '127.0.0.1:0', upstream: 'http://{}' }}]\nrules: '{}'\n\
         keyring: {{ store: 'sqlite:{}', owner: {}, issuer: 'file:{}' }}\ndrain: {{ delay: 0s, deadline: 3s }}\n",
        stage.upstream,
        dir.join("sealing.yaml").display(),
        dir.join("keyring.db").display(),
        hex::encode(stage.keyring().owner_fingerprint()),
        dir.join("issuer.key").display(),
    );
    let sealing = stage::start_from(&text, SystemClock::shared());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let headers = [("content-type", "application/json")];
    let body = r#"{"plain":["4111111111111111",1.10,[true]]}"#;
    let reply = runtime.block_on(stage::call(stage::tcp(&sealing, "front"), "POST", "/1", &headers, body.into()));
    assert_eq!((reply.status, reply.body), (200, stage.stored("/1")), "it cannot open what it sealed");
    sealing.stop();
    assert_eq!(stage.get("/1").text(), body);

    let stored: Value = serde_json::from_slice(&stage.stored("/1")).unwrap();
    let vector = |i: usize, text: &str, is_string: bool| {
        json!({
            "name": text, "token": stored["plain"][i], "partition": "default", "class": "plain", "record_id": null,
            "text": text, "is_string": is_string, "signer": null, "pad": null,
        })
    };
    let vectors = [vector(0, "4111111111111111", true), vector(1, "1.10", false), vector(2, "[true]", false)];
    let path = dir.join("corpus.json");
    std::fs::write(&path, export::corpus(dir, &vectors).to_string()).unwrap();
    all_agree(&[path], vectors.len());
}

fn options(dir: &Path) -> Options {
    Options {
        store: dir.join("keyring.db").into(),
        master_keys: vec![KeySource::File(dir.join("master.key"))],
        i_know: true,
        ..Options::default()
    }
}
