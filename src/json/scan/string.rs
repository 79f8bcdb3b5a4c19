//! The inside of a string: escapes and UTF-8, byte by byte where they are, eight bytes at a time where they are not.

/// How far a string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// Between two characters.
    Plain,
    /// After a backslash.
    Escape,
    /// So many hexadecimal digits must come.
    Hex(u8),
    /// So many continuation bytes must come, the first of them in this range.
    Utf8 {
        /// How many.
        more: u8,
        /// The least first one.
        low: u8,
        /// The greatest first one.
        high: u8,
    },
}

impl Text {
    /// Whether nothing in there means anything in a string, and all is ASCII.
    pub fn is_plain(content: &[u8]) -> bool {
        plain(content) == content.len()
    }

    /// Goes on until the closing quote is taken (`true`) or the chunk is used up.
    pub fn advance(&mut self, input: &[u8], at: &mut usize) -> Result<bool, &'static str> {
        if *self == Self::Plain {
            *at += plain(input.get(*at..).unwrap_or_default());
        }
        while let Some(&byte) = input.get(*at) {
            if *self == Self::Plain && byte == b'"' {
                *at += 1;
                return Ok(true);
            }
            *self = self.next(byte)?;
            *at += 1;
            if *self == Self::Plain && byte < 0x80 {
                *at += plain(input.get(*at..).unwrap_or_default());
            }
        }
        Ok(false)
    }

    /// The state after `byte`, which is not the closing quote.
    fn next(self, byte: u8) -> Result<Self, &'static str> {
        Ok(match self {
            Self::Plain => match byte {
                b'\\' => Self::Escape,
                0..=0x1f => return Err("a control character in a string"),
                0x20..=0x7f => Self::Plain,
                0xc2..=0xdf => Self::Utf8 { more: 1, low: 0x80, high: 0xbf },
                0xe0 => Self::Utf8 { more: 2, low: 0xa0, high: 0xbf },
                0xed => Self::Utf8 { more: 2, low: 0x80, high: 0x9f },
                0xe1..=0xef => Self::Utf8 { more: 2, low: 0x80, high: 0xbf },
                0xf0 => Self::Utf8 { more: 3, low: 0x90, high: 0xbf },
                0xf1..=0xf3 => Self::Utf8 { more: 3, low: 0x80, high: 0xbf },
                0xf4 => Self::Utf8 { more: 3, low: 0x80, high: 0x8f },
                0x80..=0xc1 | 0xf5..=0xff => return Err("not UTF-8"),
            },
            Self::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Self::Plain,
                b'u' => Self::Hex(4),
                _ => return Err("an unknown escape in a string"),
            },
            Self::Hex(_) if !byte.is_ascii_hexdigit() => return Err("a hexadecimal digit must stand here"),
            Self::Hex(1) => Self::Plain,
            Self::Hex(n) => Self::Hex(n.saturating_sub(1)),
            Self::Utf8 { low, high, .. } if !(low..=high).contains(&byte) => return Err("not UTF-8"),
            Self::Utf8 { more: 1, .. } => Self::Plain,
            Self::Utf8 { more, .. } => Self::Utf8 { more: more.saturating_sub(1), low: 0x80, high: 0xbf },
        })
    }
}

/// How many bytes from the beginning are ASCII that means nothing in a string. A lane that borrows from its neighbour can
/// only be wrong above a lane that is right, and the lowest one is what counts.
fn plain(input: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let zero_lanes = |word: u64| word.wrapping_sub(ONES) & !word;
    let hits = |bytes: &[u8; 8]| {
        let word = u64::from_le_bytes(*bytes);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero_lanes(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_lanes(word ^ (ONES * u64::from(b'\\')));
        (control | quote | backslash | word) & TOPS
    };
    let (words, rest) = input.as_chunks::<8>();
    for (i, bytes) in words.iter().enumerate() {
        let hit = hits(bytes);
        if hit != 0 {
            return i * 8 + (hit.trailing_zeros() / 8) as usize;
        }
    }
    // The last eight overlap those before them, in which there is nothing.
    if let Some(last) = input.last_chunk() {
        let hit = hits(last);
        return if hit == 0 { input.len() } else { input.len() - 8 + (hit.trailing_zeros() / 8) as usize };
    }
    let means_nothing = |byte: &&u8| matches!(byte, 0x20..=0x7f) && **byte != b'"' && **byte != b'\\';
    rest.iter().take_while(means_nothing).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_find_what_bytes_find(input in proptest::collection::vec(prop_oneof![Just(b'a'), Just(0x20), Just(0x7f), Just(0x1f), Just(b'"'), Just(b'\\'), any::<u8>()], 0..40)) {
            let slow = input.iter().take_while(|b| matches!(b, 0x20..=0x7f) && **b != b'"' && **b != b'\\').count();
            prop_assert_eq!(plain(&input), slow);
        }
    }
}
