//! A value in memory as a tree over its bytes: spans, no copies, no recursion.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::JsonError;
use crate::json::scan::{Event, Kind, Scanner};
use crate::json::text::unescape;

/// No node.
const NONE: u32 = u32::MAX;

/// The nodes of one value in document order; node 0 is the value itself.
pub struct Tree<'a> {
    text: &'a [u8],
    nodes: Vec<Node>,
}

/// 32 bytes, since a value of many small values has many.
#[derive(Debug, Clone, Copy)]
struct Node {
    start: u32,
    end: u32,
    /// Where the raw member name stands; empty at 0 for elements.
    name_start: u32,
    name_end: u32,
    /// The next child of the same parent.
    next: u32,
    /// The number among its parent's children.
    index: u32,
    children: u32,
    kind: Kind,
}

/// A node's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(u32);

impl<'a> Tree<'a> {
    /// Of one JSON value; longer than 4 GiB is refused.
    pub fn parse(text: &'a [u8], max_depth: usize) -> Result<Self, JsonError> {
        if u32::try_from(text.len()).is_err() {
            return Err(JsonError { what: "too long to be looked at as a whole", offset: 0 });
        }
        let mut scanner = Scanner::new(max_depth, usize::MAX);
        let mut tree = Self { text, nodes: Vec::new() };
        // The open containers, each with its last child.
        let mut open: Vec<(u32, u32)> = Vec::new();
        let mut name = 0..0;
        let mut at = 0;
        loop {
            let event = match scanner.next(text, &mut at)? {
                Some(event) => event,
                None => match scanner.finish()? {
                    Some(event) => event,
                    None => return Ok(tree),
                },
            };
            match event {
                Event::Name => name = scanner.name_range().unwrap_or(0..0),
                Event::Begin(kind) => {
                    let id = small(tree.nodes.len());
                    let index = tree.append(id, &mut open);
                    let start = small(at.saturating_sub(1));
                    let (name_start, name_end) = (small(name.start), small(name.end));
                    name = 0..0;
                    tree.nodes.push(Node {
                        start,
                        end: start,
                        name_start,
                        name_end,
                        next: NONE,
                        index,
                        children: 0,
                        kind,
                    });
                    open.push((id, NONE));
                }
                Event::End(_) => {
                    if let Some(node) = open.pop().and_then(|(id, _)| tree.nodes.get_mut(id as usize)) {
                        node.end = small(at);
                    }
                }
            }
        }
    }

    /// The value itself.
    pub fn root(&self) -> Id {
        Id(0)
    }

    /// How many nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn kind(&self, id: Id) -> Kind {
        self.node(id).map_or(Kind::Scalar, |node| node.kind)
    }

    /// Where it stands in the text.
    pub fn span(&self, id: Id) -> Range<usize> {
        self.node(id).map_or(0..0, |node| node.start as usize..node.end as usize)
    }

    /// Its bytes.
    pub fn raw(&self, id: Id) -> &'a [u8] {
        self.text.get(self.span(id)).unwrap_or_default()
    }

    /// Its member name, unescaped; empty for an element.
    pub fn name(&self, id: Id) -> Cow<'a, [u8]> {
        let range = self.node(id).map_or(0..0, |node| node.name_start as usize..node.name_end as usize);
        unescape(self.text.get(range).unwrap_or_default())
    }

    /// Its raw member name.
    pub fn raw_name(&self, id: Id) -> &'a [u8] {
        let range = self.node(id).map_or(0..0, |node| node.name_start as usize..node.name_end as usize);
        self.text.get(range).unwrap_or_default()
    }

    /// Its number among its parent's children.
    pub fn index(&self, id: Id) -> u64 {
        self.node(id).map_or(0, |node| u64::from(node.index))
    }

    /// How many children.
    pub fn count(&self, id: Id) -> u64 {
        self.node(id).map_or(0, |node| u64::from(node.children))
    }

    /// Its children, in document order.
    pub fn children(&self, id: Id) -> impl Iterator<Item = Id> + use<'_, 'a> {
        // The first child stands right behind its parent.
        let first = (self.count(id) > 0).then(|| Id(id.0.saturating_add(1)));
        std::iter::successors(first, |child| {
            self.node(*child).map(|node| node.next).filter(|next| *next != NONE).map(Id)
        })
    }

    fn node(&self, Id(id): Id) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    /// Makes `id` the last child of the innermost open container; its number there.
    fn append(&mut self, id: u32, open: &mut [(u32, u32)]) -> u32 {
        let Some((parent, last)) = open.last_mut() else { return 0 };
        if let Some(before) = self.nodes.get_mut(*last as usize) {
            before.next = id;
        }
        *last = id;
        let Some(parent) = self.nodes.get_mut(*parent as usize) else { return 0 };
        parent.children += 1;
        parent.children - 1
    }
}

fn small(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
