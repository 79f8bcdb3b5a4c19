//! What is written in the background: counts each second, a checkpoint each minute in which there was something to sign, and
//! what could not be written when it should have been.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::chain::Chain;
use super::counts::Counts;
use super::line::{Content, Count, rfc3339};
use crate::clock::SharedClock;
use crate::keyring::KeyringError;

const EACH: Duration = Duration::from_secs(1);
/// So many seconds without a checkpoint, or so many lines, and there is one.
const ROUNDS: u32 = 60;
const LINES: u64 = 1000;
/// Counts in one line, so that it stays far below what a store takes (1 MiB) however long the names are.
const PER_LINE: usize = 256;
/// Outcomes that wait for the store.
const LATE: usize = 1024;

/// See the module.
pub struct Flusher {
    chain: Chain,
    clock: SharedClock,
    counts: Counts,
    late: Mutex<Late>,
    /// The store did not take what waits.
    behind: AtomicBool,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Late {
    outcomes: VecDeque<Content>,
    counts: VecDeque<Content>,
}

impl Flusher {
    pub fn new(chain: Chain, clock: SharedClock) -> Self {
        Self {
            chain,
            clock,
            counts: Counts::default(),
            late: Mutex::default(),
            behind: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Keeps an outcome for the next flush.
    pub fn later(&self, outcome: Content) {
        let mut late = self.late();
        if late.outcomes.len() < LATE {
            late.outcomes.push_back(outcome);
        }
    }

    /// Writes what waits. What the store does not take stays, in its order.
    pub fn flush(&self) -> Result<(), KeyringError> {
        let mut late = self.late();
        let waited = !late.counts.is_empty();
        let mut flushed = self.flush_all(&mut late);
        if waited && flushed.is_ok() {
            // And what was counted meanwhile: this may be the last time.
            flushed = self.flush_all(&mut late);
        }
        let was_behind = self.behind.swap(flushed.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (&flushed, was_behind) {
            tracing::error!(alarm = true, "what was counted is not in the audit log yet: {error}");
        }
        flushed
    }

    /// Whether something waits that could not be written.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Ends [`Self::run`] when its thread is unparked.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Until stopped.
    pub fn run(&self) {
        let mut round = 0;
        while !self.stopped.load(Ordering::Acquire) {
            let next = Instant::now() + EACH;
            if self.flush().is_ok() {
                round += 1;
                if round >= ROUNDS || self.chain.uncovered() >= LINES {
                    round = 0;
                    self.checkpoint();
                }
            }
            // Unparked early, or woken for nothing: asked again above.
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        if self.flush().is_ok() {
            self.checkpoint();
        }
    }

    fn flush_all(&self, late: &mut Late) -> Result<(), KeyringError> {
        while let Some(outcome) = late.outcomes.front() {
            self.chain.append_once(outcome)?;
            late.outcomes.pop_front();
        }
        // One batch after the other: while the store is away what follows is counted together, within the bound of `Counts`.
        if late.counts.is_empty() {
            late.counts.extend(self.batch());
        }
        while let Some(counts) = late.counts.front() {
            self.chain.append_once(counts)?;
            late.counts.pop_front();
        }
        Ok(())
    }

    fn batch(&self) -> Vec<Content> {
        let counts = self.counts.take();
        let now = self.clock.now();
        let minute = rfc3339(now - now % 60);
        let line = |counts: &[Count]| Content::Counts { minute: minute.clone(), counts: counts.to_vec() };
        counts.chunks(PER_LINE).map(line).collect()
    }

    fn checkpoint(&self) {
        match self.chain.checkpoint(false) {
            // Into the process's log: what collects that keeps a copy where a store writer does not come.
            Ok(Some(made)) => tracing::info!(
                number = made.number,
                hash = made.hash,
                time = made.time,
                signature = made.signature,
                "audit checkpoint"
            ),
            // Without the master key nothing is signed here, but by those who have it.
            Ok(None) | Err(KeyringError::NoKey(_)) => {}
            Err(error) => tracing::warn!("no audit checkpoint yet: {error}"),
        }
    }

    fn late(&self) -> MutexGuard<'_, Late> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
