use std::sync::Arc;

use rstest::rstest;

use crate::jsonpath::{Path, compile, select};

const DOCUMENT: &str =
    r#"{"s\u0073n":"1","a":[{"pan":1,"x":[10,11,12]},2,{"pan":3}],"ssn":"2","d":{"a":{"pan":[4]},"ssn":{"ssn":5}}}"#;

#[rstest]
#[case("$", &["$"])]
#[case("$.ssn", &["$['ssn']", "$['ssn']"])]
#[case("$.a[*].pan", &["$['a'][0]['pan']", "$['a'][2]['pan']"])]
#[case("$..pan", &["$['a'][0]['pan']", "$['a'][2]['pan']", "$['d']['a']['pan']"])]
#[case("$..a.pan", &["$['d']['a']['pan']"])]
#[case("$.d..pan", &["$['d']['a']['pan']"])]
#[case("$.a[1]", &["$['a'][1]"])]
#[case("$.a[1:]", &["$['a'][1]", "$['a'][2]"])]
#[case("$.a[:2]", &["$['a'][0]", "$['a'][1]"])]
#[case("$.a[2:1]", &[])]
#[case("$.a[0]['x'][0,2]", &["$['a'][0]['x'][0]", "$['a'][0]['x'][2]"])]
#[case("$..[0]", &["$['a'][0]", "$['d']['a']['pan'][0]"])]
#[case("$..x[1:9]", &["$['a'][0]['x'][1]", "$['a'][0]['x'][2]"])]
#[case("$.*", &["$['ssn']", "$['a']", "$['ssn']", "$['d']"])]
#[case("$..*", &["$['ssn']", "$['a']", "$['ssn']", "$['d']"])]
#[case("$.d.*.*", &["$['d']['a']['pan']", "$['d']['ssn']['ssn']"])]
#[case("$..['pan','ssn']", &["$['ssn']", "$['a'][0]['pan']", "$['a'][2]['pan']", "$['ssn']", "$['d']['a']['pan']", "$['d']['ssn']"])]
#[case("$.nope", &[])]
#[case("$[0]", &[])]
#[case("$.a.pan", &[])]
#[case("$..ssn..ssn", &["$['d']['ssn']['ssn']"])]
fn selects(#[case] selector: &str, #[case] expected: &[&str]) {
    let paths: Vec<Arc<Path>> = compile(selector).unwrap().into_iter().map(|one| one.path).collect();
    let found = select(DOCUMENT.as_bytes(), &paths).unwrap();
    assert_eq!(found.iter().map(|one| one.location.as_str()).collect::<Vec<_>>(), expected);
}

#[test]
fn many_paths_of_the_greatest_length() {
    let text = |n: usize| format!("$..n{n}{}", ".x".repeat(62));
    let paths: Vec<Arc<Path>> = (0..256).map(|n| compile(&text(n)).unwrap()[0].path.clone()).collect();
    let nested = |n: usize| format!(r#"{{"n{n}":{}1{}}}"#, r#"{"x":"#.repeat(62), "}".repeat(62));
    let document = format!("[{},{},{}]", nested(255), nested(0), nested(256));
    let found: Vec<_> = select(document.as_bytes(), &paths).unwrap().iter().map(|one| one.path).collect();
    assert_eq!(found, [255, 0]);
}

#[test]
fn the_first_path_names_the_value() {
    let paths: Vec<Arc<Path>> = ["$.b", "$..a", "$.a"].map(|text| compile(text).unwrap()[0].path.clone()).to_vec();
    let found = select(br#"{"a":1,"b":{"a":2}}"#, &paths).unwrap();
    assert_eq!(found.iter().map(|one| (one.path, one.span.clone())).collect::<Vec<_>>(), [(1, 5..6), (0, 11..18)]);
}
