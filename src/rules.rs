//! The rule language: files, checks, and what they compile to.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::jsonpath::{Path, Selectors};
use crate::metrics::rollout::{FieldStats, Kept, RuleStats};
use crate::name::Class;
use crate::transform::plan::HalfPlan;
pub use place::{Part, Place};

pub use self::words::Words;

mod action;
pub mod compile;
mod conditions;
mod delegated;
mod fields;
pub mod file;
pub mod file_tests;
pub mod glob;
pub mod key;
mod lint;
pub mod media;
mod messages;
mod outside;
mod overlap;
pub mod path;
pub mod place;
pub mod profile;
pub mod route;
pub mod schema;
pub mod value;
pub mod words;
pub mod yaml;

/// All rules of a load, in the order of their files.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<Arc<Rule>>,
}

/// One compiled rule.
#[derive(Debug)]
pub struct Rule {
    /// Unique; what logs and metrics carry.
    pub name: Arc<str>,
    /// The route pattern as written (`/customers/{id}/**`, the first of a list), for logs and metrics instead of a raw path.
    pub pattern: Arc<str>,
    /// Which exchanges it meets.
    pub matches: route::Match,
    /// What it does.
    pub kind: RuleKind,
    /// What the engine cannot read, per rule.
    pub limits: Unreadable,
    /// The paths of its actions on requests and on responses, compiled when they are first needed: most bodies meet one rule.
    pub selectors: Arc<[OnceLock<Selectors>; 2]>,
    /// What exchanges that meet this rule alone have planned for their requests' bodies and their responses', if nothing of it depends
    /// on the request.
    pub plans: [OnceLock<Option<Arc<HalfPlan>>>; 2],
    /// What a roll-out of it is judged by.
    pub stats: Kept<RuleStats>,
}

/// See [`Rule::kind`].
#[derive(Debug)]
pub enum RuleKind {
    /// `action: pass`: the search ends here.
    Pass,
    /// `action: reject`: 403.
    Reject,
    /// Seals and opens.
    Fields {
        /// Acts on the request's body.
        request: Vec<Arc<Action>>,
        /// Acts on the response's body.
        response: Vec<Arc<Action>>,
    },
}

/// What an action does to the values it selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Plaintext → token.
    Seal,
    /// Token → plaintext.
    Open,
}

/// `mode`, in the order of a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Changes nothing, reports.
    Observe,
    /// Opens; seals nothing; plaintext passes.
    Read,
    /// Opens and seals; plaintext passes.
    Migrate,
    /// Opens and seals; plaintext where a token should be goes to `on_plaintext`.
    Enforce,
}

impl Mode {
    /// All, in the order of a roll-out.
    pub const ALL: [Self; 4] = [Self::Observe, Self::Read, Self::Migrate, Self::Enforce];

    /// As it is written in rules.
    pub fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Read => "read",
            Self::Migrate => "migrate",
            Self::Enforce => "enforce",
        }
    }
}

/// `on_error`, `on_plaintext`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBad {
    /// The message is refused.
    Reject,
    /// The value stays.
    Pass,
    /// `"[redacted]"`
    Redact,
    /// `null`
    Nullify,
}

/// `on_token`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnToken {
    /// 422.
    Reject,
    /// It is data: sealed like any other text.
    Seal,
    /// Stays if it authenticates for this partition, class and record; else 422.
    Keep,
}

/// `reveal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reveal {
    /// As it was.
    Plain,
    /// All but the last n characters become `*`.
    Mask(usize),
    /// `"[redacted]"`
    Redact,
}

/// `type`: what text from outside of JSON stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextType {
    /// A JSON string.
    String,
    /// A JSON number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// `rewrite`: which tokens a deterministic look-up outside the body asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// The current epoch's.
    Current,
    /// Then, if that finds nothing, the previous epoch's.
    Fallback,
    /// Both, as repeated parameters.
    All,
}

/// A `reject | pass` option; the default depends on whether the rule seals the message or only opens it, and is resolved here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnreadable {
    /// Refuse the message.
    Reject,
    /// Let it through as it is.
    Pass,
}

/// `validate`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validate {
    /// All of a body is held against the grammar.
    Full,
    /// Where nothing is selected, strings and brackets alone.
    Structure,
}

/// `cache`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Answers with opened values are told not to be kept anywhere.
    NoStore,
    /// They say what the upstream says.
    Keep,
}

/// One half of the `on_…` options, resolved for a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableHalf {
    /// `on_media_type`
    pub media_type: OnUnreadable,
    /// `on_invalid_json`
    pub invalid_json: OnUnreadable,
    /// `on_encoding`
    pub encoding: OnUnreadable,
    /// `on_too_large`
    pub too_large: OnUnreadable,
    /// `on_upgrade`
    pub upgrade: OnUnreadable,
    /// `on_signature`
    pub signature: OnUnreadable,
}

