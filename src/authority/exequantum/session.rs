//! Who calls, and whether the caller may: a long-lived token is an API key, a temporary one an entry of the directory that counts its
//! uses down. Both act with the key's role in the key's partition, or in `default`.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

use super::answer::Problem;
use super::assumed;
use super::fields::Fields;
use crate::audit;
use crate::authority::credentials::ApiKey;
use crate::authority::{Authority, Caller, Refused, blocking};
use crate::crypto::base64url;
use crate::crypto::kdf::sha256;
use crate::keyring::{Permissions, State};
use crate::name::{Class, PartitionName};

/// What temporary tokens begin with, and no API key does.
pub const PREFIX: &str = "exqt.";
/// Of their entries.
pub const KIND: &str = "exequantum-token";

/// A temporary token as it is kept, under the digest of its text.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The API key that made it.
    pub parent: u64,
    /// Its text then.
    pub mark: String,
}

/// An authenticated call.
pub struct Session {
    /// As whom.
    pub caller: Caller,
    /// The API key's number.
    pub number: u64,
    /// What changes when the API key gets another text.
    pub mark: String,
    /// Where its role is looked up.
    pub partition: PartitionName,
    /// The entry of the temporary token, and when it ends.
    pub temporary: Option<(String, u64)>,
}

/// What a call does with values.
pub struct Act {
    /// The permission bits that it needs.
    bits: u32,
    /// What the audit log counts it as: a class,
    class: &'static str,
    /// and one of its uses.
    counts: audit::Use,
}

const fn act(bits: u32, class: &'static str, counts: audit::Use) -> Act {
    Act { bits, class, counts }
}

/// Making a KEM key pair, or taking a shared key out: AllowUnwrap.
pub const UNWRAP: Act = act(0x80, "exequantum.kem", audit::Use::Opened);
/// Making a shared key: AllowWrap.
pub const WRAP: Act = act(0x40, "exequantum.kem", audit::Use::Sealed);
/// AllowSign.
pub const SIGN: Act = act(0x10, "exequantum.signature", audit::Use::Sealed);
/// AllowVerify.
pub const VERIFY: Act = act(0x20, "exequantum.signature", audit::Use::Opened);
/// AllowEncrypt.
pub const ENCRYPT: Act = act(Permissions::ENCRYPT, "exequantum.aes", audit::Use::Sealed);
/// AllowDecrypt; a role that sees masked values alone may not.
pub const DECRYPT: Act = act(Permissions::DECRYPT, "exequantum.aes", audit::Use::Opened);

impl Session {
    async fn begin(authority: &Arc<Authority>, headers: &HeaderMap) -> Result<Self, Refused> {
        let token = presented(headers).ok_or(Refused::Unauthenticated)?;
        let (key, mark, temporary) = if token.starts_with(PREFIX) {
            temporary(authority, token).await?
        } else {
            let key = authority.credentials.api_key(assumed::PURPOSE, token).await?;
            let (key, mark) =
                authority.credentials.api_key_marked(key.number).await?.ok_or(Refused::Unauthenticated)?;
            (key, mark, None)
        };
        let partition = match &key.partition {
            Some(name) => PartitionName::new(name).map_err(|_| Refused::Unauthenticated)?,
            None => PartitionName::default_name(),
        };
        if !key.reaches(partition.as_str()) {
            return Err(Refused::Forbidden);
        }
        Ok(Self { caller: key.caller(), number: key.number, mark, partition, temporary })
    }

    /// Does something if the caller may, and counts it if the caller's role has it counted.
    pub async fn run<T: Send + 'static>(
        &self,
        authority: &Arc<Authority>,
        act: &Act,
        work: impl FnOnce(&Authority) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let permitted = self.permit(authority, act).await;
        let granted = permitted.as_ref().copied().unwrap_or(Permissions(0));
        let done = match permitted {
            Ok(_) => self.run_permitted(authority, act, work).await,
            Err(refused) => Err(refused.into()),
        };
        let what = if done.is_ok() { act.counts } else { audit::Use::Refused };
        if what.is_recorded(granted) {
            authority.vault.count(&self.caller, &self.partition, &Class::new(act.class), what, 1);
        }
        done
    }

    async fn permit(&self, authority: &Arc<Authority>, act: &Act) -> Result<Permissions, Refused> {
        let permissions = authority.vault.permit(&self.caller, &self.partition, act.bits).await?;
        let masked = act.bits == Permissions::DECRYPT && permissions.has(Permissions::MASK);
        if masked { Err(Refused::Forbidden) } else { Ok(permissions) }
    }

    async fn run_permitted<T: Send + 'static>(
        &self,
        authority: &Arc<Authority>,
        act: &Act,
        work: impl FnOnce(&Authority) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (authority, partition) = (Arc::clone(authority), self.partition.clone());
        let seals = act.counts == audit::Use::Sealed;
        blocking(move || {
            let state = authority.keyring.partition(&partition)?.state;
            if seals && state != State::Active {
                return Err(Refused::State(state).into());
            }
            work(&authority)
        })
        .await
    }
}

impl FromRequestParts<Arc<Authority>> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Problem> {
        Ok(Self::begin(authority, &parts.headers).await?)
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        Self::read(request.into_body()).await
    }
}

/// The id of a temporary token's entry.
pub fn entry_id(token: &str) -> String {
    base64url::encode(&sha256(token.as_bytes()))
}

/// Uses a temporary token once. Who is refused for asking too often has not used it.
async fn temporary(
    authority: &Arc<Authority>,
    token: &str,
) -> Result<(ApiKey, String, Option<(String, u64)>), Refused> {
    let (shared, id) = (Arc::clone(authority), entry_id(token));
    let look_up = id.clone();
    let entry = blocking(move || Ok::<_, Refused>(shared.directory.recall::<Kept>(KIND, &look_up)?)).await?;
    let entry = entry.ok_or(Refused::Unauthenticated)?;
    let parent = authority.credentials.api_key_marked(entry.value.parent).await?;
    let parent = parent.filter(|(key, mark)| key.purpose == assumed::PURPOSE && *mark == entry.value.mark);
    let (key, mark) = parent.ok_or(Refused::Unauthenticated)?;
    authority.credentials.limit(&key.caller().name)?;
    let (shared, take) = (Arc::clone(authority), id.clone());
    let left = blocking(move || Ok::<_, Refused>(shared.directory.take(KIND, &take)?)).await?;
    left.ok_or(Refused::Unauthenticated)?;
    Ok((key, mark, Some((id, entry.expires))))
}

/// `auth_token T` or `bearer T`, once.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    let known = ["auth_token", "bearer"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
    let token = token.trim_matches(' ');
    (known && values.next().is_none() && !token.is_empty() && token.len() <= 512).then_some(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_presented_in_either_scheme() {
        let token = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            presented(&headers).map(ToOwned::to_owned)
        };
        for value in ["auth_token T", "bearer T", "Bearer T", "AUTH_TOKEN  T "] {
            assert_eq!(token(&[value]).as_deref(), Some("T"), "{value}");
        }
        for values in [&["Basic T"] as &[_], &["T"], &["bearer "], &[], &["bearer T", "bearer T"]] {
            assert_eq!(token(values), None, "{values:?}");
        }
    }
}
