//! `sign`, `verify` and `get-pub-key`: RSASSA-PSS with SHA-256 for RSA2048, ECDSA with SHA-256 in DER for ECDSA.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::assumptions::{READ, SIGN, VERIFY};
use super::body::{self, Tag, Text};
use super::entry::{KeyType, Status};
use super::fault::Fault;
use super::hot::{Cipher, Face, Hot, Ready};
use super::identity;
use super::sealing;
use crate::audit::Use;
use crate::authority::{Caller, Refused, blocking};
use crate::crypto::base64;

/// Bytes of the longest message.
const MESSAGE: usize = 8 * 1024;
const SIGNATURE: usize = 512;

#[derive(Deserialize)]
struct Sign<'a> {
    #[serde(borrow)]
    data: Text<'a>,
}

#[derive(Deserialize)]
struct Verify<'a> {
    #[serde(borrow)]
    data: Text<'a>,
    #[serde(borrow)]
    signature: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Which {
    key_version: Option<usize>,
}

/// `POST …/sign`.
pub async fn sign(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let caller = identity::user(&face, &parts, &tag).await?;
    let hot = permitted(&face, &caller, &tag, &[SIGN]).await?;
    let body = body::read(body).await?;
    let asked: Sign<'_> = body::parse(&body)?;
    let message = message(&asked.data)?;
    let (hot, cipher) = face.sealing(hot, 1).await?;
    let number = cipher.number;
    let signature = blocking(move || match cipher.key()? {
        Ready::Rsa(key) => key.sign(&message).map_err(|_| Fault::internal("an RSA signature failed")),
        Ready::Ecdsa(key) => key.sign(&message).map_err(|_| Fault::internal("an ECDSA signature failed")),
        Ready::Aes(_) => Err(sealing::wrong_type()),
    });
    let signature = signature.await?;
    let mut text = Vec::with_capacity(base64::encoded_len(SIGNATURE));
    sealing::write_prefix(number, &mut text);
    base64::encode_into(&signature, &mut text);
    face.authority.vault.count(&caller, &hot.tag, &face.class, Use::Sealed, 1);
    Ok(body::success(&json!({ "signature": String::from_utf8_lossy(&text) })))
}

/// `POST …/verify`.
pub async fn verify(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let caller = identity::user(&face, &parts, &tag).await?;
    let hot = permitted(&face, &caller, &tag, &[VERIFY, SIGN]).await?;
    let body = body::read(body).await?;
    let asked: Verify<'_> = body::parse(&body)?;
    let message = message(&asked.data)?;
    let malformed = || Fault::invalid("signature is not as `sign` gave it (ncpkms:v1:…).");
    let parsed = sealing::parse(&asked.signature.0).ok_or_else(malformed)?;
    let signature = base64::decode(parsed.text.as_bytes(), SIGNATURE).ok_or_else(malformed)?;
    let valid = match face.opening(&hot, parsed.number).await? {
        Some(cipher) => match cipher.key()? {
            Ready::Rsa(key) => key.verifies(&message, &signature),
            Ready::Ecdsa(key) => key.verifies(&message, &signature),
            Ready::Aes(_) => return Err(sealing::wrong_type()),
        },
        None => false,
    };
    face.authority.vault.count(&caller, &hot.tag, &face.class, Use::Opened, 1);
    Ok(body::success(&json!({ "valid": valid })))
}

/// `POST …/get-pub-key`.
pub async fn public_key(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let caller = identity::user(&face, &parts, &tag).await?;
    let hot = permitted(&face, &caller, &tag, &[READ, VERIFY, SIGN]).await?;
    let asked: Which = body::parse_or_default(&body::read(body).await?)?;
    // The vendor's own example asks for version 0.
    let number = asked.key_version.filter(|number| *number > 0).unwrap_or_else(|| hot.entry.current());
    let cipher: Option<Arc<Cipher>> = face.opening(&hot, number).await?;
    let cipher = cipher.ok_or_else(|| Fault::invalid("There is no such version in use."))?;
    let der = match cipher.key()? {
        Ready::Rsa(key) => key.public_der(),
        Ready::Ecdsa(key) => key.public_der(),
        Ready::Aes(_) => return Err(sealing::wrong_type()),
    };
    Ok(body::success(&json!({ "publicKey": pem(der) })))
}

/// The key, if the caller's role has one of these bits and it signs.
async fn permitted(face: &Face, caller: &Caller, tag: &str, any: &[u32]) -> Result<Arc<Hot>, Fault> {
    let hot = face.key(tag).await?;
    let mut refused = Fault::forbidden();
    for bits in any {
        match face.authority.vault.permit(caller, &hot.tag, *bits).await {
            Ok(_) if hot.entry.status != Status::Enable => return Err(Fault::unprocessable("The key is disabled.")),
            Ok(_) if hot.entry.key_type == KeyType::Aes => return Err(sealing::wrong_type()),
            Ok(_) => return Ok(hot),
            Err(why) => {
                if let Refused::State(_) = why {
                    face.forget(tag);
                }
                refused = why.into();
            }
        }
    }
    face.authority.vault.count(caller, &hot.tag, &face.class, Use::Refused, 1);
    Err(refused)
}

fn message(data: &Text<'_>) -> Result<Vec<u8>, Fault> {
    base64::decode(data.bytes(), MESSAGE).ok_or_else(|| Fault::invalid("data is not base64 of at most 8192 bytes."))
}

/// SubjectPublicKeyInfo in PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    let text = base64::encode(der);
    let mut out = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str("-----END PUBLIC KEY-----\n");
    out
}
