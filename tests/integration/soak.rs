//! A process under mixed load (HTTP/1.1 and HTTP/2, in the clear and over TLS, chunked, coded, WebSockets) while its rules and
//! certificates change every second, the application restarts, and clients vanish: no wrong byte, no connection left over, memory
//! flat. `SOAK_SECONDS` says for how long; a few seconds unless told, and longer where that is too short for a load worth the name.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use rustls::ClientConfig;
use sidecloak::proxy::coding::encode::Form;
use sidecloak::tls::ClientTls;

use super::cli::Place;
use super::cli::process::{Running, free_port};
use super::codings::{coded, decoded};
use super::pki::{Ca, Mounted, Secure};
use super::relay::{connect, offering};
use super::support::{Client, Message, PATIENCE};

const CLIENTS: u64 = 8;
/// In every sealed value, so that the application can tell what it must not see.
const SECRET: &str = "soak-secret";

fn rules(turn: u64) -> String {
    // Every other set has one more rule, about a path that nobody asks for.
    let more = if turn.is_multiple_of(2) { "" } else { "  - { name: more, match: { path: /none }, action: reject }\n" };
    format!(
        "rules:\n  - {{ name: sockets, match: {{ path: /socket }}, action: pass }}\n  - name: soak\n    match: {{ path: /** }}\n    protect:\n      - fields: [\"$..ssn\", \"$..pan\"]\n        key: customers\n{more}# {turn}\n"
    )
}

fn configuration(front: SocketAddr, secure: SocketAddr, probe: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        r#"listeners:
  - {{ name: plain, bind: "{front}", upstream: "http://{upstream}" }}
  - {{ name: secure, bind: "{secure}", upstream: "http://{upstream}", tls: {{ cert: tls/tls.crt, key: tls/tls.key }} }}
rules: rules.yaml
probe: {{ bind: "{probe}" }}
drain: {{ delay: 0s, deadline: 10s }}
telemetry: {{ log: warn }}
"#
    )
}

/// The application: sends back what it was sent, and looks for what it must not be sent. It loses its connections when it restarts.
struct Application {
    address: SocketAddr,
    listener: Arc<Mutex<Option<TcpListener>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    leaked: Arc<AtomicU64>,
    served: Arc<AtomicU64>,
}

impl Application {
    fn start() -> Self {
        let listener = TcpListener::bind(free_port()).unwrap();
        let address = listener.local_addr().unwrap();
        let this = Self {
            address,
            listener: Arc::new(Mutex::new(None)),
            open: Arc::default(),
            leaked: Arc::default(),
            served: Arc::default(),
        };
        this.listen(listener);
        this
    }

    fn listen(&self, listener: TcpListener) {
        *self.listener.lock().unwrap() = Some(listener.try_clone().unwrap());
        let (open, leaked, served) = (Arc::clone(&self.open), Arc::clone(&self.leaked), Arc::clone(&self.served));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let Ok(kept) = stream.try_clone() else { continue };
                open.lock().unwrap().push(kept);
                let (leaked, served) = (Arc::clone(&leaked), Arc::clone(&served));
                thread::spawn(move || echo(stream, &leaked, &served));
            }
        });
    }

    /// All connections end, some within an answer, and for a moment nobody listens.
    fn restart(&self) {
        if let Some(listener) = self.listener.lock().unwrap().take() {
            // Ends `incoming` of the other handle, too.
            drop(socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both));
        }
        for stream in self.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
        thread::sleep(Duration::from_millis(30));
        let start = Instant::now();
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        self.listen(listener);
    }
}

fn echo(stream: TcpStream, leaked: &AtomicU64, served: &AtomicU64) {
    let Ok(mut write) = stream.try_clone() else { return };
    let mut read = std::io::BufReader::new(stream);
    while let Some(request) = message(&mut read) {
        if request.field("upgrade").is_some() {
            let switched =
                write!(write, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            drop(switched.and_then(|()| std::io::copy(&mut read, &mut write)));
            return;
        }
        let coding = request.field("content-encoding");
        let plain = coding.as_ref().map_or_else(|| request.body.clone(), |coding| decoded(coding, &request.body).0);
        if plain.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()) {
            leaked.fetch_add(1, Ordering::Relaxed);
        }
        served.fetch_add(1, Ordering::Relaxed);
        let coding = coding.map_or_else(String::new, |coding| format!("Content-Encoding: {coding}\r\n"));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{coding}Content-Length: {}\r\n\r\n",
            request.body.len()
        );
        if write.write_all(head.as_bytes()).and_then(|()| write.write_all(&request.body)).is_err() {
            return;
        }
    }
}

