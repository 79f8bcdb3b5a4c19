//! Filters are not available yet; those with a function that RFC 9535 does not have never will be.

use jsonpath_rust::parser::model::{Comparable, Filter, FilterAtom, FnArg, Segment, Selector, Test, TestFunction};

use crate::jsonpath::SelectorError;

/// Refuses a function of jsonpath-rust's own. The parser bounds how deep a filter nests.
pub fn check(segment: &Segment) -> Result<(), SelectorError> {
    match segment {
        Segment::Descendant(inner) => check(inner),
        Segment::Selector(one) => selector(one),
        Segment::Selectors(several) => several.iter().try_for_each(selector),
    }
}

fn selector(selector: &Selector) -> Result<(), SelectorError> {
    match selector {
        Selector::Filter(inner) => filter(inner),
        Selector::Name(_) | Selector::Wildcard | Selector::Index(_) | Selector::Slice(..) => Ok(()),
    }
}

fn filter(filter: &Filter) -> Result<(), SelectorError> {
    match filter {
        Filter::Or(several) | Filter::And(several) => several.iter().try_for_each(self::filter),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => self::filter(expr),
        Filter::Atom(FilterAtom::Test { expr, .. }) => test(expr),
        Filter::Atom(FilterAtom::Comparison(comparison)) => {
            let (left, right) = comparison.vals();
            comparable(left).and_then(|()| comparable(right))
        }
    }
}

fn comparable(comparable: &Comparable) -> Result<(), SelectorError> {
    match comparable {
        Comparable::Function(inner) => function(inner),
        Comparable::Literal(_) | Comparable::SingularQuery(_) => Ok(()),
    }
}

fn test(test: &Test) -> Result<(), SelectorError> {
    match test {
        Test::RelQuery(segments) => segments.iter().try_for_each(check),
        Test::AbsQuery(query) => query.segments.iter().try_for_each(check),
        Test::Function(inner) => function(inner),
    }
}

fn function(function: &TestFunction) -> Result<(), SelectorError> {
    match function {
        TestFunction::Custom(name, _) => Err(SelectorError::Invalid(format!("it has no function `{name}`"))),
        TestFunction::Length(arg) => argument(arg),
        TestFunction::Value(arg) | TestFunction::Count(arg) => argument(arg),
        TestFunction::Search(a, b) | TestFunction::Match(a, b) => argument(a).and_then(|()| argument(b)),
    }
}

fn argument(argument: &FnArg) -> Result<(), SelectorError> {
    match argument {
        FnArg::Literal(_) => Ok(()),
        FnArg::Test(inner) => test(inner),
        FnArg::Filter(inner) => filter(inner),
    }
}
