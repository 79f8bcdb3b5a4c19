//! What the service says of a partition, asked for again and again, and believed for so long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::{ApiError, Fault, Rollover, Standing};
use crate::clock::SharedClock;
use crate::crypto::random;

/// One question, with whatever retries and limits are around it.
pub type Asking = Pin<Box<dyn Future<Output = Result<Standing, ApiError>> + Send>>;

/// For one question, whatever is around it.
const LONGEST: Duration = Duration::from_secs(30);

/// What is watched, and how.
pub struct Watch {
    /// The profile, for the log.
    pub profile: Arc<str>,
    /// How often it is asked.
    pub poll: Duration,
    /// For how long an answer is believed while there is no other.
    pub max_stale: Duration,
    /// Tells the time.
    pub clock: SharedClock,
    /// What a new version brings about.
    pub rollover: Rollover,
}

/// See the module. Asks until it is dropped.
pub struct Watched {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    watch: Watch,
    started: Instant,
    seen: ArcSwapOption<Seen>,
    asked: watch::Sender<bool>,
    highest: AtomicU64,
    failing: AtomicBool,
    not_rolling: AtomicBool,
}

/// An answer, and when it was asked for. Two clocks, since either may stand still: the time of day when it is set back, the
/// monotonic one while the machine sleeps.
struct Seen {
    standing: Arc<Standing>,
    at: (u64, Duration),
}

impl Watched {
    /// Begins to ask on this runtime, at once.
    pub fn start(runtime: &Handle, watch: Watch, ask: impl Fn() -> Asking + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            watch,
            started: Instant::now(),
            seen: ArcSwapOption::empty(),
            asked: watch::Sender::new(false),
            highest: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            not_rolling: AtomicBool::new(false),
        });
        let polling = Arc::clone(&shared);
        let task = runtime.spawn(async move {
            loop {
                polling.poll(&ask).await;
                sleep(jittered(polling.watch.poll)).await;
            }
        });
        Self { shared, task: task.abort_handle() }
    }

    /// Becomes true with the first answer, whatever it was.
    pub fn asked(&self) -> watch::Receiver<bool> {
        self.shared.asked.subscribe()
    }

    /// What was said last; `None` before the first answer, when the last one is older than `max_stale`, and once the service has
    /// refused: then nothing may be sealed or opened.
    pub fn standing(&self) -> Option<Arc<Standing>> {
        let seen = self.shared.seen.load();
        let seen = seen.as_ref()?;
        (self.shared.age(seen) <= self.shared.watch.max_stale).then(|| Arc::clone(&seen.standing))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn poll(&self, ask: &(impl Fn() -> Asking + Sync)) {
        let at = self.now();
        let answer = timeout(LONGEST, ask()).await;
        let answer = answer.unwrap_or_else(|_| Err(ApiError::new(Fault::Timeout, "Crypteron does not answer")));
        match answer.and_then(|standing| self.rising(standing)) {
            Ok(standing) => {
                if self.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(profile = &*self.watch.profile, "Crypteron answers again");
                }
                let version = standing.version;
                self.seen.store(Some(Arc::new(Seen { standing: Arc::new(standing), at })));
                self.asked.send_replace(true);
                self.follow(version).await;
            }
            Err(error) => {
                self.failed(&error);
                self.asked.send_replace(true);
            }
        }
    }

    /// A standing whose version is not below one that was told before.
    fn rising(&self, standing: Standing) -> Result<Standing, ApiError> {
        let highest = self.highest.fetch_max(standing.version, Ordering::AcqRel);
        if standing.version >= highest {
            return Ok(standing);
        }
        Err(ApiError::new(
            Fault::Lie,
            format!(
                "Crypteron says version {}, and said {highest} before: if it was restored from a backup, restart this process",
                standing.version
            ),
        ))
    }

    fn failed(&self, error: &ApiError) {
        let refused = error.kind == Fault::Refused;
        if refused {
            self.seen.store(None);
        }
        if !self.failing.swap(true, Ordering::AcqRel) {
            let then = if refused {
                "nothing of its partition is sealed or opened until it does"
            } else {
                "what it said last holds until max_stale has passed"
            };
            tracing::warn!(profile = &*self.watch.profile, "Crypteron says nothing of the partition: {error}; {then}");
        }
    }

    async fn follow(&self, version: u64) {
        if !self.watch.rollover.is_due(version) {
            return;
        }
        let rollover = self.watch.rollover.clone();
        let followed = tokio::task::spawn_blocking(move || rollover.follow(version)).await;
        let profile = &*self.watch.profile;
        let failed = match followed {
            Ok(Ok(rolled)) => {
                if rolled {
                    tracing::info!(
                        profile,
                        version,
                        "the partition was rolled over, as Crypteron has a new version of it"
                    );
                }
                self.not_rolling.store(false, Ordering::Release);
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it broke off".to_owned(),
        };
        if !self.not_rolling.swap(true, Ordering::AcqRel) {
            tracing::warn!(profile, version, "the partition is not rolled over to Crypteron's version yet: {failed}");
        }
    }

    fn now(&self) -> (u64, Duration) {
        (self.watch.clock.now(), self.started.elapsed())
    }

    fn age(&self, seen: &Seen) -> Duration {
        let ((time, elapsed), (then, before)) = (self.now(), seen.at);
        Duration::from_secs(time.saturating_sub(then)).max(elapsed.saturating_sub(before))
    }
}

/// Between four fifths and all of it: a fleet that started together does not ask together, and nobody asks later than configured.
fn jittered(poll: Duration) -> Duration {
    let part = random::bytes::<2>().map_or(u16::MAX, u16::from_le_bytes);
    poll.mul_f64(0.8 + 0.2 * f64::from(part) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests;
