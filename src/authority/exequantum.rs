//! The ExeQuantum face: its PQC API in both generations, ML-KEM-768, ML-DSA-65 and AES-256-GCM behind temporary tokens.
//!
//! Nothing here is sealed under a partition: what a caller may do is, by its role in one (`bits` in `session`), and the partition's
//! state reaches it like any other. `docs/apis/exequantum.md` is the description; what nobody has published is in `assumed`.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};

use super::Authority;

mod aes;
mod answer;
mod assumed;
mod describe;
mod fields;
mod kem;
mod kept;
mod later;
mod session;
mod signature;
mod token;

/// Its routes.
pub fn router(authority: Arc<Authority>) -> Router {
    // `get` would answer HEAD as well, and a token that nobody reads would be made.
    let alone = |route: MethodRouter<Arc<Authority>>| route.head(answer::head_not_allowed);
    let earlier = Router::new()
        .route("/api/token/new", alone(get(token::new)))
        .route("/api/kem/generate_keys", alone(get(kem::generate)))
        .route("/api/kem/encapsulate_key", post(kem::encapsulate))
        .route("/api/kem/decapsulate_key", post(kem::decapsulate))
        .route("/api/signature/sign", post(signature::sign))
        .route("/api/signature/verify", post(signature::verify))
        .route("/api/aes/encrypt_text", post(aes::encrypt))
        .route("/api/aes/decrypt_text", post(aes::decrypt));
    // Documented with a slash at the end; some clients leave it away.
    let later = ["", "/"].into_iter().fold(Router::new(), |router, end| {
        let at = |path: &str| format!("/api/v1/pqc/{path}{end}");
        router
            .route(&at("kem/generate-keys"), post(later::generate_kem))
            .route(&at("kem/encapsulate"), post(later::encapsulate))
            .route(&at("kem/decapsulate"), post(later::decapsulate))
            .route(&at("sign/generate-keys"), post(later::generate_sign))
            .route(&at("sign/sign"), post(later::sign))
            .route(&at("sign/verify"), post(later::verify))
    });
    earlier
        .merge(later)
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::not_allowed)
        .with_state(authority)
}

/// Its OpenAPI 3.1 document.
pub fn openapi() -> serde_json::Value {
    describe::document()
}
