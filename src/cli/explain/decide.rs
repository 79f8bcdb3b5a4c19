//! What would happen to a message, decided by the parts that decide it in the proxy.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::json::text::unescape;
use crate::jsonpath::{self, Buffering, Selected};
use crate::proxy::body::readable;
use crate::rules::route::{End, RequestFacts, Route};
use crate::rules::{Action, Binding, Mode, OnBad, OnToken, OnUnreadable, Reveal, Rule, RuleSet, Verb};
use crate::token::v1::token_len;
use crate::token::{self, Suite};
use crate::transform::plan::{Bound, Direction, HalfPlan, PlannedField, Target, changes};
use crate::transform::reveal::looks_masked;

/// The message that is asked about.
pub(super) struct Message<'a> {
    pub direction: Direction,
    /// Of the response.
    pub status: u16,
    pub content_type: &'a str,
    pub body: Option<&'a [u8]>,
}

/// What there is to tell.
#[derive(Debug, Default)]
pub(super) struct Explanation {
    pub method: String,
    pub listener: String,
    /// Normalised; `None`: ambiguous.
    pub path: Option<String>,
    /// Every rule, and why it does not apply.
    pub rules: Vec<(Arc<str>, Option<String>)>,
    /// What acts on such a body, in the order of precedence.
    pub actions: Vec<Acting>,
    /// What the body holds of it.
    pub values: Vec<Found>,
    /// The status that the exchange ends with instead.
    pub refused: Option<(u16, String)>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// One selector of an action.
#[derive(Debug)]
pub(super) struct Acting {
    pub rule: Arc<str>,
    pub verb: &'static str,
    pub selector: String,
    /// What of a body it holds before it can select.
    pub buffering: &'static str,
    pub class: String,
    pub key: String,
    pub mode: &'static str,
    pub suite: Option<&'static str>,
    pub options: Vec<String>,
    /// How many values of the body it selects; `None` without a body.
    pub selects: Option<usize>,
}

/// One value of the body.
#[derive(Debug)]
pub(super) struct Found {
    pub location: String,
    /// Index into [`Explanation::actions`].
    pub action: usize,
    pub happens: String,
    /// Of the token it would become.
    pub token_length: Option<usize>,
}

impl Explanation {
    pub fn new(method: &str, listener: &str) -> Self {
        Self { method: method.into(), listener: listener.into(), ..Self::default() }
    }

