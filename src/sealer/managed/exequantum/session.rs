//! Calls with a token: the long-lived one, or temporary ones that it makes, whose uses are counted.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};

use super::answers::Token;
use super::{ApiError, ExeQuantumSettings, Fault, Generation, Http, Outgoing, Reply};
use crate::clock::SharedClock;
use crate::crypto::mac::same;
use crate::sealer::managed::credential::Credential;
use crate::sealer::managed::settings::Temporary;
use crate::sealer::managed::tokens::{Fresh, TokenCache};
use crate::secret::SecretBytes;

/// See the module.
pub struct Session {
    generation: Generation,
    /// Shared with renewals, which outlive the calls that began them.
    long_lived: Arc<LongLived>,
    temporary: Option<(Temporary, TokenCache)>,
}

/// The endpoint and the long-lived token.
struct LongLived {
    http: Http,
    token: Credential,
}

/// One call, which can be made again.
pub struct Call {
    method: Method,
    /// As errors name it.
    pub path: &'static str,
    query: String,
    body: SecretBytes,
}

impl Call {
    /// Without a body.
    pub fn get(path: &'static str) -> Self {
        Self { method: Method::GET, path, query: String::new(), body: SecretBytes::default() }
    }

    /// With one.
    pub fn post(path: &'static str, body: SecretBytes) -> Self {
        Self { method: Method::POST, path, query: String::new(), body }
    }
}

/// A JSON object of texts in which nothing has to be escaped (hexadecimal, an algorithm's name), in one buffer.
pub fn object(members: &[(&str, &[u8])]) -> SecretBytes {
    let length: usize = members.iter().map(|(name, text)| name.len() + text.len() + 6).sum();
    let mut out = SecretBytes::new(Vec::with_capacity(length + 2));
    let buffer = out.expose_mut();
    for (at, (name, text)) in members.iter().enumerate() {
        buffer.extend_from_slice(if at == 0 { b"{\"" } else { b",\"" });
        buffer.extend_from_slice(name.as_bytes());
        buffer.extend_from_slice(b"\":\"");
        buffer.extend_from_slice(text);
        buffer.push(b'"');
    }
    buffer.push(b'}');
    out
}

impl Session {
    /// Reads the long-lived token. The error says why that cannot be, and what to do.
    pub fn new(http: Http, settings: &ExeQuantumSettings, clock: SharedClock) -> Result<Self, String> {
        Ok(Self {
            generation: settings.generation,
            long_lived: Arc::new(LongLived { http, token: Credential::open(&settings.token)? }),
            temporary: settings.temporary.map(|temporary| (temporary, TokenCache::new(clock))),
        })
    }

    /// Which generation is spoken.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The temporary ones.
    pub fn tokens(&self) -> Option<&TokenCache> {
        self.temporary.as_ref().map(|(_, tokens)| tokens)
    }

    /// A call that succeeds, with a temporary token where they are configured. One that is not taken is replaced once.
    pub async fn call(&self, call: &Call) -> Result<Reply, ApiError> {
        let Some((temporary, tokens)) = &self.temporary else { return self.call_long_lived(call).await };
        let renew = || Arc::clone(&self.long_lived).make(*temporary);
        let lent = tokens.lend(renew).await?;
        let reply = self.long_lived.send(call, &lent.token).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return succeeded(reply, call.path);
        }
        tokens.refused(&lent);
        let lent = tokens.lend(renew).await?;
        let reply = self.long_lived.send(call, &lent.token).await?;
        if reply.status == StatusCode::UNAUTHORIZED {
            tokens.refused(&lent);
        }
        succeeded(reply, call.path)
    }

    /// A call that succeeds, with the long-lived token: again, if it is not taken and there is another by now.
    pub async fn call_long_lived(&self, call: &Call) -> Result<Reply, ApiError> {
        self.long_lived.call(call).await
    }
}

impl LongLived {
    async fn call(&self, call: &Call) -> Result<Reply, ApiError> {
        let token = self.token.current()?;
        let mut reply = self.send(call, &token).await?;
        if reply.status == StatusCode::UNAUTHORIZED {
            let now = self.token.current()?;
            if !same(now.expose(), token.expose()) {
                reply = self.send(call, &now).await?;
            }
        }
        succeeded(reply, call.path)
    }

    async fn make(self: Arc<Self>, temporary: Temporary) -> Result<Fresh, ApiError> {
        let query = format!(
            "?expiry_time={}&expire_after_attempts={}",
            temporary.expiry.as_secs().max(1),
            temporary.attempts.max(1)
        );
        let call = Call { query, ..Call::get("/api/token/new") };
        let reply = self.call(&call).await?;
        Ok(Fresh {
            token: Token::read(&reply, call.path)?,
            lifetime: temporary.expiry,
            uses: Some(temporary.attempts.max(1)),
        })
    }

    async fn send(&self, call: &Call, token: &SecretBytes) -> Result<Reply, ApiError> {
        let mut headers = vec![
            (header::AUTHORIZATION, bearer(token)?),
            (header::ACCEPT, HeaderValue::from_static("application/json")),
        ];
        if call.method == Method::POST {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        let path = format!("{}{}", call.path, call.query);
        let outgoing = Outgoing { method: call.method.clone(), path, headers, body: call.body.clone() };
        self.http.send(outgoing).await
    }
}

fn bearer(token: &SecretBytes) -> Result<HeaderValue, ApiError> {
    let mut text = SecretBytes::new(Vec::with_capacity(token.expose().len() + 7));
    text.expose_mut().extend_from_slice(b"bearer ");
    text.expose_mut().extend_from_slice(token.expose());
    let mut value = HeaderValue::from_bytes(text.expose())
        .map_err(|_| ApiError::new(Fault::Credential, "ExeQuantum: the token holds what no header field may"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The answer, if it is 200.
fn succeeded(reply: Reply, call: &str) -> Result<Reply, ApiError> {
    let meaning = match reply.status {
        StatusCode::OK => return Ok(reply),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => "it does not take what was sent",
        StatusCode::UNAUTHORIZED => "it does not take the token; is it revoked or expired?",
        StatusCode::FORBIDDEN => {
            "the token may not do this, or what it belongs to is paused; give its role wrapping and unwrapping (0xC0)"
        }
        StatusCode::NOT_FOUND => {
            "there is no such call at this endpoint, or the service keeps no private key of this recipient: give `recipient_secret`, or the token whose API key made the recipient"
        }
        StatusCode::TOO_MANY_REQUESTS => "it is asked too often",
        status if status.is_server_error() => "it has a fault of its own",
        _ => "that is not documented",
    };
    let fault = reply.fault();
    Err(ApiError::new(fault.kind, format!("ExeQuantum: {call} answered {}: {meaning}", reply.status.as_u16())))
}
