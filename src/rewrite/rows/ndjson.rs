//! A document per line; blank lines pass, and so does a byte order mark in front of the first.

use std::io::BufRead;

use super::{BadRow, Cell, Format, Found, Row, behind_mark, end_of, line};

/// See the module. The document is the row's only field.
#[derive(Debug, Default)]
pub struct Ndjson {
    begun: bool,
}

impl Format for Ndjson {
    fn next(&mut self, input: &mut dyn BufRead, row: &mut Row) -> Result<Found, BadRow> {
        if !line(input, &mut row.bytes)? {
            return Ok(Found::End);
        }
        let from = if std::mem::replace(&mut self.begun, true) { 0 } else { behind_mark(&row.bytes) };
        let end = end_of(&row.bytes);
        let document = row.bytes.get(from..end).unwrap_or_default();
        if document.trim_ascii().is_empty() {
            return Ok(Found::Other);
        }
        let value = Some(document.to_vec());
        row.cells.push(Cell { span: from..end, value });
        Ok(Found::Row)
    }

    fn write(&self, value: Option<&[u8]>, _was: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(value.unwrap_or_default());
    }
}
