//! The other side: connections to a listener's upstreams, one set per worker.

mod breaker;
mod connect;
mod counted;
mod failure;
mod http2;
mod outgoing;
mod pool;
mod resolve;
mod targets;
mod tls;

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderName, HeaderValue, Method, Request, Response, Version, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{self, Sleep};

use crate::crypto::random;
use crate::metrics::{Limit, ListenerMetrics, UpstreamMetrics};
use crate::refusal::{Reason, Refusal};
use crate::secret::SecretBytes;

use super::exchange::Exchange;
use super::headers::Seen;
use super::payload::Body;
use super::queue::Queue;
use super::quiet::Quiet;
use super::settings::{HYPER_HEADERS, Listener, Retry, Timeouts, UpstreamHost, UpstreamProtocol};
use super::shared::Shared;
use super::stream::{Protocol, Stream};
use breaker::{Breaker, Leave};
use connect::Connector;
use counted::Counted;
use failure::{Failure, Sent};
use http2::Http2Limits;
use outgoing::{Again, Outgoing};
use pool::{Connection, Fields, Pool, PoolLimits};
pub(super) use pool::{IdleCount, Lease};
use resolve::Names;
use targets::{Endpoint, Targets};
use tls::Offer;
pub(super) use tls::Outward;

/// hyper's smallest.
const SMALLEST_HEADER_LIMIT: usize = 8 * 1024;
/// So many times `limits.header` may come before the answer's header section is complete: interim answers are many, not
/// without end.
const INTERIM: u64 = 16;

/// A listener's upstreams, taken in turn.
pub(super) struct Upstream {
    targets: Arc<Targets>,
    names: Option<Names>,
    pool: Arc<Pool>,
    connector: Connector,
    http1: http1::Builder,
    http2: Http2Limits,
    /// `limits.headers`
    headers: usize,
    protocol: UpstreamProtocol,
    tls: bool,
    host: UpstreamHost,
    retry: Retry,
    breaker: Option<Breaker>,
    permits: Arc<Queue>,
    limited: Arc<ListenerMetrics>,
    timeouts: Timeouts,
    metrics: Arc<UpstreamMetrics>,
}

/// Why a request that may have been processed is not sent again.
const NOT_REPEATED: &str =
    "; it was a kept connection, but the request may have been processed, or part of its body is gone: not sent again";

/// A connection over which one request may be sent.
enum Link {
    Http1(Box<Connection>),
    Http2(http2::Standing),
}

/// Connects that failed for one request.
#[derive(Default)]
struct Tries {
    endpoints: Vec<Arc<Endpoint>>,
    first: Option<Failure>,
    began: Option<Instant>,
}

impl Upstream {
    /// To be made within the worker's runtime.
    pub(super) fn new(
        listener: &Listener,
        shared: &Shared,
        idle: &Arc<IdleCount>,
        outward: Option<Arc<Outward>>,
    ) -> Self {
        let settings = &shared.settings;
        let (limits, failures) = (settings.upstream_limits, settings.upstream_failures);
        let rest = (failures.rest, failures.longest_rest.max(failures.rest));
        let metrics = shared.metrics.upstream(&listener.name);
        let header = settings.limits.header.max(SMALLEST_HEADER_LIMIT);
        let targets = Arc::new(Targets::new(&listener.upstream, rest, &metrics));
        let pool_limits = PoolLimits {
            idle: limits.idle.div_ceil(settings.workers.max(1)),
            most: if limits.idle == 0 { 0 } else { limits.connections },
            idle_timeout: limits.idle_timeout,
            max_age: limits.max_age,
        };
        let pool = Pool::new(pool_limits, idle, &metrics);
        pool.keep_swept(&targets);
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(header);
        if settings.limits.headers > HYPER_HEADERS {
            http1.max_headers(settings.limits.headers);
        }
        Self {
            names: Names::watch(&targets, &pool, limits.resolve, &metrics),
            targets,
            pool,
            http1,
            http2: Http2Limits { header, ping: settings.timeouts.ping, max_age: limits.max_age },
            headers: settings.limits.headers,
            protocol: listener.upstream_protocol,
            tls: outward.is_some(),
            connector: Connector::new(outward, settings.timeouts.connect),
            host: listener.upstream_host.clone(),
            retry: failures.retry,
            breaker: (failures.breaker_after > 0)
                .then(|| Breaker::new(failures.breaker_after, failures.breaker_probes, rest, &metrics)),
            limited: shared.metrics.listener(&listener.name),
            permits: Arc::clone(&shared.upstream_permits),
            timeouts: settings.timeouts,
            metrics,
        }
    }

