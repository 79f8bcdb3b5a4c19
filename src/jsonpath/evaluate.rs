//! What paths select in a value that is in memory: the walk of the matcher, plus what needs to look further.

mod filter;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::json::scan::Kind;
use crate::json::text::canonical_string;
use crate::jsonpath::matcher::table::{Next, Table};
use crate::jsonpath::matcher::{Live, Start};
use crate::jsonpath::tree::{Id, Tree};
use crate::jsonpath::{Bind, Selector};
use filter::Judge;

/// Why it cannot be told what a path selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// Readers differ in which of several members with one name they take.
    DuplicateNames,
    /// Filters that look at everything below for every value would take time in the square of the length.
    TooCostly,
    /// Readers differ in what they make of half a character.
    LoneSurrogate,
}

impl Undecided {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DuplicateNames => "a filter looks at an object with duplicate names",
            Self::LoneSurrogate => "a filter matches a text with a lone surrogate",
            Self::TooCostly => "a filter takes too many steps in this document",
        }
    }
}

/// A selected value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub span: Range<usize>,
    /// The first path that selects it.
    pub path: usize,
    /// What it is bound to: a string as RFC 8785 writes it, without quotes, or a number's lexeme.
    pub record: Option<Arc<[u8]>>,
}

/// The outermost selected values, in document order. `patterns` counts those of the document's own that were compiled: of the
/// whole document, since a value that is looked at by itself may bring one along.
pub fn evaluate(tree: &Tree<'_>, table: &Table, start: &Start, patterns: &mut usize) -> Result<Vec<Found>, Undecided> {
    let judge = Judge::new(tree, *patterns);
    let mut walk = Walk { tree, table, judge, found: Vec::new(), live: Vec::new(), records: HashMap::new() };
    let root = tree.root();
    let mut selected = start.selected;
    walk.live.extend_from_slice(&start.here);
    for live in &start.undecided {
        let places = walk.decided(*live, root, 0)?;
        walk.take(live.path, table.matched(live.path, places), &mut selected);
    }
    walk.down(root, selected)?;
    *patterns = walk.judge.patterns();
    Ok(walk.found)
}

struct Walk<'t, 'a> {
    tree: &'t Tree<'a>,
    table: &'t Table,
    judge: Judge<'t, 'a>,
    found: Vec<Found>,
    /// The live paths of the values on the way down.
    live: Vec<Live>,
    /// What values are bound to, by where it stands: many may be bound to one, which may be long.
    records: HashMap<usize, Option<Arc<[u8]>>>,
}

impl Walk<'_, '_> {
    /// From a value whose live paths are all that `live` holds.
    fn down(&mut self, root: Id, selected: Option<u32>) -> Result<(), Undecided> {
        // Each value still to be entered, with where its live paths stand.
        let mut open = vec![(root, 0..self.live.len(), selected, None)];
        while let Some((id, live, selected, holder)) = open.pop() {
            // What stands behind was of a value that is done with.
            self.live.truncate(live.end);
            if let Some(path) = selected {
                let record = self.record(path, holder)?;
                self.found.push(Found { span: self.tree.span(id), path: path as usize, record });
                continue;
            }
            let first = open.len();
            for child in self.tree.children(id) {
                let from = self.live.len();
                let selected = self.step(id, child, live.clone())?;
                if selected.is_none() && self.tree.kind(child) == Kind::Scalar {
                    self.live.truncate(from);
                } else if selected.is_some() || self.live.len() > from {
                    open.push((child, from..self.live.len(), selected, Some(id)));
                }
            }
            // The last child's live paths stand last, so it would be entered first: turned round, paths and all.
            let children = open.get_mut(first..).unwrap_or_default();
            let below = self.live.split_off(live.end);
            let mut turned = Vec::with_capacity(below.len());
            for (_, range, ..) in children.iter_mut().rev() {
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

    /// What a value that this path selects in `holder` is bound to; `None`: nothing, or nothing fit.
    fn record(&mut self, path: u32, holder: Option<Id>) -> Result<Option<Arc<[u8]>>, Undecided> {
        let Some(Bind(query)) = self.table.bind(path) else { return Ok(None) };
        let from = match holder {
            _ if query.root => self.tree.root(),
            Some(holder) if self.tree.kind(holder) == Kind::Object => holder,
            _ => return Ok(None),
        };
        let [one] = self.judge.nodes(query, from)?[..] else { return Ok(None) };
        let raw = self.tree.raw(one);
        // For each value anew, since it is authenticated with each.
        self.judge.look_at(raw.len())?;
        let record = self.records.entry(self.tree.span(one).start).or_insert_with(|| match raw {
            [b'"', text @ .., b'"'] => canonical_string(text).filter(|text| !text.is_empty()).map(Arc::from),
            number @ [b'-' | b'0'..=b'9', ..] => Some(Arc::from(number)),
            _ => None,
        });
        Ok(record.clone())
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
