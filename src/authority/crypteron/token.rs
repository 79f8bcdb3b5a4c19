//! `POST /v1/token`: a Bearer for an API key, which is presented as `Basic` or in a form.

use std::sync::Arc;

use axum::extract::{Request, State};
use http::{StatusCode, header};
use serde::Serialize;

use super::answer::{Answer, Problem, ok};
use super::assumed;
use super::session::Session;
use crate::authority::{Authority, Refused, strangers};

#[derive(Serialize)]
struct Granted {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
}

/// A Bearer gives no further one: whoever has it would never lose it.
pub async fn create(State(authority): State<Arc<Authority>>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let key = match parts.headers.get(header::AUTHORIZATION) {
        Some(value) => basic(value.to_str().unwrap_or_default()).ok_or(Refused::Unauthenticated)?,
        None => {
            let body = strangers::read(axum::body::to_bytes(body, assumed::BODY)).await;
            let body = body.ok_or(Refused::TooMany(1))?.map_err(|_| Problem::TooLarge)?;
            form(&body).ok_or(Refused::Unauthenticated)?
        }
    };
    let session = Session::by_key(&authority, &key).await?;
    let access_token = session.bearer(&authority)?;
    ok(StatusCode::OK, &Granted { access_token, token_type: "bearer", expires_in: assumed::BEARER })
}

fn basic(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    let text = crate::crypto::base64::decode(rest.trim_matches(' ').as_bytes(), assumed::BODY)?;
    let text = String::from_utf8(text).ok()?;
    scheme.eq_ignore_ascii_case("basic").then(|| text.strip_prefix(':').map(ToOwned::to_owned))?
}

/// `grant_type=client_credentials&client_secret=KEY` or `grant_type=password&password=KEY`.
fn form(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let secret = match super::session::query(Some(body), "grant_type")?.as_str() {
        "client_credentials" => "client_secret",
        "password" => "password",
        _ => return None,
    };
    super::session::query(Some(body), secret)
}
