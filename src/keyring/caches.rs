//! What a process remembers. Nothing in here does I/O or waits for a lock that is held during I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::epoch::Epoch;
use super::kept::Places;
use super::managed::{Failure, Lease};
use super::record::{Issuer, PartitionRecord, Wrap};
use super::store::EpochRow;
use super::{Kind, Partition, State};
use crate::crypto::kdf::sha256;
use crate::crypto::sign::SigningKey;
use crate::metrics::count;
use crate::name::{Class, PartitionName};
use crate::secret::Secret;
use crate::token::v1::{FieldKey, PrefixCache};
use crate::token::{EpochId, Suite};

const PARTITIONS: u64 = 4096;
const SEALING: u64 = 4096;
const OPENED: u64 = 10_000;
/// For how long the epoch before the current one is taken to be what it was.
const PREVIOUS: Duration = Duration::from_secs(300);
const FIELD_KEYS: u64 = 10_000;
const SHARED: u64 = 10_000;
const PREFIXES: u64 = 8192;
/// What an API opened and nobody fetched yet, and for how long.
const UNWRAPPED: u64 = 1024;
const FINISHED: Duration = Duration::from_secs(60);
/// Names and ids only.
const SMALL: u64 = 65_536;
const IDLE: Duration = Duration::from_secs(3600);
/// How long an unknown epoch or partition stays so, unless the store changes.
const NEGATIVE: Duration = Duration::from_secs(5);

/// A verified partition as this process uses it.
#[derive(Debug)]
pub struct Loaded {
    pub partition: Arc<Partition>,
    pub record: PartitionRecord,
    pub encoded: Vec<u8>,
    pub signer: Option<Arc<SigningKey>>,
}

/// An epoch to seal under, with what is needed to put it back into a store that lost it.
#[derive(Debug)]
pub struct Sealing {
    pub epoch: Arc<Epoch>,
    pub record: Vec<u8>,
    pub confirmed: bool,
}

/// What an API opened.
#[derive(Debug)]
pub struct Unwrapped {
    pub dek: Secret<32>,
    /// Names the wraps that it was asked to open.
    pub digest: [u8; 32],
    pub lease: Arc<Lease>,
}

/// A shared secret with the partition it is of.
type Shared = Arc<(PartitionName, Secret<32>)>;

/// Hits, misses and size of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStats {
    /// Which.
    pub name: &'static str,
    /// Answers from memory.
    pub hits: u64,
    /// Answers that had to be fetched or derived.
    pub misses: u64,
    /// Entries, about.
    pub entries: u64,
}

#[derive(Debug, Default)]
struct Count(count::Count, count::Count);

impl Count {
    fn of<T>(&self, found: Option<T>) -> Option<T> {
        let counter = if found.is_some() { &self.0 } else { &self.1 };
        counter.add(1);
        found
    }

    fn hit<T>(&self, found: T) -> T {
        self.0.add(1);
        found
    }

    fn stats(&self, name: &'static str, entries: u64) -> CacheStats {
        let [hits, misses] = [&self.0, &self.1].map(count::Count::read);
        CacheStats { name, hits, misses, entries }
    }
}

/// An answer of a cache that is at hand without a look into it, which takes a hash, a clock and its turn among others. It holds until
/// the next change, and [`Caches::tidy`] lets go of it, so that the cache hears of it that the entry is used.
struct Front<K, V>(ArcSwapOption<(u64, K, V)>);

impl<K, V> Default for Front<K, V> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<K, V: Clone> Front<K, V> {
    /// What was asked for first since the last change, if it is this; or else what `cache` says.
    fn get(&self, generation: u64, is: impl Fn(&K) -> bool, cache: impl FnOnce() -> Option<(K, V)>) -> Option<V> {
        self.get_as(generation, is, cache, V::clone)
    }

