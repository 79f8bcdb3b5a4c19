//! All paths at once on the token stream: a set of places for each path that is still alive, kept for each open container.

mod table;

use std::fmt;
use std::sync::Arc;

use crate::json::scan::Kind;
use crate::json::text::unescape;
use crate::jsonpath::Path;
use table::{Next, Table};

/// Paths in the form that is matched; cheap to clone.
#[derive(Clone)]
pub struct Selectors(Arc<Table>);

impl Selectors {
    /// The order of `paths` decides which one names a value that several select.
    pub fn new(paths: &[Arc<Path>]) -> Self {
        Self(Arc::new(Table::new(paths)))
    }
}

impl fmt::Debug for Selectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selectors").field("paths", &self.0.len()).finish()
    }
}

/// Told of every name, begin and end outside of selected values, it says which values are selected.
pub struct Matcher {
    table: Arc<Table>,
    /// The open containers.
    frames: Vec<Frame>,
    /// The live paths of every open container, then those of the value to come.
    live: Vec<Live>,
    /// Where the live paths of the value to come begin.
    next: usize,
    /// The first path that selects the value to come.
    selected: Option<u32>,
}

/// A path that something below this place may still match. Bit n: the first n segments are matched.
#[derive(Debug, Clone, Copy)]
struct Live {
    path: u32,
    places: u64,
}

/// An open container: where in `live` its paths begin (they end where the next container's begin).
struct Frame {
    from: usize,
    to: usize,
    array: bool,
    index: u64,
}

impl Matcher {
    /// For one document.
    pub fn new(Selectors(table): Selectors) -> Self {
        // Room for a few levels, so that most documents never make it grow.
        let mut live = Vec::with_capacity(table.len() * 4);
        live.extend((0..).zip(0..table.len()).map(|(path, _)| Live { path, places: 1 }));
        let whole = table.whole();
        Self { table, frames: Vec::with_capacity(8), live, next: 0, selected: whole }
    }

    /// No raw name longer than this can match.
    pub fn longest_name(&self) -> usize {
        self.table.longest_raw()
    }

    /// A member name, raw; `None`: longer than [`Self::longest_name`].
    pub fn name(&mut self, raw: Option<&[u8]>) {
        let Some(frame) = self.frames.last() else { return };
        let (from, to) = (frame.from, frame.to);
        self.start(to);
        if from == to {
            return;
        }
        let id = raw.filter(|raw| raw.len() <= self.table.longest_raw()).and_then(|raw| self.table.id(&unescape(raw)));
        if id.is_none() && !self.table.any_name_may_match() {
            return;
        }
        for at in from..to {
            if let Some(live) = self.live.get(at).copied() {
                self.step(live.path, self.table.member(live.path, live.places, id));
            }
        }
    }

    /// A value begins; the first path that selects it. A selected value must be skipped: the next call concerns what
    /// comes after it.
    pub fn begin(&mut self, kind: Kind) -> Option<usize> {
        if let Some(frame) = self.frames.last_mut().filter(|frame| frame.array) {
            let (from, to, index) = (frame.from, frame.to, frame.index);
            frame.index += 1;
            self.start(to);
            for at in from..to {
                if let Some(live) = self.live.get(at).copied() {
                    self.step(live.path, self.table.element(live.path, live.places, index));
                }
            }
        }
        if let Some(path) = self.selected {
            return Some(path as usize);
        }
        if kind != Kind::Scalar {
            self.frames.push(Frame { from: self.next, to: self.live.len(), array: kind == Kind::Array, index: 0 });
        }
        None
    }

    /// A value that was not selected ends.
    pub fn end(&mut self, kind: Kind) {
        if kind != Kind::Scalar
            && let Some(frame) = self.frames.pop()
        {
            self.start(frame.from);
        }
    }

    /// Bytes held in buffers.
    pub fn held(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>() + self.live.capacity() * size_of::<Live>()
    }

    fn start(&mut self, at: usize) {
        self.live.truncate(at);
        self.next = at;
        self.selected = None;
    }

    /// What remains of a path at a child.
    fn step(&mut self, path: u32, Next { places, selected }: Next) {
        if places != 0 {
            self.live.push(Live { path, places });
        }
        if selected && self.selected.is_none() {
            self.selected = Some(path);
        }
    }
}

#[cfg(test)]
mod tests;
