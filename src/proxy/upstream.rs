//! The other side: connections to a listener's upstreams, one set per worker.

mod connect;
mod http2;
mod tls;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Method, Request, Response, Version, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use crate::refusal::{Reason, Refusal};

use super::account::refusal_in;
use super::exchange::Exchange;
use super::payload::{Body, Outgoing};
use super::settings::{Listener, UpstreamProtocol};
use super::shared::{Shared, Timeouts};
use connect::{Connector, Targets};
use http2::Http2;
pub(super) use tls::Outward;

/// hyper's smallest.
const SMALLEST_HEADER_LIMIT: usize = 8 * 1024;

/// A listener's upstreams, taken in turn.
pub(super) struct Upstream {
    targets: Arc<Targets>,
    next: AtomicUsize,
    wire: Wire,
    permits: Arc<Semaphore>,
    timeouts: Timeouts,
    /// What HTTP/2 tells the upstream of how it is spoken to.
    scheme: Scheme,
}

enum Wire {
    /// One exchange at a time per connection. The authority stands for the target: all Hosts share the pool.
    Http1(Box<Client<Connector, Outgoing>>, Vec<Authority>),
    /// One connection per target.
    Http2(Vec<Http2>),
}

impl Upstream {
    pub(super) fn new(listener: &Listener, shared: &Shared, outward: Option<Arc<Outward>>) -> Self {
        let targets = Arc::new(Targets::new(&listener.upstream));
        let timeouts = shared.timeouts;
        let scheme = if outward.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let connector = Connector::new(Arc::clone(&targets), outward, timeouts.connect);
        let header_limit = shared.settings.limits.header.max(SMALLEST_HEADER_LIMIT);
        let wire = if listener.upstream_protocol == UpstreamProtocol::Http2 {
            let http2 = |target| Http2::new(connector.clone(), target, header_limit, timeouts.http2_ping);
            Wire::Http2((0..targets.len()).map(http2).collect())
        } else {
            let limits = shared.settings.upstream_limits;
            let client = Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(limits.idle_timeout)
                .pool_max_idle_per_host(limits.idle.div_ceil(shared.settings.workers.max(1)))
                // A connection that the upstream closed while idle: the request was not sent, so it is safe to send.
                .retry_canceled_requests(true)
                .set_host(false)
                .http1_max_buf_size(header_limit)
                .build(connector);
            Wire::Http1(Box::new(client), (0..targets.len()).filter_map(connect::authority).collect())
        };
        Self {
            targets,
            next: AtomicUsize::new(0),
            wire,
            permits: Arc::clone(&shared.upstream_permits),
            timeouts,
            scheme,
        }
    }

    /// Sends the request and waits for the answer's header section. The permit belongs to the answer until its end.
    pub(super) async fn send(
        &self,
        exchange: &Arc<Exchange>,
        mut parts: request::Parts,
        body: Body,
    ) -> Result<(Response<Incoming>, Option<OwnedSemaphorePermit>), Refusal> {
        let target = self.targets.pick(self.next.fetch_add(1, Ordering::Relaxed));
        let path = std::mem::take(&mut parts.uri).into_parts().path_and_query;
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let body = Outgoing::new(body, exchange);
        match &self.wire {
            Wire::Http1(client, authorities) => {
                let permit = self.permit().await?;
                let authority = authorities.get(target).cloned();
                parts.uri = uri(Scheme::HTTP, authority, path)?;
                parts.version = Version::HTTP_11;
                if !parts.headers.contains_key(header::HOST) {
                    parts.headers.insert(header::HOST, self.targets.host(target));
                }
                if parts.headers.contains_key(header::TE) {
                    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
                }
                keep_body(&mut parts, &body);
                let sent = client.request(Request::from_parts(parts, body));
                let response =
                    self.answer(exchange, async { sent.await.map_err(|e| refusal(&e, e.is_connect())) }).await;
                Ok((response?, Some(permit)))
            }
            Wire::Http2(targets) => {
                let host = parts.headers.remove(header::HOST).unwrap_or_else(|| self.targets.host(target));
                parts.uri = uri(self.scheme.clone(), Authority::try_from(host.as_bytes()).ok(), path)?;
                parts.version = Version::HTTP_2;
                let Some(http2) = targets.get(target) else { return Err(none()) };
                let sent = http2.send(Request::from_parts(parts, body));
                Ok((self.answer(exchange, sent).await?, None))
            }
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        match time::timeout(self.timeouts.permit, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Refusal::new(Reason::Overload, "no connection free within upstream_limits.connections")),
        }
    }

    /// Waits as long as the request's body moves, and then for `response_head`.
    async fn answer(
        &self,
        exchange: &Exchange,
        sent: impl Future<Output = Result<Response<Incoming>, Refusal>>,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut sent = pin!(sent);
        loop {
            match time::timeout(self.timeouts.response_head, sent.as_mut()).await {
                Ok(answer) => return answer,
                Err(_) if exchange.moved.swap(false, Ordering::Relaxed) => {}
                Err(_) => return Err(Refusal::new(Reason::Timeout, silence(self.timeouts.response_head))),
            }
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("targets", &self.targets).finish_non_exhaustive()
    }
}

/// hyper leaves out the body of a GET or HEAD whose length it does not know, unless it is told that there is one.
fn keep_body(parts: &mut request::Parts, body: &Outgoing) {
    let left_out = matches!(parts.method, Method::GET | Method::HEAD)
        && !body.is_end_stream()
        && body.size_hint().exact().is_none()
        && !parts.headers.contains_key(header::CONTENT_LENGTH);
    if left_out {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

fn silence(waited: Duration) -> String {
    format!("the upstream did not begin its answer within {waited:?}; see whether it hangs")
}

fn uri(scheme: Scheme, authority: Option<Authority>, path: PathAndQuery) -> Result<Uri, Refusal> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = authority;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Refusal::new(Reason::BadRequest, "the request's target is no URI"))
}

fn none() -> Refusal {
    Refusal::new(Reason::Upstream, "the listener has no upstream")
}

/// Whose fault it was: a body that was refused on the way, the client that broke off, or the upstream.
fn refusal(error: &(dyn std::error::Error + 'static), connecting: bool) -> Refusal {
    if let Some(refusal) = refusal_in(error) {
        return refusal.clone();
    }
    let hyper = std::iter::successors(Some(error), |e| e.source()).find_map(|e| e.downcast_ref::<hyper::Error>());
    if connecting {
        let system = std::iter::successors(Some(error), |e| e.source()).last();
        let what = system.map(ToString::to_string).unwrap_or_default();
        return Refusal::new(Reason::Upstream, format!("cannot connect to the upstream: {what}"));
    }
    match hyper {
        Some(e) if e.is_user() => Refusal::new(Reason::BadRequest, "the request's body broke off"),
        Some(e) if e.is_parse() => Refusal::new(Reason::Upstream, "the upstream's answer is not HTTP"),
        Some(e) if e.is_timeout() => Refusal::new(Reason::Timeout, "the upstream did not answer in time"),
        _ => Refusal::new(Reason::Upstream, "the upstream closed the connection before it answered"),
    }
}

/// The `Host` of a request whose HTTP/1.0 client sent none.
fn host_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}
