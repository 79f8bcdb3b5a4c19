//! What stands before the body of a token, and what is authenticated with it. Both are the same for all values of a key but for their
//! flags and what they are bound to, so they are made once.

use super::form::{HEAD_TEXT, HEADER};
use crate::crypto::base64url;
use crate::crypto::kdf::pae;
use crate::token::PREFIX;

const LABEL: &[u8] = b"sidecloak/1 token";

/// Of `PAE(LABEL, header, "")`.
const AAD: usize = 3 * 4 + LABEL.len() + HEADER;

/// See the module.
#[derive(Debug)]
pub(super) struct Head {
    header: [u8; HEADER],
    /// Behind the quote of a string.
    text: [u8; 1 + HEAD_TEXT],
    aad: [u8; AAD],
}

impl Head {
    pub fn new(header: &[u8; HEADER]) -> Self {
        let mut text = Vec::with_capacity(1 + HEAD_TEXT);
        text.push(b'"');
        text.extend_from_slice(PREFIX);
        base64url::encode_public_into(header, &mut text);
        text.push(b'.');
        Self { header: *header, text: array(&text), aad: array(&aad(header, b"")) }
    }

    /// Prefix, header and dot.
    pub fn text(&self) -> &[u8; HEAD_TEXT] {
        let [_, text @ ..] = &self.text;
        text
    }

    /// The same behind a quote.
    pub fn quoted(&self) -> &[u8; 1 + HEAD_TEXT] {
        &self.text
    }

    /// What is authenticated with a value that is bound to nothing.
    pub fn unbound(&self) -> &[u8] {
        &self.aad
    }

    /// What is authenticated with a value: kept here, or put in `made`.
    pub fn aad<'a>(&'a self, record_id: Option<&[u8]>, made: &'a mut Vec<u8>) -> &'a [u8] {
        match record_id {
            None => &self.aad,
            Some(id) => {
                *made = aad(&self.header, id);
                made
            }
        }
    }
}

fn aad(header: &[u8], record_id: &[u8]) -> Vec<u8> {
    pae(&[LABEL, header, record_id])
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut all = [0; N];
    all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_would_be_made() {
        let header = [1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        let head = Head::new(&header);
        assert_eq!(head.text(), format!("sc1.{}.", base64url::encode(&header)).as_bytes());
        assert_eq!(head.quoted()[..], *[b"\"", &head.text()[..]].concat());
        let made = |id: &[u8]| pae(&[b"sidecloak/1 token", &header, id]);
        assert_eq!(head.aad(None, &mut Vec::new()), made(b""));
        assert_eq!(head.aad(Some(b"id"), &mut Vec::new()), made(b"id"));
    }
}