/// A whole message, or nothing: also where it breaks off within a chunk's size.
fn message(read: &mut impl std::io::BufRead) -> Option<Message> {
    Message::read(read, false)
}

/// What became of the exchanges.
#[derive(Default)]
struct Counts {
    right: AtomicU64,
    vanished: AtomicU64,
    /// By status, of answers that an application which restarts gives rise to.
    refused: Mutex<BTreeMap<u16, u64>>,
    /// Connections that ended before their answer.
    cut: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Counts {
    /// Compares with what was sent.
    fn judge(&self, answer: Option<Message>, sent: &[u8]) -> bool {
        let Some(answer) = answer else { return self.compare(None, sent) };
        let status = answer.status();
        let body = match answer.field("content-encoding") {
            Some(coding) => decoded(&coding, &answer.body).0,
            None => answer.body,
        };
        self.compare(Some((status, &body)), sent)
    }

    fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    fn compare(&self, answer: Option<(u16, &[u8])>, sent: &[u8]) -> bool {
        let tells = |body: &[u8]| body.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        match answer {
            None => self.cut(),
            Some((200, body)) if body == sent => {
                self.right.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            Some((status @ 502..=504, body)) if !tells(body) => {
                *self.refused.lock().unwrap().entry(status).or_default() += 1;
                return true;
            }
            Some((status, body)) => {
                let text: String = String::from_utf8_lossy(body).chars().take(300).collect();
                self.wrong.lock().unwrap().push(format!("{status} {text}"));
            }
        }
        false
    }
}

/// A document with two values of ours, and as much besides.
fn document(n: u64, length: usize) -> String {
    let filler = "x".repeat(length);
    format!(
        r#"{{ "id":{n},  "ssn":"{SECRET}-{n}","cards":[{{"pan": "{SECRET}-{n}-\u00e9"}},{{"pan":null}}],"n":1e5,"filler":"{filler}"}}"#
    )
}

fn head(length: Option<usize>) -> String {
    head_with("", length)
}

fn head_with(fields: &str, length: Option<usize>) -> String {
    let framing =
        length.map_or_else(|| "Transfer-Encoding: chunked".to_owned(), |length| format!("Content-Length: {length}"));
    format!("POST /soak HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\n{fields}{framing}\r\n\r\n")
}

/// Where clients go, and what they trust.
struct Target {
    front: SocketAddr,
    secure: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

fn one_client(seed: u64, to: &Target, stop: &AtomicBool, counts: &Counts) {
    let mut n = seed;
    while !stop.load(Ordering::Relaxed) {
        n += CLIENTS;
        match (n / CLIENTS) % 9 {
            0 => plain(to.front, n, 40, counts),
            1 => over_tls(to.secure, &to.http1, n, counts),
            2 => chunked(to.front, n, counts),
            3 => plain(to.front, n, 300_000, counts),
            4 => vanish(to.front, n, counts),
            5 => over_http2(to, n, counts),
            6 => compressed(to.front, n, counts),
            7 => socket(to.front, n, counts),
            _ => leave_in_the_answer(to.front, n, counts),
        }
    }
}

/// A few exchanges on one connection.
fn plain(front: SocketAddr, n: u64, length: usize, counts: &Counts) {
    let Ok(stream) = TcpStream::connect(front) else { return };
    let mut client = from(stream);
    for turn in 0..4 {
        let body = document(n + turn, length);
        if write!(client.write, "{}{body}", head(Some(body.len()))).is_err() {
            return;
        }
        if !counts.judge(message(&mut client.read), body.as_bytes()) {
            return;
        }
    }
}

fn over_tls(secure: SocketAddr, tls: &Arc<ClientConfig>, n: u64, counts: &Counts) {
    let Some(mut client) = Secure::at(secure, tls) else { return };
    for turn in 0..3 {
        let body = document(n + turn, 2_000);
        let answer = client.call("POST", "/soak", &[("content-type", "application/json")], &body);
        if !counts.judge(answer, body.as_bytes()) {
            return;
        }
    }
}

fn chunked(front: SocketAddr, n: u64, counts: &Counts) {
    let Ok(stream) = TcpStream::connect(front) else { return };
    let mut client = from(stream);
    let body = document(n, 100_000);
    let mut sent = client.write.write_all(head(None).as_bytes());
    for piece in body.as_bytes().chunks(1 + 7_919 * usize::try_from(n % 5 + 1).unwrap()) {
        sent = sent.and_then(|()| write!(client.write, "{:x}\r\n", piece.len()));
        sent = sent.and_then(|()| client.write.write_all(piece)).and_then(|()| client.write.write_all(b"\r\n"));
    }
    // The proxy may have answered and closed: its answer is judged all the same.
    drop(sent.and_then(|()| client.write.write_all(b"0\r\n\r\n")));
    counts.judge(message(&mut client.read), body.as_bytes());
}

/// A short body and a long one, in gzip both ways.
fn compressed(front: SocketAddr, n: u64, counts: &Counts) {
    let Ok(stream) = TcpStream::connect(front) else { return };
    let mut client = from(stream);
    for length in [40, 100_000] {
        let plain = document(n, length);
        let body = coded(&[Form::Gzip], plain.as_bytes());
        let head = head_with("Content-Encoding: gzip\r\nAccept-Encoding: gzip\r\n", Some(body.len()));
        drop(client.write.write_all(head.as_bytes()).and_then(|()| client.write.write_all(&body)));
        if !counts.judge(message(&mut client.read), plain.as_bytes()) {
            return;
        }
    }
}

/// Exchanges side by side on one connection; one is given up, and every other connection just goes.
fn over_http2(to: &Target, n: u64, counts: &Counts) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = connect(to.secure, &to.secure.ip().to_string(), &to.http2).await;
        let Ok(stream) = stream else { return counts.cut() };
        let Ok((sender, connection)) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await else {
            return counts.cut();
        };
        let driver = tokio::spawn(connection);
        let ask = |n: u64, length: usize| {
            let mut sender = sender.clone();
            async move {
                let body = document(n, length);
                let request = http::Request::post("https://app.test/soak").header("content-type", "application/json");
                let sent = sender.send_request(request.body(Full::new(Bytes::from(body.clone()))).unwrap());
                let answer = async {
                    let (parts, answer) = sent.await.ok()?.into_parts();
                    Some((parts.status.as_u16(), answer.collect().await.ok()?.to_bytes()))
                };
                let answer = tokio::time::timeout(PATIENCE, answer).await.ok().flatten();
                counts.compare(answer.as_ref().map(|(status, body)| (*status, &body[..])), body.as_bytes());
            }
        };
        let given_up = async {
            drop(tokio::time::timeout(Duration::from_millis(n % 20), ask(n, 300_000)).await);
            counts.vanished.fetch_add(1, Ordering::Relaxed);
        };
        tokio::join!(ask(n, 40), ask(n + 1, 2_000), ask(n + 2, 100_000), given_up);
        if n.is_multiple_of(2) {
            drop(sender);
            drop(tokio::time::timeout(PATIENCE, driver).await);
        }
    });
}

