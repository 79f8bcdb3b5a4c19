//! What paths select in an operation of a JSON patch (RFC 6902): the place that it writes, as if the document stood there.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::scan::Kind;
use crate::jsonpath::evaluate::{Found, Undecided, evaluate};
use crate::jsonpath::matcher::table::{Next, Table};
use crate::jsonpath::matcher::{Live, Start};
use crate::jsonpath::tree::{Id, Tree};

/// Tokens of a pointer; a document is nested no deeper either.
const MAX_TOKENS: usize = 512;

/// Of a document that should be one.
pub const NO_PATCH: &str = "a JSON patch is an array of operations (RFC 6902)";

/// What one operation does with selected values.
#[derive(Debug, Default)]
pub struct Touched {
    /// Selected in the value that it writes or compares with; spans are those of the operation's text.
    pub found: Vec<Found>,
    /// It compares (`test`).
    pub compares: bool,
    /// It takes the value at a place of the first path to a place of the second (`move`, `copy`).
    pub carries: Option<(usize, usize)>,
}

/// Reads an operation; the error says why it cannot be told what it does to the paths' values.
pub fn touched(operation: &[u8], table: &Table, patterns: &mut usize) -> Result<Touched, &'static str> {
    // Its nesting was bounded as it was scanned.
    let tree = Tree::parse(operation, usize::MAX).map_err(|error| error.what)?;
    if tree.kind(tree.root()) != Kind::Object {
        return Err("an operation of a JSON patch is an object");
    }
    let op = text(&tree, b"op")?.ok_or("an operation of a JSON patch has an `op`")?;
    let place = place(&tree, b"path", table)?.ok_or("an operation of a JSON patch has a `path`")?;
    let known: &[&[u8]] = match &*op {
        b"remove" => &[b"op", b"path"],
        b"add" | b"replace" | b"test" => &[b"op", b"path", b"value"],
        b"move" | b"copy" => &[b"op", b"path", b"from"],
        _ => return Err("RFC 6902 has no such operation"),
    };
    // An application that takes the patch for a record would see a member that no path was asked about.
    if tree.children(tree.root()).any(|id| !known.contains(&&*tree.name(id))) {
        return Err("an operation of a JSON patch has a member that RFC 6902 does not give it");
    }
    match &*op {
        b"remove" => Ok(Touched::default()),
        b"add" | b"replace" | b"test" => {
            let value = member(&tree, b"value")?.ok_or("this operation of a JSON patch has a `value`")?;
            let found = place.select(&tree, value, table, patterns)?;
            place.not_as_a_record(&tree, value, &found, table, patterns)?;
            Ok(Touched { found, compares: &*op == b"test", carries: None })
        }
        _ => {
            let from = self::place(&tree, b"from", table)?.ok_or("this operation of a JSON patch has a `from`")?;
            Ok(Touched { carries: from.carried_to(&place)?, ..Touched::default() })
        }
    }
}

/// Where a pointer leads.
struct Place(Start);

