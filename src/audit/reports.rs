//! The counts of a process whose log an authority keeps: told to it each second. What it does not take stays, and what is
//! counted meanwhile is counted together, within the bound of [`Counts`]. An answer that gets lost has the report told twice: the
//! log may count too much, never too little.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::line::Count;
use super::{Recorder, Use};
use crate::keyring::store::{Counted, ServiceError};
use crate::keyring::{Keyring, KeyringError};
use crate::name::{Class, PartitionName};

const EACH: Duration = Duration::from_secs(1);
/// Counts in one report, so that it stays far below what an authority takes, however long the names are.
const PER_REPORT: usize = 128;
/// Attempts at the end of the process, and the time between two.
const LAST_ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// See the module. Dropping it reports once more.
pub struct Reports {
    reporter: Arc<Reporter>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Reporter {
    keyring: Arc<Keyring>,
    counts: Counts,
    late: Mutex<Vec<Count>>,
    /// The authority did not take what waits, or refused what it was told last.
    behind: AtomicBool,
    stopped: AtomicBool,
}

impl Reports {
    /// To the authority behind this keyring, by a thread of their own.
    pub fn start(keyring: Arc<Keyring>) -> Result<Self, KeyringError> {
        let reporter = Reporter {
            keyring,
            counts: Counts::default(),
            late: Mutex::default(),
            behind: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        };
        let reporter = Arc::new(reporter);
        let runs = Arc::clone(&reporter);
        let thread = thread::Builder::new().name("audit".into()).spawn(move || runs.run());
        let thread = thread.map_err(|error| KeyringError::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self { reporter, thread: Mutex::new(Some(thread)) })
    }

    /// Whether something waits that the authority does not take, or was refused last.
    pub fn is_behind(&self) -> bool {
        self.reporter.behind.load(Ordering::Relaxed)
    }

    /// Reports what is left, and ends the thread.
    pub fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.reporter.stopped.store(true, Ordering::Release);
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

impl Recorder for Reports {
    fn count(&self, caller: &str, partition: &PartitionName, done: &[(&Class, Use, u64)]) {
        self.reporter.counts.add(caller, partition, done);
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Reporter {
    fn run(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            let next = Instant::now() + EACH;
            let _later = self.report();
            // Unparked early, or woken for nothing: asked again above.
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        for attempt in 1..=LAST_ATTEMPTS {
            if self.report() {
                return;
            }
            if attempt < LAST_ATTEMPTS {
                thread::sleep(PAUSE);
            }
        }
        let lost: u64 = self.late().iter().chain(&self.counts.take()).map(|count| count.n).sum();
        tracing::error!(alarm = true, values = lost, "the authority was not told of what this process did last");
    }

    /// Whether everything is told.
    fn report(&self) -> bool {
        let mut late = self.late();
        loop {
            // One batch after the other, so that no more waits than `Counts` tells apart.
            if late.is_empty() {
                *late = self.counts.take();
            }
            let some: Vec<Counted<'_>> = late.iter().take(PER_REPORT).map(told).collect();
            if some.is_empty() {
                return true;
            }
            let sent = some.len();
            match self.keyring.report(&some) {
                Ok(()) => self.behind.store(false, Ordering::Relaxed),
                // Asking again would not help, and would hold up all that follows.
                Err(ServiceError::Refused(text)) => {
                    self.behind.store(true, Ordering::Relaxed);
                    tracing::error!(alarm = true, "the authority refuses what this process counted: {text}");
                }
                Err(error) => {
                    if !self.behind.swap(true, Ordering::Relaxed) {
                        tracing::error!(alarm = true, "what was counted is not in the audit log yet: {error}");
                    }
                    return false;
                }
            }
            late.drain(..sent);
        }
    }

    fn late(&self) -> MutexGuard<'_, Vec<Count>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is beyond those told apart has no names.
fn told(count: &Count) -> Counted<'_> {
    let (caller, partition, class) =
        count.of.as_ref().map_or(("", "", ""), |of| (of.caller.as_str(), of.partition.as_str(), of.class.as_str()));
    let what = match count.what {
        Use::Sealed => "sealed",
        Use::Opened => "opened",
        Use::Refused => "refused",
    };
    Counted { caller, partition, class, what, values: count.n }
}
