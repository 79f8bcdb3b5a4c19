//! TLS in front of a plain server of the tests, and clients over TLS: what stands on both sides of the proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, NamedGroup, RootCertStore, ServerConfig};
use sidecloak::tls::{ClientTls, ServerTls, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pki::{Ca, Pair};

/// A folder with two authorities, one for each side.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub servers: Ca,
    pub clients: Ca,
}

impl Place {
    pub fn new() -> Self {
        let (servers, clients) = (Ca::new("servers"), Ca::new("clients"));
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("servers.pem"), servers.pem()).unwrap();
        std::fs::write(directory.path().join("clients.pem"), clients.pem()).unwrap();
        Self { directory, servers, clients }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn server(&self) -> ServerTls {
        let (cert, key) = self.servers.server().write(self.path(), "server");
        ServerTls { cert, key, ..ServerTls::default() }
    }

    pub fn mutual(&self, require_client: bool) -> ServerTls {
        ServerTls { client_ca: Some(self.path().join("clients.pem")), require_client, ..self.server() }
    }

    /// Who trusts our servers.
    pub fn client(&self) -> ClientTls {
        ClientTls { ca: Some(self.path().join("servers.pem")), ..ClientTls::default() }
    }

    pub fn client_with(&self, pair: &Pair) -> ClientTls {
        ClientTls { identity: Some(pair.write(self.path(), "client")), ..self.client() }
    }
}

/// What a client goes by, offering these protocols.
pub fn offering(settings: &ClientTls, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&client::config(settings).unwrap());
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A client that trusts this authority and has only classical key exchange.
pub fn classical(roots: &Ca) -> Arc<ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let builder =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(store(roots)).with_no_client_auth())
}

fn store(roots: &Ca) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(roots.pem().as_bytes()).unwrap()).unwrap();
    store
}

/// A server's side, independent of ours.
pub fn serving(pair: &Pair, protocols: &[&str], clients: Option<&Ca>, groups: &[NamedGroup]) -> ServerConfig {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| groups.is_empty() || groups.contains(&group.name()));
    let provider = Arc::new(provider);
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(ca) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(store(ca)), provider).build().unwrap(),
        ),
        None => builder.with_no_client_auth(),
    };
    let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()];
    let mut config =
        builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap()).unwrap();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    config
}

/// How a connection ends when the plain side has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With close_notify.
    Orderly,
    /// Without: what came so far may be a part.
    Cut,
}

/// Takes TLS and passes the bytes on to a plain server.
pub struct Relay {
    pub address: SocketAddr,
    /// Handshakes that came to something.
    pub secured: Arc<AtomicUsize>,
    /// Of the last handshake: the name asked for.
    pub asked: Arc<std::sync::Mutex<Option<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Relay {
    pub fn new(config: ServerConfig, to: SocketAddr, end: End) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (secured, asked) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        runtime.spawn(accept(listener, acceptor, to, end, Arc::clone(&secured), Arc::clone(&asked)));
        Self { address, secured, asked, _runtime: runtime }
    }

    pub fn secured(&self) -> usize {
        self.secured.load(Ordering::Relaxed)
    }

    pub fn asked(&self) -> Option<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    to: SocketAddr,
    end: End,
    secured: Arc<AtomicUsize>,
    asked: Arc<std::sync::Mutex<Option<String>>>,
) {
    while let Ok((near, _)) = listener.accept().await {
        let (acceptor, secured, asked) = (acceptor.clone(), Arc::clone(&secured), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(near) = acceptor.accept(near).await else { return };
            *asked.lock().unwrap() = near.get_ref().1.server_name().map(str::to_owned);
            secured.fetch_add(1, Ordering::Relaxed);
            let Ok(far) = TcpStream::connect(to).await else { return };
            near.get_ref().0.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let (mut from_near, mut to_near) = tokio::io::split(near);
            let (mut from_far, mut to_far) = far.into_split();
            let up = async {
                let copied = tokio::io::copy(&mut from_near, &mut to_far).await;
                drop(to_far.shutdown().await);
                copied
            };
            let down = async {
                let mut buffer = vec![0; 16 << 10];
                loop {
                    match from_far.read(&mut buffer).await {
                        Ok(0) | Err(_) => break,
                        Ok(n) => to_near.write_all(&buffer[..n]).await.unwrap_or(()),
                    }
                    drop(to_near.flush().await);
                }
                if end == End::Orderly {
                    drop(to_near.shutdown().await);
                }
            };
            tokio::select! { () = down => {}, _ = up => {} }
        });
    }
}

/// A connection to the proxy, to a name or address that its certificate has.
pub async fn connect(to: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::clone(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

/// A request in HTTP/2 on a connection of its own.
pub async fn http2(to: SocketAddr, config: &Arc<ClientConfig>, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let stream = connect(to, "localhost", config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}