/// Follows a member that holds a pointer.
fn place(tree: &Tree<'_>, name: &[u8], table: &Table) -> Result<Option<Place>, &'static str> {
    let Some(pointer) = text(tree, name)? else { return Ok(None) };
    let mut here: Vec<Live> = (0..).zip(0..table.len()).map(|(path, _)| Live { path, places: 1 }).collect();
    let mut selected = table.whole();
    if pointer.is_empty() {
        return Ok(Some(Place(Start { here, undecided: Vec::new(), selected })));
    }
    let Some(rest) = pointer.strip_prefix(b"/") else { return Err(NO_POINTER) };
    for (count, token) in rest.split(|byte| *byte == b'/').enumerate() {
        if selected.is_some() {
            return Err("a JSON patch reaches into a value that is sealed as a whole");
        }
        if count == MAX_TOKENS {
            return Err("the pointer of a JSON patch is too long");
        }
        let token = unescaped(token).ok_or(NO_POINTER)?;
        let index = index(&token);
        let mut below = Vec::with_capacity(here.len());
        for live in here {
            if table.buffered(live.path, live.places).next().is_some() {
                return Err("a filter, or an index from the end, cannot be told in a JSON patch");
            }
            // Whether an array or an object stands there is not said: it is taken for both.
            let mut next = table.member(live.path, live.places, table.id(&token));
            let element = match index {
                Index::At(index) => table.element(live.path, live.places, index),
                Index::Any | Index::Unclear => table.any_element(live.path, live.places),
                Index::None => Next::default(),
            };
            let more = element.places & !next.places != 0 || (element.selected && !next.selected);
            if more && index == Index::Unclear {
                return Err("the pointer of a JSON patch has what readers differ about whether it is an index");
            }
            next.places |= element.places;
            next.selected |= element.selected;
            if next.selected {
                selected = Some(selected.map_or(live.path, |first| first.min(live.path)));
            }
            if next.places != 0 {
                below.push(Live { path: live.path, places: next.places });
            }
        }
        here = below;
    }
    Ok(Some(Place(Start { here, undecided: Vec::new(), selected })))
}

const NO_POINTER: &str = "the `path` or `from` of a JSON patch is no JSON pointer (RFC 6901)";

/// What a token of a pointer is in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Index {
    At(u64),
    /// `-`: the place behind the last may have any.
    Any,
    /// None (RFC 6901), though there are libraries that make one of it: of `00`, `+1`, `-1`, of nothing at all, or of a number
    /// that they cut off.
    Unclear,
    None,
}

fn index(token: &[u8]) -> Index {
    if token == b"-" {
        return Index::Any;
    }
    let Ok(text) = str::from_utf8(token) else { return Index::Unclear };
    let letters = text.chars().filter(|c| c.is_alphabetic());
    let in_numbers = |c: char| matches!(c, 'e' | 'E' | 'x' | 'X');
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    match text.parse::<u64>().ok().filter(|_| canonical) {
        Some(index) if i32::try_from(index).is_ok() => Index::At(index),
        _ if letters.clone().any(|c| !in_numbers(c)) => Index::None,
        _ if letters.count() > 0 && !text.chars().any(char::is_numeric) => Index::None,
        _ => Index::Unclear,
    }
}

impl Place {
    /// What the paths select in the value that is put there.
    fn select(
        &self,
        tree: &Tree<'_>,
        value: Id,
        table: &Table,
        patterns: &mut usize,
    ) -> Result<Vec<Found>, &'static str> {
        let span = tree.span(value);
        // `$` would be the value, and what the value is bound to stands elsewhere.
        if self.0.paths().any(|path| table.sees_root(path)) {
            return Err("a filter or `bind` that looks at `$` cannot be told in a JSON patch");
        }
        let alone = Tree::parse(tree.raw(value), usize::MAX).map_err(|error| error.what)?;
        let found = evaluate(&alone, table, &self.0, patterns).map_err(Undecided::as_str)?;
        let moved = |one: Range<usize>| one.start + span.start..one.end + span.start;
        Ok(found.into_iter().map(|one| Found { span: moved(one.span.clone()), ..one }).collect())
    }

    /// A sender chooses what a body is called: an application that takes the patch for an array of records would find what no
    /// place was asked about.
    fn not_as_a_record(
        &self,
        tree: &Tree<'_>,
        value: Id,
        found: &[Found],
        table: &Table,
        patterns: &mut usize,
    ) -> Result<(), &'static str> {
        let name = table.id(b"value");
        let (mut here, mut selected) = (Vec::new(), false);
        for (path, _) in (0..).zip(0..table.len()) {
            let operation = table.any_element(path, 1);
            let member = table.member(path, operation.places, name);
            selected |= member.selected;
            let asked = self.0.here.iter().filter(|live| live.path == path).fold(0, |all, live| all | live.places);
            if member.places & !asked != 0 && !table.sees_root(path as usize) {
                here.push(Live { path, places: member.places });
            }
        }
        let span = tree.span(value);
        let mut as_record = Vec::new();
        if selected {
            as_record.push(span.clone());
        } else if !here.is_empty() {
            let alone = Tree::parse(tree.raw(value), usize::MAX).map_err(|error| error.what)?;
            let start = Start { here, undecided: Vec::new(), selected: None };
            let more = evaluate(&alone, table, &start, patterns).map_err(Undecided::as_str)?;
            as_record.extend(more.into_iter().map(|one| one.span.start + span.start..one.span.end + span.start));
        }
        let sealed = |one: &Range<usize>| found.iter().any(|of| of.span.start <= one.start && one.end <= of.span.end);
        if as_record.iter().all(sealed) {
            return Ok(());
        }
        Err("taken for a record, an operation of a JSON patch has a value at a place that a path selects")
    }

    fn carried_to(&self, to: &Self) -> Result<Option<(usize, usize)>, &'static str> {
        match (self.0.selected, to.0.selected) {
            (Some(from), Some(to)) => Ok(Some((from as usize, to as usize))),
            (None, None) if self.inside() == to.inside() => Ok(None),
            _ => Err("a JSON patch takes a value from a place that is sealed to one that is not, or sealed otherwise"),
        }
    }

    /// What may be selected below.
    fn inside(&self) -> Vec<(u32, u64)> {
        let mut inside: Vec<_> = self.0.here.iter().map(|live| (live.path, live.places)).collect();
        inside.sort_unstable();
        inside
    }
}

