//! Who calls: a partner by its keys, and a user by password (managed) or bearer token (direct).

use std::borrow::Cow;
use std::net::IpAddr;

use http::{Extensions, HeaderMap, StatusCode, header};

use super::Face;
use super::answer::{Failure, Shape};
use super::assumptions::{ACCESS_KEY, API_KEY, SECRET_KEY};
use crate::authority::credentials::{ApiKey, Purpose, User};
use crate::authority::listen::Peer;
use crate::authority::{Caller, Refused};
use crate::crypto::mac;
use crate::keyring::Permissions;
use crate::name::PartitionName;

/// A partner and a user.
pub(super) struct Who {
    /// The user's name, as signatures carry it.
    pub(super) user: String,
    /// The partner's key.
    pub(super) key: ApiKey,
    /// The partner's partition.
    pub(super) partition: PartitionName,
    /// With the role of the key.
    pub(super) caller: Caller,
    /// With the role of the user, if it is another.
    as_user: Option<Caller>,
}

impl Who {
    fn new(user: User, key: ApiKey) -> Result<Self, Failure> {
        let partition = key.partition.as_deref().and_then(|name| PartitionName::new(name).ok()).ok_or_else(|| {
            Failure::new(StatusCode::FORBIDDEN, "Forbidden: this api_key has no partition; make one that has")
        })?;
        if !key.reaches(partition.as_str()) {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "Forbidden: this api_key's partition is not its application's",
            ));
        }
        let caller = Caller { name: format!("apikey {}, user {}", key.number, user.name), role: key.role.clone() };
        let as_user = (user.role != key.role).then(|| Caller { name: caller.name.clone(), role: user.role });
        Ok(Self { user: user.name, key, partition, caller, as_user })
    }

    /// Refuses unless the roles of both, key and user, have these bits in a partition, unmasked.
    pub(super) async fn permit(&self, face: &Face, partition: &PartitionName, bits: u32) -> Result<(), Refused> {
        for caller in std::iter::once(&self.caller).chain(&self.as_user) {
            let permissions = face.authority.vault.permit(caller, partition, bits).await?;
            if bits == Permissions::DECRYPT && permissions.has(Permissions::MASK) {
                return Err(Refused::Forbidden);
            }
        }
        Ok(())
    }
}

impl Face {
    /// Who calls, by the headers of a request.
    pub(super) async fn who(&self, shape: Shape, headers: &HeaderMap, from: Option<IpAddr>) -> Result<Who, Failure> {
        match shape {
            Shape::Managed => {
                let key = self.partner(headers, true).await?;
                let name = text(headers, &["username"]);
                let password = text(headers, &["password"]);
                let (Some(name), Some(password)) = (name, password) else { return Err(Failure::unauthorized()) };
                match self.authority.credentials.password_from(&name, &password, from).await {
                    Ok(user) => Who::new(user, key),
                    Err(Refused::Unauthenticated) => Err(Failure::bad_password()),
                    Err(other) => Err(other.into()),
                }
            }
            Shape::Direct => {
                let bearer = text(headers, &[header::AUTHORIZATION.as_str()]).ok_or_else(Failure::unauthorized)?;
                let token = match bearer.split_once(' ') {
                    Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
                    _ => return Err(Failure::unauthorized()),
                };
                let user = self.sessions.user_of(&self.authority, token).await?.ok_or_else(Failure::unauthorized)?;
                let key = self.partner(headers, false).await?;
                self.authority.credentials.limit(&format!("user {}", user.name))?;
                Who::new(user, key)
            }
        }
    }

    /// The partner's key; `strict`: with both further secrets, otherwise with those that are given.
    async fn partner(&self, headers: &HeaderMap, strict: bool) -> Result<ApiKey, Failure> {
        let presented = text(headers, &API_KEY).ok_or_else(Failure::forbidden)?;
        let key = self.authority.credentials.api_key(Purpose::Crittora, &presented).await?;
        let mut good = true;
        for names in [ACCESS_KEY, SECRET_KEY] {
            good &= match text(headers, &names) {
                Some(given) => key.secrets.iter().any(|(name, secret)| {
                    names.contains(&name.as_str()) && mac::same(secret.as_bytes(), given.as_bytes())
                }),
                None => !strict,
            };
        }
        if good { Ok(key) } else { Err(Failure::forbidden()) }
    }
}

/// The address that a request came from, where a listener of ours took it.
pub(super) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Peer>().map(|peer| peer.address.ip())
}

/// The first header of these names, if it is not empty: UTF-8, or else Latin-1, as some clients send it.
fn text<'a>(headers: &'a HeaderMap, names: &[&str]) -> Option<Cow<'a, str>> {
    let bytes = names.iter().find_map(|name| headers.get(*name))?.as_bytes();
    if bytes.is_empty() {
        return None;
    }
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    })
}
