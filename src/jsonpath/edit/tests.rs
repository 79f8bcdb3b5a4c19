use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::json::scan::tests::{BAD, GOOD};
use crate::jsonpath::{compile, compile_bind};

type Edited = Result<String, EditError<&'static str>>;

#[rstest]
#[case("$.ssn", r#"{"ssn":"1","a":2}"#, r#"{"ssn":<0:"1">,"a":2}"#)]
#[case("$.ssn", r#"{"s\u0073n" : 1e5 ,"ssn":[ {} ]}"#, r#"{"s\u0073n" : <0:1e5> ,"ssn":<0:[ {} ]>}"#)]
#[case("$", " 12 ", " <0:12> ")]
#[case("$", "12", "<0:12>")]
#[case("$", "null", "<0:null>")]
#[case("$", r#"{"a":[1]}"#, r#"<0:{"a":[1]}>"#)]
#[case(
    "$[*]",
    r#"[1,"\"]",true,-0.5e1,{"a":{}} ,[]]"#,
    r#"[<0:1>,<0:"\"]">,<0:true>,<0:-0.5e1>,<0:{"a":{}}> ,<0:[]>]"#
)]
#[case("$..a", r#"{"a":{"a":1},"b":[{"a":2}]}"#, r#"{"a":<0:{"a":1}>,"b":[{"a":<0:2>}]}"#)]
#[case("$['a','b']", r#"{"b":1,"a":2}"#, r#"{"b":<1:1>,"a":<0:2>}"#)]
#[case("$.a", r#"{"a":"éé\ud83d😀","b":"é"}"#, r#"{"a":<0:"éé\ud83d😀">,"b":"é"}"#)]
#[case("$.é", r#"{"\u00e9":1,"é":2,"e\u0301":3}"#, r#"{"\u00e9":<0:1>,"é":<0:2>,"e\u0301":3}"#)]
#[case(
    "$.aa",
    r#"{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":1,"\u0061\u0061":2,"a\u0061a":3,"a":4}"#,
    r#"{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":1,"\u0061\u0061":<0:2>,"a\u0061a":3,"a":4}"#
)]
#[case("$[-1]", "[1, 2 ,3 ]", "[1, 2 ,<0:3> ]")]
#[case("$..a[-2:]", r#"{"a":[1,[2],3],"b":{"a":[{"a":[4]}]}}"#, r#"{"a":[1,<0:[2]>,<0:3>],"b":{"a":[<0:{"a":[4]}>]}}"#)]
#[case("$[::-2]", "[1,2,3]", "[<0:1>,2,<0:3>]")]
#[case("$[0:9:2]", "[1,2,3]", "[<0:1>,2,<0:3>]")]
#[case(
    "$.c[?@.type == 'card'].pan",
    r#"{"c":[{"type":"card","pan": "1" },{"pan":"2","type":"c\u0061rd"},{"type":"iban","pan":"3"},"card",{}]}"#,
    r#"{"c":[{"type":"card","pan": <0:"1"> },{"pan":<0:"2">,"type":"c\u0061rd"},{"type":"iban","pan":"3"},"card",{}]}"#
)]
#[case("$[?@ > 1]", "[1, 1.0e1,\"2\" ,2]", "[1, <0:1.0e1>,\"2\" ,<0:2>]")]
#[case("$.o[?@.x]", r#"{"o":{"a":{"x":null},"b":{}}}"#, r#"{"o":{"a":<0:{"x":null}>,"b":{}}}"#)]
#[case(
    "$.v[?@.k == $.k].s",
    r#"{"v":[{"k":1,"s":2},{"k":2,"s":3}],"k":2.0}"#,
    r#"{"v":[{"k":1,"s":2},{"k":2,"s":<0:3>}],"k":2.0}"#
)]
#[case(
    "$..[?@.x == 1].y",
    r#"[{"x":1,"y":{"x":1,"y":2}},[{"y":3,"x":1}]]"#,
    r#"[{"x":1,"y":<0:{"x":1,"y":2}>},[{"y":<0:3>,"x":1}]]"#
)]
#[case(
    "$.x",
    "{\n\t\"y\" : [1.0, 1E5, 100000000000000000000, \"\\/\\u0041\"]\r\n}",
    "{\n\t\"y\" : [1.0, 1E5, 100000000000000000000, \"\\/\\u0041\"]\r\n}"
)]
fn replaces(#[case] selector: &str, #[case] document: &str, #[case] expected: &str) {
    let paths = paths(&[selector]);
    for waits in [false, true] {
        let mark = || Mark { wait: if waits { 2 } else { 0 }, ..Mark::new(1_000) };
        assert_eq!(run(&paths, &[document.as_bytes()], &mut mark()).unwrap(), expected);
        for at in 0..=document.len() {
            let (a, b) = document.as_bytes().split_at(at);
            assert_eq!(run(&paths, &[a, b], &mut mark()).unwrap(), expected, "split at {at}");
        }
        let bytes: Vec<&[u8]> = document.as_bytes().chunks(1).collect();
        assert_eq!(run(&paths, &bytes, &mut mark()).unwrap(), expected, "byte by byte");
    }
}