    /// What somebody takes of it.
    fn get_as<T>(
        &self,
        generation: u64,
        is: impl Fn(&K) -> bool,
        cache: impl FnOnce() -> Option<(K, V)>,
        take: impl FnOnce(&V) -> T,
    ) -> Option<T> {
        let kept = self.0.load();
        let kept = kept.as_deref().filter(|(of, ..)| *of == generation);
        match kept {
            Some((_, key, value)) if is(key) => return Some(take(value)),
            // Others do not take its place: two that are asked for in turns would cost a change each.
            Some(_) => return cache().map(|(_, value)| take(&value)),
            None => {}
        }
        let (key, value) = cache()?;
        let taken = take(&value);
        self.0.store(Some(Arc::new((generation, key, value))));
        Some(taken)
    }

    fn clear(&self) {
        self.0.store(None);
    }
}

/// All caches of a keyring.
pub struct Caches {
    partitions: Cache<PartitionName, Arc<Loaded>>,
    partition_front: Front<PartitionName, Arc<Loaded>>,
    sealing_front: Front<(PartitionName, Kind), Arc<Sealing>>,
    opened_front: Front<EpochId, Arc<Epoch>>,
    unknown_partitions: Cache<PartitionName, ()>,
    /// Highest verified version; outlives the record's own entry.
    versions: Cache<PartitionName, u64>,
    sealing: Cache<(PartitionName, Kind), Arc<Sealing>>,
    /// The deterministic epoch before the current one, and which that is.
    previous: Cache<PartitionName, (EpochId, Option<EpochId>)>,
    opened: Cache<EpochId, Arc<Epoch>>,
    /// Which partition an epoch belongs to, so that a paused one is refused without asking the store.
    homes: Cache<EpochId, PartitionName>,
    unknown: Cache<EpochId, ()>,
    /// When the newest epoch sealed under was made.
    newest: Cache<(PartitionName, Kind), u64>,
    /// Hashes of unconfirmed records that do not open, so that each is looked at once.
    refused: Cache<EpochId, [u8; 32]>,
    /// Alarms of the last minute.
    alarms: Cache<String, ()>,
    /// What managed APIs opened a moment ago.
    unwrapped: Cache<EpochId, Arc<Unwrapped>>,
    /// What they do not open.
    declined: Cache<EpochId, ([u8; 32], Failure)>,
    /// How often something is as it must not be.
    alarm_count: AtomicU64,
    /// Verified tombstones; one deleted from the store is remembered here.
    destroyed: Cache<EpochId, ()>,
    field_keys: Cache<(PartitionName, EpochId, Suite, Class), Arc<FieldKey>>,
    /// What an authority decapsulated, by recipient and SHA-256 of the ciphertext.
    shared: Cache<([u8; 16], [u8; 32]), Shared>,
    /// How often each key of suite 2 sealed: a key that was let go of, as in a pause, and comes back must not begin at 0.
    pub uses: Cache<(EpochId, Class), Arc<AtomicU64>>,
    /// For field keys that live in their epochs.
    places: Places,
    /// XAES keys by prefix.
    pub prefixes: PrefixCache,
    /// How often something was let go of or replaced.
    generation: AtomicU64,
    counts: [Count; 4],
    freshness: Freshness,
}

