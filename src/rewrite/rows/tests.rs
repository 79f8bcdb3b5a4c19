use std::io::{BufReader, Cursor};

use csv_core::{ReadFieldResult, ReaderBuilder};
use proptest::prelude::*;
use rstest::rstest;

use super::copy::Copy;
use super::csv::Csv;
use super::ndjson::Ndjson;
use super::*;

/// Puts `<` before what strings say, and takes it away again: an engine that anybody can follow.
fn mark(document: &[u8], out: &mut Vec<u8>, back: bool) {
    let mut document: serde_json::Value = serde_json::from_slice(document).unwrap();
    for (_, value) in document.as_object_mut().unwrap() {
        if let Some(text) = value.as_str() {
            *value = match back {
                false => format!("<{text}").into(),
                true => text.strip_prefix('<').unwrap().into(),
            };
        }
    }
    out.extend_from_slice(document.to_string().as_bytes());
}

fn run(
    format: &mut dyn Format,
    columns: &[&str],
    names: Option<&[&str]>,
    input: &[u8],
    back: bool,
) -> Result<Vec<u8>, BadRow> {
    let chosen = columns.iter().map(|name| Column { name: (*name).into(), kind: Kind::Text }).collect();
    let columns = Columns { chosen, ..Columns::default() };
    let names: Option<Vec<String>> = names.map(|names| names.iter().map(|name| (*name).into()).collect());
    let mut out = Vec::new();
    // A small buffer, so that its ends fall everywhere.
    let mut input = BufReader::with_capacity(7, Cursor::new(input.to_vec()));
    rewrite(
        format,
        (&columns, names.as_deref()),
        &mut input,
        &mut |document, out| {
            mark(document, out, back);
            Ok::<(), BadRow>(())
        },
        &mut |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        },
        &mut Done::default(),
    )?;
    Ok(out)
}

fn csv() -> Csv {
    Csv::new(b',', true, "")
}

#[rstest]
#[case("a,ssn\n1,x\n", "a,ssn\n1,<x\n")]
#[case("a,ssn\r\n\"1\",\"x\"\r\n\"\",y", "a,ssn\r\n\"1\",\"<x\"\r\n\"\",<y")]
#[case("\u{feff}ssn,a\nx,\" 1 \"\n", "\u{feff}ssn,a\n<x,\" 1 \"\n")]
#[case("ssn,a\n\n\r\nx,1\n\n", "ssn,a\n\n\r\n<x,1\n\n")]
#[case("ssn,a\n\"x,\"\"y\"\"\nz\",1\n", "ssn,a\n\"<x,\"\"y\"\"\nz\",1\n")]
#[case("ssn,a\n\u{feff}x,1\n", "ssn,a\n<\u{feff}x,1\n")]
#[case("a,ssn\n1,\n2,\"\"\n", "a,ssn\n1,\n2,\"<\"\n")]
#[case("a,ssn\nb\"c,x\n", "a,ssn\nb\"c,<x\n")]
fn csv_changes_the_chosen_field_alone(#[case] input: &str, #[case] output: &str) {
    let out = run(&mut csv(), &["ssn"], None, input.as_bytes(), false).unwrap();
    assert_eq!(String::from_utf8(out.clone()).unwrap(), output);
    let back = run(&mut csv(), &["ssn"], None, &out, true).unwrap();
    assert_eq!(String::from_utf8(back).unwrap(), input);
}

#[rstest]
#[case("1\tx\t\\N\n", "1\t<x\t\\N\n")]
#[case("1\t\\N\ta\\tb\n\\.\nrest\tx\n", "1\t\\N\ta\\tb\n\\.\nrest\tx\n")]
#[case("\\\\N\ta\\\\b\\nc\\vd\tz\r\n", "\\\\N\t<a\\\\b\\nc\\vd\tz\r\n")]
fn copy_changes_the_chosen_field_alone(#[case] input: &str, #[case] output: &str) {
    let names = Some(&["id", "ssn", "note"][..]);
    let out = run(&mut Copy::rows(false), &["ssn"], names, input.as_bytes(), false).unwrap();
    assert_eq!(String::from_utf8(out.clone()).unwrap(), output);
    let back = run(&mut Copy::rows(false), &["ssn"], names, &out, true).unwrap();
    assert_eq!(String::from_utf8(back).unwrap(), input);
}

