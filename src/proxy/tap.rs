//! Looks at a body that passes as it is (`mode: observe`, `read` on the sealing side), and counts what it holds.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::refusal::{Reason, Refusal};
use crate::transform::body::{BodyEdit, Progress};
use crate::transform::plan::Direction;

use super::budget::{Budget, Lease};
use super::coding::{DecodeError, Decoder};
use super::ledger::Ledger;

/// A body with an observer. Whatever the observer finds, the bytes pass.
pub struct Tap<B> {
    body: B,
    decoder: Option<Box<Decoder>>,
    direction: Direction,
    rule: std::sync::Arc<str>,
    ledger: Ledger,
    edit: Option<Box<BodyEdit>>,
    seen: bool,
    scratch: Vec<u8>,
    lease: Option<Lease>,
}

impl<B> Tap<B> {
    /// Observes `body` with an edit whose plan changes nothing; what the edit holds comes out of `budget`.
    pub fn new(
        body: B,
        decoder: Option<Box<Decoder>>,
        edit: BodyEdit,
        (direction, rule): (Direction, &std::sync::Arc<str>),
        ledger: Ledger,
        budget: &Budget,
    ) -> Self {
        let (edit, rule) = (Some(Box::new(edit)), std::sync::Arc::clone(rule));
        let (scratch, lease) = (Vec::new(), budget.try_take(0));
        Self { body, decoder, direction, rule, ledger, edit, seen: false, scratch, lease }
    }

    /// Looks at what came, decoded if it is coded.
    fn look(&mut self, data: &[u8]) {
        self.seen |= !data.is_empty();
        let Some(mut decoder) = self.decoder.take() else { return self.read(data) };
        let mut rest = data;
        let mut plain = Vec::new();
        while self.edit.is_some() {
            match decoder.decode(&mut rest, &mut plain) {
                Ok(more) => {
                    self.read(&plain);
                    plain.clear();
                    if !more {
                        self.decoder = Some(decoder);
                        return;
                    }
                }
                Err(error) => self.look_away(reason(error)),
            }
        }
    }

    fn read(&mut self, data: &[u8]) {
        let Some(edit) = &mut self.edit else { return };
        // An edit that changes nothing waits for nothing; if it should, the rest goes unobserved rather than unsent.
        if let Some(reason) = unread(&edit.feed(data, &mut self.scratch)) {
            self.look_away(reason);
        } else if !paid(&mut self.lease, edit.held()) {
            self.look_away(Reason::Overload);
        }
        self.scratch.clear();
    }

    fn look_away(&mut self, reason: Reason) {
        self.unread(reason);
        self.edit = None;
        self.lease = None;
    }

    fn unread(&self, reason: Reason) {
        self.ledger.unread(self.direction, &self.rule, reason);
    }

    fn end(&mut self) {
        let Some(mut edit) = self.edit.take().filter(|_| self.seen) else { return };
        if let Some(Err(error)) = self.decoder.take().map(|decoder| decoder.finish()) {
            return self.unread(reason(error));
        }
        match unread(&edit.finish(&mut self.scratch)) {
            None => self.ledger.account(self.direction, &edit),
            Some(reason) => self.unread(reason),
        }
        self.scratch.clear();
    }
}

/// Why nothing more is to be seen.
fn unread(progress: &Result<Progress, Refusal>) -> Option<Reason> {
    match progress {
        Ok(Progress::All) => None,
        Err(refusal) if refusal.reason == Reason::InvalidForm => Some(Reason::InvalidForm),
        Ok(Progress::Fetch(..) | Progress::Delegate(_)) | Err(_) => Some(Reason::InvalidJson),
    }
}

fn reason(error: DecodeError) -> Reason {
    Refusal::from(error).reason
}

/// Keeps the lease as large as what is held.
fn paid(lease: &mut Option<Lease>, held: usize) -> bool {
    let Some(lease) = lease else { return false };
    let leased = lease.bytes();
    if held > leased {
        return lease.grow(held - leased);
    }
    lease.shrink_to(held);
    true
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tap<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let data = data.clone();
                    let begun = self.ledger.begin();
                    self.look(&data);
                    self.ledger.end(begun);
                }
                // A known length ends the body without a last empty poll.
                if self.body.is_end_stream() {
                    self.end();
                }
            }
            None => self.end(),
            Some(Err(_)) => self.edit = None,
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
