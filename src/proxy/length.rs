//! `always_length`: a changed request of known length, for applications that refuse chunks. What does not fit in memory waits in
//! a file without a name, under a key that nobody else ever has; a body that holds opened values waits in memory alone.

mod spool;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::refusal::{Reason, Refusal};

use super::account::refusal_in;
use super::budget::{Budget, Lease};
use super::payload::BoxError;
use super::pipe::{Feed, Gone, Pipe, pipe};
use spool::{CHUNK, Spool};

/// How a body is measured.
pub(super) struct Measure {
    /// Longer ones are refused.
    pub longest: usize,
    /// So much waits in memory.
    pub buffer: usize,
    /// The rest may wait in a file: nothing in it was opened.
    pub may_spool: bool,
    /// Pays for the memory.
    pub budget: Budget,
}

/// A body whose length is known.
pub(super) struct Measured {
    body: Pipe,
    left: u64,
}

impl Measured {
    /// Of what is left of it.
    pub(super) fn length(&self) -> u64 {
        self.left
    }
}

/// Takes all of a body in; trailers, which a body of known length cannot have in HTTP/1.1, are dropped.
pub(super) async fn measure(mut body: Pipe, how: Measure) -> Result<Measured, Refusal> {
    let mut store = Store { lease: how.budget.try_take(0).ok_or_else(overload)?, memory: Vec::new(), spool: None, how };
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let broke = || Refusal::new(Reason::BadRequest, "the body broke off");
            refusal_in(&*error).cloned().unwrap_or_else(broke)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > store.how.longest {
            return Err(Refusal::new(Reason::TooLarge, "the changed body is longer than `always_length`"));
        }
        store.put(data).await?;
    }
    let (feed, body) = pipe(2);
    tokio::spawn(store.give(feed));
    Ok(Measured { body, left: length as u64 })
}

struct Store {
    how: Measure,
    lease: Lease,
    memory: Vec<Bytes>,
    spool: Option<Spool>,
}

impl Store {
    async fn put(&mut self, data: Bytes) -> Result<(), Refusal> {
        let fits = self.lease.bytes() + data.len() <= self.how.buffer;
        if self.spool.is_none() && (fits || !self.how.may_spool) {
            if !self.lease.grow(data.len()) {
                return Err(overload());
            }
            self.memory.push(data);
            return Ok(());
        }
        let spool = match self.spool.take() {
            Some(spool) => spool,
            None => {
                if !self.lease.grow(2 * CHUNK) {
                    return Err(overload());
                }
                Spool::new().map_err(unspooled)?
            }
        };
        self.spool = Some(spool.write(&data).await.map_err(unspooled)?);
        Ok(())
    }

    async fn give(mut self, feed: Feed) {
        for data in std::mem::take(&mut self.memory) {
            if feed.data(data).await.is_err() {
                return;
            }
        }
        let Some(mut spool) = self.spool.take() else {
            let (Ok(()) | Err(Gone)) = feed.end().await;
            return;
        };
        loop {
            match spool.read().await {
                Ok((back, Some(data))) => {
                    spool = back;
                    if feed.data(data).await.is_err() {
                        return;
                    }
                }
                Ok((_, None)) => {
                    let (Ok(()) | Err(Gone)) = feed.end().await;
                    return;
                }
                Err(error) => return feed.refuse(unspooled(error)).await,
            }
        }
    }
}

impl Body for Measured {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.left = self.left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn overload() -> Refusal {
    Refusal::new(Reason::Overload, "the memory budget (`limits.memory`) is spent by a body with `always_length`")
}

fn unspooled(error: std::io::Error) -> Refusal {
    let kind = error.kind();
    Refusal::new(Reason::Overload, format!("a body with `always_length` cannot wait in a file: {kind}; see TMPDIR"))
}
