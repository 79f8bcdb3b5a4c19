//! What a roll-out is judged by: counts of one rule and of each of its fields, since the rule is in force as it is. They stand beside
//! the compiled rule and are added to once per body.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::FieldEvent;
use super::count::Count;
use super::sketch::{Run, Sketch};
use crate::refusal::Reason;

/// What a value is that is no string, and that sealing makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// `null`, where it is sealed.
    Null,
    /// An object.
    Object,
    /// An array.
    Array,
}

/// How many of them there are.
pub const KINDS: usize = Kind::Array as usize + 1;

impl Kind {
    /// All, in the order of counts.
    pub const ALL: [Self; KINDS] = [Self::Number, Self::Boolean, Self::Null, Self::Object, Self::Array];

    /// Of a JSON value that begins with this byte; `None`: a string.
    pub fn of(first: u8) -> Option<Self> {
        match first {
            b'"' => None,
            b't' | b'f' => Some(Self::Boolean),
            b'n' => Some(Self::Null),
            b'{' => Some(Self::Object),
            b'[' => Some(Self::Array),
            _ => Some(Self::Number),
        }
    }

    /// As a label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
            Self::Object => "object",
            Self::Array => "array",
        }
    }
}

/// Of one field.
#[derive(Default)]
pub struct FieldStats {
    events: [Count; FieldEvent::COUNT],
    bodies: Count,
    kinds: [Count; KINDS],
    /// Of tokens, made or forecast.
    pub lengths: Sketch,
    last_matched: AtomicU64,
    last_unwanted: AtomicU64,
    /// One more than how many values there had been by then; 0: none can keep anything waiting.
    until_unwanted: AtomicU64,
}

/// What one body held for a field.
#[derive(Debug)]
pub struct Body<'a, E> {
    /// How its values ended.
    pub ended: E,
    /// See [`Kind`].
    pub kinds: &'a [u64; KINDS],
    /// How many values.
    pub values: u64,
    /// How many of them keep the next step of a roll-out waiting, if any can.
    pub unwanted: Option<u64>,
    /// Unix seconds.
    pub now: u64,
}

impl FieldStats {
    /// Adds a body and the rest of its tokens' lengths.
    pub fn add(&self, body: Body<'_, impl Iterator<Item = (FieldEvent, u64)>>, mut lengths: Run) {
        if body.values == 0 {
            self.absent();
            return;
        }
        self.bodies.add(1);
        self.more(FieldEvent::Matched, body.values);
        for (event, count) in body.ended.filter(|(event, n)| *n > 0 && *event != FieldEvent::Matched) {
            self.more(event, count);
        }
        for (counter, count) in self.kinds.iter().zip(body.kinds).filter(|(_, count)| **count > 0) {
            counter.add(*count);
        }
        lengths.end(&self.lengths);
        self.last_matched.store(body.now, Ordering::Relaxed);
        match body.unwanted {
            Some(0) if read(&self.until_unwanted) == 0 => self.until_unwanted.store(1, Ordering::Relaxed),
            None | Some(0) => {}
            Some(_) => {
                self.last_unwanted.store(body.now, Ordering::Relaxed);
                self.until_unwanted.store(self.events(FieldEvent::Matched) + 1, Ordering::Relaxed);
            }
        }
    }

    /// A body held nothing for it.
    pub fn absent(&self) {
        self.more(FieldEvent::Absent, 1);
    }

    /// How often this happened; `Matched` counts all values.
    pub fn events(&self, event: FieldEvent) -> u64 {
        self.event(event).map_or(0, Count::read)
    }

    /// Bodies with at least one value.
    pub fn bodies(&self) -> u64 {
        self.bodies.read()
    }

    /// Values that sealing makes strings, or did.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, u64)> {
        Kind::ALL.into_iter().zip(self.kinds.iter().map(Count::read))
    }

    /// When a value was last selected (Unix seconds).
    pub fn last_matched(&self) -> Option<u64> {
        Some(read(&self.last_matched)).filter(|time| *time > 0)
    }

    /// When a value last kept the next step waiting, and how many values there were since.
    pub fn unwanted(&self) -> (Option<u64>, u64) {
        let until = read(&self.until_unwanted).checked_sub(1);
        let since = until.map_or(0, |until| self.events(FieldEvent::Matched).saturating_sub(until));
        (Some(read(&self.last_unwanted)).filter(|time| *time > 0), since)
    }

    fn more(&self, event: FieldEvent, count: u64) {
        if let Some(counter) = self.event(event) {
            counter.add(count);
        }
    }

    fn event(&self, event: FieldEvent) -> Option<&Count> {
        self.events.get(event as usize)
    }
}

