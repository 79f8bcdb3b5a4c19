//! A face of an authority over TLS, which notes every call.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use http::header::AUTHORIZATION;
use sidecloak::authority::Authority;
use sidecloak::authority::face::Door;
use sidecloak::authority::listen::{Bind, Server, Settings, Timeouts};
use sidecloak::keyring::KeySource;
use sidecloak::metrics::Metrics;
use sidecloak::proxy::settings::{Drain, Limits};
use sidecloak::sealer::managed::http::Http;
use sidecloak::sealer::managed::settings::EndpointTls;
use sidecloak::tls::{ClientTls, ServerTls};

use crate::calls::House;
use crate::pki::{self, Ca};
use crate::support::PATIENCE;

pub struct Served {
    pub house: House,
    server: Server,
    calls: Arc<Mutex<Vec<Call>>>,
    directory: tempfile::TempDir,
}

/// What the server saw of a call, and what it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Method, path and query.
    pub target: String,
    pub status: u16,
    pub authorization: String,
}

impl Served {
    pub fn new(door: Door, face: fn(Arc<Authority>) -> Router) -> Self {
        let (house, directory, ca) = (House::new(), tempfile::tempdir().unwrap(), Ca::new("servers"));
        fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
        let (cert, key) = ca.server().write(directory.path(), "server");
        let tls = ServerTls { cert, key, pq_only: true, ..ServerTls::default() };
        let settings = Settings {
            binds: vec![Bind { door, address: ([127, 0, 0, 1], 0).into(), tls: Some(tls) }],
            insecure: false,
            workers: 2,
            limits: Limits {
                memory: 32 << 20,
                header: 16 << 10,
                value: 1 << 20,
                in_flight: 256,
                connections: 256,
                buffer: 64 << 10,
                decoded: 256 << 20,
                ratio: 200,
            },
            drain: Drain { delay: std::time::Duration::ZERO, deadline: PATIENCE },
            timeouts: Timeouts { call: PATIENCE, ..Timeouts::default() },
        };
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let noted = Arc::clone(&calls);
        let note = move |request: Request, next: Next| {
            let noted = Arc::clone(&noted);
            async move {
                let authorization =
                    request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
                let target = format!("{} {}", request.method(), request.uri().path_and_query().unwrap());
                let answer = next.run(request).await;
                let call =
                    Call { target, status: answer.status().as_u16(), authorization: authorization.unwrap_or_default() };
                noted.lock().unwrap().push(call);
                answer
            }
        };
        let router = face(house.authority.clone()).layer(from_fn(note));
        let server = Server::start_with(&settings, |_| vec![("", router.clone())], &Metrics::default()).unwrap();
        Self { house, server, calls, directory }
    }

    /// A client of it.
    pub fn http(&self) -> Http {
        self.http_at("")
    }

    /// The same with a path in its base URL.
    pub fn http_at(&self, path: &str) -> Http {
        let client = ClientTls { ca: Some(self.path("ca.pem")), pq_only: true, ..ClientTls::default() };
        let tls = EndpointTls { client, ..EndpointTls::default() };
        let base = format!("https://localhost:{}{path}", self.server.addresses()[0].1.port());
        Http::new(&base, &tls, 1 << 20).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A credential in a file.
    pub fn file(&self, name: &str, text: &str) -> KeySource {
        let path = self.path(name);
        pki::private(&path, text);
        KeySource::File(path)
    }

    /// The calls since this was last asked, in the order of their answers.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// The same: targets and statuses.
    pub fn seen(&self) -> Vec<(String, u16)> {
        self.calls().into_iter().map(|call| (call.target, call.status)).collect()
    }
}
