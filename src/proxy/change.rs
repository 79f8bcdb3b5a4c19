//! Changing a body that is read, or counting what would change.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use http_body::Frame;

use crate::json::framing::Framing;
use crate::refusal::{Reason, Refusal};
use crate::rules::media::Reading;
use crate::rules::{Action, OnUnreadable, Verb};
use crate::transform::Sealer;
use crate::transform::body::{BodyEdit, CallerRole};
use crate::transform::plan::{Direction, HalfPlan, changes};

use super::body::{name_rule, readable, sealer};
use super::coding::{Bounds, Codings, DecodeError, Decoder};
use super::exchange::Exchange;
use super::headers::forget_validators;
use super::ledger::Ledger;
use super::length::{self, Measure};
use super::payload::Body;
use super::pipe::{Gone, pipe};
use super::pump::{Pumped, Surroundings, pump};
use super::tap::Tap;
use super::validators;

/// Counts what the plan would do; the body passes as it is.
pub(super) fn watch(
    ctx: &Arc<Exchange>,
    plan: &Arc<HalfPlan>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Body, Refusal> {
    let (plan, reading, codings) = match readable(plan, headers) {
        Ok(readable) => readable.counted(ctx),
        Err((reason, ..)) => {
            ctx.unread(plan.direction, &plan.rule, reason);
            return Ok(body);
        }
    };
    let edit = edit(ctx, &plan, sealer(ctx, &plan)?, reading);
    let Ok(decoder) = decoder(ctx, &codings) else {
        ctx.unread(plan.direction, &plan.rule, Reason::Overload);
        return Ok(body);
    };
    let tap = Tap::new(body, decoder, edit, (plan.direction, &plan.rule), Ledger::of(ctx), &ctx.shared.budget);
    Ok(Body::Stream(Box::pin(tap)))
}

pub(super) async fn change(
    ctx: &Arc<Exchange>,
    plan: &Arc<HalfPlan>,
    headers: &mut HeaderMap,
    body: Body,
) -> Result<Body, Refusal> {
    let (plan, reading, codings) = match readable(plan, headers) {
        Ok(readable) => readable.counted(ctx),
        Err((reason, OnUnreadable::Reject, detail)) => return Err(Refusal::new(reason, detail).rule(&plan.rule)),
        Err((reason, ..)) => {
            ctx.unread(plan.direction, &plan.rule, reason);
            return Ok(body);
        }
    };
    let plan: &Arc<HalfPlan> = &plan;
    let edit = Box::new(edit(ctx, plan, sealer(ctx, plan)?, reading.clone()));
    let limits = &ctx.shared.settings.limits;
    let around = Surroundings {
        lease: ctx.shared.budget.lease(),
        ledger: Ledger::of(ctx),
        idle: ctx.shared.settings.timeouts.response_idle,
        // What comes document by document leaves so.
        buffer: if reading.is_one() { limits.buffer } else { 0 },
        at_once: reading == Reading::Json(Framing::Events),
        pass_invalid: plan.unreadable.invalid_json == OnUnreadable::Pass,
        direction: plan.direction,
    };
    let decoder = decoder(ctx, &codings).map_err(|error| name_rule(error.into(), plan))?;
    match pump(body, decoder, edit, around).await.map_err(|refusal| name_rule(refusal, plan))? {
        Pumped::Unread(pipe) => {
            ctx.unread(plan.direction, &plan.rule, reading.invalid());
            Ok(Body::Stream(Box::pin(pipe)))
        }
        Pumped::Same(bytes, trailers) => Ok(whole(plan, headers, bytes, trailers).await),
        Pumped::Whole(bytes, trailers) => {
            changed(plan, headers);
            Ok(whole(plan, headers, bytes, trailers).await)
        }
        Pumped::Streaming(pipe) => {
            let Some(longest) = plan.always_length.filter(|_| plan.direction == Direction::Request) else {
                changed(plan, headers);
                headers.remove(CONTENT_LENGTH);
                return Ok(Body::Stream(Box::pin(pipe)));
            };
            let opens = |action: &Action| action.verb == Verb::Open && changes(action);
            let may_spool = !plan.fields.iter().any(|field| opens(&field.action));
            let budget = ctx.shared.budget.clone();
            let measure = Measure { longest, buffer: limits.buffer, may_spool, budget };
            let measured = length::measure(pipe, measure).await.map_err(|refusal| name_rule(refusal, plan))?;
            changed(plan, headers);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(measured.length()));
            Ok(Body::Stream(Box::pin(measured)))
        }
    }
}

/// What the message said of a body that is another now.
fn changed(plan: &HalfPlan, headers: &mut HeaderMap) {
    forget_validators(headers);
    if plan.direction == Direction::Response {
        validators::opened(plan, headers);
    }
}

/// A body of known length; of none that is told if there are trailers, which need chunks.
async fn whole(plan: &HalfPlan, headers: &mut HeaderMap, bytes: Bytes, trailers: Option<HeaderMap>) -> Body {
    let measured = plan.always_length.is_some() && plan.direction == Direction::Request;
    match trailers.filter(|_| !measured) {
        Some(trailers) => {
            headers.remove(CONTENT_LENGTH);
            Box::pin(trailed(bytes, trailers)).await
        }
        // hyper writes that of an answer as the head leaves, and takes the map's for a request.
        None if plan.direction == Direction::Response && !bytes.is_empty() => {
            if headers.keys().any(|name| *name == CONTENT_LENGTH) {
                headers.remove(CONTENT_LENGTH);
            }
            Body::Full(bytes)
        }
        None => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            Body::Full(bytes)
        }
    }
}

async fn trailed(bytes: Bytes, trailers: HeaderMap) -> Body {
    let (feed, body) = pipe(3);
    let fed = async {
        feed.data(bytes).await?;
        feed.frame(Frame::trailers(trailers)).await?;
        feed.end().await
    };
    let (Ok(()) | Err(Gone)) = fed.await;
    Body::Stream(Box::pin(body))
}

/// What undoes the codings of a message that can be read.
fn decoder(ctx: &Exchange, codings: &Codings) -> Result<Option<Box<Decoder>>, DecodeError> {
    if codings.is_identity() {
        return Ok(None);
    }
    let shared = &ctx.shared;
    Decoder::new(codings, Bounds::of(&shared.settings.limits), &shared.budget).map(|decoder| Some(Box::new(decoder)))
}

fn edit(ctx: &Exchange, plan: &Arc<HalfPlan>, sealer: &Arc<dyn Sealer>, reading: Reading) -> BodyEdit {
    let caller = CallerRole { role: ctx.role.clone(), may_see_plaintext: ctx.may_see_plaintext };
    BodyEdit::new(Arc::clone(plan), Arc::clone(sealer), caller, ctx.shared.settings.limits.value, reading)
}
