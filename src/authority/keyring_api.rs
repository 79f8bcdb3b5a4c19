//! The keyring for sidecars without access to the store, `/keyring/v1`: records as they lie there, decapsulation, and signatures
//! for epochs that they make. A sidecar sees its own partitions, and nothing here returns a private key or a data key.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::Authority;
use crate::remote_keyring::wire::PREFIX;

mod access;
mod document;
mod epochs;
mod events;
mod partitions;
mod problem;
mod reports;
mod request;

use events::Events;

/// What all routes share.
#[derive(Clone)]
struct Api {
    authority: Arc<Authority>,
    events: Arc<Events>,
}

/// Its routes.
pub fn router(authority: Arc<Authority>) -> Router {
    let events = Events::new(&authority);
    let routes = Router::new()
        .route("/keys", get(partitions::keys))
        .route("/events", get(events::stream))
        .route("/look", post(partitions::look))
        .route("/counts", post(reports::counts))
        .route("/tombstones", get(epochs::tombstones))
        .route("/partitions/{name}", get(partitions::record).post(partitions::provision))
        .route("/partitions/{name}/current", get(epochs::current))
        .route("/partitions/{name}/previous", get(epochs::previous))
        .route("/partitions/{name}/epochs", post(epochs::insert))
        .route("/partitions/{name}/issue", post(epochs::issue))
        .route("/epochs/{id}", get(epochs::one))
        .route("/epochs/{id}/decapsulate", post(epochs::decapsulate));
    Router::new()
        .nest(PREFIX, routes)
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .with_state(Api { authority, events })
}

/// Its OpenAPI 3.1 document.
pub fn openapi() -> serde_json::Value {
    document::openapi()
}
