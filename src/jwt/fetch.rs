//! A key set over HTTP: one bounded answer in bounded time, no redirects, over TLS to whom the system trusts.

use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::keys::MAX_SET;
use crate::tls::{self, ClientTls};

const CONNECT: Duration = Duration::from_secs(3);
/// From connecting to the last byte.
const DEADLINE: Duration = Duration::from_secs(10);

/// Fetches from one URL.
pub(super) struct Fetch {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: String,
}

impl Fetch {
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let tls = tls::client::config(&ClientTls::default()).map_err(|error| error.to_string())?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config((*tls).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        // Minutes lie between two calls.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, url: url.to_owned() })
    }

    /// What is there, or why not, in words of our own.
    pub(super) async fn get(&self) -> Result<Bytes, String> {
        tokio::time::timeout(DEADLINE, self.exchange()).await.unwrap_or_else(|_| Err("no answer in time".into()))
    }

    async fn exchange(&self) -> Result<Bytes, String> {
        let request = Request::get(&self.url)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::new())
            .map_err(|_| "the URL is none".to_owned())?;
        let response = self.client.request(request).await.map_err(|error| match error.is_connect() {
            true => "no connection, or its certificate is not trusted".to_owned(),
            false => "the connection broke off".to_owned(),
        })?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status().as_u16()));
        }
        let most = usize::try_from(MAX_SET).unwrap_or(usize::MAX);
        #[expect(clippy::disallowed_methods, reason = "bounded")]
        let body = Limited::new(response.into_body(), most).collect().await;
        body.map(|body| body.to_bytes()).map_err(|_| "its answer broke off, or is too long".to_owned())
    }
}
