//! Tokens within a longer text (`embedded`): each is opened where it stands, everything else of the text leaves as it was written.

use std::ops::Range;

use crate::json::text::{Written, escape_into, unescape};
use crate::refusal::{Reason, Refusal};
use crate::rules::Place;
use crate::rules::place::encode::percent;
use crate::secret::SecretBytes;

use super::body::{Fields, Outcome};
use super::outside::NOTHING;
use super::plan::{HalfPlan, PlannedField};
use super::reveal::string_content;

/// Tokens of one text; more are no text that an application writes.
const MAX_TOKENS: usize = 256;

/// How a token begins.
const PREFIX: &[u8] = b"sc1.";
/// Of its header in base64url, with the full stop behind it.
const HEADER: usize = 17;

/// Headers that hold URLs, in which a plaintext stands percent-encoded.
const URLS: [&str; 4] = ["location", "content-location", "link", "refresh"];

/// What a text's first tokens became, while a later one waits.
#[derive(Default)]
pub(super) struct Opening {
    /// Which text: the field that selected it, and its length.
    of: (usize, usize),
    /// Nothing, where one stays as it is.
    pieces: Vec<SecretBytes>,
}

impl Opening {
    /// Bytes held in buffers.
    pub fn held(&self) -> usize {
        self.pieces.iter().map(|piece| piece.expose().len() + size_of::<SecretBytes>()).sum()
    }
}

/// Opens the tokens in a string, and appends what becomes of it. What waits is gone on with when the same string is asked about
/// again. A value that is no string passes as it is.
pub(super) fn string(
    fields: &mut Fields,
    plan: &HalfPlan,
    index: usize,
    raw: &[u8],
    record: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    let (Some(field), Some(content)) = (plan.fields.get(index), string_content(raw)) else {
        out.extend_from_slice(raw);
        fields.done(index, NOTHING);
        return Ok(Outcome::Done(NOTHING));
    };
    let text = unescape(content);
    let tokens = tokens(&text);
    if tokens.len() > MAX_TOKENS {
        fields.too_large(index)?;
        out.extend_from_slice(raw);
        return Ok(Outcome::Done(NOTHING));
    }
    if tokens.is_empty() {
        fields.done(index, NOTHING);
    }
    let of = (index, raw.len());
    let mut opening = std::mem::take(&mut fields.opening);
    if opening.of != of {
        opening = Opening { of, pieces: Vec::new() };
    }
    for span in tokens.iter().skip(opening.pieces.len()) {
        let token = text.get(span.clone()).unwrap_or_default();
        let lexeme = [b"\"", token, b"\""].concat();
        // A plaintext is shorter than its token, so that it never moves and leaves no copy behind.
        let mut piece = SecretBytes::new(Vec::with_capacity(lexeme.len() + 16));
        match fields.value(index, field, &lexeme, record, piece.expose_mut())? {
            Outcome::Done(_) if piece.expose() == lexeme => piece = SecretBytes::default(),
            Outcome::Done(_) => {}
            Outcome::Wait(need) => {
                fields.opening = opening;
                return Ok(Outcome::Wait(need));
            }
            Outcome::Later(_) => {
                let what = "a token in a text waits for a managed API";
                return Err(Refusal::new(Reason::KeyService, what).rule(&field.action.rule));
            }
        }
        opening.pieces.push(piece);
    }
    splice(field, content, &tokens, &opening.pieces, out).ok_or_else(|| {
        Refusal::new(Reason::Token, "what a token in a text holds is no text").rule(&field.action.rule)
    })?;
    Ok(Outcome::Done(NOTHING))
}

/// Where tokens stand.
fn tokens(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = memchr::memmem::find(text.get(from..).unwrap_or_default(), PREFIX).map(|at| from + at) {
        from = start + PREFIX.len();
        let header = text.get(from..from + HEADER).unwrap_or_default();
        let body = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_header = header.iter().filter(body).count() == HEADER - 1 && header.ends_with(b".");
        let length = text.get(from + HEADER..).unwrap_or_default().iter().take_while(body).count();
        if is_header && length > 0 {
            from += HEADER + length;
            found.push(start..from);
            // One too many is all that need be known.
            if found.len() > MAX_TOKENS {
                break;
            }
        }
    }
    found
}

/// The string with what its tokens became.
fn splice(
    field: &PlannedField,
    content: &[u8],
    tokens: &[Range<usize>],
    pieces: &[SecretBytes],
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut written = Written::new(content);
    let mut passed = 0;
    out.push(b'"');
    for (span, piece) in tokens.iter().zip(pieces).filter(|(_, piece)| !piece.expose().is_empty()) {
        let start = written.place(span.start);
        out.extend_from_slice(content.get(passed..start)?);
        put(field, piece.expose(), out)?;
        passed = written.place(span.end);
    }
    out.extend_from_slice(content.get(passed..)?);
    out.push(b'"');
    Some(())
}

/// Appends what a token became, so that it ends where the token did.
fn put(field: &PlannedField, lexeme: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let in_url = matches!(field.place(), Some(Place::Header(name)) if URLS.contains(&name.as_str()));
    match string_content(lexeme) {
        Some(content) if in_url => percent(SecretBytes::new(unescape(content).into_owned()).expose(), out),
        Some(content) => out.extend_from_slice(content),
        None if in_url => percent(lexeme, out),
        None => escape_into(std::str::from_utf8(lexeme).ok()?, out),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_by_their_form() {
        let token = "sc1.AQAAAAAAAAAAAAAA.abc-_9";
        let expected: [(String, &[(usize, usize)]); 7] = [
            (format!("see {token}. Or {token}"), &[(4, 31), (36, 63)]),
            (format!("https://x/y?ssn%3D{token}&b={token}"), &[(18, 45), (48, 75)]),
            (format!("{token}{token}"), &[(0, 30)]),
            (format!("xsc1.{token}"), &[(5, 32)]),
            ("sc1.AQAA.abc".to_owned(), &[]),
            ("sc1.AQAAAAAAAAAAAAAA.".to_owned(), &[]),
            ("sc1.".to_owned(), &[]),
        ];
        for (text, found) in expected {
            let there: Vec<_> = tokens(text.as_bytes()).into_iter().map(|span| (span.start, span.end)).collect();
            assert_eq!(there, found, "{text}");
        }
    }
}
