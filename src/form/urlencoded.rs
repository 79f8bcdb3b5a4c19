//! `application/x-www-form-urlencoded`: names and values between `&`.

use std::sync::Arc;

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::media::is_utf8;
use super::names::{Named, Names};
use super::value::unescape;
use super::{Event, Scan};

/// A name is no longer than this, as it is written.
const MAX_NAME: usize = 4 * 1024;

/// Nor is what says which charset the form is in.
const MAX_CHARSET: usize = 64;

const INVALID: &str = "a name that is not percent-encoded UTF-8";
const LONG: &str = "a name that is too long";
const SEPARATOR: &str = "a `;` before a protected name, which some applications take for an `&`";
const CHARSET: &str = "a form that is not in UTF-8";

pub(super) struct Urlencoded {
    names: Arc<Names>,
    /// How long the value of each may be when it is decoded.
    longest: Vec<usize>,
    state: State,
    /// In so much of the window there is no end.
    searched: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a name.
    Name,
    /// Behind a protected one.
    Protected(usize),
    /// Before that of the one that says which charset.
    Charset,
    /// Behind a value that was held.
    Ended,
    /// In any other value.
    Other,
    /// There, behind a `;`.
    Shadow,
}

impl Urlencoded {
    pub fn new(names: Arc<Names>, longest: Vec<usize>) -> Self {
        Self { names, longest, state: State::Name, searched: 0 }
    }

    /// Where the window has the first of the bytes that end what it begins with, if that ends within `limit` bytes. `Ok(None)`:
    /// more is needed to tell.
    fn end(
        &mut self,
        window: &[u8],
        ended: bool,
        limit: usize,
        find: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Option<usize>, &'static str> {
        let reach = window.get(..window.len().min(limit.saturating_add(1))).unwrap_or_default();
        let from = std::mem::take(&mut self.searched).min(reach.len());
        match find(reach.get(from..).unwrap_or_default()) {
            Some(at) => Ok(Some(from + at)),
            None if window.len() > limit => Err(LONG),
            None if ended => Ok(Some(window.len())),
            None => {
                self.searched = window.len();
                Ok(None)
            }
        }
    }

    fn named(&self, raw: &[u8]) -> Result<Named, &'static str> {
        let decoded = unescape(raw).ok_or(INVALID)?;
        let name = std::str::from_utf8(decoded.expose()).map_err(|_| INVALID)?;
        let named = self.names.find(name)?;
        if named == Named::Other && raw.split(|byte| *byte == b';').skip(1).any(|piece| self.is_protected(piece)) {
            return Err(SEPARATOR);
        }
        Ok(named)
    }

    /// Whether an application that reads this as a name would take it for a protected one.
    fn is_protected(&self, raw: &[u8]) -> bool {
        let found = |text: &str| !matches!(self.names.find(text), Ok(Named::Other));
        unescape(raw).is_some_and(|name| std::str::from_utf8(name.expose()).is_ok_and(found))
    }
}

impl Scan for Urlencoded {
    fn next(&mut self, window: &[u8], ended: bool) -> Result<Event, &'static str> {
        let nothing = if ended { Event::End } else { Event::More };
        loop {
            match self.state {
                State::Name => {
                    if window.is_empty() {
                        return Ok(nothing);
                    }
                    let Some(end) = self.end(window, ended, MAX_NAME, |bytes| memchr2(b'=', b'&', bytes))? else {
                        return Ok(Event::More);
                    };
                    self.state = match self.named(window.get(..end).unwrap_or_default())? {
                        Named::Protected(index) => State::Protected(index),
                        Named::Charset => State::Charset,
                        Named::Other => State::Other,
                    };
                    if end > 0 {
                        return Ok(Event::Pass(end));
                    }
                }
                State::Protected(index) => {
                    if window.first().is_some_and(|byte| *byte != b'=') || (window.is_empty() && ended) {
                        // Without a value there is nothing to protect.
                        self.state = State::Other;
                        continue;
                    }
                    let longest = self.longest.get(index).copied().unwrap_or_default();
                    // Behind `=`, three bytes at most are one when they are decoded.
                    let limit = longest.saturating_mul(3).saturating_add(1);
                    let end = match self.end(window, ended, limit, |bytes| memchr(b'&', bytes)) {
                        Ok(Some(end)) => end,
                        Ok(None) => return Ok(Event::More),
                        Err(_) => return Ok(Event::TooLong(index)),
                    };
                    let raw = window.get(..end).unwrap_or_default();
                    if decoded_length(raw) > longest {
                        return Ok(Event::TooLong(index));
                    }
                    let mut pieces = raw.split(|byte| *byte == b';').skip(1);
                    let name = |piece: &[u8]| self.is_protected(piece.split(|b| *b == b'=').next().unwrap_or_default());
                    if pieces.any(name) {
                        return Err(SEPARATOR);
                    }
                    self.state = State::Ended;
                    return Ok(Event::Value(index, end));
                }
                State::Charset => {
                    let end = match self.end(window, ended, MAX_CHARSET, |bytes| memchr(b'&', bytes)) {
                        Ok(Some(end)) => end,
                        Ok(None) => return Ok(Event::More),
                        Err(_) => return Err(CHARSET),
                    };
                    let raw = window.get(..end).unwrap_or_default();
                    let text = unescape(raw.strip_prefix(b"=").unwrap_or(raw)).ok_or(CHARSET)?;
                    let text = std::str::from_utf8(text.expose()).map_err(|_| CHARSET)?;
                    if !text.is_empty() && !is_utf8(text) {
                        return Err(CHARSET);
                    }
                    self.state = State::Ended;
                    if end > 0 {
                        return Ok(Event::Pass(end));
                    }
                }
                State::Ended | State::Other | State::Shadow if window.is_empty() => {
                    return Ok(nothing);
                }
                State::Ended => {
                    self.state = State::Name;
                    return Ok(Event::Pass(1));
                }
                State::Other => {
                    let Some(at) = memchr2(b'&', b';', window) else { return Ok(Event::Pass(window.len())) };
                    self.state = if window.get(at) == Some(&b'&') { State::Name } else { State::Shadow };
                    return Ok(Event::Pass(at + 1));
                }
                State::Shadow => {
                    let Some(end) = self.end(window, ended, MAX_NAME, |bytes| memchr3(b'=', b'&', b';', bytes))? else {
                        return Ok(Event::More);
                    };
                    if self.is_protected(window.get(..end).unwrap_or_default()) {
                        return Err(SEPARATOR);
                    }
                    self.state = State::Other;
                    if end > 0 {
                        return Ok(Event::Pass(end));
                    }
                }
            }
        }
    }

    fn let_pass(&mut self) {
        self.state = State::Other;
        self.searched = 0;
    }
}

/// Of a value whose escapes are good.
fn decoded_length(raw: &[u8]) -> usize {
    let text = raw.strip_prefix(b"=").unwrap_or(raw);
    text.len().saturating_sub(2 * memchr_iter(b'%', text).count())
}
