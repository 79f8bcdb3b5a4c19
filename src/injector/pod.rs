//! A pod as it came: only what is asked of it is looked at, whatever else it holds.

use serde_json::Value;

/// The name of the sidecar's container.
pub(super) const SIDECAR: &str = "sidecloak";

/// A pod (`v1`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod<'a>(pub(super) &'a Value);

impl<'a> Pod<'a> {
    /// Annotations, or nothing.
    pub(super) fn annotations(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let annotations = self.0.pointer("/metadata/annotations").and_then(Value::as_object);
        // What is no text the API server would not have let in; an empty one is no valid value of ours.
        annotations.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
    }

    pub(super) fn label(self, label: &str) -> Option<&'a str> {
        let labels = self.0.pointer("/metadata/labels")?;
        labels.get(label).map(|value| value.as_str().unwrap_or_default())
    }

    pub(super) fn spec(self) -> &'a Value {
        self.0.get("spec").unwrap_or(&Value::Null)
    }

    pub(super) fn containers(self) -> &'a [Value] {
        list(self.spec(), "containers")
    }

    pub(super) fn init_containers(self) -> &'a [Value] {
        list(self.spec(), "initContainers")
    }

    pub(super) fn ephemeral_containers(self) -> &'a [Value] {
        list(self.spec(), "ephemeralContainers")
    }

    /// The sidecar, by whomever it was put there.
    pub(super) fn sidecar(self) -> Option<&'a Value> {
        self.init_containers().iter().find(|container| text(container, "name") == SIDECAR && is_sidecar(container))
    }

    pub(super) fn has_sidecar(self) -> bool {
        self.sidecar().is_some()
    }

    /// Whether its containers see each other's processes.
    pub(super) fn shares_processes(self) -> bool {
        let says = |key: &str| self.spec().get(key).and_then(Value::as_bool) == Some(true);
        says("shareProcessNamespace") || says("hostPID")
    }

    /// Those that run beside each other: containers, and init containers that are sidecars.
    pub(super) fn running(self) -> impl Iterator<Item = &'a Value> {
        self.containers().iter().chain(self.init_containers().iter().filter(|container| is_sidecar(container)))
    }

    /// Whether a container says that it listens there.
    pub(super) fn uses(self, number: u16) -> bool {
        self.running().flat_map(ports).any(|port| port.tcp && port.number == number)
    }
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// A port that a container declares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Port<'a> {
    /// Empty: it has none.
    pub(super) name: &'a str,
    pub(super) number: u16,
    pub(super) tcp: bool,
}

pub(super) fn ports(container: &Value) -> impl Iterator<Item = Port<'_>> {
    list(container, "ports").iter().map(|port| Port {
        name: text(port, "name"),
        number: port.get("containerPort").and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
        tcp: matches!(text(port, "protocol"), "" | "TCP"),
    })
}

/// Whether a container mounts one of these volumes.
pub(super) fn mounts(container: &Value, volumes: &[&str]) -> bool {
    list(container, "volumeMounts").iter().any(|mount| volumes.contains(&text(mount, "name")))
}

/// The entries of a list that may be missing.
pub(super) fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text, or nothing.
pub(super) fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}
