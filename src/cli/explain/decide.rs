//! What would happen to a message, decided by the parts that decide it in the proxy.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::form::{self, Form};
use crate::json::framing::Framing;
use crate::json::text::unescape;
use crate::jsonpath::{self, Buffering, Selected, SelectedInside, Unreadable};
use crate::name::Class;
use crate::proxy::body::{Readable, readable};
use crate::rules::media::Reading;
use crate::rules::profile::{PerValue, Profile};
use crate::rules::route::{End, RequestFacts, Route};
use crate::rules::{
    Action, Binding, Mode, OnBad, OnToken, OnUnreadable, Part, Place, Reveal, Rewrite, Rule, RuleSet, TextType, Verb,
};
use crate::token::v1::token_len;
use crate::token::{self, Suite};
use crate::transform::outside::lexeme;
use crate::transform::plan::{Bound, Direction, HalfPlan, PlannedField, Target, changes};
use crate::transform::reveal::looks_masked;

/// The message that is asked about.
pub(super) struct Message<'a> {
    pub direction: Direction,
    /// The path as it is sent, and the query.
    pub target: (&'a str, Option<&'a str>),
    /// Of the response.
    pub headers: &'a HeaderMap,
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
    /// The profile whose API does it, and what that takes.
    pub delegated: Option<(String, String)>,
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
    /// A managed API is asked about it.
    pub delegated: bool,
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
    told: Explanation,
    rules: &RuleSet,
    facts: &RequestFacts<'_>,
    message: &Message<'_>,
) -> Explanation {
    super::outside::add(of_body(told, rules, facts, message), rules, facts, message)
}

fn of_body(mut told: Explanation, rules: &RuleSet, facts: &RequestFacts<'_>, message: &Message<'_>) -> Explanation {
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
    let plan = match HalfPlan::new(message.direction, &route.rules, facts.words) {
        Ok(Some(plan)) => plan,
        Ok(None) => {
            let half = if message.direction == Direction::Request { "request" } else { "response" };
            told.note(format!("the body of the {half} passes as it is: no rule that matches acts on it"));
            return told;
        }
        Err(refusal) => return told.refused(422, refusal.detail),
    };
    let plan = Arc::new(plan);
    told.actions = plan.fields.iter().chain(&plan.form).map(acting).collect();
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
        Some(body) => read(told, &plan, &route, message, facts.words.headers, body),
    }
}

/// A response's status and media type select among the rules that its request met.
pub(super) fn only_this_response(told: &mut Explanation, route: &mut Route, message: &Message<'_>) {
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
    plan: &Arc<HalfPlan>,
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
    let Readable { share, reading, .. } = match readable(plan, &headers) {
        Ok(readable) => readable,
        Err((_, on, why)) => return unreadable(told, plan, on, code(415), why.to_owned()),
    };
    for rule in share.unread {
        told.note(format!("rule `{rule}` has no fields in such bodies, and lets it pass (`on_media_type`)"));
    }
    let plan = &share.plan;
    // What else there is acts on other bodies.
    told.actions = plan.fields.iter().map(acting).collect();
    let framing = match reading {
        Reading::Json(framing) => framing,
        Reading::Form(form) => return of_form(told, plan, route, &form, body, response),
    };
    let selected = match select(plan, framing, body) {
        Ok(selected) => selected,
        Err((status, why)) => return unreadable(told, plan, plan.unreadable.invalid_json, code(status), why),
    };
    let mut values = Vec::new();
    for one in selected {
        let (Some(field), Some(lexeme)) = (plan.fields.get(one.path), body.get(one.span.clone())) else { continue };
        let Some(selectors) = &field.action.inside else {
            values.push(Value { location: one.location, path: one.path, raw: lexeme.to_vec(), record: one.record });
            continue;
        };
        match jsonpath::select_inside(lexeme, &one.location, selectors) {
            Ok(inside) => values.extend(inside.into_iter().map(|SelectedInside { location, path, raw, record }| {
                Value { location, path: one.path + path, raw, record }
            })),
            Err(error) => {
                let (found, refused) = unread(one, field, error, plan.unreadable.invalid_json);
                told.refused = told.refused.or_else(|| refused.map(|(status, why)| (code(status), why)));
                told.values.push(found);
            }
        }
    }
    judge(told, plan, route, &values, framing, code)
}

