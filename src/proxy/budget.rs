//! The one byte budget of a process: every buffer whose size a peer decides holds a lease on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::refusal::{Reason, Refusal};

const SPENT: &str = "the memory budget (`limits.memory`) is spent";

/// Bytes that buffers may hold together; cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { limit, used: AtomicUsize::new(0) }))
    }

    /// A lease of `bytes`, or `None` if that would go over the limit: then refuse the work with `Reason::Overload`.
    pub fn try_take(&self, bytes: usize) -> Option<Lease> {
        let mut lease = self.lease();
        lease.grow(bytes).then_some(lease)
    }

    /// A lease of nothing yet.
    pub fn lease(&self) -> Lease {
        Lease { budget: self.clone(), bytes: 0 }
    }

    /// Bytes leased now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.0.limit
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Lease {
    budget: Budget,
    bytes: usize,
}

impl Lease {
    /// Takes `more` bytes; `false`, and nothing taken, if that would go over the limit.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        let inner = &self.budget.0;
        let taken = inner.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|sum| *sum <= inner.limit)
        });
        if taken.is_ok() {
            self.bytes += more;
        }
        taken.is_ok()
    }

    /// Gives back all but `keep` bytes.
    pub fn shrink_to(&mut self, keep: usize) {
        let back = self.bytes.saturating_sub(keep);
        self.budget.0.used.fetch_sub(back, Ordering::Relaxed);
        self.bytes -= back;
    }

    /// What it is a share of.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Bytes of this lease.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// The refusal of work for which nothing is left.
pub fn spent() -> Refusal {
    Refusal::new(Reason::Overload, SPENT)
}

/// Whether work was refused since nothing was left.
pub fn is_spent(refusal: &Refusal) -> bool {
    refusal.reason == Reason::Overload && refusal.detail == SPENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_never_goes_over_and_always_comes_back() {
        let budget = Budget::new(100);
        let mut a = budget.try_take(60).unwrap();
        assert!(budget.try_take(41).is_none());
        let b = budget.try_take(40).unwrap();
        assert!(!a.grow(1) && !a.grow(usize::MAX));
        drop(b);
        assert!(a.grow(40));
        a.shrink_to(10);
        assert_eq!((a.bytes(), budget.used()), (10, 10));
        drop(a);
        assert_eq!(budget.used(), 0);
    }
}
