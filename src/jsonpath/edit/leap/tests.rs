//! A leap changes nothing but the time it takes: the scanner alone is what every way of looking ahead is held against. With
//! `PROPTEST_CASES` in the environment that is so many generated documents.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::super::*;
use crate::json::index::Sight;
use crate::json::scan::tests::{BAD, GOOD};
use crate::jsonpath::matcher::table::mutant::IGNORES_ESCAPES;
use crate::jsonpath::{Path, compile};

#[path = "../../../../tests/fuzz/grammar.rs"]
mod grammar;

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

fn paths(selectors: &[&str]) -> Vec<Arc<Path>> {
    selectors.iter().flat_map(|text| compile(text).unwrap()).map(|compiled| compiled.path).collect()
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

/// What leaves, and why it ends early if it does.
type Edited = (String, Option<String>);

fn edit(sight: Sight, paths: &[Arc<Path>], document: &[u8], chunk: usize, limit: usize) -> Edited {
    edit_with(Editor::new(paths, 512).seeing(sight), document, &[chunk], Mark { limit, waits: 0 })
}

/// The same with nothing worked out beforehand.
fn edit_plainly(paths: &[Arc<Path>], document: &[u8], limit: usize) -> Edited {
    let editor = Editor::over(Selectors::once(paths), 512).seeing(Sight::none());
    edit_with(editor, document, &[usize::MAX], Mark { limit, waits: 0 })
}

/// In pieces of these lengths in turn.
fn edit_with(mut editor: Editor, document: &[u8], lengths: &[usize], mut mark: Mark) -> Edited {
    let (mut out, mut rest) = (Vec::new(), document);
    let mut feed = || {
        for length in lengths.iter().cycle() {
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
    (String::from_utf8_lossy(&out).into_owned(), end.err().map(|error| error.to_string()))
}

fn holds(document: &[u8], selectors: &[&str], limit: usize, chunks: &[usize]) {
    let paths = paths(selectors);
    let expected = edit_plainly(&paths, document, limit);
    let valid = expected.1.is_none();
    assert_eq!(edit(Sight::none(), &paths, document, document.len(), limit), expected);
    for sight in Sight::all(true).chain(Sight::all(false).filter(|_| valid)) {
        for chunk in chunks {
            let found = edit(sight, &paths, document, *chunk, limit);
            assert_eq!(found, expected, "{sight:?} {selectors:?} by {chunk}: {}", String::from_utf8_lossy(document));
        }
    }
}

/// The document at every place in a block, and behind another block.
fn padded(document: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..130).step_by(3).map(move |pad| [&b"[\""[..], &b"p".repeat(pad), b"\", ", document, b" ]"].concat())
}

#[test]
fn good_documents_pass_at_every_place() {
    for document in GOOD {
        for whole in padded(document.as_bytes()) {
            holds(&whole, &["$..a"], 1_000, &[usize::MAX, 64, 7]);
        }
    }
}

#[test]
fn bad_ones_fail_at_the_same_byte() {
    for (document, _) in BAD {
        for whole in padded(document) {
            holds(&whole, &["$..a"], 1_000, &[usize::MAX, 64]);
        }
    }
}

#[test]
fn scalars_are_replaced_at_every_place() {
    let long = format!("\"{}\"", "t".repeat(1_500));
    for pad in (0..70).chain(900..1_100).step_by(3) {
        let pad = "p".repeat(pad);
        for scalar in ["1", "-1.5e+10", "true", "null", r#""""#, r#""\"""#, r#"[1,{"ssn":2}]"#, &long] {
            for (before, after) in [("", ""), (" ", " "), ("\n\t ", " \r\n")] {
                let document = format!(
                    r#"{{"x":["{pad}",{{"ssn":{before}{scalar}{after},"b":3}}],"ssn":{before}{scalar}{after}}}"#
                );
                for selectors in [&["$..ssn"][..], &["$.x..ssn", "$.ssn"]] {
                    holds(document.as_bytes(), selectors, 2_000, &[usize::MAX]);
                }
            }
        }
    }
}

#[test]
fn escaped_names_are_seen_at_every_place() {
    for pad in 0..200 {
        let document = format!(
            r#"{{"x":"{}","s\u0073\u006e":1,"zz":{{"\u0073sn":[2,{{"q\\":"ssn\""}}]}},"a":{{"k\u0065y":"v","key" : true}},"ssn\\":3,"\\":{{"ssn" :4}}}}"#,
            "p".repeat(pad)
        );
        let paths = paths(&["$..ssn", "$.a.key"]);
        let expected = document
            .replace(":1,", ":<0:1>,")
            .replace("[2,{\"q\\\\\":\"ssn\\\"\"}]", "<0:[2,{\"q\\\\\":\"ssn\\\"\"}]>")
            .replace("\"v\"", "<1:\"v\">")
            .replace("true", "<1:true>")
            .replace(" :4", " :<0:4>");
        for sight in Sight::all(true).chain(Sight::all(false)) {
            assert_eq!(edit(sight, &paths, document.as_bytes(), usize::MAX, 1_000), (expected.clone(), None), "{pad}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn leaps_change_nothing(
        choices in proptest::collection::vec(any::<u8>(), 0..400),
        which in 0..SELECTORS.len(),
        chunk in 1_usize..3_000,
        limit in prop_oneof![Just(0_usize), Just(20), Just(100_000)],
    ) {
        let document = grammar::document(&choices);
        holds(&document, SELECTORS[which], limit, &[usize::MAX, chunk]);
    }

    /// Whatever was not looked at when a piece ended, or a value had to wait, is looked at with the next.
    #[test]
    fn pieces_and_waits_change_nothing(
        choices in proptest::collection::vec(any::<u8>(), 0..400),
        which in 0..SELECTORS.len(),
        lengths in proptest::collection::vec(prop_oneof![1_usize..6, 60_usize..70, 120_usize..2_100], 1..4),
        waits: u32,
        limit in prop_oneof![Just(0_usize), Just(20), Just(100_000)],
    ) {
        let document = grammar::document(&choices);
        let paths = paths(SELECTORS[which]);
        let expected = edit_plainly(&paths, &document, limit);
        // Never all of them.
        let mark = || Mark { limit, waits: waits & !1 };
        let valid = expected.1.is_none();
        for sight in Sight::all(true).chain(Sight::all(false).filter(|_| valid)).chain([Sight::none()]) {
            let editor = Editor::new(&paths, 512).seeing(sight);
            prop_assert_eq!(&edit_with(editor, &document, &lengths, mark()), &expected, "{:?}", sight);
        }
    }

    #[test]
    fn nothing_but_json_is_taken(choices in proptest::collection::vec(any::<u8>(), 0..400)) {
        let document = grammar::document(&choices);
        let taken = std::str::from_utf8(&document).is_ok()
            && crate::jsonpath::tree::Tree::parse(&document, 512).is_ok();
        for sight in Sight::all(true) {
            prop_assert_eq!(edit(sight, &[], &document, usize::MAX, 0).1.is_none(), taken);
        }
    }
}

/// Runs on a reader that overlooks escaped names.
fn with_mutant<T>(run: impl FnOnce() -> T) -> T {
    struct Mend;
    impl Drop for Mend {
        fn drop(&mut self) {
            IGNORES_ESCAPES.set(false);
        }
    }
    let _mend = Mend;
    IGNORES_ESCAPES.set(true);
    run()
}

/// The tests above are worth something only if they fail where escaped names are overlooked.
#[test]
fn a_reader_that_overlooks_escaped_names_is_found_out() {
    let seen = with_mutant(|| std::panic::catch_unwind(escaped_names_are_seen_at_every_place));
    assert!(seen.is_err(), "by the documents made for it");

    let generated = |selectors: &[&str]| {
        let config =
            ProptestConfig { max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::with_cases(3_000) };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let paths = paths(selectors);
        runner.run(&proptest::collection::vec(any::<u8>(), 0..400), |choices| {
            let document = grammar::document(&choices);
            let expected = edit(Sight::none(), &paths, &document, document.len(), 1_000);
            for sight in Sight::all(true).take(1) {
                prop_assert!(edit(sight, &paths, &document, usize::MAX, 1_000) == expected);
            }
            Ok(())
        })
    };
    for selectors in [&["$..ssn", "$.a.b"][..], &["$..a[*]['']", "$..card.number", "$..ssn", "$..a", "$..b"]] {
        assert!(generated(selectors).is_ok(), "as it is");
        assert!(with_mutant(|| generated(selectors)).is_err(), "by generated documents: {selectors:?}");
    }
}
