//! What the tests share: an upstream that records and echoes, a proxy in this process, and a client of raw bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sidecloak::clock::SystemClock;
use sidecloak::metrics::Metrics;
use sidecloak::proxy::settings::{
    Address, Caller, Drain, Limits, Listener, ProxyProtocol, Settings, UpstreamHost, UpstreamLimits, UpstreamProtocol,
};
use sidecloak::proxy::{Server, Shared};
use sidecloak::rules::RuleSet;

/// Long enough for a busy machine; a test that waits this long fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A message as it came over the wire.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Request or status line and fields, with the line ends.
    pub head: String,
    /// The body, freed of chunks.
    pub body: Vec<u8>,
    /// The fields after the last chunk.
    pub trailers: String,
}

impl Message {
    pub fn first_line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    pub fn status(&self) -> u16 {
        self.first_line().split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// All values of a field, joined with `, `.
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads one message; `None` at the end of the connection.
    pub fn read(from: &mut impl BufRead, to_head: bool) -> Option<Self> {
        let mut message = Self { head: block(from)?, ..Self::default() };
        let status = message.status();
        let is_response = message.head.starts_with("HTTP/");
        if to_head || (is_response && (status < 200 || status == 204 || status == 304)) {
            return Some(message);
        }
        if message.field("transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                from.read_line(&mut line).ok()?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                if size == 0 {
                    break;
                }
                let at = message.body.len();
                message.body.resize(at + size + 2, 0);
                from.read_exact(&mut message.body[at..]).ok()?;
                message.body.truncate(at + size);
            }
            message.trailers = block(from)?;
        } else if let Some(length) = message.field("content-length") {
            message.body.resize(length.parse().unwrap(), 0);
            from.read_exact(&mut message.body).ok()?;
        } else if is_response {
            from.take(u64::MAX).read_to_end_bounded(&mut message.body)?;
        }
        Some(message)
    }
}

trait ReadToEnd {
    fn read_to_end_bounded(&mut self, into: &mut Vec<u8>) -> Option<()>;
}

impl<R: Read> ReadToEnd for R {
    #[expect(clippy::disallowed_methods, reason = "what a test's own peer sends")]
    fn read_to_end_bounded(&mut self, into: &mut Vec<u8>) -> Option<()> {
        self.read_to_end(into).ok().map(drop)
    }
}

/// Lines up to the empty one.
fn block(from: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if &head[before..] == "\r\n" {
            return Some(head);
        }
    }
}

/// An upstream of raw bytes: records each request and answers what `answer` makes of it.
pub struct Upstream {
    pub address: Address,
    pub seen: Arc<Mutex<Vec<Message>>>,
    pub connections: Arc<Mutex<usize>>,
}

type Answer = dyn Fn(&Message, &mut dyn Write) -> Next + Send + Sync;

/// What an upstream does after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    KeepAlive,
    Close,
}

/// Answers with the request's body and content type.
pub fn echo() -> Upstream {
    upstream(|request, out| {
        let kind = request.field("content-type").unwrap_or_else(|| "text/plain".into());
        write!(out, "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", request.body.len())
            .unwrap();
        out.write_all(&request.body).unwrap();
        Next::KeepAlive
    })
}

pub fn upstream(answer: impl Fn(&Message, &mut dyn Write) -> Next + Send + Sync + 'static) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    serve_all(address, answer, move || {
        let (stream, _) = listener.accept().ok()?;
        stream.set_nodelay(true).ok()?;
        Some((stream.try_clone().ok()?, stream))
    })
}

pub fn unix_upstream(
    path: &Path,
    answer: impl Fn(&Message, &mut dyn Write) -> Next + Send + Sync + 'static,
) -> Upstream {
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    serve_all(Address::Unix(path.to_owned()), answer, move || {
        let (stream, _) = listener.accept().ok()?;
        Some((stream.try_clone().ok()?, stream))
    })
}

fn serve_all<S: Read + Write + Send + 'static>(
    address: Address,
    answer: impl Fn(&Message, &mut dyn Write) -> Next + Send + Sync + 'static,
    mut accept: impl FnMut() -> Option<(S, S)> + Send + 'static,
) -> Upstream {
    let answer: Arc<Answer> = Arc::new(answer);
    let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let up = Upstream { address, seen: Arc::clone(&seen), connections: Arc::clone(&connections) };
    thread::spawn(move || {
        while let Some((read, mut write)) = accept() {
            *connections.lock().unwrap() += 1;
            let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
            thread::spawn(move || {
                let mut read = BufReader::new(read);
                while let Some(request) = Message::read(&mut read, false) {
                    seen.lock().unwrap().push(request.clone());
                    if answer(&request, &mut write) == Next::Close {
                        return;
                    }
                }
            });
        }
    });
    up
}

