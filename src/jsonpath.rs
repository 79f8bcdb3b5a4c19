//! JSONPath (RFC 9535): jsonpath-rust parses, the compiled paths and the matcher on the token stream are ours.

mod canonical;
mod compile;
mod edit;
mod evaluate;
mod filter;
mod inside;
mod matcher;
mod number;
mod overlap;
mod patch;
mod pattern;
mod select;
pub(crate) mod tree;

use std::sync::Arc;

pub use compile::{Compiled, SelectorError, compile, compile_bind};
pub use edit::Editor;
pub use evaluate::Found;
pub use inside::{Inside, SelectedInside, Unreadable, select_inside};
pub use matcher::Selectors;
pub use overlap::{may_contain, may_overlap};
pub use select::{InPatch, Selected, select, select_each, select_patch};

/// A compiled path; what the matcher runs. Its `Display` is its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    /// At most [`Path::MAX_SEGMENTS`].
    segments: Vec<Segment>,
    /// What a value that it selects is bound to.
    bind: Option<Bind>,
}

/// Where the value stands that others are bound to: a singular query, from `@`, the object that holds the selected value, or
/// from `$`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bind(filter::Query);

/// What of a document must be in memory before a path can tell what it selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Buffering {
    /// Nothing: only the selected values themselves are held.
    Streaming,
    /// One element or member at a time (a filter), or one array (a negative index, a slice that counts from the end).
    Element,
    /// The whole document: a filter looks at `$`.
    Document,
}

impl Buffering {
    /// `streaming`, `element-buffered` or `document-buffered`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Element => "element-buffered",
            Self::Document => "document-buffered",
        }
    }
}

impl Path {
    /// The same path, whose values are bound.
    #[must_use]
    pub fn bound(&self, bind: Bind) -> Self {
        Self { segments: self.segments.clone(), bind: Some(bind) }
    }

    /// Whether what it selects can be the member of an object.
    pub fn selects_members(&self) -> bool {
        let member = |s: &Selector| matches!(s, Selector::Name(_) | Selector::Wildcard | Selector::Filter(_));
        self.segments.last().is_some_and(|last| last.selectors.iter().any(member))
    }

    /// The paths of what its values are bound to, and of what that stands in below the object that holds them.
    pub fn of_bind(&self) -> Vec<Self> {
        let Some(Bind(query)) = &self.bind else { return Vec::new() };
        let around = if query.root { 0 } else { self.segments.len().saturating_sub(1) };
        let mut segments = self.segments.get(..around).unwrap_or_default().to_vec();
        // An object that stands at any depth holds something at any depth.
        let mut descendant = !query.root && self.segments.last().is_some_and(|last| last.descendant);
        let mut all = Vec::with_capacity(query.segments.len());
        for segment in &query.segments {
            segments.push(Segment { descendant: std::mem::take(&mut descendant), ..segment.clone() });
            all.push(Self { segments: segments.clone(), bind: None });
        }
        all
    }

    /// Whether a filter says what it selects.
    pub fn filters(&self) -> bool {
        let filters = |selector: &Selector| matches!(selector, Selector::Filter(_));
        self.segments.iter().flat_map(|segment| &segment.selectors).any(filters)
    }

    /// See [`Buffering`].
    pub fn buffering(&self) -> Buffering {
        let bind =
            self.bind.as_ref().map(|Bind(query)| if query.root { Buffering::Document } else { Buffering::Element });
        bind.unwrap_or(Buffering::Streaming).max(self.buffering_to_select())
    }

    fn buffering_to_select(&self) -> Buffering {
        let selectors = || self.segments.iter().flat_map(|segment| &segment.selectors);
        let sees_root = |selector: &Selector| matches!(selector, Selector::Filter(filter) if filter.sees_root());
        if selectors().any(sees_root) {
            Buffering::Document
        } else if selectors().any(Selector::is_buffered) {
            Buffering::Element
        } else {
            Buffering::Streaming
        }
    }

    /// A set of places in a path, and the end, fit in 64 bits.
    pub const MAX_SEGMENTS: usize = 63;
}

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Segment {
    /// `..`: at any depth.
    descendant: bool,
    /// Which children.
    selectors: Vec<Selector>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Selector {
    /// Unescaped.
    Name(String),
    Wildcard,
    Index(u64),
    /// Every `step`th (at least 1) from the first on; the end is exclusive.
    Slice {
        start: u64,
        end: Option<u64>,
        step: u64,
    },
    /// So many from the end; 1 is the last.
    FromEnd(u64),
    /// A slice that depends on how long the array is.
    Span(Span),
    Filter(Arc<filter::Filter>),
}

impl Selector {
    /// Whether it takes more than a child's name or number to tell if it matches.
    fn is_buffered(&self) -> bool {
        match self {
            Self::Name(_) | Self::Wildcard | Self::Index(_) | Self::Slice { .. } => false,
            Self::FromEnd(_) | Self::Span(_) | Self::Filter(_) => true,
        }
    }

    /// Whether it matches the element at `index` of an array of `length`; filters and names are another matter.
    fn counts(&self, index: u64, length: u64) -> bool {
        match self {
            Self::FromEnd(back) => length.checked_sub(*back) == Some(index),
            Self::Span(span) => span.contains(index, length),
            Self::Name(_) | Self::Wildcard | Self::Index(_) | Self::Slice { .. } | Self::Filter(_) => false,
        }
    }
}

/// A slice as written: negative bounds count from the end, a negative step goes backwards (RFC 9535 2.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Span {
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
}

impl Span {
    fn contains(self, index: u64, length: u64) -> bool {
        let (index, length) = (i64::try_from(index).unwrap_or(i64::MAX), i64::try_from(length).unwrap_or(i64::MAX));
        let bound = |bound: i64| if bound < 0 { length.saturating_add(bound) } else { bound };
        if self.step > 0 {
            let from = self.start.map_or(0, bound).clamp(0, length);
            let to = self.end.map_or(length, bound).clamp(0, length);
            (from..to).contains(&index) && (index - from) % self.step == 0
        } else if self.step < 0 {
            let from = self.start.map_or(length - 1, bound).clamp(-1, length - 1);
            let to = self.end.map_or(-1, bound).clamp(-1, length - 1);
            to < index && index <= from && (from - index) % self.step == 0
        } else {
            false
        }
    }
}
