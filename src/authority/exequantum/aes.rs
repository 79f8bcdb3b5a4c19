//! `/api/aes/…`: AES-256-GCM, `hex(nonce | ciphertext | tag)`, under a key that the caller gives or its last shared key.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;

use super::answer::{Answer, Problem, ok};
use super::assumed;
use super::fields::Fields;
use super::kept::Sharer;
use super::session::{Act, DECRYPT, ENCRYPT, Session};
use crate::authority::{Authority, Refused};
use crate::crypto::aead::{Gcm, TAG};
use crate::crypto::{hex, random};
use crate::secret::{Secret, SecretBytes};

const NONCE: usize = 12;

/// The ciphertext, as a bare JSON string.
pub async fn encrypt(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    let text = fields.message(&["unencrypted"]);
    under_key(&authority, &session, &ENCRYPT, &mut fields, text, seal).await
}

/// The text, as a bare JSON string.
pub async fn decrypt(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    let ciphertext = fields.bytes(&["ciphertext"], &[]);
    under_key(&authority, &session, &DECRYPT, &mut fields, ciphertext, open).await
}

type Work = fn(&Secret<32>, &mut SecretBytes) -> Result<String, Problem>;

async fn under_key(
    authority: &Arc<Authority>,
    session: &Session,
    act: &Act,
    fields: &mut Fields,
    value: Option<SecretBytes>,
    work: Work,
) -> Answer {
    let key = if fields.has("key") { fields.bytes(&["key"], &[32]) } else { None };
    fields.check()?;
    let Some(mut value) = value else { return Err(fields.problem()) };
    let sharer = Sharer::of(session, authority.clock.now());
    let done = session.run(authority, act, move |authority| {
        let key = match key {
            Some(key) => Some(key),
            None => sharer.recall(authority)?,
        };
        let key = key.and_then(|key| Secret::from_slice(key.expose()));
        work(&key.ok_or(Problem::Detail(StatusCode::BAD_REQUEST, assumed::NO_KEY))?, &mut value)
    });
    ok(done.await?)
}

fn seal(key: &Secret<32>, text: &mut SecretBytes) -> Result<String, Problem> {
    let nonce: [u8; NONCE] = random::bytes()?;
    let tag = Gcm::new(key.expose())
        .seal(&nonce, b"", text.expose_mut())
        .map_err(|_| Refused::Invalid("The text cannot be encrypted".into()))?;
    Ok(hex::encode(&[nonce.as_slice(), text.expose(), &tag].concat()))
}

fn open(key: &Secret<32>, sealed: &mut SecretBytes) -> Result<String, Problem> {
    let (nonce, rest) = sealed.expose().split_first_chunk::<NONCE>().ok_or(Refused::NotAuthentic)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(Refused::NotAuthentic)?;
    let mut text = SecretBytes::new(ciphertext.to_vec());
    Gcm::new(key.expose()).open(nonce, b"", text.expose_mut(), tag).map_err(|_| Refused::NotAuthentic)?;
    Ok(std::str::from_utf8(text.expose()).map_err(|_| Refused::NotAuthentic)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_opens() {
        let key = Secret::from_slice(&[7; 32]).unwrap();
        let sealed = seal(&key, &mut SecretBytes::new("größer".into())).unwrap();
        assert_eq!(sealed.len(), 2 * (12 + 8 + 16));
        let bytes = hex::decode(sealed.as_bytes()).unwrap();
        assert_eq!(open(&key, &mut SecretBytes::new(bytes.clone())).unwrap(), "größer");
        for at in [0, 12, bytes.len() - 1] {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(open(&key, &mut SecretBytes::new(wrong)).is_err());
        }
        for length in [0, 11, 27] {
            assert!(open(&key, &mut SecretBytes::new(vec![0; length])).is_err());
        }
        assert!(open(&Secret::from_slice(&[8; 32]).unwrap(), &mut SecretBytes::new(bytes)).is_err());
    }
}
