//! The JSON patch (RFC 6902) that carries a plan out. It touches what it names and nothing else.

use serde_json::{Map, Value, json};

use super::Settings;
use super::annotations::{INJECTED, STATUS, Wishes};
use super::plan::Plan;
use super::pod::{Pod, list, text};
use super::sidecar::{self, USER};

/// How long the application sleeps before it is told to end, so that Services have forgotten the pod by then.
const SLEEP: i64 = 5;

/// The operations, in order.
pub(super) fn patch(settings: &Settings, pod: Pod<'_>, wishes: &Wishes<'_>, plan: &Plan<'_>) -> Vec<Value> {
    let mut patch = Patch(Vec::new());
    patch.marks(pod);
    patch.group(pod);
    let at = format!("/spec/containers/{}", plan.container);
    if let Some(app) = pod.containers().get(plan.container) {
        patch.ports(&at, plan);
        patch.references(&at, app, plan);
        if let Some(variable) = wishes.port_variable {
            patch.variable(&at, app, variable, plan.app);
        }
        patch.sleep(&at, app, pod);
    }
    let spec = pod.spec();
    patch.append("/spec/volumes", spec.get("volumes"), sidecar::volumes(settings, wishes));
    patch.append("/spec/initContainers", spec.get("initContainers"), [sidecar::container(settings, plan)]);
    patch.0
}

struct Patch(Vec<Value>);

impl Patch {
    /// Also replaces what is there, as `add` does in objects.
    fn add(&mut self, path: impl AsRef<str>, value: impl Into<Value>) {
        self.0.push(json!({ "op": "add", "path": path.as_ref(), "value": value.into() }));
    }

    /// At the end of a list, which is made if it is missing.
    fn append(&mut self, path: &str, list: Option<&Value>, values: impl IntoIterator<Item = Value>) {
        self.list(path, list);
        for value in values {
            self.add(format!("{path}/-"), value);
        }
    }

    fn list(&mut self, path: &str, list: Option<&Value>) {
        if !list.is_some_and(Value::is_array) {
            self.add(path, json!([]));
        }
    }

    fn marks(&mut self, pod: Pod<'_>) {
        match pod.0.pointer("/metadata/labels").and_then(Value::as_object) {
            Some(_) => self.add(format!("/metadata/labels/{}", escaped(INJECTED)), "true"),
            None => self.add("/metadata/labels", json!({ INJECTED: "true" })),
        }
        // Annotations are there: one of them asked for this.
        self.add(format!("/metadata/annotations/{}", escaped(STATUS)), env!("CARGO_PKG_VERSION"));
    }

    /// Files of a Secret belong to root; by this group the sidecar may read them. A group that is there does as well, since every
    /// container of the pod is in it. A large volume of the application's is not gone through at each start for it.
    fn group(&mut self, pod: Pod<'_>) {
        const POLICY: &str = "OnRootMismatch";
        let lacks = |context: &Map<String, Value>, key: &str| context.get(key).is_none_or(Value::is_null);
        match pod.spec().get("securityContext").and_then(Value::as_object) {
            None => self.add("/spec/securityContext", json!({ "fsGroup": USER, "fsGroupChangePolicy": POLICY })),
            Some(context) if lacks(context, "fsGroup") => {
                self.add("/spec/securityContext/fsGroup", USER);
                if lacks(context, "fsGroupChangePolicy") {
                    self.add("/spec/securityContext/fsGroupChangePolicy", POLICY);
                }
            }
            Some(_) => {}
        }
    }

    /// The port that Services know becomes the sidecar's; the application's own is added.
    fn ports(&mut self, at: &str, plan: &Plan<'_>) {
        if plan.sidecar != plan.number {
            self.add(format!("{at}/ports/{}/containerPort", plan.port), plan.sidecar);
        }
        let mut own = json!({ "containerPort": plan.app, "protocol": "TCP" });
        if let (false, Some(own)) = (plan.renamed.is_empty(), own.as_object_mut()) {
            own.insert("name".into(), plan.renamed.clone().into());
        }
        self.add(format!("{at}/ports/-"), own);
    }

    /// Probes and hooks of the application go on asking the application.
    fn references(&mut self, at: &str, app: &Value, plan: &Plan<'_>) {
        const PLACES: [(&str, &str); 13] = [
            ("livenessProbe", "httpGet"),
            ("livenessProbe", "tcpSocket"),
            ("livenessProbe", "grpc"),
            ("readinessProbe", "httpGet"),
            ("readinessProbe", "tcpSocket"),
            ("readinessProbe", "grpc"),
            ("startupProbe", "httpGet"),
            ("startupProbe", "tcpSocket"),
            ("startupProbe", "grpc"),
            ("lifecycle/postStart", "httpGet"),
            ("lifecycle/postStart", "tcpSocket"),
            ("lifecycle/preStop", "httpGet"),
            ("lifecycle/preStop", "tcpSocket"),
        ];
        for (place, kind) in PLACES {
            let Some(handler) = app.pointer(&format!("/{place}/{kind}")) else { continue };
            let port = match handler.get("port") {
                Some(Value::String(name)) => name.clone(),
                Some(Value::Number(number)) => number.to_string(),
                _ => continue,
            };
            // Another host's port has that number still.
            let target = if text(handler, "host").is_empty() { plan.app } else { plan.number };
            let meant = port == plan.number.to_string() || (!plan.name.is_empty() && port == plan.name);
            if meant && port != target.to_string() {
                self.add(format!("{at}/{place}/{kind}/port"), target);
            }
        }
    }

    /// In front, so that variables after it that refer to it get the new value.
    fn variable(&mut self, at: &str, app: &Value, name: &str, port: u16) {
        let mut there = false;
        for (i, _) in list(app, "env").iter().enumerate().filter(|(_, env)| text(env, "name") == name) {
            self.add(format!("{at}/env/{i}/value"), port.to_string());
            there = true;
        }
        if !there {
            self.list(&format!("{at}/env"), app.get("env"));
            self.add(format!("{at}/env/0"), json!({ "name": name, "value": port.to_string() }));
        }
    }

    /// Unless the application has a hook of its own, or so little time that sleeping would take it all.
    fn sleep(&mut self, at: &str, app: &Value, pod: Pod<'_>) {
        let grace = pod.spec().get("terminationGracePeriodSeconds").and_then(Value::as_i64);
        if grace.is_some_and(|seconds| seconds <= SLEEP) {
            return;
        }
        let sleep = json!({ "sleep": { "seconds": SLEEP } });
        match app.get("lifecycle").and_then(Value::as_object) {
            None => self.add(format!("{at}/lifecycle"), json!({ "preStop": sleep })),
            Some(lifecycle) if lifecycle.get("preStop").is_none_or(Value::is_null) => {
                self.add(format!("{at}/lifecycle/preStop"), sleep);
            }
            Some(_) => {}
        }
    }
}

/// A key in a JSON Pointer (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
