//! The selectors of an item: what they compile to, their classes, and what their values are bound to.

use std::ops::Range;
use std::sync::Arc;

use crate::jsonpath::{self, Path, SelectorError};
use crate::metrics::FieldCounters;
use crate::metrics::rollout::Kept;
use crate::name::Class;

use super::action::InRule;
use super::file::Given;
use super::place::Place;
use super::yaml::{At, Reader};
use super::{Binding, Field};

/// A field with what only the checks need.
pub(super) struct Compiled {
    pub place: Place,
    inside: Option<Arc<Path>>,
    class: Class,
    pub selector: Arc<str>,
    pub written: Written,
}

/// Where a field was written, and its place in canonical form.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub span: Range<usize>,
    pub canonical: String,
    /// Of its path within the strings that are parsed.
    pub inside: Option<String>,
}

impl Compiled {
    pub fn field(&self) -> Field {
        Field {
            place: self.place.clone(),
            inside: self.inside.clone(),
            class: self.class.clone(),
            selector: Arc::clone(&self.selector),
            counters: FieldCounters::default(),
            stats: Kept::default(),
        }
    }
}

/// With `inside`, one field for each of its selectors in what each of `selectors` selects.
pub(super) fn compile(
    selectors: &[At<String>],
    inside: Option<&[At<String>]>,
    class: Option<&str>,
    rule: &InRule<'_>,
    reader: &mut Reader<'_>,
) -> Vec<Compiled> {
    let is_outside = |one: &&At<String>| Place::parse(&one.value, rule.paths).is_some();
    let (outside, json): (Vec<_>, Vec<_>) = selectors.iter().partition(is_outside);
    let outer = paths(json, reader);
    let Some(inside) = inside else {
        let json = classed(outer, class, reader).into_iter().map(|(One { text, span, of }, class)| Compiled {
            place: Place::Json(of.path),
            inside: None,
            class,
            selector: text.as_str().into(),
            written: Written { span: span.clone(), canonical: of.canonical, inside: None },
        });
        let mut all: Vec<_> = json.collect();
        all.extend(outside.into_iter().filter_map(|one| of_place(one, class, rule, reader)));
        return all;
    };
    for At { value, span } in outside {
        let help = "select strings of the body, or make an item of its own for it";
        reader.error(span, "parse-outside", format!("`parse` reads strings of JSON, and `{value}` is none"), help);
    }
    let inner = paths(inside.iter().collect(), reader);
    let inner = classed(inner, class, reader);
    let pair = |outer: &One<'_>, (inner, class): &(One<'_>, Class)| Compiled {
        place: Place::Json(Arc::clone(&outer.of.path)),
        inside: Some(Arc::clone(&inner.of.path)),
        class: class.clone(),
        selector: format!("{} > {}", outer.text, inner.text).into(),
        written: Written {
            span: inner.span.clone(),
            canonical: outer.of.canonical.clone(),
            inside: Some(inner.of.canonical.clone()),
        },
    };
    outer.iter().flat_map(|outer| inner.iter().map(|inner| pair(outer, inner))).collect()
}

/// A field outside of JSON.
fn of_place(
    At { value: text, span }: &At<String>,
    class: Option<&str>,
    rule: &InRule<'_>,
    reader: &mut Reader<'_>,
) -> Option<Compiled> {
    let place = match Place::parse(text, rule.paths)? {
        Ok(place) => place,
        Err(bad) => {
            reader.error(span, bad.code, bad.message, &bad.help);
            return None;
        }
    };
    let class = Class::new(class.or_else(|| place.name())?);
    let written = Written { span: span.clone(), canonical: place.to_string(), inside: None };
    Some(Compiled { place, inside: None, class, selector: text.as_str().into(), written })
}

