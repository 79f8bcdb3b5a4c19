//! `run` as a process of its own: start, readiness, traffic, changes from the command line, signals.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use sidecloak::proxy::settings::Address;

use super::{Place, example_rules};
use crate::cluster::{Cluster, Settings};
use crate::support::{Client, Message, Next, PATIENCE, Upstream, upstream};

/// A running process; ended when dropped.
pub struct Running {
    child: Child,
    pub front: SocketAddr,
    pub probe: SocketAddr,
    pub log: Arc<Mutex<String>>,
    ended: Mutex<Receiver<()>>,
}

impl Running {
    fn start(place: &Place, app: &Upstream, args: &[&str]) -> Self {
        let Address::Tcp(app) = app.address else { panic!("a TCP upstream") };
        let upstream = format!("http://{app}");
        Self::command(place, &[&["run", "--upstream", &upstream], args].concat())
    }

    /// Any command that has `--listen` and `--probe`, once it is ready.
    pub fn command(place: &Place, args: &[&str]) -> Self {
        let mut running = Self::spawn(place, args, free_port(), free_port());
        running.eventually("ready", |r| r.is_ready());
        running
    }

    /// The same at given addresses, ready or not.
    pub fn spawn(place: &Place, args: &[&str], front: SocketAddr, probe: SocketAddr) -> Self {
        let (front_text, probe_text) = (front.to_string(), probe.to_string());
        Self::configured(place, &[args, &["--listen", &front_text, "--probe", &probe_text]].concat(), front, probe)
    }

