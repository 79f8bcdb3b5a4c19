//! The JSON text that a string holds, and what paths select in it.

use std::sync::Arc;

use crate::json::JsonError;
use crate::json::scan::is_white;
use crate::json::text::unescape;
use crate::jsonpath::evaluate::{Found, evaluate};
use crate::jsonpath::matcher::{Matcher, Selectors};
use crate::jsonpath::select::{Selected, located};
use crate::jsonpath::tree::Tree;
use crate::secret::SecretBytes;

/// How deep such a text nests, as a body does.
const MAX_DEPTH: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct Inside {
    text: SecretBytes,
    found: Vec<Found>,
}

/// Why it cannot be told what is selected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No string at all.
    #[error("what should be a string that holds JSON is none")]
    NoString,
    /// Not one JSON text.
    #[error("what a string holds is no JSON: {0}")]
    NoJson(JsonError),
    /// As in any document: duplicate names under a filter, or too many steps.
    #[error("{0} that a string holds")]
    Undecided(&'static str),
}

impl Inside {
    /// Of a value as it stands in its document; `None`: null or a blank string, in which there is nothing. `patterns` counts those
    /// that were compiled out of the document.
    pub fn read(raw: &[u8], selectors: &Selectors, patterns: &mut usize) -> Result<Option<Self>, Unreadable> {
        if raw == b"null" {
            return Ok(None);
        }
        let content = content(raw).ok_or(Unreadable::NoString)?;
        // Always its own copy, so that it is wiped.
        let text = SecretBytes::new(unescape(content).into_owned());
        if text.expose().iter().all(|byte| is_white(*byte)) {
            return Ok(None);
        }
        let matcher = Matcher::new(selectors.clone());
        let tree = Tree::parse(text.expose(), MAX_DEPTH).map_err(Unreadable::NoJson)?;
        let found = evaluate(&tree, matcher.table(), &matcher.at_root(), patterns)
            .map_err(|undecided| Unreadable::Undecided(undecided.as_str()))?;
        Ok(Some(Self { text, found }))
    }

    /// The text.
    pub fn text(&self) -> &[u8] {
        self.text.expose()
    }

    /// What the paths select in it: the outermost values, in order. Spans are the text's.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// Bytes held in buffers.
    pub fn held(&self) -> usize {
        let record = |one: &Found| one.record.as_ref().map_or(0, |record| record.len());
        self.text().len() + self.found.iter().map(|one| size_of::<Found>() + record(one)).sum::<usize>()
    }
}

/// A value that is selected in a text that a selected string holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedInside {
    /// Its place: the string's, ` > `, and its own in the text.
    pub location: String,
    /// Index of the first path that selects it.
    pub path: usize,
    /// Its bytes, as they stand in the text.
    pub raw: Vec<u8>,
    /// What its path binds it to.
    pub record: Option<Arc<[u8]>>,
}

/// The same with places in writing, for tests of rules and for explaining; `outer` is where the string stands.
pub fn select_inside(raw: &[u8], outer: &str, selectors: &Selectors) -> Result<Vec<SelectedInside>, Unreadable> {
    let Some(inside) = Inside::read(raw, selectors, &mut 0)? else { return Ok(Vec::new()) };
    let tree = Tree::parse(inside.text(), MAX_DEPTH).map_err(Unreadable::NoJson)?;
    let name = |Selected { path, location, span, record }| SelectedInside {
        location: format!("{outer} > {location}"),
        path,
        raw: inside.text().get(span).unwrap_or_default().to_vec(),
        record,
    };
    Ok(located(&tree, inside.found.clone()).into_iter().map(name).collect())
}

fn content(raw: &[u8]) -> Option<&[u8]> {
    raw.strip_prefix(b"\"")?.strip_suffix(b"\"")
}