    /// Sends the request and waits for the answer's header section. The lease belongs to the answer until its end.
    pub(super) async fn send(
        &self,
        exchange: &Arc<Exchange>,
        parts: request::Parts,
        body: Body,
    ) -> Result<(Response<Incoming>, Option<Lease>), Refusal> {
        let leave = self.breaker.as_ref().map_or(Ok(Leave::free()), Breaker::enter)?;
        let exchanged = {
            let exchanged = pin!(self.exchange(exchange, parts, body));
            exchanged.await
        };
        match exchanged {
            Ok((response, _)) if response.headers().len() > self.headers => {
                leave.failed();
                let detail = "the upstream's answer has more fields than limits.headers";
                Err(Refusal::new(Reason::Upstream, detail))
            }
            Ok(answer) => {
                leave.succeeded();
                Ok(answer)
            }
            Err(failure) => {
                if failure.is_upstreams() {
                    leave.failed();
                }
                Err(failure.refusal)
            }
        }
    }

    async fn exchange(
        &self,
        exchange: &Arc<Exchange>,
        parts: request::Parts,
        body: Body,
    ) -> Result<(Response<Incoming>, Option<Lease>), Failure> {
        let mut permit = None;
        let (mut parts, mut body) = (parts, body);
        let mut retried = false;
        loop {
            let seen = Seen::of(&parts.headers);
            let (endpoint, mut link) = self.link(&mut permit, retried, seen.has(Seen::UPGRADE)).await?;
            // What has been sent on a new connection is not sent again: who dies of it once will die of it twice.
            let may_repeat = !retried && (link.has_served() && self.retry != Retry::Never);
            let mut spare = may_repeat.then(|| Spare::of(&parts, link.room()));
            let sent = match link {
                Link::Http1(connection) => {
                    let sent = {
                        let sent =
                            pin!(self.send_http1(exchange, &endpoint, connection, (parts, seen), body, may_repeat));
                        sent.await
                    };
                    match sent {
                        Ok((response, mut connection)) => {
                            connection.room = spare.take().map_or_else(Vec::new, Spare::into_room);
                            connection.learn(response.headers());
                            self.targets.well(&endpoint);
                            let lease = permit.map(|permit| Lease {
                                connection,
                                endpoint,
                                pool: Arc::clone(&self.pool),
                                permit,
                            });
                            return Ok((response, lease));
                        }
                        Err(sent) => sent,
                    }
                }
                Link::Http2(standing) => {
                    let parts = (parts, seen);
                    match Box::pin(self.send_http2(exchange, &endpoint, &standing, parts, body, may_repeat)).await {
                        Ok(response) => {
                            self.targets.well(&endpoint);
                            return Ok((response, None));
                        }
                        Err(sent) => {
                            if sent.ends_connection() {
                                endpoint.http2.forget(&standing).await;
                            }
                            sent
                        }
                    }
                }
            };
            match sent {
                // It never left: an idle connection had ended. There are no more of those than were idle.
                Sent::Unsent(unsent, served, failure) => {
                    if !served && std::mem::replace(&mut retried, true) {
                        self.targets.silent(&endpoint);
                        return Err(failure);
                    }
                    let (mut head, unsent) = unsent.into_parts();
                    restore_host(&mut head);
                    let Some(unsent) = unsent.into_body() else { return Err(failure) };
                    (parts, body) = (head, unsent);
                }
                Sent::Died(again, mut failure) => {
                    if failure.is_upstreams() && !(may_repeat && failure.dead) {
                        self.targets.silent(&endpoint);
                    }
                    let repeats =
                        failure.unprocessed || failure.dead && self.may_repeat(spare.as_ref().map(|s| &s.method));
                    let (Some(spare), true, Some(kept)) = (spare, repeats, again.and_then(Again::body)) else {
                        if may_repeat && failure.dead {
                            self.metrics.not_retried.inc();
                            failure.refusal.detail.push_str(NOT_REPEATED);
                        }
                        return Err(failure);
                    };
                    retried = true;
                    self.metrics.retries.inc();
                    let Some(head) = spare.into_parts() else { return Err(failure) };
                    (parts, body) = (head, kept);
                }
            }
        }
    }

