//! The files as written: what each key may hold, nothing yet about whether it makes sense together. The doc comments here
//! become the descriptions of the JSON Schema.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::yaml::{At, Node, Reader, Yaml, closest};
use super::{Mode, OnBad, OnToken, OnUnreadable};

/// Takes a value out of a node, reporting what does not fit.
pub trait FromNode: Sized {
    /// `None` after reporting.
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// The value of a key, if the key is there and its value fits.
#[derive(Debug, Clone)]
pub struct Given<T> {
    /// The value with its place.
    pub value: Option<At<T>>,
    /// The place of the value even where it does not fit, so that one mistake is not reported again as a missing key.
    pub span: Option<Range<usize>>,
}

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self { value: None, span: None }
    }
}

impl<T> Given<T> {
    /// The value.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref().map(|at| &at.value)
    }

    /// Whether the key is there at all.
    pub fn is_there(&self) -> bool {
        self.span.is_some()
    }

    fn read(&mut self, key: &str, node: &Node, reader: &mut Reader<'_>)
    where
        T: FromNode,
    {
        self.span = Some(node.span.clone());
        if node.value == Yaml::Null {
            // YAML's null is also the empty value: `on_error:` with nothing behind it must never mean the weakest setting.
            let message = format!("`{key}` has no value");
            reader.error(&node.span, "null", message, "give one, or remove the key for its default");
            return;
        }
        self.value = T::from_node(node, reader).map(|value| At { value, span: node.span.clone() });
    }
}

impl<T: JsonSchema> JsonSchema for Given<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

