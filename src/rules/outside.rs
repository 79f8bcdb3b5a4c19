//! What an action may ask of values outside of JSON, and of tokens within longer text.

use std::collections::HashMap;
use std::ops::Range;

use super::action::{Draft, Shape};
use super::compile::RuleDraft;
use super::fields::Compiled;
use super::file::{ActionEntry, Choice, OnErrorWord};
use super::lint::warn;
use super::place::{Part, Place};
use super::yaml::{At, Reader};
use super::{Binding, Key, KeyPart, OnBad, Rewrite, Verb};
use crate::name::Class;
use crate::report::Findings;

/// Headers that hold a URL: sealed whole, they lead nowhere.
const URLS: [&str; 4] = ["location", "content-location", "link", "refresh"];

/// Reports what has no meaning there.
pub(super) fn check(
    At { value: e, span: item }: &At<ActionEntry>,
    shape: Shape,
    fields: &[Compiled],
    key: &Key,
    reader: &mut Reader<'_>,
) {
    for field in fields.iter().filter(|f| f.place.part() != Part::Json) {
        of_field(e, shape, field, key, reader);
    }
    of_text(e, fields, reader);
    if e.embedded.get() == Some(&true) {
        embedded(e, shape, item, key, reader);
    }
}

fn of_field(e: &ActionEntry, shape: Shape, field: &Compiled, key: &Key, reader: &mut Reader<'_>) {
    let Compiled { place, selector, written, .. } = field;
    let span = &written.span;
    if shape == Shape::Response && !place.is_in_responses() {
        let help = "write it under `request` or a shorthand; a response has headers, cookies and a body";
        reader.error(span, "field-of-requests", format!("no response has a `{selector}`"), help);
    }
    if key.delegated().is_some() {
        let message = format!("the API of this profile does single values of JSON bodies, and `{selector}` is none");
        reader.error(span, "profile-outside", message, "use a partition, or a profile with `granularity: envelope`");
    }
    let seals = matches!(shape, Shape::Protect | Shape::Expose) || e.seal.is_there();
    if let (true, Place::Header(name)) = (seals, place)
        && URLS.contains(&name.as_str())
    {
        let help = "open the tokens in it: `response: [{ open: header:location, embedded: true, class: ssn }]`";
        reader.error(span, "header-unfit", format!("header `{name}` holds a URL, and a token leads nowhere"), help);
    }
    if let (Some(Choice(OnErrorWord(OnBad::Nullify))), Some(option)) = (e.on_error.get(), &e.on_error.span) {
        let message = format!("`{selector}` is text, which has no `null`");
        reader.error(option, "nullify-outside", message, "use `reject`, `pass` or `redact`");
    }
}

/// Options that are about text outside of JSON.
fn of_text(e: &ActionEntry, fields: &[Compiled], reader: &mut Reader<'_>) {
    let any = |is: fn(&Place) -> bool| fields.iter().any(|f| is(&f.place));
    if let (Some(span), false) = (&e.text_type.span, any(|place| place.part() != Part::Json)) {
        let message = "`type` is about text outside of JSON, and this item has none";
        reader.error(span, "option-without-effect", message, "remove it, or name a field such as `query:account`");
    }
    let Some(At { value: Choice(rewrite), span }) = &e.rewrite.value else { return };
    let looks_up = match rewrite {
        Rewrite::Current | Rewrite::Fallback => any(|place| place.part() == Part::Outside),
        Rewrite::All => any(|place| matches!(place, Place::Query(_))),
    };
    if !looks_up {
        let help = "`fallback` is for `query:`, `path:`, `header:` and `cookie:`, `all` for `query:`";
        let message = match rewrite {
            Rewrite::All => "`rewrite: all` asks for both tokens in the query, and this item has no `query:`".into(),
            Rewrite::Current | Rewrite::Fallback => {
                "`rewrite` is about look-ups by query, path, header or cookie, and this item has none".to_owned()
            }
        };
        reader.error(span, "option-without-effect", message, help);
    }
    if *rewrite != Rewrite::Current && e.deterministic.get() != Some(&true) {
        let message = "a random token equals no other, of whatever epoch";
        reader.error(span, "rewrite-random", message, "add `deterministic: true`, or remove `rewrite`");
    }
}

fn embedded(e: &ActionEntry, shape: Shape, item: &Range<usize>, key: &Key, reader: &mut Reader<'_>) {
    let span = e.embedded.span.as_ref().unwrap_or(item);
    if matches!(shape, Shape::Protect | Shape::Expose) || e.seal.is_there() {
        let help = "make an item of it under `request` or `response`: `open: header:location, embedded: true`";
        reader.error(span, "embedded-seals", "`embedded` opens tokens in a text, and this item seals, too", help);
    }
    if key.delegated().is_some() {
        let help = "use a partition, or a profile with `granularity: envelope`";
        reader.error(span, "profile-outside", "the API of this profile does whole values, not tokens in a text", help);
    }
    let meaningless = [
        ("on_plaintext", &e.on_plaintext.span, "text around a token is plaintext"),
        ("parse", &e.parse.span, "text is looked through as it is"),
    ];
    for (option, given, why) in meaningless {
        if let Some(span) = given {
            reader.error(span, "option-without-effect", format!("`{option}` beside `embedded`: {why}"), "remove it");
        }
    }
    if let (Some(Choice(OnErrorWord(OnBad::Nullify))), Some(option)) = (e.on_error.get(), &e.on_error.span) {
        let help = "use `reject`, `pass` or `redact`";
        reader.error(option, "nullify-outside", "a token in a text cannot become `null`", help);
    }
}

