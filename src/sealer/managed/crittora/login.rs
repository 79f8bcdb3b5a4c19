//! The log-in of the direct API, as Amazon Cognito speaks it. The id token is the bearer; the refresh token gets further ones, and
//! where it is refused the password does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::http::{Http, Outgoing, Reply};
use super::super::quoted::{quote_into, quoted_len, unquote};
use super::super::tokens::{Fresh, Lent, TokenCache};
use super::super::{ApiError, Fault};
use super::User;
use crate::clock::SharedClock;
use crate::crypto::kdf::{pae, sha256};
use crate::crypto::{base64url, mac};
use crate::secret::SecretBytes;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// Longer than Cognito's, and short enough for a header.
const LONGEST: usize = 8192;
/// Cognito's longest.
const LONGEST_LIFETIME: u64 = 24 * 3600;

/// See the module.
pub(super) struct LogIn {
    door: Arc<Door>,
    tokens: TokenCache,
}

/// Where tokens are got, and with what: a renewal goes on when nobody waits for it any more.
struct Door {
    http: Http,
    user: User,
    client_id: String,
    clock: SharedClock,
    refresh: Mutex<Option<Refresh>>,
}

/// A refresh token, and a digest of the user and password that it was given for: with others, it counts no more.
struct Refresh {
    token: SecretBytes,
    given_for: [u8; 32],
}

/// What a log-in gave.
struct Given {
    fresh: Fresh,
    refresh: Option<SecretBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(borrow)]
    authentication_result: Option<Tokens<'a>>,
    challenge_name: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tokens<'a> {
    #[serde(borrow)]
    id_token: &'a RawValue,
    expires_in: u64,
    #[serde(borrow)]
    refresh_token: Option<&'a RawValue>,
}

impl LogIn {
    pub(super) fn new(http: Http, user: User, client_id: &str, clock: SharedClock) -> Self {
        let tokens = TokenCache::new(clock.clone());
        let door = Door { http, user, client_id: client_id.to_owned(), clock, refresh: Mutex::new(None) };
        Self { door: Arc::new(door), tokens }
    }

    /// A bearer token that is good now.
    pub(super) async fn token(&self) -> Result<Lent, ApiError> {
        let renew = || {
            let door = Arc::clone(&self.door);
            async move { door.renew().await }
        };
        self.tokens.lend(renew).await
    }

    pub(super) fn tokens(&self) -> &TokenCache {
        &self.tokens
    }
}

impl Door {
    async fn renew(&self) -> Result<Fresh, ApiError> {
        let (name, password) = (self.user.name.current()?, self.user.password.current()?);
        let given_for = sha256(SecretBytes::new(pae(&[name.expose(), password.expose()])).expose());
        if let Some(refresh) = self.kept(&given_for) {
            let body = body(&self.client_id, "REFRESH_TOKEN_AUTH", &[("REFRESH_TOKEN", &refresh)])?;
            match self.ask(body).await {
                Ok(given) => {
                    // Cognito gives none here, unless the app client rotates them.
                    self.keep(given.refresh.unwrap_or(refresh), given_for);
                    return Ok(given.fresh);
                }
                Err(error) if matches!(error.kind, Fault::Credential | Fault::Refused) => self.forget(),
                Err(error) => return Err(error),
            }
        }
        let body = body(&self.client_id, "USER_PASSWORD_AUTH", &[("USERNAME", &name), ("PASSWORD", &password)])?;
        let given = self.ask(body).await?;
        match given.refresh {
            Some(refresh) => self.keep(refresh, given_for),
            None => self.forget(),
        }
        Ok(given.fresh)
    }

