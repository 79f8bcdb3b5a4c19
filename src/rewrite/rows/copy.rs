//! The text format of PostgreSQL's `COPY`, alone or in the dump that `pg_dump` writes: tabs between fields, `\N` for NULL, backslashes
//! before what would end a field.

use std::io::BufRead;

use super::{BadRow, Format, Found, Row, end_of, line, push};
use crate::rewrite::rows::Cell;

/// What `COPY … WITH BINARY` begins with, to the end of what looks like a line.
const BINARY: &[u8] = b"PGCOPY\n";

/// See the module.
#[derive(Debug)]
pub struct Copy {
    /// The input is a dump, of which this table's rows count.
    table: Option<String>,
    /// It has come.
    found: bool,
    /// A line of names is still to come.
    names: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Rows,
    /// Between tables, or behind the last row.
    Outside,
}

impl Copy {
    /// Rows from the first line on; `names`: that has those of the columns (`HEADER`).
    pub fn rows(names: bool) -> Self {
        Self { table: None, found: false, names, state: State::Start }
    }

    /// A dump, of which this table's rows count: `NAME`, or `SCHEMA.NAME`.
    pub fn dump(table: &str) -> Self {
        Self { table: Some(table.to_owned()), found: false, names: false, state: State::Outside }
    }
}

impl Format for Copy {
    fn next(&mut self, input: &mut dyn BufRead, row: &mut Row) -> Result<Found, BadRow> {
        if !line(input, &mut row.bytes)? {
            return Ok(Found::End);
        }
        let text = row.bytes.get(..end_of(&row.bytes)).unwrap_or_default();
        match self.state {
            State::Start if row.bytes == BINARY => {
                return Err(BadRow("it is in the binary format: have COPY write text".to_owned()));
            }
            State::Start => self.state = State::Rows,
            State::Rows => {}
            State::Outside => {
                let names = self.table.as_ref().and_then(|table| begins(text, table));
                let Some(names) = names else { return Ok(Found::Other) };
                (self.state, self.found) = (State::Rows, true);
                return Ok(Found::Names(names));
            }
        }
        if text == b"\\." {
            self.state = State::Outside;
            return Ok(Found::TableEnd);
        }
        let mut at = 0;
        for field in text.split(|byte| *byte == b'\t') {
            let value = if field == b"\\N" { None } else { Some(decoded(field)?) };
            push(&mut row.cells, Cell { span: at..at + field.len(), value })?;
            at += field.len() + 1;
        }
        if std::mem::take(&mut self.names) {
            return super::names(&row.cells).map(Found::Names);
        }
        Ok(Found::Row)
    }

    fn write(&self, value: Option<&[u8]>, _was: &[u8], out: &mut Vec<u8>) {
        let Some(value) = value else { return out.extend_from_slice(b"\\N") };
        for byte in value {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                8 => out.extend_from_slice(b"\\b"),
                12 => out.extend_from_slice(b"\\f"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                11 => out.extend_from_slice(b"\\v"),
                other => out.push(*other),
            }
        }
    }

    fn missing(&self) -> Option<BadRow> {
        let table = self.table.as_ref().filter(|_| !self.found)?;
        Some(BadRow(format!(
            "it has no rows of a table `{table}`: nothing was sealed. See whether the name is right, and have pg_dump write COPY, not --inserts"
        )))
    }
}

/// The columns, if a table's rows begin here: `COPY public.customers (id, "Name") FROM stdin;`.
fn begins(line: &[u8], table: &str) -> Option<Vec<String>> {
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("COPY ")?.strip_suffix(") FROM stdin;")?;
    let (name, columns) = rest.split_once(" (")?;
    let plain = |name: &str| name.replace('"', "");
    let name = plain(name);
    if name != table && name.split_once('.').map(|(_, name)| name) != Some(table) {
        return None;
    }
    Some(columns.split(", ").map(plain).collect())
}

/// Without its backslashes (PostgreSQL's documentation of COPY, "Text Format").
fn decoded(field: &[u8]) -> Result<Vec<u8>, BadRow> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let Some((escape, behind)) = rest.split_first() else {
            return Err(BadRow("a field ends in a backslash".to_owned()));
        };
        rest = behind;
        out.push(match escape {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => number(escape - b'0', 8, 2, &mut rest),
            b'x' if rest.first().is_some_and(u8::is_ascii_hexdigit) => number(0, 16, 2, &mut rest),
            other => *other,
        });
    }
    Ok(out)
}

/// With at most so many more digits.
fn number(first: u8, radix: u8, digits: usize, rest: &mut &[u8]) -> u8 {
    let mut value = first;
    for _ in 0..digits {
        let Some((byte, behind)) = rest.split_first() else { break };
        let digit = char::from(*byte).to_digit(radix.into()).and_then(|digit| u8::try_from(digit).ok());
        let Some(digit) = digit else { break };
        value = value.wrapping_mul(radix).wrapping_add(digit);
        *rest = behind;
    }
    value
}
