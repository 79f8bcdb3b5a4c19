//! The container that is put into pods, and its volumes.

use serde_json::{Value, json};

use super::Settings;
use super::annotations::Wishes;
use super::plan::Plan;
use super::pod::SIDECAR;

/// Where the probe listens.
pub(super) const PROBE: u16 = 9902;
/// The user and group of the image.
pub(super) const USER: u32 = 65532;
/// In the order in which they are added.
pub(super) const VOLUMES: [&str; 3] = [CONFIG, SECRET, TMP];
const CONFIG: &str = "sidecloak-config";
pub(super) const SECRET: &str = "sidecloak-secret";
pub(super) const TMP: &str = "sidecloak-tmp";

/// A native sidecar: ready before the application starts, ended after it.
pub(super) fn container(settings: &Settings, plan: &Plan<'_>) -> Value {
    let env = |name: &str, value: String| json!({ "name": name, "value": value });
    let mount = |volume: &str, path: &str| json!({ "name": volume, "mountPath": path, "readOnly": true });
    let probe = |path: &str| json!({ "path": path, "port": PROBE });
    json!({
        "name": SIDECAR,
        "image": settings.image,
        "args": ["run"],
        "restartPolicy": "Always",
        "workingDir": "/etc/sidecloak",
        "ports": [{ "name": "probe", "containerPort": PROBE, "protocol": "TCP" }],
        "env": [
            env("SIDECLOAK_LISTEN", format!("0.0.0.0:{}", plan.sidecar)),
            env("SIDECLOAK_UPSTREAM", format!("http://127.0.0.1:{}", plan.app)),
            env("SIDECLOAK_PROBE", format!("0.0.0.0:{PROBE}")),
        ],
        "startupProbe": { "httpGet": probe("/readyz"), "periodSeconds": 1, "failureThreshold": 60 },
        "readinessProbe": { "httpGet": probe("/readyz"), "periodSeconds": 5, "timeoutSeconds": 3 },
        "livenessProbe": { "httpGet": probe("/livez"), "periodSeconds": 10, "timeoutSeconds": 3 },
        "resources": {
            "requests": { "cpu": settings.cpu_request, "memory": settings.memory_request },
            "limits": { "memory": settings.memory_limit },
        },
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [
            mount(CONFIG, "/etc/sidecloak"),
            mount(SECRET, "/run/secrets/sidecloak"),
            json!({ "name": TMP, "mountPath": "/tmp" }),
        ],
    })
}

/// What it mounts.
pub(super) fn volumes(settings: &Settings, wishes: &Wishes<'_>) -> [Value; 3] {
    let config = wishes.config.unwrap_or(&settings.config_map);
    let secret = wishes.secret.unwrap_or(&settings.secret);
    // With an authority that believes the cluster's tokens there is no secret to keep. One that is named is meant.
    let keys = json!({ "secret": { "name": secret, "optional": wishes.secret.is_none() } });
    // For the authority alone, and renewed by the kubelet.
    let token =
        json!({ "serviceAccountToken": { "audience": "sidecloak", "expirationSeconds": 3600, "path": "token" } });
    [
        json!({ "name": CONFIG, "configMap": { "name": config } }),
        // The group reads them: keys that everybody may read are refused.
        json!({ "name": SECRET, "projected": { "defaultMode": 0o440, "sources": [keys, token] } }),
        json!({ "name": TMP, "emptyDir": { "sizeLimit": "256Mi" } }),
    ]
}
