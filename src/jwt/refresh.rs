//! Keeps key sets fresh, on a thread of its own: files are looked at twice a second, URLs fetched on a schedule, and early for
//! a token with a key that is not known.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::fetch::Fetch;
use super::keys::{KeySet, Source};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two fetches of a URL.
const FETCH_EVERY: Duration = Duration::from_mins(5);
/// At least between two fetches for keys that are not known, which anybody can invent.
const WANTED: Duration = Duration::from_secs(10);
/// After a fetch that failed; then doubled, up to the last.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Works until it is dropped.
#[derive(Debug)]
pub struct Refresher(Option<oneshot::Sender<()>>, Option<thread::JoinHandle<()>>);

impl Refresher {
    /// For these sets; `None` if there are none.
    pub fn start(sets: Vec<Arc<KeySet>>) -> std::io::Result<Option<Self>> {
        if sets.is_empty() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            runtime.block_on(async {
                for set in sets {
                    tokio::spawn(follow(set));
                }
                drop(stopped.await);
            });
            // A name that is being looked up on another thread is not waited for.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("jwks".into()).spawn(work)?;
        Ok(Some(Self(Some(stop), Some(thread))))
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        // It wakes up with an error.
        drop(self.0.take());
        drop(self.1.take().map(thread::JoinHandle::join));
    }
}

async fn follow(set: Arc<KeySet>) {
    let Source::Url(url) = set.source() else {
        loop {
            sleep(LOOK_EVERY).await;
            set.look();
        }
    };
    let fetch = loop {
        match Fetch::new(url) {
            Ok(fetch) => break fetch,
            Err(error) => tracing::error!(set = %set.source(), "the key set cannot be fetched: {error}"),
        }
        sleep(AGAIN.1).await;
    };
    let mut again = AGAIN.0;
    loop {
        let began = Instant::now();
        let pause = match fetch.get().await.and_then(|text| set.fetched(&text)) {
            Ok(keys) => {
                tracing::debug!(set = %set.source(), keys, "the key set was fetched");
                again = AGAIN.0;
                FETCH_EVERY
            }
            Err(error) => {
                tracing::error!(set = %set.source(), "the key set cannot be fetched, so the keys stay as they were: {error}");
                let pause = again;
                again = again.saturating_mul(2).min(AGAIN.1);
                pause
            }
        };
        loop {
            sleep(LOOK_EVERY).await;
            let waited = began.elapsed();
            if waited >= pause || (waited >= WANTED && set.is_wanted()) {
                break;
            }
        }
    }
}
