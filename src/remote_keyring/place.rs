//! Paths.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A name of ours as one segment of a path, whatever is in it.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(segment("a%2Fb"), "a%252Fb");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
