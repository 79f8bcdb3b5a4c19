//! The same over HTTP/2, where the other side offers it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    let status = if request.uri().query() == Some("redirect") { 307 } else { 200 };
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let answer = api(&Message { body: body.to_vec(), ..Message::default() });
    let response = Response::builder().status(status).header("location", "/reverse");
    Ok(response.body(Full::new(Bytes::from(answer.body))).unwrap())
}

/// Its URL, and how many connections it took.
async fn server(trust: &Trust) -> (String, Arc<AtomicUsize>) {
    let chain = CertificateDer::pem_slice_iter(trust.pair.cert.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(trust.pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                connection.serve_connection(stream, service_fn(answer)).await.ok();
            });
        }
    });
    (url, connections)
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let trust = Trust::new();
    let (url, connections) = server(&trust).await;
    let http = Http::new(&url, &trust.tls(), LONGEST).unwrap();
    assert_eq!(reverse(&http, &["abc"]).await.unwrap(), ["cba"]);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let http = http.clone();
            tokio::spawn(async move { reverse(&http, &["abc"]).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), ["cba"]);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let long = "x".repeat(LONGEST);
    let error = reverse(&http, &[&long]).await.unwrap_err();
    assert!(error.kind == Fault::Lie && error.text.contains("more than"), "{error}");
    let redirected = Outgoing { path: "/reverse?redirect".into(), ..request(&json!({ "texts": [] })) };
    assert_eq!(http.send(redirected).await.unwrap_err().kind, Fault::Lie);
    assert_eq!(reverse(&http, &["abc"]).await.unwrap(), ["cba"]);
}
