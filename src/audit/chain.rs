//! Appending to a log that other processes append to as well. A process remembers the last line it has seen and checks that
//! whatever stands after it is chained to it, so that lines which were exchanged behind its back are told, not vouched for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::checkpoint::{self, Checkpoint};
use super::line::{Content, Line, hash, rfc3339, unhex};
use crate::clock::SharedClock;
use crate::crypto::hex::encode as hex;
use crate::crypto::random;
use crate::keyring::store::{Put, StoreError};
use crate::keyring::{Keyring, KeyringError};

/// Lost races before we give up; each means that another process wrote a line.
const ATTEMPTS: u32 = 128;
/// After so many we let the others go first.
const EAGER: u32 = 4;
/// Lines read at once; each is at most 1 MiB.
const PAGE: usize = 32;

/// See the module.
pub struct Chain {
    keyring: Arc<Keyring>,
    clock: SharedClock,
    instance: String,
    state: Mutex<State>,
    alarms: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The last line seen.
    head: Option<Head>,
    /// A head that is no longer in the log: an alarm tells of it.
    lost: Option<Head>,
    /// Lines seen since the last genuine checkpoint.
    uncovered: u64,
    /// Lines of which we do not know whether they were written, one for each content.
    doubts: Vec<Doubt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    number: u64,
    hash: [u8; 32],
}

struct Doubt {
    content: Content,
    line: Head,
    time: String,
    found: bool,
}

impl State {
    /// Takes out what is known of an earlier try to write this.
    fn doubt(&mut self, content: &Content) -> Option<Doubt> {
        let at = self.doubts.iter().position(|doubt| doubt.content == *content)?;
        Some(self.doubts.swap_remove(at))
    }
}

impl Chain {
    /// On the log of this keyring's store.
    pub fn new(keyring: Arc<Keyring>, clock: SharedClock) -> Result<Self, KeyringError> {
        keyring.records()?;
        let instance = hex(&random::bytes::<8>()?);
        Ok(Self { keyring, clock, instance, state: Mutex::default(), alarms: AtomicU64::new(0) })
    }

    /// Appends a line and gives its number. May block.
    pub fn append(&self, content: &Content) -> Result<u64, KeyringError> {
        let mut state = self.lock();
        let appended = self.append_with(&mut state, |_, _| Ok(content.clone()), None)?;
        Ok(appended.number)
    }

    /// The same for a line that is tried again until this succeeds: a failed try may have written it all the same, as where
    /// the connection broke before the answer came, and then it is not written twice. May block.
    pub fn append_once(&self, content: &Content) -> Result<(), KeyringError> {
        self.append_with(&mut self.lock(), |_, _| Ok(content.clone()), Some(content)).map(drop)
    }

    /// Signs the log as it stands and says so in it; `None` if nothing was written since the last one and `always` is not
    /// asked for. May block.
    pub fn checkpoint(&self, always: bool) -> Result<Option<Checkpoint>, KeyringError> {
        let mut state = self.lock();
        self.follow(&mut state)?;
        if state.head.is_none_or(|head| head.number == 0) || (state.uncovered == 0 && !always) {
            return Ok(None);
        }
        let mut signed = None;
        let make = |head: Head, time: &str| {
            let checkpoint = Checkpoint::sign(&self.keyring, (head.number, head.hash), time, &self.instance)?;
            let content = Content::Checkpoint { signature: checkpoint.signature.clone() };
            signed = Some(checkpoint);
            Ok(content)
        };
        self.append_with(&mut state, make, None)?;
        Ok(signed)
    }

    /// Lines seen since the last checkpoint.
    pub fn uncovered(&self) -> u64 {
        self.lock().uncovered
    }