    /// The same, whose configuration says where that is.
    pub fn configured(place: &Place, args: &[&str], front: SocketAddr, probe: SocketAddr) -> Self {
        let mut child = place.command(args).spawn().unwrap();
        let (log, (end, ended)) = (Arc::new(Mutex::new(String::new())), sync_channel(1));
        let (stderr, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
            }
            end.send(()).ok();
        });
        Self { child, front, probe, log, ended: Mutex::new(ended) }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn is_ready(&self) -> bool {
        TcpStream::connect(self.probe).is_ok_and(|_| Client::tcp(self.probe).get("/readyz").status() == 200)
    }

    #[track_caller]
    pub fn eventually(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            let log = self.log.lock().unwrap().clone();
            assert!(start.elapsed() < PATIENCE, "never {what}: {log}");
            assert!(self.child.try_wait().unwrap().is_none(), "ended before {what}: {log}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The exit code, and all that was logged.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        self.ended.get_mut().unwrap().recv_timeout(PATIENCE).expect("it ends");
        let status = self.child.wait().unwrap();
        let log = self.log.lock().unwrap().clone();
        (status.code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address of loopback that nobody else uses: a port of 127.0.0.1 that is free now may be a client's a moment later.
pub fn free_port() -> SocketAddr {
    static TAKEN: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let [.., high, low] = process.to_be_bytes();
    SocketAddr::from(([127, high | 1, low, TAKEN.fetch_add(1, Ordering::Relaxed)], 18_080))
}

/// Stores the last body of a request, and answers every GET with it.
fn store() -> Upstream {
    let stored = Mutex::new(Vec::new());
    upstream(move |request, out| {
        let mut stored = stored.lock().unwrap();
        if !request.first_line().starts_with("GET") {
            stored.clone_from(&request.body);
        }
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", stored.len());
        // A proxy that was killed takes no answer.
        match out.write_all(head.as_bytes()).and_then(|()| out.write_all(&stored)) {
            Ok(()) => Next::KeepAlive,
            Err(_) => Next::Close,
        }
    })
}

fn post(to: SocketAddr, body: &str) -> Message {
    let head = "POST /customers HTTP/1.1\r\nHost: app.test\r\ncontent-type: application/json\r\n";
    Client::tcp(to).send(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).receive()
}

/// No delay: the drain's order is tested elsewhere.
const QUICK: &str = "drain: { delay: 0s, deadline: 10s }\n";

#[test]
fn a_process_from_start_to_end() {
    let (place, app) = (Place::with_keyring(), store());
    example_rules(&place);
    place.write("sidecloak.yaml", QUICK);
    let mut proxy = Running::start(&place, &app, &[]);
    let body = "{\"ssn\":\"123-45-6789\",\"a\":1}";
    assert_eq!(post(proxy.front, body).text(), body, "the answer is opened again");
    assert!(!app.last().text().contains("123-45") && app.last().text().contains("sc1."), "{}", app.last().text());
    assert_eq!(Client::tcp(proxy.front).get("/customers/1").text(), body);
    place.run(&["health", "--probe", &proxy.probe.to_string()]).ends(0).shows("ready (200)");

    // The breach switch, from beside the process.
    place.run(&["keys", "pause", "customers"]).ends(0);
    proxy.eventually("paused", |p| Client::tcp(p.front).get("/customers/1").status() != 200);
    assert!(!Client::tcp(proxy.front).get("/customers/1").text().contains("123-45"));
    assert!(proxy.is_ready(), "a paused partition is no fault of the process");
    place.run(&["keys", "resume", "customers"]).ends(0);
    proxy.eventually("resumed", |p| Client::tcp(p.front).get("/customers/1").status() == 200);
    place.run(&["keys", "rotate-master", "--new-key-file", "new.key"]).ends(0);
    assert_eq!(post(proxy.front, body).text(), body, "a rotation goes unnoticed");

    proxy.signal(Signal::TERM);
    let (code, log) = proxy.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("draining") && log.contains("stopped") && !log.contains("123-45"), "{log}");
    assert_eq!(app.connections.lock().map(|c| *c > 0).ok(), Some(true));
}

/// An epoch is on disk before its first token leaves: whatever the application stored opens after the next start.
#[test]
fn killed_at_any_moment_no_token_is_left_without_its_epoch() {
    let (place, app) = (Place::with_keyring(), store());
    example_rules(&place);
    place.write("sidecloak.yaml", QUICK);
    let body = "{\"ssn\":\"123-45-6789\",\"a\":1}";
    for round in 0..8 {
        let proxy = Running::start(&place, &app, &[]);
        let front = proxy.front;
        assert_eq!(post(front, body).text(), body);
        // Ends with a panic of its own when the proxy is gone.
        let traffic = std::thread::spawn(move || while post(front, body).status() == 200 {});
        place.run(&["keys", "rollover", "customers", "--kind", "all"]).ends(0);
        std::thread::sleep(std::time::Duration::from_millis(5 * round));
        proxy.signal(Signal::KILL);
        assert_eq!(proxy.end().0, None, "killed");
        assert!(traffic.join().is_err());

        let stored = app.last().text();
        let again = Running::start(&place, &app, &[]);
        assert_eq!(Client::tcp(again.front).get("/customers/1").text(), body, "round {round}: {stored}");
    }
}

#[test]
fn a_drain_waits_for_what_runs_and_a_second_signal_does_not() {
    let place = Place::empty();
    place.write("sidecloak.yaml", QUICK);
    for again in [false, true] {
        let (go, wait) = sync_channel::<()>(1);
        let wait = Mutex::new(wait);
        let app = upstream(move |_, out| {
            wait.lock().unwrap().recv_timeout(PATIENCE).ok();
            drop(out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone"));
            Next::Close
        });
        let mut proxy = Running::start(&place, &app, &[]);
        let mut client = Client::tcp(proxy.front);
        client.send("GET /slow HTTP/1.1\r\nHost: app.test\r\n\r\n");
        proxy.eventually("asked", |_| app.count() == 1);
        proxy.signal(Signal::TERM);
        proxy.eventually("draining", |p| p.log.lock().unwrap().contains("draining"));
        if again {
            proxy.signal(Signal::INT);
            let (code, log) = proxy.end();
            assert!(code.is_some(), "it ends by itself: {log}");
            assert!(Message::read(&mut client.read, false).is_none(), "the exchange was cut off");
            go.send(()).ok();
        } else {
            go.send(()).unwrap();
            assert_eq!(client.receive().text(), "done");
            assert_eq!(proxy.end().0, Some(0));
        }
    }
}

#[test]
fn every_line_of_the_log_is_json_also_a_warning_of_the_configuration() {
    let place = Place::empty();
    let app = store();
    let mut proxy = Running::start(&place, &app, &[]);
    proxy.eventually("ready", Running::is_ready);
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::TERM);
    let (_, log) = proxy.end();
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    }
    assert!(log.contains(r#""code":"no-rules""#) && log.contains(r#""help":"name a file or directory"#), "{log}");
}

#[test]
fn a_port_in_use() {
    let place = Place::empty();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |more: &[&str]| place.run(&[&["run", "--upstream", "http://127.0.0.1:9"], more].concat());
    run(&["--listen", &address]).ends(69).says(&address);
    run(&["--listen", "127.0.0.1:0", "--probe", &address]).ends(69).says(&address);
    let error: serde_json::Value = run(&["--listen", &address, "--json", "--log", "off"])
        .ends(69)
        .err
        .lines()
        .find_map(|line| serde_json::from_str(line).ok().filter(|v: &serde_json::Value| v.get("error").is_some()))
        .unwrap();
    assert_eq!(error["error"]["code"], 69);
}

#[test]
fn rules_that_are_refused_stop_the_start() {
    let place = Place::with_keyring();
    place.write(
        "rules.yaml",
        "rules:\n  - name: a\n    match: { path: /x }\n    protect: [{ fields: [\"$.a\"], embedded: true }]\n",
    );
    let run = |rules: &str| {
        place.run(&["run", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--rules", rules])
    };
    run("rules.yaml").ends(64).says("rules.yaml:4").says("and this item seals, too");
    place.write(
        "rules.yaml",
        "rules:\n  - name: a\n    match: { path: /x }\n    protect: [{ fields: [\"$.a\"], key: nosuch }]\n",
    );
    run("rules.yaml").ends(64).says("keys init --partition nosuch");
}

#[test]
fn the_demo_holds() {
    let place = Place::empty();
    place.run(&["demo"]).ends(0).shows("sc1.").shows("Cleaned up");
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn health_of_nobody() {
    let place = Place::empty();
    place.run(&["health", "--probe", &free_port().to_string()]).ends(1);
    place.run(&["health"]).ends(64).says("--probe");
    // The process's configuration, of which the owner stands in a variable.
    place.write(
        "sidecloak.yaml",
        format!("keyring: {{ store: 'https://localhost:1' }}\nprobe: {{ bind: {} }}\n", free_port()),
    );
    place.run(&["health"]).ends(64).says("--owner");
    place.run(&["health", "--owner", &"0".repeat(64)]).ends(1).says("refused");
}

#[test]
fn two_proxies_on_one_database() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let url = cluster.database();
    let (place, app) = (Place::empty(), store());
    place.write("sidecloak.yaml", format!("keyring: {{ store: '{url}', max_stale: 3s }}\n{QUICK}"));
    place.run(&["keys", "init", "--partition", "customers"]).ends(0);
    example_rules(&place);
    let [mut one, mut other] = [(); 2].map(|()| Running::start(&place, &app, &[]));
    let body = "{\"ssn\":\"123-45-6789\"}";
    let opens = |proxy: &Running| Client::tcp(proxy.front).get("/customers/1").text() == body;
    assert_eq!(post(one.front, body).text(), body);
    assert!(app.last().text().contains("sc1.") && opens(&other), "what one sealed the other opens");
    place.run(&["keys", "pause", "customers"]).ends(0);
    for proxy in [&mut one, &mut other] {
        proxy.eventually("paused", |p| Client::tcp(p.front).get("/customers/1").status() == 403);
    }
    place.run(&["keys", "resume", "customers"]).ends(0);
    for proxy in [&mut one, &mut other] {
        proxy.eventually("resumed", opens);
    }
    let left = |proxy: &Running| {
        let metrics = Client::tcp(proxy.probe).get("/metrics").text();
        let line = metrics.lines().find_map(|l| l.strip_prefix("sidecloak_keyring_seconds_left "));
        line.unwrap_or_else(|| panic!("{metrics}")).parse::<f64>().unwrap()
    };
    cluster.command("stop");
    assert!(opens(&one) || left(&one) <= 1.0, "from memory");
    one.eventually("counting down", |p| left(p) < 2.0);
    one.eventually("at an end", |p| left(p) == 0.0 && Client::tcp(p.front).get("/customers/1").status() == 503);
    assert_eq!(post(other.front, body).status(), 503);
    cluster.command("start");
    for proxy in [&mut one, &mut other] {
        proxy.eventually("back", opens);
    }
    for proxy in [one, other] {
        proxy.signal(Signal::TERM);
        let (code, log) = proxy.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("max_stale"), "{log}");
        assert!(!log.contains("sidecloak@"), "{log}");
    }
}
