//! Management of keys, by signed requests alone: a token uses its key and changes nothing.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::assumptions::KEYSTORE;
use super::body::{self, Tag};
use super::entry::{KeyEntry, KeyType, Protection, Status};
use super::fault::Fault;
use super::hot::Face;
use super::identity;
use super::lifecycle::{self, NewKey};
use super::status;
use crate::authority::{Authority, Caller, Refused, blocking};
use crate::keyring::State as PartitionState;

const PERIODS: std::ops::RangeInclusive<u64> = 1..=730;
const PERIOD: u64 = 90;
const PAGE_SIZE: usize = 100;
const MEMO: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    key_name: String,
    key_type: KeyType,
    #[serde(default)]
    memo: Option<String>,
    #[serde(default)]
    is_convergent: Option<bool>,
    #[serde(default)]
    is_auto_rotation: Option<bool>,
    #[serde(default)]
    rotation_period: Option<u64>,
    #[serde(default)]
    protection_type: Option<Protection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Period {
    #[serde(default)]
    rotation_period: Option<u64>,
}

/// `GET /kms/v1/keys`.
pub async fn list(State(face): State<Arc<Face>>, request: Request) -> Result<Response, Fault> {
    let (parts, _) = request.into_parts();
    let key = identity::signed(&face, &parts).await?;
    let (page, size) = paging(parts.uri.query().unwrap_or_default())?;
    let skip = page.saturating_sub(1).saturating_mul(size);
    let lifecycle::Page { keys, total } =
        act(&face, move |authority| lifecycle::list(authority, &key, skip, size)).await?;
    let keys: Vec<Value> = keys.iter().map(|(tag, entry, state)| summary(tag, entry, *state)).collect();
    Ok(body::success(&json!({
        "keyList": keys,
        "currentPageNo": page,
        "totalPageNo": total.div_ceil(size),
        "totalCount": total,
    })))
}

/// `POST /kms/v1/keys`.
pub async fn create(State(face): State<Arc<Face>>, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let key = identity::signed(&face, &parts).await?;
    let new = check(body::parse(&body::read(body).await?)?)?;
    let (tag, entry) = act(&face, move |authority| lifecycle::create(authority, &key, &new)).await?;
    let mut data = details(&tag, &entry, PartitionState::Active);
    if let Some(data) = data.as_object_mut() {
        data.shift_remove("currentVersion");
    }
    Ok(body::success(&data))
}

/// `GET /kms/v1/keys/{keyTag}`.
pub async fn info(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let caller = signed(&face, request, &tag).await?;
    let name = tag.clone();
    let (entry, state) = act(&face, move |authority| lifecycle::visible(authority, &caller, &name)).await?;
    Ok(body::success(&details(&tag, &entry, state)))
}

/// `GET /kms/v1/keys/{keyTag}/versions`.
pub async fn versions(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let caller = signed(&face, request, &tag).await?;
    let name = tag.clone();
    let (entry, _) = act(&face, move |authority| lifecycle::visible(authority, &caller, &name)).await?;
    let versions: Vec<Value> = (1..)
        .zip(&entry.versions)
        .map(|(number, version): (usize, _)| {
            json!({
                "version": number,
                "status": version.status.to_string(),
                "statusDate": millis(version.status_at),
                "rotatedDate": millis(version.created),
            })
        })
        .collect();
    Ok(body::success(&json!({ "keyTag": tag, "currentVersion": entry.current(), "versionList": versions })))
}

/// `DELETE /kms/v1/keys/{keyTag}`.
pub async fn delete(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    change(&face, tag, request, status::delete).await?;
    Ok(body::success(&Value::Null))
}

/// `POST …/enable`.
pub async fn enable(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    set_status(&face, tag, request, status::enable).await
}

/// `POST …/disable`.
pub async fn disable(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    set_status(&face, tag, request, status::disable).await
}

/// `POST …/request-deletion`.
pub async fn request_deletion(
    State(face): State<Arc<Face>>,
    Tag(tag): Tag,
    request: Request,
) -> Result<Response, Fault> {
    set_status(&face, tag, request, status::request_deletion).await
}

/// `POST …/cancel-deletion`.
pub async fn cancel_deletion(
    State(face): State<Arc<Face>>,
    Tag(tag): Tag,
    request: Request,
) -> Result<Response, Fault> {
    set_status(&face, tag, request, status::cancel_deletion).await
}

/// `POST …/rotate`.
pub async fn rotate(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (tag, (number, version)) = change(&face, tag, request, lifecycle::rotate).await?;
    Ok(body::success(&json!({ "keyTag": tag, "version": number, "rotatedDate": millis(version.created) })))
}

