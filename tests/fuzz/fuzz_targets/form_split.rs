//! A form is edited the same however it is split and wherever a replacement waits, and bytes that are not selected stay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidecloak::form::Form;
use sidecloak::form::edit::{EditError, Editor};
use sidecloak::form::value::{decode, encode};
use sidecloak::json::splice::{Fed, Replace, Step};

const NAMES: [&str; 3] = ["ssn", "card_pan", "a[b]"];

fuzz_target!(|data: &[u8]| {
    let [kind, split, limit, body @ ..] = data else { return };
    let content_type =
        if kind % 2 == 0 { "application/x-www-form-urlencoded" } else { "multipart/form-data; boundary=XyZ" };
    let form = Form::of(content_type).expect("a form").expect("a good one");
    let limit = usize::from(*limit);
    let whole = edit(&form, body, body.len(), limit, false);
    assert_eq!(whole, edit(&form, body, usize::from(*split) + 1, limit, false), "in chunks");
    assert_eq!(whole, edit(&form, body, 1, limit, false), "byte by byte");
    // Where every value stays, so does every byte, but for what a part says of its own length and digests.
    let says = |what: &str| body.to_ascii_lowercase().windows(what.len()).any(|window| window == what.as_bytes());
    if !says("content-length") && !says("content-md5") && !says("digest")
        && let Ok(out) = edit(&form, body, usize::from(*split) + 1, 0, true)
    {
        assert_eq!(out, body);
    }
    if let (Some(text), Form::Urlencoded) = (decode(&form, body), &form) {
        let mut encoded = Vec::new();
        let text = std::str::from_utf8(text.expose()).expect("decoded text is UTF-8");
        assert!(encode(&form, text, &mut encoded));
        assert_eq!(decode(&form, &encoded).expect("what was encoded").expose(), text.as_bytes());
    }
});

/// What comes out if chunks are this large, every replacement waits once, and values over `limit` pass.
fn edit(form: &Form, body: &[u8], chunk: usize, limit: usize, stays: bool) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    let mut editor = Editor::new(form, NAMES.map(|name| (name, limit)));
    let mut mark = Mark { stays, waited: false };
    let why = |error| match error {
        EditError::Form(error) => error.what,
        EditError::<()>::Refused(()) => "refused",
    };
    for mut piece in body.chunks(chunk.max(1)) {
        while let Fed::Waiting(taken) = editor.feed(piece, &mut out, &mut mark).map_err(why)? {
            piece = &piece[taken..];
        }
    }
    while editor.finish(&mut out, &mut mark).map_err(why)? != Fed::All {}
    Ok(out)
}

struct Mark {
    stays: bool,
    waited: bool,
}

impl Replace for Mark {
    type Error = ();

    fn begin(&mut self, _: usize) -> usize {
        0
    }

    fn buffer(&mut self) -> usize {
        0
    }

    fn too_large(&mut self, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn replace(&mut self, name: usize, raw: &[u8], _: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Step, ()> {
        self.waited = !self.waited;
        if self.waited {
            return Ok(Step::Wait);
        }
        if self.stays {
            out.extend_from_slice(raw);
        } else {
            out.extend_from_slice(format!("<{name}:{}>", raw.len()).as_bytes());
        }
        Ok(Step::Done)
    }
}
