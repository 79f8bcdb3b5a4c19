//! For each path, which of its segments match which child, as bits.

use std::sync::Arc;

use super::Live;
use super::names::Names;
use super::states::States;
use crate::json::scan::Kind;
use crate::json::text::unescape;
use crate::jsonpath::{Bind, Buffering, Path, Selector};

/// The paths as bits: bit n stands for segment n.
pub struct Table {
    paths: Vec<Bits>,
    /// Every name that a selector mentions.
    names: Names,
    /// For each name the paths that mention it, ascending, and their segments that do.
    mentions: Vec<Vec<(u32, u64)>>,
    /// A path has a wildcard or descends.
    open: bool,
    buffering: Buffering,
    states: Option<States>,
}

/// What the paths look for in a container, and so what in it need not be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// Nothing.
    Nothing,
    /// Members of names that the paths mention, and if `deep`, whatever stands in the others.
    Names {
        /// See there.
        deep: bool,
    },
    /// The same in all containers below it: members of names, at any depth.
    Deep,
    /// Whatever stands in the arrays and objects in an array, which one it is does not matter.
    Elements,
    /// Every child.
    Each,
}

/// Where a path stands at a child, and whether it selects it.
#[derive(Debug, Default)]
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
    /// Segments that have names, or numbers.
    named: u64,
    numbered: u64,
    indices: Vec<Indices>,
    /// Segments whose filters look at one child at a time.
    children: u64,
    /// Segments that take the whole array, or the whole object.
    arrays: u64,
    objects: u64,
    /// The selectors of these segments that are no names, numbers or wildcards.
    buffered: Vec<(u64, Selector)>,
    bind: Option<Bind>,
    /// Its filters, or what its values are bound to, look at `$`.
    sees_root: bool,
}

struct Indices {
    from: u64,
    to: u64,
    step: u64,
    bit: u64,
}

impl Table {
    pub fn new(paths: &[Arc<Path>]) -> Self {
        let selectors = paths.iter().flat_map(|path| &path.segments).flat_map(|segment| &segment.selectors);
        let name = |selector: &Selector| match selector {
            Selector::Name(name) => Some(name.as_bytes().into()),
            Selector::Wildcard
            | Selector::Index(_)
            | Selector::Slice { .. }
            | Selector::FromEnd(_)
            | Selector::Span(_)
            | Selector::Filter(_) => None,
        };
        let mut names: Vec<Box<[u8]>> = Vec::with_capacity(paths.len());
        names.extend(selectors.filter_map(name));
        let names = Names::new(names);
        let buffering = paths.iter().map(|path| path.buffering()).max().unwrap_or(Buffering::Streaming);
        let paths: Vec<Bits> = paths.iter().map(|path| Bits::new(path, &names)).collect();
        let open = paths.iter().any(|bits| bits.wildcards | bits.descendants != 0);
        let of_path = |id: usize, bits: &Bits| bits.names.iter().find(|(name, _)| *name == id).map(|(_, bits)| *bits);
        let mentions = (0..names.len())
            .map(|id| (0..).zip(&paths).filter_map(|(path, bits)| Some((path, of_path(id, bits)?))).collect())
            .collect();
        Self { paths, names, mentions, open, buffering, states: None }
    }

    /// With all that can be worked out beforehand: worth it where more than one document is looked at.
    pub fn worked_out(mut self) -> Self {
        self.states = States::new(&self);
        self
    }

    /// See there.
    #[inline]
    pub fn states(&self) -> Option<&States> {
        self.states.as_ref()
    }

    /// The names that matter; a name's id is its place among them.
    #[inline]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The places of all paths before anything was read.
    pub fn root(&self) -> impl Iterator<Item = Live> {
        (0..).zip(0..self.paths.len()).map(|(path, _)| Live { path, places: 1 })
    }

    /// Whether it matters to a path which element of an array a value is.
    pub fn counts(&self) -> bool {
        self.paths.iter().any(|bits| bits.numbered != 0)
    }

