//! What a handler gets: who calls, what was sent, and the way to act on the record.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::super::identity::{Identity, Partitions};
use super::super::{Authority, Refused, blocking};
use super::problem::Problem;
use super::shapes::Paging;
use crate::audit::Act;
use crate::name::PartitionName;

/// Entries of a page, unless the caller wants fewer or more.
const PAGE: u16 = 50;
const MAX_PAGE: u16 = 200;

/// A call of somebody who was let in.
pub struct Call {
    pub authority: Arc<Authority>,
    pub identity: Identity,
}

impl FromRequestParts<Arc<Authority>> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Problem> {
        let identity = parts.extensions.get::<Identity>().cloned().ok_or(Refused::Unauthenticated)?;
        Ok(Self { authority: Arc::clone(authority), identity })
    }
}

impl Call {
    /// Reads, off the serving threads.
    pub async fn read<T: Send + 'static>(
        self,
        work: impl FnOnce(&Self) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(blocking(move || work(&self)).await?)
    }

    /// Changes something: on record before it is done, its outcome after.
    pub async fn act<T: Send + 'static>(
        self,
        what: &'static str,
        on: String,
        work: impl FnOnce(&Self) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Problem> {
        let act = move || {
            let act = Act { who: &self.identity.caller.name, what, on: &on };
            self.authority.audit.around(&act, || work(&self))
        };
        // No patience ends it: a change that was begun is done, and its caller told so.
        let done = tokio::task::spawn_blocking(act).await;
        Ok(done.map_err(|_| Refused::Unavailable("a change was broken off".into()))??)
    }

    /// Refuses a partition that the caller is not let at, as if there were none.
    pub fn reach(&self, name: &str) -> Result<PartitionName, Refused> {
        let name = PartitionName::new(name).map_err(|_| Refused::NotFound)?;
        if self.identity.reaches(&name) { Ok(name) } else { Err(Refused::NotFound) }
    }

    /// Refuses an application that the caller is not let at.
    pub fn reach_app(&self, app: &str) -> Result<(), Refused> {
        let whole = self.identity.partitions == Partitions::All;
        if whole && self.identity.app.as_deref().is_none_or(|own| own == app) { Ok(()) } else { Err(Refused::NotFound) }
    }

    /// Refuses callers that are bound to an application or to partitions.
    pub fn unbound(&self) -> Result<(), Refused> {
        let whole = self.identity.partitions == Partitions::All && self.identity.app.is_none();
        if whole { Ok(()) } else { Err(Refused::Forbidden) }
    }
}

/// A body of JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not JSON")
                .detail("send `Content-Type: application/json`"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            _ => Problem::new(StatusCode::BAD_REQUEST, "The body broke off"),
        })?;
        // The parser's own words may quote what was sent.
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            Refused::Invalid(format!(
                "the body is not as `/manage/v1/openapi.json` describes it, near line {} column {}",
                error.line(),
                error.column()
            ))
            .into()
        })
    }
}

/// What the path names.
pub struct Named<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named = Path::<T>::from_request_parts(parts, state).await;
        named.map(|Path(named)| Self(named)).map_err(|_| Refused::NotFound.into())
    }
}

/// Which part of a list is asked for.
pub struct Page {
    pub after: String,
    pub limit: usize,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wrong =
            || Refused::Invalid(format!("`limit` is 1 to {MAX_PAGE}, `after` is the `next` of the page before"));
        let Query(paging) = Query::<Paging>::from_request_parts(parts, state).await.map_err(|_| wrong())?;
        let limit = paging.limit.unwrap_or(PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(wrong().into());
        }
        Ok(Self { after: paging.after.unwrap_or_default(), limit: limit.into() })
    }
}

impl Page {
    /// `after` of a list that is ordered by number.
    pub fn after_number(&self) -> Result<u64, Refused> {
        if self.after.is_empty() {
            return Ok(0);
        }
        self.after.parse().map_err(|_| Refused::Invalid("`after` is a number here".into()))
    }
}

/// The version that the caller read, if the change is to be made over that alone.
pub struct Expected(pub Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for Expected {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let wrong = || Refused::Invalid("`If-Match` is the `ETag` of what was read, or `*`".into());
        let mut values = parts.headers.get_all(IF_MATCH).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let text = value.to_str().ok().filter(|_| values.next().is_none()).ok_or_else(wrong)?;
        if text == "*" {
            return Ok(Self(None));
        }
        let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
        version.map(|version| Self(Some(version))).ok_or_else(|| wrong().into())
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
