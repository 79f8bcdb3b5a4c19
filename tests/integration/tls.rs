//! Real handshakes between our server's and our client's side, and foreign ones: groups, client certificates, reloads, bad files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rstest::rstest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion};
use sidecloak::tls::server::{self, Server};
use sidecloak::tls::{ClientTls, PeerIdentity, ServerTls, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pki::{Ca, Mounted, Pair, private};
use crate::support::PATIENCE;

/// A server's files, and the authorities of both sides.
struct Place {
    directory: tempfile::TempDir,
    servers: Ca,
    clients: Ca,
}

impl Place {
    fn new() -> Self {
        let (servers, clients) = (Ca::new("servers"), Ca::new("clients"));
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("servers.pem"), servers.pem()).unwrap();
        fs::write(directory.path().join("clients.pem"), clients.pem()).unwrap();
        Self { directory, servers, clients }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn server(&self) -> ServerTls {
        let (cert, key) = self.servers.server().write(self.path(), "server");
        ServerTls { cert, key, ..ServerTls::default() }
    }

    fn mutual(&self, require_client: bool) -> ServerTls {
        ServerTls { client_ca: Some(self.path().join("clients.pem")), require_client, ..self.server() }
    }

    fn client(&self) -> ClientTls {
        ClientTls { ca: Some(self.path().join("servers.pem")), ..ClientTls::default() }
    }

    fn client_with(&self, pair: &Pair) -> ClientTls {
        ClientTls { identity: Some(pair.write(self.path(), "client")), ..self.client() }
    }
}

/// A handshake and a few bytes, seen from the server: the group, and who the client is.
fn meet(server: &Server, client: &Arc<ClientConfig>) -> Result<(NamedGroup, Option<PeerIdentity>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (near, far) = tokio::io::duplex(1 << 16);
        let accept = async {
            let mut stream = TlsAcceptor::from(server.config()).accept(far).await?;
            let connection = stream.get_ref().1;
            let group = connection.negotiated_key_exchange_group().unwrap().name();
            let identity = server::identity(connection);
            stream.write_all(b"ok").await?;
            stream.shutdown().await?;
            Ok((group, identity))
        };
        let connect = async {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, near).await?;
            stream.read_exact(&mut [0; 2]).await
        };
        let (accepted, connected) = tokio::join!(accept, connect);
        connected.map_err(|error: std::io::Error| error.to_string())?;
        accepted.map_err(|error: std::io::Error| error.to_string())
    })
}

