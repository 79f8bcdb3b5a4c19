//! Deterministic CBOR (RFC 8949 § 4.2.1), as far as records need it: definite arrays, unsigned integers, byte strings and names.

use minicbor::{Decoder, Encoder};

/// Bytes that are no record of the expected form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record of this form")]
pub struct BadRecord;

/// Entries a list in a record may have; more is refused before anything is allocated for them.
const MAX_LIST: u64 = 4096;

/// Something with exactly one encoding.
pub trait Record: Sized {
    /// Writes its items.
    fn write(&self, out: &mut Writer);

    /// Reads its items.
    fn read(from: &mut Reader<'_>) -> Result<Self, BadRecord>;

    /// Its encoding.
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.write(&mut out);
        out.into_bytes()
    }

    /// Decodes the whole of `bytes`. What does not encode back to the same bytes (a long integer form, an indefinite
    /// array, trailing bytes) is refused: otherwise a store writer could make many forms of one signed record.
    fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let record = Self::read(&mut Reader::new(bytes))?;
        if record.encode() == bytes { Ok(record) } else { Err(BadRecord) }
    }
}

/// Appends items.
pub struct Writer(Encoder<Vec<u8>>);

impl Writer {
    /// An empty one.
    pub fn new() -> Self {
        Self(Encoder::new(Vec::new()))
    }

    /// Begins an array of `length` items.
    pub fn array(&mut self, length: usize) -> &mut Self {
        self.0.array(length as u64).ok(); // writing to a Vec cannot fail, here and below
        self
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.0.u64(value).ok();
        self
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.bytes(value).ok();
        self
    }

    /// A name.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.0.str(value).ok();
        self
    }

    /// An array of `items`, each written by `write`.
    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.array(items.len());
        for item in items {
            write(self, item);
        }
        self
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_writer()
    }
}

/// Takes items off.
pub struct Reader<'a>(Decoder<'a>);

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    /// Expects an array of exactly `length` items.
    pub fn array(&mut self, length: u64) -> Result<(), BadRecord> {
        if self.0.array().map_err(|_| BadRecord)? == Some(length) { Ok(()) } else { Err(BadRecord) }
    }

    /// An unsigned integer.
    pub fn uint(&mut self) -> Result<u64, BadRecord> {
        self.0.u64().map_err(|_| BadRecord)
    }

    /// An unsigned integer of one byte.
    pub fn byte(&mut self) -> Result<u8, BadRecord> {
        self.0.u8().map_err(|_| BadRecord)
    }

    /// Expects this unsigned integer.
    pub fn expect(&mut self, value: u64) -> Result<(), BadRecord> {
        if self.uint()? == value { Ok(()) } else { Err(BadRecord) }
    }

    /// 0 or 1.
    pub fn flag(&mut self) -> Result<bool, BadRecord> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadRecord),
        }
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8], BadRecord> {
        self.0.bytes().map_err(|_| BadRecord)
    }

    /// A byte string of exactly `N` bytes.
    pub fn exactly<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        self.bytes()?.try_into().map_err(|_| BadRecord)
    }

    /// A name.
    pub fn text(&mut self) -> Result<&'a str, BadRecord> {
        self.0.str().map_err(|_| BadRecord)
    }

    /// An array of any bounded length, each item read by `read`.
    pub fn list<T>(&mut self, read: impl FnMut(&mut Self) -> Result<T, BadRecord>) -> Result<Vec<T>, BadRecord> {
        self.list_up_to(MAX_LIST, read)
    }

    /// The same with a bound of its own (the rows of an export).
    pub fn list_up_to<T>(
        &mut self,
        max: u64,
        mut read: impl FnMut(&mut Self) -> Result<T, BadRecord>,
    ) -> Result<Vec<T>, BadRecord> {
        let length = self.0.array().map_err(|_| BadRecord)?.filter(|n| *n <= max).ok_or(BadRecord)?;
        (0..length).map(|_| read(self)).collect()
    }
}
