//! A value in memory whose selected parts are replaced one after the other.

use std::collections::VecDeque;

use super::hold::Hold;
use crate::json::splice::{EditError, Replace, Step};
use crate::jsonpath::evaluate::{Found, evaluate};
use crate::jsonpath::matcher::Start;
use crate::jsonpath::matcher::table::Table;
use crate::jsonpath::patch::touched;
use crate::jsonpath::tree::Tree;

/// See the module.
pub struct Buffered {
    hold: Hold,
    /// Still to be replaced, in order.
    found: VecDeque<Found>,
    /// What stands before this has left, or was replaced.
    passed: usize,
    /// The first of `found` was asked for, and waits.
    asked: bool,
}

impl Buffered {
    /// Finds what the paths select in it.
    pub fn new(hold: Hold, table: &Table, start: &Start, patterns: &mut usize) -> Result<Self, &'static str> {
        // Its nesting was bounded as it was scanned.
        let tree = Tree::parse(hold.bytes(), usize::MAX).map_err(|error| error.what)?;
        let found = evaluate(&tree, table, start, patterns).map_err(|undecided| undecided.as_str())?;
        Ok(Self { hold, found: found.into(), passed: 0, asked: false })
    }

    /// Finds what the paths select at the place that an operation of a patch writes.
    pub fn operation<R: Replace>(
        hold: Hold,
        table: &Table,
        patterns: &mut usize,
        replace: &mut R,
    ) -> Result<Self, EditError<R::Error>> {
        let touched = touched(hold.bytes(), table, patterns).map_err(EditError::Undecided)?;
        if let Some((from, to)) = touched.carries {
            replace.carry(from, to).map_err(EditError::Refused)?;
        }
        for one in touched.found.iter().filter(|_| touched.compares) {
            replace.compare(one.path).map_err(EditError::Refused)?;
        }
        Ok(Self { hold, found: touched.found.into(), passed: 0, asked: false })
    }

    /// Replaces what is left, until something waits.
    pub fn go_on<R: Replace>(&mut self, out: &mut Vec<u8>, replace: &mut R) -> Result<Step, R::Error> {
        let bytes = self.hold.bytes();
        while let Some(Found { span: range, path: selector, record }) = self.found.front().cloned() {
            out.extend_from_slice(bytes.get(self.passed..range.start).unwrap_or_default());
            self.passed = range.start;
            let raw = bytes.get(range.clone()).unwrap_or_default();
            if !std::mem::replace(&mut self.asked, true) && raw.len() > replace.begin(selector) {
                replace.too_large(selector)?;
                out.extend_from_slice(raw);
            } else if replace.replace(selector, raw, record.as_deref(), out)? == Step::Wait {
                return Ok(Step::Wait);
            }
            (self.passed, self.asked) = (range.end, false);
            self.found.pop_front();
        }
        out.extend_from_slice(bytes.get(self.passed..).unwrap_or_default());
        Ok(Step::Done)
    }

    /// Bytes held in buffers.
    pub fn held(&self) -> usize {
        self.hold.held()
            + self
                .found
                .iter()
                .map(|one| size_of::<Found>() + one.record.as_ref().map_or(0, |record| record.len()))
                .sum::<usize>()
    }
}
