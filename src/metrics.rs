//! What is counted. Labels are names from configuration only: never a path, a partition of a template, or a value.
//! (interface; owner: proxy)

use crate::refusal::Reason;

/// What happened to a selected field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldEvent {
    /// A selector matched a value.
    Matched,
    /// A value was sealed.
    Sealed,
    /// A token was opened.
    Opened,
    /// A token was passed on as it is, to a caller who may not see plaintext.
    Withheld,
    /// A token was shown masked.
    Masked,
    /// A selector of the rule matched nothing in a body.
    Absent,
    /// A plaintext where a token should be.
    Plaintext,
    /// A token where plaintext should be sealed.
    AlreadySealed,
    /// A token that lacks what the rule asks (`read`, `migrate`).
    Lesser,
    /// Refused.
    Refused,
}

/// All metrics of a process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {}

impl Metrics {
    /// Counts field events of a rule and class.
    pub fn field(&self, _rule: &str, _class: &str, _event: FieldEvent, _count: u64) {}

    /// Counts a refusal.
    pub fn refused(&self, _rule: Option<&str>, _reason: Reason) {}

    /// Counts a message that passed unread (`on_…: pass`).
    pub fn passed_unread(&self, _rule: &str, _reason: Reason) {}
}
