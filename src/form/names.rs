//! The names that a rule protects, and names that some application would read as one of them.

use std::borrow::Cow;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;

/// How often something may decode a name; one that has more escapes within escapes hides something.
const DECODINGS: usize = 4;

/// Protected names; each is known by its index.
#[derive(Debug, Default)]
pub struct Names {
    exact: HashMap<String, usize>,
    /// What is left of each where an application is lenient.
    shapes: Vec<Vec<String>>,
}

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The protected one with this index.
    Protected(usize),
    /// It tells the charset of the others.
    Charset,
    /// Any other.
    Other,
}

/// A name that would dodge the rule.
const LOOKALIKE: &str = "a name that some applications take for a protected one";

impl Names {
    /// Of equal names, the first counts.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for (index, name) in names.into_iter().enumerate() {
            all.exact.entry(name.to_owned()).or_insert(index);
            all.shapes.push(shape(name));
        }
        all.shapes.sort_unstable();
        all.shapes.dedup();
        all.shapes.retain(|shape| !shape.is_empty());
        all
    }

    /// What a decoded name is.
    pub(super) fn find(&self, name: &str) -> Result<Named, &'static str> {
        if let Some(index) = self.exact.get(name) {
            return Ok(Named::Protected(*index));
        }
        if self.is_like_one(name) {
            return Err(LOOKALIKE);
        }
        Ok(if name.eq_ignore_ascii_case("_charset_") { Named::Charset } else { Named::Other })
    }

    /// Whether a name that is none of them may be read as one.
    fn is_like_one(&self, name: &str) -> bool {
        let mut name = Cow::Borrowed(name);
        for _ in 0..DECODINGS {
            let shaped = shape(&name);
            if self.shapes.iter().any(|protected| shaped.starts_with(protected)) {
                return true;
            }
            let decoded = percent_decode_str(&name).decode_utf8_lossy().into_owned();
            if decoded == *name {
                return false;
            }
            name = decoded.into();
        }
        true
    }
}

/// The steps that a name is taken for by applications that make structures of names: `card[0][pan]` is `pan` within `card`.
pub fn shape(name: &str) -> Vec<String> {
    let name = name.split(['\0', '=']).next().unwrap_or_default();
    let edge = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    let name = name.trim_matches(edge);
    // PHP: a bracket that is not closed is an underscore.
    let is_open = name.split_once('[').is_some_and(|(_, behind)| !behind.contains(']'));
    let steps = name.split(|c| matches!(c, '[' | ']') && !is_open);
    let mut shape: Vec<String> = Vec::new();
    for step in steps.map(|step| step.trim_matches(edge)).filter(|step| !step.is_empty()) {
        if shape.is_empty() || !step.bytes().all(|byte| byte.is_ascii_digit()) {
            shape.push(step.replace([' ', '.', '['], "_").to_lowercase());
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_what_could_be_one_is_known() {
        let names = Names::new(["ssn", "card_pan", "card[pan]", "tags[]", "ssn", "line.1"]);
        for (name, index) in [("ssn", 0), ("card_pan", 1), ("card[pan]", 2), ("tags[]", 3), ("line.1", 5)] {
            assert_eq!(names.find(name), Ok(Named::Protected(index)), "{name}");
        }
        for like in [
            "ssn[]",
            "[ssn]",
            "ssn[0]",
            "ssn[a]",
            " ssn",
            "\tssn\r\n",
            "\u{feff}ssn",
            "ssn\0x",
            "ssn ",
            "card.pan",
            "card pan",
            "card[pan",
            "card[pan][]",
            "[card][pan]",
            "card[0][pan]",
            "tags",
            "tags[7]",
            "line_1",
            "SSN",
            "Ssn[]",
            "%73sn",
            "%2573sn",
            "s%73n",
            "ssn%00x",
            "ssn=1",
            "ssn]",
        ] {
            assert_eq!(names.find(like), Err(LOOKALIKE), "{like:?}");
        }
        for other in [
            "ssn2",
            "%zzssn",
            "100%",
            "customer.ssn",
            "customer[ssn]",
            "card",
            "card[name]",
            "",
            "[]",
            "\0",
            "s sn",
            "ſsn",
        ] {
            assert_eq!(names.find(other), Ok(Named::Other), "{other:?}");
        }
        assert_eq!(names.find("_charset_"), Ok(Named::Charset));
    }

    #[test]
    fn a_name_without_any_step_is_like_no_other() {
        let names = Names::new(["[]"]);
        assert_eq!(names.find("a[]"), Ok(Named::Other));
        assert_eq!(names.find("[]"), Ok(Named::Protected(0)));
    }
}
