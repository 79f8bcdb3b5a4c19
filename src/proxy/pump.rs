//! Drives one body through its edit: up to `buffer` bytes are checked whole before the first leaves, longer ones stream.

mod input;

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::keyring::KeyringError;
use crate::refusal::{Reason, Refusal};
use crate::transform::Need;
use crate::transform::body::{BodyEdit, Progress};
use crate::transform::plan::Direction;

use super::budget::Lease;
use super::coding::encode::Form;
use super::coding::{Decoder, Encoder};
use super::ledger::Ledger;
use super::payload::BoxError;
use super::pipe::{Feed, Gone, Pipe, pipe};
use input::{Input, Piece, frame, trailing};

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
    /// Checked whole, and nothing in it changed: as it came.
    Same(Bytes, Option<HeaderMap>),
    /// Begun, the rest follows.
    Streaming(Pipe),
    /// Not JSON, and to be let through as it came.
    Unread(Pipe),
}

/// What a pump needs beside the body and its edit.
pub struct Surroundings {
    /// Pays for buffers; of nothing yet.
    pub lease: Lease,
    /// Counts fields, and what this costs.
    pub ledger: Ledger,
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

/// Reads `body` until it ends or passes `buffer`; undoes its codings on the way, and codes it again behind the edit.
pub async fn pump<B>(
    body: B,
    decoder: Option<Box<Decoder>>,
    edit: Box<BodyEdit>,
    mut around: Surroundings,
) -> Result<Pumped, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let coded = decoder.is_some();
    // Beside the output, what came and what that was decoded to.
    let base = around.buffer.saturating_mul(if coded { 3 } else { 1 });
    if !around.lease.grow(base) {
        return Err(overload());
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // Tokens are longer than values; the lease covers it.
    let room = announced.saturating_mul(2).min(around.buffer);
    let keeps = (coded || around.pass_invalid).then_some(around.buffer);
    let mut body = Input::new(body, (around.direction, around.idle), decoder, keeps);
    let mut run = Run { edit, around, base, out: Vec::with_capacity(room), encoder: None };
    if run.around.at_once {
        return Ok(Pumped::Streaming(run.stream(body)));
    }
    // What a coded body was decoded to.
    let mut plain: Vec<u8> = Vec::new();
    let mut taken = 0;
    let mut trailers = None;
    let mut finished = false;
    while let Some(piece) = body.next().await? {
        let data = match piece {
            Piece::Data(data) => data,
            Piece::Trailers(fields) => {
                trailers = Some(fields);
                continue;
            }
        };
        taken += data.len();
        if run.out.capacity() == 0 {
            // Nothing was announced.
            run.out.reserve(data.len().saturating_mul(2).min(run.around.buffer));
        }
        finished = taken > 0 && taken <= run.around.buffer && body.is_over();
        let fed = run.feed(&data, finished).await;
        if coded {
            plain.extend_from_slice(&data);
        }
        if let Err(refusal) = fed {
            return run.unread(refusal, body).map(Pumped::Unread);
        }
        if taken > run.around.buffer {
            return Ok(Pumped::Streaming(run.stream(body)));
        }
    }
    if taken > 0
        && !finished
        && let Err(refusal) = run.finish().await
    {
        return run.unread(refusal, body).map(Pumped::Unread);
    }
    let same = if coded { plain == run.out } else { run.edit.values() == 0 };
    if same {
        // Codings have many ways to say one thing.
        match body.original() {
            Some(original) if coded => {
                run.out = original;
                return Ok(Pumped::Same(run.whole(), trailers));
            }
            _ if !coded => return Ok(Pumped::Same(run.whole(), trailers)),
            _ => {}
        }
    }
    let trailers = trailers.map(trailing);
    if let Some(decoder) = body.decoder().filter(|_| taken > 0) {
        run.encode_whole(&decoder.forms())?;
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
    /// Boxed, since it moves.
    edit: Box<BodyEdit>,
    around: Surroundings,
    /// What is leased beside output and held values.
    base: usize,
    out: Vec<u8>,
    /// Behind the edit, once the body streams.
    encoder: Option<Encoder>,
}

impl Run {
    fn whole(mut self) -> Bytes {
        self.around.lease.shrink_to(self.out.len());
        Bytes::from_owner(Paid(self.out, self.around.lease))
    }

    /// Takes a piece in; the `last` one, and then comes to the end.
    async fn feed(&mut self, input: &[u8], last: bool) -> Result<(), Refusal> {
        if self.edit.signs() {
            for piece in input.chunks(SIGNED_PIECE) {
                self.drive(Drive::Feed(piece)).await?;
                tokio::task::yield_now().await;
            }
            return if last { self.finish().await } else { Ok(()) };
        }
        // One look at the clock before and after both.
        let begun = self.around.ledger.begin();
        let mut driven = self.driven(Drive::Feed(input)).await;
        if last && driven.is_ok() {
            driven = self.driven(Drive::Finish).await;
        }
        self.around.ledger.end(begun);
        if last && driven.is_ok() {
            self.around.ledger.account(self.around.direction, &self.edit);
        }
        driven
    }

    async fn finish(&mut self) -> Result<(), Refusal> {
        self.drive(Drive::Finish).await?;
        self.around.ledger.account(self.around.direction, &self.edit);
        Ok(())
    }

    /// Does it, and on the way whatever the edit waits for; that is the time that this process adds.
    async fn drive(&mut self, drive: Drive<'_>) -> Result<(), Refusal> {
        let begun = self.around.ledger.begin();
        let driven = self.driven(drive).await;
        self.around.ledger.end(begun);
        driven
    }

    async fn driven(&mut self, mut drive: Drive<'_>) -> Result<(), Refusal> {
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
                    let jobs = self.edit.jobs();
                    let answers = self.edit.sealer().delegate(jobs).await;
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
            self.edit.sealer().fetch(need).await
        };
        if let Err(error) = fetched {
            self.edit.fetch_failed(error);
        }
    }

    /// Keeps the lease as large as the buffers.
    fn pay(&mut self) -> Result<(), Refusal> {
        let holds = self.out.len() + self.edit.held() + self.base;
        let leased = self.around.lease.bytes();
        if holds > leased && !self.around.lease.grow(holds - leased) {
            return Err(overload());
        }
        Ok(())
    }

    /// Codes a whole body.
    fn encode_whole(&mut self, forms: &[Form]) -> Result<(), Refusal> {
        let mut encoder = Encoder::new(forms, Some(self.out.len()), self.around.lease.budget()).ok_or_else(overload)?;
        let mut coded = Vec::with_capacity(self.out.len() / 2);
        encoder
            .encode(&self.out, &mut coded)
            .and_then(|()| encoder.finish(&mut coded))
            .map_err(|error| uncoded(&error))?;
        self.out = coded;
        Ok(())
    }

    fn stream<B>(mut self, mut body: Input<B>) -> Pipe
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

    async fn run_on<B>(&mut self, body: &mut Input<B>, feed: &Feed) -> Result<(), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        drop(body.original());
        self.base = self.around.buffer;
        let mut trailers = None;
        self.drive(Drive::Flush).await?;
        self.begin_coding(body)?;
        self.pass(feed).await?;
        loop {
            self.around.lease.shrink_to(self.out.len() + self.edit.held() + self.base);
            let next = {
                let mut next = pin!(body.next());
                match std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
                    Poll::Ready(next) => next?,
                    Poll::Pending => {
                        self.flush(feed).await?;
                        next.await?
                    }
                }
            };
            match next {
                Some(Piece::Data(data)) => {
                    self.feed(&data, false).await?;
                    self.drive(Drive::Flush).await?;
                }
                Some(Piece::Trailers(fields)) => {
                    trailers = Some(trailing(fields));
                    break;
                }
                None => break,
            }
            // What is done leaves at once: a reader of a slow stream does not wait for the piece to fill.
            self.begin_coding(body)?;
            self.pass(feed).await?;
        }
        self.finish().await?;
        self.begin_coding(body)?;
        self.pass(feed).await?;
        if let Some(mut encoder) = self.encoder.take() {
            let mut coded = Vec::new();
            encoder.finish(&mut coded).map_err(|error| uncoded(&error))?;
            feed.data(coded.into()).await.map_err(gone)?;
        }
        match trailers {
            Some(trailers) => feed.frame(Frame::trailers(trailers)).await.map_err(gone),
            None => Ok(()),
        }
    }

    /// What has to be coded again is so from the first byte on.
    fn begin_coding<B>(&mut self, body: &Input<B>) -> Result<(), Refusal> {
        if let (None, Some(decoder), false) = (&self.encoder, body.decoder(), self.out.is_empty()) {
            let encoder = Encoder::new(&decoder.forms(), None, self.around.lease.budget());
            self.encoder = Some(encoder.ok_or_else(overload)?);
        }
        Ok(())
    }

    /// Passes on what is done, in pieces: what waits for a slow reader is no longer paid for, so it must be little.
    async fn pass(&mut self, feed: &Feed) -> Result<(), Refusal> {
        let out = std::mem::take(&mut self.out);
        if let Some(encoder) = &mut self.encoder {
            for piece in out.chunks(PIECE) {
                let mut coded = Vec::new();
                encoder.encode(piece, &mut coded).map_err(|error| uncoded(&error))?;
                feed.data(coded.into()).await.map_err(gone)?;
            }
            return Ok(());
        }
        if out.len() <= PIECE {
            return feed.data(Bytes::from(out)).await.map_err(gone);
        }
        for piece in out.chunks(PIECE) {
            feed.data(Bytes::copy_from_slice(piece)).await.map_err(gone)?;
        }
        Ok(())
    }

    /// Nothing more is there to be read: what the encoder holds back for a better ratio leaves.
    async fn flush(&mut self, feed: &Feed) -> Result<(), Refusal> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let mut coded = Vec::new();
        encoder.flush(&mut coded).map_err(|error| uncoded(&error))?;
        feed.data(coded.into()).await.map_err(gone)
    }

    /// What cannot be read passes as it came, if the rules say so and all of it is still there.
    fn unread<B>(self, refusal: Refusal, mut body: Input<B>) -> Result<Pipe, Refusal>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if !refusal.reason.is_unreadable() || !self.around.pass_invalid {
            return Err(refusal);
        }
        let Some(original) = body.original() else { return Err(refusal) };
        let (mut body, mut trailers) = body.into_rest();
        let (feed, reader) = pipe(2);
        let Surroundings { lease, direction, idle, .. } = self.around;
        tokio::spawn(async move {
            if feed.data(original.into()).await.is_err() {
                return;
            }
            drop(lease);
            loop {
                let next = match trailers.take() {
                    Some(trailers) => Ok(Some(Frame::trailers(trailers))),
                    None => frame(&mut body, direction, idle).await,
                };
                match next {
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
        Ok(reader)
    }
}

fn gone(_: Gone) -> Refusal {
    Refusal::new(Reason::BadRequest, "the reader of a body went away")
}

fn uncoded(error: &std::io::Error) -> Refusal {
    Refusal::new(Reason::Coding, format!("a body could not be coded again: {error}"))
}

fn overload() -> Refusal {
    super::budget::spent()
}

#[cfg(test)]
mod tests;
