//! What the caches said a moment ago. Five values of one body ask the same question five times; one answer does for all.

use std::sync::Arc;

use super::{Cached, Epoch, Keyring, Kind};
use crate::name::PartitionName;
use crate::token::EpochId;

/// The last answers of one keyring's caches, until they change. Holds keys and knows of no end, so nobody keeps one for
/// longer than a piece of work that waits for nothing.
#[derive(Debug, Default)]
pub struct Memo {
    generation: u64,
    sealing: Option<(Kind, Arc<Epoch>)>,
    opening: Option<Arc<Epoch>>,
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
    pub fn sealing_recalled(&self, memo: &mut Memo, name: &PartitionName, kind: Kind) -> Cached<Arc<Epoch>> {
        // Read before the caches are asked: what changes meanwhile changes it, too.
        let memo = memo.renew(self.caches.generation());
        if let Some((of, epoch)) = &memo.sealing
            && *of == kind
            && epoch.partition == *name
        {
            return Cached::Hit(epoch.clone());
        }
        let answer = self.sealing_cached(name, kind);
        if let Cached::Hit(epoch) = &answer {
            memo.sealing = Some((kind, epoch.clone()));
        }
        answer
    }

    /// As [`Keyring::opening_cached`].
    pub fn opening_recalled(&self, memo: &mut Memo, id: EpochId) -> Cached<Arc<Epoch>> {
        let memo = memo.renew(self.caches.generation());
        if let Some(epoch) = &memo.opening
            && epoch.id == id
        {
            return Cached::Hit(epoch.clone());
        }
        let answer = self.opening_cached(id);
        if let Cached::Hit(epoch) = &answer {
            memo.opening = Some(epoch.clone());
        }
        answer
    }
}
