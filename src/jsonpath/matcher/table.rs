//! For each path, which of its segments match which child, as bits.

use std::sync::Arc;

use crate::jsonpath::{Path, Selector};

/// The paths as bits: bit n stands for segment n.
pub struct Table {
    paths: Vec<Bits>,
    /// Every name that a selector mentions, shortest first.
    names: Vec<Box<[u8]>>,
    longest: usize,
    /// A path has a wildcard or descends.
    open: bool,
}

/// Where a path stands at a child, and whether it selects it.
#[derive(Default)]
pub struct Next {
    pub places: u64,
    pub selected: bool,
}

#[derive(Default)]
struct Bits {
    /// One past the last segment.
    accept: u64,
    descendants: u64,
    /// Segments that match every member, or every element.
    wildcards: u64,
    /// By place in `Table::names`, ascending.
    names: Vec<(usize, u64)>,
    indices: Vec<Indices>,
}

struct Indices {
    from: u64,
    to: u64,
    bit: u64,
}

impl Table {
    pub fn new(paths: &[Arc<Path>]) -> Self {
        let selectors = paths.iter().flat_map(|path| &path.segments).flat_map(|segment| &segment.selectors);
        let name = |selector: &Selector| match selector {
            Selector::Name(name) => Some(name.as_bytes().into()),
            Selector::Wildcard | Selector::Index(_) | Selector::Slice(..) => None,
        };
        let mut names: Vec<Box<[u8]>> = Vec::with_capacity(paths.len());
        names.extend(selectors.filter_map(name));
        names.sort_unstable_by(|a, b| order(a, b));
        names.dedup();
        let longest = names.last().map_or(0, |name| name.len());
        let paths: Vec<Bits> = paths.iter().map(|path| Bits::new(path, &names)).collect();
        let open = paths.iter().any(|bits| bits.wildcards | bits.descendants != 0);
        Self { paths, names, longest, open }
    }

    /// How many paths.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// The first path that selects the whole document.
    pub fn whole(&self) -> Option<u32> {
        (0..).zip(&self.paths).find(|(_, bits)| bits.accept == 1).map(|(path, _)| path)
    }

    /// Whether a path can go on below a member whose name no selector mentions.
    pub fn any_name_may_match(&self) -> bool {
        self.open
    }

    /// A byte of a name takes six at most when it is escaped.
    pub fn longest_raw(&self) -> usize {
        self.longest.saturating_mul(6)
    }

    /// Where an unescaped name stands among those that matter.
    pub fn id(&self, name: &[u8]) -> Option<usize> {
        if name.len() > self.longest {
            return None;
        }
        self.names.binary_search_by(|candidate| order(candidate, name)).ok()
    }

    /// From these places of a path to those at a member; `id` is its name's, if a selector mentions it.
    pub fn member(&self, path: u32, places: u64, id: Option<usize>) -> Next {
        let Some(bits) = self.bits(path) else { return Next::default() };
        let named = id.and_then(|id| bits.names.binary_search_by_key(&id, |(name, _)| *name).ok());
        bits.next(places, named.and_then(|at| bits.names.get(at)).map_or(0, |(_, named)| *named))
    }

    /// From these places of a path to those at an element.
    pub fn element(&self, path: u32, places: u64, index: u64) -> Next {
        let Some(bits) = self.bits(path) else { return Next::default() };
        let matching = bits.indices.iter().filter(|indices| (indices.from..indices.to).contains(&index));
        bits.next(places, matching.fold(0, |all, indices| all | indices.bit))
    }

    fn bits(&self, path: u32) -> Option<&Bits> {
        self.paths.get(path as usize)
    }
}

impl Bits {
    fn new(path: &Path, names: &[Box<[u8]>]) -> Self {
        let mut bits = Self { accept: 1 << path.segments.len(), ..Self::default() };
        for (n, segment) in path.segments.iter().enumerate() {
            let bit = 1 << n;
            if segment.descendant {
                bits.descendants |= bit;
            }
            for selector in &segment.selectors {
                match selector {
                    Selector::Wildcard => bits.wildcards |= bit,
                    Selector::Index(index) => {
                        bits.indices.push(Indices { from: *index, to: index.saturating_add(1), bit });
                    }
                    Selector::Slice(from, to) => {
                        bits.indices.push(Indices { from: *from, to: to.unwrap_or(u64::MAX), bit });
                    }
                    Selector::Name(name) => {
                        if let Ok(id) = names.binary_search_by(|candidate| order(candidate, name.as_bytes())) {
                            bits.name(id, bit);
                        }
                    }
                }
            }
        }
        bits
    }

    fn next(&self, places: u64, matching: u64) -> Next {
        let moved = (places & (matching | self.wildcards)) << 1;
        Next { places: (places & self.descendants) | moved, selected: moved & self.accept != 0 }
    }

    fn name(&mut self, id: usize, bit: u64) {
        match self.names.binary_search_by_key(&id, |(name, _)| *name) {
            Ok(at) => self.names.iter_mut().skip(at).take(1).for_each(|(_, bits)| *bits |= bit),
            Err(at) => self.names.insert(at, (id, bit)),
        }
    }
}

/// Lengths first: most names differ there.
fn order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}
