//! One value on its way to whoever may see plaintext.

use crate::json::text;
use crate::keyring::{Cached, Permissions, State};
use crate::metrics::FieldEvent;
use crate::name::PartitionName;
use crate::refusal::{Reason, Refusal};
use crate::rules::{Action, Mode, OnBad, Reveal};
use crate::token::v1::Opened;
use crate::token::{self, EpochId};

use super::body::{Fields, Outcome};
use super::delegate::{DelegateError, Delegated};
use super::managed;
use super::plan::{Bound, PlannedField, Target};
use super::quick::Like;
use super::reveal::{REDACTED, show, show_lexeme, string_content};
use super::{Need, OpenFailure, OpenJob, Ready};

/// What a role with `EnforceMask` sees under a rule that does not say how to mask.
const DEFAULT_MASK: Reveal = Reveal::Mask(4);

/// Appends what leaves instead of `lexeme`.
pub(super) fn value(
    fields: &mut Fields,
    field: &PlannedField,
    lexeme: &[u8],
    bound: Bound<'_>,
    out: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    let action = &field.action;
    let bare = action.key.delegated().filter(|(_, api)| api.bare);
    let sealed = |c: &[u8]| token::looks_sealed(c) || bare.is_some_and(|(_, api)| api.may_be_ciphertext(c));
    let content = string_content(lexeme).map(text::unescape).filter(|c| sealed(c));
    if action.mode == Mode::Observe {
        out.extend_from_slice(lexeme);
        return Ok(Outcome::Done(if content.is_some() { FieldEvent::AlreadySealed } else { FieldEvent::Plaintext }));
    }
    if lexeme == b"null" && (!action.seal_nulls || fields.merges) {
        out.extend_from_slice(lexeme);
        return Ok(Outcome::Done(FieldEvent::Matched));
    }
    let Some(content) = content else { return plaintext(action, lexeme, out) };
    if !fields.caller.may_see_plaintext {
        out.extend_from_slice(lexeme);
        return Ok(Outcome::Done(FieldEvent::Withheld));
    }
    let failure = match authenticate(fields, field, &content, bound, Purpose::Reveal) {
        Ok(Ready::After(need)) => return Ok(Outcome::Wait(need)),
        Ok(Ready::Now(Verdict::Withheld)) => {
            out.extend_from_slice(lexeme);
            return Ok(Outcome::Done(FieldEvent::Withheld));
        }
        Ok(Ready::Now(Verdict::Later(job))) => return Ok(Outcome::Later(job)),
        Ok(Ready::Now(Verdict::Authentic(authentic))) => {
            let outcome = reveal(action, &authentic, out);
            fields.told.parser.take_back(authentic.opened.text);
            return Ok(outcome);
        }
        // While a roll-out is under way, what is no ciphertext of the API's is a plaintext.
        Err(Failure::Api { error: DelegateError::Refused(_), bare: true }) if action.mode < Mode::Enforce => {
            return plaintext(action, lexeme, out);
        }
        Err(failure) => failure,
    };
    if let Failure::Denied(_) = failure {
        return Err(failure.into_refusal(action));
    }
    match action.on_error {
        OnBad::Reject => return Err(failure.into_refusal(action)),
        OnBad::Pass => out.extend_from_slice(lexeme),
        OnBad::Redact => out.extend_from_slice(REDACTED),
        OnBad::Nullify => out.extend_from_slice(b"null"),
    }
    Ok(Outcome::Done(FieldEvent::Refused))
}

/// What a token is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To show what it holds, to a caller who may see it.
    Reveal,
    /// Only to know that it is one of ours.
    Keep,
}

/// What became of a token that was not refused.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The caller's role may not open it: it stays as it is.
    Withheld,
    /// It is what it claims to be, at this place.
    Authentic(Authentic),
    /// A managed API is to be asked.
    Later(Delegated),
}

/// An opened token.
#[derive(Debug)]
pub(super) struct Authentic {
    opened: Opened,
    lesser: bool,
    permissions: Permissions,
}

