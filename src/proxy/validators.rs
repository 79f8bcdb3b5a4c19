//! What a message says about its body beside the body: where a rule may change an answer, its entity tags become ours and are
//! turned back on the way to the upstream, and caches are told what they may keep.
//!
//! Two callers may be shown different bytes of one resource, and other rules show others. So a tag of ours is the upstream's
//! with a suffix that stands for whatever decides that: `"33a64df5"` becomes `"33a64df5-sc1-0f3c9a7b21de"`. No key and no epoch
//! is in it, so all replicas with the same rules make the same tag.

mod tag;

use std::fmt::Write as _;
use std::sync::LazyLock;

use http::Method;
use http::header::{
    CACHE_CONTROL, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, VARY,
};

use crate::crypto::kdf;
use crate::keyring::{Cached, Memo};
use crate::rules::{Key, KeyPart};
use crate::transform::plan::{HalfPlan, PlannedField, Target, changes};

use super::exchange::Exchange;
use super::headers::{Rare, has_token, remove_any};
use tag::{Tags, Variant};

/// What asks for a digest that a changed body would make false.
static WANTS: LazyLock<Rare> =
    LazyLock::new(|| Rare::new(&["want-digest", "want-content-digest", "want-repr-digest", "want-unencoded-digest"]));

/// What makes some caches keep an answer whatever `Cache-Control` says.
static FOR_CACHES: LazyLock<Rare> = LazyLock::new(|| {
    Rare::new(&[
        "expires",
        "age",
        "pragma",
        "cdn-cache-control",
        "cloudflare-cdn-cache-control",
        "surrogate-control",
        "x-accel-expires",
        "edge-control",
    ])
});

/// A request's conditions, as the upstream understands them.
pub(super) fn to_upstream(exchange: &Exchange, headers: &mut HeaderMap) {
    if exchange.rules.rules.is_empty() {
        return;
    }
    let plan = changing(exchange);
    if plan.is_some() {
        remove_any(headers, &WANTS);
    }
    // One look at each name costs less than a look-up for each of these.
    if !headers.keys().any(|name| matches!(*name, IF_MATCH | IF_NONE_MATCH | IF_MODIFIED_SINCE)) {
        return;
    }
    let safe = matches!(exchange.method, Method::GET | Method::HEAD);
    let variant = || plan.map(|plan| variant(exchange, plan));
    if headers.contains_key(IF_MATCH) {
        // Whoever changes a resource says which state of it was seen. That others are shown it otherwise is no other state.
        match variant().filter(|_| safe) {
            Some(variant) => drop(rewrite(headers, &IF_MATCH, |tags| tags.turn_back(Some(&variant)))),
            None if safe => {}
            None => drop(rewrite(headers, &IF_MATCH, |tags| tags.turn_back(None))),
        }
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if safe {
            // 304 says: use the bytes that you have. So only a tag that these bytes came with may bring it about.
            let variant = variant();
            let all = rewrite(headers, &IF_NONE_MATCH, |tags| tags.keep(variant.as_ref()));
            if !all {
                headers.remove(IF_MODIFIED_SINCE);
            }
        } else {
            rewrite(headers, &IF_NONE_MATCH, |tags| tags.turn_back(None));
        }
    }
    if safe && plan.is_some() {
        // A date says nothing of who asks, nor of the rules.
        headers.remove(IF_MODIFIED_SINCE);
    }
}

/// An answer's tag, as the client shall give it back, and on what the answer depends.
pub(super) fn to_client(exchange: &Exchange, headers: &mut HeaderMap) {
    if let Some(plan) = exchange.outside.1.as_deref().filter(|plan| opens(plan)) {
        vary(exchange, plan, headers);
    }
    let Some(plan) = changing(exchange) else { return };
    if let Some(tag) = headers.get(ETAG) {
        match tag::ours(tag, &variant(exchange, plan)) {
            Some(tag) => headers.insert(ETAG, tag),
            None => headers.remove(ETAG),
        };
    }
    if opens(plan) {
        vary(exchange, plan, headers);
    }
}