/// `PUT …/rotation-period`.
pub async fn rotation_period(
    State(face): State<Arc<Face>>,
    Tag(tag): Tag,
    request: Request,
) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let caller = identity::signed_for(&face, &parts, &tag).await?.caller();
    let asked: Period = body::parse(&body::read(body).await?)?;
    let days = period(asked.rotation_period)?;
    let name = tag.clone();
    let entry = act(&face, move |authority| status::schedule(authority, &caller, &name, Some(days), None)).await?;
    face.forget(&tag);
    Ok(body::success(&json!({
        "keyTag": tag,
        "rotationPeriod": entry.rotation_period,
        "nextRotationDate": next_rotation(&entry),
    })))
}

/// `POST …/enable-auto-rotation`.
pub async fn auto_rotation(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    automatic(&face, tag, request, true).await
}

/// `POST …/disable-auto-rotation`.
pub async fn no_auto_rotation(
    State(face): State<Arc<Face>>,
    Tag(tag): Tag,
    request: Request,
) -> Result<Response, Fault> {
    automatic(&face, tag, request, false).await
}

/// `POST …/versions/{version}/enable`.
pub async fn enable_version(
    State(face): State<Arc<Face>>,
    path: Result<Path<(String, usize)>, PathRejection>,
    request: Request,
) -> Result<Response, Fault> {
    version(&face, path, request, Status::Enable).await
}

/// `POST …/versions/{version}/disable`.
pub async fn disable_version(
    State(face): State<Arc<Face>>,
    path: Result<Path<(String, usize)>, PathRejection>,
    request: Request,
) -> Result<Response, Fault> {
    version(&face, path, request, Status::Disable).await
}

async fn version(
    face: &Arc<Face>,
    path: Result<Path<(String, usize)>, PathRejection>,
    request: Request,
    status: Status,
) -> Result<Response, Fault> {
    let Ok(Path((tag, number))) = path else { return Err(Fault::not_found()) };
    let set = move |authority: &Authority, caller: &Caller, tag: &str| {
        status::set_version(authority, caller, tag, number, status)
    };
    let (_, version) = change(face, tag, request, set).await?;
    Ok(body::success(&json!({
        "version": number,
        "status": version.status.to_string(),
        "statusDate": millis(version.status_at),
    })))
}

async fn automatic(face: &Arc<Face>, tag: String, request: Request, on: bool) -> Result<Response, Fault> {
    let set = move |authority: &Authority, caller: &Caller, tag: &str| {
        status::schedule(authority, caller, tag, None, Some(on))
    };
    let (tag, entry) = change(face, tag, request, set).await?;
    Ok(body::success(&json!({ "keyTag": tag, "isAutoRotation": entry.auto_rotation })))
}

async fn set_status(
    face: &Arc<Face>,
    tag: String,
    request: Request,
    set: impl FnOnce(&Authority, &Caller, &str) -> Result<KeyEntry, Refused> + Send + 'static,
) -> Result<Response, Fault> {
    let (tag, entry) = change(face, tag, request, set).await?;
    Ok(body::success(&json!({
        "keyTag": tag,
        "status": entry.status.to_string(),
        "statusDate": millis(entry.status_at),
    })))
}

/// Changes a key, and forgets what is in memory of it.
async fn change<T: Send + 'static>(
    face: &Arc<Face>,
    tag: String,
    request: Request,
    set: impl FnOnce(&Authority, &Caller, &str) -> Result<T, Refused> + Send + 'static,
) -> Result<(String, T), Fault> {
    let caller = signed(face, request, &tag).await?;
    let name = tag.clone();
    let done = act(face, move |authority| set(authority, &caller, &name)).await;
    face.forget(&tag);
    Ok((tag, done?))
}

async fn signed(face: &Face, request: Request, tag: &str) -> Result<Caller, Fault> {
    let (parts, _) = request.into_parts();
    Ok(identity::signed_for(face, &parts, tag).await?.caller())
}

async fn act<T: Send + 'static>(
    face: &Face,
    act: impl FnOnce(&Authority) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Fault> {
    let authority = Arc::clone(&face.authority);
    Ok(blocking(move || act(&authority)).await?)
}

fn check(asked: Asked) -> Result<NewKey, Fault> {
    let mut name = asked.key_name.chars();
    let fits = (3..=15).contains(&asked.key_name.len())
        && name.next().is_some_and(|first| first.is_ascii_alphabetic())
        && name.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !fits {
        return Err(Fault::invalid("keyName has 3 to 15 of A-Z a-z 0-9 - _ and begins with a letter."));
    }
    let memo = asked.memo.unwrap_or_default();
    if memo.chars().count() > MEMO || memo.chars().any(char::is_control) {
        return Err(Fault::invalid("memo has at most 100 characters."));
    }
    let convergent = asked.is_convergent.unwrap_or(false);
    if convergent && asked.key_type != KeyType::Aes {
        return Err(Fault::invalid("Only an AES256 key is convergent."));
    }
    let auto_rotation = asked.is_auto_rotation.unwrap_or(false);
    if asked.rotation_period.is_some() && !auto_rotation {
        return Err(Fault::invalid("rotationPeriod is for isAutoRotation true."));
    }
    Ok(NewKey {
        name: asked.key_name,
        key_type: asked.key_type,
        memo,
        convergent,
        auto_rotation,
        rotation_period: period(asked.rotation_period)?,
        protection: asked.protection_type.unwrap_or(Protection::Basic),
    })
}

