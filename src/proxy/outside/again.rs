//! A look-up that found nothing is made again with the tokens of the epoch before (`rewrite: fallback`).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Method, Response, StatusCode, request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::refusal::{Reason, Refusal};

use super::Written;
use crate::proxy::payload::{Body, BoxError};

/// An empty array is no longer than this, white space included.
const EMPTY: usize = 64;

/// What a request is to be asked with if the first answer says that there is nothing.
#[derive(Debug)]
pub(in crate::proxy) struct Again(Written);

impl Again {
    pub(super) fn new(written: Written) -> Self {
        Self(written)
    }

    /// The second request, made of the first one as it leaves.
    pub(in crate::proxy) fn ask(self, first: &request::Parts) -> request::Parts {
        let mut parts = first.clone();
        self.0.put(&mut parts);
        parts
    }
}

/// Whether an answer says that there is nothing: 404, or 200 with an empty JSON array. What is read of its body is put back.
pub(in crate::proxy) async fn found_nothing(
    method: &Method,
    response: &mut Response<Body>,
    patience: Duration,
) -> Result<bool, Refusal> {
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(true);
    }
    let headers = response.headers();
    let json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    });
    let short = response.body().size_hint().lower() <= EMPTY as u64;
    let readable = json && short && !headers.contains_key(CONTENT_ENCODING);
    if response.status() != StatusCode::OK || method == Method::HEAD || !readable {
        return Ok(false);
    }
    let mut body = std::mem::replace(response.body_mut(), Body::Empty);
    let mut read = Vec::new();
    let mut last = None;
    while read.len() <= EMPTY {
        let silent = || Refusal::new(Reason::Timeout, "the upstream fell silent within its answer");
        match timeout(patience, body.frame()).await.map_err(|_| silent())? {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => read.extend_from_slice(&data),
                Err(trailers) => {
                    last = Some(Ok(trailers));
                    break;
                }
            },
            Some(Err(error)) => {
                last = Some(Err(error));
                break;
            }
            None => {
                let text: Vec<u8> = read.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
                *response.body_mut() = Body::Full(read.into());
                return Ok(text == b"[]");
            }
        }
    }
    let rest = PutBack { read: Some(read.into()).filter(|read: &Bytes| !read.is_empty()), last, body };
    *response.body_mut() = Body::Stream(Box::pin(rest));
    Ok(false)
}

/// A body of which something was read.
struct PutBack {
    read: Option<Bytes>,
    last: Option<Result<Frame<Bytes>, BoxError>>,
    body: Body,
}

impl HttpBody for PutBack {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(read) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        if let Some(last) = self.last.take() {
            return Poll::Ready(Some(last));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.last.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, |read| read.len() as u64);
        let mut hint = self.body.size_hint();
        match hint.upper() {
            Some(upper) => {
                hint.set_upper(upper + read);
                hint.set_lower(hint.lower() + read);
            }
            None => hint.set_lower(hint.lower() + read),
        }
        hint
    }
}
