//! For how long what an API opened is used: each answer of the API's is a lease.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::super::caches::Freshness;
use crate::token::EpochId;

/// Until when an epoch that only an API opened is used. One for all that hold the epoch's key.
#[derive(Debug)]
pub struct Lease {
    max_stale: AtomicU64,
    answered: Freshness,
    ended: AtomicBool,
    refused: AtomicBool,
    /// When its renewal had its turn last.
    tried: AtomicU64,
}

impl Lease {
    fn new(now: u64) -> Self {
        Self {
            max_stale: AtomicU64::new(0),
            answered: Freshness::new(now),
            ended: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            tried: AtomicU64::new(0),
        }
    }

    fn renew(&self, sample: (u64, u64), max_stale: Duration) {
        self.max_stale.store(max_stale.as_secs(), Ordering::Release);
        self.answered.renew(sample);
        self.ended.store(false, Ordering::Release);
        self.refused.store(false, Ordering::Release);
    }

    /// Whether the API has not answered for too long, or has refused.
    pub fn is_over(&self, now: u64) -> bool {
        self.refused.load(Ordering::Acquire) || self.answered.age(now) > self.max_stale.load(Ordering::Acquire)
    }

    /// Whether it is time to ask again.
    pub fn is_half_over(&self, now: u64) -> bool {
        self.answered.age(now) >= self.max_stale.load(Ordering::Acquire).div_ceil(2).max(1)
    }

    /// When its renewal had its turn last; 0: never.
    pub fn tried(&self) -> u64 {
        self.tried.load(Ordering::Relaxed)
    }

    /// Its renewal has its turn now.
    pub fn try_at(&self, now: u64) {
        self.tried.store(now, Ordering::Relaxed);
    }

    /// Seconds until it is over.
    pub fn left(&self, now: u64) -> u64 {
        self.max_stale.load(Ordering::Acquire).saturating_sub(self.answered.age(now))
    }

    /// Whether this is the first to notice that it is over.
    pub fn end(&self) -> bool {
        !self.ended.swap(true, Ordering::AcqRel)
    }
}

/// The leases that somebody holds.
#[derive(Debug, Default)]
pub struct Leases(Mutex<HashMap<EpochId, Weak<Lease>>>);

impl Leases {
    /// The lease of an epoch that was opened by a call, which began at `sample`, on the clock of the lease if there is one.
    pub fn renew(&self, id: EpochId, asked: Asked, max_stale: Duration) -> Arc<Lease> {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = leases.get(&id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let lease = Arc::new(Lease::new(asked.time));
            leases.insert(id, Arc::downgrade(&lease));
            lease
        });
        let (_, elapsed) = lease.answered.sample(asked.time);
        lease.renew((asked.time, elapsed.saturating_sub(asked.at.elapsed().as_secs())), max_stale);
        lease
    }

    /// The API has refused: whoever still holds the epoch, or is about to put it into a cache, uses it no more.
    pub fn refuse(&self, id: EpochId) {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = leases.get(&id).and_then(Weak::upgrade) {
            lease.refused.store(true, Ordering::Release);
            // It is no silence that should be told of.
            lease.ended.store(true, Ordering::Release);
        }
    }

    /// All of them, those that end first in front.
    pub fn all(&self, now: u64) -> Vec<(EpochId, Arc<Lease>)> {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|_, lease| lease.strong_count() > 0);
        let mut all: Vec<_> = leases.iter().filter_map(|(id, lease)| Some((*id, lease.upgrade()?))).collect();
        drop(leases);
        all.sort_by_key(|(_, lease)| lease.left(now));
        all
    }
}

/// When a call began: what it says is true from then on.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    time: u64,
    at: std::time::Instant,
}

impl Asked {
    /// Now.
    pub fn at(time: u64) -> Self {
        Self { time, at: std::time::Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_shared_and_lasts_until_the_api_is_silent_for_too_long() {
        let (leases, id) = (Leases::default(), EpochId([1; 10]));
        let first = leases.renew(id, Asked::at(1000), Duration::from_secs(100));
        assert!(!first.is_half_over(1049) && first.is_half_over(1050));
        assert!(!first.is_over(1100) && first.is_over(1101));
        assert!(first.end() && !first.end());
        let again = leases.renew(id, Asked::at(1100), Duration::from_secs(100));
        assert!(Arc::ptr_eq(&first, &again) && !first.is_over(1200) && first.end());
        assert_eq!((first.left(1150), leases.all(1150).len()), (50, 1));
        drop((first, again));
        assert!(leases.all(1150).is_empty());
    }
}
