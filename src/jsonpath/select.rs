//! What paths select in a whole document, with the places in writing: for the tests in rule files, and for explaining.

use std::ops::Range;
use std::sync::Arc;

use crate::json::framing::Framing;
use crate::json::scan::{Event, Kind, Scanner};
use crate::json::text::unescape;
use crate::jsonpath::canonical::push_name;
use crate::jsonpath::evaluate::{Found, evaluate};
use crate::jsonpath::matcher::table::Table;
use crate::jsonpath::matcher::{Begun, Matcher, Selectors};
use crate::jsonpath::patch::{NO_PATCH, touched};
use crate::jsonpath::tree::Tree;
use crate::jsonpath::{Buffering, Path};

/// Nothing here recurses, so this only bounds memory.
const MAX_DEPTH: usize = 100_000;

/// A value that a path selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Index of the first path that selects it.
    pub path: usize,
    /// Its normalized path (RFC 9535 2.7): `$['a'][0]`.
    pub location: String,
    /// Its bytes in the document.
    pub span: Range<usize>,
    /// What its path binds it to.
    pub record: Option<Arc<[u8]>>,
}

/// What paths have to do with a JSON patch.
#[derive(Debug, Default)]
pub struct InPatch {
    /// What they select.
    pub selected: Vec<Selected>,
    /// Indices of paths that a value which is compared is selected by.
    pub compared: Vec<usize>,
    /// Of the paths that select where a value is taken from, and where it is put.
    pub carried: Vec<(usize, usize)>,
}

/// All values that the paths select in a whole document, outermost only, in document order; the error says what is wrong with
/// the document and at which byte.
pub fn select(document: &[u8], paths: &[Arc<Path>]) -> Result<Vec<Selected>, String> {
    let selectors = Selectors::once(paths);
    if selectors.buffering() > Buffering::Streaming {
        return in_memory(document, selectors);
    }
    let mut scanner = Scanner::new(MAX_DEPTH, usize::MAX);
    let mut matcher = Matcher::new(selectors);
    let mut trail = Trail::default();
    let mut found: Vec<Selected> = Vec::new();
    // The depth at which a selected value that is still open stands.
    let mut inside = None;
    let mut at = 0;
    loop {
        let event = match scanner.next(document, &mut at).map_err(|error| error.to_string())? {
            Some(event) => event,
            None => match scanner.finish().map_err(|error| error.to_string())? {
                Some(event) => event,
                None => return Ok(found),
            },
        };
        match (event, inside) {
            (Event::End(_), Some(depth)) if scanner.depth() == depth => {
                inside = None;
                found.iter_mut().next_back().into_iter().for_each(|last| last.span.end = at);
            }
            (_, Some(_)) => {}
            (Event::Name, None) => {
                let raw = scanner.name_range().and_then(|range| document.get(range));
                matcher.name(raw);
                trail.name(raw.unwrap_or_default());
            }
            (Event::Begin(kind), None) => {
                trail.begin();
                match matcher.begin(kind) {
                    Begun::Selected(path) => {
                        let start = at.saturating_sub(1);
                        found.push(Selected { path, location: trail.location(), span: start..at, record: None });
                        inside = Some(scanner.depth() - usize::from(kind != Kind::Scalar));
                    }
                    Begun::Passing | Begun::Buffer(_) => trail.open(kind),
                }
            }
            (Event::End(kind), None) => {
                matcher.end(kind);
                trail.end(kind);
            }
        }
    }
}

/// The same in each of a body's documents, in a patch at the places that it writes; places are each document's own, spans the body's.
pub fn select_each(body: &[u8], framing: Framing, paths: &[Arc<Path>]) -> Result<Vec<Selected>, String> {
    if framing == Framing::Patch {
        return Ok(select_patch(body, paths)?.selected);
    }
    let mut all = Vec::new();
    for document in framing.split(body) {
        let found = select(body.get(document.clone()).unwrap_or_default(), paths)?;
        all.extend(found.into_iter().map(|mut one| {
            one.span = one.span.start + document.start..one.span.end + document.start;
            one
        }));
    }
    Ok(all)
}

