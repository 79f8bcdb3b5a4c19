//! Values whose replacement a managed API makes: they are kept, with their places in the output, while the rest of the body is
//! worked through, so that one call may serve many.

use std::collections::VecDeque;
use std::mem;

use super::delegate::{Answer, DelegateError, Delegated, Work};
use crate::secret::SecretBytes;

/// At most so many values are handed over at once.
const VALUES: usize = 1_000;

/// Nor more than so many bytes of them, unless it is one value.
const BYTES: usize = 256 * 1024;

/// The values that wait, in the order of their places.
#[derive(Default)]
pub(super) struct Later {
    waiting: VecDeque<Waiting>,
    /// Of `waiting`, not yet handed out.
    jobs: Vec<Delegated>,
    /// Of the values in `waiting`.
    bytes: usize,
    /// What all of this takes.
    held: usize,
    answered: bool,
}

/// One of them.
pub(super) struct Waiting {
    /// Where in the draft its replacement goes.
    pub at: usize,
    pub selector: usize,
    pub raw: SecretBytes,
    pub record: Option<SecretBytes>,
    pub answer: Option<Result<Answer, DelegateError>>,
    held: usize,
}

impl Later {
    /// Whether a value must wait until those before it are done.
    pub fn is_full_for(&self, raw: &[u8]) -> bool {
        self.waiting.len() >= VALUES || (!self.waiting.is_empty() && self.bytes + raw.len() > BYTES)
    }

    pub fn keep(&mut self, at: usize, selector: usize, raw: &[u8], record: Option<&[u8]>, job: Delegated) {
        let handed = match &job.work {
            Work::Seal(text) => text.expose().len(),
            Work::Open(ciphertext) => ciphertext.len(),
        };
        let held = raw.len() + record.map_or(0, <[u8]>::len) + handed + size_of::<Waiting>() + size_of::<Delegated>();
        let secret = |bytes: &[u8]| SecretBytes::new(bytes.to_vec());
        let (raw, record) = (secret(raw), record.map(secret));
        self.bytes += raw.expose().len();
        self.held += held;
        self.jobs.push(job);
        self.waiting.push_back(Waiting { at, selector, raw, record, answer: None, held });
    }

    pub fn jobs(&mut self) -> Vec<Delegated> {
        mem::take(&mut self.jobs)
    }

    /// One answer for each value; anything else is none at all.
    pub fn answered(&mut self, answers: Vec<Result<Answer, DelegateError>>) {
        let whole = answers.len() == self.waiting.len();
        let mut answers = answers.into_iter();
        for waiting in &mut self.waiting {
            let answer = answers.next().filter(|_| whole).unwrap_or_else(|| {
                Err(DelegateError::Unavailable("the answers are not as many as the values asked for".into()))
            });
            let length = match &answer {
                Ok(Answer::Sealed(bytes)) => bytes.len(),
                Ok(Answer::Opened(text)) => text.expose().len(),
                Err(_) => 0,
            };
            waiting.held += length;
            self.held += length;
            waiting.answer = Some(answer);
        }
        self.answered = true;
    }

    pub fn is_answered(&self) -> bool {
        self.answered
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next that is to be put in its place.
    pub fn pop(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front();
        if let Some(next) = &next {
            self.bytes -= next.raw.expose().len();
            self.held -= next.held;
        }
        self.answered &= !self.waiting.is_empty();
        next
    }

    /// It needs something else first.
    pub fn put_back(&mut self, waiting: Waiting) {
        self.bytes += waiting.raw.expose().len();
        self.held += waiting.held;
        self.answered = true;
        self.waiting.push_front(waiting);
    }

    /// Where the first stands.
    pub fn first(&self) -> Option<usize> {
        self.waiting.front().map(|waiting| waiting.at)
    }

    /// So many bytes before all of them have left.
    pub fn left(&mut self, bytes: usize) {
        self.waiting.iter_mut().for_each(|waiting| waiting.at -= bytes);
    }

    /// The output from there on was taken back, and what was to stand in it.
    pub fn taken_back(&mut self, from: usize) {
        while self.waiting.back().is_some_and(|last| last.at >= from)
            && let Some(last) = self.waiting.pop_back()
        {
            self.jobs.pop();
            self.bytes -= last.raw.expose().len();
            self.held -= last.held;
        }
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.held
    }
}
