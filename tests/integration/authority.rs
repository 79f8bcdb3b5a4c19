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
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            store: directory.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(directory.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let keyring = Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()).unwrap();
        for name in partitions {
            keyring.create_partition(&PartitionName::new(name).unwrap()).unwrap();
        }
        let authority = Authority::new(Arc::new(keyring), SystemClock::shared(), &Settings::default()).unwrap().into();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { directory, authority, runtime }
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
