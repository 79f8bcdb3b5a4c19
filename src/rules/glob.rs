//! Globs over paths, with captures, and over single texts. Work is bounded by pattern length × text length.

use std::sync::Arc;

use super::path::lower;

/// A glob over a normalised path, as written and folded to lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    /// As written.
    pub text: Arc<str>,
    parts: Vec<Part>,
    folded: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`
    Any,
    /// A segment without wildcards.
    Literal(String),
    /// A segment with `*`.
    Glob(String),
    /// `{name}`
    Capture(String),
}

/// Why a text is no pattern, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub help: &'static str,
}

impl PathPattern {
    /// Takes a pattern; it is written in the decoded, normalised form that paths are matched in.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let bad = |message: &str, help| Err(BadPattern { message: format!("path pattern `{text}`: {message}"), help });
        let Some(rest) = text.strip_prefix('/') else {
            return bad("does not begin with `/`", "write the path from its root, such as `/customers/**`");
        };
        if text.contains('?') || text.contains('#') {
            return bad("has a query or fragment", "only the path is matched; remove the rest");
        }
        if text.contains([';', '\\']) || text.chars().any(char::is_control) {
            return bad(
                "can match nothing",
                "paths are matched without `;parameters`, backslashes and control characters",
            );
        }
        if has_escape(text) {
            return bad(
                "has a percent-escape",
                "paths are decoded before they are matched; write the character itself",
            );
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut parts: Vec<Part> = Vec::new();
        for segment in rest.split('/').take_while(|_| !rest.is_empty()) {
            let part = match segment {
                "" => return bad("has an empty segment", "slashes are merged before paths are matched; write one"),
                "." | ".." => return bad("has a dot segment", "dot segments are resolved before paths are matched"),
                "**" => Part::Any,
                s if s.contains("**") => return bad("has `**` inside a segment", "`**` stands alone between slashes"),
                s if s.starts_with('{') && s.ends_with('}') => match capture_name(s) {
                    Some(name) if parts.contains(&Part::Capture(name.to_owned())) => {
                        return bad("captures one name twice", "give each `{name}` its own name");
                    }
                    Some(name) => Part::Capture(name.to_owned()),
                    None => return bad("has a bad capture", "a name in braces is letters, digits, `_` and `-`"),
                },
                s if s.contains(['{', '}']) => {
                    return bad("has a brace inside a segment", "`{name}` captures a whole segment");
                }
                s if s.contains('*') => Part::Glob(s.to_owned()),
                s => Part::Literal(s.to_owned()),
            };
            if !(part == Part::Any && parts.last() == Some(&Part::Any)) {
                parts.push(part);
            }
        }
        let folded = parts.iter().map(Part::folded).collect();
        Ok(Self { text: text.into(), parts, folded })
    }

    /// The names it captures.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|p| if let Part::Capture(name) = p { Some(name.as_str()) } else { None })
    }

    /// The names it captures behind a `**`, where the sender decides which segment that is.
    pub fn movable_captures(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .skip_while(|p| **p != Part::Any)
            .filter_map(|p| if let Part::Capture(name) = p { Some(name.as_str()) } else { None })
    }

    /// What the pattern captures from a path's segments, if it matches.
    pub fn matches(&self, segments: &[&str], ignore_case: bool) -> Option<Vec<(String, String)>> {
        let text = |at: usize| segments.get(at).copied().unwrap_or_default().to_owned();
        let captured = self.captured(segments, ignore_case)?;
        Some(captured.into_iter().map(|(name, at)| (name.to_owned(), text(at))).collect())
    }

    /// The same, and which segment each is.
    pub fn captured(&self, segments: &[&str], ignore_case: bool) -> Option<Vec<(&str, usize)>> {
        let parts = if ignore_case { &self.folded } else { &self.parts };
        let mut captures: Vec<(&str, usize)> = Vec::new();
        // Where to resume when the part after the last `**` does not fit: one more segment goes to that `**`. Older ones
        // need no second try, since the last takes whatever they would have left.
        let mut retry: Option<(usize, usize, usize)> = None;
        let (mut p, mut s) = (0, 0);
        loop {
            match (parts.get(p), segments.get(s)) {
                (None, None) => return Some(captures),
                (Some(Part::Any), _) => {
                    p += 1;
                    retry = Some((p, s, captures.len()));
                    continue;
                }
                (Some(part), Some(segment)) if part.fits(segment) => {
                    if let Part::Capture(name) = part {
                        captures.push((name.as_str(), s));
                    }
                    p += 1;
                    s += 1;
                    continue;
                }
                _ => {}
            }
            let (after, from, captured) = retry?;
            if from >= segments.len() {
                return None;
            }
            retry = Some((after, from + 1, captured));
            captures.truncate(captured);
            (p, s) = (after, from + 1);
        }
    }

    /// Whether no path can match both; errs on `false`.
    pub fn disjoint(&self, other: &Self) -> bool {
        let fixed = |parts: &[Part]| !parts.contains(&Part::Any);
        if fixed(&self.folded) && fixed(&other.folded) && self.folded.len() != other.folded.len() {
            return true;
        }
        for (a, b) in self.folded.iter().zip(&other.folded) {
            match (a, b) {
                (Part::Any, _) | (_, Part::Any) => return false,
                (Part::Literal(a), b) if !b.fits(a) => return true,
                (a, Part::Literal(b)) if !a.fits(b) => return true,
                _ => {}
            }
        }
        let longer = |a: &[Part], b: &[Part]| fixed(a) && b.iter().filter(|p| **p != Part::Any).count() > a.len();
        longer(&self.folded, &other.folded) || longer(&other.folded, &self.folded)
    }
}

impl Part {
    fn fits(&self, segment: &str) -> bool {
        match self {
            Self::Any | Self::Capture(_) => true,
            Self::Literal(text) => text == segment,
            Self::Glob(glob) => wild(glob, segment),
        }
    }

    fn folded(&self) -> Self {
        match self {
            Self::Literal(text) => Self::Literal(lower(text)),
            Self::Glob(text) => Self::Glob(lower(text)),
            other => other.clone(),
        }
    }
}

/// Whether a text matches a glob in which `*` stands for any run of characters.
pub fn wild(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let mut retry: Option<(usize, usize)> = None;
    let (mut g, mut t) = (0, 0);
    loop {
        match (glob.get(g), text.get(t)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                g += 1;
                retry = Some((g, t));
                continue;
            }
            (Some(a), Some(b)) if a == b => {
                g += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((after, from)) if from < text.len() => {
                retry = Some((after, from + 1));
                (g, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

fn capture_name(braced: &str) -> Option<&str> {
    let name = braced.strip_prefix('{')?.strip_suffix('}')?;
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    fits.then_some(name)
}

fn has_escape(text: &str) -> bool {
    text.split('%').skip(1).any(|after| {
        let mut hex = after.bytes();
        hex.next().is_some_and(|b| b.is_ascii_hexdigit()) && hex.next().is_some_and(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn hit(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
        let segments: Vec<&str> = path.split('/').skip(1).filter(|s| !s.is_empty()).collect();
        PathPattern::parse(pattern).unwrap().matches(&segments, false)
    }

    #[rstest]
    #[case("/customers/**", "/customers", true)]
    #[case("/customers/**", "/customers/1/2/3", true)]
    #[case("/customers/**", "/customersx", false)]
    #[case("/customers/*", "/customers", false)]
    #[case("/customers/*", "/customers/1", true)]
    #[case("/customers/*", "/customers/1/2", false)]
    #[case("/customers/", "/customers", true)]
    #[case("/**", "/", true)]
    #[case("/", "/", true)]
    #[case("/", "/a", false)]
    #[case("/**/x/**", "/a/x/b/x/c", true)]
    #[case("/**/x/y", "/x/x/y", true)]
    #[case("/**/x", "/x/y", false)]
    #[case("/a/**/b/*/c", "/a/b/b/1/c", true)]
    #[case("/a/**/b/*/c", "/a/b/1/d/b/2/c", true)]
    #[case("/files/*.json", "/files/a.json", true)]
    #[case("/files/*.json", "/files/a.xml", false)]
    #[case("/files/a*b*c", "/files/aXbYbZc", true)]
    #[case("/{a}/x", "/1/x", true)]
    #[case("/x*", "/y", false)]
    fn globs(#[case] pattern: &str, #[case] path: &str, #[case] expected: bool) {
        assert_eq!(hit(pattern, path).is_some(), expected);
    }

    #[test]
    fn captures_hold_what_matched_and_nothing_of_failed_tries() {
        let found = hit("/**/t/{tenant}/c/{id}", "/t/x/t/acme/c/7").unwrap();
        assert_eq!(found, [("tenant".into(), "acme".into()), ("id".into(), "7".into())]);
    }

    #[test]
    fn no_pattern_takes_exponential_work() {
        let pattern = format!("/{}z", "**/a/".repeat(60));
        let path = "/a".repeat(5_000);
        assert!(hit(&pattern, &path).is_none());
        assert!(!wild(&"*a".repeat(60), &"a".repeat(20_000).replace("aaaaaaaaaa", "aaaaaaaaab")));
    }

    #[rstest]
    #[case("customers")]
    #[case("/a//b")]
    #[case("/a/../b")]
    #[case("/a?x=1")]
    #[case("/a;v=1")]
    #[case("/%63ustomers")]
    #[case("/a/x**")]
    #[case("/a/{}")]
    #[case("/a/{x y}")]
    #[case("/a/{x}.json")]
    #[case("/{x}/{x}")]
    fn bad_patterns(#[case] pattern: &str) {
        assert!(PathPattern::parse(pattern).is_err());
    }

    #[rstest]
    #[case("/a/**", "/b/**", true)]
    #[case("/a/**", "/**", false)]
    #[case("/a/*", "/a/{id}", false)]
    #[case("/a", "/a/b", true)]
    #[case("/a", "/a/**", false)]
    #[case("/a/b/**", "/a", true)]
    #[case("/a/*.json", "/a/x.xml", true)]
    fn disjoint_patterns(#[case] a: &str, #[case] b: &str, #[case] expected: bool) {
        let (a, b) = (PathPattern::parse(a).unwrap(), PathPattern::parse(b).unwrap());
        assert_eq!(a.disjoint(&b), expected);
        assert_eq!(b.disjoint(&a), expected);
    }

    proptest::proptest! {
        #[test]
        fn the_glob_agrees_with_the_obvious_recursion(glob in "[ab*]{0,8}", text in "[ab]{0,8}") {
            fn slow(g: &[u8], t: &[u8]) -> bool {
                match (g.first(), t.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => slow(&g[1..], t) || (!t.is_empty() && slow(g, &t[1..])),
                    (Some(a), Some(b)) if a == b => slow(&g[1..], &t[1..]),
                    _ => false,
                }
            }
            assert_eq!(wild(&glob, &text), slow(glob.as_bytes(), text.as_bytes()));
        }
    }
}
