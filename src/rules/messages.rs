//! The options about messages that cannot be read, resolved per direction.

use http::header::HeaderName;

use super::action::{Direction, Draft};
use super::conditions::texts;
use super::file::{Choice, Given, RuleEntry};
use super::media::{PATCHES, essence};
use super::place::Part;
use super::yaml::{At, Reader};
use super::{Caching, Mode, OnUnreadable, Unreadable, UnreadableHalf, Validate, Verb};

/// Compiles the `on_…` options of a rule, with the defaults that its actions ask for.
pub(super) fn compile(e: &RuleEntry, drafts: &[Draft], reader: &mut Reader<'_>) -> Unreadable {
    let half = |direction: Direction| {
        let all = || drafts.iter().filter(|d| d.direction == direction).map(|d| &d.action);
        // What stands outside the body asks nothing of it.
        let mine = || all().filter(|a| a.part != Part::Outside);
        // Observe changes nothing, so it may refuse nothing either, whatever the options say.
        let acts = mine().any(|a| a.mode != Mode::Observe);
        let seals = mine().any(|a| a.verb == Verb::Seal && a.mode >= Mode::Migrate);
        let resolve_for = |acts: bool, option: &Given<Choice<OnUnreadable>>, default| match (acts, option.get()) {
            (false, _) => OnUnreadable::Pass,
            (true, Some(choice)) => choice.0,
            (true, None) => default,
        };
        let resolve = |option, default| resolve_for(acts, option, default);
        let touches = all().any(|a| a.mode != Mode::Observe);
        let default = if seals { OnUnreadable::Reject } else { OnUnreadable::Pass };
        UnreadableHalf {
            media_type: resolve(&e.on_media_type, default),
            invalid_json: resolve(&e.on_invalid_json, default),
            encoding: resolve(&e.on_encoding, default),
            too_large: resolve(&e.on_too_large, default),
            upgrade: resolve(&e.on_upgrade, default),
            signature: resolve_for(touches, &e.on_signature, OnUnreadable::Reject),
        }
    };
    let mut json_types = Vec::new();
    for At { value, span } in texts(&e.json_types) {
        let essence = essence(value);
        if PATCHES.contains(&essence.as_str()) {
            let message = format!("`{essence}` is a patch, which is read as such");
            reader.error(span, "media-type", message, "remove it");
        } else if essence.split('/').filter(|part| !part.is_empty()).count() != 2 {
            reader.error(span, "media-type", format!("`{value}` is not a media type"), "write `text/plain`");
        }
        json_types.push(essence);
    }
    let mut signature_headers = Vec::new();
    for At { value, span } in texts(&e.signature_headers) {
        match HeaderName::from_bytes(value.as_bytes()) {
            Ok(name) => signature_headers.push(name.as_str().to_owned()),
            Err(_) => reader.error(span, "header", format!("`{value}` is not a header's name"), "fix it"),
        }
    }
    without_effect(e, drafts, reader);
    Unreadable {
        request: half(Direction::Request),
        response: half(Direction::Response),
        json_types,
        signature_headers,
        provision: e.provision.get().copied().unwrap_or(false),
        max_partitions: e.max_partitions.get().copied().unwrap_or(1_000),
        max_buffered: e.max_buffered.get().copied(),
        max_body: e.max_body.get().map(|bytes| *bytes as u64),
        validate: e.validate.get().map_or(Validate::Full, |choice| choice.0),
        cache: e.cache.get().map_or(Caching::NoStore, |choice| choice.0),
        always_length: e.always_length.get().copied(),
    }
}

/// Options about something that the rule does not do.
fn without_effect(e: &RuleEntry, drafts: &[Draft], reader: &mut Reader<'_>) {
    let opens = drafts.iter().any(|d| d.direction == Direction::Response && d.action.verb == Verb::Open);
    if let (false, false, Some(span)) = (opens, drafts.is_empty(), &e.cache.span) {
        let message = "`cache` is about answers that have values opened in them";
        reader.error(span, "option-without-effect", message, "remove it: this rule opens nothing in answers");
    }
    let requests = drafts.iter().any(|d| d.direction == Direction::Request);
    if let (false, false, Some(span)) = (requests, drafts.is_empty(), &e.always_length.span) {
        let message = "`always_length` is about requests whose body changes";
        reader.error(span, "option-without-effect", message, "remove it: every client reads answers in chunks");
    }
    if let Some(At { value: 0, span }) = &e.max_body.value {
        let help = "write bytes, from 1 on; a limit of the listener is lifted by a large number";
        reader.error(span, "out-of-range", "`max_body` cannot be 0, which could mean either", help);
    }
    if let Some(At { value, span }) = &e.always_length.value
        && !(1..=1 << 30).contains(value)
    {
        reader.error(span, "out-of-range", "`always_length` is out of range", "write bytes, from 1 to 1073741824");
    }
}