/// The same where a path must see more than a value's place.
fn in_memory(document: &[u8], selectors: Selectors) -> Result<Vec<Selected>, String> {
    let tree = Tree::parse(document, MAX_DEPTH).map_err(|error| error.to_string())?;
    let matcher = Matcher::new(selectors);
    let found = evaluate(&tree, matcher.table(), &matcher.at_root(), &mut 0).map_err(|why| why.as_str().to_owned())?;
    Ok(located(&tree, found))
}

/// All values that the paths select at the places that a JSON patch (RFC 6902) writes; places and spans are the patch's own.
pub fn select_patch(patch: &[u8], paths: &[Arc<Path>]) -> Result<InPatch, String> {
    let tree = Tree::parse(patch, MAX_DEPTH).map_err(|error| error.to_string())?;
    let table = Table::new(paths);
    let mut all = InPatch::default();
    let mut found = Vec::new();
    if tree.kind(tree.root()) != Kind::Array {
        return Err(NO_PATCH.to_owned());
    }
    for operation in tree.children(tree.root()) {
        let start = tree.span(operation).start;
        let touched = touched(tree.raw(operation), &table, &mut 0)?;
        all.carried.extend(touched.carries);
        all.compared.extend(touched.found.iter().filter(|_| touched.compares).map(|one| one.path));
        found.extend(touched.found.into_iter().map(|mut one| {
            one.span = one.span.start + start..one.span.end + start;
            one
        }));
    }
    all.selected = located(&tree, found);
    Ok(all)
}

/// What was found, with its places in writing.
pub(super) fn located(tree: &Tree<'_>, found: Vec<Found>) -> Vec<Selected> {
    let mut found = found.into_iter().peekable();
    let mut selected = Vec::new();
    let mut trail = Trail::default();
    // Nodes stand in document order, so one walk writes all places down.
    let mut open = vec![(tree.root(), false)];
    while let Some((id, leaves)) = open.pop() {
        let kind = tree.kind(id);
        if leaves {
            trail.end(kind);
            continue;
        }
        trail.name(tree.raw_name(id));
        trail.begin();
        if let Some(Found { span, path, record }) = found.next_if(|one| one.span == tree.span(id)) {
            selected.push(Selected { path, location: trail.location(), span, record });
            continue;
        }
        trail.open(kind);
        if kind != Kind::Scalar {
            open.push((id, true));
            let from = open.len();
            open.extend(tree.children(id).map(|child| (child, false)));
            open.get_mut(from..).unwrap_or_default().reverse();
        }
    }
    selected
}

/// The way down to the current place.
#[derive(Default)]
struct Trail<'a>(Vec<Step<'a>>);

/// Where an open container is.
enum Step<'a> {
    /// In the member of this (raw) name.
    Member(&'a [u8]),
    /// In the element before this one.
    Element(u64),
}

impl<'a> Trail<'a> {
    fn name(&mut self, raw: &'a [u8]) {
        if let Some(Step::Member(name)) = self.0.last_mut() {
            *name = raw;
        }
    }

    fn begin(&mut self) {
        if let Some(Step::Element(next)) = self.0.last_mut() {
            *next += 1;
        }
    }

    fn open(&mut self, kind: Kind) {
        match kind {
            Kind::Object => self.0.push(Step::Member(&[])),
            Kind::Array => self.0.push(Step::Element(0)),
            Kind::Scalar => {}
        }
    }

    fn end(&mut self, kind: Kind) {
        if kind != Kind::Scalar {
            self.0.pop();
        }
    }

    fn location(&self) -> String {
        let mut out = String::from("$");
        for step in &self.0 {
            out.push('[');
            match step {
                Step::Member(raw) => push_name(&unescape(raw), &mut out),
                Step::Element(next) => out.push_str(&next.saturating_sub(1).to_string()),
            }
            out.push(']');
        }
        out
    }
}

#[cfg(test)]
mod tests;
