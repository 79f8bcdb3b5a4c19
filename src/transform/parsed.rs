//! Strings that hold JSON (`parse: json`): the values selected in such a text are replaced, everything else of the string leaves
//! as it was written.

use crate::json::text::{Written, escape_into};
use crate::jsonpath::{Inside, Unreadable};
use crate::metrics::FieldEvent;
use crate::refusal::{Reason, Refusal};
use crate::rules::OnUnreadable;
use crate::secret::SecretBytes;

use super::body::{Fields, Outcome};
use super::delegate::DelegateError;
use super::plan::{HalfPlan, changes};

/// What a body's strings leave behind.
#[derive(Default)]
pub(super) struct Parsing {
    /// A value inside of it waits.
    waiting: Option<Text>,
    /// How many patterns were compiled out of the current document.
    patterns: usize,
}

impl Parsing {
    /// Bytes held in buffers.
    pub fn held(&self) -> usize {
        let Some(Text { inside, pieces, .. }) = &self.waiting else { return 0 };
        inside.held() + pieces.iter().map(|piece| piece.expose().len() + size_of::<SecretBytes>()).sum::<usize>()
    }

    pub fn next_document(&mut self) {
        self.patterns = 0;
    }
}

/// The text of one string.
struct Text {
    /// Which string it is: the field that selected it, and its length.
    of: (usize, usize),
    inside: Inside,
    /// What became of the first values found there; nothing, where one stays as it is.
    pieces: Vec<SecretBytes>,
}

/// Does to the values in a string what the fields say that begin with this one, and appends what becomes of the string. What
/// waits is gone on with when the same string is asked about again.
pub(super) fn string(
    fields: &mut Fields,
    plan: &HalfPlan,
    first: usize,
    raw: &[u8],
    out: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    let of = (first, raw.len());
    let mut text = match fields.parsed.waiting.take().filter(|text| text.of == of) {
        Some(text) => text,
        None => match read(fields, plan, first, raw)? {
            Some(inside) => Text { of, inside, pieces: Vec::new() },
            None => {
                out.extend_from_slice(raw);
                return Ok(Outcome::Done(FieldEvent::Matched));
            }
        },
    };
    // In a merge patch as well, the text is a whole document, in which null removes nothing.
    let merges = std::mem::replace(&mut fields.merges, false);
    let outcome = replace(fields, plan, &mut text);
    fields.merges = merges;
    match outcome? {
        Some(wait) => {
            fields.parsed.waiting = Some(text);
            Ok(wait)
        }
        None => {
            splice(&text, raw, out).ok_or_else(|| Refusal::new(Reason::Token, "a value in a string is no text"))?;
            Ok(Outcome::Done(FieldEvent::Matched))
        }
    }
}

/// What the string holds; `None`: it passes as it is.
fn read(fields: &mut Fields, plan: &HalfPlan, first: usize, raw: &[u8]) -> Result<Option<Inside>, Refusal> {
    let Some((field, selectors)) = plan.fields.get(first).and_then(|f| Some((f, f.action.inside.as_ref()?))) else {
        return Ok(None);
    };
    let unreadable = match Inside::read(raw, selectors, &mut fields.parsed.patterns) {
        Ok(inside) => return Ok(inside),
        Err(unreadable) => unreadable,
    };
    if changes(&field.action) && plan.unreadable.invalid_json == OnUnreadable::Reject {
        let reason = match unreadable {
            Unreadable::NoString | Unreadable::NoJson(_) => Reason::InvalidJson,
            Unreadable::Undecided(_) => Reason::Undecided,
        };
        fields.broke(first, field);
        return Err(Refusal::new(reason, format!("{unreadable} (`on_invalid_json`)")).rule(&field.action.rule));
    }
    // A value of any of the fields may be in it.
    (first..first + selectors.count()).for_each(|selector| fields.unread(selector));
    Ok(None)
}

/// Goes on with the values that are left, until one waits.
fn replace(fields: &mut Fields, plan: &HalfPlan, text: &mut Text) -> Result<Option<Outcome>, Refusal> {
    let Text { of: (first, _), inside, pieces } = text;
    for found in inside.found().iter().skip(pieces.len()) {
        let selector = *first + found.path;
        let Some(field) = plan.fields.get(selector) else {
            return Err(Refusal::new(Reason::KeyService, "a selector outside the plan"));
        };
        let raw = inside.text().get(found.span.clone()).unwrap_or_default();
        // A plaintext is shorter than its token, so that it never moves and leaves no copy behind.
        let mut piece = SecretBytes::new(Vec::with_capacity(raw.len().saturating_add(16)));
        if raw.len() > fields.longest(selector) {
            fields.too_large(selector)?;
        } else {
            // A token that a managed API made long ago fails, rather than have the string wait for an answer.
            fields.answer =
                Some(Err(DelegateError::Refused("nothing is asked of an API about values in strings".into())));
            let outcome = fields.value(selector, field, raw, found.record.as_deref(), piece.expose_mut());
            fields.answer = None;
            match outcome? {
                Outcome::Done(_) if piece.expose() == raw => piece = SecretBytes::default(),
                Outcome::Done(_) => {}
                wait @ Outcome::Wait(_) => return Ok(Some(wait)),
                Outcome::Later(_) => {
                    let what = "a value in a string waits for a managed API";
                    return Err(Refusal::new(Reason::KeyService, what).rule(&field.action.rule));
                }
            }
        }
        pieces.push(piece);
    }
    Ok(None)
}

/// Appends the string with what its values became.
fn splice(text: &Text, raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let content = raw.get(1..raw.len().checked_sub(1)?)?;
    let mut written = Written::new(content);
    let mut passed = 0;
    out.push(b'"');
    for (found, piece) in text.inside.found().iter().zip(&text.pieces).filter(|(_, piece)| !piece.expose().is_empty()) {
        let start = written.place(found.span.start);
        out.extend_from_slice(content.get(passed..start)?);
        escape_into(std::str::from_utf8(piece.expose()).ok()?, out);
        passed = written.place(found.span.end);
    }
    out.extend_from_slice(content.get(passed..)?);
    out.push(b'"');
    Some(())
}

#[cfg(test)]
mod tests;
