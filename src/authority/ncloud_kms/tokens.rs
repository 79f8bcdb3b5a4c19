//! Tokens for one key, in place of signatures: an access token uses the key, a refresh token makes further tokens. Each is random
//! and kept as its hash in an entry that ends with it; it does what its access key may do, and ends with that, too.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::assumptions;
use super::body::{self, Tag};
use super::fault::Fault;
use super::hot::Face;
use super::identity;
use super::lifecycle::{self, audited};
use crate::authority::credentials::{ApiKey, Purpose};
use crate::authority::{Caller, Refused, blocking, exequantum};
use crate::crypto::kdf::{pae, sha256};
use crate::crypto::{base64url, random};
use crate::directory::{Directory, Ends};
use crate::keyring::KeyringError;
use crate::keyring::store::Put;

/// The header that carries a token.
pub const HEADER: &str = "x-ncp-ocapi-token";
const KIND: &str = "ncloud-token";
const ACCESS_HOURS: u64 = 72;
const REFRESH_HOURS: u64 = 2160;
const MOST_HOURS: u64 = 17_520;
/// Longer than any of ours.
const LONGEST: usize = 128;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Use {
    /// Using the key.
    Access,
    /// Making tokens.
    Refresh,
}

#[derive(Serialize, Deserialize, Clone)]
struct Token {
    tag: String,
    what: Use,
    /// The access key that asked for it.
    key: u64,
    /// Its text then: who gives a key another text takes it from whoever had the old one, with all that was made on it.
    mark: String,
}