impl Caches {
    pub fn new(now: u64) -> Self {
        let lru = EvictionPolicy::lru;
        Self {
            partitions: Cache::builder().max_capacity(PARTITIONS).eviction_policy(lru()).build(),
            partition_front: Front::default(),
            sealing_front: Front::default(),
            opened_front: Front::default(),
            unknown_partitions: Cache::builder().max_capacity(SMALL).time_to_live(NEGATIVE).build(),
            versions: Cache::builder().max_capacity(SMALL).eviction_policy(lru()).build(),
            sealing: Cache::builder().max_capacity(SEALING).time_to_idle(IDLE).eviction_policy(lru()).build(),
            previous: Cache::builder().max_capacity(SEALING).time_to_live(PREVIOUS).eviction_policy(lru()).build(),
            opened: Cache::builder().max_capacity(OPENED).time_to_idle(IDLE).build(),
            homes: Cache::builder().max_capacity(SMALL).time_to_idle(IDLE).build(),
            unknown: Cache::builder().max_capacity(SMALL).time_to_live(NEGATIVE).build(),
            newest: Cache::builder().max_capacity(SMALL).eviction_policy(lru()).build(),
            refused: Cache::builder().max_capacity(SMALL).build(),
            alarms: Cache::builder().max_capacity(1024).time_to_live(Duration::from_secs(60)).build(),
            unwrapped: Cache::builder().max_capacity(UNWRAPPED).time_to_live(FINISHED).build(),
            declined: Cache::builder().max_capacity(SMALL).time_to_live(NEGATIVE).build(),
            alarm_count: AtomicU64::new(0),
            destroyed: Cache::builder().max_capacity(SMALL).eviction_policy(lru()).build(),
            field_keys: Cache::builder().max_capacity(FIELD_KEYS).time_to_idle(IDLE).build(),
            shared: Cache::builder().max_capacity(SHARED).time_to_idle(IDLE).build(),
            uses: Cache::builder().max_capacity(SMALL).eviction_policy(lru()).build(),
            places: Places::default(),
            prefixes: PrefixCache::new(PREFIXES),
            generation: AtomicU64::new(0),
            counts: Default::default(),
            freshness: Freshness::new(now),
        }
    }

    pub fn partition(&self, name: &PartitionName) -> Option<Arc<Loaded>> {
        let [count, ..] = &self.counts;
        let cache = || self.partitions.get(name).map(|loaded| (name.clone(), loaded));
        count.of(self.partition_front.get(self.generation(), |of| of == name, cache))
    }

    /// Takes a verified record and lets go of what its state forbids.
    pub fn put_partition(&self, loaded: &Arc<Loaded>) {
        let name = &loaded.partition.name;
        self.unknown_partitions.invalidate(name);
        let seen = self.seen_version(name);
        if seen != loaded.partition.version {
            // An issuer may be listed now that was not.
            self.refused.invalidate_all();
            let stays = |issuer: &Issuer| loaded.record.issuers.contains(issuer);
            if seen > 0 && self.partitions.get(name).is_none_or(|old| !old.record.issuers.iter().all(stays)) {
                // What a removed issuer made was verified against the old list.
                self.evict(name);
            }
        }
        self.versions.insert(name.clone(), loaded.partition.version);
        self.partitions.insert(name.clone(), loaded.clone());
        match loaded.partition.state {
            State::Active => {}
            State::DecryptOnly => self.drop_sealing(name),
            State::Paused | State::Destroyed => self.evict(name),
        }
        self.changed();
    }

    pub fn drop_partition(&self, name: &PartitionName) {
        self.partitions.invalidate(name);
        self.evict(name);
        self.changed();
    }

    pub fn partitions(&self) -> Vec<Arc<Loaded>> {
        self.partitions.iter().map(|(_, loaded)| loaded).collect()
    }

    pub fn seen_version(&self, name: &PartitionName) -> u64 {
        self.versions.get(name).unwrap_or_default()
    }

    pub fn is_unknown_partition(&self, name: &PartitionName) -> bool {
        self.unknown_partitions.contains_key(name)
    }

    pub fn put_unknown_partition(&self, name: &PartitionName) {
        self.unknown_partitions.insert(name.clone(), ());
    }

    pub fn sealing(&self, name: &PartitionName, kind: Kind) -> Option<Arc<Sealing>> {
        self.sealing_as(name, kind, Arc::clone)
    }

