//! Numbers compared as what they mean, exactly: `1`, `1.0` and `10e-1` are equal, and 20 digits count to the last.

use std::cmp::Ordering;
use std::fmt;

/// A decimal number: ± 0.d₁d₂d₃… × 10^exponent, without needless zeros; no digits is zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Number {
    negative: bool,
    digits: Vec<u8>,
    /// An exponent that does not fit is as good as the largest.
    exponent: i64,
}

impl Number {
    /// Of a JSON number's lexeme.
    pub fn parse(lexeme: &[u8]) -> Self {
        let (negative, rest) = lexeme.strip_prefix(b"-").map_or((false, lexeme), |rest| (true, rest));
        let mark = rest.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(rest.len());
        let (mantissa, tail) = rest.split_at(mark);
        let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
        let all = mantissa.iter().copied().filter(u8::is_ascii_digit);
        let zeros = all.clone().take_while(|digit| *digit == b'0').count();
        let mut digits: Vec<u8> = all.skip(zeros).collect();
        let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        digits.truncate(end);
        if digits.is_empty() {
            return Self { negative: false, digits, exponent: 0 };
        }
        let shift = i64::try_from(point).unwrap_or(i64::MAX).saturating_sub(i64::try_from(zeros).unwrap_or(i64::MAX));
        Self { negative, digits, exponent: shift.saturating_add(exponent(tail.get(1..).unwrap_or_default())) }
    }

    /// Of a count.
    pub fn from_count(count: usize) -> Self {
        Self::parse(count.to_string().as_bytes())
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        sign(self).cmp(&sign(other)).then_with(|| {
            let size = self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
            if self.negative { size.reverse() } else { size }
        })
    }
}

impl fmt::Display for Number {
    /// As JSONPath reads it back: an integer where it is one of at most 15 digits, else with an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = String::from_utf8_lossy(&self.digits);
        let sign = if self.negative { "-" } else { "" };
        let length = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        match self.exponent {
            _ if self.digits.is_empty() => f.write_str("0"),
            exponent if exponent >= length && exponent <= 15 => {
                let zeros = usize::try_from(exponent - length).unwrap_or_default();
                write!(f, "{sign}{digits}{}", "0".repeat(zeros))
            }
            exponent => write!(f, "{sign}0.{digits}e{exponent}"),
        }
    }
}

fn exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let size = digits
        .iter()
        .fold(0_i64, |size, digit| size.saturating_mul(10).saturating_add(i64::from(digit.saturating_sub(b'0'))));
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", "-0")]
    #[case("0", "0.000e17")]
    #[case("1", "1.0")]
    #[case("1", "10e-1")]
    #[case("-100", "-1E2")]
    #[case("0.001", "1e-3")]
    #[case("12345678901234567890", "1234567890123456789.0e1")]
    fn equal(#[case] a: &str, #[case] b: &str) {
        let (a, b) = (Number::parse(a.as_bytes()), Number::parse(b.as_bytes()));
        assert_eq!(a, b);
        assert_eq!(a.cmp(&b), Ordering::Equal);
    }

    #[rstest]
    #[case("-1", "0")]
    #[case("-2", "-1")]
    #[case("9", "10")]
    #[case("99999999999999999999", "100000000000000000000")]
    #[case("12345678901234567890", "12345678901234567891")]
    #[case("1e-400", "1e-399")]
    #[case("-1e999999999999999999999", "1e999999999999999999999")]
    #[case("1", "1.0000000000000000001")]
    fn less(#[case] a: &str, #[case] b: &str) {
        assert!(Number::parse(a.as_bytes()) < Number::parse(b.as_bytes()));
    }

    proptest! {
        #[test]
        fn compares_as_floats_do_where_those_are_exact(a in -1_000_000_i32..1_000_000, b in -1_000_000_i32..1_000_000, e in -3_i32..4) {
            let (left, right) = (format!("{a}e{e}"), format!("{b}.0"));
            let expected = (f64::from(a) * 10_f64.powi(e + 3)).partial_cmp(&(f64::from(b) * 1000.0)).unwrap();
            prop_assert_eq!(Number::parse(left.as_bytes()).cmp(&Number::parse(right.as_bytes())), expected);
        }

        #[test]
        fn reads_what_it_writes(mantissa in any::<i64>(), e in -40_i32..40) {
            let number = Number::parse(format!("{mantissa}e{e}").as_bytes());
            prop_assert_eq!(&Number::parse(number.to_string().as_bytes()), &number);
        }
    }
}
