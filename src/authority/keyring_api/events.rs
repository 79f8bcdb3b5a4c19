//! The event stream: which change number the store has, and that it still can be read.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Api;
use super::problem::Problem;
use super::request::parameter;
use crate::authority::credentials::Purpose;
use crate::authority::identity::identify;
use crate::authority::listen::Peer;
use crate::authority::{Authority, Refused, blocking};
use crate::crypto::random;
use crate::remote_keyring::wire::HEARTBEAT;

/// How often the store is asked while somebody listens.
const POLL: Duration = Duration::from_millis(200);
/// Without an answer of the store for so long there are no heartbeats: what sidecars have may be stale.
const SILENT: Duration = Duration::from_secs(2);
/// How often a stream's caller is authenticated anew: a stream ends that soon after its key was revoked or its token ran out.
const ASKED: Duration = Duration::from_secs(5);
/// After that it ends in any case.
const LIFE: Duration = Duration::from_secs(600);
const MAX_STREAMS: usize = 4096;

/// What the store last said, and when.
type Last = Option<(u64, Instant)>;

/// See the module.
pub struct Events {
    authority: Weak<Authority>,
    last: watch::Sender<Last>,
    /// Another one in each process: numbers of different processes, or of one before and after a restart, are never the same.
    salt: u64,
    streams: Arc<Semaphore>,
    polling: Mutex<bool>,
}

impl Events {
    /// Of this authority's store.
    pub fn new(authority: &Arc<Authority>) -> Arc<Self> {
        let salt = random::bytes().map(u64::from_le_bytes).unwrap_or_default();
        Arc::new(Self {
            authority: Arc::downgrade(authority),
            last: watch::Sender::new(None),
            salt,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            polling: Mutex::new(false),
        })
    }

    fn listen(self: &Arc<Self>) -> watch::Receiver<Last> {
        let receiver = self.last.subscribe();
        let mut polling = self.polling.lock().unwrap_or_else(PoisonError::into_inner);
        if !*polling {
            *polling = true;
            tokio::spawn(poll(Arc::clone(self)));
        }
        receiver
    }

    /// Whether nobody listens any more; then whoever comes next begins to poll.
    fn is_over(&self) -> bool {
        let mut polling = self.polling.lock().unwrap_or_else(PoisonError::into_inner);
        let over = self.last.receiver_count() == 0;
        if over {
            *polling = false;
            self.last.send_replace(None);
        }
        over
    }
}

async fn poll(events: Arc<Events>) {
    while !events.is_over() {
        let Some(authority) = events.authority.upgrade() else { return };
        let asked = Instant::now();
        if let Ok(number) = blocking(move || Ok::<_, Refused>(authority.keyring.served_change()?)).await {
            let number = events.salt.wrapping_add(number);
            // Those who wait are woken by another number alone.
            events.last.send_if_modified(|last| {
                let new = last.is_none_or(|(old, _)| old != number);
                *last = Some((number, asked));
                new
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// `GET /events`
pub async fn stream(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let peer: Option<Peer> = request.extensions().get().cloned();
    api.sidecar(request.headers(), peer.as_ref()).await?;
    parameter(&request, "")?;
    let permit = Arc::clone(&api.events.streams).try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "there are too many event streams at this process")
    })?;
    let listener = Listener {
        last: api.events.listen(),
        until: Instant::now() + LIFE,
        asked: Instant::now(),
        told: None,
        caller: (api, request.headers().clone(), peer),
        _permit: permit,
    };
    let lines = futures_util::stream::unfold(listener, |mut listener| async move {
        let line = listener.next().await?;
        Some((Ok::<_, Infallible>(line), listener))
    });
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Listener {
    last: watch::Receiver<Last>,
    until: Instant,
    /// When the caller was authenticated last.
    asked: Instant,
    told: Option<u64>,
    caller: (Api, HeaderMap, Option<Peer>),
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// Where it cannot be said now, the stream goes on: without the store it falls silent anyway.
    async fn is_still_known(&mut self) -> bool {
        if self.asked.elapsed() < ASKED {
            return true;
        }
        self.asked = Instant::now();
        let (api, headers, peer) = &self.caller;
        let identified = identify(&api.authority, headers, peer.as_ref(), Purpose::Sidecar).await;
        !matches!(identified, Err(Refused::Unauthenticated | Refused::Forbidden))
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if Instant::now() >= self.until || !self.is_still_known().await {
                return None;
            }
            let last = *self.last.borrow_and_update();
            // An old answer is no news to whoever connects now: it would take it for how things stand.
            if let Some((number, asked)) = last
                && asked.elapsed() < SILENT
                && self.told != Some(number)
            {
                self.told = Some(number);
                return Some(format!("event: change\ndata: {number:016x}\n\n"));
            }
            match tokio::time::timeout(HEARTBEAT, self.last.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => {
                    if !self.is_still_known().await {
                        return None;
                    }
                    if self.last.borrow().is_some_and(|(_, asked)| asked.elapsed() < SILENT) {
                        return Some(": hb\n\n".to_owned());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Settings;
    use crate::clock::SystemClock;
    use crate::crypto::kem::KemSuite;
    use crate::keyring::{KeySource, Keyring, Options};

    fn api(directory: &std::path::Path) -> Api {
        let options = Options {
            store: directory.join("keyring.db").into(),
            master_keys: vec![KeySource::File(directory.join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let keyring = Arc::new(Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()).unwrap());
        let authority = Arc::new(Authority::new(keyring, SystemClock::shared(), &Settings::default()).unwrap());
        Api { events: Events::new(&authority), authority }
    }

    #[tokio::test]
    async fn an_old_answer_of_the_store_is_told_to_nobody() {
        let old = Instant::now().checked_sub(SILENT).unwrap();
        let (last, receiver) = watch::channel(Some((7, old)));
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let until = Instant::now() + LIFE;
        let directory = tempfile::tempdir().unwrap();
        let caller = (api(directory.path()), HeaderMap::new(), None);
        let mut listener =
            Listener { last: receiver, until, asked: Instant::now(), told: None, caller, _permit: permit };
        assert!(tokio::time::timeout(POLL, listener.next()).await.is_err(), "it says nothing");
        last.send_replace(Some((7, Instant::now())));
        assert_eq!(listener.next().await.unwrap(), "event: change\ndata: 0000000000000007\n\n");
    }
}
