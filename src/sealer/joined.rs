//! Local sealing and managed APIs behind one [`Sealer`]: values of profiles go to their APIs, and what a control plane says of a
//! partition holds beside what the keyring says.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::local::Local;
use super::managed::crypteron::{Roll, Standing, Watched};
use super::managed::set::{ProfileError, Profiles};
use crate::audit::{Act, Audit};
use crate::clock::SharedClock;
use crate::keyring::{Cached, Keyring, KeyringError, Memo, Permissions, State};
use crate::name::PartitionName;
use crate::token::EpochId;
use crate::token::v1::Opened;
use crate::transform::delegate::{Delegated, Delegating};
use crate::transform::{Again, Done, Need, OpenFailure, OpenJob, Ready, SealFailure, SealJob, Sealer};

/// Bits that forbid or record: either side may set them. All others allow, and both sides must.
const STRICTER: u32 = Permissions::MASK | 0x000f_0000;

/// As long as any look-up may take.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// See the module.
pub struct Joined {
    local: Local,
    profiles: Arc<Profiles>,
    /// The partitions that a control plane has a say in.
    control: HashMap<PartitionName, Control>,
}

/// What a control plane says of a partition.
struct Control {
    /// What was heard last, if that still holds.
    heard: Box<dyn Fn() -> Option<Arc<Standing>> + Send + Sync>,
    /// Whether it had the time to say anything since this process started.
    asked: watch::Receiver<bool>,
}

impl Joined {
    /// Begins to watch control planes.
    pub fn open(
        local: Local,
        profiles: Arc<Profiles>,
        keyring: &Arc<Keyring>,
        audit: Option<Arc<Audit>>,
        clock: &SharedClock,
    ) -> Result<Self, ProfileError> {
        let watched = profiles.watch(keyring, clock, &rolling(keyring, audit))?;
        let of = |watched: Watched| Control { asked: watched.asked(), heard: Box::new(move || watched.standing()) };
        let control = watched.into_iter().map(|(partition, watched)| (partition, of(watched))).collect();
        Ok(Self { local, profiles, control })
    }

    /// What the control plane says of a partition, if there is one; `Err` if it has not said anything for too long.
    fn standing(&self, partition: &PartitionName) -> Result<Option<Arc<Standing>>, Unheard> {
        match self.control.get(partition) {
            Some(control) => (control.heard)().map(Some).ok_or(Unheard),
            None => Ok(None),
        }
    }

    /// What keeps a partition's epochs from being used to seal, or else to open.
    fn hindered(&self, partition: &PartitionName, seals: bool) -> Cached<()> {
        let allowed = |state: State| if seals { state == State::Active } else { state.opens() };
        match self.standing(partition) {
            Err(Unheard) => Cached::Miss,
            Ok(Some(standing)) if !allowed(standing.state) => Cached::Denied(standing.state),
            Ok(_) => Cached::Hit(()),
        }
    }

    /// A process that has just started is not told of what it is about to hear.
    async fn first_answer(&self, partition: &PartitionName) -> Result<(), KeyringError> {
        let Some(control) = self.control.get(partition) else { return Ok(()) };
        let mut asked = control.asked.clone();
        drop(timeout(FIRST_ANSWER, asked.wait_for(|asked| *asked)).await);
        if (control.heard)().is_some() {
            return Ok(());
        }
        Err(KeyringError::Unavailable(format!(
            "the control plane of partition {partition} has not said, or not for `max_stale`, that it may be used"
        )))
    }

    /// The partition that a need is of, and whether it is to seal.
    fn of(&self, need: &Need) -> Option<(PartitionName, bool)> {
        match need {
            Need::Partition(name, _) => Some((name.clone(), false)),
            Need::Sealing(name, _) | Need::Fresh(name, ..) | Need::Signer(name) | Need::Previous(name) => {
                Some((name.clone(), true))
            }
            Need::Opening(id) => match self.local.partition_of(*id, &mut Memo::default()) {
                Cached::Hit(name) => Some((name, false)),
                Cached::Unknown | Cached::Denied(_) | Cached::Miss => None,
            },
        }
    }
}

impl Sealer for Joined {
    fn permissions(&self, partition: &PartitionName, role: &str, memo: &mut Memo) -> Cached<Permissions> {
        let here = self.local.permissions(partition, role, memo);
        match here {
            Cached::Hit(here) => match self.standing(partition) {
                Err(Unheard) => Cached::Miss,
                Ok(Some(standing)) if !standing.state.opens() => Cached::Denied(standing.state),
                Ok(Some(standing)) => Cached::Hit(both(here, there(&standing, role))),
                Ok(None) => Cached::Hit(here),
            },
            Cached::Denied(state) => {
                self.profiles.state_is(partition, state);
                Cached::Denied(state)
            }
            Cached::Unknown | Cached::Miss => here,
        }
    }