    /// What somebody takes of it.
    pub fn sealing_as<T>(&self, name: &PartitionName, kind: Kind, take: impl FnOnce(&Arc<Sealing>) -> T) -> Option<T> {
        let [_, count, ..] = &self.counts;
        let cache = || {
            let key = (name.clone(), kind);
            self.sealing.get(&key).map(|sealing| (key, sealing))
        };
        count.of(self.sealing_front.get_as(self.generation(), |of| of.1 == kind && of.0 == *name, cache, take))
    }

    pub fn put_sealing(&self, sealing: Arc<Sealing>) {
        let epoch = &sealing.epoch;
        let key = (epoch.partition.clone(), epoch.kind);
        // Whoever puts it here has compared the two: an older one only follows a newest that was made by a wrong clock.
        self.newest.insert(key.clone(), epoch.created);
        self.put_opened(epoch);
        self.sealing.insert(key, sealing);
        self.changed();
    }

    /// The epoch before this one; `Some(None)`: there is none.
    pub fn previous(&self, name: &PartitionName, current: EpochId) -> Option<Option<EpochId>> {
        self.previous.get(name).filter(|(of, _)| *of == current).map(|(_, previous)| previous)
    }

    pub fn put_previous(&self, name: &PartitionName, current: EpochId, previous: Option<EpochId>) {
        self.previous.insert(name.clone(), (current, previous));
    }

    pub fn newest(&self, name: &PartitionName, kind: Kind) -> u64 {
        self.newest.get(&(name.clone(), kind)).unwrap_or_default()
    }

    pub fn is_refused(&self, row: &EpochRow) -> bool {
        self.refused.get(&row.id) == Some(sha256(&row.record))
    }

    pub fn put_refused(&self, row: &EpochRow) {
        self.refused.insert(row.id, sha256(&row.record));
    }

    /// Counts an alarm, and logs it unless it was logged just now: who can repeat it must not fill the disk.
    pub fn alarm(&self, text: &str) {
        self.alarm_count.fetch_add(1, Ordering::Relaxed);
        if self.is_new(text) {
            tracing::error!(alarm = true, "keyring: {text}");
        }
    }

    pub fn alarm_count(&self) -> u64 {
        self.alarm_count.load(Ordering::Relaxed)
    }

    /// Whether a text is worth a line in the log.
    pub fn is_new(&self, text: &str) -> bool {
        let new = !self.alarms.contains_key(text);
        if new {
            self.alarms.insert(text.to_owned(), ());
        }
        new
    }

    /// What an API opened of exactly these wraps.
    pub fn unwrapped(&self, id: EpochId, digest: &[u8; 32]) -> Option<Arc<Unwrapped>> {
        self.unwrapped.get(&id).filter(|found| found.digest == *digest)
    }

    pub fn put_unwrapped(&self, id: EpochId, unwrapped: Arc<Unwrapped>) {
        self.unwrapped.insert(id, unwrapped);
    }

    pub fn drop_unwrapped(&self, id: EpochId) {
        self.unwrapped.invalidate(&id);
    }

    /// Why an API did not open exactly these wraps.
    pub fn declined(&self, id: EpochId, digest: &[u8; 32]) -> Option<Failure> {
        self.declined.get(&id).filter(|(of, _)| of == digest).map(|(_, failure)| failure)
    }

    /// Whether an API did not open some wraps of this epoch a moment ago.
    pub fn is_declined(&self, id: EpochId) -> bool {
        self.declined.contains_key(&id)
    }

    pub fn put_declined(&self, id: EpochId, digest: [u8; 32], failure: Failure) {
        self.declined.insert(id, (digest, failure));
    }

    pub fn all_sealing(&self) -> Vec<Arc<Sealing>> {
        self.sealing.iter().map(|(_, sealing)| sealing).collect()
    }

    pub fn drop_sealing_kind(&self, name: &PartitionName, kind: Kind) {
        self.sealing.invalidate(&(name.clone(), kind));
        self.changed();
    }

    pub fn opened(&self, id: EpochId) -> Option<Arc<Epoch>> {
        let [_, _, count, _] = &self.counts;
        let cache = || self.opened.get(&id).map(|epoch| (id, epoch));
        count.of(self.opened_front.get(self.generation(), |of| *of == id, cache))
    }

