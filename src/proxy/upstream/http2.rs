//! One HTTP/2 connection to one target (prior knowledge), opened when needed. A pool keyed by authority would open one
//! for every Host that a client thinks of.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Mutex;
use tokio::time;

use crate::proxy::payload::Outgoing;
use crate::refusal::{Reason, Refusal};

use super::connect::Connector;
use super::refusal;
use super::tls::Offer;

pub(super) struct Http2 {
    connector: Connector,
    target: usize,
    header_limit: usize,
    ping: Duration,
    current: Mutex<Option<SendRequest<Outgoing>>>,
}

impl Http2 {
    pub(super) fn new(connector: Connector, target: usize, header_limit: usize, ping: Duration) -> Self {
        Self { connector, target, header_limit, ping, current: Mutex::new(None) }
    }

    /// Sends a request; once more on a new connection, if the old one ended before it took the request.
    pub(super) async fn send(&self, mut request: Request<Outgoing>) -> Result<Response<Incoming>, Refusal> {
        for last in [false, true] {
            let mut sender = self.sender().await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !last => request = unsent,
                    _ => return Err(refusal(error.error(), false)),
                },
            }
        }
        Err(Refusal::new(Reason::Upstream, "the upstream closes every connection"))
    }

    async fn sender(&self) -> Result<SendRequest<Outgoing>, Refusal> {
        // Held over the connect, so that all wait for one connection instead of opening many; the connect has a timeout.
        let mut current = self.current.lock().await;
        if let Some(sender) = current.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = self.connector.connect(self.target, Offer::Http2).await.map_err(|e| refusal(&e, true))?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.ping)
            .keep_alive_timeout(self.ping)
            .max_header_list_size(u32::try_from(self.header_limit).unwrap_or(u32::MAX))
            .handshake(stream);
        let (sender, connection) = match time::timeout(self.ping, handshake).await {
            Ok(made) => made.map_err(|e| refusal(&e, true))?,
            Err(_) => return Err(Refusal::new(Reason::Timeout, "the upstream does not begin HTTP/2")),
        };
        tokio::spawn(async move { drop(connection.await) });
        *current = Some(sender.clone());
        Ok(sender)
    }
}
