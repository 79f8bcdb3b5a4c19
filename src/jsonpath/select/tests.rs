use std::collections::BTreeSet;

use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::json::text::escape_into;
use crate::jsonpath::compile;

#[test]
fn says_what_is_wrong() {
    assert_eq!(select(b"{\"a\":}", &[]).unwrap_err(), "a value must stand here at byte 5");
    assert_eq!(select(b"", &[]).unwrap_err(), "no JSON value at byte 0");
}

#[test]
fn spans_are_the_values() {
    let paths = [compile("$[*]").unwrap()[0].path.clone()];
    let document = br#" [ 1 , "a" ,[ ],null , -1.5e3]"#;
    let found = select(document, &paths).unwrap();
    let values: Vec<_> = found.iter().map(|one| std::str::from_utf8(&document[one.span.clone()]).unwrap()).collect();
    assert_eq!(values, ["1", "\"a\"", "[ ]", "null", "-1.5e3"]);
    let found = select(b" 12", &[compile("$").unwrap()[0].path.clone()]).unwrap();
    assert_eq!(found, [Selected { path: 0, location: "$".into(), span: 1..3 }]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn selects_what_the_oracle_selects(document in document(), selector in selector()) {
        let value: Value = serde_json::from_str(&document).unwrap();
        let oracle = js_path_process(&parse_json_path(&selector).unwrap(), &value).unwrap();
        let all: BTreeSet<String> = oracle.into_iter().map(|found| found.path()).collect();
        let outermost: BTreeSet<String> = all.iter().filter(|path| !is_inside(path, &all)).cloned().collect();
        let paths: Vec<Arc<Path>> = compile(&selector).unwrap().into_iter().map(|one| one.path).collect();
        let found = select(document.as_bytes(), &paths).unwrap();
        prop_assert_eq!(found.len(), outermost.len());
        for one in &found {
            // Where it is, and what it is.
            let at = parse_json_path(&one.location).unwrap();
            let expected = js_path_process(&at, &value).unwrap().pop().unwrap().val().clone();
            prop_assert_eq!(serde_json::from_slice::<Value>(&document.as_bytes()[one.span.clone()]).unwrap(), expected);
        }
        let ours: BTreeSet<String> = found.into_iter().map(|one| one.location).collect();
        prop_assert_eq!(ours, outermost);
    }

    /// What is found as the document streams by is what is found in it whole.
    #[test]
    fn the_editor_finds_the_same(document in document(), a in selector(), b in selector()) {
        use crate::json::splice::{Fed, Replace, Step};
        use crate::jsonpath::Editor;
        struct Mark;
        impl Replace for Mark {
            type Error = ();
            fn begin(&mut self, _: usize) -> usize { usize::MAX }
            fn buffer(&mut self) -> usize { usize::MAX }
            fn too_large(&mut self, _: usize) -> Result<(), ()> { Err(()) }
            fn replace(&mut self, selector: usize, raw: &[u8], out: &mut Vec<u8>) -> Result<Step, ()> {
                out.extend_from_slice(format!("<{selector}:{}>", raw.len()).as_bytes());
                Ok(Step::Done)
            }
        }
        let paths: Vec<Arc<Path>> = [a, b].iter().flat_map(|text| compile(text).unwrap()).map(|one| one.path).collect();
        let mut expected = document.clone().into_bytes();
        for one in select(document.as_bytes(), &paths).unwrap().into_iter().rev() {
            expected.splice(one.span.clone(), format!("<{}:{}>", one.path, one.span.len()).into_bytes());
        }
        let (mut editor, mut out) = (Editor::new(&paths, 512), Vec::new());
        for byte in document.as_bytes().chunks(7) {
            prop_assert_eq!(editor.feed(byte, &mut out, &mut Mark).unwrap(), Fed::All);
        }
        editor.finish(&mut out, &mut Mark).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(expected).unwrap());
    }

    #[test]
    fn overlap_is_never_missed(document in document(), a in selector(), b in selector()) {
        use crate::jsonpath::{may_contain, may_overlap};
        let (a, b) = (compile(&a).unwrap()[0].path.clone(), compile(&b).unwrap()[0].path.clone());
        let value: Value = serde_json::from_str(&document).unwrap();
        let all = |path: &Path| -> BTreeSet<String> {
            let query = parse_json_path(&path.to_string()).unwrap();
            js_path_process(&query, &value).unwrap().into_iter().map(|found| found.path()).collect()
        };
        let (of_a, of_b) = (all(&a), all(&b));
        prop_assert!(may_overlap(&a, &b) || of_a.is_disjoint(&of_b));
        prop_assert!(may_contain(&a, &b) || !of_b.iter().any(|path| is_inside(path, &of_a)));
    }
}

/// Whether a value around this one is among `all`.
fn is_inside(path: &str, all: &BTreeSet<String>) -> bool {
    path.match_indices('[').any(|(at, _)| path.get(..at).is_some_and(|around| all.contains(around)))
}

