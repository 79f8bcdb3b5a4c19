//! The documents of one body: one of JSON, one a line (NDJSON, JSON Lines), one behind each record separator (RFC 7464), or one
//! in each `data:` line of an event stream. Every document is edited by itself; what frames them passes as it came.

use crate::json::JsonError;
use crate::json::framing::Framing;
use crate::json::index::Sight;
use crate::json::splice::{EditError, Fed, Replace};
use crate::jsonpath::{Editor, Selectors};

/// Edits the documents of one body. What may yet be taken back stands at the end of `out`, which must then come again as it was
/// left, but for what is taken off its front: see [`Documents::unsettled`].
pub struct Documents {
    framing: Framing,
    max_depth: usize,
    editor: Editor,
    /// No byte but white space came of the current document.
    blank: bool,
    /// Something came of it.
    begun: bool,
    line: Line,
    /// What came of a document that may yet prove to be none.
    held: Option<Held>,
    /// Up to so many bytes; 0: what is no document is refused.
    lenient: usize,
    /// Documents that passed unread.
    unread: u64,
}

#[derive(Default)]
struct Held {
    original: Vec<u8>,
    /// How much of the output became of it.
    edited: usize,
    /// It is none.
    failed: bool,
}

/// Where in the line of an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So many bytes of [`DATA`] have come. A byte order mark may stand before those of the first line.
    Name { matched: usize, mark: usize, first: bool },
    /// Behind the colon: one space is none of the value's.
    Space,
    /// In the value of a `data:` line.
    Data,
    /// In any other line.
    Other,
}

const DATA: &[u8] = b"data:";
const MARK: &[u8] = "\u{feff}".as_bytes();
const SEPARATOR: u8 = 0x1e;

impl Documents {
    /// `lenient`: in bodies of several documents, one that cannot be read passes as it came, if it is no longer than this.
    pub fn new(framing: Framing, selectors: Selectors, max_depth: usize, lenient: usize) -> Self {
        let editor = match framing {
            Framing::Patch => Editor::over_patches(selectors, max_depth),
            Framing::One | Framing::Merge | Framing::Lines | Framing::Sequence | Framing::Events => {
                Editor::over(selectors, max_depth)
            }
        };
        let line = Line::Name { matched: 0, mark: 0, first: true };
        let lenient = if framing.is_one() { 0 } else { lenient };
        Self { framing, max_depth, editor, blank: true, begun: false, line, held: None, lenient, unread: 0 }
    }

    /// Looking ahead in another way.
    #[must_use]
    pub fn seeing(self, sight: Sight) -> Self {
        Self { editor: self.editor.seeing(sight), ..self }
    }

    /// Takes a piece of the body in and appends what may leave.
    pub fn feed<R: Replace>(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<Fed, EditError<R::Error>> {
        // Nothing ends such a document but the body's end.
        if self.framing.is_one() {
            return self.editor.feed(input, out, replace);
        }
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let end = rest.iter().position(|byte| self.ends(*byte));
            let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let taken = match self.framing {
                Framing::Events => self.line_begins(piece, out),
                Framing::Lines | Framing::Sequence | Framing::One | Framing::Patch | Framing::Merge => 0,
            };
            let piece = piece.get(taken..).unwrap_or_default();
            at += taken;
            if self.framing == Framing::Events && self.line != Line::Data {
                out.extend_from_slice(piece);
            } else if let Fed::Waiting(consumed) = self.document(piece, out, replace)? {
                return Ok(Fed::Waiting(at + consumed));
            }
            at += piece.len();
            let Some(delimiter) = input.get(at).copied().filter(|_| end.is_some()) else { return Ok(Fed::All) };
            if self.end_document(out, replace)? != Fed::All {
                return Ok(Fed::Waiting(at));
            }
            out.push(delimiter);
            at += 1;
            self.line = Line::Name { matched: 0, mark: 0, first: false };
        }
    }

    /// The body has ended.
    pub fn finish<R: Replace>(&mut self, out: &mut Vec<u8>, replace: &mut R) -> Result<Fed, EditError<R::Error>> {
        if self.framing.is_one() { self.editor.finish(out, replace) } else { self.end_document(out, replace) }
    }

    /// Bytes held back in buffers.
    pub fn held(&self) -> usize {
        self.editor.held() + self.held.as_ref().map_or(0, |held| held.original.capacity())
    }

