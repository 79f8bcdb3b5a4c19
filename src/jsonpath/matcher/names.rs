//! The names that selectors mention, found by their length and first eight bytes.

use std::cmp::Ordering;

use crate::json::index::{Ending, Ends};

/// How long a name is at most for which `starts` tells.
const SHORT: usize = 63;

/// How many names are told by their ends.
const FEW: usize = 16;

/// Behind the last of `tails`.
const NONE: u8 = u8::MAX;

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
    /// How each of them ends where it is written without escapes, if they are few.
    tails: Vec<Tail>,
    /// For each byte the first of those that end in it.
    by_end: [u8; 256],
}

/// A name and the quote before it.
struct Tail {
    /// The last eight bytes of that, or as many as there are, on top.
    word: u64,
    /// All bits of these.
    mask: u64,
    quoted: Box<[u8]>,
    id: usize,
    /// The next that ends in the same byte.
    next: u8,
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
        let (mut tails, mut by_end) = (Vec::new(), [NONE; 256]);
        if all.len() <= FEW {
            // Others are never written as they are.
            let plain = |name: &[u8]| !name.iter().any(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\'));
            for (id, name) in all.iter().enumerate().filter(|(_, name)| plain(name)) {
                let tail = Tail::new(name, id);
                let end = usize::try_from(tail.word >> 56).unwrap_or_default();
                if let (Some(first), Ok(this)) = (by_end.get_mut(end), u8::try_from(tails.len())) {
                    let next = std::mem::replace(first, this);
                    tails.push(Tail { next, ..tail });
                }
            }
        }
        Self { all, heads, of_length, longest, ends, tails, by_end }
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

    /// What is told by the text before the quote that ends a name.
    #[inline(always)]
    pub fn ending(&self, text: &[u8]) -> Ending {
        let Some(word) = text.last_chunk().map(|word| u64::from_le_bytes(*word)) else { return Ending::Unknown };
        let mut next = self.by_end.get((word >> 56) as usize).copied().unwrap_or(NONE);
        while let Some(tail) = self.tails.get(usize::from(next)) {
            if word & tail.mask == tail.word && (tail.quoted.len() <= 8 || text.ends_with(&tail.quoted)) {
                // A quote behind a backslash does not begin a name.
                let before = text.len().checked_sub(tail.quoted.len() + 1).and_then(|at| text.get(at));
                let begins = before.is_some_and(|byte| *byte != b'\\');
                return if begins { Ending::Is(tail.id) } else { Ending::Unknown };
            }
            next = tail.next;
        }
        if self.all.len() <= FEW { Ending::IsNone } else { Ending::Unknown }
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

impl Tail {
    fn new(name: &[u8], id: usize) -> Self {
        let quoted: Box<[u8]> = [b"\"", name].concat().into();
        let last = quoted.iter().rev().take(8);
        let word =
            last.clone().fold((0, 56), |(word, shift), byte| (word | u64::from(*byte) << shift, shift.max(8) - 8)).0;
        let mask = !0 << (64 - 8 * last.len());
        Self { word, mask, quoted, id, next: NONE }
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

        #[test]
        fn ends_tell_names(
            names in prop::collection::vec("[ab\"\\\\\u{1}]{0,3}|[ab]{4,12}|xyz{1,3}", 0..20),
            before in r#"|.|[ -~]{0,12}|[ -~]{0,8}[{,] ?|\{"a[ab]*"#,
            asked in prop::option::of("[ab]{0,12}|xyz{1,3}"),
        ) {
            let found = Names::new(names.iter().map(|name| name.as_bytes().into()).collect());
            let name = asked.or_else(|| names.first().cloned()).unwrap_or_default();
            let text = format!("{before}\"{name}");
            let raw = !name.contains(['"', '\\', '\u{1}']);
            match found.ending(text.as_bytes()) {
                // What ends so is the name, if no quote in it is escaped.
                Ending::Is(id) => {
                    let it = &found.all[id];
                    prop_assert!(text.as_bytes().ends_with(&[b"\"", &**it].concat()));
                    prop_assert!(!text[..text.len() - it.len() - 1].ends_with('\\'));
                }
                Ending::IsNone if raw => prop_assert_eq!(found.id(name.as_bytes()), None),
                Ending::IsNone | Ending::Unknown => {}
            }
            if raw && found.len() <= FEW && text.len() >= 10 && !before.ends_with('\\') && !before.is_empty() {
                let id = found.id(name.as_bytes());
                prop_assert_eq!(found.ending(text.as_bytes()), id.map_or(Ending::IsNone, Ending::Is), "{}", text);
            }
        }
    }
}
