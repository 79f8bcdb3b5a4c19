//! Pods that the injector saw.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::count::Counter;

/// What became of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// It was given the sidecar.
    Injected,
    /// It asked for none, or had one.
    Unchanged,
    /// It was refused.
    Refused,
}

impl Injection {
    /// As the metrics and the log have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Injections(Family<OutcomeLabels, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl Injections {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register("injections", "Pods that the injector reviewed, by outcome", this.0.clone());
        this
    }

    pub(super) fn count(&self, outcome: Injection) {
        self.0.get_or_create(&OutcomeLabels { outcome: outcome.word() }).inc();
    }
}
