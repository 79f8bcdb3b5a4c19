//! Calls of managed APIs that misbehave: what comes of them is an answer that is right, or a fault that says what is wrong.

#[path = "managed/crittora.rs"]
mod crittora;
#[path = "managed/crypteron.rs"]
mod crypteron;
#[path = "managed/door.rs"]
mod door;
#[path = "managed/double.rs"]
pub mod double;
#[path = "managed/exequantum.rs"]
mod exequantum;
#[path = "managed/http2.rs"]
mod http2;
#[path = "managed/ncloud_kms.rs"]
mod ncloud_kms;
#[path = "managed/served.rs"]
mod served;
#[path = "managed/storm.rs"]
mod storm;

use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use rstest::rstest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Value, json};
use sidecloak::crypto::kdf::sha256;
use sidecloak::metrics::Metrics;
use sidecloak::sealer::managed::guard::Guard;
use sidecloak::sealer::managed::http::{Http, Outgoing};
use sidecloak::sealer::managed::settings::{CallLimits, EndpointTls};
use sidecloak::sealer::managed::{ApiError, Fault};
use sidecloak::secret::SecretBytes;
use sidecloak::tls::ClientTls;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pki::{Ca, Pair};
use crate::support::Message;
use double::{Act, Answer, Double, extended, missing, reordered, router, shortened, with};

const LONGEST: usize = 64 * 1024;
/// In every request, and in what the double says of itself: in no error.
const SECRET: &str = "hunter2";

/// A server's certificate, and a client that trusts who issued it.
struct Trust {
    directory: tempfile::TempDir,
    pair: Pair,
}

impl Trust {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = Ca::new("managed");
        std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
        Self { directory, pair: ca.server() }
    }

    fn tls(&self) -> EndpointTls {
        let ca = self.directory.path().join("ca.pem");
        EndpointTls { client: ClientTls { ca: Some(ca), ..ClientTls::default() }, ..EndpointTls::default() }
    }

    fn http(&self, double: &Double) -> Http {
        Http::new(&double.url(), &self.tls(), LONGEST).unwrap()
    }
}

/// The same as an API that takes arrays: every text the other way round.
fn api(request: &Message) -> Answer {
    let asked: Value = serde_json::from_slice(&request.body).unwrap();
    let turned = |text: &Value| Value::from(text.as_str().unwrap().chars().rev().collect::<String>());
    let texts: Vec<Value> = asked["texts"].as_array().unwrap().iter().map(turned).collect();
    Answer::json(200, &json!({ "code": "SUCCESS", "data": { "texts": texts } }))
}

#[derive(Debug, Deserialize)]
struct Reversed {
    code: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    texts: Vec<String>,
}

/// As a provider's client reads it.
async fn reverse(http: &Http, texts: &[&str]) -> Result<Vec<String>, ApiError> {
    let reply = http.send(request(&json!({ "texts": texts }))).await?;
    if !reply.status.is_success() {
        return Err(reply.fault());
    }
    let reversed: Reversed = reply.json()?;
    if reversed.code != "SUCCESS" || reversed.data.texts.len() != texts.len() {
        return Err(ApiError::new(Fault::Lie, "it answers with another number of texts"));
    }
    Ok(reversed.data.texts)
}

fn request(body: &Value) -> Outgoing {
    Outgoing {
        method: Method::POST,
        path: "/reverse?a=b".into(),
        headers: vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (HeaderName::from_static("api_key"), HeaderValue::from_static(SECRET)),
        ],
        body: SecretBytes::new(body.to_string().into_bytes()),
    }
}

#[tokio::test]
async fn a_call_goes_out_as_it_was_written_over_kept_connections() {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, api);
    let http = trust.http(&double);
    for _ in 0..3 {
        assert_eq!(reverse(&http, &["abc", ""]).await.unwrap(), ["cba", ""]);
    }
    let seen = double.seen();
    assert_eq!((seen.len(), double.connections(), double.most_at_once()), (3, 1, 1));
    assert_eq!(seen[0].first_line(), "POST /reverse?a=b HTTP/1.1");
    assert_eq!(seen[0].field("api_key").unwrap(), SECRET);
    assert_eq!(seen[0].field("accept-encoding").unwrap(), "identity");
    assert_eq!(seen[0].field("host").unwrap(), double.url().trim_start_matches("https://"));
    assert_eq!(seen[0].text(), r#"{"texts":["abc",""]}"#);
}