    /// How many bytes at the end of the output may yet be taken back.
    pub fn unsettled(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.edited)
    }

    /// So many bytes were put in among those.
    pub fn grown(&mut self, bytes: usize) {
        if let Some(held) = &mut self.held {
            held.edited += bytes;
        }
    }

    /// How many documents passed unread.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    fn ends(&self, byte: u8) -> bool {
        match self.framing {
            Framing::One | Framing::Patch | Framing::Merge => false,
            Framing::Lines => byte == b'\n',
            Framing::Sequence => byte == SEPARATOR,
            Framing::Events => matches!(byte, b'\n' | b'\r'),
        }
    }

    /// Passes what stands before the value of a line; how many bytes that were.
    fn line_begins(&mut self, piece: &[u8], out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        for byte in piece {
            self.line = match self.line {
                Line::Name { matched: 0, mark, first: true } if MARK.get(mark) == Some(byte) => {
                    Line::Name { matched: 0, mark: mark + 1, first: true }
                }
                Line::Name { matched, mark, first }
                    if DATA.get(matched) == Some(byte) && (mark == 0 || mark == MARK.len()) =>
                {
                    if matched + 1 == DATA.len() {
                        Line::Space
                    } else {
                        Line::Name { matched: matched + 1, mark, first }
                    }
                }
                Line::Name { .. } => Line::Other,
                Line::Space => {
                    self.line = Line::Data;
                    if *byte != b' ' {
                        break;
                    }
                    Line::Data
                }
                Line::Data | Line::Other => break,
            };
            taken += 1;
        }
        out.extend_from_slice(piece.get(..taken).unwrap_or_default());
        taken
    }

    /// A piece of the current document.
    fn document<R: Replace>(
        &mut self,
        piece: &[u8],
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<Fed, EditError<R::Error>> {
        if self.lenient > 0 && self.held.is_none() && self.blank {
            self.held = Some(Held::default());
        }
        if self.held.as_ref().is_some_and(|held| held.original.len() + piece.len() > self.lenient) {
            // Too long to be taken back.
            let held = self.held.take().unwrap_or_default();
            if held.failed {
                let what = "a document that cannot be read is too long to be held";
                return Err(EditError::Json(JsonError { what, offset: 0 }));
            }
        }
        let white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.blank &= piece.iter().all(white);
        self.begun |= !piece.is_empty();
        let from = out.len();
        let fed = self.editor.feed(piece, out, replace);
        self.keep_framing(out.get_mut(from..).unwrap_or_default());
        let Some(held) = &mut self.held else { return fed };
        held.edited += out.len() - from;
        match fed {
            Ok(Fed::All) => held.original.extend_from_slice(piece),
            Ok(Fed::Waiting(taken)) => held.original.extend_from_slice(piece.get(..taken).unwrap_or_default()),
            Err(EditError::Json(_) | EditError::Undecided(_)) => {
                // From here on the document passes as it comes; its end begins a new one.
                held.original.extend_from_slice(piece);
                held.failed = true;
                take_back(held, out, replace);
                return Ok(Fed::All);
            }
            Err(EditError::Refused(_)) => {}
        }
        fed
    }

    /// The current document has ended.
    fn end_document<R: Replace>(&mut self, out: &mut Vec<u8>, replace: &mut R) -> Result<Fed, EditError<R::Error>> {
        if !self.blank {
            let from = out.len();
            let finished = self.editor.finish(out, replace);
            self.keep_framing(out.get_mut(from..).unwrap_or_default());
            if let Some(held) = &mut self.held {
                held.edited += out.len() - from;
            }
            match (finished, &mut self.held) {
                (Ok(Fed::All), _) => {}
                (Ok(waiting), _) => return Ok(waiting),
                (Err(EditError::Json(_) | EditError::Undecided(_)), Some(held)) => {
                    self.unread += 1;
                    take_back(held, out, replace);
                    out.extend_from_slice(&held.original);
                }
                (Err(error), _) => return Err(error),
            }
            self.editor = self.editor.anew(self.max_depth);
        } else if self.begun {
            // White space that was fed is no beginning of the next document.
            self.editor = self.editor.anew(self.max_depth);
        }
        self.held = None;
        (self.blank, self.begun) = (true, false);
        replace.next_document();
        Ok(Fed::All)
    }

    /// An opened value may have white space in it that would end the line it stands in.
    pub fn keep_framing(&self, edited: &mut [u8]) {
        let breaks = match self.framing {
            Framing::One | Framing::Patch | Framing::Merge | Framing::Sequence => return,
            Framing::Lines => |byte: u8| byte == b'\n',
            Framing::Events => |byte: u8| matches!(byte, b'\n' | b'\r'),
        };
        edited.iter_mut().filter(|byte| breaks(**byte)).for_each(|byte| *byte = b' ');
    }
}

fn take_back<R: Replace>(held: &mut Held, out: &mut Vec<u8>, replace: &mut R) {
    let from = out.len().saturating_sub(std::mem::take(&mut held.edited));
    out.truncate(from);
    replace.taken_back(from);
}

#[cfg(test)]
mod tests;
