//! The connections: kept for a short while, checked while in use, never through a proxy.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo};
use hyper_util::client::legacy::{Builder, Client as Pool, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::{BoxError, Service};

use super::super::settings::EndpointTls;
use super::faults;
use crate::tls;

/// To one of the host's addresses.
const CONNECT: Duration = Duration::from_secs(2);
/// For a connection with its name looked up and its TLS handshake, whoever still waits for it.
const OPEN: Duration = Duration::from_secs(10);
/// Shorter than what load balancers keep idle connections for.
const IDLE: Duration = Duration::from_secs(15);
const MAX_IDLE: usize = 16;
/// A connection that many streams share and nobody answers on would fail all of them for as long as the system re-sends.
const ALIVE: Duration = Duration::from_secs(5);
const MAX_HEADER: usize = 64 * 1024;

pub(super) struct Wire {
    pool: Transport,
    answered: Answered,
}

enum Transport {
    Tls(Pool<InTime<HttpsConnector<HttpConnector>>, Full<Bytes>>),
    Plain(Pool<InTime<HttpConnector>, Full<Bytes>>),
}

impl Wire {
    pub(super) fn plain() -> Self {
        Self { pool: Transport::Plain(builder().build(InTime(tcp()))), answered: Answered::default() }
    }

    pub(super) fn secure(settings: &EndpointTls) -> Result<Self, String> {
        Ok(Self { pool: Transport::Tls(builder().build(https(settings)?)), answered: Answered::default() })
    }

    /// Sends it. If a connection that was idle turns out to be dead, once more at once: the other side has not read it, or was
    /// asked for what it may as well do twice.
    pub(super) async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let again = request.clone();
        let sent = match self.pool.request(request).await {
            Err(error) if faults::ended_silently(&error) && self.answered.before(&error) => {
                self.pool.request(again).await
            }
            sent => sent,
        };
        if let Ok(response) = &sent {
            self.answered.note(response);
        }
        sent
    }
}

impl Transport {
    async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        match self {
            Self::Tls(pool) => pool.request(request).await,
            Self::Plain(pool) => pool.request(request).await,
        }
    }
}

fn https(settings: &EndpointTls) -> Result<InTime<HttpsConnector<HttpConnector>>, String> {
    let tls = tls::client::pinned(&settings.client, &settings.pins).map_err(|error| error.to_string())?;
    let builder = HttpsConnectorBuilder::new().with_tls_config((*tls).clone()).https_only();
    Ok(InTime(builder.enable_http1().enable_http2().wrap_connector(tcp())))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp
}

fn builder() -> Builder {
    let mut builder = Pool::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MAX_IDLE)
        .http1_max_buf_size(MAX_HEADER)
        .http2_max_header_list_size(64 * 1024)
        .http2_keep_alive_interval(ALIVE)
        .http2_keep_alive_timeout(ALIVE);
    builder
}

/// Where a call gets another connection meanwhile, the pool goes on with the one that it began: a server that never ends its
/// handshakes would hold a socket for each.
#[derive(Clone)]
struct InTime<C>(C);

impl<C> Service<Uri> for InTime<C>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(OPEN, self.0.call(uri));
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the handshake was not done in time");
            connecting.await.map_err(late)?.map_err(Into::into)
        })
    }
}

/// Connections that have brought an answer before, by their own address: when one of them ends without a byte, that says nothing
/// of the next. The pool knows, and does not tell. An address that the system gives out again costs one try too many.
#[derive(Default)]
struct Answered(Mutex<VecDeque<SocketAddr>>);

impl Answered {
    /// More than the pool keeps.
    const MOST: usize = 4 * MAX_IDLE;

    fn note(&self, response: &Response<Incoming>) {
        let Some(address) = response.extensions().get().map(HttpInfo::local_addr) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&address) {
            known.truncate(Self::MOST - 1);
            known.push_front(address);
        }
    }

    fn before(&self, error: &Error) -> bool {
        let mut extras = Extensions::new();
        if let Some(connection) = error.connect_info() {
            connection.get_extras(&mut extras);
        }
        let Some(address) = extras.get().map(HttpInfo::local_addr) else { return false };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        known.retain(|known| *known != address);
        known.len() < before
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_never_ends_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("https://127.0.0.1:{}", silent.local_addr().unwrap().port()).parse().unwrap();
        // As the pool has it done, also when the call has gone away.
        let connecting = tokio::spawn(https(&EndpointTls::default()).unwrap().call(uri));
        let (_held, _) = silent.accept().await.unwrap();
        assert!(connecting.await.unwrap().is_err());
    }
}
