//! How the application moves behind the sidecar, or why it cannot.
//!
//! The port that a Service leads to stays declared at the application's container, under its name, and becomes the sidecar's: before
//! Kubernetes 1.33 a Service does not find every named port of an init container, and meshes and network policies found them later still.
//! What is added is the port where the application itself is from then on.

use serde_json::Value;

use super::Settings;
use super::annotations::Wishes;
use super::pod::{Pod, Port, SIDECAR, list, mounts, ports, text};
use super::sidecar::{PROBE, VOLUMES};

/// What the patch does to the application's container.
#[derive(Debug, Clone)]
pub(super) struct Plan<'a> {
    /// Which container.
    pub(super) container: usize,
    /// Which of its ports.
    pub(super) port: usize,
    /// That port's name, or nothing.
    pub(super) name: &'a str,
    /// Its number until now.
    pub(super) number: u16,
    /// Where the sidecar listens.
    pub(super) sidecar: u16,
    /// Where the application listens.
    pub(super) app: u16,
    /// What the application's own port is called from now on; nothing if it had no name.
    pub(super) renamed: String,
}

/// How far the application moves unless the pod says where.
const AWAY: u16 = 10_000;

impl<'a> Plan<'a> {
    /// Or why the pod cannot have a sidecar as it is.
    pub(super) fn make(settings: &Settings, pod: Pod<'a>, wishes: &Wishes<'a>) -> Result<Self, String> {
        fits(pod)?;
        let container = match wishes.app_container {
            None => 0,
            Some(name) => pod
                .containers()
                .iter()
                .position(|container| text(container, "name") == name)
                .ok_or("there is no container of the name that sidecloak.dev/app-container gives; correct it")?,
        };
        let app = pod.containers().get(container).ok_or("the pod has no container; give it the application's")?;
        let called = text(app, "name");
        let (port, Port { name, number, .. }) =
            app_port(app, wishes.app_port).map_err(|problem| problem.told(called))?;
        if name.is_empty() && wishes.port_variable.is_none() {
            return Err(format!(
                "port {number} of container {called} has no name, so no Service can be led to the sidecar; name the port and have the \
                 Service's targetPort be that name, or name the variable that tells the application its port in sidecloak.dev/port-variable"
            ));
        }
        if !name.is_empty() && pod.running().flat_map(ports).filter(|port| port.tcp && port.name == name).count() > 1 {
            return Err(format!(
                "two ports in the pod are named {name}; rename one, so that a Service finds the right one"
            ));
        }
        let same = pod.running().flat_map(ports).filter(|port| port.tcp && port.number == number).count();
        if same > 1 && wishes.port_variable.is_none() {
            return Err(format!(
                "port {number} is declared twice in the pod, and by the other name a Service would lead past the sidecar; leave one of the two"
            ));
        }
        let renamed = renamed(pod, name).ok_or("app-2 to app-9 are names of ports in the pod; rename one")?;
        let (sidecar, app) = match wishes.port_variable {
            None => (wishes.port.unwrap_or(settings.port), number),
            Some(variable) => {
                if list(app, "env").iter().any(|env| text(env, "name") == variable && env.get("valueFrom").is_some()) {
                    return Err(format!(
                        "variable {variable} of container {called} has a valueFrom; write its value into the pod, so that it can be changed"
                    ));
                }
                let away = wishes.moved_port.or_else(|| number.checked_add(AWAY));
                (number, away.ok_or_else(|| format!(
                    "port {number} of container {called} cannot move by {AWAY}; say where to with sidecloak.dev/moved-port"
                ))?)
            }
        };
        if pod.uses(PROBE) {
            return Err(format!(
                "port {PROBE} is in use in the pod, where the sidecar's probe listens; move what uses it"
            ));
        }
        let (listens, annotation) = match wishes.port_variable {
            None => (sidecar, "sidecloak.dev/port"),
            Some(_) => (app, "sidecloak.dev/moved-port"),
        };
        if pod.uses(listens) || listens == PROBE {
            return Err(format!("port {listens} is in use in the pod; choose another one with {annotation}"));
        }
        Ok(Self { container, port, name, number, sidecar, app, renamed })
    }
}

/// What no annotation changes.
fn fits(pod: Pod<'_>) -> Result<(), String> {
    let spec = pod.spec();
    let has = |entries: &[Value], name: &str| entries.iter().any(|entry| text(entry, "name") == name);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        return Err(
            "the pod uses hostNetwork, where others reach the application beside the sidecar; take hostNetwork away"
                .into(),
        );
    }
    if pod.shares_processes() {
        return Err(
            "the pod shares its processes (shareProcessNamespace or hostPID), the sidecar's with its keys among them; take that away"
                .into(),
        );
    }
    if spec.pointer("/os/name").and_then(Value::as_str) == Some("windows") {
        return Err("the pod is for Windows, and the sidecar for Linux; take sidecloak.dev/inject away".into());
    }
    if [pod.containers(), pod.init_containers(), pod.ephemeral_containers()].iter().any(|all| has(all, SIDECAR)) {
        return Err("a container is named sidecloak and is no sidecar (an init container with restartPolicy: Always); rename it".into());
    }
    if VOLUMES.iter().any(|name| has(list(spec, "volumes"), name)) {
        return Err("a volume is named sidecloak-config, sidecloak-secret or sidecloak-tmp; rename it".into());
    }
    // Once the volumes are there they would be the application's, too.
    if pod.containers().iter().chain(pod.init_containers()).any(|container| mounts(container, &VOLUMES)) {
        return Err(
            "a container mounts sidecloak-config, sidecloak-secret or sidecloak-tmp, which are the sidecar's; take the mount away".into(),
        );
    }
    Ok(())
}

enum PortProblem {
    None,
    Several,
    Unknown,
}

impl PortProblem {
    fn told(self, container: &str) -> String {
        match self {
            Self::None => {
                format!("container {container} declares no TCP port; declare the one it listens on under ports")
            }
            Self::Several => format!(
                "container {container} declares several TCP ports; say which is meant with sidecloak.dev/app-port"
            ),
            Self::Unknown => {
                format!(
                    "container {container} has no TCP port of the name or number that sidecloak.dev/app-port gives; correct it"
                )
            }
        }
    }
}

fn app_port<'a>(app: &'a Value, asked: Option<&str>) -> Result<(usize, Port<'a>), PortProblem> {
    let is_asked = |port: &Port<'_>| asked.is_none_or(|asked| port.number.to_string() == asked || port.name == asked);
    let mut found = ports(app).enumerate().filter(|(_, port)| port.tcp && port.number != 0 && is_asked(port));
    match (found.next(), found.next(), asked) {
        (Some(_), Some(_), None) => Err(PortProblem::Several),
        (Some(port), ..) => Ok(port),
        (None, _, None) => Err(PortProblem::None),
        (None, _, Some(_)) => Err(PortProblem::Unknown),
    }
}

/// A name for the application's own port that no other has: at most 15 bytes, and none of them at the end is a hyphen.
fn renamed(pod: Pod<'_>, name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(String::new());
    }
    let long: String = format!("app-{name}").chars().take(15).collect();
    let first = std::iter::once(long.trim_end_matches('-').to_owned());
    first
        .chain((2..=9).map(|n| format!("app-{n}")))
        .find(|new| !pod.running().flat_map(ports).any(|port| port.name == *new))
}
