//! One bounded HTTP/1.1 call, for the demo.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::exit::Failure;

const MAX_ANSWER: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) json: Value,
}

/// Sends a JSON body, or none, and reads the answer.
pub(super) async fn call(to: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
    match tokio::time::timeout(TIMEOUT, exchange(to, method, path, body)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::internal("a call to the proxy took more than ten seconds")),
    }
}

async fn exchange(to: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::internal(format!("a call to the proxy failed: {e}"));
    let stream = tokio::net::TcpStream::connect(to).await.map_err(|e| failed(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", to.to_string())
        .header("content-type", "application/json")
        .body(Full::new(body.map_or_else(Bytes::new, |b| Bytes::from(b.to_string()))))
        .map_err(|e| failed(&e))?;
    let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
    let status = response.status().as_u16();
    #[expect(clippy::disallowed_methods, reason = "bounded by `Limited`")]
    let collected = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|e| failed(&e))?;
    connection.abort();
    let text = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
    Ok(Answer { status, json: serde_json::from_str(&text).unwrap_or_default(), text })
}
