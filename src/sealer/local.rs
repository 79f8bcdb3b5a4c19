//! Sealing under the keyring's own epochs: in place as the scanner finds values, from caches; what is missing is fetched on a
//! blocking thread, so that no store ever holds up the traffic of a worker.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::audit::Recorder;
use crate::keyring::{Cached, Call, Keyring, KeyringError, Kind, Memo, Permissions, without_calls};
use crate::name::PartitionName;
use crate::token::v1::{Opened, Plain, SealError};
use crate::token::{EpochId, Suite};
use crate::transform::{Again, Done, Need, OpenFailure, OpenJob, Ready, SealFailure, SealJob, Sealer};

/// A fetch that takes longer fails: the client is answered while it still waits.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Look-ups at once. The keyring does one at a time; more would only fill a worker's blocking threads, which also resolve names.
const FETCHES: usize = 16;

/// Calls of managed APIs that look-ups wait for, at once and for each profile: the makers of calls apart from those who wait for
/// them, so that the ones never take the others' place.
const CALLS: usize = 16;
/// Calls that one look-up needs after each other: to open the current epoch, or to make one, again if it is lost to a race.
const ROUNDS: usize = 8;

/// See the module.
pub struct Local(Arc<Keyring>, Lanes, Option<Arc<dyn Recorder>>);

/// Places for look-ups. One that waits for a managed API gives its place up, so that a slow API holds up nobody else.
#[derive(Clone)]
struct Lanes {
    fetches: Arc<Semaphore>,
    calls: Arc<Mutex<Calls>>,
}

/// By profile, and whether they make the call.
type Calls = HashMap<(Arc<str>, bool), Arc<Semaphore>>;

impl Lanes {
    fn new() -> Self {
        Self { fetches: Arc::new(Semaphore::new(FETCHES)), calls: Arc::default() }
    }

    /// As many as there are profiles, times two.
    fn of(&self, call: &Call) -> Arc<Semaphore> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = calls.entry((call.profile(), call.is_own())).or_insert_with(|| Arc::new(Semaphore::new(CALLS)));
        Arc::clone(lane)
    }
}

impl Local {
    /// On this keyring.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        Self(keyring, Lanes::new(), None)
    }

    /// Records there what is sealed and opened for callers whose role has the audit bits.
    #[must_use]
    pub fn recording(mut self, audit: Option<Arc<dyn Recorder>>) -> Self {
        self.2 = audit;
        self
    }

    /// See [`Sealer::record`], for a role with these permissions. What cannot be looked up now is recorded.
    pub fn record_for(
        &self,
        permissions: impl FnOnce() -> Cached<Permissions>,
        (role, partition): (&str, &PartitionName),
        done: &[Done<'_>],
    ) {
        let Some(audit) = &self.2 else { return };
        let permissions = permissions();
        let silent =
            |(_, what, _): &Done<'_>| matches!(permissions, Cached::Hit(permissions) if !what.is_recorded(permissions));
        if done.iter().any(silent) {
            let recorded: Vec<Done<'_>> = done.iter().filter(|done| !silent(done)).copied().collect();
            audit.count(role, partition, &recorded);
        } else {
            audit.count(role, partition, done);
        }
    }
}

impl Sealer for Local {
    fn permissions(&self, partition: &PartitionName, role: &str, memo: &mut Memo) -> Cached<Permissions> {
        match self.0.partition_recalled(memo, partition) {
            Cached::Hit(record) if !record.state.opens() => Cached::Denied(record.state),
            cached => cached.map(|record| record.permissions(role)),
        }
    }

