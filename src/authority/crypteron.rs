//! The Crypteron management face: security partitions, their versions and access-control entries, the breach switch of an application,
//! and API keys. It hands out no key bytes; values are sealed elsewhere under the partitions that it manages.
//!
//! `docs/apis/crypteron.md` is the description; what nobody has published is in `assumed`.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post, put};
use http::Uri;
use tower::Layer;
use tower::util::{MapRequestLayer, MapResponseLayer};

use super::Authority;

mod acl;
mod answer;
mod apikeys;
mod applications;
mod apps;
mod assumed;
mod body;
mod describe;
mod entity;
mod fate;
mod keys;
mod names;
mod roles;
mod session;
mod token;

/// Its routes, in any case.
pub fn router(authority: Arc<Authority>) -> Router {
    let routes = Router::new()
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", get(keys::read).put(keys::update).delete(keys::destroy))
        .route("/v1/apps/{app}", get(apps::read).put(apps::update))
        .route("/v1/apps/{app}/roles", get(roles::list).post(roles::create))
        .route("/v1/apps/{app}/roles/{role}", put(roles::set).delete(roles::remove))
        .route("/v1/apikeys", get(apikeys::list).post(apikeys::create))
        .route("/v1/apikeys/{id}", get(apikeys::read).delete(apikeys::revoke))
        .route("/v1/apikeys/{id}/refresh", post(apikeys::refresh))
        .route("/v1/token", post(token::create))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::not_allowed)
        .with_state(authority);
    // Before a route is looked for.
    let any_case = MapRequestLayer::new(in_lower_case).layer(routes.layer(MapResponseLayer::new(answer::unstored)));
    Router::new().fallback_service(any_case)
}

/// Its OpenAPI 3.1 document.
pub fn openapi() -> serde_json::Value {
    describe::document()
}

/// The words of a path in lower case and without a slash at its end; names and numbers as they are.
fn in_lower_case(mut request: Request) -> Request {
    let path = request.uri().path();
    let trimmed = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    let segments = trimmed.split('/').enumerate().map(|(at, segment)| match at {
        1 | 2 | 4 => segment.to_ascii_lowercase(),
        _ => segment.to_owned(),
    });
    let lower = segments.collect::<Vec<_>>().join("/");
    if lower != path {
        let target = match request.uri().query() {
            Some(query) => format!("{lower}?{query}"),
            None => lower,
        };
        if let Ok(uri) = target.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_written_in_any_case_and_names_are_not() {
        for (sent, routed) in [
            ("/V1/Keys/416", "/v1/keys/416"),
            ("/v1/KEYS/?AppId=Shop", "/v1/keys?AppId=Shop"),
            ("/v1/Apps/Shop/Roles/Teller", "/v1/apps/Shop/roles/Teller"),
            ("/V1/ApiKeys/7/Refresh", "/v1/apikeys/7/refresh"),
            ("/", "/"),
        ] {
            let request = Request::builder().uri(sent).body(axum::body::Body::empty()).unwrap();
            assert_eq!(in_lower_case(request).uri().to_string(), routed);
        }
    }
}
