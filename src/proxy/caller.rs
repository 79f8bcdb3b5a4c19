//! Who sends a request: the role that `callers` gives, and what key templates may know of the sender. All of it is proven: names
//! by a certificate, claims by a signature, headers by a trusted peer.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;

use crate::jwt::keys::{KeySet, KeySetError};
use crate::jwt::{self, Claims, Invalid};
use crate::metrics::{CallerMetrics, Metrics};
use crate::refusal::{Reason, Refusal};
use crate::rules::Words;
use crate::rules::glob::wild;

use super::connection::Connection;
use super::settings::{self, HeaderIs, JwtIs};

mod tokens;

use tokens::Tokens;

/// The role of a caller that no entry of `callers` names.
const DEFAULT_ROLE: &str = "default";

/// `callers`, ready to be asked.
#[derive(Debug)]
pub struct Callers {
    entries: Vec<Entry>,
    tokens: Tokens,
    metrics: CallerMetrics,
}

#[derive(Debug)]
struct Entry {
    caller: settings::Caller,
    /// Whose tokens its `jwt` is about.
    source: Option<usize>,
}

/// Who sends one request. Found once, before the request is changed.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) role: Cow<'static, str>,
    claims: Option<Arc<Claims>>,
    invalid: Option<Invalid>,
}

impl Callers {
    /// Reads nothing yet: see [`Self::read_keys`].
    pub(super) fn new(callers: &[settings::Caller], metrics: &Metrics) -> Self {
        let mut tokens = Tokens::default();
        let mut entry = |caller: &settings::Caller| Entry {
            source: caller.jwt.as_ref().map(|jwt| tokens.source(jwt)),
            caller: caller.clone(),
        };
        let entries = callers.iter().map(&mut entry).collect();
        Self { entries, tokens, metrics: metrics.callers(callers.iter().map(|c| c.role.as_str()), DEFAULT_ROLE) }
    }

    /// Reads the key sets that are in files. May block.
    pub fn read_keys(&self) -> Result<(), KeySetError> {
        self.key_sets().iter().try_for_each(|set| set.read())
    }

    /// The issuers' keys, to be kept fresh.
    pub fn key_sets(&self) -> Vec<Arc<KeySet>> {
        self.tokens.key_sets()
    }
}

impl Caller {
    /// Of a request that no rule acts on.
    pub(super) fn nobody() -> Self {
        Self { role: Cow::Borrowed(DEFAULT_ROLE), claims: None, invalid: None }
    }

    /// The role is that of the first entry of `callers` of which every condition holds. Headers that untrusted peers may not send
    /// are gone already.
    pub(super) fn of(connection: &Connection, headers: &HeaderMap) -> Self {
        let callers = &connection.front.shared.callers;
        let shown = callers.tokens.shown(headers, &*connection.front.shared.clock);
        let names = client_names(connection);
        let fits = |entry: &&Entry| {
            let settings::Caller { headers: wanted, client, jwt, .. } = &entry.caller;
            let by_headers = wanted.is_empty() || connection.trusted && wanted.iter().all(|is| has(headers, is));
            let by_name = || client.is_empty() || names.iter().any(|name| client.iter().any(|glob| wild(glob, name)));
            let by_token = || jwt.as_ref().is_none_or(|jwt| says(jwt, shown.claims_of(entry.source)));
            by_headers && by_name() && by_token()
        };
        let found = callers.entries.iter().position(|entry| fits(&entry));
        callers.metrics.seen(found, shown.results());
        let entry = found.and_then(|at| callers.entries.get(at));
        Self {
            role: entry.map_or(Cow::Borrowed(DEFAULT_ROLE), |entry| Cow::Owned(entry.caller.role.clone())),
            invalid: shown.invalid(),
            claims: shown.take(entry.and_then(|entry| entry.source)),
        }
    }

    /// Refuses a token that is shown and not valid, where the listener says so.
    pub(super) fn admit(&self, connection: &Connection) -> Result<(), Refusal> {
        let Some(why) = self.invalid else { return Ok(()) };
        tracing::debug!(listener = %connection.front.listener.name, reason = why.word(), "a JSON Web Token is not valid");
        if !connection.front.listener.reject_invalid_jwt {
            return Ok(());
        }
        let reason = if why == Invalid::NoKeys { Reason::KeyService } else { Reason::InvalidToken };
        Err(Refusal::new(reason, format!("the JSON Web Token: {}; see on_invalid_jwt", why.word())))
    }

    /// What rules may use of the request.
    pub(super) fn words<'a>(&'a self, connection: &'a Connection, headers: &'a HeaderMap) -> Words<'a> {
        Words { claims: self.claims.as_deref(), ..words(connection, headers) }
    }
}

/// What rules may use of the request before its tokens are looked at.
pub(super) fn words<'a>(connection: &'a Connection, headers: &'a HeaderMap) -> Words<'a> {
    Words { headers, client: client_names(connection), sni: connection.sni(), claims: None }
}

/// The certificate was verified when the connection began; it may have ended since.
fn client_names(connection: &Connection) -> &[String] {
    let valid = connection.identity().filter(|identity| connection.front.shared.clock.now() <= identity.expires);
    valid.map_or(&[], |identity| &identity.names)
}

fn has(headers: &HeaderMap, (name, value): &HeaderIs) -> bool {
    let mut values = headers.get_all(name).iter();
    // A second value could be the client's own, added to that of the peer.
    values.next().is_some_and(|v| v.as_bytes() == value.as_bytes()) && values.next().is_none()
}

fn says(jwt: &JwtIs, claims: Option<&Claims>) -> bool {
    claims.is_some_and(|claims| jwt::is_for(claims, &jwt.audiences) && jwt::matches(&jwt.claims, claims))
}