    fn seal(&self, job: &SealJob<'_>, memo: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<()>, SealFailure> {
        let kind = if job.suite == Suite::Siv { Kind::Deterministic } else { Kind::Random };
        let recalled = match self.0.sealing_recalled(memo, job.partition, kind) {
            Cached::Hit(recalled) => recalled,
            Cached::Miss => return Ok(Ready::After(Need::Sealing(job.partition.clone(), kind))),
            Cached::Unknown => return Err(SealFailure::NoKey("no such partition")),
            Cached::Denied(state) => return Err(SealFailure::Denied(state)),
        };
        let signer = if job.sign {
            match self.0.signer_cached(job.partition) {
                Cached::Hit(Some(signer)) => Some(signer),
                Cached::Hit(None) => return Err(SealFailure::NoKey("this process has no signing key")),
                Cached::Miss => return Ok(Ready::After(Need::Signer(job.partition.clone()))),
                Cached::Unknown => return Err(SealFailure::NoKey("no such partition")),
                Cached::Denied(state) => return Err(SealFailure::Denied(state)),
            }
        } else {
            None
        };
        let plain = Plain {
            text: job.text,
            is_string: job.is_string,
            record_id: job.record_id,
            pad: job.pad,
            signer: signer.as_deref(),
        };
        let epoch = recalled.epoch.id;
        let (key, random) = recalled.key(&self.0, job.suite, job.class);
        match key.seal(&plain, random, out) {
            Ok(()) => Ok(Ready::Now(())),
            Err(SealError::Exhausted) => Ok(Ready::After(Need::Fresh(job.partition.clone(), kind, epoch))),
            Err(error) => Err(error.into()),
        }
    }

    fn seal_previous(&self, job: &SealJob<'_>, _: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<bool>, SealFailure> {
        let epoch = match self.0.previous_cached(job.partition) {
            Cached::Hit(Some(epoch)) => epoch,
            Cached::Hit(None) => return Ok(Ready::Now(false)),
            Cached::Miss => return Ok(Ready::After(Need::Previous(job.partition.clone()))),
            Cached::Unknown => return Err(SealFailure::NoKey("no such partition")),
            Cached::Denied(state) => return Err(SealFailure::Denied(state)),
        };
        let SealJob { text, is_string, record_id, pad, .. } = *job;
        let plain = Plain { text, is_string, record_id, pad, signer: None };
        self.0.field_key(&epoch, Suite::Siv, job.class).seal(&plain, out)?;
        Ok(Ready::Now(true))
    }

    fn partition_of(&self, epoch: EpochId, memo: &mut Memo) -> Cached<PartitionName> {
        self.0.opening_recalled(memo, epoch).map(|recalled| recalled.epoch.partition.clone())
    }

    fn open(&self, job: OpenJob<'_>, memo: &mut Memo) -> Result<Ready<Opened>, OpenFailure> {
        let (id, suite) = (job.token.epoch, job.token.suite);
        let recalled = match self.0.opening_recalled(memo, id) {
            Cached::Hit(recalled) => recalled,
            Cached::Miss => return Ok(Ready::After(Need::Opening(id))),
            Cached::Unknown => return Err(OpenFailure::UnknownEpoch),
            Cached::Denied(state) => return Err(OpenFailure::Denied(state)),
        };
        let epoch = recalled.epoch;
        if (suite == Suite::Siv) != (epoch.kind == Kind::Deterministic) {
            return Err(OpenFailure::SuiteMismatch);
        }
        let signers = if job.token.signed {
            match self.0.partition_cached(&epoch.partition) {
                Cached::Hit(record) => {
                    let accepted = |id: &[u8; 16]| job.signers.is_empty() || job.signers.contains(id);
                    record.signers.iter().filter(|key| accepted(&key.id())).cloned().collect()
                }
                Cached::Miss => return Ok(Ready::After(Need::Partition(epoch.partition.clone(), None))),
                Cached::Unknown => return Err(OpenFailure::UnknownEpoch),
                Cached::Denied(state) => return Err(OpenFailure::Denied(state)),
            }
        } else {
            Vec::new()
        };
        let (mut key, _) = recalled.key(&self.0, suite, job.class);
        Ok(Ready::Now(key.open_in_place(job.token, job.record_id, &signers, self.0.prefixes())?))
    }

    fn seal_again(&self, of: Again<'_>, text: &[u8], memo: &mut Memo, out: &mut Vec<u8>) -> bool {
        if of.suite == Suite::Siv {
            return false;
        }
        let Some(recalled) = self.0.sealing_again(memo, of.partition) else { return false };
        let (mut key, random) = recalled.key(&self.0, of.suite, of.class);
        key.seal_short(text, random, out).is_some()
    }

