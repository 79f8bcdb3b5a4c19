//! The sets of places themselves, kept for each open container: for any paths.

use std::ops::Range;

use super::table::{Next, Table, Within};
use super::{Begun, Live, Start};
use crate::json::scan::Kind;
use crate::jsonpath::Buffering;

/// Where the paths are in one document.
#[derive(Default)]
pub struct Sets {
    /// The open containers.
    frames: Vec<Frame>,
    /// The live paths of every open container, then those of the value to come.
    live: Vec<Live>,
    /// Where the live paths of the value to come begin.
    next: usize,
    /// The first path that selects the value to come.
    selected: Option<u32>,
}

/// An open container: where in `live` its paths begin (they end where the next container's begin).
struct Frame {
    from: usize,
    to: usize,
    array: bool,
    index: u64,
    within: Within,
}

impl Sets {
    /// For one document.
    pub fn new(table: &Table) -> Self {
        // Room for a few levels, so that most documents never make it grow.
        let mut live = Vec::with_capacity(table.len() * 4);
        live.extend(table.root());
        Self { frames: Vec::with_capacity(8), live, next: 0, selected: table.whole() }
    }

    /// See `Matcher`, here and below.
    #[inline(never)]
    pub fn named(&mut self, table: &Table, id: Option<usize>) {
        let Some(frame) = self.frames.last() else { return };
        let (from, to) = (frame.from, frame.to);
        self.start(to);
        if from == to {
            return;
        }
        if !table.any_name_may_match() {
            let Some(id) = id else { return };
            for at in from..to {
                let Some(live) = self.live.get(at).copied() else { return };
                if let Some(segments) = table.mention(id, live.path) {
                    self.step(live.path, table.named(live.path, live.places, segments));
                }
            }
            return;
        }
        for at in from..to {
            if let Some(live) = self.live.get(at).copied() {
                self.step(live.path, table.member(live.path, live.places, id));
            }
        }
    }

    #[inline(never)]
    pub fn begin(&mut self, table: &Table, kind: Kind) -> Begun {
        let around = self.frames.last().map(|frame| frame.from..frame.to);
        if let Some(frame) = self.frames.last_mut().filter(|frame| frame.array) {
            let (from, to, index) = (frame.from, frame.to, frame.index);
            frame.index += 1;
            self.start(to);
            for at in from..to {
                if let Some(live) = self.live.get(at).copied() {
                    self.step(live.path, table.element(live.path, live.places, index));
                }
            }
        }
        if table.buffering() > Buffering::Streaming
            && let Some(start) = self.must_buffer(table, kind, around.as_ref())
        {
            return Begun::Buffer(Box::new(start));
        }
        if let Some(path) = self.selected {
            return Begun::Selected(path as usize);
        }
        if kind != Kind::Scalar {
            let within = table.within(self.live.get(self.next..).unwrap_or_default(), kind);
            let (from, to) = (self.next, self.live.len());
            self.frames.push(Frame { from, to, array: kind == Kind::Array, index: 0, within });
        }
        Begun::Passing
    }

    /// Where the paths stand at a value that has to be in memory before they can go on.
    fn must_buffer(&self, table: &Table, kind: Kind, around: Option<&Range<usize>>) -> Option<Start> {
        let here = self.live.get(self.next..).unwrap_or_default();
        let parents = around.and_then(|around| self.live.get(around.clone())).unwrap_or_default();
        let filter = |live: &Live| Live { path: live.path, places: table.at_children(live.path, live.places) };
        let undecided: Vec<Live> = parents.iter().map(filter).filter(|live| live.places != 0).collect();
        let document = around.is_none() && table.buffering() == Buffering::Document;
        if !document && undecided.is_empty() && !here.iter().any(|live| table.at_whole(live.path, live.places, kind)) {
            return None;
        }
        // A path that selects the value has no need to be decided, but one before it in the list may.
        Some(Start { here: here.to_vec(), undecided, selected: self.selected })
    }

    #[inline(never)]
    pub fn end(&mut self) {
        self.frames.pop();
        self.start(self.frames.last().map_or(0, |around| around.to));
    }

    #[inline]
    pub fn within(&self) -> Option<Within> {
        self.frames.last().map(|frame| frame.within)
    }

    #[inline(never)]
    pub fn nest_deep(&mut self, kind: Kind) {
        if let Some(Frame { from, to, within, .. }) = self.frames.last() {
            let inner = Frame { from: *from, to: *to, array: kind == Kind::Array, index: 0, within: *within };
            self.start(inner.to);
            self.frames.push(inner);
        }
    }

    pub fn selected(&self) -> Option<u32> {
        self.selected
    }

    pub fn goes_on(&self) -> bool {
        self.live.len() > self.next
    }

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
