//! Who asks: an access key that signs, or a token made by one for one key.

use axum::http::request::Parts;

use super::fault::Fault;
use super::hot::Face;
use super::signature::Claim;
use super::tokens;
use crate::authority::credentials::{ApiKey, Purpose};
use crate::authority::{Caller, Refused};

/// Name of the access key's further secret.
pub const SECRET_KEY: &str = "secret_key";

/// Who signed this request.
pub async fn signed(face: &Face, parts: &Parts) -> Result<ApiKey, Fault> {
    let claim = Claim::of(parts, face.authority.clock.now())?;
    let key = face.authority.credentials.api_key(Purpose::NcloudKms, claim.access_key).await?;
    let secret = key.secrets.iter().find(|(name, _)| name == SECRET_KEY);
    match secret {
        Some((_, secret)) if claim.is_signed(parts, secret) => Ok(key),
        _ => Err(Refused::Unauthenticated.into()),
    }
}

/// The same for a request about one key, which an access key that is held to an application or a partition may not reach.
pub async fn signed_for(face: &Face, parts: &Parts, tag: &str) -> Result<ApiKey, Fault> {
    let key = signed(face, parts).await?;
    if key.reaches(tag) { Ok(key) } else { Err(Refused::Forbidden.into()) }
}

/// Who asks to use this key: with an access token for it, or signed.
pub async fn user(face: &Face, parts: &Parts, tag: &str) -> Result<Caller, Fault> {
    if parts.headers.contains_key(tokens::HEADER) {
        Ok(tokens::bearer(face, parts, tag, tokens::Use::Access).await?.key.caller())
    } else {
        Ok(signed_for(face, parts, tag).await?.caller())
    }
}