/// A WebSocket whose bytes come back as they were sent, or not at all.
fn socket(front: SocketAddr, n: u64, counts: &Counts) {
    let Ok(stream) = TcpStream::connect(front) else { return };
    let mut client = from(stream);
    let asked = "GET /socket HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    drop(client.write.write_all(asked.as_bytes()));
    match message(&mut client.read) {
        Some(answer) if answer.status() == 101 => {}
        other => {
            counts.judge(other, &[]);
            return;
        }
    }
    for turn in 0..5u64 {
        let sent: Vec<u8> = (0..10_000u64).map(|at| (at.wrapping_mul(n + turn) >> 3) as u8).collect();
        let mut came = vec![0; sent.len()];
        if client.write.write_all(&sent).and_then(|()| client.read.read_exact(&mut came)).is_err() {
            return counts.cut();
        }
        counts.compare(Some((200, &came)), &sent);
    }
}

/// Goes within its request.
fn vanish(front: SocketAddr, n: u64, counts: &Counts) {
    let Ok(mut stream) = TcpStream::connect(front) else { return };
    let body = document(n, 90_000);
    let whole = format!("{}{body}", head(Some(body.len())));
    let part = &whole.as_bytes()[..whole.len() * usize::try_from(n % 10).unwrap() / 10];
    drop(stream.write_all(part));
    counts.vanished.fetch_add(1, Ordering::Relaxed);
}

/// Goes within its answer, without a word.
fn leave_in_the_answer(front: SocketAddr, n: u64, counts: &Counts) {
    let Ok(mut stream) = TcpStream::connect(front) else { return };
    let body = document(n, 500_000);
    drop(write!(stream, "{}{body}", head(Some(body.len()))));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut part = [0; 1000];
    drop(stream.read(&mut part));
    counts.vanished.fetch_add(1, Ordering::Relaxed);
}

fn from(stream: TcpStream) -> Client<TcpStream> {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client { read: std::io::BufReader::new(stream.try_clone().unwrap()), write: stream }
}

