use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::json::splice::Step;
use crate::jsonpath::compile;

/// Writes `<value>` in place of a value, after so many waits; what opens to several lines does so.
struct Mark {
    wait: usize,
    left: usize,
}

impl Replace for Mark {
    type Error = ();

    fn begin(&mut self, _: usize) -> usize {
        self.left = self.wait;
        1_000
    }

    fn buffer(&mut self) -> usize {
        1_000
    }

    fn too_large(&mut self, _: usize) -> Result<(), ()> {
        Err(())
    }

    fn replace(&mut self, _: usize, raw: &[u8], _: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Step, ()> {
        if self.left > 0 {
            self.left -= 1;
            return Ok(Step::Wait);
        }
        out.push(b'<');
        out.extend(raw.iter().map(|byte| if *byte == b'~' { b'\n' } else { *byte }));
        out.push(b'>');
        Ok(Step::Done)
    }
}

fn run(framing: Framing, lenient: usize, chunks: &[&[u8]], wait: usize) -> Result<String, String> {
    let path = compile("$.a").unwrap().remove(0).path;
    let mut documents = Documents::new(framing, Selectors::new(&[Arc::clone(&path)]), 64, lenient);
    let (mut out, mut mark) = (Vec::new(), Mark { wait, left: 0 });
    let failed = |error: EditError<()>| error.to_string();
    for mut chunk in chunks.iter().copied() {
        while let Fed::Waiting(taken) = documents.feed(chunk, &mut out, &mut mark).map_err(failed)? {
            chunk = &chunk[taken..];
        }
    }
    while documents.finish(&mut out, &mut mark).map_err(failed)? != Fed::All {}
    Ok(String::from_utf8(out).unwrap())
}

#[rstest]
#[case(Framing::One, "{\"a\":\n1}", Ok("{\"a\":\n<1>}"))]
#[case(Framing::Lines, "{\"a\":1}\r\n\n {\"a\":\"~\"} \n3", Ok("{\"a\":<1>}\r\n\n {\"a\":<\" \">} \n3"))]
#[case(Framing::Lines, "\n \n", Ok("\n \n"))]
#[case(Framing::Lines, "{\"a\":\n1}\n", Err("the document ends too early"))]
#[case(Framing::Lines, "{} {}\n", Err("text after the document"))]
#[case(Framing::Sequence, "\u{1e}{\"a\":\n1}\n\u{1e}7\n", Ok("\u{1e}{\"a\":\n<1>}\n\u{1e}7\n"))]
#[case(Framing::Sequence, "\u{1e}{\"a\":\u{1e}{}", Err("too early"))]
#[case(
    Framing::Events,
    "id: {\"a\":1}\ndata: {\"a\":1}\r\n\r\ndata:{\"a\":2}\r: c\ndata\n\n",
    Ok("id: {\"a\":1}\ndata: <x>")
)]
#[case(Framing::Events, "\u{feff}data: {\"a\":1}\n", Ok("\u{feff}data: {\"a\":<1>}\n"))]
#[case(Framing::Events, "data: {\"a\":\ndata: 1}\n", Err("too early"))]
#[case(Framing::Events, "data:  {\"a\":\"~\"}\n", Ok("data:  {\"a\":<\" \">}\n"))]
fn framings(#[case] framing: Framing, #[case] body: &str, #[case] expected: Result<&str, &str>) {
    let whole = run(framing, 0, &[body.as_bytes()], 0);
    match expected {
        Ok("id: {\"a\":1}\ndata: <x>") => {
            let text = "id: {\"a\":1}\ndata: {\"a\":<1>}\r\n\r\ndata:{\"a\":<2>}\r: c\ndata\n\n";
            assert_eq!(whole.as_deref(), Ok(text));
        }
        Ok(text) => assert_eq!(whole.as_deref(), Ok(text)),
        Err(why) => assert!(whole.as_ref().is_err_and(|error| error.contains(why)), "{whole:?}"),
    }
    for wait in 0..3 {
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        assert_eq!(run(framing, 0, &bytes, wait).is_ok(), whole.is_ok());
        if let Ok(text) = &whole {
            assert_eq!(run(framing, 0, &bytes, wait).as_ref(), Ok(text), "byte by byte");
        }
    }
}

#[rstest]
#[case(Framing::Events, "data: {\"a\":1}\n\ndata: [DONE]\n\n", "data: {\"a\":<1>}\n\ndata: [DONE]\n\n")]
#[case(Framing::Lines, "{\"a\":1}\n{\"a\":1,\n{\"a\":2}", "{\"a\":<1>}\n{\"a\":1,\n{\"a\":<2>}")]
#[case(Framing::Lines, "oops {\"a\":1}", "oops {\"a\":1}")]
fn what_is_no_document_may_pass_as_it_came(#[case] framing: Framing, #[case] body: &str, #[case] expected: &str) {
    let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    for wait in 0..2 {
        assert_eq!(run(framing, 100, &[body.as_bytes()], wait).as_deref(), Ok(expected));
        assert_eq!(run(framing, 100, &bytes, wait).as_deref(), Ok(expected));
    }
    assert!(run(framing, 0, &bytes, 0).is_err(), "unless it is to be refused");
    let long = format!("{}x{}", body.split("[DONE]").next().unwrap(), "y".repeat(200));
    assert!(framing == Framing::Events || run(framing, 100, &[long.as_bytes(), b"z", b"z"], 0).is_err(), "or too long");
}

proptest! {
    #[test]
    fn splits_change_nothing(
        pieces in proptest::collection::vec(proptest::sample::select(&[
            "{\"a\":1}", "{\"a\":\"x\"}", "[1, 2]", "\n", "\r", "\u{1e}", "data:", "data: ", "id:", " ", "dat", "{", "\u{feff}",
        ][..]), 0..12),
        framing in proptest::sample::select(&[Framing::Lines, Framing::Sequence, Framing::Events][..]),
        lenient in proptest::sample::select(&[0_usize, 1_000][..]),
        wait in 0_usize..2,
    ) {
        let body = pieces.concat();
        let whole = run(framing, lenient, &[body.as_bytes()], 0);
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        prop_assert_eq!(&run(framing, lenient, &bytes, wait), &whole);
        if let Ok(text) = whole {
            prop_assert_eq!(text.replace(['<', '>'], ""), body, "what frames the documents stays");
        }
    }
}
