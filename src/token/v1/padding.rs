//! Padding: trailing 0xFF bytes, which no UTF-8 text contains.

/// The byte that fills a value up.
pub(super) const FILL: u8 = 0xff;

/// What a value that is no string is filled to, since its length would tell `true` from `false`.
pub(super) const MIN_NON_STRING: usize = 8;

/// Bytes of a value of `len` bytes once padded: first the minimum of a value that is no string, then `pad: n` up to the
/// next multiple of n, and at least n (or an empty string would stand out).
pub(super) fn padded_len(len: usize, is_string: bool, pad: Option<usize>) -> usize {
    let least = if is_string { len } else { len.max(MIN_NON_STRING) };
    match pad {
        Some(n) if n > 1 => least.max(1).checked_next_multiple_of(n).unwrap_or(least),
        _ => least,
    }
}

/// Bytes of `padded` without its padding.
pub(super) fn text_len(padded: &[u8]) -> usize {
    padded.iter().rposition(|byte| *byte != FILL).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rules_combine() {
        for (len, is_string, pad, padded) in [
            (0, true, None, 0),
            (5, true, None, 5),
            (0, true, Some(16), 16),
            (16, true, Some(16), 16),
            (17, true, Some(16), 32),
            (4, false, None, 8),
            (8, false, None, 8),
            (9, false, None, 9),
            (4, false, Some(3), 9),
            (4, false, Some(6), 12),
            (4, false, Some(32), 32),
            (3, true, Some(0), 3),
        ] {
            assert_eq!(padded_len(len, is_string, pad), padded, "{len} {is_string} {pad:?}");
        }
    }

    #[test]
    fn stripping_takes_the_padding_only() {
        assert_eq!(text_len(b"ab\xff\xff"), 2);
        assert_eq!(text_len(b"\xff"), 0);
        assert_eq!(text_len(b""), 0);
        assert_eq!(text_len("ÿ".as_bytes()), 2);
    }
}
