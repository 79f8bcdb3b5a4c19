//! Deterministic CBOR as records use it: definite arrays, unsigned integers, byte strings, text.

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cbor {
    Uint(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Self>),
}

pub use Cbor::{Array, Bytes, Text, Uint};

impl Cbor {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Uint(n) => head(0, *n),
            Bytes(bytes) => [head(2, bytes.len() as u64), bytes.clone()].concat(),
            Text(text) => [head(3, text.len() as u64), text.as_bytes().to_vec()].concat(),
            Array(items) => [head(4, items.len() as u64), items.iter().flat_map(Self::encode).collect()].concat(),
        }
    }

    /// Refuses everything that `encode` does not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let value = item(&mut rest, 4)?;
        (rest.is_empty() && value.encode() == bytes).then_some(value)
    }

    pub fn uint(&self) -> Option<u64> {
        if let Uint(n) = self { Some(*n) } else { None }
    }

    pub fn bytes(&self) -> Option<&[u8]> {
        if let Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub fn text(&self) -> Option<&str> {
        if let Text(text) = self { Some(text) } else { None }
    }

    pub fn array(&self) -> Option<&[Self]> {
        if let Array(items) = self { Some(items) } else { None }
    }
}

fn item(rest: &mut &[u8], depth: usize) -> Option<Cbor> {
    let (first, after) = rest.split_first()?;
    let width = match first & 31 {
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        0..24 => 0,
        _ => return None,
    };
    let (argument, after) = after.split_at_checked(width)?;
    *rest = after;
    let argument =
        if width == 0 { u64::from(first & 31) } else { argument.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)) };
    let mut take = |n: u64| {
        let (taken, after) = rest.split_at_checked(usize::try_from(n).ok()?)?;
        *rest = after;
        Some(taken.to_vec())
    };
    match first >> 5 {
        0 => Some(Uint(argument)),
        2 => Some(Bytes(take(argument)?)),
        3 => Some(Text(String::from_utf8(take(argument)?).ok()?)),
        4 if depth > 0 => (0..argument).map(|_| item(rest, depth - 1)).collect::<Option<_>>().map(Array),
        _ => None,
    }
}

fn head(major: u8, n: u64) -> Vec<u8> {
    let bytes = n.to_be_bytes();
    let (code, width) = match n {
        0..24 => return vec![major << 5 | u8::try_from(n).unwrap()],
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    [&[major << 5 | code], &bytes[8 - width..]].concat()
}