    fn open_again(&self, of: Again<'_>, epoch: EpochId, token: &[u8], memo: &mut Memo, out: &mut Vec<u8>) -> bool {
        let Some(recalled) = self.0.opening_again(memo, epoch) else { return false };
        if of.suite == Suite::Siv || recalled.epoch.kind == Kind::Deterministic {
            return false;
        }
        let (mut key, _) = recalled.key(&self.0, of.suite, of.class);
        key.open_short(token, self.0.prefixes(), out).is_some()
    }

    fn record(&self, role: &str, partition: &PartitionName, known: Option<Permissions>, done: &[Done<'_>]) {
        let ask = || self.permissions(partition, role, &mut Memo::default());
        self.record_for(|| known.map_or_else(ask, Cached::Hit), (role, partition), done);
    }

    fn at_hand(&self, need: &Need, memo: &mut Memo) -> Cached<()> {
        match need {
            Need::Partition(name, provision) => match self.0.partition_recalled(memo, name) {
                Cached::Hit(record) if !record.state.opens() => Cached::Denied(record.state),
                Cached::Unknown if provision.is_some() => Cached::Miss,
                other => other.map(drop),
            },
            Need::Sealing(name, kind) => self.0.sealing_recalled(memo, name, *kind).map(drop),
            Need::Previous(name) => self.0.previous_cached(name).map(drop),
            Need::Fresh(..) => Cached::Miss,
            Need::Opening(id) => self.0.opening_recalled(memo, *id).map(drop),
            Need::Signer(name) => self.0.signer_cached(name).map(drop),
        }
    }

    fn fetch(&self, need: Need) -> Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + '_>> {
        let (keyring, lanes, need) = (Arc::clone(&self.0), self.1.clone(), Arc::new(need));
        Box::pin(async move {
            match tokio::time::timeout(FETCH_TIMEOUT, look_up(keyring, lanes, need)).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(KeyringError::Unavailable("a look-up was broken off".into())),
                Err(_) => Err(KeyringError::Unavailable("a look-up took too long".into())),
            }
        })
    }
}

async fn look_up(
    keyring: Arc<Keyring>,
    lanes: Lanes,
    need: Arc<Need>,
) -> Result<Result<(), KeyringError>, tokio::task::JoinError> {
    for _ in 0..ROUNDS {
        let permit = Arc::clone(&lanes.fetches).acquire_owned().await;
        let (keyring, need) = (Arc::clone(&keyring), Arc::clone(&need));
        // The permit lasts as long as the thread is busy, also when nobody waits for it any more.
        let work = move || {
            let _permit = permit;
            without_calls(|| fetch(&keyring, &need))
        };
        let call = match tokio::task::spawn_blocking(work).await? {
            Ok(found) => return Ok(found),
            Err(call) => call,
        };
        let permit = lanes.of(&call).acquire_owned().await;
        let work = move || {
            let _permit = permit;
            call.make()
        };
        if let Err(error) = tokio::task::spawn_blocking(work).await? {
            return Ok(Err(error));
        }
    }
    Ok(Err(KeyringError::Unavailable("the keyring changed each time a managed API had answered; try again".into())))
}

fn fetch(keyring: &Keyring, need: &Need) -> Result<(), KeyringError> {
    match need {
        Need::Partition(name, None) => keyring.partition(name).map(drop),
        Need::Partition(name, Some(max)) => keyring.provision(name, *max).map(drop),
        Need::Sealing(name, kind) => keyring.sealing(name, *kind).map(drop),
        Need::Previous(name) => keyring.previous(name).map(drop),
        Need::Fresh(name, kind, used_up) => keyring.replace_epoch(name, *kind, *used_up).map(drop),
        Need::Opening(id) => keyring.opening(*id).map(drop),
        Need::Signer(name) => keyring.signer(name).map(drop),
    }
}

