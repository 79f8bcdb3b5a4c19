//! The life of a request, from top to bottom: accept → route → match rules → the request's body → upstream → the
//! answer's body → account.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::metrics::Limit;
use crate::refusal::{Reason, Refusal};
use crate::rules::route::{self, End, RequestFacts, Route};
use crate::rules::{OnUnreadable, RuleSet, Words};
use crate::transform::plan::{self, Direction, HalfPlan};

use super::account::Account;
use super::admit::admit;
use super::caller::{self, Caller};
use super::connection::Connection;
use super::headers::{REQUEST_ID, Seen, TRACEPARENT};
use super::inbound::Inbound;
use super::patience::within;
use super::payload::{Answer, Body};
use super::settings::Listener;
use super::shared::Shared;
use super::{body, forwarded, headers, lookalikes, outside, respond, tunnel, validators};

/// What a request gains on its way: the map grows once.
const NEW_FIELDS: usize = 8;

/// What is known of a request once it is routed.
#[derive(Debug)]
#[allow(dead_code, reason = "some of it is for the work on bodies alone")]
pub(crate) struct Exchange {
    /// The process.
    pub(crate) shared: Arc<Shared>,
    /// The worker it runs on.
    pub(crate) worker: usize,
    /// The door it came in by.
    pub(crate) listener: Arc<Listener>,
    /// The rules in force when it began; they stay in force for it.
    pub(crate) rules: Arc<RuleSet>,
    /// Those that matched, with what they captured.
    pub(crate) route: Route,
    /// Of the request.
    pub(crate) method: Method,
    /// What happens to the request's body; key templates are filled already.
    pub(crate) request: Option<Arc<HalfPlan>>,
    /// What happens to the answer's.
    pub(crate) response: Option<Arc<HalfPlan>>,
    /// What happens to the request line and the header section of the request, and to the header section of the answer.
    pub(super) outside: (Option<Arc<HalfPlan>>, Option<Arc<HalfPlan>>),
    /// The caller's role.
    pub(crate) role: Cow<'static, str>,
    /// The peer is in `open_for`.
    pub(crate) may_see_plaintext: bool,
    /// For logs and problem documents.
    pub(crate) request_id: Arc<str>,
    /// `None`: a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// When its header section was read.
    pub(crate) started: Instant,
    /// The request's body has moved since this was last cleared.
    pub(super) moved: AtomicBool,
    /// Nanoseconds that this process added to it.
    pub(super) added: AtomicU64,
}

/// Serves one request; whatever happens, there is an answer.
pub(super) async fn serve(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let method = request.method().clone();
    let version = request.version();
    let id = request_id(&connection, request.headers());
    let mut account = Account::open(&connection, id, &method, version);
    // Where framing is in doubt, so is where the next request begins.
    let seen = Seen::of(request.headers());
    let mut last = headers::two_framings(seen);

    let outcome = {
        // Pinned where it is made, as what it waits for in its turn: awaited at once, each future of some KB is moved first.
        let ran = pin!(run(&connection, request, seen, &mut account));
        in_time(&connection, ran).await
    };
    let mut response = match outcome {
        Ok(Outcome::Answer(response)) => response,
        Ok(Outcome::Switch(client, mut response)) => {
            account.status = response.status().as_u16();
            tunnel::join(&connection, client, &mut response, account);
            return Ok(response.map(|_| Answer::none()));
        }
        Err(Failure::Request(refusal)) => {
            account.refused(&refusal);
            last |= refusal.reason == Reason::BadRequest;
            respond::refused(&refusal, &account.id, &method)
        }
        Err(Failure::Response(refusal, upstream)) => {
            account.refused(&refusal);
            respond::unreadable(&refusal, &account.id, &method, upstream)
        }
    };
    account.status = response.status().as_u16();
    if version != Version::HTTP_2 && (last || connection.front.closes()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Answer::new(body, account)))
}

/// Within `timeouts.total`, until the answer begins.
async fn in_time(
    connection: &Connection,
    ran: Pin<&mut impl Future<Output = Result<Outcome, Failure>>>,
) -> Result<Outcome, Failure> {
    let total = connection.front.shared.settings.timeouts.total;
    within(total, ran).await.unwrap_or_else(|| {
        connection.front.metrics.limited(Limit::Total);
        Err(Refusal::new(Reason::Timeout, "the exchange took longer than timeouts.total").into())
    })
}

enum Outcome {
    Answer(Response<Body>),
    /// 101, and the client's half of the tunnel.
    Switch(OnUpgrade, Response<Body>),
}

enum Failure {
    /// Before the upstream has answered.
    Request(Refusal),
    /// The upstream has answered with this status.
    Response(Refusal, StatusCode),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Request(refusal)
    }
}