/// A body of form fields.
fn of_form(told: Explanation, plan: &HalfPlan, route: &Route, form: &Form, body: &[u8], response: bool) -> Explanation {
    let code = |request: u16| if response { 502 } else { request };
    let invalid = |told, why| unreadable(told, plan, plan.unreadable.invalid_json, code(400), why);
    let name = |field: &PlannedField| field.place().and_then(Place::name).map(str::to_owned).unwrap_or_default();
    let names: Vec<String> = plan.fields.iter().map(name).collect();
    let found = match form::select::select(form, body, names.iter().map(String::as_str)) {
        Ok(found) => found,
        Err(error) => {
            return invalid(told, format!("not a form that is read in one way alone (`on_invalid_json`): {error}"));
        }
    };
    let mut values = Vec::new();
    for form::select::Selected { name, text } in found {
        let Some(field) = plan.fields.get(name) else { continue };
        match text.map(|text| lexeme(field, text.expose())) {
            Some(Ok(raw)) => values.push(Value {
                location: field.place().map(ToString::to_string).unwrap_or_default(),
                path: name,
                raw: raw.expose().to_vec(),
                record: None,
            }),
            Some(Err(refusal)) => return told.refused(code(422), refusal.detail),
            None => return invalid(told, "a selected value of the form cannot be decoded".into()),
        }
    }
    judge(told, plan, route, &values, Framing::One, code)
}

/// What becomes of the values that the plan selects.
fn judge(
    mut told: Explanation,
    plan: &HalfPlan,
    route: &Route,
    values: &[Value],
    framing: Framing,
    code: impl Fn(u16) -> u16,
) -> Explanation {
    for value in values {
        if let Some(field) = plan.fields.get(value.path) {
            let (found, refused) = found(value, field, framing, plan.unreadable.too_large);
            told.refused = told.refused.or_else(|| refused.map(|(status, why)| (code(status), why)));
            told.values.push(found);
        }
    }
    for (index, acting) in told.actions.iter_mut().enumerate() {
        acting.selects = Some(values.iter().filter(|value| value.path == index).count());
    }
    calls(&mut told, plan);
    missing(&mut told, plan, route, values, code(422));
    told
}

/// A selected value, in the body or in a string of it.
pub(super) struct Value {
    pub location: String,
    pub path: usize,
    pub raw: Vec<u8>,
    pub record: Option<Arc<[u8]>>,
}

/// A string that should hold JSON.
fn unread(one: Selected, field: &PlannedField, why: Unreadable, on: OnUnreadable) -> (Found, Option<(u16, String)>) {
    let status = if matches!(why, Unreadable::Undecided(_)) { 422 } else { 400 };
    let refuses = on == OnUnreadable::Reject && changes(&field.action);
    let happens = format!("{}: {why} (`on_invalid_json`)", if refuses { "refused" } else { "passes unread" });
    let refused = refuses.then(|| (status, format!("rule `{}`, {}: {happens}", field.action.rule, one.location)));
    let found = Found { location: one.location, action: one.path, happens, delegated: false, token_length: None };
    (found, refused)
}

/// What the plan selects in a body; the error is a status, and why.
fn select(plan: &HalfPlan, framing: Framing, body: &[u8]) -> Result<Vec<Selected>, (u16, String)> {
    let plain = if framing == Framing::Patch { Framing::One } else { framing };
    jsonpath::select_each(body, plain, &[]).map_err(|error| (400, format!("not JSON (`on_invalid_json`): {error}")))?;
    let undecided = |why: &str| (422, format!("what is selected cannot be told (`on_invalid_json`): {why}"));
    if framing != Framing::Patch {
        return jsonpath::select_each(body, framing, &plan.paths).map_err(|error| undecided(&error));
    }
    let patch = jsonpath::select_patch(body, &plan.paths).map_err(|error| undecided(&error))?;
    for field in patch.compared.iter().filter_map(|path| plan.fields.get(*path)) {
        field.compared().map_err(undecided)?;
    }
    for (from, to) in patch.carried {
        if let (Some(from), Some(to)) = (plan.fields.get(from), plan.fields.get(to)) {
            from.carried_to(to).map_err(undecided)?;
        }
    }
    Ok(patch.selected)
}

fn unreadable(mut told: Explanation, plan: &HalfPlan, on: OnUnreadable, status: u16, why: String) -> Explanation {
    if on == OnUnreadable::Reject && plan.changes() {
        return told.refused(status, why);
    }
    told.note(format!("it passes unread: {why}"));
    told
}

