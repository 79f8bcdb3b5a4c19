//! What stands outside the body and is sealed or opened: parameters, segments of the path, headers, cookies. Everything else of
//! the request line and the header section leaves exactly as it came.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
use http::{Method, request, response};

use crate::keyring::KeyringError;
use crate::refusal::{Reason, Refusal};
use crate::rules::place::encode::{encode, holds};
use crate::rules::place::find::{Hit, Spot, Wanted, in_request, in_response, is_taken_back};
use crate::rules::{Action, Mode, OnUnreadable, Place, Rewrite, Verb};
use crate::secret::SecretBytes;
use crate::token::v1::token_len;
use crate::transform::body::CallerRole;
use crate::transform::outside::{TextEdit, Texted};
use crate::transform::plan::{Direction, HalfPlan, PlannedField, changes};
use crate::transform::{Need, Sealer};

use super::body;
use super::exchange::Exchange;
use super::validators;

mod again;
mod trailers;
mod write;

pub(super) use again::{Again, found_nothing};
pub(super) use trailers::guarded;
use write::{Change, Written, write};

/// One text may wait for its partition, its epoch, a signer and a fresh epoch; more fetches than this are a cache that thrashes.
const MAX_FETCHES: usize = 8;

/// Covers what it lists (RFC 9421).
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// Seals and opens what stands outside of a request's body. What it gives is to be asked if the answer says that there is
/// nothing of that kind.
pub(super) async fn request(
    ctx: &Exchange,
    parts: &mut request::Parts,
    has_body: bool,
) -> Result<Option<Again>, Refusal> {
    let Some(plan) = &ctx.outside.0 else { return Ok(None) };
    let find = |plan: &HalfPlan| {
        let path = parts.uri.path();
        in_request(&wanted(ctx, plan), path, parts.uri.query(), ctx.listener.ignore_case, &parts.headers)
    };
    if let Some(watching) = plan.only(|action| !changes(action)) {
        watch(ctx, &watching, find(&watching));
    }
    let Some(plan) = plan.only(changes) else { return Ok(None) };
    let hits = find(&plan);
    let looks_up = matches!(parts.method, Method::GET | Method::HEAD) && !has_body;
    let found = change(ctx, &plan, hits, &parts.headers, looks_up).await?;
    let limit = ctx.shared.settings.limits.header;
    if looks_up && let Some(before) = found.before {
        let again = write(parts, before, limit)?;
        write(parts, found.now, limit)?.put(parts);
        // The answer is looked into. That there is still nothing under the one epoch says nothing of the other.
        parts.headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE] {
            parts.headers.remove(name);
        }
        return Ok(Some(Again::new(again)));
    }
    write(parts, found.now, limit)?.put(parts);
    Ok(None)
}

/// Seals and opens header fields and cookies of an answer.
pub(super) async fn response(ctx: &Exchange, parts: &mut response::Parts) -> Result<(), Refusal> {
    let mut content_types = parts.headers.get_all(CONTENT_TYPE).iter();
    let content_type = content_types.next().map_or(Some(""), |value| value.to_str().ok()).unwrap_or("?");
    let acts = |action: &Action| {
        let rule = ctx.route.rules.iter().map(|(rule, _)| rule).find(|rule| rule.name == action.rule);
        rule.is_some_and(|rule| rule.acts_on_response(parts.status.as_u16(), Some(content_type)))
    };
    let Some(plan) = ctx.outside.1.as_ref().and_then(|plan| plan.only(acts)) else { return Ok(()) };
    let find = |plan: &HalfPlan| in_response(&wanted(ctx, plan), &parts.headers);
    if let Some(watching) = plan.only(|action| !changes(action)) {
        watch(ctx, &watching, find(&watching));
    }
    let Some(plan) = plan.only(changes) else { return Ok(()) };
    let mut hits = find(&plan);
    // A cookie that is taken back has no value to open.
    hits.retain(|hit| {
        let opens = plan.fields.get(hit.field).is_some_and(|field| field.action.verb == Verb::Open);
        !(opens && is_taken_back(hit, &parts.headers))
    });
    let found = change(ctx, &plan, hits, &parts.headers, false).await?;
    let changed = !found.now.is_empty();
    write::headers(&parts.headers, found.now, ctx.shared.settings.limits.header)?
        .into_iter()
        .for_each(|(name, nth, value)| write::put(&mut parts.headers, &name, nth, value));
    if changed {
        validators::opened(&plan, &mut parts.headers);
    }
    Ok(())
}