async fn run(
    connection: &Arc<Connection>,
    request: Request<Incoming>,
    seen: Seen,
    account: &mut Account,
) -> Result<Outcome, Failure> {
    let shared = &connection.front.shared;
    let (mut parts, body) = request.into_parts();
    let version = parts.version;

    // Accept.
    admit(connection, account, &parts)?;
    connection.agreed(version)?;
    if parts.method == Method::CONNECT {
        return Err(Refusal::new(Reason::NotYet, "CONNECT: this is no forward proxy").into());
    }
    if seen.has(Seen::VIA) && headers::came_through(&parts.headers, &shared.instance) {
        return Err(Refusal::new(Reason::Loop, "Via names this process; see where the upstream points to").into());
    }
    if seen.has(Seen::TRANSFER_ENCODING) {
        headers::one_framing(&parts.headers)?;
    }
    headers::settle_host(&mut parts)?;
    let client = if seen.has(Seen::UPGRADE) { tunnel::wanted(&mut parts) } else { None };
    headers::strip_hop_by_hop(&mut parts.headers, seen);
    forwarded::drop_untrusted(connection, &mut parts.headers);
    lookalikes::drop_from(connection, &mut parts.headers);

    // Route, match rules.
    let exchange = Arc::new(open(connection, account, &parts)?);
    account.exchange = Some(Arc::clone(&exchange));
    if client.is_some() && !may_upgrade(&exchange.route) {
        let mut refusal = Refusal::new(Reason::MediaType, "an upgrade where a rule acts; see on_upgrade");
        refusal.rule = exchange.route.rules.first().map(|(rule, _)| Arc::clone(&rule.name));
        return Err(refusal.into());
    }

    // What stands outside the request's body, and the body.
    if version == Version::HTTP_2 {
        headers::join_cookies(&mut parts.headers);
    }
    // What most exchanges never come to is boxed: its room would be part of every one's.
    let again = match &exchange.outside.0 {
        Some(_) => Box::pin(outside::request(&exchange, &mut parts, !body.is_end_stream())).await?,
        None => None,
    };
    if let Some(plan) = &exchange.response {
        headers::ask_for_readable(&mut parts.headers, seen, plan.changes());
    }
    body::prepare(&exchange, !body.is_end_stream()).await?;
    // Until here nothing was waited for but keys.
    exchange.charge(exchange.started);
    validators::to_upstream(&exchange, &mut parts.headers);
    let body = match body.is_end_stream() {
        true => Body::Empty,
        false => Body::Client(Box::new(Inbound::new(body, connection, &exchange, version, &parts.headers)?)),
    };
    let body = outside::guarded(exchange.outside.0.as_ref(), body);
    let body = body::request(&exchange, &mut parts, body).await?;

    // Upstream.
    for_upstream(connection, &exchange, version, &mut parts.headers);
    if client.is_some() {
        tunnel::ask(&mut parts.headers);
    }
    let asked = Instant::now();
    let again = again.map(|again| again.ask(&parts));
    let (response, lease) = {
        let sent = pin!(connection.front.upstream.send(&exchange, parts, body));
        sent.await?
    };
    account.upstream = lease;
    let mut response = response.map(Body::Incoming);
    if let Some(parts) = again
        && Box::pin(outside::found_nothing(&exchange.method, &mut response, shared.settings.timeouts.response_idle))
            .await?
    {
        drop(response);
        account.upstream = None;
        let (second, lease) = Box::pin(connection.front.upstream.send(&exchange, parts, Body::Empty)).await?;
        account.upstream = lease;
        response = second.map(Body::Incoming);
    }
    connection.front.metrics.upstream_answered(asked.elapsed());

    // The answer: what stands outside its body, and the body.
    let seen = Seen::of(response.headers());
    headers::strip_hop_by_hop(response.headers_mut(), seen);
    let upstream_version = std::mem::replace(response.version_mut(), Version::HTTP_11);
    response.headers_mut().append(header::VIA, shared.via.of(upstream_version));
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else {
            return Err(Refusal::new(Reason::Upstream, "the upstream switches protocols unasked").into());
        };
        tunnel::ask(response.headers_mut());
        return Ok(Outcome::Switch(client, response));
    }
    let status = response.status();
    let (mut parts, body) = response.into_parts();
    if exchange.outside.1.is_some() {
        let begun = Instant::now();
        let became = Box::pin(outside::response(&exchange, &mut parts)).await;
        exchange.charge(begun);
        if let Err(refusal) = became {
            return Err(Failure::Response(refusal, status));
        }
    }
    validators::to_client(&exchange, &mut parts.headers);
    let body = outside::guarded(exchange.outside.1.as_ref(), body);
    match body::response(&exchange, &mut parts, body).await {
        Ok(body) => {
            if matches!(body, Body::Full(_)) {
                account.upstream_done();
            }
            Ok(Outcome::Answer(Response::from_parts(parts, body)))
        }
        Err(refusal) => Err(Failure::Response(refusal, status)),
    }
}