    fn may_repeat(&self, method: Option<&Method>) -> bool {
        match self.retry {
            Retry::Never => false,
            Retry::Idempotent => method.is_some_and(Method::is_idempotent),
            Retry::Any => true,
        }
    }

    /// A connection to the next address. One that cannot be reached makes room for the one after it, within the time of
    /// one connect. `fresh`: not one that has been idle, which might have ended likewise. `upgrades`: to what only HTTP/1.1
    /// can switch to.
    async fn link(
        &self,
        permit: &mut Option<OwnedSemaphorePermit>,
        fresh: bool,
        upgrades: bool,
    ) -> Result<(Arc<Endpoint>, Link), Failure> {
        let mut tries = Tries::default();
        loop {
            let mut endpoint = self.targets.pick(&tries.endpoints);
            if let (None, Some(names), true) = (&endpoint, &self.names, tries.endpoints.is_empty()) {
                names.first(self.connector.timeout()).await;
                endpoint = self.targets.pick(&[]);
            }
            let in_time = tries.began.is_none() || !self.share(&tries).is_zero();
            let Some(endpoint) = endpoint.filter(|_| in_time) else {
                let nothing = || Failure::connect("none of the upstream's names has an address");
                return Err(tries.first.unwrap_or_else(nothing));
            };
            match self.link_to(&endpoint, permit, fresh, upgrades, &mut tries).await {
                Ok(link) => return Ok((endpoint, link)),
                Err(failure) if !failure.is_upstreams() => return Err(failure),
                Err(failure) => {
                    self.metrics.connect_failures.inc();
                    self.targets.unreachable(&endpoint);
                    if let Some(names) = &self.names {
                        names.look_again();
                    }
                    tries.endpoints.push(endpoint);
                    tries.first.get_or_insert(failure);
                }
            }
        }
    }

    /// How long the next connect may take: if it fails, there must be time for another.
    fn share(&self, tries: &Tries) -> Duration {
        let limit = self.connector.timeout();
        let left = tries.began.map_or(limit, |began| limit.saturating_sub(began.elapsed()));
        let others = self.targets.count().saturating_sub(tries.endpoints.len()).clamp(1, 3);
        left / u32::try_from(others).unwrap_or(1)
    }

    async fn link_to(
        &self,
        endpoint: &Arc<Endpoint>,
        permit: &mut Option<OwnedSemaphorePermit>,
        fresh: bool,
        upgrades: bool,
        tries: &mut Tries,
    ) -> Result<Link, Failure> {
        // What the other side chooses is known once there is a connection.
        let chooses = self.tls && self.protocol == UpstreamProtocol::Auto && !upgrades && !endpoint.chose_http1();
        if self.protocol != UpstreamProtocol::Http2 {
            if permit.is_none() && !chooses {
                *permit = Some(self.permit().await?);
            }
            let idle = if fresh { None } else { self.pool.take(endpoint).await };
            if let Some(connection) = idle {
                if permit.is_none() {
                    *permit = Some(self.permit().await?);
                }
                self.metrics.reused.inc();
                return Ok(Link::Http1(connection));
            }
        }
        // Boxed, since most requests find a connection.
        Box::pin(self.connect(endpoint, permit, chooses, tries)).await
    }

