//! A fleet as it is run: the program's own processes over TLS on one PostgreSQL, managed by its commands alone.

#[path = "fleet/clients.rs"]
mod clients;
#[path = "fleet/faces.rs"]
mod faces;
#[path = "fleet/killed.rs"]
mod killed;
#[path = "fleet/limits.rs"]
mod limits;
#[path = "fleet/refused.rs"]
mod refused;
#[path = "fleet/whole.rs"]
mod whole;

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::ClientConfig;
use serde_json::{Value, json};
use sidecloak::authority::ncloud_kms;
use sidecloak::clock::{Clock, SystemClock};
use sidecloak::proxy::settings::Address;
use sidecloak::tls::{ClientTls, client};

use crate::cli::process::{Running, free_port};
use crate::cli::{Done, Place};
use crate::cluster::Cluster;
use crate::pki::{Ca, Secure};
use crate::support::{Message, Next, PATIENCE, upstream};

const PASSWORD: &str = "correct horse battery";
const DRAIN: &str = "drain: { delay: 0s, deadline: 10s }\n";
const RULES: &str = "rules:
  - name: customers
    match: { path: '/customers/**' }
    protect:
      - { fields: ['$.ssn'], key: customers }
      - { fields: ['$.email'], key: customers, deterministic: true }
  - name: doomed
    match: { path: '/doomed/**' }
    protect: [{ fields: ['$.ssn'], key: doomed }]
  - name: shared
    match: { path: '/shared/**' }
    protect: [{ fields: ['$.value'], key: '2376.shared', class: crittora }]
";

/// The listeners of an authority beside its own.
const FACES: [&str; 4] = ["crittora", "crypteron", "ncloud-kms", "exequantum"];

/// What all processes share: a keyring on PostgreSQL and who vouches for the authorities.
struct Fleet {
    place: Arc<Place>,
    tls: Arc<ClientConfig>,
    owner: String,
    ca: Ca,
}

impl Fleet {
    /// With partitions `customers`, `doomed` and `2376.shared`.
    fn new(database: &str) -> Self {
        let (place, ca) = (Arc::new(Place::empty()), Ca::new("fleet"));
        place.write("ca.pem", ca.pem()).write("password", PASSWORD).write("rules.yaml", RULES);
        place.write("sidecloak.yaml", format!("keyring: {{ store: '{database}' }}\nrules: rules.yaml\n{DRAIN}"));
        place
            .run(&["keys", "init", "--partition", "customers", "--partition", "doomed", "--partition", "2376.shared"])
            .ends(0);
        let owner = place.run(&["keys", "list", "--json"]).ends(0).json()["owner"].as_str().unwrap().to_owned();
        let key =
            place.run(&["apikeys", "create", "--purpose", "management", "--role", "admin", "--label", "m", "--json"]);
        private(&place, "management.key", key.ends(0).json()["key"].as_str().unwrap());
        let settings = ClientTls { ca: Some(place.path("ca.pem")), ..ClientTls::default() };
        let tls = client::config(&settings).unwrap();
        Self { place, tls, owner, ca }
    }

    /// What an authority is started with; `more` is added to its configuration.
    fn authority(&self, more: &str) -> Service {
        let (front, probe) = (free_port(), free_port());
        let faces = FACES.map(|face| (face, free_port()));
        let name = format!("authority-{}", front.ip());
        let addresses: Vec<String> =
            faces.iter().map(|(_, at)| at).chain([&front]).map(|at| at.ip().to_string()).collect();
        self.ca.server_at(&addresses).write(&self.place.path(""), &name);
        let store = self.place.read("sidecloak.yaml");
        let tls = format!("authority:\n  tls: {{ cert: {name}.crt, key: {name}.key }}\n{more}");
        self.place.write(&format!("{name}.yaml"), store + &tls);
        let mut args = vec!["authority".to_owned(), "--config".into(), format!("{name}.yaml")];
        for (face, at) in &faces {
            args.extend([format!("--{face}"), at.to_string()]);
        }
        Service { place: Arc::clone(&self.place), args, front, probe, faces: faces.into(), running: None }
    }

