//! An HTTP/2 client that takes nothing of one answer. Its connection may be busy with others, and hyper asks the answer for
//! nothing while the client's window is shut: so the stream's own task is watched, and dropped when patience ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::task_local;
use tokio::time::{self, Instant};

task_local! {
    /// Of the stream whose task runs.
    static OUTFLOW: Arc<Outflow>;
}

/// Spawns the tasks of HTTP/2 streams, each with its [`Outflow`].
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// See `timeouts.send`.
    pub(super) send: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let outflow =
            Arc::new(Outflow { born: Instant::now(), ends: AtomicU64::new(0), stalled: AtomicBool::new(false) });
        let send = self.send;
        let served = OUTFLOW.scope(Arc::clone(&outflow), async move {
            tokio::select! {
                biased;
                _ = stream => {}
                // Dropping the stream resets it.
                () = outflow.stalls(send) => {}
            }
        });
        tokio::spawn(served);
    }
}

/// When the client of a stream has been waited for long enough.
#[derive(Debug)]
pub(super) struct Outflow {
    born: Instant,
    /// Milliseconds after `born`; 0: nobody waits.
    ends: AtomicU64,
    stalled: AtomicBool,
}

impl Outflow {
    /// Of the stream that is being served; `None`: it is not HTTP/2.
    pub(super) fn current() -> Option<Arc<Self>> {
        OUTFLOW.try_with(Arc::clone).ok()
    }

    /// The client is waited for until then, or no more.
    pub(super) fn ends(&self, at: Option<Instant>) {
        let millis = at.map_or(0, |at| u64::try_from((at - self.born).as_millis()).unwrap_or(u64::MAX).max(1));
        self.ends.store(millis, Ordering::Relaxed);
    }

    /// Whether the stream was dropped for it.
    pub(super) fn has_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    async fn stalls(&self, send: Duration) {
        // No wait ends earlier than this after it begins, unless others went before it: a second look is enough.
        let mut look = send;
        loop {
            time::sleep(look).await;
            let ends = Duration::from_millis(self.ends.load(Ordering::Relaxed));
            let now = self.born.elapsed();
            if !ends.is_zero() && ends <= now {
                self.stalled.store(true, Ordering::Relaxed);
                return;
            }
            look = if ends.is_zero() { send } else { (ends - now).min(send) };
        }
    }
}
