//! What an editor of a document asks of its caller: untouched bytes leave as they came, selected values are handed over
//! whole and replaced. The editor itself is `jsonpath::Editor`, since paths select.

use crate::json::JsonError;

/// What takes a selected value's place.
pub trait Replace {
    /// Why a value is refused.
    type Error;

    /// A selected value begins; returns how many bytes of it may be held.
    fn begin(&mut self, selector: usize) -> usize;

    /// A selected value grows beyond what `begin` allowed. `Ok`: it passes unchanged.
    fn too_large(&mut self, selector: usize) -> Result<(), Self::Error>;

    /// How many bytes may be held at once to tell what paths select that need to see more than a value's place.
    fn buffer(&mut self) -> usize;

    /// An operation of a patch compares a value with what stands at a place of this selector.
    fn compare(&mut self, _selector: usize) -> Result<(), Self::Error> {
        Ok(())
    }

    /// An operation of a patch takes what stands at a place of one selector to a place of another.
    fn carry(&mut self, _from: usize, _to: usize) -> Result<(), Self::Error> {
        Ok(())
    }

    /// `raw` is the whole selected value as it stands in the document (a string with its quotes), `record` what its path binds
    /// it to, if it does and that is there. Appends what takes its place to `out`. `Step::Wait`: nothing was appended, ask again
    /// with the same value at the next `feed`.
    fn replace(
        &mut self,
        selector: usize,
        raw: &[u8],
        record: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Step, Self::Error>;

    /// What was appended to `out` from there on is taken back, as the document proves to be none.
    fn taken_back(&mut self, _from: usize) {}

    /// What comes next stands in another document.
    fn next_document(&mut self) {}
}

/// See [`Replace::replace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The value is replaced.
    Done,
    /// Nothing was appended: its place is kept in mind, and filled before what follows leaves.
    Later,
    /// Something must be fetched first.
    Wait,
}

/// How far a `feed` came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// Everything was taken in.
    All,
    /// A replacement waits: feed again from this many bytes on.
    Waiting(usize),
}

/// Why a document cannot be edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError<E> {
    /// Not JSON.
    #[error(transparent)]
    Json(JsonError),
    /// What is selected cannot be told: duplicate names under a filter, or too many steps.
    #[error("{0}")]
    Undecided(&'static str),
    /// Refused by the replacer.
    #[error("refused")]
    Refused(E),
}
