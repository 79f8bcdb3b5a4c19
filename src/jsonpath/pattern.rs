//! Regular expressions as RFC 9485 (I-Regexp) has them, run by `regex`, whose time is linear in the text.

use std::fmt;
use std::hash::{Hash, Hasher};

use regex::{Regex, RegexBuilder};

/// Patterns come from documents, too.
const LONGEST: usize = 4096;
const COMPILED: usize = 1 << 20;
/// Compiled from a document: its text and size together are the time that it takes.
const SMALL: usize = 1 << 16;

/// A compiled pattern, with its source.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    whole: bool,
    regex: Regex,
}

impl Pattern {
    /// `whole`: for `match`, else for `search`. `None`: not an I-Regexp, or one that takes too much memory.
    pub fn new(source: &str, whole: bool) -> Option<Self> {
        Self::within(COMPILED, source, whole)
    }

    /// The same for one that comes from a document.
    pub fn small(source: &str, whole: bool) -> Option<Self> {
        Self::within(SMALL, source, whole)
    }

    fn within(size: usize, source: &str, whole: bool) -> Option<Self> {
        if source.len() > LONGEST {
            return None;
        }
        let translated = translate(source)?;
        let anchored = if whole { format!(r"\A(?:{translated})\z") } else { translated };
        let regex = RegexBuilder::new(&anchored).size_limit(size).dfa_size_limit(COMPILED).build().ok()?;
        Some(Self { source: source.to_owned(), whole, regex })
    }

    /// Whether it matches.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// What `regex` reads the same way: a dot is anything but a line's end, and nothing that I-Regexp does not have is let through.
fn translate(source: &str) -> Option<String> {
    let mut out = String::with_capacity(source.len() + 8);
    let mut chars = source.chars().peekable();
    let mut class = Class::Outside;
    let mut groups = 0_usize;
    while let Some(c) = chars.next() {
        match (class, c) {
            (_, '\\') => {
                let escaped = chars.next()?;
                out.push('\\');
                match escaped {
                    'p' | 'P' => {
                        out.push(escaped);
                        if chars.next()? != '{' {
                            return None;
                        }
                        let name = to_brace(&mut chars)?;
                        if !is_category(&name) {
                            return None;
                        }
                        out.push_str(&format!("{{{name}}}"));
                    }
                    '(' | ')' | '*' | '+' | '-' | '.' | '?' | '[' | '\\' | ']' | '^' | 'n' | 'r' | 't' | '{' | '|'
                    | '}' => out.push(escaped),
                    _ => return None,
                }
            }
            (Class::Outside, '.') => out.push_str(r"[^\n\r]"),
            (Class::Outside, '[') => {
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
                class = Class::Begun;
            }
            (Class::Outside, '{') => {
                let range = to_brace(&mut chars)?;
                let (least, most) = range.split_once(',').unwrap_or((&range, ""));
                if least.is_empty() || !range.bytes().all(|b| b.is_ascii_digit() || b == b',') || most.contains(',') {
                    return None;
                }
                if matches!(chars.peek(), Some('*' | '+' | '?' | '{')) {
                    return None;
                }
                out.push_str(&format!("{{{range}}}"));
            }
            // No lazy or possessive repetition, no flags, no named groups.
            (Class::Outside, '}') => return None,
            (Class::Outside, '*' | '+' | '?') => {
                out.push(c);
                if matches!(chars.peek(), Some('*' | '+' | '?' | '{')) {
                    return None;
                }
            }
            (Class::Outside, '(') => {
                groups += 1;
                if groups > 64 || chars.peek() == Some(&'?') {
                    return None;
                }
                out.push_str("(?:");
            }
            (Class::Outside, ']') => return None,
            // Anchors are not in I-Regexp: there they are plain characters.
            (Class::Outside, '^' | '$') => {
                out.push('\\');
                out.push(c);
            }
            (Class::Begun, ']') => return None,
            (Class::Inside, ']') => {
                out.push(']');
                class = Class::Outside;
            }
            // `regex` has set operations and nested classes where others have characters.
            (Class::Begun | Class::Inside, '[') => return None,
            (Class::Begun | Class::Inside, '&' | '~' | '^') => {
                out.push('\\');
                out.push(c);
                class = Class::Inside;
            }
            (Class::Inside, '-') if chars.peek() == Some(&'-') => return None,
            (Class::Begun | Class::Inside, _) => {
                out.push(c);
                class = Class::Inside;
            }
            (Class::Outside, _) => out.push(c),
        }
        if matches!(class, Class::Begun) && c == '\\' {
            class = Class::Inside;
        }
    }
    matches!(class, Class::Outside).then_some(out)
}

/// What stands before the next `}`.
fn to_brace(chars: &mut impl Iterator<Item = char>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '}' => return Some(text),
            c => text.push(c),
        }
    }
}

