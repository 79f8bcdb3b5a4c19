//! `GET /api/token/new`: a temporary token, good for a while and a number of calls.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde_json::json;

use super::answer::{Answer, Problem, ok};
use super::session::{KIND, Kept, PREFIX, Session, entry_id};
use super::{assumed, fields, kept};
use crate::audit::Act;
use crate::authority::{Authority, Refused, blocking};
use crate::crypto::{base64url, random};
use crate::directory::Ends;
use crate::keyring::store::Put;

/// `{"new_token"}`.
pub async fn new(State(authority): State<Arc<Authority>>, session: Session, RawQuery(query): RawQuery) -> Answer {
    if session.temporary.is_some() {
        return Err(Problem::Detail(StatusCode::FORBIDDEN, assumed::NO_FURTHER));
    }
    let query = query.unwrap_or_default();
    let expiry = fields::number(&query, "expiry_time", assumed::EXPIRY, assumed::MOST_EXPIRY);
    let attempts = fields::number(&query, "expire_after_attempts", assumed::ATTEMPTS, assumed::MOST_ATTEMPTS);
    let (expiry, attempts) = match (expiry, attempts) {
        (Ok(expiry), Ok(attempts)) => (expiry, attempts),
        (expiry, attempts) => return Err(Problem::Fields(expiry.err().into_iter().chain(attempts.err()).collect())),
    };
    let token = blocking(move || make(&authority, &session, expiry, attempts)).await?;
    ok(json!({ "new_token": token }))
}

fn make(authority: &Authority, session: &Session, expiry: u64, attempts: u64) -> Result<String, Problem> {
    kept::allow(authority, "exequantum-tokens-made", session.number, assumed::TOKENS_AN_HOUR)?;
    let token = format!("{PREFIX}{}", base64url::encode(random::secret::<32>()?.expose()));
    let ends = Ends { at: authority.clock.now() + expiry, after: Some(attempts) };
    let act = Act { who: &session.caller.name, what: "exequantum.token.create", on: session.partition.as_str() };
    authority.audit.around(&act, || {
        let kept = Kept { parent: session.number, mark: session.mark.clone() };
        match authority.directory.put(KIND, &entry_id(&token), 0, &kept, ends)? {
            Put::Done => Ok(()),
            Put::Conflict => Err(Refused::Unavailable("two temporary tokens were the same".into())),
        }
    })?;
    Ok(token)
}
