//! Who may: API keys, passwords, and how often each may ask. What a key or password was is kept nowhere: of a key its digest,
//! of a password its argon2id hash, both in sealed entries of the directory.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Caller, Refused, blocking};
use crate::directory::{Directory, Entry};
use crate::keyring::KeyringError;
use crate::secret::SecretBytes;

mod keys;
mod limits;
mod lockout;
mod passwords;
mod text;

#[cfg(test)]
mod tests;

use limits::Limiter;
use passwords::Passwords;

pub use limits::Limits;
pub use text::{check_app, check_role, check_text};

/// See the module.
pub struct Credentials {
    directory: Directory,
    limiter: Limiter,
    passwords: Passwords,
}

/// What an API key is for; a key for one face says nothing at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Our own management (`/manage/v1`); its `role` is `admin`, `operator` or `auditor`.
    Management,
    /// A sidecar at `/keyring/v1`; its `role` is the one its callers have at the keyring.
    Sidecar,
    /// The same for a sidecar that only encrypts.
    EncryptOnly,
    /// A partner at the Crittora face (`api_key`, `access_key`, `secret_key`).
    Crittora,
    /// The Crypteron face.
    Crypteron,
    /// The NAVER Cloud KMS face: an access key with its secret key.
    NcloudKms,
    /// The ExeQuantum face.
    Exequantum,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Management,
        Self::Sidecar,
        Self::EncryptOnly,
        Self::Crittora,
        Self::Crypteron,
        Self::NcloudKms,
        Self::Exequantum,
    ];

    /// The purpose as a word, such as `ncloud-kms`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Sidecar => "sidecar",
            Self::EncryptOnly => "encrypt-only",
            Self::Crittora => "crittora",
            Self::Crypteron => "crypteron",
            Self::NcloudKms => "ncloud-kms",
            Self::Exequantum => "exequantum",
        }
    }

    /// The further secrets that a key for this purpose has.
    pub fn secrets(self) -> &'static [&'static str] {
        match self {
            Self::Crittora => &["access_key", "secret_key"],
            Self::NcloudKms => &["secret_key"],
            Self::Management | Self::Sidecar | Self::EncryptOnly | Self::Crypteron | Self::Exequantum => &[],
        }
    }

    /// The purpose that a face asks for.
    pub(super) fn served_as(self) -> Self {
        if self == Self::EncryptOnly { Self::Sidecar } else { self }
    }
}

/// An API key as it is kept: never the key itself, only what it was derived to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Counts up; what people and the audit log call it.
    pub number: u64,
    /// What it is for.
    pub purpose: Purpose,
    /// What people call it.
    pub label: String,
    /// The application it belongs to; `None`: none in particular.
    pub app: Option<String>,
    /// The partition it is for, where a face has one per key (Crittora).
    pub partition: Option<String>,
    /// See [`Purpose`]; elsewhere the role in partitions' access-control entries.
    pub role: String,
    /// When it was made (Unix seconds).
    pub created: u64,
    /// Further secrets that must be known again to check a signature or a header, by name; entries are sealed.
    pub secrets: Vec<(String, String)>,
}

impl ApiKey {
    /// Whether the key, if it is held to an application or to a partition, reaches this one.
    pub fn reaches(&self, partition: &str) -> bool {
        let app = |app: &str| partition.strip_prefix(app).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.app.as_deref().is_none_or(app) && self.partition.as_deref().is_none_or(|held| held == partition)
    }

    /// Who asks when this key does.
    pub fn caller(&self) -> Caller {
        Caller { name: format!("apikey {}", self.number), role: self.role.clone() }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("number", &self.number).field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// A person or service that logs in with a password (Crittora).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name it logs in with.
    pub name: String,
    /// argon2id in PHC form.
    pub password: String,
    /// The role in partitions' access-control entries.
    pub role: String,
    /// Grows with every log-out of all sessions and every change of password; tokens name it. A user who is made again under
    /// the same name has a higher one.
    pub generation: u64,
}

impl User {
    /// Who asks when this user does.
    pub fn caller(&self) -> Caller {
        Caller { name: format!("user {}", self.name), role: self.role.clone() }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// What is given for a new API key.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// See [`ApiKey`].
    pub purpose: Purpose,
    /// See [`ApiKey`].
    pub label: String,
    /// See [`ApiKey`].
    pub app: Option<String>,
    /// See [`ApiKey`].
    pub partition: Option<String>,
    /// See [`ApiKey`].
    pub role: String,
    /// When it ends (Unix seconds); 0: never.
    pub expires: u64,
    /// Names of further secrets to make.
    pub secrets: &'static [&'static str],
}

impl Credentials {
    /// In this directory, with the usual limits.
    pub fn new(directory: Directory) -> Result<Self, KeyringError> {
        Self::with_limits(directory, &Limits::default())
    }

    /// In this directory.
    pub fn with_limits(directory: Directory, limits: &Limits) -> Result<Self, KeyringError> {
        let passwords = Passwords::new(directory.clone())?;
        Ok(Self { limiter: Limiter::new(limits), passwords, directory })
    }

