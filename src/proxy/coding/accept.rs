//! `Accept-Encoding` on the way to an upstream whose answer a rule reads.

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};

use super::Coding;

/// Leaves of the client's wishes those that can be undone here, as it weighs them. A client that has none gets a body that is
/// not coded; so does one that takes anything, but for `gzip`, which stands for that.
pub fn narrow(headers: &mut HeaderMap) {
    let mut kept: Vec<String> = Vec::new();
    let mut any: Option<&str> = None;
    let mut gzip = false;
    for value in headers.get_all(ACCEPT_ENCODING) {
        for item in value.to_str().unwrap_or_default().split(',') {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let (name, weight) = (name.trim(), weight.trim());
            if name == "*" {
                any = Some(weight);
            } else if name.eq_ignore_ascii_case("identity") || Coding::named(name).is_some() {
                gzip |= Coding::named(name) == Some(Coding::Gzip);
                kept.push(weighed(name, weight));
            }
        }
    }
    match any {
        Some(weight) if is_zero(weight) => kept.push(weighed("*", weight)),
        Some(weight) if !gzip => kept.push(weighed("gzip", weight)),
        _ => {}
    }
    let value = HeaderValue::try_from(kept.join(", ")).ok().filter(|value| !value.is_empty());
    match value {
        Some(value) => drop(headers.insert(ACCEPT_ENCODING, value)),
        None => identity(headers),
    }
}

/// Asks for no coding, as for a client that has no wishes.
pub fn identity(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

fn weighed(name: &str, weight: &str) -> String {
    if weight.is_empty() { name.to_owned() } else { [name, weight].join(";") }
}

fn is_zero(weight: &str) -> bool {
    let number = weight.trim_start_matches(['q', 'Q']).trim_start().strip_prefix('=').unwrap_or_default();
    number.trim().parse() == Ok(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_undone_is_asked_for() {
        for (wish, asked) in [
            ("", "identity"),
            ("gzip", "gzip"),
            ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
            ("br;q=1.0, compress;q=0.9, gzip;q=0.5", "br;q=1.0, gzip;q=0.5"),
            ("dcb, dcz, X-GZIP", "X-GZIP"),
            ("*", "gzip"),
            ("*;q=0.3, br", "br, gzip;q=0.3"),
            ("*, gzip;q=0", "gzip;q=0"),
            ("identity;q=0, *;q=0, br", "identity;q=0, br, *;q=0"),
            ("snappy", "identity"),
        ] {
            let mut headers = HeaderMap::new();
            if !wish.is_empty() {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(wish));
            }
            narrow(&mut headers);
            assert_eq!(headers[ACCEPT_ENCODING], asked, "{wish}");
            assert_eq!(headers.get_all(ACCEPT_ENCODING).iter().count(), 1);
        }
    }
}
