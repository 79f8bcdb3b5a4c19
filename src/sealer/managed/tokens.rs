//! Tokens that an API gives for a time, or for a number of calls: kept, renewed early, and by one caller at a time.

pub(super) mod backoff;
mod stock;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{ApiError, Fault};
use crate::clock::SharedClock;
use crate::metrics::TokenMetrics;
use crate::secret::SecretBytes;
use backoff::Backoff;
use stock::Stock;

/// For one renewal: it goes on when nobody waits for it any more, so nothing else ends it.
const LONGEST: Duration = Duration::from_secs(10);

/// The token of one profile and endpoint. Clones share it.
#[derive(Clone)]
pub struct TokenCache {
    inner: Arc<Inner>,
}

/// A token just given.
pub struct Fresh {
    /// Itself.
    pub token: SecretBytes,
    /// For how long, counted from when it was asked for.
    pub lifetime: Duration,
    /// For how many calls; `None`: any number.
    pub uses: Option<u32>,
}

/// A token lent for one call, which counts as one of its uses whatever becomes of it.
#[derive(Debug, Clone)]
pub struct Lent {
    /// Itself.
    pub token: Arc<SecretBytes>,
    /// Tells it from the ones before and after.
    pub serial: u64,
}

/// What a cache has done so far, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenCounts {
    /// Tokens lent without waiting for a renewal.
    pub hits: u64,
    /// Renewals that gave a token.
    pub renewals: u64,
    /// Renewals that did not.
    pub failures: u64,
}

