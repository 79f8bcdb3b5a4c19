//! From the tree of a document to its sections: every problem becomes a finding, and reading goes on.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::{At, Node, Value};
use crate::report::{Finding, Findings, Source};

/// Collects findings, and knows the key that is being read.
pub(super) struct Reader<'a> {
    source: &'a Source,
    findings: &'a mut Findings,
    path: Vec<String>,
    /// What may be a secret: where findings show the file, these bytes are hidden.
    hidden: Vec<Range<usize>>,
}

/// What can be read from a node; `None` if it was reported.
pub(super) trait FromNode: Sized {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// One, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Many<T> {
    pub items: Vec<At<T>>,
    /// Whether an item was refused: if the list is empty, that was already reported.
    pub refused: bool,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a Source, findings: &'a mut Findings) -> Self {
        Self { source, findings, path: Vec::new(), hidden: Vec::new() }
    }

    /// The key being read, such as `limits.header`.
    pub fn key(&self) -> String {
        self.path.join(".")
    }

    pub fn error(&mut self, span: &Range<usize>, code: &'static str, message: String, help: impl Into<String>) {
        self.findings.push(Finding::error(code, message).help(help).at(self.source, span.clone()));
    }

    /// Hides what stands there from the snippets of all findings.
    pub fn hide(&mut self, node: &Node) {
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.hide(item)),
            Value::Map(entries) => entries.iter().for_each(|(_, value)| self.hide(value)),
            Value::Null | Value::Bool(_) => {}
            Value::Number(_) | Value::OtherNumber | Value::Text(_) => self.hidden.push(node.span.clone()),
        }
    }

    /// The file as findings may show it: of the same length, so that places stay right.
    pub fn shown(&self) -> Source {
        let inside = |at: usize| self.hidden.iter().any(|span| span.contains(&at));
        let text: String = self.source.text.char_indices().fold(String::new(), |mut text, (at, c)| {
            if inside(at) {
                text.extend(std::iter::repeat_n('*', c.len_utf8()))
            } else {
                text.push(c)
            }
            text
        });
        Source { name: self.source.name.clone(), text: text.into() }
    }

    /// Reports that the node is not `expected`.
    pub fn wrong_type<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let (message, help) = match self.path.is_empty() {
            true => (format!("expected {expected}, found {}", node.value.kind()), "begin with `listeners:`".to_owned()),
            false => {
                let key = self.key();
                (format!("`{key}` must be {expected}, found {}", node.value.kind()), format!("write {expected}"))
            }
        };
        self.error(&node.span, "wrong-type", message, help);
        None
    }

    /// Reads what stands behind a key.
    pub fn inside<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let value = read(self);
        self.path.pop();
        value
    }

    /// Reads the value of a key. Nothing written is nothing said.
    pub fn field<T: FromNode>(&mut self, key: &'static str, node: &Node) -> Option<At<T>> {
        if matches!(node.value, Value::Null) {
            return None;
        }
        self.inside(key, |reader| T::from_node(node, reader)).map(|value| At { value, span: node.span.clone() })
    }

    /// The entries of a mapping; keys not in `known` are reported.
    pub fn entries<'n>(&mut self, node: &'n Node, known: &[&str]) -> Option<&'n [(At<String>, Node)]> {
        let Value::Map(entries) = &node.value else { return self.wrong_type(node, "a mapping") };
        for (key, value) in entries.iter().filter(|(key, _)| !known.contains(&key.value.as_str())) {
            // A misspelt `token` may hold one.
            self.hide(value);
            let place = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.key()) };
            let help = closest(&key.value, known)
                .map_or_else(|| format!("known here: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            self.error(&key.span, "unknown-field", format!("unknown field `{}`{place}", key.value), help);
        }
        Some(entries)
    }
}

/// Declares a section: a struct with an optional, placed value per key, its reader, and its schema.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Clone, Default, JsonSchema)]
        $(#[$meta])*
        #[schemars(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$field_meta])* pub $field: Option<At<$type>>,)*
        }

        impl FromNode for $name {
            fn from_node(node: &node::Node, reader: &mut Reader<'_>) -> Option<Self> {
                let mut section = Self::default();
                for (key, value) in reader.entries(node, &[$(stringify!($field)),*])? {
                    match key.value.as_str() {
                        $(stringify!($field) => section.$field = reader.field(stringify!($field), value),)*
                        _ => {} // reported by `entries`
                    }
                }
                Some(section)
            }
        }
    };
}
pub(super) use section;

impl FromNode for String {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            Value::Text(_) => {
                let message = format!("`{}` is empty", reader.key());
                reader.error(&node.span, "wrong-type", message, "write something, or leave the key out");
                None
            }
            _ => reader.wrong_type(node, "text (quote it if it looks like a number or a boolean)"),
        }
    }
}

impl FromNode for u64 {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Number(number) => Some(number),
            _ => reader.wrong_type(node, "a whole number"),
        }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => reader.wrong_type(node, "`true` or `false`"),
        }
    }
}

impl<T: FromNode> FromNode for Vec<At<T>> {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else { return reader.wrong_type(node, "a list") };
        Some(items.iter().filter_map(|item| at(item, reader)).collect())
    }
}

impl<T: FromNode> FromNode for Many<T> {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let written = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let items: Vec<_> = written.iter().filter_map(|item| at(item, reader)).collect();
        Some(Self { refused: items.len() < written.len(), items })
    }
}

fn at<T: FromNode>(node: &Node, reader: &mut Reader<'_>) -> Option<At<T>> {
    T::from_node(node, reader).map(|value| At { value, span: node.span.clone() })
}

/// The known word that is at most two edits away.
fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // A long word is no misspelling of these, and the distance is quadratic.
    if word.len() > 64 {
        return None;
    }
    known.iter().map(|k| (distance(word, k), *k)).filter(|(d, _)| *d <= 2).min().map(|(_, k)| k)
}

/// Levenshtein's, row by row.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((y, above), diagonal) in b.chars().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or(0);
            next.push((left + 1).min(above + 1).min(diagonal + usize::from(x != y)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Many{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        assert_eq!(closest("upstraem", &["bind", "upstream"]), Some("upstream"));
        assert_eq!(closest("bnd", &["bind", "upstream"]), Some("bind"));
        assert_eq!(closest("something", &["bind", "upstream"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
