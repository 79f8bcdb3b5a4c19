//! `/api/v1/pqc/…`, the later generation: nothing is kept, keys come and go with the calls.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::answer::{Answer, ok};
use super::fields::Fields;
use super::kem::{self, CIPHER, PK, SK};
use super::session::{SIGN, Session, UNWRAP, VERIFY, WRAP};
use super::{assumed, signature};
use crate::authority::Authority;
use crate::crypto::hex;
use crate::crypto::kem::expanded;
use crate::crypto::sign::VERIFYING_KEY;
use crate::crypto::sign::plain::{self, KeyPair};

#[derive(Serialize)]
struct KemKeys {
    algorithm: &'static str,
    encapsulation_key: String,
    decapsulation_key: String,
}

#[derive(Serialize)]
struct Encapsulated {
    algorithm: &'static str,
    ciphertext: String,
    shared_secret: String,
}

#[derive(Serialize)]
struct Decapsulated {
    algorithm: &'static str,
    shared_secret: String,
}

#[derive(Serialize)]
struct SignKeys {
    algorithm: &'static str,
    public_key: String,
    secret_key: String,
}

#[derive(Serialize)]
struct Signed {
    algorithm: &'static str,
    signature: String,
}

#[derive(Serialize)]
struct Verified {
    algorithm: &'static str,
    valid: bool,
}

/// `kem/generate-keys/`.
pub async fn generate_kem(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    fields.only("algorithm", assumed::KEM);
    fields.check()?;
    let generated = session.run(&authority, &UNWRAP, |_| {
        let (key, pk) = kem::pair()?;
        let secret = expanded::expand(&key).map_err(|_| kem::bad_kem("algorithm"))?;
        Ok(KemKeys {
            algorithm: assumed::KEM,
            encapsulation_key: hex::encode(&pk),
            decapsulation_key: hex::encode(secret.expose()),
        })
    });
    ok(generated.await?)
}

/// `kem/encapsulate/`.
pub async fn encapsulate(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    fields.only("algorithm", assumed::KEM);
    let key = fields.bytes(&["encapsulation_key"], &[PK]);
    fields.check()?;
    let Some(key) = key else { return Err(fields.problem()) };
    let encapsulated = session.run(&authority, &WRAP, move |_| {
        let (ciphertext, shared) = kem::encapsulated(key.expose(), "encapsulation_key")?;
        Ok(Encapsulated {
            algorithm: assumed::KEM,
            ciphertext: hex::encode(&ciphertext),
            shared_secret: hex::encode(shared.expose()),
        })
    });
    ok(encapsulated.await?)
}

/// `kem/decapsulate/`.
pub async fn decapsulate(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    fields.only("algorithm", assumed::KEM);
    let key = fields.bytes(&["decapsulation_key"], &SK);
    let ciphertext = fields.bytes(&["ciphertext"], &[CIPHER]);
    fields.check()?;
    let (Some(key), Some(ciphertext)) = (key, ciphertext) else { return Err(fields.problem()) };
    let decapsulated = session.run(&authority, &UNWRAP, move |_| {
        let shared = kem::decapsulated(&key, &ciphertext, "decapsulation_key")?;
        Ok(Decapsulated { algorithm: assumed::KEM, shared_secret: hex::encode(shared.expose()) })
    });
    ok(decapsulated.await?)
}

/// `sign/generate-keys/`.
pub async fn generate_sign(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    fields.only("algorithm", assumed::SIGNATURE);
    fields.check()?;
    let generated = session.run(&authority, &SIGN, |_| {
        let pair = KeyPair::generate()?;
        Ok(SignKeys {
            algorithm: assumed::SIGNATURE,
            public_key: hex::encode(pair.public()),
            secret_key: hex::encode(pair.secret().expose()),
        })
    });
    ok(generated.await?)
}

/// `sign/sign/`.
pub async fn sign(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    fields.only("algorithm", assumed::SIGNATURE);
    let message = fields.message(&["message"]);
    let key = fields.bytes(&["secret_key"], &[plain::EXPANDED, 32]);
    fields.check()?;
    let (Some(message), Some(key)) = (message, key) else { return Err(fields.problem()) };
    let signed = session.run(&authority, &SIGN, move |_| {
        let signature = plain::sign(key.expose(), message.expose()).map_err(|_| signature::bad_key("secret_key"))?;
        Ok(Signed { algorithm: assumed::SIGNATURE, signature: hex::encode(&signature) })
    });
    ok(signed.await?)
}

/// `sign/verify/`.
pub async fn verify(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    fields.only("algorithm", assumed::SIGNATURE);
    let message = fields.message(&["message"]);
    let signature = fields.bytes(&["signature"], &[]);
    let key = fields.bytes(&["public_key"], &[VERIFYING_KEY]);
    fields.check()?;
    let (Some(message), Some(signature), Some(key)) = (message, signature, key) else { return Err(fields.problem()) };
    let verified = session.run(&authority, &VERIFY, move |_| {
        let valid = plain::verify(key.expose(), message.expose(), signature.expose()).is_ok();
        Ok(Verified { algorithm: assumed::SIGNATURE, valid })
    });
    ok(verified.await?)
}
