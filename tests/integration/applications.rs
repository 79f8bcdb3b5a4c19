//! Real applications behind the proxy, each as a child process on loopback. None knows of tokens, none was written to be proxied.

#[path = "applications/accounts.rs"]
pub mod accounts;
#[path = "applications/fhir.rs"]
mod fhir;
#[path = "applications/fields.rs"]
mod fields;
#[path = "applications/httpbin.rs"]
mod httpbin;
#[path = "applications/wire.rs"]
mod wire;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sidecloak::app::App;
use sidecloak::clock::SystemClock;
use sidecloak::keyring::Kind;
use sidecloak::name::PartitionName;
use tempfile::TempDir;

use crate::json_server::application::ask_with;
use crate::stage::{self, Reply};
use crate::tools::Process;

/// A running application.
pub struct Application {
    address: SocketAddr,
    process: Process,
}

impl Application {
    /// Tries one free port after the other, since none of them takes port 0 and tells what it got. Another process could get the port in
    /// between, so it must be this one's answer at `path` that `is_it` sees.
    fn start(command: impl Fn(u16) -> Command, path: &str, is_it: impl Fn(&Reply) -> bool) -> Self {
        let attempt = |_| {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let mut process = Process::start(&mut command(address.port()));
            let start = Instant::now();
            while process.is_running() {
                if TcpStream::connect(address).is_ok() && is_it(&ask_with(address, "GET", path, &[], "")) {
                    return Some(Self { address, process });
                }
                assert!(start.elapsed() < Duration::from_secs(60), "it does not start: {}", process.kill());
                std::thread::sleep(Duration::from_millis(20));
            }
            None
        };
        (0..10).find_map(attempt).expect("a port")
    }

    /// Ends it: what it wrote to its log.
    fn kill(self) -> String {
        self.process.kill()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        ask_with(self.address, method, path, headers, body)
    }
}

/// The proxy before one, with a keyring of its own.
struct Front {
    address: SocketAddr,
    dir: TempDir,
    app: Option<App>,
}

impl Front {
    fn new(application: &Application, rules: &str) -> Self {
        Self::with(application, rules, "", "")
    }

    /// `listener` are further lines of the listener, `more` further top-level lines of sidecloak.yaml.
    fn with(application: &Application, rules: &str, listener: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
        let app = stage::start(dir.path(), application.address, listener, more, SystemClock::shared());
        Self { address: stage::tcp(&app, "front"), dir, app: Some(app) }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        ask_with(self.address, method, path, headers, body)
    }

    fn json(&self, method: &str, path: &str, body: &serde_json::Value) -> Reply {
        self.ask(method, path, &[("content-type", "application/json")], body.to_string())
    }

    fn rules(&self) -> std::path::PathBuf {
        self.dir.path().join("rules.yaml")
    }

    /// Rolls the epoch of deterministic tokens over.
    fn roll(&self) {
        let keyring = self.app.as_ref().unwrap().keyring().unwrap();
        keyring.rollover(&PartitionName::default_name(), &[Kind::Deterministic]).unwrap();
    }

    fn metrics(&self) -> String {
        self.app.as_ref().unwrap().shared().metrics.render()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
    }
}

fn json(reply: &Reply) -> serde_json::Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("not JSON: {} {}", reply.status, reply.text()))
}

fn python(place: &Path) -> Command {
    Command::new(place.join("venv/bin/python"))
}