    /// The key with this text, if there is one for this purpose. Counts towards the key's rate limit.
    pub async fn api_key(&self, purpose: Purpose, presented: &str) -> Result<ApiKey, Refused> {
        let presented = text::Presented::parse(presented).ok_or(Refused::Unauthenticated)?;
        let kept = self.kept(presented.number).await?.ok_or(Refused::Unauthenticated)?;
        if !kept.is(purpose, &presented) {
            return Err(Refused::Unauthenticated);
        }
        self.limiter.take(&format!("apikey {}", kept.key.number))?;
        Ok(kept.key)
    }

    /// The key with this number, without its text, and something that changes when it gets another text: for tokens that were
    /// given out on it before and must not outlive the text.
    pub async fn api_key_marked(&self, number: u64) -> Result<Option<(ApiKey, String)>, Refused> {
        Ok(self.kept(number).await?.map(|kept| {
            let mark = kept.mark();
            (kept.key, mark)
        }))
    }

    /// The user with this name, if the password is right. A verified one is remembered for a minute; failures lock out.
    pub async fn password(&self, name: &str, password: &str) -> Result<User, Refused> {
        self.password_from(name, password, None).await
    }

    /// The same from this address: guesses from elsewhere do not lock out who logs in from where they did before.
    pub async fn password_from(&self, name: &str, password: &str, from: Option<IpAddr>) -> Result<User, Refused> {
        let user = self.passwords.verify(name, password, from).await?;
        self.limiter.take(&format!("user {name}"))?;
        Ok(user)
    }

    /// The user, without a password, for tokens that were given out before.
    pub async fn user(&self, name: &str) -> Result<Option<User>, Refused> {
        self.passwords.user(name).await
    }

    /// Makes a key; its text is shown once and kept nowhere. The further secrets are in the [`ApiKey`]. May block.
    pub fn create_api_key(&self, new: &NewApiKey) -> Result<(SecretBytes, ApiKey), Refused> {
        keys::create(&self.directory, new)
    }

    /// Up to `limit` keys with numbers above `after`, in order. May block.
    pub fn api_keys(&self, after: u64, limit: usize) -> Result<Vec<Entry<ApiKey>>, Refused> {
        keys::list(&self.directory, after, limit)
    }

    /// Gives a key a new text (and new further secrets); the old ones are refused from then on. May block.
    pub fn refresh_api_key(&self, number: u64) -> Result<Option<(SecretBytes, ApiKey)>, Refused> {
        keys::refresh(&self.directory, number)
    }

    /// Takes a key away; whether there was one. Other processes refuse it within about a second. May block.
    pub fn revoke_api_key(&self, number: u64) -> Result<bool, Refused> {
        keys::revoke(&self.directory, number)
    }

    /// Makes a user, or gives one a new password and role. May block.
    pub fn put_user(&self, name: &str, password: &SecretBytes, role: &str) -> Result<(), Refused> {
        passwords::put(&self.directory, name, password, role)
    }

    /// Makes a user; one who is there already is a conflict. May block.
    pub fn create_user(&self, name: &str, password: &SecretBytes, role: &str) -> Result<(), Refused> {
        passwords::create(&self.directory, name, password, role)
    }

    /// Gives a user a new password and ends the user's sessions; whether there is such a user. May block.
    pub fn set_user_password(&self, name: &str, password: &SecretBytes) -> Result<bool, Refused> {
        passwords::set_password(&self.directory, name, password)
    }

    /// Up to `limit` users after `after`, in the order of their names. May block.
    pub fn users(&self, after: &str, limit: usize) -> Result<Vec<Entry<User>>, Refused> {
        passwords::list(&self.directory, after, limit)
    }

    /// Changes a user's role and ends the user's sessions; whether there is such a user. May block.
    pub fn set_user_role(&self, name: &str, role: &str) -> Result<bool, Refused> {
        passwords::set_role(&self.directory, name, role)
    }

    /// Ends all sessions of a user; whether there is such a user. May block.
    pub fn log_out(&self, name: &str) -> Result<bool, Refused> {
        passwords::log_out(&self.directory, name)
    }

    /// Deletes a user; whether there was one. May block.
    pub fn delete_user(&self, name: &str) -> Result<bool, Refused> {
        passwords::delete(&self.directory, name)
    }

    /// Counts a call of an identity that was authenticated in another way towards its rate limit.
    pub fn limit(&self, identity: &str) -> Result<(), Refused> {
        self.limiter.take(identity)
    }

    async fn kept(&self, number: u64) -> Result<Option<keys::Kept>, Refused> {
        recall(&self.directory, keys::KIND, keys::id(number)).await
    }
}

/// An entry at most about a second old, off the serving threads if the store must be asked.
async fn recall<T: serde::de::DeserializeOwned + Send + 'static>(
    directory: &Directory,
    kind: &'static str,
    id: String,
) -> Result<Option<T>, Refused> {
    let entry = match directory.recall_cached::<T>(kind, &id) {
        Some(found) => found?,
        None => {
            let directory = directory.clone();
            blocking(move || Ok::<_, Refused>(directory.recall::<T>(kind, &id)?)).await?
        }
    };
    Ok(entry.map(|entry| entry.value))
}
