//! Counting without locked instructions, each of which waits until what was written before has reached the cache: some forty cycles, and
//! a message with a few fields is counted in a hundred places. The first worker has places of its own that nobody else writes to; all
//! others share the second place and pay for it.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus_client::metrics::counter::{self, Atomic};

/// A counter that is told as a metric.
pub type Counter = counter::Counter<u64, Count>;

/// What all threads add to.
#[derive(Debug, Default)]
pub struct Count {
    /// By the first worker alone.
    first: AtomicU64,
    others: AtomicU64,
}

thread_local! {
    static IS_FIRST: Cell<bool> = const { Cell::new(false) };
}

static TAKEN: AtomicBool = AtomicBool::new(false);

/// As long as it lives, its thread is the first worker.
#[derive(Debug)]
pub struct First(PhantomData<*const ()>);

impl First {
    /// Makes this thread the first worker, unless there is one.
    pub fn claim() -> Option<Self> {
        // Who comes after another sees all that the other wrote.
        TAKEN.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        IS_FIRST.set(true);
        Some(Self(PhantomData))
    }
}

impl Drop for First {
    fn drop(&mut self) {
        IS_FIRST.set(false);
        TAKEN.store(false, Ordering::Release);
    }
}

/// Whether this thread is the first worker.
#[inline]
pub fn is_first() -> bool {
    IS_FIRST.get()
}

/// Adds to a number; `alone`: that nobody else writes to.
#[inline]
pub fn add(to: &AtomicU64, number: u64, alone: bool) {
    if alone {
        to.store(to.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
    } else {
        to.fetch_add(number, Ordering::Relaxed);
    }
}

impl Count {
    /// Adds so many.
    #[inline]
    pub fn add(&self, number: u64) {
        let first = is_first();
        add(if first { &self.first } else { &self.others }, number, first);
    }

    /// How many there are.
    pub fn read(&self) -> u64 {
        self.first.load(Ordering::Relaxed).wrapping_add(self.others.load(Ordering::Relaxed))
    }
}

impl Atomic<u64> for Count {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    fn inc_by(&self, number: u64) -> u64 {
        let before = self.read();
        self.add(number);
        before
    }

    fn get(&self) -> u64 {
        self.read()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn nothing_that_is_counted_is_lost() {
        const EACH: u64 = 20_000;
        let (count, counter) = (Count::default(), Counter::default());
        let work = || {
            // At most one of them is, and for a while only.
            for _ in 0..4 {
                let first = First::claim();
                assert_eq!(is_first(), first.is_some());
                assert!(First::claim().is_none() || first.is_none());
                for _ in 0..EACH / 4 {
                    count.add(3);
                    counter.inc_by(2);
                }
                drop(first);
                assert!(!is_first());
            }
        };
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
        assert_eq!((count.read(), counter.get()), (4 * 3 * EACH, 4 * 2 * EACH));
    }
}
