//! The editor: scanner and matcher over one document, whose untouched bytes leave exactly as they came.

mod buffered;
mod hold;
mod leap;

use std::fmt;
use std::sync::Arc;

use crate::json::JsonError;
use crate::json::index::{Index, Sight};
use crate::json::scan::{Event, Kind, Scanner};
use crate::json::splice::{EditError, Fed, Replace, Step};
use crate::jsonpath::Path;
use crate::jsonpath::matcher::{Begun, Matcher, Selectors, Start, Within};
use crate::jsonpath::patch::NO_PATCH;
use buffered::Buffered;
use hold::Hold;

/// Edits one document, fed in chunks of any size. After an error it refuses every further call, and what `out` got before
/// is a part of a document: never to be taken for the whole.
pub struct Editor {
    scanner: Scanner,
    matcher: Matcher,
    sight: Sight,
    mode: Mode,
    /// The next value that ends was seen ahead, and waits: nobody asks about it a second time before that is over.
    asked: bool,
    /// Compiled for filters that match with what the document brings along.
    patterns: usize,
    /// The document is a JSON patch: the paths select where its operations write.
    patch: bool,
}

enum Mode {
    /// Between selected values.
    Passing,
    /// In a selected value.
    Holding(Hold),
    /// In a selected value that is larger than it may be, or where nothing can be selected.
    PassingLarge { depth: usize },
    /// A selected value waits for its replacement.
    Waiting(Hold),
    /// In a value in which the paths select only once it is in memory.
    Buffering { hold: Hold, start: Box<Start> },
    /// One of the values selected in there waits for its replacement.
    Editing(Buffered),
    /// A replacement was refused.
    Refused,
}

impl Editor {
    /// For these paths; the first that selects a value names it. `max_depth` bounds nesting.
    pub fn new(paths: &[Arc<Path>], max_depth: usize) -> Self {
        Self::over(Selectors::new(paths), max_depth)
    }

    /// The same for paths that many documents are edited with.
    pub fn over(selectors: Selectors, max_depth: usize) -> Self {
        let matcher = Matcher::new(selectors);
        let scanner = Scanner::new(max_depth, matcher.longest_name());
        let sight = Sight::new(true);
        Self { scanner, matcher, sight, mode: Mode::Passing, asked: false, patterns: 0, patch: false }
    }

    /// The same for documents that are JSON patches (RFC 6902).
    pub fn over_patches(selectors: Selectors, max_depth: usize) -> Self {
        Self { patch: true, ..Self::over(selectors, max_depth) }
    }

    /// For another document.
    #[must_use]
    pub fn anew(&self, max_depth: usize) -> Self {
        let Self { sight, patch, .. } = *self;
        Self { sight, patch, ..Self::over(self.matcher.selectors(), max_depth) }
    }

    /// Looking ahead in another way.
    #[must_use]
    pub fn seeing(self, sight: Sight) -> Self {
        Self { sight, ..self }
    }

    /// Takes a chunk in and appends what may leave to `out`.
    pub fn feed<R: Replace>(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<Fed, EditError<R::Error>> {
        if self.ask_again(out, replace)? == Step::Wait {
            return Ok(Fed::Waiting(0));
        }
        let mut chunk = Chunk { input, at: 0, passed: 0 };
        let mut index = Index::new(self.sight, self.matcher.table().names().ends(), input);
        loop {
            self.leap(&mut index, &mut chunk, out, replace)?;
            let event = match self.scanner.next(input, &mut chunk.at) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => return Err(self.fail(error, &mut chunk, out, replace)),
            };
            if self.event(event, &mut chunk, out, replace)? == Step::Wait {
                return Ok(Fed::Waiting(chunk.at));
            }
        }
        self.end_chunk(&mut chunk, out, replace)?;
        Ok(Fed::All)
    }

    /// The document has ended. `Fed::Waiting(0)`: call again once the wait is over.
    pub fn finish<R: Replace>(&mut self, out: &mut Vec<u8>, replace: &mut R) -> Result<Fed, EditError<R::Error>> {
        if self.ask_again(out, replace)? == Step::Wait {
            return Ok(Fed::Waiting(0));
        }
        let mut chunk = Chunk { input: &[], at: 0, passed: 0 };
        if let Some(event) = self.scanner.finish().map_err(EditError::Json)?
            && self.event(event, &mut chunk, out, replace)? == Step::Wait
        {
            return Ok(Fed::Waiting(0));
        }
        Ok(Fed::All)
    }