#[tokio::test]
async fn a_router_stands_behind() {
    let reverse_all = |Json(asked): Json<Value>| async move {
        let text = |text: &Value| text.as_str().unwrap().chars().rev().collect::<String>();
        let texts: Vec<_> = asked["texts"].as_array().unwrap().iter().map(text).collect();
        Json(json!({ "code": "SUCCESS", "data": { "texts": texts } }))
    };
    let double = Double::plain(router(Router::new().route("/reverse", post(reverse_all))));
    let http = Http::new(&double.url(), &EndpointTls::default(), LONGEST).unwrap();
    assert_eq!(reverse(&http, &["abc"]).await.unwrap(), ["cba"]);
}

#[rstest]
#[case::reset(Act::Reset, Fault::Connection, "broke off")]
#[case::reset_in_head(Act::ResetInHead, Fault::Connection, "broke off")]
#[case::reset_after_head(Act::ResetAfterHead, Fault::Connection, "amid the answer")]
#[case::reset_in_body(Act::ResetInBody, Fault::Connection, "amid the answer")]
#[case::more_told_than_sent(Act::Length(10), Fault::Connection, "amid the answer")]
#[case::less_told_than_sent(Act::Length(-10), Fault::Lie, "no JSON")]
#[case::noise(Act::Noise, Fault::Lie, "no HTTP")]
#[case::html(Act::html(200), Fault::Lie, "web page (status 200)")]
#[case::html_not_found(Act::html(404), Fault::Lie, "web page (status 404)")]
#[case::html_outage(Act::html(502), Fault::Server, "status 502, text/html")]
#[case::html_throttled(Act::html(429), Fault::Throttled(None), "status 429")]
#[case::gzip(Act::gzip(), Fault::Lie, "Content-Encoding")]
#[case::oversized(Act::Oversized(LONGEST + 1), Fault::Lie, "more than 65536 bytes")]
#[case::endless(Act::Endless, Fault::Lie, "more than 65536 bytes")]
#[case::truncated(Act::Truncated, Fault::Lie, "no JSON")]
#[case::other_json(Act::Oversized(100), Fault::Lie, "else than the API documents")]
#[case::no_data(missing("", "data"), Fault::Lie, "else than")]
#[case::no_texts(missing("/data", "texts"), Fault::Lie, "else than")]
#[case::null(with("/data", Value::Null), Fault::Lie, "else than")]
#[case::number(with("/data/texts/0", json!(7)), Fault::Lie, "else than")]
#[case::no_array(with("/data/texts", json!(SECRET)), Fault::Lie, "else than")]
#[case::shortened(shortened("/data/texts"), Fault::Lie, "another number")]
#[case::extended(extended("/data/texts"), Fault::Lie, "another number")]
#[case::throttled(Act::throttled(7), Fault::Throttled(Some(Duration::from_secs(7))), "throttles")]
#[case::unauthorized(Act::status(401), Fault::Credential, "status 401")]
#[case::forbidden(Act::status(403), Fault::Refused, "status 403")]
#[case::internal(Act::status(500), Fault::Server, "status 500")]
#[case::unavailable(Act::status(503), Fault::Server, "status 503")]
#[case::no_answer(Act::status(304), Fault::Lie, "redirects (status 304)")]
#[tokio::test]
async fn what_goes_wrong_has_a_fault_and_a_reason(#[case] act: Act, #[case] kind: Fault, #[case] part: &str) {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, api);
    let http = trust.http(&double);
    double.then([act]);
    let error = reverse(&http, &["abc", SECRET]).await.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.text.contains(part) && !error.text.contains(SECRET), "{error}");
    assert_eq!(double.calls(), 1, "a connection that is new is tried once");
    // Whatever it was, the next call is not harmed.
    assert_eq!(reverse(&http, &["abc", "d"]).await.unwrap(), ["cba", "d"]);
}

#[tokio::test]
async fn an_answer_of_the_greatest_length_and_one_in_another_order_are_whole() {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, api);
    let http = Http::new(&double.url(), &trust.tls(), 1 << 20).unwrap();
    double.then([Act::Oversized(1 << 20), reordered("/data/texts")]);
    let reply = http.send(request(&json!({ "texts": [] }))).await.unwrap();
    assert_eq!(reply.json::<String>().unwrap().len(), (1 << 20) - 2);
    // Whose text is whose only who can check it can know.
    assert_eq!(reverse(&http, &["ab", "cd"]).await.unwrap(), ["dc", "ba"]);
}

