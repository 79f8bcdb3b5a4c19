//! What a form holds of the protected names, for whoever only asks.

use super::edit::{EditError, Editor};
use super::value::decode;
use super::{Form, FormError};
use crate::json::splice::{Fed, Replace, Step};
use crate::secret::SecretBytes;

/// One value of a protected name.
#[derive(Debug)]
pub struct Selected {
    /// The index of the name.
    pub name: usize,
    /// Decoded; `None`: it cannot be.
    pub text: Option<SecretBytes>,
}

/// All values of these names in a whole form, in their order.
pub fn select<'a>(
    form: &Form,
    body: &[u8],
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Selected>, FormError> {
    let mut editor = Editor::new(form, names.into_iter().map(|name| (name, usize::MAX)));
    let mut collect = Collect { form: form.clone(), found: Vec::new() };
    let mut out = Vec::new();
    let failed = |EditError::Form(error)| error;
    let fed = editor.feed(body, &mut out, &mut collect).map_err(failed)?;
    let finished = editor.finish(&mut out, &mut collect).map_err(failed)?;
    debug_assert_eq!((fed, finished), (Fed::All, Fed::All));
    Ok(collect.found)
}

struct Collect {
    form: Form,
    found: Vec<Selected>,
}

impl Replace for Collect {
    type Error = std::convert::Infallible;

    fn begin(&mut self, _: usize) -> usize {
        usize::MAX
    }

    fn buffer(&mut self) -> usize {
        usize::MAX
    }

    fn too_large(&mut self, _: usize) -> Result<(), Self::Error> {
        Ok(())
    }

    fn replace(&mut self, name: usize, raw: &[u8], _: Option<&[u8]>, _: &mut Vec<u8>) -> Result<Step, Self::Error> {
        self.found.push(Selected { name, text: decode(&self.form, raw) });
        Ok(Step::Done)
    }
}
