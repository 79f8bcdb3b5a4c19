//! The first line is a selector, the rest a document: what is selected is what jsonpath-rust's evaluator selects.
#![no_main]

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use sidecloak::jsonpath::{Path, compile, select};

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(selector), Ok(document)) = (std::str::from_utf8(&data[..end]), std::str::from_utf8(&data[end + 1..]))
    else {
        return;
    };
    let Ok(compiled) = compile(selector) else { return };
    // Filters are held against the oracle by the property tests, which leave out what it is wrong about.
    if selector.contains('?') {
        return;
    }
    // The oracle keeps one of several members of one name.
    if serde_json::from_str::<Distinct>(document).is_err() {
        return;
    }
    let Ok(value) = serde_json::from_str::<serde_json::Value>(document) else { return };
    let query = parse_json_path(selector).expect("what compiles, parses");
    let all: BTreeSet<String> =
        js_path_process(&query, &value).expect("no filter, no error").into_iter().map(|found| found.path()).collect();
    let paths: Vec<Arc<Path>> = compiled.iter().map(|compiled| compiled.path.clone()).collect();
    let found = select(document.as_bytes(), &paths).expect("what serde_json takes, we take");
    let ours: BTreeSet<String> = found.into_iter().map(|selected| selected.location).collect();
    assert_eq!(ours, all.iter().filter(|path| !has_ancestor(path, &all)).cloned().collect());
    for one in compiled {
        let again = compile(&one.canonical).expect("a canonical form is a selector");
        assert_eq!(again[0].path, one.path);
    }
});

/// Whether a value around this one is selected as well.
fn has_ancestor(path: &str, all: &BTreeSet<String>) -> bool {
    path.match_indices('[').any(|(at, _)| all.contains(&path[..at]))
}

/// A document without duplicate names.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Distinct;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Distinct, A::Error> {
        let mut seen = HashSet::new();
        while let Some((name, Distinct)) = map.next_entry::<String, Distinct>()? {
            if !seen.insert(name) {
                return Err(A::Error::custom("a duplicate name"));
            }
        }
        Ok(Distinct)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Distinct, A::Error> {
        while let Some(Distinct) = sequence.next_element()? {}
        Ok(Distinct)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_unit<E: Error>(self) -> Result<Distinct, E> {
        Ok(Distinct)
    }
}
