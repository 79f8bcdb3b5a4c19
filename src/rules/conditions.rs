//! `match`: from the file to a [`Match`].

use std::ops::Range;

use http::header::HeaderName;

use super::compile::Context;
use super::file::{Given, Many, MatchEntry};
use super::glob::PathPattern;
use super::route::Match;
use super::yaml::{self, At, Reader};

/// Compiles the conditions of a rule.
pub(super) fn compile(
    given: &Given<MatchEntry>,
    rule: &Range<usize>,
    context: &Context,
    reader: &mut Reader<'_>,
) -> Match {
    let help = "say which requests it meets: `match: { path: /customers/** }`";
    let Some(m) = given.get() else {
        if !given.is_there() {
            reader.error(rule, "no-path", "a rule without `match`", help);
        }
        return Match::default();
    };
    if let (false, Some(span)) = (m.path.is_there(), &given.span) {
        reader.error(span, "no-path", "a rule without `match.path`", help);
    }
    let patterns = |given: &Given<Many>, reader: &mut Reader<'_>| -> Vec<PathPattern> {
        let mut all = Vec::new();
        for At { value, span } in texts(given) {
            match PathPattern::parse(value) {
                Ok(pattern) => all.push(pattern),
                Err(bad) => reader.error(span, "path-pattern", bad.message, bad.help),
            }
        }
        all
    };
    let paths = patterns(&m.path, reader);
    let except = patterns(&m.except, reader);
    for At { value, span } in texts(&m.method) {
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
            reader.error(span, "method", format!("`{value}` is not a request method"), "write `POST`, or a list");
        }
    }
    for At { value, span } in texts(&m.listener) {
        if !context.listeners.is_empty() && !context.listeners.contains(value) {
            let close = yaml::closest(value, context.listeners.iter().map(String::as_str));
            let help = match close {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("the listeners are {}", context.listeners.join(", ")),
            };
            reader.error(span, "listener", format!("there is no listener `{value}`"), &help);
        }
    }
    let mut headers = Vec::new();
    for (name, glob) in m.header.get().map_or(&[][..], |p| p.0.as_slice()) {
        match HeaderName::from_bytes(name.value.as_bytes()) {
            Ok(header) => headers.push((header, glob.value.clone())),
            Err(_) => reader.error(&name.span, "header", format!("`{}` is not a header's name", name.value), "fix it"),
        }
    }
    let mut statuses = Vec::new();
    for At { value, span } in m.status.get().map_or(&[][..], |s| s.0.as_slice()) {
        match status(value) {
            Some(range) => statuses.push(range),
            None => reader.error(span, "status", format!("`{value}` is not a status"), "write `404`, `2xx`, or a list"),
        }
    }
    let lower = |given: &Given<Many>| texts(given).iter().map(|t| t.value.to_ascii_lowercase()).collect();
    Match {
        paths,
        except,
        methods: texts(&m.method).iter().map(|t| t.value.to_ascii_uppercase()).collect(),
        listeners: texts(&m.listener).iter().map(|t| t.value.clone()).collect(),
        hosts: lower(&m.host),
        clients: texts(&m.client).iter().map(|t| t.value.clone()).collect(),
        headers,
        statuses,
        content_types: lower(&m.content_type),
    }
}

fn status(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|c| (1..=5).contains(c))?;
        return Some((class * 100, class * 100 + 99));
    }
    let status: u16 = text.parse().ok().filter(|s| (100..=599).contains(s))?;
    Some((status, status))
}

/// The texts of an option, none if it is not there.
pub(super) fn texts(given: &Given<Many>) -> &[At<String>] {
    given.get().map_or(&[][..], |m| m.0.as_slice())
}
