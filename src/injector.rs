//! `sidecloak injector`: the admission webhook that puts the sidecar into pods which ask for it. What it answers is a function of the pod and
//! of [`Settings`] alone: it keeps nothing, changes nothing elsewhere, and asks nobody.

mod annotations;
mod check;
mod patch;
mod plan;
mod pod;
mod review;
pub mod serve;
mod sidecar;

use serde_json::Value;

pub use annotations::is_object_name;
pub use check::check;

/// What all sidecars have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Of the sidecar. No annotation changes it.
    pub image: String,
    /// The ConfigMap of a pod that names none.
    pub config_map: String,
    /// The Secret of a pod that names none.
    pub secret: String,
    /// Where the sidecar of a pod listens that does not say.
    pub port: u16,
    /// A Kubernetes quantity.
    pub cpu_request: String,
    /// A Kubernetes quantity.
    pub memory_request: String,
    /// A Kubernetes quantity.
    pub memory_limit: String,
    /// Namespaces whose pods are left as they are.
    pub excluded: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: concat!("sidecloak:", env!("CARGO_PKG_VERSION")).into(),
            config_map: "sidecloak".into(),
            secret: "sidecloak".into(),
            port: 15080,
            cpu_request: "50m".into(),
            memory_request: "64Mi".into(),
            memory_limit: "256Mi".into(),
            excluded: Vec::new(),
        }
    }
}

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It does not ask for a sidecar, or has it.
    Unchanged,
    /// A JSON patch (RFC 6902) that gives it one.
    Injected(Vec<Value>),
    /// It cannot have one as it is: why, and the way out. Holds nothing of the pod but names of containers, ports and variables.
    Refused(String),
}

/// What becomes of this pod on its creation.
pub fn inject(settings: &Settings, pod: &Value) -> Outcome {
    let pod = pod::Pod(pod);
    if pod.has_sidecar() {
        return Outcome::Unchanged;
    }
    match annotations::Wishes::read(pod) {
        Ok(Some(wishes)) => match plan::Plan::make(settings, pod, &wishes) {
            Ok(plan) => Outcome::Injected(patch::patch(settings, pod, &wishes, &plan)),
            Err(refused) => Outcome::Refused(refused),
        },
        Ok(None) => Outcome::Unchanged,
        Err(refused) => Outcome::Refused(refused),
    }
}

#[cfg(test)]
mod tests;
