//! What paths select in a value that is in memory: the walk of the matcher, plus what needs to look further.

mod filter;

use std::ops::Range;

use crate::json::scan::Kind;
use crate::jsonpath::Selector;
use crate::jsonpath::matcher::table::{Next, Table};
use crate::jsonpath::matcher::{Live, Start};
use crate::jsonpath::tree::{Id, Tree};
use filter::Judge;

/// Why it cannot be told what a path selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// Readers differ in which of several members with one name they take.
    DuplicateNames,
    /// Filters that look at everything below for every value would take time in the square of the length.
    TooCostly,
}

impl Undecided {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DuplicateNames => "a filter looks at an object with duplicate names",
            Self::TooCostly => "a filter takes too many steps in this document",
        }
    }
}

/// The outermost selected values, in document order, each with the first path that selects it.
pub fn evaluate(tree: &Tree<'_>, table: &Table, start: &Start) -> Result<Vec<(Range<usize>, usize)>, Undecided> {
    let mut walk = Walk { tree, table, judge: Judge::new(tree), found: Vec::new(), live: Vec::new() };
    let root = tree.root();
    let mut selected = start.selected;
    walk.live.extend_from_slice(&start.here);
    for live in &start.undecided {
        let places = walk.decided(*live, root, 0)?;
        walk.take(live.path, table.matched(live.path, places), &mut selected);
    }
    walk.down(root, selected)?;
    Ok(walk.found)
}

struct Walk<'t, 'a> {
    tree: &'t Tree<'a>,
    table: &'t Table,
    judge: Judge<'t, 'a>,
    found: Vec<(Range<usize>, usize)>,
    /// The live paths of the values on the way down.
    live: Vec<Live>,
}

impl Walk<'_, '_> {
    /// From a value whose live paths are all that `live` holds.
    fn down(&mut self, root: Id, selected: Option<u32>) -> Result<(), Undecided> {
        // Each value still to be entered, with where its live paths stand.
        let mut open = vec![(root, 0..self.live.len(), selected)];
        while let Some((id, live, selected)) = open.pop() {
            // What stands behind was of a value that is done with.
            self.live.truncate(live.end);
            if let Some(path) = selected {
                self.found.push((self.tree.span(id), path as usize));
                continue;
            }
            let first = open.len();
            for child in self.tree.children(id) {
                let from = self.live.len();
                let selected = self.step(id, child, live.clone())?;
                if selected.is_none() && self.tree.kind(child) == Kind::Scalar {
                    self.live.truncate(from);
                } else if selected.is_some() || self.live.len() > from {
                    open.push((child, from..self.live.len(), selected));
                }
            }
            // The last child's live paths stand last, so it would be entered first: turned round, paths and all.
            let children = open.get_mut(first..).unwrap_or_default();
            let below = self.live.split_off(live.end);
            let mut turned = Vec::with_capacity(below.len());
            for (_, range, _) in children.iter_mut().rev() {
                let from = live.end + turned.len();
                let of = range.start - live.end..range.end - live.end;
                turned.extend_from_slice(below.get(of).unwrap_or_default());
                *range = from..live.end + turned.len();
            }
            children.reverse();
            self.live.extend_from_slice(&turned);
        }
        Ok(())
    }

    /// Puts the live paths of a child behind the others; the first path that selects it.
    fn step(&mut self, parent: Id, child: Id, live: Range<usize>) -> Result<Option<u32>, Undecided> {
        let mut selected = None;
        let array = self.tree.kind(parent) == Kind::Array;
        let name = if array { None } else { self.table.id(&self.tree.name(child)) };
        for at in live {
            let Some(live) = self.live.get(at).copied() else { continue };
            let next = if array {
                self.table.element(live.path, live.places, self.tree.index(child))
            } else {
                self.table.member(live.path, live.places, name)
            };
            let more = self.decided(live, child, if array { self.tree.count(parent) } else { 0 })?;
            let also = self.table.matched(live.path, more);
            let both = Next { places: next.places | also.places, selected: next.selected || also.selected };
            self.take(live.path, both, &mut selected);
        }
        Ok(selected)
    }

    fn take(&mut self, path: u32, Next { places, selected }: Next, first: &mut Option<u32>) {
        if places != 0 {
            self.live.push(Live { path, places });
        }
        if selected {
            *first = Some(first.map_or(path, |first| first.min(path)));
        }
    }

    /// At which of its places a path goes on into this child of a container of `length` elements (0: of an object).
    fn decided(&mut self, live: Live, child: Id, length: u64) -> Result<u64, Undecided> {
        let mut places = 0;
        for (bit, selector) in self.table.buffered(live.path, live.places) {
            if places & bit != 0 {
                continue;
            }
            let matches = match selector {
                Selector::Filter(filter) => self.judge.holds(filter, child)?,
                other => other.counts(self.tree.index(child), length),
            };
            if matches {
                places |= bit;
            }
        }
        Ok(places)
    }
}
