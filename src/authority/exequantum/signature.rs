//! `/api/signature/…`: ML-DSA-65 over the UTF-8 of a text.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::answer::{Answer, Problem, ok};
use super::fields::Fields;
use super::session::{SIGN, Session, VERIFY};
use crate::authority::Authority;
use crate::crypto::hex;
use crate::crypto::sign::VERIFYING_KEY;
use crate::crypto::sign::plain::{self, KeyPair};

#[derive(Serialize)]
struct Signed {
    signature: String,
    pk: String,
    sk: String,
}

#[derive(Serialize)]
struct Verified {
    verified: bool,
}

/// Signs with a key pair made for it.
pub async fn sign(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    let Some(data) = fields.message(&["data", "message"]) else { return Err(fields.problem()) };
    let signed = session.run(&authority, &SIGN, move |_| {
        let pair = KeyPair::generate()?;
        let signature = hex::encode(&pair.sign(data.expose())?);
        Ok(Signed { signature, pk: hex::encode(pair.public()), sk: hex::encode(pair.secret().expose()) })
    });
    ok(signed.await?)
}

/// A signature of the wrong length is one that does not verify.
pub async fn verify(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    let data = fields.message(&["data", "message"]);
    let pk = fields.bytes(&["pk"], &[VERIFYING_KEY]);
    let signature = fields.bytes(&["signature"], &[]);
    let (Some(data), Some(pk), Some(signature)) = (data, pk, signature) else { return Err(fields.problem()) };
    let verified = session.run(&authority, &VERIFY, move |_| {
        Ok(Verified { verified: plain::verify(pk.expose(), data.expose(), signature.expose()).is_ok() })
    });
    ok(verified.await?)
}

/// 422 for a secret key that is none.
pub fn bad_key(name: &'static str) -> Problem {
    Problem::Fields(vec![serde_json::json!({
        "loc": ["body", name],
        "msg": "not a secret key of ML-DSA-65",
        "type": "value_error",
    })])
}
