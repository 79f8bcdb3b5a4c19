use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

/// Documents that are JSON, spelled in every way the grammar has.
pub(crate) const GOOD: &[&str] = &[
    "0",
    "-0",
    "1",
    " \t\r\n1 \t\r\n",
    "-0.0",
    "10",
    "1.10",
    "0.5e1",
    "1e5",
    "1E+05",
    "1E-2",
    "123456789012345678901234567890",
    "1e999",
    "true",
    "false",
    "null",
    "\"\"",
    "\"a\"",
    "\"é€😀\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}\u{d7ff}\u{e000}\u{feff}\"",
    r#""\"\\\/\b\f\n\r\t""#,
    r#""\u0000\uABCD\uabcd\ud83d\ude00""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud800x""#,
    "[]",
    "[ ]",
    "[1]",
    "[1,2 , 3]",
    "[[],[[]],{}]",
    "{}",
    "{ }",
    r#"{"":1}"#,
    r#"{"a":1,"a":2}"#,
    "{ \"a\" : [ 1 , { \"b\" : null } ] , \"c\" : \"d\" }",
    r#"{"a":{"b":{"c":[[[{"d":0}]]]}}}"#,
    r#"{"\u0061\"":"\\"}"#,
    r#"["a long string that takes more than one word of eight bytes, with é in it, and more behind it"]"#,
];

/// Documents that are not, and the byte at fault.
pub(crate) const BAD: &[(&[u8], u64)] = &[
    (b"", 0),
    (b"  ", 2),
    (b"x", 0),
    (b"\xef\xbb\xbf1", 0),
    (b"1 2", 2),
    (b"1,", 1),
    (b"01", 1),
    (b"-", 1),
    (b"-a", 1),
    (b"-01", 2),
    (b"+1", 0),
    (b".5", 0),
    (b"1.", 2),
    (b"1.e1", 2),
    (b"1e", 2),
    (b"1e+", 3),
    (b"1e+x", 3),
    (b"1.5.5", 3),
    (b"0x10", 1),
    (b"1_0", 1),
    (b"NaN", 0),
    (b"Infinity", 0),
    (b"-Infinity", 1),
    (b"nul", 3),
    (b"nulL", 3),
    (b"nullx", 4),
    (b"True", 0),
    (b"truefalse", 4),
    (b"\"", 1),
    (b"\"a", 2),
    (b"'a'", 0),
    (b"\"\n\"", 1),
    (b"\"\t\"", 1),
    (b"\"\0\"", 1),
    (b"\"12345678\x1f\"", 9),
    (b"\"\\x\"", 2),
    (b"\"\\'\"", 2),
    (b"\"\\u12g4\"", 5),
    (b"\"\\u12\"", 5),
    (b"\"\\U0041\"", 2),
    (b"\"\\", 2),
    (b"\"\x80\"", 1),
    (b"\"\xff\"", 1),
    (b"\"\xc0\x80\"", 1),
    (b"\"\xc1\xbf\"", 1),
    (b"\"\xc3\"", 2),
    (b"\"\xe0\x9f\xbf\"", 2),
    (b"\"\xed\xa0\x80\"", 2),
    (b"\"\xe2\x82\"", 3),
    (b"\"\xf0\x8f\xbf\xbf\"", 2),
    (b"\"\xf4\x90\x80\x80\"", 2),
    (b"\"\xf5\x80\x80\x80\"", 1),
    (b"\"\xf0\x9f\x98\"", 4),
    (b"[", 1),
    (b"]", 0),
    (b"[1", 2),
    (b"[1,", 3),
    (b"[1,]", 3),
    (b"[,1]", 1),
    (b"[1 2]", 3),
    (b"[1}", 2),
    (b"[1:2]", 2),
    (b"[]]", 2),
    (b"{", 1),
    (b"}", 0),
    (b"{]", 1),
    (b"{1:2}", 1),
    (b"{a:1}", 1),
    (b"{\"a\"}", 4),
    (b"{\"a\":}", 5),
    (b"{\"a\" 1}", 5),
    (b"{\"a\":1,}", 7),
    (b"{\"a\":1 \"b\":2}", 7),
    (b"{\"a\":1]", 6),
    (b"{,}", 1),
    (b"{\"a\":1}}", 7),
    (b"{\"\xff\":1}", 2),
    (b"\xa0\x31", 0),
    (b"1\x0b", 1),
    (b"/**/1", 0),
    (b"[1//\n]", 2),
];