#[test]
fn what_no_path_selects_passes_unchanged() {
    for selectors in [&[][..], &["$.nope", "$..nope[3]", "$[9].x"]] {
        let paths = paths(selectors);
        for document in GOOD {
            for chunk in 1..=document.len() {
                let chunks: Vec<&[u8]> = document.as_bytes().chunks(chunk).collect();
                assert_eq!(run(&paths, &chunks, &mut Mark::new(0)).unwrap(), *document);
            }
        }
        for (document, offset) in BAD {
            let Err(EditError::Json(error)) = run(&paths, &[document], &mut Mark::new(0)) else { panic!() };
            assert_eq!(error.offset, *offset);
        }
    }
}

#[test]
fn a_value_within_the_chunk_is_not_copied() {
    struct Within<'a>(&'a [u8], usize);
    impl Replace for Within<'_> {
        type Error = ();
        fn begin(&mut self, _: usize) -> usize {
            10
        }
        fn buffer(&mut self) -> usize {
            usize::MAX
        }

        fn too_large(&mut self, _: usize) -> Result<(), ()> {
            Err(())
        }
        fn replace(&mut self, _: usize, raw: &[u8], _: Option<&[u8]>, _: &mut Vec<u8>) -> Result<Step, ()> {
            assert!(self.0.as_ptr_range().contains(&raw.as_ptr()));
            self.1 += 1;
            Ok(Step::Done)
        }
    }
    let document = br#"{"a":"1","b":[{"a":2}]}"#;
    let mut within = Within(document, 0);
    Editor::new(&paths(&["$..a"]), 9).feed(document, &mut Vec::new(), &mut within).unwrap();
    assert_eq!(within.1, 2);
}

