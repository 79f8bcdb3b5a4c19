//! Tests in the rule files: run at every load, without keys, against all rules of the load.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::form::select::Selected;
use crate::form::{self, Form};
use crate::json::framing::Framing;
use crate::json::text::{escape_into, unescape};
use crate::jsonpath::{self, Path, Unreadable};

use super::compile::Context;
use super::file::{Body, Given, Pairs, TestEntry, WhenEntry};
use super::media::{Media, media};
use super::route::{Captures, End, RequestFacts, normalize, override_header};
use super::yaml::{At, Reader, Yaml};
use super::{Action, Binding, Key, Mode, OnToken, OnUnreadable, Part, Rule, RuleKind, RuleSet, Verb, Words};

mod outside;

use outside::Head;

/// What the rules do to the exchange of a test, whatever step of the roll-out they are on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    seals: BTreeSet<String>,
    opens: BTreeSet<String>,
    rejected: Option<(u16, String)>,
}

/// Runs one test; a failing one is an error at its place.
pub(super) fn run(set: &RuleSet, rule: &Arc<str>, test: &At<TestEntry>, context: &Context, reader: &mut Reader<'_>) {
    let t = &test.value;
    let title =
        t.name.get().map_or_else(|| format!("a test of rule `{rule}`"), |n| format!("test `{n}` of rule `{rule}`"));
    let Some(when) = t.when.get().filter(|w| w.path.get().is_some()) else {
        reader.error(
            &test.span,
            "test",
            format!("{title} has no `when.path`"),
            "write `when: { method: PUT, path: /customers/7 }`",
        );
        return;
    };
    let expects = [&t.seals.span, &t.opens.span, &t.untouched.span, &t.rejected.span];
    if expects.iter().all(|s| s.is_none()) {
        reader.error(
            &test.span,
            "test",
            format!("{title} expects nothing"),
            "add `seals`, `opens`, `untouched` or `rejected`",
        );
        return;
    }
    let outcome = match decide(set, rule, when, t, context) {
        Ok(outcome) => outcome,
        Err(message) => {
            reader.error(&test.span, "test", format!("{title}: {message}"), "fix the test");
            return;
        }
    };
    let mut fail = |span: &Option<std::ops::Range<usize>>, expected: String, got: String| {
        let message = format!("{title} fails: expected {expected}, got {got}");
        let span = span.clone().unwrap_or_else(|| test.span.clone());
        reader.error(&span, "test-failed", message, "correct the rule, or the test if the rule is right");
    };
    let refused = match &outcome.rejected {
        Some((status, why)) => format!("rejected with {status} ({why})"),
        None if outcome.seals.is_empty() && outcome.opens.is_empty() => "nothing sealed or opened".into(),
        None => format!("sealed {}, opened {}", list(&outcome.seals), list(&outcome.opens)),
    };
    match (t.rejected.get(), &outcome.rejected) {
        (Some(expected), Some((status, _))) if usize::from(*status) == *expected => {}
        (Some(expected), _) => fail(&t.rejected.span, format!("rejected with {expected}"), refused),
        (None, Some(_)) => fail(&None, "it to pass".into(), refused),
        (None, None) => {
            let touched = !outcome.seals.is_empty() || !outcome.opens.is_empty();
            match t.untouched.get() {
                Some(true) if touched => fail(&t.untouched.span, "untouched".into(), refused),
                Some(false) if !touched => fail(&t.untouched.span, "a value sealed or opened".into(), refused),
                _ => {}
            }
            for (given, got, what) in [(&t.seals, &outcome.seals, "sealed"), (&t.opens, &outcome.opens, "opened")] {
                if let Some(expected) = paths(given)
                    && expected != *got
                {
                    fail(&given.span, format!("{what} {}", list(&expected)), format!("{what} {}", list(got)));
                }
            }
        }
    }
}