/// An access key and what changes when it gets another text.
pub struct Access {
    /// The key.
    pub key: ApiKey,
    mark: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Asked {
    access_token_hours: Option<Hours>,
    refresh_token_hours: Option<Hours>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Hours {
    Number(u64),
    Text(String),
}

/// `POST …/token-set`, signed.
pub async fn create(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let number = identity::signed_for(&face, &parts, &tag).await?.number;
    let marked = face.authority.credentials.api_key_marked(number).await?;
    let (key, mark) = marked.ok_or(Refused::Unauthenticated)?;
    make_set(&face, Access { key, mark }, tag, body).await
}

/// `PUT …/token-set`, with a refresh token.
pub async fn renew(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let key = bearer(&face, &parts, &tag, Use::Refresh).await?;
    make_set(&face, key, tag, body).await
}

/// `POST …/access-token`, with a refresh token.
pub async fn access(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let key = bearer(&face, &parts, &tag, Use::Refresh).await?;
    let asked: Asked = body::parse_or_default(&body::read(body).await?)?;
    let hours = hours(asked.access_token_hours, ACCESS_HOURS)?;
    let token = make(&face, key, tag, vec![(Use::Access, hours)]).await?;
    let [access] = token.as_slice() else { return Err(Fault::internal("no token was made")) };
    Ok(body::success(&json!({ "accessToken": access })))
}

/// The access key behind this request's token, if it is good for that.
pub async fn bearer(face: &Face, parts: &Parts, tag: &str, what: Use) -> Result<Access, Fault> {
    let mut values = parts.headers.get_all(HEADER).iter();
    let (Some(text), None) = (values.next(), values.next()) else { return Err(Fault::bad_token()) };
    let text = text.as_bytes();
    if text.len() > LONGEST {
        return Err(Fault::bad_token());
    }
    let (directory, id) = (&face.authority.directory, digest(text));
    let token = match directory.recall_cached::<Token>(KIND, &id) {
        Some(found) => found.map_err(Refused::from)?,
        None => {
            let directory: Directory = directory.clone();
            blocking(move || Ok::<_, Refused>(directory.recall::<Token>(KIND, &id)?)).await?
        }
    };
    let token = token.map(|entry| entry.value).filter(|token| token.what == what && token.tag == tag);
    let token = token.ok_or_else(Fault::bad_token)?;
    let marked = face.authority.credentials.api_key_marked(token.key).await?;
    let (key, mark) = marked
        .filter(|(key, mark)| key.purpose == Purpose::NcloudKms && *mark == token.mark && key.reaches(tag))
        .ok_or_else(Fault::bad_token)?;
    face.authority.credentials.limit(&key.caller().name)?;
    Ok(Access { key, mark })
}

async fn make_set(face: &Arc<Face>, access: Access, tag: String, body: axum::body::Body) -> Result<Response, Fault> {
    let asked: Asked = body::parse_or_default(&body::read(body).await?)?;
    let kinds = vec![
        (Use::Refresh, hours(asked.refresh_token_hours, REFRESH_HOURS)?),
        (Use::Access, hours(asked.access_token_hours, ACCESS_HOURS)?),
    ];
    let tokens = make(face, access, tag, kinds).await?;
    let [refresh, access] = tokens.as_slice() else { return Err(Fault::internal("no tokens were made")) };
    Ok(body::success(&json!({ "refreshToken": refresh, "accessToken": access })))
}

/// Makes tokens for whoever may do anything with the key.
async fn make(face: &Arc<Face>, access: Access, tag: String, kinds: Vec<(Use, u64)>) -> Result<Vec<String>, Fault> {
    let authority = Arc::clone(&face.authority);
    let made = blocking(move || {
        let Access { key, mark } = access;
        let caller: Caller = key.caller();
        lifecycle::visible(&authority, &caller, &tag)?;
        exequantum::allow(&authority, "ncloud-tokens-made", key.number, assumptions::TOKENS_AN_HOUR)?;
        audited(&authority, &caller, "ncloud-kms.token.create", &tag, || {
            let make = |(what, hours)| {
                let token = Token { tag: tag.clone(), what, key: key.number, mark: mark.clone() };
                keep(&authority.directory, &token, hours)
            };
            kinds.into_iter().map(make).collect::<Result<Vec<_>, Refused>>()
        })
    });
    Ok(made.await?)
}

fn keep(directory: &Directory, token: &Token, hours: u64) -> Result<String, Refused> {
    let text = base64url::encode(random::secret::<32>().map_err(KeyringError::from)?.expose());
    let ends = match hours {
        0 => Ends::never(),
        hours => Ends::at(directory.clock().now().saturating_add(hours.saturating_mul(3600))),
    };
    match directory.put(KIND, &digest(text.as_bytes()), 0, token, ends)? {
        Put::Done => Ok(text),
        Put::Conflict => Err(Refused::Unavailable("a token's name is taken".into())),
    }
}

/// Hours from 1, or `UL`: without end, which is 0.
fn hours(asked: Option<Hours>, default: u64) -> Result<u64, Fault> {
    let hours = match asked {
        None => Some(default),
        Some(Hours::Number(hours)) => Some(hours),
        Some(Hours::Text(text)) if text == "UL" => return Ok(0),
        Some(Hours::Text(text)) => text.parse().ok(),
    };
    hours
        .filter(|hours| (1..=MOST_HOURS).contains(hours))
        .ok_or_else(|| Fault::invalid("The hours of a token are 1 to 17520, or \"UL\" for no end."))
}

/// Of 256 random bits nobody finds the preimage.
fn digest(text: &[u8]) -> String {
    base64url::encode(&sha256(&pae(&[assumptions::TOKEN_LABEL, text])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_have_bounds_and_a_word_for_none() {
        let number = |n| hours(Some(Hours::Number(n)), 5).ok();
        let text = |t: &str| hours(Some(Hours::Text(t.into())), 5).ok();
        assert_eq!(hours(None, 5).ok(), Some(5));
        assert_eq!([number(0), number(1), number(17_520), number(17_521)], [None, Some(1), Some(17_520), None]);
        assert_eq!([text("UL"), text("72"), text("0"), text("x"), text("")], [Some(0), Some(72), None, None, None]);
    }
}