/// Routes the request and says who asks.
fn open(connection: &Connection, account: &Account, parts: &request::Parts) -> Result<Exchange, Refusal> {
    let front = &connection.front;
    let listener = &front.listener;
    let rules = front.shared.rules.load_full();
    let route = match rules.rules.is_empty() {
        true => Route::default(),
        false => find_route(listener, &rules, parts, caller::words(connection, &parts.headers))?,
    };
    match &route.end {
        End::Rejected(rule) => return Err(Refusal::new(Reason::Rejected, "action: reject").rule(&rule.name)),
        End::Unmatched if listener.reject_unmatched => {
            return Err(Refusal::new(Reason::Unmatched, "no rule matches, and the listener has `unmatched: reject`"));
        }
        End::Unmatched | End::Matched | End::Passed(_) => {}
    }
    // Who asks matters where a rule acts.
    let caller = match route.rules.is_empty() {
        true => Caller::nobody(),
        false => Caller::of(connection, &parts.headers),
    };
    if route.rules.iter().any(|(rule, _)| plan::acts(rule)) {
        caller.admit(connection)?;
    }
    let words = caller.words(connection, &parts.headers);
    let looks_up = matches!(parts.method, Method::GET | Method::HEAD);
    let body = |direction| HalfPlan::shared(direction, &route.rules, words);
    let outside =
        |direction| HalfPlan::outside(direction, &route.rules, words, looks_up).map(|plan| plan.map(Arc::new));
    let (bodies, outside) = match route.rules.is_empty() {
        true => ((None, None), (None, None)),
        false => (
            (body(Direction::Request)?, body(Direction::Response)?),
            (outside(Direction::Request)?, outside(Direction::Response)?),
        ),
    };
    Ok(Exchange {
        shared: Arc::clone(&front.shared),
        worker: front.worker,
        listener: Arc::clone(listener),
        method: parts.method.clone(),
        request: bodies.0,
        response: bodies.1,
        outside,
        role: caller.role,
        may_see_plaintext: connection.open,
        request_id: Arc::clone(&account.id),
        peer: connection.peer,
        started: account.started,
        moved: AtomicBool::new(false),
        added: AtomicU64::new(0),
        rules,
        route,
    })
}

/// A path or method that the upstream might read in another way than the rules is refused, unless the listener lets it pass.
fn find_route(
    listener: &Listener,
    rules: &RuleSet,
    parts: &request::Parts,
    words: Words<'_>,
) -> Result<Route, Refusal> {
    if listener.reject_ambiguous
        && let Some(name) = route::override_header(&parts.headers)
    {
        return Err(Refusal::new(Reason::AmbiguousPath, format!("{name} would change the path or method")));
    }
    if headers::raw_path(&parts.uri) == "*" && parts.method != Method::OPTIONS {
        return Err(Refusal::new(Reason::BadRequest, "only OPTIONS may ask for `*`"));
    }
    let path = match route::normalize(headers::raw_path(&parts.uri), listener.ignore_case) {
        Ok(path) => path,
        Err(ambiguous) if listener.reject_ambiguous => {
            return Err(Refusal::new(Reason::AmbiguousPath, ambiguous.to_string()));
        }
        Err(_) => return Ok(Route::default()),
    };
    let host = headers::host(&parts.headers);
    Ok(rules.route(&RequestFacts {
        method: parts.method.as_str(),
        path: &path,
        ignore_case: listener.ignore_case,
        listener: &listener.name,
        host: host.as_deref(),
        words,
    }))
}

/// `on_upgrade: pass` of every matched rule, for both directions: a tunnel carries both.
fn may_upgrade(route: &Route) -> bool {
    let passes = |on: OnUnreadable| on == OnUnreadable::Pass;
    route.rules.iter().all(|(rule, _)| passes(rule.limits.request.upgrade) && passes(rule.limits.response.upgrade))
}

/// The fields that every request gets on its way out.
fn for_upstream(connection: &Connection, exchange: &Exchange, version: Version, headers: &mut HeaderMap) {
    let seen = Seen::of(headers);
    if seen.has(Seen::EXPECT) {
        // hyper has answered it: the body is on its way with the header section.
        headers.remove(header::EXPECT);
    }
    headers.reserve(NEW_FIELDS);
    forwarded::set(connection, headers);
    headers.append(header::VIA, exchange.shared.via.of(version));
    if !seen.has(Seen::REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(&exchange.request_id)
    {
        headers.insert(REQUEST_ID, id);
    }
    if !seen.has(Seen::TRACEPARENT)
        && let Ok(parent) = HeaderValue::from_bytes(&connection.front.ids.traceparent())
    {
        headers.insert(TRACEPARENT, parent);
    }
}

/// The peer's `X-Request-Id` if the peer is trusted and it is one word; else our own.
fn request_id(connection: &Connection, headers: &HeaderMap) -> Arc<str> {
    let given = if connection.trusted { headers.get(&REQUEST_ID) } else { None };
    let given = given.and_then(|id| id.to_str().ok());
    let fits = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    if let Some(given) = given.filter(fits) {
        return given.into();
    }
    str::from_utf8(&connection.front.ids.id()).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of what an asynchronous function gives.
    fn room<A, B, F>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_exchange_has_room_for_what_most_come_to() {
        // Each connection has one of these for as long as it lasts.
        let room = room(serve);
        assert!(room <= 8 * 1024, "{room}");
        assert!(size_of::<Body>() <= 64, "{}", size_of::<Body>());
    }
}
