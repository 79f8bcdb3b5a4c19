//! What the caches said a moment ago. Five values of one body ask the same question five times; one answer does for all.

use std::sync::Arc;

use super::{Cached, Epoch, Keyring, Kind};
use crate::crypto::random::Batch;
use crate::name::{Class, PartitionName};
use crate::token::v1::InHand;
use crate::token::{EpochId, Suite};

/// Field keys that are remembered: of as many classes as most bodies have.
const KEYS: usize = 16;

/// The last answers of one keyring's caches, until they change, and random bytes for the values sealed meanwhile. Holds keys and knows
/// of no end, so nobody keeps one for longer than a piece of work that waits for nothing.
#[derive(Debug, Default)]
pub struct Memo {
    generation: u64,
    sealing: Option<(Kind, Arc<Epoch>)>,
    opening: Option<Arc<Epoch>>,
    keys: Vec<InHand>,
    random: Batch,
}

/// An epoch that may be used now, and what else sealing and opening under it takes.
#[derive(Debug)]
pub struct Recalled<'m> {
    /// Which.
    pub epoch: &'m Arc<Epoch>,
    keys: &'m mut Vec<InHand>,
    random: &'m mut Batch,
}

impl<'m> Recalled<'m> {
    /// As [`Keyring::field_key`], and random bytes for its nonces.
    pub fn key(self, keyring: &Keyring, suite: Suite, class: &Class) -> (&'m mut InHand, &'m mut Batch) {
        let Self { epoch, keys, random } = self;
        let at = keys.iter().position(|key| key.is_of(epoch.id, suite, class)).unwrap_or_else(|| {
            if keys.len() >= KEYS {
                keys.swap_remove(0);
            }
            keys.push(InHand::new(keyring.field_key(epoch, suite, class)));
            keys.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "it was found there, or put there, just now")]
        (&mut keys[at], random)
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
    /// As [`Keyring::sealing_cached`].
    pub fn sealing_recalled<'m>(&self, memo: &'m mut Memo, name: &PartitionName, kind: Kind) -> Cached<Recalled<'m>> {
        // Read before the caches are asked: what changes meanwhile changes it, too.
        let Memo { sealing, keys, random, .. } = memo.renew(self.caches.generation());
        if !sealing.as_ref().is_some_and(|(of, epoch)| *of == kind && epoch.partition == *name) {
            match self.sealing_cached(name, kind) {
                Cached::Hit(epoch) => *sealing = Some((kind, epoch)),
                Cached::Unknown => return Cached::Unknown,
                Cached::Denied(state) => return Cached::Denied(state),
                Cached::Miss => return Cached::Miss,
            }
        }
        match sealing {
            Some((_, epoch)) => Cached::Hit(Recalled { epoch, keys, random }),
            None => Cached::Miss,
        }
    }

    /// As [`Keyring::opening_cached`].
    pub fn opening_recalled<'m>(&self, memo: &'m mut Memo, id: EpochId) -> Cached<Recalled<'m>> {
        let Memo { opening, keys, random, .. } = memo.renew(self.caches.generation());
        if opening.as_ref().is_none_or(|epoch| epoch.id != id) {
            match self.opening_cached(id) {
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
}
