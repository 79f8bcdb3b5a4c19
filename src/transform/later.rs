//! Values whose replacement a managed API makes: they are kept, with their places in the output, while the rest of the body is
//! worked through, so that one call may serve many.

use std::collections::VecDeque;
use std::mem;

use super::delegate::{Answer, DelegateError, Delegated, Work};
use crate::secret::SecretBytes;

/// At most so many values are handed over at once.
const VALUES: usize = 1_000;

/// Nor more than so many bytes, unless it is one value: of the values, what they are bound to, and what the API gets of them.
const BYTES: usize = 512 * 1024;

/// The values that wait, in the order of their places.
#[derive(Default)]
pub(super) struct Later {
    waiting: VecDeque<Waiting>,
    /// Of `waiting`, not yet handed out.
    jobs: Vec<Delegated>,
    /// What all of this takes, but for the answers.
    kept: usize,
    /// What the answers take.
    answers: usize,
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
    kept: usize,
    answers: usize,
}

impl Later {
    /// Whether a value must wait until those before it are done.
    pub fn is_full_for(&self, raw: &[u8], record: Option<&[u8]>, job: &Delegated) -> bool {
        let full = self.waiting.len() >= VALUES || self.kept + weight(raw, record, job) > BYTES;
        full && !self.waiting.is_empty()
    }

    pub fn keep(&mut self, at: usize, selector: usize, raw: &[u8], record: Option<&[u8]>, job: Delegated) {
        let kept = weight(raw, record, &job);
        let secret = |bytes: &[u8]| SecretBytes::new(bytes.to_vec());
        let (raw, record) = (secret(raw), record.map(secret));
        self.kept += kept;
        self.jobs.push(job);
        self.waiting.push_back(Waiting { at, selector, raw, record, answer: None, kept, answers: 0 });
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
            waiting.answers = length;
            self.answers += length;
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
            self.kept -= next.kept;
            self.answers -= next.answers;
        }
        self.answered &= !self.waiting.is_empty();
        next
    }

    /// It needs something else first.
    pub fn put_back(&mut self, waiting: Waiting) {
        self.kept += waiting.kept;
        self.answers += waiting.answers;
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
            self.kept -= last.kept;
            self.answers -= last.answers;
        }
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.kept + self.answers
    }
}

/// What keeping it takes.
fn weight(raw: &[u8], record: Option<&[u8]>, job: &Delegated) -> usize {
    let handed = match &job.work {
        Work::Seal(text) => text.expose().len(),
        Work::Open(ciphertext) => ciphertext.len(),
    };
    raw.len() + record.map_or(0, <[u8]>::len) + handed + size_of::<Waiting>() + size_of::<Delegated>()
}