    async fn ask(&self, body: SecretBytes) -> Result<Given, ApiError> {
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1")),
            (TARGET, HeaderValue::from_static("AWSCognitoIdentityProviderService.InitiateAuth")),
        ];
        let reply = self.http.send(Outgoing { method: Method::POST, path: "/".into(), headers, body }).await?;
        given(&reply, self.clock.now())
    }

    fn kept(&self, given_for: &[u8; 32]) -> Option<SecretBytes> {
        let kept = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| mac::same(&kept.given_for, given_for)).map(|kept| kept.token.clone())
    }

    fn keep(&self, token: SecretBytes, given_for: [u8; 32]) {
        *self.refresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(Refresh { token, given_for });
    }

    fn forget(&self) {
        *self.refresh.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn body(client_id: &str, flow: &str, parameters: &[(&str, &SecretBytes)]) -> Result<SecretBytes, ApiError> {
    let head =
        format!(r#"{{"ClientId":{},"AuthFlow":"{flow}","AuthParameters":{{"#, serde_json::Value::from(client_id));
    let room: usize = parameters.iter().map(|(name, value)| name.len() + 4 + quoted_len(value.expose())).sum();
    let mut body = SecretBytes::new(Vec::with_capacity(head.len() + room + 2));
    let out = body.expose_mut();
    out.extend_from_slice(head.as_bytes());
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        let quoted = quote_into(value.expose(), out);
        quoted.ok_or_else(|| ApiError::new(Fault::Credential, "user name or password is not in UTF-8"))?;
    }
    out.extend_from_slice(b"}}");
    Ok(body)
}

/// What an answer gives at `now`.
fn given(reply: &Reply, now: u64) -> Result<Given, ApiError> {
    if !reply.status.is_success() {
        return Err(fault(reply));
    }
    let lie = || ApiError::new(Fault::Lie, "the log-in's answer is not what Cognito documents");
    let answer: Answer<'_> = serde_json::from_slice(reply.body.expose()).map_err(|_| lie())?;
    let Some(tokens) = answer.authentication_result else {
        return Err(match answer.challenge_name {
            Some(_) => ApiError::new(
                Fault::Credential,
                "the log-in asks for more than a password (a new one, or a second factor): give the profile a user of its own without",
            ),
            None => lie(),
        });
    };
    let token = unquote(tokens.id_token).filter(|token| is_token(token.expose())).ok_or_else(lie)?;
    let refresh = match tokens.refresh_token {
        Some(refresh) => Some(unquote(refresh).filter(|token| is_token(token.expose())).ok_or_else(lie)?),
        None => None,
    };
    let mut seconds = tokens.expires_in.min(LONGEST_LIFETIME);
    if let Some(end) = end(token.expose()) {
        seconds = seconds.min(end.saturating_sub(now));
    }
    if seconds == 0 {
        return Err(ApiError::new(
            Fault::Lie,
            "the log-in gave a token that has ended already: check that this machine's clock is right",
        ));
    }
    Ok(Given { fresh: Fresh { token, lifetime: Duration::from_secs(seconds), uses: None }, refresh })
}

fn is_token(text: &[u8]) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// `exp` of a JWT (RFC 7519). The signature is the API's business; whoever lies here only has us log in more often.
fn end(token: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims = SecretBytes::new(base64url::decode(claims)?);
    serde_json::from_slice::<Claims>(claims.expose()).ok().map(|claims| claims.exp)
}

fn fault(reply: &Reply) -> ApiError {
    #[derive(Deserialize)]
    struct Error {
        #[serde(rename = "__type")]
        kind: String,
    }
    let error: Option<Error> = serde_json::from_slice(reply.body.expose()).ok();
    // Some services put their name before it.
    let kind = error.as_ref().and_then(|error| error.kind.rsplit('#').next()).unwrap_or_default();
    match kind {
        "NotAuthorizedException"
        | "UserNotFoundException"
        | "UserNotConfirmedException"
        | "PasswordResetRequiredException" => ApiError::new(
            Fault::Credential,
            format!("the log-in does not take user name and password ({kind}): check `username` and `password`"),
        ),
        "ResourceNotFoundException" | "InvalidParameterException" | "InvalidUserPoolConfigurationException" => {
            ApiError::new(
                Fault::Credential,
                format!(
                    "the log-in does not take the request ({kind}): check `client_id`, and that its app client allows USER_PASSWORD_AUTH"
                ),
            )
        }
        "TooManyRequestsException" | "LimitExceededException" => {
            ApiError::new(Fault::Throttled(reply.retry_after()), format!("the log-in asks to wait ({kind})"))
        }
        "InternalErrorException" | "ServiceUnavailableException" => {
            ApiError::new(Fault::Server, format!("the log-in failed ({kind})"))
        }
        _ => {
            let ApiError { kind, text } = reply.fault();
            ApiError::new(kind, format!("log-in: {text}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn read(status: u16, body: &str) -> Result<Given, ApiError> {
        let body = SecretBytes::new(body.into());
        let reply = Reply { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body };
        let given = given(&reply, NOW);
        if let Err(error) = &given {
            assert!(!error.text.contains("canary"), "{error}");
        }
        given
    }

    fn kind(status: u16, body: &str) -> Fault {
        read(status, body).err().unwrap().kind
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", base64url::encode(claims.as_bytes()))
    }

    fn lifetime(id: &str, expires_in: u64) -> u64 {
        let body = json!({"AuthenticationResult": {"IdToken": id, "ExpiresIn": expires_in}, "ChallengeParameters": {}});
        read(200, &body.to_string()).unwrap().fresh.lifetime.as_secs()
    }

    #[test]
    fn what_is_asked_is_as_documented() {
        let secret = |text: &str| SecretBytes::new(text.into());
        let (name, password) = (secret("alice"), secret("a\"\\b"));
        let mut body = body("c", "USER_PASSWORD_AUTH", &[("USERNAME", &name), ("PASSWORD", &password)]).unwrap();
        assert_eq!(
            std::str::from_utf8(body.expose()).unwrap(),
            r#"{"ClientId":"c","AuthFlow":"USER_PASSWORD_AUTH","AuthParameters":{"USERNAME":"alice","PASSWORD":"a\"\\b"}}"#
        );
        assert!(body.expose().len() <= body.expose_mut().capacity());
    }

    #[test]
    fn tokens_last_as_long_as_both_say() {
        assert_eq!(lifetime("opaque", 3600), 3600);
        assert_eq!(lifetime("opaque", u64::MAX), LONGEST_LIFETIME);
        assert_eq!(lifetime(&jwt(&format!(r#"{{"exp":{}}}"#, NOW + 60)), 3600), 60);
        assert_eq!(lifetime(&jwt(&format!(r#"{{"exp":{}}}"#, NOW + 7200)), 3600), 3600);
        assert_eq!(lifetime(&jwt(r#"{"exp":"soon"}"#), 3600), 3600);
        let body = json!({"AuthenticationResult": {"IdToken": "a.b.c", "ExpiresIn": 60, "RefreshToken": "r"}});
        assert_eq!(read(200, &body.to_string()).unwrap().refresh.unwrap().expose(), b"r");
    }

    #[rstest]
    #[case(200, "", Fault::Lie)]
    #[case(200, "<html>canary", Fault::Lie)]
    #[case(200, "{}", Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":null}"#, Fault::Lie)]
    #[case(200, r#"{"ChallengeName":"NEW_PASSWORD_REQUIRED","Session":"canary"}"#, Fault::Credential)]
    #[case(200, r#"{"AuthenticationResult":{"AccessToken":"canary","ExpiresIn":3600}}"#, Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":{"IdToken":"canary"}}"#, Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":{"IdToken":"canary","ExpiresIn":0}}"#, Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":{"IdToken":"canary","ExpiresIn":-1}}"#, Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":{"IdToken":"canary","ExpiresIn":"3600"}}"#, Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":{"IdToken":"","ExpiresIn":3600}}"#, Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":{"IdToken":"canary\r\nx: y","ExpiresIn":3600}}"#, Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":{"IdToken":["canary"],"ExpiresIn":3600}}"#, Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":{"IdToken":"a","ExpiresIn":3600,"RefreshToken":1}}"#, Fault::Lie)]
    #[case(200, r#"{"AuthenticationResult":{"IdToken":"e30.eyJleHAiOjF9.c2ln","ExpiresIn":3600}}"#, Fault::Lie)]
    #[case(400, r#"{"__type":"NotAuthorizedException","message":"canary"}"#, Fault::Credential)]
    #[case(400, r#"{"__type":"com.amazonaws.x#UserNotFoundException"}"#, Fault::Credential)]
    #[case(400, r#"{"__type":"ResourceNotFoundException"}"#, Fault::Credential)]
    #[case(400, r#"{"__type":"TooManyRequestsException"}"#, Fault::Throttled(None))]
    #[case(500, r#"{"__type":"InternalErrorException"}"#, Fault::Server)]
    fn answers_that_give_nothing(#[case] status: u16, #[case] body: &str, #[case] fault: Fault) {
        assert_eq!(kind(status, body), fault);
    }

    #[test]
    fn a_token_longer_than_a_header_takes_is_none() {
        let body = json!({"AuthenticationResult": {"IdToken": "a".repeat(LONGEST + 1), "ExpiresIn": 60}});
        assert_eq!(kind(200, &body.to_string()), Fault::Lie);
    }
}
