//! YAML with a place for every node, so that one pass over a file reports all of its problems.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::report::{Finding, Findings, Source};

/// A value and the bytes of the file it stands in.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub span: Range<usize>,
}

/// Any YAML value with its place.
pub type Node = At<Yaml>;

/// A YAML value.
#[derive(Debug, Clone, PartialEq)]
pub enum Yaml {
    /// `null`, `~`, or nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Vec<(At<String>, Node)>),
}

impl Yaml {
    /// The value as an operator would call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// The same as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Number(n) => Value::Number(n.clone()),
            Self::Text(t) => Value::String(t.clone()),
            Self::List(items) => Value::Array(items.iter().map(|i| i.value.to_json()).collect()),
            Self::Map(entries) => {
                Value::Object(entries.iter().map(|(k, v)| (k.value.clone(), v.value.to_json())).collect())
            }
        }
    }
}

/// Where problems go while one file is read.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The file.
    pub source: &'a Source,
    /// What was found.
    pub findings: &'a mut Findings,
}

impl Reader<'_> {
    /// An error at a place.
    pub fn error(&mut self, span: &Range<usize>, code: &'static str, message: impl Into<String>, help: &str) {
        let finding = Finding::error(code, message).at(self.source, span.clone());
        self.findings.push(if help.is_empty() { finding } else { finding.help(help) });
    }

    /// A warning at a place.
    pub fn warn(&mut self, span: &Range<usize>, code: &'static str, message: impl Into<String>, help: &str) {
        self.findings.push(Finding::warning(code, message).at(self.source, span.clone()).help(help));
    }
}

/// Nesting of a file; reading recurses, and a level takes about 20 KB of stack unoptimised.
const MAX_DEPTH: usize = 32;

/// Parses one document; the error is the first syntax error, since nothing after it can be trusted.
pub fn parse(source: &Source) -> Result<Node, Finding> {
    // YAML 1.2 as written: `no` is text, `007` is not seven.
    let mut options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true
    };
    if let Some(budget) = &mut options.budget {
        budget.max_depth = MAX_DEPTH;
    }
    options.alias_limits.max_total_replayed_events = 100_000;
    let text = &*source.text;
    match serde_saphyr::from_str_with_options::<Raw>(text, options) {
        Ok(raw) => Ok(raw.0),
        Err(error) => {
            let error = error.without_snippet();
            let message = error.to_string();
            // The place is shown by the finding; the library's own " at line …" would say it twice.
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(m, _)| m).to_owned();
            // The library's way out is for who writes programs.
            let twice = message.strip_prefix("duplicate mapping key: ").and_then(|rest| rest.split_once(", set "));
            let finding = match twice {
                Some((key, _)) => Finding::error("duplicate-key", format!("`{key}` is written twice")).help("keep one"),
                None => Finding::error("yaml", message).help("fix the YAML here; nothing after it was read"),
            };
            Err(match error.location().map(|l| place_of(&l, text).map_or_else(|| range(&l, text), |at| at..at)) {
                Some(span) => finding.at(source, span),
                None => finding.at(source, 0..0),
            })
        }
    }
}

/// The closest of `known`, if it is close enough to be what was meant.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (distance(&word.to_lowercase(), k), k))
        .filter(|(d, k)| *d <= (k.len() / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

struct Raw(Node);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Bare>::deserialize(deserializer)?;
        let span = byte_range(&spanned.referenced);
        Ok(Self(At { value: spanned.value.0, span }))
    }
}

