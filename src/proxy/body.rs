//! What happens to bodies. No rule touches one yet, so both directions pass unbuffered, byte for byte.

use std::sync::Arc;

use hyper::body::Incoming;

use crate::refusal::Refusal;

pub use super::payload::Body;

use super::exchange::Exchange;

/// A request's body on its way to the upstream.
#[expect(clippy::unused_async, reason = "a rule may wait for a key")]
pub(crate) async fn request(
    _ctx: &Arc<Exchange>,
    _parts: &mut http::request::Parts,
    body: Incoming,
) -> Result<Body, Refusal> {
    Ok(Body::Incoming(body))
}

/// An answer's body on its way to the client.
#[expect(clippy::unused_async, reason = "a rule may wait for a key")]
pub(crate) async fn response(
    _ctx: &Arc<Exchange>,
    _parts: &mut http::response::Parts,
    body: Incoming,
) -> Result<Body, Refusal> {
    Ok(Body::Incoming(body))
}
