//! Connections that wait for the next exchange. Each worker has its own, so nobody waits for a lock; the newest goes
//! first, so that those which are not needed grow old and close.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::HeaderName;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{self, Sleep};

use crate::metrics::UpstreamMetrics;

use super::counted::Traffic;
use super::outgoing::Outgoing;
use super::targets::{Endpoint, Targets};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// After so long the end of a connection may have arrived without our having looked.
const UNSEEN: Duration = Duration::from_millis(5);
/// How often idle connections are looked at, at most and at least.
const SWEEP: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// Idle connections of all listeners of one worker.
#[derive(Debug, Default)]
pub(in crate::proxy) struct IdleCount(AtomicUsize);

/// Bounds of idle connections, and what is common to those of one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) limits: PoolLimits,
    count: Arc<IdleCount>,
    metrics: Arc<UpstreamMetrics>,
    /// Told when there is something to sweep.
    filled: Arc<Notify>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PoolLimits {
    /// This worker's share of `upstream_limits.idle`: what is over it goes with the next sweep.
    pub(super) idle: usize,
    /// Never more than these: `upstream_limits.connections`.
    pub(super) most: usize,
    pub(super) idle_timeout: Duration,
    pub(super) max_age: Duration,
}

/// A connection in HTTP/1.1, in the hands of one exchange or idle.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Outgoing>,
    pub(super) traffic: Arc<Traffic>,
    /// When it was made, or was last idle.
    since: Instant,
    /// How long it may be idle.
    patience: Duration,
    /// When it has served long enough.
    retires: Instant,
    /// It has served before.
    pub(super) reused: bool,
    /// The deadline of the exchange that it serves.
    pub(super) deadline: Option<Pin<Box<Sleep>>>,
    /// Room for the fields of a request that may have to be sent again; empty while it is idle.
    pub(super) room: Fields,
}

/// A copy of a request's fields, as bytes: a map would hash every name, and each value would hold on to what it was read with.
pub(super) type Fields = Vec<u8>;

/// The idle connections of one address, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<VecDeque<Box<Connection>>>);

/// A connection to the upstream in use, and the permit for it. Dropping it closes the connection.
#[derive(Debug)]
pub(in crate::proxy) struct Lease {
    pub(super) connection: Box<Connection>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) pool: Arc<Pool>,
    #[expect(dead_code, reason = "held")]
    pub(super) permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The answer has been read to its end: the connection may serve the next exchange.
    pub(in crate::proxy) fn done(self, now: Instant) {
        let Self { connection, endpoint, pool, .. } = self;
        pool.put(&endpoint, connection, now);
    }
}

impl Pool {
    pub(super) fn new(limits: PoolLimits, count: &Arc<IdleCount>, metrics: &Arc<UpstreamMetrics>) -> Arc<Self> {
        Arc::new(Self { limits, count: Arc::clone(count), metrics: Arc::clone(metrics), filled: Arc::default() })
    }

    pub(super) fn connection(&self, sender: SendRequest<Outgoing>, traffic: Arc<Traffic>) -> Box<Connection> {
        let now = Instant::now();
        let retires = now + jittered(self.limits.max_age);
        let patience = self.limits.idle_timeout;
        Box::new(Connection {
            sender,
            traffic,
            since: now,
            patience,
            retires,
            reused: false,
            deadline: None,
            room: Vec::new(),
        })
    }

    /// The newest idle connection that still stands.
    pub(super) async fn take(&self, endpoint: &Endpoint) -> Option<Box<Connection>> {
        loop {
            let mut connection = endpoint.idle.lock().pop_back()?;
            self.gone(1);
            let now = Instant::now();
            let idle = now.duration_since(connection.since);
            if !connection.sender.is_ready() || idle > connection.patience || now > connection.retires {
                continue;
            }
            if idle > UNSEEN {
                // Events that wait in the system are taken in first: an end, or an answer that nobody asked for.
                tokio::task::yield_now().await;
                if !connection.sender.is_ready() {
                    continue;
                }
            }
            connection.reused = true;
            return Some(connection);
        }
    }

    /// Keeps a connection for later, if it can serve again.
    fn put(&self, endpoint: &Endpoint, mut connection: Box<Connection>, now: Instant) {
        // Not ready: the answer came before the request had left, or more came than the answer.
        if !connection.sender.is_ready()
            || connection.patience.is_zero()
            || endpoint.is_retired()
            || self.count.0.load(Ordering::Relaxed) >= self.limits.most
        {
            return;
        }
        connection.since = now;
        if connection.since > connection.retires {
            return;
        }
        endpoint.idle.lock().push_back(connection);
        self.metrics.idle.inc();
        if self.count.0.fetch_add(1, Ordering::Relaxed) == 0 {
            self.filled.notify_one();
        }
    }