    /// How often the log was found to be another than the one seen before.
    pub fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::Relaxed)
    }

    fn append_with(
        &self,
        state: &mut State,
        mut make: impl FnMut(Head, &str) -> Result<Content, KeyringError>,
        once: Option<&Content>,
    ) -> Result<Head, KeyringError> {
        for attempt in 0..ATTEMPTS {
            let head = match state.head {
                Some(head) => head,
                None => self.look(state)?,
            };
            let mut time = rfc3339(self.clock.now());
            if let Some(doubt) = once.and_then(|content| state.doubt(content)) {
                if doubt.found {
                    return Ok(doubt.line);
                }
                if doubt.line.number == head.number + 1 && state.lost.is_none() {
                    // The very same bytes: whichever of the two tries is written, the other one is not.
                    time.clone_from(&doubt.time);
                }
                state.doubts.push(doubt);
            }
            let (content, ours) = match (head.number, state.lost) {
                (0, _) => (Content::first(self.keyring.owner()), false),
                // Before anything else: what is signed later must not vouch for a log that is not the one we saw.
                (_, Some(lost)) => (Content::Alarm { number: lost.number, hash: hex(&lost.hash) }, false),
                _ => (make(head, &time)?, true),
            };
            let covers = matches!(content, Content::Checkpoint { .. });
            let number = head.number + 1;
            let line =
                Line { number, time: time.clone(), instance: self.instance.clone(), prev: hex(&head.hash), content };
            let bytes = line.encode().map_err(|error| KeyringError::Mismatch(format!("an audit line: {error}")))?;
            let next = Head { number, hash: hash(&bytes) };
            match self.keyring.records()?.append_audit(number, &bytes) {
                Ok(Put::Done) => {
                    state.head = Some(next);
                    state.uncovered = if covers { 0 } else { state.uncovered + 1 };
                    if head.number > 0 {
                        state.lost = None;
                    }
                    if ours {
                        // What was in doubt had this number or a lower one, so it is not written any more.
                        drop(once.and_then(|content| state.doubt(content)));
                        return Ok(next);
                    }
                }
                Ok(Put::Conflict) => {
                    if attempt > EAGER {
                        std::thread::sleep(pause(attempt)?);
                    }
                    self.follow(state)?;
                }
                Err(error) => {
                    if let Some(content) = once.filter(|_| ours) {
                        drop(state.doubt(content));
                        state.doubts.push(Doubt { content: content.clone(), line: next, time, found: false });
                    }
                    return Err(error.into());
                }
            }
        }
        Err(KeyringError::Unavailable("too many processes write to the audit log at once; try again".into()))
    }

    /// Reads on from the last line seen.
    fn follow(&self, state: &mut State) -> Result<(), KeyringError> {
        let Some(mut head) = state.head else { return self.look(state).map(drop) };
        let records = self.keyring.records()?;
        let mut any = false;
        loop {
            let page = records.audit_after(head.number, PAGE)?;
            for (number, bytes) in &page {
                let line = Line::decode(bytes).ok().filter(|line| line.number == *number);
                let follows = line.as_ref().is_some_and(|line| unhex(&line.prev) == Some(head.hash));
                if *number != head.number + 1 || !follows {
                    return self.lost(state, head);
                }
                let covers = line.is_some_and(|line| self.is_genuine(&line, head));
                state.uncovered = if covers { 0 } else { state.uncovered + 1 };
                head = Head { number: *number, hash: hash(bytes) };
                for doubt in &mut state.doubts {
                    doubt.found |= doubt.line == head;
                }
                state.head = Some(head);
                any = true;
            }
            if page.len() < PAGE {
                break;
            }
        }
        // Nothing after it: is it still the last?
        if !any && head.number > 0 {
            let last = records.last_audit()?;
            match last {
                Some((number, bytes)) if number == head.number && hash(&bytes) == head.hash => {}
                Some((number, _)) if number > head.number => {} // written this moment
                _ => return self.lost(state, head),
            }
        }
        Ok(())
    }

    /// The log is not the one we saw. We go on from what is there, so that it shows where it was changed.
    fn lost(&self, state: &mut State, head: Head) -> Result<(), KeyringError> {
        self.alarms.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            alarm = true,
            number = head.number,
            hash = hex(&head.hash),
            "the audit log was changed: the line of this number and hash, which this process has seen, is no longer what the log \
             goes on from; `sidecloak audit verify` finds the place"
        );
        state.lost = Some(head);
        self.look(state).map(drop)
    }

    fn look(&self, state: &mut State) -> Result<Head, KeyringError> {
        let last = self.keyring.records()?.last_audit()?;
        let head = match &last {
            Some((number, bytes)) => Head { number: *number, hash: hash(bytes) },
            None => Head { number: 0, hash: self.keyring.owner_fingerprint() },
        };
        // A process that starts again and again does not sign each time. Of any other line we do not know whether it is covered.
        let covers = last.and_then(|(number, bytes)| Line::decode(&bytes).ok().filter(|line| line.number == number));
        let covers = covers.is_some_and(|line| {
            let before = unhex(&line.prev).map(|hash| Head { number: line.number.saturating_sub(1), hash });
            before.is_some_and(|before| self.is_genuine(&line, before))
        });
        state.uncovered = if covers { 0 } else { head.number.min(1) };
        state.head = Some(head);
        Ok(head)
    }

    fn is_genuine(&self, line: &Line, before: Head) -> bool {
        matches!(&line.content, Content::Checkpoint { signature }
            if checkpoint::is_signed(self.keyring.owner(), (before.number, &before.hash), (&line.time, &line.instance), signature))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longer with each lost race, and never the same for two.
fn pause(attempt: u32) -> Result<Duration, StoreError> {
    let [random] = random::bytes::<1>().map_err(|e| StoreError::Unavailable(e.to_string()))?;
    Ok(Duration::from_micros(u64::from(random) * u64::from(attempt.min(64))))
}
