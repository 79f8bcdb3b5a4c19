//! One action: its options, their defaults, and which of them may stand together.

use std::ops::Range;
use std::sync::Arc;

use crate::jsonpath::Selectors;
use crate::name::PartitionName;
use crate::report::Source;
use crate::token::Suite;

use super::fields::{self, Compiled, Written};
use super::file::{ActionEntry, Choice, Given, Many, Nulls, OnErrorWord, OnPlaintextWord};
use super::glob::PathPattern;
use super::outside;
use super::place::Part;
use super::profile::Profile;
use super::yaml::{At, Reader};
use super::{Action, Key, KeyPart, Mode, OnBad, OnToken, Reveal, Rewrite, TextType, Verb};

/// Where an action was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Protect,
    Expose,
    Request,
    Response,
}

/// A half of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// An action with what only the checks need.
#[derive(Debug)]
pub(super) struct Draft {
    pub action: Action,
    pub direction: Direction,
    pub source: Source,
    /// Of each field.
    pub fields: Vec<Written>,
    pub span: Range<usize>,
    pub key_span: Range<usize>,
    pub format: Option<At<String>>,
}

/// What an action takes from its rule.
pub(super) struct InRule<'a> {
    pub name: &'a Arc<str>,
    pub mode: Option<Mode>,
    pub paths: &'a [PathPattern],
    pub profiles: &'a [Arc<Profile>],
}

/// What one item does in which half.
pub(super) type Halves = Vec<(Direction, Verb)>;

/// Compiles one item of `protect`, `expose`, `request` or `response` into an action for each half and each part of a message.
pub(super) fn compile(entry: &At<ActionEntry>, shape: Shape, rule: &InRule<'_>, reader: &mut Reader<'_>) -> Vec<Draft> {
    let Some((selectors, halves)) = halves(entry, shape, reader) else { return Vec::new() };
    let seals = halves.iter().any(|(_, verb)| *verb == Verb::Seal);
    let opens = halves.iter().any(|(_, verb)| *verb == Verb::Open);
    let e = &entry.value;
    misplaced(e, seals, opens, reader);
    contradictions(e, reader);
    let inside = inside(e, reader);
    let mut fields = fields::compile(selectors, inside, e.class.get().map(String::as_str), rule, reader);
    let bind = fields::bind(&e.bind, &mut fields, rule, reader);
    let (key, key_span) = key(&e.key, seals, rule, reader);
    if let Some((profile, api)) = key.delegated() {
        let span = if key_span.is_empty() { &entry.span } else { &key_span };
        super::delegated::check(e, (profile, api), seals, span, reader);
    }
    outside::check(entry, shape, &fields, &key, reader);
    let reveal = reveal(&e.reveal, reader);
    let signers = signers(&e.signers, reader);
    let suite = suite(e, reader);
    positive(&e.pad, 1 << 20, reader);
    positive(&e.max_length, usize::MAX, reader);
    positive(&e.max_value, 1 << 30, reader);

    let make = |(direction, verb): &(Direction, Verb), part: Part| {
        // A response has no target, and seldom is a form.
        let there = |f: &&Compiled| {
            *direction == Direction::Request
                || f.place.is_answered()
                || (halves.len() == 1 && f.place.is_in_responses())
        };
        let fields: Vec<&Compiled> = fields.iter().filter(|f| f.place.part() == part).filter(there).collect();
        let shorthand = halves.len() == 2;
        let opening = *verb == Verb::Open;
        let on_error = e.on_error.get().map_or(OnBad::Reject, |Choice(OnErrorWord(w))| *w);
        let action = Action {
            rule: Arc::clone(rule.name),
            verb: *verb,
            part,
            fields: fields.iter().map(|f| f.field()).collect(),
            inside: inside.map(|_| Selectors::new(&fields::inside(&fields))),
            key: key.clone(),
            mode: e.mode.get().map(|c| c.0).or(rule.mode).unwrap_or(Mode::Enforce),
            deterministic: given(&e.deterministic),
            sign: given(&e.sign),
            signers: signers.clone(),
            bind: bind.clone(),
            seal_nulls: e.nulls.get() == Some(&Choice(Nulls::Seal)),
            pad: e.pad.get().copied(),
            required: given(&e.required) && !(shorthand && *direction == Direction::Response),
            max_length: e.max_length.get().copied(),
            max_value: e.max_value.get().copied(),
            on_error: if shorthand && !opening { OnBad::Reject } else { on_error },
            on_plaintext: e.on_plaintext.get().map_or(OnBad::Reject, |Choice(OnPlaintextWord(w))| *w),
            on_token: e.on_token.get().map_or(OnToken::Reject, |c| c.0),
            reveal: if opening { reveal } else { Reveal::Plain },
            refuses_masked: false,
            format_refuses: e.format.get().is_some_and(|format| !token_passes(format)),
            suite,
            text: e.text_type.get().map_or(TextType::String, |c| c.0),
            rewrite: e.rewrite.get().map_or(Rewrite::Current, |c| c.0),
            embedded: given(&e.embedded),
            keeps_links: !e.on_token.is_there(),
        };
        let written = fields.iter().map(|f| f.written.clone()).collect();
        (!fields.is_empty()).then(|| Draft {
            action,
            direction: *direction,
            source: reader.source.clone(),
            fields: written,
            span: entry.span.clone(),
            key_span: key_span.clone(),
            format: e.format.value.clone(),
        })
    };
    let parts = [Part::Json, Part::Form, Part::Outside];
    halves.iter().flat_map(|half| parts.map(|part| make(half, part))).flatten().collect()
}

