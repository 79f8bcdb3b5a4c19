//! Corpora of documents and selectors: what RFC 8259 and RFC 9535 say of each, and what this engine does.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::Value;
use sidecloak::json::splice::{Replace, Step};
use sidecloak::jsonpath::{Editor, Path, compile, select};

fn load(name: &str) -> Value {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    serde_json::from_slice(&sidecloak::bounded::read_file(&file, 10 << 20).unwrap()).unwrap()
}

/// What another implementation selects (tests/tools/jsonpath_corpus.py); of values inside one another the outermost counts here.
#[test]
fn selectors_select_what_rfc_9535_says() {
    let corpus = load("jsonpath.json");
    let cases = corpus["valid"].as_array().unwrap();
    assert!(cases.len() > 300, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let (selector, document) =
            (case["selector"].as_str().unwrap(), &corpus["documents"][case["document"].as_str().unwrap()]);
        let all: BTreeSet<&str> =
            case["selects"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
        let expected: BTreeSet<&str> = all.iter().copied().filter(|path| !is_inside(path, &all)).collect();
        let paths: Vec<Arc<Path>> = match compile(selector) {
            Ok(compiled) => compiled.into_iter().map(|one| one.path).collect(),
            Err(error) => {
                wrong.push(format!("{selector}: {error}"));
                continue;
            }
        };
        let found = select(document.to_string().as_bytes(), &paths).unwrap();
        let found: BTreeSet<&str> = found.iter().map(|one| one.location.as_str()).collect();
        if found != expected {
            wrong.push(format!("{selector} in {}: {found:?} instead of {expected:?}", case["document"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn what_is_refused_when_loading_is_named() {
    for case in load("jsonpath.json")["refused"].as_array().unwrap() {
        let error = compile(case.as_str().unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("RFC 9485")
                || error.contains("digits")
                || error.contains("too large")
                || error.contains("column"),
            "{case}: {error}"
        );
    }
}

#[test]
fn what_is_no_selector_is_refused() {
    let corpus = load("jsonpath.json");
    let cases = corpus["invalid"].as_array().unwrap();
    assert!(cases.len() > 150, "{}", cases.len());
    let taken: Vec<&Value> = cases.iter().filter(|case| compile(case.as_str().unwrap()).is_ok()).collect();
    assert!(taken.is_empty(), "{taken:?}");
}

fn is_inside(path: &str, all: &BTreeSet<&str>) -> bool {
    all.iter().any(|other| path.len() > other.len() && path.starts_with(other) && path[other.len()..].starts_with('['))
}

/// Replaces each selected value by itself.
struct Same;

impl Replace for Same {
    type Error = ();

    fn begin(&mut self, _selector: usize) -> usize {
        usize::MAX
    }

    fn buffer(&mut self) -> usize {
        usize::MAX
    }

    fn too_large(&mut self, _selector: usize) -> Result<(), ()> {
        Ok(())
    }

    fn replace(&mut self, _: usize, raw: &[u8], _: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Step, ()> {
        out.extend_from_slice(raw);
        Ok(Step::Done)
    }
}

/// The document after an editor that replaces each selected value by itself, fed in chunks of that length.
fn through(document: &[u8], paths: &[Arc<Path>], chunk: usize) -> Option<Vec<u8>> {
    let (mut editor, mut out) = (Editor::new(paths, sidecloak::transform::body::MAX_DEPTH), Vec::new());
    for piece in document.chunks(chunk) {
        editor.feed(piece, &mut out, &mut Same).ok()?;
    }
    editor.finish(&mut out, &mut Same).ok()?;
    Some(out)
}

fn serde_takes(document: &[u8]) -> bool {
    str::from_utf8(document).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// However it is cut, and whatever is selected: a document is taken by all, or by none, and leaves as it came.
#[test]
fn documents_are_taken_as_rfc_8259_says_and_leave_as_they_came() {
    let corpus = load("json.json");
    let cases = corpus.as_array().unwrap();
    assert!(cases.len() > 280, "{}", cases.len());
    let selectors = [&["$.nothing"][..], &["$"], &["$..a"], &["$..*"], &["$[?@.a]"], &["$..secret", "$[0]", "$.a.b"]];
    let mut wrong = Vec::new();
    for case in cases {
        let document = hex::decode(case["hex"].as_str().unwrap()).unwrap();
        let expected = case["here"].as_str().or_else(|| case["expect"].as_str()).unwrap() == "accept";
        if case["expect"] != "either" && serde_takes(&document) != expected {
            // serde_json stops at a depth of 128.
            assert!(case["name"].as_str().unwrap().ends_with("deep"), "{case}: another reader says otherwise");
        }
        for texts in selectors {
            let paths: Vec<Arc<Path>> =
                texts.iter().flat_map(|text| compile(text).unwrap()).map(|one| one.path).collect();
            for chunk in [usize::MAX, 1, 2, 3, 7, 16, 63, 64, 65] {
                let out = through(&document, &paths, chunk);
                if out.is_some() != expected || out.is_some_and(|out| out != document) {
                    wrong.push(format!("{}, {texts:?}, in pieces of {chunk}", case["name"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
