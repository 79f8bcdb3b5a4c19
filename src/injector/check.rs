//! What a pod must not be after every webhook and policy has had its turn.

use serde_json::Value;

use super::Settings;
use super::annotations::{INJECTED, Wishes};
use super::plan::Plan;
use super::pod::{Pod, SIDECAR, mounts, text};
use super::sidecar::{SECRET, TMP};

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
    if looks_into_the_sidecar(new, old) {
        return Some(
            "an ephemeral container would share the processes or the keys of the sidecar; choose another target, without its volumes".into(),
        );
    }
    if old.is_some_and(|old| swaps_the_sidecar(new, old)) {
        return Some(
            "the sidecar's image cannot be changed in a pod that runs; change it where the injection is set up, and roll the workload out".into(),
        );
    }
    if old.is_some_and(|old| hides_the_sidecar(new, old)) {
        return Some(format!(
            "label {INJECTED} cannot be taken from a pod with the sidecar: policies know by it whose traffic must not go past; leave it"
        ));
    }
    None
}

fn lacks_its_sidecar(pod: Pod<'_>) -> bool {
    !matches!(Wishes::read(pod), Ok(None)) && !pod.has_sidecar()
}

fn claims_a_sidecar(pod: Pod<'_>) -> bool {
    pod.label(INJECTED).is_some() && !pod.has_sidecar()
}

/// What was there already cannot be taken away any more.
fn looks_into_the_sidecar(pod: Pod<'_>, old: Option<Pod<'_>>) -> bool {
    let known = old.map_or(&[][..], Pod::ephemeral_containers);
    let brought = pod
        .ephemeral_containers()
        .iter()
        .filter(|one| !known.iter().any(|known| text(known, "name") == text(one, "name")));
    let shared = pod.has_sidecar() && pod.shares_processes();
    brought.into_iter().any(|container| {
        shared || text(container, "targetContainerName") == SIDECAR || mounts(container, &[SECRET, TMP])
    })
}

/// The other image would be started with the keys of this one.
fn swaps_the_sidecar(pod: Pod<'_>, old: Pod<'_>) -> bool {
    let image = |pod: Pod<'_>| pod.sidecar().map(|sidecar| text(sidecar, "image").to_owned());
    image(old).is_some_and(|old| image(pod).is_some_and(|new| new != old))
}

fn hides_the_sidecar(pod: Pod<'_>, old: Pod<'_>) -> bool {
    let known = |pod: Pod<'_>| pod.label(INJECTED) == Some("true");
    pod.has_sidecar() && known(old) && !known(pod)
}
