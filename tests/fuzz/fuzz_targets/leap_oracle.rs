//! What the editor replaces in a document is what jsonpath-rust's evaluator selects in it.
#![no_main]

#[path = "../grammar.rs"]
mod grammar;

use std::collections::BTreeSet;
use std::sync::Arc;

use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use libfuzzer_sys::fuzz_target;
use sidecloak::json::index::Sight;
use sidecloak::json::splice::{Replace, Step};
use sidecloak::jsonpath::{Editor, Path, compile, select};

const SELECTORS: &[&str] = &[
    "$", "$.ssn", "$..ssn", "$.a[*].ssn", "$[*].a", "$..a..b", "$.*.*", "$..*", "$..[1]", "$.a[0:2].b", "$..card.number",
    "$..a[*]['']", "$..['é']", "$..['😀']", "$..['\\\\']", "$.a..c[*]", "$..a[-1]", "$..b[::-2]",
];

fuzz_target!(|data: &[u8]| {
    let [which, split, choices @ ..] = data else { return };
    let document = grammar::document(choices);
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&document) else { return };
    let selector = SELECTORS[usize::from(*which) % SELECTORS.len()];
    let paths: Vec<Arc<Path>> =
        compile(selector).expect("a selector").into_iter().map(|compiled| compiled.path).collect();
    let found = select(&document, &paths).expect("what serde_json takes, we take");
    let mut taken = Taken(Vec::new());
    let mut out = Vec::new();
    let mut editor = Editor::new(&paths, 512).seeing(Sight::all(true).next().unwrap_or_else(Sight::none));
    for piece in document.chunks(usize::from(*split) * 8 + 1) {
        editor.feed(piece, &mut out, &mut taken).expect("what serde_json takes, we take");
    }
    editor.finish(&mut out, &mut taken).expect("what serde_json takes, we take");
    assert_eq!(out, document);
    let spans: Vec<&[u8]> = found.iter().map(|one| &document[one.span.clone()]).collect();
    assert_eq!(taken.0, spans, "the editor finds what `select` finds");
    // The oracle keeps one of several members of one name.
    if count(&value) != names(&document) {
        return;
    }
    let query = parse_json_path(selector).expect("what compiles, parses");
    let all: BTreeSet<String> =
        js_path_process(&query, &value).expect("no filter, no error").into_iter().map(|found| found.path()).collect();
    let ours: BTreeSet<String> = found.into_iter().map(|selected| selected.location).collect();
    assert_eq!(ours, all.iter().filter(|path| !has_ancestor(path, &all)).cloned().collect());
});

/// How many members there are in a tree.
fn count(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(all) => all.iter().map(count).sum(),
        serde_json::Value::Object(all) => all.len() + all.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// How many members there are in a text: more than in its tree, if names are there twice.
fn names(document: &[u8]) -> usize {
    use sidecloak::json::scan::{Event, Scanner};
    let mut scanner = Scanner::new(512, 0);
    let (mut at, mut all) = (0, 0);
    while let Ok(Some(event)) = scanner.next(document, &mut at) {
        all += usize::from(event == Event::Name);
    }
    all
}

/// Whether a value around this one is selected as well.
fn has_ancestor(path: &str, all: &BTreeSet<String>) -> bool {
    path.match_indices('[').any(|(at, _)| all.contains(&path[..at]))
}

struct Taken(Vec<Vec<u8>>);

impl Replace for Taken {
    type Error = ();

    fn begin(&mut self, _: usize) -> usize {
        usize::MAX
    }

    fn buffer(&mut self) -> usize {
        usize::MAX
    }

    fn too_large(&mut self, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn replace(&mut self, _: usize, raw: &[u8], _: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Step, ()> {
        self.0.push(raw.to_vec());
        out.extend_from_slice(raw);
        Ok(Step::Done)
    }
}