    /// Bytes held back in this editor's buffers, for the memory budget.
    pub fn held(&self) -> usize {
        let value = match &self.mode {
            Mode::Holding(hold) | Mode::Waiting(hold) | Mode::Buffering { hold, .. } => hold.held(),
            Mode::Editing(buffered) => buffered.held(),
            Mode::Passing | Mode::PassingLarge { .. } | Mode::Refused => 0,
        };
        value + self.scanner.held() + self.matcher.held()
    }

    fn event<R: Replace>(
        &mut self,
        event: Event,
        chunk: &mut Chunk<'_>,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<Step, EditError<R::Error>> {
        match &mut self.mode {
            Mode::Passing if self.patch => {
                let Event::Begin(kind) = event else { return Ok(Step::Done) };
                match self.scanner.depth() - usize::from(kind != Kind::Scalar) {
                    0 if kind == Kind::Array => {}
                    0 => return Err(EditError::Undecided(NO_PATCH)),
                    depth => {
                        let hold = Hold::new(0, depth, replace.buffer());
                        self.mode = Mode::Buffering { hold, start: Box::new(self.matcher.at_root()) };
                        chunk.pass(chunk.at.saturating_sub(1), out);
                    }
                }
            }
            Mode::Passing => match event {
                Event::Name => self.matcher.name(self.scanner.name(chunk.input)),
                Event::End(kind) => self.matcher.end(kind),
                Event::Begin(kind) => {
                    let depth = self.scanner.depth() - usize::from(kind != Kind::Scalar);
                    self.mode = match self.matcher.begin(kind) {
                        Begun::Passing => {
                            if kind != Kind::Scalar && self.matcher.within() == Some(Within::Nothing) {
                                self.matcher.end(kind);
                                self.mode = Mode::PassingLarge { depth };
                            }
                            return Ok(Step::Done);
                        }
                        Begun::Selected(selector) => Mode::Holding(Hold::new(selector, depth, replace.begin(selector))),
                        Begun::Buffer(start) => {
                            let first = start.paths().min().unwrap_or_default();
                            Mode::Buffering { hold: Hold::new(first, depth, replace.buffer()), start }
                        }
                    };
                    chunk.pass(chunk.at.saturating_sub(1), out);
                }
            },
            Mode::Buffering { hold, .. } if matches!(event, Event::End(_)) && self.scanner.depth() == hold.depth => {
                return self.end_of_buffered(chunk, out, replace);
            }
            Mode::Holding(hold) if matches!(event, Event::End(_)) && self.scanner.depth() == hold.depth => {
                return self.end_of_held(chunk, out, replace);
            }
            Mode::PassingLarge { depth } if matches!(event, Event::End(_)) && self.scanner.depth() == *depth => {
                self.mode = Mode::Passing;
            }
            Mode::Holding(_)
            | Mode::PassingLarge { .. }
            | Mode::Waiting(_)
            | Mode::Buffering { .. }
            | Mode::Editing(_)
            | Mode::Refused => {}
        }
        Ok(Step::Done)
    }

    fn end_of_buffered<R: Replace>(
        &mut self,
        chunk: &mut Chunk<'_>,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<Step, EditError<R::Error>> {
        let Mode::Buffering { mut hold, start } = std::mem::replace(&mut self.mode, Mode::Refused) else {
            return Ok(Step::Done);
        };
        let rest = chunk.taken();
        if hold.outgrown_by(rest) {
            start.paths().try_for_each(|path| replace.too_large(path)).map_err(EditError::Refused)?;
            out.extend_from_slice(hold.bytes());
            chunk.pass(chunk.at, out);
            self.mode = Mode::Passing;
            return Ok(Step::Done);
        }
        hold.extended(rest);
        chunk.passed = chunk.at;
        let table = self.matcher.table();
        let mut buffered = if self.patch {
            Buffered::operation(hold, table, &mut self.patterns, replace)?
        } else {
            Buffered::new(hold, table, &start, &mut self.patterns).map_err(EditError::Undecided)?
        };
        let step = buffered.go_on(out, replace).map_err(EditError::Refused)?;
        self.mode = if step == Step::Wait { Mode::Editing(buffered) } else { Mode::Passing };
        Ok(step)
    }

