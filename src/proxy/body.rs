//! What happens to bodies: whether a rule reads one, and what becomes of it.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body::Body as _;

use crate::json::framing::Framing;
use crate::keyring::{Cached, KeyringError, Memo, State};
use crate::refusal::{Reason, Refusal};
use crate::rules::media::{Media, Reading, media};
use crate::rules::{Action, OnBad, OnUnreadable, Rule, Verb};
use crate::transform::plan::{Direction, HalfPlan, PlannedField, Share, changes};
use crate::transform::{Need, Sealer};

pub use super::payload::Body;

use super::change::{change, watch};
use super::coding::Codings;
use super::exchange::Exchange;
use super::headers::{Rare, forget_validators};
use super::validators;

/// Headers that cover a body whatever they say.
static SIGNATURES: LazyLock<Rare> =
    LazyLock::new(|| Rare::new(&["x-jws-signature", "x-hub-signature-256", "stripe-signature"]));
/// Covers a body if one of its components is a digest (RFC 9421).
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// Fetches what the plans know to need, so that a missing key refuses the request before the upstream acts on it.
pub(crate) async fn prepare(ctx: &Exchange, has_body: bool) -> Result<(), Refusal> {
    let request = ctx.request.as_deref().filter(|_| has_body);
    let plans = || request.into_iter().chain(ctx.response.as_deref()).filter(|plan| plan.changes());
    if let Some(plan) = plans().next()
        && none_is_missing(&**sealer(ctx, plan)?, plans())?
    {
        return Ok(());
    }
    for plan in plans() {
        fetch(ctx, plan).await?;
    }
    Ok(())
}

/// Whether everything is at hand, as it mostly is.
fn none_is_missing<'a>(sealer: &dyn Sealer, mut plans: impl Iterator<Item = &'a HalfPlan>) -> Result<bool, Refusal> {
    let mut memo = Memo::default();
    plans.try_fold(true, |all, plan| Ok(all && missing(sealer, plan, 0, &mut memo)?.is_none()))
}

/// Fetches what one plan knows to need.
pub(super) async fn fetch(ctx: &Exchange, plan: &HalfPlan) -> Result<(), Refusal> {
    let sealer = sealer(ctx, plan)?;
    let mut done = 0;
    while let Some((at, need, field)) = missing(&**sealer, plan, done, &mut Memo::default())? {
        if let Err(error) = sealer.fetch(need.clone()).await {
            unavailable(field, need, &error)?;
        }
        done = at + 1;
    }
    Ok(())
}

/// The first of a plan's needs, but for so many, that is not at hand.
fn missing<'a>(
    sealer: &dyn Sealer,
    plan: &'a HalfPlan,
    done: usize,
    memo: &mut Memo,
) -> Result<Option<(usize, &'a Need, &'a PlannedField)>, Refusal> {
    for (at, (need, field)) in plan.needs().enumerate().skip(done) {
        match sealer.at_hand(need, memo) {
            Cached::Hit(()) => {}
            Cached::Denied(state) => denied(field, state)?,
            Cached::Unknown | Cached::Miss => return Ok(Some((at, need, field))),
        }
    }
    Ok(None)
}

/// A request's body on its way to the upstream.
pub(crate) async fn request(
    ctx: &Arc<Exchange>,
    parts: &mut http::request::Parts,
    body: Body,
) -> Result<Body, Refusal> {
    match &ctx.request {
        // Boxed, so that what no rule reads has no room for it.
        Some(plan) if !body.is_end_stream() => Box::pin(message(ctx, plan, &mut parts.headers, body)).await,
        _ => Ok(body),
    }
}

