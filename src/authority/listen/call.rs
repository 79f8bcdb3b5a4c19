//! One call: its bounds, its face, and an answer whatever happens.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body::Body as _;
use http_body_util::Limited;
use hyper::body::Incoming;
use tokio::time;
use tower::{Layer, ServiceExt};

use super::body::{Answer, Call, Metered};
use super::connection::Activity;
use super::{Front, Peer};

/// The longest body that any face takes; most take less.
const MAX_BODY: usize = 8 << 20;
/// An answer up to this is no work any more, only a client that may take its time; refusals are all shorter.
const SMALL: u64 = 1 << 10;

pub(super) async fn serve(
    front: &Arc<Front>,
    activity: Arc<Activity>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<Body> {
    let mut call = Call::begin(activity, Arc::clone(&front.metrics));
    let answer =
        match (is_for_document(&request) && !front.document.is_empty(), Arc::clone(&front.calls).try_acquire_owned()) {
            // No call: everybody may have it, and all take the same bytes.
            (true, _) => ([(header::CONTENT_TYPE, "application/json")], front.document.clone()).into_response(),
            (false, Ok(permit)) => {
                call.permit = Some(permit);
                guarded(front, peer, request).await
            }
            (false, Err(_)) => problem(StatusCode::SERVICE_UNAVAILABLE),
        };
    call.status = answer.status().as_u16();
    let endless = is_endless(answer.headers());
    if endless || answer.body().size_hint().exact().is_some_and(|size| size <= SMALL) {
        // A sidecar listens for as long as it runs, and who leaves answers lying may be anybody; both are bounded by connections
        // and their streams.
        call.permit = None;
    }
    let mut closing = front.closing.clone();
    let closed = async move { drop(closing.wait_for(|closing| *closing).await) };
    let until = endless.then(|| Box::pin(closed) as _);
    answer.map(|inner| Body::new(Answer { inner, until, _call: call }))
}

/// An answer within the time for one, also where a handler panics.
async fn guarded(front: &Arc<Front>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let spent = Arc::new(AtomicBool::new(false));
    let answering = AssertUnwindSafe(answer(front, peer, request, &spent)).catch_unwind();
    match time::timeout(front.timeouts.call, answering).await {
        // Whatever a face makes of a body that breaks off: this was no fault of the caller's.
        Ok(Ok(_)) if spent.load(Ordering::Acquire) => problem(StatusCode::SERVICE_UNAVAILABLE),
        Ok(Ok(answer)) => answer,
        // The hook of panics has told the place.
        Ok(Err(_)) => problem(StatusCode::INTERNAL_SERVER_ERROR),
        Err(_) => {
            tracing::warn!(listener = front.name, "a call took too long and was broken off");
            problem(StatusCode::GATEWAY_TIMEOUT)
        }
    }
}

async fn answer(front: &Front, peer: &Peer, request: Request<Incoming>, spent: &Arc<AtomicBool>) -> Response<Body> {
    let path = request.uri().path();
    let Some((_, router)) = front.routes.iter().find(|(prefix, _)| under(path, prefix)) else {
        return problem(StatusCode::NOT_FOUND);
    };
    if announced(request.headers()).is_some_and(|length| length > MAX_BODY as u64) {
        return problem(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let Some(lease) = front.budget.try_take(0) else { return problem(StatusCode::SERVICE_UNAVAILABLE) };
    let mut request =
        request.map(|body| Body::new(Metered { inner: Limited::new(body, MAX_BODY), lease, spent: Arc::clone(spent) }));
    request.extensions_mut().insert(peer.clone());
    // A face that wants less says so in a layer of its own.
    match DefaultBodyLimit::max(MAX_BODY).layer(router.clone()).oneshot(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(never) => match never {},
    }
}

fn is_for_document(request: &Request<Incoming>) -> bool {
    request.uri().path() == "/openapi.json" && matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Whether a path is the prefix, or goes on below it.
fn under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_endless(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// A problem document (RFC 9457) for what no face answers.
fn problem(status: StatusCode) -> Response<Body> {
    let body = serde_json::json!({ "title": status.canonical_reason(), "status": status.as_u16() }).to_string();
    let mut answer = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_slash() {
        assert!(under("/keyring/v1", "/keyring/v1") && under("/keyring/v1/x", "/keyring/v1"));
        assert!(!under("/keyring/v10", "/keyring/v1") && !under("/", "/keyring/v1"));
        assert!(under("/", "") && under("/v1/x", ""));
    }
}