/// A segment that names the record, or the partition, and is itself sealed or opened would name another one afterwards.
pub(super) fn segments(drafts: &[Draft], reader: &mut Reader<'_>) {
    let fields = |draft: &Draft| -> Vec<(String, Range<usize>)> {
        let named = draft.action.fields.iter().zip(&draft.fields);
        named
            .filter_map(|(field, written)| match &field.place {
                Place::Segment(name) => Some((name.to_string(), written.span.clone())),
                _ => None,
            })
            .collect()
    };
    let mut seen = Vec::new();
    for (name, span) in drafts.iter().flat_map(fields) {
        let binds = |d: &Draft| matches!(&d.action.bind, Some(Binding::Segment(of)) if *of == name);
        let part = |part: &KeyPart| matches!(part, KeyPart::Segment(of) if *of == name);
        let keys = |d: &Draft| matches!(&d.action.key, Key::Template(parts) if parts.iter().any(part));
        for (code, what, is) in [
            ("bind-selected", "values are bound to", drafts.iter().any(binds)),
            ("key-selected", "the key is made of", drafts.iter().any(keys)),
        ] {
            if is && !seen.contains(&(code, span.clone())) {
                seen.push((code, span.clone()));
                let message = format!("`path:{name}` is what {what}, and would be another when it is sealed or opened");
                reader.error(&span, code, message, "use a segment that no rule seals or opens");
            }
        }
    }
}

/// What loads, but is probably not meant.
pub(super) fn lint(rules: &[RuleDraft], findings: &mut Findings) {
    let sealed = |class: &Class| {
        let seals = |d: &Draft| d.action.verb == Verb::Seal && d.action.fields.iter().any(|f| f.class == *class);
        rules.iter().flat_map(|r| &r.drafts).any(seals)
    };
    let seals_at = |is: &dyn Fn(&Place) -> bool| {
        let seals = |d: &Draft| d.action.verb == Verb::Seal && d.action.fields.iter().any(|f| is(&f.place));
        rules.iter().flat_map(|r| &r.drafts).any(seals)
    };
    let mut types = HashMap::new();
    for (rule, draft) in rules.iter().flat_map(|rule| rule.drafts.iter().map(move |draft| (rule, draft))) {
        let action = &draft.action;
        if action.embedded
            && let Some(field) = action.fields.iter().find(|field| !sealed(&field.class))
        {
            let message = format!(
                "`{}` opens tokens of class `{}` in a text, and no rule here seals that class",
                field.selector, field.class
            );
            warn(findings, draft, "embedded-class", message, "name the class of those tokens: `class: ssn`");
        }
        if action.verb != Verb::Seal || action.part == Part::Json {
            continue;
        }
        for field in &action.fields {
            // A parameter that is a field of a form as well is no look-up.
            let has_twin = match &field.place {
                Place::Query(name) => seals_at(&|place| matches!(place, Place::Form(other) if other == name)),
                Place::Form(name) => seals_at(&|place| matches!(place, Place::Query(other) if other == name)),
                _ => false,
            };
            if let Place::Form(name) = &field.place
                && !has_twin
            {
                let message = format!(
                    "`form:{name}` is sealed and `query:{name}` is not, and many applications take the one for the other: what is \
                     posted with `?{name}=…` goes on in the clear"
                );
                let help = format!("add `query:{name}` beside it");
                warn(findings, draft, "form-by-query", message, &help);
            }
            if field.place.is_in_target() && !action.deterministic && !has_twin {
                let message = format!(
                    "`{}` is sealed with random tokens, which equal none that is stored: such a look-up finds nothing",
                    field.selector
                );
                warn(
                    findings,
                    draft,
                    "lookup-random",
                    message,
                    "add `deterministic: true`, here and where it is stored",
                );
            }
            if let Place::Segment(name) = &field.place
                && rule.matches.paths.iter().any(|p| p.movable_captures().any(|c| c == &**name))
            {
                let message = format!("`{{{name}}}` stands behind `**`, so the sender chooses which segment is sealed");
                warn(findings, draft, "movable-capture", message, "write the segments before it out");
            }
            let first = *types.entry(&field.class).or_insert(action.text);
            if action.deterministic && first != action.text {
                let message = format!(
                    "class `{}` is text of one `type` here and of another elsewhere; their tokens are never equal",
                    field.class
                );
                warn(findings, draft, "type-mixed", message, "make them agree, or give one its own `class`");
            }
        }
    }
}
