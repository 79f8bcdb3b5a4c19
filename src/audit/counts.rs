//! What is counted between two flushes. Counting takes one lock of many for a moment and allocates only for what was not
//! counted before, since it is done once per message.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Use;
use super::line::{Count, MAX_NUMBER, Of, short};
use crate::name::{Class, PartitionName};

/// Callers, partitions and classes told apart until the next flush; what is beyond is counted together, by use.
pub const APART: usize = 4096;
const SHARDS: usize = 16;
/// Groups of a shard that are found by looking at each.
const FIRST: usize = 8;
/// Classes of a group that are found by looking at each.
const FEW: usize = 16;
const USES: [Use; 3] = [Use::Sealed, Use::Opened, Use::Refused];

/// See the module.
#[derive(Default)]
pub struct Counts {
    shards: [Mutex<Shard>; SHARDS],
    apart: AtomicUsize,
    others: [AtomicU64; USES.len()],
}

#[derive(Default)]
struct Shard {
    /// Those that came first, which are found by looking at each: most processes serve few callers and partitions.
    first: Vec<Group>,
    /// By partition and caller.
    others: HashMap<PartitionName, HashMap<String, Group>>,
}

impl Shard {
    fn known(&mut self, caller: &str, partition: &PartitionName) -> Option<&mut Group> {
        let same = |group: &Group| group.partition == *partition && group.caller == caller;
        match self.first.iter().position(same) {
            Some(at) => self.first.get_mut(at),
            None if self.others.is_empty() => None,
            None => self.others.get_mut(partition)?.get_mut(caller),
        }
    }

    fn keep(&mut self, group: Group) {
        if self.first.len() < FIRST {
            self.first.push(group);
        } else {
            let of = self.others.entry(group.partition.clone()).or_default();
            of.insert(group.caller.clone(), group);
        }
    }
}

/// What one caller did in one partition: a message has one of both, and values of several classes.
struct Group {
    caller: String,
    partition: PartitionName,
    few: Vec<(Class, Used)>,
    more: HashMap<Class, Used>,
}

/// In the order of [`USES`]; one that is not 0 is told apart.
type Used = [u64; USES.len()];

impl Group {
    /// `false`: it cannot be told apart.
    fn add(&mut self, class: &Class, what: Use, n: u64, has_place: impl FnOnce() -> bool) -> bool {
        let [mut sealed, mut opened, mut refused] = [0; USES.len()];
        let known = match self.few.iter_mut().find(|(of, _)| of == class) {
            Some((_, used)) => Some(used),
            None => self.more.get_mut(class),
        };
        let is_known = known.is_some();
        let slots = known.map_or([&mut sealed, &mut opened, &mut refused], |used| used.each_mut());
        let Some((_, slot)) = USES.into_iter().zip(slots).find(|(of, _)| *of == what) else { return false };
        if *slot == 0 && !has_place() {
            return false;
        }
        *slot = slot.saturating_add(n);
        match is_known {
            true => {}
            false if self.few.len() < FEW => self.few.push((class.clone(), [sealed, opened, refused])),
            false => drop(self.more.insert(class.clone(), [sealed, opened, refused])),
        }
        true
    }
}

impl Counts {
    /// Counts.
    pub fn add(&self, caller: &str, partition: &PartitionName, done: &[(&Class, Use, u64)]) {
        let mut shard = self.shard(caller, partition);
        let mut made = None;
        let group = match shard.known(caller, partition) {
            Some(known) => known,
            None => {
                let (caller, partition) = (caller.to_owned(), partition.clone());
                made.insert(Group { caller, partition, few: Vec::new(), more: HashMap::new() })
            }
        };
        for (class, what, n) in done.iter().filter(|(.., n)| *n > 0) {
            if !group.add(class, *what, *n, || self.has_place()) {
                self.add_others(*what, *n);
            }
        }
        if let Some(made) = made.filter(|made| !made.few.is_empty()) {
            shard.keep(made);
        }
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
            let Shard { first, others } = std::mem::take(&mut *lock(shard));
            let others = others.into_values().flat_map(HashMap::into_values);
            for Group { caller, partition, few, more } in first.into_iter().chain(others) {
                for (class, uses) in few.into_iter().chain(more) {
                    for (what, n) in USES.into_iter().zip(uses).filter(|(_, n)| *n > 0) {
                        self.apart.fetch_sub(1, Ordering::Relaxed);
                        let of = Of {
                            caller: short(&caller),
                            partition: partition.as_str().to_owned(),
                            class: short(class.as_str()),
                        };
                        counts.push(Count { of: Some(of), what, n: n.min(MAX_NUMBER) });
                    }
                }
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

    fn has_place(&self) -> bool {
        let has = self.apart.fetch_add(1, Ordering::Relaxed) < APART;
        if !has {
            self.apart.fetch_sub(1, Ordering::Relaxed);
        }
        has
    }

    /// Where a group stands. Who aims at one has others wait there for a moment, and no more.
    fn shard(&self, caller: &str, partition: &PartitionName) -> MutexGuard<'_, Shard> {
        let [first, ..] = &self.shards;
        let bytes = partition.as_str().bytes().chain(caller.bytes());
        let at = bytes.fold(0_usize, |at, byte| at.wrapping_mul(31).wrapping_add(usize::from(byte)));
        lock(self.shards.get(at % SHARDS).unwrap_or(first))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_and_partitions_are_told_apart_however_many_there_are() {
        let counts = Counts::default();
        let class = Class::new("c");
        let all: Vec<_> =
            (0..40_u64).flat_map(|partition| (0..10_u64).map(move |caller| (partition, caller))).collect();
        for _ in 0..2 {
            for (partition, caller) in &all {
                let name = PartitionName::new(&format!("p{partition}")).unwrap();
                counts.add(&format!("r{caller}"), &name, &[(&class, Use::Opened, partition * 10 + caller)]);
            }
        }
        let taken: Vec<_> = counts.take().into_iter().map(|c| (c.of.unwrap(), c.n)).collect();
        // What was not done is not told.
        assert_eq!(taken.len(), all.len() - 1);
        for (of, n) in taken {
            let number = |text: &str| text.trim_start_matches(['p', 'r']).parse::<u64>().unwrap();
            assert_eq!(n, 2 * (number(&of.partition) * 10 + number(&of.caller)), "{of:?}");
        }
    }

    #[test]
    fn nothing_is_lost_however_many_are_counted_apart() {
        let counts = Counts::default();
        let classes: Vec<Class> = (0..APART + 100).map(|n| Class::new(&n.to_string())).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for class in &classes {
                        counts.add("role", &PartitionName::default_name(), &[(class, Use::Sealed, 3)]);
                    }
                });
            }
        });
        let taken = counts.take();
        assert_eq!(taken.len(), APART + 1);
        assert_eq!(taken.iter().map(|c| c.n).sum::<u64>(), 4 * 3 * classes.len() as u64);
        assert_eq!(taken.iter().filter(|c| c.of.is_none()).count(), 1);
        assert!(counts.take().is_empty());
        counts.add("role", &PartitionName::default_name(), &[(&classes[APART + 1], Use::Refused, 1)]);
        assert!(counts.take()[0].of.is_some(), "there is room again");
    }
}
