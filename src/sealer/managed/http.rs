//! Calls to one endpoint: pooled connections, TLS, a bound on answers, no redirects.
//!
//! What goes out and comes in is wiped once it was used, as far as it is ours: the HTTP and TLS libraries have buffers of their own.

mod body;
mod faults;
mod reply;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, USER_AGENT};
use http::uri::Uri;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::settings::EndpointTls;
use super::{ApiError, Fault};
use crate::secret::SecretBytes;

/// For a call that nobody else bounds; whoever calls has finer deadlines.
const LONGEST: Duration = Duration::from_secs(60);

/// One endpoint. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct Http(Arc<Endpoint>);

struct Endpoint {
    base: String,
    wire: wire::Wire,
    longest_answer: usize,
}

/// A request on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Path and query, to be put behind the endpoint's base URL; begins with `/`.
    pub path: String,
    /// Header fields; all are sent as sensitive ones.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; empty: none.
    pub body: SecretBytes,
}

/// A whole answer.
pub struct Reply {
    /// Its status; never a redirect.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: SecretBytes,
}

impl Http {
    /// For an endpoint whose base URL was checked. The error says what is wrong with certificates, and what to do.
    pub fn new(base: &str, tls: &EndpointTls, longest_answer: usize) -> Result<Self, String> {
        let base = base.trim_end_matches('/').to_owned();
        let secure = check(&base, tls.insecure)?;
        let wire = if secure { wire::Wire::secure(tls)? } else { wire::Wire::plain() };
        Ok(Self(Arc::new(Endpoint { base, wire, longest_answer })))
    }

