//! Who calls: an API key in `Basic`, with an empty user name, or a `Bearer` that was made on one.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

use super::answer::Problem;
use super::assumed;
use super::names::AppId;
use crate::authority::credentials::ApiKey;
use crate::authority::{Authority, Refused};
use crate::crypto::{base64, base64url};
use crate::keyring::KeyringError;

const LABEL: &str = "sidecloak/1 crypteron bearer";
/// Of an Authorization header that is looked at.
const LONGEST: usize = 2_048;

/// What an API key may do, by its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Look.
    Auditor,
    /// Make, roll and describe keys; pause and resume.
    Operator,
    /// Everything in its application.
    Admin,
}

/// An authenticated call.
#[derive(Debug, Clone)]
pub struct Session {
    /// As the audit log names the caller.
    pub name: String,
    key: ApiKey,
    mark: String,
}

/// What a Bearer holds, sealed under the master key.
#[derive(Serialize, Deserialize)]
struct Bearer {
    number: u64,
    mark: String,
    expires: u64,
}

impl Session {
    async fn begin(authority: &Authority, headers: &HeaderMap) -> Result<Self, Refused> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next().and_then(|value| value.to_str().ok()).filter(|text| text.len() <= LONGEST);
        let (Some((scheme, rest)), None) = (value.and_then(|text| text.split_once(' ')), values.next()) else {
            return Err(Refused::Unauthenticated);
        };
        let rest = rest.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("basic") {
            let text = base64::decode(rest.as_bytes(), LONGEST).ok_or(Refused::Unauthenticated)?;
            let text = String::from_utf8(text).map_err(|_| Refused::Unauthenticated)?;
            Self::by_key(authority, text.strip_prefix(':').ok_or(Refused::Unauthenticated)?).await
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Self::by_bearer(authority, rest).await
        } else {
            Err(Refused::Unauthenticated)
        }
    }

    /// By the text of an API key.
    pub async fn by_key(authority: &Authority, text: &str) -> Result<Self, Refused> {
        let number = authority.credentials.api_key(assumed::PURPOSE, text).await?.number;
        let known = authority.credentials.api_key_marked(number).await?;
        let (key, mark) = known.ok_or(Refused::Unauthenticated)?;
        Ok(Self { name: key.caller().name, key, mark })
    }

    async fn by_bearer(authority: &Authority, text: &str) -> Result<Self, Refused> {
        let bearer = base64url::decode(text.as_bytes())
            .and_then(|sealed| authority.keyring.open_under_master(LABEL, b"", &sealed))
            .and_then(|opened| serde_json::from_slice::<Bearer>(opened.expose()).ok())
            .filter(|bearer| bearer.expires > authority.clock.now())
            .ok_or(Refused::Unauthenticated)?;
        // The key may have been revoked, or given another text, since.
        let known = authority.credentials.api_key_marked(bearer.number).await?;
        let (key, mark) = known
            .filter(|(key, mark)| key.purpose == assumed::PURPOSE && *mark == bearer.mark)
            .ok_or(Refused::Unauthenticated)?;
        let name = key.caller().name;
        authority.credentials.limit(&name)?;
        Ok(Self { name, key, mark })
    }

    /// A Bearer for this caller.
    pub fn bearer(&self, authority: &Authority) -> Result<String, Refused> {
        let expires = authority.clock.now() + assumed::BEARER;
        let bearer = Bearer { number: self.key.number, mark: self.mark.clone(), expires };
        let text =
            serde_json::to_vec(&bearer).map_err(|_| KeyringError::Unavailable("a Bearer cannot be written".into()))?;
        Ok(base64url::encode(&authority.keyring.seal_under_master(LABEL, b"", &text)?))
    }

    /// Refuses whoever is of a lower rank.
    pub fn require(&self, rank: Rank) -> Result<(), Refused> {
        let own = match self.key.role.as_str() {
            assumed::ADMIN => Rank::Admin,
            assumed::OPERATOR => Rank::Operator,
            assumed::AUDITOR => Rank::Auditor,
            _ => return Err(Refused::Forbidden),
        };
        if own >= rank { Ok(()) } else { Err(Refused::Forbidden) }
    }

    /// Whether the caller sees an application. Of another's nothing is told, not even that it is there.
    pub fn sees(&self, app: &str) -> bool {
        self.key.app.as_deref().is_none_or(|own| own == app)
    }

    /// Refuses another's application.
    pub fn require_app(&self, app: &AppId) -> Result<(), Refused> {
        if self.sees(app.as_str()) { Ok(()) } else { Err(Refused::NotFound) }
    }

    /// The one application of the caller, if it is not of all.
    pub fn app(&self) -> Option<&str> {
        self.key.app.as_deref()
    }
}

impl FromRequestParts<Arc<Authority>> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Problem> {
        Ok(Self::begin(authority, &parts.headers).await?)
    }
}

/// The names and numbers in a path, in order.
#[derive(Debug)]
pub struct Places(Vec<(String, String)>);

impl Places {
    /// The one called so.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(given, _)| given == name).map_or("", |(_, text)| text)
    }

    /// The number called `id`; what is none names nothing.
    pub fn number(&self) -> Result<u64, Refused> {
        let text = self.text("id");
        text.parse().ok().filter(|number: &u64| number.to_string() == text).ok_or(Refused::NotFound)
    }

    /// The application, which the caller must see.
    pub fn app(&self, session: &Session) -> Result<AppId, Refused> {
        let app = AppId::parse(self.text("app")).map_err(|_| Refused::NotFound)?;
        session.require_app(&app)?;
        Ok(app)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Places {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let places = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        places.map(|Path(places)| Self(places)).map_err(|_| Refused::NotFound.into())
    }
}

/// A member of a query, whose name is in any case.
pub fn query(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (given, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        given.eq_ignore_ascii_case(name).then_some(value)
    })
}
