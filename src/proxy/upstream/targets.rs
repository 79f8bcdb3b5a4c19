//! The addresses of a listener's upstream: whose turn it is, and how each has behaved.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderValue;
use http::uri::Authority;

use crate::metrics::UpstreamMetrics;
use crate::proxy::settings::Address;

use super::connect::Target;
use super::http2::Http2;
use super::pool::{Idle, Pool, jittered};

/// So many addresses of one name are used.
const MOST_OF_A_NAME: usize = 32;
/// A target that did not answer is left out after this many times in a row; one that cannot be reached at once.
const SILENCES: u32 = 3;
/// Doublings of the rest.
const LONGEST: u32 = 16;

/// The addresses in use, and those as configured.
#[derive(Debug)]
pub(super) struct Targets {
    /// Each with its present addresses; those of a name come and go.
    named: Mutex<Vec<(Address, Vec<Arc<Endpoint>>)>>,
    all: ArcSwap<Vec<Arc<Endpoint>>>,
    turn: AtomicUsize,
    rest: (Duration, Duration),
    born: Instant,
    metrics: Arc<UpstreamMetrics>,
}

/// One address, with its connections and its record.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) target: Target,
    /// `Host` where the client's is not passed on.
    pub(super) host: HeaderValue,
    pub(super) authority: Option<Authority>,
    pub(super) idle: Idle,
    pub(super) http2: Http2,
    retired: AtomicBool,
    /// It had the choice (ALPN) and chose so; asked again after it was away.
    http1: AtomicBool,
    /// In a row.
    failures: AtomicU32,
    /// Milliseconds after [`Targets::born`] until which it rests.
    until: AtomicU64,
}

impl Endpoint {
    fn new(name: &Address, address: Address) -> Arc<Self> {
        let text = match name {
            Address::Unix(_) => String::from("localhost"),
            other => other.to_string(),
        };
        Arc::new(Self {
            host: HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("localhost")),
            authority: Authority::try_from(text).ok(),
            target: Target { address, name: name.clone() },
            idle: Idle::default(),
            http2: Http2::default(),
            retired: AtomicBool::new(false),
            http1: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            until: AtomicU64::new(0),
        })
    }

    pub(super) fn chose_http1(&self) -> bool {
        self.http1.load(Ordering::Relaxed)
    }

    pub(super) fn choose_http1(&self) {
        self.http1.store(true, Ordering::Relaxed);
    }

    /// Whether it is no longer an address of the upstream.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

impl Targets {
    pub(super) fn new(addresses: &[Address], rest: (Duration, Duration), metrics: &Arc<UpstreamMetrics>) -> Self {
        let endpoints = |name: &Address| match name {
            Address::Host(..) => Vec::new(),
            known => vec![Endpoint::new(name, known.clone())],
        };
        let named: Vec<_> = addresses.iter().map(|name| (name.clone(), endpoints(name))).collect();
        Self {
            all: ArcSwap::from_pointee(flat(&named)),
            named: Mutex::new(named),
            turn: AtomicUsize::new(0),
            rest,
            born: Instant::now(),
            metrics: Arc::clone(metrics),
        }
    }

    pub(super) fn all(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.all.load_full()
    }

    pub(super) fn count(&self) -> usize {
        self.all.load().len()
    }

    /// The names to resolve.
    pub(super) fn names(&self) -> Vec<(String, u16)> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |(name, _): &(Address, _)| match name {
            Address::Host(host, port) => Some((host.clone(), *port)),
            Address::Tcp(_) | Address::Unix(_) => None,
        };
        named.iter().filter_map(name).collect()
    }

    /// A name has these addresses now. Those that it had before keep their connections.
    pub(super) fn resolved(&self, host: &str, port: u16, found: &[std::net::SocketAddr], pool: &Pool) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, endpoints) in named.iter_mut() {
            if !matches!(name, Address::Host(h, p) if h == host && *p == port) {
                continue;
            }
            let mut kept: Vec<Arc<Endpoint>> = Vec::new();
            for address in found.iter().take(MOST_OF_A_NAME) {
                let address = Address::Tcp(*address);
                let is = |endpoint: &&Arc<Endpoint>| endpoint.target.address == address;
                if kept.iter().any(|endpoint| is(&endpoint)) {
                    continue;
                }
                let known = endpoints.iter().find(is).cloned();
                kept.push(known.unwrap_or_else(|| Endpoint::new(name, address)));
            }
            for endpoint in endpoints.iter().filter(|old| !kept.iter().any(|new| Arc::ptr_eq(old, new))) {
                endpoint.retired.store(true, Ordering::Relaxed);
                pool.retire(endpoint);
            }
            *endpoints = kept;
        }
        self.all.store(Arc::new(flat(&named)));
    }

    /// Whose turn it is, those aside that were tried already: the next one that does not rest. If all rest, the one whose
    /// rest ends first: the least bad is better than none.
    pub(super) fn pick(&self, tried: &[Arc<Endpoint>]) -> Option<Arc<Endpoint>> {
        let all = self.all.load();
        if let [only] = all.as_slice() {
            return tried.is_empty().then(|| Arc::clone(only));
        }
        let untried = |endpoint: &&Arc<Endpoint>| !tried.iter().any(|t| Arc::ptr_eq(t, endpoint));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
        let in_turn = || all.iter().cycle().skip(turn).take(all.len()).filter(untried);
        let now = self.now();
        let awake = in_turn().find(|endpoint| endpoint.until.load(Ordering::Relaxed) <= now);
        if let Some(endpoint) = awake {
            if endpoint.failures.load(Ordering::Relaxed) > 0 {
                // One exchange finds out whether it is well again; until then the others do without it.
                endpoint.until.store(now + millis(self.rest.0), Ordering::Relaxed);
            }
            return Some(Arc::clone(endpoint));
        }
        in_turn().min_by_key(|endpoint| endpoint.until.load(Ordering::Relaxed)).cloned()
    }

    /// It has answered.
    pub(super) fn well(&self, endpoint: &Endpoint) {
        if endpoint.failures.load(Ordering::Relaxed) > 0 {
            endpoint.failures.store(0, Ordering::Relaxed);
            endpoint.until.store(0, Ordering::Relaxed);
        }
    }

    /// It cannot be reached: it rests, each time twice as long.
    pub(super) fn unreachable(&self, endpoint: &Endpoint) {
        endpoint.http1.store(false, Ordering::Relaxed);
        let failures = endpoint.failures.fetch_add(1, Ordering::Relaxed);
        self.rest(endpoint, failures);
    }

    /// It took a request and did not answer.
    pub(super) fn silent(&self, endpoint: &Endpoint) {
        let failures = endpoint.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(times) = failures.checked_sub(SILENCES) {
            self.rest(endpoint, times);
        }
    }

    fn rest(&self, endpoint: &Endpoint, times: u32) {
        let rest = self.rest.0.saturating_mul(1 << times.min(LONGEST)).min(self.rest.1);
        endpoint.until.store(self.now() + millis(jittered(rest)), Ordering::Relaxed);
        self.metrics.rests.inc();
    }

    fn now(&self) -> u64 {
        millis(self.born.elapsed())
    }
}

