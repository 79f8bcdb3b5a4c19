//! Streams of rows: of each the chosen values are put into a document, which goes through the same engine as a body does, and what has
//! changed is put back. What is not chosen stays, to the byte.

pub mod copy;
pub mod csv;
pub mod ndjson;

use std::io::BufRead;
use std::ops::Range;

use percent_encoding::utf8_percent_encode;

use super::pages::{SEGMENT, scalar};
use crate::json::scan::Kind as JsonKind;
use crate::json::text::{escape_into, is_value, unescape};
use crate::jsonpath::tree::Tree;

/// A row is held whole, and may be no longer.
pub const MAX_ROW: usize = 64 << 20;
/// No database has a table of more columns; each takes more memory than the byte that may be all of it.
const MAX_CELLS: usize = 1 << 14;
const MAX_DEPTH: usize = 512;

/// What is wrong with a row. Holds no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRow(pub String);

/// One row as it came.
#[derive(Debug, Default)]
pub struct Row {
    /// All of it, with its line end.
    pub bytes: Vec<u8>,
    /// Its fields, in order.
    pub cells: Vec<Cell>,
}

/// One field of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Where it stands, with its quotes.
    pub span: Range<usize>,
    /// What it says; `None`: nothing at all (NULL).
    pub value: Option<Vec<u8>>,
}

/// What a format finds next.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A row.
    Row,
    /// Something that passes as it is.
    Other,
    /// The names of the columns, in a line that passes as it is.
    Names(Vec<String>),
    /// The end of a table; what comes next passes as it is, or says names again.
    TableEnd,
    /// The end.
    End,
}

/// How rows are written.
pub trait Format {
    /// Reads on, into `row`.
    fn next(&mut self, input: &mut dyn BufRead, row: &mut Row) -> Result<Found, BadRow>;

    /// Appends a field that stands for this value, where `was` stood.
    fn write(&self, value: Option<&[u8]>, was: &[u8], out: &mut Vec<u8>);

    /// At the end: what should have come, and has not.
    fn missing(&self) -> Option<BadRow> {
        None
    }
}

/// A column whose values may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, or its number from 1.
    pub name: String,
    /// What its text stands for.
    pub kind: Kind,
}

/// What a column's text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Itself.
    Text,
    /// A JSON number, true or false.
    Bare,
    /// JSON of any kind.
    Json,
}

/// Which columns make the document.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Those that are said of something.
    pub chosen: Vec<Column>,
    /// All others are texts in the document, too.
    pub all: bool,
    /// The document is what this column holds.
    pub document: Option<String>,
}

/// The columns of one table.
#[derive(Debug, Default)]
struct Table {
    /// How many a row has.
    width: usize,
    /// By place in the row.
    members: Vec<Member>,
    document: Option<usize>,
}

/// A column that is in the document.
#[derive(Debug)]
struct Member {
    place: usize,
    column: Column,
    /// Its name was given, and may be told. Others are what the first row says, which is a row of values if there are no names.
    given: bool,
}

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Rows, or documents.
    pub rows: u64,
    /// Of those, changed.
    pub changed: u64,
}

/// Is given a document, and appends what becomes of it.
pub type Edit<'a, E> = &'a mut dyn FnMut(&[u8], &mut Vec<u8>) -> Result<(), E>;

/// Rewrites all rows. `names`: those of the columns, if they are known.
pub fn rewrite<E: From<BadRow>>(
    format: &mut dyn Format,
    (columns, names): (&Columns, Option<&[String]>),
    input: &mut dyn BufRead,
    edit: Edit<'_, E>,
    write: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    done: &mut Done,
) -> Result<(), E> {
    let mut table = names.map(|names| Table::new(columns, names)).transpose()?;
    let (mut row, mut document, mut edited, mut out) = (Row::default(), Vec::new(), Vec::new(), Vec::new());
    loop {
        row.bytes.clear();
        row.cells.clear();
        match format.next(input, &mut row)? {
            Found::End => {
                write(&row.bytes)?;
                return format.missing().map_or(Ok(()), |missing| Err(missing.into()));
            }
            Found::Other => write(&row.bytes)?,
            Found::TableEnd => {
                write(&row.bytes)?;
                table = names.map(|names| Table::new(columns, names)).transpose()?;
            }
            Found::Names(names) => {
                table = Some(Table::new(columns, &names)?);
                write(&row.bytes)?;
            }
            Found::Row => {
                done.rows += 1;
                let table = match &mut table {
                    Some(table) => table,
                    None => table.insert(Table::numbered(columns, row.cells.len())?),
                };
                document.clear();
                if !table.document(&row, &mut document)? {
                    write(&row.bytes)?;
                    continue;
                }
                edited.clear();
                edit(&document, &mut edited)?;
                if edited == document {
                    write(&row.bytes)?;
                    continue;
                }
                done.changed += 1;
                out.clear();
                table.put_back(&row, (&document, &edited), format, &mut out)?;
                write(&out)?;
            }
        }
    }
}

