//! The frozen vectors of `docs/token-format.md`, read by code that shares nothing with the keyring's own reader.

#[path = "vectors/cbor.rs"]
pub mod cbor;
#[path = "vectors/make.rs"]
mod make;
#[path = "vectors/negative.rs"]
mod negative;
#[path = "vectors/product.rs"]
mod product;
#[path = "vectors/read.rs"]
mod read;

use std::path::PathBuf;

use serde_json::Value;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

fn load(name: &str) -> Value {
    let bytes = sidecloak::bounded::read_file(&file(name), 10 << 20).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn every_vector_opens_to_its_text() {
    let corpus = load("tokens.json");
    let vectors = corpus["tokens"].as_array().unwrap();
    assert!(vectors.len() >= 40, "{}", vectors.len());
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let opened = read::open(&corpus["keyring"], vector).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(opened.text, vector["text"].as_str().unwrap(), "{name}");
        assert_eq!(Value::Bool(opened.is_string), vector["is_string"], "{name}");
        assert_eq!(opened.signer.map_or(Value::Null, |id| hex::encode(id).into()), vector["signer"], "{name}");
    }
}

/// Each is a vector that opens, but for the one thing its name says.
#[test]
fn every_negative_vector_is_refused() {
    let corpus = load("negative.json");
    let vectors = corpus["tokens"].as_array().unwrap();
    assert!(vectors.len() >= 70, "{}", vectors.len());
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let mut keyring = corpus["keyring"].clone();
        for (member, value) in vector["replace"].as_object().into_iter().flatten() {
            keyring[member] = value.clone();
        }
        let outcome = read::open(&keyring, vector).map(|_| ());
        assert_eq!(outcome.is_ok(), vector["opens"].as_bool().unwrap(), "{name}: {outcome:?}");
    }
}

/// Writes the vectors anew, which a change of the format would need: `SIDECLOAK_WRITE_VECTORS=1`.
#[test]
fn vectors_are_written_only_when_asked() {
    if std::env::var_os("SIDECLOAK_WRITE_VECTORS").is_some() {
        for (name, corpus) in [("tokens.json", make::tokens()), ("negative.json", negative::corpus())] {
            std::fs::write(file(name), serde_json::to_string_pretty(&corpus).unwrap() + "\n").unwrap();
        }
    }
}
