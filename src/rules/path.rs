//! A request path in the one form that rules are matched against, and refused where another reader could see another path.

use std::ops::Range;

/// A path in the one form that rules are matched against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath(pub String);

/// The path normalises two ways; says how, without the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Ambiguous(pub &'static str);

/// Normalises the path of a request target (no query): percent-decoded once, dot segments resolved, `//` merged, `;parameters`
/// and a trailing `/` dropped, lower case if `ignore_case`.
pub fn normalize(raw: &str, ignore_case: bool) -> Result<NormalPath, Ambiguous> {
    if raw == "*" {
        // `OPTIONS *` is about the server, no pattern meets it.
        return Ok(NormalPath("*".into()));
    }
    let rest = match raw.strip_prefix('/') {
        Some(rest) => rest,
        None if raw.is_empty() => "",
        None => return Err(Ambiguous("the path does not begin with a slash")),
    };
    match !ignore_case && is_normal(rest) {
        true => Ok(NormalPath(raw.to_owned())),
        false => resolve(rest, ignore_case),
    }
}

/// The same, of what follows the first slash, in whatever form it is.
fn resolve(rest: &str, ignore_case: bool) -> Result<NormalPath, Ambiguous> {
    // Empty segments are kept until the end: `/a//../b` is `/a/b` to RFC 3986 and `/b` to whoever merges slashes first.
    let mut stack: Vec<String> = Vec::new();
    for raw_segment in rest.split('/') {
        let (bare, parameters) = match raw_segment.split_once(';') {
            Some((bare, _)) => (bare, true),
            None => (raw_segment, false),
        };
        // What is dropped is checked too, or `;%2e%2e%2fx` would be a way past.
        let segment = decode(bare)?;
        if parameters {
            decode(raw_segment)?;
        }
        match segment.as_str() {
            "." | ".." if parameters => return Err(Ambiguous("a dot segment with parameters")),
            "." => {}
            ".." => {
                if stack.pop().is_some_and(|last| last.is_empty()) {
                    return Err(Ambiguous("a dot segment after an empty segment"));
                }
            }
            _ => stack.push(if ignore_case { fold(&segment)? } else { segment }),
        }
    }
    let mut path = String::with_capacity(rest.len() + 1);
    for segment in stack.iter().filter(|s| !s.is_empty()) {
        path.push('/');
        path.push_str(segment);
    }
    if path.is_empty() {
        path.push('/');
    }
    Ok(NormalPath(path))
}

/// Whether nothing of what follows a path's first slash has a second form, so that the path is its own normal one: most are. Errs
/// on `false`.
fn is_normal(rest: &str) -> bool {
    let mut begins = true;
    let plain = rest.bytes().all(|byte| {
        let fits = match byte {
            b'/' | b'.' => !begins,
            _ => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~'),
        };
        begins = byte == b'/';
        fits
    });
    plain && !begins
}

/// Where the segments of the normalised path stand in a path that normalises, each without its `;parameters`.
pub fn segment_spans(raw: &str) -> Vec<Range<usize>> {
    let mut stack: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for segment in raw.split('/') {
        let start = at;
        at += segment.len() + 1;
        let bare = segment.split(';').next().unwrap_or_default();
        match decode(bare).as_deref() {
            Ok(".") => {}
            Ok("..") => drop(stack.pop()),
            Ok(_) | Err(_) => stack.push(start..start + bare.len()),
        }
    }
    stack.retain(|span| !span.is_empty());
    stack
}

/// Lower case as `case: ignore` compares it.
pub(crate) fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

fn decode(raw: &str) -> Result<String, Ambiguous> {
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let byte = match first {
            b'%' => {
                let Some((value, after)) = escape(tail) else { return Err(Ambiguous("a broken percent-escape")) };
                rest = after;
                match value {
                    b'/' => return Err(Ambiguous("an encoded slash")),
                    b';' => return Err(Ambiguous("an encoded semicolon")),
                    _ => value,
                }
            }
            b'?' | b'#' => return Err(Ambiguous("a query or fragment inside the path")),
            _ => first,
        };
        match byte {
            b'\\' => return Err(Ambiguous("a backslash")),
            0 => return Err(Ambiguous("an encoded NUL")),
            0x01..0x20 | 0x7f => return Err(Ambiguous("a control character")),
            _ => out.push(byte),
        }
    }
    let text = String::from_utf8(out).map_err(|_| Ambiguous("not UTF-8"))?;
    if looks_encoded(text.as_bytes()) {
        return Err(Ambiguous("encoded twice"));
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(Ambiguous("white space around a segment"));
    }
    if text.chars().any(char::is_control) {
        return Err(Ambiguous("a control character"));
    }
    Ok(text)
}

