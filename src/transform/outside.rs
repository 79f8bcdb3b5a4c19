//! Values outside of JSON, one text at a time: a parameter, a segment of the path, a header, a cookie, a field of a form. Whoever
//! knows where such a text stands hands it over decoded, and encodes what becomes of it.

use std::sync::Arc;

use crate::json::text;
use crate::keyring::KeyringError;
use crate::metrics::{FieldEvent, Metrics};
use crate::refusal::{Reason, Refusal};
use crate::rules::{Mode, OnBad, TextType, Verb};
use crate::secret::SecretBytes;
use crate::token;

use super::body::{CallerRole, Fields, Outcome};
use super::plan::{HalfPlan, PlannedField};
use super::reveal::string_content;
use super::{Need, Sealer, embedded};

/// What a text shows instead of one that does not open.
const REDACTED: &[u8] = b"[redacted]";

/// Seals and opens the texts of one message; counts them, and writes them down when it is dropped.
pub struct TextEdit {
    fields: Fields,
}

/// What becomes of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Texted {
    /// It stays exactly as it came.
    Same,
    /// What was appended takes its place.
    Changed,
    /// Fetch this, then ask again.
    Fetch(Need),
}

/// What a place can hold; what it cannot is a failure to open.
pub type Holds = fn(&[u8]) -> bool;

impl TextEdit {
    /// For a plan whose fields are of [`HalfPlan::outside`] or [`HalfPlan::forms`].
    pub fn new(plan: Arc<HalfPlan>, sealer: Arc<dyn Sealer>, caller: CallerRole, max_value: usize) -> Self {
        Self { fields: Fields::new(plan, sealer, caller, max_value, false) }
    }

    /// Seals or opens one text as the field with this index says, and appends what becomes of it, not yet encoded for its
    /// place. `text` is decoded.
    pub fn text(&mut self, index: usize, text: &[u8], holds: Holds, out: &mut SecretBytes) -> Result<Texted, Refusal> {
        let plan = Arc::clone(&self.fields.plan);
        let texted = self::text(&mut self.fields, &plan, index, text, &holds, out)?;
        if let Texted::Fetch(need) = &texted {
            self.pause();
            self.fields.asked(need);
        }
        Ok(texted)
    }

    /// The token that the text would have under the deterministic epoch before the current one; `Same`, if there was none.
    pub fn previous(&mut self, index: usize, text: &[u8], out: &mut SecretBytes) -> Result<Texted, Refusal> {
        let plan = Arc::clone(&self.fields.plan);
        let Some(field) = plan.fields.get(index) else { return Ok(Texted::Same) };
        let lexeme = lexeme(field, text)?;
        let found = super::seal::previous(&mut self.fields, field, lexeme.expose(), out.expose_mut())?;
        self.pause();
        Ok(found)
    }

    /// A fetch failed: the text that waits is treated as its action's `on_error` says when it is asked about again.
    pub fn fetch_failed(&mut self, error: KeyringError) {
        self.fields.fetch_failed(error);
    }

    /// Forgets what the sealer said, before something is waited for: a change reaches what comes after.
    pub fn pause(&mut self) {
        self.fields.forget();
    }

    /// A text cannot be read, so that it is neither sealed nor opened. It passes, if the field only looks.
    pub fn unreadable(&mut self, index: usize, reason: Reason, why: &str) -> Result<(), Refusal> {
        let plan = Arc::clone(&self.fields.plan);
        let Some(field) = plan.fields.get(index) else { return Ok(()) };
        if !super::plan::changes(&field.action) {
            self.fields.unread(index);
            return Ok(());
        }
        self.fields.broke(index, field);
        Err(Refusal::new(reason, why).rule(&field.action.rule))
    }

    /// All texts were handed over: whether what is `required` was there.
    pub fn finish(&self) -> Result<(), Refusal> {
        self.fields.check_required()
    }

    /// Counts what happened.
    pub fn account(&self, metrics: &Metrics) {
        self.fields.count(metrics);
    }
}

impl Drop for TextEdit {
    fn drop(&mut self) {
        self.fields.record();
    }
}

