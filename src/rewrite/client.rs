//! One side that is asked: the proxy, or the application itself. Requests wait their turn, busy answers are waited out, redirects are
//! not followed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::watch;

use super::pace::Pace;
use super::{Halt, HaltKind, retry};
use crate::causes;
use crate::clock::SharedClock;
use crate::tls::{self, ClientTls};

const CONNECT: Duration = Duration::from_secs(10);

/// How requests are sent, wherever to.
#[derive(Debug, Clone)]
pub struct Manner {
    /// At most so many requests a second, all sides together.
    pub rate: Option<f64>,
    /// How often one request is tried.
    pub tries: usize,
    /// For one try, to the last byte of its answer.
    pub timeout: Duration,
    /// Of one answer.
    pub max_body: usize,
    /// Who is trusted, and who we are.
    pub tls: ClientTls,
    /// In every request.
    pub headers: HeaderMap,
}

/// What all sides of one walk share.
#[derive(Clone)]
pub struct Shared {
    manner: Arc<Manner>,
    pace: Arc<Pace>,
    clock: SharedClock,
    stop: Arc<watch::Sender<bool>>,
    sent: Arc<AtomicU64>,
}

/// See the module.
pub struct Client {
    shared: Shared,
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    origin: String,
    /// Stands before every path.
    prefix: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header.
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// Not for this request alone.
    Halt(Halt),
    /// This one's own.
    Here(String),
}

impl Shared {
    /// In a runtime.
    pub fn new(manner: Manner, clock: SharedClock) -> Self {
        let apart = manner.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let (pace, stop) = (Arc::new(Pace::new(apart)), Arc::new(watch::Sender::new(false)));
        Self { manner: Arc::new(manner), pace, clock, stop, sent: Arc::default() }
    }

    /// Nothing more is sent; what is on its way is waited for.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for so long, or until it is stopped.
    pub async fn pause(&self, wait: Duration) {
        self.until_stop(tokio::time::sleep(wait)).await;
    }

    /// Whether nothing more is sent.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// How many requests were sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// `None`: stopped first.
    async fn until_stop(&self, waiting: impl Future<Output = ()>) -> Option<()> {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            () = waiting => Some(()),
        }
    }
}

