//! Which rules an exchange meets. (interface; owner: rules)

use std::sync::Arc;

use http::HeaderMap;

use super::{Rule, RuleSet};

/// A path in the one form that rules are matched against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath(pub String);

/// The path normalises two ways; says how, without the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Ambiguous(pub &'static str);

/// Normalises the path of a request target (no query): percent-decoded once, dot segments resolved, `//` merged, `;parameters`
/// and a trailing `/` dropped, lower case if `ignore_case`.
pub fn normalize(_raw: &str, _ignore_case: bool) -> Result<NormalPath, Ambiguous> {
    Err(Ambiguous("interface only"))
}

/// The headers that would make the upstream see another path or method than we do; the first one present.
pub fn override_header(_headers: &HeaderMap) -> Option<&'static str> {
    None
}

/// What rules see of a request.
#[derive(Debug)]
pub struct RequestFacts<'a> {
    /// As in the request line.
    pub method: &'a str,
    /// Normalised.
    pub path: &'a NormalPath,
    /// Whether the listener has `case: ignore`.
    pub ignore_case: bool,
    /// The listener's name.
    pub listener: &'a str,
    /// `Host` or `:authority`, lower case, without the port.
    pub host: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// Path segments that a rule's `{name}`s captured, decoded.
pub type Captures = Vec<(String, String)>;

/// The rules that apply to an exchange.
#[derive(Debug, Default)]
pub struct Route {
    /// In file order, with the path segments each captured; only `Fields` rules.
    pub rules: Vec<(Arc<Rule>, Captures)>,
    /// How the search ended.
    pub end: End,
}

/// See [`Route::end`].
#[derive(Debug, Default)]
pub enum End {
    /// No rule at all matched.
    #[default]
    Unmatched,
    /// Some did, none of them `action: reject`.
    Matched,
    /// `action: reject`, of this rule.
    Rejected(Arc<Rule>),
}

impl RuleSet {
    /// The rules of a request.
    pub fn route(&self, _facts: &RequestFacts<'_>) -> Route {
        Route::default()
    }
}

impl Rule {
    /// Whether the rule's `status` and `content_type` conditions let it act on this response.
    pub fn acts_on_response(&self, _status: u16, _content_type: Option<&str>) -> bool {
        true
    }
}
