//! Drives one body through its edit: up to `buffer` bytes are checked whole before the first leaves, longer ones stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use crate::keyring::KeyringError;
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal};
use crate::transform::body::{BodyEdit, Progress};
use crate::transform::plan::Direction;
use crate::transform::{Need, Sealer};

use super::account::refusal_in;
use super::budget::{Budget, Lease};
use super::headers::forget_validators;
use super::payload::BoxError;
use super::pipe::{Feed, Gone, Pipe, pipe};

/// One value may wait for its partition, its epoch, a signer and a fresh epoch; more fetches than this are a cache that thrashes.
const MAX_FETCHES: usize = 8;

/// Output is passed on in pieces of about this size.
const PIECE: usize = 32 * 1024;

/// A signature takes as long as sealing a thousand values, and is as long as four hundred: so a body with signed values is
/// taken in pieces that hold few of them, and other exchanges have their turn in between.
const SIGNED_PIECE: usize = 256;

/// What a body becomes.
pub enum Pumped {
    /// Checked whole; its exact length is known.
    Whole(Bytes, Option<HeaderMap>),
    /// Begun, the rest follows.
    Streaming(Pipe),
    /// Not JSON, and to be let through as it came.
    Unread(Pipe),
}

/// What a pump needs beside the body and its edit.
#[derive(Clone)]
pub struct Surroundings {
    /// Fetches what the edit waits for.
    pub sealer: Arc<dyn Sealer>,
    /// Pays for buffers.
    pub budget: Budget,
    /// Counts fields.
    pub metrics: Metrics,
    /// Up to so many bytes a body is checked whole.
    pub buffer: usize,
    /// `on_invalid_json: pass`: what is no JSON goes through as it came, as long as nothing has left.
    pub pass_invalid: bool,
    /// The answer's head leaves before its body begins: a stream of events may be silent for long.
    pub at_once: bool,
    /// Which way the body goes: an answer that fails is the upstream's.
    pub direction: Direction,
    /// The longest silence within an answer.
    pub idle: Duration,
}

/// Reads `body` until it ends or passes `buffer`.
pub async fn pump<B>(mut body: B, edit: BodyEdit, around: Surroundings) -> Result<Pumped, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let lease = around.budget.try_take(around.buffer).ok_or_else(overload)?;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // Tokens are longer than values; the lease covers it.
    let room = announced.saturating_mul(2).min(around.buffer);
    let mut run = Run { edit, around, lease, out: Vec::with_capacity(room) };
    if run.around.at_once {
        return Ok(Pumped::Streaming(run.stream(body)));
    }
    let mut original: Vec<Bytes> = Vec::new();
    let mut taken = 0;
    let mut trailers = None;
    loop {
        let Some(frame) = next(&mut body, run.around.direction, run.around.idle).await? else { break };
        match frame.into_data() {
            Ok(data) => {
                taken += data.len();
                if run.around.pass_invalid {
                    original.push(data.clone());
                }
                match run.feed(&data).await {
                    Err(refusal) if refusal.reason.is_unreadable() && run.around.pass_invalid => {
                        return Ok(Pumped::Unread(run.pass_on(original, body)));
                    }
                    fed => fed?,
                }
                if taken > run.around.buffer {
                    return Ok(Pumped::Streaming(run.stream(body)));
                }
            }
            Err(frame) => trailers = trailing(frame),
        }
    }
    if taken > 0 {
        match run.finish().await {
            Err(refusal) if refusal.reason.is_unreadable() && run.around.pass_invalid => {
                return Ok(Pumped::Unread(run.pass_on(original, http_body_util::Empty::new())));
            }
            finished => finished?,
        }
    }
    Ok(Pumped::Whole(run.whole(), trailers))
}

