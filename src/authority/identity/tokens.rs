//! JSON Web Tokens of configured issuers, as credentials.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use serde_json::Value;

use super::super::credentials::Purpose;
use super::super::settings::{Issuer, TokenRule};
use super::super::{Refused, blocking};
use super::{Identity, shown};
use crate::crypto::kdf::{pae, sha256};
use crate::jwt::keys::{KeySet, Keys, Source};
use crate::jwt::refresh::Refresher;
use crate::jwt::{self, Invalid, MAX_TOKEN, Token};
use crate::keyring::KeyringError;

const VERIFIED_FOR: Duration = Duration::from_secs(60);
const VERIFIED: u64 = 16_384;

/// See the module.
pub struct Tokens {
    issuers: Vec<(Issuer, Arc<KeySet>)>,
    /// By digest of token and purpose.
    verified: Cache<[u8; 32], Arc<Verified>>,
    /// Of the key sets at URLs; files are looked at when a token comes.
    _refresher: Option<Refresher>,
}

/// A token whose signature was verified under these keys.
struct Verified {
    issuer: usize,
    generation: u64,
    token: Token,
    identity: Identity,
}

/// Whether a credential is a token rather than an API key, which has no dot.
pub fn looks_like_one(presented: &str) -> bool {
    presented.bytes().filter(|b| *b == b'.').count() == 2
}

impl Tokens {
    pub fn new(issuers: &[Issuer]) -> Result<Self, KeyringError> {
        let open = |issuer: &Issuer| Ok((issuer.clone(), Arc::new(KeySet::open(&issuer.jwks)?)));
        let opened = issuers.iter().map(open).collect::<Result<Vec<_>, jwt::keys::KeySetError>>();
        let issuers = opened.map_err(|error| KeyringError::NoKey(error.to_string()))?;
        let remote = issuers.iter().filter(|(issuer, _)| matches!(issuer.jwks, Source::Url(_)));
        let refresher = Refresher::start(remote.map(|(_, set)| Arc::clone(set)).collect())
            .map_err(|error| KeyringError::NoKey(format!("cannot start the thread that fetches key sets: {error}")))?;
        Ok(Self {
            issuers,
            verified: Cache::builder().max_capacity(VERIFIED).time_to_live(VERIFIED_FOR).build(),
            _refresher: refresher,
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
            let Some(keys) = set.keys() else { continue };
            let verified = match &seen {
                Some(seen) if seen.generation == keys.generation => Some(Arc::clone(seen)),
                _ => match verify(token, at, issuer, &keys, purpose) {
                    Ok(verified) => {
                        let verified = Arc::new(verified);
                        self.verified.insert(digest, Arc::clone(&verified));
                        Some(verified)
                    }
                    Err(why) => {
                        if why == Invalid::UnknownKey {
                            set.want();
                        }
                        None
                    }
                },
            };
            if let Some(verified) = verified {
                verified.token.in_time(now).map_err(|_| Refused::Unauthenticated)?;
                return Ok(verified.identity.clone());
            }
        }
        self.verified.invalidate(&digest);
        Err(Refused::Unauthenticated)
    }

    /// Issuers of the name that the token claims, which is not verified yet.
    fn named(&self, token: &str) -> Vec<usize> {
        let Some(claimed) = jwt::claimed_issuer(token) else { return Vec::new() };
        let named = self.issuers.iter().enumerate().filter(|(_, (issuer, _))| issuer.issuer == claimed);
        named.map(|(at, _)| at).collect()
    }
}

fn verify(token: &str, at: usize, issuer: &Issuer, keys: &Keys, purpose: Purpose) -> Result<Verified, Invalid> {
    let token = jwt::verify(token, &issuer.issuer, &issuer.audiences, keys)?;
    let fits = |rule: &&TokenRule| {
        rule.grant.purpose.served_as() == purpose
            && !rule.claims.is_empty()
            && jwt::matches(&rule.claims, &token.claims)
    };
    let rule = issuer.rules.iter().find(fits).ok_or(Invalid::Claims)?;
    let subject = token.claims.get("sub").and_then(Value::as_str).unwrap_or("?");
    let identity = Identity::granted(shown("token", &format!("{subject} of {}", issuer.issuer)), &rule.grant);
    Ok(Verified { issuer: at, generation: keys.generation, token, identity })
}