fn decide(
    set: &RuleSet,
    rule: &Arc<str>,
    when: &WhenEntry,
    test: &TestEntry,
    context: &Context,
) -> Result<Outcome, String> {
    let reject = |status, why: &str| Ok(Outcome { rejected: Some((status, why.into())), ..Outcome::default() });
    let headers = headers(&when.headers)?;
    let raw = when.path.get().map_or("", String::as_str);
    let (raw, query) = raw.split_once('?').map_or((raw, None), |(path, query)| (path, Some(query)));
    let path = match normalize(raw, context.ignore_case) {
        Ok(path) => path,
        Err(ambiguous) => return reject(400, &ambiguous.to_string()),
    };
    if let Some(name) = override_header(&headers) {
        return reject(400, &format!("header `{name}`"));
    }
    let request = test.request.get().map(body);
    let default_method = if request.is_some() { "POST" } else { "GET" };
    let method = when.method.get().map_or(default_method, String::as_str);
    let host = when.host.get().map(|h| h.to_ascii_lowercase());
    // A test that names no listener, or media type of the response, is about one that its own rule meets.
    let own = set.rules.iter().find(|r| r.name == *rule).map(|r| &r.matches);
    let any = String::new();
    let listener =
        when.listener.get().or_else(|| own?.listeners.first()).or_else(|| context.listeners.first()).unwrap_or(&any);
    let client: Vec<String> =
        when.client.get().map_or(&[][..], |names| names.0.as_slice()).iter().map(|name| name.value.clone()).collect();
    let sni = when.sni.get().map(|sni| sni.to_ascii_lowercase());
    let claims = match when.claims.get().map(|claims| claims.0.to_json()) {
        None => None,
        Some(serde_json::Value::Object(claims)) => Some(claims),
        Some(_) => return Err("`claims` is no mapping".into()),
    };
    let facts = RequestFacts {
        method,
        path: &path,
        ignore_case: context.ignore_case,
        listener,
        host: host.as_deref(),
        words: Words { headers: &headers, client: &client, sni: sni.as_deref(), claims: claims.as_ref() },
    };
    let route = set.route(&facts);
    if let End::Rejected(rule) = &route.end {
        return reject(403, &format!("rule `{}`", rule.name));
    }
    let mut outcome = Outcome::default();
    if let Some(why) = missing_key(&route.rules, &facts.words) {
        return reject(422, &why);
    }
    let looks_up = matches!(method, "GET" | "HEAD");
    let acting: Vec<&Arc<Rule>> = route.rules.iter().map(|(rule, _)| rule).collect();
    let head = Head { path: raw, query, ignore_case: context.ignore_case, looks_up, headers: &headers };
    outside::message(&acting, Side::Request, &head, &mut outcome);
    if let (Some(text), None) = (&request, &outcome.rejected) {
        let acting: Vec<&Arc<Rule>> = route.rules.iter().map(|(rule, _)| rule).collect();
        let content_type = when.content_type.get().map(String::as_str).or(Some("application/json"));
        message(&acting, Side::Request, content_type, text, &mut outcome);
    }
    let answers = test.response.is_there() || test.response_headers.is_there();
    if let (true, None) = (answers, &outcome.rejected) {
        let text = test.response.get().map(body).unwrap_or_default();
        let status = test.status.get().and_then(|s| u16::try_from(*s).ok()).unwrap_or(200);
        let own_type = own.and_then(|m| m.content_types.iter().find(|t| !t.contains('*')));
        let content_type = Some(own_type.map_or("application/json", String::as_str));
        let acting: Vec<&Arc<Rule>> =
            route.rules.iter().map(|(rule, _)| rule).filter(|r| r.acts_on_response(status, content_type)).collect();
        let headers = self::headers(&test.response_headers)?;
        outside::message(&acting, Side::Response, &Head { headers: &headers, ..head }, &mut outcome);
        if outcome.rejected.is_none() {
            message(&acting, Side::Response, content_type, &text, &mut outcome);
        }
    }
    Ok(outcome)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// One body: what of it is sealed and opened, or why it is refused.
fn message(rules: &[&Arc<Rule>], side: Side, content_type: Option<&str>, text: &str, outcome: &mut Outcome) {
    let actions = |rule: &Arc<Rule>| match (&rule.kind, side) {
        (RuleKind::Fields { request, .. }, Side::Request) => request.clone(),
        (RuleKind::Fields { response, .. }, Side::Response) => response.clone(),
        _ => Vec::new(),
    };
    let status = |request: u16| if side == Side::Request { request } else { 502 };
    // An empty body is no body.
    if text.is_empty() {
        return;
    }
    let mut paths: Vec<Arc<Path>> = Vec::new();
    let mut owners: Vec<Arc<Action>> = Vec::new();
    let mut framing = Framing::One;
    let mut form = None;
    let mut rejects = false;
    for rule in rules {
        let mut mine = actions(rule);
        mine.retain(|action| action.part != Part::Outside);
        if mine.is_empty() {
            continue;
        }
        let has = |part: Part| mine.iter().any(|action| action.part == part);
        let half = if side == Side::Request { rule.limits.request } else { rule.limits.response };
        match media(content_type, &rule.limits.json_types) {
            Media::Json(of) if has(Part::Json) && (of != Framing::Events || side == Side::Response) => framing = of,
            Media::Form(Ok(of)) if has(Part::Form) => {
                rejects |= half.invalid_json == OnUnreadable::Reject;
                form = Some(of);
                let fields = mine.into_iter().filter(|action| action.part == Part::Form);
                owners.extend(fields.flat_map(|action| std::iter::repeat_n(Arc::clone(&action), action.fields.len())));
                continue;
            }
            _ if half.media_type == OnUnreadable::Reject => {
                outcome.rejected = Some((status(415), format!("on_media_type of rule `{}`", rule.name)));
                return;
            }
            Media::Other | Media::Json(_) | Media::Form(_) => continue,
        }
        let read = if framing == Framing::Patch { Framing::One } else { framing };
        if let Err(error) = select(text, read, &[]) {
            if half.invalid_json == OnUnreadable::Reject {
                outcome.rejected = Some((status(400), format!("not JSON: {error}")));
                return;
            }
            continue;
        }
        rejects |= half.invalid_json == OnUnreadable::Reject;
        for action in mine {
            for field in &action.fields {
                let Some(path) = field.path() else { continue };
                paths.push(Arc::clone(path));
                owners.push(Arc::clone(&action));
            }
        }
    }
    if let Some(form) = form {
        match of_form(&form, text, &owners) {
            Ok(values) => judge(&values, &owners, status, false, outcome),
            Err(error) if rejects => outcome.rejected = Some((status(400), format!("not a form: {error}"))),
            Err(_) => {}
        }
        return;
    }
    let unmerged = framing == Framing::Merge && paths.iter().any(|path| path.filters());
    let selected = match select(text, framing, &paths) {
        _ if unmerged => Err("a filter cannot be told in a merge patch".to_owned()),
        selected => selected,
    };
    let selected = match selected {
        Ok(selected) => selected,
        Err(error) => {
            if rejects {
                outcome.rejected = Some((status(422), error));
            }
            return;
        }
    };
    let mut values: Vec<Value> = Vec::new();
    for one in selected {
        let Some(action) = owners.get(one.path) else { continue };
        let raw = text.get(one.span).unwrap_or_default().as_bytes();
        let Some(selectors) = &action.inside else {
            values.push(Value {
                location: one.location,
                path: one.path,
                raw: raw.to_vec(),
                bound: one.record.is_some(),
            });
            continue;
        };
        match jsonpath::select_inside(raw, &one.location, selectors) {
            Ok(found) => values.extend(found.into_iter().map(|found| Value {
                location: found.location,
                path: one.path + found.path,
                raw: found.raw,
                bound: found.record.is_some(),
            })),
            Err(error) => {
                let refused = if matches!(error, Unreadable::Undecided(_)) { 422 } else { 400 };
                let acts = action.verb == Verb::Open || action.mode >= Mode::Migrate;
                if rejects && acts && action.mode != Mode::Observe {
                    outcome.rejected = Some((status(refused), format!("{error}, at {}", one.location)));
                    return;
                }
            }
        }
    }
    judge(&values, &owners, status, framing == Framing::Merge, outcome);
}

/// The values of a form, as JSON has them.
fn of_form(form: &Form, text: &str, owners: &[Arc<Action>]) -> Result<Vec<Value>, String> {
    let mut names: Vec<&str> = Vec::with_capacity(owners.len());
    for (index, action) in owners.iter().enumerate() {
        let before = owners.iter().take(index).filter(|other| Arc::ptr_eq(other, action)).count();
        names.push(action.fields.get(before).and_then(|field| field.place.name()).unwrap_or_default());
    }
    let value = |found: Selected| {
        let text = found.text.ok_or("a selected value cannot be decoded")?;
        let text = std::str::from_utf8(text.expose()).map_err(|_| "a selected value is not UTF-8")?;
        let mut raw = vec![b'"'];
        escape_into(text, &mut raw);
        raw.push(b'"');
        let name = names.get(found.name).copied().unwrap_or_default();
        Ok(Value { location: format!("form:{name}"), path: found.name, raw, bound: true })
    };
    let found = form::select::select(form, text.as_bytes(), names.iter().copied()).map_err(|e| e.to_string())?;
    found.into_iter().map(value).collect()
}

/// What becomes of the selected values. `merges`: in a merge patch, where null removes.
fn judge(values: &[Value], owners: &[Arc<Action>], status: impl Fn(u16) -> u16, merges: bool, outcome: &mut Outcome) {
    for value in values {
        let Some(action) = owners.get(value.path) else { continue };
        if value.raw == b"null" && (!action.seal_nulls || (merges && action.inside.is_none())) {
            continue;
        }
        match action.verb {
            Verb::Open => {
                outcome.opens.insert(value.location.clone());
            }
            Verb::Seal => {
                let content = value.raw.strip_prefix(b"\"").unwrap_or_default();
                let refuses = action.on_token == OnToken::Reject && action.mode >= Mode::Migrate;
                let bound = matches!(action.bind, Some(Binding::Value(_)));
                if bound && !value.bound && action.mode >= Mode::Migrate {
                    outcome.rejected = Some((status(422), format!("bind at {}", value.location)));
                    return;
                }
                if refuses && action.key.looks_sealed(&unescape(content)) {
                    outcome.rejected = Some((status(422), format!("on_token at {}", value.location)));
                    return;
                }
                let text = unescape(content.strip_suffix(b"\"").unwrap_or(content));
                if action.part == Part::Form && action.mode >= Mode::Migrate && !outside::fits(action.text, &text) {
                    outcome.rejected = Some((status(422), format!("type at {}", value.location)));
                    return;
                }
                outcome.seals.insert(value.location.clone());
            }
        }
    }
    for action in owners.iter().filter(|a| a.required && a.mode != Mode::Observe) {
        let found = |v: &Value| owners.get(v.path).is_some_and(|o| Arc::ptr_eq(o, action));
        if !values.iter().any(found) {
            outcome.rejected = Some((status(422), format!("a required field of rule `{}` is missing", action.rule)));
            return;
        }
    }
}

/// A selected value, in the body or in a string of it.
struct Value {
    location: String,
    path: usize,
    raw: Vec<u8>,
    /// What its path binds it to is there.
    bound: bool,
}

/// In each document; places are each document's own, spans the body's.
fn select(text: &str, framing: Framing, paths: &[Arc<Path>]) -> Result<Vec<jsonpath::Selected>, String> {
    jsonpath::select_each(text.as_bytes(), framing, paths)
}

/// A key template is filled once, from the request, before anything is changed.
fn missing_key(rules: &[(Arc<Rule>, Captures)], words: &Words<'_>) -> Option<String> {
    for (rule, captures) in rules {
        let RuleKind::Fields { request, response } = &rule.kind else { continue };
        let needs = |a: &&Arc<Action>| !matches!(a.key, Key::Glob(_)) && a.mode != Mode::Observe;
        for action in request.iter().chain(response).filter(needs) {
            if let Err(error) = action.key.resolve(captures, words) {
                return Some(format!("key of rule `{}`: {error}", rule.name));
            }
        }
    }
    None
}

fn headers(given: &Given<Pairs>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given.get().map_or(&[][..], |p| p.0.as_slice()) {
        let header =
            HeaderName::from_bytes(name.value.as_bytes()).map_err(|_| format!("`{}` is no header", name.value))?;
        let value = HeaderValue::from_str(&value.value).map_err(|_| format!("bad value of header `{header}`"))?;
        headers.append(header, value);
    }
    Ok(headers)
}

/// Text is the raw body, anything else is written as JSON.
fn body(body: &Body) -> String {
    match &body.0 {
        Yaml::Text(text) => text.clone(),
        other => other.to_json().to_string(),
    }
}

fn paths(given: &Given<Vec<At<String>>>) -> Option<BTreeSet<String>> {
    Some(given.get()?.iter().map(|p| p.value.clone()).collect())
}

fn list(paths: &BTreeSet<String>) -> String {
    if paths.is_empty() { "nothing".into() } else { paths.iter().cloned().collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use crate::rules::compile::{Context, load_text};
    use rstest::rstest;

    /// Findings of a test in a file of two rules.
    fn findings(test: &str) -> Vec<String> {
        let text = format!(
            "rules:\n  - name: admin\n    match: {{ path: /admin/** }}\n    action: reject\n  - name: pii\n    match: {{ path: \"/c/{{t}}/**\", status: 2xx }}\n    request:\n      - {{ seal: $..ssn, key: \"t-{{t}}.{{header:x-t}}\", mode: migrate, required: true }}\n    response:\n      - open: $..ssn\n    mode: enforce\n  - name: far\n    match: {{ path: \"/f/{{id}}\" }}\n    protect: [{{ fields: [\"query:k\", \"header:x-ssn\", \"path:id\"], deterministic: true, type: number }}]\n  - name: strict\n    match: {{ path: /s }}\n    protect: [{{ fields: $.a, required: true }}]\n    on_encoding: reject\n    tests:\n      - {test}\n"
        );
        let context = Context { trusted_headers: vec!["x-t".into()], ..Context::default() };
        let loaded = load_text("t.yaml", &text, &context);
        assert_eq!(loaded.rules.is_none(), loaded.findings.has_errors());
        assert!(loaded.findings.0.iter().all(|f| f.line_column().is_some_and(|(line, _)| line == 20)));
        loaded.findings.0.iter().map(|f| format!("{}: {}", f.code, f.message)).collect()
    }

    #[rstest]
    #[case("{ when: { path: /c/1, headers: { x-t: a } }, request: { ssn: 1 }, seals: [\"$['ssn']\"] }")]
    #[case(
        "{ when: { path: /c/1?ssn=1, headers: { x-t: a } }, request: [{ ssn: 1 }, { ssn: null }], seals: [\"$[0]['ssn']\"] }"
    )]
    #[case("{ when: { path: /c/1 }, rejected: 422 }")]
    #[case("{ when: { path: /s }, request: { b: 1 }, rejected: 422 }")]
    #[case("{ when: { path: /s }, request: { a: 1 }, seals: [\"$['a']\"], opens: [] }")]
    #[case("{ when: { path: /s }, request: '{\"a\":', rejected: 400 }")]
    #[case("{ when: { path: /s }, request: '{\"a\":\"\\u0073c1.x\"}', rejected: 422 }")]
    #[case("{ when: { path: /s, content_type: text/html }, request: '<a>', rejected: 415 }")]
    #[case(
        "{ when: { path: /s, content_type: application/merge-patch+json }, request: { a: 1 }, seals: [\"$['a']\"] }"
    )]
    #[case(
        "{ when: { path: /s, content_type: application/json-patch+json }, request: [{ op: add, path: /a, value: 1 }], seals: [\"$[0]['value']\"] }"
    )]
    #[case("{ when: { path: /s, content_type: application/json-patch+json }, request: { a: 1 }, rejected: 422 }")]
    #[case("{ when: { path: /s }, request: '', untouched: true }")]
    #[case("{ when: { path: /s }, response: 'not json', untouched: true }")]
    #[case("{ when: { path: /s }, request: { a: 1 }, response: { a: x }, seals: [\"$['a']\"], opens: [\"$['a']\"] }")]
    #[case("{ when: { path: /c/1, headers: { x-t: a } }, status: 404, response: { ssn: x }, untouched: true }")]
    #[case("{ when: { path: /other }, request: { ssn: 1 }, untouched: true }")]
    #[case(
        "{ when: { path: \"/f/7?k=%31&x\", headers: { x-ssn: \"2\" } }, seals: [\"query:k\", \"header:x-ssn\", \"path:id\"] }"
    )]
    #[case("{ when: { path: \"/f/7?k=x\" }, rejected: 422 }")]
    #[case("{ when: { path: \"/f/7?K=1\" }, rejected: 400 }")]
    #[case("{ when: { path: \"/f/sc1.x?k=sc1.y\" }, untouched: true }")]
    #[case("{ when: { path: \"/f/sc1.x\", method: PUT }, rejected: 422 }")]
    #[case(
        "{ when: { path: /f/7 }, response_headers: { X-Ssn: sc1.x }, seals: [\"path:id\"], opens: [\"header:x-ssn\"] }"
    )]
    #[case("{ when: { path: /x/../admin }, rejected: 403 }")]
    #[case("{ when: { path: /s%2f }, rejected: 400 }")]
    #[case("{ when: { path: /s, headers: { X-Rewrite-Url: /x } }, rejected: 400 }")]
    fn passing(#[case] test: &str) {
        assert_eq!(findings(test), Vec::<String>::new());
    }

    #[rstest]
    #[case(
        "request: { payload: '{\"ssn\":\"1\",\"a\":{\"id\":1,\"ssn\":2}}' }, seals: [\"$['payload'] > $['a']['ssn']\"]",
        Some("bind at $['payload'] > $['ssn']")
    )]
    #[case("request: [{ payload: '{\"\\u0073sn\":\"1\",\"id\":7}' }], seals: [\"$[0]['payload'] > $['ssn']\"]", None)]
    #[case("request: { payload: '{\"ssn\":null}', ssn: 1 }, untouched: true", None)]
    #[case("request: { payload: '' }, untouched: true", None)]
    #[case("request: { payload: null }, untouched: true", None)]
    #[case("request: { payload: '{\"ssn\"}' }, rejected: 400", None)]
    #[case("request: { payload: { ssn: 1 } }, rejected: 400", None)]
    #[case("request: { payload: '{\"ssn\":\"sc1.x\",\"id\":1}' }, rejected: 422", None)]
    #[case("response: { payload: '{\"ssn\"}' }, untouched: true", None)]
    #[case("response: { payload: '{\"ssn\":1}' }, opens: [\"$['payload'] > $['ssn']\"]", None)]
    fn places_in_strings(#[case] test: &str, #[case] fails: Option<&str>) {
        let text = format!(
            "rules:\n  - name: a\n    match: {{ path: /x }}\n    protect: [{{ fields: $..payload, parse: json, inside: $..ssn, bind: '@.id' }}]\n    tests:\n      - {{ when: {{ path: /x }}, {test} }}\n"
        );
        let findings = load_text("t.yaml", &text, &Context::default()).findings;
        let found: Vec<_> = findings.0.iter().map(|f| f.message.clone()).collect();
        match fails {
            None => assert_eq!(found, Vec::<String>::new()),
            Some(message) => assert!(found.len() == 1 && found[0].contains(message), "{found:?}"),
        }
    }

    #[rstest]
    #[case("request: 'a=1&%73sn=2&b', seals: [\"form:ssn\"]", None)]
    #[case("request: 'a=1', rejected: 422", None)]
    #[case("request: 'a=1;ssn=2', rejected: 400", None)]
    #[case("request: 'ssn=%', rejected: 400", None)]
    #[case("request: 'ssn=sc1.x', rejected: 422", None)]
    #[case("request: 'ssn=1&n=x', rejected: 422", None)]
    #[case("request: 'ssn=1&n=2', seals: [\"form:ssn\", \"form:n\"]", None)]
    #[case("request: 'ssn=2', untouched: true", Some("expected untouched, got sealed form:ssn"))]
    fn fields_of_forms(#[case] test: &str, #[case] fails: Option<&str>) {
        let text = format!(
            "rules:\n  - name: a\n    match: {{ path: /x }}\n    protect: [{{ fields: [form:ssn, $..ssn], required: true }}, {{ fields: form:n, type: number }}]\n    tests:\n      - {{ when: {{ path: /x, content_type: application/x-www-form-urlencoded }}, {test} }}\n      - {{ when: {{ path: /x }}, request: {{ ssn: 1 }}, seals: [\"$['ssn']\"] }}\n"
        );
        let findings = load_text("t.yaml", &text, &Context::default()).findings;
        let found: Vec<_> =
            findings.0.iter().filter(|f| f.code != "form-by-query").map(|f| f.message.clone()).collect();
        match fails {
            None => assert_eq!(found, Vec::<String>::new()),
            Some(message) => assert!(found.len() == 1 && found[0].contains(message), "{found:?}"),
        }
    }

    #[test]
    fn forms_are_read_by_rules_that_have_fields_of_them() {
        let form = "when: { path: /x, content_type: application/x-www-form-urlencoded }";
        let parts = "when: { path: /x, content_type: multipart/form-data; boundary=b }";
        let part = "--b\\r\\nContent-Disposition: form-data; name=ssn\\r\\n\\r\\n1\\r\\n--b--";
        let text = format!(
            "rules:\n  - name: a\n    match: {{ path: /x }}\n    protect: [{{ fields: form:ssn }}]\n    tests:\n      - {{ when: {{ path: /x }}, request: {{ ssn: 1 }}, rejected: 415 }}\n      - {{ {parts}, request: \"{part}\", seals: [form:ssn] }}\n      - {{ {parts}, request: \"ssn=1\", rejected: 400 }}\n  - name: b\n    match: {{ path: /y }}\n    response: [{{ open: form:ssn }}]\n    tests:\n      - {{ when: {{ path: /y }}, request: ssn=1, untouched: true }}\n  - name: c\n    match: {{ path: /z }}\n    protect: [{{ fields: $..ssn }}]\n    tests:\n      - {{ {}, request: ssn=1, rejected: 415 }}\n",
            form.replace("/x", "/z")
        );
        let loaded = load_text("t.yaml", &text, &Context::default());
        assert!(
            loaded.findings.0.iter().all(|f| f.code == "form-by-query") && loaded.tests == 5,
            "{}",
            loaded.findings
        );
    }

    #[test]
    fn observe_refuses_nothing() {
        let text = "rules:\n  - name: a\n    match: { path: /x, content_type: application/vnd.x+json }\n    mode: observe\n    on_media_type: reject\n    protect: [{ fields: $.a, key: \"t-{header:x-t}\", required: true }]\n    tests:\n      - { when: { path: /x }, request: { a: sc1.x }, response: { a: 1 }, seals: [\"$['a']\"], opens: [\"$['a']\"] }\n      - { when: { path: /x, content_type: text/html }, request: { b: 1 }, untouched: true }\n      - { when: { path: /x, content_type: application/json-patch+json }, request: { a: 1 }, untouched: true }\n      - { when: { path: /x }, request: { b: 1 }, untouched: true }\n";
        let context = Context { trusted_headers: vec!["x-t".into()], ..Context::default() };
        let loaded = load_text("t.yaml", text, &context);
        assert!(loaded.findings.0.is_empty() && loaded.tests == 4, "{}", loaded.findings);
    }

    #[rstest]
    #[case("{ when: { path: /s }, request: { a: 1 }, untouched: true }", "expected untouched, got sealed $['a']")]
    #[case("{ when: { path: /s }, request: { a: 1 }, rejected: 415 }", "expected rejected with 415, got sealed $['a']")]
    #[case("{ when: { path: /s }, request: { a: 1 }, seals: [\"$.a\"] }", "expected sealed $.a, got sealed $['a']")]
    #[case("{ when: { path: /s }, request: { a: 1 }, seals: [] }", "expected sealed nothing, got sealed $['a']")]
    #[case("{ when: { path: /s }, request: { b: 1 }, seals: [] }", "expected it to pass, got rejected with 422")]
    #[case(
        "{ when: { path: /admin }, rejected: 400 }",
        "expected rejected with 400, got rejected with 403 (rule `admin`)"
    )]
    #[case("{ name: n, when: { path: /s }, opens: [\"$['a']\"] }", "test `n` of rule `strict` fails: expected opened")]
    #[case("{ when: { path: /s } }", "expects nothing")]
    #[case("{ when: { method: GET }, untouched: true }", "has no `when.path`")]
    #[case("{ untouched: true }", "has no `when.path`")]
    #[case("{ when: { path: /s, headers: { \"a b\": c } }, untouched: true }", "`a b` is no header")]
    fn failing(#[case] test: &str, #[case] message: &str) {
        let found = findings(test);
        assert!(found.len() == 1 && found[0].contains(message), "{found:?}");
    }
}
