//! In the place of a managed API: a server over TLS that answers as a real handler does, unless it is told to misbehave, request by
//! request; and that counts. It writes bytes itself, since no library answers so badly.

#[path = "double/act.rs"]
mod act;

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderName, HeaderValue, Request};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tower::ServiceExt;

pub use act::{Act, extended, missing, reordered, shortened, with};

use crate::pki::Pair;
use crate::support::{Message, PATIENCE};

/// What the handler that stands behind answers.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// See the module. Listens until it is dropped.
pub struct Double {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    handler: Box<dyn Fn(&Message) -> Answer + Send + Sync>,
    script: Mutex<Script>,
    seen: Mutex<Vec<Message>>,
    connections: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    over: AtomicBool,
}

type Choose = dyn Fn(usize, &Message) -> Act + Send;

struct Script {
    next: VecDeque<Act>,
    always: Box<Choose>,
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }
}

/// Has a router answer, such as one of the authority's faces.
pub fn router(router: Router) -> impl Fn(&Message) -> Answer + Send + Sync + 'static {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    move |message| {
        let mut words = message.first_line().split(' ');
        let mut request = Request::builder().method(words.next().unwrap()).uri(words.next().unwrap());
        for (name, value) in message.head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(message.body.clone())).unwrap();
        runtime.block_on(async {
            let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
            let body = to_bytes(body, 1 << 24).await.unwrap().to_vec();
            let text =
                |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
            // How long it is says who writes it.
            let headers = head.headers.iter().filter(|(name, _)| *name != "content-length").map(text).collect();
            Answer { status: head.status.as_u16(), headers, body }
        })
    }
}

impl Double {
    /// Over TLS, with this certificate, at `localhost`.
    pub fn tls(pair: &Pair, handler: impl Fn(&Message) -> Answer + Send + Sync + 'static) -> Self {
        let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::start(Some(Arc::new(config)), handler)
    }

    /// Without.
    pub fn plain(handler: impl Fn(&Message) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(None, handler)
    }

    fn start(tls: Option<Arc<ServerConfig>>, handler: impl Fn(&Message) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Script { next: VecDeque::new(), always: Box::new(|_, _| Act::Well) };
        let shared = Arc::new(Shared {
            tls,
            handler: Box::new(handler),
            script: Mutex::new(script),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// What it does with requests for which nothing else was said; at first: well.
    pub fn always(&self, act: Act) {
        self.by(move |_, _| act.clone());
    }

    /// The same by the number of the request, from 0, and by what it says.
    pub fn by(&self, choose: impl Fn(usize, &Message) -> Act + Send + 'static) {
        self.shared.script.lock().unwrap().always = Box::new(choose);
    }

    /// What it does with the next requests, one each.
    pub fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.shared.script.lock().unwrap().next.extend(acts);
    }

    /// How many requests came.
    pub fn calls(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// All requests.
    pub fn seen(&self) -> Vec<Message> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Has it count from nothing again.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
    }

    /// Over how many connections.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many it worked on at once, at most.
    pub fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes who accepts.
        drop(TcpStream::connect(self.address));
    }
}

/// A connection of either kind.
pub trait Wire: Read + Write {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for StreamOwned<ServerConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        match &self.tls {
            Some(config) => self.talk(StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)),
            None => self.talk(stream),
        }
    }

    fn talk(&self, wire: impl Wire) {
        let mut wire = BufReader::new(wire);
        while let Some(request) = Message::read(&mut wire, false) {
            let working = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(working, Ordering::SeqCst);
            let act = self.choose(&request);
            let (answer, act) = act::prepared(&act, || (self.handler)(&request));
            // Before the answer is out: whoever has it may call again at once.
            self.now.fetch_sub(1, Ordering::SeqCst);
            // That the other side has gone is no fault.
            if !act::written(act, &answer, wire.get_mut()).unwrap_or(false) {
                return;
            }
        }
    }

    fn choose(&self, request: &Message) -> Act {
        let mut seen = self.seen.lock().unwrap();
        let number = seen.len();
        seen.push(request.clone());
        drop(seen);
        let mut script = self.script.lock().unwrap();
        script.next.pop_front().unwrap_or_else(|| (script.always)(number, request))
    }
}
