//! The values that keys of a rule file hold: how each is read, and its schema.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::yaml::{At, Node, Reader, Yaml, closest};
use super::{Caching, Mode, OnBad, OnToken, OnUnreadable, Rewrite, TextType, Validate};

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

    /// Reads the value of a key.
    pub fn read(&mut self, key: &str, node: &Node, reader: &mut Reader<'_>)
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

/// `parse`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse {
    /// `json`
    Json,
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
impl Words for Parse {
    const WORDS: &'static [(&'static str, Self)] = &[("json", Self::Json)];
}
impl Words for Caching {
    const WORDS: &'static [(&'static str, Self)] = &[("no-store", Self::NoStore), ("keep", Self::Keep)];
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
impl Words for Validate {
    const WORDS: &'static [(&'static str, Self)] = &[("full", Self::Full), ("structure", Self::Structure)];
}
impl Words for OnToken {
    const WORDS: &'static [(&'static str, Self)] =
        &[("reject", Self::Reject), ("seal", Self::Seal), ("keep", Self::Keep)];
}
impl Words for TextType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("string", Self::String), ("number", Self::Number), ("boolean", Self::Boolean)];
}
impl Words for Rewrite {
    const WORDS: &'static [(&'static str, Self)] =
        &[("current", Self::Current), ("fallback", Self::Fallback), ("all", Self::All)];
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