/// Declares a mapping: its struct, its schema, and how it is read. An unknown key is an error that names the closest known
/// one; a key listed under `not yet` is refused as such.
macro_rules! mapping {
    (
        $(#[$meta:meta])* $name:ident {
            $( $(#[$field_meta:meta])* $key:literal $field:ident: $ty:ty, )*
        }
        not yet [ $($later:literal),* ]
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct $name {
            $( $(#[$field_meta])* #[schemars(rename = $key, default)] pub $field: Given<$ty>, )*
        }

        impl FromNode for $name {
            fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let Yaml::Map(entries) = &node.value else {
                    let message = format!("expected a mapping, found {}", node.value.kind());
                    reader.error(&node.span, "type", message, concat!("its keys are: ", $("`", $key, "` "),*));
                    return None;
                };
                let mut read = Self::default();
                for (key, value) in entries {
                    match key.value.as_str() {
                        $( $key => read.$field.read($key, value, reader), )*
                        $( $later => reader.error(
                            &key.span, "not-yet", concat!("`", $later, "` is not available yet"),
                            "remove it; docs/rules.md lists what is available",
                        ), )*
                        other => unknown(&key.span, other, &[$($key),*], reader),
                    }
                }
                Some(read)
            }
        }
    };
}

mapping! {
    /// Sidecloak rules. Files of a directory are read in the order of their names.
    RuleFile {
        /// The rules, in the order in which they apply.
        "rules" rules: Vec<At<RuleEntry>>,
    }
    not yet []
}

mapping! {
    /// One rule: which exchanges it meets, and what it does to them.
    RuleEntry {
        /// Unique over all files; what logs and metrics carry.
        "name" name: String,
        /// Which exchanges the rule meets.
        "match" matches: MatchEntry,
        /// `pass` or `reject`: the first such rule that matches ends the search.
        "action" action: Choice<EndAction>,
        /// Seals in the request, opens in the response: the upstream never sees plaintext.
        "protect" protect: Vec<At<ActionEntry>>,
        /// Opens in the request, seals in the response: the downstream never sees plaintext.
        "expose" expose: Vec<At<ActionEntry>>,
        /// What is done to the request's body.
        "request" request: Vec<At<ActionEntry>>,
        /// What is done to the response's body.
        "response" response: Vec<At<ActionEntry>>,
        /// The step of the roll-out, for every action that gives none.
        "mode" mode: Choice<Mode>,
        /// Media types that are read as JSON beside `application/json` and `+json`.
        "json_types" json_types: Many,
        /// Headers that carry a signature over the body, beside the known ones.
        "signature_headers" signature_headers: Many,
        /// A body that is not JSON. Default: `reject` where the rule seals the message, `pass` where it only opens.
        "on_media_type" on_media_type: Choice<OnUnreadable>,
        /// A body that says it is JSON and is not.
        "on_invalid_json" on_invalid_json: Choice<OnUnreadable>,
        /// A content coding that cannot be read.
        "on_encoding" on_encoding: Choice<OnUnreadable>,
        /// A value over `max_value`.
        "on_too_large" on_too_large: Choice<OnUnreadable>,
        /// An `Upgrade` to another protocol.
        "on_upgrade" on_upgrade: Choice<OnUnreadable>,
        /// A signature over a body that would change. Default: `reject`.
        "on_signature" on_signature: Choice<OnUnreadable>,
        /// Creates an unknown partition on first use.
        "provision" provision: bool,
        /// How many partitions there may be before `provision` stops. Default: 1000.
        "max_partitions" max_partitions: usize,
        /// Run at every load, against all rules of the load; one that fails refuses the files.
        "tests" tests: Vec<At<TestEntry>>,
    }
    not yet []
}

mapping! {
    /// Conditions; all that are given must hold.
    MatchEntry {
        /// A glob or a list of them, over the normalised path: `*` within a segment, `**` any number of segments, `{name}` captures one.
        "path" path: Many,
        /// Globs of paths that the rule does not meet.
        "except" except: Many,
        /// Request methods.
        "method" method: Many,
        /// Names of listeners.
        "listener" listener: Many,
        /// Globs over the host, without the port.
        "host" host: Many,
        /// Request headers and the glob that their value must match.
        "header" header: Pairs,
        /// Statuses of the response: `404`, `2xx`, or a list.
        "status" status: ManyScalars,
        /// Globs over the media type of the response.
        "content_type" content_type: Many,
    }
    not yet []
}

mapping! {
    /// Fields and what is done to them.
    ActionEntry {
        /// RFC 9535 JSONPath selectors (under `protect` and `expose`).
        "fields" fields: Many,
        /// RFC 9535 JSONPath selectors of values to seal (under `request` and `response`).
        "seal" seal: Many,
        /// RFC 9535 JSONPath selectors of values to open (under `request` and `response`).
        "open" open: Many,
        /// A partition, a template such as `tenant-{tenant}`, or (opening only) a glob. Default: `default`.
        "key" key: String,
        /// The step of the roll-out. Default: `enforce`.
        "mode" mode: Choice<Mode>,
        /// Equal values give equal tokens.
        "deterministic" deterministic: bool,
        /// Signs when sealing; refuses unsigned tokens when opening.
        "sign" sign: bool,
        /// Ids of the signers accepted, 32 hexadecimal digits each. Default: any that the partition lists.
        "signers" signers: Many,
        /// The logical field. Default: the last member name written in the selector.
        "class" class: String,
        /// What happens to `null` when sealing. Default: `pass`.
        "nulls" nulls: Choice<Nulls>,
        /// Values are padded to multiples of this many bytes.
        "pad" pad: usize,
        /// A body without a match is rejected. In a shorthand: the request's body.
        "required" required: bool,
        /// Longest token the application's column takes.
        "max_length" max_length: usize,
        /// Longest value sealed or opened, in bytes. Default: `limits.value`.
        "max_value" max_value: usize,
        /// When opening fails (sealing alone: when sealing fails). Default: `reject`.
        "on_error" on_error: Choice<OnErrorWord>,
        /// When opening finds no token in mode `enforce`. Default: `reject`.
        "on_plaintext" on_plaintext: Choice<OnPlaintextWord>,
        /// When sealing finds text that begins with `sc1.`. Default: `reject`.
        "on_token" on_token: Choice<OnToken>,
        /// What opening shows: `plain`, `mask(n)` or `redact`. Default: `plain`.
        "reveal" reveal: String,
        /// The AEAD of random tokens: 1 is XAES-256-GCM, 2 is AES-256-GCM. Default: 1.
        "suite" suite: usize,
        /// What the application checks on this field, such as `date`, `email`, `digits`: the check warns where a token will not pass.
        "format" format: String,
    }
    not yet ["bind", "parse", "embedded", "rewrite", "type"]
}

mapping! {
    /// A test: an exchange, and what the rules do to it.
    TestEntry {
        /// For the report.
        "name" name: String,
        /// The request.
        "when" when: WhenEntry,
        /// Its body: text is taken as it stands, anything else as JSON.
        "request" request: Body,
        /// The response's body.
        "response" response: Body,
        /// The response's status. Default: 200.
        "status" status: usize,
        /// The normalized paths (RFC 9535 2.7) of exactly the values that are sealed.
        "seals" seals: Vec<At<String>>,
        /// The normalized paths of exactly the values that are opened.
        "opens" opens: Vec<At<String>>,
        /// No rule touches the exchange.
        "untouched" untouched: bool,
        /// The status it is refused with.
        "rejected" rejected: usize,
    }
    not yet []
}

mapping! {
    /// The request of a test.
    WhenEntry {
        /// Default: GET without a body, POST with one.
        "method" method: String,
        /// As in the request line, escapes and all.
        "path" path: String,
        /// Request headers.
        "headers" headers: Pairs,
        /// The listener. Default: any.
        "listener" listener: String,
        /// The host.
        "host" host: String,
        /// The Content-Type of the request's body. Default: application/json.
        "content_type" content_type: String,
    }
    not yet []
}

/// One text or a list of texts.
#[derive(Debug, Clone, Default)]
pub struct Many(pub Vec<At<String>>);

/// One text or number, or a list of them.
#[derive(Debug, Clone, Default)]
pub struct ManyScalars(pub Vec<At<String>>);

/// Names and texts.
#[derive(Debug, Clone, Default)]
pub struct Pairs(pub Vec<(At<String>, At<String>)>);

/// Any value.
#[derive(Debug, Clone)]
pub struct Body(pub Yaml);

/// One of a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<T>(pub T);

/// The words of a [`Choice`], the default first.
pub trait Words: Copy + 'static {
    /// Each with what it stands for.
    const WORDS: &'static [(&'static str, Self)];
}

