//! Sessions of the log-in: an id token and an access token, which every replica verifies without asking anybody but for the
//! user's generation, and a refresh token, which is a number drawn at random, its digest in an entry of the directory. A user has
//! so many places for sessions; who logs in without end ends sessions of their own and fills no store.

use serde::{Deserialize, Serialize};

use super::assumptions::{ISSUER, REFRESH_SECONDS, SCOPE, SESSIONS};
use crate::authority::credentials::User;
use crate::authority::{Authority, Refused, blocking};
use crate::crypto::hs256::Hs256;
use crate::crypto::kdf::{key_id, pae, sha256};
use crate::crypto::{base64url, mac, random};
use crate::directory::{Directory, Ends};
use crate::keyring::KeyringError;
use crate::keyring::store::Put;

/// Documented: how long an id token and an access token last.
pub(super) const SECONDS: u64 = 3600;
/// How far the clock of the replica that gave a token out may be ahead.
const AHEAD: u64 = 60;
const KEY_LABEL: &str = "sidecloak/1 crittora id token";
const KIND: &str = "crittora-refresh";
/// Of a refresh token: the user's subject, the place of the session, and what only the client knows.
const REFRESH: usize = 16 + 8 + 32;
const LONGEST: usize = 4096;
const ATTEMPTS: usize = 8;
const DRAWS: usize = 4;

/// See the module.
pub(super) struct Sessions(Hs256);

/// What the log-in gives out.
pub(super) struct Given {
    pub(super) id: String,
    pub(super) access: String,
    /// Only at a log-in with a password.
    pub(super) refresh: Option<String>,
}

/// A session as the directory keeps it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Session {
    user: String,
    generation: u64,
    client: String,
    /// When the password was given.
    since: u64,
    /// The same in all tokens of a session.
    origin: String,
    /// Of the refresh token: whoever reads the entry has not the token.
    digest: String,
}

/// Of both tokens, as Cognito has them; the last is ours.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iss: String,
    token_use: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(rename = "cognito:username", default, skip_serializing_if = "Option::is_none")]
    id_username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    origin_jti: String,
    event_id: String,
    jti: String,
    auth_time: u64,
    iat: u64,
    exp: u64,
    #[serde(rename = "sidecloak:generation")]
    generation: u64,
}

impl Sessions {
    pub(super) fn new(authority: &Authority) -> Result<Self, KeyringError> {
        Hs256::new(&authority.keyring.derived_from_master(KEY_LABEL))
            .map(Self)
            .ok_or_else(|| KeyringError::NoKey("tokens of the log-in need the master key".into()))
    }

    /// The user that an id token names, unless it has ended, or the user's sessions have.
    pub(super) async fn user_of(&self, authority: &Authority, token: &str) -> Result<Option<User>, Refused> {
        if token.len() > LONGEST {
            return Ok(None);
        }
        let Some(claims) = self.0.verify::<Claims>(token) else { return Ok(None) };
        let now = authority.clock.now();
        let in_time = claims.iat <= now.saturating_add(AHEAD) && now < claims.exp;
        let Some(name) = claims.id_username.filter(|_| in_time && claims.token_use == "id" && claims.iss == ISSUER)
        else {
            return Ok(None);
        };
        let user = authority.credentials.user(&name).await?;
        Ok(user.filter(|user| user.generation == claims.generation))
    }

    /// A new session of a user whose password was right.
    pub(super) async fn begin(&self, authority: &Authority, user: &User, client: &str) -> Result<Given, Refused> {
        let directory = authority.directory.clone();
        let secret = random::secret::<32>().map_err(KeyringError::from)?;
        let mut session = Session {
            user: user.name.clone(),
            generation: user.generation,
            client: client.to_owned(),
            since: authority.clock.now(),
            origin: uuid(random::bytes().map_err(KeyringError::from)?),
            digest: String::new(),
        };
        let given = self.give(authority, &session)?;
        let refresh = blocking(move || {
            let place = free(&directory, &session.user)?;
            let refresh = base64url::encode(&[&place[..], secret.expose()].concat());
            session.digest = digest(&refresh);
            keep(&directory, &base64url::encode(&place), &session)?;
            Ok::<_, Refused>(refresh)
        });
        Ok(Given { refresh: Some(refresh.await?), ..given })
    }

