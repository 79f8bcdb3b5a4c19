//! Hexadecimal, in a time that does not depend on the digits: keys of other systems travel in it.

/// Lower-case digits.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(digit).collect()
}

/// The bytes of digits in either case; `None` for anything else.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let mut out = Vec::with_capacity(pairs.len());
    let mut wrong = 0;
    for pair in pairs {
        let [high, low] = pair.map(value);
        wrong |= high | low;
        out.push(u8::try_from((high << 4 | low) & 0xff).unwrap_or_default());
    }
    (wrong & !0xf == 0).then_some(out)
}

fn digit(nibble: u8) -> char {
    // 39 more from 10 on, where the difference is negative.
    let beyond = ((9 - i16::from(nibble)) >> 8) & 39;
    char::from(u8::try_from(i16::from(nibble) + 48 + beyond).unwrap_or_default())
}

/// 0 to 15; for what is no digit a number with higher bits set.
fn value(digit: u8) -> u16 {
    let byte = i16::from(digit);
    let mut value = -1i16;
    for (first, last, offset) in [(b'0', b'9', 1 - 48), (b'a', b'f', 11 - 97), (b'A', b'F', 11 - 65)] {
        let inside = (i16::from(first) - 1 - byte) & (byte - i16::from(last) - 1);
        value += (inside >> 8) & (byte + offset);
    }
    value.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_digit_or_none() {
        for byte in 0..=255u8 {
            let expected = char::from(byte).to_digit(16).map(|high| vec![u8::try_from(high).unwrap() << 4 | 0xf]);
            assert_eq!(decode(&[byte, b'f']), expected, "{byte}");
            assert_eq!(decode(&[b'0', byte]).is_some(), byte.is_ascii_hexdigit(), "{byte}");
        }
        assert_eq!(decode(b"abc"), None);
        assert_eq!(decode(b""), Some(Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn it_is_what_everybody_writes(bytes: Vec<u8>) {
            proptest::prop_assert_eq!(encode(&bytes), hex::encode(&bytes));
            proptest::prop_assert_eq!(decode(encode(&bytes).to_uppercase().as_bytes()), Some(bytes));
        }
    }
}