/// `action`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndAction {
    /// `pass`
    Pass,
    /// `reject`
    Reject,
}

/// `nulls`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// `pass`
    Pass,
    /// `seal`
    Seal,
}

/// The words of `on_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnErrorWord(pub OnBad);

/// The words of `on_plaintext`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnPlaintextWord(pub OnBad);

impl Words for EndAction {
    const WORDS: &'static [(&'static str, Self)] = &[("pass", Self::Pass), ("reject", Self::Reject)];
}
impl Words for Nulls {
    const WORDS: &'static [(&'static str, Self)] = &[("pass", Self::Pass), ("seal", Self::Seal)];
}
impl Words for Mode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("enforce", Self::Enforce), ("migrate", Self::Migrate), ("read", Self::Read), ("observe", Self::Observe)];
}
impl Words for OnUnreadable {
    const WORDS: &'static [(&'static str, Self)] = &[("reject", Self::Reject), ("pass", Self::Pass)];
}
impl Words for OnToken {
    const WORDS: &'static [(&'static str, Self)] =
        &[("reject", Self::Reject), ("seal", Self::Seal), ("keep", Self::Keep)];
}
impl Words for OnErrorWord {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("reject", Self(OnBad::Reject)),
        ("pass", Self(OnBad::Pass)),
        ("redact", Self(OnBad::Redact)),
        ("nullify", Self(OnBad::Nullify)),
    ];
}
impl Words for OnPlaintextWord {
    const WORDS: &'static [(&'static str, Self)] =
        &[("reject", Self(OnBad::Reject)), ("pass", Self(OnBad::Pass)), ("redact", Self(OnBad::Redact))];
}

impl FromNode for String {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Yaml::Text(text) => Some(text.clone()),
            other => wrong(node, "text", other, "put it between quotes", reader),
        }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Yaml::Bool(value) => Some(*value),
            other => wrong(node, "`true` or `false`", other, "write `true` or `false` without quotes", reader),
        }
    }
}