#[test]
fn of_a_dump_one_table_counts() {
    let dump = "-- a dump\nCOPY public.other (ssn) FROM stdin;\nx\n\\.\n\n\
                COPY public.customers (id, \"ssn\") FROM stdin;\n1\tx\n2\t\\N\n\\.\nSELECT 1;\n";
    let out = run(&mut Copy::dump("customers"), &["ssn"], None, dump.as_bytes(), false).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), dump.replace("1\tx", "1\t<x"));
    let out = run(&mut Copy::dump("public.customers"), &["ssn"], None, dump.as_bytes(), false).unwrap();
    assert_ne!(out, dump.as_bytes());
    // One that is not there is no success: nothing of it was sealed.
    for table in ["private.customers", "ustomers"] {
        let missing = run(&mut Copy::dump(table), &["ssn"], None, dump.as_bytes(), false).unwrap_err();
        assert!(missing.0.contains(&format!("no rows of a table `{table}`")), "{missing}");
    }
}

#[rstest]
#[case(&["nossn"], "a,ssn\n1,x\n", "none of the 2 columns is called `nossn`; is there a row of names, and does it say so?")]
#[case(&["ssn"], "ssn,ssn\n1,x\n", "several columns are called `ssn`")]
#[case(&["ssn"], "a,ssn\n1\n", "it has 1 fields, and there are 2 columns")]
#[case(&["ssn"], "a,ssn\n1,2,3\n", "it has 3 fields, and there are 2 columns")]
fn rows_that_do_not_fit_are_refused(#[case] columns: &[&str], #[case] input: &str, #[case] says: &str) {
    assert_eq!(run(&mut csv(), columns, None, input.as_bytes(), false).unwrap_err().0, says);
}

/// A first row that is one of values, because nobody said that there is no row of names.
#[test]
fn values_that_are_taken_for_names_are_not_told() {
    let secret = "123-45-6789";
    let chosen = |name: &str, kind| Column { name: name.into(), kind };
    let by_rules = |chosen: Vec<Column>| Columns { chosen, all: true, document: None };
    let told = |columns: &Columns, input: &str| {
        let mut edit = |_: &[u8], _: &mut Vec<u8>| Ok::<(), BadRow>(());
        rewrite(&mut csv(), (columns, None), &mut input.as_bytes(), &mut edit, &mut |_| Ok(()), &mut Done::default())
            .unwrap_err()
            .0
    };
    for (columns, input, says) in [
        (by_rules(vec![chosen("ssn", Kind::Text)]), format!("7,{secret}\n8,x\n"), "is there a row of names"),
        (by_rules(Vec::new()), format!("{secret},{secret}\n"), "columns 1 and 2 have the same name"),
        (by_rules(Vec::new()), format!("{secret},a\n1,2,3\n"), "it has 3 fields"),
        (by_rules(vec![chosen("a", Kind::Bare)]), format!("{secret},a\nx,y\n"), "column `a` holds no JSON number"),
    ] {
        let told = told(&columns, &input);
        assert!(told.contains(says) && !told.contains(secret), "{told}");
    }
    let mut bytes = format!("{secret}\n").into_bytes();
    bytes.extend_from_slice(b"\xff\n");
    let mut edit = |_: &[u8], _: &mut Vec<u8>| Ok::<(), BadRow>(());
    let all = by_rules(Vec::new());
    let told =
        rewrite(&mut csv(), (&all, None), &mut bytes.as_slice(), &mut edit, &mut |_| Ok(()), &mut Done::default());
    assert_eq!(told.unwrap_err().0, "column 1 is not UTF-8");
}

#[test]
fn more_that_is_refused() {
    let binary = run(&mut Copy::rows(false), &["1"], None, b"PGCOPY\n\xff\r\n\0", false).unwrap_err();
    assert!(binary.0.contains("binary"));
    let wide = run(&mut csv(), &["ssn"], None, &[b','; 20_000], false).unwrap_err();
    assert_eq!(wide.0, "a row has more than 16384 fields");
    let wide = run(&mut Copy::rows(false), &["1"], None, &[b'\t'; 20_000], false).unwrap_err();
    assert_eq!(wide.0, "a row has more than 16384 fields");
    let bytes = run(&mut csv(), &["ssn"], None, b"ssn\n\xff\n", false).unwrap_err();
    assert_eq!(bytes.0, "column `ssn` is not UTF-8");
    let mut out = Vec::new();
    let bare = Column { name: "n".into(), kind: Kind::Bare };
    let texts = [
        ("1.50", true),
        ("true", true),
        ("sc1.x", true),
        ("1,5", false),
        ("\"1\"", false),
        ("", false),
        ("null", false),
    ];
    for (text, good) in texts {
        assert_eq!(bare.value(Some(text.as_bytes()), &mut out).is_ok(), good, "{text}");
    }
}

