//! What a keyring needs of managed APIs: found out under its lock, done without it, and then looked at again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use super::super::caches::Loaded;
use super::super::epoch::{self, Epoch};
use super::super::record::{EpochRecord, PartitionRecord, Recipient, Wrap};
use super::super::store::EpochRow;
use super::super::{Io, Keyring, KeyringError, Kind, State};
use super::desk::Made;
use super::job::digest;
use super::{Failure, Held, Job, MANAGED, Ticket};
use crate::crypto::kdf::key_id;
use crate::name::PartitionName;
use crate::token::EpochId;

/// Looks under the lock, each after a call that the one before needed.
const ROUNDS: usize = 16;
/// Wraps of one epoch that APIs are asked about.
const MAX_ASKED: usize = 4;
/// A data key is used for an epoch that begins at most so long after it was made.
const FRESH: u64 = 300;
/// Epochs that wait for an API to open them, so that they can be confirmed.
const MAX_WAITING: usize = 1024;
/// Epochs looked at for one tick.
const EACH_TICK: usize = 16;

/// What a look under the lock found to be done.
#[derive(Debug, Default)]
pub struct Calls {
    wanted: RefCell<Option<Ticket>>,
    /// Calls are made on threads of their own, and nobody waits.
    in_background: Cell<bool>,
    /// Whether that is what the last look came to.
    waits: Cell<bool>,
    unconfirmed: RefCell<VecDeque<EpochId>>,
}

impl Calls {
    /// After a panic under the lock: nobody waits for what it was about to do, and what comes next waits for its own calls.
    pub(in super::super) fn break_off(&self) {
        self.in_background.set(false);
        drop(self.wanted.take());
    }
}

thread_local! {
    static FORBIDDEN: Cell<bool> = const { Cell::new(false) };
    static LEFT: RefCell<Option<Ticket>> = const { RefCell::new(None) };
}

/// A call of a managed API that a look-up waits for.
#[derive(Debug)]
#[must_use]
pub struct Call(Ticket);

impl Call {
    /// The profile that the call goes through.
    pub fn profile(&self) -> Arc<str> {
        self.0.profile()
    }

    /// Whether it is this one's to make; else another makes it already, and must not be kept from it by those who wait.
    pub fn is_own(&self) -> bool {
        self.0.is_own()
    }

    /// Makes it, or waits for who makes it; then the look-up is to be done again. Blocks for as long as the API takes. Dropped
    /// instead, it fails for all who wait for it.
    pub fn make(self) -> Result<(), KeyringError> {
        self.0.work()
    }
}

/// Has a keyring's method, called in `look_up`, make no call of a managed API, but give what it would wait for: so that whoever
/// has a bounded number of threads for look-ups can keep them free of slow APIs.
pub fn without_calls<T>(look_up: impl FnOnce() -> T) -> Result<T, Call> {
    /// Also after a panic.
    struct Allow;
    impl Drop for Allow {
        fn drop(&mut self) {
            FORBIDDEN.set(false);
        }
    }
    FORBIDDEN.set(true);
    let allow = Allow;
    let found = look_up();
    drop(allow);
    match LEFT.take() {
        Some(ticket) => Err(Call(ticket)),
        None => Ok(found),
    }
}

impl Keyring {
    /// Does it under the lock; where that needs calls, makes them without it and does it again.
    pub(in super::super) fn with_calls<T>(
        &self,
        mut act: impl FnMut(&mut Io) -> Result<T, KeyringError>,
    ) -> Result<T, KeyringError> {
        for _ in 0..ROUNDS {
            let mut io = self.lock_fresh()?;
            let done = act(&mut io);
            let ticket = io.calls.wanted.take();
            drop(io);
            match (done, ticket) {
                (Err(error), Some(ticket)) if FORBIDDEN.get() => {
                    LEFT.set(Some(ticket));
                    return Err(error);
                }
                (Err(_), Some(ticket)) => ticket.work()?,
                (done, _) => return done,
            }
        }
        Err(KeyringError::Unavailable("the keyring changed each time a managed API had answered; try again".into()))
    }

    /// Does what may not wait for an API: what needs one is begun in the background, and fails for now.
    pub(in super::super) fn in_background<T>(io: &mut Io, act: impl FnOnce(&mut Io) -> T) -> T {
        let before = io.calls.in_background.replace(true);
        let done = act(io);
        io.calls.in_background.set(before);
        io.calls.waits.set(false);
        done
    }

    /// Whether the last failure in the background was that an API is being asked.
    pub(in super::super) fn waits(io: &Io) -> bool {
        io.calls.waits.take()
    }

    fn want(&self, io: &Io, job: Job) -> KeyringError {
        let waits = KeyringError::Unavailable("a managed API is being asked".into());
        if !io.calls.in_background.get() {
            *io.calls.wanted.borrow_mut() = Some(self.desk.join(job));
            return waits;
        }
        io.calls.waits.set(true);
        if self.desk.may_start(&job) {
            self.desk.start(self.desk.join(job));
        }
        waits
    }