impl Table {
    fn new(columns: &Columns, names: &[String]) -> Result<Self, BadRow> {
        let place = |name: &String| -> Result<usize, BadRow> {
            let mut places = names.iter().enumerate().filter(|(_, known)| *known == name).map(|(at, _)| at);
            match (places.next(), places.next()) {
                (Some(at), None) => Ok(at),
                (Some(_), Some(_)) => Err(BadRow(format!("several columns are called `{name}`"))),
                // The others' names are not told: where there is no row of names they are values.
                (None, _) => Err(BadRow(format!(
                    "none of the {} columns is called `{name}`; is there a row of names, and does it say so?",
                    names.len()
                ))),
            }
        };
        let mut table = Self { width: names.len(), ..Self::default() };
        if let Some(name) = &columns.document {
            table.document = Some(place(name)?);
            return Ok(table);
        }
        for column in &columns.chosen {
            table.members.push(Member { place: place(&column.name)?, column: column.clone(), given: true });
        }
        if columns.all {
            for (at, name) in names.iter().enumerate() {
                if table.members.iter().any(|member| member.place == at) {
                    continue;
                }
                if let Some(same) = names.iter().take(at).position(|known| known == name) {
                    return Err(BadRow(format!("columns {} and {} have the same name", same + 1, at + 1)));
                }
                let column = Column { name: name.clone(), kind: Kind::Text };
                table.members.push(Member { place: at, column, given: false });
            }
        }
        table.members.sort_by_key(|member| member.place);
        Ok(table)
    }

    fn numbered(columns: &Columns, width: usize) -> Result<Self, BadRow> {
        let names: Vec<String> = (1..=width).map(|number| number.to_string()).collect();
        Self::new(columns, &names)
    }

    /// Appends the row's document; whether there is one.
    fn document(&self, row: &Row, out: &mut Vec<u8>) -> Result<bool, BadRow> {
        if row.cells.len() != self.width {
            return Err(BadRow(format!("it has {} fields, and there are {} columns", row.cells.len(), self.width)));
        }
        let cell = |at: usize| row.cells.get(at).and_then(|cell| cell.value.as_deref());
        if let Some(at) = self.document {
            out.extend_from_slice(cell(at).unwrap_or_default());
            return Ok(cell(at).is_some());
        }
        out.push(b'{');
        for Member { place, column, given } in &self.members {
            if out.len() > 1 {
                out.push(b',');
            }
            out.push(b'"');
            escape_into(&column.name, out);
            out.extend_from_slice(b"\":");
            column.value(cell(*place), out).map_err(|wrong| {
                let called = if *given { format!("`{}`", column.name) } else { (place + 1).to_string() };
                BadRow(format!("column {called} {wrong}"))
            })?;
        }
        out.push(b'}');
        Ok(true)
    }

    /// Appends the row with the fields changed whose members have.
    fn put_back(
        &self,
        row: &Row,
        (before, after): (&[u8], &[u8]),
        format: &dyn Format,
        out: &mut Vec<u8>,
    ) -> Result<(), BadRow> {
        let mut at = 0;
        let mut put = |cell: &Cell, value: Option<&[u8]>| {
            out.extend_from_slice(row.bytes.get(at..cell.span.start).unwrap_or_default());
            format.write(value, row.bytes.get(cell.span.clone()).unwrap_or_default(), out);
            at = cell.span.end;
        };
        if let Some(cell) = self.document.and_then(|at| row.cells.get(at)) {
            put(cell, Some(after));
        } else {
            let broken = |_| BadRow("a document of its own is none".to_owned());
            let (old, new) =
                (Tree::parse(before, MAX_DEPTH).map_err(broken)?, Tree::parse(after, MAX_DEPTH).map_err(broken)?);
            let members = old.children(old.root()).zip(new.children(new.root()));
            for (Member { place, column, .. }, (was, is)) in self.members.iter().zip(members) {
                let Some(cell) = row.cells.get(*place).filter(|_| old.raw(was) != new.raw(is)) else { continue };
                put(cell, column.text(new.raw(is)).as_deref());
            }
        }
        out.extend_from_slice(row.bytes.get(at..).unwrap_or_default());
        Ok(())
    }
}

