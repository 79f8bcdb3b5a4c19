//! The parameters of a query.

use super::find::{Hit, Spot};
use super::loose::{Names, decode, value};

/// What stands at these names (with the index of their fields), in the order of the query. Everything that some application
/// might take for one of them, and we do not, is reported, too.
pub(super) fn find(query: &str, names: &[(usize, &str)], hits: &mut Vec<Hit>) {
    let loose = Names::new(names);
    let mut at = 0;
    for piece in query.split('&') {
        let start = at;
        at += piece.len() + 1;
        let name_end = piece.find('=').unwrap_or(piece.len());
        let name = piece.get(..name_end).unwrap_or_default();
        let decoded = decode(name.as_bytes(), true);
        let is = |(_, wanted): &&(usize, &str)| decoded.as_ref().is_some_and(|d| d.expose() == wanted.as_bytes());
        if let Some((field, _)) = names.iter().find(is) {
            // Without a value there is nothing to hide.
            let Some(raw) = piece.get(name_end + 1..) else { continue };
            let span = start + name_end + 1..start + piece.len();
            let spot = Spot::Query { name: start..start + name_end, value: span };
            hits.push(Hit { field: *field, spot, text: value(raw.as_bytes(), true) });
            continue;
        }
        if let Some(field) = hidden(piece, &loose) {
            let spot = Spot::Query { name: start..start + name_end, value: start..start + piece.len() };
            let text = Err("a parameter that some applications take for another");
            hits.push(Hit { field, spot, text });
        }
    }
}

/// Which of the names an application might find in a parameter of another name: it is spelled in another way, or stands behind
/// a semicolon.
fn hidden(piece: &str, names: &Names) -> Option<usize> {
    let like = |part: &str| names.like(part.split('=').next().unwrap_or_default().as_bytes());
    // Behind no `=` stands no value, unless that is hidden, too.
    let has_value = |part: &&str| {
        part.contains('=') || decode(part.as_bytes(), true).is_none_or(|text| text.expose().contains(&b'='))
    };
    piece.split(';').filter(has_value).find_map(like)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: &str) -> Vec<Result<(String, String), &'static str>> {
        let mut hits = Vec::new();
        find(query, &[(0, "ssn"), (1, "a b")], &mut hits);
        let shown = |hit: Hit| {
            let Spot::Query { value, .. } = hit.spot else { panic!() };
            let text = hit.text?;
            Ok((query.get(value).unwrap().to_owned(), String::from_utf8(text.expose().to_vec()).unwrap()))
        };
        hits.into_iter().map(shown).collect()
    }

    #[test]
    fn every_parameter_of_the_name_counts() {
        let ok = |raw: &str, text: &str| Ok((raw.to_owned(), text.to_owned()));
        assert_eq!(found("x=1&ssn=1%202+3&&ssn=&y"), [ok("1%202+3", "1 2 3"), ok("", "")]);
        assert_eq!(found("%73%73n=7&a+b=8&a%20b=9&ssn"), [ok("7", "7"), ok("8", "8"), ok("9", "9")]);
        assert_eq!(found("ssn=a=b;c"), [ok("a=b;c", "a=b;c")]);
        assert_eq!(found("q=ssn&ssnx=1&SSN"), []);
    }

    #[test]
    fn what_is_hidden_is_reported() {
        for query in
            ["a=1;ssn=2", "SSN=1", "ssn%3D1", "ssn[]=1", "x=1&%2573sn=2", "amp;ssn=1", "ssn=%zz", "ssn=%00", "ssn=%ff"]
        {
            assert!(matches!(found(query).as_slice(), [Err(_)]), "{query}: {:?}", found(query));
        }
    }
}