    /// New tokens for a refresh token; `None` if it is none, or has ended, or the user's sessions have.
    pub(super) async fn renew(
        &self,
        authority: &Authority,
        refresh: &str,
        client: &str,
    ) -> Result<Option<Given>, Refused> {
        let bytes = base64url::decode(refresh.as_bytes()).filter(|bytes| bytes.len() == REFRESH);
        let Some((place, _)) = bytes.as_deref().and_then(|bytes| bytes.split_at_checked(REFRESH - 32)) else {
            return Ok(None);
        };
        let (directory, id) = (authority.directory.clone(), base64url::encode(place));
        let found = blocking(move || Ok::<_, Refused>(directory.get::<Session>(KIND, &id)?)).await?;
        let Some(session) = found.map(|entry| entry.value) else { return Ok(None) };
        if !mac::same(session.digest.as_bytes(), digest(refresh).as_bytes()) || session.client != client {
            return Ok(None);
        }
        let user = authority.credentials.user(&session.user).await?;
        if user.is_none_or(|user| user.generation != session.generation) {
            return Ok(None);
        }
        authority.credentials.limit(&format!("user {}", session.user))?;
        self.give(authority, &session).map(Some)
    }

    fn give(&self, authority: &Authority, session: &Session) -> Result<Given, Refused> {
        let now = authority.clock.now();
        let claims = |token_use: &str| -> Result<Claims, Refused> {
            Ok(Claims {
                sub: uuid(subject(&session.user)),
                iss: ISSUER.into(),
                token_use: token_use.into(),
                aud: None,
                client_id: None,
                scope: None,
                id_username: None,
                username: None,
                origin_jti: session.origin.clone(),
                event_id: session.origin.clone(),
                jti: uuid(random::bytes().map_err(KeyringError::from)?),
                auth_time: session.since,
                iat: now,
                exp: now.saturating_add(SECONDS),
                generation: session.generation,
            })
        };
        let id = Claims { aud: Some(session.client.clone()), id_username: Some(session.user.clone()), ..claims("id")? };
        let access = Claims {
            client_id: Some(session.client.clone()),
            scope: Some(SCOPE.into()),
            username: Some(session.user.clone()),
            ..claims("access")?
        };
        let sign = |claims: &Claims| {
            self.0.sign(claims).ok_or_else(|| Refused::Unavailable("a token of the log-in cannot be written".into()))
        };
        Ok(Given { id: sign(&id)?, access: sign(&access)?, refresh: None })
    }
}

/// A place for a session of a user: drawn, so that those who log in at once do not wait for each other, and free if one of a
/// few draws is.
fn free(directory: &Directory, user: &str) -> Result<Vec<u8>, Refused> {
    let mut draws = DRAWS;
    loop {
        let number = u64::from_be_bytes(random::bytes().map_err(KeyringError::from)?) % SESSIONS;
        let place = [&subject(user)[..], &number.to_be_bytes()].concat();
        draws -= 1;
        if draws == 0 || directory.get::<Session>(KIND, &base64url::encode(&place))?.is_none() {
            return Ok(place);
        }
    }
}

/// Puts a session in its place, whatever was there.
pub(super) fn keep(directory: &Directory, id: &str, session: &Session) -> Result<(), Refused> {
    let ends = Ends::at(session.since.saturating_add(REFRESH_SECONDS));
    for _ in 0..ATTEMPTS {
        let version = directory.get::<Session>(KIND, id)?.map_or(0, |there| there.version);
        if directory.put(KIND, id, version, session, ends)? == Put::Done {
            return Ok(());
        }
        // One that has ended is there and not found.
        directory.delete(KIND, id)?;
    }
    Err(Refused::Unavailable("others log in at the same place".into()))
}

fn digest(refresh: &str) -> String {
    base64url::encode(&sha256(&pae(&[b"sidecloak/1 crittora refresh token", refresh.as_bytes()])))
}

/// The same for a user at every replica and log-in, and no name.
fn subject(user: &str) -> [u8; 16] {
    key_id(&pae(&[b"sidecloak/1 crittora subject", user.as_bytes()]))
}

/// The bytes as RFC 9562 writes them, as version 8: made as the maker likes.
pub(super) fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    let part = |from: u32, digits: u32| number >> (128 - 4 * (from + digits)) & ((1 << (4 * digits)) - 1);
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part(0, 8), part(8, 4), part(12, 4), part(16, 4), part(20, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_no_name_and_always_the_same() {
        assert_eq!(subject("alice"), subject("alice"));
        assert_ne!(subject("alice"), subject("alicf"));
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_eq!(uuid(*b"0123456789abcdef"), "30313233-3435-8637-b839-616263646566");
    }
}