/// A whole body, paid for until its last byte has left.
struct Paid(Vec<u8>, #[expect(dead_code, reason = "held")] Lease);

impl AsRef<[u8]> for Paid {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What is to be done with an edit.
enum Drive<'a> {
    /// Take this in.
    Feed(&'a [u8]),
    /// Have what was taken in leave.
    Flush,
    /// Come to the end.
    Finish,
}

struct Run {
    edit: BodyEdit,
    around: Surroundings,
    lease: Lease,
    out: Vec<u8>,
}

impl Run {
    fn whole(mut self) -> Bytes {
        self.lease.shrink_to(self.out.len());
        Bytes::from_owner(Paid(self.out, self.lease))
    }

    async fn feed(&mut self, input: &[u8]) -> Result<(), Refusal> {
        if !self.edit.signs() {
            return self.drive(Drive::Feed(input)).await;
        }
        for piece in input.chunks(SIGNED_PIECE) {
            self.drive(Drive::Feed(piece)).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Refusal> {
        self.drive(Drive::Finish).await?;
        self.edit.account(&self.around.metrics);
        Ok(())
    }

    /// Does it, and on the way whatever the edit waits for.
    async fn drive(&mut self, mut drive: Drive<'_>) -> Result<(), Refusal> {
        let mut fetches = 0;
        loop {
            let before = self.edit.values();
            let progress = match drive {
                Drive::Feed(input) => self.edit.feed(input, &mut self.out),
                Drive::Flush => self.edit.flush(&mut self.out),
                Drive::Finish => self.edit.finish(&mut self.out),
            };
            let progress = progress?;
            self.pay()?;
            let consumed = match progress {
                Progress::All => return Ok(()),
                Progress::Fetch(need, consumed) => {
                    // The value after one that was done has its own fetches.
                    fetches = if self.edit.values() > before { 1 } else { fetches + 1 };
                    self.fetch(need, fetches).await;
                    consumed
                }
                Progress::Delegate(consumed) => {
                    let answers = self.around.sealer.delegate(self.edit.jobs()).await;
                    self.edit.answered(answers);
                    self.pay()?;
                    consumed
                }
            };
            if let Drive::Feed(input) = &mut drive {
                *input = input.get(consumed..).unwrap_or_default();
            }
        }
    }

    async fn fetch(&mut self, need: Need, so_far: usize) {
        let fetched = if so_far > MAX_FETCHES {
            Err(KeyringError::Unavailable("a key was fetched and was gone again".into()))
        } else {
            self.around.sealer.fetch(need).await
        };
        if let Err(error) = fetched {
            self.edit.fetch_failed(error);
        }
    }

    /// Keeps the lease as large as the buffers.
    fn pay(&mut self) -> Result<(), Refusal> {
        let holds = self.out.len() + self.edit.held() + self.around.buffer;
        let leased = self.lease.bytes();
        if holds > leased && !self.lease.grow(holds - leased) {
            return Err(overload());
        }
        Ok(())
    }

    fn stream<B>(mut self, mut body: B) -> Pipe
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let (feed, reader) = pipe(2);
        tokio::spawn(async move {
            match self.run_on(&mut body, &feed).await {
                Ok(()) => {
                    let (Ok(()) | Err(Gone)) = feed.end().await;
                }
                Err(refusal) => feed.refuse(refusal).await,
            }
        });
        reader
    }

    async fn run_on<B>(&mut self, body: &mut B, feed: &Feed) -> Result<(), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let gone = |_| Refusal::new(Reason::BadRequest, "the reader of a body went away");
        let mut trailers = None;
        self.drive(Drive::Flush).await?;
        self.pass(feed).await.map_err(gone)?;
        loop {
            self.lease.shrink_to(self.out.len() + self.edit.held() + self.around.buffer);
            let Some(frame) = next(body, self.around.direction, self.around.idle).await? else { break };
            match frame.into_data() {
                Ok(data) => {
                    self.feed(&data).await?;
                    self.drive(Drive::Flush).await?;
                }
                Err(frame) => {
                    trailers = trailing(frame);
                    break;
                }
            }
            // What is done leaves at once: a reader of a slow stream does not wait for the piece to fill.
            self.pass(feed).await.map_err(gone)?;
        }
        self.finish().await?;
        self.pass(feed).await.map_err(gone)?;
        match trailers {
            Some(trailers) => feed.frame(Frame::trailers(trailers)).await.map_err(gone),
            None => Ok(()),
        }
    }

    /// Passes on what is done, in pieces: what waits for a slow reader is no longer paid for, so it must be little.
    async fn pass(&mut self, feed: &Feed) -> Result<(), Gone> {
        let out = std::mem::take(&mut self.out);
        if out.len() <= PIECE {
            return feed.data(Bytes::from(out)).await;
        }
        for piece in out.chunks(PIECE) {
            feed.data(Bytes::copy_from_slice(piece)).await?;
        }
        Ok(())
    }

    /// The original bytes, then the rest of the body, unread.
    fn pass_on<B>(self, original: Vec<Bytes>, mut body: B) -> Pipe
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let (feed, reader) = pipe(2);
        let (lease, direction, idle) = (self.lease, self.around.direction, self.around.idle);
        tokio::spawn(async move {
            for bytes in original {
                if feed.data(bytes).await.is_err() {
                    return;
                }
            }
            drop(lease);
            loop {
                match next(&mut body, direction, idle).await {
                    Ok(Some(frame)) => {
                        if feed.frame(frame).await.is_err() {
                            break;
                        }
                    }
                    Ok(None) => {
                        // A reader that is gone needs no end.
                        let (Ok(()) | Err(Gone)) = feed.end().await;
                        break;
                    }
                    Err(refusal) => break feed.refuse(refusal).await,
                }
            }
        });
        reader
    }
}

/// Trailers without the digests that a changed body makes false.
fn trailing(frame: Frame<Bytes>) -> Option<HeaderMap> {
    let mut trailers = frame.into_trailers().ok()?;
    forget_validators(&mut trailers);
    Some(trailers)
}

/// The next frame of an answer, within `idle`; a request's body has its own times.
async fn next<B>(body: &mut B, direction: Direction, idle: Duration) -> Result<Option<Frame<Bytes>>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let frame = match direction {
        Direction::Request => body.frame().await,
        Direction::Response => match tokio::time::timeout(idle, body.frame()).await {
            Ok(frame) => frame,
            Err(_) => return Err(Refusal::new(Reason::Timeout, "the body stood still for too long")),
        },
    };
    let broken = |error: BoxError| {
        let reason = if direction == Direction::Request { Reason::BadRequest } else { Reason::Upstream };
        refusal_in(&*error).cloned().unwrap_or_else(|| Refusal::new(reason, "the body broke off"))
    };
    frame.transpose().map_err(|error| broken(error.into()))
}

fn overload() -> Refusal {
    super::budget::spent()
}

#[cfg(test)]
mod tests;
