//! A face of an authority behind a door of its own, over TLS, and every call that it got.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use serde_json::Value;
use sidecloak::authority::credentials::{Limits as CallLimits, NewApiKey, Purpose};
use sidecloak::authority::face::Door;
use sidecloak::authority::listen::{Bind, Server, Settings as Listening, Timeouts};
use sidecloak::authority::{Authority, Settings};
use sidecloak::clock::{Clock, ManualClock, SystemClock};
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::{KeySource, Keyring, Options};
use sidecloak::metrics::Metrics;
use sidecloak::proxy::settings::{Drain, Limits};
use sidecloak::sealer::managed::http::Http;
use sidecloak::sealer::managed::settings::{CallLimits as Calls, EndpointTls};
use sidecloak::tls::{ClientTls, ServerTls};

use crate::pki::{Ca, private};
use crate::support::PATIENCE;

/// Path and body.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

pub struct Served {
    pub directory: tempfile::TempDir,
    pub authority: Arc<Authority>,
    /// The authority's.
    pub clock: Arc<ManualClock>,
    runtime: tokio::runtime::Runtime,
    seen: Seen,
    url: String,
    _server: Server,
}

impl Served {
    pub fn new(door: Door) -> Self {
        Self::with(door, CallLimits::default())
    }

    pub fn with(door: Door, limits: CallLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(SystemClock.now());
        let options = Options {
            store: directory.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(directory.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let keyring = Keyring::init(&options, KemSuite::MlKem768, clock.clone()).unwrap();
        let settings = Settings { limits, ..Settings::default() };
        let authority = Arc::new(Authority::new(Arc::new(keyring), clock.clone(), &settings).unwrap());
        let ca = Ca::new("servers");
        private(&directory.path().join("ca.pem"), &ca.pem());
        let (cert, key) = ca.server().write(directory.path(), "server");
        let tls = ServerTls { cert, key, ..ServerTls::default() };
        let seen = Seen::default();
        let [face] = door.faces() else { panic!("not one face") };
        let router = recorded(face.router(Arc::clone(&authority)), Arc::clone(&seen));
        let server =
            Server::start_with(&listening(door, tls), |_| vec![("", router.clone())], &Metrics::default()).unwrap();
        let url = format!("https://127.0.0.1:{}", server.addresses()[0].1.port());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { directory, authority, clock, runtime, seen, url, _server: server }
    }

    /// For its base URL and this path.
    pub fn http(&self, path: &str) -> Http {
        let client = ClientTls { ca: Some(self.directory.path().join("ca.pem")), ..ClientTls::default() };
        let tls = EndpointTls { client, ..EndpointTls::default() };
        Http::new(&format!("{}{path}", self.url), &tls, Calls::default().answer).unwrap()
    }

    /// A credential in a file.
    pub fn file(&self, name: &str, text: &str) -> KeySource {
        let path = self.path(name);
        private(&path, text);
        KeySource::File(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }

    /// An API key with its further secrets.
    pub fn api_key(&self, purpose: Purpose, partition: Option<&str>, secrets: &'static [&'static str]) -> Vec<String> {
        let new = NewApiKey {
            purpose,
            label: "profile".into(),
            app: None,
            partition: partition.map(str::to_owned),
            role: if partition.is_some() { "default" } else { "admin" }.into(),
            expires: 0,
            secrets,
        };
        let (text, key) = self.authority.credentials.create_api_key(&new).unwrap();
        let mut texts = vec![String::from_utf8(text.expose().to_vec()).unwrap()];
        texts.extend(key.secrets.into_iter().map(|(_, secret)| secret));
        texts
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// What was called since the last look: paths, the last segment of each.
    pub fn calls(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        seen.into_iter().map(|(path, _)| path.rsplit('/').next().unwrap().to_owned()).collect()
    }

    /// The same, as the member of that name in each call's body that has one.
    pub fn said(&self, member: &str) -> Vec<String> {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let of = |(_, body): (String, String)| {
            let body: Value = serde_json::from_str(&body).ok()?;
            Some(body[member].as_str()?.to_owned())
        };
        seen.into_iter().filter_map(of).collect()
    }
}

fn recorded(router: Router, seen: Seen) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
            let text = String::from_utf8_lossy(&body).into_owned();
            seen.lock().unwrap().push((head.uri.path().to_owned(), text));
            next.run(Request::from_parts(head, Body::from(body))).await
        }
    }))
}

fn listening(door: Door, tls: ServerTls) -> Listening {
    Listening {
        binds: vec![Bind { door, address: ([127, 0, 0, 1], 0).into(), tls: Some(tls) }],
        insecure: false,
        workers: 1,
        limits: Limits {
            memory: 64 << 20,
            header: 16 << 10,
            value: 1 << 20,
            in_flight: 64,
            connections: 64,
            buffer: 64 << 10,
            decoded: 256 << 20,
            ratio: 200,
        },
        drain: Drain { delay: Duration::ZERO, deadline: PATIENCE },
        timeouts: Timeouts::default(),
    }
}