#[test]
fn the_limit_is_exact() {
    let paths = paths(&["$.a"]);
    let document = br#"{"a":"1234","b":[]}"#;
    for chunk in 1..=document.len() {
        let chunks: Vec<&[u8]> = document.chunks(chunk).collect();
        assert_eq!(run(&paths, &chunks, &mut Mark::new(6)).unwrap(), r#"{"a":<0:"1234">,"b":[]}"#);
        let mut small = Mark::new(5);
        assert_eq!(run(&paths, &chunks, &mut small).unwrap().as_bytes(), document);
        assert_eq!(small.large, 1);
        let error = run(&paths, &chunks, &mut Mark { refuse_large: true, ..Mark::new(5) }).unwrap_err();
        assert!(matches!(error, EditError::Refused("too large")));
        assert_eq!(run(&paths, &chunks, &mut Mark::new(0)).unwrap().as_bytes(), document);
    }
}

#[test]
fn no_more_is_held_than_allowed() {
    let mut editor = Editor::new(&paths(&["$.a"]), 9);
    let (mut out, mut mark) = (Vec::new(), Mark::new(100));
    editor.feed(b"{\"a\":\"", &mut out, &mut mark).unwrap();
    let before = editor.held();
    for _ in 0..1_000 {
        editor.feed(&[b'x'; 37], &mut out, &mut mark).unwrap();
        assert!(editor.held() <= before + 100);
    }
    editor.feed(b"\"}", &mut out, &mut mark).unwrap();
    assert_eq!(editor.finish(&mut out, &mut mark).unwrap(), Fed::All);
    assert_eq!((out.len(), mark.large), (37_000 + 8, 1));
}

#[test]
fn nothing_of_a_held_value_leaves_with_an_error() {
    for document in [&b"{\"a\":\"secret\x01\"}"[..], b"{\"a\":[\"secret\"}", b"{\"a\":\"secret", b"{\"a\":\"secret\xff"]
    {
        for chunk in 1..=document.len() {
            let mut editor = Editor::new(&paths(&["$.a"]), 9);
            let (mut out, mut mark) = (Vec::new(), Mark::new(100));
            let fed = document.chunks(chunk).try_for_each(|chunk| editor.feed(chunk, &mut out, &mut mark).map(|_| ()));
            let error = fed.and_then(|()| editor.finish(&mut out, &mut mark).map(|_| ())).unwrap_err();
            assert!(matches!(error, EditError::Json(_)));
            assert_eq!(out, b"{\"a\":");
            assert!(editor.feed(b"\"}", &mut out, &mut mark).is_err());
            assert!(editor.finish(&mut out, &mut mark).is_err());
            assert_eq!(out, b"{\"a\":");
        }
    }
}

#[test]
fn a_refusal_is_final() {
    let mut editor = Editor::new(&paths(&["$.a"]), 9);
    let (mut out, mut mark) = (Vec::new(), Mark { refuse_large: true, ..Mark::new(2) });
    assert!(matches!(editor.feed(b"{\"a\":123", &mut out, &mut mark), Err(EditError::Refused("too large"))));
    assert!(matches!(editor.feed(b"}", &mut out, &mut mark), Err(EditError::Json(_))));
    assert!(matches!(editor.finish(&mut out, &mut mark), Err(EditError::Json(_))));
    assert_eq!(out, b"{\"a\":");
}

#[test]
fn waiting_asks_again_with_the_same_value() {
    let mut editor = Editor::new(&paths(&["$[*]"]), 9);
    let (mut out, mut mark) = (Vec::new(), Mark { wait: 3, ..Mark::new(100) });
    let document = b"[\"a\", 2]";
    assert_eq!(editor.feed(document, &mut out, &mut mark).unwrap(), Fed::Waiting(4));
    assert_eq!((out.as_slice(), editor.held() > 0), (&b"["[..], true));
    assert_eq!(editor.feed(b"", &mut out, &mut mark).unwrap(), Fed::Waiting(0));
    assert_eq!(editor.feed(&document[4..], &mut out, &mut mark).unwrap(), Fed::Waiting(0));
    assert_eq!(editor.feed(&document[4..], &mut out, &mut mark).unwrap(), Fed::Waiting(3));
    assert_eq!(out, b"[<0:\"a\">, ");
    mark.left = 0;
    assert_eq!(editor.feed(&document[7..], &mut out, &mut mark).unwrap(), Fed::All);
    assert_eq!(editor.finish(&mut out, &mut mark).unwrap(), Fed::All);
    assert_eq!(editor.finish(&mut out, &mut mark).unwrap(), Fed::All);
    assert_eq!(out, b"[<0:\"a\">, <0:2>]");
}

#[test]
fn waiting_at_the_end() {
    let mut editor = Editor::new(&paths(&["$"]), 9);
    let (mut out, mut mark) = (Vec::new(), Mark { wait: 2, ..Mark::new(100) });
    assert_eq!(editor.feed(b"12", &mut out, &mut mark).unwrap(), Fed::All);
    assert_eq!(editor.finish(&mut out, &mut mark).unwrap(), Fed::Waiting(0));
    assert_eq!(editor.finish(&mut out, &mut mark).unwrap(), Fed::Waiting(0));
    assert_eq!(editor.finish(&mut out, &mut mark).unwrap(), Fed::All);
    assert_eq!(out, b"<0:12>");
}

#[test]
fn deep_documents_are_refused_or_pass() {
    let document = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
    let pass = |depth| {
        let mut editor = Editor::new(&paths(&["$..a"]), depth);
        let mut out = Vec::new();
        editor.feed(&document, &mut out, &mut Mark::new(0)).map(|_| out)
    };
    assert_eq!(pass(10_000).unwrap(), document);
    let Err(EditError::Json(error)) = pass(128) else { panic!() };
    assert_eq!(error.offset, 128);
}

#[test]
fn debug_shows_no_byte() {
    let mut editor = Editor::new(&paths(&["$"]), 9);
    editor.feed(b"{\"secret", &mut Vec::new(), &mut Mark::new(100)).unwrap();
    assert_eq!(format!("{editor:?}"), "Editor { offset: 8, .. }");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn splits_and_waits_change_nothing(
        document in document(),
        damage in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        selector in proptest::sample::select(&["$", "$.a", "$..a", "$..*", "$[1:]", "$..[0]", "$['a','b'].a", "$.*.*",
            "$[-1]", "$..[-2:]", "$[?@.a].a", "$..[?@ == 1 || @.a]", "$.*[?@ == $[0]]", "$..[?length(@) > 1, -1]"][..]),
        limit in prop_oneof![Just(1_000), 0_usize..12],
        refuse_large: bool,
        waits in 0_usize..3,
    ) {
        let mut document = document.into_bytes();
        if let Some((at, byte)) = damage {
            let at = at.index(document.len());
            document[at] = byte;
        }
        let paths = paths(&[selector]);
        let mark = |wait| Mark { refuse_large, wait, ..Mark::new(limit) };
        let whole = outcome(run(&paths, &[&document], &mut mark(0)));
        for at in 0..=document.len() {
            let (a, b) = document.split_at(at);
            prop_assert_eq!(outcome(run(&paths, &[a, b], &mut mark(waits))), whole.clone(), "split at {}", at);
        }
        let bytes: Vec<&[u8]> = document.chunks(1).collect();
        prop_assert_eq!(outcome(run(&paths, &bytes, &mut mark(waits))), whole);
    }
}

fn outcome(edited: Edited) -> Result<String, String> {
    edited.map_err(|error| match error {
        EditError::Json(error) => error.to_string(),
        EditError::Undecided(why) | EditError::Refused(why) => why.to_owned(),
    })
}

/// Small documents, duplicate names and escapes included.
fn document() -> impl Strategy<Value = String> {
    const LEAVES: &[&str] =
        &["1", "-2.50e3", "\"\"", "\"é\\n\\ud83d\"", "true", " null", "[]", "{ }", "\"longer than the limit\""];
    const NAMES: &[&str] =
        &["\"a\"", "\"b\"", "\"\\u0061\"", "\"c\\\"\"", "\"a much longer name than any selector has\""];
    proptest::sample::select(LEAVES).prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|values| format!("[{}]", values.join(", "))),
            proptest::collection::vec((proptest::sample::select(NAMES), inner), 0..3).prop_map(|members| {
                let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{name} :{value}")).collect();
                format!("{{{}}} ", members.join(","))
            }),
        ]
    })
}

