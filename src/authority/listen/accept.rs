//! Taking connections, and their handshakes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time;
use tokio_rustls::TlsAcceptor;

use super::{Front, Peer, connection};
use crate::tls::{fault, server};

/// So as not to spin when no file descriptors are left.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Accepts until the drain closes the listener, then waits for the connections.
pub(super) async fn run(front: Arc<Front>, socket: std::net::TcpListener) {
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listener = front.name, %error, "cannot listen");
            return;
        }
    };
    let mut connections = JoinSet::new();
    let mut closing = front.closing.clone();
    loop {
        // At the limit no more is accepted: the system's backlog waits, bounded, for us.
        let next = async { (Arc::clone(&front.connections).acquire_owned().await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            biased;
            // First, so that what the system has accepted for us is served before the listener closes.
            next = next => next,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        while connections.try_join_next().is_some() {}
        match (permit, accepted) {
            (Ok(permit), Ok((stream, address))) => {
                connections.spawn(serve(Arc::clone(&front), stream, address, permit));
            }
            (Ok(_), Err(error)) => {
                tracing::warn!(listener = front.name, %error, "a connection could not be accepted");
                time::sleep(AFTER_FAILED_ACCEPT).await;
            }
            (Err(_), _) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(front: Arc<Front>, stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
    // Without it answers are only later.
    drop(stream.set_nodelay(true));
    match &front.tls {
        None => connection::serve(&front, TokioIo::new(stream), Peer { address, identity: None }).await,
        Some((tls, metrics)) => {
            let handshake = TlsAcceptor::from(tls.config()).accept(stream);
            let failed = match time::timeout(front.timeouts.handshake, handshake).await {
                Ok(Ok(stream)) => {
                    let identity = server::identity(stream.get_ref().1);
                    return connection::serve(&front, TokioIo::new(stream), Peer { address, identity }).await;
                }
                Ok(Err(error)) => fault::with_client(&error),
                Err(_) => "it took too long",
            };
            if let Some(before) = metrics.failed() {
                tracing::warn!(listener = front.name, reason = failed, before, "a TLS handshake failed");
            }
        }
    }
    drop(permit);
}