    /// What the profiles of this process open of a partition.
    pub(in super::super) fn held(&self, recipient: &Recipient) -> Option<Held> {
        let profile = self.desk.keys()?.profile_of(recipient.suite, &recipient.key)?;
        Some(Held { profile, recipient: recipient.clone() })
    }

    pub(in super::super) fn all_held(&self, record: &PartitionRecord) -> Vec<Held> {
        record.recipients.iter().filter_map(|recipient| self.held(recipient)).collect()
    }

    fn held_wraps(&self, partition: &PartitionRecord, record: &EpochRecord) -> Vec<(Held, Wrap)> {
        let of = |wrap: &Wrap| {
            let lists = |r: &&Recipient| r.suite == wrap.suite && key_id(&r.key) == wrap.recipient;
            partition.recipients.iter().find(lists).and_then(|recipient| self.held(recipient))
        };
        record.wraps.iter().filter_map(|wrap| Some((of(wrap)?, wrap.clone()))).take(MAX_ASKED).collect()
    }

    /// The epoch of a verified record that no private key of this process opens; `error` says so. A wrong answer opens nothing:
    /// what comes back is compared with what the record commits to.
    pub(in super::super) fn unwrapped_by_api(
        &self,
        io: &Io,
        record: &EpochRecord,
        error: String,
    ) -> Result<Arc<Epoch>, KeyringError> {
        let (core, id) = (&record.core, record.core.id());
        let loaded = self.loaded(io, &core.partition)?;
        let wraps = self.held_wraps(&loaded.record, record);
        if wraps.is_empty() {
            return Err(self.not_ours(&loaded, record, error));
        }
        let digest = digest(&wraps);
        let declined = self.caches.declined(id, &digest);
        if let Some(Failure::Refused(text) | Failure::Unavailable(text)) = &declined {
            return Err(KeyringError::NoKey(format!(
                "epoch {id} of partition {} does not open: {text}",
                core.partition
            )));
        }
        let now = self.clock.now();
        let same = |epoch: &Arc<Epoch>| {
            let is = (&epoch.partition, epoch.kind, epoch.created, epoch.not_after);
            epoch.lease().is_some()
                && !epoch.is_stale(|| now)
                && is == (&core.partition, core.kind, core.created, core.not_after)
        };
        if let Some(epoch) = self.caches.opened(id).filter(same) {
            return Ok(epoch);
        }
        if let Some(found) = self.caches.unwrapped(id, &digest)
            && !found.lease.is_over(now)
            && epoch::commits(core, &found.dek)
        {
            return Ok(Arc::new(Epoch::leased(core, found.dek.clone(), Arc::clone(&found.lease))));
        }
        match declined {
            Some(Failure::Lied(text)) => Err(KeyringError::Unknown(text)),
            _ => Err(self.want(io, Job::Open { core: core.clone(), wraps })),
        }
    }

    /// Why nobody here opens it: no alarm, if it is for an API that others reach.
    fn not_ours(&self, loaded: &Loaded, record: &EpochRecord, error: String) -> KeyringError {
        let lists = |wrap: &Wrap| {
            let mut managed = loaded.record.recipients.iter().filter(|r| r.suite == MANAGED);
            managed.find(|r| wrap.suite == MANAGED && key_id(&r.key) == wrap.recipient)
        };
        match record.wraps.iter().find_map(lists) {
            Some(recipient) => KeyringError::NoKey(format!(
                "epoch {} of partition {} is opened by profile `{}` of a managed API, which this process does not have; name \
                 it under `profiles`",
                record.core.id(),
                record.core.partition,
                String::from_utf8_lossy(&recipient.key)
            )),
            None => self.refuse(error),
        }
    }

    /// Whether an API opens exactly this record, as it would be stored.
    pub(in super::super) fn api_opens(
        &self,
        io: &Io,
        partition: &PartitionRecord,
        record: &EpochRecord,
    ) -> Result<bool, KeyringError> {
        let (id, wraps) = (record.core.id(), self.held_wraps(partition, record));
        if wraps.is_empty() || self.caches.declined(id, &digest(&wraps)).is_some() {
            return Ok(false);
        }
        match self.caches.unwrapped(id, &digest(&wraps)) {
            Some(found) => Ok(epoch::commits(&record.core, &found.dek)),
            None => Err(self.want(io, Job::Open { core: record.core.clone(), wraps })),
        }
    }

    /// A new data key with its wraps by APIs.
    pub(in super::super) fn made(
        &self,
        io: &Io,
        held: Vec<Held>,
        (name, kind): (&PartitionName, Kind),
        (created, earliest, not_after): (u64, u64, u64),
    ) -> Result<Arc<Made>, KeyringError> {
        if let Some(made) = self.desk.find_made(name, kind) {
            let fits = made.held == held
                && (earliest..=created).contains(&made.core.created)
                && created.saturating_sub(made.core.created) <= FRESH
                && (kind == Kind::Deterministic || made.core.not_after > self.clock.now());
            if fits {
                return Ok(made);
            }
            self.desk.drop_made(name, kind);
        }
        Err(self.want(io, Job::Make { name: name.clone(), kind, created, not_after, held }))
    }