/// A general category of Unicode, as RFC 9485 lists them; `regex` knows scripts and more besides.
fn is_category(name: &str) -> bool {
    let mut letters = name.chars();
    let minor = match letters.next() {
        Some('L') => "lmotu",
        Some('M') => "cen",
        Some('N') => "dlo",
        Some('P') => "cdefios",
        Some('Z') => "lps",
        Some('S') => "ckmo",
        Some('C') => "cfno",
        _ => return false,
    };
    letters.next().is_none_or(|c| minor.contains(c)) && letters.next().is_none()
}

#[derive(Clone, Copy)]
enum Class {
    Outside,
    /// Just behind its `[` or `[^`.
    Begun,
    Inside,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.whole) == (&other.source, other.whole)
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.source, self.whole).hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a.b", "axb", true)]
    #[case("a.b", "a\nb", false)]
    #[case("a.b", "a\rb", false)]
    #[case("a.b", "a\u{2028}b", true)]
    #[case("a", "ba", false)]
    #[case("a|ab", "ab", true)]
    #[case("[0-9]{3}-[0-9]{2}", "123-45", true)]
    #[case(r"\p{Lu}[^a-c]", "Éd", true)]
    #[case(r"\.\^", ".^", true)]
    #[case("a{2}b{1,}c{0,1}", "aabb", true)]
    #[case(r"\P{L}\p{Nd}", "-1", true)]
    #[case("^a$", "^a$", true)]
    #[case("[&&^]", "^", true)]
    #[case(r"[\]a]", "]", true)]
    #[case("", "", true)]
    #[case("😀", "😀", true)]
    fn whole(#[case] pattern: &str, #[case] text: &str, #[case] expected: bool) {
        assert_eq!(Pattern::new(pattern, true).unwrap().matches(text), expected);
    }

    #[rstest]
    #[case(r"\d")]
    #[case(r"\bx")]
    #[case("(?i)a")]
    #[case("(?=a)")]
    #[case("a*?")]
    #[case("a++")]
    #[case("[a")]
    #[case("a]")]
    #[case("[[:alpha:]]")]
    #[case("(a")]
    #[case(r"\")]
    #[case(r"\1")]
    #[case(r"\p{^L}")]
    #[case(r"\p{Greek}")]
    #[case(r"\p{Lx}")]
    #[case(r"\p{Lu")]
    #[case(r"\p{}")]
    #[case(r"\pL")]
    #[case(r"\$")]
    #[case("a{,2}")]
    #[case("a{2")]
    #[case("a{1,2,3}")]
    #[case("a{1}{2}")]
    #[case("{1}")]
    #[case("a}")]
    #[case("((((a{1000}){1000}){1000}){1000})")]
    fn not_an_i_regexp(#[case] pattern: &str) {
        assert!(Pattern::new(pattern, true).is_none());
    }

    #[test]
    fn search_looks_anywhere() {
        assert!(Pattern::new("b.", false).unwrap().matches("abc"));
    }
}
