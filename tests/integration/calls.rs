//! Authorities on one keyring with a clock that stands still, and calls of their faces.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use serde_json::Value;
use sidecloak::authority::credentials::{NewApiKey, Purpose};
use sidecloak::authority::{Authority, Caller, Refused, Settings};
use sidecloak::clock::ManualClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::{KeySource, Keyring, Options, Permissions};
use sidecloak::name::{Class, PartitionName};
use sidecloak::token::Suite;
use sidecloak::transform::SealJob;

use super::support::{Client, Message};

/// 2027-01-15T08:00:00Z.
pub const NOW: u64 = 1_800_000_000;

/// An authority in a directory of its own.
pub struct House {
    pub directory: tempfile::TempDir,
    pub authority: Arc<Authority>,
    pub clock: Arc<ManualClock>,
    runtime: tokio::runtime::Runtime,
}

impl House {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(NOW);
        let keyring = Keyring::init(&options(directory.path()), KemSuite::MlKem768, clock.clone()).unwrap();
        let authority = Authority::new(Arc::new(keyring), clock.clone(), &Settings::default()).unwrap().into();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { directory, authority, clock, runtime }
    }

    /// Another process on the same store, as far as it can tell.
    pub fn another(&self) -> Arc<Authority> {
        let keyring = Keyring::open(&options(self.directory.path()), self.clock.clone()).unwrap();
        Authority::new(Arc::new(keyring), self.clock.clone(), &Settings::default()).unwrap().into()
    }

    /// Serves a face on loopback until this house is dropped.
    pub fn serve(&self, router: Router) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        self.runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        address
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The text and number of a new API key.
    pub fn key(&self, purpose: Purpose, role: &str, app: Option<&str>, expires: u64) -> (String, u64) {
        let new = NewApiKey {
            purpose,
            label: "test".into(),
            app: app.map(ToOwned::to_owned),
            partition: None,
            role: role.into(),
            expires,
            secrets: &[],
        };
        let (text, key) = self.authority.credentials.create_api_key(&new).unwrap();
        (String::from_utf8(text.expose().to_vec()).unwrap(), key.number)
    }

    /// Gives a role its permissions in `default`.
    pub fn role(&self, role: &str, bits: u32) {
        self.authority.keyring.set_role(&PartitionName::default_name(), role, Some(Permissions(bits))).unwrap();
    }

    /// What any face does with a value, by an authority's vault.
    pub fn seal(&self, authority: &Authority, partition: &str) -> Result<Vec<u8>, Refused> {
        let (partition, class) = (PartitionName::new(partition).unwrap(), Class::new("crittora"));
        let job = SealJob {
            partition: &partition,
            class: &class,
            suite: Suite::Xaes,
            sign: false,
            pad: None,
            text: b"value",
            is_string: true,
            record_id: None,
        };
        let caller = Caller { name: "test".into(), role: "default".into() };
        self.block_on(authority.vault.seal(&caller, &job))
    }
}

fn options(directory: &Path) -> Options {
    Options {
        store: directory.join("keyring.db").into(),
        master_keys: vec![KeySource::File(directory.join("master.key"))],
        i_know: true,
        ..Options::default()
    }
}

/// One call, on a connection of its own.
pub fn call(address: SocketAddr, method: &str, target: &str, authorization: &str, body: Option<&str>) -> Message {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: face.test\r\nConnection: close\r\n");
    if !authorization.is_empty() {
        request += &format!("Authorization: {authorization}\r\n");
    }
    match body {
        Some(body) => {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
        None => request += "\r\n",
    }
    let mut client = Client::tcp(address);
    let answer = Message::read(&mut client.send(request).read, method == "HEAD").expect("an answer");
    if method != "HEAD" && answer.status() != 204 {
        assert!(
            answer.field("content-type").unwrap_or_default().starts_with("application/json"),
            "{method} {target}: {}",
            answer.head
        );
        assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"), "{method} {target}");
    }
    answer
}

/// The body as JSON.
pub fn json(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}{}", answer.head, answer.text()))
}
