//! (interface; owner: crypteron) The Crypteron management face.

use std::sync::Arc;

use axum::Router;

use super::Authority;

/// Its routes.
pub fn router(_authority: Arc<Authority>) -> Router {
    Router::new()
}

/// Its OpenAPI 3.1 document.
pub fn openapi() -> serde_json::Value {
    serde_json::Value::Null
}
