//! One value on its way to whoever never sees plaintext.

use crate::audit::Use;
use crate::json::text;
use crate::keyring::{Cached, Kind, Permissions};
use crate::metrics::FieldEvent;
use crate::refusal::{Reason, Refusal};
use crate::rules::{Action, Mode, OnBad, OnToken};
use crate::secret::SecretBytes;
use crate::token::v1::token_len;
use crate::token::{self, Suite};

use super::body::{Fields, Outcome};
use super::managed::{self, ToSeal};
use super::open::Purpose;
use super::open::Verdict;
use super::outside::Texted;
use super::plan::{Bound, PlannedField, Target};
use super::reveal::{looks_masked, string_content};
use super::{Need, Ready, SealFailure, SealJob};

/// Of a value whose `bind` finds nothing.
pub(super) const UNBOUND: &str =
    "what the value is bound to (`bind`) must be there exactly once, a number or a string that is not empty";

/// The kind of epoch an action seals under.
pub fn kind(action: &Action) -> Kind {
    if action.suite == Suite::Siv { Kind::Deterministic } else { Kind::Random }
}

/// Appends what leaves instead of `lexeme`.
pub(super) fn value(
    fields: &mut Fields,
    field: &PlannedField,
    lexeme: &[u8],
    bound: Bound<'_>,
    out: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    let action = &field.action;
    let content = string_content(lexeme);
    let is_token = content.is_some_and(|c| begins_as_token(action, c));
    if action.mode < Mode::Migrate {
        out.extend_from_slice(lexeme);
        let event = match is_token {
            true => FieldEvent::AlreadySealed,
            false if unfit(action, lexeme) => FieldEvent::Unfit,
            false => FieldEvent::Plaintext,
        };
        return Ok(Outcome::Done(event));
    }
    if lexeme == b"null" && (!action.seal_nulls || fields.merges) {
        out.extend_from_slice(lexeme);
        return Ok(Outcome::Done(FieldEvent::Matched));
    }
    let Bound::To(record_id) = bound else {
        return Err(refuse(action, Reason::Missing, UNBOUND));
    };
    let (Some(partition), Some(class)) = (field.target.partition(), field.class()) else {
        return Err(refuse(action, Reason::Missing, "a glob names no partition to seal under"));
    };

    let permissions = match fields.permissions(partition) {
        Cached::Hit(permissions) => permissions,
        Cached::Miss => return Ok(Outcome::Wait(Need::Partition(partition.clone(), None))),
        Cached::Unknown => return give_up(action, lexeme, out, Reason::KeyService, "no such partition"),
        Cached::Denied(state) => {
            return Err(refuse(action, Reason::PartitionState, &format!("the partition is {}", state.name())));
        }
    };
    if !permissions.has(Permissions::ENCRYPT) {
        return Err(refuse(action, Reason::Role, "the caller's role may not seal"));
    }
    if is_token {
        match field.on_token {
            OnToken::Seal => {}
            OnToken::Reject => {
                return Err(refuse(action, Reason::Token, "text that begins as a token came in to be sealed"));
            }
            OnToken::Keep => return keep(fields, field, (lexeme, content.unwrap_or_default()), bound, out),
        }
    }
    if (action.refuses_masked || permissions.has(Permissions::MASK)) && looks_masked(lexeme) {
        return Err(refuse(action, Reason::Masked, "a masked value came back to be sealed"));
    }

    let canonical;
    let plain = match content {
        Some(content) if action.deterministic => {
            canonical = text::canonical_string(content)
                .ok_or_else(|| refuse(action, Reason::BadRequest, "a lone surrogate has no canonical form"))?;
            canonical.as_slice()
        }
        Some(content) => content,
        None => lexeme,
    };
    let start = out.len();
    if let Target::Managed(profile) = &field.target
        && let Some(api) = profile.delegated()
    {
        let value = ToSeal { lexeme, content, plain, record_id };
        match managed::seal(fields, field, (profile, api), &value, out)? {
            Some(Outcome::Done(FieldEvent::Sealed)) => return finish(action, class.as_str(), start, out),
            Some(outcome) => return Ok(outcome),
            None => {}
        }
    }
    let job = SealJob {
        partition,
        class,
        suite: action.suite,
        sign: action.sign,
        pad: action.pad,
        text: plain,
        is_string: content.is_some(),
        record_id,
    };
    out.push(b'"');
    match fields.sealer.seal(&job, &mut fields.told.memo, out) {
        Ok(Ready::Now(())) => {}
        Ok(Ready::After(need)) => {
            out.truncate(start);
            return Ok(Outcome::Wait(need));
        }
        Err(failure) => {
            out.truncate(start);
            let reason = match failure {
                SealFailure::Denied(_) => return Err(refuse(action, Reason::PartitionState, &failure.to_string())),
                SealFailure::NoKey(_) | SealFailure::Seal(_) => Reason::KeyService,
            };
            return give_up(action, lexeme, out, reason, &failure.to_string());
        }
    }
    finish(action, class.as_str(), start, out)
}

