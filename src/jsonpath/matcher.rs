//! All paths at once on the token stream: a set of places for each path that is still alive, kept for each open container.

pub mod table;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::json::scan::Kind;
use crate::json::text::unescape;
use crate::jsonpath::{Buffering, Path};
pub use table::Within;
use table::{Next, Table};

/// Paths in the form that is matched; cheap to clone.
#[derive(Clone)]
pub struct Selectors(Arc<Table>);

impl Selectors {
    /// What the most demanding path needs.
    pub fn buffering(&self) -> Buffering {
        self.0.buffering()
    }

    /// How many paths.
    pub fn count(&self) -> usize {
        self.0.len()
    }

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
pub struct Live {
    pub path: u32,
    pub places: u64,
}

/// What a value is to the paths as it begins.
pub enum Begun {
    /// Nothing, though something in it may be.
    Passing,
    /// The first path that selects it.
    Selected(usize),
    /// Which path selects it, or what in it, is to be told once it is in memory.
    Buffer(Box<Start>),
}

/// Where the paths stand at a value that is buffered.
#[derive(Debug)]
pub struct Start {
    /// After it was stepped into by name or number.
    pub here: Vec<Live>,
    /// At its parent, at places whose filters must look at it.
    pub undecided: Vec<Live>,
    /// The first path that selects it by name or number.
    pub selected: Option<u32>,
}

impl Start {
    /// The paths that something in this value may match.
    pub fn paths(&self) -> impl Iterator<Item = usize> {
        let live = self.here.iter().chain(&self.undecided).map(|live| live.path);
        live.chain(self.selected).map(|path| path as usize)
    }
}

/// An open container: where in `live` its paths begin (they end where the next container's begin).
struct Frame {
    from: usize,
    to: usize,
    array: bool,
    index: u64,
    within: Within,
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
        if !self.table.any_name_may_match() {
            let Some(id) = id else { return };
            for at in from..to {
                let Some(live) = self.live.get(at).copied() else { return };
                if let Some(segments) = self.table.mention(id, live.path) {
                    self.step(live.path, self.table.named(live.path, live.places, segments));
                }
            }
            return;
        }
        for at in from..to {
            if let Some(live) = self.live.get(at).copied() {
                self.step(live.path, self.table.member(live.path, live.places, id));
            }
        }
    }

    /// A value begins. One that is selected, or must be buffered, is to be skipped: the next call concerns what comes after it.
    pub fn begin(&mut self, kind: Kind) -> Begun {
        let around = self.frames.last().map(|frame| frame.from..frame.to);
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
        if self.table.buffering() > Buffering::Streaming
            && let Some(start) = self.must_buffer(kind, around.as_ref())
        {
            return Begun::Buffer(Box::new(start));
        }
        if let Some(path) = self.selected {
            return Begun::Selected(path as usize);
        }
        if kind != Kind::Scalar {
            let within = self.table.within(self.live.get(self.next..).unwrap_or_default(), kind);
            let (from, to) = (self.next, self.live.len());
            self.frames.push(Frame { from, to, array: kind == Kind::Array, index: 0, within });
        }
        Begun::Passing
    }

    /// Where the paths stand before anything was read.
    pub fn at_root(&self) -> Start {
        Start { here: self.live.clone(), undecided: Vec::new(), selected: self.selected }
    }

    /// What the paths are about.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Where the paths stand at a value that has to be in memory before they can go on.
    fn must_buffer(&self, kind: Kind, around: Option<&Range<usize>>) -> Option<Start> {
        let here = self.live.get(self.next..).unwrap_or_default();
        let parents = around.and_then(|around| self.live.get(around.clone())).unwrap_or_default();
        let filter = |live: &Live| Live { path: live.path, places: self.table.at_children(live.path, live.places) };
        let undecided: Vec<Live> = parents.iter().map(filter).filter(|live| live.places != 0).collect();
        let document = around.is_none() && self.table.buffering() == Buffering::Document;
        if !document
            && undecided.is_empty()
            && !here.iter().any(|live| self.table.at_whole(live.path, live.places, kind))
        {
            return None;
        }
        // A path that selects the value has no need to be decided, but one before it in the list may.
        Some(Start { here: here.to_vec(), undecided, selected: self.selected })
    }

    /// A value that was not selected ends.
    pub fn end(&mut self, kind: Kind) {
        if kind != Kind::Scalar {
            self.frames.pop();
            self.start(self.frames.last().map_or(0, |around| around.to));
        }
    }

    /// What the paths look for in the innermost container.
    #[inline]
    pub fn within(&self) -> Option<Within> {
        self.frames.last().map(|frame| frame.within)
    }

    /// A container begins in one that is [`Within::Deep`], where no path takes note of it.
    #[inline]
    pub fn nest_deep(&mut self, kind: Kind) {
        if let Some(Frame { from, to, within, .. }) = self.frames.last() {
            let inner = Frame { from: *from, to: *to, array: kind == Kind::Array, index: 0, within: *within };
            self.start(inner.to);
            self.frames.push(inner);
        }
    }

    /// Whether the value whose name came last is selected.
    pub fn selects(&self) -> bool {
        self.selected.is_some()
    }

    /// Whether a path goes on in the value whose name came last.
    pub fn goes_on(&self) -> bool {
        self.live.len() > self.next
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
