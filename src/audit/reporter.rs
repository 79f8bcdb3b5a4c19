//! Counts of a process whose keyring is at an authority: it has no log, so it tells the authority each second, which writes them
//! under the name of this process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::counts::Counts;
use super::line::Count;
use super::{Counting, Use};
use crate::keyring::store::Counted;
use crate::keyring::{Keyring, KeyringError};
use crate::name::{Class, PartitionName};

const EACH: Duration = Duration::from_secs(1);
/// Counts in one report, so that little is told twice when an answer is lost.
const PER_REPORT: usize = 100;
/// The class of what is beyond those that are told apart; its partition is `default`.
const OTHERS: &str = "*";

/// See the module.
pub struct Reporter {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Shared {
    keyring: Arc<Keyring>,
    counts: Counts,
    stopped: AtomicBool,
}

impl Reporter {
    /// To the authority of this keyring, from a thread of its own. Dropping it reports once more.
    pub fn start(keyring: Arc<Keyring>) -> Result<Self, KeyringError> {
        let shared = Arc::new(Shared { keyring, counts: Counts::default(), stopped: AtomicBool::new(false) });
        let inside = Arc::clone(&shared);
        let thread = thread::Builder::new().name("audit".into()).spawn(move || inside.run());
        let thread = thread.map_err(|error| KeyringError::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Reports what is left and ends the thread.
    pub fn stop(&self) {
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.shared.stopped.store(true, Ordering::Release);
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

impl Counting for Reporter {
    fn count(&self, caller: &str, partition: &PartitionName, class: &Class, what: Use, values: u64) {
        if values > 0 {
            self.shared.counts.add(caller, partition, class, what, values);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        let mut complained = false;
        while !self.stopped.load(Ordering::Acquire) {
            thread::park_timeout(EACH);
            self.report_or_say(&mut complained);
        }
        self.report_or_say(&mut complained);
    }

    fn report_or_say(&self, complained: &mut bool) {
        match self.report() {
            Ok(()) => *complained = false,
            Err(error) if !*complained => {
                *complained = true;
                tracing::error!(alarm = true, "what was counted is not in the authority's audit log yet: {error}");
            }
            Err(_) => {}
        }
    }

    /// What is not taken is counted again, so that it is told with the next: rather twice than never.
    fn report(&self) -> Result<(), KeyringError> {
        let counts = self.counts.take();
        let mut reported = Ok(());
        for some in counts.chunks(PER_REPORT) {
            if reported.is_ok() {
                reported = self.keyring.report(&some.iter().map(counted).collect::<Vec<_>>());
            }
            if reported.is_err() {
                some.iter().for_each(|count| self.back(count));
            }
        }
        reported
    }

    fn back(&self, count: &Count) {
        let (caller, partition, class) =
            count.of.as_ref().map_or(("", "default", OTHERS), |of| (&of.caller, &of.partition, &of.class));
        if let Ok(partition) = PartitionName::new(partition) {
            self.counts.add(caller, &partition, &Class::new(class), count.what, count.n);
        }
    }
}

fn counted(count: &Count) -> Counted<'_> {
    let (partition, class) = count.of.as_ref().map_or(("default", OTHERS), |of| (&of.partition, &of.class));
    let what = match count.what {
        Use::Sealed => "sealed",
        Use::Opened => "opened",
        Use::Refused => "refused",
    };
    Counted { partition, class, what, values: count.n }
}
