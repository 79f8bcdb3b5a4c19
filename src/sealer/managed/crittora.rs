//! Crittora as a client: managed (user and password with every call) and direct (a log-in first). One text a call, since there is
//! no call for several.

use std::fmt;
use std::sync::Arc;

use super::credential::Credential;
use super::http::{Http, Outgoing, Reply};
use super::settings::{CrittoraAccess, CrittoraSettings};
use super::tokens::{Lent, TokenCache};
use super::{Answering, Api, ApiError, Fault, How};
use crate::clock::SharedClock;
use crate::crypto::kdf::{pae, sha256};
use crate::secret::SecretBytes;
use answer::Answer;
use login::LogIn;
use password::Password;
use request::Call;

mod answer;
mod login;
mod password;
mod request;

/// Texts in one call.
pub const BATCH: usize = 1;

/// The longest text, in bytes. The vendor names no limit. An answer may have each of a text's bytes eleven times (`\u0001`, in
/// base64 twice), and so this many fit the 1 MiB that an answer has by default.
pub const LONGEST: usize = 64 << 10;

/// See the module.
pub struct Crittora {
    http: Http,
    account: Arc<Account>,
}

/// One for all endpoints of a profile: they share the log-in, and what is known of the password.
struct Account {
    keys: Keys,
    access: Access,
}

/// Who asks, in every call.
struct Keys {
    api_key: Credential,
    access_key: Option<Credential>,
    secret_key: Option<Credential>,
}

/// The user, whose password is asked for in every call or in the log-in.
struct User {
    name: Credential,
    password: Credential,
}

enum Access {
    Managed(Box<(User, Password)>),
    Direct(LogIn),
}

impl Crittora {
    /// `http` is the API's endpoint (of the managed one with its `/v1`), `login` that of the log-in, which direct access needs. The
    /// error says what is missing, and what to do.
    pub fn new(
        http: Http,
        login: Option<Http>,
        settings: &CrittoraSettings,
        clock: SharedClock,
    ) -> Result<Self, String> {
        let optional = |source: &Option<_>| source.as_ref().map(Credential::open).transpose();
        let keys = Keys {
            api_key: Credential::open(&settings.api_key)?,
            access_key: optional(&settings.access_key)?,
            secret_key: optional(&settings.secret_key)?,
        };
        let user =
            User { name: Credential::open(&settings.username)?, password: Credential::open(&settings.password)? };
        let access = match &settings.access {
            CrittoraAccess::Managed if keys.access_key.is_none() || keys.secret_key.is_none() => {
                return Err("Crittora's managed API wants `access_key` and `secret_key`, too: set both".into());
            }
            CrittoraAccess::Managed => Access::Managed(Box::new((user, Password::default()))),
            CrittoraAccess::Direct { client_id, .. } => {
                let login = login.ok_or("Crittora's direct API wants a log-in: set `login`")?;
                Access::Direct(LogIn::new(login, user, client_id, clock))
            }
        };
        Ok(Self { http, account: Arc::new(Account { keys, access }) })
    }

    /// The same user at another endpoint.
    #[must_use]
    pub fn at(&self, http: Http) -> Self {
        Self { http, account: Arc::clone(&self.account) }
    }

    /// The log-in's tokens, for the metrics; `None` without one.
    pub fn tokens(&self) -> Option<&TokenCache> {
        match &self.account.access {
            Access::Managed(_) => None,
            Access::Direct(login) => Some(login.tokens()),
        }
    }

    async fn call(&self, call: Call, text: &[u8]) -> Result<SecretBytes, ApiError> {
        match &self.account.access {
            Access::Managed(shown) => {
                let (user, password) = &**shown;
                let body = request::managed(call, text)?;
                let mut headers = self.account.keys.headers()?;
                headers.push((request::USERNAME, user.name.header()?));
                headers.push((request::PASSWORD, user.password.header()?));
                let values: Vec<&[u8]> = headers.iter().map(|(_, value)| value.as_bytes()).collect();
                let digest = sha256(SecretBytes::new(pae(&values)).expose());
                let answered = async {
                    let reply = self.send(call, headers, body).await?;
                    Answer::of(&reply).text(call, text)
                };
                password.show(digest, answered).await
            }
            Access::Direct(login) => {
                let (lent, reply) = self.direct(login, call, text).await?;
                let answer = Answer::of(&reply);
                if !answer.is_unauthorized() {
                    return answer.text(call, text);
                }
                login.tokens().refused(&lent);
                let (lent, reply) = self.direct(login, call, text).await?;
                let answer = Answer::of(&reply);
                if answer.is_unauthorized() {
                    login.tokens().refused(&lent);
                }
                answer.text(call, text)
            }
        }
    }

    /// One call of the direct API, under the log-in as it is now.
    async fn direct(&self, login: &LogIn, call: Call, text: &[u8]) -> Result<(Lent, Reply), ApiError> {
        let body = request::direct(call, text)?;
        let lent = login.token().await?;
        let mut headers = self.account.keys.headers()?;
        headers.push((http::header::AUTHORIZATION, request::bearer(&lent.token)?));
        let reply = self.send(call, headers, body).await?;
        Ok((lent, reply))
    }

    async fn send(&self, call: Call, headers: request::Headers, body: SecretBytes) -> Result<Reply, ApiError> {
        let path = format!("/{}", call.name());
        self.http.send(Outgoing { method: http::Method::POST, path, headers, body }).await
    }
}

impl Keys {
    fn headers(&self) -> Result<request::Headers, ApiError> {
        let mut headers = vec![request::json(), (request::API_KEY, self.api_key.header()?)];
        for (name, credential) in [(request::ACCESS_KEY, &self.access_key), (request::SECRET_KEY, &self.secret_key)] {
            if let Some(credential) = credential {
                headers.push((name, credential.header()?));
            }
        }
        Ok(headers)
    }
}

impl Api for Crittora {
    fn encrypt<'a>(&'a self, texts: &'a [SecretBytes], how: How) -> Answering<'a, Vec<Vec<u8>>> {
        let call = if how.signed { Call::SignEncrypt } else { Call::Encrypt };
        Box::pin(async move {
            let mut ciphertexts = Vec::with_capacity(texts.len());
            for text in texts {
                if text.expose().len() > LONGEST {
                    return Err(ApiError::new(Fault::Refused, format!("a text is longer than {LONGEST} bytes")));
                }
                ciphertexts.push(self.call(call, text.expose()).await?.expose().to_vec());
            }
            Ok(ciphertexts)
        })
    }

    fn decrypt<'a>(&'a self, ciphertexts: &'a [Vec<u8>], how: How) -> Answering<'a, Vec<SecretBytes>> {
        let call = if how.signed { Call::DecryptVerify } else { Call::Decrypt };
        Box::pin(async move {
            let mut texts = Vec::with_capacity(ciphertexts.len());
            for ciphertext in ciphertexts {
                texts.push(self.call(call, ciphertext).await?);
            }
            Ok(texts)
        })
    }
}

impl fmt::Debug for Crittora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crittora").field("endpoint", &self.http.base()).finish_non_exhaustive()
    }
}
