//! JSONPath (RFC 9535): jsonpath-rust parses, the compiled paths and the matcher on the token stream are ours.

mod canonical;
mod compile;
mod edit;
mod evaluate;
mod filter;
mod matcher;
mod number;
mod overlap;
mod pattern;
mod select;
mod tree;

use std::sync::Arc;

pub use compile::{Compiled, SelectorError, compile};
pub use edit::Editor;
pub use matcher::Selectors;
pub use overlap::{may_contain, may_overlap};
pub use select::{Selected, select};

/// A compiled path; what the matcher runs. Its `Display` is its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    /// At most [`Path::MAX_SEGMENTS`].
    segments: Vec<Segment>,
}

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
    /// See [`Buffering`].
    pub fn buffering(&self) -> Buffering {
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
