//! Values that are like the one before, as most of a body are: a string of a field that asks for nothing unusual, of a partition whose
//! answer is known. What does not go this way, or fails, goes the general one (`seal.rs`, `open.rs`), which alone says why.

use crate::keyring::Permissions;
use crate::metrics::FieldEvent;
use crate::rules::{Action, Mode, Part, Reveal, Verb};
use crate::token::Suite;
use crate::token::v1::{HeadText, token_len};

use super::Again;
use super::body::{Fields, Told};
use super::plan::{PlannedField, Target};
use super::seal;

/// Whether the values of a field can go this way.
pub(super) fn is_plain(action: &Action, target: &Target) -> bool {
    let whole = action.part == Part::Json && action.inside.is_none() && !action.embedded;
    let alike = match action.verb {
        Verb::Seal => action.mode >= Mode::Migrate && action.pad.is_none() && !action.deterministic,
        Verb::Open => action.mode >= Mode::Read && action.reveal == Reveal::Plain,
    };
    let alone = action.bind.is_none() && !action.sign && action.suite != Suite::Siv;
    whole && alike && alone && matches!(target, Target::One(_))
}

/// The token of a string that was opened the general way: those that begin like it are of the same epoch, suite and flags.
#[derive(Debug)]
pub(super) struct Like {
    head: HeadText,
    suite: Suite,
}

impl Like {
    /// `plain`: it is a string that is neither signed nor bound.
    pub(super) fn of(token: &[u8], suite: Suite, plain: bool) -> Option<Self> {
        token.first_chunk().filter(|_| plain).map(|head| Self { head: *head, suite })
    }
}

/// Appends what leaves instead of a value, and counts it; `false`: nothing was done.
pub(super) fn value(
    fields: &mut Fields,
    selector: usize,
    field: &PlannedField,
    lexeme: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let [b'"', content @ .., b'"'] = lexeme else { return false };
    if !field.plain || fields.waited_in_vain() || fields.form.is_some() {
        return false;
    }
    let done = match field.action.verb {
        Verb::Seal => sealed(fields, selector, field, content, out),
        Verb::Open => opened(fields, selector, field, content, out),
    };
    if done.is_some() {
        fields.home = None;
    }
    done.is_some()
}

fn sealed(fields: &mut Fields, selector: usize, field: &PlannedField, content: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let action = &*field.action;
    let of = action.fields.get(field.index)?;
    let (Target::One(partition), Some((known, permissions))) = (&field.target, fields.told.permissions()) else {
        return None;
    };
    // What begins as a token or a mask does, or may once its escapes are resolved.
    let unusual = matches!(content.first(), Some(b'*' | b'[' | b'\\')) || seal::begins_as_token(action, content);
    if unusual || known != partition || !permissions.has(Permissions::ENCRYPT) {
        return None;
    }
    let length = || token_len(action.suite, content.len(), true, None, false);
    if action.max_length.is_some_and(|max| length() > max) {
        return None;
    }
    let start = out.len();
    let again = Again { partition, class: &of.class, suite: action.suite };
    if !fields.sealer.seal_again(again, content, &mut fields.told.memo, out) {
        return None;
    }
    fields.sealed_string(selector, out.len() - start - 2, of);
    Some(())
}

fn opened(fields: &mut Fields, selector: usize, field: &PlannedField, content: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let of = field.action.fields.get(field.index)?;
    let (Target::One(partition), true) = (&field.target, fields.caller.may_see_plaintext) else { return None };
    let (known, permissions) = fields.told.permissions()?;
    if known != partition || !permissions.has(Permissions::DECRYPT) || permissions.has(Permissions::MASK) {
        return None;
    }
    let Told { memo, home: Some(home), .. } = &mut fields.told else { return None };
    let like = home.like.as_ref().filter(|like| content.first_chunk() == Some(&like.head))?;
    if home.partition != *partition {
        return None;
    }
    let again = Again { partition, class: &of.class, suite: like.suite };
    if !fields.sealer.open_again(again, home.epoch, content, memo, out) {
        return None;
    }
    fields.done(selector, FieldEvent::Opened);
    Some(())
}
