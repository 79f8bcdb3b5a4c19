//! A whole process on a stage: proxy, keyring and rules as an operator would configure them, before an application that stores bodies
//! by path, to the byte, and gives them back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sidecloak::app::App;
use sidecloak::clock::{SharedClock, SystemClock};
use sidecloak::config::{self, Machine, Overrides, Purpose};
use sidecloak::proxy::settings::Address;
use tempfile::TempDir;

use super::support::PATIENCE;

/// What the application holds under a path.
#[derive(Clone, Default)]
pub struct Stored {
    pub body: Vec<u8>,
    pub headers: HeaderMap,
}

type Shelf = Arc<Mutex<HashMap<String, Stored>>>;
type Canned = Arc<Mutex<HashMap<String, (u16, Vec<(String, String)>, Vec<u8>)>>>;

pub struct Stage {
    pub app: Option<App>,
    pub front: SocketAddr,
    pub upstream: SocketAddr,
    pub dir: TempDir,
    shelf: Shelf,
    canned: Canned,
    runtime: tokio::runtime::Runtime,
    _running: Running,
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The body broke off before its end.
    pub cut: bool,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Stage {
    pub fn new(rules: &str) -> Self {
        Self::with(rules, "", "")
    }

    /// `listener` are further lines of the listener, `more` further top-level lines of sidecloak.yaml.
    pub fn with(rules: &str, listener: &str, more: &str) -> Self {
        Self::at(rules, listener, more, SystemClock::shared())
    }

    pub fn at(rules: &str, listener: &str, more: &str, clock: SharedClock) -> Self {
        Self::inside(tempfile::tempdir().unwrap(), rules, listener, more, clock)
    }

    /// In a folder that may have its keyring already.
    pub fn inside(dir: TempDir, rules: &str, listener: &str, more: &str, clock: SharedClock) -> Self {
        let (shelf, canned) = (Shelf::default(), Canned::default());
        let (running, upstream) = Running::start(Arc::clone(&shelf), Arc::clone(&canned));
        std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
        let app = start(dir.path(), upstream, listener, more, clock);
        let front = tcp(&app, "front");
        Self { app: Some(app), front, upstream, dir, shelf, canned, runtime: current_thread(), _running: running }
    }

    /// Before an application of raw bytes instead.
    pub fn before(upstream: &super::support::Upstream, rules: &str) -> Self {
        Self::before_with(upstream, rules, "", "")
    }

    pub fn before_with(upstream: &super::support::Upstream, rules: &str, listener: &str, more: &str) -> Self {
        let mut stage = Self::with(rules, listener, more);
        stage.app.take().unwrap().stop();
        let Address::Tcp(address) = upstream.address else { panic!("no TCP address") };
        let app = start(stage.dir.path(), address, listener, more, SystemClock::shared());
        stage.front = tcp(&app, "front");
        stage.app = Some(app);
        stage
    }

    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    pub fn keyring(&self) -> &sidecloak::keyring::Keyring {
        self.app().keyring().unwrap()
    }

    /// What the application stored under a path.
    pub fn stored(&self, path: &str) -> Vec<u8> {
        self.shelf.lock().unwrap().get(path).unwrap_or_else(|| panic!("nothing stored under {path}")).body.clone()
    }

    pub fn stored_text(&self, path: &str) -> String {
        String::from_utf8(self.stored(path)).unwrap()
    }

    pub fn stored_headers(&self, path: &str) -> HeaderMap {
        self.shelf.lock().unwrap().get(path).unwrap().headers.clone()
    }

    pub fn nothing_stored(&self) -> bool {
        self.shelf.lock().unwrap().is_empty()
    }

    /// Every byte the application ever stored under any path.
    pub fn all_stored(&self) -> Vec<u8> {
        self.shelf.lock().unwrap().values().flat_map(|s| s.body.clone()).collect()
    }

    /// Every path with what was stored under it.
    pub fn everything(&self) -> Vec<(String, String)> {
        let shelf = self.shelf.lock().unwrap();
        shelf.iter().map(|(path, stored)| (path.clone(), String::from_utf8_lossy(&stored.body).into_owned())).collect()
    }

    /// Puts bytes into the application's store behind its back.
    pub fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.shelf.lock().unwrap().insert(path.into(), Stored { body: body.into(), headers: HeaderMap::new() });
    }

