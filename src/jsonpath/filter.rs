//! Filters (RFC 9535 2.3.5) as we evaluate them: well-typed, in negation-free calls.

use std::fmt;

use crate::jsonpath::canonical::push_name;
use crate::jsonpath::number::Number;
use crate::jsonpath::pattern::Pattern;
use crate::jsonpath::{Segment, Selector};

/// A logical expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Filter {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    /// Whether the query selects anything.
    Exists(Query),
    Compare(Operand, Comparison, Operand),
    /// `match` (whole) or `search`.
    Matches {
        whole: bool,
        text: Operand,
        pattern: Operand,
        /// If the pattern is a literal.
        compiled: Option<Pattern>,
    },
}

/// A query in a filter, from `@` or from `$`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    pub root: bool,
    pub segments: Vec<Segment>,
}

/// Something with a value, or with none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operand {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    /// A singular query's value.
    Singular(Query),
    /// `value()`
    Value(Query),
    /// `length()`
    Length(Box<Self>),
    /// `count()`
    Count(Query),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Filter {
    /// Whether `$` stands in it, at any depth.
    pub fn sees_root(&self) -> bool {
        match self {
            Self::Or(several) | Self::And(several) => several.iter().any(Self::sees_root),
            Self::Not(inner) => inner.sees_root(),
            Self::Exists(query) => query.sees_root(),
            Self::Compare(left, _, right) => left.sees_root() || right.sees_root(),
            Self::Matches { text, pattern, .. } => text.sees_root() || pattern.sees_root(),
        }
    }
}

impl Query {
    fn sees_root(&self) -> bool {
        let filters = self.segments.iter().flat_map(|segment| &segment.selectors);
        self.root || filters.into_iter().any(|s| matches!(s, Selector::Filter(filter) if filter.sees_root()))
    }
}

impl Operand {
    fn sees_root(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
            Self::Singular(query) | Self::Value(query) | Self::Count(query) => query.sees_root(),
            Self::Length(inner) => inner.sees_root(),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, several: &[Self], by: &str| {
            for (i, one) in several.iter().enumerate() {
                if i > 0 {
                    f.write_str(by)?;
                }
                match one {
                    Self::Or(_) | Self::And(_) => write!(f, "({one})")?,
                    _ => one.fmt(f)?,
                }
            }
            Ok(())
        };
        match self {
            Self::Or(several) => joined(f, several, "||"),
            Self::And(several) => joined(f, several, "&&"),
            Self::Not(inner) => match **inner {
                Self::Exists(_) | Self::Matches { .. } => write!(f, "!{inner}"),
                _ => write!(f, "!({inner})"),
            },
            Self::Exists(query) => query.fmt(f),
            Self::Compare(left, comparison, right) => write!(f, "{left}{}{right}", comparison.sign()),
            Self::Matches { whole, text, pattern, .. } => {
                write!(f, "{}({text},{pattern})", if *whole { "match" } else { "search" })
            }
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.root { "$" } else { "@" })?;
        self.segments.iter().try_for_each(|segment| segment.fmt(f))
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => {
                let mut quoted = String::new();
                push_name(text.as_bytes(), &mut quoted);
                f.write_str(&quoted)
            }
            Self::Singular(query) => query.fmt(f),
            Self::Value(query) => write!(f, "value({query})"),
            Self::Length(inner) => write!(f, "length({inner})"),
            Self::Count(query) => write!(f, "count({query})"),
        }
    }
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}
