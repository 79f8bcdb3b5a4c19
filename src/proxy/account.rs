//! What remains of an exchange when it is over: counters and one line in the log. Routes by the rule's pattern; never a
//! raw path, a query, a header or a value.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::{Method, Version};
use tokio::time;

use crate::metrics::Limit;
use crate::refusal::{Reason, Refusal};

use super::budget::is_spent;
use super::connection::Connection;
use super::exchange::Exchange;
use super::upstream::Lease;

/// Lives as long as its exchange; dropping it, however that comes about, ends the account.
#[derive(Debug)]
pub(super) struct Account {
    connection: Arc<Connection>,
    pub(super) id: Arc<str>,
    method: Method,
    version: Version,
    pub(super) started: Instant,
    /// Known once routed.
    pub(super) exchange: Option<Arc<Exchange>>,
    pub(super) status: u16,
    /// Of the answer's body.
    pub(super) bytes: u64,
    /// The answer's body has ended as it should.
    pub(super) complete: bool,
    /// A connection to the upstream is in use until the answer's end.
    pub(super) upstream: Option<Lease>,
    failure: Option<Reason>,
}

impl Account {
    /// Opens the account, within `limits.in_flight` or not.
    pub(super) fn open(connection: &Arc<Connection>, id: Arc<str>, method: &Method, version: Version) -> Box<Self> {
        let front = &connection.front;
        front.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        connection.watch.begun(version, &front.shared.settings.limits);
        front.metrics.in_flight.inc();
        front.worker_metrics.requests.inc();
        Box::new(Self {
            connection: Arc::clone(connection),
            id,
            method: method.clone(),
            version,
            started: Instant::now(),
            exchange: None,
            status: 0,
            bytes: 0,
            complete: false,
            upstream: None,
            failure: None,
        })
    }

    /// Whether it was refused, or cut.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whose exchange it is.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Whether this exchange is one too many.
    pub(super) fn over_limit(&self) -> bool {
        let front = &self.connection.front;
        let own = front.listener.limits.in_flight.and_then(|most| i64::try_from(most).ok());
        front.shared.in_flight.load(Ordering::Relaxed) > front.shared.settings.limits.in_flight
            || own.is_some_and(|most| front.metrics.in_flight.get() > most)
    }

    /// Notes why the exchange is refused; the detail goes to the log alone.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        let rule = refusal.rule.as_deref();
        self.failure = Some(refusal.reason);
        if is_spent(refusal) {
            self.connection.front.metrics.limited(Limit::Memory);
        }
        let shared = &self.connection.front.shared;
        shared.metrics.refused(rule, refusal.reason);
        if let Some(name) = rule {
            let rules = self.exchange.as_ref().map_or_else(|| shared.rules.load_full(), |e| Arc::clone(&e.rules));
            if let Some(rule) = rules.rules.iter().find(|rule| *rule.name == *name) {
                rule.stats.get().refused(refusal.reason, shared.clock.now());
            }
        }
        tracing::warn!(
            request_id = &*self.id,
            listener = %self.connection.front.listener.name,
            reason = refusal.reason.word(),
            rule,
            detail = %refusal.detail,
            "refused"
        );
    }

    /// The upstream's part is over, though the client has not got all of it.
    pub(super) fn upstream_done(&mut self) {
        self.upstream_done_at(Instant::now());
    }

    fn upstream_done_at(&mut self, now: Instant) {
        if let Some(lease) = self.upstream.take() {
            lease.done(now);
        }
    }

    /// Notes that the answer broke off.
    pub(super) fn cut(&mut self, error: &(dyn std::error::Error + 'static)) {
        if self.version <= Version::HTTP_10 {
            self.connection.reset.store(true, Ordering::Relaxed);
        }
        match refusal_in(error) {
            Some(refusal) => self.refused(&refusal.clone()),
            None => self.failure = Some(Reason::Upstream),
        }
    }
}

/// The refusal that a body ended with, however deep it is wrapped.
pub(super) fn refusal_in<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

impl Drop for Account {
    fn drop(&mut self) {
        // One look at the clock for all.
        let now = time::Instant::now();
        if self.complete {
            self.upstream_done_at(now.into_std());
        }
        let front = &self.connection.front;
        let took = now.into_std().duration_since(self.started);
        front.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        let called_back = !self.complete && self.failure.is_none();
        self.connection.watch.over(called_back, &front.shared.settings.limits, now);
        front.metrics.in_flight.dec();
        front.metrics.finished(self.status, took);
        if let Some(exchange) = &self.exchange {
            exchange.close();
        }
        if !self.complete {
            front.metrics.cut.inc();
        }
        if tracing::enabled!(target: "sidecloak::access", tracing::Level::INFO) {
            let rules = self.exchange.as_deref().map_or(&[][..], |exchange| &exchange.route.rules);
            let named = self.exchange.as_deref().and_then(|exchange| exchange.route.named());
            let names: Vec<&str> = rules.iter().map(|(rule, _)| &*rule.name).collect();
            tracing::info!(
                target: "sidecloak::access",
                request_id = &*self.id,
                listener = %front.listener.name,
                method = method_word(&self.method),
                route = named.map_or("unmatched", |rule| &*rule.pattern),
                rules = names.join(","),
                status = self.status,
                duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                bytes = self.bytes,
                complete = self.complete,
                failure = self.failure.map(Reason::word),
                "exchange"
            );
        }
    }
}

/// A method of a client's own making could carry a value.
fn method_word(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS
        | Method::TRACE
        | Method::CONNECT => method.as_str(),
        _ => "other",
    }
}
