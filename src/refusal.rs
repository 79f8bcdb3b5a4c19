//! Why an exchange is refused: the one list that the engine raises and `proxy/respond` maps to a status.

use std::fmt;
use std::sync::Arc;

/// A reason; its name is what metrics and the problem document's `type` carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request's body is no JSON, or cut short, or nested too deep.
    InvalidJson,
    /// A form that could be read in two ways, or cannot be read at all.
    InvalidForm,
    /// The path normalises two ways, or an override header is present.
    AmbiguousPath,
    /// The request itself is malformed (a bad Host, a bad body framing).
    BadRequest,
    /// A value or body over its limit.
    TooLarge,
    /// A header section over `limits.header` or `limits.headers`.
    HeaderTooLarge,
    /// A request line over `limits.request_line`.
    LineTooLong,
    /// The client was too slow with its body.
    SlowClient,
    /// A media type that a rule must read and cannot.
    MediaType,
    /// A content coding that a rule must decode and cannot.
    Coding,
    /// A signature covers a message whose body would change.
    Signature,
    /// Text that begins as a token where none may come in, or that does not open.
    Token,
    /// A plaintext where a token should be.
    Plaintext,
    /// A `required` field, or a part of a key template, is missing.
    Missing,
    /// The token would be longer than the application's column.
    MaxLength,
    /// What a filter selects cannot be told: duplicate names, or too many steps.
    Undecided,
    /// A text is not of the `type` that its rule gives.
    Type,
    /// A query, header or cookie can be read in two ways.
    Ambiguous,
    /// With the tokens in it the request's target would be too long.
    TargetTooLong,
    /// A masked value comes back to be sealed.
    Masked,
    /// The caller's JSON Web Token is not valid.
    InvalidToken,
    /// The caller's role may not do this.
    Role,
    /// The partition is paused, destroyed, or decrypt-only.
    PartitionState,
    /// `action: reject`.
    Rejected,
    /// `unmatched: reject`.
    Unmatched,
    /// `provision` would go over `max_partitions` or its rate.
    TooManyPartitions,
    /// The key service or keyring cannot answer.
    KeyService,
    /// A bound of this process is reached.
    Overload,
    /// The upstream did not answer in time.
    Timeout,
    /// The request came through this process before.
    Loop,
    /// The upstream cannot be reached, or broke off.
    Upstream,
    /// The upstream failed again and again, and is left alone for a while.
    Unavailable,
    /// What the configuration asks is not available yet.
    NotYet,
}

impl Reason {
    /// Whether a body could not be read as rules need it: `on_invalid_json` says what becomes of it.
    pub fn is_unreadable(self) -> bool {
        matches!(self, Self::InvalidJson | Self::InvalidForm | Self::Undecided)
    }

    /// The reason as a word for metrics, logs and problem types.
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid-json",
            Self::InvalidForm => "invalid-form",
            Self::AmbiguousPath => "ambiguous-path",
            Self::BadRequest => "bad-request",
            Self::TooLarge => "too-large",
            Self::HeaderTooLarge => "header-too-large",
            Self::LineTooLong => "line-too-long",
            Self::SlowClient => "slow-client",
            Self::MediaType => "media-type",
            Self::Coding => "coding",
            Self::Signature => "signature",
            Self::Token => "token",
            Self::Plaintext => "plaintext",
            Self::Missing => "missing",
            Self::MaxLength => "max-length",
            Self::Undecided => "undecided-filter",
            Self::Type => "type",
            Self::Ambiguous => "ambiguous",
            Self::TargetTooLong => "target-too-long",
            Self::Masked => "masked",
            Self::InvalidToken => "invalid-token",
            Self::Role => "role",
            Self::PartitionState => "partition-state",
            Self::Rejected => "rejected",
            Self::Unmatched => "unmatched",
            Self::TooManyPartitions => "too-many-partitions",
            Self::KeyService => "key-service",
            Self::Overload => "overload",
            Self::Timeout => "timeout",
            Self::Loop => "loop",
            Self::Upstream => "upstream",
            Self::Unavailable => "upstream-unavailable",
            Self::NotYet => "not-yet",
        }
    }
}

/// One refusal. `detail` is for the log of the operator; it never holds a value, a key or a raw path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The rule that asks for it, if one does.
    pub rule: Option<Arc<str>>,
    /// What happened, for the log.
    pub detail: String,
}

impl Refusal {
    /// A refusal of no rule in particular.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, rule: None, detail: detail.into() }
    }

    /// Names the rule.
    #[must_use]
    pub fn rule(mut self, name: &Arc<str>) -> Self {
        self.rule = Some(Arc::clone(name));
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(f, "{} (rule {rule}): {}", self.reason.word(), self.detail),
            None => write!(f, "{}: {}", self.reason.word(), self.detail),
        }
    }
}

impl std::error::Error for Refusal {}
