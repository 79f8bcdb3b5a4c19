//! What a pod must not be after every webhook and policy has had its turn.

use serde_json::Value;

use super::Settings;
use super::annotations::{INJECTED, Wishes};
use super::plan::Plan;
use super::pod::{Pod, SIDECAR, list, text};
use super::sidecar::SECRET;

/// Why this pod must not be, and the way out. `old`: as it was before an update; what was wrong with it already is let be, so that
/// its controller can still end it.
pub fn check(settings: &Settings, pod: &Value, old: Option<&Value>) -> Option<String> {
    let (new, old) = (Pod(pod), old.map(Pod));
    let found = |problem: fn(Pod<'_>) -> bool| problem(new) && !old.is_some_and(problem);
    if found(lacks_its_sidecar) {
        return Some(match (old, Wishes::read(new)) {
            (_, Err(refused)) => refused,
            (Some(_), Ok(_)) => {
                "sidecloak.dev/inject counts when a pod is created; set it in the template of the Deployment, Job or other owner".into()
            }
            (None, Ok(wishes)) => wishes
                .and_then(|wishes| Plan::make(settings, new, &wishes).err())
                .unwrap_or_else(|| "the pod asks for a sidecar and was given none; see whether the injector runs, and create it again".into()),
        });
    }
    if found(claims_a_sidecar) {
        return Some(format!("label {INJECTED} is for pods with the sidecar, and this one has none; take it away"));
    }
    if found(looks_into_the_sidecar) {
        return Some(
            "an ephemeral container would share the processes or the keys of the sidecar; choose another target, without its volumes".into(),
        );
    }
    None
}

fn lacks_its_sidecar(pod: Pod<'_>) -> bool {
    !matches!(Wishes::read(pod), Ok(None)) && !pod.has_sidecar()
}

fn claims_a_sidecar(pod: Pod<'_>) -> bool {
    pod.has_label(INJECTED) && !pod.has_sidecar()
}

fn looks_into_the_sidecar(pod: Pod<'_>) -> bool {
    pod.ephemeral_containers().iter().any(|container| {
        let mut mounts = list(container, "volumeMounts").iter();
        text(container, "targetContainerName") == SIDECAR || mounts.any(|mount| text(mount, "name") == SECRET)
    })
}