fn flat(named: &[(Address, Vec<Arc<Endpoint>>)]) -> Vec<Arc<Endpoint>> {
    named.iter().flat_map(|(_, endpoints)| endpoints).cloned().collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(count: u16, rest: Duration) -> Targets {
        let addresses: Vec<_> = (1..=count).map(|port| Address::Tcp(([127, 0, 0, 1], port).into())).collect();
        Targets::new(&addresses, (rest, rest * 4), &crate::metrics::Metrics::default().upstream("front"))
    }

    fn port(endpoint: Option<Arc<Endpoint>>) -> u16 {
        match endpoint.unwrap().target.address {
            Address::Tcp(address) => address.port(),
            _ => 0,
        }
    }

    #[test]
    fn each_has_its_turn_and_who_was_tried_has_none() {
        let targets = targets(3, Duration::from_secs(1000));
        assert_eq!([0; 6].map(|_| port(targets.pick(&[]))), [1, 2, 3, 1, 2, 3]);
        let first = targets.all()[0].clone();
        let second = targets.all()[1].clone();
        assert_eq!([0; 3].map(|_| port(targets.pick(&[first.clone(), second.clone()]))), [3, 3, 3]);
        assert!(targets.pick(&targets.all()).is_none());
    }

    #[test]
    fn who_cannot_be_reached_rests_and_the_least_bad_serves_if_all_do() {
        let targets = targets(2, Duration::from_secs(1000));
        let all = targets.all();
        targets.unreachable(&all[0]);
        assert_eq!([0; 3].map(|_| port(targets.pick(&[]))), [2, 2, 2]);
        targets.unreachable(&all[1]);
        targets.unreachable(&all[1]);
        assert_eq!([0; 3].map(|_| port(targets.pick(&[]))), [1, 1, 1], "its rest ends first");
        targets.well(&all[1]);
        assert_eq!([0; 3].map(|_| port(targets.pick(&[]))), [2, 2, 2]);
    }

    #[test]
    fn silence_counts_only_in_a_row() {
        let targets = targets(2, Duration::from_secs(1000));
        let all = targets.all();
        for _ in 0..2 {
            targets.silent(&all[0]);
            targets.silent(&all[0]);
            targets.well(&all[0]);
        }
        let mut ports = [0; 2].map(|_| port(targets.pick(&[])));
        ports.sort_unstable();
        assert_eq!(ports, [1, 2]);
        (0..3).for_each(|_| targets.silent(&all[0]));
        assert_eq!([0; 3].map(|_| port(targets.pick(&[]))), [2, 2, 2]);
    }

    #[test]
    fn after_its_rest_one_exchange_tries_it() {
        let targets = targets(2, Duration::from_secs(1000));
        let all = targets.all();
        all[0].failures.store(1, Ordering::Relaxed);
        let ports = [0; 6].map(|_| port(targets.pick(&[])));
        assert_eq!(ports.iter().filter(|p| **p == 1).count(), 1, "{ports:?}");
    }

    #[tokio::test]
    async fn a_name_keeps_the_addresses_that_it_still_has() {
        let metrics = crate::metrics::Metrics::default().upstream("front");
        let name = Address::Host("app".into(), 80);
        let targets = Targets::new(&[name], (Duration::from_secs(1), Duration::from_secs(1)), &metrics);
        assert!(targets.pick(&[]).is_none());
        let pool = super::super::pool::tests::pool(&metrics);
        let at = |last: u8| std::net::SocketAddr::from(([127, 0, 0, last], 80));
        targets.resolved("app", 80, &[at(1), at(2), at(1)], &pool);
        let before = targets.all();
        assert_eq!(before.len(), 2);
        targets.resolved("app", 80, &[at(2), at(3)], &pool);
        let after = targets.all();
        assert!(Arc::ptr_eq(&before[1], &after[0]));
        assert!(before[0].is_retired() && !after[0].is_retired());
    }
}