    /// A data key wrapped to a recipient, by whoever can.
    pub(in super::super) fn wrap_to(
        &self,
        io: &Io,
        record: &EpochRecord,
        epoch: &Epoch,
        recipient: &Recipient,
    ) -> Result<Wrap, KeyringError> {
        let Some(held) = self.held(recipient) else { return epoch::wrap(&record.core, epoch.dek(), recipient) };
        match self.desk.wrapped(epoch.id, &recipient.key) {
            Some(wrap) => Ok(wrap),
            None => Err(self.want(io, Job::Wrap { core: record.core.clone(), dek: epoch.dek().clone(), held })),
        }
    }

    /// Remembers an epoch that is confirmed as soon as an API has opened it.
    pub(in super::super) fn confirm_later(io: &Io, id: EpochId) {
        let mut waiting = io.calls.unconfirmed.borrow_mut();
        if waiting.len() < MAX_WAITING && !waiting.contains(&id) {
            waiting.push_back(id);
        }
    }

    /// What a tick does about APIs, without waiting for any.
    pub(in super::super) fn tend(&self, io: &mut Io) {
        if self.desk.keys().is_none() {
            return;
        }
        Self::in_background(io, |io| {
            if let Err(error) = self.confirm_waiting(io).and_then(|()| self.renew_leases(io)) {
                tracing::debug!("epochs that managed APIs open are not looked at: {error}");
            }
        });
    }

    /// Lets go of what no API has opened for too long.
    pub(in super::super) fn end_leases(&self) {
        let now = self.clock.now();
        for (id, lease) in self.desk.leases().all(now) {
            if lease.is_over(now) && lease.end() {
                tracing::warn!(epoch = %id, "its managed API has been silent for `max_stale`; it is used no more");
                self.caches.let_go(id);
            }
        }
        self.desk.tidy();
    }

    fn confirm_waiting(&self, io: &Io) -> Result<(), KeyringError> {
        let waiting = io.calls.unconfirmed.borrow().len();
        for _ in 0..waiting.min(EACH_TICK) {
            let next = io.calls.unconfirmed.borrow_mut().pop_front();
            let Some(id) = next else { break };
            let row = self.store.epoch(id);
            let confirmed = row.map_err(KeyringError::from).and_then(|row| match row.filter(|row| !row.confirmed) {
                Some(row) => self.confirm_row(io, &row),
                None => Ok(()),
            });
            if let Err(error) = confirmed {
                // The store's fault, which passes.
                Self::confirm_later(io, id);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Confirms a new record if it opens here; what does not is looked at once.
    pub(in super::super) fn confirm_row(&self, io: &Io, row: &EpochRow) -> Result<(), KeyringError> {
        match self.verified(io, row).and_then(|record| self.unwrapped(io, &record)) {
            Ok(_) => self.store.confirm(row.id, &row.record)?,
            Err(KeyringError::Unavailable(_)) if Self::waits(io) => Self::confirm_later(io, row.id),
            Err(KeyringError::Unavailable(text)) => return Err(KeyringError::Unavailable(text)),
            // What an API says no to today it may open tomorrow, with its key enabled again.
            Err(_) if self.caches.is_declined(row.id) => Self::confirm_later(io, row.id),
            Err(_) => self.caches.put_refused(row), // the alarm was raised where it was refused
        }
        Ok(())
    }

    /// Has the API open again what it opened, before that is too long ago.
    fn renew_leases(&self, io: &Io) -> Result<(), KeyringError> {
        let now = self.clock.now();
        let mut due = self.desk.leases().all(now);
        due.retain(|(_, lease)| lease.is_half_over(now) && !lease.is_over(now));
        // In turn: the many epochs of an API that is silent must not keep the others' from theirs.
        due.sort_by_key(|(_, lease)| lease.tried());
        for (id, lease) in due.into_iter().take(EACH_TICK) {
            lease.try_at(now);
            let Some(row) = self.store.epoch(id)? else { continue };
            let record = match self.verified(io, &row) {
                Ok(record) => record,
                Err(KeyringError::Unavailable(text)) => return Err(KeyringError::Unavailable(text)),
                Err(_) => continue,
            };
            let loaded = self.loaded(io, &record.core.partition)?;
            let wraps = self.held_wraps(&loaded.record, &record);
            if loaded.partition.state.opens() && !wraps.is_empty() {
                drop(self.want(io, Job::Open { core: record.core, wraps }));
            }
        }
        Ok(())
    }

    /// Whether a partition may have epochs made now by what an API wraps.
    pub(in super::super) fn is_held(&self, io: &Io, name: &PartitionName) -> bool {
        self.desk.keys().is_some()
            && self.loaded(io, name).is_ok_and(|loaded| {
                loaded.partition.state == State::Active
                    && loaded.record.recipients.iter().any(|r| self.held(r).is_some())
            })
    }
}