impl TokenCache {
    /// An empty one.
    pub fn new(clock: SharedClock) -> Self {
        let inner = Inner {
            clock,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            hits: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            metrics: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A token with time and uses left. Where there is none, or the last is near its end (a tenth of its lifetime, with jitter; its
    /// last uses), `renew` gets another: one at a time, on a task of its own, so that a caller that goes away takes nothing from
    /// the others. They wait, or go on with what is still good. After a failure the next renewal is put off for a moment, and
    /// whoever needs one gets the same error at once: a password that is not taken must not lock its account. A renewal that is
    /// refused is a [`Fault::Credential`], since it says nothing about the caller's value.
    pub async fn lend<F, R>(&self, renew: F) -> Result<Lent, ApiError>
    where
        F: Fn() -> R + Send,
        R: Future<Output = Result<Fresh, ApiError>> + Send + 'static,
    {
        let inner = &self.inner;
        let mut waited = false;
        // Tokens of a number of uses go to who came first; else one could come too late again and again.
        let mut turn = None;
        loop {
            match inner.step(turn.is_some()) {
                Step::Lent(lent, early) => {
                    if let Some(renewal) = early {
                        renewal.start(renew());
                    }
                    inner.hits.fetch_add(u64::from(!waited), Ordering::Relaxed);
                    return Ok(lent);
                }
                Step::Queue => turn = Some(inner.turn.lock().await),
                Step::Begin(renewal, outcome) => {
                    renewal.start(renew());
                    waited = true;
                    wait(outcome).await?;
                }
                Step::Wait(outcome) => {
                    waited = true;
                    wait(outcome).await?;
                }
                Step::Failed(error) => return Err(error),
            }
        }
    }

    /// The API did not take it: it is not lent again.
    pub fn refused(&self, lent: &Lent) {
        let now = self.inner.clock.micros();
        let mut state = self.inner.state();
        if let Some(age) = state.stock.discard(lent.serial, now) {
            state.backoff.token_refused(age, Instant::now());
        }
    }

    /// Seconds until the current token ends, for the metrics.
    pub fn seconds_left(&self) -> Option<u64> {
        let now = self.inner.clock.micros();
        self.inner.state().stock.time_left(now).map(|left| left.as_secs())
    }

    /// Tells these metrics of renewals and of the time that is left, from now on.
    pub fn measure(&self, metrics: &TokenMetrics) {
        // An error: they are told already.
        self.inner.metrics.set(metrics.clone()).ok();
        let inner = Arc::downgrade(&self.inner);
        metrics.watch_expiry(move || Self { inner: inner.upgrade()? }.seconds_left());
    }

    /// What was done so far.
    pub fn counts(&self) -> TokenCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Inner { hits, renewals, failures, .. } = &*self.inner;
        TokenCounts { hits: of(hits), renewals: of(renewals), failures: of(failures) }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

struct Inner {
    clock: SharedClock,
    /// Never held across an await.
    state: Mutex<State>,
    /// Held by whoever is next to get a token of a number of uses.
    turn: tokio::sync::Mutex<()>,
    hits: AtomicU64,
    renewals: AtomicU64,
    failures: AtomicU64,
    metrics: OnceLock<TokenMetrics>,
}

#[derive(Default)]
struct State {
    stock: Stock,
    backoff: Backoff,
    /// How the renewal under way ends.
    renewing: Option<Outcome>,
}

type Outcome = watch::Receiver<Option<Result<(), ApiError>>>;

/// What a caller does next.
enum Step {
    /// It has a token; the renewal, if any, goes on without it.
    Lent(Lent, Option<Renewal>),
    /// It waits for its turn.
    Queue,
    /// It begins a renewal and waits for its end.
    Begin(Renewal, Outcome),
    /// It waits for the end of the renewal under way.
    Wait(Outcome),
    /// A renewal failed a moment ago.
    Failed(ApiError),
}

impl Inner {
    fn step(self: &Arc<Self>, in_turn: bool) -> Step {
        let (now, instant) = (self.clock.micros(), Instant::now());
        let mut state = self.state();
        if state.stock.is_counted() && !in_turn {
            return Step::Queue;
        }
        let lent = state.stock.take(now);
        let failed = state.backoff.error(instant);
        match lent {
            Some(lent) => {
                let early = state.stock.is_low(now) && state.renewing.is_none() && failed.is_none();
                Step::Lent(lent, early.then(|| self.renewal(&mut state).0))
            }
            None => match (&state.renewing, failed) {
                (Some(outcome), _) => Step::Wait(outcome.clone()),
                (None, Some(error)) => Step::Failed(error),
                (None, None) => {
                    let (renewal, outcome) = self.renewal(&mut state);
                    Step::Begin(renewal, outcome)
                }
            },
        }
    }

    fn renewal(self: &Arc<Self>, state: &mut State) -> (Renewal, Outcome) {
        let (sender, outcome) = watch::channel(None);
        state.renewing = Some(outcome.clone());
        let renewal = Renewal { inner: Arc::clone(self), begun: self.clock.micros(), sender: Some(sender) };
        (renewal, outcome)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one renewal under way. However it ends, also by a panic, the next may begin.
struct Renewal {
    inner: Arc<Inner>,
    begun: u64,
    sender: Option<watch::Sender<Option<Result<(), ApiError>>>>,
}

impl Renewal {
    fn start(mut self, renewing: impl Future<Output = Result<Fresh, ApiError>> + Send + 'static) {
        tokio::spawn(async move {
            let renewed = timeout(LONGEST, renewing).await;
            self.end(renewed.unwrap_or_else(|_| Err(ApiError::new(Fault::Timeout, "a token was not given in time"))));
        });
    }

    fn end(&mut self, renewed: Result<Fresh, ApiError>) {
        let Some(sender) = self.sender.take() else { return };
        let now = self.inner.clock.micros();
        let mut state = self.inner.state();
        let outcome = renewed.and_then(|fresh| state.stock.add(fresh, self.begun, now)).map_err(of_credential);
        let Inner { renewals, failures, metrics, .. } = &*self.inner;
        let metrics = metrics.get();
        match &outcome {
            Ok(()) => {
                state.backoff.renewed();
                renewals.fetch_add(1, Ordering::Relaxed);
                metrics.map(|metrics| metrics.renewals.inc());
            }
            Err(error) => {
                state.backoff.failed(error, Instant::now());
                failures.fetch_add(1, Ordering::Relaxed);
                metrics.map(|metrics| metrics.failures.inc());
            }
        }
        state.renewing = None;
        drop(state);
        // An error: nobody waits any more.
        sender.send(Some(outcome)).ok();
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.end(Err(broken_off()));
    }
}

async fn wait(mut outcome: Outcome) -> Result<(), ApiError> {
    let Ok(ended) = outcome.wait_for(Option::is_some).await else { return Err(broken_off()) };
    ended.clone().unwrap_or_else(|| Err(broken_off()))
}

fn broken_off() -> ApiError {
    ApiError::new(Fault::Connection, "getting a token was broken off")
}

fn of_credential(error: ApiError) -> ApiError {
    match error.kind {
        Fault::Refused => ApiError { kind: Fault::Credential, ..error },
        _ => error,
    }
}
