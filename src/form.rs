//! Bodies of form fields, `application/x-www-form-urlencoded` (WHATWG URL § 5) and `multipart/form-data` (RFC 7578), edited in
//! place: the values of protected names are handed over and replaced, every other byte leaves as it came.
//!
//! Applications read forms with parsers that differ. Where two of them could read a body differently, and one could find a
//! protected field that we did not, the body is refused. What that is:
//!
//! | a body with | is read by some as |
//! |---|---|
//! | `a=1;ssn=2` | two fields (Rack before 3, Python before 3.9.2, CGI.pm, Go before 1.17) |
//! | `+ssn`, `\tssn`, a byte order mark in front | `ssn` (PHP, Rack) |
//! | `ssn%00x` | `ssn` (PHP) |
//! | `SSN` | `ssn` (ASP.NET) |
//! | `%2573sn`, `%73sn` as the name of a part | `ssn` (where something in front decodes once more; undici decodes some escapes) |
//! | `card.pan`, `card+pan`, `card[pan` where `card_pan` is protected | `card_pan` (PHP) |
//! | `ssn[]`, `[ssn]`, `ssn[0]` where `ssn` is protected | `ssn` (PHP, Rack, qs) |
//! | `%u0073sn`, `%7`, a name that is not UTF-8 (overlong forms too) | whatever the decoder makes of it |
//! | `_charset_` or `charset` other than UTF-8, `charset*` | another name altogether (Django, Tomcat) |
//! | a `boundary` that is missing, given twice (also within another parameter), quoted with escapes, continued (`boundary*0`), longer than 70 | another boundary (PHP searches for the word, Go and Python continue) |
//! | `--boundary` anywhere but in a delimiter line of its own: behind a bare LF or CR, at the start of a part's content, within a header, in the preamble, in the epilogue, with more behind it | a delimiter (PHP and werkzeug take LF, Go takes the start of the content, Tornado splits anywhere and looks for the last end) |
//! | white space behind a boundary | none (PHP, commons-fileupload), a delimiter (Go, werkzeug) |
//! | a line that begins with `--` before the first boundary | the boundary, where a parser takes it from the body |
//! | no end | what came so far |
//! | headers that are folded, doubled, without a colon, with white space before it, with control characters, with bare LF | one header, or the last one, or another one |
//! | no `Content-Disposition: form-data`, or no `name` in it | a field of another name (PHP) |
//! | `name*`, `name*0`, any parameter twice | `name` decoded or put together (RFC 2231: Python, Go), the first or the last |
//! | `name='ssn'` | `ssn` (PHP) |
//! | `\"` in a quoted string, `\` in a name | the string's end, or a part of it (browsers write `\` as it is; RFC 9110 unescapes) |
//! | `name=` within another quoted string | the name (formidable searches for it; splitting at `;`) |
//! | `=?utf-8?B?c3Nu?=` as a name | `ssn` (commons-fileupload, ASP.NET decode RFC 2047) |
//! | a part of `multipart/…` | the fields inside of it |
//! | a part's `Content-Length` that is not its length | a shorter or longer part (aiohttp believes it) |
//!
//! Names are compared exactly otherwise: `customer.ssn` and `customer[ssn]` are other names than `ssn`.
//!
//! Of a protected name, a part must be text as it stands: a file, a transfer or content encoding, and a Content-Type other than
//! `text/plain` in UTF-8 are refused. What a part's headers say about the length or digest of a protected value would be false
//! afterwards, and is left out.

pub mod edit;
pub mod media;
mod multipart;
pub mod names;
mod part;
pub mod select;
mod urlencoded;
pub mod value;

pub use media::{Boundary, Form};

/// What is wrong with a form, and at which byte; never a piece of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct FormError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, in bytes from the beginning.
    pub offset: u64,
}

/// What a scanner says of the bytes it is shown, which begin where the last event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// So many bytes leave as they came.
    Pass(usize),
    /// So many bytes do not leave: the change of the value behind them makes them false.
    Drop(usize),
    /// So many bytes are the value of the protected name with this index.
    Value(usize, usize),
    /// The value of the protected name with this index is longer than it may be.
    TooLong(usize),
    /// It can only go on with more bytes, or at the end.
    More,
    /// The form has ended.
    End,
}

/// A scanner's events come from one of these.
trait Scan {
    /// The next event of the form that goes on with `window`; `ended`: and ends with it.
    fn next(&mut self, window: &[u8], ended: bool) -> Result<Event, &'static str>;

    /// The value that is too long passes.
    fn let_pass(&mut self);
}

#[cfg(test)]
mod tests;
