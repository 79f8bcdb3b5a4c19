//! The names that selectors mention, found by their length and first eight bytes.

use std::cmp::Ordering;

use crate::json::index::Ends;

/// How long a name is at most for which `starts` tells.
const SHORT: usize = 63;

/// See the module. A name's place among them is its id.
pub struct Names {
    /// Shortest first.
    all: Vec<Box<[u8]>>,
    /// What each begins with.
    heads: Vec<u64>,
    /// For each length up to [`SHORT`] which are of that.
    of_length: Vec<(usize, usize)>,
    longest: usize,
    ends: Ends,
}

impl Names {
    /// In any order, more than once too.
    pub fn new(mut all: Vec<Box<[u8]>>) -> Self {
        all.sort_unstable_by(|a, b| order(a, b));
        all.dedup();
        let longest = all.last().map_or(0, |name| name.len());
        let heads = all.iter().map(|name| head(name, name.len()).unwrap_or_else(|| short_head(name))).collect();
        let before = |length| all.partition_point(|name| name.len() < length);
        let lengths = if all.is_empty() { 0 } else { longest.min(SHORT) + 1 };
        let of_length = (0..lengths).map(|length| (before(length), before(length + 1))).collect();
        let ends = Ends::of(all.iter().map(AsRef::as_ref));
        Self { all, heads, of_length, longest, ends }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How they end.
    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// Of the longest.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The id of an unescaped name.
    pub fn id(&self, name: &[u8]) -> Option<usize> {
        if name.len() > self.longest {
            return None;
        }
        self.all.binary_search_by(|candidate| order(candidate, name)).ok()
    }

    /// The id of the unescaped name of this length that `text` begins with.
    #[inline(always)]
    pub fn id_at(&self, text: &[u8], length: usize) -> Option<usize> {
        let Some((from, to)) = self.of_length.get(length).copied() else { return self.long_id_at(text, length) };
        if from == to {
            return None;
        }
        let Some(head) = head(text, length) else { return self.long_id_at(text, length) };
        let mut ids = (from..).zip(self.heads.get(from..to)?).filter(|(_, candidate)| **candidate == head);
        if length <= 8 {
            return ids.next().map(|(id, _)| id);
        }
        let name = text.get(..length)?;
        ids.map(|(id, _)| id).find(|id| self.all.get(*id).is_some_and(|candidate| **candidate == *name))
    }

    #[cold]
    fn long_id_at(&self, text: &[u8], length: usize) -> Option<usize> {
        self.id(text.get(..length)?)
    }
}

/// The first eight bytes of a name of this length, which `text` begins with; what is behind it counts as zero. `None`: there are not
/// eight.
#[inline]
fn head(text: &[u8], length: usize) -> Option<u64> {
    let word = u64::from_le_bytes(*text.first_chunk()?);
    Some(if length < 8 { word & ((1 << (length * 8)) - 1) } else { word })
}

fn short_head(name: &[u8]) -> u64 {
    name.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Lengths first: most names differ there.
fn order(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ways_find_the_same(
            names in prop::collection::vec("[ab\0]{0,10}|a{60,70}", 0..12),
            asked in prop::collection::vec("[ab\0]{0,10}|a{60,70}", 0..12),
            behind in "[ab\0]{0,12}",
        ) {
            let bytes = |name: &String| name.as_bytes().into();
            let found = Names::new(names.iter().map(bytes).collect());
            prop_assert!(found.len() <= names.len());
            for name in names.iter().chain(&asked) {
                let id = found.id(name.as_bytes());
                prop_assert_eq!(id.is_some(), names.contains(name));
                let text = format!("{name}{behind}");
                prop_assert_eq!(found.id_at(text.as_bytes(), name.len()), id);
                prop_assert_eq!(found.id_at(name.as_bytes(), name.len() + 1), None);
            }
        }
    }
}
