//! The editing of a form: protected values are handed over whole and replaced, everything else leaves as it came.

use std::sync::Arc;

use super::multipart::Multipart;
use super::names::Names;
use super::urlencoded::Urlencoded;
use super::{Event, Form, FormError, Scan};
use crate::json::splice::{Fed, Replace, Step};
use crate::secret::SecretBytes;

/// Edits one form, whatever pieces it comes in. Holds no more than a piece, a value and the headers of a part.
pub struct Editor {
    scanner: Scanner,
    /// What came and is not done with. Wiped when dropped, and when it moves to a larger buffer.
    pending: SecretBytes,
    capacity: usize,
    /// A value that is to be replaced: of which name, and how long.
    value: Option<(usize, usize)>,
    /// So many bytes are done with.
    offset: u64,
}

/// Why a form cannot be edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError<E> {
    /// It cannot be read as every application would read it.
    #[error(transparent)]
    Form(FormError),
    /// Refused by the replacer.
    #[error("refused")]
    Refused(E),
}

enum Scanner {
    Urlencoded(Urlencoded),
    Multipart(Box<Multipart>),
}

impl Editor {
    /// `names` are the protected ones, by the indices that a [`Replace`] gets, each with how long its value may be.
    pub fn new<'a>(form: &Form, names: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        let (names, longest): (Vec<_>, Vec<_>) = names.into_iter().unzip();
        let names = Arc::new(Names::new(names));
        let scanner = match form {
            Form::Urlencoded => Scanner::Urlencoded(Urlencoded::new(names, longest)),
            Form::Multipart(boundary) => Scanner::Multipart(Box::new(Multipart::new(boundary.clone(), names, longest))),
        };
        Self { scanner, pending: SecretBytes::default(), capacity: 0, value: None, offset: 0 }
    }

    /// Takes a piece of the form in and appends what may leave.
    pub fn feed<R: Replace>(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<Fed, EditError<R::Error>> {
        let done = if self.pending.expose().is_empty() {
            let done = self.run(input, false, out, replace)?;
            self.keep(input.get(done..).unwrap_or_default());
            0
        } else {
            self.keep(input);
            self.run_pending(false, out, replace)?
        };
        drop(self.pending.expose_mut().drain(..done));
        Ok(if self.value.is_some() { Fed::Waiting(input.len()) } else { Fed::All })
    }

    /// The form has ended.
    pub fn finish<R: Replace>(&mut self, out: &mut Vec<u8>, replace: &mut R) -> Result<Fed, EditError<R::Error>> {
        let done = self.run_pending(true, out, replace)?;
        drop(self.pending.expose_mut().drain(..done));
        Ok(if self.value.is_some() { Fed::Waiting(0) } else { Fed::All })
    }

    /// Bytes held back.
    pub fn held(&self) -> usize {
        self.capacity
    }

    fn run_pending<R: Replace>(
        &mut self,
        ended: bool,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<usize, EditError<R::Error>> {
        let pending = std::mem::take(&mut self.pending);
        let done = self.run(pending.expose(), ended, out, replace);
        self.pending = pending;
        done
    }

    /// Goes on as far as it can; so many bytes of the window are done with.
    fn run<R: Replace>(
        &mut self,
        window: &[u8],
        ended: bool,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<usize, EditError<R::Error>> {
        let mut at = 0;
        loop {
            let rest = window.get(at..).unwrap_or_default();
            let done = if let Some((name, length)) = self.value {
                let raw = rest.get(..length).unwrap_or_default();
                match replace.replace(name, raw, None, out).map_err(EditError::Refused)? {
                    Step::Done | Step::Later => self.value = None,
                    Step::Wait => return Ok(at),
                }
                length
            } else {
                let scanner: &mut dyn Scan = match &mut self.scanner {
                    Scanner::Urlencoded(scanner) => scanner,
                    Scanner::Multipart(scanner) => &mut **scanner,
                };
                let offset = self.offset;
                match scanner.next(rest, ended).map_err(|what| EditError::Form(FormError { what, offset }))? {
                    Event::Pass(length) => {
                        out.extend_from_slice(rest.get(..length).unwrap_or_default());
                        length
                    }
                    Event::Drop(length) => length,
                    Event::Value(name, length) => {
                        self.value = Some((name, length));
                        0
                    }
                    Event::TooLong(name) => {
                        replace.too_large(name).map_err(EditError::Refused)?;
                        scanner.let_pass();
                        0
                    }
                    Event::More | Event::End => return Ok(at),
                }
            };
            at += done;
            self.offset = self.offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        }
    }

    /// Takes bytes in behind those that are pending.
    fn keep(&mut self, more: &[u8]) {
        let needed = self.pending.expose().len() + more.len();
        if needed > self.capacity {
            // A `Vec` that grows by itself leaves its old bytes behind in freed memory.
            let mut larger = Vec::with_capacity(needed.max(self.capacity.saturating_mul(2)));
            self.capacity = larger.capacity();
            larger.extend_from_slice(self.pending.expose());
            self.pending = SecretBytes::new(larger);
        }
        self.pending.expose_mut().extend_from_slice(more);
    }
}
