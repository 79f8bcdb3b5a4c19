//! All paths at once on the token stream: a set of places for each path that is still alive, kept for each open container.

mod names;
mod sets;
mod states;
pub mod table;

use std::fmt;
use std::sync::Arc;

use crate::json::scan::Kind;
use crate::json::text::unescape;
use crate::jsonpath::{Buffering, Path};
use sets::Sets;
use states::{States, Steps};
use table::Table;
pub use table::Within;

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
        Self(Arc::new(Table::new(paths).worked_out()))
    }

    /// The same for one document, for which less is worked out beforehand.
    pub fn once(paths: &[Arc<Path>]) -> Self {
        Self(Arc::new(Table::new(paths)))
    }
}

impl fmt::Debug for Selectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selectors").field("paths", &self.0.len()).finish()
    }
}

/// A path that something below this place may still match. Bit n: the first n segments are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// Told of every name, begin and end outside of selected values, it says which values are selected.
pub struct Matcher {
    table: Arc<Table>,
    /// In use if the table has states.
    steps: Steps,
    /// In use otherwise.
    sets: Sets,
}

impl Matcher {
    /// The paths.
    pub fn selectors(&self) -> Selectors {
        Selectors(Arc::clone(&self.table))
    }

    /// For one document.
    pub fn new(Selectors(table): Selectors) -> Self {
        let (steps, sets) = match table.states() {
            Some(_) => (Steps::new(table.whole()), Sets::default()),
            None => (Steps::default(), Sets::new(&table)),
        };
        Self { table, steps, sets }
    }

    /// No raw name longer than this can match.
    pub fn longest_name(&self) -> usize {
        self.table.longest_raw()
    }

    /// A member name, raw; `None`: longer than [`Self::longest_name`].
    pub fn name(&mut self, raw: Option<&[u8]>) {
        let id = raw.filter(|raw| raw.len() <= self.table.longest_raw()).and_then(|raw| self.table.id(&unescape(raw)));
        self.named(id);
    }

    /// A member name, by its place among those that matter; `None`: it is none of them.
    #[inline]
    pub fn named(&mut self, id: Option<usize>) {
        match self.table.states() {
            Some(states) => self.steps.named(states, id),
            None => self.sets.named(&self.table, id),
        }
    }

    /// A value begins. One that is selected, or must be buffered, is to be skipped: the next call concerns what comes after it.
    #[inline]
    pub fn begin(&mut self, kind: Kind) -> Begun {
        match self.table.states() {
            Some(states) => self.steps.begin(states, kind),
            None => self.sets.begin(&self.table, kind),
        }
    }

    /// Where the paths stand before anything was read.
    pub fn at_root(&self) -> Start {
        Start { here: self.table.root().collect(), undecided: Vec::new(), selected: self.table.whole() }
    }

    /// What the paths are about.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// A value that was not selected ends.
    #[inline]
    pub fn end(&mut self, kind: Kind) {
        if kind != Kind::Scalar {
            match self.table.states() {
                Some(_) => self.steps.end(),
                None => self.sets.end(),
            }
        }
    }

    /// What the paths look for in the innermost container.
    #[inline]
    pub fn within(&self) -> Option<Within> {
        match self.table.states() {
            Some(_) => self.steps.within(),
            None => self.sets.within(),
        }
    }

    /// A container begins in one that is [`Within::Deep`], where no path takes note of it.
    #[inline]
    pub fn nest_deep(&mut self, kind: Kind) {
        match self.table.states() {
            Some(_) => self.steps.nest_deep(kind),
            None => self.sets.nest_deep(kind),
        }
    }

    /// Whether names alone say what is selected, in whatever containers they stand.
    pub fn is_flat(&self) -> bool {
        self.table.states().is_some_and(States::is_flat)
    }

    /// These are the containers around, if it is.
    pub fn stand_in(&mut self, containers: &[Kind]) {
        self.steps.stand_in(containers);
    }

    /// The first path that selects the value whose name came last.
    #[inline]
    pub fn selected(&self) -> Option<usize> {
        let selected = match self.table.states() {
            Some(_) => self.steps.selected(),
            None => self.sets.selected(),
        };
        selected.map(|path| path as usize)
    }

    /// The first path that selects a value of this name, wherever it stands, if names alone say what is selected.
    #[inline]
    pub fn selected_anywhere(&self, id: Option<usize>) -> Option<usize> {
        self.table.states()?.member(0, id).selected.map(|path| path as usize)
    }

    /// Whether a path goes on in the value whose name came last.
    #[inline]
    pub fn goes_on(&self) -> bool {
        match self.table.states() {
            Some(states) => self.steps.goes_on(states),
            None => self.sets.goes_on(),
        }
    }

    /// Bytes held in buffers.
    pub fn held(&self) -> usize {
        self.steps.held() + self.sets.held()
    }
}

#[cfg(test)]
mod tests;
