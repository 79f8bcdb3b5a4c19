//! JSON Web Tokens (RFC 7519) of configured issuers: signed with asymmetric algorithms only, for one of our audiences, in
//! their time. What a token's header says of keys (`jwk`, `jku`, `x5c`, `x5u`) is never looked at.

use std::sync::Arc;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::rules::glob::wild;
use crate::rules::words;

mod fetch;
pub mod keys;
pub mod refresh;

#[cfg(test)]
mod tests;

use keys::Keys;

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 16 << 10;
/// Clocks differ, by this many seconds.
pub const LEEWAY: u64 = 30;
/// Keys that a token without `kid` is tried against.
const TRIES: usize = 8;
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::EdDSA,
];

/// What a token says, by name.
pub type Claims = Map<String, Value>;

/// A token whose signature, issuer and audience were verified.
#[derive(Debug, Clone)]
pub struct Token {
    /// What it says.
    pub claims: Arc<Claims>,
    not_before: u64,
    expires: u64,
}

/// What is wrong with a token. For logs and metrics; outside, all of it looks the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Invalid {
    /// No JSON Web Token, or of an algorithm that nobody knows.
    Malformed,
    /// More than one where one is meant.
    Repeated,
    /// Over [`MAX_TOKEN`].
    TooLong,
    /// An algorithm that is not taken: none, symmetric, or another than the key is for.
    Algorithm,
    /// Its header asks for extensions.
    Critical,
    /// None of the issuer's keys is the one it names.
    UnknownKey,
    /// Not signed by the key.
    Signature,
    /// Of no issuer that is configured.
    Issuer,
    /// Meant for others.
    Audience,
    /// A claim that must be there is missing, or of the wrong kind.
    Claims,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYet,
    /// The issuer's keys are not known: they were never read, or too long ago.
    NoKeys,
}

impl Invalid {
    /// As a word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Repeated => "repeated",
            Self::TooLong => "too-long",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::UnknownKey => "unknown-key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::NotYet => "not-yet-valid",
            Self::NoKeys => "no-keys",
        }
    }
}

/// Verifies all but the time, which is [`Token::in_time`].
pub fn verify(token: &str, issuer: &str, audiences: &[String], keys: &Keys) -> Result<Token, Invalid> {
    if token.len() > MAX_TOKEN {
        return Err(Invalid::TooLong);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Invalid::Malformed)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(Invalid::Algorithm);
    }
    // Extensions that must be understood, and are not.
    if header.crit.is_some() || header.extras.inner().contains_key("b64") {
        return Err(Invalid::Critical);
    }
    let mut validation = Validation::new(header.alg);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(audiences);
    // By our own clock.
    validation.validate_exp = false;
    let mut why = Invalid::UnknownKey;
    for key in keys.fitting(header.alg, header.kid.as_deref()).take(TRIES) {
        match jsonwebtoken::decode::<Claims>(token, key, &validation) {
            Ok(decoded) => return Token::of(decoded.claims),
            Err(error) => why = invalid(&error),
        }
    }
    Err(why)
}

impl Token {
    fn of(claims: Claims) -> Result<Self, Invalid> {
        let expires = claims.get("exp").and_then(seconds).ok_or(Invalid::Claims)?;
        let not_before = claims.get("nbf").map_or(Some(0), seconds).ok_or(Invalid::Claims)?;
        Ok(Self { claims: Arc::new(claims), not_before, expires })
    }

    /// Whether `now` (Unix seconds) is within its time.
    pub fn in_time(&self, now: u64) -> Result<(), Invalid> {
        if self.not_before > now.saturating_add(LEEWAY) {
            return Err(Invalid::NotYet);
        }
        if self.expires.saturating_add(LEEWAY) <= now { Err(Invalid::Expired) } else { Ok(()) }
    }
}

/// The issuer that a token claims to be of; nothing is verified.
pub fn claimed_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    let short = token.len() <= MAX_TOKEN;
    short.then(|| jsonwebtoken::dangerous::insecure_decode_claims::<Claimed>(token).ok())?.map(|claimed| claimed.iss)
}

/// Whether `aud` names one of these.
pub fn is_for(claims: &Claims, audiences: &[String]) -> bool {
    let named = |value: &Value| value.as_str().is_some_and(|text| audiences.iter().any(|audience| audience == text));
    match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(named),
        Some(one) => named(one),
        None => false,
    }
}

/// Whether every pattern is met: `*` stands for any run of characters, one text of a list is enough, and `scope` and `scp` are
/// lists of words. A name that begins with `/` is a JSON Pointer.
pub fn matches(patterns: &[(String, String)], claims: &Claims) -> bool {
    patterns.iter().all(|(name, pattern)| words::claim(claims, name).is_some_and(|claim| fits(name, pattern, claim)))
}

fn fits(name: &str, pattern: &str, claim: &Value) -> bool {
    match claim {
        Value::String(words) if matches!(name, "scope" | "scp") => words.split(' ').any(|word| wild(pattern, word)),
        Value::String(text) => wild(pattern, text),
        Value::Array(items) => items.iter().filter_map(Value::as_str).any(|text| wild(pattern, text)),
        Value::Bool(_) | Value::Number(_) => wild(pattern, &claim.to_string()),
        Value::Null | Value::Object(_) => false,
    }
}

fn invalid(error: &Error) -> Invalid {
    match error.kind() {
        ErrorKind::InvalidSignature => Invalid::Signature,
        ErrorKind::InvalidIssuer => Invalid::Issuer,
        ErrorKind::InvalidAudience => Invalid::Audience,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Invalid::Algorithm,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => Invalid::Claims,
        _ => Invalid::Malformed,
    }
}

/// A NumericDate, which may have a fraction.
fn seconds(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is checked to be no less than 0"
    )]
    let whole = |seconds: f64| (seconds >= 0.0).then_some(seconds as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}
