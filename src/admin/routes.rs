//! What the ports answer.

use std::sync::Arc;

use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::crypto::hex;
use crate::proxy::shared::Shared;
use crate::report::Finding;
use crate::rollout::snapshot::{Process, Snapshot};
use crate::rules::{Action, Rule, RuleKind};

use super::{Operations, Probed};

pub(super) struct State {
    pub(super) shared: Arc<Shared>,
    pub(super) operations: Arc<dyn Operations>,
}

type Shown = Extract<Arc<State>>;

pub(super) fn probe(probed: Arc<dyn Probed>) -> Router {
    let counts = Router::new().route("/rollout", get(counts)).with_state(Arc::clone(&probed));
    told(probed).route("/livez", get(async || "ok\n")).merge(counts)
}

pub(super) fn admin(state: Arc<State>) -> Router {
    let rules = Router::new()
        .route("/rules", get(rules))
        .route("/reload", post(reload))
        .route("/rollout", get(rollout))
        .with_state(Arc::clone(&state));
    told(state).merge(rules)
}

/// What both ports tell.
fn told(probed: Arc<dyn Probed>) -> Router {
    Router::new().route("/readyz", get(readyz)).route("/metrics", get(metrics)).with_state(probed)
}

async fn readyz(Extract(probed): Extract<Arc<dyn Probed>>) -> Response {
    let (ready, body) = probed.readiness();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

async fn metrics(Extract(probed): Extract<Arc<dyn Probed>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], probed.metrics()).into_response()
}

/// Without selectors, since anybody may ask.
async fn counts(Extract(probed): Extract<Arc<dyn Probed>>) -> Response {
    match probed.rollout() {
        Some(snapshot) => Json(snapshot).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn rollout(Extract(state): Shown) -> Json<Snapshot> {
    Json(state.snapshot(true))
}

impl State {
    fn snapshot(&self, selectors: bool) -> Snapshot {
        let (shared, status) = (&self.shared, self.operations.rules_status());
        let process = Process {
            instance: shared.instance.clone(),
            now: shared.clock.now(),
            digest: status.digest.map(|digest| hex::encode(&digest)),
            loaded: status.loaded,
            reload_failed: status.last_error.is_some(),
            draining: shared.health.is_draining(),
        };
        Snapshot::of(process, &shared.rules.load(), selectors)
    }
}

impl Probed for State {
    /// Own faults only: the application waits for us, and a shared key service would take all processes away at once.
    fn readiness(&self) -> (bool, Value) {
        let health = &self.shared.health;
        let ready = health.is_ready();
        // Why a reload failed may quote a rule; the admin port tells it.
        let reload_failed = self.operations.rules_status().last_error.is_some();
        let body = json!({
            "ready": ready,
            "rules": health.has_rules(),
            "keyring": health.has_keyring(),
            "draining": health.is_draining(),
            "last_reload": if reload_failed { "failed" } else { "ok" },
            // Told, and no reason to be unready: without this process there would be no answer instead of an alarm.
            "certificates": self.shared.certificates.look(self.shared.clock.now()).iter().map(|c| json!({
                "listener": c.listener,
                "expires_in": c.expires_in,
                "last_reload": if c.reload_failed { "failed" } else { "ok" },
            })).collect::<Vec<_>>(),
        });
        (ready, body)
    }

    fn metrics(&self) -> String {
        self.shared.certificates.look(self.shared.clock.now());
        self.shared.metrics.render()
    }

    fn rollout(&self) -> Option<Snapshot> {
        Some(self.snapshot(false))
    }
}

async fn rules(Extract(state): Shown) -> Json<Value> {
    let status = state.operations.rules_status();
    let rules = state.shared.rules.load();
    Json(json!({
        "digest": status.digest.map(|digest| hex::encode(&digest)),
        "loaded": status.loaded,
        "last_error": status.last_error,
        "rules": rules.rules.iter().map(|rule| summary(rule)).collect::<Vec<_>>(),
    }))
}

fn summary(rule: &Rule) -> Value {
    let actions = |actions: &[Arc<Action>]| {
        let shown = actions.iter().map(|action| {
            json!({
                "verb": format!("{:?}", action.verb).to_lowercase(),
                "mode": action.mode.word(),
                "fields": action.fields.iter().map(|f| json!({
                    "selector": &*f.selector,
                    "class": f.class.as_str(),
                })).collect::<Vec<_>>(),
            })
        });
        shown.collect::<Vec<_>>()
    };
    let mut shown = json!({ "name": &*rule.name, "pattern": &*rule.pattern });
    let more = match &rule.kind {
        RuleKind::Pass => json!({ "action": "pass" }),
        RuleKind::Reject => json!({ "action": "reject" }),
        RuleKind::Fields { request, response } => json!({ "request": actions(request), "response": actions(response) }),
    };
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

async fn reload(Extract(state): Shown) -> Response {
    let asked = Arc::clone(&state);
    match tokio::task::spawn_blocking(move || asked.operations.reload()).await {
        Ok(Ok(())) => Json(json!({ "reloaded": true })).into_response(),
        Ok(Err(findings)) => {
            let findings: Vec<Value> = findings.0.iter().map(Finding::to_json).collect();
            let body = json!({ "reloaded": false, "findings": findings });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
