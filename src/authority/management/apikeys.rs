//! API keys.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;

use super::super::Refused;
use super::super::credentials::{self, Purpose};
use super::problem::Problem;
use super::request::{Body, Call, Named, Page};
use super::shapes::{ApiKey, List, NewApiKey, ShownApiKey};
use crate::directory::Entry;
use crate::secret::SecretBytes;

pub async fn list(call: Call, page: Page) -> Result<Json<List<ApiKey>>, Problem> {
    let (limit, mut after) = (page.limit, page.after_number()?);
    let found = call
        .read(move |call| {
            let mut found = Vec::new();
            loop {
                let keys = call.authority.credentials.api_keys(after, limit)?;
                let last = keys.len() < limit;
                for key in keys {
                    after = key.value.number;
                    if found.len() < limit && may_see(call, &key.value) {
                        found.push(ApiKey::from(key));
                    }
                }
                if last || found.len() == limit {
                    return Ok(found);
                }
            }
        })
        .await?;
    Ok(Json(List::new(found, limit, |key: &ApiKey| key.number.to_string())))
}

pub async fn show(call: Call, Named(number): Named<u64>) -> Result<Json<ApiKey>, Problem> {
    let key = call.read(move |call| find(call, number)).await?;
    Ok(Json(key.into()))
}

pub async fn create(call: Call, Body(new): Body<NewApiKey>) -> Result<Response, Problem> {
    let purpose = new.purpose.purpose();
    if purpose == Purpose::Crittora && new.partition.is_none() {
        return Err(Refused::Invalid("a Crittora key is bound to a partition; give `partition`".into()).into());
    }
    if purpose == Purpose::Management && new.role.is_none() {
        return Err(Refused::Invalid("give a management key its `role`: admin, operator or auditor".into()).into());
    }
    let new = credentials::NewApiKey {
        purpose,
        label: new.label,
        app: new.app,
        partition: new.partition,
        role: new.role.unwrap_or_else(|| "default".into()),
        expires: new.expires.unwrap_or_default(),
        secrets: purpose.secrets(),
    };
    may_make(&call, &new)?;
    let on = format!("{} `{}`", purpose.word(), new.label);
    let expires = new.expires;
    let (text, key) =
        call.act("apikey.create", on, move |call| call.authority.credentials.create_api_key(&new)).await?;
    let place = format!("/manage/v1/apikeys/{}", key.number);
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(shown(&text, key, expires))).into_response())
}

pub async fn refresh(call: Call, Named(number): Named<u64>) -> Result<Json<ShownApiKey>, Problem> {
    let (text, key, expires) = call
        .act("apikey.refresh", number.to_string(), move |call| {
            let expires = find(call, number)?.expires;
            let (text, key) = call.authority.credentials.refresh_api_key(number)?.ok_or(Refused::NotFound)?;
            Ok((text, key, expires))
        })
        .await?;
    Ok(Json(shown(&text, key, expires)))
}

pub async fn revoke(call: Call, Named(number): Named<u64>) -> Result<StatusCode, Problem> {
    call.act("apikey.revoke", number.to_string(), move |call| {
        find(call, number)?;
        if call.authority.credentials.revoke_api_key(number)? { Ok(()) } else { Err(Refused::NotFound) }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn find(call: &Call, number: u64) -> Result<Entry<credentials::ApiKey>, Refused> {
    let found = call.authority.credentials.api_keys(number.saturating_sub(1), 1)?.pop();
    found.filter(|key| key.value.number == number && may_see(call, &key.value)).ok_or(Refused::NotFound)
}

/// A caller bound to an application sees the keys bound to it, one bound to partitions none.
fn may_see(call: &Call, key: &credentials::ApiKey) -> bool {
    call.unbound().is_ok() || key.app.as_deref().is_some_and(|app| call.reach_app(app).is_ok())
}

/// Nobody makes a key that reaches further than they do.
fn may_make(call: &Call, new: &credentials::NewApiKey) -> Result<(), Refused> {
    if call.unbound().is_ok() {
        return Ok(());
    }
    let app = new.app.as_deref().is_some_and(|app| call.reach_app(app).is_ok());
    let partition = match &new.partition {
        Some(partition) => call.reach(partition).is_ok(),
        // Such a key acts in `default`, which is no application's.
        None => new.purpose != Purpose::Exequantum,
    };
    if app && partition { Ok(()) } else { Err(Refused::Forbidden) }
}

fn shown(text: &SecretBytes, mut key: credentials::ApiKey, expires: u64) -> ShownApiKey {
    let secrets = std::mem::take(&mut key.secrets).into_iter().map(|(name, secret)| (name, secret.into())).collect();
    let text = String::from_utf8_lossy(text.expose()).into_owned();
    ShownApiKey { key: text, secrets, about: ApiKey::new(key, expires) }
}
