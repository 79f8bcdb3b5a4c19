//! Whether a filter holds for a value (RFC 9535 2.3.5.2).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;

use super::Undecided;
use crate::json::scan::Kind;
use crate::json::text::unescape;
use crate::jsonpath::Selector;
use crate::jsonpath::filter::{Comparison, Filter, Operand, Query};
use crate::jsonpath::number::Number;
use crate::jsonpath::pattern::Pattern;
use crate::jsonpath::tree::{Id, Tree};

/// Steps per value in the tree that filters may take together; ordinary filters take a handful.
const STEPS_PER_NODE: usize = 256;
const STEPS_AT_LEAST: usize = 65_536;
/// Bytes of text that take about as long to look at as one step. One value may be looked at for each of the others.
const BYTES_PER_STEP: usize = 16;
/// Patterns that a document may bring along: compiling one takes up to milliseconds.
const PATTERNS: usize = 64;
/// Nodes that one query may select, per value in the tree.
const NODES_PER_NODE: usize = 4;

/// Judges values of one tree, within bounds.
pub struct Judge<'t, 'a> {
    tree: &'t Tree<'a>,
    steps: usize,
    /// Objects that were looked at: their names are distinct.
    distinct: HashSet<usize>,
    /// How many patterns of the document were compiled, and the last one.
    patterns: usize,
    pattern: Option<(Vec<u8>, bool, Option<Pattern>)>,
}

enum Value<'a> {
    /// Of a query that selects nothing.
    Nothing,
    Null,
    Bool(bool),
    Number(Number),
    /// Unescaped.
    Text(Cow<'a, [u8]>),
    /// An object or array.
    Node(Id),
}

/// A name, unescaped, with its value.
type Member<'a> = (Cow<'a, [u8]>, Id);

impl<'t, 'a> Judge<'t, 'a> {
    /// `patterns`: how many of the document's own were compiled for other parts of it.
    pub fn new(tree: &'t Tree<'a>, patterns: usize) -> Self {
        let values = tree.len().saturating_mul(STEPS_PER_NODE).max(STEPS_AT_LEAST);
        let steps = values.saturating_add(tree.raw(tree.root()).len());
        Self { tree, steps, distinct: HashSet::new(), patterns, pattern: None }
    }

    /// How many patterns were compiled by now.
    pub fn patterns(&self) -> usize {
        self.patterns
    }