/// A client that only knows X25519, with these versions.
fn classical(place: &Place, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(place.servers.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[rstest]
#[case(false, false)]
#[case(true, false)]
#[case(false, true)]
#[case(true, true)]
fn both_sides_prefer_the_hybrid_group(#[case] server_only: bool, #[case] client_only: bool) {
    let place = Place::new();
    let server = Server::new(&ServerTls { pq_only: server_only, ..place.server() }).unwrap();
    let client = client::config(&ClientTls { pq_only: client_only, ..place.client() }).unwrap();
    assert_eq!(meet(&server, &client), Ok((NamedGroup::X25519MLKEM768, None)));
}

#[test]
fn a_classical_client_is_served_unless_only_post_quantum_will_do() {
    let place = Place::new();
    let both: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    for versions in [both, &[&rustls::version::TLS12]] {
        let client = classical(&place, versions);
        let server = Server::new(&place.server()).unwrap();
        assert_eq!(meet(&server, &client), Ok((NamedGroup::X25519, None)));
        let server = Server::new(&ServerTls { pq_only: true, ..place.server() }).unwrap();
        assert!(meet(&server, &client).is_err());
    }
}

#[test]
fn a_client_certificate_says_who_it_is() {
    let place = Place::new();
    let client = client::config(&place.client_with(&place.clients.client("spiffe://bank/web"))).unwrap();
    for required in [false, true] {
        let server = Server::new(&place.mutual(required)).unwrap();
        let (_, identity) = meet(&server, &client).unwrap();
        assert_eq!(identity.unwrap().names, ["spiffe://bank/web"]);
        let nobody = meet(&server, &client::config(&place.client()).unwrap());
        assert_eq!(nobody.map(|(_, identity)| identity).ok(), (!required).then_some(None));
    }
}

#[rstest]
fn a_client_certificate_of_another_authority_or_past_its_time_is_refused(#[values(false, true)] required: bool) {
    let place = Place::new();
    let server = Server::new(&place.mutual(required)).unwrap();
    let foreign = Ca::new("clients").client("spiffe://bank/web");
    let not_for_clients = place.servers.server();
    for pair in [foreign, not_for_clients, place.clients.expired_client("spiffe://bank/web")] {
        assert!(meet(&server, &client::config(&place.client_with(&pair)).unwrap()).is_err());
    }
}

#[test]
fn a_server_of_another_authority_is_refused() {
    let place = Place::new();
    let (cert, key) = Ca::new("servers").server().write(place.path(), "foreign");
    let server = Server::new(&ServerTls { cert, key, ..place.server() }).unwrap();
    assert!(meet(&server, &client::config(&place.client()).unwrap()).is_err());
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_swapped_pair_is_taken_up_and_a_bad_one_is_not() {
    let place = Place::new();
    let second = Ca::new("second");
    let mut mounted = Mounted::new(&place.path().join("mounted"), &place.servers.server());
    let server = Server::new(&ServerTls { cert: mounted.cert(), key: mounted.key(), ..place.server() }).unwrap();
    let first_client = client::config(&place.client()).unwrap();
    let second_roots = place.path().join("second.pem");
    fs::write(&second_roots, second.pem()).unwrap();
    let second_client = client::config(&ClientTls { ca: Some(second_roots), ..ClientTls::default() }).unwrap();
    assert!(meet(&server, &first_client).is_ok() && meet(&server, &second_client).is_err());

    // A key of another certificate, text, nothing: the pair in force stays.
    let (old, other) = (server.config(), second.server());
    for bad in [
        Pair { key: place.servers.server().key, ..other.clone() },
        second.expired_server(),
        Pair { cert: "no certificate".into(), ..other.clone() },
        Pair { key: String::new(), ..other },
    ] {
        mounted.swap(&bad);
        std::thread::sleep(Duration::from_millis(700));
        assert!(Arc::ptr_eq(&old, &server.config()));
    }
    for _ in 0..2 {
        mounted.swap(&second.server());
        eventually("the second authority's", || meet(&server, &second_client).is_ok());
        assert!(meet(&server, &first_client).is_err());
        mounted.swap(&place.servers.server());
        eventually("the first authority's again", || meet(&server, &first_client).is_ok());
    }
}

#[test]
fn a_key_is_taken_up_once_its_mode_is_right() {
    let place = Place::new();
    let settings = place.server();
    let server = Server::new(&settings).unwrap();
    let old = server.config();
    let new = place.servers.server();
    fs::set_permissions(&settings.key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&settings.cert, &new.cert).unwrap();
    fs::write(&settings.key, &new.key).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(Arc::ptr_eq(&old, &server.config()), "everybody may read it");
    fs::set_permissions(&settings.key, fs::Permissions::from_mode(0o600)).unwrap();
    eventually("the new key", || !Arc::ptr_eq(&old, &server.config()));
}

#[test]
fn a_clients_roots_and_identity_follow_their_files() {
    let place = Place::new();
    let server = Server::new(&place.mutual(true)).unwrap();
    let settings = place.client_with(&place.clients.client("spiffe://bank/one"));
    // A clone with a protocol of its own, as the store of records makes one.
    let mut config = ClientConfig::clone(&client::config(&settings).unwrap());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let names = || meet(&server, &config).ok().and_then(|(_, identity)| identity).map(|identity| identity.names);
    assert_eq!(names(), Some(vec!["spiffe://bank/one".into()]));
    place.clients.client("spiffe://bank/two").write(place.path(), "client");
    eventually("the new identity", || names() == Some(vec!["spiffe://bank/two".into()]));
    fs::write(place.path().join("servers.pem"), Ca::new("another").pem()).unwrap();
    eventually("no longer trusted", || names().is_none());
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_the_way_out() {
    let place = Place::new();
    let good = place.server();
    let path = |name: &str| place.path().join(name);
    let says = |settings: &ServerTls, texts: &[&str]| {
        let error = Server::new(settings).unwrap_err().to_string();
        assert!(texts.iter().all(|text| error.contains(text)), "{error}");
        assert!(!error.contains("MII"), "a file is not quoted: {error}");
    };
    says(&ServerTls { cert: path("gone.crt"), ..good.clone() }, &["gone.crt", "cannot be read"]);
    fs::write(path("text.crt"), "hello").unwrap();
    says(&ServerTls { cert: path("text.crt"), ..good.clone() }, &["text.crt", "no certificate", "inform der"]);
    fs::write(path("cut.crt"), "-----BEGIN CERTIFICATE-----\nMII!\n-----END CERTIFICATE-----\n").unwrap();
    says(&ServerTls { cert: path("cut.crt"), ..good.clone() }, &["cut.crt", "damaged"]);
    fs::write(path("junk.crt"), "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").unwrap();
    says(&ServerTls { cert: path("junk.crt"), ..good.clone() }, &["junk.crt", "cannot be read"]);
    says(&ServerTls { key: path("gone.key"), ..good.clone() }, &["gone.key", "not there"]);
    private(&path("empty.key"), "");
    says(&ServerTls { key: path("empty.key"), ..good.clone() }, &["empty.key", "no private key", "BEGIN PRIVATE KEY"]);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    private(&path("encrypted.key"), encrypted);
    says(&ServerTls { key: path("encrypted.key"), ..good.clone() }, &["encrypted.key", "encrypted", "openssl pkey"]);
    let (_, other) = place.servers.server().write(place.path(), "other");
    says(&ServerTls { key: other.clone(), ..good.clone() }, &["other.key", "server.crt", "does not belong"]);
    fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
    says(&ServerTls { key: other, ..good.clone() }, &["other.key", "every user", "chmod 600"]);
    says(&ServerTls { client_ca: Some(path("text.crt")), ..good.clone() }, &["text.crt", "no certificate"]);
    let missing = ClientTls { ca: Some(path("gone.pem")), ..ClientTls::default() };
    assert!(client::config(&missing).unwrap_err().to_string().contains("gone.pem"));
    assert!(Server::new(&good).unwrap().expires() > 1_700_000_000);
}
