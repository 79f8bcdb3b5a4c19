//! What the rules do outside of a body.

use std::sync::Arc;

use http::HeaderMap;

use super::{Outcome, Side};
use crate::json::text;
use crate::rules::place::find::{Wanted, in_request, in_response};
use crate::rules::{Action, Mode, OnToken, Part, Rule, RuleKind, TextType, Verb};
use crate::token;

/// The message of a test, as far as it is no body.
pub(super) struct Head<'a> {
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub ignore_case: bool,
    /// The request is a GET or HEAD.
    pub looks_up: bool,
    pub headers: &'a HeaderMap,
}

/// What is sealed and opened there, or why it is refused.
pub(super) fn message(rules: &[&Arc<Rule>], side: Side, head: &Head<'_>, outcome: &mut Outcome) {
    let mut owners: Vec<(&Arc<Action>, usize)> = Vec::new();
    let mut wanted = Vec::new();
    for rule in rules {
        let RuleKind::Fields { request, response } = &rule.kind else { continue };
        let actions = if side == Side::Request { request } else { response };
        for action in actions.iter().filter(|action| action.part == Part::Outside) {
            for (index, field) in action.fields.iter().enumerate() {
                wanted.push(Wanted { field: owners.len(), place: &field.place, matches: &rule.matches });
                owners.push((action, index));
            }
        }
    }
    let hits = match side {
        Side::Request => in_request(&wanted, head.path, head.query, head.ignore_case, head.headers),
        Side::Response => in_response(&wanted, head.headers),
    };
    let status = |request: u16| if side == Side::Request { request } else { 502 };
    let mut found: Vec<&Arc<Action>> = Vec::new();
    for hit in &hits {
        let Some((action, index)) = owners.get(hit.field) else { continue };
        let Some(field) = action.fields.get(*index) else { continue };
        found.push(action);
        let acts = action.mode >= Mode::Migrate;
        let value = match &hit.text {
            Ok(value) => value.expose(),
            Err(why) => {
                if action.mode != Mode::Observe && (side == Side::Request || action.verb == Verb::Seal) {
                    outcome.rejected = Some((status(400), format!("{why}, instead of {}", field.place)));
                    return;
                }
                continue;
            }
        };
        if action.verb == Verb::Open {
            outcome.opens.insert(field.place.to_string());
            continue;
        }
        let keeps = head.looks_up && action.keeps_links && field.place.is_in_target();
        if token::looks_sealed(value) {
            if acts && action.on_token == OnToken::Reject && !keeps {
                outcome.rejected = Some((status(422), format!("on_token at {}", field.place)));
                return;
            }
            if keeps {
                continue;
            }
        }
        if acts && !fits(action.text, value) {
            outcome.rejected = Some((status(422), format!("type at {}", field.place)));
            return;
        }
        outcome.seals.insert(field.place.to_string());
    }
    let missing = |(action, _): &&(&Arc<Action>, usize)| {
        action.required && action.mode != Mode::Observe && !found.iter().any(|found| Arc::ptr_eq(found, action))
    };
    if let Some((action, _)) = owners.iter().find(missing) {
        outcome.rejected = Some((status(422), format!("a required field of rule `{}` is missing", action.rule)));
    }
}

/// Whether a text is what `type` says.
pub(super) fn fits(of: TextType, text: &[u8]) -> bool {
    match of {
        TextType::String => true,
        TextType::Number => text::is_value(text) && text.first().is_some_and(|b| matches!(b, b'-' | b'0'..=b'9')),
        TextType::Boolean => text == b"true" || text == b"false",
    }
}
