//! What is sent and answered.

use serde_json::{Value, json};

use super::super::answer::Shape;
use super::super::assumptions::{MAX_CLIENT_ID, MAX_DATA, MAX_PARTNER_ID, MAX_PARTNERS};
use super::super::session::SECONDS;

pub(super) fn all() -> Value {
    let mut all = json!({
        "ToDecrypt": {
            "type": "object",
            "required": ["encrypted_data"],
            "properties": {
                "encrypted_data": {
                    "type": "string",
                    "minLength": 1,
                    "pattern": "^[A-Za-z0-9_-]+={0,2}$",
                    "description": "As `encrypt` or `sign-encrypt` gave it.",
                },
                "permissions": { "description": "Not looked at: who may open a value was settled when it was sealed." },
            },
        },
        "Permission": permission(),
        "Encrypted": {
            "type": "object",
            "required": ["encrypted_data"],
            "additionalProperties": false,
            "properties": {
                "encrypted_data": { "type": "string", "pattern": "^[A-Za-z0-9_-]+$", "description": "Opaque base64url." },
            },
        },
        "Decrypted": {
            "type": "object",
            "required": ["decrypted_data"],
            "additionalProperties": false,
            "properties": { "decrypted_data": { "type": "string" } },
        },
        "DecryptedVerified": {
            "type": "object",
            "required": ["decrypted_data", "is_valid_signature"],
            "additionalProperties": false,
            "properties": {
                "decrypted_data": { "type": "string" },
                "is_valid_signature": { "const": true, "description": "A value whose signature does not verify is a 400." },
                "signed_by": { "type": "string", "description": "The user's name." },
                "signed_timestamp": {
                    "type": "string",
                    "pattern": "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}\\+00:00$",
                },
            },
        },
        "Error": {
            "type": "object",
            "required": ["message"],
            "additionalProperties": false,
            "properties": { "message": { "type": "string" } },
        },
        "ManagedError": {
            "type": "object",
            "required": ["statusCode", "body", "message"],
            "additionalProperties": false,
            "properties": {
                "statusCode": { "type": "integer", "enum": [400, 500] },
                "body": {
                    "type": "object",
                    "required": ["error"],
                    "additionalProperties": false,
                    "properties": { "error": { "type": "string" } },
                },
                "message": { "type": "string" },
            },
        },
        "InitiateAuth": initiate_auth(),
        "LoggedIn": logged_in(),
        "CognitoError": {
            "type": "object",
            "required": ["__type", "message"],
            "additionalProperties": false,
            "properties": { "__type": { "type": "string" }, "message": { "type": "string" } },
        },
    });
    if let Some(all) = all.as_object_mut() {
        all.insert("ToEncrypt".into(), to_seal(json!({ "type": ["array", "null"], "items": { "const": "e" } })));
        let both = json!({
            "type": ["array", "null"],
            "items": { "enum": ["e", "s"] },
            "anyOf": [
                { "maxItems": 0 },
                { "allOf": [{ "contains": { "const": "e" } }, { "contains": { "const": "s" } }] },
            ],
            "description": "A set: in either order.",
        });
        all.insert("ToSignEncrypt".into(), to_seal(both));
    }
    all
}

/// What 200 carries.
pub(super) fn success(shape: Shape, inner: &str) -> Value {
    let reference = format!("#/components/schemas/{inner}");
    let body = match shape {
        Shape::Managed => json!({ "$ref": reference }),
        Shape::Direct => json!({
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": { "$ref": reference },
        }),
    };
    json!({
        "type": "object",
        "required": ["statusCode", "body"],
        "additionalProperties": false,
        "properties": { "statusCode": { "const": 200 }, "body": body },
    })
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` takes it over")]
fn to_seal(requested_actions: Value) -> Value {
    json!({
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_DATA,
                "description": "Any text. The length counts bytes as they stand between the quotes.",
            },
            "requested_actions": requested_actions,
            "permissions": {
                "type": ["array", "null"],
                "maxItems": MAX_PARTNERS,
                "items": { "$ref": "#/components/schemas/Permission" },
                "description": "Only these partners, and the one whose `api_key` this is, may open the value.",
            },
        },
    })
}

fn permission() -> Value {
    json!({
        "type": "object",
        "required": ["partner_id"],
        "properties": {
            "partner_id": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_PARTNER_ID,
                "description": "The number of the partner's API key (all digits), or its label (anything else).",
            },
            "permissions": {
                "type": "array",
                "items": { "enum": ["d", "read", "decrypt", "v", "verify"] },
                "anyOf": [{ "maxItems": 0 }, { "contains": { "enum": ["d", "read", "decrypt"] } }],
                "description": "To open the value; there is nothing else to give.",
            },
        },
    })
}

fn initiate_auth() -> Value {
    let text = || json!({ "type": "string", "minLength": 1 });
    json!({
        "type": "object",
        "required": ["ClientId", "AuthFlow", "AuthParameters"],
        "properties": {
            "ClientId": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_CLIENT_ID,
                "pattern": "^[A-Za-z0-9_+.-]+$",
                "description": "Any; it is the audience of the tokens, and the one to refresh them with.",
            },
            "AuthFlow": { "enum": ["USER_PASSWORD_AUTH", "REFRESH_TOKEN_AUTH", "REFRESH_TOKEN"] },
            "AuthParameters": {
                "type": "object",
                "properties": { "USERNAME": text(), "PASSWORD": text(), "REFRESH_TOKEN": text() },
                "anyOf": [{ "required": ["USERNAME", "PASSWORD"] }, { "required": ["REFRESH_TOKEN"] }],
            },
        },
    })
}

fn logged_in() -> Value {
    let token = || json!({ "type": "string", "minLength": 1 });
    json!({
        "type": "object",
        "required": ["AuthenticationResult", "ChallengeParameters"],
        "additionalProperties": false,
        "properties": {
            "AuthenticationResult": {
                "type": "object",
                "required": ["AccessToken", "ExpiresIn", "IdToken", "TokenType"],
                "additionalProperties": false,
                "properties": {
                    "AccessToken": token(),
                    "ExpiresIn": { "const": SECONDS },
                    "IdToken": token(),
                    "TokenType": { "const": "Bearer" },
                    "RefreshToken": token(),
                },
            },
            "ChallengeParameters": { "type": "object", "maxProperties": 0 },
        },
    })
}