/// The member of this name; readers differ in which of several they take.
fn member(tree: &Tree<'_>, name: &[u8]) -> Result<Option<Id>, &'static str> {
    let mut members = tree.children(tree.root()).filter(|id| *tree.name(*id) == *name);
    match (members.next(), members.next()) {
        (_, Some(_)) => Err("an operation of a JSON patch names a member twice"),
        (one, None) => Ok(one),
    }
}

fn text<'t>(tree: &Tree<'t>, name: &[u8]) -> Result<Option<Cow<'t, [u8]>>, &'static str> {
    let Some(id) = member(tree, name)? else { return Ok(None) };
    match tree.raw(id) {
        [b'"', text @ .., b'"'] => Ok(Some(crate::json::text::unescape(text))),
        _ => Err("`op`, `path` and `from` of a JSON patch are strings"),
    }
}

/// `~1` is `/`, `~0` is `~`; no other `~` may stand there.
fn unescaped(token: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !token.contains(&b'~') {
        return Some(Cow::Borrowed(token));
    }
    let mut out = Vec::with_capacity(token.len());
    let mut bytes = token.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'~' => match bytes.next()? {
                b'0' => b'~',
                b'1' => b'/',
                _ => return None,
            },
            other => *other,
        });
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;

    use super::*;
    use crate::jsonpath::{Path, compile};

    fn table(selectors: &[&str]) -> Table {
        let paths: Vec<Arc<Path>> =
            selectors.iter().flat_map(|text| compile(text).unwrap()).map(|one| one.path).collect();
        Table::new(&paths)
    }

    fn found(selectors: &[&str], operation: &str) -> Result<Vec<String>, &'static str> {
        let touched = touched(operation.as_bytes(), &table(selectors), &mut 0)?;
        Ok(touched.found.into_iter().map(|one| format!("{}:{}", one.path, operation.get(one.span).unwrap())).collect())
    }

    #[rstest]
    #[case("$..ssn", r#"{"op":"replace","path":"/ssn","value":"1"}"#, &["0:\"1\""])]
    #[case("$..ssn", r#"{"op":"add","path":"/customer","value":{"ssn":"1","b":[{"ssn":2}]}}"#, &["0:\"1\"", "0:2"])]
    #[case("$.customer.ssn", r#"{"op":"add","path":"/customer/ssn","value":"1"}"#, &["0:\"1\""])]
    #[case("$.customer.ssn", r#"{"op":"add","path":"/ssn","value":"1"}"#, &[])]
    #[case("$.customer.ssn", r#"{"op":"add","path":"","value":{"customer":{"ssn":1}}}"#, &["0:1"])]
    #[case("$", r#"{"op":"replace","path":"","value":[1]}"#, &["0:[1]"])]
    #[case("$.cards[*].pan", r#"{"op":"add","path":"/cards/-","value":{"pan":"4"}}"#, &["0:\"4\""])]
    #[case("$.cards[3].pan", r#"{"op":"add","path":"/cards/-","value":{"pan":"4"}}"#, &["0:\"4\""])]
    #[case("$.cards[0].pan", r#"{"op":"replace","path":"/cards/0/pan","value":"4"}"#, &["0:\"4\""])]
    #[case("$.cards[0].pan", r#"{"op":"replace","path":"/cards/1/pan","value":"4"}"#, &[])]
    #[case("$.cards[0:2].pan", r#"{"op":"replace","path":"/cards/1/pan","value":"4"}"#, &["0:\"4\""])]
    #[case("$.cards['0'].pan", r#"{"op":"replace","path":"/cards/0/pan","value":"4"}"#, &["0:\"4\""])]
    #[case("$.cards[*].pan", r#"{"op":"replace","path":"/cards/00/pan","value":"4"}"#, &["0:\"4\""])]
    #[case("$.cards[0].pan", r#"{"op":"replace","path":"/cards/a1/pan","value":"4"}"#, &[])]
    #[case("$.cards[0].pan", r#"{"op":"replace","path":"/cards/x/pan","value":"4"}"#, &[])]
    #[case("$..value", r#"{"op":"add","path":"/a/value","value":"4"}"#, &["0:\"4\""])]
    #[case("$..value", r#"{"op":"add","path":"/a/value","value":{"value":1}}"#, &["0:{\"value\":1}"])]
    #[case("$.a.value", r#"{"op":"add","path":"/b","value":{"a":1}}"#, &[])]
    #[case("$..path", r#"{"op":"add","path":"/b","value":"4"}"#, &[])]
    #[case("$..*", r#"{"op":"add","path":"/b","value":"4"}"#, &["0:\"4\""])]
    #[case("$['a/b']['m~n']", r#"{"op":"add","path":"/a~1b/m~0n","value":"4"}"#, &["0:\"4\""])]
    #[case("$.ssn", r#"{"\u006fp":"ad\u0064","path":"\/s\u0073n","value":"4"}"#, &["0:\"4\""])]
    #[case("$.ssn", r#"{"value":"4","path":"/ssn","op":"test"}"#, &["0:\"4\""])]
    #[case("$.ssn", r#"{"op":"remove","path":"/ssn"}"#, &[])]
    #[case("$.a.b", r#"{"op":"add","path":"/a","value":{"b":1,"b":2}}"#, &["0:1", "0:2"])]
    #[case("$.a[?@.x].b", r#"{"op":"add","path":"/c","value":{"b":1}}"#, &[])]
    #[case("$.a[?@.x].b", r#"{"op":"add","path":"/a","value":[{"b":1},{"x":1,"b":2}]}"#, &["0:2"])]
    #[case("$.a[-1]", r#"{"op":"add","path":"/a","value":[1,2]}"#, &["0:2"])]
    fn a_selector_means_the_place_that_is_written(
        #[case] selector: &str,
        #[case] operation: &str,
        #[case] expected: &[&str],
    ) {
        assert_eq!(found(&[selector], operation).unwrap(), expected);
    }

    #[rstest]
    #[case("$.a", "[]", "is an object")]
    #[case("$.a", r#"{"path":"/a","value":1}"#, "an `op`")]
    #[case("$.a", r#"{"op":"add","value":1}"#, "a `path`")]
    #[case("$.a", r#"{"op":"add","path":"/a"}"#, "a `value`")]
    #[case("$.a", r#"{"op":"move","path":"/a"}"#, "a `from`")]
    #[case("$.a", r#"{"op":"merge","path":"/a","value":1}"#, "no such operation")]
    #[case("$.a", r#"{"op":"Add","path":"/a","value":1}"#, "no such operation")]
    #[case("$.a", r#"{"op":"add","path":"a","value":1}"#, "JSON pointer")]
    #[case("$.a", r#"{"op":"add","path":"/a~2","value":1}"#, "JSON pointer")]
    #[case("$.a", r#"{"op":"add","path":"/a~","value":1}"#, "JSON pointer")]
    #[case("$.a", r#"{"op":"add","path":["a"],"value":1}"#, "are strings")]
    #[case("$.a", r#"{"op":"add","path":"/b","path":"/a","value":1}"#, "twice")]
    #[case("$.a", r#"{"op":"add","path":"/a","value":1,"v\u0061lue":2}"#, "twice")]
    #[case("$.a", r#"{"op":"add","path":"/b","value":1,"a":2}"#, "does not give it")]
    #[case("$.a", r#"{"op":"remove","path":"/b","value":{"a":2}}"#, "does not give it")]
    #[case("$.a", r#"{"op":"copy","path":"/b","from":"/c","value":1}"#, "does not give it")]
    #[case("$.a", r#"{"op":"replace","path":"/a/b","value":1}"#, "sealed as a whole")]
    #[case("$.a", r#"{"op":"remove","path":"/a/b"}"#, "sealed as a whole")]
    #[case("$", r#"{"op":"remove","path":"/a"}"#, "sealed as a whole")]
    #[case("$.a[?@.x].b", r#"{"op":"add","path":"/a/0/b","value":1}"#, "cannot be told")]
    #[case("$.a[-1]", r#"{"op":"add","path":"/a/-","value":1}"#, "cannot be told")]
    #[case("$..[?@.x]", r#"{"op":"add","path":"/q","value":1}"#, "cannot be told")]
    #[case("$.a[?@.x == $.y]", r#"{"op":"add","path":"/a","value":[{"x":1}]}"#, "looks at `$`")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a/00/b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a/+0/b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a/-0/b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a/-1/b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a/ 0/b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a//b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a/0x0/b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a/\u0660/b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a/4294967296/b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"add","path":"/a/99999999999999999999/b","value":1}"#, "readers differ")]
    #[case("$.a[0].b", r#"{"op":"move","from":"/a/00/b","path":"/c"}"#, "readers differ")]
    #[case("$[*].value", r#"{"op":"add","path":"/x","value":1}"#, "taken for a record")]
    #[case("$..value", r#"{"op":"add","path":"/x","value":1}"#, "taken for a record")]
    #[case("$..value.b", r#"{"op":"add","path":"/x","value":{"b":1}}"#, "taken for a record")]
    #[case("$[0].value.b", r#"{"op":"add","path":"/x","value":{"b":1}}"#, "taken for a record")]
    #[case("$.a", r#"{"op":"move","from":"/a","path":"/b"}"#, "sealed to one that is not")]
    #[case("$.a", r#"{"op":"copy","from":"/b","path":"/a"}"#, "sealed to one that is not")]
    #[case("$.a.b", r#"{"op":"move","from":"/a","path":"/c"}"#, "sealed to one that is not")]
    #[case("$.a.b", r#"{"op":"move","from":"/c","path":""}"#, "sealed to one that is not")]
    fn what_cannot_be_told_is_refused(#[case] selector: &str, #[case] operation: &str, #[case] says: &str) {
        let error = touched(operation.as_bytes(), &table(&[selector]), &mut 0).unwrap_err();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn what_is_carried_is_told() {
        let carried = |selectors: &[&str], operation: &str| {
            touched(operation.as_bytes(), &table(selectors), &mut 0).unwrap().carries
        };
        assert_eq!(carried(&["$..ssn"], r#"{"op":"move","from":"/a/ssn","path":"/b/c/ssn"}"#), Some((0, 0)));
        assert_eq!(carried(&["$.a", "$.b"], r#"{"op":"copy","from":"/b","path":"/a"}"#), Some((1, 0)));
        assert_eq!(carried(&["$.a"], r#"{"op":"copy","from":"/b","path":"/c"}"#), None);
        assert_eq!(carried(&["$..ssn"], r#"{"op":"copy","from":"/b","path":"/c"}"#), None);
    }
}
