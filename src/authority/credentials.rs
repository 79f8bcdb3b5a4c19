//! (interface; owner: access) Who may: API keys, passwords, and how often each may ask.

use serde::{Deserialize, Serialize};

use super::{Caller, Refused};
use crate::directory::Directory;
use crate::keyring::KeyringError;
use crate::secret::SecretBytes;

/// See the module.
pub struct Credentials {
    _directory: Directory,
}

/// What an API key is for; a key for one face says nothing at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Our own management (`/manage/v1`); its `role` is `admin`, `operator` or `auditor`.
    Management,
    /// A sidecar at `/keyring/v1`; its `role` is the one its callers have at the keyring.
    Sidecar,
    /// A partner at the Crittora face (`api_key`, `access_key`, `secret_key`).
    Crittora,
    /// The Crypteron face.
    Crypteron,
    /// The NAVER Cloud KMS face: an access key with its secret key.
    NcloudKms,
    /// The ExeQuantum face.
    Exequantum,
}

/// An API key as it is kept: never the key itself, only what it was derived to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Who asks when this key does.
    pub fn caller(&self) -> Caller {
        Caller { name: format!("apikey {}", self.number), role: self.role.clone() }
    }
}

/// A person or service that logs in with a password (Crittora).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name it logs in with.
    pub name: String,
    /// argon2id in PHC form.
    pub password: String,
    /// The role in partitions' access-control entries.
    pub role: String,
    /// Grows with every log-out of all sessions and every change of password; tokens name it.
    pub generation: u64,
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
    /// In this directory.
    pub fn new(directory: Directory) -> Result<Self, KeyringError> {
        Ok(Self { _directory: directory })
    }

    /// The key with this text, if there is one for this purpose. Counts towards the key's rate limit.
    pub async fn api_key(&self, _purpose: Purpose, _presented: &str) -> Result<ApiKey, Refused> {
        Err(Refused::Unauthenticated)
    }

    /// The user with this name, if the password is right. A verified one is remembered for a minute; failures lock out.
    pub async fn password(&self, _name: &str, _password: &str) -> Result<User, Refused> {
        Err(Refused::Unauthenticated)
    }

    /// The user, without a password, for tokens that were given out before.
    pub async fn user(&self, _name: &str) -> Result<Option<User>, Refused> {
        Ok(None)
    }

    /// Makes a key; its text is shown once and kept nowhere. The further secrets are in the [`ApiKey`]. May block.
    pub fn create_api_key(&self, _new: &NewApiKey) -> Result<(SecretBytes, ApiKey), Refused> {
        Err(Refused::NotFound)
    }

    /// Makes a user, or gives one a new password and role. May block.
    pub fn put_user(&self, _name: &str, _password: &SecretBytes, _role: &str) -> Result<(), Refused> {
        Err(Refused::NotFound)
    }

    /// Counts a call of an identity that was authenticated in another way towards its rate limit.
    pub fn limit(&self, _identity: &str) -> Result<(), Refused> {
        Ok(())
    }
}