impl Authentic {
    /// If it is what it claims.
    pub(super) fn new(opened: Opened, lesser: bool, permissions: Permissions) -> Result<Self, Failure> {
        if is_what_it_claims(&opened) { Ok(Self { opened, lesser, permissions }) } else { Err(Failure::NotJson) }
    }
}

/// Why a token fails; all but `Denied` look the same from outside.
#[derive(Debug)]
pub(super) enum Failure {
    Denied(State),
    Foreign,
    Lesser,
    Unbound,
    NotJson,
    Open(OpenFailure),
    /// What a managed API says; `bare`: to a ciphertext that stands alone.
    Api {
        error: DelegateError,
        bare: bool,
    },
}

impl Failure {
    pub(super) fn into_refusal(self, action: &Action) -> Refusal {
        let (reason, detail) = match self {
            Self::Denied(state) | Self::Open(OpenFailure::Denied(state)) => {
                (Reason::PartitionState, format!("the partition is {}", state.name()))
            }
            Self::Foreign => (Reason::Token, "the token belongs to a partition that is not this rule's".into()),
            Self::Lesser => (Reason::Token, "the token is not signed or bound, as the rule asks".into()),
            Self::Unbound => (Reason::Token, super::seal::UNBOUND.into()),
            Self::NotJson => (Reason::Token, "what the token holds is not the JSON text it claims to be".into()),
            Self::Open(failure) => (Reason::Token, failure.to_string()),
            Self::Api { error: DelegateError::Refused(what), .. } => (Reason::Token, what),
            Self::Api { error: DelegateError::Unavailable(what), .. } => (Reason::KeyService, what),
        };
        Refusal::new(reason, detail).rule(&action.rule)
    }
}

/// Opens a token for the place where it stands.
pub(super) fn authenticate(
    fields: &mut Fields,
    field: &PlannedField,
    content: &[u8],
    bound: Bound<'_>,
    purpose: Purpose,
) -> Result<Ready<Verdict>, Failure> {
    let action = &field.action;
    if let Target::Managed(profile) = &field.target
        && let Some(api) = &profile.per_value
        && let Some(form) = managed::form(profile, content)
    {
        return managed::authenticate(fields, field, (profile, api), form, bound, purpose);
    }
    let token = fields.told.parser.parse(content).map_err(|e| Failure::Open(e.into()))?;
    let known = match &field.target {
        Target::One(partition) => fields.known(token.epoch, partition).filter(|known| may(*known, purpose)),
        Target::Glob(_) | Target::Managed(_) => None,
    };
    let permissions = match known {
        Some(known) => known,
        None => match of_token(fields, field, token.epoch, purpose)? {
            Ready::Now(Admitted::With(permissions)) => permissions,
            Ready::Now(Admitted::Not) => return Ok(Ready::Now(Verdict::Withheld)),
            Ready::After(need) => return Ok(Ready::After(need)),
        },
    };
    // What the rule asks, the token must have; while a roll-out is under way, one that has less opens, too.
    let unbound = action.bind.is_some() && !token.bound;
    let lesser = (action.sign && !token.signed) || unbound;
    if lesser && action.mode == Mode::Enforce {
        return Err(Failure::Lesser);
    }
    let Some(class) = field.class() else { return Err(Failure::Foreign) };
    let record_id = match bound {
        _ if unbound => None,
        Bound::To(record_id) => record_id,
        Bound::Missing => return Err(Failure::Unbound),
    };
    let (suite, epoch) = (token.suite, token.epoch);
    let like = Like::of(content, suite, token.is_string && !token.signed && !token.bound);
    let job = OpenJob { token, class, signers: &action.signers, record_id };
    let opened = match fields.sealer.open(job, &mut fields.told.memo) {
        Ok(Ready::Now(opened)) => opened,
        Ok(Ready::After(need)) => return Ok(Ready::After(need)),
        Err(OpenFailure::Denied(state)) => return Err(Failure::Denied(state)),
        Err(failure) => return Err(Failure::Open(failure)),
    };
    if let Some(like) = like {
        fields.opened(epoch, like);
    }
    Authentic::new(opened, lesser, permissions).map(|authentic| Ready::Now(Verdict::Authentic(authentic)))
}

