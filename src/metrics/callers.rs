//! Who calls: by role, never by name.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::count::Counter;

#[derive(Debug, Default)]
pub(super) struct Callers {
    roles: Family<RoleLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabels {
    role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    result: &'static str,
}

impl Callers {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register("callers", "Requests that a rule acts on, by the caller's role", this.roles.clone());
        registry.register("caller_tokens", "JSON Web Tokens that callers showed, by result", this.tokens.clone());
        this
    }

    pub(super) fn roles<'a>(&self, roles: impl Iterator<Item = &'a str>, default: &str) -> CallerMetrics {
        let of = |role: &str| self.roles.get_or_create_owned(&RoleLabels { role: role.into() });
        CallerMetrics { roles: roles.map(of).collect(), default: of(default), tokens: self.tokens.clone() }
    }
}

/// The counters of `callers`.
#[derive(Debug)]
pub struct CallerMetrics {
    roles: Vec<Counter>,
    default: Counter,
    tokens: Family<TokenLabels, Counter>,
}

impl CallerMetrics {
    /// Counts a request by the entry of `callers` that gave it its role, and the tokens it showed.
    pub fn seen(&self, entry: Option<usize>, tokens: impl Iterator<Item = &'static str>) {
        entry.and_then(|at| self.roles.get(at)).unwrap_or(&self.default).inc();
        for result in tokens {
            self.tokens.get_or_create(&TokenLabels { result }).inc();
        }
    }
}