/// As [`TextEdit::text`], for whoever drives a body.
pub(super) fn text(
    fields: &mut Fields,
    plan: &HalfPlan,
    index: usize,
    text: &[u8],
    holds: &dyn Fn(&[u8]) -> bool,
    out: &mut SecretBytes,
) -> Result<Texted, Refusal> {
    let Some(field) = plan.fields.get(index) else {
        return Err(Refusal::new(Reason::KeyService, "a field outside the plan"));
    };
    if text.len() > fields.longest(index) {
        return fields.too_large(index).map(|()| Texted::Same);
    }
    let lexeme = match lexeme(field, text) {
        Ok(lexeme) => lexeme,
        Err(refusal) => {
            fields.broke(index, field);
            return Err(refusal);
        }
    };
    let mut become_ = SecretBytes::new(Vec::with_capacity(lexeme.expose().len()));
    let outcome = if field.action.embedded {
        embedded::string(fields, plan, index, lexeme.expose(), None, become_.expose_mut())
    } else {
        fields.value(index, field, lexeme.expose(), None, become_.expose_mut())
    };
    match outcome? {
        Outcome::Done(_) if become_.expose() == lexeme.expose() => Ok(Texted::Same),
        Outcome::Done(_) => place(fields, index, field, become_.expose(), holds, out),
        Outcome::Wait(need) => Ok(Texted::Fetch(need)),
        Outcome::Later(_) => {
            Err(Refusal::new(Reason::KeyService, "a text waits for a managed API").rule(&field.action.rule))
        }
    }
}

/// From JSON text to the text that stands outside of it.
fn place(
    fields: &mut Fields,
    index: usize,
    field: &PlannedField,
    lexeme: &[u8],
    holds: &dyn Fn(&[u8]) -> bool,
    out: &mut SecretBytes,
) -> Result<Texted, Refusal> {
    let bare = string_content(lexeme).map_or_else(|| lexeme.into(), text::unescape);
    if std::str::from_utf8(&bare).is_ok() && (field.action.verb == Verb::Seal || holds(&bare)) {
        out.expose_mut().extend_from_slice(&bare);
        if let std::borrow::Cow::Owned(bare) = bare {
            drop(SecretBytes::new(bare));
        }
        return Ok(Texted::Changed);
    }
    fields.unread(index);
    match field.action.on_error {
        OnBad::Pass => Ok(Texted::Same),
        OnBad::Redact => {
            out.expose_mut().extend_from_slice(REDACTED);
            Ok(Texted::Changed)
        }
        OnBad::Reject | OnBad::Nullify => {
            fields.broke(index, field);
            let why = "what the token holds cannot stand where the token stood";
            Err(Refusal::new(Reason::Token, why).rule(&field.action.rule))
        }
    }
}

/// The text as JSON has it: a string as RFC 8785 writes it, or the number or boolean that the rule's `type` says it is.
pub fn lexeme(field: &PlannedField, text: &[u8]) -> Result<SecretBytes, Refusal> {
    let action = &field.action;
    let acts = action.verb == Verb::Seal && action.mode >= Mode::Migrate;
    // A token stands for a value of any type.
    let of_type = |is: bool, what: &str| match is {
        true => Ok(SecretBytes::new(text.to_vec())),
        false => Err(Refusal::new(Reason::Type, format!("a text is no {what}, as `type` says")).rule(&action.rule)),
    };
    match action.text {
        TextType::Number if acts && !token::looks_sealed(text) => {
            let begins = text.first().is_some_and(|b| matches!(b, b'-' | b'0'..=b'9'));
            return of_type(begins && text::is_value(text), "JSON number");
        }
        TextType::Boolean if acts && !token::looks_sealed(text) => {
            return of_type(text == b"true" || text == b"false", "boolean");
        }
        TextType::String | TextType::Number | TextType::Boolean => {}
    }
    let utf8 = match std::str::from_utf8(text) {
        Ok(utf8) => utf8.into(),
        // Where nothing is sealed it is no token, and stays as it came.
        Err(_) if !acts => String::from_utf8_lossy(text),
        Err(_) => return Err(Refusal::new(Reason::BadRequest, "a text to seal is not UTF-8").rule(&action.rule)),
    };
    let mut lexeme = SecretBytes::new(Vec::with_capacity(utf8.len() * 6 + 2));
    let bytes = lexeme.expose_mut();
    bytes.push(b'"');
    text::escape_into(&utf8, bytes);
    bytes.push(b'"');
    Ok(lexeme)
}

/// The event of a text in which nothing was selected.
pub(super) const NOTHING: FieldEvent = FieldEvent::Matched;
