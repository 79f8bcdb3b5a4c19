//! Bodies: of calls, limited and paid for out of the budget; of answers, counted to their end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::Activity;
use crate::metrics::ListenerMetrics;
use crate::proxy::budget::Lease;

/// The body of a call; what it brings is held of the budget until the call is answered.
pub(super) struct Metered<B> {
    pub(super) inner: B,
    pub(super) lease: Lease,
    /// Set when the budget is spent.
    pub(super) spent: Arc<AtomicBool>,
}

/// Nothing is left of the budget.
#[derive(Debug, thiserror::Error)]
#[error("the memory for bodies is in use")]
pub(super) struct Spent;

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Metered<B>
where
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        if !self.lease.grow(frame.data_ref().map_or(0, Buf::remaining)) {
            self.spent.store(true, Ordering::Release);
            return Poll::Ready(Some(Err(Spent.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer; the call ends with it.
pub(super) struct Answer {
    pub(super) inner: Body,
    /// Ends an answer that would never end, such as a stream of events, when the process drains.
    pub(super) until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pub(super) _call: Call,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self._call.activity.sign();
        if self.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
            self.until = None;
            self.inner = Body::empty();
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A call from its header section to the end of its answer, whichever way that comes.
pub(super) struct Call {
    activity: Arc<Activity>,
    metrics: Arc<ListenerMetrics>,
    began: Instant,
    /// 0: it never came to an answer.
    pub(super) status: u16,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Call {
    pub(super) fn begin(activity: Arc<Activity>, metrics: Arc<ListenerMetrics>) -> Self {
        activity.begin();
        metrics.in_flight.inc();
        Self { activity, metrics, began: Instant::now(), status: 0, permit: None }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.activity.end();
        self.metrics.in_flight.dec();
        self.metrics.finished(self.status, self.began.elapsed());
    }
}
