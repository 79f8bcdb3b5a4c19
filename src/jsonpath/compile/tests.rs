use rstest::rstest;

use super::*;
use crate::jsonpath::Buffering;

#[rstest]
#[case("$", None, "$")]
#[case("$.ssn", Some("ssn"), "$['ssn']")]
#[case("$['ssn']", Some("ssn"), "$['ssn']")]
#[case("$[\"ssn\"]", Some("ssn"), "$['ssn']")]
#[case("$.cards[*].pan", Some("pan"), "$['cards'][*]['pan']")]
#[case("$..ssn", Some("ssn"), "$..['ssn']")]
#[case("$..*", None, "$..[*]")]
#[case("$..[0]", None, "$..[0]")]
#[case("$.emails[0]", Some("emails"), "$['emails'][0]")]
#[case("$.emails[*]", Some("emails"), "$['emails'][*]")]
#[case("$.emails[1:3]", Some("emails"), "$['emails'][1:3]")]
#[case("$.emails[:3]", Some("emails"), "$['emails'][0:3]")]
#[case("$.emails[2:]", Some("emails"), "$['emails'][2:]")]
#[case("$.emails[::]", Some("emails"), "$['emails'][0:]")]
#[case("$.emails[::1]", Some("emails"), "$['emails'][0:]")]
#[case("$[0]", None, "$[0]")]
#[case("$[0,0,1]", None, "$[0,1]")]
#[case("$['a',0]", None, "$['a',0]")]
#[case("$['a',*]", None, "$['a',*]")]
#[case("$.x['a',*][0]", None, "$['x']['a',*][0]")]
#[case("$['a','b'].c", Some("c"), "$['a','b']['c']")]
#[case(r"$['it\'s']", Some("it's"), r"$['it\'s']")]
#[case(r#"$["a\u0062\ud83d\ude00"]"#, Some("ab😀"), "$['ab😀']")]
#[case(r#"$["\"\\\/\b\f\n\r\t"]"#, Some("\"\\/\u{8}\u{c}\n\r\t"), r#"$['"\\/\b\f\n\r\t']"#)]
#[case("$['']", Some(""), "$['']")]
#[case("$[' a ']", Some(" a "), "$[' a ']")]
#[case("$[ 'a' , 'a' ]", Some("a"), "$['a']")]
#[case("$ .a\n[0]", Some("a"), "$['a'][0]")]
#[case("$.ключ", Some("ключ"), "$['ключ']")]
#[case("$..[ 1 : 2 ]", None, "$..[1:2]")]
fn one_path(#[case] text: &str, #[case] last_name: Option<&str>, #[case] canonical: &str) {
    let compiled = compile(text).unwrap();
    let [one] = compiled.as_slice() else { panic!("{compiled:?}") };
    assert_eq!(one.last_name.as_deref(), last_name);
    assert_eq!(one.canonical, canonical);
    let again = compile(canonical).unwrap();
    assert_eq!((&again[0].path, &again[0].last_name), (&one.path, &one.last_name));
}

#[test]
fn a_union_of_names_becomes_several() {
    let compiled = compile("$.p..['a','b','a'][0]").unwrap();
    let got: Vec<_> = compiled.iter().map(|one| (one.canonical.as_str(), one.last_name.as_deref())).collect();
    assert_eq!(got, [("$['p']..['a'][0]", Some("a")), ("$['p']..['b'][0]", Some("b"))]);
}

#[rstest]
#[case("$[-1]", "$[-1]", Buffering::Element)]
#[case("$..['a',-1]", "$..['a',-1]", Buffering::Element)]
#[case("$[-2:]", "$[-2::1]", Buffering::Element)]
#[case("$[:-2]", "$[:-2:1]", Buffering::Element)]
#[case("$[0:9:2]", "$[0:9:2]", Buffering::Streaming)]
#[case("$[::0]", "$[0:0]", Buffering::Streaming)]
#[case("$[::-1]", "$[::-1]", Buffering::Element)]
#[case("$[?@.a]", "$[?@['a']]", Buffering::Element)]
#[case("$[? @.a == 'b' ].c", "$[?@['a']=='b']['c']", Buffering::Element)]
#[case("$.a[?length(@.b) > 1]", "$['a'][?length(@['b'])>1]", Buffering::Element)]
#[case("$.a[?match(@.b, 'x.*')]", "$['a'][?match(@['b'],'x.*')]", Buffering::Element)]
#[case("$.a[0, ?@.b]", "$['a'][0,?@['b']]", Buffering::Element)]
#[case("$[?@.a == $.b]", "$[?@['a']==$['b']]", Buffering::Document)]
#[case("$[?@[?$.x]]", "$[?@[?$['x']]]", Buffering::Document)]
#[case("$[?!@.a && (@.b || !(@.c < -1.50))]", "$[?!@['a']&&(@['b']||!(@['c']<-0.15e1))]", Buffering::Element)]
#[case(
    "$[?@.a == 1e3 || @.b == 0 || @.c == null || @.d != true]",
    "$[?@['a']==1000||@['b']==0||@['c']==null||@['d']!=true]",
    Buffering::Element
)]
#[case("$[?count(@..*) >= value(@.n)]", "$[?count(@..[*])>=value(@['n'])]", Buffering::Element)]
#[case("$[?count(@['a','a']) == 2]", "$[?count(@['a','a'])==2]", Buffering::Element)]
#[case("$[?@[-1] == 'it\\'s']", "$[?@[-1]=='it\\'s']", Buffering::Element)]
fn buffered(#[case] text: &str, #[case] canonical: &str, #[case] buffering: Buffering) {
    let one = compile(text).unwrap().remove(0);
    assert_eq!((one.canonical.as_str(), one.path.buffering()), (canonical, buffering));
    assert_eq!(compile(canonical).unwrap()[0].path, one.path, "read back");
}