struct Bare(Yaml);

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Bare;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_bool<E>(self, v: bool) -> Result<Bare, E> {
                Ok(Bare(Yaml::Bool(v)))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Bare, E> {
                Ok(Bare(Yaml::Number(v.into())))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Bare, E> {
                Ok(Bare(Yaml::Number(v.into())))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Bare, E> {
                serde_json::Number::from_f64(v)
                    .map(|n| Bare(Yaml::Number(n)))
                    .ok_or_else(|| E::custom("a number that JSON cannot hold"))
            }
            fn visit_str<E>(self, v: &str) -> Result<Bare, E> {
                Ok(Bare(Yaml::Text(v.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Bare, E> {
                Ok(Bare(Yaml::Null))
            }
            fn visit_none<E>(self) -> Result<Bare, E> {
                Ok(Bare(Yaml::Null))
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bare, D::Error> {
                Bare::deserialize(deserializer)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bare, A::Error> {
                let mut items = Vec::new();
                while let Some(Raw(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Bare(Yaml::List(items)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bare, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    let Raw(value) = map.next_value()?;
                    let span = byte_range(&key.referenced);
                    entries.push((At { value: key.value, span }, value));
                }
                Ok(Bare(Yaml::Map(entries)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn byte_range(location: &Location) -> Range<usize> {
    let span = location.span();
    let start = span.byte_offset().and_then(|o| usize::try_from(o).ok()).unwrap_or(0);
    let len = span.byte_len().and_then(|l| usize::try_from(l).ok()).unwrap_or(0);
    start..start.saturating_add(len)
}

/// A range that lies in the text on character boundaries, whatever the parser said about an error at the very end.
fn range(location: &Location, text: &str) -> Range<usize> {
    let span = byte_range(location);
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

/// Errors of the parser itself come with a line and a column (in characters) only.
fn place_of(location: &Location, text: &str) -> Option<usize> {
    if location.span().byte_offset().is_some() {
        return None;
    }
    let line = usize::try_from(location.line()).ok()?.checked_sub(1)?;
    let column = usize::try_from(location.column()).ok()?.checked_sub(1)?;
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let within = text.get(before..)?.lines().next().unwrap_or("").chars().take(column).map(char::len_utf8);
    Some((before + within.sum::<usize>()).min(text.trim_end().len()))
}

/// Levenshtein distance; words here are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut last = i + 1;
        let mut next = vec![last];
        for ((cb, above_left), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            last = (above_left + usize::from(ca != *cb)).min(above + 1).min(last + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { name: "t.yaml".into(), text: text.into() }
    }

    #[test]
    fn every_node_has_its_place() {
        let text = "a: [1, é, null]\nb:\n  - c: true\n    d: \"x y\"\n";
        let node = parse(&source(text)).unwrap();
        let Yaml::Map(entries) = &node.value else { panic!() };
        assert_eq!(text.get(entries[0].0.span.clone()), Some("a"));
        let Yaml::List(items) = &entries[0].1.value else { panic!() };
        assert_eq!(text.get(items[1].span.clone()), Some("é"));
        assert_eq!(items[2].value, Yaml::Null);
        assert_eq!(text.get(items[2].span.clone()), Some("null"));
        let Yaml::List(items) = &entries[1].1.value else { panic!() };
        let Yaml::Map(inner) = &items[0].value else { panic!() };
        assert_eq!(inner[0].1.value, Yaml::Bool(true));
        assert_eq!(text.get(inner[1].1.span.clone()), Some("\"x y\""));
    }

    #[test]
    fn a_syntax_error_has_a_place_and_no_place_twice() {
        for text in ["a: [1\n", "a: 1\na: 2\n", "a: \"é\n", "- a\nb: c"] {
            let finding = parse(&source(text)).unwrap_err();
            assert!(finding.place.is_some() && !finding.message.contains("at line"), "{finding}");
            assert!(finding.to_string().contains("t.yaml"));
        }
    }

    #[test]
    fn a_syntax_error_is_shown_where_it_is() {
        for (text, place) in [
            ("rules:\n  - name: é\n    match: { path: /x }\n      foo: 1\n", "t.yaml:4:7"),
            ("a: 1\nb: [1\nc: 2\n", "t.yaml:3:"),
        ] {
            let shown = parse(&source(text)).unwrap_err().to_string();
            assert!(shown.contains(place), "{shown}");
        }
    }

    #[test]
    fn aliases_cannot_blow_up() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..9 {
            let p = i - 1;
            text.push_str(&format!("a{i}: &a{i} [*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p}]\n"));
        }
        assert!(parse(&source(&text)).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(50_000)] {
            assert!(parse(&source(&text)).is_err());
        }
        let mut block = String::new();
        for depth in 0..1_000 {
            block.push_str(&format!("{}a:\n", " ".repeat(depth)));
        }
        assert!(parse(&source(&block)).is_err());
    }

    #[test]
    fn words_and_codes_stay_text() {
        for text in ["no", "on", "n", "007", "1_000", "12:30"] {
            assert_eq!(parse(&source(text)).unwrap().value, Yaml::Text(text.into()));
        }
    }

    #[test]
    fn a_near_miss_is_named() {
        assert_eq!(closest("feilds", ["fields", "key"]), Some("fields"));
        assert_eq!(closest("mod", ["mode", "key"]), Some("mode"));
        assert_eq!(closest("zebra", ["fields", "key"]), None);
    }
}
