//! Names as a lenient application might read them: what a rule seals under one spelling must not pass in plaintext under another.

use crate::form::names::shape;
use crate::secret::SecretBytes;

/// How often an application might decode.
const DECODINGS: usize = 4;

/// The text that an urlencoded one stands for; `None`, if an escape is broken. `plus`: that is a space.
pub(super) fn decode(raw: &[u8], plus: bool) -> Option<SecretBytes> {
    let mut out = SecretBytes::new(Vec::with_capacity(raw.len()));
    let mut rest = raw;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let byte = match first {
            b'%' => {
                let (byte, after) = escape(tail)?;
                rest = after;
                byte
            }
            b'+' if plus => b' ',
            _ => first,
        };
        out.expose_mut().push(byte);
    }
    Some(out)
}

/// The same of a value that is to be sealed or opened: why it cannot be told what it stands for.
pub(super) fn value(raw: &[u8], plus: bool) -> Result<SecretBytes, &'static str> {
    let Some(text) = decode(raw, plus) else { return Err("a value with a broken percent-escape") };
    if text.expose().contains(&0) {
        return Err("a value with a NUL");
    }
    if std::str::from_utf8(text.expose()).is_err() {
        return Err("a value that is not UTF-8");
    }
    Ok(text)
}

/// Names that a rule protects, as a lenient application reads them.
pub(super) struct Names(Vec<(usize, Vec<String>)>);

impl Names {
    /// Of these names, with the index of their fields.
    pub fn new(names: &[(usize, &str)]) -> Self {
        let shaped = names.iter().map(|(field, name)| (*field, shape(name)));
        Self(shaped.filter(|(_, shape)| !shape.is_empty()).collect())
    }

    /// Which of them some application would take for what stands there, although it is another.
    pub fn like(&self, raw: &[u8]) -> Option<usize> {
        let mut text = raw.to_vec();
        for _ in 0..DECODINGS {
            let read = String::from_utf8_lossy(&text);
            let read = shape(read.trim_matches(|c: char| c == '?' || c.is_whitespace() || c.is_control()));
            if let Some((field, _)) = self.0.iter().find(|(_, shape)| read.starts_with(shape)) {
                return Some(*field);
            }
            let next = lenient(&text);
            if next == text {
                break;
            }
            text = next;
        }
        None
    }
}

/// One decoding that leaves alone what is no escape, knows those of IIS, and takes overlong forms for what they are long for.
fn lenient(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let byte = match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [b'u' | b'U', hex @ ..]) => match wide(hex) {
                Some((c, after)) => {
                    rest = after;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                None => first,
            },
            (b'%', _) => match escape(tail) {
                Some((byte, after)) => {
                    rest = after;
                    byte
                }
                None => first,
            },
            _ => first,
        };
        out.push(byte);
        // Overlong UTF-8 of ASCII.
        let ascii = |low: u8, high: u8| (high & 1) << 6 | (low & 0x3f);
        match out.as_slice() {
            [.., 0xe0, 0x80 | 0x81, 0x80..=0xbf] => {
                let low = out.pop().unwrap_or_default();
                let high = out.pop().unwrap_or_default();
                out.pop();
                out.push(ascii(low, high));
            }
            [.., 0xc0 | 0xc1, 0x80..=0xbf] => {
                let low = out.pop().unwrap_or_default();
                let high = out.pop().unwrap_or_default();
                out.push(ascii(low, high));
            }
            _ => {}
        }
    }
    out
}

fn wide(hex: &[u8]) -> Option<(char, &[u8])> {
    let (digits, after) = hex.split_first_chunk::<4>()?;
    let code = digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))?;
    Some((char::from_u32(code)?, after))
}

fn escape(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = after_percent.split_first_chunk::<2>()?;
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some((digit(high)? << 4 | digit(low)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn is_like(raw: &[u8], name: &str) -> bool {
        Names::new(&[(7, name)]).like(raw) == Some(7)
    }

    #[rstest]
    #[case("SSN")]
    #[case("%2573sn")]
    #[case("%u0073sn")]
    #[case("ssn%00")]
    #[case("ssn%00x")]
    #[case("ssn[]")]
    #[case("ssn%5B0%5D")]
    #[case("+ssn")]
    #[case("%20ssn%09")]
    #[case("ssn%3D1")]
    #[case("?ssn")]
    #[case("%c1%b3sn")]
    #[case("%e0%81%b3sn")]
    #[case("%EF%BB%BFssn")]
    #[case("[ssn]")]
    #[case("ssn]")]
    #[case("%5B%73sn%5D[]")]
    fn names_that_some_application_takes_for_it(#[case] raw: &str) {
        assert!(is_like(raw.as_bytes(), "ssn"), "{raw}");
    }

    #[rstest]
    #[case("ssn2")]
    #[case("xssn")]
    #[case("s%zzsn")]
    #[case("s+sn")]
    #[case("")]
    #[case("%")]
    fn names_that_none_does(#[case] raw: &str) {
        assert!(!is_like(raw.as_bytes(), "ssn"), "{raw}");
    }

    #[test]
    fn what_php_replaces() {
        assert!(is_like(b"customer.ssn", "customer_ssn") && is_like(b"customer+ssn", "customer.ssn"));
        assert!(is_like(b"card[0][pan]", "card[pan]") && !is_like(b"card[name]", "card[pan]"));
    }
}
