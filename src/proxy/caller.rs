//! Who sends a request: the role that `callers` gives, and what key templates and rules may know of the sender.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Map, Value};

use crate::rules::Words;

use super::connection::Connection;
use super::settings::HeaderIs;

/// The role of a caller that no entry of `callers` names.
const DEFAULT_ROLE: &str = "default";

/// See the module. Found once, before the request is changed.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) role: String,
    claims: Option<Arc<Map<String, Value>>>,
}

impl Caller {
    /// The first entry of `callers` that fits. Headers that untrusted peers may not send are gone already.
    pub(super) fn of(connection: &Connection, headers: &HeaderMap) -> Self {
        let callers = &connection.front.shared.settings.callers;
        let is = |(name, value): &HeaderIs| {
            let mut values = headers.get_all(name).iter();
            // A second value could be the client's own, added to that of the peer.
            values.next().is_some_and(|v| v.as_bytes() == value.as_bytes()) && values.next().is_none()
        };
        let caller = callers.iter().find(|caller| connection.trusted && caller.headers.iter().all(is));
        Self { role: caller.map_or(DEFAULT_ROLE, |caller| caller.role.as_str()).to_owned(), claims: None }
    }

    /// What rules may use of the request.
    pub(super) fn words<'a>(&'a self, headers: &'a HeaderMap) -> Words<'a> {
        Words { headers, client: &[], sni: None, claims: self.claims.as_deref() }
    }
}