/// Whether the content of a string begins as a token of ours, or may be a ciphertext of the API's.
pub(super) fn begins_as_token(action: &Action, raw: &[u8]) -> bool {
    // Most do not begin as one, however its first letter is written.
    let may = matches!(raw.first(), Some(first) if *first == b'\\' || token::PREFIX.first() == Some(first));
    (may || action.key.delegated().is_some()) && action.key.looks_sealed(&text::unescape(raw))
}

/// Appends the token that a look-up's value would have under the epoch before the current one, if there was one.
pub(super) fn previous(
    fields: &mut Fields,
    field: &PlannedField,
    lexeme: &[u8],
    out: &mut Vec<u8>,
) -> Result<Texted, Refusal> {
    let action = &field.action;
    let content = string_content(lexeme);
    let (Some(partition), Some(class)) = (field.target.partition(), field.class()) else { return Ok(Texted::Same) };
    let is_token = content.is_some_and(|c| action.key.looks_sealed(c));
    if !action.deterministic || action.mode < Mode::Migrate || is_token {
        return Ok(Texted::Same);
    }
    match fields.permissions(partition) {
        Cached::Hit(permissions) if permissions.has(Permissions::ENCRYPT) => {}
        Cached::Miss => return Ok(Texted::Fetch(Need::Partition(partition.clone(), None))),
        Cached::Hit(_) | Cached::Unknown | Cached::Denied(_) => return Ok(Texted::Same),
    }
    let job = SealJob {
        partition,
        class,
        suite: Suite::Siv,
        sign: false,
        pad: action.pad,
        text: content.unwrap_or(lexeme),
        is_string: content.is_some(),
        record_id: None,
    };
    let start = out.len();
    match fields.sealer.seal_previous(&job, &mut fields.told.memo, out) {
        Ok(Ready::Now(true)) => {
            fields.recorded(partition, &[(class, Use::Sealed, 1)]);
            Ok(Texted::Changed)
        }
        Ok(Ready::After(need)) => {
            out.truncate(start);
            Ok(Texted::Fetch(need))
        }
        // The look-up under the current epoch stands.
        Ok(Ready::Now(false)) | Err(_) => {
            out.truncate(start);
            Ok(Texted::Same)
        }
    }
}

/// Whether the application would not take the token of a value that is not sealed yet.
fn unfit(action: &Action, lexeme: &[u8]) -> bool {
    let Some(length) = forecast(action, lexeme) else { return false };
    action.format_refuses || action.max_length.zip(length).is_some_and(|(max, length)| length > max)
}

/// How long the token of a value will be that is not sealed yet; `None`: it will have none. How long an API makes its ciphertexts
/// is its own affair: `Some(None)`.
pub(super) fn forecast(action: &Action, lexeme: &[u8]) -> Option<Option<usize>> {
    if lexeme == b"null" && !action.seal_nulls {
        return None;
    }
    if action.key.delegated().is_some() {
        return Some(None);
    }
    let content = string_content(lexeme);
    let text = match content {
        // What is deterministic is sealed in one form, whatever escapes it came with.
        Some(content) if action.deterministic && content.contains(&b'\\') => text::canonical_string(content)
            .map_or(content.len(), |canonical| SecretBytes::new(canonical).expose().len()),
        Some(content) => content.len(),
        None => lexeme.len(),
    };
    Some(Some(token_len(action.suite, text, content.is_some(), action.pad, action.sign)))
}

/// Behind `start` stand a quote and the token.
fn finish(action: &Action, class: &str, start: usize, out: &mut Vec<u8>) -> Result<Outcome, Refusal> {
    let length = out.len() - start - 1;
    if action.max_length.is_some_and(|max| length > max) {
        out.truncate(start);
        let text = format!("the token of class {class} has {length} characters, over the rule's max_length");
        return Err(refuse(action, Reason::MaxLength, &text));
    }
    out.push(b'"');
    Ok(Outcome::Done(FieldEvent::Sealed))
}

/// `on_error` of a sealing action: refuse, or let the plaintext through.
pub(super) fn give_up(
    action: &Action,
    lexeme: &[u8],
    out: &mut Vec<u8>,
    reason: Reason,
    detail: &str,
) -> Result<Outcome, Refusal> {
    if action.on_error == OnBad::Pass {
        out.extend_from_slice(lexeme);
        return Ok(Outcome::Done(FieldEvent::Refused));
    }
    Err(refuse(action, reason, detail))
}

/// `on_token: keep`: the token stays if it is one of ours for this very place.
fn keep(
    fields: &mut Fields,
    field: &PlannedField,
    (lexeme, content): (&[u8], &[u8]),
    bound: Bound<'_>,
    out: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    match super::open::authenticate(fields, field, &text::unescape(content), bound, Purpose::Keep) {
        Ok(Ready::Now(Verdict::Later(job))) => Ok(Outcome::Later(job)),
        Ok(Ready::Now(Verdict::Authentic(_) | Verdict::Withheld)) => {
            out.extend_from_slice(lexeme);
            Ok(Outcome::Done(FieldEvent::AlreadySealed))
        }
        Ok(Ready::After(need)) => Ok(Outcome::Wait(need)),
        Err(failure) => Err(failure.into_refusal(&field.action)),
    }
}

pub(super) fn refuse(action: &Action, reason: Reason, detail: &str) -> Refusal {
    Refusal::new(reason, detail).rule(&action.rule)
}
