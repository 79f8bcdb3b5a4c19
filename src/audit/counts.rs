//! What is counted between two flushes. Counting takes one lock of many for a moment and allocates only for what was not
//! counted before, since it is done once per message.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Use;
use super::line::{Count, MAX_NUMBER, Of, short};
use crate::name::{Class, PartitionName};

/// Callers, partitions and classes told apart until the next flush; what is beyond is counted together, by use.
pub const APART: usize = 4096;
const SHARDS: usize = 16;
const USES: [Use; 3] = [Use::Sealed, Use::Opened, Use::Refused];

/// See the module.
#[derive(Default)]
pub struct Counts {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Vec<Entry>>>; SHARDS],
    apart: AtomicUsize,
    others: [AtomicU64; USES.len()],
}

struct Entry {
    caller: String,
    partition: PartitionName,
    class: Class,
    what: Use,
    n: u64,
}

impl Counts {
    /// Counts.
    pub fn add(&self, caller: &str, partition: &PartitionName, class: &Class, what: Use, n: u64) {
        let hash = self.hasher.hash_one((caller, partition, class, what));
        let mut shard = self.shard(hash);
        let same =
            |e: &&mut Entry| e.what == what && e.class == *class && e.partition == *partition && e.caller == caller;
        if let Some(entry) = shard.get_mut(&hash).and_then(|entries| entries.iter_mut().find(same)) {
            entry.n = entry.n.saturating_add(n);
            return;
        }
        if self.apart.fetch_add(1, Ordering::Relaxed) >= APART {
            self.apart.fetch_sub(1, Ordering::Relaxed);
            self.add_others(what, n);
            return;
        }
        let entry = Entry { caller: caller.to_owned(), partition: partition.clone(), class: class.clone(), what, n };
        shard.entry(hash).or_default().push(entry);
    }

    /// Counts without telling apart.
    pub fn add_others(&self, what: Use, n: u64) {
        let [sealed, opened, refused] = &self.others;
        let others = match what {
            Use::Sealed => sealed,
            Use::Opened => opened,
            Use::Refused => refused,
        };
        let add = |sum: u64| Some(sum.saturating_add(n));
        let (Ok(_) | Err(_)) = others.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Everything counted so far, which is then counted no more.
    pub fn take(&self) -> Vec<Count> {
        let mut counts = Vec::new();
        for shard in &self.shards {
            let taken = std::mem::take(&mut *lock(shard));
            for entry in taken.into_values().flatten() {
                self.apart.fetch_sub(1, Ordering::Relaxed);
                let of = Of {
                    caller: short(&entry.caller),
                    partition: entry.partition.as_str().to_owned(),
                    class: short(entry.class.as_str()),
                };
                counts.push(Count { of: Some(of), what: entry.what, n: entry.n.min(MAX_NUMBER) });
            }
        }
        for (what, others) in USES.into_iter().zip(&self.others) {
            let n = others.swap(0, Ordering::Relaxed);
            if n > 0 {
                counts.push(Count { of: None, what, n: n.min(MAX_NUMBER) });
            }
        }
        counts
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, HashMap<u64, Vec<Entry>>> {
        let [first, ..] = &self.shards;
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        lock(self.shards.get(at).unwrap_or(first))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_however_many_are_counted_apart() {
        let counts = Counts::default();
        let classes: Vec<Class> = (0..APART + 100).map(|n| Class::new(&n.to_string())).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for class in &classes {
                        counts.add("role", &PartitionName::default_name(), class, Use::Sealed, 3);
                    }
                });
            }
        });
        let taken = counts.take();
        assert_eq!(taken.len(), APART + 1);
        assert_eq!(taken.iter().map(|c| c.n).sum::<u64>(), 4 * 3 * classes.len() as u64);
        assert_eq!(taken.iter().filter(|c| c.of.is_none()).count(), 1);
        assert!(counts.take().is_empty());
        counts.add("role", &PartitionName::default_name(), &classes[APART + 1], Use::Refused, 1);
        assert!(counts.take()[0].of.is_some(), "there is room again");
    }
}
