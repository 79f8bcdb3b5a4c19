//! What others do.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use data_encoding::BASE64URL_NOPAD;
use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::query::js_path_process;
use rsonpath::engine::{Compiler, Engine, RsonpathEngine};
use rsonpath::input::BorrowedBytes;
use serde_json::Value;

/// Parses and prints.
pub fn serde_json_round_trip(document: &[u8]) -> usize {
    let value: Value = serde_json::from_slice(document).expect("JSON");
    serde_json::to_vec(&value).expect("JSON").len()
}

pub fn sonic_rs_round_trip(document: &[u8]) -> usize {
    let value: sonic_rs::Value = sonic_rs::from_slice(document).expect("JSON");
    sonic_rs::to_vec(&value).expect("JSON").len()
}

/// It parses in place, so the document is copied first.
pub fn simd_json_round_trip(document: &[u8], copy: &mut Vec<u8>) -> usize {
    use simd_json::prelude::Writable;
    copy.clear();
    copy.extend_from_slice(document);
    let value = simd_json::to_borrowed_value(copy).expect("JSON");
    let mut out = Vec::with_capacity(document.len());
    value.write(&mut out).expect("JSON");
    out.len()
}

/// What one would write first: a tree, queries, `pointer_mut`, a kept cipher, and all of it printed again.
pub struct Straightforward {
    queries: Vec<JpQuery>,
    cipher: Aes256Gcm,
    count: u64,
}

impl Straightforward {
    pub fn new(selectors: &[&str]) -> Self {
        let queries =
            selectors.iter().map(|text| jsonpath_rust::parser::parse_json_path(text).expect("a selector")).collect();
        Self { queries, cipher: Aes256Gcm::new(&[7; 32].into()), count: 0 }
    }

    pub fn seal(&mut self, document: &[u8]) -> Vec<u8> {
        let mut value: Value = serde_json::from_slice(document).expect("JSON");
        for query in &self.queries {
            let found = js_path_process(query, &value).expect("a query");
            let pointers: Vec<String> = found.into_iter().map(|one| pointer(&one.path())).collect();
            for pointer in pointers {
                let Some(place) = value.pointer_mut(&pointer) else { continue };
                let mut sealed = vec![0; 12];
                serde_json::to_writer(&mut sealed, place).expect("JSON");
                self.count += 1;
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&self.count.to_be_bytes());
                sealed[..12].copy_from_slice(&nonce);
                let tag = self
                    .cipher
                    .encrypt_inout_detached(&nonce.into(), b"the name of the field", (&mut sealed[12..]).into())
                    .expect("short enough");
                sealed.extend_from_slice(&tag);
                *place = Value::String(format!("sc1.{}", BASE64URL_NOPAD.encode(&sealed)));
            }
        }
        serde_json::to_vec(&value).expect("JSON")
    }
}

/// `$['a'][0]` as `/a/0`.
fn pointer(path: &str) -> String {
    let mut out = String::new();
    for step in path[1..].split(']').map(|step| step.trim_start_matches('[').trim_matches('\'')) {
        if !step.is_empty() {
            out.push('/');
            out.push_str(step);
        }
    }
    out
}

/// One engine for each query, since it takes one.
pub struct Rsonpath(Vec<RsonpathEngine>);

impl Rsonpath {
    pub fn new(selectors: &[&str]) -> Self {
        let engine = |text: &&str| {
            let query = rsonpath_syntax::parse(text).expect("a selector");
            RsonpathEngine::compile_query(&query).expect("a query")
        };
        Self(selectors.iter().map(engine).collect())
    }

    pub fn matches(&self, document: &[u8]) -> usize {
        let input = BorrowedBytes::new(document);
        let mut found = Vec::new();
        for engine in &self.0 {
            engine.matches(&input, &mut found).expect("JSON");
        }
        found.len()
    }
}
