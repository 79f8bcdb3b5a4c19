//! Roll-overs every so many days.

use serde::{Deserialize, Serialize};

use super::{Claim, Claimed, Kinds, Lifecycle, RETRY, Target};
use crate::audit::Act;
use crate::directory::{Ends, Entry};
use crate::keyring::store::Put;
use crate::keyring::{KeyringError, State};
use crate::name::PartitionName;

const DAY: u64 = 86_400;
/// Partitions rolled before the claim is renewed.
const RENEWED: usize = 32;

/// A partition or app whose epochs are rolled every so many days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// `partition:NAME` or `app:NAME`.
    pub target: String,
    /// The days between.
    pub days: u32,
    /// Which epochs.
    pub kinds: Kinds,
    /// When it is due next (Unix seconds).
    pub next: u64,
    /// When it was done last.
    pub last: Option<u64>,
    /// Who set it.
    pub set_by: String,
    /// After a failure, not before.
    retry: u64,
    claim: Option<Claim>,
}

impl Claimed for Schedule {
    const KIND: &'static str = "schedule";

    fn claim(&mut self) -> &mut Option<Claim> {
        &mut self.claim
    }
}

impl Lifecycle {
    /// Rolls the target's epochs every so many days from now on, in place of what was set before; 0: no longer.
    pub fn schedule(&self, who: &str, target: &Target, days: u32, kinds: Kinds) -> Result<(), KeyringError> {
        let id = target.to_string();
        let what = if days == 0 { "schedule.end" } else { "schedule.set" };
        self.audit.around(&Act { who, what, on: &id }, || {
            if days == 0 {
                let there = self.directory.delete(Schedule::KIND, &id)?;
                return if there {
                    Ok(())
                } else {
                    Err(KeyringError::Unknown(format!("nothing is scheduled for {id}")))
                };
            }
            // A name that is mistyped would never be rolled, and nobody would know.
            self.for_each(target, |name| self.keyring.partition(name).map(drop))?;
            for _ in 0..8 {
                let old = self.directory.get::<Schedule>(Schedule::KIND, &id)?;
                let (version, last) = old.map_or((0, None), |old| (old.version, old.value.last));
                let next = self.now() + u64::from(days) * DAY;
                let set_by = who.to_owned();
                let schedule = Schedule { target: id.clone(), days, kinds, next, last, set_by, retry: 0, claim: None };
                if self.directory.put(Schedule::KIND, &id, version, &schedule, Ends::never())? == Put::Done {
                    return Ok(());
                }
            }
            Err(KeyringError::Unavailable(format!("the schedule of {id} is being changed by others; try again")))
        })
    }

    /// All of them.
    pub fn schedules(&self) -> Result<Vec<Schedule>, KeyringError> {
        Ok(self.all::<Schedule>()?.into_iter().map(|entry| entry.value).collect())
    }

    pub(super) fn run_schedules(&self) -> Result<usize, KeyringError> {
        let now = self.now();
        let due = |schedule: &Schedule| schedule.next <= now && schedule.retry <= now;
        let mut done = 0;
        for entry in self.all::<Schedule>()?.into_iter().filter(|entry| due(&entry.value)) {
            if let Some(entry) = self.claim(&entry.id, due)? {
                self.run_schedule(entry)?;
                done += 1;
            }
        }
        Ok(done)
    }

    fn run_schedule(&self, mut entry: Entry<Schedule>) -> Result<(), KeyringError> {
        let Schedule { kinds, next, .. } = entry.value;
        let Some(target) = Target::parse(&entry.value.target) else {
            return Err(KeyringError::Mismatch(format!("the schedule of {} is of no partition", entry.id)));
        };
        let who = format!("schedule of {}", entry.value.set_by);
        let act = Act { who: &who, what: "partition.rollover", on: &target.to_string() };
        let mut rolled = 0;
        let done = self.audit.around(&act, || {
            self.for_each(&target, |name| {
                rolled += 1;
                if rolled % RENEWED == 0 && !self.keep_claim(&mut entry)? {
                    return Err(KeyringError::Unavailable("another process has taken it over".into()));
                }
                self.roll_what_is_older(name, kinds, next)
            })
        });
        let (now, days) = (self.now(), u64::from(entry.value.days.max(1)));
        match done {
            Ok(()) => {
                entry.value.last = Some(now);
                entry.value.next = next + ((now - next.min(now)) / (days * DAY) + 1) * days * DAY;
                entry.value.retry = 0;
            }
            // Those that were rolled are not rolled again.
            Err(_) => entry.value.retry = now + RETRY,
        }
        self.release(&mut entry)?;
        done
    }

    /// Whoever did this before and died has rolled some: an epoch from after the due time is not rolled again.
    fn roll_what_is_older(&self, name: &PartitionName, kinds: Kinds, due: u64) -> Result<(), KeyringError> {
        let kinds: Vec<_> = self
            .keyring
            .current_epochs(name)?
            .into_iter()
            .filter(|epoch| epoch.created < due && kinds.as_kinds().contains(&epoch.kind))
            .map(|epoch| epoch.kind)
            .collect();
        if kinds.is_empty() {
            return Ok(());
        }
        match self.keyring.rollover(name, &kinds) {
            // Nothing is sealed there any more.
            Err(KeyringError::Denied(_, State::Destroyed | State::DecryptOnly)) => Ok(()),
            other => other,
        }
    }
}
