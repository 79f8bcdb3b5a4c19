//! jsonpath-rust lets white space stand inside names and numbers and around the whole, and trims names: refused here, since a
//! selector that reads one way and selects another is a field left in the clear.

/// Its time to parse doubles with each function in a filter in a function.
const MAX_PARENTHESES: usize = 8;

/// More do not survive a double, which numbers in filters are read as.
const MAX_DIGITS: usize = 17;

/// Refuses white space where RFC 9535 has none, and what would take forever to parse.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text.starts_with(is_blank) || text.ends_with(is_blank) {
        return Err("white space around it");
    }
    let mut quote = None;
    let mut escaped = false;
    // The last character outside quotes that is no blank, and whether blanks followed it.
    let (mut last, mut blanks) = (' ', false);
    let mut parentheses = 0_usize;
    let mut digits = 0_usize;
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if is_blank(c) => blanks = true,
            None if c.is_whitespace() => return Err("a name with white space in it must be written in quotes"),
            None => {
                if blanks && (matches!(last, '.' | '-') || (in_word(last) && in_word(c))) {
                    return Err("white space inside a name or a number, or behind a dot");
                }
                // Digits of a name do not count.
                digits = if c.is_ascii_digit() && (digits > 0 || !in_word(last)) { digits + 1 } else { 0 };
                (last, blanks) = (c, false);
                if digits > MAX_DIGITS {
                    return Err("a number of more than 17 digits, which not every reader of JSON takes for the same");
                }
                match c {
                    '(' if parentheses == MAX_PARENTHESES => return Err("parentheses nest more than 8 deep"),
                    '(' => parentheses += 1,
                    ')' => parentheses = parentheses.saturating_sub(1),
                    _ => {}
                }
                quote = Some(c).filter(|c| matches!(c, '\'' | '"'));
            }
        }
    }
    Ok(())
}

/// The white space of RFC 9535.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}
