//! `key:` — which partition, read from the file and filled from a request.

use std::sync::Arc;

use crate::name::PartitionName;
use crate::token;

use super::glob::wild;
use super::profile::{PerValue, Profile};
use super::route::Captures;
use super::{Key, KeyPart, Words};

/// Why a template gives no partition for a request: 422.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing to fill a placeholder with.
    #[error("the request has nothing for `{{{0}}}`")]
    Missing(String),
    /// A header that stands in the request more than once: which one the application believes is its own affair.
    #[error("the request has header `{0}` more than once")]
    Repeated(String),
    /// The filled name is no partition name.
    #[error("the partition name would be longer than 255 characters")]
    TooLong,
    /// A glob names no one partition.
    #[error("a glob names no one partition")]
    Glob,
}

/// Why a text is no key, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadKey {
    /// A stable word.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub help: &'static str,
}

impl Key {
    /// The partition for a request. A captured value enters percent-encoded, so that no value reaches out of its place.
    pub fn resolve(&self, captures: &Captures, words: &Words<'_>) -> Result<PartitionName, KeyError> {
        let parts = match self {
            Self::Fixed(name) => return Ok(name.clone()),
            Self::Managed(profile) => return Ok(profile.partition.clone()),
            Self::Glob(_) => return Err(KeyError::Glob),
            Self::Template(parts) => parts,
        };
        let mut name = String::new();
        for part in parts {
            match part {
                KeyPart::Text(text) => name.push_str(text),
                KeyPart::Segment(segment) => {
                    let value = captures.iter().find(|(n, _)| n == segment).map(|(_, v)| v.as_bytes());
                    encode(value.unwrap_or_default(), segment, &mut name)?;
                }
                KeyPart::Header(header) => {
                    let mut values = words.headers.get_all(header.as_str()).iter();
                    let value = values.next().map(http::HeaderValue::as_bytes).unwrap_or_default();
                    if values.next().is_some() {
                        return Err(KeyError::Repeated(header.clone()));
                    }
                    encode(value, &format!("header:{header}"), &mut name)?;
                }
            }
            if name.len() > 255 {
                return Err(KeyError::TooLong);
            }
        }
        PartitionName::new(&name).map_err(|_| KeyError::TooLong)
    }

    /// Whether a token of that partition may be opened under this key. A template accepts nothing by itself: resolve it
    /// for the request, and compare with that.
    pub fn accepts(&self, partition: &PartitionName) -> bool {
        match self {
            Self::Fixed(name) => name == partition,
            Self::Managed(profile) => profile.partition == *partition,
            Self::Glob(glob) => wild(glob, partition.as_str()),
            Self::Template(_) => false,
        }
    }

    /// The profile whose API seals the values of this key, if one does.
    pub fn delegated(&self) -> Option<(&Arc<Profile>, &PerValue)> {
        match self {
            Self::Managed(profile) => Some((profile, profile.delegated()?)),
            Self::Fixed(_) | Self::Template(_) | Self::Glob(_) => None,
        }
    }

    /// Whether a text (unescaped) that is to be sealed under this key begins as what comes out of sealing does.
    pub fn looks_sealed(&self, text: &[u8]) -> bool {
        let bare = |api: &PerValue| api.bare && !api.prefix.is_empty() && text.starts_with(api.prefix.as_bytes());
        token::looks_sealed(text) || self.delegated().is_some_and(|(_, api)| bare(api))
    }

    /// Reads a key that names no profile.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let bad = |code, message: String, help| Err(BadKey { code, message, help });
        if text.contains('*') {
            if text.contains(['{', '}']) {
                return bad("key", format!("key `{text}` is both a glob and a template"), "use one or the other");
            }
            return match PartitionName::new(&text.replace('*', "")) {
                Err(error) if text.chars().any(|c| c != '*') => {
                    bad("key", error.to_string(), "beside `*`, a glob holds what a name may hold")
                }
                _ => Ok(Self::Glob(text.to_owned())),
            };
        }
        if !text.contains(['{', '}']) {
            return match PartitionName::new(text) {
                Ok(name) => Ok(Self::Fixed(name)),
                Err(error) => bad("key", error.to_string(), "rename the partition"),
            };
        }
        template(text).map(Self::Template)
    }

    /// The key as a glob over the names it can give.
    pub fn as_glob(&self) -> String {
        match self {
            Self::Fixed(name) => name.to_string(),
            Self::Managed(profile) => profile.partition.to_string(),
            Self::Glob(glob) => glob.clone(),
            Self::Template(parts) => {
                parts.iter().map(|p| if let KeyPart::Text(text) = p { text.as_str() } else { "*" }).collect()
            }
        }
    }
}

