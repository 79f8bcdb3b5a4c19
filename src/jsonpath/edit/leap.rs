//! Over what no path selects, from mark to mark. A leap takes note of nothing that the scanner's events would not have told, and
//! ends where the next of them matters, or where the index does: from there the scanner goes on.

use super::{Chunk, Editor, Mode};
use crate::json::index::{Index, Mark, Marks};
use crate::json::scan::Kind;
use crate::json::splice::{EditError, Replace, Step};
use crate::jsonpath::matcher::{Begun, Within};

/// No deeper than this is it left to the end what containers are open.
const SHALLOW: usize = 32;

/// Whether there is more to leap over.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Land,
    /// What stands behind this colon is selected, by this path first.
    Selected(usize, usize),
}

impl Editor {
    /// Goes on as far as no event matters.
    #[inline]
    pub(super) fn leap<R: Replace>(
        &mut self,
        index: &mut Index<'_>,
        chunk: &mut Chunk<'_>,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<(), EditError<R::Error>> {
        if index.is_pointless(chunk.at) {
            return Ok(());
        }
        match &self.mode {
            Mode::Passing => match self.matcher.within() {
                None | Some(Within::Each) => {}
                Some(_) => {
                    self.walk(index, chunk, out, replace)?;
                    if matches!(self.mode, Mode::Refused) {
                        return Err(EditError::Undecided("what is selected was not foreseen"));
                    }
                }
            },
            Mode::PassingLarge { depth } => self.skip(*depth, index, chunk),
            // What is held is checked in any case: it must be JSON when it comes back.
            Mode::Holding(hold) | Mode::Buffering { hold, .. } if self.sight.is_full() => {
                self.skip(hold.depth, index, chunk);
            }
            Mode::Holding(_) | Mode::Buffering { .. } | Mode::Waiting(_) | Mode::Editing(_) | Mode::Refused => {}
        }
        Ok(())
    }

    /// To the end of the array or object at this depth, whose closing bracket is left to the scanner.
    fn skip(&mut self, depth: usize, index: &mut Index<'_>, chunk: &mut Chunk<'_>) {
        let now = self.scanner.depth();
        if now <= depth || !index.enter(&self.scanner, chunk.at) {
            return;
        }
        match index.close_of(depth + 1, now) {
            Some(at) => {
                self.scanner.land_before_close(depth + 1, at - chunk.at);
                chunk.at = at;
            }
            None => self.land_at_end(index, chunk),
        }
    }

