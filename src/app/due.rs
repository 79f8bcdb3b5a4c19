//! Does what is due in a keyring (`authority::lifecycle`), on a thread of its own: some of it takes long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::audit::Audit;
use crate::authority::lifecycle::Lifecycle;
use crate::clock::SharedClock;
use crate::directory::Directory;
use crate::keyring::{Keyring, KeyringError};

const EACH: Duration = Duration::from_secs(5);

/// Runs until it is dropped.
pub struct Due {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Due {
    /// For a keyring whose master key this process holds; `None` for others, whose keyring is another's to look after.
    pub fn start(keyring: &Arc<Keyring>, audit: &Arc<Audit>, clock: SharedClock) -> Result<Option<Self>, KeyringError> {
        if keyring.first_master().is_none() {
            return Ok(None);
        }
        let directory = Directory::new(Arc::clone(keyring), clock, Duration::ZERO)?;
        let lifecycle = Lifecycle::new(Arc::clone(keyring), directory, Arc::clone(audit))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                lifecycle.run_due();
                thread::park_timeout(EACH);
            }
        };
        let thread = thread::Builder::new().name("lifecycle".into()).spawn(run);
        let thread = thread.map_err(|error| KeyringError::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Some(Self { stop, thread: Some(thread) }))
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
