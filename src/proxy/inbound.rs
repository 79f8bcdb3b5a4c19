//! A request's body as it comes from the client: no larger than it may be, and not slower.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{self, Sleep};

use crate::metrics::Limit;
use crate::refusal::{Reason, Refusal};

use super::budget::{Lease, spent};
use super::connection::Connection;
use super::exchange::Exchange;
use super::patience::Patience;
use super::payload::BoxError;
use super::quiet;
use super::settings::UpstreamProtocol;

/// The body of one request.
pub struct Inbound {
    body: Incoming,
    connection: Arc<Connection>,
    exchange: Arc<Exchange>,
    /// What may still come.
    left: Option<u64>,
    patience: Patience,
    /// Runs while the client keeps us waiting.
    timer: Option<Pin<Box<Sleep>>>,
    /// Pays for what HTTP/2 lets come before it is taken.
    _window: Option<Lease>,
    /// It came in HTTP/1, where nobody waits for its last piece to be taken.
    quiet: bool,
}

impl Inbound {
    /// Refuses what `headers` say is too large, before any of it is asked for.
    pub(super) fn new(
        body: Incoming,
        connection: &Arc<Connection>,
        exchange: &Arc<Exchange>,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        let settings = &exchange.shared.settings;
        let most = largest(exchange);
        let announced = body.size_hint().exact().or_else(|| length(headers));
        if let (Some(most), Some(announced)) = (most, announced)
            && announced > most
        {
            return Err(too_large(connection, exchange));
        }
        let window = if version == Version::HTTP_2 && !body.is_end_stream() {
            let window = u64::from(settings.limits.http2.stream_window).min(announced.unwrap_or(u64::MAX));
            let window = usize::try_from(window).unwrap_or(usize::MAX);
            Some(exchange.shared.budget.try_take(window).ok_or_else(spent)?)
        } else {
            None
        };
        let timeouts = &settings.timeouts;
        // Messages of both directions come when they come (gRPC), and no connection of the upstream waits for them.
        let converses = match exchange.listener.upstream_protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            // What will be chosen is not known yet, and gRPC knows no other.
            UpstreamProtocol::Auto => version == Version::HTTP_2 && is_grpc(headers),
        };
        let patience = match converses {
            true => Patience::new(timeouts.request_idle.max(timeouts.response_idle), None),
            false => Patience::new(timeouts.request_idle, settings.limits.min_rate),
        };
        Ok(Self {
            body,
            connection: Arc::clone(connection),
            exchange: Arc::clone(exchange),
            left: most,
            patience,
            timer: None,
            _window: window,
            quiet: version != Version::HTTP_2,
        })
    }

    fn is_out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.patience.is_waiting() {
            let ends = self.patience.waits();
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(ends),
                None => self.timer = Some(Box::pin(time::sleep_until(ends))),
            }
        }
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }

    fn slow(&self) -> Refusal {
        self.connection.front.metrics.limited(Limit::RequestIdle);
        Refusal::new(Reason::SlowClient, "the client kept its body back (`timeouts.request_idle`)")
    }

    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        if !self.patience.moved(bytes) {
            return Err(self.slow());
        }
        self.connection.watch.used(bytes as u64);
        let Some(left) = &mut self.left else { return Ok(()) };
        match left.checked_sub(bytes as u64) {
            Some(rest) => *left = rest,
            None => return Err(too_large(&self.connection, &self.exchange)),
        }
        Ok(())
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = match this.quiet {
            true => quiet::poll(&mut this.body, cx),
            false => Pin::new(&mut this.body).poll_frame(cx),
        };
        if polled.is_pending() && this.is_out_of_patience(cx) {
            return Poll::Ready(Some(Err(this.slow().into())));
        }
        let frame = ready!(polled);
        if let Some(Ok(frame)) = &frame
            && let Err(refusal) = this.take(frame.data_ref().map_or(0, Bytes::len))
        {
            return Poll::Ready(Some(Err(refusal.into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The smallest `max_body` of the rules that have one, else the listener's, else the process's.
fn largest(exchange: &Exchange) -> Option<u64> {
    let named = exchange.route.named().into_iter();
    let rules = exchange.route.rules.iter().map(|(rule, _)| rule).chain(named);
    let rules = rules.filter_map(|rule| rule.limits.max_body).min();
    rules.or_else(|| exchange.listener.limits.body.unwrap_or(exchange.shared.settings.limits.body))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(connection: &Connection, exchange: &Exchange) -> Refusal {
    connection.front.metrics.limited(Limit::Body);
    let mut refusal = Refusal::new(Reason::TooLarge, "the body is over `max_body`, or `limits.body`");
    refusal.rule = exchange
        .route
        .rules
        .iter()
        .find(|(rule, _)| rule.limits.max_body.is_some())
        .map(|(rule, _)| Arc::clone(&rule.name));
    refusal
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
