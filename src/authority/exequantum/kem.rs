//! `/api/kem/…`: key pairs whose public half is signed, shared keys in and out of ciphertexts.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;

use super::answer::{Answer, Problem, ok};
use super::assumed;
use super::fields::Fields;
use super::kept::{self, Keeper, Sharer};
use super::session::{Session, UNWRAP, WRAP};
use crate::authority::Authority;
use crate::crypto::hex;
use crate::crypto::kem::{BadKem, DecapsulationKey, EncapsulationKey, KemSuite, expanded};
use crate::crypto::sign::plain::{self, KeyPair};
use crate::crypto::sign::{SIGNATURE, VERIFYING_KEY};
use crate::secret::{Secret, SecretBytes};

/// Bytes of an encapsulation key of ML-KEM-768,
pub const PK: usize = 1184;
/// of its ciphertext,
pub const CIPHER: usize = 1088;
/// and of its secret key: expanded, or a seed.
pub const SK: [usize; 2] = [expanded::EXPANDED, 64];

#[derive(Serialize)]
struct Generated {
    pk: String,
    sk: String,
    verification_key: String,
    verification_signature: String,
    signature: String,
}

#[derive(Serialize)]
struct Encapsulated {
    cipher: String,
    shared_key: String,
}

#[derive(Serialize)]
struct Decapsulated {
    shared_key: String,
}

/// A key pair, with a signature over the public key's bytes by a key made for it.
pub async fn generate(State(authority): State<Arc<Authority>>, session: Session) -> Answer {
    let (number, keeper) = (session.number, Keeper::of(&session));
    let generated = session.run(&authority, &UNWRAP, move |authority| {
        kept::allow(authority, "exequantum-keys-made", number, assumed::KEPT_AN_HOUR)?;
        let (key, pk) = pair()?;
        let signer = KeyPair::generate()?;
        let signature = hex::encode(&signer.sign(&pk)?);
        kept::keep(authority, keeper, &pk, &key)?;
        Ok(Generated {
            sk: hex::encode(expanded::expand(&key).map_err(|_| bad_kem("sk"))?.expose()),
            pk: hex::encode(&pk),
            verification_key: hex::encode(signer.public()),
            verification_signature: signature.clone(),
            signature,
        })
    });
    ok(generated.await?)
}

/// A shared key for whoever has the secret key, if the public key is signed.
pub async fn encapsulate(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    let pk = fields.bytes(&["pk"], &[PK]);
    let signature = fields.bytes(&["signature", "verification_signature"], &[SIGNATURE]);
    let signer = fields.bytes(&["verif_key", "verification_key"], &[VERIFYING_KEY]);
    let (Some(pk), Some(signature), Some(signer)) = (pk, signature, signer) else { return Err(fields.problem()) };
    let sharer = Sharer::of(&session, authority.clock.now());
    let encapsulated = session.run(&authority, &WRAP, move |authority| {
        plain::verify(signer.expose(), pk.expose(), signature.expose())
            .map_err(|_| Problem::Detail(StatusCode::BAD_REQUEST, assumed::BAD_SIGNATURE))?;
        let (cipher, shared) = encapsulated(pk.expose(), "pk")?;
        sharer.remember(authority, shared.expose())?;
        Ok(Encapsulated { cipher: hex::encode(&cipher), shared_key: hex::encode(shared.expose()) })
    });
    ok(encapsulated.await?)
}

/// The shared key of a ciphertext, under the secret key given or the one kept for `pk`.
pub async fn decapsulate(State(authority): State<Arc<Authority>>, session: Session, mut fields: Fields) -> Answer {
    let by_pk = fields.has("pk") && !fields.has("sk");
    let cipher = fields.bytes(&["cipher"], &[CIPHER]);
    let key = if by_pk { fields.bytes(&["pk"], &[PK]) } else { fields.bytes(&["sk"], &SK) };
    let (Some(cipher), Some(key)) = (cipher, key) else { return Err(fields.problem()) };
    let (number, sharer) = (session.number, Sharer::of(&session, authority.clock.now()));
    let decapsulated = session.run(&authority, &UNWRAP, move |authority| {
        let key = if by_pk {
            let kept = kept::kept(authority, number, key.expose())?;
            kept.ok_or(Problem::Detail(StatusCode::NOT_FOUND, assumed::NOT_KEPT))?
        } else {
            key
        };
        let shared = decapsulated(&key, &cipher, "sk")?;
        sharer.remember(authority, shared.expose())?;
        Ok(Decapsulated { shared_key: hex::encode(shared.expose()) })
    });
    ok(decapsulated.await?)
}

/// A key pair, and the bytes of its public half.
pub fn pair() -> Result<(DecapsulationKey, Vec<u8>), Problem> {
    let key = DecapsulationKey::generate(KemSuite::MlKem768)?;
    let public = key.encapsulation_key().map_err(|_| bad_kem("pk"))?;
    Ok((key, public.as_bytes().to_vec()))
}

/// A ciphertext and its shared key; `name` is the member that the key came in.
pub fn encapsulated(pk: &[u8], name: &'static str) -> Result<(Vec<u8>, Secret<32>), Problem> {
    let public = EncapsulationKey::from_bytes(KemSuite::MlKem768, pk);
    public.and_then(|public| public.encapsulate()).map_err(|_: BadKem| bad_kem(name))
}

/// A ciphertext's shared key; `name` is the member that the key came in.
pub fn decapsulated(key: &SecretBytes, cipher: &SecretBytes, name: &'static str) -> Result<Secret<32>, Problem> {
    expanded::decapsulate(key.expose(), cipher.expose()).map_err(|_| bad_kem(name))
}

/// 422 for a key that is none.
pub fn bad_kem(name: &'static str) -> Problem {
    Problem::Fields(vec![serde_json::json!({
        "loc": ["body", name],
        "msg": "not a key of ML-KEM-768",
        "type": "value_error",
    })])
}
