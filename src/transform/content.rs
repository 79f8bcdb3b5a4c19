//! A body on its way through its editor: of JSON or of form fields.

use super::body::MAX_DEPTH;
use super::documents::Documents;
use super::plan::HalfPlan;
use crate::form::edit::{EditError as FormEditError, Editor};
use crate::json::index::Sight;
use crate::json::splice::{EditError, Fed, Replace};
use crate::refusal::{Reason, Refusal};
use crate::rules::media::Reading;
use crate::rules::{Place, Validate};

/// See the module.
#[expect(clippy::large_enum_variant, reason = "most bodies are JSON, and a box of it would cost each an allocation")]
pub(super) enum Content {
    Json(Documents),
    Form(Box<Editor>),
}

impl Content {
    /// `longest`: of each field's values. `lenient`: see [`Documents::new`].
    pub fn new(reading: &Reading, plan: &HalfPlan, longest: impl Fn(usize) -> usize, lenient: usize) -> Self {
        match reading {
            Reading::Json(framing) => {
                let sight = Sight::new(plan.validate == Validate::Full);
                let documents = Documents::new(*framing, plan.selectors(), MAX_DEPTH, lenient);
                Self::Json(documents.seeing(sight))
            }
            Reading::Form(form) => {
                let names = plan.fields.iter().enumerate().map(|(index, field)| {
                    let name = field.place().and_then(Place::name).unwrap_or_default();
                    (name, longest(index))
                });
                Self::Form(Box::new(Editor::new(form, names)))
            }
        }
    }

    pub fn feed<R>(&mut self, input: &[u8], out: &mut Vec<u8>, replace: &mut R) -> Result<Fed, Refusal>
    where
        R: Replace<Error = Refusal>,
    {
        match self {
            Self::Json(documents) => documents.feed(input, out, replace).map_err(of_json),
            Self::Form(editor) => editor.feed(input, out, replace).map_err(of_form),
        }
    }

    pub fn finish<R>(&mut self, out: &mut Vec<u8>, replace: &mut R) -> Result<Fed, Refusal>
    where
        R: Replace<Error = Refusal>,
    {
        match self {
            Self::Json(documents) => documents.finish(out, replace).map_err(of_json),
            Self::Form(editor) => editor.finish(out, replace).map_err(of_form),
        }
    }

    /// Bytes held back in buffers.
    pub fn held(&self) -> usize {
        match self {
            Self::Json(documents) => documents.held(),
            Self::Form(editor) => editor.held(),
        }
    }

    /// How many bytes at the end of the output may yet be taken back.
    pub fn unsettled(&self) -> usize {
        if let Self::Json(documents) = self { documents.unsettled() } else { 0 }
    }

    /// So many bytes were put in among those.
    pub fn grown(&mut self, bytes: usize) {
        if let Self::Json(documents) = self {
            documents.grown(bytes);
        }
    }

    /// How many documents passed unread.
    pub fn unread(&self) -> u64 {
        if let Self::Json(documents) = self { documents.unread() } else { 0 }
    }

    /// See [`Documents::keep_framing`].
    pub fn keep_framing(&self, edited: &mut [u8]) {
        if let Self::Json(documents) = self {
            documents.keep_framing(edited);
        }
    }
}

fn of_json(error: EditError<Refusal>) -> Refusal {
    match error {
        EditError::Json(error) => Refusal::new(Reason::InvalidJson, error.to_string()),
        EditError::Undecided(why) => Refusal::new(Reason::Undecided, why),
        EditError::Refused(refusal) => refusal,
    }
}

fn of_form(error: FormEditError<Refusal>) -> Refusal {
    match error {
        FormEditError::Form(error) => Refusal::new(Reason::InvalidForm, error.to_string()),
        FormEditError::Refused(refusal) => refusal,
    }
}
