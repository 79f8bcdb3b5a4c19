//! The JSON Web Tokens that requests show. One is verified once, and then known by its digest until its time is over or its
//! issuer's keys change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use moka::sync::Cache;

use crate::clock::Clock;
use crate::crypto::kdf::sha256;
use crate::jwt::keys::KeySet;
use crate::jwt::{self, Claims, Invalid, MAX_TOKEN, Token};
use crate::proxy::settings::JwtIs;

/// Bytes of verified tokens, as far as they can be told.
const KEPT: u64 = 8 << 20;
const IDLE: Duration = Duration::from_mins(10);

/// Whose tokens are believed, and which were verified.
#[derive(Default)]
pub(super) struct Tokens {
    sources: Vec<Source>,
    /// Each header with its sources.
    headers: Vec<(HeaderName, Vec<usize>)>,
    verified: Option<Cache<(Digest, usize), Arc<Verified>>>,
}

type Digest = [u8; 32];

/// An issuer's tokens in one header. Entries that differ in claims or audience alone share one.
struct Source {
    header: HeaderName,
    issuer: String,
    /// Of all entries.
    audiences: Vec<String>,
    keys: Arc<KeySet>,
}

/// A token that was verified under the keys of this generation.
struct Verified {
    generation: u64,
    token: Token,
    weight: u32,
}

/// What the tokens of one request come to.
#[derive(Debug, Default)]
pub(super) struct Shown {
    valid: Vec<(usize, Arc<Claims>)>,
    invalid: Vec<Invalid>,
}

impl Tokens {
    /// The source of an entry's tokens.
    pub(super) fn source(&mut self, jwt: &JwtIs) -> usize {
        self.verified.get_or_insert_with(|| {
            let weight = |_: &(Digest, usize), verified: &Arc<Verified>| verified.weight;
            Cache::builder().max_capacity(KEPT).weigher(weight).time_to_idle(IDLE).build()
        });
        let same = |s: &Source| s.header == jwt.header && s.issuer == jwt.issuer && *s.keys.source() == jwt.keys;
        let at = match self.sources.iter().position(same) {
            Some(at) => at,
            None => {
                // One set of keys for all who use it.
                let known = self.sources.iter().find(|s| *s.keys.source() == jwt.keys);
                let keys = known.map_or_else(|| Arc::new(KeySet::new(&jwt.keys)), |s| Arc::clone(&s.keys));
                let (header, issuer) = (jwt.header.clone(), jwt.issuer.clone());
                self.sources.push(Source { header, issuer, audiences: Vec::new(), keys });
                self.sources.len() - 1
            }
        };
        if let Some(source) = self.sources.get_mut(at) {
            source
                .audiences
                .extend(jwt.audiences.iter().filter(|a| !source.audiences.contains(a)).cloned().collect::<Vec<_>>());
        }
        match self.headers.iter_mut().find(|(header, _)| *header == jwt.header) {
            Some((_, sources)) if sources.contains(&at) => {}
            Some((_, sources)) => sources.push(at),
            None => self.headers.push((jwt.header.clone(), vec![at])),
        }
        at
    }

    pub(super) fn key_sets(&self) -> Vec<Arc<KeySet>> {
        let mut sets: Vec<Arc<KeySet>> = Vec::new();
        for source in &self.sources {
            if !sets.iter().any(|set| Arc::ptr_eq(set, &source.keys)) {
                sets.push(Arc::clone(&source.keys));
            }
        }
        sets
    }

    /// Looks at every header that may hold a token, so that what a bad one leads to does not hang on the order of `callers`.
    pub(super) fn shown(&self, headers: &HeaderMap, clock: &dyn Clock) -> Shown {
        let mut shown = Shown::default();
        if self.headers.is_empty() {
            return shown;
        }
        let now = clock.now();
        for (header, sources) in &self.headers {
            let judged = match presented(headers, header) {
                Ok(None) => continue,
                Ok(Some(token)) => self.identify(token, sources, now),
                Err(invalid) => Err(invalid),
            };
            match judged {
                Ok(valid) => shown.valid.push(valid),
                Err(invalid) => shown.invalid.push(invalid),
            }
        }
        shown
    }