#[rstest]
#[case("$[?length(@.a)]", "compared")]
#[case("$[?count(@.a)]", "compared")]
#[case("$[?length(@.*) > 1]", "value(")]
#[case("$[?length(@.a && @.b) > 1]", "")]
#[case("$[?count(1) > 1]", "")]
#[case("$[?match(@.a, 'x') == true]", "")]
#[case("$[?match(@.a, '\\\\d')]", "RFC 9485")]
#[case("$[?search(@.a, '(?i)x')]", "RFC 9485")]
#[case("$[?@.a == 123456789012345678901]", "more than 17 digits")]
#[case("$[?@.a == 1e999]", "too large")]
#[case("$[?@.* == 1]", "")]
#[case("$[?true]", "")]
#[case("$[?'a']", "")]
#[case("$[?@.a = 1]", "")]
#[case("$[?in(@.a, $.l)]", "no function `in`")]
fn ill_typed(#[case] text: &str, #[case] says: &str) {
    let error = compile(text).unwrap_err();
    assert!(matches!(&error, SelectorError::Invalid(_)), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

#[rstest]
#[case("")]
#[case("a")]
#[case(".a")]
#[case(" $.a")]
#[case("$.a ")]
#[case("$.a\n")]
#[case("$.")]
#[case("$..")]
#[case("$...a")]
#[case("$.a.")]
#[case("$. a")]
#[case("$.. a")]
#[case("$.a b")]
#[case("$.a\nb")]
#[case("$.a-b")]
#[case("$.1")]
#[case("$.'a'")]
#[case("$.\u{a0}a")]
#[case("$.a\u{a0}")]
#[case("$.a\u{2003}b")]
#[case("$[]")]
#[case("$[a]")]
#[case("$['a',]")]
#[case("$['a'")]
#[case("$['a]")]
#[case("$[\"a']")]
#[case("$['a\tb']")]
#[case("$['a\nb']")]
#[case(r"$['\x']")]
#[case(r"$['\ n']")]
#[case(r#"$['\"']"#)]
#[case(r#"$["\'"]"#)]
#[case(r"$['\u00 41']")]
#[case(r"$['\ud800']")]
#[case(r"$['\ud83d \ude00']")]
#[case(r"$['\udc00\ud800']")]
#[case("$[01]")]
#[case("$[-0]")]
#[case("$[- 1]")]
#[case("$[1 2]")]
#[case("$[1.0]")]
#[case("$[9007199254740992]")]
#[case("$[1:2:3:4]")]
#[case("$[0:-0]")]
#[case("$.a[(@.length-1)]")]
#[case("$[?in(@.a, $.l)]")]
#[case("$[?subset_of(@.a, $.l)]")]
#[case("$[?!none_of(@.a, $.l) && @.b]")]
#[case("$[?nope(@.a)]")]
#[case("$[?length (@.a) > 1]")]
#[case("@.a")]
#[case("$$")]
#[case("$.a~")]
fn invalid(#[case] text: &str) {
    let error = compile(text).unwrap_err();
    assert!(matches!(error, SelectorError::Invalid(_)), "{error:?}");
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn messages_say_where() {
    let message = compile("$.cards[*.pan").unwrap_err().to_string();
    assert_eq!(message, "not a JSONPath (RFC 9535): it cannot be read from column 9 on");
}

#[test]
fn no_selector_takes_forever() {
    let text = |depth: usize| format!("$[?{}@.a{}]", "count(@[?".repeat(depth), "])".repeat(depth));
    assert!(compile(&text(8)).is_err_and(|error| error.to_string().contains("compared")));
    assert!(matches!(compile(&text(60)).unwrap_err(), SelectorError::Invalid(_)));
    assert!(compile("$['((((((((((']").is_ok());
}

#[test]
fn the_longest_selector() {
    let text = |segments| format!("${}", ".a".repeat(segments));
    assert_eq!(compile(&text(63)).unwrap().len(), 1);
    assert_eq!(compile(&text(64)).unwrap_err(), SelectorError::NotYet("a selector of more than 63 segments"));
}
