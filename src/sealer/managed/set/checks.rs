//! What can be said of an API's answers without believing it.

use std::collections::HashMap;

use memchr::memmem;

use super::super::{ApiError, Fault, How};
use crate::crypto::mac::same;
use crate::rules::profile::PerValue;
use crate::secret::SecretBytes;

/// A text of this length does not stand in a ciphertext by chance.
const NO_CHANCE: usize = 12;

/// Longer than this beside what was asked about, an answer is neither a ciphertext nor a text: a body has room for a thousand
/// values, which must not become as many answers of the longest kind.
const ROOM: usize = 64 << 10;

/// As many answers as questions.
pub fn number(asked: usize, answered: usize) -> Result<(), ApiError> {
    if asked == answered {
        return Ok(());
    }
    Err(lie(format!("it answers {asked} values with {answered}")))
}

/// That ciphertexts can be those of the texts. That they are, and in this order, only opening them tells.
pub fn sealed(
    texts: &[SecretBytes],
    ciphertexts: &[Vec<u8>],
    api: Option<&PerValue>,
    how: How,
) -> Result<(), ApiError> {
    number(texts.len(), ciphertexts.len())?;
    let prefix = api.map_or("", |api| api.prefix);
    let mut by_ciphertext: HashMap<&[u8], &SecretBytes> = HashMap::with_capacity(texts.len());
    let mut by_text: HashMap<&[u8], &[u8]> = HashMap::new();
    for (text, ciphertext) in texts.iter().zip(ciphertexts) {
        if ciphertext.is_empty() || !ciphertext.starts_with(prefix.as_bytes()) {
            return Err(lie("what it calls a ciphertext is none of its own".into()));
        }
        if ciphertext.len() > room(text.expose().len()) {
            return Err(lie("what it calls a ciphertext is far longer than its text".into()));
        }
        if shows(ciphertext, text.expose()) {
            return Err(lie("what it calls a ciphertext shows the text".into()));
        }
        let twin = by_ciphertext.insert(ciphertext, text);
        let equal = how.context.is_some() && twin.is_some_and(|twin| same(twin.expose(), text.expose()));
        if twin.is_some() && !equal {
            return Err(lie("it gives two values the same ciphertext".into()));
        }
        if how.context.is_some()
            && let Some(other) = by_text.insert(text.expose(), ciphertext)
            && other != ciphertext.as_slice()
        {
            return Err(lie("it gives equal values different ciphertexts under a convergent key".into()));
        }
    }
    Ok(())
}

/// That texts can be those of the ciphertexts.
pub fn opened(ciphertexts: &[Vec<u8>], texts: &[SecretBytes]) -> Result<(), ApiError> {
    number(ciphertexts.len(), texts.len())?;
    if ciphertexts.iter().zip(texts).all(|(ciphertext, text)| text.expose().len() <= room(ciphertext.len())) {
        return Ok(());
    }
    Err(lie("what it opens is far longer than its ciphertext".into()))
}

/// That what was sealed opens to what it was.
pub fn proven(texts: &[SecretBytes], opened: &[SecretBytes]) -> Result<(), ApiError> {
    number(texts.len(), opened.len())?;
    if texts.iter().zip(opened).all(|(text, opened)| same(text.expose(), opened.expose())) {
        return Ok(());
    }
    Err(lie("what it sealed it opens to something else".into()))
}

fn room(asked: usize) -> usize {
    asked.saturating_mul(4).saturating_add(ROOM)
}

fn shows(ciphertext: &[u8], text: &[u8]) -> bool {
    if text.len() < NO_CHANCE { ciphertext == text } else { memmem::find(ciphertext, text).is_some() }
}

fn lie(text: String) -> ApiError {
    ApiError::new(Fault::Lie, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_not_far_longer_than_what_was_asked_about() {
        let long = |length: usize| vec![b'x'; length];
        let asked = SecretBytes::new(long(100));
        let cipher = |length: usize| vec![b'c'; length];
        sealed(std::slice::from_ref(&asked), &[cipher(400 + ROOM)], None, How::default()).unwrap();
        let error = sealed(std::slice::from_ref(&asked), &[cipher(401 + ROOM)], None, How::default()).unwrap_err();
        assert_eq!(error.kind, Fault::Lie);
        opened(&[cipher(100)], &[SecretBytes::new(long(400 + ROOM))]).unwrap();
        assert_eq!(opened(&[cipher(100)], &[SecretBytes::new(long(401 + ROOM))]).unwrap_err().kind, Fault::Lie);
        opened(&[cipher(100)], &[]).unwrap_err();
    }

    fn texts(all: &[&str]) -> Vec<SecretBytes> {
        all.iter().map(|text| SecretBytes::new(text.as_bytes().to_vec())).collect()
    }

    fn check(plain: &[&str], answered: &[&str], convergent: bool) -> Result<(), String> {
        let ciphertexts: Vec<Vec<u8>> = answered.iter().map(|text| text.as_bytes().to_vec()).collect();
        let how = How { signed: false, context: convergent.then_some([0; 32]) };
        let api = PerValue {
            batch: 200,
            bare: true,
            signs: false,
            convergent,
            longest: 100,
            prefix: "ncpkms:v",
            plain_text: false,
        };
        sealed(&texts(plain), &ciphertexts, Some(&api), how).map_err(|error| {
            assert_eq!(error.kind, Fault::Lie);
            error.text
        })
    }

    #[test]
    fn what_cannot_be_a_ciphertext_is_none() {
        check(&["a", "b"], &["ncpkms:v1:xx", "ncpkms:v1:yy"], false).unwrap();
        check(&["a", "a"], &["ncpkms:v1:xx", "ncpkms:v1:xx"], true).unwrap();
        check(&["ncpkms:v1:x"], &["ncpkms:v1:y"], false).unwrap();
        for (plain, answered, convergent, says) in [
            (&["a", "b"][..], &["ncpkms:v1:xx"][..], false, "2 values with 1"),
            (&["a"], &["ncpkms:v1:xx", "ncpkms:v1:xx"], false, "1 values with 2"),
            (&["a"], &[""], false, "none of its own"),
            (&["a"], &["AAAA"], false, "none of its own"),
            (&["ncpkms:v"], &["ncpkms:v"], false, "shows the text"),
            (&["4111111111111111"], &["ncpkms:v1:4111111111111111"], false, "shows the text"),
            (&["a", "b"], &["ncpkms:v1:xx", "ncpkms:v1:xx"], false, "same ciphertext"),
            (&["a", "a"], &["ncpkms:v1:xx", "ncpkms:v1:xx"], false, "same ciphertext"),
            (&["a", "b"], &["ncpkms:v1:xx", "ncpkms:v1:xx"], true, "same ciphertext"),
            (&["a", "a"], &["ncpkms:v1:xx", "ncpkms:v1:yy"], true, "different ciphertexts"),
        ] {
            let error = check(plain, answered, convergent).unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("4111") && !error.contains("xx"), "{error}");
        }
    }

    #[test]
    fn only_the_same_texts_in_the_same_order_prove_anything() {
        proven(&texts(&["a", "b"]), &texts(&["a", "b"])).unwrap();
        for opened in [&["b", "a"][..], &["a"], &["a", "B"], &["a", "b", "c"]] {
            assert_eq!(proven(&texts(&["a", "b"]), &texts(opened)).unwrap_err().kind, Fault::Lie);
        }
    }
}
