//! Why a request got no answer: whose fault it was, and what is known of what the upstream did.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::Request;

use crate::proxy::account::refusal_in;
use crate::refusal::{Reason, Refusal};
use crate::tls::fault;

use super::outgoing::{Again, Outgoing};

/// A request without an answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) refusal: Refusal,
    /// The upstream's, not the client's nor ours.
    upstreams: bool,
    /// The connection ended before the first byte of an answer.
    pub(super) dead: bool,
    /// The upstream has done nothing: not one byte has left, or it has said so.
    pub(super) unprocessed: bool,
}

/// What became of a request that was to be sent.
pub(super) enum Sent {
    /// The connection had ended before it took the request; whether it had served before.
    Unsent(Box<Request<Outgoing>>, bool, Failure),
    /// It took it; what is left of the body.
    Died(Option<Again>, Failure),
}

impl Sent {
    /// Whether the connection takes no more requests.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Unsent(..) => true,
            Self::Died(_, failure) => failure.dead,
        }
    }
}

impl Failure {
    /// Whether the upstream is to blame.
    pub(super) fn is_upstreams(&self) -> bool {
        self.upstreams
    }

    pub(super) fn ours(reason: Reason, detail: &str) -> Self {
        Self { refusal: Refusal::new(reason, detail), upstreams: false, dead: false, unprocessed: false }
    }

    fn upstream(reason: Reason, detail: impl Into<String>) -> Self {
        Self { refusal: Refusal::new(reason, detail), upstreams: true, dead: false, unprocessed: false }
    }

    pub(super) fn connect(what: &str) -> Self {
        Self::upstream(Reason::Upstream, format!("cannot connect to the upstream: {what}"))
    }

    pub(super) fn connecting(error: &io::Error) -> Self {
        Self::connect(&error.to_string())
    }

    pub(super) fn handshake(error: &hyper::Error) -> Self {
        if let Some(fault) = fault::with_server(error) {
            return Self::connect(fault);
        }
        let system = chain(error).last();
        Self::connect(&system.map(ToString::to_string).unwrap_or_default())
    }

    pub(super) fn silence(waited: Duration) -> Self {
        let detail = format!("the upstream did not begin its answer within {waited:?}; see whether it hangs");
        Self::upstream(Reason::Timeout, detail)
    }

    pub(super) fn flooded() -> Self {
        Self::upstream(Reason::Upstream, "the upstream sends interim answers without end")
    }

    /// What hyper says of a request that it was given.
    pub(super) fn sending(error: &hyper::Error) -> Self {
        if let Some(refusal) = refusal_in(error) {
            return Self { refusal: refusal.clone(), upstreams: false, dead: false, unprocessed: false };
        }
        if error.is_user() {
            return Self::ours(Reason::BadRequest, "the request's body broke off");
        }
        if error.is_parse_too_large() {
            return Self::upstream(
                Reason::Upstream,
                "the header section of the upstream's answer is over limits.header",
            );
        }
        if error.is_parse() {
            return Self::upstream(Reason::Upstream, "the upstream's answer is not HTTP");
        }
        if let Some(error) = chain(error).find_map(|e| e.downcast_ref::<h2::Error>()) {
            return Self::http2(error);
        }
        let detail = match fault::with_server(error) {
            // In TLS 1.3 who wants or refuses our certificate says so after we are done.
            Some(fault) => format!("TLS to the upstream: {fault}"),
            None => "the upstream closed the connection before it answered".to_owned(),
        };
        Self { dead: true, ..Self::upstream(Reason::Upstream, detail) }
    }

    /// RFC 9113: REFUSED_STREAM (§ 8.7) and streams above a GOAWAY's last (§ 6.8) were not processed. h2 reports a
    /// GOAWAY without an error only to those.
    fn http2(error: &h2::Error) -> Self {
        let reason = error.reason().filter(|_| error.is_remote());
        let unprocessed = (error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
            || (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR));
        let detail = match error.reason() {
            _ if unprocessed => "the upstream did not take the request",
            Some(_) if error.is_reset() => "the upstream reset the stream before it answered",
            Some(_) => "the upstream or its HTTP/2 failed: the connection ended with an error",
            None => "the upstream closed the connection before it answered",
        };
        Self { dead: !error.is_reset(), unprocessed, ..Self::upstream(Reason::Upstream, detail) }
    }
}

impl From<Failure> for Sent {
    fn from(failure: Failure) -> Self {
        Self::Died(None, failure)
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| <dyn Error>::source(*error))
}