    pub fn put_opened(&self, epoch: &Arc<Epoch>) {
        self.homes.insert(epoch.id, epoch.partition.clone());
        self.unknown.invalidate(&epoch.id);
        self.opened.insert(epoch.id, epoch.clone());
        // It may have been there before, under a lease that has ended.
        self.changed();
    }

    pub fn home(&self, id: EpochId) -> Option<PartitionName> {
        self.homes.get(&id)
    }

    pub fn put_home(&self, id: EpochId, name: &PartitionName) {
        self.homes.insert(id, name.clone());
    }

    pub fn is_unknown(&self, id: EpochId) -> bool {
        self.unknown.contains_key(&id) || self.destroyed.contains_key(&id)
    }

    pub fn put_unknown(&self, id: EpochId) {
        self.unknown.insert(id, ());
    }

    pub fn is_destroyed(&self, id: EpochId) -> bool {
        self.destroyed.contains_key(&id)
    }

    /// Remembers a verified tombstone and lets go of the epoch's keys.
    pub fn put_destroyed(&self, id: EpochId) {
        self.destroyed.insert(id, ());
        self.let_go(id);
    }

    /// Lets go of an epoch's keys.
    pub fn let_go(&self, id: EpochId) {
        self.forget_keys(|epoch| epoch.id == id);
        self.opened.invalidate(&id);
        self.unwrapped.invalidate(&id);
        remove(&self.sealing, |_, sealing| sealing.epoch.id == id);
        remove(&self.field_keys, |(_, epoch, ..), _| *epoch == id);
        // They do not tell which epoch they are of, and are asked for again.
        self.shared.invalidate_all();
        self.prefixes.clear();
        self.changed();
    }

    pub fn field_key(&self, epoch: &Epoch, suite: Suite, class: &Class) -> Arc<FieldKey> {
        let uses = || self.uses.get_with((epoch.id, class.clone()), Arc::default);
        if suite == Suite::Gcm
            && let Some(key) = epoch.counted(class, uses)
        {
            return key;
        }
        let [.., count] = &self.counts;
        if let Some(key) = epoch.kept().all().get(suite, class) {
            return count.hit(Arc::clone(key));
        }
        let name = (epoch.partition.clone(), epoch.id, suite, class.clone());
        if let Some(key) = count.of(self.field_keys.get(&name)) {
            return key;
        }
        let make = || epoch.derive(suite, class, if suite == Suite::Gcm { uses() } else { Arc::default() });
        if let Some(key) = epoch.kept().get_or_keep(suite, class, &self.places, FIELD_KEYS, make) {
            return key;
        }
        // `get_with`: two threads must not count uses, or draw prefixes, with two objects of one key.
        self.field_keys.get_with(name, make)
    }

    /// A key that an epoch keeps, and that somebody knew of, was wanted.
    pub fn found_field_key(&self) {
        let [.., count] = &self.counts;
        count.hit(());
    }

    /// The shared secret of a wrap, if an authority gave it and it opened the epoch.
    pub fn shared(&self, wrap: &Wrap) -> Option<Shared> {
        self.shared.get(&(wrap.recipient, sha256(&wrap.kem_ct)))
    }

    pub fn put_shared(&self, wrap: &Wrap, partition: &PartitionName, secret: Secret<32>) {
        self.shared.insert((wrap.recipient, sha256(&wrap.kem_ct)), Arc::new((partition.clone(), secret)));
    }

    /// What other processes wrote may have made the unknown known.
    pub fn forget_unknown(&self) {
        self.unknown.invalidate_all();
        self.unknown_partitions.invalidate_all();
        self.declined.invalidate_all();
    }

    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Lets evicted entries be dropped, and so zeroized, also when nobody uses the caches.
    pub fn tidy(&self) {
        self.clear_fronts();
        self.sealing.run_pending_tasks();
        self.opened.run_pending_tasks();
        self.field_keys.run_pending_tasks();
        self.shared.run_pending_tasks();
        self.unwrapped.run_pending_tasks();
        self.partitions.run_pending_tasks();
    }