/// The selectors, and which half does what with them.
fn halves<'a>(entry: &'a At<ActionEntry>, shape: Shape, reader: &mut Reader<'_>) -> Option<(&'a [At<String>], Halves)> {
    let ActionEntry { fields, seal, open, .. } = &entry.value;
    let (allowed, stray, verbs): (Vec<&Given<Many>>, Vec<&Given<Many>>, _) = match shape {
        Shape::Protect => {
            (vec![fields], vec![seal, open], [(Direction::Request, Verb::Seal), (Direction::Response, Verb::Open)])
        }
        Shape::Expose => {
            (vec![fields], vec![seal, open], [(Direction::Request, Verb::Open), (Direction::Response, Verb::Seal)])
        }
        Shape::Request => {
            (vec![seal, open], vec![fields], [(Direction::Request, Verb::Seal), (Direction::Request, Verb::Open)])
        }
        Shape::Response => {
            (vec![seal, open], vec![fields], [(Direction::Response, Verb::Seal), (Direction::Response, Verb::Open)])
        }
    };
    let shorthand = matches!(shape, Shape::Protect | Shape::Expose);
    for span in stray.iter().filter_map(|g| g.span.as_ref()) {
        let (message, help) = if shorthand {
            ("`seal` and `open` belong under `request` or `response`", "write `fields:` here")
        } else {
            ("`fields` belongs under `protect` or `expose`", "write `seal:` or `open:` here")
        };
        reader.error(span, "misplaced", message, help);
    }
    let there: Vec<usize> = (0..allowed.len()).filter(|i| allowed.get(*i).is_some_and(|g| g.is_there())).collect();
    let [only] = there.as_slice() else {
        if there.len() > 1 {
            reader.error(&entry.span, "seal-and-open", "an item both seals and opens", "make two items of it");
        } else if !stray.iter().any(|g| g.is_there()) {
            let (message, help) = if shorthand {
                ("no `fields`", "name the values: `fields: [\"$..ssn\"]`")
            } else {
                ("neither `seal` nor `open`", "name the values: `seal: [\"$.ssn\"]`")
            };
            reader.error(&entry.span, "no-fields", message, help);
        }
        return None;
    };
    let selectors = allowed.get(*only)?.get()?.0.as_slice();
    let verbs = if shorthand { verbs.to_vec() } else { verbs.into_iter().skip(*only).take(1).collect() };
    Some((selectors, verbs))
}