fn template(text: &str) -> Result<Vec<KeyPart>, BadKey> {
    let bad = |code, message: String, help| Err(BadKey { code, message, help });
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inside, tail)) = after.split_once('}') else {
            return bad("key", format!("key `{text}` has an unclosed brace"), "close it: `tenant-{tenant}`");
        };
        match (before.is_empty(), parts.is_empty()) {
            (true, true) => {
                let help = "begin with literal text, such as `tenant-{tenant}`, or a request could name any partition";
                return bad("key-prefix", format!("key `{text}` begins with a placeholder"), help);
            }
            (_, false) if !before.contains('.') => {
                let help = "put a `.` between them, or two tenants could meet in one name";
                return bad("key-separator", format!("key `{text}` has two placeholders without a `.` between"), help);
            }
            _ => parts.push(KeyPart::Text(before.to_owned())),
        }
        parts.push(placeholder(inside)?);
        rest = tail;
    }
    if !rest.is_empty() {
        parts.push(KeyPart::Text(rest.to_owned()));
    }
    for part in &parts {
        if let KeyPart::Text(literal) = part
            && PartitionName::new(literal).is_err()
        {
            return bad(
                "key",
                format!("key `{text}` has characters that no partition name has"),
                "use A-Z a-z 0-9 . _ % -",
            );
        }
    }
    Ok(parts)
}

fn placeholder(inside: &str) -> Result<KeyPart, BadKey> {
    let later = |what: &str| BadKey {
        code: "not-yet",
        message: format!("`{{{what}}}` is not available yet"),
        help: "use a path segment or `{header:NAME}`",
    };
    if let Some(name) = inside.strip_prefix("header:") {
        return match http::header::HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => Ok(KeyPart::Header(name.as_str().to_owned())),
            Err(_) => Err(BadKey {
                code: "key",
                message: format!("`{name}` is not a header's name"),
                help: "write `{header:x-tenant}`",
            }),
        };
    }
    match inside {
        "client" | "sni" => Err(later(inside)),
        _ if inside.starts_with("claim:") => Err(later("claim:")),
        _ if inside.is_empty() || inside.contains([':', '{']) => Err(BadKey {
            code: "key",
            message: format!("`{{{inside}}}` is not a placeholder"),
            help: "write `{segment}` for a captured path segment, or `{header:NAME}`",
        }),
        _ => Ok(KeyPart::Segment(inside.to_owned())),
    }
}

fn encode(value: &[u8], what: &str, out: &mut String) -> Result<(), KeyError> {
    if value.is_empty() {
        return Err(KeyError::Missing(what.to_owned()));
    }
    if value.len() > 255 {
        return Err(KeyError::TooLong);
    }
    PartitionName::escape_into(value, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use rstest::rstest;

    fn captured(pairs: &[(&str, &str)]) -> Captures {
        pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()
    }

    #[test]
    fn a_template_is_filled_and_a_value_cannot_leave_its_place() {
        let key = Key::parse("tenant-{tenant}.{header:X-Org}").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-org", "a.b/é".parse().unwrap());
        let name = key.resolve(&captured(&[("tenant", "x.y%z")]), &(&headers).into()).unwrap();
        assert_eq!(name.as_str(), "tenant-x%2Ey%25z.a%2Eb%2F%C3%A9");
    }

    #[test]
    fn what_is_missing_repeated_or_long_is_refused() {
        let key = Key::parse("t-{header:x-org}").unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(key.resolve(&captured(&[]), &(&headers).into()), Err(KeyError::Missing("header:x-org".into())));
        headers.insert("x-org", "".parse().unwrap());
        assert!(key.resolve(&captured(&[]), &(&headers).into()).is_err());
        headers.insert("x-org", "a".parse().unwrap());
        headers.append("x-org", "b".parse().unwrap());
        assert_eq!(key.resolve(&captured(&[]), &(&headers).into()), Err(KeyError::Repeated("x-org".into())));
        let key = Key::parse("t-{id}").unwrap();
        assert!(key.resolve(&captured(&[("id", &"x".repeat(253))]), &(&headers).into()).is_ok());
        assert_eq!(key.resolve(&captured(&[("id", &"x".repeat(254))]), &(&headers).into()), Err(KeyError::TooLong));
        assert_eq!(key.resolve(&captured(&[("id", &"é".repeat(50))]), &(&headers).into()), Err(KeyError::TooLong));
    }

    #[rstest]
    #[case("{tenant}", "key-prefix")]
    #[case("t-{a}{b}", "key-separator")]
    #[case("t-{a}-{b}", "key-separator")]
    #[case("t-{client}", "not-yet")]
    #[case("t-{sni}", "not-yet")]
    #[case("t-{claim:org}", "not-yet")]
    #[case("t-{query:org}", "key")]
    #[case("t-{}", "key")]
    #[case("t-{a", "key")]
    #[case("t-a}", "key")]
    #[case("t {a}", "key")]
    #[case("t-{a}*", "key")]
    #[case("a b", "key")]
    #[case("", "key")]
    #[case("ten ant*", "key")]
    #[case("t-{header:a b}", "key")]
    fn bad_keys(#[case] text: &str, #[case] code: &str) {
        assert_eq!(Key::parse(text).unwrap_err().code, code);
    }

    #[test]
    fn a_key_accepts_its_own_partition_only() {
        let name = |n: &str| PartitionName::new(n).unwrap();
        assert!(Key::parse("tenant-*").unwrap().accepts(&name("tenant-7")));
        assert!(!Key::parse("tenant-*").unwrap().accepts(&name("tenant")));
        assert!(Key::parse("a").unwrap().accepts(&name("a")) && !Key::parse("a").unwrap().accepts(&name("b")));
        assert!(!Key::parse("t-{x}").unwrap().accepts(&name("t-1")));
        assert_eq!(Key::parse("t-{x}.y").unwrap().as_glob(), "t-*.y");
    }
}
