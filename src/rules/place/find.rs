//! Finds the values of fields outside the body.

use std::ops::Range;

use http::HeaderMap;
use http::header::{COOKIE, HeaderName, HeaderValue, SET_COOKIE};

use crate::rules::path::{normalize, segment_spans};
use crate::rules::route::Match;
use crate::secret::SecretBytes;

use super::{Place, cookie, loose, query};

/// A field to look for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Given back with what is found.
    pub field: usize,
    /// Where.
    pub place: &'a Place,
    /// Of its rule: which segments of the path it captures.
    pub matches: &'a Match,
}

/// A value that was found.
#[derive(Debug)]
pub struct Hit {
    /// Of which field.
    pub field: usize,
    /// Where it stands.
    pub spot: Spot,
    /// What it says, decoded, or why that cannot be told.
    pub text: Result<SecretBytes, &'static str>,
}

/// Where a value stands in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    /// In the path, without the query.
    Path(Range<usize>),
    /// In the query.
    Query {
        /// As it came.
        name: Range<usize>,
        /// As it came.
        value: Range<usize>,
    },
    /// In this header field, the how manieth of its name.
    Header(HeaderName, usize, Range<usize>),
}

/// The values in a request. The first field that selects one has it.
pub fn in_request(
    wanted: &[Wanted<'_>],
    path: &str,
    query_text: Option<&str>,
    ignore_case: bool,
    headers: &HeaderMap,
) -> Vec<Hit> {
    let mut hits = Vec::new();
    in_path(wanted, path, ignore_case, &mut hits);
    let names = named(wanted, |place| if let Place::Query(name) = place { Some(name) } else { None });
    if let (Some(text), false) = (query_text, names.is_empty()) {
        query::find(text, &names, &mut hits);
    }
    in_headers(wanted, headers, &mut hits);
    hidden_headers(wanted, headers, &mut hits);
    let names = named(wanted, |place| if let Place::Cookie(name) = place { Some(name) } else { None });
    if !names.is_empty() {
        for (nth, value) in headers.get_all(COOKIE).iter().enumerate() {
            let Some(text) = text_of(value, &names, (&COOKIE, nth), &mut hits) else { continue };
            let found = cookie::find(text, &names).into_iter();
            hits.extend(found.map(|(field, span, text)| Hit { field, spot: Spot::Header(COOKIE, nth, span), text }));
        }
    }
    hits
}

/// The values in an answer.
pub fn in_response(wanted: &[Wanted<'_>], headers: &HeaderMap) -> Vec<Hit> {
    let mut hits = Vec::new();
    in_headers(wanted, headers, &mut hits);
    let names = named(wanted, |place| if let Place::Cookie(name) = place { Some(name) } else { None });
    if !names.is_empty() {
        for (nth, value) in headers.get_all(SET_COOKIE).iter().enumerate() {
            let Some(text) = text_of(value, &names, (&SET_COOKIE, nth), &mut hits) else { continue };
            if let Some((field, span, text)) = cookie::find_set(text, &names) {
                hits.push(Hit { field, spot: Spot::Header(SET_COOKIE, nth, span), text });
            }
        }
    }
    hits
}

/// Whether a hit is a cookie that the answer takes back.
pub fn is_taken_back(hit: &Hit, headers: &HeaderMap) -> bool {
    let Spot::Header(name, nth, _) = &hit.spot else { return false };
    let field = headers.get_all(name).iter().nth(*nth).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    *name == SET_COOKIE && field.is_some_and(cookie::is_expired)
}

fn named<'a>(wanted: &[Wanted<'a>], name: fn(&Place) -> Option<&str>) -> Vec<(usize, &'a str)> {
    wanted.iter().filter_map(|w| Some((w.field, name(w.place)?))).collect()
}

/// A field with cookies is text, or none of what we look for can be told.
fn text_of<'a>(
    value: &'a HeaderValue,
    names: &[(usize, &str)],
    (header, nth): (&HeaderName, usize),
    hits: &mut Vec<Hit>,
) -> Option<&'a str> {
    let text = std::str::from_utf8(value.as_bytes()).ok();
    if let (None, Some((field, _))) = (text, names.first()) {
        let spot = Spot::Header(header.clone(), nth, 0..value.len());
        hits.push(Hit { field: *field, spot, text: Err("cookies that are not UTF-8") });
    }
    text
}

fn in_headers(wanted: &[Wanted<'_>], headers: &HeaderMap, hits: &mut Vec<Hit>) {
    let mut seen: Vec<&HeaderName> = Vec::new();
    for Wanted { field, place, .. } in wanted {
        let Place::Header(name) = place else { continue };
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        for (nth, value) in headers.get_all(name).iter().enumerate() {
            let spot = Spot::Header(name.clone(), nth, 0..value.len());
            hits.push(Hit { field: *field, spot, text: Ok(SecretBytes::new(value.as_bytes().to_vec())) });
        }
    }
}

/// Header fields that gateways of the CGI tradition take for one that is wanted: they know `HTTP_X_SSN` alone.
fn hidden_headers(wanted: &[Wanted<'_>], headers: &HeaderMap, hits: &mut Vec<Hit>) {
    let is_wanted = |name: &HeaderName| wanted.iter().any(|w| matches!(w.place, Place::Header(known) if known == name));
    for name in headers.keys().filter(|name| !is_wanted(name)) {
        let of = |w: &&Wanted<'_>| matches!(w.place, Place::Header(known) if is_hidden(name, known));
        if let Some(w) = wanted.iter().find(of) {
            let spot = Spot::Header(name.clone(), 0, 0..0);
            hits.push(Hit { field: w.field, spot, text: Err("a header that some applications take for another") });
        }
    }
}

/// Whether some applications take `name` for `known`, although it is another: all that is no letter or digit is `_` to them.
pub fn is_hidden(name: &HeaderName, known: &HeaderName) -> bool {
    let alike = |(a, b): (u8, u8)| a == b || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric());
    let (name, known) = (name.as_str(), known.as_str());
    name.len() == known.len() && name != known && name.bytes().zip(known.bytes()).all(alike)
}

fn in_path(wanted: &[Wanted<'_>], path: &str, ignore_case: bool, hits: &mut Vec<Hit>) {
    if !wanted.iter().any(|w| matches!(w.place, Place::Segment(_))) {
        return;
    }
    let (Ok(normal), spans) = (normalize(path, ignore_case), segment_spans(path)) else { return };
    let segments: Vec<&str> = normal.0.split('/').filter(|segment| !segment.is_empty()).collect();
    for Wanted { field, place, matches } in wanted {
        let Place::Segment(name) = place else { continue };
        let captured = matches.captured(&segments, ignore_case);
        let Some(at) = captured.iter().find(|(captured, _)| **captured == **name).map(|(_, at)| *at) else { continue };
        let Some(span) = spans.get(at).cloned() else { continue };
        let spot = Spot::Path(span.clone());
        if hits.iter().all(|hit| hit.spot != spot) {
            let raw = path.get(span).unwrap_or_default();
            hits.push(Hit { field: *field, spot, text: loose::value(raw.as_bytes(), false) });
        }
    }
}
