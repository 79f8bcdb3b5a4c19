//! What comes before the first request on a connection: a header of the PROXY protocol, and the handshake.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::LazyConfigAcceptor;

use crate::metrics::Limit;
use crate::tls::fault;
use crate::tls::server::Server;

use super::connection::{FIRST_REQUEST, Front};
use super::crowd::Client;
use super::proxy_protocol;
use super::settings::ProxyProtocol;
use super::stream::{Socket, Stream};

/// The type of the record that a handshake begins with (RFC 8446 § 5.1).
const HANDSHAKE: u8 = 22;
/// To a client that speaks HTTP in the clear.
const WRONG_PORT: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 60\r\nconnection: close\r\n\r\n\
plain HTTP was sent to a port that speaks TLS: use https://\n";
/// How long, and for how much, such a client is listened to, so that the answer is not lost in a reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// A handshake has this long, whoever waits for its place.
const UNDISTURBED: Duration = Duration::from_secs(1);

/// A connection that is ready for requests.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: Stream,
    /// `None`: a unix socket, or a source that the PROXY protocol did not name.
    pub(super) peer: Option<SocketAddr>,
    /// The place that it takes of its client's; `None`: clients have no bound, or this one has no address.
    pub(super) client: Option<Client>,
}

/// Within `timeouts.handshake`; `None`: it came to nothing, and was told of.
pub(super) async fn arrive(front: &Front, socket: Socket, peer: Option<SocketAddr>) -> Option<Arrival> {
    if front.tls.is_none() && front.listener.proxy_protocol == ProxyProtocol::Off {
        return Some(Arrival { stream: Stream::plain(socket), peer, client: client(front, peer)? });
    }
    // Boxed, so that it is not part of every connection's future for as long as that lasts.
    let arrives = Box::pin(async {
        tokio::select! {
            arrived = time::timeout(front.shared.settings.timeouts.handshake, greet(front, socket, peer)) => arrived,
            // Nothing was asked for yet that could be lost.
            () = closed(front) => Ok(None),
        }
    });
    match arrives.await {
        Ok(arrived) => arrived,
        Err(_) => {
            failed(front, "it took too long");
            None
        }
    }
}

/// One of the client's places; `None`: it has them all. Before a handshake, which can be made to last.
fn client(front: &Front, peer: Option<SocketAddr>) -> Option<Option<Client>> {
    let place = front.shared.crowd.client(peer.map(|peer| peer.ip()));
    if place.is_err() {
        front.metrics.limited(Limit::ClientConnections);
    }
    place.ok()
}

/// Until a drain has waited for the connection for as long as it waits for a first request.
async fn closed(front: &Front) {
    let mut closing = front.closing.clone();
    drop(closing.wait_for(|closing| *closing).await);
    time::sleep(FIRST_REQUEST).await;
}

async fn greet(front: &Front, mut socket: Socket, mut peer: Option<SocketAddr>) -> Option<Arrival> {
    let announced = match (&mut socket, peer) {
        (Socket::Tcp(stream), Some(address)) => proxy_protocol::source(&front.listener, stream, address).await,
        // No list of addresses holds it, so it is nobody who may announce.
        _ if front.listener.proxy_protocol == ProxyProtocol::Required => {
            Err("a unix socket, where proxy_protocol is required")
        }
        _ => Ok(peer),
    };
    match announced {
        Ok(source) => peer = source,
        Err(reason) => {
            failed(front, reason);
            return None;
        }
    }
    let client = client(front, peer)?;
    let Some((tls, _)) = &front.tls else { return Some(Arrival { stream: Stream::plain(socket), peer, client }) };
    if let Socket::Tcp(stream) = &mut socket {
        let mut first = [0];
        match stream.peek(&mut first).await {
            // It has come to see whether we are there.
            Ok(0) | Err(_) => return None,
            Ok(_) if first != [HANDSHAKE] => {
                failed(front, "not TLS");
                if first.iter().all(u8::is_ascii_uppercase) {
                    drop(time::timeout(LINGER, turn_away(stream)).await);
                }
                return None;
            }
            Ok(_) => {}
        }
    }
    match handshake(front, tls, socket).await {
        Ok(stream) => Some(Arrival { stream, peer, client }),
        Err(reason) => {
            failed(front, reason);
            None
        }
    }
}

async fn handshake(front: &Front, tls: &Server, socket: Socket) -> Result<Stream, &'static str> {
    let broken = |error: io::Error| fault::with_client(&error);
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await.map_err(broken)?;
    // Only who has said hello, which is what costs, counts against those at once.
    let _place = front.handshakes.take(&mut false).await;
    // A client that stands still after its hello would keep its place from others, for nothing.
    let wanted = async {
        time::sleep(UNDISTURBED).await;
        front.handshakes.wanted().await;
    };
    tokio::select! {
        stream = hello.into_stream(tls.config()) => Ok(Stream::tls(stream.map_err(broken)?)),
        () = wanted => Err("it took long while others waited"),
    }
}

async fn turn_away(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(WRONG_PORT).await?;
    stream.shutdown().await?;
    let mut left = LINGER_BYTES;
    let mut ignored = [0; 1024];
    while left > 0 {
        match stream.read(&mut ignored).await? {
            0 => break,
            n => left = left.saturating_sub(n),
        }
    }
    Ok(())
}

fn failed(front: &Front, reason: &'static str) {
    let failures = front.tls.as_ref().map_or(&front.unannounced, |(_, metrics)| metrics.failures());
    if let Some(before) = failures.count() {
        tracing::warn!(listener = %front.listener.name, reason, before, "a connection came to nothing");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_in_the_clear_is_as_long_as_it_says() {
        let text = std::str::from_utf8(WRONG_PORT).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
    }
}
