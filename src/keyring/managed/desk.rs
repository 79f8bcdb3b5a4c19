//! Where calls are made: never under a lock, each once for all who want the same, and in the background within bounds.

mod flight;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use moka::sync::Cache;

use super::super::caches::{Caches, Unwrapped};
use super::super::epoch;
use super::super::record::{Core, Recipient, Wrap};
use super::super::{KeyringError, Kind};
use super::job::{self, Failure, Held, Job, JobKey};
use super::lease::{Asked, Lease, Leases};
use super::{ManagedKeys, ManagedStats};
use crate::clock::SharedClock;
use crate::crypto::kdf::key_id;
use crate::name::PartitionName;
use crate::secret::Secret;
use crate::token::EpochId;
use flight::{Flight, Seat, Task};

pub use flight::Ticket;

/// Calls in the background at once, of all profiles and of one, so that a slow one leaves room for the others.
const THREADS: usize = 8;
const THREADS_EACH: usize = 2;
/// How long work that nobody fetched is kept.
const KEPT: Duration = Duration::from_secs(60);
const MADE: u64 = 256;
const WRAPPED: u64 = 1024;
/// Jobs whose failures are counted.
const FAILING: usize = 4096;
/// The longest pause between two tries in the background.
const LONGEST_PAUSE: u64 = 64;

/// A data key for a new epoch, with its wraps by APIs.
#[derive(Debug)]
pub struct Made {
    /// What will be signed.
    pub core: Core,
    /// The data key.
    pub dek: Secret<32>,
    /// Who wrapped it.
    pub held: Vec<Held>,
    /// Its wraps by them.
    pub wraps: Vec<Wrap>,
    /// When the API was asked.
    pub asked: Asked,
}

impl Made {
    /// Those wraps with the ones that no API makes, in the order of the recipients.
    pub fn wrap_others(&self, recipients: &[Recipient]) -> Result<Vec<Wrap>, KeyringError> {
        let all = recipients.iter().map(|recipient| {
            let at = self.held.iter().position(|held| held.recipient == *recipient);
            match at.and_then(|at| self.wraps.get(at)) {
                Some(wrap) => Ok(wrap.clone()),
                None => epoch::wrap(&self.core, &self.dek, recipient),
            }
        });
        all.collect()
    }
}

/// See the module.
pub struct Desk {
    keys: Option<Arc<dyn ManagedKeys>>,
    clock: SharedClock,
    caches: Arc<Caches>,
    leases: Leases,
    flights: Mutex<HashMap<JobKey, Flying>>,
    made: Cache<(PartitionName, Kind), Arc<Made>>,
    wrapped: Cache<(EpochId, [u8; 16]), Wrap>,
    /// Jobs that failed in the background.
    failing: Mutex<HashMap<JobKey, Failing>>,
    wraps: AtomicU64,
    unwraps: AtomicU64,
    failures: AtomicU64,
    /// So that not all processes renew at once.
    spread: u8,
}

struct Flying {
    flight: Arc<Flight>,
    profile: Arc<str>,
    in_background: bool,
}

struct Failing {
    times: u32,
    next: u64,
}

impl Desk {
    /// For these APIs.
    pub fn new(keys: Option<Arc<dyn ManagedKeys>>, clock: SharedClock, caches: Arc<Caches>, spread: u8) -> Arc<Self> {
        Arc::new(Self {
            keys,
            clock,
            caches,
            leases: Leases::default(),
            flights: Mutex::default(),
            made: Cache::builder().max_capacity(MADE).time_to_live(KEPT).build(),
            wrapped: Cache::builder().max_capacity(WRAPPED).time_to_live(KEPT).build(),
            failing: Mutex::default(),
            wraps: AtomicU64::new(0),
            unwraps: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            spread,
        })
    }

    /// The APIs.
    pub fn keys(&self) -> Option<&dyn ManagedKeys> {
        self.keys.as_deref()
    }

    /// The lease of an epoch that was made of this.
    pub fn lease(&self, made: &Made, id: EpochId) -> Arc<Lease> {
        let stale = |held: &Held| self.keys().map(|keys| keys.max_stale(&held.profile));
        self.leases.renew(id, made.asked, made.held.iter().filter_map(stale).min().unwrap_or_default())
    }

    /// What is open until when.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// This process's own part of the time in which epochs are renewed.
    pub fn spread(&self) -> u64 {
        u64::from(self.spread)
    }

    /// A data key that was made. It stays until it is dropped: where the store takes nothing, or another recipient cannot be
    /// wrapped to, no API is asked for a new one with every request.
    pub fn find_made(&self, name: &PartitionName, kind: Kind) -> Option<Arc<Made>> {
        self.made.get(&(name.clone(), kind))
    }

