//! Crypteron's management API as a client: a control plane alone. It says of a security partition which version is current, who may
//! do what, and whether it is paused; values are sealed here, and no key bytes come or go. `docs/apis/crypteron.md` has the calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::credential::Credential;
use super::http::{Http, Outgoing, Reply};
use super::settings::CrypteronSettings;
use super::{ApiError, Fault};
use crate::crypto::base64;
use crate::crypto::mac::same;
use crate::keyring::{Permissions, State};
use crate::secret::SecretBytes;

mod answers;
mod rollover;
mod watch;

use answers::Entity;

pub use rollover::{NotRolled, Roll, Rollover};
pub use watch::{Asking, Watch, Watched};

/// What the service says of the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Counts rollovers that were asked for there, from 1.
    pub version: u64,
    /// The stricter of the partition's and its application's.
    pub state: State,
    /// Roles and what they may do; a role that is not listed may do nothing.
    pub roles: Vec<(String, Permissions)>,
}

/// One endpoint, and the partition that a profile is configured with.
pub struct Crypteron {
    http: Http,
    /// What calls begin with, behind the endpoint.
    prefix: &'static str,
    app: String,
    part: String,
    api_key: Credential,
    /// Under which number the partition was found.
    number: Mutex<Option<u64>>,
    /// The highest version that was ever told.
    highest: AtomicU64,
}

impl Crypteron {
    /// Reads the API key. The error says why that cannot be, and what to do.
    pub fn new(http: Http, settings: &CrypteronSettings) -> Result<Self, String> {
        // Documented with the version in the base URL; taken without, as the other providers' are.
        let prefix = if http.base().ends_with("/v1") { "" } else { "/v1" };
        Ok(Self {
            http,
            prefix,
            app: settings.app_id.clone(),
            part: settings.sec_part_id.clone(),
            api_key: Credential::open(&settings.api_key)?,
            number: Mutex::default(),
            highest: AtomicU64::new(0),
        })
    }

    /// What the service says of the partition now. [`Fault::Refused`]: it has none.
    pub async fn standing(&self) -> Result<Standing, ApiError> {
        match self.find().await? {
            Some(entity) => self.standing_of(entity).await,
            None => Err(ApiError::new(
                Fault::Refused,
                format!(
                    "Crypteron has no partition `{}` in application `{}`, or this API key does not see it: make it with `sidecloak profiles init`, or correct `app_id` and `sec_part_id`",
                    self.part, self.app
                ),
            )),
        }
    }

    /// The same; where there is no such partition, it is made. One that is there is not rolled over.
    pub async fn provision(&self, description: &str) -> Result<Standing, ApiError> {
        if let Some(entity) = self.find().await? {
            return self.standing_of(entity).await;
        }
        let body = json!({ "AppId": self.app, "SecPartId": self.part, "Description": description });
        let reply = self.call(Method::POST, "/keys", body.to_string().into_bytes()).await?;
        let entity = match reply.status {
            StatusCode::OK | StatusCode::CREATED => Entity::read(&reply, &self.app, &self.part)?,
            StatusCode::CONFLICT => self.find().await?.ok_or_else(|| {
                ApiError::new(
                    Fault::Refused,
                    format!(
                        "Crypteron makes no partition `{}` in application `{}`: the application is paused, or a partition of this name was deleted; resume it there, or use another `sec_part_id`",
                        self.part, self.app
                    ),
                )
            })?,
            _ => return Err(fault(&reply, "POST /v1/keys")),
        };
        self.standing_of(entity).await
    }

    async fn standing_of(&self, entity: Entity) -> Result<Standing, ApiError> {
        self.remember(Some(entity.number));
        let highest = self.highest.fetch_max(entity.version, Ordering::AcqRel);
        if entity.version < highest {
            return Err(ApiError::new(
                Fault::Lie,
                format!(
                    "Crypteron says version {} of partition `{}`, and said {highest} before: if it was restored from a backup, restart this process",
                    entity.version, self.part
                ),
            ));
        }
        let app = self.app_state().await?;
        Ok(Standing { version: entity.version, state: stricter(entity.state, app), roles: entity.roles })
    }

