//! What the caches said a moment ago. Five values of one body ask the same question five times; one answer does for all.

use std::sync::Arc;

use super::caches::Loaded;
use super::kept::All;
use super::{Cached, Epoch, Keyring, Kind, Partition, State};
use crate::crypto::random::Batch;
use crate::name::{Class, PartitionName};
use crate::token::v1::{FieldKey, InHand, Recent};
use crate::token::{EpochId, Suite};

/// Field keys that are remembered: of as many classes as most bodies have.
const KEYS: usize = 16;

/// The last answers of one keyring's caches, until they change, and random bytes for the values sealed meanwhile. Holds keys and knows
/// of no end, so nobody keeps one for longer than a piece of work that waits for nothing.
#[derive(Debug, Default)]
pub struct Memo {
    generation: u64,
    partition: Option<Arc<Loaded>>,
    /// With the name that was asked for, which is found again faster than the epoch's.
    sealing: Option<(Kind, PartitionName, Arc<Epoch>)>,
    opening: Option<Arc<Epoch>>,
    keys: Keys,
    random: Batch,
}

/// The keys used last.
#[derive(Debug, Default)]
struct Keys {
    /// Of the epoch that was asked for first.
    kept: Option<KeptKeys>,
    /// Those that it does not keep, and of other epochs.
    all: Vec<Held>,
    /// Where to look first: the values of a list of records come in the same order over and over.
    next: usize,
}

/// Keys that their epoch keeps, and what is in hand of each that was wanted. All come with one look at the epoch.
#[derive(Debug)]
struct KeptKeys {
    epoch: EpochId,
    all: Arc<All>,
    recent: Vec<Option<Recent>>,
    next: usize,
}

#[derive(Debug)]
struct Held {
    epoch: EpochId,
    suite: Suite,
    class: Class,
    key: Arc<FieldKey>,
    recent: Recent,
}

/// An epoch that may be used now, and what else sealing and opening under it takes.
#[derive(Debug)]
pub struct Recalled<'m> {
    /// Which.
    pub epoch: &'m Arc<Epoch>,
    keys: &'m mut Keys,
    random: &'m mut Batch,
}

impl<'m> Recalled<'m> {
    /// As [`Keyring::field_key`], and random bytes for its nonces.
    #[inline]
    pub fn key(self, keyring: &Keyring, suite: Suite, class: &Class) -> (InHand<'m>, &'m mut Batch) {
        let Self { epoch, keys: Keys { kept, all, next }, random } = self;
        if suite != Suite::Gcm
            && let Some(key) = kept.get_or_insert_with(|| KeptKeys::of(epoch)).key(keyring, epoch, suite, class)
        {
            return (key, random);
        }
        let is = |held: &Held| held.is(epoch, suite, class);
        let at = match all.get(*next) {
            Some(held) if is(held) => *next,
            _ => all.iter().position(is).unwrap_or_else(|| hold(all, keyring, (epoch, suite, class))),
        };
        *next = if at + 1 < all.len() { at + 1 } else { 0 };
        #[expect(clippy::indexing_slicing, reason = "it was found there, or put there, just now")]
        let Held { key, recent, .. } = &mut all[at];
        (InHand::new(key, recent), random)
    }
}

impl KeptKeys {
    fn of(epoch: &Epoch) -> Self {
        let all = epoch.kept().all();
        let recent = (0..all.len()).map(|_| None).collect();
        Self { epoch: epoch.id, all, recent, next: 0 }
    }

    /// The key, if it is one of them.
    #[inline]
    fn key(&mut self, keyring: &Keyring, epoch: &Epoch, suite: Suite, class: &Class) -> Option<InHand<'_>> {
        if self.epoch != epoch.id {
            return None;
        }
        let at = match self.all.is(self.next, suite, class) {
            true => self.next,
            false => self.all.position(suite, class)?,
        };
        self.next = if at + 1 < self.recent.len() { at + 1 } else { 0 };
        let recent = self.recent.get_mut(at)?.get_or_insert_with(|| {
            keyring.caches.found_field_key();
            Recent::default()
        });
        Some(InHand::new(self.all.key(at)?, recent))
    }
}

/// Takes a key in hand, and says where.
#[inline(never)]
fn hold(all: &mut Vec<Held>, keyring: &Keyring, (epoch, suite, class): (&Epoch, Suite, &Class)) -> usize {
    let key = keyring.field_key(epoch, suite, class);
    let held = Held { epoch: epoch.id, suite, class: class.clone(), key, recent: Recent::default() };
    if all.len() < KEYS {
        // Once: what is moved is not wiped where it was.
        all.reserve_exact(KEYS - all.len());
        all.push(held);
        return all.len() - 1;
    }
    if let Some(first) = all.first_mut() {
        *first = held;
    }
    0
}