/// The per-rule options about messages.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// For requests.
    pub request: UnreadableHalf,
    /// For responses.
    pub response: UnreadableHalf,
    /// `json_types`, lower case, without parameters.
    pub json_types: Vec<String>,
    /// `signature_headers`, lower case, beside the built-in ones.
    pub signature_headers: Vec<String>,
    /// `provision`
    pub provision: bool,
    /// `max_partitions`
    pub max_partitions: usize,
    /// `max_buffered`
    pub max_buffered: Option<usize>,
    /// `max_body`
    pub max_body: Option<u64>,
    /// `validate`
    pub validate: Validate,
    /// `cache`
    pub cache: Caching,
    /// `always_length`
    pub always_length: Option<usize>,
}

/// One compiled action.
#[derive(Debug)]
pub struct Action {
    /// The rule it stands in.
    pub rule: Arc<str>,
    /// Seal or open.
    pub verb: Verb,
    /// Which part of a message all of its fields stand in. An item whose fields stand in several is an action for each.
    pub part: Part,
    /// What it selects: each place with its class and the selector as written.
    pub fields: Vec<Field>,
    /// `parse: json`: the paths within the text of each selected string. `fields` has one for each of them in this order, once
    /// for each path that selects such strings.
    pub inside: Option<Selectors>,
    /// Which partition.
    pub key: Key,
    /// The other options of rules.md's table.
    pub mode: Mode,
    /// `deterministic`
    pub deterministic: bool,
    /// `sign`
    pub sign: bool,
    /// `signers`: ids of the signers accepted (hex of id(vk)); empty: any that the partition lists.
    pub signers: Vec<[u8; 16]>,
    /// `bind`
    pub bind: Option<Binding>,
    /// `nulls: seal`
    pub seal_nulls: bool,
    /// `pad`
    pub pad: Option<usize>,
    /// `required`
    pub required: bool,
    /// `max_length`
    pub max_length: Option<usize>,
    /// `max_value`; `None`: the process's `limits.value`.
    pub max_value: Option<usize>,
    /// `on_error`
    pub on_error: OnBad,
    /// `on_plaintext`
    pub on_plaintext: OnBad,
    /// `on_token`
    pub on_token: OnToken,
    /// `reveal`
    pub reveal: Reveal,
    /// Whether any action of the set opens this one's class masked or redacted, so that a sealing action must refuse values of masked shape.
    pub refuses_masked: bool,
    /// Whether the application is said (`format`) to check this field in a way that no token passes.
    pub format_refuses: bool,
    /// `suite`
    pub suite: crate::token::Suite,
    /// `type`
    pub text: TextType,
    /// `rewrite`
    pub rewrite: Rewrite,
    /// `embedded`
    pub embedded: bool,
    /// `on_token` is not given, and links that the application made may carry tokens in `query:` and `path:`.
    pub keeps_links: bool,
}

/// One place of an action.
#[derive(Debug)]
pub struct Field {
    /// Where its values stand.
    pub place: Place,
    /// Under `parse: json`, what it selects in the strings that `path` selects.
    pub inside: Option<Arc<Path>>,
    /// The class of its values.
    pub class: Class,
    /// The selector as written.
    pub selector: Arc<str>,
    /// What counts its events.
    pub counters: crate::metrics::FieldCounters,
    /// What a roll-out of it is judged by.
    pub stats: Kept<FieldStats>,
}

impl Field {
    /// What the matcher runs, for a field of JSON.
    pub fn path(&self) -> Option<&Arc<Path>> {
        if let Place::Json(path) = &self.place { Some(path) } else { None }
    }
}

/// `bind:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// `path:NAME`, a captured path segment.
    Segment(String),
    /// A value of the document; the action's paths say which.
    Value(Arc<str>),
}

/// `key:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// One partition.
    Fixed(crate::name::PartitionName),
    /// `tenant-{tenant}`
    Template(Vec<KeyPart>),
    /// `tenant-*` (opening only): the token's own partition must match.
    Glob(String),
    /// A profile whose API does something with single values: seals them, or has sealed some that are still there.
    Managed(Arc<profile::Profile>),
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// Text as it stands.
    Text(String),
    /// A captured path segment.
    Segment(String),
    /// `{header:NAME}`, lower case.
    Header(String),
    /// `{client}`, the first name of the client's certificate.
    Client,
    /// `{sni}`
    Sni,
    /// `{claim:NAME}`
    Claim(String),
}
