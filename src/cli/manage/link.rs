//! To an authority over HTTP, or to the same routes in this process.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::super::common::{configured, operator, reaching};
use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::{LinkArgs, display};
use crate::authority::management::{self, LocalOperator};
use crate::authority::{Authority, Settings};
use crate::bounded;
use crate::causes;
use crate::clock::SystemClock;
use crate::config::Purpose;
use crate::keyring::{Keyring, check_private};
use crate::secret::SecretBytes;
use crate::tls::{self, ClientTls};

const MAX_KEY: u64 = 4 << 10;
const MAX_ANSWER: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(300);

/// See the module.
pub struct Link {
    runtime: Runtime,
    end: End,
}

enum End {
    Here(Router, LocalOperator, Arc<Authority>),
    There(Box<There>),
}

struct There {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    key: HeaderValue,
}

impl Link {
    pub fn open(args: &LinkArgs, out: &mut Out) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::io("cannot start", &error))?;
        let end = match &args.authority {
            Some(url) => End::There(Box::new(There::new(url, args)?)),
            None => here(args, out)?,
        };
        Ok(Self { runtime, end })
    }

    /// The answer to a call; nothing where the answer is empty.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.send(method, path, body)).await.map_err(|_| {
                Failure::new(Exit::Unavailable, "no answer in time")
                    .help("what was asked may have been done; look before you repeat it")
            })
        })?;
        let (status, bytes) = answer?;
        let value = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        match value {
            Ok(value) if status.is_success() => Ok(value),
            Ok(problem) => Err(failure(status, &problem)),
            Err(_) => {
                Err(Failure::new(Exit::Unavailable, format!("the answer ({}) is not an authority's", status.as_u16())))
            }
        }
    }

    /// How many entries of this machine's directory lists left out.
    pub fn unread(&self) -> u64 {
        if let End::Here(_, _, authority) = &self.end { authority.directory.unread() } else { 0 }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), Failure> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let base = if let End::There(there) = &self.end { there.base.as_str() } else { "" };
        let broken = |_| Failure::new(Exit::Usage, "the name does not fit into a request");
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}/manage/v1/{path}"))
            .body(Full::new(bytes))
            .map_err(broken)?;
        if body.is_some() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        match &self.end {
            End::Here(router, operator, _) => {
                request.extensions_mut().insert(operator.clone());
                let Ok(response) = router.clone().oneshot(request.map(axum::body::Body::new)).await;
                read(response).await
            }
            End::There(there) => {
                request.headers_mut().insert(AUTHORIZATION, there.key.clone());
                let response = there.client.request(request).await.map_err(|error| {
                    let why = causes::behind(&error);
                    let unknown = why.contains("UnknownIssuer");
                    let failure = Failure::new(
                        Exit::Unavailable,
                        format!("the authority {} cannot be reached: {why}", there.base),
                    );
                    if unknown { failure.help("name who issued its certificate with --ca FILE") } else { failure }
                })?;
                read(response).await
            }
        }
    }
}

impl There {
    fn new(url: &str, args: &LinkArgs) -> Result<Self, Failure> {
        let wrong = |text: String| Failure::new(Exit::Usage, text).help("give --authority https://HOST:PORT");
        let uri: Uri =
            url.trim_end_matches('/').parse().map_err(|_| wrong("the authority's URL cannot be read".into()))?;
        let host = uri.host().ok_or_else(|| wrong("the authority's URL names no host".into()))?;
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback(host) => {}
            Some("http") => return Err(wrong(format!("the key would go to {host} in clear"))),
            _ => return Err(wrong("the authority's URL is neither https nor http".into())),
        }
        let Some(file) = &args.keyring.api_key_file else {
            return Err(Failure::new(Exit::Usage, "an authority asks for a management key")
                .help("give --api-key-file FILE; `sidecloak apikeys create --purpose management` on the authority's machine makes one"));
        };
        let settings = ClientTls { ca: args.keyring.ca.clone(), ..ClientTls::default() };
        let tls = tls::client::config(&settings).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config((*tls).clone())
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let base = format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()));
        Ok(Self { client, base, key: key(file)? })
    }
}

/// A name as a piece of a path.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

fn here(args: &LinkArgs, out: &mut Out) -> Result<End, Failure> {
    let config = args.keyring.load(&args.keyring.overrides(), Purpose::Keys, out)?;
    let none = |failure: Failure| failure.help("name one with --keyring, or an authority with --authority");
    configured(&config).map_err(none)?;
    let options = reaching(&config, out)?;
    let keyring = Keyring::open(&options, SystemClock::shared())?;
    let settings = Settings { max_stale: options.max_stale, ..Settings::default() };
    let authority = Authority::new(Arc::new(keyring), SystemClock::shared(), &settings)?;
    let authority = Arc::new(authority);
    Ok(End::Here(management::router(Arc::clone(&authority)), LocalOperator { name: operator() }, authority))
}

fn key(path: &Path) -> Result<HeaderValue, Failure> {
    check_private(path, "the API key")?;
    let text = bounded::read_file(path, MAX_KEY).map_err(|error| Failure::io(display(path), &error))?;
    let text = SecretBytes::new(text);
    let mut line = SecretBytes::new(b"Bearer ".to_vec());
    line.expose_mut().extend_from_slice(text.expose().trim_ascii());
    let mut value = HeaderValue::from_bytes(line.expose())
        .map_err(|_| Failure::new(Exit::Data, format!("{} does not hold a key in one line", path.display())))?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn read<B>(response: http::Response<B>) -> Result<(StatusCode, Bytes), Failure>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = response.into_parts();
    #[expect(clippy::disallowed_methods, reason = "bounded by `Limited`")]
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| Failure::new(Exit::Unavailable, format!("the answer broke off: {error}")))?;
    Ok((parts.status, body.to_bytes()))
}

/// What a problem document says, as a command ends on it.
fn failure(status: StatusCode, problem: &Value) -> Failure {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).map(super::show::plain).unwrap_or_default();
    let (title, detail) = (text("title"), text("detail"));
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NoPermission,
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Exit::No,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Exit::Unavailable,
        status if status.is_client_error() => Exit::Usage,
        _ => Exit::Unavailable,
    };
    let title = if title.is_empty() { format!("the answer is {}", status.as_u16()) } else { title };
    let message = if detail.is_empty() { title } else { format!("{title}: {detail}") };
    Failure::new(code, message)
}
