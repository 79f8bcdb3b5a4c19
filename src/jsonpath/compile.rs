//! From text to paths: jsonpath-rust's syntax tree, less what is not available yet, less what it takes beyond the
//! specification.

mod filter;
mod lexical;

use std::sync::Arc;

use jsonpath_rust::parser::errors::JsonPathError;
use jsonpath_rust::parser::model;
use jsonpath_rust::parser::parse_json_path;

use crate::jsonpath::{Path, Segment, Selector};

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
    /// RFC 9535, but not available yet.
    #[error("{0} is not available yet")]
    NotYet(&'static str),
}

/// Compiles a selector.
pub fn compile(text: &str) -> Result<Vec<Compiled>, SelectorError> {
    lexical::check(text).map_err(|what| SelectorError::Invalid(what.into()))?;
    let query = parse_json_path(text).map_err(|error| SelectorError::Invalid(one_line(&error)))?;
    // What is invalid goes first: nobody should wait for something that will never come.
    query.segments.iter().try_for_each(filter::check)?;
    let segments = query.segments.iter().map(segment).collect::<Result<Vec<_>, _>>()?;
    if segments.len() > Path::MAX_SEGMENTS {
        return Err(SelectorError::NotYet("a selector of more than 63 segments"));
    }
    Ok(split(segments))
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
    let path = Path { segments };
    Compiled { canonical: path.to_string(), path: Arc::new(path), last_name }
}

fn segment(segment: &model::Segment) -> Result<Segment, SelectorError> {
    let (descendant, selectors) = match segment {
        model::Segment::Descendant(inner) => return Ok(Segment { descendant: true, ..self::segment(inner)? }),
        model::Segment::Selector(one) => (false, std::slice::from_ref(one)),
        model::Segment::Selectors(several) => (false, several.as_slice()),
    };
    let mut distinct = Vec::with_capacity(selectors.len());
    for selector in selectors {
        let selector = self::selector(selector)?;
        if !distinct.contains(&selector) {
            distinct.push(selector);
        }
    }
    Ok(Segment { descendant, selectors: distinct })
}

fn selector(selector: &model::Selector) -> Result<Selector, SelectorError> {
    let bound = |bound: i64| u64::try_from(bound).map_err(|_| SelectorError::NotYet("a slice with a negative bound"));
    Ok(match selector {
        model::Selector::Name(name) => Selector::Name(name.clone()),
        model::Selector::Wildcard => Selector::Wildcard,
        model::Selector::Index(index) => {
            Selector::Index(u64::try_from(*index).map_err(|_| SelectorError::NotYet("a negative index"))?)
        }
        model::Selector::Slice(_, _, Some(step)) if *step != 1 => {
            return Err(SelectorError::NotYet("a slice with a step other than 1"));
        }
        model::Selector::Slice(start, end, _) => {
            Selector::Slice(start.map_or(Ok(0), bound)?, end.map(bound).transpose()?)
        }
        model::Selector::Filter(_) => return Err(SelectorError::NotYet("a filter")),
    })
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