const NAMES: &[&str] =
    &["a", "b", "ssn", "", "it's", "q\"", "back\\", "é", "😀", "a\nb", "\u{1}", "a b", "0", "a/b", "['a']"];

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => proptest::sample::select(&NAMES[..3]), 1 => proptest::sample::select(NAMES)]
}

/// A name between quotes, some of its characters needlessly escaped.
fn spelled(name: &str, mask: u32) -> String {
    let mut out = String::from("\"");
    for (i, c) in name.chars().enumerate() {
        if mask >> (i % 32) & 1 == 1 {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04X}"));
            }
        } else {
            let mut raw = Vec::new();
            escape_into(c.encode_utf8(&mut [0; 4]), &mut raw);
            out.push_str(std::str::from_utf8(&raw).unwrap());
        }
    }
    out + "\""
}

/// Documents without duplicate names, of which the oracle keeps one.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just(" true ".to_owned()),
        Just("-1.50e2".to_owned()),
        (name(), any::<u32>()).prop_map(|(text, mask)| spelled(text, mask)),
        Just("[ ]".to_owned()),
        Just("{}".to_owned()),
        // Deep, and the same name all the way.
        (1_usize..40).prop_map(|depth| format!("{}1{}", r#"{"a":["#.repeat(depth), "]}".repeat(depth))),
    ];
    leaf.prop_recursive(5, 60, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(|values| format!("[{}]", values.join(" ,"))),
            proptest::collection::btree_map(name(), (any::<u32>(), inner), 0..5).prop_map(|members| {
                let one = |(name, (mask, value)): (&str, (u32, String))| format!("{}: {value}", spelled(name, mask));
                format!("{{{}}}", members.into_iter().map(one).collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn selector() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        4 => (name(), any::<u32>()).prop_map(|(name, mask)| spelled(name, mask)),
        2 => Just("*".to_owned()),
        2 => (0..4_u8).prop_map(|index| index.to_string()),
        1 => (proptest::option::of(0..3), proptest::option::of(0..4)).prop_map(|(from, to)| {
            let text = |bound: Option<i32>| bound.map_or_else(String::new, |bound| bound.to_string());
            format!("{}:{}", text(from), text(to))
        }),
        1 => (-4..0_i8).prop_map(|index| index.to_string()),
        1 => (proptest::option::of(-4..4), proptest::option::of(-4..4), prop_oneof![-3..0, 1..4]).prop_map(|(from, to, step)| {
            let text = |bound: Option<i32>| bound.map_or_else(String::new, |bound| bound.to_string());
            format!("{}:{}:{step}", text(from), text(to))
        }),
        3 => filter().prop_map(|filter| format!("?{filter}")),
    ];
    let segment = (any::<bool>(), proptest::collection::vec(one, 1..3))
        .prop_map(|(descendant, one)| format!("{}[{}]", if descendant { ".." } else { "" }, one.join(",")));
    proptest::collection::vec(segment, 0..4).prop_map(|segments| format!("${}", segments.concat()))
}

fn filter() -> impl Strategy<Value = String> {
    let singular = || {
        let step = prop_oneof![
            3 => proptest::sample::select(&NAMES[..3]).prop_map(|name| spelled(name, 0)),
            1 => (-2..3_i8).prop_map(|index| index.to_string()),
        ];
        (prop_oneof![4 => Just("@"), 1 => Just("$")], proptest::collection::vec(step, 0..3))
            .prop_map(|(from, steps)| steps.iter().fold(from.to_owned(), |query, step| format!("{query}[{step}]")))
    };
    let many = || {
        (singular(), prop_oneof![Just(""), Just("[*]"), Just("..a"), Just("..*"), Just("['a','a']"), Just("[::-1]")])
            .prop_map(|(query, rest)| query + rest)
    };
    let operand = move || {
        prop_oneof![
            3 => singular(),
            1 => proptest::sample::select(&["null", "true", "1", "-150", "1.5", "'a'", "'ssn'", "-1.50e2", "\"\""][..]).prop_map(str::to_owned),
                1 => many().prop_map(|query| format!("value({query})")),
            1 => singular().prop_map(|query| format!("length({query})")),
        ]
    };
    let test = prop_oneof![
        3 => (any::<bool>(), many()).prop_map(|(not, query)| format!("{}{query}", if not { "!" } else { "" })),
        4 => (operand(), proptest::sample::select(&["==", "!=", "<", "<=", ">", ">="][..]), operand())
            .prop_map(|(left, sign, right)| format!("{left} {sign} {right}")),
        1 => (any::<bool>(), singular(), proptest::sample::select(&["a", "s.n", "[a-b]*", "q|ssn", ".*"][..]))
            .prop_map(|(whole, text, pattern)| format!("{}({text}, '{pattern}')", if whole { "match" } else { "search" })),
    ];
    test.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} && {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.prop_map(|inner| format!("!({inner})")),
        ]
    })
}
