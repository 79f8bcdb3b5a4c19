//! Field keys that live in their epoch, where finding one costs no cache. They go when their epoch does.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::name::Class;
use crate::token::Suite;
use crate::token::v1::FieldKey;

/// Keys in one epoch; those of further classes are found through the cache.
const PER_EPOCH: usize = 16;

/// The keys of an epoch.
#[derive(Default)]
pub struct Kept(RwLock<Arc<All>>);

/// All of them, as they were when somebody asked.
#[derive(Clone, Default)]
pub struct All(Vec<Entry>);

#[derive(Clone)]
struct Entry {
    suite: Suite,
    class: Class,
    key: Arc<FieldKey>,
    _place: Arc<Place>,
}

/// Places for the keys of all epochs of a keyring, so that together they are bounded.
#[derive(Clone, Default)]
pub struct Places(Arc<AtomicU64>);

/// One of them, until it is dropped.
struct Place(Places);

impl Kept {
    /// Those that are here.
    pub fn all(&self) -> Arc<All> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key, made unless another thread did; `None` if there is no place for it.
    pub fn get_or_keep(
        &self,
        suite: Suite,
        class: &Class,
        places: &Places,
        max: u64,
        make: impl FnOnce() -> Arc<FieldKey>,
    ) -> Option<Arc<FieldKey>> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = all.get(suite, class) {
            return Some(key.clone());
        }
        if all.len() >= PER_EPOCH {
            return None;
        }
        let place = Arc::new(places.take(max)?);
        let key = make();
        Arc::make_mut(&mut all).0.push(Entry { suite, class: class.clone(), key: key.clone(), _place: place });
        Some(key)
    }

    /// Lets go of all.
    pub fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }
}

impl All {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The key, if it is here.
    pub fn get(&self, suite: Suite, class: &Class) -> Option<&Arc<FieldKey>> {
        self.0.iter().find(|entry| entry.is(suite, class)).map(|entry| &entry.key)
    }

    /// Where it is.
    pub fn position(&self, suite: Suite, class: &Class) -> Option<usize> {
        self.0.iter().position(|entry| entry.is(suite, class))
    }

    /// The key there.
    pub fn key(&self, at: usize) -> Option<&Arc<FieldKey>> {
        self.0.get(at).map(|entry| &entry.key)
    }

    /// Whether this one is there.
    #[inline]
    pub fn is(&self, at: usize, suite: Suite, class: &Class) -> bool {
        self.0.get(at).is_some_and(|entry| entry.is(suite, class))
    }
}

impl Entry {
    /// Names that differ take longest to be told apart.
    #[inline]
    fn is(&self, suite: Suite, class: &Class) -> bool {
        self.suite == suite && self.class == *class
    }
}

impl fmt::Debug for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("All")
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl Places {
    /// How many are taken.
    pub fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, max: u64) -> Option<Place> {
        let place = Place(self.clone());
        (self.0.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::PartitionName;
    use crate::secret::Secret;
    use crate::token::EpochId;

    fn keep(kept: &Kept, class: usize, places: &Places, max: u64) -> Option<Arc<FieldKey>> {
        let class = Class::new(&class.to_string());
        let dek = Secret::from_slice(&[1; 32]).unwrap();
        let make = || {
            let partition = PartitionName::default_name();
            Arc::new(FieldKey::derive(&dek, EpochId([0; 10]), Suite::Siv, &partition, &class))
        };
        kept.get_or_keep(Suite::Siv, &class, places, max, make)
    }

    #[test]
    fn a_key_is_one_object_by_suite_and_class() {
        let (kept, places) = (Kept::default(), Places::default());
        let one = keep(&kept, 1, &places, 10).unwrap();
        assert!(Arc::ptr_eq(&one, &keep(&kept, 1, &places, 10).unwrap()));
        assert!(Arc::ptr_eq(&one, kept.all().get(Suite::Siv, &Class::new("1")).unwrap()));
        assert!(!Arc::ptr_eq(&one, &keep(&kept, 2, &places, 10).unwrap()));
        assert!(kept.all().get(Suite::Xaes, &Class::new("1")).is_none());
        assert_eq!(places.taken(), 2);
    }

    #[test]
    fn keys_are_bounded_and_go_with_their_epoch() {
        let (one, other, places) = (Kept::default(), Kept::default(), Places::default());
        let max = PER_EPOCH as u64 + 2;
        for class in 0..PER_EPOCH {
            assert!(keep(&one, class, &places, max).is_some());
        }
        assert!(keep(&one, PER_EPOCH, &places, max).is_none(), "its own bound");
        assert!(keep(&one, 0, &places, max).is_some());
        assert!(keep(&other, 0, &places, max).is_some() && keep(&other, 1, &places, max).is_some());
        assert!(keep(&other, 2, &places, max).is_none(), "the bound of all");
        assert_eq!(places.taken(), max);
        let weak = Arc::downgrade(one.all().get(Suite::Siv, &Class::new("0")).unwrap());
        drop(one);
        assert_eq!((places.taken(), weak.strong_count()), (2, 0));
        assert!(keep(&other, 2, &places, max).is_some());
    }
}