/// The fields of a plan, with the conditions of their rules.
fn wanted<'a>(ctx: &'a Exchange, plan: &'a HalfPlan) -> Vec<Wanted<'a>> {
    let of = |(field, planned): (usize, &'a PlannedField)| {
        let rule = ctx.route.rules.iter().map(|(rule, _)| rule).find(|rule| rule.name == planned.action.rule)?;
        Some(Wanted { field, place: planned.place()?, matches: &rule.matches })
    };
    plan.fields.iter().enumerate().filter_map(of).collect()
}

fn edit(ctx: &Exchange, plan: &Arc<HalfPlan>) -> Result<(TextEdit, Arc<dyn Sealer>), Refusal> {
    let sealer = Arc::clone(body::sealer(ctx, plan)?);
    let caller = CallerRole { role: ctx.role.clone(), may_see_plaintext: ctx.may_see_plaintext };
    Ok((TextEdit::new(Arc::clone(plan), Arc::clone(&sealer), caller, ctx.shared.settings.limits.value), sealer))
}

/// Counts what the plan would do.
fn watch(ctx: &Exchange, plan: &Arc<HalfPlan>, hits: Vec<Hit>) {
    let Ok((mut edit, _)) = edit(ctx, plan) else { return };
    for Hit { field, text, .. } in hits {
        // What only looks refuses nothing and waits for nothing.
        drop(match text {
            Ok(text) => edit.text(field, text.expose(), |_| true, &mut SecretBytes::default()).map(drop),
            Err(why) => edit.unreadable(field, Reason::Ambiguous, why),
        });
    }
    edit.account(&ctx.shared.metrics);
}

/// What becomes of a message.
struct Found {
    now: Vec<Change>,
    /// As it would have been under the epoch before, if anything is looked for there.
    before: Option<Vec<Change>>,
}

async fn change(
    ctx: &Exchange,
    plan: &Arc<HalfPlan>,
    hits: Vec<Hit>,
    headers: &HeaderMap,
    looks_up: bool,
) -> Result<Found, Refusal> {
    let metrics = &ctx.shared.metrics;
    let (mut edit, sealer) = edit(ctx, plan)?;
    if !hits.is_empty() {
        if signed(plan, &hits, headers) {
            if plan.unreadable.signature == OnUnreadable::Reject {
                let why =
                    "a signature covers the target or a header field, which the rule would change (`on_signature`)";
                return Err(Refusal::new(Reason::Signature, why).rule(&plan.rule));
            }
            ctx.unread(plan.direction, &plan.rule, Reason::Signature);
            return Ok(Found { now: Vec::new(), before: None });
        }
        fits(plan, &hits, ctx.shared.settings.limits.header)?;
        body::fetch(ctx, plan).await?;
    }
    let (mut now, mut before, mut rewritten) = (Vec::new(), Vec::new(), false);
    for Hit { field, spot, text } in hits {
        let Some(planned) = plan.fields.get(field) else { continue };
        let (action, Some(place)) = (&planned.action, planned.place()) else { continue };
        let text = match text {
            Ok(text) => text,
            Err(why) => {
                unreadable(ctx, plan, &mut edit, field, why)?;
                continue;
            }
        };
        let mut out = SecretBytes::default();
        let became = drive(&sealer, &mut edit, |edit| edit.text(field, text.expose(), holds(place), &mut out)).await?;
        if became != Texted::Changed {
            continue;
        }
        let mut written = Vec::with_capacity(out.expose().len());
        encode(place, out.expose(), &mut written);
        let old = match action.rewrite {
            Rewrite::Current => None,
            Rewrite::Fallback if !looks_up => None,
            Rewrite::Fallback | Rewrite::All => previous(&sealer, &mut edit, field, text.expose()).await?,
        };
        let change = |written: Vec<u8>, second| Change { spot: spot.clone(), written, second };
        match (action.rewrite, old) {
            (Rewrite::All, Some(old)) if matches!(place, Place::Query(_)) => {
                now.push(change(written.clone(), Some(old.clone())));
                before.push(change(written, Some(old)));
            }
            (Rewrite::Fallback, Some(old)) => {
                rewritten = true;
                now.push(change(written, None));
                before.push(change(old, None));
            }
            (_, _) => {
                now.push(change(written.clone(), None));
                before.push(change(written, None));
            }
        }
    }
    edit.finish()?;
    edit.account(metrics);
    Ok(Found { now, before: rewritten.then_some(before) })
}