    /// It was offered to the store, or does not fit any more.
    pub fn drop_made(&self, name: &PartitionName, kind: Kind) {
        self.made.invalidate(&(name.clone(), kind));
    }

    /// A wrap that was made.
    pub fn wrapped(&self, id: EpochId, recipient: &[u8]) -> Option<Wrap> {
        self.wrapped.get(&(id, key_id(recipient)))
    }

    /// Has the API wrap and open what opens nothing.
    pub fn challenge(&self, name: &PartitionName, held: &Held) -> Result<(), KeyringError> {
        let Some(keys) = self.keys() else { return Ok(()) };
        let (core, dek) = epoch::make_core(name, Kind::Random, 0, 0)?;
        let done = self.wrap(keys, &core, &dek, held).and_then(|wrap| self.open(keys, &core, held, &wrap));
        done.map(drop).map_err(Failure::into_error)
    }

    /// Counts.
    pub fn stats(&self) -> ManagedStats {
        let now = self.clock.now();
        ManagedStats {
            wraps: self.wraps.load(Ordering::Relaxed),
            unwraps: self.unwraps.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            failing: self.failing().len() as u64,
            seconds_left: self.leases.all(now).first().map(|(_, lease)| lease.left(now)),
        }
    }

    /// Joins whoever does this already, or takes it on. To be asked for under the keyring's lock: what was done meanwhile is
    /// fetched under that lock too, so nobody does anew what lies there.
    pub fn join(self: &Arc<Self>, job: Job) -> Ticket {
        let key = job.key();
        let mut flights = self.flights();
        let is_done = match &key {
            JobKey::Make(name, kind) => self.made.contains_key(&(name.clone(), *kind)),
            JobKey::Wrap(id, recipient) => self.wrapped.contains_key(&(*id, *recipient)),
            JobKey::Open(id, digest) => {
                self.caches.unwrapped(*id, digest).is_some_and(|found| !found.lease.is_half_over(self.clock.now()))
                    || self.caches.declined(*id, digest).is_some()
            }
        };
        if is_done {
            return Ticket(Seat::Done);
        }
        if let Some(flying) = flights.get(&key) {
            return Ticket(Seat::Waits(flying.flight.clone(), flying.profile.clone(), matches!(key, JobKey::Open(..))));
        }
        let (flight, profile) = (Arc::<Flight>::default(), job.profile());
        flights.insert(key.clone(), Flying { flight: flight.clone(), profile, in_background: false });
        Ticket(Seat::Does(Some(Box::new(Task { desk: Arc::clone(self), key, job, flight }))))
    }

    /// Whether the background has room for it, and it has not failed just now.
    pub fn may_start(&self, job: &Job) -> bool {
        let profile = job.profile();
        let flights = self.flights();
        let busy = flights.values().filter(|flying| flying.in_background);
        let all = busy.clone().count();
        let each = busy.filter(|flying| flying.profile == profile).count();
        drop(flights);
        let now = self.clock.now();
        all < THREADS && each < THREADS_EACH && self.failing().get(&job.key()).is_none_or(|failing| failing.next <= now)
    }

    /// Does it on a thread of its own; after [`Self::may_start`].
    pub fn start(&self, mut ticket: Ticket) {
        let Seat::Does(task) = &mut ticket.0 else { return };
        let Some(task) = task.take() else { return };
        if let Some(flying) = self.flights().get_mut(&task.key) {
            flying.in_background = true;
        }
        let work = move || {
            let (desk, key) = (Arc::clone(&task.desk), task.key.clone());
            let done = (*task).work();
            desk.note(key, &done);
        };
        // Where no thread is to be had, the task is dropped with the closure, and says so to whoever waits.
        if let Err(error) = thread::Builder::new().name("keyring-managed".into()).spawn(work) {
            tracing::warn!("no thread for a call of a managed API: {error}");
        }
    }

    fn note(&self, key: JobKey, done: &Result<(), Failure>) {
        let mut failing = self.failing();
        match done {
            Ok(()) => {
                if failing.remove(&key).is_some() {
                    tracing::info!("a managed API does again what it did not do before");
                }
            }
            Err(failure) => {
                if failing.len() >= FAILING {
                    failing.clear();
                }
                let entry = failing.entry(key).or_insert(Failing { times: 0, next: 0 });
                if entry.times == 0 {
                    let (Failure::Refused(text) | Failure::Unavailable(text) | Failure::Lied(text)) = failure;
                    tracing::warn!("{text}; it is tried again, and what it opened before is used for `max_stale`");
                }
                let pause = 1_u64.checked_shl(entry.times).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
                entry.times = entry.times.saturating_add(1);
                entry.next = self.clock.now().saturating_add(pause);
            }
        }
    }