    pub fn stats(&self) -> [CacheStats; 4] {
        let [partitions, sealing, opened, field_keys] = &self.counts;
        [
            partitions.stats("partitions", self.partitions.entry_count()),
            sealing.stats("sealing_epochs", self.sealing.entry_count()),
            opened.stats("opened_epochs", self.opened.entry_count()),
            field_keys.stats("field_keys", self.field_keys.entry_count() + self.places.taken()),
        ]
    }

    /// Another number than before whenever an answer of these caches may have become another.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// To be called after a change: who sees the number of before may have read what was before.
    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        // What is kept there would be used no more, but it holds keys.
        self.clear_fronts();
    }

    fn clear_fronts(&self) {
        self.partition_front.clear();
        self.sealing_front.clear();
        self.opened_front.clear();
    }

    fn drop_sealing(&self, name: &PartitionName) {
        for kind in [Kind::Random, Kind::Deterministic, Kind::Private] {
            self.drop_sealing_kind(name, kind);
        }
    }

    /// At once: the entries of epochs are dropped only when no thread looks at the cache.
    fn forget_keys(&self, of: impl Fn(&Epoch) -> bool) {
        for (_, sealing) in self.sealing.iter().filter(|(_, sealing)| of(&sealing.epoch)) {
            sealing.epoch.kept().clear();
        }
        for (_, epoch) in self.opened.iter().filter(|(_, epoch)| of(epoch)) {
            epoch.kept().clear();
        }
    }

    fn evict(&self, name: &PartitionName) {
        self.forget_keys(|epoch| epoch.partition == *name);
        self.drop_sealing(name);
        remove(&self.opened, |_, epoch| epoch.partition == *name);
        remove(&self.field_keys, |(partition, ..), _| partition == name);
        remove(&self.shared, |_, of| of.0 == *name);
        // They do not tell whose they are, and are asked for again.
        self.unwrapped.invalidate_all();
        // All partitions' prefixes: they do not tell whose they are, and derive again at once.
        self.prefixes.clear();
        self.sealing.run_pending_tasks();
        self.opened.run_pending_tasks();
        self.field_keys.run_pending_tasks();
        self.shared.run_pending_tasks();
    }
}

fn remove<K, V>(cache: &Cache<K, V>, which: impl Fn(&K, &V) -> bool)
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    for (key, value) in cache {
        if which(&key, &value) {
            cache.invalidate(key.as_ref());
        }
    }
}

/// When the store was last known to say what the caches say. Two clocks, since either may stand still: the time of day
/// when it is set back, the monotonic one while the machine sleeps.
#[derive(Debug)]
pub struct Freshness {
    started: Instant,
    time: AtomicU64,
    elapsed: AtomicU64,
}

impl Freshness {
    pub fn new(now: u64) -> Self {
        Self { started: Instant::now(), time: AtomicU64::new(now), elapsed: AtomicU64::new(0) }
    }

    /// To be taken before the store is asked.
    pub fn sample(&self, now: u64) -> (u64, u64) {
        (now, self.started.elapsed().as_secs())
    }

    pub fn renew(&self, (now, elapsed): (u64, u64)) {
        self.time.store(now, Ordering::Release);
        self.elapsed.store(elapsed, Ordering::Release);
    }

    /// Seconds since then, by the clock that says more.
    pub fn age(&self, now: u64) -> u64 {
        let by_time = now.saturating_sub(self.time.load(Ordering::Acquire));
        let elapsed = self.started.elapsed().as_secs();
        by_time.max(elapsed.saturating_sub(self.elapsed.load(Ordering::Acquire)))
    }
}
