//! Its OpenAPI 3.1 document.

use serde_json::{Map, Value, json};

use super::answer::Shape;
use super::{CLASS, Call};

mod schemas;

/// Its OpenAPI 3.1 document.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for shape in [Shape::Managed, Shape::Direct] {
        for call in Call::ALL {
            paths.insert(format!("{}/{}", shape.prefix(), call.name()), json!({ "post": operation(shape, call) }));
        }
    }
    paths.insert("/".into(), json!({ "post": log_in() }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Crittora, served by Sidecloak",
            "version": "1",
            "summary": "The managed and the direct API of Crittora, and the log-in that gives out bearer tokens.",
            "description": format!(
                "A client of Crittora works with its base URL changed. Values are sealed in the partition of the \
                 partner's `api_key`, under the class `{CLASS}`. Every answer has an `x-request-id`."
            ),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "managed", "description": "Five headers with every call." },
            { "name": "direct", "description": "The id token of the log-in, and the partner's `api_key`." },
            { "name": "log-in", "description": "Amazon Cognito's InitiateAuth." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "headers": headers(),
            "responses": responses(),
            "securitySchemes": security_schemes(),
        },
    })
}

fn operation(shape: Shape, call: Call) -> Value {
    let (tag, security) = match shape {
        Shape::Managed => {
            ("managed", json!([{ "apiKey": [], "accessKey": [], "secretKey": [], "username": [], "password": [] }]))
        }
        Shape::Direct => (
            "direct",
            json!([
                { "idToken": [], "apiKey": [] },
                { "idToken": [], "apiKey": [], "accessKey": [], "secretKey": [] },
            ]),
        ),
    };
    let (summary, request, success) = match call {
        Call::Encrypt => ("Encrypts a text", "ToEncrypt", "Encrypted"),
        Call::SignEncrypt => ("Signs a text as the user and encrypts it", "ToSignEncrypt", "Encrypted"),
        Call::Decrypt => ("Decrypts what `encrypt` gave", "ToDecrypt", "Decrypted"),
        Call::DecryptVerify => ("Decrypts and verifies what `sign-encrypt` gave", "ToDecrypt", "DecryptedVerified"),
    };
    let mut answers = json!({
        "200": {
            "description": "Done.",
            "headers": request_id(),
            "content": { "application/json": { "schema": schemas::success(shape, success) } },
        },
        "400": failure_of(shape, "What was sent is not right, or does not open; never says which of what is secret."),
        "401": { "$ref": "#/components/responses/Unauthorized" },
        "403": { "$ref": "#/components/responses/Forbidden" },
        "405": { "$ref": "#/components/responses/MethodNotAllowed" },
        "413": { "$ref": "#/components/responses/TooLong" },
        "429": { "$ref": "#/components/responses/TooMany" },
        "503": { "$ref": "#/components/responses/Unavailable" },
    });
    if let (Shape::Managed, Some(answers)) = (shape, answers.as_object_mut()) {
        let text = "The user name or the password is wrong. (The vendor's own status for it; nothing else is a 500.)";
        answers.insert("500".into(), failure_of(shape, text));
    }
    json!({
        "operationId": format!("{tag}-{}", call.name()),
        "tags": [tag],
        "summary": summary,
        "security": security,
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": { "$ref": format!("#/components/schemas/{request}") } } },
        },
        "responses": answers,
    })
}

fn log_in() -> Value {
    let content = |schema: &str| {
        let schema = json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") } });
        json!({ "application/x-amz-json-1.1": schema })
    };
    json!({
        "operationId": "log-in",
        "tags": ["log-in"],
        "summary": "Gives out tokens for a password or a refresh token",
        "security": [],
        "parameters": [{
            "name": "X-Amz-Target",
            "in": "header",
            "required": true,
            "description": "The operation; no other is offered.",
            "schema": { "type": "string", "const": "AWSCognitoIdentityProviderService.InitiateAuth" },
        }],
        "requestBody": {
            "required": true,
            "content": {
                "application/x-amz-json-1.1": { "schema": { "$ref": "#/components/schemas/InitiateAuth" } },
                "application/json": { "schema": { "$ref": "#/components/schemas/InitiateAuth" } },
            },
        },
        "responses": {
            "200": { "description": "Tokens.", "headers": request_id(), "content": content("LoggedIn") },
            "400": {
                "description": "Refused, as `__type` says: NotAuthorizedException, InvalidParameterException, \
                    SerializationException, TooManyRequestsException (with `Retry-After`) or UnknownOperationException.",
                "headers": request_id(),
                "content": content("CognitoError"),
            },
            "405": { "$ref": "#/components/responses/MethodNotAllowed" },
            "500": {
                "description": "The log-in is not available now (InternalErrorException).",
                "headers": request_id(),
                "content": content("CognitoError"),
            },
        },
    })
}

fn failure_of(shape: Shape, description: &str) -> Value {
    let schema = if shape == Shape::Managed { "ManagedError" } else { "Error" };
    json!({
        "description": description,
        "headers": request_id(),
        "content": { "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } },
    })
}

fn request_id() -> Value {
    json!({ "x-request-id": { "$ref": "#/components/headers/RequestId" } })
}

fn headers() -> Value {
    json!({
        "RequestId": {
            "description": "Names this answer, in logs and complaints.",
            "required": true,
            "schema": { "type": "string", "format": "uuid" },
        },
        "RetryAfter": {
            "description": "Seconds to wait.",
            "required": true,
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

fn responses() -> Value {
    let answer = |description: &str, retry: bool| {
        let mut headers = request_id();
        if let (true, Some(headers)) = (retry, headers.as_object_mut()) {
            headers.insert("retry-after".into(), json!({ "$ref": "#/components/headers/RetryAfter" }));
        }
        json!({
            "description": description,
            "headers": headers,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
        })
    };
    json!({
        "Unauthorized": answer("No bearer token, a wrong one or one that has ended; no user name or password.", false),
        "Forbidden": answer(
            "No `api_key`, or a wrong one, or wrong secrets beside it; a role that does not allow it; a paused partition.",
            false,
        ),
        "MethodNotAllowed": answer("Only POST.", false),
        "TooLong": answer("The body, or `data` in it, is too long.", false),
        "TooMany": answer("Too many calls, or too many wrong passwords.", true),
        "Unavailable": answer("Not now, through no fault of the request.", false),
    })
}

fn security_schemes() -> Value {
    let header = |name: &str, description: &str| json!({ "type": "apiKey", "in": "header", "name": name, "description": description });
    json!({
        "apiKey": header("api_key", "Names the partner and its partition (`sidecloak apikeys`)."),
        "accessKey": header("access_key", "A further secret of the partner."),
        "secretKey": header("secret_key", "A further secret of the partner."),
        "username": header("username", "A user (`sidecloak users`)."),
        "password": header("password", "The user's password."),
        "idToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The `IdToken` of the log-in.",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = openapi();
        let text = document.to_string();
        let references: Vec<&str> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 50);
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
        assert_eq!(document["paths"].as_object().unwrap().len(), 9);
    }
}
