//! Forms as they come, and as somebody sends them who wants a protected field to get past.

use proptest::prelude::*;

use super::edit::{EditError, Editor};
use super::value::{decode, encode};
use super::*;
use crate::json::splice::{Fed, Replace, Step};

const NAMES: [&str; 4] = ["ssn", "card_pan", "a b", "é"];

/// Puts what is protected in brackets; every value waits once.
struct Mark {
    form: Form,
    passes: bool,
    waited: bool,
}

impl Replace for Mark {
    type Error = &'static str;

    fn begin(&mut self, _: usize) -> usize {
        0
    }

    fn buffer(&mut self) -> usize {
        0
    }

    fn too_large(&mut self, _: usize) -> Result<(), &'static str> {
        if self.passes { Ok(()) } else { Err("too large") }
    }

    fn replace(&mut self, name: usize, raw: &[u8], _: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Step, &'static str> {
        self.waited = !self.waited;
        if self.waited {
            return Ok(Step::Wait);
        }
        let text = decode(&self.form, raw).ok_or("no text")?;
        let text = format!("<{name}:{}>", String::from_utf8_lossy(text.expose()));
        if encode(&self.form, &text, out) { Ok(Step::Done) } else { Err("no place") }
    }
}

/// What comes out if pieces are this large.
fn edit_in(form: &Form, body: &[u8], size: usize, longest: usize, passes: bool) -> Result<String, &'static str> {
    let mut out = Vec::new();
    let mut editor = Editor::new(form, NAMES.map(|name| (name, longest)));
    let mut mark = Mark { form: form.clone(), passes, waited: false };
    let why = |error| match error {
        EditError::Form(FormError { what, .. }) => what,
        EditError::Refused(what) => what,
    };
    for mut piece in body.chunks(size.max(1)) {
        while let Fed::Waiting(taken) = editor.feed(piece, &mut out, &mut mark).map_err(why)? {
            piece = &piece[taken..];
        }
    }
    while editor.finish(&mut out, &mut mark).map_err(why)? != Fed::All {}
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The same, whatever the size of the pieces.
fn edit(form: &Form, body: &[u8]) -> Result<String, &'static str> {
    let whole = edit_in(form, body, usize::MAX, 1_000, false);
    for size in [1, 2, 3, 7, 16] {
        assert_eq!(edit_in(form, body, size, 1_000, false), whole, "in pieces of {size}");
    }
    whole
}

fn urlencoded(body: &str) -> Result<String, &'static str> {
    edit(&Form::Urlencoded, body.as_bytes())
}

fn boundary() -> Form {
    Form::of("multipart/form-data; boundary=XyZ").unwrap().unwrap()
}

/// `|` is a line end.
fn multipart(body: &str) -> Result<String, &'static str> {
    edit(&boundary(), body.replace('|', "\r\n").as_bytes()).map(|out| out.replace("\r\n", "|"))
}

/// One part of this name, with further headers.
fn part(name: &str, more: &str, content: &str) -> String {
    format!("--XyZ|Content-Disposition: form-data; name=\"{name}\"{more}||{content}|")
}

#[test]
fn protected_values_are_replaced_and_all_else_stays() {
    for (body, expected) in [
        ("", ""),
        ("a=1&b=2", "a=1&b=2"),
        ("ssn=1", "ssn=%3C0%3A1%3E"),
        ("%73s%6E=1&x", "%73s%6E=%3C0%3A1%3E&x"),
        ("a=%zz&&=&ssn=+%31%2B&ssn=2", "a=%zz&&=&ssn=%3C0%3A+1%2B%3E&ssn=%3C0%3A2%3E"),
        ("ssn", "ssn"),
        ("ssn=&a", "ssn=%3C0%3A%3E&a"),
        ("ssn&a&ssn", "ssn&a&ssn"),
        ("ssn==a=b", "ssn=%3C0%3A%3Da%3Db%3E"),
        ("a+b=1&a%20b=2", "a+b=%3C2%3A1%3E&a%20b=%3C2%3A2%3E"),
        ("%C3%A9=1&é=%e9".replace("&é=%e9", "").as_str(), "%C3%A9=%3C3%3A1%3E"),
        ("a=1;b=2&c;d", "a=1;b=2&c;d"),
        ("ssn2=1&customer.ssn=1", "ssn2=1&customer.ssn=1"),
        ("_charset_=UTF-8&ssn=1", "_charset_=UTF-8&ssn=%3C0%3A1%3E"),
    ] {
        assert_eq!(urlencoded(body).as_deref(), Ok(expected), "{body}");
    }
}