    /// Makes the application answer a path in this way.
    pub fn answer(&self, path: &str, status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.canned.lock().unwrap().insert(path.into(), (status, headers, body.into()));
    }

    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.call("POST", path, &[("content-type", "application/json")], body)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], Bytes::new())
    }

    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let body = body.into();
        self.runtime.block_on(call(self.front, method, path, headers, body))
    }

    pub fn rules_path(&self) -> std::path::PathBuf {
        self.dir.path().join("rules.yaml")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
    }
}

/// Starts a process in `dir`, whose rules are there already; its keyring is made unless it is there, too. A second master key is
/// given if there is one.
pub fn start(dir: &Path, upstream: SocketAddr, listener: &str, more: &str, clock: SharedClock) -> App {
    let mut masters = vec![dir.join("master.key"), dir.join("master-2.key")];
    masters.retain(|path| path.exists() || path.ends_with("master.key"));
    let masters: Vec<_> = masters.iter().map(|path| format!("\"file:{}\"", path.display())).collect();
    let text = format!(
        "listeners:\n  - name: front\n    bind: 127.0.0.1:0\n    upstream: http://{upstream}\n{listener}\nrules: {}\n\
         keyring:\n  store: sqlite:{}\n  master_key: [{}]\ndrain: {{ delay: 0s, deadline: 3s }}\n{more}",
        dir.join("rules.yaml").display(),
        dir.join("keyring.db").display(),
        masters.join(", "),
    );
    start_from(&text, clock)
}

/// Starts a process from the text of its sidecloak.yaml.
pub fn start_from(text: &str, clock: SharedClock) -> App {
    let flags = Overrides { dev: true, i_know: true, ..Overrides::default() };
    let loaded = config::load_text("sidecloak.yaml", text, &flags, Purpose::Proxy, Machine::detect());
    let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.findings));
    match App::start(&config, clock) {
        Ok(app) => app,
        Err(sidecloak::app::AppError::Rules(findings)) => panic!("{findings}"),
        Err(error) => panic!("{error}"),
    }
}

pub fn tcp(app: &App, listener: &str) -> SocketAddr {
    app.addresses()
        .iter()
        .find_map(|(name, address)| match address {
            Address::Tcp(address) if name == listener => Some(*address),
            _ => None,
        })
        .unwrap()
}

/// Waits until `holds`, but not for ever.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < 3 * PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The application's thread; ends when dropped.
struct Running(Option<tokio::sync::oneshot::Sender<()>>, Option<std::thread::JoinHandle<()>>);

impl Running {
    fn start(shelf: Shelf, canned: Canned) -> (Self, SocketAddr) {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (send, address) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            current_thread().block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                send.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = accept(listener, shelf, canned) => {}
                    _ = stopped => {}
                }
            });
        });
        (Self(Some(stop), Some(thread)), address.recv().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.take());
        drop(self.1.take().map(std::thread::JoinHandle::join));
    }
}

async fn accept(listener: tokio::net::TcpListener, shelf: Shelf, canned: Canned) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shelf, canned) = (Arc::clone(&shelf), Arc::clone(&canned));
        let service = service_fn(move |request| serve(Arc::clone(&shelf), Arc::clone(&canned), request));
        tokio::spawn(async move {
            drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "bodies of our own tests")]
async fn serve(
    shelf: Shelf,
    canned: Canned,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if parts.method != Method::GET && parts.method != Method::HEAD {
        shelf.lock().unwrap().insert(path.clone(), Stored { body: body.to_vec(), headers: parts.headers });
    }
    if let Some((status, headers, body)) = canned.lock().unwrap().get(&path).cloned() {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        return Ok(response.body(Full::new(Bytes::from(body))).unwrap());
    }
    let stored = shelf.lock().unwrap().get(&path).cloned();
    Ok(match stored {
        Some(stored) => Response::builder()
            .header("content-type", "application/json")
            .header("etag", "\"v1\"")
            .body(Full::new(Bytes::from(stored.body)))
            .unwrap(),
        None => Response::builder().status(StatusCode::NOT_FOUND).body(Full::default()).unwrap(),
    })
}

pub async fn call(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Reply {
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "app.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
    let (parts, mut incoming) = response.into_parts();
    let mut reply = Reply { status: parts.status.as_u16(), headers: parts.headers, body: Vec::new(), cut: false };
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => reply.body.extend_from_slice(frame.data_ref().map_or(&[][..], |d| d)),
            Err(_) => {
                reply.cut = true;
                break;
            }
        }
    }
    driver.abort();
    reply
}