    /// The partition, by its number where that is known.
    async fn find(&self) -> Result<Option<Entity>, ApiError> {
        let number = *self.number.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = number {
            let reply = self.call(Method::GET, &format!("/keys/{number}"), Vec::new()).await?;
            match reply.status {
                StatusCode::OK => return Entity::read(&reply, &self.app, &self.part).map(Some),
                // Deleted; it may have been made again.
                StatusCode::NOT_FOUND => self.remember(None),
                _ => return Err(fault(&reply, "GET /v1/keys/{KeyId}")),
            }
        }
        let (app, part) = (escaped(&self.app), escaped(&self.part));
        let reply = self.call(Method::GET, &format!("/keys?appId={app}&secPartId={part}"), Vec::new()).await?;
        match reply.status {
            StatusCode::OK => Entity::find(&reply, &self.app, &self.part),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(fault(&reply, "GET /v1/keys")),
        }
    }

    async fn app_state(&self) -> Result<State, ApiError> {
        let reply = self.call(Method::GET, &format!("/apps/{}", escaped(&self.app)), Vec::new()).await?;
        match reply.status {
            StatusCode::OK => answers::app_state(&reply, &self.app),
            _ => Err(fault(&reply, "GET /v1/apps/{AppId}")),
        }
    }

    fn remember(&self, number: Option<u64>) {
        *self.number.lock().unwrap_or_else(PoisonError::into_inner) = number;
    }

    /// One call; again, if the API key is not taken and there is another by now.
    async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Reply, ApiError> {
        let key = self.api_key.current()?;
        let reply = self.send(method.clone(), path, body.clone(), &key).await?;
        if reply.status == StatusCode::UNAUTHORIZED {
            let now = self.api_key.current()?;
            if !same(now.expose(), key.expose()) {
                return self.send(method, path, body, &now).await;
            }
        }
        Ok(reply)
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>, key: &SecretBytes) -> Result<Reply, ApiError> {
        let mut headers =
            vec![(header::AUTHORIZATION, basic(key)?), (header::ACCEPT, HeaderValue::from_static("application/json"))];
        if !body.is_empty() {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        let path = format!("{}{path}", self.prefix);
        self.http.send(Outgoing { method, path, headers, body: SecretBytes::new(body) }).await
    }
}

/// `Basic` with an empty user name.
fn basic(key: &SecretBytes) -> Result<HeaderValue, ApiError> {
    let mut pair = SecretBytes::new(Vec::with_capacity(key.expose().len() + 1));
    pair.expose_mut().push(b':');
    pair.expose_mut().extend_from_slice(key.expose());
    let mut text = SecretBytes::new(Vec::with_capacity(6 + base64::encoded_len(pair.expose().len())));
    text.expose_mut().extend_from_slice(b"Basic ");
    base64::encode_into(pair.expose(), text.expose_mut());
    let mut value = HeaderValue::from_bytes(text.expose())
        .map_err(|_| ApiError::new(Fault::Credential, "Crypteron: the API key makes no header field"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Of two states, the one that allows less.
fn stricter(one: State, other: State) -> State {
    if one as u8 >= other as u8 { one } else { other }
}

/// What to make of an answer that is none of those expected.
fn fault(reply: &Reply, call: &str) -> ApiError {
    let meaning = match reply.status {
        StatusCode::BAD_REQUEST => "it does not take what was sent; are `app_id` and `sec_part_id` right?",
        StatusCode::UNAUTHORIZED => "it does not take the API key; is it revoked or expired?",
        StatusCode::FORBIDDEN => "the API key may not; to look it must be an auditor's, to provision an operator's",
        StatusCode::NOT_FOUND => {
            "there is no such thing, or this API key does not see it; are endpoint and `app_id` right?"
        }
        StatusCode::TOO_MANY_REQUESTS => "it is asked too often; lengthen `poll`",
        status if status.is_server_error() => "it has a fault of its own",
        _ => "that is not documented; is the endpoint right?",
    };
    ApiError::new(reply.fault().kind, format!("Crypteron: {call} answered {}: {meaning}", reply.status.as_u16()))
}

#[cfg(test)]
mod tests;