#[test]
fn urlencoded_forms_that_are_read_in_two_ways_are_refused() {
    for body in [
        "a=1;ssn=2",
        "a;ssn=2",
        "a=1;+ssn=2",
        "a=1; ssn=2",
        "a=1;%73sn=2",
        "ssn=1;card_pan=2",
        "a=b;c;ssn",
        "a=1&amp;ssn=2",
        ";ssn=1",
        "SSN=1",
        "%2573sn=1",
        "+ssn=1",
        "%20ssn=1",
        "\r\nssn=1",
        "ssn%00x=1",
        "%EF%BB%BFssn=1",
        "ssn[]=1",
        "[ssn]=1",
        "ssn[0]=1",
        "card.pan=1",
        "card+pan=1",
        "card[pan=1",
        "%=1",
        "%7=1",
        "a%zz=1",
        "%u0073sn=1",
        "%C1%B3sn=1",
        "%ff",
        "ssn=%",
        "ssn=%zz",
        "ssn=%ff",
        "_charset_=utf-16&ssn=1",
        "_charset_=%ff",
        "a=1&_charset_=iso-8859-1",
    ] {
        assert!(urlencoded(body).is_err(), "{body}");
    }
    let long = "x".repeat(5_000);
    assert_eq!(urlencoded(&format!("{long}=1")), Err("a name that is too long"));
    assert_eq!(urlencoded(&format!("a=1;{long}=1")), Err("a name that is too long"));
    assert!(urlencoded(&format!("a={long}")).is_ok());
    assert!(urlencoded(&format!("_charset_={long}")).is_err());
}

#[test]
fn what_is_too_long_is_told_however_it_comes() {
    let form = Form::Urlencoded;
    for (value, fits) in [
        ("12345", true),
        ("123456", false),
        ("%31%32%33%34%35", true),
        ("%31%32%33%34%35%36", false),
        ("+++++6", false),
    ] {
        let body = format!("a=1&ssn={value}&b=2");
        for size in [1, 4, 1_000] {
            assert_eq!(edit_in(&form, body.as_bytes(), size, 5, false).is_ok(), fits, "{value} in {size}");
            assert_eq!(edit_in(&form, body.as_bytes(), size, 5, true).unwrap() == body, !fits);
        }
    }
    for (value, fits) in [("12345", true), ("123456", false), (&"1234".repeat(20), false), ("", true)] {
        let md5 = "|Content-MD5: x";
        let body = format!("{}{}--XyZ--", part("ssn", md5, value), part("b", md5, "2")).replace('|', "\r\n");
        for size in [1, 4, 1_000] {
            assert_eq!(edit_in(&boundary(), body.as_bytes(), size, 5, false).is_ok(), fits, "{value} in {size}");
            assert_eq!(
                edit_in(&boundary(), body.as_bytes(), size, 5, true).unwrap() == body,
                !fits,
                "{value} in {size}"
            );
        }
    }
}

#[test]
fn parts_are_replaced_and_all_else_stays() {
    let close = "--XyZ--|";
    for (body, expected) in [
        (close.to_owned(), close.to_owned()),
        ("--XyZ--".to_owned(), "--XyZ--".to_owned()),
        (format!("{}{close}", part("ssn", "", "1")), format!("{}{close}", part("ssn", "", "<0:1>"))),
        (
            format!(
                "|{}{}{}{close}epilogue",
                part("a", "", "-|--Xy|\r--"),
                part("ssn", "", "1|2"),
                part("ssn", "", "")
            ),
            format!(
                "|{}{}{}{close}epilogue",
                part("a", "", "-|--Xy|\r--"),
                part("ssn", "", "<0:1|2>"),
                part("ssn", "", "<0:>")
            ),
        ),
        (
            format!("{}{close}", part("ssn", "|content-length: 1|Content-Type: text/plain|Content-MD5: x", "1")),
            format!("{}{close}", part("ssn", "|Content-Type: text/plain", "<0:1>")),
        ),
        (
            format!(
                "{}{}{close}",
                part("f", "; filename=\"a.bin\"|Content-Length: 5|Content-Transfer-Encoding: base64", "QQ==|"),
                part("é", "", "é")
            ),
            format!(
                "{}{}{close}",
                part("f", "; filename=\"a.bin\"|Content-Length: 5|Content-Transfer-Encoding: base64", "QQ==|"),
                part("é", "", "<3:é>")
            ),
        ),
    ] {
        let body = body.replace("QQ==|", "QQ==\n");
        let expected = expected.replace("QQ==|", "QQ==\n");
        assert_eq!(multipart(&body).as_deref(), Ok(expected.as_str()), "{body}");
    }
}

