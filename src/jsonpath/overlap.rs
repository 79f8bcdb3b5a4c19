//! Whether two paths can meet: the product of their automata, so the answers hold for some document, and `false` for none.

use crate::jsonpath::{Path, Segment, Selector};

/// Whether some document can have one value that both paths select (for the load-time conflict check); errs on `true`.
pub fn may_overlap(a: &Path, b: &Path) -> bool {
    let end = (a.segments.len(), b.segments.len());
    reachable(a, b).contains(&end)
}

/// Whether some document can have a value that `outer` selects with a value inside it that `inner` selects.
pub fn may_contain(outer: &Path, inner: &Path) -> bool {
    let possible =
        |segments: &[Segment]| segments.iter().all(|segment| segment.selectors.iter().any(matches_something));
    reachable(outer, inner).into_iter().any(|(i, j)| {
        let rest = inner.segments.get(j..).unwrap_or_default();
        i == outer.segments.len() && !rest.is_empty() && possible(rest)
    })
}

/// The pairs of places that one walk down a document can bring both paths to.
fn reachable(a: &Path, b: &Path) -> Vec<(usize, usize)> {
    let mut pairs = vec![(0, 0)];
    let mut done = 0;
    while let Some(&(i, j)) = pairs.get(done) {
        done += 1;
        let (a, b) = (a.segments.get(i), b.segments.get(j));
        let (Some(a), Some(b)) = (a, b) else { continue };
        let steps = [
            (advances(a) && b.descendant).then_some((i + 1, j)),
            (a.descendant && advances(b)).then_some((i, j + 1)),
            meet(a, b).then_some((i + 1, j + 1)),
        ];
        for pair in steps.into_iter().flatten() {
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    pairs
}

fn advances(segment: &Segment) -> bool {
    segment.selectors.iter().any(matches_something)
}

/// Whether one child can be selected by both.
fn meet(a: &Segment, b: &Segment) -> bool {
    a.selectors.iter().any(|a| b.selectors.iter().any(|b| intersect(a, b)))
}

fn matches_something(selector: &Selector) -> bool {
    intersect(selector, &Selector::Wildcard)
}

fn intersect(a: &Selector, b: &Selector) -> bool {
    match (a, b) {
        (Selector::Name(a), Selector::Name(b)) => a == b,
        (Selector::Name(_), Selector::Wildcard | Selector::Filter(_))
        | (Selector::Wildcard | Selector::Filter(_), Selector::Name(_))
        | (Selector::Wildcard, Selector::Wildcard) => true,
        (Selector::Name(_), _) | (_, Selector::Name(_)) => false,
        (a, b) => {
            let ((from_a, to_a), (from_b, to_b)) = (indices(a), indices(b));
            from_a.max(from_b) < to_a.min(to_b)
        }
    }
}

/// The elements that a selector other than a name selects.
fn indices(selector: &Selector) -> (u64, u64) {
    match selector {
        Selector::Index(index) => (*index, index.saturating_add(1)),
        // Which of a stepped slice two meet in is not looked at.
        Selector::Slice { start, end, .. } => (*start, end.unwrap_or(u64::MAX)),
        // Only a document can tell.
        Selector::Wildcard | Selector::Name(_) | Selector::FromEnd(_) | Selector::Span(_) | Selector::Filter(_) => {
            (0, u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::jsonpath::compile;

    fn path(text: &str) -> Path {
        Path::clone(&compile(text).unwrap()[0].path)
    }

    #[rstest]
    #[case("$.a", "$.a", true)]
    #[case("$.a", "$['a']", true)]
    #[case("$.a", "$.b", false)]
    #[case("$.a", "$.a.b", false)]
    #[case("$", "$", true)]
    #[case("$", "$..*", false)]
    #[case("$.*", "$.b", true)]
    #[case("$.*", "$[3]", true)]
    #[case("$[0]", "$.a", false)]
    #[case("$[0]", "$[0:1]", true)]
    #[case("$[1:3]", "$[3:]", false)]
    #[case("$[1:4]", "$[3:]", true)]
    #[case("$[4:1]", "$.*", false)]
    #[case("$..ssn", "$.a.b.ssn", true)]
    #[case("$..ssn", "$.a.b.pan", false)]
    #[case("$..ssn", "$..pan", false)]
    #[case("$..a..b", "$..b..a", false)]
    #[case("$..a..*", "$..b..*", true)]
    #[case("$..a.b", "$..c.b", false)]
    #[case("$..a[0]", "$.x.*[0:9]", true)]
    #[case("$..[4:1]", "$..*", false)]
    #[case("$.a[*].pan", "$.a[7]['pan']", true)]
    fn overlaps(#[case] a: &str, #[case] b: &str, #[case] expected: bool) {
        assert_eq!(may_overlap(&path(a), &path(b)), expected);
        assert_eq!(may_overlap(&path(b), &path(a)), expected);
    }

    #[rstest]
    #[case("$", "$.a", true)]
    #[case("$.a", "$", false)]
    #[case("$.a", "$.a", false)]
    #[case("$..a", "$..a", true)]
    #[case("$.a", "$.a[*].b", true)]
    #[case("$.a", "$.b.c", false)]
    #[case("$.a", "$..ssn", true)]
    #[case("$..ssn", "$.a", false)]
    #[case("$.a", "$.a[2:1]", false)]
    #[case("$..*", "$.a", false)]
    #[case("$..*", "$.a.b", true)]
    fn contains(#[case] outer: &str, #[case] inner: &str, #[case] expected: bool) {
        assert_eq!(may_contain(&path(outer), &path(inner)), expected);
    }
}
