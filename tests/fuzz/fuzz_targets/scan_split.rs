//! A document is accepted exactly when serde_json accepts it, passes unchanged, and is edited the same however it is split.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use sidecloak::json::splice::{EditError, Fed, Replace, Step};
use sidecloak::jsonpath::{Editor, Path, compile};

fuzz_target!(|data: &[u8]| {
    let [split, limit, selector, document @ ..] = data else { return };
    let accepted = std::str::from_utf8(document).is_ok() && serde_json::from_slice::<IgnoredAny>(document).is_ok();
    match edit(&[], document, document.len(), 0) {
        Ok(out) => {
            assert!(accepted, "serde_json refuses this");
            assert_eq!(out, document);
        }
        Err(error) => assert!(!accepted, "{error}"),
    }
    let selectors = ["$", "$..a", "$.*", "$[1:3]", "$..[0]", "$..*", "$.a..b", "$[\"a\",'b']"];
    let paths: Vec<Arc<Path>> = compile(selectors[usize::from(*selector) % selectors.len()])
        .expect("a selector")
        .into_iter()
        .map(|compiled| compiled.path)
        .collect();
    let limit = usize::from(*limit);
    let whole = edit(&paths, document, document.len(), limit);
    assert_eq!(whole, edit(&paths, document, usize::from(*split) + 1, limit), "in chunks");
    assert_eq!(whole, edit(&paths, document, 1, limit), "byte by byte");
});

/// What comes out if chunks are this large, every replacement waits once, and values over `limit` pass.
fn edit(paths: &[Arc<Path>], document: &[u8], chunk: usize, limit: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut editor = Editor::new(paths, usize::MAX);
    let mut replacer = Mark { limit, waited: false };
    let text = |error: EditError<()>| error.to_string();
    for mut piece in document.chunks(chunk.max(1)) {
        while let Fed::Waiting(taken) = editor.feed(piece, &mut out, &mut replacer).map_err(text)? {
            piece = &piece[taken..];
        }
    }
    while editor.finish(&mut out, &mut replacer).map_err(text)? != Fed::All {}
    Ok(out)
}

struct Mark {
    limit: usize,
    waited: bool,
}

impl Replace for Mark {
    type Error = ();

    fn begin(&mut self, _: usize) -> usize {
        self.limit
    }

    fn buffer(&mut self) -> usize {
        usize::MAX
    }

    fn too_large(&mut self, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn replace(&mut self, selector: usize, raw: &[u8], out: &mut Vec<u8>) -> Result<Step, ()> {
        self.waited = !self.waited;
        if self.waited {
            return Ok(Step::Wait);
        }
        assert!(serde_json::from_slice::<IgnoredAny>(raw).is_ok(), "a held value is a value");
        out.extend_from_slice(format!("<{selector}:{}>", raw.len()).as_bytes());
        Ok(Step::Done)
    }
}