#[test]
fn multipart_forms_that_are_read_in_two_ways_are_refused() {
    let ssn = part("ssn", "", "1");
    let hidden = "Content-Disposition: form-data; name=\"ssn\"||1";
    for body in [
        // Boundaries where some readers see one.
        format!("{}--XyZ--|{ssn}--XyZ--|", part("a", "", "1")),
        part("a", "", &format!("x\n--XyZ|{hidden}")) + "--XyZ--|",
        part("a", "", &format!("x\r--XyZ|{hidden}")) + "--XyZ--|",
        part("a", "", &format!("x--XyZ|{hidden}")) + "--XyZ--|",
        part("a", "", &format!("--XyZ|{hidden}")) + "--XyZ--|",
        part("a", "", &format!("x|--XyZ \t|{hidden}")) + "--XyZ--|",
        part("a", "", &format!("x|--XyZ\n{hidden}")) + "--XyZ--|",
        part("a", "", &format!("x|--XyZ-|{hidden}")) + "--XyZ--|",
        part("a", "", &format!("x|--XyZa|{hidden}")) + "--XyZ--|",
        part("a", "", &format!("x|--XyZ--a|{hidden}")) + "--XyZ--|",
        part("a", "", &format!("x|--XyZ--\n{hidden}")) + "--XyZ--|",
        format!("--XyZ|X: --XyZ|{hidden}|--XyZ--|"),
        format!("--XyZ|--XyZ|{hidden}|--XyZ--|"),
        part("a", "; filename=\"--XyZ\"", "x") + "--XyZ--|",
        format!("x{ssn}--XyZ--|"),
        format!("x\n{ssn}--XyZ--|"),
        format!("--other|{hidden}|{ssn}--XyZ--|"),
        format!("{}|{ssn}--XyZ--|", "x".repeat(2_000)),
        // No end, or no beginning.
        ssn.clone(),
        part("a", "", "1"),
        format!("{ssn}--XyZ"),
        format!("{ssn}--XyZ-"),
        format!("{ssn}--XyZ--\r"),
        format!("{ssn}--XyZ--x"),
        "--XyZ".into(),
        "--XyZ|Content-Disposition: form-data; name=\"a\"|".into(),
        "ssn=1".into(),
        // Names.
        part("ssn[]", "", "1") + "--XyZ--|",
        part("%73sn", "", "1") + "--XyZ--|",
        part("ssn%00", "", "1") + "--XyZ--|",
        part(" ssn", "", "1") + "--XyZ--|",
        part("a", "; name=\"ssn\"", "1") + "--XyZ--|",
        // What is no text as it stands.
        part("ssn", "; filename=\"x\"", "1") + "--XyZ--|",
        part("ssn", "; filename*=utf-8''x", "1") + "--XyZ--|",
        part("ssn", "|Content-Type: application/octet-stream", "1") + "--XyZ--|",
        part("ssn", "|Content-Transfer-Encoding: base64", "MQ==") + "--XyZ--|",
        part("_charset_", "", "utf-16") + "--XyZ--|",
        // Lengths.
        part("a", "|Content-Length: 2", "1") + "--XyZ--|",
        part("ssn", "|Content-Length: 2", "1") + "--XyZ--|",
        part("a", "|Content-Length: 99999999999999999999", "1") + "--XyZ--|",
        part("a", &format!("|X: {}", "y".repeat(17_000)), "1") + "--XyZ--|",
        part("a", "|Content-Type: Multipart/Mixed; boundary=q", &format!("--q|{hidden}|--q--")) + "--XyZ--|",
        format!("--XyZ||{hidden}|--XyZ--|"),
    ] {
        assert!(multipart(&body).is_err(), "{body}");
    }
    let many: String = (0..10_001).map(|_| part("a", "", "")).collect();
    assert_eq!(
        edit_in(&boundary(), (many + "--XyZ--").replace('|', "\r\n").as_bytes(), 4_096, 9, false),
        Err("too many parts")
    );
}

