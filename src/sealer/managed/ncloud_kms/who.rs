//! Who asks: a signature with every call, or a token in its place.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::super::credential::Credential;
use super::super::http::{Http, Outgoing, Reply};
use super::super::settings::NcloudCredential;
use super::super::tokens::{Fresh, Lent, TokenCache};
use super::super::{ApiError, Fault};
use super::{answer, request, signature};
use crate::clock::SharedClock;
use crate::crypto::mac;
use crate::secret::SecretBytes;

const TOKEN: HeaderName = HeaderName::from_static("x-ncp-ocapi-token");
/// How long an access token is asked to last. The vendor cannot take one back, and would give it 72.
const HOURS: u64 = 8;

/// See the module.
pub(super) enum Who {
    Signature { access_key: Credential, secret_key: Credential },
    Access(Credential),
    Refresh(Arc<Maker>, TokenCache),
}

/// Has access tokens made; that goes on when nobody waits for it any more.
pub(super) struct Maker {
    refresh_token: Credential,
    http: Http,
    path: String,
}

/// What one call shows.
pub(super) struct Proof {
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    lent: Option<Lent>,
    /// The credential itself.
    of: SecretBytes,
}

impl Who {
    /// `path` is where access tokens are made.
    pub(super) fn open(
        credential: &NcloudCredential,
        http: &Http,
        path: String,
        clock: SharedClock,
    ) -> Result<Self, String> {
        Ok(match credential {
            NcloudCredential::Signature { access_key, secret_key } => {
                Self::Signature { access_key: Credential::open(access_key)?, secret_key: Credential::open(secret_key)? }
            }
            NcloudCredential::Token { token, refresh: false } => Self::Access(Credential::open(token)?),
            NcloudCredential::Token { token, refresh: true } => {
                let maker = Maker { refresh_token: Credential::open(token)?, http: http.clone(), path };
                Self::Refresh(Arc::new(maker), TokenCache::new(clock))
            }
        })
    }

    /// For a POST to this raw target at this time (Unix milliseconds).
    pub(super) async fn proof(&self, target: &str, millis: u64) -> Result<Proof, ApiError> {
        match self {
            Self::Signature { access_key, secret_key } => {
                let (access, secret) = (access_key.header()?, secret_key.current()?);
                let of = SecretBytes::new([access.as_bytes(), b"\n", secret.expose()].concat());
                let headers = signature::headers(target, millis, &access, &secret)?;
                Ok(Proof { headers, lent: None, of })
            }
            Self::Access(token) => {
                Ok(Proof { headers: vec![(TOKEN, token.header()?)], lent: None, of: token.current()? })
            }
            Self::Refresh(maker, cache) => {
                let renew = || {
                    let maker = Arc::clone(maker);
                    async move { maker.make().await }
                };
                let lent = cache.lend(renew).await?;
                let mut value = HeaderValue::from_bytes(lent.token.expose())
                    .map_err(|_| ApiError::new(Fault::Lie, "the API gave an access token that fits no header"))?;
                value.set_sensitive(true);
                let of = lent.token.as_ref().clone();
                Ok(Proof { headers: vec![(TOKEN, value)], lent: Some(lent), of })
            }
        }
    }

    /// The API did not take it.
    pub(super) fn refused(&self, proof: &Proof) {
        if let (Self::Refresh(_, cache), Some(lent)) = (self, &proof.lent) {
            cache.refused(lent);
        }
    }

    /// The same error with the way out.
    pub(super) fn explain(&self, error: &ApiError, reply: &Reply, now: u64) -> ApiError {
        let hint = match self {
            Self::Signature { .. } => signature::skew(&reply.headers, now).unwrap_or_else(|| {
                "check `access_key` and `secret_key`, their permissions, and that this machine's clock is right".into()
            }),
            Self::Access(_) => {
                "the access token may have ended: get another, or give the profile a refresh token".into()
            }
            Self::Refresh(..) => "check the refresh token, and that it is for this key".into(),
        };
        ApiError::new(error.kind, format!("{}; {hint}", error.text))
    }

    pub(super) fn tokens(&self) -> Option<&TokenCache> {
        match self {
            Self::Refresh(_, cache) => Some(cache),
            Self::Signature { .. } | Self::Access(_) => None,
        }
    }
}

impl Proof {
    /// Whether both show the same credential.
    pub(super) fn is(&self, other: &Self) -> bool {
        mac::same(self.of.expose(), other.of.expose())
    }
}

impl Maker {
    async fn make(&self) -> Result<Fresh, ApiError> {
        let headers = vec![request::json(), (TOKEN, self.refresh_token.header()?)];
        let body = SecretBytes::new(format!(r#"{{"accessTokenHours":{HOURS}}}"#).into_bytes());
        let reply = self.http.send(Outgoing { method: Method::POST, path: self.path.clone(), headers, body }).await?;
        if let Some(error) = answer::failure(&reply) {
            return Err(match error.kind {
                Fault::Credential | Fault::Refused => ApiError::new(
                    Fault::Credential,
                    format!(
                        "no access token is given: the refresh token may have ended, or be for another key; {}",
                        error.text
                    ),
                ),
                _ => error,
            });
        }
        let token = answer::access_token(&reply)?;
        Ok(Fresh { token, lifetime: Duration::from_secs(HOURS * 3600), uses: None })
    }
}