#[rstest]
#[tokio::test]
async fn a_redirect_is_not_followed(#[values(301, 302, 303, 307, 308)] status: u16) {
    let trust = Trust::new();
    let (double, elsewhere) = (Double::tls(&trust.pair, api), Double::tls(&trust.pair, api));
    let http = trust.http(&double);
    double.always(Act::redirect(status, format!("{}/reverse", elsewhere.url())));
    let error = reverse(&http, &["abc"]).await.unwrap_err();
    assert_eq!(error.kind, Fault::Lie);
    assert!(error.text.contains("`endpoint`") && !error.text.contains(&elsewhere.url()), "{error}");
    // Not even to itself.
    double.always(Act::redirect(status, "/reverse".into()));
    reverse(&http, &["abc"]).await.unwrap_err();
    assert_eq!((double.calls(), elsewhere.calls(), elsewhere.connections()), (2, 0, 0));
}

#[tokio::test]
async fn a_kept_connection_that_died_costs_nothing() {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, api);
    let http = trust.http(&double);
    reverse(&http, &["abc"]).await.unwrap();
    double.then([Act::Reset]);
    assert_eq!(reverse(&http, &["abc"]).await.unwrap(), ["cba"]);
    assert_eq!((double.calls(), double.connections()), (3, 2));
    // Once, and not for ever.
    double.then([Act::Reset, Act::Reset]);
    assert_eq!(reverse(&http, &["abc"]).await.unwrap_err().kind, Fault::Connection);
    assert_eq!((double.calls(), double.connections()), (5, 3));
}

#[tokio::test]
async fn who_is_not_trusted_gets_no_request() {
    let (trust, other) = (Trust::new(), Trust::new());
    let double = Double::tls(&other.pair, api);
    let error = reverse(&trust.http(&double), &["abc"]).await.unwrap_err();
    assert!(error.kind == Fault::Connection && error.text.contains("`ca`"), "{error}");
    let pinned = EndpointTls { pins: vec![[7; 32]], ..other.tls() };
    let error = reverse(&Http::new(&double.url(), &pinned, LONGEST).unwrap(), &["abc"]).await.unwrap_err();
    assert!(error.kind == Fault::Connection && error.text.contains("`pins`"), "{error}");
    assert_eq!(double.calls(), 0);
    let pinned = EndpointTls { pins: vec![[7; 32], pin(&other.pair)], ..other.tls() };
    let http = Http::new(&double.url(), &pinned, LONGEST).unwrap();
    assert_eq!(reverse(&http, &["abc"]).await.unwrap(), ["cba"]);
}

/// What `openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256` prints.
fn pin(pair: &Pair) -> [u8; 32] {
    let der = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    sha256(certificate.public_key().raw)
}

fn guard(limits: &CallLimits) -> (Arc<Guard>, Metrics) {
    let metrics = Metrics::default();
    (Arc::new(Guard::new("partner", limits, metrics.managed("partner").calls)), metrics)
}

#[rstest]
#[case::late(Act::Late(Duration::from_secs(3)))]
#[case::drip(Act::Drip(Duration::from_millis(100)))]
#[tokio::test]
async fn a_slow_answer_is_given_up_and_the_next_try_succeeds(#[case] act: Act) {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, api);
    let http = trust.http(&double);
    let limits = CallLimits {
        timeout: Duration::from_millis(1500),
        budget: Duration::from_secs(20),
        retries: 1,
        ..CallLimits::default()
    };
    let (guard, metrics) = guard(&limits);
    double.then([act]);
    let texts = guard.run("reverse", || reverse(&http, &["abc"])).await.unwrap();
    assert_eq!((texts, double.calls()), (vec!["cba".to_owned()], 2));
    let text = metrics.render();
    assert!(text.contains(r#"managed_retries_total{profile="partner",what="reverse"} 1"#), "{text}");
}

#[tokio::test]
async fn a_host_that_takes_connections_and_is_silent_is_given_up() {
    let trust = Trust::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let http = Http::new(&url, &trust.tls(), LONGEST).unwrap();
    let limits = CallLimits { timeout: Duration::from_millis(50), retries: 1, ..CallLimits::default() };
    let error = guard(&limits).0.run("reverse", || reverse(&http, &["abc"])).await.unwrap_err();
    assert_eq!(error.kind, Fault::Timeout);
}

#[tokio::test]
async fn what_asks_to_wait_longer_than_there_is_time_is_not_waited_for() {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, api);
    let http = trust.http(&double);
    double.always(Act::throttled(3600));
    let (guard, _) = guard(&CallLimits::default());
    let error = guard.run("reverse", || reverse(&http, &["abc"])).await.unwrap_err();
    assert_eq!((error.kind, double.calls()), (Fault::Throttled(Some(Duration::from_secs(3600))), 1));
    double.always(Act::Well);
    double.then([Act::throttled(0), Act::status(502)]);
    assert_eq!(guard.run("reverse", || reverse(&http, &["abc"])).await.unwrap(), ["cba"]);
    assert_eq!(double.calls(), 4);
}