/// An answer that has values opened in it, or would have if it had a body.
pub(super) fn opened(plan: &HalfPlan, headers: &mut HeaderMap) {
    if !opens(plan) || plan.keep_cache {
        return;
    }
    remove_any(headers, &FOR_CACHES);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn changing(exchange: &Exchange) -> Option<&HalfPlan> {
    exchange.response.as_deref().filter(|plan| plan.changes())
}

fn opens(plan: &HalfPlan) -> bool {
    plan.traits().opens
}

/// Reads a list of tags and writes what `change` leaves of it; whether that is all of them.
fn rewrite(headers: &mut HeaderMap, name: &HeaderName, change: impl FnOnce(&mut Tags) -> bool) -> bool {
    let mut tags = Tags::read(headers.get_all(name).iter().map(HeaderValue::as_bytes));
    let all = change(&mut tags);
    match tags.write() {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
    all
}

/// Stands for all that decides what this caller is shown of a body.
fn variant(exchange: &Exchange, plan: &HalfPlan) -> Variant {
    let mut text = String::with_capacity(512);
    let told = write!(text, "1\n{:?}\n{}\n", exchange.role, exchange.may_see_plaintext)
        .and_then(|()| plan.all().filter(|f| changes(&f.action)).try_for_each(|f| field(exchange, f, &mut text)));
    debug_assert!(told.is_ok(), "a String takes everything");
    Variant::new(&kdf::sha256(text.as_bytes()))
}

fn field(exchange: &Exchange, field: &PlannedField, text: &mut String) -> std::fmt::Result {
    let a = &field.action;
    write!(text, "{:?} {} {:?} {:?} ", a.rule, field.index, field.selector(), field.class())?;
    write!(text, "{:?} {:?} {:?} {:?} {:?} {:?} ", a.verb, a.mode, a.on_error, a.on_plaintext, a.on_token, a.reveal)?;
    write!(text, "{} {} {:?} {:?} {:?} {:?} ", a.deterministic, a.sign, a.signers, a.bind, a.suite, field.record)?;
    write!(text, "{} {:?} {:?} {} ", a.seal_nulls, a.pad, a.max_value, a.embedded)?;
    match &field.target {
        Target::Glob(key) => write!(text, "{key:?}")?,
        Target::One(partition) => write!(text, "{:?} ", partition.as_str())?,
        Target::Managed(profile) => write!(text, "{:?} {:?} ", profile.name, profile.partition.as_str())?,
    }
    if let (Some(partition), Some(sealer)) = (field.target.partition(), &exchange.shared.sealer) {
        match sealer.permissions(partition, &exchange.role, &mut Memo::default()) {
            Cached::Hit(permissions) => write!(text, "{}", permissions.0)?,
            Cached::Denied(state) => write!(text, "{}", state.name())?,
            Cached::Unknown | Cached::Miss => {}
        }
    }
    text.write_char('\n')
}

/// Names the request headers that decide who may be shown what.
fn vary(exchange: &Exchange, plan: &HalfPlan, headers: &mut HeaderMap) {
    let callers = exchange.shared.settings.callers.iter();
    let roles = callers.flat_map(|caller| {
        let tokens = caller.jwt.iter().map(|token| token.header.as_str());
        caller.headers.iter().map(|(name, _)| name.as_str()).chain(tokens)
    });
    let keys = plan.all().filter_map(|field| match &field.action.key {
        Key::Template(parts) => Some(parts),
        _ => None,
    });
    let keys = keys.flatten().filter_map(|part| match part {
        KeyPart::Header(name) => Some(name.as_str()),
        // A claim comes by a header that is among the callers'. What the connection says, no header names.
        KeyPart::Text(_) | KeyPart::Segment(_) | KeyPart::Claim(_) | KeyPart::Client | KeyPart::Sni => None,
    });
    for name in roles.chain(keys) {
        if !has_token(headers, &VARY, name)
            && !has_token(headers, &VARY, "*")
            && let Ok(value) = HeaderValue::from_str(name)
        {
            headers.append(VARY, value);
        }
    }
}

#[cfg(test)]
mod tests;