    /// The base URL, without a `/` at its end.
    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// Sends a request and reads the answer to its end. Says nothing of statuses other than redirects (a [`Fault::Lie`]).
    ///
    /// What cannot be the API speaking is a [`Fault::Lie`], too: a web page, unless its status tells of an overload or outage, and
    /// an answer in a coding that was not asked for.
    pub async fn send(&self, request: Outgoing) -> Result<Reply, ApiError> {
        let request = self.written(request)?;
        match tokio::time::timeout(LONGEST, self.exchange(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(self.wrong(Fault::Timeout, "it did not answer in a minute")),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, ApiError> {
        let response = self.0.wire.request(request).await.map_err(|error| {
            let (kind, text) = faults::of_connection(&error);
            self.wrong(kind, &text)
        })?;
        self.check_head(&response)?;
        let (head, incoming) = response.into_parts();
        let body = body::whole(incoming, self.0.longest_answer).await.map_err(|cut| match cut {
            body::Cut::TooLong => self.too_long(),
            body::Cut::Broken => self.wrong(Fault::Connection, "the connection broke off amid the answer"),
        })?;
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    /// What may not be, whatever the body says; looked at before a byte of it is read.
    fn check_head(&self, response: &Response<Incoming>) -> Result<(), ApiError> {
        let (status, headers) = (response.status(), response.headers());
        let code = status.as_u16();
        if status.is_redirection() {
            let text = format!(
                "it redirects (status {code}), which is not followed, since credentials are for one place; set the profile's \
                 `endpoint` to where the API is"
            );
            return Err(self.wrong(Fault::Lie, &text));
        }
        if status.is_informational() {
            return Err(self.wrong(Fault::Lie, &format!("status {code} is no answer")));
        }
        let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
        if !headers.get_all(CONTENT_ENCODING).iter().all(identity) {
            return Err(self.wrong(Fault::Lie, "its answer has a Content-Encoding, which was not asked for"));
        }
        if reply::is_html(headers) && !reply::tells_of_outage(status) {
            let text = format!(
                "it answers with a web page (status {code}), not as the API does; is `endpoint` right, and is no proxy or portal on \
                 the way?"
            );
            return Err(self.wrong(Fault::Lie, &text));
        }
        Ok(())
    }

    fn too_long(&self) -> ApiError {
        let text = format!("its answer has more than {} bytes, the profile's bound", self.0.longest_answer);
        self.wrong(Fault::Lie, &text)
    }

    fn written(&self, outgoing: Outgoing) -> Result<Request<Full<Bytes>>, ApiError> {
        let unwritable = || self.wrong(Fault::Refused, "the request cannot be written as HTTP");
        // Anything else could end in the host's name.
        if !outgoing.path.starts_with('/') {
            return Err(unwritable());
        }
        let uri: Uri = format!("{}{}", self.0.base, outgoing.path).parse().map_err(|_| unwritable())?;
        let mut request = Request::new(body::wiped(outgoing.body));
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static("sidecloak"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, mut value) in outgoing.headers {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(request)
    }

    fn wrong(&self, kind: Fault, what: &str) -> ApiError {
        ApiError::new(kind, format!("{}: {what}", self.0.base))
    }
}

/// Whether it is `https://`.
fn check(base: &str, insecure: bool) -> Result<bool, String> {
    const HELP: &str = "write `https://HOST`, `https://HOST:PORT`, or the same with a path, as `endpoint`";
    let bad = |what: &str| format!("the endpoint of a profile {what}; {HELP}");
    let uri: Uri = base.parse().map_err(|_| bad("cannot be read"))?;
    let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad("may not hold credentials"));
    }
    if authority.host().is_empty() {
        return Err(bad("has no host"));
    }
    if uri.query().is_some() || base.contains('#') {
        return Err(bad("may not have a query or a fragment"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(true),
        Some("http") if insecure || is_loopback(authority.host()) => Ok(false),
        Some("http") => Err(bad("is plain HTTP to another machine, which shows everybody on the way the credentials")),
        _ => Err(bad("does not begin with `https://`")),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.base)
    }
}

/// Not its header fields: nobody knows what an API puts there.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}, …)", self.status.as_u16())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::tls("https://api.test", false, Ok(true))]
    #[case::port_and_path("https://api.test:8443/v1", false, Ok(true))]
    #[case::loopback("http://127.0.0.1:1", false, Ok(false))]
    #[case::loopback_v6("http://[::1]:1", false, Ok(false))]
    #[case::name_of_loopback("http://localhost:1", false, Ok(false))]
    #[case::allowed("http://api.test", true, Ok(false))]
    #[case::plain("http://api.test", false, Err("plain HTTP"))]
    #[case::other_scheme("ftp://api.test", true, Err("https://"))]
    #[case::relative("/v1", true, Err("no host"))]
    #[case::credentials("https://user:hunter2@api.test", true, Err("credentials"))]
    #[case::query("https://api.test/v1?key=hunter2", true, Err("query"))]
    #[case::fragment("https://api.test/v1#hunter2", true, Err("fragment"))]
    #[case::unreadable("https://a b", true, Err("cannot be read"))]
    fn an_endpoint_is_checked(#[case] base: &str, #[case] insecure: bool, #[case] expected: Result<bool, &str>) {
        match (check(base, insecure), expected) {
            (Ok(secure), Ok(expected)) => assert_eq!(secure, expected),
            (Err(text), Err(part)) => assert!(text.contains(part) && !text.contains("hunter2"), "{text}"),
            (other, _) => panic!("{base}: {other:?}"),
        }
    }

    fn outgoing(path: &str) -> Outgoing {
        let mut key = HeaderValue::from_static("hunter2");
        key.set_sensitive(false);
        Outgoing {
            method: Method::POST,
            path: path.into(),
            headers: vec![
                (HeaderName::from_static("api_key"), key),
                (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
                (ACCEPT, HeaderValue::from_static("*/*")),
            ],
            body: SecretBytes::new(b"{}".to_vec()),
        }
    }

    #[test]
    fn a_request_stays_with_its_host_and_hides_its_headers() {
        let http = Http::new("http://127.0.0.1:1/v1/", &EndpointTls::default(), 1024).unwrap();
        assert_eq!(http.base(), "http://127.0.0.1:1/v1");
        let request = http.written(outgoing("/encrypt?a=b")).unwrap();
        assert_eq!(request.uri(), "http://127.0.0.1:1/v1/encrypt?a=b");
        assert_eq!(request.headers()[ACCEPT_ENCODING], "identity");
        assert_eq!(request.headers()[ACCEPT], "*/*");
        assert!(!format!("{request:?}").contains("hunter2"));
        for path in ["", "@evil.test/", ".evil.test/", ":80/", "/a b", "/\u{0}"] {
            assert_eq!(http.written(outgoing(path)).unwrap_err().kind, Fault::Refused, "{path:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_matter_of_the_connection() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let http = Http::new(&format!("http://127.0.0.1:{port}"), &EndpointTls::default(), 1024).unwrap();
        let error = http.send(outgoing("/x")).await.unwrap_err();
        assert_eq!(error.kind, Fault::Connection);
        assert!(error.text.contains("cannot connect"), "{}", error.text);
    }
}
