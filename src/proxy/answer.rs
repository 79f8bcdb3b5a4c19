//! An answer's body on its way to the client; when it ends, so does the exchange.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{self, Instant, Sleep};

use crate::metrics::Limit;
use crate::refusal::{Reason, Refusal};

use super::account::Account;
use super::connection::{Connection, USE_PER_FRAME};
use super::outflow::Outflow;
use super::patience::Patience;
use super::payload::{Body, BoxError};

/// Bytes of an answer that HTTP/2 may hold for a client without our watching over it.
const HELD: usize = 1024;

pub(super) struct Answer {
    body: Body,
    /// `None`: the exchange goes on in a tunnel.
    account: Option<Box<Account>>,
    /// Runs while the body keeps us waiting.
    patience: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    /// When `timeouts.total` is over.
    ends: Option<Instant>,
    /// With the client of an HTTP/2 stream.
    taking: Option<Box<Taking>>,
}

impl Answer {
    pub(super) fn none() -> Self {
        Self { body: Body::Empty, account: None, patience: None, waiting: false, ends: None, taking: None }
    }

    pub(super) fn new(body: Body, mut account: Box<Account>) -> Self {
        account.complete = body.is_end_stream();
        let connection = account.connection();
        let total = connection.front.shared.settings.timeouts.total;
        // A refusal has its time, even one that says that the time is over.
        let total = total.filter(|_| !account.has_failed());
        let ends = total.map(|total| Instant::from_std(account.started) + total);
        let taking = match account.complete {
            true => None,
            false => Outflow::current().map(|outflow| Box::new(Taking::new(connection, outflow))),
        };
        Self { body, account: Some(account), patience: None, waiting: false, ends, taking }
    }

    fn is_out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(account) = &self.account else { return false };
        if !self.waiting || self.patience.is_none() {
            self.waiting = true;
            let idle = Instant::now() + account.connection().front.shared.settings.timeouts.response_idle;
            let ends = self.ends.map_or(idle, |ends| ends.min(idle));
            match &mut self.patience {
                Some(patience) => patience.as_mut().reset(ends),
                None => self.patience = Some(Box::pin(time::sleep_until(ends))),
            }
        }
        self.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(cx).is_ready())
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.taking.as_mut().and_then(|taking| taking.tail.take()) {
            Some(tail) => Poll::Ready(Some(Ok(Frame::data(tail)))),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    /// Why the answer is to be cut, whatever the upstream has.
    fn is_over(&mut self) -> Option<Refusal> {
        if self.taking.as_mut().is_some_and(|taking| !taking.asked()) {
            return Some(Refusal::new(Reason::SlowClient, "the client did not take its answer (`timeouts.send`)"));
        }
        if self.ends.is_some_and(|ends| ends <= Instant::now()) {
            if let Some(account) = &self.account {
                account.connection().front.metrics.limited(Limit::Total);
            }
            return Some(Refusal::new(Reason::Timeout, "the exchange took longer than timeouts.total"));
        }
        None
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = match this.is_over() {
            Some(refusal) => Some(Err(refusal.into())),
            None => match this.poll_body(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if this.is_out_of_patience(cx) => Some(Err(match this.is_over() {
                    Some(refusal) => refusal.into(),
                    None => Refusal::new(Reason::Timeout, "the upstream went silent within its answer").into(),
                })),
                Poll::Pending => return Poll::Pending,
            },
        };
        this.waiting = false;
        let frame = match (frame, &mut this.taking) {
            (Some(Ok(frame)), Some(taking)) => Some(Ok(taking.split(frame))),
            (frame, _) => frame,
        };
        let Some(account) = &mut this.account else { return Poll::Ready(frame) };
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                account.bytes += bytes as u64;
                account.complete = this.body.is_end_stream();
                if let Some(taking) = &mut this.taking {
                    if account.complete {
                        // The client may take its time.
                        account.upstream_done();
                    }
                    account.complete &= taking.tail.is_none();
                    account.connection().watch.used(bytes as u64 + USE_PER_FRAME);
                    taking.given(bytes);
                }
            }
            Some(Err(error)) => account.cut(&**error),
            None => account.complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.taking.as_ref().is_none_or(|taking| taking.tail.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a client of HTTP/2 has taken of its answer: what was given is taken when more is asked for.
struct Taking {
    outflow: Arc<Outflow>,
    patience: Patience,
    given: usize,
    /// What was kept back of the last piece.
    tail: Option<Bytes>,
    connection: Arc<Connection>,
}

impl Taking {
    fn new(connection: &Arc<Connection>, outflow: Arc<Outflow>) -> Self {
        let settings = &connection.front.shared.settings;
        let mut patience = Patience::new(settings.timeouts.send, settings.limits.min_rate);
        // A client may keep its window shut from the beginning.
        outflow.ends(Some(patience.waits()));
        Self { outflow, patience, given: 0, tail: None, connection: Arc::clone(connection) }
    }

    fn given(&mut self, bytes: usize) {
        self.given = bytes;
        self.outflow.ends(Some(self.patience.waits()));
    }

    /// Keeps a byte of a piece back that HTTP/2 would take whole from us, and hold, for a client whose window is all but shut.
    /// The byte is not taken before the rest has left: until then the client is watched.
    fn split(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut bytes) if bytes.len() > HELD => {
                self.tail = Some(bytes.split_off(bytes.len() - 1));
                Frame::data(bytes)
            }
            Ok(bytes) => Frame::data(bytes),
            Err(frame) => frame,
        }
    }

    /// The client wants more, and has patience or not.
    fn asked(&mut self) -> bool {
        self.outflow.ends(None);
        let kept = self.patience.moved(std::mem::take(&mut self.given));
        if !kept {
            self.connection.front.metrics.limited(Limit::Send);
        }
        kept
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        if self.outflow.has_stalled() {
            self.connection.front.metrics.limited(Limit::Send);
        }
        // What is left of the answer has been handed over, or nobody wants it.
        self.outflow.ends(None);
    }
}
