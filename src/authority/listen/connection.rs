//! One connection, to its end: HTTP/1.1 or HTTP/2, calls on it, and no silence for too long.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::time::{self, Instant};

use super::{Front, Peer, Timeouts, call};

/// How often silence is looked for, at least.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a drain waits for the first call of a connection that has made none yet.
const FIRST_CALL: Duration = Duration::from_secs(1);
/// Smaller is not possible for hyper.
const SMALLEST_HEADER_LIMIT: usize = 8192;
const STREAMS: u32 = 128;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const PING: Duration = Duration::from_secs(30);

/// What is going on on a connection.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    /// Milliseconds after `began` of the last sign of life.
    last: AtomicU64,
    /// Calls that run, their answers included.
    running: AtomicUsize,
    /// Calls so far.
    calls: AtomicUsize,
}

impl Activity {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
        }
    }

    pub(super) fn begin(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        self.sign();
    }

    pub(super) fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.sign();
    }

    pub(super) fn sign(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    fn silent_for(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    fn is_over(&self, timeouts: &Timeouts) -> bool {
        let counts = (self.calls.load(Ordering::Relaxed), self.running.load(Ordering::Relaxed));
        self.silent_for() > bound(counts, timeouts)
    }
}

/// How long a connection with so many calls, of which so many run, may be silent.
fn bound(counts: (usize, usize), timeouts: &Timeouts) -> Duration {
    match counts {
        // hyper does not time the bytes that tell the version.
        (0, _) => timeouts.headers,
        (_, 0) => timeouts.idle,
        _ => timeouts.stalled,
    }
}

pub(super) async fn serve<S: Read + Write + Unpin + Send + 'static>(front: &Arc<Front>, stream: S, peer: Peer) {
    let activity = Arc::new(Activity::new());
    let service = {
        let (front, activity, peer) = (Arc::clone(front), Arc::clone(&activity), Arc::new(peer));
        service_fn(move |request| {
            let (front, activity, peer) = (Arc::clone(&front), Arc::clone(&activity), Arc::clone(&peer));
            async move { Ok::<_, Infallible>(call::serve(&front, activity, &peer, request).await) }
        })
    };
    let builder = builder(front);
    let mut serving = pin!(builder.serve_connection(stream, service));
    let mut closing = front.closing.clone();
    let over = async {
        while !activity.is_over(&front.timeouts) {
            time::sleep(front.timeouts.headers.min(LOOK_EVERY)).await;
        }
    };
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = over => return,
        _ = closing.wait_for(|closing| *closing) => None,
    };
    if ended.is_some() {
        return;
    }
    // hyper would close a connection at once that has sent nothing yet: its first call may be on the way.
    if activity.calls.load(Ordering::Relaxed) == 0 && time::timeout(FIRST_CALL, serving.as_mut()).await.is_ok() {
        return;
    }
    serving.as_mut().graceful_shutdown();
    // The deadline of the drain is the bound.
    drop(serving.await);
}

fn builder(front: &Front) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(front.timeouts.headers)
        .max_buf_size(front.header.max(SMALLEST_HEADER_LIMIT));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(front.header).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_has_a_bound_that_depends_on_what_is_waited_for() {
        let (timeouts, activity) = (Timeouts::default(), Activity::new());
        let counts = || (activity.calls.load(Ordering::Relaxed), activity.running.load(Ordering::Relaxed));
        assert_eq!(bound(counts(), &timeouts), timeouts.headers);
        activity.begin();
        assert_eq!(bound(counts(), &timeouts), timeouts.stalled);
        assert!(timeouts.stalled > timeouts.call);
        activity.end();
        assert_eq!(bound(counts(), &timeouts), timeouts.idle);
        assert!(!activity.is_over(&timeouts));
        std::thread::sleep(Duration::from_millis(5));
        assert!(activity.is_over(&Timeouts { idle: Duration::ZERO, ..timeouts }));
        activity.sign();
        assert!(!activity.is_over(&timeouts));
    }
}