/// An answer's body on its way to the client.
pub(crate) async fn response(
    ctx: &Arc<Exchange>,
    parts: &mut http::response::Parts,
    body: Body,
) -> Result<Body, Refusal> {
    let Some(plan) = &ctx.response else { return Ok(body) };
    let asks = ctx.route.rules.iter().any(|(rule, _)| !rule.matches.content_types.is_empty());
    let content_type = if asks { content_type(&parts.headers).unwrap_or(Some("?")) } else { None };
    let meets = |rule: &Rule| rule.acts_on_response(parts.status.as_u16(), content_type);
    let acts = |action: &Action| {
        let rule = ctx.route.rules.iter().map(|(rule, _)| rule).find(|rule| rule.name == action.rule);
        rule.is_some_and(|rule| meets(rule))
    };
    // Most meet one rule, and all of it.
    let whole = ctx.route.rules.iter().all(|(rule, _)| meets(rule));
    let plan = if whole { Some(Cow::Borrowed(plan)) } else { plan.only(acts).map(Cow::Owned) };
    let Some(plan) = plan else { return Ok(body) };
    if ctx.method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED {
        // What these say of a body is about bytes that nobody will get.
        if plan.changes() {
            forget_validators(&mut parts.headers);
            validators::opened(&plan, &mut parts.headers);
            parts.headers.remove(CONTENT_LENGTH);
        }
        return Ok(body);
    }
    if body.is_end_stream() {
        return Ok(body);
    }
    Box::pin(message(ctx, &plan, &mut parts.headers, body)).await
}

async fn message(
    ctx: &Arc<Exchange>,
    plan: &Arc<HalfPlan>,
    headers: &mut HeaderMap,
    body: Body,
) -> Result<Body, Refusal> {
    if plan.traits().all_change {
        return change(ctx, plan, headers, body).await;
    }
    // Apart, since a value that a watching action selects must not hide one that is to be sealed inside it.
    let body = match plan.only(|action| !changes(action)) {
        Some(watching) => watch(ctx, &watching, headers, body)?,
        None => body,
    };
    match plan.only(changes) {
        Some(changing) => change(ctx, &changing, headers, body).await,
        None => Ok(body),
    }
}

/// Why a message cannot be read, what its rules say to that, and the detail.
pub(crate) type Unread = (Reason, OnUnreadable, &'static str);

const UNREAD: &str = "a media type that the rule does not read";
const UNMERGED: &str = "a filter looks at members that a merge patch need not have";

/// A message that can be read.
pub(crate) struct Readable<'p> {
    /// What of the plan is about such a body.
    pub share: Share<'p>,
    /// How the body is read.
    pub reading: Reading,
    /// What it is coded with.
    pub codings: Codings,
}

impl<'p> Readable<'p> {
    /// Counts that rules which have no fields in such bodies let it pass.
    pub(super) fn counted(self, ctx: &Exchange) -> (Cow<'p, Arc<HalfPlan>>, Reading, Codings) {
        for rule in &self.share.unread {
            ctx.unread(self.share.plan.direction, rule, Reason::MediaType);
        }
        (self.share.plan, self.reading, self.codings)
    }
}

/// Whether the plan can read the message that these headers announce.
pub(crate) fn readable<'p>(plan: &'p Arc<HalfPlan>, headers: &HeaderMap) -> Result<Readable<'p>, Unread> {
    let on = &plan.unreadable;
    let other = Err((Reason::MediaType, on.media_type, UNREAD));
    // One look at each name that is there costs less than a look-up for each of these.
    let is_there = |wanted: HeaderName| headers.keys().any(|name| *name == wanted);
    if is_there(CONTENT_RANGE) {
        return Err((Reason::MediaType, on.media_type, "a part of a body, in which selectors find nothing"));
    }
    let Some(content_type) = content_type(headers) else { return other };
    let reading = match media(content_type, &plan.json_types) {
        // Whoever sends a request could hide a document from us in a line that is no `data:` line.
        Media::Json(Framing::Events) if plan.direction == Direction::Request => return other,
        Media::Json(framing) if is_utf8(content_type) => Reading::Json(framing),
        Media::Form(Err(why)) if !plan.form.is_empty() => return Err((Reason::MediaType, on.media_type, why)),
        Media::Form(Ok(form)) => Reading::Form(form),
        Media::Json(_) | Media::Form(Err(_)) | Media::Other => return other,
    };
    let share = match plan.share(reading.part()) {
        Ok(share) => share,
        Err(answer) => return Err((Reason::MediaType, answer, UNREAD)),
    };
    let (plan, on) = (&share.plan, &share.plan.unreadable);
    if reading == Reading::Json(Framing::Merge) && plan.paths.iter().any(|path| path.filters()) {
        return Err((Reason::Undecided, on.invalid_json, UNMERGED));
    }
    let codings = match is_there(CONTENT_ENCODING) {
        true => Codings::of(headers).map_err(|why| (Reason::Coding, on.encoding, why))?,
        false => Codings::default(),
    };
    if plan.changes() && is_signed(plan, headers) {
        return Err((Reason::Signature, on.signature, "a signature covers the body, which the rule would change"));
    }
    Ok(Readable { share, reading, codings })
}

