//! For each path, which of its segments match which child, as bits.

use std::sync::Arc;

use crate::jsonpath::{Path, Selector};

/// The paths as bits: bit n stands for segment n.
pub struct Table {
    paths: Vec<Bits>,
    /// Every name that a selector mentions, shortest first.
    names: Vec<Box<[u8]>>,
    longest: usize,
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
        let mut names: Vec<Box<[u8]>> = selectors.filter_map(name).collect();
        names.sort_unstable_by(|a, b| order(a, b));
        names.dedup();
        let longest = names.last().map_or(0, |name| name.len());
        let paths = paths.iter().map(|path| Bits::new(path, &names)).collect();
        Self { paths, names, longest }
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

    pub fn by_name(&self, path: u32, id: Option<usize>) -> u64 {
        let Some(bits) = self.bits(path) else { return 0 };
        let named = id.and_then(|id| bits.names.binary_search_by_key(&id, |(name, _)| *name).ok());
        bits.wildcards | named.and_then(|at| bits.names.get(at)).map_or(0, |(_, bits)| *bits)
    }

    pub fn by_index(&self, path: u32, index: u64) -> u64 {
        let Some(bits) = self.bits(path) else { return 0 };
        let matching = bits.indices.iter().filter(|indices| (indices.from..indices.to).contains(&index));
        matching.fold(bits.wildcards, |all, indices| all | indices.bit)
    }

    pub fn accept(&self, path: u32) -> u64 {
        self.bits(path).map_or(0, |bits| bits.accept)
    }

    pub fn descendants(&self, path: u32) -> u64 {
        self.bits(path).map_or(0, |bits| bits.descendants)
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
