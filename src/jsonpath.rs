//! JSONPath (RFC 9535): jsonpath-rust parses, the compiled paths and the matcher on the token stream are ours.
//! (interface; owner: json)

use std::ops::Range;
use std::sync::Arc;

use crate::json::splice::{EditError, Fed, Replace};

/// A compiled path; what the matcher runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {}

/// One path of a selector: a union of names at the last name-bearing segment is split, so that each path has one class.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The path.
    pub path: Arc<Path>,
    /// The last member name written in the selector (unescaped); `None` where the selector has no name, or where a union
    /// mixes names with anything else, so that the rule must give a `class`.
    pub last_name: Option<String>,
    /// The path in canonical form.
    pub canonical: String,
}

/// Why a selector is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Not RFC 9535.
    #[error("not a JSONPath (RFC 9535): {0}")]
    Invalid(String),
    /// RFC 9535, but not available yet.
    #[error("{0} is not available yet")]
    NotYet(&'static str),
}

/// Compiles a selector.
pub fn compile(_text: &str) -> Result<Vec<Compiled>, SelectorError> {
    Err(SelectorError::NotYet("jsonpath"))
}

/// A value that a path selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Index of the first path that selects it.
    pub path: usize,
    /// Its normalized path (RFC 9535 2.7): `$['a'][0]`.
    pub location: String,
    /// Its bytes in the document.
    pub span: Range<usize>,
}

/// All values that the paths select in a whole document, outermost only, in document order; the error says what is wrong with
/// the document and at which byte.
pub fn select(_document: &[u8], _paths: &[Arc<Path>]) -> Result<Vec<Selected>, String> {
    Err("interface only".into())
}

/// Whether some document can have one value that both paths select (for the load-time conflict check); errs on `true`.
pub fn may_overlap(_a: &Path, _b: &Path) -> bool {
    true
}

/// Edits one document, fed in chunks of any size.
#[derive(Debug)]
pub struct Editor {}

impl Editor {
    /// For these paths; the first that selects a value names it. `max_depth` bounds nesting.
    pub fn new(_paths: &[Arc<Path>], _max_depth: usize) -> Self {
        Self {}
    }

    /// Takes a chunk in and appends what may leave to `out`.
    pub fn feed<R: Replace>(
        &mut self,
        _input: &[u8],
        _out: &mut Vec<u8>,
        _replace: &mut R,
    ) -> Result<Fed, EditError<R::Error>> {
        Ok(Fed::All)
    }

    /// The document has ended. `Fed::Waiting(0)`: call again once the wait is over.
    pub fn finish<R: Replace>(&mut self, _out: &mut Vec<u8>, _replace: &mut R) -> Result<Fed, EditError<R::Error>> {
        Ok(Fed::All)
    }

    /// Bytes held back in this editor's buffers, for the memory budget.
    pub fn held(&self) -> usize {
        0
    }
}
