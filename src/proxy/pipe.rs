//! A body fed by a task. It ends only when the task says so: a task that dies leaves an error, never a short body that looks whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use crate::refusal::Refusal;

use super::payload::BoxError;

/// The body broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body was cut, since the rest of it could not be passed on")]
pub struct Cut;

enum Message {
    Frame(Frame<Bytes>),
    End,
    Refused(Refusal),
}

/// The reading end.
pub struct Pipe {
    frames: mpsc::Receiver<Message>,
    ended: bool,
}

/// The writing end.
pub struct Feed(mpsc::Sender<Message>);

/// The reader went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Both ends; at most `frames` wait in between.
pub fn pipe(frames: usize) -> (Feed, Pipe) {
    let (sender, receiver) = mpsc::channel(frames);
    (Feed(sender), Pipe { frames: receiver, ended: false })
}

impl Feed {
    /// Passes data on; waits while the reader is slow.
    pub async fn data(&self, bytes: Bytes) -> Result<(), Gone> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.0.send(Message::Frame(Frame::data(bytes))).await.map_err(|_| Gone)
    }

    /// Passes a frame of the original body on.
    pub async fn frame(&self, frame: Frame<Bytes>) -> Result<(), Gone> {
        self.0.send(Message::Frame(frame)).await.map_err(|_| Gone)
    }

    /// The body can't be passed on any further, for this reason.
    pub async fn refuse(self, refusal: Refusal) {
        // A reader that is gone needs no reason.
        drop(self.0.send(Message::Refused(refusal)).await);
    }

    /// The body is whole.
    pub async fn end(self) -> Result<(), Gone> {
        self.0.send(Message::End).await.map_err(|_| Gone)
    }
}

impl Body for Pipe {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let message = ready!(self.frames.poll_recv(cx));
        self.ended = !matches!(message, Some(Message::Frame(_)));
        Poll::Ready(match message {
            Some(Message::Frame(frame)) => Some(Ok(frame)),
            Some(Message::End) => None,
            Some(Message::Refused(refusal)) => Some(Err(refusal.into())),
            None => Some(Err(Cut.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_feed_that_is_dropped_is_an_error_and_not_an_end() {
        let (feed, mut body) = pipe(2);
        feed.data(Bytes::from_static(b"a")).await.unwrap();
        drop(feed);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().unwrap_err().is::<Cut>());
        assert!(body.frame().await.is_none());

        let (feed, mut body) = pipe(2);
        feed.end().await.unwrap();
        assert!(body.frame().await.is_none());
    }
}