    pub fn refused(mut self, status: u16, why: impl Into<String>) -> Self {
        self.refused = Some((status, why.into()));
        self
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// Goes the way of the exchange, as far as it gets.
pub(super) fn decide(
    mut told: Explanation,
    rules: &RuleSet,
    facts: &RequestFacts<'_>,
    message: &Message<'_>,
) -> Explanation {
    told.rules = rules.explain(facts).into_iter().map(|(name, result)| (name, result.err())).collect();
    let mut route = rules.route(facts);
    match &route.end {
        End::Unmatched => {
            told.note("no rule matches: it passes as it is, or is refused with 403 where the listener says `unmatched: reject`");
            return told;
        }
        End::Rejected(rule) => return told.refused(403, format!("rule `{}` says `action: reject`", rule.name)),
        End::Matched | End::Passed(_) => {}
    }
    if message.direction == Direction::Response {
        only_this_response(&mut told, &mut route, message);
    }
    let plan = match HalfPlan::new(message.direction, &route.rules, facts.headers) {
        Ok(Some(plan)) => plan,
        Ok(None) => {
            let half = if message.direction == Direction::Request { "request" } else { "response" };
            told.note(format!("the body of the {half} passes as it is: no rule that matches acts on it"));
            return told;
        }
        Err(refusal) => return told.refused(422, refusal.detail),
    };
    told.actions = plan.fields.iter().map(acting).collect();
    if !plan.changes() {
        told.note("nothing is changed: in this mode the rules only look, and count");
    }
    match message.body {
        None => {
            told.note("give --body FILE to see which values are selected");
            told
        }
        Some([]) => {
            told.note("an empty body is no body: nothing to do");
            told
        }
        Some(body) => read(told, &plan, &route, message, facts.headers, body),
    }
}

/// A response's status and media type select among the rules that its request met.
fn only_this_response(told: &mut Explanation, route: &mut Route, message: &Message<'_>) {
    let acts = |rule: &Arc<Rule>| rule.acts_on_response(message.status, Some(message.content_type));
    for (rule, _) in route.rules.iter().filter(|(rule, _)| !acts(rule)) {
        if let Some((_, why)) = told.rules.iter_mut().find(|(name, _)| *name == rule.name) {
            *why = Some(format!("its `status` or `content_type` is not {} {}", message.status, message.content_type));
        }
    }
    route.rules.retain(|(rule, _)| acts(rule));
}

fn read(
    mut told: Explanation,
    plan: &HalfPlan,
    route: &Route,
    message: &Message<'_>,
    request_headers: &HeaderMap,
    body: &[u8],
) -> Explanation {
    let response = message.direction == Direction::Response;
    let code = |request: u16| if response { 502 } else { request };
    // Of a response, only the media type is known here.
    let mut headers = if response { HeaderMap::new() } else { request_headers.clone() };
    if let Ok(value) = HeaderValue::from_str(message.content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    let framing = match readable(plan, &headers) {
        Ok(framing) => framing,
        Err((_, on, why)) => return unreadable(told, plan, on, code(415), why.to_owned()),
    };
    let selected = match jsonpath::select_each(body, &framing.split(body), &plan.paths) {
        Ok(selected) => selected,
        Err(error) => {
            return unreadable(
                told,
                plan,
                plan.unreadable.invalid_json,
                code(400),
                format!("not JSON (`on_invalid_json`): {error}"),
            );
        }
    };
    for one in &selected {
        if let (Some(field), Some(lexeme)) = (plan.fields.get(one.path), body.get(one.span.clone())) {
            let (found, refused) = found(one, field, lexeme, plan.unreadable.too_large);
            told.refused = told.refused.or_else(|| refused.map(|(status, why)| (code(status), why)));
            told.values.push(found);
        }
    }
    for (index, acting) in told.actions.iter_mut().enumerate() {
        acting.selects = Some(selected.iter().filter(|s| s.path == index).count());
    }
    missing(&mut told, plan, route, &selected, code(422));
    told
}

fn unreadable(mut told: Explanation, plan: &HalfPlan, on: OnUnreadable, status: u16, why: String) -> Explanation {
    if on == OnUnreadable::Reject && plan.changes() {
        return told.refused(status, why);
    }
    told.note(format!("it passes unread: {why}"));
    told
}

/// `required`: every action that says so must have selected something.
fn missing(told: &mut Explanation, plan: &HalfPlan, route: &Route, selected: &[Selected], status: u16) {
    let hit = |action: &Arc<Action>| {
        selected.iter().filter_map(|s| plan.fields.get(s.path)).any(|field| Arc::ptr_eq(&field.action, action))
    };
    let absent = plan.fields.iter().find(|f| f.action.required && f.action.mode != Mode::Observe && !hit(&f.action));
    if let (Some(field), None) = (absent, &told.refused) {
        let why = format!("rule `{}` requires {}", field.action.rule, field.selector().map_or("", |s| s));
        told.refused = Some((status, why));
    }
    if selected.is_empty() && !route.rules.is_empty() {
        told.note("the selectors select nothing in this body");
    }
}

fn acting(field: &PlannedField) -> Acting {
    let action = &field.action;
    let seals = action.verb == Verb::Seal;
    let mut options = Vec::new();
    let mut option = |given: bool, text: String| options.extend(given.then_some(text));
    option(action.deterministic, "deterministic".into());
    option(action.sign, if seals { "signs".into() } else { "signed only".into() });
    option(action.required, "required".into());
    let bind = match &action.bind {
        Some(Binding::Segment(name)) => format!("bound to path:{name}"),
        Some(Binding::Value(text)) => format!("bound to {text}"),
        None => String::new(),
    };
    option(action.bind.is_some(), bind);
    option(action.pad.is_some(), format!("pad {}", action.pad.unwrap_or_default()));
    option(action.max_length.is_some(), format!("max_length {}", action.max_length.unwrap_or_default()));
    match action.reveal {
        Reveal::Plain => {}
        Reveal::Mask(n) => options.push(format!("reveal mask({n})")),
        Reveal::Redact => options.push("reveal redact".into()),
    }
    Acting {
        rule: Arc::clone(&action.rule),
        verb: if seals { "seal" } else { "open" },
        selector: field.selector().map_or_else(String::new, ToString::to_string),
        buffering: field.path().map_or(Buffering::Streaming, |path| path.buffering()).name(),
        class: field.class().map_or_else(String::new, ToString::to_string),
        key: match &field.target {
            Target::One(name) => name.to_string(),
            Target::Glob(key) => key.as_glob(),
            Target::Managed(profile) => profile.name.to_string(),
        },
        mode: match action.mode {
            Mode::Observe => "observe",
            Mode::Read => "read",
            Mode::Migrate => "migrate",
            Mode::Enforce => "enforce",
        },
        suite: seals.then(|| action.suite.name()),
        options,
        selects: None,
    }
}

/// What becomes of a value, and the status that refuses the whole message for it.
fn found(
    one: &Selected,
    field: &PlannedField,
    lexeme: &[u8],
    too_large: OnUnreadable,
) -> (Found, Option<(u16, String)>) {
    let action = &field.action;
    let content = lexeme.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let is_token = content.is_some_and(|c| token::looks_sealed(&unescape(c)));
    let null = lexeme == b"null" && !action.seal_nulls;
    let mut length = None;
    let (happens, refuses) = match action.verb {
        _ if null => ("stays: null means absence".to_owned(), None),
        _ if !changes(action) => (looked_at(action.verb, is_token), None),
        _ if action.max_value.is_some_and(|max| lexeme.len() > max) => {
            let refuses = too_large == OnUnreadable::Reject;
            let what = if refuses { "refused" } else { "passes unread" };
            (format!("{what}: longer than `max_value` (`on_too_large`)"), refuses.then_some(413))
        }
        Verb::Seal if field.bound(one.record.as_deref()) == Bound::Missing => {
            ("refused: what it is bound to is not there, or not once (`bind`)".into(), Some(422))
        }
        Verb::Seal if is_token => match action.on_token {
            OnToken::Reject => ("refused: it begins as a token does (`on_token: reject`)".into(), Some(422)),
            OnToken::Keep => ("stays if it is a token of this partition and class (`on_token: keep`)".into(), None),
            OnToken::Seal => {
                length = Some(forecast(action, content, lexeme));
                ("sealed, although it begins as a token does (`on_token: seal`)".into(), None)
            }
        },
        Verb::Seal if action.refuses_masked && looks_masked(lexeme) => {
            ("refused: it has the shape of a mask, and a rule shows this class masked".into(), Some(422))
        }
        Verb::Seal => {
            let long = forecast(action, content, lexeme);
            length = Some(long);
            match action.max_length.filter(|max| long > *max) {
                Some(max) => (format!("refused: its token is longer than `max_length: {max}`"), Some(422)),
                None => ("sealed".into(), None),
            }
        }
        Verb::Open if is_token => ("opened, if it authenticates for this partition and class".into(), None),
        Verb::Open => match action.on_plaintext {
            _ if action.mode < Mode::Enforce => ("stays: no token, and this mode lets plaintext pass".into(), None),
            OnBad::Reject => ("refused: no token (`on_plaintext: reject`)".into(), Some(422)),
            OnBad::Pass => ("stays: no token (`on_plaintext: pass`)".into(), None),
            OnBad::Redact | OnBad::Nullify => ("redacted: no token (`on_plaintext: redact`)".into(), None),
        },
    };
    let refused = refuses.map(|status| (status, format!("rule `{}`, {}: {happens}", action.rule, one.location)));
    (Found { location: one.location.clone(), action: one.path, happens, token_length: length }, refused)
}

fn looked_at(verb: Verb, is_token: bool) -> String {
    match (verb, is_token) {
        (Verb::Seal, true) => "stays in this mode: it is a token already",
        (Verb::Seal, false) => "stays in this mode: it would be sealed",
        (Verb::Open, true) => "stays in this mode: it would be opened",
        (Verb::Open, false) => "stays in this mode: no token",
    }
    .to_owned()
}

fn forecast(action: &Action, content: Option<&[u8]>, lexeme: &[u8]) -> usize {
    let canonical = content.filter(|_| action.suite == Suite::Siv).and_then(crate::json::text::canonical_string);
    let bytes = canonical.as_deref().or(content).unwrap_or(lexeme).len();
    token_len(action.suite, bytes, content.is_some(), action.pad, action.sign)
}