fn paths(selectors: &[&str]) -> Vec<Arc<Path>> {
    selectors.iter().flat_map(|text| compile(text).unwrap()).map(|one| one.path).collect()
}

fn run(paths: &[Arc<Path>], chunks: &[&[u8]], mark: &mut Mark) -> Edited {
    let mut editor = Editor::new(paths, 64);
    let mut out = Vec::new();
    for mut chunk in chunks.iter().copied() {
        while let Fed::Waiting(taken) = editor.feed(chunk, &mut out, mark)? {
            chunk = &chunk[taken..];
        }
    }
    while editor.finish(&mut out, mark)? != Fed::All {}
    Ok(String::from_utf8(out).unwrap())
}

/// Writes `<selector:value>` in place of a value, after so many waits.
struct Mark {
    limit: usize,
    wait: usize,
    left: usize,
    refuse_large: bool,
    large: usize,
}

impl Mark {
    fn new(limit: usize) -> Self {
        Self { limit, wait: 0, left: 0, refuse_large: false, large: 0 }
    }
}

impl Replace for Mark {
    type Error = &'static str;

    fn begin(&mut self, _: usize) -> usize {
        self.left = self.wait;
        self.limit
    }

    fn buffer(&mut self) -> usize {
        self.limit.saturating_mul(4)
    }

    fn too_large(&mut self, _: usize) -> Result<(), &'static str> {
        self.large += 1;
        if self.refuse_large { Err("too large") } else { Ok(()) }
    }

    fn replace(
        &mut self,
        selector: usize,
        raw: &[u8],
        _: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Step, &'static str> {
        if self.left > 0 {
            self.left -= 1;
            return Ok(Step::Wait);
        }
        out.extend_from_slice(format!("<{selector}:").as_bytes());
        out.extend_from_slice(raw);
        out.push(b'>');
        Ok(Step::Done)
    }
}

#[rstest]
#[case("$[?@.a == 1]", r#"[{"a":1,"a":2}]"#, Err("a filter looks at an object with duplicate names"))]
#[case("$[?@.a == 1]", r#"[{"\u0061":2,"a":1}]"#, Err("a filter looks at an object with duplicate names"))]
#[case("$[?@.a == 1]", r#"[{"a":1,"b":{"c":1,"c":2}}]"#, Ok(r#"[<0:{"a":1,"b":{"c":1,"c":2}}>]"#))]
#[case(
    "$[?@.a == 1].b",
    r#"[{"a":1,"b":{"b":1}, "c":{"b":1,"b":2}}]"#,
    Ok(r#"[{"a":1,"b":<0:{"b":1}>, "c":{"b":1,"b":2}}]"#)
)]
#[case(
    "$[?@.a == @.b]",
    r#"[{"a":{"c":1,"c":1},"b":{"c":1}}]"#,
    Err("a filter looks at an object with duplicate names")
)]
fn a_filter_never_decides_on_duplicate_names(
    #[case] selector: &str,
    #[case] document: &str,
    #[case] expected: Result<&str, &str>,
) {
    let edited = outcome(run(&paths(&[selector]), &[document.as_bytes()], &mut Mark::new(1_000)));
    assert_eq!(edited.as_deref().map_err(String::as_str), expected);
}

