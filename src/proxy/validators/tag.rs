//! Entity tags (RFC 9110 § 8.8.3) with and without our suffix.

use http::HeaderValue;

use crate::crypto::hex;

/// Begins the suffix.
const MARK: &[u8] = b"-sc1-";
/// Of a variant, in hexadecimal digits.
const DIGITS: usize = 12;

/// What our tags of one view of a resource end with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variant(String);

impl Variant {
    pub(super) fn new(digest: &[u8; 32]) -> Self {
        Self(hex::encode(digest.first_chunk::<{ DIGITS / 2 }>().unwrap_or(&[0; DIGITS / 2])))
    }
}

/// The upstream's tag with our suffix; `None` if it is none to begin with.
pub(super) fn ours(tag: &HeaderValue, variant: &Variant) -> Option<HeaderValue> {
    let bytes = tag.as_bytes().trim_ascii();
    let (body, quote) = match bytes.strip_suffix(b"\"") {
        Some(body) => (body, &b"\""[..]),
        None => (bytes, &b""[..]),
    };
    if body.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&[body, MARK, variant.0.as_bytes(), quote].concat()).ok()
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Default)]
pub(super) struct Tags(Vec<Tag>);

#[derive(Debug)]
struct Tag {
    /// As it stands, with `W/` and quotes.
    text: Vec<u8>,
}

impl Tags {
    pub(super) fn read<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut tags = Vec::new();
        for mut rest in values {
            while let Some(begin) = rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b',')) {
                rest = rest.get(begin..).unwrap_or_default();
                let length = length(rest);
                let (tag, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                tags.push(Tag { text: tag.trim_ascii_end().to_owned() });
                rest = behind;
            }
        }
        Self(tags)
    }

    /// As a list; `None` if nothing is left.
    pub(super) fn write(&self) -> Option<HeaderValue> {
        let texts: Vec<&[u8]> = self.0.iter().map(|tag| tag.text.as_slice()).collect();
        HeaderValue::from_bytes(&texts.join(&b", "[..])).ok().filter(|value| !value.is_empty())
    }

    /// Takes our suffix off: that of `variant`, or any.
    pub(super) fn turn_back(&mut self, variant: Option<&Variant>) -> bool {
        for tag in &mut self.0 {
            if let Some((original, suffix)) = tag.original()
                && variant.is_none_or(|variant| *variant == suffix)
            {
                tag.text = original;
            }
        }
        true
    }

    /// Keeps what the client's bytes may have come with: of a view that changes, the tags of that, without our suffix; where
    /// nothing changes, those that are none of ours. And `*`. Says whether all were kept.
    pub(super) fn keep(&mut self, variant: Option<&Variant>) -> bool {
        let before = self.0.len();
        self.0.retain_mut(|tag| match (tag.original(), variant) {
            _ if tag.text == b"*" => true,
            (Some((original, suffix)), Some(variant)) if suffix == *variant => {
                tag.text = original;
                true
            }
            (None, None) => true,
            _ => false,
        });
        self.0.len() == before
    }
}

impl Tag {
    /// The upstream's tag in one of ours.
    fn original(&self) -> Option<(Vec<u8>, Variant)> {
        let (body, quote) = match self.text.strip_suffix(b"\"") {
            Some(body) => (body, &b"\""[..]),
            None => (self.text.as_slice(), &b""[..]),
        };
        let (head, digits) = body.split_at_checked(body.len().checked_sub(DIGITS)?)?;
        let head = head.strip_suffix(MARK)?;
        let lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let digits = str::from_utf8(digits).ok().filter(|digits| digits.as_bytes().iter().all(lower))?;
        Some(([head, quote].concat(), Variant(digits.to_owned())))
    }
}

/// Of the tag that this begins with: to its closing quote, or to the next comma if it has none.
fn length(text: &[u8]) -> usize {
    let open = if text.starts_with(b"W/\"") { 3 } else { usize::from(text.starts_with(b"\"")) };
    let end = |from: usize, byte: u8| text.iter().skip(from).position(|b| *b == byte).map(|at| from + at);
    match open {
        0 => end(0, b',').unwrap_or(text.len()),
        _ => end(open, b'"').map_or(text.len(), |at| at + 1),
    }
}