/// The byte of an escape whose `%` has been read, and what follows.
fn escape(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = after_percent.split_first_chunk::<2>()?;
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some((digit(high)? << 4 | digit(low)?, rest))
}

/// Whether a decoded text would change if decoded again, by the rules of RFC 3986 or by those of IIS (`%u002f`).
fn looks_encoded(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest) {
        rest = rest.get(at + 1..).unwrap_or_default();
        let iis = rest.first().is_some_and(|b| b.eq_ignore_ascii_case(&b'u'))
            && rest.get(1..5).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        if iis || escape(rest).is_some() {
            return true;
        }
    }
    false
}

/// Lower case, refusing the letters that some applications fold into ASCII and others do not (`ſ`, the Kelvin sign, `ı`, `İ`).
fn fold(segment: &str) -> Result<String, Ambiguous> {
    let folds_into_ascii = |c: char| {
        let mut upper = c.to_uppercase();
        (upper.len() == 1 && upper.next().is_some_and(|u| u.is_ascii()))
            || c.to_lowercase().next().is_some_and(|l| l.is_ascii())
    };
    if segment.chars().any(|c| !c.is_ascii() && folds_into_ascii(c)) {
        return Err(Ambiguous("a letter whose case folds into ASCII"));
    }
    Ok(lower(segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/customers/7")]
    #[case("//customers/7")]
    #[case("/customers//7")]
    #[case("/customers/7/")]
    #[case("/customers/7//")]
    #[case("/./customers/7")]
    #[case("/customers/./7")]
    #[case("/customers/7/.")]
    #[case("/x/../customers/7")]
    #[case("/../customers/7")]
    #[case("/../../customers/7")]
    #[case("/customers/x/../7")]
    #[case("/customers/7/x/..")]
    #[case("/customers/7/x/../")]
    #[case("/%63ustomers/7")]
    #[case("/c%75stomers/7")]
    #[case("/%63%75%73%74%6f%6d%65%72%73/7")]
    #[case("/%63%75%73%74%6F%6D%65%72%73/%37")]
    #[case("/customers;v=1/7")]
    #[case("/customers/7;v=1")]
    #[case("/customers;/7;")]
    #[case("/customers;v=1;w=2/7;jsessionid=3")]
    #[case("/;v=1/customers/7")]
    #[case("/x;v=1/../customers/7")]
    #[case("/customers/%2e/7")]
    #[case("/customers/x/%2e%2e/7")]
    #[case("/customers/x/%2E%2e/7")]
    #[case("/customers/x/.%2e/7")]
    #[case("/customers/x/%2e./7")]
    #[case("/x/%2e%2e/customers/7")]
    #[case("/%2e/customers/7")]
    #[case("/customers/7/%2e")]
    #[case("/x/y/../../customers/7")]
    #[case("/customers/x/y/../../7")]
    #[case("/x/./../customers/7")]
    #[case("/.//customers/7")]
    #[case("/customers/.//7")]
    #[case("/customers/7//.")]
    #[case("///customers///7///")]
    #[case("/%63ustomers;a=%62/./x/..//7/")]
    #[case("/customers;%61=1/7")]
    #[case("/customers/x;y/../7")]
    fn spellings_of_one_path(#[case] raw: &str) {
        assert_eq!(normalize(raw, false), Ok(NormalPath("/customers/7".into())), "{raw}");
    }

    #[rstest]
    #[case("/Customers/7")]
    #[case("/CUSTOMERS/7")]
    #[case("/%43ustomers/7")]
    #[case("/cUsToMeRs;V=1/7/")]
    fn case_is_folded_only_when_asked(#[case] raw: &str) {
        assert_eq!(normalize(raw, true), Ok(NormalPath("/customers/7".into())));
        assert_ne!(normalize(raw, false), Ok(NormalPath("/customers/7".into())));
    }

    #[rstest]
    #[case("/customers%2f7")]
    #[case("/customers%2F7")]
    #[case("/x%2f..%2fcustomers/7")]
    #[case("/customers%5c7")]
    #[case("/customers%5C7")]
    #[case("/customers\\7")]
    #[case("/customers%00/7")]
    #[case("/customers/7%00.png")]
    #[case("/%2563ustomers/7")]
    #[case("/customers%252f7")]
    #[case("/customers/%252e%252e/7")]
    #[case("/%25u0063ustomers/7")]
    #[case("/%u0063ustomers/7")]
    #[case("/customers/%")]
    #[case("/customers/%4")]
    #[case("/customers/%zz")]
    #[case("/%c0%afcustomers/7")]
    #[case("/customers/%ff")]
    #[case("/customers/%0a7")]
    #[case("/customers/%7f")]
    #[case("/customers/%c2%85")]
    #[case("/customers%3bv=1/7")]
    #[case("/customers;%2f/7")]
    #[case("/customers;x%00/7")]
    #[case("/customers/..;/x")]
    #[case("/customers/..;v=1/x")]
    #[case("/customers/%2e%2e;v=1/x")]
    #[case("/customers/.;/x")]
    #[case("/customers//../x")]
    #[case("/customers%20/7")]
    #[case("/%20customers/7")]
    #[case("/customers?x/7")]
    #[case("/customers#x")]
    #[case("customers/7")]
    #[case("http://x/customers")]
    fn two_ways_to_read_it(#[case] raw: &str) {
        let refused = normalize(raw, false).unwrap_err();
        assert!(!refused.0.contains("customers"));
    }

    #[test]
    fn the_root_and_the_asterisk() {
        for raw in ["", "/", "//", "/.", "/..", "/;x"] {
            assert_eq!(normalize(raw, false), Ok(NormalPath("/".into())), "{raw}");
        }
        assert_eq!(normalize("*", false), Ok(NormalPath("*".into())));
    }

    #[test]
    fn what_is_plain_stays() {
        for (raw, normal) in [
            ("/100%25", "/100%"),
            ("/a%20b", "/a b"),
            ("/stra%C3%9Fe", "/straße"),
            ("/a+b", "/a+b"),
            ("/a...b/...", "/a...b/..."),
            ("/a:b@c", "/a:b@c"),
        ] {
            assert_eq!(normalize(raw, false), Ok(NormalPath(normal.into())), "{raw}");
        }
    }

    #[rstest]
    #[case("/cu\u{17f}tomers")]
    #[case("/%E2%84%AAey")]
    #[case("/\u{131}d")]
    #[case("/\u{130}d")]
    fn letters_that_fold_into_ascii_are_refused_where_case_is_ignored(#[case] raw: &str) {
        assert!(normalize(raw, true).is_err());
        assert!(normalize(raw, false).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_for_normal_is(raw in "/[a-cA-C0-9._~/-]{0,20}|/[a-c/;%2]{0,8}") {
            if let Some(rest) = raw.strip_prefix('/').filter(|rest| is_normal(rest)) {
                proptest::prop_assert_eq!(resolve(rest, false), Ok(NormalPath(raw.clone())));
            }
        }

        #[test]
        fn every_segment_is_found_where_it_is_written(raw in "/[a-cA-C%2eEfF./;5c ~é]{0,40}") {
            if let Ok(NormalPath(path)) = normalize(&raw, false) {
                let segments: Vec<_> = path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
                let written: Vec<_> = segment_spans(&raw).into_iter().map(|span| decode(raw.get(span).unwrap()).unwrap()).collect();
                assert_eq!(written, segments, "{raw}");
            }
        }

        #[test]
        fn a_normal_path_has_no_structure_left(raw in "/[a-cA-C%2eEfF./;5c ~é]{0,40}") {
            if let Ok(NormalPath(path)) = normalize(&raw, false) {
                let bad = path.split('/').skip(1).any(|s| s == "." || s == ".." || s.contains(';'));
                assert!(!bad && !path.contains("//") && path.starts_with('/'), "{raw} gave {path}");
            }
        }
    }
}
