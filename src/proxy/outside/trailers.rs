//! Trailer fields of the names that a rule seals: some readers merge them into the header section, where they would be values
//! that nobody has sealed. Whoever passes a message on may leave trailers out (RFC 9110 § 6.5.1), so these do not pass.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{COOKIE, HeaderMap, HeaderName, SET_COOKIE};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::proxy::payload::{Body, BoxError};
use crate::rules::place::find::is_hidden;
use crate::rules::{Place, Verb};
use crate::transform::plan::{HalfPlan, changes};

/// The body without such trailers; as it is, if the plan seals no header field.
pub(in crate::proxy) fn guarded(plan: Option<&Arc<HalfPlan>>, body: Body) -> Body {
    let seals = |plan: &&Arc<HalfPlan>| {
        plan.fields.iter().any(|f| {
            f.action.verb == Verb::Seal
                && changes(&f.action)
                && matches!(f.place(), Some(Place::Header(_) | Place::Cookie(_)))
        })
    };
    match plan.filter(seals) {
        Some(plan) if !body.is_end_stream() => Body::Stream(Box::pin(Guarded { body, plan: Arc::clone(plan) })),
        _ => body,
    }
}

struct Guarded {
    body: Body,
    plan: Arc<HalfPlan>,
}

impl Guarded {
    fn is_sealed(&self, name: &HeaderName) -> bool {
        let mut sealed = self.plan.fields.iter().filter(|f| f.action.verb == Verb::Seal && changes(&f.action));
        sealed.any(|field| match field.place() {
            Some(Place::Header(known)) => name == known || is_hidden(name, known),
            Some(Place::Cookie(_)) => *name == COOKIE || *name == SET_COOKIE,
            _ => false,
        })
    }

    fn pass(&self, mut trailers: HeaderMap) -> HeaderMap {
        let sealed: Vec<HeaderName> = trailers.keys().filter(|name| self.is_sealed(name)).cloned().collect();
        for name in sealed {
            trailers.remove(name);
        }
        trailers
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|frame| {
            frame.map(|frame| {
                frame.map(|frame| match frame.into_trailers() {
                    Ok(trailers) => Frame::trailers(self.pass(trailers)),
                    Err(frame) => frame,
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