#[test]
fn lines_of_documents() {
    let input = "\u{feff}{\"ssn\":\"x\"}\r\n\n  \n {\"ssn\":\"y\"}";
    let columns = Columns { document: Some("1".into()), ..Columns::default() };
    let mut out = Vec::new();
    let mut done = Done::default();
    rewrite(
        &mut Ndjson::default(),
        (&columns, None),
        &mut input.as_bytes(),
        &mut |document, out| {
            mark(document, out, false);
            Ok::<(), BadRow>(())
        },
        &mut |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        },
        &mut done,
    )
    .unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "\u{feff}{\"ssn\":\"<x\"}\r\n\n  \n{\"ssn\":\"<y\"}");
    assert_eq!(done, Done { rows: 2, changed: 2 });
}

#[rstest]
#[case("/customers/{id}", r#"{"id":7}"#, Some("/customers/7"))]
#[case("/t/{tenant}/c/{id}/x", r#"{"id":"a/b","tenant":"\u00e9"}"#, Some("/t/%C3%A9/c/a%2Fb/x"))]
#[case("/plain", "{}", Some("/plain"))]
#[case("/c/{id}", r#"{"id":null}"#, None)]
#[case("/c/{id}", r#"{"id":".."}"#, None)]
#[case("/c/{id}", "[]", None)]
fn paths_are_filled_from_the_document(#[case] template: &str, #[case] document: &str, #[case] path: Option<&str>) {
    assert_eq!(fill(template, document.as_bytes()).as_deref(), path);
}

/// A field as some program may have written it.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zé0-9]{0,6}",
        "[a-z,\"\r\n é]{0,8}".prop_map(|text| format!("\"{}\"", text.replace('"', "\"\""))),
        Just(String::new()),
    ]
}

fn read(bytes: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let mut reader = ReaderBuilder::new().build();
    let (mut all, mut at, mut buffer) = (Vec::new(), 0, vec![0; 256]);
    loop {
        let (result, read, written) = reader.read_field(&bytes[at..], &mut buffer);
        at += read;
        match result {
            ReadFieldResult::Field { record_end } => all.push((buffer[..written].to_vec(), record_end)),
            ReadFieldResult::End => return all,
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn csv_there_and_back(
        rows in proptest::collection::vec((field(), field(), field()), 0..8),
        end in prop_oneof![Just("\n"), Just("\r\n")],
        ended: bool,
        mark: bool,
    ) {
        let mut text = format!("{}a,b,c", if mark { "\u{feff}" } else { "" });
        for (a, b, c) in &rows {
            text.push_str(&format!("{end}{a},{b},{c}"));
        }
        if ended {
            text.push_str(end);
        }
        let out = run(&mut csv(), &["b"], None, text.as_bytes(), false).unwrap();
        let back = run(&mut csv(), &["b"], None, &out, true).unwrap();
        prop_assert_eq!(String::from_utf8(back).unwrap(), text.clone());
        // The others are as they were.
        let (before, after) = (read(text.as_bytes()), read(&out));
        prop_assert_eq!(before.len(), after.len());
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            if at % 3 != 1 || at < 3 {
                prop_assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn copy_there_and_back(rows in proptest::collection::vec(("[ -~é\t\n\r\u{8}\\\\]{0,12}", "[ -~é\t\n\\\\]{0,12}"), 1..8)) {
        let format = Copy::rows(false);
        let mut text = Vec::new();
        for (a, b) in &rows {
            format.write(Some(a.as_bytes()), b"", &mut text);
            text.push(b'\t');
            format.write(Some(b.as_bytes()), b"", &mut text);
            text.push(b'\n');
        }
        let names = Some(&["a", "b"][..]);
        let out = run(&mut Copy::rows(false), &["b"], names, &text, false).unwrap();
        prop_assert!(out != text);
        let back = run(&mut Copy::rows(false), &["b"], names, &out, true).unwrap();
        prop_assert_eq!(back, text);
    }
}
