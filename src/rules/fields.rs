//! The selectors of an item: what they compile to, their classes, and what their values are bound to.

use std::ops::Range;
use std::sync::Arc;

use crate::jsonpath::{self, Path, SelectorError};
use crate::metrics::FieldCounters;
use crate::name::Class;

use super::action::InRule;
use super::file::Given;
use super::yaml::{At, Reader};
use super::{Binding, Field};

/// A field with what only the checks need.
pub(super) struct Compiled {
    path: Arc<Path>,
    inside: Option<Arc<Path>>,
    class: Class,
    selector: Arc<str>,
    pub place: Place,
}

/// Where a field was written, and its paths in canonical form.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub span: Range<usize>,
    pub canonical: String,
    /// Of its path within the strings that are parsed.
    pub inside: Option<String>,
}

impl Compiled {
    pub fn field(&self) -> Field {
        Field {
            path: Arc::clone(&self.path),
            inside: self.inside.clone(),
            class: self.class.clone(),
            selector: Arc::clone(&self.selector),
            counters: FieldCounters::default(),
        }
    }
}

/// With `inside`, one field for each of its selectors in what each of `selectors` selects.
pub(super) fn compile(
    selectors: &[At<String>],
    inside: Option<&[At<String>]>,
    class: Option<&str>,
    reader: &mut Reader<'_>,
) -> Vec<Compiled> {
    let outer = paths(selectors, reader);
    let Some(inside) = inside else {
        return classed(outer, class, reader)
            .into_iter()
            .map(|(One { text, span, of }, class)| Compiled {
                path: of.path,
                inside: None,
                class,
                selector: text.as_str().into(),
                place: Place { span: span.clone(), canonical: of.canonical, inside: None },
            })
            .collect();
    };
    let inner = paths(inside, reader);
    let inner = classed(inner, class, reader);
    let pair = |outer: &One<'_>, (inner, class): &(One<'_>, Class)| Compiled {
        path: Arc::clone(&outer.of.path),
        inside: Some(Arc::clone(&inner.of.path)),
        class: class.clone(),
        selector: format!("{} > {}", outer.text, inner.text).into(),
        place: Place {
            span: inner.span.clone(),
            canonical: outer.of.canonical.clone(),
            inside: Some(inner.of.canonical.clone()),
        },
    };
    outer.iter().flat_map(|outer| inner.iter().map(|inner| pair(outer, inner))).collect()
}

/// The paths within parsed strings, which are the same for each path that selects such strings.
pub(super) fn inside(fields: &[Compiled]) -> Vec<Arc<Path>> {
    let Some(first) = fields.first() else { return Vec::new() };
    // A path may stand there twice, as `$.a` and `$['a']`; then so do its fields, in the same order.
    let outer = Arc::as_ptr(&first.path);
    fields.iter().take_while(|f| Arc::as_ptr(&f.path) == outer).filter_map(|f| f.inside.clone()).collect()
}

/// One path of a selector as written.
struct One<'a> {
    text: &'a String,
    span: &'a Range<usize>,
    of: jsonpath::Compiled,
}

fn paths<'a>(selectors: &'a [At<String>], reader: &mut Reader<'_>) -> Vec<One<'a>> {
    let mut all = Vec::new();
    for At { value: text, span } in selectors {
        for kind in ["query", "path", "header", "cookie", "form"] {
            if text.strip_prefix(kind).is_some_and(|rest| rest.starts_with(':')) {
                let message = format!("fields outside the body (`{kind}:`) are not available yet");
                reader.error(span, "not-yet", message, "select values of the body, with a JSONPath such as `$..ssn`");
            }
        }
        if ["query:", "path:", "header:", "cookie:", "form:"].iter().any(|p| text.starts_with(p)) {
            continue;
        }
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
                    "a selector begins with `$`, such as `$.customer.ssn` or `$..ssn`"
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
        // Of what is parsed, `@` and `$` are the text's.
        let path = field.inside.as_mut().unwrap_or(&mut field.path);
        if text.starts_with('@') && !path.selects_members() {
            let message =
                format!("`{}` selects elements of arrays, and `@` is the object that holds a value", field.selector);
            reader.error(span, "bind", message, "bind to a value from `$`, or select members by name");
        }
        *path = Arc::new(path.bound(bind.clone()));
    }
    Some(Binding::Value(text.as_str().into()))
}
