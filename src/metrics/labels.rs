//! Label sets: names from configuration and words of this program.

use prometheus_client::encoding::EncodeLabelSet;

use crate::refusal::Reason;

use super::FieldEvent;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FieldLabels {
    rule: String,
    class: String,
    event: &'static str,
}

impl FieldLabels {
    pub(super) fn new(rule: &str, class: &str, event: FieldEvent) -> Self {
        Self { rule: rule.into(), class: class.into(), event: event.word() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    rule: String,
    reason: &'static str,
}

impl ReasonLabels {
    pub(super) fn new(rule: &str, reason: Reason) -> Self {
        Self { rule: rule.into(), reason: reason.word() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadLabels {
    result: &'static str,
}

impl ReloadLabels {
    pub(super) fn new(ok: bool) -> Self {
        Self { result: if ok { "ok" } else { "failed" } }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ListenerLabels {
    pub(super) listener: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StatusLabels {
    pub(super) listener: String,
    pub(super) status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WorkerLabels {
    pub(super) worker: u64,
}

impl FieldEvent {
    /// How many there are.
    pub const COUNT: usize = Self::Refused as usize + 1;

    /// All, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Matched,
        Self::Sealed,
        Self::Opened,
        Self::Withheld,
        Self::Masked,
        Self::Absent,
        Self::Plaintext,
        Self::Unfit,
        Self::AlreadySealed,
        Self::Lesser,
        Self::Refused,
    ];

    /// What may become of a value.
    pub const ENDS: [Self; 9] = [
        Self::Sealed,
        Self::Opened,
        Self::Withheld,
        Self::Masked,
        Self::Plaintext,
        Self::Unfit,
        Self::AlreadySealed,
        Self::Lesser,
        Self::Refused,
    ];

    /// The event as a label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Sealed => "sealed",
            Self::Opened => "opened",
            Self::Withheld => "withheld",
            Self::Masked => "masked",
            Self::Absent => "absent",
            Self::Plaintext => "plaintext",
            Self::Unfit => "unfit",
            Self::AlreadySealed => "already-sealed",
            Self::Lesser => "lesser",
            Self::Refused => "refused",
        }
    }
}
