//! `multipart/form-data`: parts with headers of their own, between delimiter lines.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::{self, Finder};

use super::media::{Boundary, is_utf8};
use super::names::{Named, Names};
use super::part::{self, Part};
use super::{Event, Scan};

/// What stands before the first part is no longer than this.
const MAX_PREAMBLE: usize = 1024;
/// Nor are the headers of a part longer than this.
const MAX_HEADERS: usize = 16 * 1024;
/// More parts than any application takes.
const MAX_PARTS: usize = 10_000;
/// What says which charset the names are in.
const MAX_CHARSET: usize = 64;

const CRLF: &[u8] = b"\r\n";
const STRAY: &str = "the boundary stands where it ends no part, and some applications would see one end there";
const CUT: &str = "the form ends before its last boundary";
const LENGTH: &str = "a part is not as long as its Content-Length says";
const CHARSET: &str = "a form that is not in UTF-8";

pub(super) struct Multipart {
    names: Arc<Names>,
    /// How long the value of each may be.
    longest: Vec<usize>,
    boundary: Boundary,
    finder: Finder<'static>,
    state: State,
    /// Events that are known already.
    next: VecDeque<Event>,
    /// The headers of a protected part stay until its value is known: so long are they.
    head: usize,
    /// What of them a change of the value makes false.
    falsified: Vec<Range<usize>>,
    /// In so much of the window, or of the content in it, there is no boundary, or no end of the headers.
    searched: usize,
    parts: usize,
    /// How long the content of the part claims to be.
    length: Option<u64>,
    /// How much of it has passed.
    passed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// Behind one.
    Boundary,
    Headers,
    /// In the content of a protected part.
    Protected(usize),
    /// In that of the one that says which charset.
    Charset,
    /// Behind content that was held.
    Ended,
    /// In any other content.
    Other,
    /// Behind the last boundary.
    Epilogue,
}

impl Multipart {
    pub fn new(boundary: Boundary, names: Arc<Names>, longest: Vec<usize>) -> Self {
        let finder = Finder::new(boundary.dashed()).into_owned();
        Self {
            names,
            longest,
            boundary,
            finder,
            state: State::Preamble,
            next: VecDeque::new(),
            head: 0,
            falsified: Vec::new(),
            searched: 0,
            parts: 0,
            length: None,
            passed: 0,
        }
    }

    fn dashed(&self) -> usize {
        self.boundary.dashed().len()
    }

    /// Where the next boundary begins, if it does before `limit`. It is searched for in what is new only.
    fn find(&mut self, window: &[u8], limit: usize) -> Option<usize> {
        let reach = window.get(..window.len().min(limit.saturating_add(self.dashed()))).unwrap_or_default();
        let from = std::mem::take(&mut self.searched).saturating_sub(self.dashed() - 1).min(reach.len());
        let found = self.finder.find(reach.get(from..).unwrap_or_default());
        if found.is_none() {
            self.searched = reach.len();
        }
        found.map(|at| from + at)
    }