    fn end_of_held<R: Replace>(
        &mut self,
        chunk: &mut Chunk<'_>,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<Step, EditError<R::Error>> {
        let Mode::Holding(mut hold) = std::mem::replace(&mut self.mode, Mode::Refused) else { return Ok(Step::Done) };
        let asked = std::mem::take(&mut self.asked);
        let rest = chunk.taken();
        if hold.outgrown_by(rest) {
            replace.too_large(hold.selector).map_err(EditError::Refused)?;
            out.extend_from_slice(hold.bytes());
            chunk.pass(chunk.at, out);
        } else {
            let whole = hold.bytes().is_empty();
            let selector = hold.selector;
            let raw = if whole { rest } else { hold.extended(rest) };
            let waits = asked || replace.replace(selector, raw, None, out).map_err(EditError::Refused)? == Step::Wait;
            chunk.passed = chunk.at;
            if waits {
                if whole {
                    hold.extended(rest);
                }
                self.mode = Mode::Waiting(hold);
                return Ok(Step::Wait);
            }
        }
        self.mode = Mode::Passing;
        Ok(Step::Done)
    }

    /// What a wait left undone.
    fn ask_again<R: Replace>(&mut self, out: &mut Vec<u8>, replace: &mut R) -> Result<Step, EditError<R::Error>> {
        if !matches!(self.mode, Mode::Waiting(_) | Mode::Editing(_) | Mode::Refused) {
            return Ok(Step::Done);
        }
        let hold = match std::mem::replace(&mut self.mode, Mode::Refused) {
            Mode::Waiting(hold) => hold,
            Mode::Editing(mut buffered) => {
                let step = buffered.go_on(out, replace).map_err(EditError::Refused)?;
                self.mode = if step == Step::Wait { Mode::Editing(buffered) } else { Mode::Passing };
                return Ok(step);
            }
            Mode::Refused => {
                let error = JsonError { what: "editing was given up", offset: self.scanner.offset() };
                return Err(EditError::Json(error));
            }
            mode => {
                self.mode = mode;
                return Ok(Step::Done);
            }
        };
        let step = replace.replace(hold.selector, hold.bytes(), None, out).map_err(EditError::Refused)?;
        self.mode = if step == Step::Wait { Mode::Waiting(hold) } else { Mode::Passing };
        Ok(step)
    }

    /// What of the chunk is not replaced leaves; what may yet be is held, if it is not too large.
    fn end_chunk<R: Replace>(
        &mut self,
        chunk: &mut Chunk<'_>,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<(), EditError<R::Error>> {
        match &mut self.mode {
            Mode::Holding(hold) if hold.outgrown_by(chunk.taken()) => {
                let Mode::Holding(hold) = std::mem::replace(&mut self.mode, Mode::Refused) else { return Ok(()) };
                replace.too_large(hold.selector).map_err(EditError::Refused)?;
                out.extend_from_slice(hold.bytes());
                chunk.pass(chunk.at, out);
                self.mode = Mode::PassingLarge { depth: hold.depth };
            }
            Mode::Buffering { hold, .. } if hold.outgrown_by(chunk.taken()) => {
                let Mode::Buffering { hold, start } = std::mem::replace(&mut self.mode, Mode::Refused) else {
                    return Ok(());
                };
                start.paths().try_for_each(|path| replace.too_large(path)).map_err(EditError::Refused)?;
                out.extend_from_slice(hold.bytes());
                chunk.pass(chunk.at, out);
                self.mode = Mode::PassingLarge { depth: hold.depth };
            }
            Mode::Holding(hold) | Mode::Buffering { hold, .. } => {
                hold.extended(chunk.taken());
            }
            Mode::Passing | Mode::PassingLarge { .. } | Mode::Waiting(_) | Mode::Editing(_) | Mode::Refused => {
                chunk.pass(chunk.at, out);
            }
        }
        Ok(())
    }

    /// The byte at `chunk.at` is at fault: what stands before it is treated as if the chunk ended there, so that the outcome
    /// is the same however the document is split. A held value never leaves.
    fn fail<R: Replace>(
        &mut self,
        error: JsonError,
        chunk: &mut Chunk<'_>,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> EditError<R::Error> {
        match self.end_chunk(chunk, out, replace) {
            Ok(()) => EditError::Json(error),
            Err(refused) => refused,
        }
    }
}

impl fmt::Debug for Editor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Editor").field("offset", &self.scanner.offset()).finish_non_exhaustive()
    }
}

/// A chunk on its way through.
struct Chunk<'a> {
    input: &'a [u8],
    /// The scanner is here.
    at: usize,
    /// What stands before this has left, or was replaced or held.
    passed: usize,
}

impl<'a> Chunk<'a> {
    /// Everything up to `end` leaves unchanged.
    #[inline]
    fn pass(&mut self, end: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.input.get(self.passed..end).unwrap_or_default());
        self.passed = end;
    }

    /// What was scanned and has not left.
    fn taken(&self) -> &'a [u8] {
        self.input.get(self.passed..self.at).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
