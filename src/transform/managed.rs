//! Values that a managed API seals and opens: what it is handed, and what is made of its answer.

use std::sync::Arc;

use crate::json::text;
use crate::keyring::Cached;
use crate::metrics::FieldEvent;
use crate::name::Class;
use crate::refusal::{Reason, Refusal};
use crate::rules::profile::{PerValue, Profile};
use crate::rules::{Action, Mode};
use crate::secret::SecretBytes;
use crate::token;
use crate::token::v1::managed::{ManagedSuite, ManagedToken, Place, looks_handed, profile_id};
use crate::token::v1::{AnyToken, OpenError, Opened, parse_any};

use super::body::{Fields, Outcome};
use super::delegate::{Answer, DelegateError, Delegated, Work};
use super::open::{Admitted, Authentic, Failure, Purpose, Verdict, admitted};
use super::plan::{Bound, PlannedField};
use super::seal::{give_up, kind, refuse};
use super::{Need, Ready};

/// A value that is to be sealed.
pub(super) struct ToSeal<'a> {
    pub lexeme: &'a [u8],
    /// What stands between its quotes, if it is a string.
    pub content: Option<&'a [u8]>,
    /// What is sealed of it.
    pub plain: &'a [u8],
    pub record_id: Option<&'a [u8]>,
}

/// Appends what the API made of a value, without quotes; `None`: the value is too long for the API, and is sealed here.
pub(super) fn seal(
    fields: &mut Fields,
    field: &PlannedField,
    (profile, api): (&Arc<Profile>, &PerValue),
    value: &ToSeal<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Outcome>, Refusal> {
    let action = &field.action;
    let Some(class) = field.class() else { return Err(refuse(action, Reason::Missing, "a field without a class")) };
    let place = Place {
        profile: &profile.name,
        class,
        record_id: value.record_id,
        is_string: value.content.is_some(),
        signed: action.sign,
    };
    if !api.bare && place.wrapped_len(value.plain.len()) > api.longest {
        return Ok(None);
    }
    // Its epochs are not asked for, and so cannot say that nothing is sealed any more.
    let need = Need::Sealing(profile.partition.clone(), kind(action));
    if let Cached::Denied(state) = fields.sealer.at_hand(&need, &mut fields.told.memo) {
        return Err(refuse(action, Reason::PartitionState, &format!("the partition is {}", state.name())));
    }
    let wrong = |out: &mut Vec<u8>, what: &str| {
        give_up(action, value.lexeme, out, Reason::KeyService, &format!("profile `{}`: {what}", profile.name))
    };
    match fields.answer.take() {
        None => {
            let handed = if api.bare { bare(action, api, value.content)? } else { place.wrap(value.plain) };
            Ok(Some(Outcome::Later(job(profile, class, action.sign, Work::Seal(handed)))))
        }
        Some(Ok(Answer::Sealed(ciphertext))) if api.bare => match ciphertext_text(api, &ciphertext) {
            Some(text) => {
                out.push(b'"');
                text::escape_into(text, out);
                Ok(Some(Outcome::Done(FieldEvent::Sealed)))
            }
            None => wrong(out, "the API's ciphertext would not be taken for one when it is to be opened").map(Some),
        },
        Some(Ok(Answer::Sealed(ciphertext))) => {
            let start = out.len();
            out.push(b'"');
            match place.token(ManagedSuite::of(api.plain_text), &ciphertext, out) {
                Ok(()) => Ok(Some(Outcome::Done(FieldEvent::Sealed))),
                Err(what) => {
                    out.truncate(start);
                    wrong(out, what).map(Some)
                }
            }
        }
        Some(Ok(Answer::Opened(_))) => wrong(out, "an answer to another question").map(Some),
        // It names the profile.
        Some(Err(error)) => give_up(action, value.lexeme, out, Reason::KeyService, &error.to_string()).map(Some),
    }
}

/// What the API gets of a string under `bare`: the string alone.
fn bare(action: &Action, api: &PerValue, content: Option<&[u8]>) -> Result<SecretBytes, Refusal> {
    let bad = |what: &str| Err(refuse(action, Reason::BadRequest, what));
    let Some(content) = content else {
        return bad("the profile is `bare`, and its API takes strings only");
    };
    // Always its own copy, so that it is wiped.
    let text = SecretBytes::new(text::unescape(content).into_owned());
    if std::str::from_utf8(text.expose()).is_err() {
        return bad("a lone surrogate is no text that an API could be handed");
    }
    if text.expose().is_empty() {
        return bad("the profile is `bare`, and an empty string cannot be handed to its API");
    }
    if looks_handed(text.expose()) {
        return bad("the profile is `bare`, and text that begins with `sc1:` or `sc1k:` would not open again");
    }
    if text.expose().len() > api.longest {
        let what = format!("the profile is `bare`, and its API takes at most {} bytes", api.longest);
        return Err(refuse(action, Reason::TooLarge, &what));
    }
    Ok(text)
}

/// A ciphertext as a text that is recognised for one when it comes back.
fn ciphertext_text<'a>(api: &PerValue, ciphertext: &'a [u8]) -> Option<&'a str> {
    let text = std::str::from_utf8(ciphertext).ok()?;
    (api.may_be_ciphertext(ciphertext) && !token::looks_sealed(ciphertext)).then_some(text)
}

