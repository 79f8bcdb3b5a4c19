//! Puts what values became where they stood.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Uri, request};

use crate::refusal::{Reason, Refusal};
use crate::rules::place::find::Spot;

/// What takes the place of a value, encoded for it.
#[derive(Debug)]
pub(super) struct Change {
    pub spot: Spot,
    pub written: Vec<u8>,
    /// Behind a parameter, the same again with this value.
    pub second: Option<Vec<u8>>,
}

/// The changed parts of a request.
#[derive(Debug, Clone)]
pub(super) struct Written {
    target: Option<Uri>,
    headers: Vec<(HeaderName, usize, HeaderValue)>,
}

impl Written {
    pub fn put(self, parts: &mut request::Parts) {
        if let Some(target) = self.target {
            parts.uri = target;
        }
        for (name, nth, value) in self.headers {
            put(&mut parts.headers, &name, nth, value);
        }
    }
}

/// The request with these changes; its target, and its changed header fields, are no longer than `limit`.
pub(super) fn write(parts: &request::Parts, changes: Vec<Change>, limit: usize) -> Result<Written, Refusal> {
    let (in_target, in_headers): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|change| !matches!(change.spot, Spot::Header(..)));
    let target = if in_target.is_empty() { None } else { Some(target(&parts.uri, &in_target, limit)?) };
    Ok(Written { target, headers: headers(&parts.headers, in_headers, limit)? })
}

/// The header fields that these changes make.
pub(super) fn headers(
    headers: &HeaderMap,
    changes: Vec<Change>,
    limit: usize,
) -> Result<Vec<(HeaderName, usize, HeaderValue)>, Refusal> {
    let mut by_field: Vec<(HeaderName, usize, Vec<Change>)> = Vec::new();
    for change in changes {
        let Spot::Header(name, nth, _) = &change.spot else { continue };
        match by_field.iter_mut().find(|(of, at, _)| of == name && at == nth) {
            Some((.., changes)) => changes.push(change),
            None => by_field.push((name.clone(), *nth, vec![change])),
        }
    }
    let mut written = Vec::with_capacity(by_field.len());
    let mut length = 0;
    for (name, nth, changes) in by_field {
        let Some(old) = headers.get_all(&name).iter().nth(nth) else { continue };
        let bytes = splice(old.as_bytes(), changes.iter());
        length += bytes.len();
        if length > limit {
            return Err(too_large());
        }
        let Ok(value) = HeaderValue::from_bytes(&bytes) else {
            return Err(Refusal::new(Reason::Token, "a header field cannot hold what a token holds"));
        };
        written.push((name, nth, value));
    }
    Ok(written)
}

/// Replaces one header field of a name.
pub(super) fn put(headers: &mut HeaderMap, name: &HeaderName, nth: usize, value: HeaderValue) {
    if let http::header::Entry::Occupied(mut entry) = headers.entry(name)
        && let Some(old) = entry.iter_mut().nth(nth)
    {
        *old = value;
    }
}

pub(super) fn too_long() -> Refusal {
    Refusal::new(Reason::TargetTooLong, "the target with tokens in it is over `limits.header`")
}

pub(super) fn too_large() -> Refusal {
    Refusal::new(Reason::TooLarge, "header fields with tokens in them are over `limits.header`")
}

fn target(uri: &Uri, changes: &[Change], limit: usize) -> Result<Uri, Refusal> {
    let of = |in_path: bool| changes.iter().filter(move |change| matches!(change.spot, Spot::Path(_)) == in_path);
    let mut target = splice(uri.path().as_bytes(), of(true));
    if let Some(query) = uri.query() {
        target.push(b'?');
        target.extend_from_slice(&splice(query.as_bytes(), of(false)));
    }
    if target.len() > limit {
        return Err(too_long());
    }
    let bad = || Refusal::new(Reason::Token, "the target cannot hold what a token holds");
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| bad())?);
    Uri::from_parts(parts).map_err(|_| bad())
}

/// The text with its changes, whose order is their own.
fn splice<'a>(text: &[u8], changes: impl Iterator<Item = &'a Change>) -> Vec<u8> {
    let mut changes: Vec<_> = changes.map(|change| (span(&change.spot), change)).collect();
    changes.sort_by_key(|(span, _)| span.start);
    let mut out =
        Vec::with_capacity(text.len() + changes.iter().map(|(_, change)| change.written.len()).sum::<usize>());
    let mut passed = 0;
    for (span, change) in changes {
        out.extend_from_slice(text.get(passed..span.start).unwrap_or_default());
        out.extend_from_slice(&change.written);
        if let (Some(second), Spot::Query { name, .. }) = (&change.second, &change.spot) {
            out.push(b'&');
            out.extend_from_slice(text.get(name.clone()).unwrap_or_default());
            out.push(b'=');
            out.extend_from_slice(second);
        }
        passed = span.end;
    }
    out.extend_from_slice(text.get(passed..).unwrap_or_default());
    out
}

fn span(spot: &Spot) -> std::ops::Range<usize> {
    match spot {
        Spot::Path(span) | Spot::Header(_, _, span) | Spot::Query { value: span, .. } => span.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_but_the_values_is_byte_identical(
            pieces in prop::collection::vec(("[a-z%&;=+.~/?_]{0,8}", "[0-9]{0,4}"), 0..12),
        ) {
            let (mut text, mut expected, mut changes) = (String::new(), String::new(), Vec::new());
            for (other, value) in &pieces {
                text.push_str(other);
                expected.push_str(other);
                let span = text.len()..text.len() + value.len();
                text.push_str(value);
                expected.push_str("sc1.TOKEN");
                let spot = Spot::Query { name: 0..0, value: span };
                changes.push(Change { spot, written: b"sc1.TOKEN".to_vec(), second: None });
            }
            prop_assert_eq!(splice(text.as_bytes(), changes.iter().rev()), expected.into_bytes());
        }
    }
}