/// The value of a metric, summed over its labels.
fn metric(probe: SocketAddr, name: &str) -> u64 {
    let text = Client::tcp(probe).get("/metrics").text();
    let lines = text.lines().filter(|line| line.starts_with(&format!("sidecloak_{name}")));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

/// Ends the threads that ask for it, also where a check fails.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn under_mixed_load_and_constant_change_no_byte_is_wrong_and_nothing_is_left_over() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let (place, ca, application) = (Place::with_keyring(), Ca::new("soak"), Application::start());
    let (front, secure, probe) = (free_port(), free_port(), free_port());
    place
        .write("rules.yaml", rules(0))
        .write("sidecloak.yaml", configuration(front, secure, probe, application.address));
    place.write("ca.pem", ca.pem());
    let own = || ca.server_at(&[secure.ip().to_string()]);
    let mut certificates = Mounted::new(&place.path("tls"), &own());
    let mut proxy = Running::configured(&place, &["run", "--config", "sidecloak.yaml"], front, probe);
    proxy.eventually("ready", Running::is_ready);
    let roots = ClientTls { ca: Some(place.path("ca.pem")), ..ClientTls::default() };
    let (http1, http2) = (offering(&roots, &["http/1.1"]), offering(&roots, &["h2"]));
    let to = Target { front, secure, http1, http2 };
    let files_before = proxy.open_files();

    let (counts, stop) = (Counts::default(), AtomicBool::new(false));
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let few = || counts.right.load(Ordering::Relaxed) <= 10 * seconds;
    let mut memory = Vec::new();
    let (mut reloads, mut noticed, mut restarts) = (0, 0, 0);
    thread::scope(|scope| {
        // However this scope is left: it waits for its threads.
        let stopping = Stopping(&stop);
        for seed in 0..CLIENTS {
            let (to, stop, counts) = (&to, &stop, &counts);
            scope.spawn(move || one_client(seed, to, stop, counts));
        }
        let restarted = scope.spawn(|| {
            let mut restarts = 0;
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1700));
                application.restart();
                restarts += 1;
            }
            restarts
        });
        // On a busy machine for longer, up to a bound.
        while Instant::now() < end || (few() && reloads < 10 * seconds) {
            thread::sleep(Duration::from_secs(1));
            reloads += 1;
            let before = metric(probe, "reloads_total");
            // As a ConfigMap or an editor does: another file under the same name.
            place.write("rules.new", rules(reloads));
            fs::rename(place.path("rules.new"), place.path("rules.yaml")).unwrap();
            certificates.swap(&own());
            // One after the other, or it may take several for one.
            let is_noticed = (0..500).any(|_| {
                thread::sleep(Duration::from_millis(20));
                metric(probe, "reloads_total") > before
            });
            noticed += u64::from(is_noticed);
            memory.push(proxy.resident());
        }
        drop(stopping);
        restarts = restarted.join().unwrap();
    });

    let wrong = std::mem::take(&mut *counts.wrong.lock().unwrap());
    assert!(wrong.is_empty(), "{} wrong answers, such as {}", wrong.len(), wrong[0]);
    assert_eq!(application.leaked.load(Ordering::Relaxed), 0, "requests whose values reached the application unsealed");
    let right = counts.right.load(Ordering::Relaxed);
    assert!(!few(), "{right} right answers: hardly any load");
    assert_eq!(noticed, reloads, "every reload is noticed");

    proxy.eventually("without an exchange", |_| metric(probe, "in_flight") == 0);
    proxy.eventually("without a connection", |_| metric(probe, "worker_connections") == 0);
    proxy.eventually("without a byte in buffers", |_| metric(probe, "budget_used_bytes") == 0);
    // Idle connections to the application close by themselves.
    proxy.eventually("with the files it had", |proxy| proxy.open_files() <= files_before + 2);
    let files_after = proxy.open_files();
    // The first part fills caches and pools.
    let settled = memory[memory.len() / 3];
    let last = proxy.resident();
    let growth = last.saturating_sub(settled);
    assert!(growth < 24 << 20, "resident memory grew from {settled} to {last}");

    proxy.signal(Signal::TERM);
    let (code, log) = proxy.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    let told = format!(
        "soak of {seconds} s: {right} right answers, 0 wrong, 0 leaks, {:?} refused while the application restarted ({restarts} times), {} cut, {} clients vanished, {reloads} reloads of rules and certificates; open files {files_before} before, {files_after} after, no connection left; resident {} KiB after a third, {} KiB at the end, at most {} KiB",
        counts.refused.lock().unwrap(),
        counts.cut.load(Ordering::Relaxed),
        counts.vanished.load(Ordering::Relaxed),
        settled >> 10,
        last >> 10,
        memory.iter().max().unwrap() >> 10,
    );
    // Not `println!`, which a passing test keeps to itself.
    writeln!(std::io::stderr(), "{told}").unwrap();
}