#[test]
fn takes_json() {
    for text in GOOD {
        serde_json::from_str::<IgnoredAny>(text).unwrap();
        let whole = events(text.as_bytes(), text.len()).unwrap_or_else(|error| panic!("{text}: {error}"));
        for chunk in 1..text.len() {
            assert_eq!(events(text.as_bytes(), chunk).as_ref(), Ok(&whole), "{text} in chunks of {chunk}");
        }
    }
}

#[test]
fn takes_nothing_else() {
    for (text, offset) in BAD {
        let what = String::from_utf8_lossy(text);
        assert!(std::str::from_utf8(text).is_err() || serde_json::from_slice::<IgnoredAny>(text).is_err(), "{what}");
        let whole = events(text, text.len().max(1)).expect_err(&what);
        assert_eq!(whole.offset, *offset, "{what}: {whole}");
        for chunk in 1..text.len() {
            assert_eq!(events(text, chunk), Err(whole), "{what} in chunks of {chunk}");
        }
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    let scan = |text: &[u8], max| {
        let mut scanner = Scanner::new(max, 0);
        let mut at = 0;
        while scanner.next(text, &mut at)?.is_some() {}
        scanner.finish()
    };
    assert_eq!(scan(&nested(10), 10), Ok(None));
    assert_eq!(scan(&nested(11), 10).unwrap_err().offset, 10);
    assert_eq!(scan(b"1", 0), Ok(Some(Event::End(Kind::Scalar))));
    assert_eq!(scan(b"[{}]", 1).unwrap_err().offset, 1);
    assert_eq!(scan(&nested(1_000_000), 1_000_000), Ok(None));
    assert_eq!(scan(b"[[],[],[]]", 2), Ok(None));
}

#[test]
fn a_failure_is_final() {
    let mut scanner = Scanner::new(1, 0);
    let error = scanner.next(b"[1,}", &mut 0).and_then(|_| scanner.next(b"}", &mut 0)).unwrap_err();
    assert_eq!(scanner.next(b"1", &mut 0), Err(error));
    assert_eq!(scanner.finish(), Err(error));
}

#[test]
fn long_names_are_not_kept() {
    let mut scanner = Scanner::new(1, 4);
    let text = br#"{"abcde":1,"abcd":2}"#;
    let mut names = Vec::new();
    for byte in text.chunks(1) {
        let mut at = 0;
        while let Some(event) = scanner.next(byte, &mut at).unwrap() {
            if event == Event::Name {
                names.push(scanner.name(byte).map(<[u8]>::to_vec));
            }
        }
        assert!(scanner.name.kept.len() <= 4);
    }
    assert_eq!(names, [None, Some(b"abcd".to_vec())]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_serde_json(pieces in proptest::collection::vec(piece(), 0..12), chunk in 1_usize..9) {
        let text = pieces.concat();
        let expected = std::str::from_utf8(&text).is_ok() && serde_json::from_slice::<IgnoredAny>(&text).is_ok();
        let whole = events(&text, text.len().max(1));
        prop_assert_eq!(whole.is_ok(), expected, "{:?} {:?}", String::from_utf8_lossy(&text), whole);
        prop_assert_eq!(events(&text, chunk), whole);
    }
}

/// Pieces that make JSON, or nearly.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    const FIXED: &[&str] = &[
        "{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\n", "0", "1", "-", ".", "e", "+", "true", "null", "\"a\"",
        "\"a\":", "\\u00e9", "\\ud83d", "[1,", "{\"b\":", "],", "},", "é", "😀", "1.5e3", "\u{1}",
    ];
    prop_oneof![
        20 => proptest::sample::select(FIXED).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

/// Every event and where it stands, names included.
fn events(text: &[u8], chunk: usize) -> Result<Vec<(Event, u64, Vec<u8>)>, JsonError> {
    let mut scanner = Scanner::new(usize::MAX, usize::MAX);
    let mut all = Vec::new();
    for piece in text.chunks(chunk) {
        let mut at = 0;
        while let Some(event) = scanner.next(piece, &mut at)? {
            let name = if event == Event::Name { scanner.name(piece).unwrap().to_vec() } else { Vec::new() };
            all.push((event, scanner.offset(), name));
        }
        assert_eq!(at, piece.len());
    }
    if let Some(event) = scanner.finish()? {
        all.push((event, scanner.offset(), Vec::new()));
    }
    assert_eq!(scanner.finish(), Ok(None));
    Ok(all)
}