#[test]
fn the_first_path_names_what_streaming_and_buffered_paths_select() {
    let document = br#"{"c":[{"t":1,"s":"x","n":"y"},{"t":2,"s":"z","n":"w"}],"s":"v"}"#;
    let edited = |selectors: &[&str]| run(&paths(selectors), &[document], &mut Mark::new(1_000)).unwrap();
    assert_eq!(
        edited(&["$.c[?@.t == 1].s", "$..s", "$..n"]),
        r#"{"c":[{"t":1,"s":<0:"x">,"n":<2:"y">},{"t":2,"s":<1:"z">,"n":<2:"w">}],"s":<1:"v">}"#
    );
    assert_eq!(
        edited(&["$..s", "$.c[?@.t == 1].s", "$.c[-1]"]),
        r#"{"c":[{"t":1,"s":<0:"x">,"n":"y"},<2:{"t":2,"s":"z","n":"w"}>],"s":<0:"v">}"#
    );
    assert!(edited(&["$.c", "$.c[?@.t == 1].s"]).starts_with(r#"{"c":<0:["#));
}

#[test]
fn steps_are_bounded() {
    let document = format!("{}1{}", r#"{"a":"#.repeat(3_000), "}".repeat(3_000));
    let mut editor = Editor::new(&paths(&["$..[?@..b || @..c || @..d].e"]), 10_000);
    let edited = editor.feed(document.as_bytes(), &mut Vec::new(), &mut Mark::new(1 << 20));
    assert!(matches!(edited, Err(EditError::Undecided("a filter takes too many steps in this document"))));
}

/// Each is decided in its turn, and each time something long is looked at that stands elsewhere in the document.
#[rstest]
#[case("$.items[?@.o == $.me]", r#"{"\u0061LONG":1,"me":1,"items":[ITEMS]}"#, Ok(()))]
#[case("$.items[?length(@.o) == length($.me)]", r#"{"me":"\u0061LONG","items":[ITEMS]}"#, Err(COSTLY))]
#[case("$.items[?@.o < $.me]", r#"{"me":"\u0061LONG","items":[ITEMS]}"#, Err(COSTLY))]
#[case("$.items[?search($.me, 'x+y')]", r#"{"me":"LONG","items":[ITEMS]}"#, Err(COSTLY))]
#[case("$.items[?@.o == $.me]", r#"{"me":1LONG,"items":[ITEMS]}"#, Err(COSTLY))]
#[case("$.items[?@ == $.me]", r#"{"me":{"\u0061LONG":1},"items":[ITEMS]}"#, Err(COSTLY))]
#[case("$.items[?match('x', @.p)]", r#"{"items":[PATTERNS]}"#, Err(COSTLY))]
#[case("$.items[?count($..*..*..*..*) == 1]", r#"{"me":[[[[[[[[[1]]]]]]]]],"items":[ITEMS]}"#, Err(COSTLY))]
fn nothing_long_is_looked_at_for_each_of_many(
    #[case] selector: &str,
    #[case] document: &str,
    #[case] expected: Result<(), &str>,
) {
    assert_eq!(looked_at(&paths(&[selector]), document), expected);
}

#[test]
fn nothing_long_is_bound_to_each_of_many() {
    let path = compile("$.items[*].o").unwrap().remove(0).path;
    let paths = [Arc::new(path.bound(compile_bind("$.me").unwrap()))];
    assert_eq!(looked_at(&paths, r#"{"me":"LONG","items":[ITEMS]}"#), Err(COSTLY));
    assert_eq!(looked_at(&paths, r#"{"me":"a usual one","items":[ITEMS]}"#), Ok(()));
}

const COSTLY: &str = "a filter takes too many steps in this document";

fn looked_at(paths: &[Arc<Path>], document: &str) -> Result<(), &'static str> {
    let patterns: Vec<String> = (0..1_000).map(|n| format!(r#"{{"p":"\\p{{L}}{{{}}}"}}"#, n % 8)).collect();
    let document = document
        .replace("LONG", &"1".repeat(1 << 17))
        .replace("ITEMS", &vec![r#"{"o":"1"}"#; 10_000].join(","))
        .replace("PATTERNS", &patterns.join(","));
    let mut editor = Editor::new(paths, 64);
    editor.feed(document.as_bytes(), &mut Vec::new(), &mut Mark::new(1 << 20)).map(drop).map_err(|error| match error {
        EditError::Undecided(why) | EditError::Refused(why) => why,
        EditError::Json(error) => error.what,
    })
}