/// The selectors within what `parse` reads. Neither means anything without the other.
fn inside<'a>(e: &'a ActionEntry, reader: &mut Reader<'_>) -> Option<&'a [At<String>]> {
    match (&e.parse.span, &e.inside.span) {
        (None, Some(span)) => {
            let help = "add `parse: json`, with the strings that hold JSON as the item's other selectors";
            reader.error(span, "inside-without-parse", "`inside` selects in strings that `parse` reads", help);
        }
        (Some(span), None) => {
            let help = "name the values within the text: `inside: [\"$..ssn\"]`";
            reader.error(span, "parse-without-inside", "`parse` without `inside` selects nothing", help);
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
    e.inside.get().filter(|_| e.parse.get().is_some()).map(|many| many.0.as_slice())
}

/// Options that say nothing about what this item does: ignoring them would leave the operator believing in them.
fn misplaced(e: &ActionEntry, seals: bool, opens: bool, reader: &mut Reader<'_>) {
    let sealing: [(&str, &Option<Range<usize>>); 7] = [
        ("pad", &e.pad.span),
        ("max_length", &e.max_length.span),
        ("on_token", &e.on_token.span),
        ("suite", &e.suite.span),
        ("format", &e.format.span),
        ("type", &e.text_type.span),
        ("rewrite", &e.rewrite.span),
    ];
    let opening = [("on_plaintext", &e.on_plaintext.span), ("reveal", &e.reveal.span), ("signers", &e.signers.span)];
    let unused = sealing.into_iter().filter(|_| !seals).map(|o| (o, "sealing", "opens"));
    let unused = unused.chain(opening.into_iter().filter(|_| !opens).map(|o| (o, "opening", "seals")));
    for ((name, span), about, does) in unused {
        if let Some(span) = span {
            let message = format!("`{name}` is about {about}, and this item only {does}");
            reader.error(span, "option-without-effect", message, "remove it, or move it to the item that it is about");
        }
    }
    if let (false, Some(Choice(OnErrorWord(OnBad::Redact | OnBad::Nullify)))) = (opens, e.on_error.get())
        && let Some(span) = &e.on_error.span
    {
        let help = "for sealing use `reject` or `pass` (plaintext goes through)";
        reader.error(span, "destroys-data", "where a value cannot be sealed, this would destroy it", help);
    }
}

fn contradictions(e: &ActionEntry, reader: &mut Reader<'_>) {
    if given(&e.deterministic) {
        if let (true, Some(span)) = (given(&e.sign), &e.sign.span) {
            let message = "`sign` and `deterministic` exclude each other: a signature is never the same twice";
            reader.error(span, "deterministic-sign", message, "keep one of them");
        }
        if let Some(span) = &e.bind.span {
            let message = "`bind` and `deterministic` exclude each other: a bound token equals none of another record";
            reader.error(span, "deterministic-bind", message, "keep one of them");
        }
        if let Some(span) = &e.suite.span {
            let message = "`suite` is about random tokens; deterministic ones have their own";
            reader.error(span, "deterministic-suite", message, "remove `suite`");
        }
    }
    if let (false, Some(span)) = (given(&e.sign), &e.signers.span) {
        reader.error(span, "signers-without-sign", "`signers` without `sign: true` checks nothing", "add `sign: true`");
    }
}

fn key(given: &Given<String>, seals: bool, rule: &InRule<'_>, reader: &mut Reader<'_>) -> (Key, Range<usize>) {
    let default = PartitionName::default_name();
    let profile = |name: &str| rule.profiles.iter().find(|profile| *profile.name == *name).map(of_profile);
    let Some(At { value: text, span }) = &given.value else {
        let key = profile(default.as_str()).unwrap_or(Key::Fixed(default));
        return (key, given.span.clone().unwrap_or(0..0));
    };
    if let Some(key) = profile(text) {
        return (key, span.clone());
    }
    let default = Key::Fixed(default);
    let key = match Key::parse(text) {
        Ok(key) => key,
        Err(bad) => {
            reader.error(span, bad.code, bad.message, bad.help);
            return (default, span.clone());
        }
    };
    if let (Key::Glob(_), true) = (&key, seals) {
        let message = format!("key `{text}` is a glob, and sealing needs one partition");
        reader.error(span, "glob-seals", message, "name it, or use a template such as `tenant-{tenant}`");
    }
    if let Key::Template(parts) = &key {
        for part in parts {
            let KeyPart::Segment(name) = part else { continue };
            for pattern in rule.paths {
                if !pattern.captures().any(|c| c == name) {
                    let message = format!("key `{text}`: path pattern `{}` captures no `{{{name}}}`", pattern.text);
                    let help = format!("write `{{{name}}}` for one of its segments, or use `{{header:NAME}}`");
                    reader.error(span, "key-capture", message, &help);
                }
            }
        }
    }
    (key, span.clone())
}

/// Where its API does nothing with single values, a profile is the partition that its epochs are in.
fn of_profile(profile: &Arc<Profile>) -> Key {
    match profile.per_value {
        Some(_) => Key::Managed(Arc::clone(profile)),
        None => Key::Fixed(profile.partition.clone()),
    }
}

fn reveal(given: &Given<String>, reader: &mut Reader<'_>) -> Reveal {
    let Some(At { value: text, span }) = &given.value else { return Reveal::Plain };
    let mask = || text.strip_prefix("mask(")?.strip_suffix(')')?.parse::<u16>().ok();
    match (text.as_str(), mask()) {
        ("plain", _) => Reveal::Plain,
        ("redact", _) => Reveal::Redact,
        (_, Some(n)) => Reveal::Mask(n.into()),
        _ => {
            let message = format!("`{text}` is not a value of `reveal`");
            reader.error(span, "unknown-word", message, "write `plain`, `mask(4)` or `redact`");
            Reveal::Redact
        }
    }
}

fn signers(given: &Given<Many>, reader: &mut Reader<'_>) -> Vec<[u8; 16]> {
    let mut ids = Vec::new();
    for At { value: text, span } in given.get().map_or(&[][..], |m| m.0.as_slice()) {
        match hex16(text) {
            Some(id) => ids.push(id),
            None => reader.error(
                span,
                "signer",
                "not the id of a signer",
                "an id is 32 hexadecimal digits; `sidecloak keys list` shows them",
            ),
        }
    }
    ids
}

fn hex16(text: &str) -> Option<[u8; 16]> {
    let valid = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

fn suite(e: &ActionEntry, reader: &mut Reader<'_>) -> Suite {
    let random = match e.suite.value.as_ref().map(|at| (at.value, &at.span)) {
        None | Some((1, _)) => Suite::Xaes,
        Some((2, _)) => Suite::Gcm,
        Some((n, span)) => {
            let help = "write 1 (XAES-256-GCM) or 2 (AES-256-GCM); `deterministic: true` chooses AES-SIV";
            reader.error(span, "suite", format!("there is no suite {n} to choose"), help);
            Suite::Xaes
        }
    };
    if given(&e.deterministic) { Suite::Siv } else { random }
}

fn positive(given: &Given<usize>, max: usize, reader: &mut Reader<'_>) {
    if let Some(At { value, span }) = &given.value
        && !(1..=max).contains(value)
    {
        reader.error(span, "number", format!("{value} is out of range"), &format!("write a number from 1 to {max}"));
    }
}

fn given(given: &Given<bool>) -> bool {
    given.get().copied().unwrap_or(false)
}

/// Whether a token could pass a check for that format; unknown names are taken to be wider than a token.
pub(super) fn token_passes(format: &str) -> bool {
    !matches!(
        format,
        "date"
            | "date-time"
            | "datetime"
            | "time"
            | "email"
            | "digits"
            | "digit"
            | "number"
            | "integer"
            | "boolean"
            | "bool"
            | "uuid"
            | "iban"
            | "phone"
            | "url"
            | "uri"
            | "ipv4"
            | "ipv6"
            | "ip"
            | "hex"
            | "luhn"
            | "card"
            | "ssn"
            | "gender"
            | "sex"
            | "country"
            | "currency"
            | "year"
            | "age"
            | "base64"
    )
}
