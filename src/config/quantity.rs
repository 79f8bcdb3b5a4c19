//! Sizes (`32KiB`, `60%`) and durations (`4s`, `250ms`) as people write them.

use std::time::Duration;

/// A size: bytes, or a share of the memory this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Bytes(u64),
    Percent(u8),
}

/// `65536`, `64KiB`, `1MiB`, `2GiB`, `60%`. Powers of ten (`64kB`) are refused: which was meant is a guess.
pub(super) fn size(text: &str) -> Option<Size> {
    if let Some(percent) = text.strip_suffix('%') {
        return percent.parse().ok().filter(|p| (1..=100).contains(p)).map(Size::Percent);
    }
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor).map(Size::Bytes)
}

/// `250ms`, `4s`, `5m`, `24h`, `7d`; a bare number is refused, since its unit is a guess, but for `0`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 1,
        _ => return None,
    };
    // A year and more is a typing error; it also keeps sums of times from overflowing.
    number.checked_mul(millis).filter(|&ms| ms <= 366 * 86_400_000).map(Duration::from_millis)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("65536", Some(Size::Bytes(65_536)))]
    #[case("32KiB", Some(Size::Bytes(32 << 10)))]
    #[case("1MiB", Some(Size::Bytes(1 << 20)))]
    #[case("2 GiB", Some(Size::Bytes(2 << 30)))]
    #[case("60%", Some(Size::Percent(60)))]
    #[case("0%", None)]
    #[case("101%", None)]
    #[case("64kB", None)]
    #[case("64K", None)]
    #[case("-1", None)]
    #[case("KiB", None)]
    #[case("", None)]
    #[case("99999999999999GiB", None)]
    fn sizes(#[case] text: &str, #[case] expected: Option<Size>) {
        assert_eq!(size(text), expected);
    }

    #[rstest]
    #[case("250ms", Some(250))]
    #[case("4s", Some(4_000))]
    #[case("5m", Some(300_000))]
    #[case("24h", Some(86_400_000))]
    #[case("7d", Some(604_800_000))]
    #[case("0", Some(0))]
    #[case("5", None)]
    #[case("5min", None)]
    #[case("1.5s", None)]
    #[case("-5s", None)]
    #[case("367d", None)]
    #[case("99999999999999999999s", None)]
    fn durations(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(duration(text), expected.map(Duration::from_millis));
    }
}
