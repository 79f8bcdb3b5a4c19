//! Prefixes of XAES nonces under a field key: the one that is sealed under for now, and those that values were opened with. They are
//! looked up for each value, so without a locked instruction, which takes as long as a block of the cipher.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::cipher::Ciphers;
use crate::crypto::random::{self, RandomError};
use crate::crypto::short::{Hash, ShortGcm};
use crate::metrics::count::Count;

/// Values sealed under one prefix: with 12 random bytes each, two nonces meet with probability under 2^-36.
const MAX_PER_PREFIX: u64 = 1 << 30;

/// Prefixes of other processes that stay at hand as long as the field key: those of a few replicas.
const AT_HAND: usize = 4;

/// The prefix that nonces begin with, made when it is first asked for, and behind it the one that takes its place once it is used up.
#[derive(Debug, Default)]
pub(super) struct Sealing(OnceLock<Box<Prefix>>);

/// See [`Sealing`].
#[derive(Debug)]
pub(super) struct Prefix {
    /// What nonces begin with.
    pub bytes: [u8; 12],
    /// Under the key that they derive.
    pub ciphers: Ciphers,
    uses: Count,
    next: Sealing,
}

/// Prefixes that a value has authenticated under, and their keys.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Those that came first.
    at_hand: [OnceLock<Derived>; AT_HAND],
    /// The last one of all others: neighbours are often of one process.
    last: ArcSwapOption<Derived>,
}

#[derive(Debug, Clone)]
pub(super) struct Derived {
    bytes: [u8; 12],
    ciphers: Arc<Ciphers>,
}

/// The hash for short texts that one piece of work has in hand, and the prefix whose key it is of.
#[derive(Debug, Default)]
pub(super) struct Hashing(Option<([u8; 12], Hash)>);

impl Sealing {
    /// The prefix for one more value; `derive` makes the key of another one.
    #[inline]
    pub fn prefix(&self, derive: impl Fn(&[u8; 12]) -> Ciphers) -> Result<&Prefix, RandomError> {
        let mut place = self;
        loop {
            let prefix = match place.0.get() {
                Some(prefix) => prefix,
                None => place.begin(&derive)?,
            };
            if prefix.counts() {
                return Ok(prefix);
            }
            place = &prefix.next;
        }
    }

    /// Two threads that do so at once agree on one of theirs.
    #[cold]
    fn begin(&self, derive: impl Fn(&[u8; 12]) -> Ciphers) -> Result<&Prefix, RandomError> {
        let bytes = random::bytes()?;
        let ciphers = derive(&bytes);
        let fresh = Prefix { bytes, ciphers, uses: Count::default(), next: Self::default() };
        Ok(self.0.get_or_init(|| Box::new(fresh)))
    }
}

impl Prefix {
    /// Counts a use, unless it is used up. Threads that come to the end at once go beyond it by one each.
    #[inline]
    fn counts(&self) -> bool {
        let is_good = self.uses.read() < MAX_PER_PREFIX;
        if is_good {
            self.uses.add(1);
        }
        is_good
    }

    /// As if all values had been sealed that may be.
    #[cfg(test)]
    pub fn use_up(&self) {
        self.uses.add(MAX_PER_PREFIX);
    }
}

impl Opened {
    /// What a value of this prefix opens under. `last` is what a piece of work was told here before.
    #[inline]
    pub fn find<'a>(&'a self, prefix: &[u8; 12], last: &'a mut Option<Arc<Derived>>) -> Option<&'a Ciphers> {
        for place in &self.at_hand {
            let derived = place.get()?;
            if derived.bytes == *prefix {
                return Some(&derived.ciphers);
            }
        }
        if last.as_ref().is_none_or(|last| last.bytes != *prefix) {
            *last = self.last.load_full();
        }
        last.as_deref().filter(|last| last.bytes == *prefix).map(|last| &*last.ciphers)
    }

    /// Keeps the key of a prefix that a value has authenticated under: whoever can present made-up tokens must not take the places.
    pub fn keep(&self, prefix: &[u8; 12], ciphers: Arc<Ciphers>) {
        let derived = Derived { bytes: *prefix, ciphers };
        if self.at_hand.iter().all(|place| place.get_or_init(|| derived.clone()).bytes != *prefix) {
            self.last.store(Some(Arc::new(derived)));
        }
    }
}

impl Hashing {
    /// The hash under the key of this prefix.
    #[inline]
    pub fn of(&mut self, prefix: &[u8; 12], short: &ShortGcm) -> &mut Hash {
        if !matches!(&self.0, Some((of, _)) if of == prefix) {
            self.0 = None;
        }
        match &mut self.0 {
            Some((_, hash)) => hash,
            none => &mut none.insert((*prefix, short.hash())).1,
        }
    }
}