/// A set of counts beside what it counts, which may be put in the place of another's.
#[derive(Default)]
pub struct Kept<T>(OnceLock<Arc<T>>);

impl<T: Default> Kept<T> {
    /// The counts; new ones, unless [`Self::take`] came first.
    pub fn get(&self) -> &Arc<T> {
        self.0.get_or_init(Arc::default)
    }

    /// Goes on with these, if nothing was counted yet.
    pub fn take(&self, counts: Arc<T>) {
        drop(self.0.set(counts));
    }
}

impl<T> fmt::Debug for Kept<T> {
    /// Always the same: counts are no part of what a rule says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// Of one rule.
#[derive(Default)]
pub struct RuleStats {
    since: AtomicU64,
    /// Microseconds that this process added to each exchange.
    pub added: Sketch,
    rare: Mutex<Rare>,
}

/// What does not happen with every message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rare {
    /// Exchanges refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// When the last one was (Unix seconds).
    pub last_refused: Option<u64>,
    /// Requests, and answers, that could not be read and passed, by reason.
    pub unread: [BTreeMap<&'static str, u64>; 2],
}

impl RuleStats {
    /// Of a rule that is in force from now on.
    pub fn from(now: u64) -> Self {
        Self { since: AtomicU64::new(now), ..Self::default() }
    }

    /// Since when it is (Unix seconds).
    pub fn since(&self) -> u64 {
        read(&self.since)
    }

    /// An exchange was refused.
    pub fn refused(&self, reason: Reason, now: u64) {
        let mut rare = self.rare.lock().unwrap_or_else(PoisonError::into_inner);
        *rare.refused.entry(reason.word()).or_default() += 1;
        rare.last_refused = Some(now);
    }

    /// A request (`answer`: or what came back) passed unread.
    pub fn unread(&self, answer: bool, reason: Reason) {
        let mut rare = self.rare.lock().unwrap_or_else(PoisonError::into_inner);
        let [requests, answers] = &mut rare.unread;
        *if answer { answers } else { requests }.entry(reason.word()).or_default() += 1;
    }

    /// Those counts.
    pub fn rare(&self) -> Rare {
        self.rare.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl fmt::Debug for FieldStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FieldStats")
    }
}

impl fmt::Debug for RuleStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleStats")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_counted_once_and_what_is_unwanted_begins_the_waiting_anew() {
        let stats = FieldStats::default();
        let body = |plain: u64, values: u64, now: u64| {
            let ended =
                [(FieldEvent::Matched, 9), (FieldEvent::Plaintext, plain), (FieldEvent::Opened, values - plain)];
            let ended = ended.into_iter();
            let body = Body { ended, kinds: &[plain, 0, 0, 0, 0], values, unwanted: Some(plain), now };
            let mut lengths = Run::default();
            (0..values).for_each(|_| lengths.add(80, &stats.lengths));
            stats.add(body, lengths);
        };
        body(0, 3, 7);
        assert_eq!(stats.unwanted(), (None, 3));
        body(1, 2, 8);
        assert_eq!(stats.unwanted(), (Some(8), 0));
        body(0, 4, 9);
        assert_eq!((stats.unwanted(), stats.last_matched()), ((Some(8), 4), Some(9)));
        let counted = [FieldEvent::Matched, FieldEvent::Plaintext, FieldEvent::Opened, FieldEvent::Absent];
        assert_eq!(counted.map(|event| stats.events(event)), [9, 1, 8, 0]);
        assert_eq!((stats.bodies(), stats.lengths.read().count), (3, 9));
        let nothing = Body { ended: [].into_iter(), kinds: &[0; KINDS], values: 0, unwanted: Some(0), now: 10 };
        stats.add(nothing, Run::default());
        assert_eq!((stats.events(FieldEvent::Absent), stats.bodies(), stats.last_matched()), (1, 3, Some(9)));
        assert_eq!(stats.kinds().next(), Some((Kind::Number, 1)));
    }

    #[test]
    fn the_first_byte_tells_what_a_value_is() {
        let words = |text: &str| Kind::of(text.as_bytes()[0]).map(Kind::word);
        let texts = ["\"a\"", "-1", "7", "true", "false", "null", "{}", "[]"];
        let expected = [
            None,
            Some("number"),
            Some("number"),
            Some("boolean"),
            Some("boolean"),
            Some("null"),
            Some("object"),
            Some("array"),
        ];
        assert_eq!(texts.map(words), expected);
    }
}