#[test]
fn media_types() {
    for urlencoded in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-Urlencoded ; charset=UTF-8",
        "application/x-www-form-urlencoded;charset=\"utf-8\";",
    ] {
        assert_eq!(Form::of(urlencoded), Some(Ok(Form::Urlencoded)), "{urlencoded}");
    }
    for (multipart, dashed) in [
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            "------WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
        ("Multipart/Form-Data; Boundary=\"a:b=/?\"", "--a:b=/?"),
        ("multipart/form-data;charset=utf-8;boundary=x", "--x"),
    ] {
        let Some(Ok(Form::Multipart(boundary))) = Form::of(multipart) else { panic!("{multipart}") };
        assert_eq!(boundary.dashed(), dashed.as_bytes());
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    for bad in [
        "application/x-www-form-urlencoded; charset=utf-16",
        "application/x-www-form-urlencoded; charset=utf-8; charset=utf-16",
        "application/x-www-form-urlencoded; charset*=utf-16''x",
        "application/x-www-form-urlencoded; ,",
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=\"a\\b\"",
        "multipart/form-data; boundary=\"a b\"",
        "multipart/form-data; boundary=\"a;b\"",
        "multipart/form-data; boundary='a'",
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a; Boundary=a",
        "multipart/form-data; xboundary=a; boundary=b",
        "multipart/form-data; x=boundary; boundary=b",
        "multipart/form-data; x=\"; boundary=a\"; boundary=b",
        "multipart/form-data; Boundary=aboundary; charset=utf-8",
        "multipart/form-data; boundary=\"boundary=a\"",
        "multipart/form-data; boundary*=utf-8''a",
        "multipart/form-data; boundary*0=a; boundary*1=b",
        "multipart/form-data; boundary = a",
        "multipart/form-data; boundary=a, b",
        "multipart/form-data; boundary=a/b",
        &long,
    ] {
        assert!(matches!(Form::of(bad), Some(Err(_))), "{bad}");
    }
    for other in [
        "application/json",
        "multipart/mixed; boundary=x",
        "text/plain",
        "",
        "application/x-www-form-urlencoded, text/plain",
    ] {
        assert_eq!(Form::of(other), None, "{other}");
    }
}

#[test]
fn what_holds_the_boundary_has_no_place_between_boundaries() {
    let (form, mut out) = (boundary(), Vec::new());
    assert!(!encode(&form, "a\r\n--XyZ--", &mut out) && !encode(&form, "--XyZ", &mut out));
    assert!(encode(&form, "-XyZ--Xy", &mut out));
}

/// Pieces that mean something in forms.
fn pieces(all: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![8 => prop::sample::select(all).prop_map(|s| s.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..4)];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

const IN_URLENCODED: &[&str] = &[
    "ssn",
    "=",
    "=",
    "&",
    "&",
    ";",
    "+",
    "%73",
    "%",
    "a",
    "card_pan",
    "card.pan",
    "[",
    "]",
    "_charset_=",
    "utf-8",
    "%00",
    "é",
];

const IN_MULTIPART: &[&str] = &[
    "--XyZ\r\n",
    "--XyZ\r\n",
    "\r\n--XyZ\r\n",
    "\r\n--XyZ\r\n",
    "\r\n--XyZ--\r\n",
    "--XyZ--",
    "\r\n\r\n",
    "\r\n",
    "\n",
    "\r",
    "--",
    "--Xy",
    "Content-Disposition: form-data; name=\"ssn\"\r\n\r\n",
    "Content-Disposition: form-data; name=\"ssn\"\r\n\r\n",
    "Content-Disposition: form-data; name=\"a\"\r\n\r\n",
    "Content-Length: 1\r\n",
    "1",
    "x",
];

proptest! {
    #[test]
    fn every_split_of_an_urlencoded_form_gives_the_same(body in pieces(IN_URLENCODED), size in 1..40_usize, longest in 0..12_usize, passes: bool) {
        let whole = edit_in(&Form::Urlencoded, &body, usize::MAX, longest, passes);
        prop_assert_eq!(edit_in(&Form::Urlencoded, &body, size, longest, passes), whole.clone());
        prop_assert_eq!(edit_in(&Form::Urlencoded, &body, 1, longest, passes), whole);
    }

    #[test]
    fn every_split_of_a_multipart_form_gives_the_same(body in pieces(IN_MULTIPART), size in 1..40_usize, longest in 0..12_usize, passes: bool) {
        let whole = edit_in(&boundary(), &body, usize::MAX, longest, passes);
        prop_assert_eq!(edit_in(&boundary(), &body, size, longest, passes), whole.clone());
        prop_assert_eq!(edit_in(&boundary(), &body, 1, longest, passes), whole);
    }

    #[test]
    fn texts_come_back(text in any::<String>()) {
        for form in [Form::Urlencoded, boundary()] {
            let mut raw = Vec::new();
            if encode(&form, &text, &mut raw) {
                let decoded = decode(&form, &raw).unwrap();
                prop_assert_eq!(decoded.expose(), text.as_bytes());
            } else {
                prop_assert!(text.contains("--XyZ"));
            }
        }
    }
}