    fn gone(&self, connections: usize) {
        if connections > 0 {
            self.count.0.fetch_sub(connections, Ordering::Relaxed);
            self.metrics.idle.dec_by(i64::try_from(connections).unwrap_or(i64::MAX));
        }
    }

    /// Closes what has ended or is too old, and then the oldest of what is too many.
    fn sweep(&self, endpoints: &[Arc<Endpoint>]) {
        let now = Instant::now();
        for endpoint in endpoints {
            let mut idle = endpoint.idle.lock();
            let before = idle.len();
            idle.retain(|c| c.sender.is_ready() && now.duration_since(c.since) <= c.patience && now <= c.retires);
            self.gone(before - idle.len());
        }
        let mut surplus = self.count.0.load(Ordering::Relaxed).saturating_sub(self.limits.idle);
        // What was in use a moment ago is not what is too many.
        let rested = |endpoint: &&Arc<Endpoint>| {
            endpoint.idle.lock().front().filter(|c| now.duration_since(c.since) >= SWEEP.1).map(|c| c.since)
        };
        while surplus > 0 {
            let Some(oldest) = endpoints.iter().filter(|e| rested(e).is_some()).min_by_key(rested) else { break };
            oldest.idle.lock().pop_front();
            self.gone(1);
            surplus -= 1;
        }
    }

    /// What an address that is no longer one had waiting.
    pub(super) fn retire(&self, endpoint: &Endpoint) {
        let idle = std::mem::take(&mut *endpoint.idle.lock());
        self.gone(idle.len());
    }

    /// Sweeps for as long as the upstream is there.
    pub(super) fn keep_swept(self: &Arc<Self>, targets: &Arc<Targets>) {
        let (pool, targets): (Weak<Self>, Weak<Targets>) = (Arc::downgrade(self), Arc::downgrade(targets));
        let filled = Arc::clone(&self.filled);
        let pause = (self.limits.idle_timeout / 4).clamp(SWEEP.0, SWEEP.1);
        tokio::spawn(async move {
            loop {
                let some = pool.upgrade().is_some_and(|pool| pool.count.0.load(Ordering::Relaxed) > 0);
                if !some {
                    filled.notified().await;
                }
                time::sleep(pause).await;
                let (Some(pool), Some(targets)) = (pool.upgrade(), targets.upgrade()) else { break };
                pool.sweep(&targets.all());
            }
        });
    }
}

impl Connection {
    /// Learns from an answer how long the upstream keeps an idle connection (`Keep-Alive: timeout=5`), and stays below it:
    /// whoever closes last has the request that crosses the close.
    pub(super) fn learn(&mut self, headers: &HeaderMap) {
        // Few say so: one look at each name costs less than a look-up.
        let said = headers.iter().find(|(name, _)| **name == KEEP_ALIVE);
        let Some(said) = said.and_then(|(_, value)| timeout(value.to_str().ok()?)) else { return };
        let margin = Duration::from_secs(1).min(said / 2);
        self.patience = self.patience.min(said - margin);
    }
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `timeout=5, max=100`
fn timeout(keep_alive: &str) -> Option<Duration> {
    let parameters = keep_alive.split(',').filter_map(|parameter| parameter.split_once('='));
    let value = |(name, value): (&str, &str)| name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse());
    parameters.filter_map(value).next()?.ok().map(Duration::from_secs)
}

/// Up to a tenth less, so that what was begun together does not end together.
pub(super) fn jittered(time: Duration) -> Duration {
    let tenth = u64::try_from((time / 10).as_millis()).unwrap_or(u64::MAX);
    time.saturating_sub(Duration::from_millis(super::random_below(tenth)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn pool(metrics: &Arc<UpstreamMetrics>) -> Arc<Pool> {
        let time = Duration::from_secs(1);
        Pool::new(PoolLimits { idle: 1, most: 1, idle_timeout: time, max_age: time }, &Arc::default(), metrics)
    }

    #[test]
    fn keep_alive_tells_the_time() {
        for (text, seconds) in
            [("timeout=5", Some(5)), ("max=3, Timeout = 7", Some(7)), ("timeout=x", None), ("5", None), ("", None)]
        {
            assert_eq!(timeout(text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