    fn seal(&self, job: &SealJob<'_>, memo: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<()>, SealFailure> {
        match self.hindered(job.partition, true) {
            Cached::Hit(()) => self.local.seal(job, memo, out),
            Cached::Denied(state) => Err(SealFailure::Denied(state)),
            Cached::Miss | Cached::Unknown => Ok(Ready::After(Need::Partition(job.partition.clone(), None))),
        }
    }

    fn seal_previous(&self, job: &SealJob<'_>, memo: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<bool>, SealFailure> {
        match self.hindered(job.partition, true) {
            Cached::Hit(()) => self.local.seal_previous(job, memo, out),
            Cached::Denied(state) => Err(SealFailure::Denied(state)),
            Cached::Miss | Cached::Unknown => Ok(Ready::After(Need::Partition(job.partition.clone(), None))),
        }
    }

    fn partition_of(&self, epoch: EpochId, memo: &mut Memo) -> Cached<PartitionName> {
        self.local.partition_of(epoch, memo)
    }

    fn open(&self, job: OpenJob<'_>, memo: &mut Memo) -> Result<Ready<Opened>, OpenFailure> {
        if !self.control.is_empty() {
            // What is not known now may be a moment later: it is not opened without having been asked about.
            let partition = match self.local.partition_of(job.token.epoch, memo) {
                Cached::Hit(partition) => partition,
                Cached::Miss => return Ok(Ready::After(Need::Opening(job.token.epoch))),
                Cached::Unknown => return Err(OpenFailure::UnknownEpoch),
                Cached::Denied(state) => return Err(OpenFailure::Denied(state)),
            };
            match self.hindered(&partition, false) {
                Cached::Hit(()) => {}
                Cached::Denied(state) => return Err(OpenFailure::Denied(state)),
                Cached::Miss | Cached::Unknown => return Ok(Ready::After(Need::Partition(partition, None))),
            }
        }
        self.local.open(job, memo)
    }

    fn seal_again(&self, of: Again<'_>, text: &[u8], memo: &mut Memo, out: &mut Vec<u8>) -> bool {
        // What a control plane says is asked for each value.
        self.control.is_empty() && self.local.seal_again(of, text, memo, out)
    }

    fn open_again(&self, of: Again<'_>, epoch: EpochId, token: &[u8], memo: &mut Memo, out: &mut Vec<u8>) -> bool {
        self.control.is_empty() && self.local.open_again(of, epoch, token, memo, out)
    }

    fn record(&self, role: &str, partition: &PartitionName, known: Option<Permissions>, done: &[Done<'_>]) {
        let ask = || self.permissions(partition, role, &mut Memo::default());
        self.local.record_for(|| known.map_or_else(ask, Cached::Hit), (role, partition), done);
    }

    fn at_hand(&self, need: &Need, memo: &mut Memo) -> Cached<()> {
        match self.local.at_hand(need, memo) {
            // Whoever asks first refuses: what was opened must not outlast that.
            Cached::Denied(state) => {
                if let Some((partition, _)) = self.of(need) {
                    self.profiles.state_is(&partition, state);
                }
                Cached::Denied(state)
            }
            Cached::Hit(()) if self.control.is_empty() => Cached::Hit(()),
            Cached::Hit(()) => match self.of(need) {
                Some((partition, seals)) => self.hindered(&partition, seals),
                None => Cached::Hit(()),
            },
            other => other,
        }
    }

    fn delegate(&self, jobs: Vec<Delegated>) -> Delegating<'_> {
        self.profiles.delegate(jobs)
    }

    fn fetch(&self, need: Need) -> Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + '_>> {
        let unheard = self.of(&need).map(|(partition, _)| partition);
        let unheard = unheard.filter(|partition| self.standing(partition).is_err());
        Box::pin(async move {
            if let Some(partition) = unheard {
                self.first_answer(&partition).await?;
            }
            let fetched = self.local.fetch(need).await;
            if let Err(KeyringError::Denied(partition, state)) = &fetched {
                self.profiles.state_is(partition, *state);
            }
            fetched
        })
    }
}

/// Nothing was heard of a partition, or nothing that still holds.
#[derive(Debug, Clone, Copy)]
struct Unheard;

fn there(standing: &Standing, role: &str) -> Permissions {
    standing.roles.iter().find(|(name, _)| name == role).map_or(Permissions(0), |(_, permissions)| *permissions)
}

fn both(here: Permissions, there: Permissions) -> Permissions {
    Permissions((here.0 & there.0 & !STRICTER) | ((here.0 | there.0) & STRICTER))
}

/// How a control plane's rollovers are done here: in the audit log first, where there is one.
fn rolling(keyring: &Arc<Keyring>, audit: Option<Arc<Audit>>) -> Roll {
    let keyring = Arc::clone(keyring);
    Arc::new(move |partition| {
        let roll = || keyring.roll_current(partition);
        let act = Act { who: "crypteron", what: "partition.rollover", on: partition.as_str() };
        let rolled = match &audit {
            Some(audit) => audit.around(&act, roll),
            None => roll(),
        };
        rolled.map_err(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests;