/// Told before anything is sealed, which takes time: whether the shortest tokens that there are would fit.
fn fits(plan: &HalfPlan, hits: &[Hit], limit: usize) -> Result<(), Refusal> {
    let least = |in_target: bool| -> usize {
        let of = |hit: &&Hit| matches!(hit.spot, Spot::Header(..)) != in_target;
        let seals = |field: &&PlannedField| field.action.verb == Verb::Seal;
        let fields = hits.iter().filter(of).filter_map(|hit| plan.fields.get(hit.field)).filter(seals);
        fields.map(|f| token_len(f.action.suite, 0, true, f.action.pad, f.action.sign)).sum()
    };
    if least(true) > limit {
        return Err(write::too_long().rule(&plan.rule));
    }
    if least(false) > limit {
        return Err(write::too_large().rule(&plan.rule));
    }
    Ok(())
}

/// A value that an application might read in another way than we do.
fn unreadable(
    ctx: &Exchange,
    plan: &HalfPlan,
    edit: &mut TextEdit,
    field: usize,
    why: &'static str,
) -> Result<(), Refusal> {
    let opens = plan.fields.get(field).is_some_and(|field| field.action.verb == Verb::Open);
    let passes = match plan.direction {
        Direction::Request => !ctx.listener.reject_ambiguous,
        // A token stays a token, which tells nobody anything.
        Direction::Response => opens,
    };
    if passes {
        ctx.unread(plan.direction, &plan.rule, Reason::Ambiguous);
        return Ok(());
    }
    edit.unreadable(field, Reason::Ambiguous, why)
}

/// Does it, and on the way whatever it waits for.
async fn drive(
    sealer: &Arc<dyn Sealer>,
    edit: &mut TextEdit,
    mut act: impl FnMut(&mut TextEdit) -> Result<Texted, Refusal>,
) -> Result<Texted, Refusal> {
    let mut fetches = 0;
    loop {
        let need = match act(edit)? {
            Texted::Fetch(need) => need,
            done => return Ok(done),
        };
        fetches += 1;
        if let Err(error) = fetch(sealer, need, fetches).await {
            edit.fetch_failed(error);
        }
    }
}

/// The token of the epoch before the current one, if there was one and it can be told.
async fn previous(
    sealer: &Arc<dyn Sealer>,
    edit: &mut TextEdit,
    field: usize,
    text: &[u8],
) -> Result<Option<Vec<u8>>, Refusal> {
    for fetches in 1..=MAX_FETCHES {
        let mut out = SecretBytes::default();
        match edit.previous(field, text, &mut out)? {
            Texted::Changed => return Ok(Some(out.expose().to_vec())),
            Texted::Same => return Ok(None),
            Texted::Fetch(need) => {
                if fetch(sealer, need, fetches).await.is_err() {
                    return Ok(None);
                }
            }
        }
    }
    Ok(None)
}

async fn fetch(sealer: &Arc<dyn Sealer>, need: Need, so_far: usize) -> Result<(), KeyringError> {
    if so_far > MAX_FETCHES {
        return Err(KeyringError::Unavailable("a key was fetched and was gone again".into()));
    }
    sealer.fetch(need).await
}

/// Whether a signature covers what would change.
fn signed(plan: &HalfPlan, hits: &[Hit], headers: &HeaderMap) -> bool {
    if !headers.contains_key(&SIGNATURE_INPUT) {
        return false;
    }
    let covers = |component: &str| {
        let quoted = format!("\"{component}\"");
        let lists = |value: &HeaderValue| value.to_str().map_or(true, |v| v.to_ascii_lowercase().contains(&quoted));
        headers.get_all(&SIGNATURE_INPUT).iter().any(lists)
    };
    let any = |components: &[&str]| components.iter().any(|component| covers(component));
    hits.iter().any(|hit| match &hit.spot {
        _ if plan.fields.get(hit.field).is_none_or(|field| field.action.mode == Mode::Observe) => false,
        Spot::Path(_) => any(&["@path", "@target-uri", "@request-target"]),
        Spot::Query { .. } => any(&["@query", "@query-param", "@target-uri", "@request-target"]),
        Spot::Header(name, ..) => any(&[name.as_str()]),
    })
}
