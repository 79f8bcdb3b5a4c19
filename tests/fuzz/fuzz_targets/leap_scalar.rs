//! Looking ahead changes nothing: with every set of instructions that this machine has, however the document is split, and wherever a
//! replacement waits, what leaves and what is wrong and where is what the byte-wise scanner alone says. And what is taken is what serde_json takes.
#![no_main]

#[path = "../grammar.rs"]
mod grammar;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use sidecloak::json::index::Sight;
use sidecloak::json::splice::{EditError, Fed, Replace, Step};
use sidecloak::jsonpath::{Editor, Path, Selectors, compile};

const SELECTORS: &[&[&str]] = &[
    &[],
    &["$"],
    &["$.ssn"],
    &["$..ssn"],
    &["$..ssn", "$.a.b"],
    &["$.a[*].ssn", "$.a[*].c.d", "$.b"],
    &["$[*].a", "$[*]['é']"],
    &["$..a..b", "$..['😀']"],
    &["$.*.*"],
    &["$..*"],
    &["$..[1]", "$.a[0:2].b"],
    &["$..card.number", "$.card"],
    &["$..a[*]['']"],
    &["$.a[?@.b == 1]"],
    &["$..a[-1]"],
    &["$..b", "$..ssn", "$..['a','é']"],
    &["$..['']", "$..a.b"],
];

fuzz_target!(|data: &[u8]| {
    let [how, split, more, limit, rest @ ..] = data else { return };
    let made;
    // What the fuzzer wrote, or what it chose.
    let document = if how & 1 == 0 {
        made = grammar::document(rest);
        made.as_slice()
    } else {
        rest
    };
    let paths: Vec<Arc<Path>> = SELECTORS[usize::from(how >> 1) % SELECTORS.len()]
        .iter()
        .flat_map(|text| compile(text).expect("a selector"))
        .map(|compiled| compiled.path)
        .collect();
    let limit = if *limit == 255 { usize::MAX } else { usize::from(*limit) };
    let chunk = usize::from(*split) + usize::from(*more) * 16 + 1;
    // With nothing worked out beforehand either.
    let plain = Editor::over(Selectors::once(&paths), 512).seeing(Sight::none());
    let whole = [usize::MAX];
    let expected = edit_with(plain, document, &whole, Mark { limit, waits: 0 });
    // Small pieces and large ones in turn.
    let chunks = [chunk, usize::from(*more) + 1, 2048 + usize::from(*split)];
    // Which replacements wait; never all of them.
    let waits = u32::from_le_bytes([*how, *split, *more, 0]);
    assert_eq!(edit(Sight::none(), &paths, document, &[chunk], limit), expected, "byte by byte");
    for sight in Sight::all(true) {
        assert_eq!(edit(sight, &paths, document, &whole, limit), expected, "{sight:?}");
        assert_eq!(edit(sight, &paths, document, &[chunk], limit), expected, "{sight:?} by {chunk}");
        let editor = Editor::new(&paths, 512).seeing(sight);
        assert_eq!(edit_with(editor, document, &chunks, Mark { limit, waits }), expected, "{sight:?} by {chunks:?}");
    }
    if expected.1.is_none() {
        for sight in Sight::all(false) {
            assert_eq!(edit(sight, &paths, document, &[chunk], limit), expected, "{sight:?} by {chunk}");
        }
    }
    if how & 2 == 0 {
        let taken = std::str::from_utf8(document).is_ok() && serde_json::from_slice::<IgnoredAny>(document).is_ok();
        let [ours] = [Sight::new(true)].map(|sight| edit(sight, &[], document, &[chunk], limit).1);
        // Both refuse what nests deeply, not at the same depth.
        if taken || ours.as_ref().is_none_or(|why| !why.contains("deep")) {
            let deep = |document: &[u8]| document.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100;
            assert!(ours.is_none() == taken || deep(document), "{ours:?}");
        }
    }
});

/// What leaves, and why it ends early if it does.
fn edit(sight: Sight, paths: &[Arc<Path>], document: &[u8], chunks: &[usize], limit: usize) -> (Vec<u8>, Option<String>) {
    edit_with(Editor::new(paths, 512).seeing(sight), document, chunks, Mark { limit, waits: 0 })
}

fn edit_with(mut editor: Editor, document: &[u8], chunks: &[usize], mut mark: Mark) -> (Vec<u8>, Option<String>) {
    let mut out = Vec::new();
    let mut rest = document;
    let mut feed = || {
        for length in chunks.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (mut piece, after) = rest.split_at(rest.len().min(*length));
            rest = after;
            while let Fed::Waiting(taken) = editor.feed(piece, &mut out, &mut mark)? {
                piece = &piece[taken..];
            }
        }
        while editor.finish(&mut out, &mut mark)? != Fed::All {}
        Ok(())
    };
    let end: Result<(), EditError<()>> = feed();
    (out, end.err().map(|error| error.to_string()))
}

struct Mark {
    limit: usize,
    /// A bit for each of the next replacements that are asked for: it waits.
    waits: u32,
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

    fn replace(&mut self, selector: usize, raw: &[u8], _: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Step, ()> {
        let waits = self.waits & 1 == 1;
        self.waits = self.waits.rotate_right(1);
        if waits {
            return Ok(Step::Wait);
        }
        out.extend_from_slice(format!("<{selector}:").as_bytes());
        out.extend_from_slice(raw);
        out.push(b'>');
        Ok(Step::Done)
    }
}