/// The paths within parsed strings, which are the same for each path that selects such strings.
pub(super) fn inside(fields: &[&Compiled]) -> Vec<Arc<Path>> {
    let Some(first) = fields.first() else { return Vec::new() };
    // A path may stand there twice, as `$.a` and `$['a']`; then so do its fields, in the same order.
    let path = |field: &Compiled| if let Place::Json(path) = &field.place { Some(Arc::as_ptr(path)) } else { None };
    let outer = path(first);
    fields.iter().take_while(|f| path(f) == outer).filter_map(|f| f.inside.clone()).collect()
}

/// One path of a selector as written.
struct One<'a> {
    text: &'a String,
    span: &'a Range<usize>,
    of: jsonpath::Compiled,
}

fn paths<'a>(selectors: Vec<&'a At<String>>, reader: &mut Reader<'_>) -> Vec<One<'a>> {
    let mut all = Vec::new();
    for At { value: text, span } in selectors {
        match jsonpath::compile(text) {
            Ok(compiled) => all.extend(compiled.into_iter().map(|of| One { text, span, of })),
            Err(error @ SelectorError::NotYet(_)) => {
                let help = "select in fewer steps, with `..` for instance";
                reader.error(span, "not-yet", format!("selector `{text}`: {error}"), help);
            }
            Err(error @ (SelectorError::Invalid(_) | SelectorError::NotSingular)) => {
                let help = if text.starts_with('$') {
                    "see RFC 9535; names with other than letters, digits and `_` are written `['like-this']`"
                } else {
                    "a selector begins with `$`, such as `$..ssn`, or is `query:NAME`, `path:NAME`, `header:NAME`, `cookie:NAME` or `form:NAME`"
                };
                reader.error(span, "selector", format!("selector `{text}`: {error}"), help);
            }
        }
    }
    all
}

/// The paths that have a class.
fn classed<'a>(paths: Vec<One<'a>>, class: Option<&str>, reader: &mut Reader<'_>) -> Vec<(One<'a>, Class)> {
    let mut all = Vec::with_capacity(paths.len());
    for one in paths {
        match class.or(one.of.last_name.as_deref()) {
            Some(name) => {
                let class = Class::new(name);
                all.push((one, class));
            }
            None => {
                let message = format!("selector `{}` has no name to take the class from", one.text);
                reader.error(one.span, "class", message, "name the logical field: `class: ssn`");
            }
        }
    }
    all
}

/// What the values are bound to; the paths of `fields` are told.
pub(super) fn bind(
    given: &Given<String>,
    fields: &mut [Compiled],
    rule: &InRule<'_>,
    reader: &mut Reader<'_>,
) -> Option<Binding> {
    let At { value: text, span } = given.value.as_ref()?;
    if let Some(name) = text.strip_prefix("path:") {
        for pattern in rule.paths.iter().filter(|pattern| !pattern.captures().any(|c| c == name)) {
            let message = format!("bind `{text}`: path pattern `{}` captures no `{{{name}}}`", pattern.text);
            reader.error(span, "bind", message, &format!("write `{{{name}}}` for one of its segments"));
        }
        return Some(Binding::Segment(name.to_owned()));
    }
    let help = "write `\"@.id\"` for a member of the object that holds the value, `\"$.customer.id\"`, or `path:NAME`";
    let bind = match jsonpath::compile_bind(text) {
        Ok(bind) => bind,
        Err(error) => {
            reader.error(span, "bind", format!("bind `{text}`: {error}"), help);
            return None;
        }
    };
    for field in fields {
        let Place::Json(path) = &mut field.place else {
            let message = format!("`{}` stands outside of JSON, where `{text}` finds nothing", field.selector);
            reader.error(span, "bind-outside", message, "bind to a segment of the path: `path:NAME`");
            continue;
        };
        // Of what is parsed, `@` and `$` are the text's.
        let path = field.inside.as_mut().unwrap_or(path);
        if text.starts_with('@') && !path.selects_members() {
            let message =
                format!("`{}` selects elements of arrays, and `@` is the object that holds a value", field.selector);
            reader.error(span, "bind", message, "bind to a value from `$`, or select members by name");
        }
        *path = Arc::new(path.bound(bind.clone()));
    }
    Some(Binding::Value(text.as_str().into()))
}
