//! The log-in, as Amazon Cognito speaks it: JSON 1.1, the operation in a header, errors with a `__type`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::Face;
use super::answer::respond;
use super::assumptions::{MAX_CLIENT_ID, MAX_LOGIN};
use super::session::{Given, SECONDS};
use super::{who, wire};
use crate::authority::{Refused, strangers};

/// Documented.
const KIND: &str = "application/x-amz-json-1.1";
const SERVICE: &str = "AWSCognitoIdentityProviderService.";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InitiateAuth {
    client_id: Option<String>,
    auth_flow: Option<String>,
    auth_parameters: Option<Parameters>,
}

/// Of both flows; others' (`SECRET_HASH`, `DEVICE_KEY`) are not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Parameters {
    username: Option<String>,
    password: Option<String>,
    refresh_token: Option<String>,
}

/// A Cognito error.
struct Fault {
    status: StatusCode,
    kind: &'static str,
    message: String,
    retry_after: Option<u64>,
}

pub(super) async fn log_in(State(face): State<Arc<Face>>, request: Request) -> Response {
    match logged_in(&face, request).await {
        Ok(given) => given_out(&given),
        Err(fault) => fault.response(),
    }
}

async fn logged_in(face: &Face, request: Request) -> Result<Given, Fault> {
    let (head, body) = request.into_parts();
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.strip_prefix(SERVICE).unwrap_or_default();
    if operation != "InitiateAuth" {
        wire::drain(body).await;
        return Err(Fault::new("UnknownOperationException", "InitiateAuth is the one operation that is offered here"));
    }
    let body = strangers::read(wire::body(body, MAX_LOGIN))
        .await
        .ok_or(Refused::TooMany(1))?
        .map_err(|_| Fault::new("SerializationException", "the body is too long, or did not come"))?;
    let asked: InitiateAuth = serde_json::from_slice(&body)
        .map_err(|_| Fault::new("SerializationException", "the body is no JSON object of InitiateAuth"))?;
    let client = asked.client_id.unwrap_or_default();
    if client.is_empty()
        || client.len() > MAX_CLIENT_ID
        || !client.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b))
    {
        return Err(Fault::invalid("ClientId must have 1 to 128 letters or digits"));
    }
    let parameters =
        asked.auth_parameters.unwrap_or(Parameters { username: None, password: None, refresh_token: None });
    match asked.auth_flow.as_deref() {
        Some("USER_PASSWORD_AUTH") => {
            let name = required(parameters.username, "USERNAME")?;
            let password = required(parameters.password, "PASSWORD")?;
            let from = who::address(&head.extensions);
            let user = face.authority.credentials.password_from(&name, &password, from).await?;
            Ok(face.sessions.begin(&face.authority, &user, &client).await?)
        }
        Some("REFRESH_TOKEN_AUTH" | "REFRESH_TOKEN") => {
            let token = required(parameters.refresh_token, "REFRESH_TOKEN")?;
            let renewed = face.sessions.renew(&face.authority, &token, &client).await?;
            renewed.ok_or_else(|| Fault::new("NotAuthorizedException", "Invalid Refresh Token"))
        }
        Some(_) => Err(Fault::invalid("USER_PASSWORD_AUTH and REFRESH_TOKEN_AUTH are the flows that are enabled here")),
        None => Err(Fault::invalid("Missing required parameter AuthFlow")),
    }
}

fn required(value: Option<String>, name: &str) -> Result<String, Fault> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| Fault::invalid(&format!("Missing required parameter {name}")))
}

fn given_out(given: &Given) -> Response {
    let mut result = json!({
        "AccessToken": given.access,
        "ExpiresIn": SECONDS,
        "IdToken": given.id,
        "TokenType": "Bearer",
    });
    if let (Some(refresh), Some(result)) = (&given.refresh, result.as_object_mut()) {
        result.insert("RefreshToken".into(), refresh.as_str().into());
    }
    let mut response =
        respond(StatusCode::OK, KIND, json!({ "AuthenticationResult": result, "ChallengeParameters": {} }).to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Fault {
    fn new(kind: &'static str, message: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind, message: message.into(), retry_after: None }
    }

    fn invalid(message: &str) -> Self {
        Self::new("InvalidParameterException", message)
    }

    fn response(&self) -> Response {
        let body = json!({ "__type": self.kind, "message": self.message }).to_string();
        let mut response = respond(self.status, KIND, body);
        response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(self.kind));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            // Documented, word by word.
            Refused::Unauthenticated => Self::new("NotAuthorizedException", "Incorrect username or password."),
            Refused::TooMany(seconds) => Self {
                retry_after: Some(seconds),
                ..Self::new("TooManyRequestsException", "Too many attempts; try again later")
            },
            Refused::Invalid(message) => Self::invalid(&message),
            other => {
                tracing::error!("crittora log-in: {other}");
                Self {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    retry_after: Some(1),
                    ..Self::new("InternalErrorException", "the log-in is not available now")
                }
            }
        }
    }
}