    /// To the next value that must be looked at. Scalars that are selected and wholly in sight are replaced on the way.
    fn walk<R: Replace>(
        &mut self,
        index: &mut Index<'_>,
        chunk: &mut Chunk<'_>,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<(), EditError<R::Error>> {
        if !index.enter(&self.scanner, chunk.at) {
            return Ok(());
        }
        if self.sight.is_full() && self.scanner.depth() <= SHALLOW && self.matcher.is_flat() {
            return self.walk_by_names(index, chunk, out, replace);
        }
        loop {
            match self.mark(index, chunk) {
                Next::GoOn => {}
                Next::Land => return Ok(()),
                Next::Selected(colon, selector) => {
                    // What is held is checked in any case, which only a full look has done.
                    let full = self.sight.is_full();
                    let state = (&mut self.mode, &mut self.asked);
                    if !full || !replace_in_sight((colon, selector), state, index, chunk, out, replace)? {
                        self.land_behind(Some(colon), chunk);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The same where names alone say what is selected: what is open is made out where the scanner goes on.
    fn walk_by_names<R: Replace>(
        &mut self,
        index: &mut Index<'_>,
        chunk: &mut Chunk<'_>,
        out: &mut Vec<u8>,
        replace: &mut R,
    ) -> Result<(), EditError<R::Error>> {
        let table = self.matcher.table();
        let ending = |text: &[u8]| table.names().ending(text);
        let id = |text: &[u8], length, escapes| table.id_as_written(text, length, escapes);
        while let Some((_, colon, id)) = index.next_named(Marks::Colons, ending, id) {
            let Some(selector) = self.matcher.selected_anywhere(id) else { continue };
            let state = (&mut self.mode, &mut self.asked);
            if !replace_in_sight((colon, selector), state, index, chunk, out, replace)? {
                let Some(nest) = index.nest_at(colon) else {
                    self.mode = Mode::Refused;
                    return Ok(());
                };
                self.scanner.land_in(&nest, colon + 1 - chunk.at, b':');
                chunk.at = colon + 1;
                self.matcher.stand_in(self.scanner.stack());
                self.matcher.named(id);
                return Ok(());
            }
        }
        self.land_between(index, chunk);
        Ok(())
    }

    #[inline(always)]
    fn mark(&mut self, index: &mut Index<'_>, chunk: &mut Chunk<'_>) -> Next {
        let within = match self.matcher.within() {
            None | Some(Within::Each) => {
                self.land_behind(index.cursor().checked_sub(1), chunk);
                return Next::Land;
            }
            Some(within) => within,
        };
        let table = self.matcher.table();
        let marks = if within == Within::Elements { Marks::Brackets } else { Marks::Both };
        let id = |text: &[u8], length, escapes| table.id_as_written(text, length, escapes);
        let ending = |text: &[u8]| table.names().ending(text);
        let Some((mark, at, id)) = index.next_named(marks, ending, id) else {
            return self.out_of_sight(index, chunk);
        };
        match mark {
            Mark::Close => {
                if let Some(kind) = self.scanner.pop() {
                    self.matcher.end(kind);
                }
                Next::GoOn
            }
            Mark::Colon => {
                self.matcher.named(id);
                if let Some(selector) = self.matcher.selected() {
                    return Next::Selected(at, selector);
                }
                if !self.matcher.goes_on() {
                    return Next::GoOn;
                }
                match index.value_at(at + 1) {
                    None => {
                        self.land_behind(Some(at), chunk);
                        Next::Land
                    }
                    Some(b'{' | b'[') => match index.next_bracket() {
                        Some((Mark::Open, at)) => self.enter(at, index, chunk),
                        _ => self.out_of_sight(index, chunk),
                    },
                    Some(_) => Next::GoOn,
                }
            }
            Mark::Open => match within {
                Within::Deep => {
                    let kind = kind_at(at, chunk);
                    self.matcher.nest_deep(kind);
                    self.scanner.push(kind);
                    Next::GoOn
                }
                Within::Elements => self.enter(at, index, chunk),
                Within::Names { deep: true } => {
                    self.matcher.name(None);
                    self.enter(at, index, chunk)
                }
                Within::Names { deep: false } | Within::Nothing | Within::Each => self.pass_over(index, chunk),
            },
        }
    }

    /// Into the array or object that begins at `at`, if anything in it may matter.
    fn enter(&mut self, at: usize, index: &mut Index<'_>, chunk: &mut Chunk<'_>) -> Next {
        let kind = kind_at(at, chunk);
        match self.matcher.begin(kind) {
            Begun::Passing if self.matcher.within() == Some(Within::Nothing) => {
                self.matcher.end(kind);
                self.pass_over(index, chunk)
            }
            Begun::Passing => {
                self.scanner.push(kind);
                Next::GoOn
            }
            // It was told before that it is not. Whatever this is, nothing of it may leave.
            Begun::Selected(_) | Begun::Buffer(_) => {
                self.mode = Mode::Refused;
                Next::Land
            }
        }
    }

    /// Over the array or object that has just begun.
    fn pass_over(&mut self, index: &mut Index<'_>, chunk: &mut Chunk<'_>) -> Next {
        let depth = self.scanner.depth();
        match index.close_of(depth + 1, depth + 1) {
            Some(close) => {
                index.pass(close);
                Next::GoOn
            }
            None => {
                self.mode = Mode::PassingLarge { depth };
                self.land_at_end(index, chunk);
                Next::Land
            }
        }
    }

    /// The index has ended between the children of the innermost container.
    fn out_of_sight(&mut self, index: &Index<'_>, chunk: &mut Chunk<'_>) -> Next {
        self.land_between(index, chunk);
        Next::Land
    }

    /// Before the bracket that ends the document, or behind the last mark in the index.
    fn land_between(&mut self, index: &Index<'_>, chunk: &mut Chunk<'_>) {
        let closed = index.closed_at().filter(|end| *end >= chunk.at && self.sight.is_full());
        match closed {
            Some(end) => {
                self.scanner.land_before_close(1, end - chunk.at);
                chunk.at = end;
            }
            None => self.land_at_end(index, chunk),
        }
        if self.matcher.is_flat() {
            self.matcher.stand_in(self.scanner.stack());
        }
        if closed.is_none()
            && let Some(colon) =
                index.last().filter(|last| *last + 1 == chunk.at && chunk.input.get(*last) == Some(&b':'))
        {
            // What comes of its value is for the scanner to see.
            self.matcher.name(index.name_before(colon).and_then(|(name, _)| chunk.input.get(name)));
        }
    }

    /// Behind the last mark in the index.
    fn land_at_end(&mut self, index: &Index<'_>, chunk: &mut Chunk<'_>) {
        if let Some(last) = index.last().filter(|last| *last >= chunk.at)
            && let Some(byte) = chunk.input.get(last)
        {
            self.scanner.land_in(index.nest(), last + 1 - chunk.at, *byte);
            chunk.at = last + 1;
        }
    }

    /// Behind a mark that was just come to, unless nothing was.
    fn land_behind(&mut self, mark: Option<usize>, chunk: &mut Chunk<'_>) {
        if let Some(mark) = mark.filter(|mark| *mark >= chunk.at)
            && let Some(byte) = chunk.input.get(mark)
        {
            self.scanner.land(mark + 1 - chunk.at, *byte);
            chunk.at = mark + 1;
        }
    }
}

/// Replaces a selected string, number or literal as the scanner's events would; `false`: they have to.
fn replace_in_sight<R: Replace>(
    (colon, selector): (usize, usize),
    (mode, asked): (&mut Mode, &mut bool),
    index: &mut Index<'_>,
    chunk: &mut Chunk<'_>,
    out: &mut Vec<u8>,
    replace: &mut R,
) -> Result<bool, EditError<R::Error>> {
    // What follows it is in sight, too, so that nobody lands before it.
    let Some(scalar) = index.scalar_behind(colon) else { return Ok(false) };
    let Some(raw) = chunk.input.get(scalar.clone()) else { return Ok(false) };
    if raw.len() > replace.begin(selector) {
        return Ok(false);
    }
    chunk.pass(scalar.start, out);
    let step = replace.replace(selector, raw, None, out).map_err(|refused| {
        *mode = Mode::Refused;
        EditError::Refused(refused)
    })?;
    if step == Step::Wait {
        *asked = true;
        return Ok(false);
    }
    chunk.passed = scalar.end;
    index.pass_scalar(&scalar);
    Ok(true)
}

fn kind_at(at: usize, chunk: &Chunk<'_>) -> Kind {
    if chunk.input.get(at) == Some(&b'{') { Kind::Object } else { Kind::Array }
}

#[cfg(test)]
mod tests;
