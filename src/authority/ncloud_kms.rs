//! The NAVER Cloud KMS face: `/kms/v1/keys…` as the vendor's clients speak it (`docs/apis/ncloud-kms.md`).
//!
//! A key is the partition that its keyTag names, with an entry in the directory; its version n is the n-th deterministic epoch,
//! which has no end, so versions change when somebody rotates the key and not by the day.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post, put};

use super::Authority;
use fault::Fault;
use hot::Face;

mod assumptions;
mod body;
mod entry;
mod fault;
mod hot;
mod identity;
mod keys;
mod lifecycle;
mod openapi;
mod private;
mod sealing;
mod signature;
mod signing;
mod status;
mod tokens;
mod values;

pub use identity::SECRET_KEY;
pub use lifecycle::{Due, run_due};
pub use openapi::openapi;
pub use signature::sign;

/// Its routes.
pub fn router(authority: Arc<Authority>) -> Router {
    let of = |verb: &str| format!("/kms/v1/keys/{{tag}}/{verb}");
    Router::new()
        .route(&of("encrypt"), post(values::encrypt))
        .route(&of("decrypt"), post(values::decrypt))
        .route(&of("re-encrypt"), post(values::reencrypt))
        .route(&of("reencrypt"), post(values::reencrypt))
        .route(&of("create-custom-key"), post(values::custom_key))
        .route(&of("sign"), post(signing::sign))
        .route(&of("verify"), post(signing::verify))
        .route(&of("get-pub-key"), post(signing::public_key))
        .route(&of("token-set"), post(tokens::create).put(tokens::renew))
        .route(&of("access-token"), post(tokens::access))
        .route("/kms/v1/keys", get(keys::list).post(keys::create))
        .route("/kms/v1/keys/{tag}", get(keys::info).delete(keys::delete))
        .route(&of("enable"), post(keys::enable))
        .route(&of("disable"), post(keys::disable))
        .route(&of("rotate"), post(keys::rotate))
        .route(&of("request-deletion"), post(keys::request_deletion))
        .route(&of("cancel-deletion"), post(keys::cancel_deletion))
        .route(&of("rotation-period"), put(keys::rotation_period))
        .route(&of("enable-auto-rotation"), post(keys::auto_rotation))
        .route(&of("disable-auto-rotation"), post(keys::no_auto_rotation))
        .route(&of("versions"), get(keys::versions))
        .route(&of("versions/{version}/enable"), post(keys::enable_version))
        .route(&of("versions/{version}/disable"), post(keys::disable_version))
        .fallback(nowhere)
        .method_not_allowed_fallback(nowhere)
        .with_state(Arc::new(Face::new(authority)))
}

async fn nowhere() -> Fault {
    Fault::not_found()
}
