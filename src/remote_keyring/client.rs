//! HTTP calls from threads that may block, each with a deadline. A runtime on a thread of its own keeps the connections.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::events::{self, Heard};
use super::wire::{self, MAX_RECORD};
use super::{credential, state};
use crate::causes;
use crate::keyring::store::{Credential, Remote, ServiceError, StoreError, check_url};
use crate::secret::Secret;
use crate::tls::{self, ClientTls};

/// For one call, from connecting to the last byte.
const DEADLINE: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(3);
/// After a call that failed on the way the next ones fail at once: many wait for the same answer, one after the other.
const BREAK: Duration = Duration::from_secs(1);
/// For the first change number.
const FIRST: Duration = Duration::from_secs(10);
/// What an authority says that goes into our log.
const MAX_TEXT: usize = 300;
/// What is wrong when it answers 401.
pub const NOT_TAKEN: &str =
    "it does not take this process's credential; give a valid `keyring.api_key`, `keyring.token` or `keyring.identity`";

/// See the module.
pub struct Client {
    wire: Arc<Wire>,
    heard: Arc<Heard>,
    runtime: tokio::runtime::Handle,
    broken: Mutex<Option<(Instant, String)>>,
    stop: Option<oneshot::Sender<()>>,
}

/// What requests need.
pub struct Wire {
    pool: Transport,
    url: String,
    credential: Option<Credential>,
}

enum Transport {
    Tls(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
    Plain(Pool<HttpConnector, Full<Bytes>>),
}

impl Client {
    /// Starts the thread, which begins to listen for events.
    pub fn start(remote: &Remote) -> Result<Self, StoreError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| StoreError::Unavailable(format!("{what}: {error}"));
        let wire = Arc::new(Wire::new(remote)?);
        let heard = Arc::new(Heard::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed("cannot start the runtime of the remote keyring", &error))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let listening = events::listen(Arc::clone(&wire), Arc::clone(&heard));
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listening => {}
                    _ = stopped => {}
                }
            });
        };
        thread::Builder::new()
            .name("remote-keyring".into())
            .spawn(work)
            .map_err(|error| failed("cannot start the thread of the remote keyring", &error))?;
        Ok(Self { wire, heard, runtime: handle, broken: Mutex::default(), stop: Some(stop) })
    }

    /// The authority's.
    pub fn url(&self) -> &str {
        &self.wire.url
    }

    /// Waits for the first change number, or for what stands in its way.
    pub fn first_number(&self) -> Result<(), StoreError> {
        self.heard.first(FIRST).map_err(|problem| self.wire.away(&problem))
    }

    /// The last change number, unless nothing was heard for too long.
    pub fn number(&self) -> Result<u64, StoreError> {
        self.heard.number().map_err(|problem| self.wire.away(&problem))
    }

    /// Waits until another number is heard, at most for that long.
    pub fn wait(&self, timeout: Duration) {
        self.heard.wait(timeout);
    }

    /// Makes a call and waits for its answer.
    pub fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, StoreError> {
        if let Some((at, problem)) = &*self.broken()
            && at.elapsed() < BREAK
        {
            return Err(self.wire.away(problem));
        }
        let (sender, receiver) = sync_channel(1);
        let (wire, path) = (Arc::clone(&self.wire), path.to_owned());
        self.runtime.spawn(async move {
            let answered = tokio::time::timeout(DEADLINE, wire.exchange(method, &path, body)).await;
            drop(sender.send(answered.unwrap_or_else(|_| Err("it did not answer in time".into()))));
        });
        // A second more than the call itself takes: the runtime may be gone.
        let answered = receiver
            .recv_timeout(DEADLINE + Duration::from_secs(1))
            .unwrap_or_else(|_| Err("the call was broken off".into()));
        *self.broken() = answered.as_ref().err().map(|problem| (Instant::now(), problem.clone()));
        let mut answer = answered.map_err(|problem| self.wire.away(&problem))?;
        answer.url.clone_from(&self.wire.url);
        answer.checked()
    }

    fn broken(&self) -> std::sync::MutexGuard<'_, Option<(Instant, String)>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error: the thread has ended already.
            stop.send(()).ok();
        }
    }
}