/// How often managed APIs are asked, if nothing refuses the body: values go together that are of one class or may mix with others.
fn calls(told: &mut Explanation, plan: &HalfPlan) {
    /// Values that may go together.
    struct Group<'a> {
        profile: &'a Arc<Profile>,
        api: &'a PerValue,
        alike: (Verb, bool, Option<&'a Class>),
        values: usize,
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    for value in told.values.iter().filter(|value| value.delegated) {
        let Some(field) = plan.fields.get(value.action) else { continue };
        let Some((profile, api)) = field.action.key.delegated() else { continue };
        let class = field.class().filter(|_| api.convergent);
        let alike = (field.action.verb, field.action.sign, class);
        match groups.iter_mut().find(|group| group.profile.name == profile.name && group.alike == alike) {
            Some(group) => group.values += 1,
            None => groups.push(Group { profile, api, alike, values: 1 }),
        }
    }
    let mut profiles: Vec<(Arc<str>, usize, usize)> = Vec::new();
    for Group { profile, api, values, .. } in groups {
        let calls = api.calls(values);
        match profiles.iter_mut().find(|(name, ..)| *name == profile.name) {
            Some((_, all, sum)) => (*all, *sum) = (*all + values, *sum + calls),
            None => profiles.push((Arc::clone(&profile.name), values, calls)),
        }
    }
    for (name, values, calls) in profiles {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        told.note(format!(
            "profile `{name}`: {values} value{} of this body, {calls} call{} of its API",
            plural(values),
            plural(calls)
        ));
    }
}

/// `required`: every action that says so must have selected something.
fn missing(told: &mut Explanation, plan: &HalfPlan, route: &Route, selected: &[Value], status: u16) {
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

pub(super) fn acting(field: &PlannedField) -> Acting {
    let action = &field.action;
    let seals = action.verb == Verb::Seal;
    let delegated = action.key.delegated();
    let mut options = Vec::new();
    let mut option = |given: bool, text: String| options.extend(given.then_some(text));
    option(action.deterministic, "deterministic".into());
    option(action.sign, if seals { "signs".into() } else { "signed only".into() });
    option(action.required, "required".into());
    option(action.inside.is_some(), "within parsed strings".into());
    option(action.embedded, "tokens in text".into());
    match action.text {
        TextType::String => {}
        TextType::Number => option(true, "type number".into()),
        TextType::Boolean => option(true, "type boolean".into()),
    }
    match action.rewrite {
        Rewrite::Current => {}
        Rewrite::Fallback => option(true, "rewrite fallback".into()),
        Rewrite::All => option(true, "rewrite all".into()),
    }
    option(delegated.is_some_and(|(_, api)| api.bare), "bare".into());
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
        suite: (seals && delegated.is_none()).then(|| action.suite.name()),
        delegated: delegated.map(|(profile, api)| (profile.name.to_string(), api.cost())),
        options,
        selects: None,
    }
}

/// What becomes of a value, and the status that refuses the whole message for it.
pub(super) fn found(
    one: &Value,
    field: &PlannedField,
    framing: Framing,
    too_large: OnUnreadable,
) -> (Found, Option<(u16, String)>) {
    let (action, lexeme) = (&field.action, one.raw.as_slice());
    let content = lexeme.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let api = action.key.delegated().map(|(_, api)| api);
    let is_token = content.is_some_and(|c| {
        let c = unescape(c);
        match (action.verb, api.filter(|api| api.bare)) {
            (Verb::Open, Some(api)) => token::looks_sealed(&c) || api.may_be_ciphertext(&c),
            _ => action.key.looks_sealed(&c),
        }
    });
    // Outside of JSON a value has no quotes and no escapes of JSON's.
    let text = content.filter(|_| action.part != Part::Json).map(unescape);
    let long = text.map_or(lexeme.len(), |text| text.len());
    let removes = lexeme == b"null" && framing == Framing::Merge;
    let null = removes || (lexeme == b"null" && !action.seal_nulls);
    let mut length = None;
    let (happens, refuses) = match action.verb {
        _ if removes => ("stays: null removes".to_owned(), None),
        _ if null => ("stays: null means absence".to_owned(), None),
        _ if !changes(action) => (looked_at(action.verb, is_token), None),
        _ if action.max_value.is_some_and(|max| long > max) => {
            let refuses = too_large == OnUnreadable::Reject;
            let what = if refuses { "refused" } else { "passes unread" };
            (format!("{what}: longer than `max_value` (`on_too_large`)"), refuses.then_some(413))
        }
        Verb::Seal if field.bound(one.record.as_deref()) == Bound::Missing => {
            ("refused: what it is bound to is not there, or not once (`bind`)".into(), Some(422))
        }
        Verb::Seal if is_token => match field.on_token {
            OnToken::Reject => ("refused: it begins as a token does (`on_token: reject`)".into(), Some(422)),
            OnToken::Keep => ("stays if it is a token of this partition and class (`on_token: keep`)".into(), None),
            OnToken::Seal => {
                length = forecast(action, content, lexeme);
                ("sealed, although it begins as a token does (`on_token: seal`)".into(), None)
            }
        },
        Verb::Seal if action.refuses_masked && looks_masked(lexeme) => {
            ("refused: it has the shape of a mask, and a rule shows this class masked".into(), Some(422))
        }
        Verb::Seal if api.is_some_and(|api| api.bare) && content.is_none() => {
            ("refused: the API of a `bare` profile takes strings only".into(), Some(400))
        }
        Verb::Seal => {
            length = forecast(action, content, lexeme);
            match action.max_length.filter(|max| length.is_some_and(|long| long > *max)) {
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
    let acts = refuses.is_none() && !null && changes(action);
    let delegated = api.is_some() && acts && (is_token || action.verb == Verb::Seal);
    (Found { location: one.location.clone(), action: one.path, happens, delegated, token_length: length }, refused)
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

/// How long the token will be; how long a managed API makes its ciphertexts is its own affair.
fn forecast(action: &Action, content: Option<&[u8]>, lexeme: &[u8]) -> Option<usize> {
    if action.key.delegated().is_some() {
        return None;
    }
    let canonical = content.filter(|_| action.suite == Suite::Siv).and_then(crate::json::text::canonical_string);
    let bytes = canonical.as_deref().or(content).unwrap_or(lexeme).len();
    Some(token_len(action.suite, bytes, content.is_some(), action.pad, action.sign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::PartitionName;
    use crate::rules::compile::{Context, load_text};
    use crate::rules::route::NormalPath;

    #[test]
    fn a_patch_is_read_as_the_proxy_reads_it() {
        let text = "rules:\n  - name: r\n    match: { path: /x }\n    protect: [{ fields: [$..ssn], nulls: seal }]\n";
        let rules = load_text("t.yaml", text, &Context::default()).rules.unwrap();
        let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
        let facts = RequestFacts {
            method: "PATCH",
            path: &path,
            ignore_case: false,
            listener: "",
            host: None,
            words: (&headers).into(),
        };
        let told = |content_type: &str, body: &str| {
            let message = Message {
                direction: Direction::Request,
                target: ("/x", None),
                headers: &headers,
                status: 200,
                content_type,
                body: Some(body.as_bytes()),
            };
            let told = decide(Explanation::default(), &rules, &facts, &message);
            let values = told.values.into_iter().map(|value| format!("{} {}", value.location, value.happens));
            (values.collect::<Vec<_>>(), told.refused.map(|(status, _)| status))
        };
        let patch = "application/json-patch+json";
        let (values, refused) = told(patch, r#"[{"op":"add","path":"/ssn","value":"1"}]"#);
        assert_eq!((values, refused), (vec!["$[0]['value'] sealed".to_owned()], None));
        assert_eq!(told(patch, r#"[{"op":"add","path":"ssn","value":"1"}]"#).1, Some(422));
        assert_eq!(told(patch, r#"[{"op":"test","path":"/ssn","value":"1"}]"#).1, Some(422));
        assert_eq!(told(patch, "[{").1, Some(400));
        let null = r#"{"ssn":null}"#;
        assert_eq!(told("application/json", null).0, ["$['ssn'] sealed"]);
        assert_eq!(told("application/merge-patch+json", null).0, ["$['ssn'] stays: null removes"]);
    }

    #[test]
    fn what_an_api_does_is_told_with_its_calls() {
        let api = PerValue {
            batch: 2,
            bare: false,
            signs: false,
            convergent: true,
            longest: 1_000,
            prefix: "",
            plain_text: true,
        };
        let partition = PartitionName::new("shop").unwrap();
        let profile = Profile { name: "partner".into(), partition, local: false, per_value: Some(api) };
        let text = "rules:\n  - name: r\n    match: { path: /x }\n    protect: [{ fields: [$..ssn, $..pan], key: partner, deterministic: true }]\n";
        let context = Context { profiles: vec![Arc::new(profile)], ..Context::default() };
        let rules = load_text("t.yaml", text, &context).rules.unwrap();
        let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
        let facts = RequestFacts {
            method: "POST",
            path: &path,
            ignore_case: false,
            listener: "",
            host: None,
            words: (&headers).into(),
        };
        let message = Message {
            direction: Direction::Request,
            target: ("/x", None),
            headers: &headers,
            status: 200,
            content_type: "application/json",
            body: Some(br#"[{"ssn":1},{"ssn":"2"},{"ssn":3,"pan":null},{"pan":"4"}]"#),
        };
        let told = decide(Explanation::new("POST", "front"), &rules, &facts, &message);
        assert_eq!(told.notes, ["profile `partner`: 4 values of this body, 3 calls of its API"]);
        let json = told.to_json();
        assert_eq!(json["actions"][0]["delegated"]["profile"], "partner");
        assert_eq!(json["actions"][0]["suite"], serde_json::Value::Null);
        assert_eq!(json["values"][0]["token_length"], serde_json::Value::Null);
        let shown = told.to_string();
        assert!(
            shown.contains(
                "key partner, enforce, by the API of profile partner (a call for up to 2 values of a class in a body)"
            ),
            "{shown}"
        );
    }

    #[test]
    fn values_in_strings_are_told_with_both_places() {
        let text = "rules:\n  - name: r\n    match: { path: /x }\n    protect: [{ fields: $..payload, parse: json, inside: [$..pan, $..ssn] }]\n";
        let rules = load_text("t.yaml", text, &Context::default()).rules.unwrap();
        let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
        let facts = RequestFacts {
            method: "POST",
            path: &path,
            ignore_case: false,
            listener: "",
            host: None,
            words: (&headers).into(),
        };
        let told = |body: &str| {
            let message = Message {
                direction: Direction::Request,
                target: ("/x", None),
                headers: &headers,
                status: 200,
                content_type: "application/json",
                body: Some(body.as_bytes()),
            };
            decide(Explanation::new("POST", "front"), &rules, &facts, &message)
        };
        let one = told(r#"{"payload":"{\"a\":{\"ssn\":\"1\"},\"pan\":null}"}"#);
        let places: Vec<_> = one.values.iter().map(|v| (v.location.as_str(), v.action, v.happens.as_str())).collect();
        assert_eq!(
            places,
            [
                ("$['payload'] > $['a']['ssn']", 1, "sealed"),
                ("$['payload'] > $['pan']", 0, "stays: null means absence")
            ]
        );
        assert_eq!(one.values[0].token_length, Some(token_len(Suite::Xaes, 1, true, None, false)));
        assert_eq!(one.actions[1].selector, "$..payload > $..ssn");
        assert_eq!((one.actions[0].selects, one.refused), (Some(1), None));
        let none = told(r#"{"payload":"{"}"#);
        assert!(none.refused.is_some_and(|(status, why)| status == 400 && why.contains("holds is no JSON")));
        assert_eq!(none.values[0].location, "$['payload']");
    }

    #[test]
    fn forms_are_told_as_the_proxy_reads_them() {
        let text = "rules:\n  - name: r\n    match: { path: /x }\n    protect: [{ fields: [$..ssn, form:ssn], max_value: 8 }, { fields: form:n, type: number }]\n";
        let rules = load_text("t.yaml", text, &Context::default()).rules.unwrap();
        let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
        let facts = RequestFacts {
            method: "POST",
            path: &path,
            ignore_case: false,
            listener: "",
            host: None,
            words: (&headers).into(),
        };
        let told = |content_type: &str, body: &str| {
            let message = Message {
                direction: Direction::Request,
                target: ("/x", None),
                headers: &headers,
                status: 200,
                content_type,
                body: Some(body.as_bytes()),
            };
            let told = decide(Explanation::default(), &rules, &facts, &message);
            let values = told.values.into_iter().map(|value| format!("{} {}", value.location, value.happens));
            (values.collect::<Vec<_>>(), told.refused.map(|(status, _)| status))
        };
        let form = "application/x-www-form-urlencoded";
        assert_eq!(told(form, "a=1&ssn=%31&n=2"), (vec!["form:ssn sealed".into(), "form:n sealed".into()], None));
        assert_eq!(told(form, "n=x").1, Some(422));
        assert_eq!(told(form, "a=1;ssn=2").1, Some(400));
        assert_eq!(told("multipart/form-data", "").1, None, "an empty body is no body");
        assert_eq!(told("multipart/form-data", "--").1, Some(415));
        assert_eq!(told("application/json", "{\"ssn\":1}").0, ["$['ssn'] sealed"]);
        let part = "--b\r\nContent-Disposition: form-data; name=\"ssn\"\r\n\r\nsc1.\r\n--b--\r\n";
        assert_eq!(told("multipart/form-data; boundary=b", part).1, Some(422));
    }
}