    /// A proxy in a directory of its own, which knows the keyring by this authority alone.
    fn sidecar(&self, authority: &Service, app: &App) -> Service {
        let place = Place::empty();
        let key = self.key(&["--purpose", "sidecar", "--label", "sidecar", "--role", "default"]);
        private(&place, "api.key", key["key"].as_str().unwrap());
        place.write("ca.pem", self.ca.pem()).write("rules.yaml", RULES);
        place.write(
            "sidecloak.yaml",
            format!(
                "keyring: {{ store: '{}', owner: {}, api_key: 'file:api.key', ca: ca.pem }}\nrules: rules.yaml\n{DRAIN}",
                authority.url(),
                self.owner
            ),
        );
        Service::proxy(Arc::new(place), app)
    }

    /// A proxy on the database, beside the master key.
    fn beside(&self, app: &App) -> Service {
        Service::proxy(Arc::clone(&self.place), app)
    }

    /// A command at this authority.
    fn at(&self, authority: &Service, args: &[&str]) -> Done {
        let url = authority.url();
        let there = ["--authority", &url, "--api-key-file", "management.key", "--ca", "ca.pem"];
        self.place.run(&[args, &there].concat())
    }

    /// A new API key, as the command prints it.
    fn key(&self, args: &[&str]) -> Value {
        self.place.run(&[&["apikeys", "create", "--json"], args].concat()).ends(0).json()
    }

    fn user(&self, name: &str, role: &str) {
        self.place.run(&["users", "create", name, "--role", role, "--password-file", "password"]).ends(0);
    }

    /// A call over TLS: status and answer.
    #[track_caller]
    fn call(&self, to: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [&[("content-type", "application/json")], headers].concat();
        let answer = Secure::at(to, &self.tls).and_then(|mut to| to.call(method, target, &headers, &body));
        let answer = answer.unwrap_or_else(|| panic!("{method} {target}: no answer"));
        (answer.status(), serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    /// A call of the NAVER Cloud KMS API, signed with an access key and its secret key.
    #[track_caller]
    fn signed(&self, to: &Service, by: (&str, &str), method: &str, target: &str, body: &Value) -> (u16, Value) {
        let time = (SystemClock.now() * 1000).to_string();
        let signature = ncloud_kms::sign(method, target, &time, by.0, by.1);
        let headers = [
            ("x-ncp-apigw-timestamp", time.as_str()),
            ("x-ncp-iam-access-key", by.0),
            ("x-ncp-apigw-signature-v2", signature.as_str()),
        ];
        self.call(to.face("ncloud-kms"), method, target, &headers, body)
    }

    /// The audit log, which must be whole: how many values were counted by partition, class and use.
    fn counted(&self) -> BTreeMap<(String, String, String), u64> {
        let report = self.place.run(&["audit", "verify", "--json"]).ends(0).json();
        assert_eq!(report["ok"], json!(true), "{report}");
        self.place.run(&["audit", "export", "--out", "log.ndjson"]).ends(0);
        let mut counted = BTreeMap::new();
        for line in self.place.read("log.ndjson").lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_ne!(line["kind"], "alarm", "{line}");
            for count in line["fields"]["counts"].as_array().into_iter().flatten() {
                let of = ["partition", "class", "use"].map(|member| count[member].as_str().unwrap().to_owned());
                *counted.entry(of.into()).or_insert(0) += count["n"].as_u64().unwrap();
            }
        }
        counted
    }
}

/// A process that can be started again and again at the same addresses.
struct Service {
    place: Arc<Place>,
    args: Vec<String>,
    front: SocketAddr,
    probe: SocketAddr,
    faces: BTreeMap<&'static str, SocketAddr>,
    running: Option<Running>,
}

impl Service {
    fn proxy(place: Arc<Place>, app: &App) -> Self {
        let args = vec!["run".to_owned(), "--upstream".into(), app.url.clone()];
        let (front, probe) = (free_port(), free_port());
        Self { place, args, front, probe, faces: BTreeMap::new(), running: None }
    }