impl Wire {
    fn new(remote: &Remote) -> Result<Self, StoreError> {
        let url = check_url(&remote.url, remote.insecure)
            .map_err(|bad| StoreError::Damaged(format!("{bad}; {}", bad.help)))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let mut builder = Pool::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(30)).pool_max_idle_per_host(4);
        let pool = if url.starts_with("https:") {
            let settings = ClientTls { ca: remote.ca.clone(), identity: remote.identity.clone(), pq_only: false };
            let tls = tls::client::config(&settings).map_err(|error| StoreError::Damaged(error.to_string()))?;
            let https = HttpsConnectorBuilder::new()
                .with_tls_config((*tls).clone())
                .https_only()
                .enable_http1()
                .enable_http2()
                .wrap_connector(tcp);
            Transport::Tls(builder.build(https))
        } else {
            Transport::Plain(builder.build(tcp))
        };
        Ok(Self { pool, url, credential: remote.credential.clone() })
    }

    /// Sends a request; its answer's body is still to be read. Redirects are not followed: a credential is for one place.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        accept: &'static str,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{}{path}", self.url, wire::PREFIX))
            .header(ACCEPT, HeaderValue::from_static(accept));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(credential) = &self.credential {
            request = request.header(AUTHORIZATION, credential::header(credential)?);
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|_| "the request cannot be written".to_owned())?;
        let sent = match &self.pool {
            Transport::Tls(pool) => pool.request(request).await,
            Transport::Plain(pool) => pool.request(request).await,
        };
        sent.map_err(|error| causes::told(&error))
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, String> {
        let response = self.send(method, path, body, "application/json").await?;
        let status = response.status();
        #[expect(clippy::disallowed_methods, reason = "limited")]
        let body = Limited::new(response.into_body(), MAX_RECORD).collect().await;
        let body = body.map_err(|_| "its answer broke off, or is too large".to_owned())?.to_bytes();
        Ok(Answer { status, body, url: String::new() })
    }

    fn away(&self, problem: &str) -> StoreError {
        if problem == NOT_TAKEN {
            return not_taken(&self.url);
        }
        let way = if problem.contains("UnknownIssuer") {
            ": name who issued its certificate with `keyring.ca` or --ca"
        } else {
            ""
        };
        StoreError::Unavailable(format!("the authority {} cannot be used: {problem}{way}", self.url))
    }
}

fn not_taken(url: &str) -> StoreError {
    StoreError::Unauthorized(format!("the authority {url}: {NOT_TAKEN}"))
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    body: Bytes,
    url: String,
}

/// An RFC 9457 document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    state: Option<String>,
}

#[derive(Deserialize)]
struct SharedSecret {
    shared_secret: wire::Bytes,
}

impl Answer {
    /// Refuses what no call can use.
    fn checked(self) -> Result<Self, StoreError> {
        let unavailable = |text: &str| Err(StoreError::Unavailable(format!("the authority {}: {text}", self.url)));
        match self.status.as_u16() {
            200 | 204 | 403 | 404 | 409 | 422 => Ok(self),
            401 => Err(not_taken(&self.url)),
            300..=399 => unavailable("it redirects, which is not followed; name where it is as `keyring.store`"),
            429 => unavailable("it finds that this process asks too often"),
            status => {
                let detail = self.problem().detail;
                unavailable(&format!("status {status} {detail}"))
            }
        }
    }

    /// The answer to a call that succeeded.
    pub fn value<T: DeserializeOwned>(self) -> Result<T, ServiceError> {
        if self.status != StatusCode::OK {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body).map_err(|_| {
            StoreError::Unavailable(format!(
                "the authority {} answers with something else than the keyring API",
                self.url
            ))
            .into()
        })
    }

    /// The same where nothing is answered.
    pub fn done(self) -> Result<(), ServiceError> {
        if self.status.is_success() { Ok(()) } else { Err(self.refusal()) }
    }

    /// The answer to a decapsulation.
    pub fn secret(self) -> Result<Secret<32>, ServiceError> {
        let url = self.url.clone();
        let SharedSecret { shared_secret } = self.value()?;
        let bytes = crate::secret::SecretBytes::new(shared_secret.0);
        Secret::from_slice(bytes.expose()).ok_or_else(|| {
            StoreError::Unavailable(format!("the authority {url} answers with something else than a shared secret"))
                .into()
        })
    }

    fn refusal(&self) -> ServiceError {
        let problem = self.problem();
        match (self.status, problem.state.as_deref().and_then(state)) {
            (StatusCode::FORBIDDEN, Some(state)) => ServiceError::Denied(state),
            (StatusCode::NOT_FOUND, _) => ServiceError::NotThere,
            _ => ServiceError::Refused(format!("the authority {} refuses: {}", self.url, problem.detail)),
        }
    }

    /// Its text is cut, and cannot begin a line of its own in a log.
    fn problem(&self) -> Problem {
        let mut problem: Problem = serde_json::from_slice(&self.body).unwrap_or_default();
        problem.detail = problem.detail.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
        problem
    }
}
