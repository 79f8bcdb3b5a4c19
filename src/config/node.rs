//! A YAML document as a tree with a place for every node. Reading it in two steps (tree, then types) is what lets one load
//! report every problem: a derived `Deserialize` stops at the first.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::report::{Finding, Findings, Source};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub span: Range<usize>,
    pub value: Value,
}

/// What stands there.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(u64),
    /// A number that is no `u64`; nothing in this file takes one.
    OtherNumber,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(At<String>, Node)>),
}

/// A checked value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Bytes of the file.
    pub span: Range<usize>,
}

impl Value {
    /// What it is, for "expected x, found y".
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::OtherNumber => "a number that is negative, too large, or not whole",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Parses the text; what is not YAML at all is one finding and `None`.
pub(super) fn parse(source: &Source, findings: &mut Findings) -> Option<Node> {
    if source.text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Some(Node { span: 0..0, value: Value::Null });
    }
    // YAML 1.2 as written, as in rules: `no` is text, `007` is not seven.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true
    };
    match serde_saphyr::from_str_with_options::<Spanned<Tree>>(&source.text, options) {
        Ok(tree) => Some(node(tree, &source.text)),
        Err(error) => {
            let message = error.without_snippet().to_string();
            let message = message.lines().next().unwrap_or("not YAML");
            let finding =
                match message.strip_prefix("duplicate mapping key: ").and_then(|rest| rest.split_once(", set ")) {
                    Some((key, _)) => {
                        Finding::error("duplicate-key", format!("`{key}` is written twice")).help("keep one of them")
                    }
                    None => Finding::error("yaml", message.to_owned()).help("the file must be one YAML document"),
                };
            findings.push(match error.location().and_then(|l| span(&l, &source.text)) {
                Some(span) => finding.at(source, span),
                None => finding,
            });
            None
        }
    }
}

fn node(tree: Spanned<Tree>, text: &str) -> Node {
    let span = span(&tree.referenced, text).unwrap_or(0..0);
    let value = match tree.value {
        Tree::Null => Value::Null,
        Tree::Bool(b) => Value::Bool(b),
        Tree::Number(n) => Value::Number(n),
        Tree::OtherNumber => Value::OtherNumber,
        Tree::Text(t) => Value::Text(t),
        Tree::List(items) => Value::List(items.into_iter().map(|i| node(i, text)).collect()),
        Tree::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let at = At { span: self::span(&key.referenced, text).unwrap_or(0..0), value: key.value };
                    (at, node(value, text))
                })
                .collect(),
        ),
    };
    Node { span, value }
}

/// The bytes of a location, clipped to its first line (a mapping would otherwise be marked to its end).
fn span(location: &Location, text: &str) -> Option<Range<usize>> {
    let start = match location.span().byte_offset() {
        Some(offset) => usize::try_from(offset).ok()?,
        None => offset(location, text)?,
    };
    let length = usize::try_from(location.span().byte_len().unwrap_or(0)).ok()?;
    let rest = text.get(start..)?;
    let written = rest.get(..length.min(rest.len())).unwrap_or("");
    Some(start..start + written.lines().next().unwrap_or("").trim_end().len())
}

/// Errors of the parser itself come with a line and a column (in characters) only.
fn offset(location: &Location, text: &str) -> Option<usize> {
    let line = usize::try_from(location.line()).ok()?.checked_sub(1)?;
    let column = usize::try_from(location.column()).ok()?.checked_sub(1)?;
    let lines: Vec<&str> = text.split_inclusive('\n').take(line + 1).collect();
    let before: usize = lines.iter().take(line).map(|l| l.len()).sum();
    let within: usize = lines.get(line).map_or(0, |l| l.chars().take(column).map(char::len_utf8).sum());
    Some((before + within).min(text.trim_end().len()))
}

#[derive(Debug)]
enum Tree {
    Null,
    Bool(bool),
    Number(u64),
    OtherNumber,
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(u64::try_from(value).map_or(Tree::OtherNumber, Tree::Number))
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Tree, E> {
        Ok(Tree::OtherNumber)
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}