    /// How many paths.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// What the most demanding path needs.
    pub fn buffering(&self) -> Buffering {
        self.buffering
    }

    /// At which of these places of a path a filter looks at each child by itself.
    pub fn at_children(&self, path: u32, places: u64) -> u64 {
        self.bits(path).map_or(0, |bits| places & bits.children)
    }

    /// Whether at one of these places of a path a container is looked at as a whole.
    pub fn at_whole(&self, path: u32, places: u64, kind: Kind) -> bool {
        self.bits(path).is_some_and(|bits| {
            let whole = match kind {
                Kind::Array => bits.arrays,
                Kind::Object => bits.objects,
                Kind::Scalar => 0,
            };
            places & whole != 0
        })
    }

    /// What the values of a path are bound to.
    pub fn bind(&self, path: u32) -> Option<&Bind> {
        self.bits(path)?.bind.as_ref()
    }

    /// The selectors of a path at these places that need more than a child's name or number, each with its place.
    pub fn buffered(&self, path: u32, places: u64) -> impl Iterator<Item = (u64, &Selector)> {
        let all = self.bits(path).map_or(&[][..], |bits| &bits.buffered);
        all.iter().filter(move |(bit, _)| places & bit != 0).map(|(bit, selector)| (*bit, selector))
    }

    /// Where a path stands at a child that the selectors of these places matched.
    pub fn matched(&self, path: u32, places: u64) -> Next {
        let accept = self.bits(path).map_or(0, |bits| bits.accept);
        Next { places: places << 1, selected: (places << 1) & accept != 0 }
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
        self.names.longest().saturating_mul(6)
    }

    /// Where an unescaped name stands among those that matter.
    pub fn id(&self, name: &[u8]) -> Option<usize> {
        self.names.id(name)
    }

    /// The same for the name of this length that `text` begins with, as it is written. `escapes`: it may have some.
    #[inline(always)]
    pub fn id_as_written(&self, text: &[u8], length: usize, escapes: bool) -> Option<usize> {
        #[cfg(test)]
        let escapes = escapes && !mutant::IGNORES_ESCAPES.get();
        if escapes { self.id_of_escaped(text.get(..length)?) } else { self.names.id_at(text, length) }
    }

    #[cold]
    fn id_of_escaped(&self, raw: &[u8]) -> Option<usize> {
        Some(raw).filter(|raw| raw.len() <= self.longest_raw()).and_then(|raw| self.id(&unescape(raw)))
    }

    /// See [`Within`].
    pub fn within(&self, live: &[Live], kind: Kind) -> Within {
        if live.is_empty() {
            return Within::Nothing;
        }
        if self.buffering > Buffering::Streaming {
            return Within::Each;
        }
        let (mut names, mut deep, mut all_deep, mut goes_on) = (false, false, true, false);
        for live in live {
            let Some(bits) = self.bits(live.path) else { return Within::Each };
            let places = live.places;
            let descending = places & bits.descendants;
            all_deep &= descending == places && places & bits.numbered == 0;
            deep |= descending != 0;
            names |= places & bits.named != 0;
            let any = (places & bits.wildcards) << 1;
            if kind == Kind::Object && any != 0
                || kind == Kind::Array && (any & bits.accept | places & bits.numbered) != 0
            {
                return Within::Each;
            }
            all_deep &= any == 0;
            goes_on |= any != 0;
        }
        match kind {
            _ if all_deep => Within::Deep,
            Kind::Object if names || deep => Within::Names { deep },
            Kind::Array if goes_on || deep => Within::Elements,
            _ => Within::Nothing,
        }
    }

    /// The segments of a path that mention a name.
    pub fn mention(&self, id: usize, path: u32) -> Option<u64> {
        let all = self.mentions.get(id)?;
        all.iter().find(|(mentioning, _)| *mentioning == path).map(|(_, segments)| *segments)
    }

