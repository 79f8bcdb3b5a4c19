//! Reading a log that somebody may have changed: line by line, in memory that does not grow with it.

use std::collections::BTreeMap;

use super::checkpoint::{self, Checkpoint, owner_key};
use super::line::{Content, FORMAT, Line, hash, seconds, unhex};
use crate::crypto::hex::encode as hex;
use crate::crypto::kdf::sha256;
use crate::crypto::sign::VerifyingKey;
use crate::keyring::{Keyring, KeyringError};

/// Acts without an outcome that are remembered; a log with more is refused.
const OPEN: usize = 1 << 20;
/// Lines read at once; each is at most 1 MiB.
const PAGE: usize = 64;

/// The first line that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {why}")]
pub struct Bad {
    /// Its number, or the one that is missing.
    pub number: u64,
    /// What is wrong.
    pub why: String,
}

/// What a sound log told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its lines.
    pub lines: u64,
    /// SHA-256 of the last one.
    pub head: String,
    /// SHA-256 of the verifying key of the owner.
    pub owner: String,
    /// How many checkpoints of the owner's are in it.
    pub checkpoints: u64,
    /// The last line that one of them vouches for; what comes after is chained, but by anybody who writes the store.
    pub signed_up_to: u64,
    /// Acts without an outcome, by number: the process that did them died, or does them still.
    pub open: BTreeMap<u64, OpenAct>,
}

/// An act without an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAct {
    /// Who asked for it.
    pub who: String,
    /// What.
    pub what: String,
    /// On what.
    pub on: String,
    instance: String,
}

/// Takes lines in their order.
#[derive(Debug)]
pub struct Verifier {
    pin: Option<[u8; 32]>,
    owner: Option<VerifyingKey>,
    /// Checkpoints from outside, by the line that they vouch for.
    held: BTreeMap<u64, [u8; 32]>,
    number: u64,
    head: [u8; 32],
    checkpoints: u64,
    signed_up_to: u64,
    open: BTreeMap<u64, OpenAct>,
}

impl Verifier {
    /// For the log of the owner whose verifying key has this SHA-256; without, the log's word is taken for whose it is.
    pub fn new(owner: Option<[u8; 32]>) -> Self {
        Self {
            pin: owner,
            owner: None,
            held: BTreeMap::new(),
            number: 0,
            head: [0; 32],
            checkpoints: 0,
            signed_up_to: 0,
            open: BTreeMap::new(),
        }
    }

    /// Holds the log against a checkpoint that was kept elsewhere; `false`: it is not of the pinned owner.
    pub fn hold(&mut self, checkpoint: &Checkpoint) -> bool {
        let owner = match self.pin {
            Some(pin) => pin,
            // Then the log must be of this checkpoint's owner.
            None => match owner_key(&checkpoint.owner) {
                Some(key) => sha256(key.as_bytes()),
                None => return false,
            },
        };
        let Some(hash) = checkpoint.verify(&owner) else { return false };
        self.pin = Some(owner);
        self.held.insert(checkpoint.number, hash).is_none_or(|other| other == hash)
    }

    /// The next line, under the number that it lies at, if it lies under one.
    pub fn feed(&mut self, number: Option<u64>, bytes: &[u8]) -> Result<Line, Bad> {
        let expected = self.number + 1;
        let bad = |why: &str| Bad { number: expected, why: why.into() };
        if number.is_some_and(|number| number != expected) {
            return Err(bad("is missing"));
        }
        let line = Line::decode(bytes).map_err(|error| bad(&error.to_string()))?;
        if line.number != expected {
            return Err(bad(&format!("line {} stands in its place", line.number)));
        }
        if seconds(&line.time).is_none() {
            return Err(bad("it has no time"));
        }
        if expected == 1 {
            self.begin(&line).map_err(bad)?;
        } else if unhex(&line.prev) != Some(self.head) {
            return Err(bad("it does not follow from the line before: one of the two was changed"));
        }
        self.check(&line).map_err(|why| bad(&why))?;
        let hash = hash(bytes);
        if self.held.get(&expected).is_some_and(|held| *held != hash) {
            return Err(bad("it is another than the one that a checkpoint kept elsewhere vouches for"));
        }
        self.number = expected;
        self.head = hash;
        Ok(line)
    }

    /// The log has ended.
    pub fn finish(self) -> Result<Report, Bad> {
        let next = self.number + 1;
        if let Some((held, _)) = self.held.range(next..).next_back() {
            let why = format!("the log was cut off before it: a checkpoint kept elsewhere vouches for line {held}");
            return Err(Bad { number: next, why });
        }
        Ok(Report {
            lines: self.number,
            head: hex(&self.head),
            owner: self.pin.map(|pin| hex(&pin)).unwrap_or_default(),
            checkpoints: self.checkpoints,
            signed_up_to: self.signed_up_to,
            open: self.open,
        })
    }

    fn begin(&mut self, line: &Line) -> Result<(), &'static str> {
        let Content::Start { format, owner, .. } = &line.content else { return Err("the log does not begin with it") };
        if format != FORMAT {
            return Err("the log is of a format that this version does not know");
        }
        let owner = owner_key(owner).ok_or("it holds no owner's key")?;
        let fingerprint = sha256(owner.as_bytes());
        if self.pin.is_some_and(|pin| pin != fingerprint) {
            return Err("the log is of another owner");
        }
        if unhex(&line.prev) != Some(fingerprint) {
            return Err("it is not anchored to the owner's key");
        }
        self.pin = Some(fingerprint);
        self.owner = Some(owner);
        Ok(())
    }

    fn check(&mut self, line: &Line) -> Result<(), String> {
        match &line.content {
            Content::Start { .. } if line.number > 1 => return Err("a log begins in its midst".into()),
            Content::Start { .. } | Content::Counts { .. } => {}
            Content::Act { who, what, on } => {
                if self.open.len() >= OPEN {
                    return Err("more acts have no outcome than can be".into());
                }
                let (who, what, on) = (who.clone(), what.clone(), on.clone());
                self.open.insert(line.number, OpenAct { who, what, on, instance: line.instance.clone() });
            }
            Content::Outcome { act, .. } => match self.open.remove(act) {
                Some(open) if open.instance == line.instance => {}
                Some(_) => return Err(format!("it is the outcome of act {act}, which another process began")),
                None => return Err(format!("it is the outcome of act {act}, which is none, or has one already")),
            },
            Content::Checkpoint { signature } => {
                let genuine = self.owner.as_ref().is_some_and(|owner| {
                    checkpoint::is_signed(owner, (self.number, &self.head), (&line.time, &line.instance), signature)
                });
                if !genuine {
                    return Err("its checkpoint is not signed by the owner: the log before it was changed, or the checkpoint is forged".into());
                }
                self.checkpoints += 1;
                self.signed_up_to = self.number;
            }
            Content::Alarm { number, hash } => {
                // Who writes the store may write anything there, and this is shown on a terminal.
                let hash = unhex(hash).map_or_else(|| "none".to_owned(), |hash| hex(&hash));
                return Err(format!(
                    "a process tells that the log was changed behind it: it had seen a line {number} with the hash {hash}, from which the log no longer goes on"
                ));
            }
        }
        Ok(())
    }
}

/// Hands every line of the log in this keyring's store over, with its number, until there is none or `each` fails. May block.
pub fn each_line<E: From<KeyringError>>(
    keyring: &Keyring,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let records = keyring.records()?;
    let mut after = 0;
    loop {
        let page = records.audit_after(after, PAGE).map_err(KeyringError::from)?;
        for (number, line) in &page {
            each(*number, line)?;
            after = *number;
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}