impl Held {
    /// Names that differ take longest to be told apart.
    fn is(&self, epoch: &Epoch, suite: Suite, class: &Class) -> bool {
        self.suite == suite && self.epoch == epoch.id && self.class == *class
    }
}

impl Memo {
    /// Forgets what was said before the caches changed.
    fn renew(&mut self, generation: u64) -> &mut Self {
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
        self
    }
}

impl Keyring {
    /// As [`Keyring::partition_cached`].
    pub fn partition_recalled<'m>(&self, memo: &'m mut Memo, name: &PartitionName) -> Cached<&'m Partition> {
        let Memo { partition, .. } = memo.renew(self.caches.generation());
        self.partition_in(partition, name)
    }

    /// As [`Keyring::sealing_cached`].
    pub fn sealing_recalled<'m>(&self, memo: &'m mut Memo, name: &PartitionName, kind: Kind) -> Cached<Recalled<'m>> {
        // Read before the caches are asked: what changes meanwhile changes it, too.
        let Memo { partition, sealing, keys, random, .. } = memo.renew(self.caches.generation());
        if !sealing.as_ref().is_some_and(|(of, known, _)| *of == kind && known == name) {
            match self.partition_in(partition, name) {
                Cached::Hit(partition) if partition.state != State::Active => return Cached::Denied(partition.state),
                Cached::Hit(_) => {}
                Cached::Unknown => return Cached::Unknown,
                Cached::Denied(state) => return Cached::Denied(state),
                Cached::Miss => return Cached::Miss,
            }
            match self.sealing_of_active(name, kind) {
                Some(epoch) => *sealing = Some((kind, name.clone(), epoch)),
                None => return Cached::Miss,
            }
        }
        match sealing {
            Some((.., epoch)) => Cached::Hit(Recalled { epoch, keys, random }),
            None => Cached::Miss,
        }
    }

    /// As [`Keyring::opening_cached`].
    pub fn opening_recalled<'m>(&self, memo: &'m mut Memo, id: EpochId) -> Cached<Recalled<'m>> {
        let Memo { partition, opening, keys, random, .. } = memo.renew(self.caches.generation());
        if opening.as_ref().is_none_or(|epoch| epoch.id != id) {
            match self.opening_by(id, |home| self.partition_in(partition, home).map(|partition| partition.state)) {
                Cached::Hit(epoch) => *opening = Some(epoch),
                Cached::Unknown => return Cached::Unknown,
                Cached::Denied(state) => return Cached::Denied(state),
                Cached::Miss => return Cached::Miss,
            }
        }
        match opening {
            Some(epoch) => Cached::Hit(Recalled { epoch, keys, random }),
            None => Cached::Miss,
        }
    }

    /// As [`Keyring::sealing_recalled`], if that was said of this partition last and still holds.
    pub fn sealing_again<'m>(&self, memo: &'m mut Memo, name: &PartitionName) -> Option<Recalled<'m>> {
        let Memo { generation, sealing: Some((Kind::Random, of, epoch)), keys, random, .. } = memo else { return None };
        (*generation == self.caches.generation() && of == name).then_some(Recalled { epoch, keys, random })
    }

    /// As [`Keyring::opening_recalled`], if that was said of this epoch last and still holds.
    pub fn opening_again<'m>(&self, memo: &'m mut Memo, id: EpochId) -> Option<Recalled<'m>> {
        let Memo { generation, opening: Some(epoch), keys, random, .. } = memo else { return None };
        (*generation == self.caches.generation() && epoch.id == id).then_some(Recalled { epoch, keys, random })
    }

    /// Keeps the partition that was asked for last. Whether the store was heard of lately is asked once for a memo.
    fn partition_in<'m>(&self, kept: &'m mut Option<Arc<Loaded>>, name: &PartitionName) -> Cached<&'m Partition> {
        if kept.as_ref().is_none_or(|loaded| loaded.partition.name != *name) {
            match self.loaded_cached(name) {
                Cached::Hit(loaded) => *kept = Some(loaded),
                Cached::Unknown => return Cached::Unknown,
                Cached::Denied(state) => return Cached::Denied(state),
                Cached::Miss => return Cached::Miss,
            }
        }
        kept.as_ref().map_or(Cached::Miss, |loaded| Cached::Hit(&*loaded.partition))
    }
}