    fn preamble(&mut self, window: &[u8], ended: bool) -> Result<Event, &'static str> {
        let Some(at) = self.find(window, MAX_PREAMBLE) else {
            let long = window.len() >= MAX_PREAMBLE + self.dashed();
            return if ended || long {
                Err("no boundary where the form's first part should begin")
            } else {
                Ok(Event::More)
            };
        };
        let before = window.get(..at).unwrap_or_default();
        if !before.is_empty() && !before.ends_with(CRLF) {
            return Err(STRAY);
        }
        if before.split(|byte| matches!(byte, b'\r' | b'\n')).any(|line| line.starts_with(b"--")) {
            return Err("another boundary before the form's first part");
        }
        self.state = State::Boundary;
        Ok(Event::Pass(at + self.dashed()))
    }

    fn behind_boundary(&mut self, window: &[u8], ended: bool) -> Result<Event, &'static str> {
        if window.starts_with(CRLF) {
            self.parts += 1;
            if self.parts > MAX_PARTS {
                return Err("too many parts");
            }
            self.state = State::Headers;
            return Ok(Event::Pass(CRLF.len()));
        }
        let end: &[u8] = b"--\r\n";
        if window.starts_with(end) || (ended && window == b"--") {
            self.state = State::Epilogue;
            return Ok(Event::Pass(window.len().min(end.len())));
        }
        let may_be = !ended && (end.starts_with(window) || CRLF.starts_with(window));
        if may_be { Ok(Event::More) } else { Err(if ended && window.is_empty() { CUT } else { STRAY }) }
    }

    fn headers(&mut self, window: &[u8], ended: bool) -> Result<Event, &'static str> {
        let reach = window.get(..window.len().min(MAX_HEADERS)).unwrap_or_default();
        let from = std::mem::take(&mut self.searched).saturating_sub(3).min(reach.len());
        let Some(at) = memmem::find(reach.get(from..).unwrap_or_default(), b"\r\n\r\n") else {
            self.searched = reach.len();
            return match (reach.len() == MAX_HEADERS, ended) {
                (true, _) => Err("the headers of a part are too long"),
                (false, true) => Err(CUT),
                (false, false) => Ok(Event::More),
            };
        };
        self.searched = 0;
        let block = window.get(..from + at).unwrap_or_default();
        if self.finder.find(block).is_some() {
            return Err(STRAY);
        }
        let Part { name, no_text, length, falsified } = part::read(block)?;
        (self.length, self.passed) = (length, 0);
        let named = self.names.find(name)?;
        let all = block.len() + 4;
        match named {
            Named::Protected(index) => {
                if let Some(why) = no_text {
                    return Err(why);
                }
                (self.head, self.falsified) = (all, falsified);
                self.state = State::Protected(index);
                return Ok(Event::Pass(0));
            }
            Named::Charset if no_text.is_some() => return Err(CHARSET),
            Named::Charset => self.state = State::Charset,
            Named::Other => self.state = State::Other,
        }
        Ok(Event::Pass(all))
    }

    fn protected(&mut self, window: &[u8], ended: bool, index: usize) -> Result<Event, &'static str> {
        let longest = self.longest.get(index).copied().unwrap_or_default();
        let content = window.get(self.head..).unwrap_or_default();
        let length = match self.held(content, ended, longest)? {
            Held::Whole(length) => length,
            Held::TooLong => return Ok(Event::TooLong(index)),
            Held::More => return Ok(Event::More),
        };
        let mut written = 0;
        for header in std::mem::take(&mut self.falsified) {
            self.next.push_back(Event::Pass(header.start - written));
            self.next.push_back(Event::Drop(header.len()));
            written = header.end;
        }
        self.next.push_back(Event::Pass(self.head - written));
        self.next.push_back(Event::Value(index, length));
        self.state = State::Ended;
        Ok(Event::Pass(0))
    }

    /// The whole content of a part that is held.
    fn held(&mut self, window: &[u8], ended: bool, longest: usize) -> Result<Held, &'static str> {
        match self.find(window, longest.saturating_add(CRLF.len())) {
            Some(at) => self.content_ends(window, at).map(Held::Whole),
            None if window.len() >= longest.saturating_add(CRLF.len() + self.dashed()) => Ok(Held::TooLong),
            None if ended => Err(CUT),
            None => Ok(Held::More),
        }
    }

    /// The length of the content in the window, which the boundary at this place ends.
    fn content_ends(&self, window: &[u8], at: usize) -> Result<usize, &'static str> {
        let content = window.get(..at).unwrap_or_default();
        let length = content.strip_suffix(CRLF).ok_or(STRAY)?.len();
        let all = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(self.passed);
        if self.length.is_some_and(|claimed| claimed != all) { Err(LENGTH) } else { Ok(length) }
    }

    fn pass_content(&mut self, window: &[u8], ended: bool) -> Result<Event, &'static str> {
        if let Some(at) = self.find(window, usize::MAX) {
            self.content_ends(window, at)?;
            self.searched = 0;
            self.state = State::Boundary;
            return Ok(Event::Pass(at + self.dashed()));
        }
        if ended {
            return Err(CUT);
        }
        // What may be the beginning of a boundary stays, with the line end before it.
        let passes = window.len().saturating_sub(self.dashed() - 1 + CRLF.len());
        if passes == 0 {
            return Ok(Event::More);
        }
        self.searched = window.len() - passes;
        self.passed = self.passed.saturating_add(u64::try_from(passes).unwrap_or(u64::MAX));
        Ok(Event::Pass(passes))
    }

    fn epilogue(&mut self, window: &[u8], ended: bool) -> Result<Event, &'static str> {
        if self.find(window, usize::MAX).is_some() {
            return Err(STRAY);
        }
        let keep = if ended { 0 } else { self.dashed() - 1 };
        let passes = window.len().saturating_sub(keep);
        self.searched = window.len() - passes;
        match (passes, ended) {
            (0, true) => Ok(Event::End),
            (0, false) => Ok(Event::More),
            _ => Ok(Event::Pass(passes)),
        }
    }
}

enum Held {
    Whole(usize),
    TooLong,
    More,
}

impl Scan for Multipart {
    fn next(&mut self, window: &[u8], ended: bool) -> Result<Event, &'static str> {
        loop {
            let event = match (self.next.pop_front(), self.state) {
                (Some(event), _) => event,
                (None, State::Preamble) if window.is_empty() && ended => Event::End,
                (None, State::Preamble) => self.preamble(window, ended)?,
                (None, State::Boundary) => self.behind_boundary(window, ended)?,
                (None, State::Headers) => self.headers(window, ended)?,
                (None, State::Protected(index)) => self.protected(window, ended, index)?,
                (None, State::Charset) => match self.held(window, ended, MAX_CHARSET)? {
                    Held::Whole(length) => {
                        let text =
                            std::str::from_utf8(window.get(..length).unwrap_or_default()).map_err(|_| CHARSET)?;
                        if !text.is_empty() && !is_utf8(text) {
                            return Err(CHARSET);
                        }
                        self.state = State::Ended;
                        Event::Pass(length)
                    }
                    Held::TooLong => return Err(CHARSET),
                    Held::More => Event::More,
                },
                (None, State::Ended) => {
                    self.state = State::Boundary;
                    Event::Pass(CRLF.len() + self.dashed())
                }
                (None, State::Other) => self.pass_content(window, ended)?,
                (None, State::Epilogue) => self.epilogue(window, ended)?,
            };
            if event != Event::Pass(0) {
                return Ok(event);
            }
        }
    }

    fn let_pass(&mut self) {
        self.state = State::Other;
        self.searched = 0;
        self.next.push_back(Event::Pass(self.head));
    }
}