    fn spawn(&mut self) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.running = Some(Running::spawn(&self.place, &args, self.front, self.probe));
    }

    /// Runs, and is ready.
    fn started(mut self) -> Self {
        self.spawn();
        self.eventually("ready", Running::is_ready);
        self
    }

    #[track_caller]
    fn eventually(&mut self, what: &str, holds: impl FnMut(&Running) -> bool) {
        self.running.as_mut().unwrap().eventually(what, holds);
    }

    /// Killed, if it runs.
    fn kill(&mut self) {
        self.running = None;
    }

    /// Killed, and started again.
    #[track_caller]
    fn again(&mut self) {
        self.kill();
        self.spawn();
        self.eventually("ready", Running::is_ready);
    }

    /// Ends as it should.
    #[track_caller]
    fn end(&mut self) -> String {
        let running = self.running.take().unwrap();
        running.signal(Signal::TERM);
        let (code, log) = running.end();
        assert_eq!(code, Some(0), "{log}");
        log
    }

    fn url(&self) -> String {
        format!("https://{}", self.front)
    }

    fn face(&self, name: &str) -> SocketAddr {
        self.faces[name]
    }

    fn face_url(&self, name: &str) -> String {
        format!("https://{}", self.face(name))
    }

    fn get(&self, path: &str) -> Option<Message> {
        exchange(self.front, "GET", path, "")
    }

    fn post(&self, path: &str, body: &str) -> Option<Message> {
        exchange(self.front, "POST", path, body)
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = exchange(self.probe, "GET", "/metrics", "")?.text();
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().last()?.parse().ok())
    }
}

/// An application that keeps documents by path.
pub struct App {
    pub url: String,
    pub stored: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl App {
    pub fn start() -> Self {
        let stored: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let documents = Arc::clone(&stored);
        let server = upstream(move |request, out| {
            let mut line = request.first_line().split(' ');
            let (method, path) = (line.next().unwrap_or(""), line.next().unwrap_or("").to_owned());
            let body = if method == "GET" {
                documents.lock().unwrap().get(&path).cloned()
            } else {
                documents.lock().unwrap().insert(path, request.body.clone());
                Some(b"{}".to_vec())
            };
            let (status, body) = body.map_or_else(|| ("404 Not Found", b"{}".to_vec()), |body| ("200 OK", body));
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            // A proxy that was killed takes no answer.
            match out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body)) {
                Ok(()) => Next::KeepAlive,
                Err(_) => Next::Close,
            }
        });
        let Address::Tcp(at) = server.address else { panic!("a TCP upstream") };
        Self { url: format!("http://{at}"), stored }
    }

    pub fn paths(&self) -> Vec<String> {
        self.stored.lock().unwrap().keys().cloned().collect()
    }

    pub fn document(&self, path: &str) -> Value {
        serde_json::from_slice(&self.stored.lock().unwrap()[path]).unwrap()
    }
}

/// One request on a connection of its own; `None`: there was no whole answer.
pub fn exchange(to: SocketAddr, method: &str, path: &str, body: &str) -> Option<Message> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: app.test\r\ncontent-type: application/json\r\n{length}\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    Message::read(&mut BufReader::new(stream), false)
}

fn status(answer: Option<Message>) -> u16 {
    answer.map_or(0, |answer| answer.status())
}

pub fn private(place: &Place, name: &str, text: &str) {
    place.write(name, text).chmod(name, 0o600);
}

/// Waits until it is so; how long that took is printed, not judged.
#[track_caller]
#[expect(clippy::print_stdout, reason = "how long it took is told, not judged")]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < 2 * PATIENCE, "{what}: never");
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("{what}: after {} ms", start.elapsed().as_millis());
}
