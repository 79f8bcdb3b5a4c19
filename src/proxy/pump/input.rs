//! A body as it comes, decoded if it is coded.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::ETAG;
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use crate::proxy::account::refusal_in;
use crate::proxy::coding::Decoder;
use crate::proxy::headers::forget_validators;
use crate::proxy::payload::BoxError;
use crate::refusal::{Reason, Refusal};
use crate::transform::plan::Direction;

/// What is read of a body.
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

pub(super) struct Input<B> {
    body: B,
    direction: Direction,
    /// The longest silence within an answer.
    idle: Duration,
    decoder: Option<Box<Decoder>>,
    /// What came and is not decoded yet.
    coded: Bytes,
    /// The decoder has more without that.
    more: bool,
    begun: bool,
    trailers: Option<HeaderMap>,
    /// What came, as it came, as long as it is no more than `keep` bytes.
    kept: Option<Vec<u8>>,
    keep: usize,
}

impl<B> Input<B> {
    /// What came, if all of it was kept; nothing is kept from now on.
    pub(super) fn original(&mut self) -> Option<Vec<u8>> {
        self.kept.take()
    }

    pub(super) fn decoder(&self) -> Option<&Decoder> {
        self.decoder.as_deref()
    }

    /// The rest of it, as it comes.
    pub(super) fn into_rest(self) -> (B, Option<HeaderMap>) {
        (self.body, self.trailers)
    }
}

impl<B> Input<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Keeps up to `keep` bytes as they came.
    pub(super) fn new(
        body: B,
        (direction, idle): (Direction, Duration),
        decoder: Option<Box<Decoder>>,
        keep: Option<usize>,
    ) -> Self {
        Self {
            body,
            direction,
            idle,
            decoder,
            coded: Bytes::new(),
            more: false,
            begun: false,
            trailers: None,
            kept: keep.map(|_| Vec::new()),
            keep: keep.unwrap_or_default(),
        }
    }

    /// Whether it is known that no piece follows. A body of known length has ended with its last piece; to ask for one more tells
    /// nothing new.
    pub(super) fn is_over(&self) -> bool {
        self.decoder.is_none() && self.trailers.is_none() && self.body.is_end_stream()
    }

    /// The next piece; `None` at the end of the body.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Refusal> {
        loop {
            if let Some(data) = self.decoded()? {
                return Ok(Some(Piece::Data(data)));
            }
            if let Some(trailers) = self.trailers.take() {
                return Ok(Some(Piece::Trailers(trailers)));
            }
            if self.is_over() {
                return Ok(None);
            }
            let Some(frame) = frame(&mut self.body, self.direction, self.idle).await? else {
                self.end()?;
                return Ok(None);
            };
            match frame.into_data() {
                Ok(data) => {
                    self.keep(&data);
                    if self.decoder.is_none() {
                        return Ok(Some(Piece::Data(data)));
                    }
                    self.begun |= !data.is_empty();
                    self.coded = data;
                }
                Err(frame) => {
                    self.end()?;
                    self.trailers = frame.into_trailers().ok();
                }
            }
        }
    }

    fn decoded(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        while self.more || self.coded.has_remaining() {
            let mut out = Vec::new();
            let mut rest = &*self.coded;
            self.more = decoder.decode(&mut rest, &mut out)?;
            let used = self.coded.len() - rest.len();
            self.coded.advance(used);
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        Ok(None)
    }

    fn end(&self) -> Result<(), Refusal> {
        match &self.decoder {
            // No bytes at all are no body, whatever coding they have.
            Some(decoder) if self.begun => Ok(decoder.finish()?),
            _ => Ok(()),
        }
    }

    /// Copied: a piece of one byte would hold on to all that was read with it.
    fn keep(&mut self, data: &[u8]) {
        if let Some(kept) = &mut self.kept {
            if kept.len() + data.len() > self.keep {
                self.kept = None;
            } else {
                kept.extend_from_slice(data);
            }
        }
    }
}

/// Trailers without the digests that a changed body makes false.
pub(super) fn trailing(mut trailers: HeaderMap) -> HeaderMap {
    forget_validators(&mut trailers);
    trailers.remove(ETAG);
    trailers
}

/// The next frame of an answer, within `idle`; a request's body has its own times.
pub(super) async fn frame<B>(
    body: &mut B,
    direction: Direction,
    idle: Duration,
) -> Result<Option<Frame<Bytes>>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let told = |frame: Option<Result<Frame<Bytes>, B::Error>>| {
        let broken = |error: BoxError| {
            let reason = if direction == Direction::Request { Reason::BadRequest } else { Reason::Upstream };
            refusal_in(&*error).cloned().unwrap_or_else(|| Refusal::new(reason, "the body broke off"))
        };
        frame.transpose().map_err(|error| broken(error.into()))
    };
    if direction == Direction::Request {
        return told(body.frame().await);
    }
    // Most have come with the header section: no timer for these.
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
            return Poll::Ready(told(frame));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        let still = || Err(Refusal::new(Reason::Timeout, "the body stood still for too long"));
        timer.as_mut().poll(cx).map(|()| still())
    })
    .await
}
