//! `/v1/apikeys`: keys to this API. Their text is shown once.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::acl;
use super::answer::{Answer, Problem, nothing, ok};
use super::assumed;
use super::body::Body;
use super::entity::instant;
use super::names::AppId;
use super::session::{Places, Rank, Session, query};
use crate::audit::Act;
use crate::authority::credentials::{ApiKey, NewApiKey};
use crate::authority::{Authority, Refused, blocking};
use crate::directory::Entry;
use crate::secret::SecretBytes;

const PAGE: usize = 256;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    api_key_id: u64,
    app_id: Value,
    role_id: String,
    description: String,
    created_at: String,
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
}

impl Shown {
    fn of(key: ApiKey, expires: u64, text: Option<&SecretBytes>) -> Self {
        let app = key.app.as_deref().map(AppId::parse);
        Self {
            api_key_id: key.number,
            app_id: app.and_then(Result::ok).map_or(Value::Null, |app| app.to_value()),
            role_id: key.role,
            description: key.label,
            created_at: instant(key.created),
            expires_at: (expires > 0).then(|| instant(expires)),
            api_key: text.map(|text| String::from_utf8_lossy(text.expose()).into_owned()),
        }
    }
}

/// Those of the caller's application, or of all.
pub async fn list(State(authority): State<Arc<Authority>>, session: Session, RawQuery(asked): RawQuery) -> Answer {
    session.require(Rank::Admin)?;
    let asked = query(asked.as_deref(), "appId");
    let app = asked.map(|text| AppId::parse(&text)).transpose().map_err(|error| Problem::member("AppId", error))?;
    app.as_ref().map_or(Ok(()), |app| session.require_app(app))?;
    let shown = blocking(move || {
        let wanted = |key: &ApiKey| app.as_ref().is_none_or(|app| key.app.as_deref() == Some(app.as_str()));
        let (mut shown, mut after) = (Vec::new(), 0);
        loop {
            let page = authority.credentials.api_keys(after, PAGE)?;
            after = page.last().map_or(u64::MAX, |entry| entry.value.number);
            let full = page.len() == PAGE;
            let seen = page.into_iter().filter(|entry| is_seen(&session, &entry.value) && wanted(&entry.value));
            shown.extend(seen.map(|entry| Shown::of(entry.value, entry.expires, None)));
            if !full || shown.len() >= assumed::LISTED {
                return Ok::<_, Problem>(shown);
            }
        }
    });
    ok(StatusCode::OK, &shown.await?)
}

/// `{"AppId","RoleId","Description","ExpiresAt"?}`; a key of one application makes keys of that one alone.
pub async fn create(State(authority): State<Arc<Authority>>, session: Session, mut body: Body) -> Answer {
    session.require(Rank::Admin)?;
    let app = body.read("AppId", AppId::read);
    let role = body.read("RoleId", |value| {
        let role = acl::read_role(value)?;
        let known = [assumed::ADMIN, assumed::OPERATOR, assumed::AUDITOR].contains(&role.as_str());
        if known { Ok(role) } else { Err("The RoleId field is admin, operator or auditor.".into()) }
    });
    let role = body.require("RoleId", role);
    let label = body.text("Description", 200).unwrap_or_else(|| "Crypteron".into());
    let now = authority.clock.now();
    let expires = body.read("ExpiresAt", |value| until(value, now)).unwrap_or(0);
    body.check()?;
    let Some(role) = role else { return Err(body.problem()) };
    let app = app.map(|app| app.as_str().to_owned()).or_else(|| session.app().map(ToOwned::to_owned));
    if !app.as_deref().map_or_else(|| session.app().is_none(), |app| session.sees(app)) {
        return Err(Refused::NotFound.into());
    }
    let shown = blocking(move || {
        let new = NewApiKey { purpose: assumed::PURPOSE, label, app, partition: None, role, expires, secrets: &[] };
        let on = new.app.clone().unwrap_or_else(|| "all applications".into());
        let act = Act { who: &session.name, what: "apikey.create", on: &on };
        let (text, key) = authority.audit.around(&act, || authority.credentials.create_api_key(&new))?;
        Ok::<_, Problem>(Shown::of(key, expires, Some(&text)))
    });
    ok(StatusCode::CREATED, &shown.await?)
}

/// One.
pub async fn read(State(authority): State<Arc<Authority>>, session: Session, places: Places) -> Answer {
    session.require(Rank::Admin)?;
    let number = places.number()?;
    let shown = blocking(move || {
        let entry = seen(&authority, &session, number)?;
        Ok::<_, Problem>(Shown::of(entry.value, entry.expires, None))
    });
    ok(StatusCode::OK, &shown.await?)
}

/// Gives it a new text; the old one is refused from now on.
pub async fn refresh(State(authority): State<Arc<Authority>>, session: Session, places: Places) -> Answer {
    session.require(Rank::Admin)?;
    let number = places.number()?;
    let shown = blocking(move || {
        let expires = seen(&authority, &session, number)?.expires;
        let act = Act { who: &session.name, what: "apikey.refresh", on: &number.to_string() };
        let refreshed = authority.audit.around(&act, || authority.credentials.refresh_api_key(number))?;
        let (text, key) = refreshed.ok_or(Refused::NotFound)?;
        Ok::<_, Problem>(Shown::of(key, expires, Some(&text)))
    });
    ok(StatusCode::OK, &shown.await?)
}

/// Takes it away.
pub async fn revoke(State(authority): State<Arc<Authority>>, session: Session, places: Places) -> Answer {
    session.require(Rank::Admin)?;
    let number = places.number()?;
    blocking(move || {
        seen(&authority, &session, number)?;
        let act = Act { who: &session.name, what: "apikey.revoke", on: &number.to_string() };
        authority.audit.around(&act, || authority.credentials.revoke_api_key(number))
    })
    .await?;
    nothing()
}

/// A key of this API in the caller's application; whoever is of all sees those of all, too.
fn is_seen(session: &Session, key: &ApiKey) -> bool {
    key.purpose == assumed::PURPOSE && session.app().is_none_or(|own| key.app.as_deref() == Some(own))
}

fn seen(authority: &Authority, session: &Session, number: u64) -> Result<Entry<ApiKey>, Refused> {
    let after = number.checked_sub(1).ok_or(Refused::NotFound)?;
    let found = authority.credentials.api_keys(after, 1)?.into_iter().next();
    found.filter(|entry| entry.value.number == number && is_seen(session, &entry.value)).ok_or(Refused::NotFound)
}

fn until(value: &Value, now: u64) -> Result<u64, String> {
    let time = value.as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let seconds = time.and_then(|time| u64::try_from(time.unix_timestamp()).ok()).filter(|seconds| *seconds > now);
    seconds.ok_or_else(|| "The ExpiresAt field is not a time to come, such as 2030-01-31T00:00:00Z.".into())
}