    /// From these places of a path, in a table in which only names matter, to those at a member whose name these segments mention.
    pub fn named(&self, path: u32, places: u64, segments: u64) -> Next {
        self.bits(path).map_or_else(Next::default, |bits| bits.next(places, segments))
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
        let matching = bits.indices.iter().filter(|indices| indices.contain(index));
        bits.next(places, matching.fold(0, |all, indices| all | indices.bit))
    }

    /// The same at an element whose index is not known: as any that a selector names.
    pub fn any_element(&self, path: u32, places: u64) -> Next {
        let Some(bits) = self.bits(path) else { return Next::default() };
        bits.next(places, bits.indices.iter().fold(0, |all, indices| all | indices.bit))
    }

    /// Whether a path, or what its values are bound to, looks at `$`.
    pub fn sees_root(&self, path: usize) -> bool {
        self.paths.get(path).is_some_and(|bits| bits.sees_root)
    }

    fn bits(&self, path: u32) -> Option<&Bits> {
        self.paths.get(path as usize)
    }
}

impl Indices {
    fn contain(&self, index: u64) -> bool {
        (self.from..self.to).contains(&index) && (self.step == 1 || (index - self.from).is_multiple_of(self.step))
    }
}

impl Bits {
    fn new(path: &Path, names: &Names) -> Self {
        let mut bits = Self {
            accept: 1 << path.segments.len(),
            bind: path.bind.clone(),
            sees_root: path.buffering() == Buffering::Document,
            ..Self::default()
        };
        if path.bind.is_some() {
            // The object that holds what the last segment selects.
            bits.objects |= bits.accept >> 1;
        }
        for (n, segment) in path.segments.iter().enumerate() {
            let bit = 1 << n;
            if segment.descendant {
                bits.descendants |= bit;
            }
            for selector in &segment.selectors {
                match selector {
                    Selector::Wildcard => bits.wildcards |= bit,
                    Selector::Index(index) => {
                        bits.numbered |= bit;
                        bits.indices.push(Indices { from: *index, to: index.saturating_add(1), step: 1, bit });
                    }
                    Selector::Slice { start, end, step } => {
                        bits.numbered |= bit;
                        let to = end.unwrap_or(u64::MAX);
                        bits.indices.push(Indices { from: *start, to, step: *step, bit });
                    }
                    Selector::FromEnd(_) | Selector::Span(_) | Selector::Filter(_) => {
                        bits.buffered.push((bit, selector.clone()));
                    }
                    Selector::Name(name) => {
                        if let Some(id) = names.id(name.as_bytes()) {
                            bits.name(id, bit);
                        }
                    }
                }
            }
            let any = |of: fn(&Selector) -> bool| segment.selectors.iter().any(of);
            let filters = any(|selector| matches!(selector, Selector::Filter(_)));
            if any(|selector| matches!(selector, Selector::FromEnd(_) | Selector::Span(_))) {
                bits.arrays |= bit;
                bits.objects |= if filters { bit } else { 0 };
            } else if filters {
                bits.children |= bit;
            }
        }
        bits
    }

    fn next(&self, places: u64, matching: u64) -> Next {
        let moved = (places & (matching | self.wildcards)) << 1;
        Next { places: (places & self.descendants) | moved, selected: moved & self.accept != 0 }
    }

    fn name(&mut self, id: usize, bit: u64) {
        self.named |= bit;
        match self.names.binary_search_by_key(&id, |(name, _)| *name) {
            Ok(at) => self.names.iter_mut().skip(at).take(1).for_each(|(_, bits)| *bits |= bit),
            Err(at) => self.names.insert(at, (id, bit)),
        }
    }
}

/// A deliberate mistake, with which the tests of leaps must fail.
#[cfg(test)]
pub mod mutant {
    use std::cell::Cell;

    thread_local! {
        /// Names with escapes are looked at as they are written.
        pub static IGNORES_ESCAPES: Cell<bool> = const { Cell::new(false) };
    }
}
