//! A keyring of its own with an authority over it, and its faces on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use sidecloak::authority::{Authority, Settings};
use sidecloak::clock::SystemClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::{KeySource, Keyring, Options};
use sidecloak::name::PartitionName;

/// An authority in a directory of its own.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub authority: Arc<Authority>,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    /// With these partitions beside `default`.
    pub fn new(partitions: &[&str]) -> Self {
        Self::with(partitions, &Settings::default())
    }

    /// The same with these settings.
    pub fn with(partitions: &[&str], settings: &Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::init(&options(directory.path()), KemSuite::MlKem768, SystemClock::shared()).unwrap();
        for name in partitions {
            keyring.create_partition(&PartitionName::new(name).unwrap()).unwrap();
        }
        let authority = Authority::new(Arc::new(keyring), SystemClock::shared(), settings).unwrap().into();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { directory, authority, runtime }
    }

    /// Another process's authority on the same store.
    pub fn another(&self) -> Arc<Authority> {
        let keyring = Keyring::open(&options(self.directory.path()), SystemClock::shared()).unwrap();
        Authority::new(Arc::new(keyring), SystemClock::shared(), &Settings::default()).unwrap().into()
    }

    /// Serves a face on loopback until this place is dropped.
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

    /// Runs something asynchronous, such as making a call of [`Authority::credentials`].
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

fn options(directory: &std::path::Path) -> Options {
    Options {
        store: directory.join("keyring.db").into(),
        master_keys: vec![KeySource::File(directory.join("master.key"))],
        i_know: true,
        ..Options::default()
    }
}

#[test]
fn an_authority_starts_on_a_keyring_of_its_own() {
    let place = Place::new(&["tenant"]);
    let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
    let address = place.serve(router);
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.ends_with("here"), "{answer}");
    assert!(place.directory.path().join("keyring.db").exists());
    assert!(
        place
            .block_on(
                place
                    .authority
                    .credentials
                    .api_key(sidecloak::authority::credentials::Purpose::Management, "no such key")
            )
            .is_err()
    );
}

/// Whoever owns the store decides what its tables are, and so which row comes for which question.
#[test]
fn an_entry_that_was_not_asked_for_is_none() {
    use sidecloak::directory::Ends;
    let place = Place::new(&[]);
    let theirs = &place.authority.directory;
    theirs.put("token", "digest", 0, &"of somebody", Ends::never()).unwrap();
    theirs.put("other", "a", 0, &"of another kind", Ends::never()).unwrap();
    let store = rusqlite::Connection::open(place.directory.path().join("keyring.db")).unwrap();
    store
        .execute_batch(
            "ALTER TABLE entry RENAME TO old;
             CREATE TABLE entry (kind TEXT COLLATE NOCASE, id TEXT COLLATE NOCASE, version, expires, remaining, sealed);
             INSERT INTO entry SELECT kind, id, version, expires, remaining, sealed FROM old;",
        )
        .unwrap();
    let directory = &place.another().directory;
    assert_eq!(directory.get::<String>("token", "digest").unwrap().unwrap().value, "of somebody");
    for (kind, id) in [("token", "DIGEST"), ("TOKEN", "digest")] {
        assert!(directory.get::<String>(kind, id).is_err());
        assert!(directory.recall::<String>(kind, id).is_err());
    }
    assert_eq!(directory.list::<String>("other", "", 10).unwrap().len(), 1);
    assert!(directory.list::<String>("OTHER", "", 10).unwrap().is_empty());
}