impl FromNode for usize {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let number = match &node.value {
            Yaml::Number(n) => n.as_u64().and_then(|n| Self::try_from(n).ok()),
            _ => None,
        };
        if number.is_none() {
            return wrong(node, "a whole number", &node.value, "write digits, without a unit or quotes", reader);
        }
        number
    }
}

impl<T: FromNode> FromNode for Vec<At<T>> {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Yaml::List(items) = &node.value else {
            return wrong(node, "a list", &node.value, "begin each item with `- `", reader);
        };
        let read = |item: &Node| T::from_node(item, reader).map(|value| At { value, span: item.span.clone() });
        Some(items.iter().filter_map(read).collect())
    }
}

impl FromNode for Many {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        one_or_more(node, reader, String::from_node).map(Self)
    }
}

impl FromNode for ManyScalars {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let scalar = |node: &Node, reader: &mut Reader<'_>| match &node.value {
            Yaml::Number(n) => Some(n.to_string()),
            _ => String::from_node(node, reader),
        };
        one_or_more(node, reader, scalar).map(Self)
    }
}

impl FromNode for Pairs {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Yaml::Map(entries) = &node.value else {
            return wrong(node, "a mapping of names to texts", &node.value, "write `name: value`", reader);
        };
        let mut pairs = Vec::new();
        for (key, value) in entries {
            if let Some(text) = String::from_node(value, reader) {
                pairs.push((key.clone(), At { value: text, span: value.span.clone() }));
            }
        }
        Some(Self(pairs))
    }
}

impl FromNode for Body {
    fn from_node(node: &Node, _: &mut Reader<'_>) -> Option<Self> {
        Some(Self(node.value.clone()))
    }
}

impl<T: Words> FromNode for Choice<T> {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let all = || T::WORDS.iter().map(|(w, _)| format!("`{w}`")).collect::<Vec<_>>().join(", ");
        let Yaml::Text(text) = &node.value else {
            return wrong(node, "one word", &node.value, &format!("write one of {}", all()), reader);
        };
        let found = T::WORDS.iter().find(|(word, _)| word == text).map(|(_, value)| Self(*value));
        if found.is_none() {
            let help = match closest(text, T::WORDS.iter().map(|(w, _)| *w)) {
                Some(word) => format!("did you mean `{word}`? The words are {}", all()),
                None => format!("write one of {}", all()),
            };
            reader.error(&node.span, "unknown-word", format!("`{text}` is not a value of this option"), &help);
        }
        found
    }
}

fn one_or_more(
    node: &Node,
    reader: &mut Reader<'_>,
    mut read: impl FnMut(&Node, &mut Reader<'_>) -> Option<String>,
) -> Option<Vec<At<String>>> {
    let items = match &node.value {
        Yaml::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.is_empty() {
        reader.error(&node.span, "empty", "an empty list", "name at least one, or remove the key");
        return None;
    }
    Some(items.iter().filter_map(|n| read(n, reader).map(|value| At { value, span: n.span.clone() })).collect())
}

fn wrong<T>(node: &Node, expected: &str, found: &Yaml, help: &str, reader: &mut Reader<'_>) -> Option<T> {
    reader.error(&node.span, "type", format!("expected {expected}, found {}", found.kind()), help);
    None
}

fn unknown(span: &Range<usize>, key: &str, known: &[&str], reader: &mut Reader<'_>) {
    let help = match closest(key, known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("the keys here are {}", known.join(", ")),
    };
    reader.error(span, "unknown-key", format!("unknown key `{key}`"), &help);
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

macro_rules! inline_schema {
    ($($ty:ty => $schema:expr),* $(,)?) => {$(
        impl JsonSchema for $ty {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($ty).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}
inline_schema! {
    Many => json_schema!({ "anyOf": [
        { "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }
    ] }),
    ManyScalars => json_schema!({ "anyOf": [
        { "type": ["string", "integer"] },
        { "type": "array", "items": { "type": ["string", "integer"] }, "minItems": 1 }
    ] }),
    Pairs => json_schema!({ "type": "object", "additionalProperties": { "type": "string" } }),
    Body => json_schema!(true),
}

impl<T: Words> JsonSchema for Choice<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Choice".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({ "enum": words })
    }
}