/// Finds out where the token belongs, and whether the caller may open it here.
fn of_token(
    fields: &mut Fields,
    field: &PlannedField,
    epoch: EpochId,
    purpose: Purpose,
) -> Result<Ready<Admitted>, Failure> {
    let partition = match fields.partition_of(epoch) {
        Cached::Hit(partition) => partition,
        Cached::Miss => return Ok(Ready::After(Need::Opening(epoch))),
        Cached::Unknown => return Err(Failure::Open(OpenFailure::UnknownEpoch)),
        Cached::Denied(state) => return Err(Failure::Denied(state)),
    };
    if matches!(field.target, Target::Glob(_)) {
        fields.home = Some(partition.clone());
    }
    if !belongs(&field.target, &partition) {
        return Err(Failure::Foreign);
    }
    // By the name that the rule has: the next value of this field is asked about by it.
    let partition = match &field.target {
        Target::One(partition) => partition,
        Target::Glob(_) | Target::Managed(_) => &partition,
    };
    fields.is_of(epoch, partition);
    admitted(fields, partition, purpose)
}

/// Whether the caller may open tokens of a partition.
pub(super) enum Admitted {
    With(Permissions),
    /// They stay as they are.
    Not,
}

/// Asked before anything is opened.
pub(super) fn admitted(
    fields: &mut Fields,
    partition: &PartitionName,
    purpose: Purpose,
) -> Result<Ready<Admitted>, Failure> {
    let permissions = match fields.permissions(partition) {
        Cached::Hit(permissions) => permissions,
        Cached::Miss => return Ok(Ready::After(Need::Partition(partition.clone(), None))),
        Cached::Unknown => return Err(Failure::Foreign),
        Cached::Denied(state) => return Err(Failure::Denied(state)),
    };
    Ok(Ready::Now(if may(permissions, purpose) { Admitted::With(permissions) } else { Admitted::Not }))
}

/// A plaintext never changes the document around it: it must scan as exactly the string content or the one value that bit 0 says.
pub fn is_what_it_claims(opened: &Opened) -> bool {
    let text = opened.text.expose();
    if opened.is_string { text::is_string_content(text) } else { text::is_value(text) && !text.starts_with(b"\"") }
}

fn may(permissions: Permissions, purpose: Purpose) -> bool {
    let shows = [Permissions::DECRYPT, Permissions::MASK].into_iter().any(|bit| permissions.has(bit));
    purpose == Purpose::Keep || shows
}

fn belongs(target: &Target, partition: &PartitionName) -> bool {
    match target {
        Target::One(name) => name == partition,
        Target::Glob(key) => key.accepts(partition),
        Target::Managed(profile) => profile.partition == *partition,
    }
}

fn reveal(action: &Action, authentic: &Authentic, out: &mut Vec<u8>) -> Outcome {
    let enforced = authentic.permissions.has(Permissions::MASK);
    let how = match action.reveal {
        Reveal::Plain if enforced => DEFAULT_MASK,
        how => how,
    };
    show(how, authentic.opened.text.expose(), authentic.opened.is_string, out);
    Outcome::Done(match (how, authentic.lesser) {
        (Reveal::Plain, true) => FieldEvent::Lesser,
        (Reveal::Plain, false) => FieldEvent::Opened,
        (Reveal::Mask(_) | Reveal::Redact, _) => FieldEvent::Masked,
    })
}

/// A value that is no token. While a roll-out is under way it passes, masked where the rule shows masks.
fn plaintext(action: &Action, lexeme: &[u8], out: &mut Vec<u8>) -> Result<Outcome, Refusal> {
    let on_plaintext = if action.mode < Mode::Enforce { OnBad::Pass } else { action.on_plaintext };
    match on_plaintext {
        OnBad::Pass => show_lexeme(action.reveal, lexeme, out),
        OnBad::Redact => out.extend_from_slice(REDACTED),
        OnBad::Nullify => out.extend_from_slice(b"null"),
        OnBad::Reject => {
            let text =
                "a plaintext stands where a token should be; `mode: migrate` or `on_plaintext: pass` lets it through";
            return Err(Refusal::new(Reason::Plaintext, text).rule(&action.rule));
        }
    }
    Ok(Outcome::Done(FieldEvent::Plaintext))
}