#[cfg(test)]
mod alike;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::crypto::kem::KemSuite;
    use crate::keyring::{KeySource, MANAGED, Managed, ManagedError, ManagedKeys, Options};
    use crate::secret::{Secret, SecretBytes};
    use std::sync::Condvar;

    const THREADS: &str = "look-ups";

    fn busy_threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let name =
            |task: std::fs::DirEntry| crate::bounded::read_text_file(&task.path().join("comm"), 64).unwrap_or_default();
        tasks.filter(|task| task.file_name() != "self").map(name).filter(|name| name.trim() == THREADS).count()
    }

    #[test]
    fn a_store_that_hangs_does_not_take_all_blocking_threads() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            store: dir.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(dir.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let keyring = Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()).unwrap();
        let local = Arc::new(Local::new(Arc::new(keyring)));
        let other = rusqlite::Connection::open(options.store.to_string()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_name(THREADS).build().unwrap();
        let (most, done) = runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for n in 0..100 {
                let local = Arc::clone(&local);
                let name = PartitionName::new(&format!("tenant-{n}")).unwrap();
                all.spawn(async move { local.fetch(Need::Partition(name, Some(1_000))).await });
            }
            let mut most = 0;
            // A thread has its name only once it runs.
            for _ in 0..500 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                most = most.max(busy_threads());
                if most >= FETCHES {
                    break;
                }
            }
            other.execute_batch("ROLLBACK").unwrap();
            let mut done = 0;
            while let Some(result) = all.join_next().await {
                done += usize::from(result.unwrap().is_ok());
            }
            (most, done)
        });
        assert!((1..=FETCHES).contains(&most), "{most}");
        assert!(done > 0, "and it goes on when the store does");
    }

    /// An API that takes until it is let go on.
    struct Slow(Mutex<(bool, usize)>, Condvar);

    impl ManagedKeys for Slow {
        fn profile_of(&self, suite: u8, key: &[u8]) -> Option<Arc<str>> {
            (suite == MANAGED && key == b"slow").then(|| "slow".into())
        }

        fn max_stale(&self, _: &str) -> Duration {
            Duration::from_secs(600)
        }

        fn proves(&self, _: &str) -> bool {
            true
        }

        fn protect(&self, _: &str, text: &SecretBytes) -> Result<Vec<u8>, ManagedError> {
            let mut state = self.0.lock().unwrap();
            state.1 += 1;
            while !state.0 {
                state = self.1.wait(state).unwrap();
            }
            Ok(text.expose().iter().map(|byte| byte ^ 1).collect())
        }

        fn unprotect(&self, _: &str, ciphertext: &[u8]) -> Result<SecretBytes, ManagedError> {
            Ok(SecretBytes::new(ciphertext.iter().map(|byte| byte ^ 1).collect()))
        }

        fn encapsulate(&self, _: &str) -> Result<(Vec<u8>, Secret<32>), ManagedError> {
            Err(ManagedError::Refused("it has no key pair".into()))
        }

        fn decapsulate(&self, _: &str, _: &[u8]) -> Result<Secret<32>, ManagedError> {
            Err(ManagedError::Refused("it has no key pair".into()))
        }
    }

    #[test]
    fn an_api_that_hangs_does_not_take_the_places_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let api = Arc::new(Slow(Mutex::new((true, 0)), Condvar::new()));
        let options = Options {
            store: dir.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(dir.path().join("master.key"))],
            managed: Managed(Some(api.clone())),
            i_know: true,
            ..Options::default()
        };
        let keyring = Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()).unwrap();
        let slow = PartitionName::new("slow").unwrap();
        keyring.create_managed(&slow, (MANAGED, b"slow")).unwrap();
        *api.0.lock().unwrap() = (false, 0);
        let local = Arc::new(Local::new(Arc::new(keyring)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..4 * FETCHES {
                let (local, need) = (Arc::clone(&local), Need::Sealing(slow.clone(), Kind::Random));
                all.spawn(async move { local.fetch(need).await });
            }
            let waiting = || local.1.calls.lock().unwrap().values().any(|lane| lane.available_permits() == 0);
            while !waiting() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            local.fetch(Need::Sealing(PartitionName::default_name(), Kind::Random)).await.unwrap();
            api.0.lock().unwrap().0 = true;
            api.1.notify_all();
            while let Some(done) = all.join_next().await {
                done.unwrap().unwrap();
            }
        });
        assert_eq!(api.0.lock().unwrap().1, 1, "one call for all");
    }
}
