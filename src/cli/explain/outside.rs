//! What would happen to what stands outside of a message's body.

use crate::json::framing::Framing;
use crate::json::text::{escape_into, is_value};
use crate::rules::place::find::{Wanted, in_request, in_response};
use crate::rules::route::{End, RequestFacts};
use crate::rules::{RuleSet, TextType, Verb};
use crate::token;
use crate::transform::plan::{Direction, HalfPlan, PlannedField, changes};

use super::decide::{Explanation, Found, Message, Value, acting, found, only_this_response};

/// Adds it to what is told of the body.
pub(super) fn add(
    mut told: Explanation,
    rules: &RuleSet,
    facts: &RequestFacts<'_>,
    message: &Message<'_>,
) -> Explanation {
    let mut route = rules.route(facts);
    if matches!(route.end, End::Unmatched | End::Rejected(_)) {
        return told;
    }
    let response = message.direction == Direction::Response;
    if response {
        only_this_response(&mut told, &mut route, message);
    }
    let looks_up = matches!(facts.method, "GET" | "HEAD");
    let Ok(Some(plan)) = HalfPlan::outside(message.direction, &route.rules, facts.words, looks_up) else { return told };
    let first = told.actions.len();
    told.actions.extend(plan.fields.iter().map(acting));
    let of = |(field, planned): (usize, &'_ PlannedField)| {
        let rule = route.rules.iter().map(|(rule, _)| rule).find(|rule| rule.name == planned.action.rule)?;
        Some((field, rule.clone()))
    };
    let owners: Vec<_> = plan.fields.iter().enumerate().filter_map(of).collect();
    let wanted: Vec<_> = owners
        .iter()
        .filter_map(|(field, rule)| {
            let place = plan.fields.get(*field)?.place()?;
            Some(Wanted { field: *field, place, matches: &rule.matches })
        })
        .collect();
    let (path, query) = message.target;
    let hits = match message.direction {
        Direction::Request => in_request(&wanted, path, query, facts.ignore_case, facts.words.headers),
        Direction::Response => in_response(&wanted, message.headers),
    };
    let code = |request: u16| if response { 502 } else { request };
    for hit in &hits {
        let Some(field) = plan.fields.get(hit.field) else { continue };
        let location = field.place().map(ToString::to_string).unwrap_or_default();
        let index = first + hit.field;
        if let Some(acting) = told.actions.get_mut(index) {
            *acting.selects.get_or_insert_default() += 1;
        }
        let text = match &hit.text {
            Ok(text) => text.expose(),
            Err(why) => {
                let refuses = changes(&field.action) && (!response || field.action.verb == Verb::Seal);
                let what = if refuses { "refused" } else { "passes unread" };
                let happens = format!("{what}: {why} (`on_ambiguous`)");
                if refuses {
                    let why = format!("rule `{}`, {location}: {happens}", field.action.rule);
                    told.refused = told.refused.or_else(|| Some((code(400), why)));
                }
                told.values.push(Found { location, action: index, happens, delegated: false, token_length: None });
                continue;
            }
        };
        let raw = lexeme(field, text);
        let value = Value { location, path: index, raw, record: None };
        let (mut one, mut refused) = found(&value, field, Framing::One, plan.unreadable.too_large);
        if field.action.verb == Verb::Seal && changes(&field.action) && !of_type(field, text) {
            one.happens = "refused: it is not of the `type` that the rule gives".into();
            one.token_length = None;
            refused = Some((422, format!("rule `{}`, {}: {}", field.action.rule, one.location, one.happens)));
        }
        if field.action.embedded {
            one.happens = "the tokens in it are opened, if they authenticate for this partition and class".into();
            refused = None;
        }
        told.refused = told.refused.or_else(|| refused.map(|(status, why)| (code(status), why)));
        told.values.push(one);
    }
    if let Some(missing) = plan.fields.iter().enumerate().find(|(index, field)| {
        field.action.required && changes(&field.action) && !hits.iter().any(|hit| hit.field == *index)
    }) {
        let why = format!("rule `{}` requires {}", missing.1.action.rule, missing.1.selector().map_or("", |s| s));
        told.refused = told.refused.or_else(|| Some((code(422), why)));
    }
    told
}

fn of_type(field: &PlannedField, text: &[u8]) -> bool {
    match field.action.text {
        _ if token::looks_sealed(text) => true,
        TextType::String => true,
        TextType::Number => is_value(text) && text.first().is_some_and(|b| matches!(b, b'-' | b'0'..=b'9')),
        TextType::Boolean => text == b"true" || text == b"false",
    }
}

/// As JSON has it.
fn lexeme(field: &PlannedField, text: &[u8]) -> Vec<u8> {
    if field.action.text != TextType::String && field.action.verb == Verb::Seal && of_type(field, text) {
        return text.to_vec();
    }
    let mut raw = vec![b'"'];
    escape_into(&String::from_utf8_lossy(text), &mut raw);
    raw.push(b'"');
    raw
}