    /// Forgets failures of what nobody has wanted for long.
    pub fn tidy(&self) {
        let now = self.clock.now();
        self.failing().retain(|_, failing| now < failing.next.saturating_add(10 * LONGEST_PAUSE));
        self.made.run_pending_tasks();
        self.wrapped.run_pending_tasks();
    }

    fn perform(&self, job: &Job) -> Result<Output, Failure> {
        let Some(keys) = self.keys() else {
            return Err(Failure::Unavailable("this process reaches no managed API".into()));
        };
        match job {
            Job::Make { name, kind, created, not_after, held } => {
                let random = |_| Failure::Unavailable("the operating system's random generator failed".into());
                let (core, dek) = epoch::make_core(name, *kind, *created, *not_after).map_err(random)?;
                let asked = Asked::at(self.clock.now());
                let mut wraps = Vec::with_capacity(held.len());
                for held in held {
                    let wrap = self.wrap(keys, &core, &dek, held)?;
                    if keys.proves(&held.profile) {
                        self.open(keys, &core, held, &wrap)?;
                    }
                    wraps.push(wrap);
                }
                Ok(Output::Made(Made { core, dek, held: held.clone(), wraps, asked }))
            }
            Job::Wrap { core, dek, held } => {
                let wrap = self.wrap(keys, core, dek, held)?;
                // Whatever the profile says: older wraps will be dropped because this one is there.
                self.open(keys, core, held, &wrap)?;
                Ok(Output::Wrapped(wrap))
            }
            Job::Open { core, wraps } => self.open_any(keys, core, wraps),
        }
    }

    fn open_any(&self, keys: &dyn ManagedKeys, core: &Core, wraps: &[(Held, Wrap)]) -> Result<Output, Failure> {
        let mut worst = None;
        for (held, wrap) in wraps {
            let asked = Asked::at(self.clock.now());
            let failure = match self.open(keys, core, held, wrap) {
                Ok(dek) => {
                    let lease = self.leases.renew(core.id(), asked, keys.max_stale(&held.profile));
                    return Ok(Output::Opened(Unwrapped { dek, digest: job::digest(wraps), lease }));
                }
                Err(failure) => failure,
            };
            if let Failure::Lied(text) = &failure {
                self.caches.alarm(text);
            }
            // One that may open it later says more than one that never will.
            if worst.is_none() || matches!(failure, Failure::Unavailable(_)) {
                worst = Some(failure);
            }
        }
        Err(worst.unwrap_or_else(|| Failure::Refused("no managed API opens it".into())))
    }

    fn wrap(&self, keys: &dyn ManagedKeys, core: &Core, dek: &Secret<32>, held: &Held) -> Result<Wrap, Failure> {
        self.wraps.fetch_add(1, Ordering::Relaxed);
        self.counted(job::wrap(keys, core, dek, held))
    }

    fn open(&self, keys: &dyn ManagedKeys, core: &Core, held: &Held, wrap: &Wrap) -> Result<Secret<32>, Failure> {
        self.unwraps.fetch_add(1, Ordering::Relaxed);
        self.counted(job::open(keys, core, held, wrap))
    }

    fn counted<T>(&self, done: Result<T, Failure>) -> Result<T, Failure> {
        if done.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    /// Lays down what was done where the next look under the lock finds it.
    fn keep(&self, key: &JobKey, done: Result<Output, Failure>) -> Result<(), Failure> {
        match (key, done) {
            (JobKey::Make(name, kind), Ok(Output::Made(made))) => {
                self.made.insert((name.clone(), *kind), Arc::new(made));
            }
            (JobKey::Wrap(id, recipient), Ok(Output::Wrapped(wrap))) => self.wrapped.insert((*id, *recipient), wrap),
            (JobKey::Open(id, _), Ok(Output::Opened(unwrapped))) => self.caches.put_unwrapped(*id, Arc::new(unwrapped)),
            (JobKey::Open(id, digest), Err(failure)) => {
                match &failure {
                    Failure::Refused(_) => {
                        self.caches.put_declined(*id, *digest, failure.clone());
                        self.leases.refuse(*id);
                        self.caches.let_go(*id);
                    }
                    // Of a key that it gave before, nothing is known now that was not known then.
                    Failure::Lied(_) => self.caches.put_declined(*id, *digest, failure.clone()),
                    Failure::Unavailable(_) => {}
                }
                return Err(failure);
            }
            (_, Err(failure)) => {
                if let Failure::Lied(text) = &failure {
                    self.caches.alarm(text);
                }
                return Err(failure);
            }
            (_, Ok(_)) => {}
        }
        Ok(())
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<JobKey, Flying>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> MutexGuard<'_, HashMap<JobKey, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Output {
    Made(Made),
    Wrapped(Wrap),
    Opened(Unwrapped),
}