impl Client {
    /// To `url`, which is `http://` or `https://`, a host, and perhaps a path that stands before all others.
    pub fn new(url: &str, shared: &Shared) -> Result<Self, Halt> {
        // It is not repeated: there may be a password in it.
        let usage = |what: &str| {
            Halt::new(HaltKind::Usage, format!("the address to ask {what}"))
                .help("give http://HOST:PORT or https://HOST:PORT, and no user, password or query")
        };
        let uri: Uri = url.parse().map_err(|_| usage("is no URL"))?;
        let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
        let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else { return Err(usage("is no HTTP URL")) };
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(usage("names more than a place"));
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let config = tls::client::config(&shared.manner.tls).map_err(|e| Halt::new(HaltKind::Io, e.to_string()))?;
        let https = HttpsConnectorBuilder::new().with_tls_config((*config).clone()).https_or_http().enable_http1();
        let mut builder = Pool::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(30));
        Ok(Self {
            shared: shared.clone(),
            pool: builder.build(https.wrap_connector(tcp)),
            origin: format!("{scheme}://{authority}"),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// What stands before every path; empty or with a `/` in front.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The `Host` of every request, unless another was given.
    pub fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }

    /// The headers that every request has.
    pub fn headers(&self) -> &HeaderMap {
        &self.shared.manner.headers
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Result<Answer, Trouble> {
        self.send(Method::GET, path, &HeaderMap::new(), Bytes::new()).await
    }

    /// Sends, and again where that may help.
    pub async fn send(&self, method: Method, path: &str, headers: &HeaderMap, body: Bytes) -> Result<Answer, Trouble> {
        let mut waits = retry::waits(self.shared.manner.tries);
        loop {
            if self.shared.until_stop(self.shared.pace.turn()).await.is_none() {
                return Err(Trouble::Halt(Halt::stopped()));
            }
            let request = self.request(&method, path, headers, &body)?;
            self.shared.sent.fetch_add(1, Ordering::Relaxed);
            let tried = match tokio::time::timeout(self.shared.manner.timeout, self.exchange(request)).await {
                Ok(tried) => tried,
                Err(_) => Err(Lost::Here("no answer in time".to_owned())),
            };
            match (tried, waits.next()) {
                (Ok(answer), wait) if answer.is_busy() => {
                    let asked = retry::asked_for(&answer.headers, self.shared.clock.now());
                    if let Some(asked) = asked.filter(|asked| *asked <= retry::LONGEST) {
                        // Whoever says so means all of us.
                        self.shared.pace.hold(asked);
                    }
                    match wait {
                        Some(wait) if asked.is_none_or(|asked| asked <= retry::LONGEST) => self.pause(wait).await?,
                        _ => return Ok(answer),
                    }
                }
                (Ok(answer), _) => return Ok(answer),
                (Err(Lost::Away(_) | Lost::Here(_)), Some(wait)) => self.pause(wait).await?,
                (Err(Lost::Here(why)), None) => return Err(Trouble::Here(why)),
                (Err(Lost::Away(why)), None) => {
                    let halt = Halt::new(HaltKind::Away, format!("{} cannot be reached: {why}", self.origin));
                    return Err(Trouble::Halt(
                        halt.help("see that it runs; the same command goes on from where it was"),
                    ));
                }
            }
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Request<Full<Bytes>>, Trouble> {
        let unwritable = || Trouble::Here("its path cannot be written as HTTP".to_owned());
        // Anything else could end in the host's name.
        if !path.starts_with('/') {
            return Err(unwritable());
        }
        let uri: Uri = format!("{}{}{path}", self.origin, self.prefix).parse().map_err(|_| unwritable())?;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        let all = request.headers_mut();
        all.insert(USER_AGENT, HeaderValue::from_static("sidecloak-rewrite"));
        all.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in self.shared.manner.headers.iter().chain(headers) {
            all.insert(name, value.clone());
        }
        // The very bytes that are read are written.
        all.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(request)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Lost> {
        let response = self.pool.request(request).await.map_err(|error| {
            let why = causes::told(&error);
            if error.is_connect() { Lost::Away(why) } else { Lost::Here(why) }
        })?;
        let (parts, body) = response.into_parts();
        #[expect(clippy::disallowed_methods, reason = "limited")]
        let body = Limited::new(body, self.shared.manner.max_body).collect().await;
        let body = body.map_err(|_| Lost::Here("its answer broke off, or is longer than --max-body".to_owned()))?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }

    async fn pause(&self, wait: Duration) -> Result<(), Trouble> {
        let slept = self.shared.until_stop(tokio::time::sleep(wait)).await;
        slept.ok_or_else(|| Trouble::Halt(Halt::stopped()))
    }
}

enum Lost {
    Away(String),
    Here(String),
}

impl Answer {
    /// What the status says, and what a proxy of ours says of why it refused; none of the application's own words, which may repeat
    /// what they are about.
    pub fn why(&self) -> String {
        let status = self.status.as_u16();
        match self.refusal() {
            Some(word) => format!("{status}, the proxy refuses it ({word})"),
            None if self.status.is_redirection() => format!("{status}, a redirect, which is not followed"),
            None => status.to_string(),
        }
    }
}

impl Answer {
    /// Whether another try may do: not where a proxy of ours says what is wrong with the record itself.
    pub fn is_busy(&self) -> bool {
        let passing =
            |word: &str| ["upstream", "upstream-unavailable", "timeout", "overload", "key-service"].contains(&word);
        retry::is_busy(self.status) && self.refusal().is_none_or(|word| passing(&word))
    }

    /// The reason that a proxy of ours gives.
    pub fn refusal(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let word = problem.get("type")?.as_str()?.strip_prefix("urn:sidecloak:problem:")?;
        let sound = word.len() < 40 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        sound.then(|| word.to_owned())
    }
}
