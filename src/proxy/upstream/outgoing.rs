//! A request's body on its way to the upstream; notes that it moves, so that a long upload is no silence, and keeps what
//! can be sent a second time.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::proxy::exchange::Exchange;
use crate::proxy::payload::{Body, BoxError};

/// The body of one try; `None`: there is none. A pointer, since each of the 64 places of a connection's queue has room for it.
#[derive(Debug)]
pub(super) struct Outgoing(Option<Box<Moving>>);

#[derive(Debug)]
struct Moving {
    source: Source,
    exchange: Arc<Exchange>,
}

enum Source {
    /// Sent at most once, or kept elsewhere.
    Own(Body),
    /// Begun only if the upstream takes it.
    Shared(Arc<Mutex<Kept>>),
}

/// A body that may be wanted back.
#[derive(Default)]
pub(super) struct Kept {
    /// `None` once it was taken back.
    body: Option<Body>,
    /// A piece has left.
    begun: bool,
    /// The piece that has left was all of it.
    whole: Option<Bytes>,
}

/// What is left of a body for a second try.
pub(super) enum Again {
    Empty,
    Full(Bytes),
    Kept(Arc<Mutex<Kept>>),
}

impl Outgoing {
    /// The body of a try after which there is no other.
    pub(super) fn once(body: Body, exchange: &Arc<Exchange>) -> Self {
        if body.is_end_stream() { Self(None) } else { Self::of(Source::Own(body), exchange) }
    }

    /// The body of a try that another may follow.
    pub(super) fn kept(body: Body, exchange: &Arc<Exchange>) -> (Self, Again) {
        let (source, again) = match body {
            body if body.is_end_stream() => return (Self(None), Again::Empty),
            Body::Full(bytes) => (Source::Own(Body::Full(bytes.clone())), Again::Full(bytes)),
            body => {
                let kept = Arc::new(Mutex::new(Kept { body: Some(body), begun: false, whole: None }));
                (Source::Shared(Arc::clone(&kept)), Again::Kept(kept))
            }
        };
        (Self::of(source, exchange), again)
    }

    fn of(source: Source, exchange: &Arc<Exchange>) -> Self {
        Self(Some(Box::new(Moving { source, exchange: Arc::clone(exchange) })))
    }

    /// The body of a try that the upstream never saw.
    pub(super) fn into_body(self) -> Option<Body> {
        match self.0.map(|moving| moving.source) {
            None => Some(Body::Empty),
            Some(Source::Own(body)) => Some(body),
            Some(Source::Shared(kept)) => take_back(&kept),
        }
    }

    fn look<T>(&self, look: impl FnOnce(&Body) -> T) -> Option<T> {
        match &self.0.as_ref()?.source {
            Source::Own(body) => Some(look(body)),
            Source::Shared(kept) => kept.lock().unwrap_or_else(PoisonError::into_inner).body.as_ref().map(look),
        }
    }
}

impl Again {
    /// The same bytes again, unless part of them has left that is not kept.
    pub(super) fn body(self) -> Option<Body> {
        match self {
            Self::Empty => Some(Body::Empty),
            Self::Full(bytes) => Some(Body::Full(bytes)),
            Self::Kept(kept) => take_back(&kept),
        }
    }
}

fn take_back(kept: &Mutex<Kept>) -> Option<Body> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    match kept.whole.take() {
        Some(bytes) => Some(Body::Full(bytes)),
        None if kept.begun => None,
        None => kept.body.take(),
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(moving) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(match &mut moving.source {
            Source::Own(body) => Pin::new(body).poll_frame(cx),
            Source::Shared(kept) => kept.lock().unwrap_or_else(PoisonError::into_inner).poll(cx),
        });
        moving.exchange.moved.store(true, Ordering::Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none() || self.look(HttpBody::is_end_stream).unwrap_or(false)
    }

    fn size_hint(&self) -> SizeHint {
        if self.0.is_none() {
            return SizeHint::with_exact(0);
        }
        self.look(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Kept {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else {
            // Taken back for another try: this one must not pass for whole.
            return Poll::Ready(Some(Err("the body is sent elsewhere".into())));
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        self.whole = match &frame {
            Some(Ok(frame)) if !self.begun && body.is_end_stream() => frame.data_ref().cloned(),
            // The end after the only piece.
            None => self.whole.take(),
            Some(_) => None,
        };
        self.begun = true;
        Poll::Ready(frame)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "Own",
            Self::Shared(_) => "Shared",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_a_pointer_in_a_queue() {
        assert_eq!(size_of::<Outgoing>(), size_of::<usize>());
    }
}