    fn identify(&self, token: &str, sources: &[usize], now: u64) -> Result<(usize, Arc<Claims>), Invalid> {
        if token.len() > MAX_TOKEN {
            return Err(Invalid::TooLong);
        }
        let digest = sha256(token.as_bytes());
        let known = |at: &usize| Some((*at, self.sources.get(*at)?));
        for (at, source) in sources.iter().filter_map(known) {
            let verified = self.verified.as_ref().and_then(|verified| verified.get(&(digest, at)));
            let keys = source.keys.keys();
            let current = |v: &Arc<Verified>| keys.as_ref().is_some_and(|keys| keys.generation == v.generation);
            if let Some(verified) = verified.filter(current) {
                verified.token.in_time(now)?;
                return Ok((at, Arc::clone(&verified.token.claims)));
            }
        }
        let issuer = jwt::claimed_issuer(token).ok_or(Invalid::Malformed)?;
        let mut why = Invalid::Issuer;
        for (at, source) in sources.iter().filter_map(known).filter(|(_, source)| source.issuer == issuer) {
            match verify(token, source) {
                Ok(verified) => {
                    verified.token.in_time(now)?;
                    let claims = Arc::clone(&verified.token.claims);
                    if let Some(cache) = &self.verified {
                        cache.insert((digest, at), Arc::new(verified));
                    }
                    return Ok((at, claims));
                }
                Err(invalid) => why = invalid,
            }
        }
        Err(why)
    }
}

fn verify(token: &str, source: &Source) -> Result<Verified, Invalid> {
    let keys = source.keys.keys().ok_or(Invalid::NoKeys)?;
    let verified = jwt::verify(token, &source.issuer, &source.audiences, &keys);
    if matches!(verified, Err(Invalid::UnknownKey)) {
        source.keys.want();
    }
    // Claims in memory take a few times what they take as text.
    let weight = u32::try_from(token.len().saturating_mul(4)).unwrap_or(u32::MAX).saturating_add(512);
    Ok(Verified { generation: keys.generation, token: verified?, weight })
}

/// The token in a header. `authorization` may hold another scheme's credentials, which are none.
fn presented<'a>(headers: &'a HeaderMap, header: &HeaderName) -> Result<Option<&'a str>, Invalid> {
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Which one the application believes is its own affair.
    if values.next().is_some() {
        return Err(Invalid::Repeated);
    }
    let text = value.to_str().map_err(|_| Invalid::Malformed)?.trim();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim_start())),
        _ if *header == AUTHORIZATION && !text.eq_ignore_ascii_case("bearer") => Ok(None),
        _ => Ok(Some(text).filter(|text| !text.is_empty())),
    }
}

impl Shown {
    /// Of a source, if its token was shown and is valid.
    pub(super) fn claims_of(&self, source: Option<usize>) -> Option<&Claims> {
        self.valid.iter().find(|(at, _)| Some(*at) == source).map(|(_, claims)| &**claims)
    }

    /// Those of that source; without one, those of the first in the order of `callers`.
    pub(super) fn take(self, source: Option<usize>) -> Option<Arc<Claims>> {
        let of_source = self.valid.iter().position(|(at, _)| Some(*at) == source);
        self.valid.into_iter().nth(of_source.unwrap_or(0)).map(|(_, claims)| claims)
    }

    /// What is wrong with the first token that is not valid.
    pub(super) fn invalid(&self) -> Option<Invalid> {
        self.invalid.first().copied()
    }

    /// One word for each token.
    pub(super) fn results(&self) -> impl Iterator<Item = &'static str> {
        let valid = self.valid.iter().map(|_| "valid");
        valid.chain(self.invalid.iter().map(|invalid| invalid.word()))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} sources)", self.sources.len())
    }
}
