//! Before a cache: what it said a moment ago, where finding it costs neither a lock nor a note of who asked when.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// Answers that are remembered; two whose keys share a place take it from each other.
const PLACES: usize = 64;

/// Answers of one cache. An answer counts only as long as no cache has changed since it was asked for, and not for long: whoever owns
/// this clears it several times a second, so that the cache behind learns what is in use, and nothing outlives it by more than that.
pub struct Front<V>([ArcSwapOption<Answer<V>>; PLACES]);

struct Answer<V> {
    generation: u64,
    value: V,
}

impl<V: Clone> Front<V> {
    /// What was said of this key in this generation, if that is still known; `is` tells other keys of its place apart.
    pub fn get(&self, key: &[u8], generation: u64, is: impl Fn(&V) -> bool) -> Option<V> {
        let answer = self.place(key).load();
        answer.as_ref().filter(|answer| answer.generation == generation && is(&answer.value)).map(|a| a.value.clone())
    }

    /// Remembers an answer; the generation is that of before the cache was asked.
    pub fn put(&self, key: &[u8], generation: u64, value: &V) {
        self.place(key).store(Some(Arc::new(Answer { generation, value: value.clone() })));
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for place in self.0.iter().filter(|place| place.load().is_some()) {
            place.store(None);
        }
    }

    /// FNV-1a: whoever chooses keys to share a place makes this no slower than the cache.
    fn place(&self, key: &[u8]) -> &ArcSwapOption<Answer<V>> {
        let hash = key.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        let [first, ..] = &self.0;
        self.0.get((hash ^ (hash >> 16)) as usize % PLACES).unwrap_or(first)
    }
}

impl<V> Default for Front<V> {
    fn default() -> Self {
        Self([const { ArcSwapOption::const_empty() }; PLACES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_its_key_and_its_generation() {
        let front = Front::default();
        let names: Vec<String> = (0..1000).map(|n| format!("tenant-{n}")).collect();
        for name in &names {
            front.put(name.as_bytes(), 7, name);
            assert_eq!(front.get(name.as_bytes(), 7, |found| found == name).as_ref(), Some(name));
            assert_eq!(front.get(name.as_bytes(), 8, |found| found == name), None);
        }
        let kept = names.iter().filter(|name| front.get(name.as_bytes(), 7, |found| found == *name).is_some()).count();
        assert!((PLACES / 2..=PLACES).contains(&kept), "{kept}");
        front.clear();
        assert!(names.iter().all(|name| front.get(name.as_bytes(), 7, |_| true).is_none()));
    }
}
