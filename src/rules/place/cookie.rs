//! The pairs of `Cookie`, and the one of a `Set-Cookie`.

use std::ops::Range;

use crate::secret::SecretBytes;

use super::loose::{Names, value};

/// Where the value of a cookie stands, and what it says or why that cannot be told.
pub(super) type Found = (usize, Range<usize>, Result<SecretBytes, &'static str>);

/// The cookies of these names in one `Cookie` field, with the index of their fields.
pub(super) fn find(field: &str, names: &[(usize, &str)]) -> Vec<Found> {
    let loose = Names::new(names);
    let mut found = Vec::new();
    let mut at = 0;
    for piece in field.split(';') {
        found.extend(pair(piece, at, names, &loose));
        at += piece.len() + 1;
    }
    found
}

/// The cookie that one `Set-Cookie` field sets, if it is one of these.
pub(super) fn find_set(field: &str, names: &[(usize, &str)]) -> Option<Found> {
    pair(field.split(';').next().unwrap_or_default(), 0, names, &Names::new(names))
}

/// Whether the cookie is taken back: what its value says is nothing.
pub(super) fn is_expired(field: &str) -> bool {
    field.split(';').skip(1).any(|attribute| {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("max-age") && (value.starts_with('-') || value == "0")
    })
}

fn pair(piece: &str, at: usize, names: &[(usize, &str)], loose: &Names) -> Option<Found> {
    let (name, raw) = piece.split_once('=').unwrap_or((piece, ""));
    let Some((index, _)) = names.iter().find(|(_, wanted)| name.trim() == *wanted) else {
        let whole = at..at + piece.len();
        return hidden(piece, loose)
            .map(|index| (index, whole, Err("a cookie that some applications take for another")));
    };
    let start = at + name.len() + 1 + (raw.len() - raw.trim_start().len());
    let raw = raw.trim();
    let bare = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    let (start, raw) = bare.map_or((start, raw), |bare| (start + 1, bare));
    // Nothing is how a cookie is taken back.
    if raw.is_empty() {
        return None;
    }
    let text = match raw.contains('"') {
        true => Err("a cookie with a quote in its value"),
        false => value(raw.as_bytes(), false),
    };
    Some((*index, start..start + raw.len(), text))
}

/// Which of the names an application might find there: spelled in another way, or behind a comma.
fn hidden(piece: &str, names: &Names) -> Option<usize> {
    let name = |part: &str| names.like(part.split('=').next().unwrap_or_default().as_bytes());
    piece.split(',').filter(|part| part.contains('=')).find_map(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(field: &str) -> Vec<Result<(String, String), &'static str>> {
        let shown = |(_, span, text): Found| {
            Ok((field.get(span).unwrap().to_owned(), String::from_utf8(text?.expose().to_vec()).unwrap()))
        };
        find(field, &[(0, "__Host-ssn"), (1, "b")]).into_iter().map(shown).collect()
    }

    #[test]
    fn every_pair_of_the_name_counts() {
        let ok = |raw: &str, text: &str| Ok((raw.to_owned(), text.to_owned()));
        assert_eq!(
            found("a=1; __Host-ssn=1%202+3;b=\"x y\"; b = 7 ;b=;b"),
            [ok("1%202+3", "1 2+3"), ok("x y", "x y"), ok("7", "7")]
        );
        assert_eq!(found("a=b; bb=1"), []);
    }

    #[test]
    fn what_is_hidden_is_reported() {
        for field in ["a=\"x; b=1\"", "a=1, b=2", "B=1", "%62=1", "b=%zz", "b=\"1"] {
            assert!(matches!(found(field).as_slice(), [Err(_)]), "{field}: {:?}", found(field));
        }
    }

    #[test]
    fn what_is_set_or_taken_back() {
        let names = [(3, "b")];
        let field = "b=sc1.x; Path=/; Domain=b=2; Max-Age=60";
        assert!(matches!(find_set(field, &names), Some((3, span, Ok(_))) if field.get(span.clone()) == Some("sc1.x")));
        assert!(find_set("a=1; b=2", &names).is_none() && !is_expired(field));
        assert!(
            is_expired("b=deleted; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0")
                && is_expired("b=; max-age=\"-1\"")
        );
    }
}