    /// A new connection, or another stream of the one in HTTP/2.
    async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        permit: &mut Option<OwnedSemaphorePermit>,
        chooses: bool,
        tries: &mut Tries,
    ) -> Result<Link, Failure> {
        if self.protocol != UpstreamProtocol::Http2 && !chooses {
            let limit = self.share(tries);
            tries.began.get_or_insert_with(Instant::now);
            let stream = self.connector.connect_within(&endpoint.target, Offer::Http1, limit).await;
            return self.begin_http1(stream.map_err(|e| Failure::connecting(&e))?).await.map(Link::Http1);
        }
        let waited = time::timeout(self.connector.timeout(), endpoint.http2.place()).await;
        let mut place = waited.map_err(|_| Failure::connect("another request waits for it already"))?;
        if let Some(standing) = http2::standing(&place) {
            self.metrics.reused.inc();
            return Ok(Link::Http2(standing));
        }
        let limit = self.share(tries);
        tries.began.get_or_insert_with(Instant::now);
        let connect = async {
            let offer = if chooses { Offer::Either } else { Offer::Http2 };
            let stream = self.connector.connect(&endpoint.target, offer).await.map_err(|e| Failure::connecting(&e))?;
            if chooses && stream.protocol() != Some(Protocol::Http2) {
                return Ok(Err(stream));
            }
            http2::begin(&mut place, stream, self.http2).await.map(Ok).map_err(|e| Failure::handshake(&e))
        };
        match time::timeout(limit, connect).await.unwrap_or_else(|_| Err(Failure::connect("no HTTP/2 in time")))? {
            Ok(standing) => {
                self.metrics.opened.inc();
                Ok(Link::Http2(standing))
            }
            Err(stream) => {
                drop(place);
                endpoint.choose_http1();
                if permit.is_none() {
                    *permit = Some(self.permit().await?);
                }
                self.begin_http1(stream).await.map(Link::Http1)
            }
        }
    }

    async fn begin_http1(&self, stream: Stream) -> Result<Box<Connection>, Failure> {
        let (counted, traffic) = Counted::new(stream);
        let handshake = self.http1.handshake(TokioIo::new(counted)).await;
        let (sender, connection) = handshake.map_err(|e| Failure::handshake(&e))?;
        tokio::spawn(async move {
            let mut connection = pin!(connection.with_upgrades());
            let mut quiet = Quiet::default();
            drop(poll_fn(|cx| connection.as_mut().poll(&mut quiet.context(cx))).await);
        });
        self.metrics.opened.inc();
        Ok(self.pool.connection(sender, traffic))
    }

    async fn send_http1(
        &self,
        exchange: &Arc<Exchange>,
        endpoint: &Endpoint,
        mut connection: Box<Connection>,
        (mut parts, seen): (request::Parts, Seen),
        body: Body,
        may_repeat: bool,
    ) -> Result<(Response<Incoming>, Box<Connection>), Sent> {
        self.shape(&mut parts, seen, endpoint);
        let (body, again) = outgoing(body, exchange, may_repeat);
        for_http1(&mut parts, seen, &body);
        let traffic = &*connection.traffic;
        let (read, written, reused) = (traffic.read(), traffic.written(), connection.reused);
        traffic.allow((self.http2.header as u64).saturating_mul(INTERIM));
        let sent = connection.sender.try_send_request(Request::from_parts(parts, body));
        let sent = async {
            sent.await.map_err(|mut error| match error.take_message() {
                Some(unsent) => Sent::Unsent(Box::new(unsent), reused, Failure::sending(error.error())),
                None => {
                    let mut failure = Failure::sending(error.error());
                    failure.dead &= traffic.read() == read;
                    failure.unprocessed |= failure.dead && traffic.written() == written;
                    if traffic.is_flooded() {
                        failure = Failure::flooded();
                    }
                    Sent::Died(again, failure)
                }
            })
        };
        let response = self.answer(exchange, &mut connection.deadline, sent).await?;
        traffic.allow(u64::MAX);
        Ok((response, connection))
    }

    async fn send_http2(
        &self,
        exchange: &Arc<Exchange>,
        endpoint: &Endpoint,
        standing: &http2::Standing,
        (mut parts, seen): (request::Parts, Seen),
        body: Body,
        may_repeat: bool,
    ) -> Result<Response<Incoming>, Sent> {
        self.shape(&mut parts, seen, endpoint);
        for_http2(&mut parts, endpoint, self.tls)?;
        let (body, again) = outgoing(body, exchange, may_repeat);
        let sent = standing.sender.clone().try_send_request(Request::from_parts(parts, body));
        let sent = async {
            sent.await.map_err(|mut error| match error.take_message() {
                // One connection for all: that it had served before is no excuse to try for ever.
                Some(unsent) => Sent::Unsent(Box::new(unsent), false, Failure::sending(error.error())),
                None => Sent::Died(again, Failure::sending(error.error())),
            })
        };
        self.answer(exchange, &mut None, sent).await
    }

    /// The `Host` that this upstream is to see.
    fn shape(&self, parts: &mut request::Parts, seen: Seen, endpoint: &Endpoint) {
        match &self.host {
            UpstreamHost::Keep if seen.has(Seen::HOST) => {}
            UpstreamHost::Keep | UpstreamHost::Upstream => {
                parts.headers.insert(header::HOST, endpoint.host.clone());
            }
            UpstreamHost::Name(name) => drop(parts.headers.insert(header::HOST, name.clone())),
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let none = || {
            self.limited.limited(Limit::Queue);
            Failure::ours(Reason::Overload, "no connection free within upstream_limits: `connections`, `queue`")
        };
        self.permits.turn(self.timeouts.queue).await.ok_or_else(none)
    }

    /// Waits as long as the request's body moves, and then for `first_byte`.
    async fn answer<T>(
        &self,
        exchange: &Exchange,
        patience: &mut Option<Pin<Box<Sleep>>>,
        sent: impl Future<Output = Result<T, Sent>>,
    ) -> Result<T, Sent> {
        let limit = self.timeouts.first_byte;
        let mut sent = pin!(sent);
        let mut ends = time::Instant::now() + limit;
        let patience = patience.get_or_insert_with(|| Box::pin(time::sleep_until(ends)));
        // To look a second time when that of the exchange before is over costs less than to set it for each.
        if patience.is_elapsed() || patience.deadline() > ends {
            patience.as_mut().reset(ends);
        }
        loop {
            tokio::select! {
                biased;
                answer = sent.as_mut() => return answer,
                () = patience.as_mut() => {}
            }
            let now = time::Instant::now();
            if now >= ends {
                if !exchange.moved.swap(false, Ordering::Relaxed) {
                    return Err(Sent::Died(None, Failure::silence(limit)));
                }
                ends = now + limit;
            }
            patience.as_mut().reset(ends);
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("targets", &self.targets).finish_non_exhaustive()
    }
}

impl Link {
    fn room(&mut self) -> Fields {
        match self {
            Self::Http1(connection) => std::mem::take(&mut connection.room),
            Self::Http2(_) => Vec::new(),
        }
    }

    /// Whether it may have ended since it served last.
    fn has_served(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.reused,
            // One connection for all: whether it is new is no sign.
            Self::Http2(_) => true,
        }
    }
}

