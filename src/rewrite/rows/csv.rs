//! CSV (RFC 4180): csv-core finds the fields, and what is not changed keeps its quotes.

use std::io::BufRead;

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

use super::{BadRow, Cell, Format, Found, MAX_ROW, Row, behind_mark, push};

/// See the module.
pub struct Csv {
    reader: Reader,
    delimiter: u8,
    /// The first row says the names of the columns, and has not come yet.
    names: bool,
    /// Nothing has come yet.
    start: bool,
    /// What says NULL, without quotes.
    null: Vec<u8>,
    decoded: Vec<u8>,
}

impl Csv {
    /// With this delimiter; `names`: the first row has those of the columns; `null`: what says NULL, without quotes.
    pub fn new(delimiter: u8, names: bool, null: &str) -> Self {
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        Self { reader, delimiter, names, start: true, null: null.as_bytes().to_vec(), decoded: vec![0; 4096] }
    }

    /// Reads one field, and adds it to the row; whether it was the last one, or `None` at the end.
    fn field(&mut self, input: &mut dyn BufRead, row: &mut Row) -> Result<Option<bool>, BadRow> {
        let (mut from, mut length) = (row.bytes.len(), 0);
        loop {
            let available = input.fill_buf().map_err(|error| BadRow(format!("it cannot be read: {error}")))?;
            let at_end = available.is_empty();
            let decoded = self.decoded.get_mut(length..).unwrap_or_default();
            let (result, read, written) = self.reader.read_field(available, decoded);
            row.bytes.extend_from_slice(available.get(..read).unwrap_or_default());
            input.consume(read);
            length += written;
            if row.bytes.len() > MAX_ROW {
                return Err(BadRow(format!("a row is longer than {MAX_ROW} bytes")));
            }
            match result {
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::OutputFull => self.decoded.resize(self.decoded.len().saturating_mul(2), 0),
                ReadFieldResult::End => return Ok(None),
                ReadFieldResult::Field { record_end } => {
                    // At the end of the input there is no delimiter to leave out.
                    let end = row.bytes.len().saturating_sub(usize::from(!at_end));
                    if row.cells.is_empty() {
                        // The rest of the line end before, and empty lines.
                        let raw = row.bytes.get(from..end).unwrap_or_default();
                        from += raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                        // Anywhere else it is a character of the field.
                        if std::mem::take(&mut self.start) && from == 0 {
                            from += behind_mark(row.bytes.get(from..end).unwrap_or_default());
                        }
                    }
                    let raw = row.bytes.get(from..end).unwrap_or_default();
                    let value = (raw != self.null).then(|| self.decoded.get(..length).unwrap_or_default().to_vec());
                    push(&mut row.cells, Cell { span: from..end, value })?;
                    return Ok(Some(record_end));
                }
            }
        }
    }
}

impl Format for Csv {
    fn next(&mut self, input: &mut dyn BufRead, row: &mut Row) -> Result<Found, BadRow> {
        loop {
            match self.field(input, row)? {
                None => return Ok(Found::End),
                Some(true) => break,
                Some(false) => {}
            }
        }
        if std::mem::take(&mut self.names) {
            return super::names(&row.cells).map(Found::Names);
        }
        Ok(Found::Row)
    }

    fn write(&self, value: Option<&[u8]>, was: &[u8], out: &mut Vec<u8>) {
        let Some(value) = value else { return out.extend_from_slice(&self.null) };
        let special = |byte: &u8| matches!(byte, b'"' | b'\r' | b'\n') || *byte == self.delimiter;
        let spaced = value.first() == Some(&b' ') || value.last() == Some(&b' ');
        let plain = !was.starts_with(b"\"") && !spaced && !value.is_empty() && !value.iter().any(special);
        if plain && value != self.null {
            return out.extend_from_slice(value);
        }
        out.push(b'"');
        for byte in value {
            out.extend_from_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) });
        }
        out.push(b'"');
    }
}