fn period(days: Option<u64>) -> Result<u64, Fault> {
    let days = days.unwrap_or(PERIOD);
    if PERIODS.contains(&days) { Ok(days) } else { Err(Fault::invalid("rotationPeriod is 1 to 730 days.")) }
}

/// `pageNo` from 1 and `pageSize` from 1 to 200; other members of the query are ignored.
fn paging(query: &str) -> Result<(usize, usize), Fault> {
    let (mut page, mut size) = (1, PAGE_SIZE);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match name {
            "pageNo" => &mut page,
            "pageSize" => &mut size,
            _ => continue,
        };
        *slot = value.parse().map_err(|_| Fault::invalid("pageNo and pageSize are numbers."))?;
    }
    if page == 0 || !(1..=200).contains(&size) {
        return Err(Fault::invalid("pageNo begins with 1, and pageSize is 1 to 200."));
    }
    Ok((page, size))
}

fn details(tag: &str, entry: &KeyEntry, state: PartitionState) -> Value {
    json!({
        "keyId": entry.id,
        "keyTag": tag,
        "keyName": entry.name,
        "keyType": entry.key_type,
        "status": shown(entry, state).to_string(),
        "keystoreId": KEYSTORE,
        "currentVersion": entry.current(),
        "protectionType": entry.protection,
        "memo": entry.memo,
        "isConvergent": entry.convergent,
        "isAutoRotation": entry.auto_rotation,
        "rotationPeriod": entry.rotation_period,
        "nextRotationDate": next_rotation(entry),
        "registerDate": millis(entry.created),
    })
}

fn summary(tag: &str, entry: &KeyEntry, state: PartitionState) -> Value {
    json!({
        "keyId": entry.id,
        "keyTag": tag,
        "keyName": entry.name,
        "keyType": entry.key_type,
        "status": shown(entry, state).to_string(),
        "protectionType": entry.protection,
        "isConvergent": entry.convergent,
        "registerDate": millis(entry.created),
        "destroyDate": (entry.destroy_at > 0).then(|| millis(entry.destroy_at)),
    })
}

/// A key whose partition an operator paused is disabled, too.
fn shown(entry: &KeyEntry, state: PartitionState) -> Status {
    if entry.status == Status::Enable && !state.opens() { Status::Disable } else { entry.status }
}

fn next_rotation(entry: &KeyEntry) -> Option<u64> {
    entry.auto_rotation.then(|| millis(entry.next_rotation))
}

fn millis(seconds: u64) -> u64 {
    seconds.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_bounds() {
        let page = |query| paging(query).map_err(|fault| fault.status());
        assert_eq!(page(""), Ok((1, 100)));
        assert_eq!(page("pageSize=200&x=y&pageNo=7"), Ok((7, 200)));
        for bad in ["pageNo=0", "pageSize=0", "pageSize=201", "pageNo=-1", "pageNo=x", "pageNo"] {
            assert_eq!(page(bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn a_new_key_is_checked() {
        let new = |json: &str| body::parse::<Asked>(json.as_bytes()).and_then(check).map_err(|fault| fault.status());
        let good =
            new(r#"{"keyName":"key-1","keyType":"AES256","isAutoRotation":true,"protectionType":"BASIC"}"#).unwrap();
        assert_eq!((good.rotation_period, good.auto_rotation, good.convergent), (90, true, false));
        for bad in [
            "{}",
            r#"{"keyName":"ke","keyType":"AES256"}"#,
            r#"{"keyName":"1key","keyType":"AES256"}"#,
            r#"{"keyName":"key name","keyType":"AES256"}"#,
            r#"{"keyName":"key-12345678901x","keyType":"AES256"}"#,
            r#"{"keyName":"key","keyType":"DES"}"#,
            r#"{"keyName":"key","keyType":"RSA2048","isConvergent":true}"#,
            r#"{"keyName":"key","keyType":"AES256","rotationPeriod":5}"#,
            r#"{"keyName":"key","keyType":"AES256","isAutoRotation":true,"rotationPeriod":0}"#,
            r#"{"keyName":"key","keyType":"AES256","isAutoRotation":true,"rotationPeriod":731}"#,
            r#"{"keyName":"key","keyType":"AES256","protectionType":"PAPER"}"#,
        ] {
            assert_eq!(new(bad).map(drop), Err(400), "{bad}");
        }
    }
}
