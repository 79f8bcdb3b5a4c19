//! From text to paths: jsonpath-rust's syntax tree, less what it takes beyond the specification.

mod filter;
mod lexical;

use std::sync::Arc;

use jsonpath_rust::parser::errors::JsonPathError;
use jsonpath_rust::parser::model;
use jsonpath_rust::parser::parse_json_path;

use crate::jsonpath::filter::{Filter, Operand};
use crate::jsonpath::{Bind, Path, Segment, Selector, Span};

/// One path of a selector: a union of names at the last name-bearing segment is split, so that each path has one class.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The path.
    pub path: Arc<Path>,
    /// The last member name written in the selector (unescaped); `None` where the selector has no name, or where a union
    /// mixes names with anything else, so that the rule must give a `class`.
    pub last_name: Option<String>,
    /// The path in canonical form.
    pub canonical: String,
}

/// Why a selector is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Not RFC 9535.
    #[error("not a JSONPath (RFC 9535): {0}")]
    Invalid(String),
    /// Not one place behind `@` or `$`.
    #[error("only names and indices behind `@` or `$`, as in `@.id`, name one value")]
    NotSingular,
    /// RFC 9535, but not available yet.
    #[error("{0} is not available yet")]
    NotYet(&'static str),
}

/// Compiles a selector.
pub fn compile(text: &str) -> Result<Vec<Compiled>, SelectorError> {
    lexical::check(text).map_err(|what| SelectorError::Invalid(what.into()))?;
    let query = parse_json_path(text).map_err(|error| SelectorError::Invalid(one_line(&error)))?;
    let segments = query.segments.iter().map(own_segment).collect::<Result<Vec<_>, _>>()?;
    if segments.len() > Path::MAX_SEGMENTS {
        return Err(SelectorError::NotYet("a selector of more than 63 segments"));
    }
    Ok(split(segments))
}

/// Compiles what values are bound to: a singular query from `@` or `$`.
pub fn compile_bind(text: &str) -> Result<Bind, SelectorError> {
    let invalid = || SelectorError::NotSingular;
    // A singular query stands nowhere by itself; whatever else `text` held would not read as one side of a comparison.
    let compiled = compile(&format!("$[?{text}==0]")).map_err(|_| invalid())?;
    let selector = compiled.first().and_then(|one| one.path.segments.first()).and_then(|s| s.selectors.first());
    let Some(Selector::Filter(filter)) = selector else { return Err(invalid()) };
    match &**filter {
        Filter::Compare(Operand::Singular(query), ..) if !query.segments.is_empty() => Ok(Bind(query.clone())),
        _ => Err(invalid()),
    }
}

/// One path for each name of the last segment that has names; the selector as it is if that has something else as well.
fn split(segments: Vec<Segment>) -> Vec<Compiled> {
    let last = segments.iter().rposition(|segment| segment.selectors.iter().any(is_name));
    let named = last.and_then(|at| Some((at, segments.get(at)?)));
    let Some((at, named)) = named.filter(|(_, segment)| segment.selectors.iter().all(is_name)) else {
        return vec![compiled(segments, None)];
    };
    let one = |selector: &Selector| {
        let Selector::Name(name) = selector else { return None };
        let mut segments = segments.clone();
        segments.get_mut(at)?.selectors = vec![selector.clone()];
        Some(compiled(segments, Some(name.clone())))
    };
    named.selectors.iter().filter_map(one).collect()
}

fn is_name(selector: &Selector) -> bool {
    matches!(selector, Selector::Name(_))
}

fn compiled(segments: Vec<Segment>, last_name: Option<String>) -> Compiled {
    let path = Path { segments, bind: None };
    Compiled { canonical: path.to_string(), path: Arc::new(path), last_name }
}

/// Of the selector itself, where a child that is selected twice is edited once.
fn own_segment(segment: &model::Segment) -> Result<Segment, SelectorError> {
    let mut segment = self::segment(segment)?;
    let mut distinct = Vec::with_capacity(segment.selectors.len());
    for selector in segment.selectors {
        if !distinct.contains(&selector) {
            distinct.push(selector);
        }
    }
    segment.selectors = distinct;
    Ok(segment)
}

fn segment(segment: &model::Segment) -> Result<Segment, SelectorError> {
    let (descendant, selectors) = match segment {
        model::Segment::Descendant(inner) => return Ok(Segment { descendant: true, ..self::segment(inner)? }),
        model::Segment::Selector(one) => (false, std::slice::from_ref(one)),
        model::Segment::Selectors(several) => (false, several.as_slice()),
    };
    Ok(Segment { descendant, selectors: selectors.iter().map(selector).collect::<Result<_, _>>()? })
}

fn selector(selector: &model::Selector) -> Result<Selector, SelectorError> {
    Ok(match selector {
        model::Selector::Name(name) => Selector::Name(name.clone()),
        model::Selector::Wildcard => Selector::Wildcard,
        model::Selector::Index(index) => self::index(*index),
        model::Selector::Slice(start, end, step) => slice(*start, *end, step.unwrap_or(1)),
        model::Selector::Filter(filter) => Selector::Filter(Arc::new(filter::compile(filter)?)),
    })
}

fn index(index: i64) -> Selector {
    u64::try_from(index).map_or_else(|_| Selector::FromEnd(index.unsigned_abs()), Selector::Index)
}

/// Forward slices between bounds from the start do not need to know how long the array is.
fn slice(start: Option<i64>, end: Option<i64>, step: i64) -> Selector {
    let from_start = |bound: Option<i64>| bound.map(u64::try_from).transpose();
    match (from_start(start), from_start(end), u64::try_from(step)) {
        (_, _, Ok(0)) => Selector::Slice { start: 0, end: Some(0), step: 1 },
        (Ok(start), Ok(end), Ok(step)) => Selector::Slice { start: start.unwrap_or(0), end, step },
        _ => Selector::Span(Span { start, end, step }),
    }
}

/// The parser draws its message over several lines and in the words of its grammar; the place is what helps.
fn one_line(error: &JsonPathError) -> String {
    let JsonPathError::PestError(error) = error else {
        return "a name, a number or a function in it is malformed".into();
    };
    let drawn = error.to_string();
    let place = drawn.lines().find_map(|line| line.trim_start().strip_prefix("--> "));
    match place.and_then(|place| place.rsplit_once(':')) {
        Some((_, column)) => format!("it cannot be read from column {column} on"),
        None => "it cannot be read".into(),
    }
}

#[cfg(test)]
mod tests;
