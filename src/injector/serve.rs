//! The webhook over HTTP: `POST /mutate` and `POST /validate`.

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::review::Request;
use super::{Outcome, Settings, check, inject};
use crate::metrics::{Injection, Metrics};

/// An object and what it was before; neither is longer in an API server's store than 1.5 MiB.
pub const MAX_BODY: usize = 3 << 20;

struct Injector {
    settings: Settings,
    metrics: Metrics,
}

/// The routes.
pub fn router(settings: Settings, metrics: Metrics) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(Injector { settings, metrics }))
}

type Body = Result<Bytes, BytesRejection>;

async fn mutate(State(injector): State<Arc<Injector>>, headers: HeaderMap, body: Body) -> Response {
    answer(&injector, &headers, body, |settings, request| match request.operation.as_str() {
        "CREATE" if request.sub_resource.is_empty() => inject(settings, &request.object),
        _ => Outcome::Unchanged,
    })
}

async fn validate(State(injector): State<Arc<Injector>>, headers: HeaderMap, body: Body) -> Response {
    answer(&injector, &headers, body, |settings, request| {
        let old = Some(&request.old_object).filter(|old| old.is_object());
        check(settings, &request.object, old).map_or(Outcome::Unchanged, Outcome::Refused)
    })
}

/// Never waits: so that no more bodies are trees at a time than there are threads.
fn answer(
    injector: &Injector,
    headers: &HeaderMap,
    body: Body,
    decide: impl FnOnce(&Settings, &Request) -> Outcome,
) -> Response {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is not application/json; send an AdmissionReview",
        );
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 3 MiB; make the pod smaller");
        }
        Err(_) => return problem(StatusCode::BAD_REQUEST, "the body broke off; send it again"),
    };
    let request = match Request::read(&body) {
        Ok(request) => request,
        Err(message) => return problem(StatusCode::BAD_REQUEST, message),
    };
    let outcome = match injector.settings.excluded.contains(&request.namespace) {
        true => Outcome::Unchanged,
        false => decide(&injector.settings, &request),
    };
    let word = match &outcome {
        Outcome::Unchanged => Injection::Unchanged,
        Outcome::Injected(_) => Injection::Injected,
        Outcome::Refused(_) => Injection::Refused,
    };
    let dry = request.dry_run.unwrap_or_default();
    if !dry {
        injector.metrics.injection(word);
    }
    if word != Injection::Unchanged {
        let (namespace, pod) = (short(&request.namespace), short(request.called()));
        tracing::info!(namespace, pod, outcome = word.word(), dry_run = dry, "a pod was reviewed");
    }
    Json(request.answer(&outcome)).into_response()
}

/// A name as Kubernetes has them; what is longer is none.
fn short(name: &str) -> &str {
    if name.len() <= 253 { name } else { "" }
}

/// In the form of the API server's own errors, which shows the message to who asked.
fn problem(status: StatusCode, message: &str) -> Response {
    let body: Value = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": status.as_u16(),
        "message": format!("Sidecloak: {message}"),
    });
    (status, Json(body)).into_response()
}
