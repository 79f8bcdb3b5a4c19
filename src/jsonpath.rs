//! JSONPath (RFC 9535): jsonpath-rust parses, the compiled paths and the matcher on the token stream are ours.

mod canonical;
mod compile;
mod edit;
mod matcher;
mod overlap;
mod select;

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

impl Path {
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
    /// The end is exclusive.
    Slice(u64, Option<u64>),
}