/// The one Content-Type; `Some(None)` if there is none, `None` if there are several or it is no text.
fn content_type(headers: &HeaderMap) -> Option<Option<&str>> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) => value.to_str().ok().map(Some),
        (Some(_), Some(_)) => None,
    }
}

/// JSON is UTF-8 (RFC 8259 8.1); an application might believe a `charset` that says otherwise.
fn is_utf8(content_type: Option<&str>) -> bool {
    let content_type = content_type.unwrap_or_default();
    if !content_type.bytes().any(|byte| byte == b';') {
        return true;
    }
    content_type.split(';').skip(1).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        // Some applications read `charset*=utf-8''utf-7` (RFC 8187), and `charset*0=utf-7`.
        let name = name.split('*').next().unwrap_or_default();
        !name.trim().eq_ignore_ascii_case("charset")
            || ["utf-8", "utf8", "us-ascii"].iter().any(|c| value.eq_ignore_ascii_case(c))
    })
}

fn is_signed(plan: &HalfPlan, headers: &HeaderMap) -> bool {
    let covers = |value: &HeaderValue| value.to_str().map_or(true, |v| v.to_ascii_lowercase().contains("digest"));
    // One look at each name that is there costs less than a look-up for each of these.
    headers.keys().any(|name| {
        SIGNATURES.is_one(name)
            || plan.signature_headers.iter().any(|known| known.eq_ignore_ascii_case(name.as_str()))
            || *name == SIGNATURE_INPUT && headers.get_all(name).iter().any(covers)
    })
}

pub(super) fn sealer<'e>(ctx: &'e Exchange, plan: &HalfPlan) -> Result<&'e Arc<dyn Sealer>, Refusal> {
    let none = || Refusal::new(Reason::KeyService, "a rule acts, but this process has no keyring").rule(&plan.rule);
    ctx.shared.sealer.as_ref().ok_or_else(none)
}

/// A state that stops the exchange before it begins. A partition that only opens is told when a value is to be sealed.
fn denied(field: &PlannedField, state: State) -> Result<(), Refusal> {
    if state == State::DecryptOnly {
        return Ok(());
    }
    let text = format!("the partition is {}", state.name());
    Err(Refusal::new(Reason::PartitionState, text).rule(&field.action.rule))
}

fn unavailable(field: &PlannedField, need: &Need, error: &KeyringError) -> Result<(), Refusal> {
    let action = &field.action;
    let reason = match (error, need) {
        (KeyringError::Denied(_, state), _) => return denied(field, *state),
        (KeyringError::Unknown(_), Need::Partition(_, Some(_))) => Reason::TooManyPartitions,
        // Tokens of a partition that is not there do not open; there is nothing to refuse before one comes.
        (KeyringError::Unknown(_), _) if action.verb == Verb::Open => return Ok(()),
        (KeyringError::Unknown(_), _) => Reason::PartitionState,
        (KeyringError::NoKey(_), Need::Signer(_)) => Reason::KeyService,
        _ => Reason::KeyService,
    };
    if reason == Reason::KeyService && action.on_error == OnBad::Pass {
        return Ok(());
    }
    Err(Refusal::new(reason, error.without_name()).rule(&action.rule))
}

pub(super) fn name_rule(refusal: Refusal, plan: &HalfPlan) -> Refusal {
    if refusal.rule.is_some() || plan.direction == Direction::Request && refusal.reason == Reason::BadRequest {
        return refusal;
    }
    refusal.rule(&plan.rule)
}

#[cfg(test)]
mod tests {
    use super::is_utf8;

    #[test]
    fn a_charset_is_seen_however_it_is_written() {
        for good in ["application/json", "a/b; charset=\"UTF-8\"", "a/b;x=y; charset=us-ascii", "a/b; charset*=utf-8"] {
            assert!(is_utf8(Some(good)), "{good}");
        }
        for bad in ["a/b; charset=utf-7", "a/b; charset*=utf-8''utf-7", "a/b; charset=utf-8; Charset*0=utf-7"] {
            assert!(!is_utf8(Some(bad)), "{bad}");
        }
    }
}
