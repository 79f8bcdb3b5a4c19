//! One HTTP/2 connection to one address, opened when needed. A pool keyed by authority would open one for every Host that
//! a client thinks of.

use std::time::{Duration, Instant};

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{Mutex, MutexGuard};

use crate::proxy::stream::Stream;

use super::outgoing::Outgoing;
use super::pool::jittered;

/// Bytes of one answer that may come before its client takes them.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same of all answers of a connection: forty slow clients do not hold up the others.
const CONNECTION_WINDOW: u32 = 5 * 1024 * 1024;

/// The connection of one address.
#[derive(Debug, Default)]
pub(super) struct Http2 {
    current: Mutex<Option<Standing>>,
}

/// A connection that was made; whether it still stands is looked at before use.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) sender: SendRequest<Outgoing>,
    /// Tells connections apart.
    made: Instant,
    retires: Instant,
}

/// How such connections are held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Http2Limits {
    pub(super) header: usize,
    pub(super) ping: Duration,
    pub(super) max_age: Duration,
}

impl Http2 {
    /// The place of the connection. Held over a connect, so that all wait for one connection instead of opening many; the
    /// connect has a timeout.
    pub(super) async fn place(&self) -> MutexGuard<'_, Option<Standing>> {
        self.current.lock().await
    }

    /// A connection that takes no more requests, though it may not have ended yet.
    pub(super) async fn forget(&self, old: &Standing) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|current| current.made == old.made) {
            *current = None;
        }
    }
}

/// The connection, if it stands and is not too old.
pub(super) fn standing(place: &Option<Standing>) -> Option<Standing> {
    let fit = |current: &&Standing| !current.sender.is_closed() && Instant::now() < current.retires;
    place.as_ref().filter(fit).cloned()
}

/// Begins HTTP/2 on a new connection. One that it replaces goes on until its last exchange is done.
pub(super) async fn begin(
    place: &mut Option<Standing>,
    stream: Stream,
    limits: Http2Limits,
) -> Result<Standing, hyper::Error> {
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.ping)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.header).unwrap_or(u32::MAX))
        .handshake(stream);
    let (sender, connection) = handshake.await?;
    tokio::spawn(async move { drop(connection.await) });
    let made = Instant::now();
    let standing = Standing { sender, made, retires: made + jittered(limits.max_age) };
    *place = Some(standing.clone());
    Ok(standing)
}
