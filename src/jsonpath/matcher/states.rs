//! Everywhere that a set of paths can stand, worked out once: what a step leads to is then looked up. For paths that need neither
//! numbers nor more than a value's place, and that can stand in few ways.

use std::collections::HashMap;

use super::table::{Next, Table, Within};
use super::{Begun, Live};
use crate::json::scan::Kind;
use crate::jsonpath::Buffering;

/// Steps that are worked out, beyond which none are.
const MOST: usize = 2_048;

/// See the module.
pub struct States {
    all: Vec<State>,
    /// For each state those at a member of each name, at one of any other name, and at an element.
    children: Vec<Child>,
    /// How many of these there are for each.
    width: usize,
    /// See [`States::is_flat`].
    flat: bool,
}

/// The paths that something below a place may still match, and what they look for there.
struct State {
    object: Within,
    array: Within,
    /// A path goes on.
    alive: bool,
}

/// A value to come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Child {
    state: u32,
    /// The first path that selects it.
    pub selected: Option<u32>,
}

impl States {
    /// `None`: there are too many, or a state would not be enough.
    pub fn new(table: &Table) -> Option<Self> {
        if table.buffering() > Buffering::Streaming || table.counts() {
            return None;
        }
        let names = table.names().len();
        let width = names + 2;
        let root: Vec<Live> = table.root().collect();
        let mut found = HashMap::from([(root.clone(), 0)]);
        let mut sets = vec![root];
        let mut states = Self { all: Vec::new(), children: Vec::new(), width, flat: false };
        while let Some(set) = sets.get(states.all.len()).cloned() {
            // Not only those that were looked at: as many would be.
            if sets.len() * width > MOST {
                return None;
            }
            let state = |kind| table.within(&set, kind);
            states.all.push(State { object: state(Kind::Object), array: state(Kind::Array), alive: !set.is_empty() });
            for step in 0..width {
                let next = |live: &Live| match step {
                    step if step < names => table.member(live.path, live.places, Some(step)),
                    step if step == names => table.member(live.path, live.places, None),
                    _ => table.element(live.path, live.places, 0),
                };
                let (mut child, mut selected) = (Vec::new(), None);
                for live in &set {
                    let Next { places, selected: is } = next(live);
                    child.extend((places != 0).then_some(Live { path: live.path, places }));
                    selected = selected.or_else(|| is.then_some(live.path));
                }
                if selected.is_some() {
                    // Nobody looks into it.
                    child.clear();
                }
                let state = *found.entry(child).or_insert_with_key(|child| {
                    sets.push(child.clone());
                    sets.len() - 1
                });
                states.children.push(Child { state: u32::try_from(state).ok()?, selected });
            }
        }
        let root = states.children.get(..width)?;
        states.flat = root.iter().all(|child| child.selected.is_some() || child.state == 0)
            && states.all.first().is_some_and(|state| state.object == Within::Deep && state.array == Within::Deep);
        Some(states)
    }

    /// Whether names alone say what is selected, wherever they stand.
    pub fn is_flat(&self) -> bool {
        self.flat
    }

    /// At a member of the name of this id, or of a name that nothing mentions.
    #[inline]
    pub fn member(&self, of: u32, id: Option<usize>) -> Child {
        self.child(of, id.unwrap_or(self.width - 2))
    }

    /// At an element.
    pub fn element(&self, of: u32) -> Child {
        self.child(of, self.width - 1)
    }

    /// See [`Within`].
    pub fn within(&self, child: Child, kind: Kind) -> Within {
        self.all.get(child.state as usize).map_or(Within::Each, |state| match kind {
            Kind::Array => state.array,
            Kind::Object | Kind::Scalar => state.object,
        })
    }

    /// Whether a path goes on in it.
    #[inline]
    pub fn is_alive(&self, child: Child) -> bool {
        self.all.get(child.state as usize).is_none_or(|state| state.alive)
    }

    #[inline]
    fn child(&self, of: u32, step: usize) -> Child {
        self.children.get(of as usize * self.width + step).copied().unwrap_or_default()
    }
}

/// Where the paths are in one document.
#[derive(Default)]
pub struct Steps {
    /// The open containers.
    frames: Vec<Frame>,
    /// The value to come.
    next: Child,
}

#[derive(Clone, Copy)]
struct Frame {
    state: u32,
    array: bool,
    within: Within,
}

impl Steps {
    /// `whole`: the first path that selects the whole document.
    pub fn new(whole: Option<u32>) -> Self {
        // Room for a few levels, so that most documents never make it grow.
        Self { frames: Vec::with_capacity(16), next: Child { state: 0, selected: whole } }
    }

    /// See `Matcher`, here and below.
    #[inline]
    pub fn named(&mut self, states: &States, id: Option<usize>) {
        if let Some(frame) = self.frames.last() {
            self.next = states.member(frame.state, id);
        }
    }

    #[inline]
    pub fn begin(&mut self, states: &States, kind: Kind) -> Begun {
        if let Some(frame) = self.frames.last().filter(|frame| frame.array) {
            self.next = states.element(frame.state);
        }
        if let Some(path) = self.next.selected {
            return Begun::Selected(path as usize);
        }
        if kind != Kind::Scalar {
            let within = states.within(self.next, kind);
            self.frames.push(Frame { state: self.next.state, array: kind == Kind::Array, within });
        }
        Begun::Passing
    }

    #[inline]
    pub fn end(&mut self) {
        self.frames.pop();
        self.next.selected = None;
    }

    #[inline]
    pub fn within(&self) -> Option<Within> {
        self.frames.last().map(|frame| frame.within)
    }

    #[inline]
    pub fn nest_deep(&mut self, kind: Kind) {
        if let Some(frame) = self.frames.last() {
            self.next.selected = None;
            self.frames.push(Frame { array: kind == Kind::Array, ..*frame });
        }
    }

    /// These are the containers around, where the states are flat.
    pub fn stand_in(&mut self, containers: &[Kind]) {
        self.next.selected = None;
        self.frames.clear();
        let frame = |kind: &Kind| Frame { state: 0, array: *kind == Kind::Array, within: Within::Deep };
        self.frames.extend(containers.iter().map(frame));
    }

    #[inline]
    pub fn selected(&self) -> Option<u32> {
        self.next.selected
    }

    #[inline]
    pub fn goes_on(&self, states: &States) -> bool {
        states.is_alive(self.next)
    }

    pub fn held(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>()
    }
}
