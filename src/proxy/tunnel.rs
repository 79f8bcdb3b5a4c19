//! WebSockets (RFC 6455) on routes that no rule touches: the bytes of both sides pass through, in bounded buffers.
//! No other protocol is switched to: `h2c` would carry requests past the rules.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, Version, request};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time;

use crate::metrics::Limit;

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
            let idle = connection.front.shared.settings.timeouts.tunnel_idle;
            let moves = Moves::default();
            let (mut client, mut upstream) = (moves.of(TokioIo::new(client)), moves.of(TokioIo::new(upstream)));
            let copies = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER);
            match moves.while_any(idle, copies).await {
                Some(copied) => {
                    account.complete = copied.is_ok();
                    account.bytes = copied.map_or(0, |(_, to_client)| to_client);
                }
                None => connection.front.metrics.limited(Limit::TunnelIdle),
            }
        }
        drop(account);
        connection.front.tunnels.fetch_sub(1, Ordering::Relaxed);
    });
}

/// Whether bytes move, in either direction.
#[derive(Debug, Clone, Default)]
struct Moves(Arc<AtomicBool>);

/// One side of a tunnel.
struct Side<S> {
    stream: S,
    moves: Moves,
}

impl Moves {
    fn of<S>(&self, stream: S) -> Side<S> {
        Side { stream, moves: self.clone() }
    }

    /// The output of `copies`, or `None` once nothing has moved for `idle`, and at most for twice as long.
    async fn while_any<F: Future>(&self, idle: Option<Duration>, copies: F) -> Option<F::Output> {
        let Some(idle) = idle else { return Some(copies.await) };
        let mut copies = pin!(copies);
        loop {
            self.0.store(false, Ordering::Relaxed);
            match time::timeout(idle, copies.as_mut()).await {
                Ok(copied) => return Some(copied),
                Err(_) if self.0.load(Ordering::Relaxed) => {}
                Err(_) => return None,
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Side<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.moves.0.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Side<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.moves.0.store(true, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