/// Bits for how long a name or value is; both stand before a field, with a bit for a value that is sensitive.
const LENGTH: u32 = 31;

/// The head of a request that may have to be sent again.
struct Spare {
    method: Method,
    uri: Uri,
    /// Credentials are among them.
    fields: SecretBytes,
}

impl Spare {
    fn of(parts: &request::Parts, mut room: Fields) -> Self {
        let fields = parts.headers.iter().map(|(name, value)| size_of::<u64>() + name.as_str().len() + value.len());
        room.reserve_exact(fields.sum());
        for (name, value) in &parts.headers {
            let name = name.as_str().as_bytes();
            // Neither is so long: a name has 64 KiB at most, and the header section its limit.
            let lengths = name.len() as u64 | (value.len() as u64) << LENGTH | u64::from(value.is_sensitive()) << 63;
            room.extend_from_slice(&lengths.to_le_bytes());
            room.extend_from_slice(name);
            room.extend_from_slice(value.as_bytes());
        }
        Self { method: parts.method.clone(), uri: parts.uri.clone(), fields: SecretBytes::new(room) }
    }

    /// Without what was in it: an idle connection holds nothing of a request.
    fn into_room(self) -> Fields {
        self.fields.into_wiped()
    }

    /// The head as it was; nobody but this has written it, so it can be read.
    fn into_parts(self) -> Option<request::Parts> {
        let (mut parts, ()) = Request::new(()).into_parts();
        (parts.method, parts.uri) = (self.method, self.uri);
        let mut rest = self.fields.expose();
        while let Some((lengths, tail)) = rest.split_first_chunk() {
            let lengths = u64::from_le_bytes(*lengths);
            let length = |bits: u64| usize::try_from(bits & ((1 << LENGTH) - 1)).ok();
            let (name, tail) = tail.split_at_checked(length(lengths)?)?;
            let (value, tail) = tail.split_at_checked(length(lengths >> LENGTH)?)?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(lengths >> 63 == 1);
            parts.headers.append(HeaderName::from_lowercase(name).ok()?, value);
            rest = tail;
        }
        Some(parts)
    }
}

