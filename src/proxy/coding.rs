//! Content codings (RFC 9110 § 8.4): which a body has, and how it is decoded and coded again.

pub mod accept;
pub mod decode;
pub mod encode;
mod member;

use http::header::{CONTENT_ENCODING, HeaderMap};

use super::settings::Limits;

pub use decode::{DecodeError, Decoder};
pub use encode::Encoder;

/// More on one body are refused: nobody codes four times but to make a decoder work.
pub const MAX_CODINGS: usize = 3;

/// What `Content-Encoding` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, `x-gzip` (RFC 1952), of one member or several.
    Gzip,
    /// `deflate`: a zlib stream (RFC 1950), or the bare DEFLATE data (RFC 1951) that many senders put there.
    Deflate,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878), of one frame or several.
    Zstd,
}

impl Coding {
    /// What is read and written here, in the words of `Accept-Encoding`.
    pub const NAMES: &str = "gzip, deflate, br, zstd";

    /// The coding of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let names = [
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("br", Self::Brotli),
            ("zstd", Self::Zstd),
        ];
        names.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, coding)| coding)
    }
}

/// The codings of a body, in the order in which they were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codings(Vec<Coding>);

impl Codings {
    /// What the fields of a message name; the error is why it cannot be decoded.
    pub fn of(headers: &HeaderMap) -> Result<Self, &'static str> {
        let mut codings = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            let Ok(text) = value.to_str() else { return Err("a content coding that is no text") };
            for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                if name.eq_ignore_ascii_case("identity") {
                    continue;
                }
                let Some(coding) = Coding::named(name) else { return Err("a content coding that is not read here") };
                if codings.len() == MAX_CODINGS {
                    return Err("more content codings on one body than are undone");
                }
                codings.push(coding);
            }
        }
        Ok(Self(codings))
    }

    /// Whether the body is as it is.
    pub fn is_identity(&self) -> bool {
        self.0.is_empty()
    }
}

/// How far a body may grow when it is decoded.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// `limits.decoded`
    pub decoded: u64,
    /// `limits.ratio`
    pub ratio: u64,
}

impl Bounds {
    /// As configured.
    pub fn of(limits: &Limits) -> Self {
        Self { decoded: limits.decoded as u64, ratio: limits.ratio as u64 }
    }
}

#[cfg(test)]
mod tests;