/// What an API made, as it stands in a document.
pub(super) enum Form {
    /// In a token.
    Token(ManagedToken),
    /// As it is.
    Bare(Vec<u8>),
}

/// Whether this is something that the profile's API would have to open.
pub(super) fn form(profile: &Profile, content: &[u8]) -> Option<Form> {
    if !token::looks_sealed(content) {
        return Some(Form::Bare(content.to_vec())).filter(|_| profile.delegated().is_some_and(|api| api.bare));
    }
    match parse_any(content) {
        Ok(AnyToken::Managed(token)) => Some(Form::Token(token)),
        // What is malformed fails as a token does.
        Ok(AnyToken::Local(_)) | Err(_) => None,
    }
}

/// As [`super::open::authenticate`].
pub(super) fn authenticate(
    fields: &mut Fields,
    field: &PlannedField,
    (profile, api): (&Arc<Profile>, &PerValue),
    form: Form,
    bound: Bound<'_>,
    purpose: Purpose,
) -> Result<Ready<Verdict>, Failure> {
    let action = &field.action;
    if matches!(&form, Form::Token(token) if token.profile != profile_id(&profile.name)) {
        return Err(Failure::Foreign);
    }
    let permissions = match admitted(fields, &profile.partition, purpose)? {
        Ready::Now(Admitted::With(permissions)) => permissions,
        Ready::Now(Admitted::Not) => return Ok(Ready::Now(Verdict::Withheld)),
        Ready::After(need) => return Ok(Ready::After(need)),
    };
    let Some(class) = field.class() else { return Err(Failure::Foreign) };
    let not_authentic = || Failure::Open(OpenError::NotAuthentic.into());
    let (ciphertext, token, lesser, record_id) = match form {
        Form::Bare(ciphertext) => (ciphertext, None, false, None),
        Form::Token(mut token) => {
            let unbound = action.bind.is_some() && !token.bound;
            let lesser = (action.sign && !token.signed) || unbound;
            if lesser && action.mode == Mode::Enforce {
                return Err(Failure::Lesser);
            }
            // The API's own signature is of none of the signers that the rule names.
            if token.signed && !action.signers.is_empty() {
                return Err(Failure::Open(OpenError::Signature.into()));
            }
            let record_id = match bound {
                _ if unbound => None,
                Bound::To(record_id) => record_id,
                Bound::Missing => return Err(Failure::Unbound),
            };
            // What cannot open is not worth a call.
            if token.bound != record_id.is_some() || (token.signed && !api.signs) {
                return Err(not_authentic());
            }
            (std::mem::take(&mut token.ciphertext), Some(token), lesser, record_id)
        }
    };
    let signed = token.as_ref().map_or(action.sign, |token| token.signed);
    let handed = match fields.answer.take() {
        None => {
            let job = job(profile, class, signed, Work::Open(ciphertext));
            return Ok(Ready::Now(Verdict::Later(job)));
        }
        Some(Ok(Answer::Opened(handed))) => handed,
        Some(Ok(Answer::Sealed(_))) => {
            let error = DelegateError::Unavailable("an answer to another question".into());
            return Err(Failure::Api { error, bare: false });
        }
        Some(Err(error)) => return Err(Failure::Api { error, bare: token.is_none() }),
    };
    let opened = match token {
        Some(ManagedToken { is_string, .. }) => {
            let place = Place { profile: &profile.name, class, record_id, is_string, signed };
            let text = place.unwrap(&handed).map_err(|error| Failure::Open(error.into()))?;
            Opened { text, is_string, signer: None }
        }
        None if looks_handed(handed.expose()) => return Err(not_authentic()),
        None => Opened { text: escaped(&handed).ok_or(Failure::NotJson)?, is_string: true, signer: None },
    };
    Authentic::new(opened, lesser, permissions).map(|authentic| Ready::Now(Verdict::Authentic(authentic)))
}

/// An API's text as the content of a string.
fn escaped(text: &SecretBytes) -> Option<SecretBytes> {
    let text = std::str::from_utf8(text.expose()).ok()?;
    // An escape has six bytes at most.
    let mut content = SecretBytes::new(Vec::with_capacity(text.len().saturating_mul(6)));
    text::escape_into(text, content.expose_mut());
    Some(content)
}

fn job(profile: &Arc<Profile>, class: &Class, signed: bool, work: Work) -> Delegated {
    Delegated { profile: Arc::clone(profile), class: class.clone(), signed, work }
}

#[cfg(test)]
mod tests;
