//! Output some of which may not leave yet: values in it wait for managed APIs, or a document in it may prove to be none.

use std::sync::Arc;

use super::body::{Fields, Outcome};
use super::content::Content;
use super::later::Later;
use crate::refusal::{Reason, Refusal};

/// See the module.
#[derive(Default)]
pub(super) struct Draft {
    /// What the documents became so far; values that wait have no byte in it.
    pub bytes: Vec<u8>,
    /// The same with what came for them, up to the first that waits for more.
    filled: Option<Filled>,
}

#[derive(Default)]
struct Filled {
    bytes: Vec<u8>,
    /// So much of the draft is in it.
    copied: usize,
    /// Where in the draft the document begins that may prove to be none.
    unsettled: usize,
}

impl Draft {
    /// Puts what came for the values that wait in their places. `false`: a value needs something else first.
    pub fn fill(&mut self, fields: &mut Fields, documents: &mut Content) -> Result<bool, Refusal> {
        let unsettled = self.bytes.len().saturating_sub(documents.unsettled());
        let plan = Arc::clone(&fields.plan);
        let mut filled = self.filled.take().unwrap_or_else(|| Filled { unsettled, ..Filled::default() });
        while let Some(mut waiting) = fields.later.pop() {
            filled.bytes.extend_from_slice(self.bytes.get(filled.copied..waiting.at).unwrap_or_default());
            filled.copied = waiting.at;
            let start = filled.bytes.len();
            fields.answer = waiting.answer.take();
            let record = waiting.record.as_ref().map(|record| record.expose());
            let outcome = fields.act(&plan, waiting.selector, waiting.raw.expose(), record, &mut filled.bytes);
            let answer = fields.answer.take();
            match outcome? {
                Outcome::Done(_) => {
                    documents.keep_framing(filled.bytes.get_mut(start..).unwrap_or_default());
                    if waiting.at >= filled.unsettled {
                        documents.grown(filled.bytes.len() - start);
                    }
                }
                Outcome::Wait(need) => {
                    fields.wait_for(need);
                    waiting.answer = answer;
                    fields.later.put_back(waiting);
                    self.filled = Some(filled);
                    return Ok(false);
                }
                Outcome::Later(_) => {
                    return Err(Refusal::new(Reason::KeyService, "a value waits although it was answered"));
                }
            }
        }
        filled.bytes.extend_from_slice(self.bytes.get(filled.copied..).unwrap_or_default());
        self.bytes = filled.bytes;
        Ok(true)
    }

    /// Moves what may leave to `out`: all before the first value that waits, and before the last `unsettled` bytes.
    pub fn leave(&mut self, later: &mut Later, unsettled: usize, out: &mut Vec<u8>) {
        let settled = self.bytes.len().saturating_sub(unsettled);
        let until = later.first().map_or(settled, |first| first.min(settled));
        out.extend(self.bytes.drain(..until));
        later.left(until);
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.bytes.capacity() + self.filled.as_ref().map_or(0, |filled| filled.bytes.capacity())
    }
}
