//! json-server as a child process on loopback, and the proxy before it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use sidecloak::app::App;
use sidecloak::clock::SystemClock;
use tempfile::TempDir;

use super::super::stage::{self, Reply};
use super::super::tools::{self, Process};

pub struct Application {
    pub address: SocketAddr,
    pub dir: TempDir,
    process: Process,
}

impl Application {
    /// With a few regions and no customers.
    pub fn start() -> Option<Self> {
        tools::installed("json-server", "tests/tools/package.json")?;
        let dir = tempfile::tempdir().unwrap();
        let regions = json!([{ "id": 1, "name": "north" }, { "id": 2, "name": "south" }]);
        // The last tells this process from another that has got its port.
        let data = json!({ "customers": [], "regions": regions, "whose": { "dir": dir.path() } });
        std::fs::write(dir.path().join("db.json"), data.to_string()).unwrap();
        Some(Self::on(dir))
    }

    /// On the data that another left.
    pub fn on(dir: TempDir) -> Self {
        let (address, process) = (0..10).find_map(|_| run(dir.path())).expect("a port for json-server");
        Self { address, dir, process }
    }

    /// Ends it as a crash after its last write would: its data, and all that it wrote to its log.
    pub fn kill(self) -> (TempDir, String) {
        self.file();
        (self.dir, self.process.kill())
    }

    /// What lies on disk, once it has all been written: json-server answers before.
    pub fn file(&self) -> Value {
        let held: Value = serde_json::from_slice(&self.ask("GET", "/db", "").body).unwrap();
        let read = || serde_json::from_slice::<Value>(&tools::read(&self.dir.path().join("db.json"))).ok();
        stage::eventually("json-server has written its file", || read().as_ref() == Some(&held));
        held.as_object()
            .unwrap()
            .clone()
            .into_iter()
            .filter(|(name, _)| name != "whose")
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Asks it without the proxy.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        ask(self.address, method, path, body)
    }
}

/// json-server takes no port 0 and would not tell which it got; this one is free now.
fn run(dir: &Path) -> Option<(SocketAddr, Process)> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let script = tools::repository().join("target/tools/json-server/node_modules/json-server/lib/cli/bin.js");
    let mut command = Command::new("node");
    command.arg(script).args(["--host", "127.0.0.1", "--port", &address.port().to_string(), "db.json"]);
    let mut process = Process::start(command.current_dir(dir));
    let start = Instant::now();
    while process.is_running() {
        if TcpStream::connect(address).is_ok() {
            let whose = ask(address, "GET", "/whose", "");
            return (whose.text().contains(&dir.display().to_string())).then_some((address, process));
        }
        assert!(start.elapsed() < Duration::from_secs(60), "json-server does not start: {}", process.kill());
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

pub struct Proxy {
    pub front: SocketAddr,
    app: Option<App>,
}

impl Proxy {
    /// In a folder that has its keyring and rules, or gets them.
    pub fn before(application: &Application, dir: &Path, rules: &str) -> Self {
        Self::with(application, dir, rules, "")
    }

    /// `listener` are further lines of the listener.
    pub fn with(application: &Application, dir: &Path, rules: &str, listener: &str) -> Self {
        std::fs::write(dir.join("rules.yaml"), rules).unwrap();
        let app = stage::start(dir, application.address, listener, "", SystemClock::shared());
        Self { front: stage::tcp(&app, "front"), app: Some(app) }
    }

    pub fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        ask(self.front, method, path, body)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
    }
}

pub fn ask(to: SocketAddr, method: &str, path: &str, body: &str) -> Reply {
    let headers: &[_] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
    ask_with(to, method, path, headers, body.to_owned())
}

/// At most thirty seconds.
pub fn ask_with(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let call = stage::call(to, method, path, headers, body.into());
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), call).await })
        .unwrap_or_else(|_| panic!("no answer: {method} {path}"))
}