impl Upstream {
    /// The last request.
    pub fn last(&self) -> Message {
        self.seen.lock().unwrap().last().cloned().expect("the upstream has seen a request")
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// A proxy to be.
pub struct ProxyBuilder {
    pub settings: Settings,
    pub rules: RuleSet,
    pub adjust: Box<dyn FnOnce(&mut Shared)>,
}

/// A proxy with one worker and one listener before these upstreams.
pub fn proxy(upstreams: &[&Upstream]) -> ProxyBuilder {
    proxy_to(upstreams.iter().map(|u| u.address.clone()).collect())
}

pub fn proxy_to(upstream: Vec<Address>) -> ProxyBuilder {
    ProxyBuilder {
        settings: Settings {
            listeners: vec![Arc::new(listener("front", upstream))],
            workers: 1,
            upstream_limits: UpstreamLimits { connections: 64, idle: 16, idle_timeout: Duration::from_secs(4) },
            callers: Vec::new(),
            limits: Limits {
                memory: 64 << 20,
                header: 32 << 10,
                value: 1 << 20,
                in_flight: 1024,
                connections: 4096,
                buffer: 64 << 10,
                decoded: 256 << 20,
                ratio: 200,
            },
            drain: Drain { delay: Duration::ZERO, deadline: PATIENCE },
        },
        rules: RuleSet::default(),
        adjust: Box::new(|_| ()),
    }
}

pub fn listener(name: &str, upstream: Vec<Address>) -> Listener {
    Listener {
        name: name.into(),
        bind: vec![Address::Tcp(([127, 0, 0, 1], 0).into())],
        upstream,
        tls: None,
        proxy_protocol: ProxyProtocol::Off,
        upstream_protocol: UpstreamProtocol::Http1,
        upstream_tls: None,
        upstream_host: UpstreamHost::Keep,
        reject_unmatched: false,
        reject_ambiguous: true,
        ignore_case: false,
        trusted_peers: Vec::new(),
        trusted_headers: Vec::new(),
        open_for: None,
    }
}

impl ProxyBuilder {
    pub fn listener(mut self, change: impl FnOnce(&mut Listener)) -> Self {
        change(Arc::make_mut(&mut self.settings.listeners[0]));
        self
    }

    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub fn shared(mut self, change: impl FnOnce(&mut Shared) + 'static) -> Self {
        self.adjust = Box::new(change);
        self
    }

    pub fn callers(mut self, callers: Vec<Caller>) -> Self {
        self.settings.callers = callers;
        self
    }

    pub fn run(self) -> Proxy {
        let mut shared =
            Shared::new(self.settings, self.rules, None, Metrics::default(), SystemClock::shared()).unwrap();
        (self.adjust)(&mut shared);
        let shared = Arc::new(shared);
        let server = Server::start(Arc::clone(&shared)).unwrap();
        Proxy { server, shared }
    }
}

/// A running proxy.
pub struct Proxy {
    pub server: Server,
    pub shared: Arc<Shared>,
}

impl Proxy {
    /// Where the n-th listener listens.
    pub fn tcp(&self, n: usize) -> SocketAddr {
        match &self.server.addresses()[n].1 {
            Address::Tcp(address) => *address,
            other => panic!("{other} is no TCP address"),
        }
    }

    pub fn client(&self) -> Client<TcpStream> {
        Client::tcp(self.tcp(0))
    }
}

/// A connection that speaks raw bytes.
pub struct Client<S> {
    pub read: BufReader<S>,
    pub write: S,
}

impl Client<TcpStream> {
    pub fn tcp(address: SocketAddr) -> Self {
        let write = TcpStream::connect(address).unwrap();
        write.set_nodelay(true).unwrap();
        write.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { read: BufReader::new(write.try_clone().unwrap()), write }
    }

    pub fn no_more(&self) {
        self.write.shutdown(Shutdown::Write).unwrap();
    }
}

impl Client<std::os::unix::net::UnixStream> {
    pub fn unix(path: &PathBuf) -> Self {
        let write = std::os::unix::net::UnixStream::connect(path).unwrap();
        write.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { read: BufReader::new(write.try_clone().unwrap()), write }
    }
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.write.write_all(bytes.as_ref()).unwrap();
        self
    }

    pub fn receive(&mut self) -> Message {
        Message::read(&mut self.read, false).expect("an answer")
    }

    pub fn get(&mut self, target: &str) -> Message {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n")).receive()
    }

    /// Whether the proxy has closed the connection.
    pub fn is_at_end(&mut self) -> bool {
        matches!(self.read.fill_buf(), Ok(bytes) if bytes.is_empty())
    }
}