fn outgoing(body: Body, exchange: &Arc<Exchange>, may_repeat: bool) -> (Outgoing, Option<Again>) {
    if !may_repeat {
        return (Outgoing::once(body, exchange), None);
    }
    let (body, again) = Outgoing::kept(body, exchange);
    (body, Some(again))
}

/// A target in origin form (RFC 9112 § 3.2.1), and framing that hyper does not lose.
fn for_http1(parts: &mut request::Parts, seen: Seen, body: &Outgoing) {
    parts.version = Version::HTTP_11;
    if parts.uri.authority().is_some() {
        let path = std::mem::take(&mut parts.uri).into_parts().path_and_query;
        parts.uri = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    }
    if seen.has(Seen::TE) {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    // hyper leaves out the body of a GET or HEAD whose length it does not know, unless it is told that there is one.
    let left_out = matches!(parts.method, Method::GET | Method::HEAD)
        && !body.is_end_stream()
        && body.size_hint().exact().is_none()
        && !seen.has(Seen::CONTENT_LENGTH);
    if left_out {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// `Host` becomes `:authority`, the target absolute.
fn for_http2(parts: &mut request::Parts, endpoint: &Endpoint, tls: bool) -> Result<(), Failure> {
    parts.version = Version::HTTP_2;
    let host = parts.headers.remove(header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = authority.or_else(|| endpoint.authority.clone());
    uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    let no_uri = |_| Failure::ours(Reason::BadRequest, "the request's target is no URI");
    parts.uri = Uri::from_parts(uri).map_err(no_uri)?;
    Ok(())
}

/// Undoes it for a request that did not leave.
fn restore_host(parts: &mut request::Parts) {
    if let Some(authority) = parts.uri.authority()
        && !parts.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
}

/// For jitter: nothing depends on nobody's guessing it.
fn random_below(bound: u64) -> u64 {
    random::bytes().map_or(0, u64::from_ne_bytes).checked_rem(bound).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_head_is_the_head_and_leaves_nothing_behind() {
        let request = Request::post("/a?b").header("x-two", "1").header("host", "h").header("x-two", "2");
        let (mut parts, ()) = request.header("x-empty", "").body(()).unwrap().into_parts();
        let mut secret = HeaderValue::from_bytes(b"s\xe9cret").unwrap();
        secret.set_sensitive(true);
        parts.headers.insert(header::AUTHORIZATION, secret);
        let spare = || Spare::of(&parts, Vec::new());
        let again = spare().into_parts().unwrap();
        assert_eq!((&again.method, &again.uri, &again.headers), (&parts.method, &parts.uri, &parts.headers));
        assert!(again.headers[header::AUTHORIZATION].is_sensitive() && !again.headers["host"].is_sensitive());
        let room = spare().into_room();
        assert!(room.is_empty() && room.capacity() > 0);
        assert_eq!(Spare::of(&parts, room).into_parts().unwrap().headers, parts.headers);
    }
}