    /// Whether the filter holds for `current`.
    pub fn holds(&mut self, filter: &Filter, current: Id) -> Result<bool, Undecided> {
        self.step(1)?;
        match filter {
            Filter::Or(several) => {
                for one in several {
                    if self.holds(one, current)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::And(several) => {
                for one in several {
                    if !self.holds(one, current)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Not(inner) => Ok(!self.holds(inner, current)?),
            Filter::Exists(query) => Ok(!self.nodes(query, current)?.is_empty()),
            Filter::Compare(left, comparison, right) => {
                let (left, right) = (self.value(left, current)?, self.value(right, current)?);
                self.compare(&left, *comparison, &right)
            }
            Filter::Matches { whole, text, pattern, compiled } => {
                let (text, pattern) = (self.value(text, current)?, self.value(pattern, current)?);
                let (Value::Text(text), Value::Text(pattern)) = (text, pattern) else { return Ok(false) };
                let Ok(text) = std::str::from_utf8(&text) else { return Err(Undecided::LoneSurrogate) };
                self.look_at(text.len().saturating_mul(4))?;
                if let Some(compiled) = compiled {
                    return Ok(compiled.matches(text));
                }
                Ok(self.pattern(&pattern, *whole)?.is_some_and(|pattern| pattern.matches(text)))
            }
        }
    }

    /// A pattern of the document's own, compiled.
    fn pattern(&mut self, source: &[u8], whole: bool) -> Result<Option<&Pattern>, Undecided> {
        if !self.pattern.as_ref().is_some_and(|(last, of, _)| last == source && *of == whole) {
            self.patterns += 1;
            if self.patterns > PATTERNS {
                return Err(Undecided::TooCostly);
            }
            let compiled = std::str::from_utf8(source).ok().and_then(|source| Pattern::small(source, whole));
            self.pattern = Some((source.to_vec(), whole, compiled));
        }
        Ok(self.pattern.as_ref().and_then(|(.., compiled)| compiled.as_ref()))
    }

    fn value(&mut self, operand: &Operand, current: Id) -> Result<Value<'a>, Undecided> {
        Ok(match operand {
            Operand::Null => Value::Null,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Number(number) => Value::Number(number.clone()),
            Operand::Text(text) => Value::Text(Cow::Owned(text.clone().into_bytes())),
            Operand::Singular(query) | Operand::Value(query) => match self.nodes(query, current)?.as_slice() {
                [one] => self.value_of(*one)?,
                _ => Value::Nothing,
            },
            Operand::Count(query) => Value::Number(Number::from_count(self.nodes(query, current)?.len())),
            Operand::Length(inner) => match self.value(inner, current)? {
                Value::Text(text) => {
                    // Every character has one byte that continues none, a lone surrogate too.
                    Value::Number(Number::from_count(text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()))
                }
                Value::Node(id) => {
                    self.must_be_distinct(id)?;
                    Value::Number(Number::from_count(usize::try_from(self.tree.count(id)).unwrap_or(usize::MAX)))
                }
                Value::Nothing | Value::Null | Value::Bool(_) | Value::Number(_) => Value::Nothing,
            },
        })
    }

    fn value_of(&mut self, id: Id) -> Result<Value<'a>, Undecided> {
        let (kind, raw) = (self.tree.kind(id), self.tree.raw(id));
        if kind == Kind::Scalar {
            self.look_at(raw.len())?;
        }
        Ok(match (kind, raw) {
            (Kind::Object | Kind::Array, _) => Value::Node(id),
            (Kind::Scalar, b"null") => Value::Null,
            (Kind::Scalar, b"true") => Value::Bool(true),
            (Kind::Scalar, b"false") => Value::Bool(false),
            (Kind::Scalar, [b'"', text @ .., b'"']) => Value::Text(unescape(text)),
            (Kind::Scalar, number) => Value::Number(Number::parse(number)),
        })
    }

    fn compare(&mut self, left: &Value<'a>, comparison: Comparison, right: &Value<'a>) -> Result<bool, Undecided> {
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => Some(left.cmp(right)),
            // Generalised UTF-8 sorts as the code points do.
            (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            _ => None,
        };
        Ok(match comparison {
            Comparison::Equal => self.equal(left, right)?,
            Comparison::NotEqual => !self.equal(left, right)?,
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::LessOrEqual => order == Some(Ordering::Less) || self.equal(left, right)?,
            Comparison::GreaterOrEqual => order == Some(Ordering::Greater) || self.equal(left, right)?,
        })
    }

    fn equal(&mut self, left: &Value<'a>, right: &Value<'a>) -> Result<bool, Undecided> {
        Ok(match (left, right) {
            (Value::Nothing, Value::Nothing) | (Value::Null, Value::Null) => true,
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::Number(left), Value::Number(right)) => left == right,
            (Value::Text(left), Value::Text(right)) => left == right,
            (Value::Node(left), Value::Node(right)) => self.deep_equal(*left, *right)?,
            _ => false,
        })
    }

    /// Without recursion: documents nest.
    fn deep_equal(&mut self, left: Id, right: Id) -> Result<bool, Undecided> {
        let mut pairs = vec![(left, right)];
        while let Some((left, right)) = pairs.pop() {
            self.step(1)?;
            let kind = self.tree.kind(left);
            if kind != self.tree.kind(right) {
                return Ok(false);
            }
            // Before they are counted: one that has a name twice may be read as one that has not.
            self.must_be_distinct(left)?;
            self.must_be_distinct(right)?;
            if self.tree.count(left) != self.tree.count(right) {
                return Ok(false);
            }
            match kind {
                Kind::Scalar => {
                    let (left, right) = (self.value_of(left)?, self.value_of(right)?);
                    if !self.equal(&left, &right)? {
                        return Ok(false);
                    }
                }
                Kind::Array => pairs.extend(self.tree.children(left).zip(self.tree.children(right))),
                Kind::Object => {
                    let (left, right) = (self.sorted(left)?, self.sorted(right)?);
                    if left.iter().map(|(name, _)| name).ne(right.iter().map(|(name, _)| name)) {
                        return Ok(false);
                    }
                    pairs.extend(left.iter().zip(&right).map(|((_, left), (_, right))| (*left, *right)));
                }
            }
        }
        Ok(true)
    }

    /// What a query selects, in document order, a node as often as it is selected.
    pub fn nodes(&mut self, query: &Query, current: Id) -> Result<Vec<Id>, Undecided> {
        let mut nodes = vec![if query.root { self.tree.root() } else { current }];
        for segment in &query.segments {
            let mut next = Vec::new();
            for node in nodes {
                if !segment.descendant {
                    self.children(node, &segment.selectors, &mut next)?;
                    continue;
                }
                let mut open = vec![node];
                while let Some(node) = open.pop() {
                    self.children(node, &segment.selectors, &mut next)?;
                    open.extend(self.tree.children(node));
                }
            }
            nodes = next;
        }
        Ok(nodes)
    }

    fn children(&mut self, node: Id, selectors: &[Selector], out: &mut Vec<Id>) -> Result<(), Undecided> {
        let (tree, kind) = (self.tree, self.tree.kind(node));
        self.step(1)?;
        for selector in selectors {
            let of_names = matches!(selector, Selector::Name(_) | Selector::Wildcard | Selector::Filter(_));
            if kind == Kind::Scalar || (kind == Kind::Object && !of_names) {
                continue;
            }
            self.must_be_distinct(node)?;
            for child in tree.children(node) {
                self.step(1)?;
                let index = tree.index(child);
                let matches = match selector {
                    Selector::Wildcard => true,
                    Selector::Name(name) => kind == Kind::Object && self.is_named(child, name.as_bytes()),
                    Selector::Index(wanted) => index == *wanted,
                    Selector::Slice { start, end, step } => {
                        (*start..end.unwrap_or(u64::MAX)).contains(&index) && (index - start).is_multiple_of(*step)
                    }
                    Selector::FromEnd(_) | Selector::Span(_) => selector.counts(index, tree.count(node)),
                    Selector::Filter(filter) => self.holds(filter, child)?,
                };
                if matches {
                    if out.len() >= tree.len().saturating_mul(NODES_PER_NODE) {
                        return Err(Undecided::TooCostly);
                    }
                    out.push(child);
                }
            }
        }
        Ok(())
    }

    fn must_be_distinct(&mut self, id: Id) -> Result<(), Undecided> {
        let at = self.tree.span(id).start;
        if self.tree.kind(id) != Kind::Object || self.distinct.contains(&at) {
            return Ok(());
        }
        let names = self.sorted(id)?;
        if names.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
            return Err(Undecided::DuplicateNames);
        }
        self.distinct.insert(at);
        Ok(())
    }

    fn sorted(&mut self, id: Id) -> Result<Vec<Member<'a>>, Undecided> {
        let tree = self.tree;
        self.look_at(tree.children(id).map(|child| tree.raw_name(child).len().saturating_add(BYTES_PER_STEP)).sum())?;
        let mut members: Vec<_> = tree.children(id).map(|child| (tree.name(child), child)).collect();
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(members)
    }

    /// Without a look at a name that is too long for it: a byte takes six at most when it is escaped.
    fn is_named(&self, child: Id, name: &[u8]) -> bool {
        let raw = self.tree.raw_name(child).len();
        (name.len()..=name.len().saturating_mul(6)).contains(&raw) && *self.tree.name(child) == *name
    }

    /// So many bytes are about to be looked at.
    pub fn look_at(&mut self, bytes: usize) -> Result<(), Undecided> {
        self.step(bytes / BYTES_PER_STEP)
    }

    fn step(&mut self, steps: usize) -> Result<(), Undecided> {
        self.steps = self.steps.checked_sub(steps).ok_or(Undecided::TooCostly)?;
        Ok(())
    }
}
