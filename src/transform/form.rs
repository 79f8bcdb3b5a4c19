//! One value of a form: decoded, sealed or opened as any text outside of JSON, and encoded for its place.

use crate::form::value::{decode, encode, holds};
use crate::metrics::FieldEvent;
use crate::refusal::{Reason, Refusal};
use crate::secret::SecretBytes;

use super::body::{Fields, Outcome};
use super::outside::{self, Texted};
use super::plan::{HalfPlan, PlannedField, changes};

/// Does to one value of a form what its field says, and appends what takes its place.
pub(super) fn value(
    fields: &mut Fields,
    plan: &HalfPlan,
    (selector, field): (usize, &PlannedField),
    raw: &[u8],
    out: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    let form = fields.form.clone().ok_or_else(|| Refusal::new(Reason::InvalidForm, "no form"))?;
    let same = |out: &mut Vec<u8>| {
        out.extend_from_slice(raw);
        Ok(Outcome::Done(FieldEvent::Matched))
    };
    let Some(text) = decode(&form, raw) else {
        if !changes(&field.action) {
            fields.unread(selector);
            return same(out);
        }
        fields.broke(selector, field);
        let why = "a selected value of a form is not UTF-8, or has a `%` in it that begins no `%XX`";
        return Err(Refusal::new(Reason::InvalidForm, why).rule(&field.action.rule));
    };
    let mut became = SecretBytes::default();
    match outside::text(fields, plan, selector, text.expose(), &|text| holds(&form, text), &mut became)? {
        Texted::Same => same(out),
        Texted::Fetch(need) => Ok(Outcome::Wait(need)),
        Texted::Changed => {
            let text = std::str::from_utf8(became.expose()).ok();
            if text.is_some_and(|text| encode(&form, text, out)) {
                return Ok(Outcome::Done(FieldEvent::Matched));
            }
            fields.broke(selector, field);
            let why = "a token has the boundary of the form's parts in it: whoever sends the form needs a longer one";
            Err(Refusal::new(Reason::BadRequest, why).rule(&field.action.rule))
        }
    }
}