impl Column {
    /// Appends the member that stands for a field; the error says what the column is, or has.
    fn value(&self, text: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let Some(text) = text else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        let utf8 = std::str::from_utf8(text).map_err(|_| "is not UTF-8")?;
        let is_token = crate::token::looks_sealed(text);
        let bare = |text: &[u8]| is_value(text) && !matches!(text.first(), Some(b'"' | b'{' | b'[' | b' ' | b'n'));
        match self.kind {
            Kind::Bare if !is_token && !bare(text) => {
                return Err("holds no JSON number, true or false");
            }
            Kind::Json if Tree::parse(text, MAX_DEPTH).is_err() => return Err("holds no JSON"),
            Kind::Bare if !is_token => out.extend_from_slice(text),
            Kind::Json => out.extend_from_slice(text),
            Kind::Bare | Kind::Text => {
                out.push(b'"');
                escape_into(utf8, out);
                out.push(b'"');
            }
        }
        Ok(())
    }

    /// What the field says that stands for a member.
    fn text(&self, raw: &[u8]) -> Option<Vec<u8>> {
        match raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")) {
            _ if self.kind == Kind::Json => Some(raw.to_vec()),
            Some(content) => Some(unescape(content).into_owned()),
            None if raw == b"null" => None,
            None => Some(raw.to_vec()),
        }
    }
}

/// A path with `{name}`s, which are members of a document; `None`: one of them is not there, or has no text that could stand there.
pub fn fill(template: &str, document: &[u8]) -> Option<String> {
    let tree = Tree::parse(document, MAX_DEPTH).ok().filter(|tree| tree.kind(tree.root()) == JsonKind::Object)?;
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, after) = behind.split_once('}')?;
        let member = tree.children(tree.root()).find(|child| tree.name(*child) == name.as_bytes())?;
        let text = scalar(tree.raw(member)).filter(|text| !["", ".", ".."].contains(&text.as_str()))?;
        path.push_str(before);
        path.push_str(&utf8_percent_encode(&text, SEGMENT).to_string());
        rest = after;
    }
    path.push_str(rest);
    Some(path)
}

/// What a row of names says.
fn names(cells: &[Cell]) -> Result<Vec<String>, BadRow> {
    let text = |cell: &Cell| String::from_utf8(cell.value.clone().unwrap_or_default());
    let names: Result<Vec<_>, _> = cells.iter().map(text).collect();
    names.map_err(|_| BadRow("the names of its columns are not UTF-8".to_owned()))
}

/// Reads a line with its end, at most so long.
fn line(input: &mut dyn BufRead, bytes: &mut Vec<u8>) -> Result<bool, BadRow> {
    let before = bytes.len();
    let mut bounded = std::io::Read::take(input, MAX_ROW as u64 + 1);
    let read = bounded.read_until(b'\n', bytes).map_err(|error| BadRow(format!("it cannot be read: {error}")))?;
    if bytes.len() - before > MAX_ROW {
        return Err(BadRow(format!("a row is longer than {MAX_ROW} bytes")));
    }
    Ok(read > 0)
}

fn push(cells: &mut Vec<Cell>, cell: Cell) -> Result<(), BadRow> {
    if cells.len() == MAX_CELLS {
        return Err(BadRow(format!("a row has more than {MAX_CELLS} fields")));
    }
    cells.push(cell);
    Ok(())
}

/// Where text begins that may begin with a byte order mark.
fn behind_mark(text: &[u8]) -> usize {
    if text.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 }
}

/// The place of a line's own end.
fn end_of(line: &[u8]) -> usize {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    text.strip_suffix(b"\r").unwrap_or(text).len()
}

#[cfg(test)]
mod tests;
