//! WebSockets (RFC 6455) on routes that no rule touches: the bytes of both sides pass through, in bounded buffers.
//! No other protocol is switched to: `h2c` would carry requests past the rules.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, Version, request};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::account::Account;
use super::connection::Connection;
use super::headers::has_token;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// Of each direction.
const BUFFER: usize = 16 * 1024;

/// A client's wish to switch to WebSocket; to be asked before hop-by-hop fields go.
pub(super) fn wanted(parts: &mut request::Parts) -> Option<OnUpgrade> {
    let asks = parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && parts.headers.contains_key(header::UPGRADE)
        && has_token(&parts.headers, &header::CONNECTION, "upgrade")
        && has_token(&parts.headers, &header::UPGRADE, "websocket");
    if asks { parts.extensions.remove::<OnUpgrade>() } else { None }
}

/// The fields that ask for it, for the next hop.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// If the upstream has switched, joins both sides when the client has its 101; the account ends with the tunnel.
pub(super) fn join<B>(
    connection: &Arc<Connection>,
    client: OnUpgrade,
    response: &mut Response<B>,
    mut account: Box<Account>,
) {
    debug_assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS, "asked for by the caller");
    let upstream = hyper::upgrade::on(response);
    let connection = Arc::clone(connection);
    connection.front.tunnels.fetch_add(1, Ordering::Relaxed);
    tokio::spawn(async move {
        if let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) {
            let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            let copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await;
            account.complete = copied.is_ok();
            account.bytes = copied.map_or(0, |(_, to_client)| to_client);
        }
        drop(account);
        connection.front.tunnels.fetch_sub(1, Ordering::Relaxed);
    });
}
