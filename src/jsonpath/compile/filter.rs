//! Filters from jsonpath-rust's tree to ours: well-typed (RFC 9535 2.4.3), without functions that RFC 9535 does not have.

use jsonpath_rust::parser::model;

use crate::jsonpath::filter::{Comparison, Filter, Operand, Query};
use crate::jsonpath::number::Number;
use crate::jsonpath::pattern::Pattern;
use crate::jsonpath::{Segment, Selector, SelectorError};

/// The parser bounds how deep a filter nests.
pub fn compile(filter: &model::Filter) -> Result<Filter, SelectorError> {
    let several = |several: &[model::Filter]| several.iter().map(compile).collect::<Result<Vec<_>, _>>();
    Ok(match filter {
        model::Filter::Or(inner) => one_or(several(inner)?, Filter::Or),
        model::Filter::And(inner) => one_or(several(inner)?, Filter::And),
        model::Filter::Atom(model::FilterAtom::Filter { expr, not }) => negated(compile(expr)?, *not),
        model::Filter::Atom(model::FilterAtom::Test { expr, not }) => negated(test(expr)?, *not),
        model::Filter::Atom(model::FilterAtom::Comparison(comparison)) => compare(comparison)?,
    })
}

fn one_or(mut several: Vec<Filter>, make: impl FnOnce(Vec<Filter>) -> Filter) -> Filter {
    match several.pop() {
        Some(only) if several.is_empty() => only,
        last => {
            several.extend(last);
            make(several)
        }
    }
}

fn negated(filter: Filter, not: bool) -> Filter {
    if not { Filter::Not(Box::new(filter)) } else { filter }
}

fn test(test: &model::Test) -> Result<Filter, SelectorError> {
    let model::Test::Function(function) = test else { return query(test).map(Filter::Exists) };
    match &**function {
        model::TestFunction::Match(text, pattern) => matches(true, text, pattern),
        model::TestFunction::Search(text, pattern) => matches(false, text, pattern),
        model::TestFunction::Custom(name, _) => Err(no_function(name)),
        model::TestFunction::Length(_) | model::TestFunction::Count(_) | model::TestFunction::Value(_) => {
            Err(invalid("a function's value must be compared with something"))
        }
    }
}

fn matches(whole: bool, text: &model::FnArg, pattern: &model::FnArg) -> Result<Filter, SelectorError> {
    let (text, pattern) = (argument(text)?, argument(pattern)?);
    let compiled = match &pattern {
        Operand::Text(source) => Some(Pattern::new(source, whole).ok_or_else(|| {
            invalid(&format!(
                "`{source}` is no regular expression of RFC 9485 (no `\\d`, no look-around, no lazy repetition)"
            ))
        })?),
        _ => None,
    };
    Ok(Filter::Matches { whole, text, pattern, compiled })
}

fn compare(comparison: &model::Comparison) -> Result<Filter, SelectorError> {
    let sign = match comparison {
        model::Comparison::Eq(..) => Comparison::Equal,
        model::Comparison::Ne(..) => Comparison::NotEqual,
        model::Comparison::Gt(..) => Comparison::Greater,
        model::Comparison::Gte(..) => Comparison::GreaterOrEqual,
        model::Comparison::Lt(..) => Comparison::Less,
        model::Comparison::Lte(..) => Comparison::LessOrEqual,
    };
    let (left, right) = comparison.vals();
    Ok(Filter::Compare(comparable(left)?, sign, comparable(right)?))
}

fn comparable(comparable: &model::Comparable) -> Result<Operand, SelectorError> {
    match comparable {
        model::Comparable::Literal(inner) => literal(inner),
        model::Comparable::Function(inner) => function(inner),
        model::Comparable::SingularQuery(inner) => {
            let (root, segments) = match inner {
                model::SingularQuery::Current(segments) => (false, segments),
                model::SingularQuery::Root(segments) => (true, segments),
            };
            let segments = segments.iter().map(|segment| Segment {
                descendant: false,
                selectors: vec![match segment {
                    model::SingularQuerySegment::Index(index) => super::index(*index),
                    model::SingularQuerySegment::Name(name) => Selector::Name(name.clone()),
                }],
            });
            Ok(Operand::Singular(Query { root, segments: segments.collect() }))
        }
    }
}

fn literal(literal: &model::Literal) -> Result<Operand, SelectorError> {
    Ok(match literal {
        model::Literal::Null => Operand::Null,
        model::Literal::Bool(value) => Operand::Bool(*value),
        model::Literal::String(text) => Operand::Text(text.clone()),
        model::Literal::Int(number) => Operand::Number(Number::parse(number.to_string().as_bytes())),
        model::Literal::Float(number) if number.is_finite() => {
            Operand::Number(Number::parse(format!("{number:e}").as_bytes()))
        }
        model::Literal::Float(_) => return Err(invalid("a number in it is too large")),
    })
}

/// A function with a value.
fn function(function: &model::TestFunction) -> Result<Operand, SelectorError> {
    match function {
        model::TestFunction::Length(inner) => Ok(Operand::Length(Box::new(argument(inner)?))),
        model::TestFunction::Count(inner) => Ok(Operand::Count(nodes(inner)?)),
        model::TestFunction::Value(inner) => Ok(Operand::Value(nodes(inner)?)),
        model::TestFunction::Custom(name, _) => Err(no_function(name)),
        model::TestFunction::Match(..) | model::TestFunction::Search(..) => {
            Err(invalid("`match` and `search` cannot be compared"))
        }
    }
}

/// An argument that is a value.
fn argument(argument: &model::FnArg) -> Result<Operand, SelectorError> {
    match argument {
        model::FnArg::Literal(inner) => literal(inner),
        model::FnArg::Filter(_) => Err(invalid("a function takes no logical expression")),
        model::FnArg::Test(inner) => match &**inner {
            model::Test::Function(inner) => function(inner),
            other => match query(other)? {
                query if query.is_singular() => Ok(Operand::Singular(query)),
                _ => {
                    Err(invalid("a function that takes a value takes no query that may select several: use `value(…)`"))
                }
            },
        },
    }
}

/// An argument that is a list of nodes.
fn nodes(argument: &model::FnArg) -> Result<Query, SelectorError> {
    match argument {
        model::FnArg::Test(inner) => query(inner),
        model::FnArg::Literal(_) | model::FnArg::Filter(_) => Err(invalid("`count` and `value` take a query")),
    }
}

fn query(test: &model::Test) -> Result<Query, SelectorError> {
    let (root, segments) = match test {
        model::Test::RelQuery(segments) => (false, segments),
        model::Test::AbsQuery(query) => (true, &query.segments),
        model::Test::Function(_) => return Err(invalid("`count` and `value` take a query")),
    };
    Ok(Query { root, segments: segments.iter().map(super::segment).collect::<Result<_, _>>()? })
}

impl Query {
    fn is_singular(&self) -> bool {
        self.segments.iter().all(|segment| {
            let one =
                matches!(segment.selectors.as_slice(), [Selector::Name(_) | Selector::Index(_) | Selector::FromEnd(_)]);
            one && !segment.descendant
        })
    }
}

fn no_function(name: &str) -> SelectorError {
    invalid(&format!("it has no function `{name}`"))
}

fn invalid(what: &str) -> SelectorError {
    SelectorError::Invalid(what.to_owned())
}
