//! JSON text (RFC 8259), edited and never re-printed.

pub mod check;
pub mod framing;
pub mod index;
pub mod nest;
pub mod scan;
mod simd;
pub mod splice;
pub mod text;

/// What is wrong with a document, and at which byte; never a piece of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct JsonError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, in bytes from the beginning.
    pub offset: u64,
}
