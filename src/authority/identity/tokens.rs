//! JSON Web Tokens (RFC 7519) of configured issuers: signed with asymmetric algorithms only, for one of our audiences, in their time.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation};
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::credentials::Purpose;
use super::super::settings::{Issuer, TokenRule};
use super::super::{Refused, blocking};
use super::jwks::{KeySet, Keys};
use super::{Identity, shown};
use crate::crypto::kdf::{pae, sha256};
use crate::keyring::KeyringError;
use crate::rules::glob::wild;

const MAX_TOKEN: usize = 16 << 10;
/// Clocks differ.
const LEEWAY: u64 = 30;
const VERIFIED_FOR: Duration = Duration::from_secs(60);
const VERIFIED: u64 = 16_384;
/// Keys that a token without `kid` is tried against.
const TRIES: usize = 8;
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::ES256, Algorithm::ES384, Algorithm::RS256, Algorithm::PS256, Algorithm::EdDSA];

/// See the module.
pub struct Tokens {
    issuers: Vec<(Issuer, Arc<KeySet>)>,
    /// By digest of token and purpose.
    verified: Cache<[u8; 32], Arc<Verified>>,
}

/// A token whose signature was verified under these keys.
struct Verified {
    issuer: usize,
    generation: u64,
    not_before: u64,
    expires: u64,
    identity: Identity,
}

/// Whether a credential is a token rather than an API key, which has no dot.
pub fn looks_like_one(presented: &str) -> bool {
    presented.bytes().filter(|b| *b == b'.').count() == 2
}

impl Tokens {
    pub fn new(issuers: &[Issuer]) -> Result<Self, KeyringError> {
        let open = |issuer: &Issuer| Ok((issuer.clone(), Arc::new(KeySet::open(&issuer.jwks)?)));
        Ok(Self {
            issuers: issuers.iter().map(open).collect::<Result<_, KeyringError>>()?,
            verified: Cache::builder().max_capacity(VERIFIED).time_to_live(VERIFIED_FOR).build(),
        })
    }

    /// Whose token this is, at this time.
    pub async fn identify(&self, token: &str, purpose: Purpose, now: u64) -> Result<Identity, Refused> {
        if token.len() > MAX_TOKEN {
            return Err(Refused::Unauthenticated);
        }
        let digest = sha256(&pae(&[token.as_bytes(), purpose.word().as_bytes()]));
        let seen = self.verified.get(&digest);
        let named = match &seen {
            Some(seen) => vec![seen.issuer],
            None => self.named(token),
        };
        for at in named {
            let Some((issuer, set)) = self.issuers.get(at) else { continue };
            if set.is_due(now) {
                let set = Arc::clone(set);
                blocking(move || {
                    set.look();
                    Ok::<_, Refused>(())
                })
                .await?;
            }
            let keys = set.keys();
            let verified = match &seen {
                Some(seen) if seen.generation == keys.generation => Some(Arc::clone(seen)),
                _ => verify(token, at, issuer, &keys, purpose).map(|verified| {
                    let verified = Arc::new(verified);
                    self.verified.insert(digest, Arc::clone(&verified));
                    verified
                }),
            };
            if let Some(verified) = verified {
                if verified.not_before > now.saturating_add(LEEWAY) || verified.expires.saturating_add(LEEWAY) <= now {
                    return Err(Refused::Unauthenticated);
                }
                return Ok(verified.identity.clone());
            }
        }
        self.verified.invalidate(&digest);
        Err(Refused::Unauthenticated)
    }

    /// Issuers of the name that the token claims, which is not verified yet.
    fn named(&self, token: &str) -> Vec<usize> {
        #[derive(Deserialize)]
        struct Claimed {
            iss: String,
        }
        let Ok(claimed) = jsonwebtoken::dangerous::insecure_decode_claims::<Claimed>(token) else { return Vec::new() };
        let named = self.issuers.iter().enumerate().filter(|(_, (issuer, _))| issuer.issuer == claimed.iss);
        named.map(|(at, _)| at).collect()
    }
}

fn verify(token: &str, at: usize, issuer: &Issuer, keys: &Keys, purpose: Purpose) -> Option<Verified> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    // Extensions that must be understood, and are not.
    if !ALGORITHMS.contains(&header.alg) || header.crit.is_some() || header.extras.inner().contains_key("b64") {
        return None;
    }
    let mut validation = Validation::new(header.alg);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[&issuer.issuer]);
    validation.set_audience(&issuer.audiences);
    // By our own clock, below.
    validation.validate_exp = false;
    let decoded = |key| jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation).ok();
    let claims = keys.fitting(header.alg, header.kid.as_deref()).take(TRIES).find_map(decoded)?.claims;
    let fits = |rule: &&TokenRule| rule.grant.purpose.served_as() == purpose && matches(&rule.claims, &claims);
    let rule = issuer.rules.iter().find(fits)?;
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or("?");
    Some(Verified {
        issuer: at,
        generation: keys.generation,
        not_before: claims.get("nbf").map_or(Some(0), seconds)?,
        expires: seconds(claims.get("exp")?)?,
        identity: Identity::granted(shown("token", &format!("{subject} of {}", issuer.issuer)), &rule.grant),
    })
}

fn matches(patterns: &[(String, String)], claims: &Map<String, Value>) -> bool {
    !patterns.is_empty()
        && patterns.iter().all(|(name, pattern)| claims.get(name).is_some_and(|claim| fits(name, pattern, claim)))
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
