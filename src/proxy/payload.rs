//! Bodies as they travel: untouched ones pass without a box or a copy.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{self, Instant, Sleep};

use crate::refusal::{Reason, Refusal};

use super::account::Account;

/// Whatever ends a body early. A [`Refusal`] in here decides the answer, if that has not begun.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or response's body.
pub enum Body {
    /// None.
    Empty,
    /// Known whole.
    Full(Bytes),
    /// As it comes from the other side.
    Incoming(Incoming),
    /// Made on the way. An error cuts the connection, so that nobody takes a part for the whole.
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Incoming(body) => Pin::new(body).poll_frame(cx).map(|f| f.map(|f| f.map_err(Into::into))),
            Self::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Incoming(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// An answer's body on its way to the client; when it ends, so does the exchange.
pub(super) struct Answer {
    body: Body,
    /// `None`: the exchange goes on in a tunnel.
    account: Option<Box<Account>>,
    /// Runs while the body keeps us waiting.
    patience: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    limit: Duration,
}

impl Answer {
    pub(super) fn none() -> Self {
        Self { body: Body::Empty, account: None, patience: None, waiting: false, limit: Duration::ZERO }
    }

    /// `limit` bounds the wait for each piece.
    pub(super) fn new(body: Body, mut account: Box<Account>, limit: Duration) -> Self {
        account.complete = body.is_end_stream();
        Self { body, account: Some(account), patience: None, waiting: false, limit }
    }

    fn is_out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = self.limit;
        let patience = self.patience.get_or_insert_with(|| Box::pin(time::sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            patience.as_mut().reset(Instant::now() + limit);
        }
        patience.as_mut().poll(cx).is_ready()
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if this.is_out_of_patience(cx) => {
                Some(Err(Refusal::new(Reason::Timeout, "the upstream went silent within its answer").into()))
            }
            Poll::Pending => return Poll::Pending,
        };
        this.waiting = false;
        let Some(account) = &mut this.account else { return Poll::Ready(frame) };
        match &frame {
            Some(Ok(frame)) => {
                account.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                account.complete = this.body.is_end_stream();
            }
            Some(Err(error)) => account.cut(&**error),
            None => account.complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
