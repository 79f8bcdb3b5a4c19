//! The OpenAPI document.

use serde_json::{Map, Value, json};

use super::{assumed, kem};
use crate::crypto::kem::expanded;
use crate::crypto::sign::plain;
use crate::crypto::sign::{SIGNATURE, VERIFYING_KEY};

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for call in calls() {
        paths.insert(call.path.to_owned(), json!({ call.method: call.describe() }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sidecloak: ExeQuantum PQC API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Temporary tokens, ML-KEM-768, ML-DSA-65 and AES-256-GCM on the wire format of the ExeQuantum PQC API, both generations. Binary values are hexadecimal, written in lower case and read in either.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "bearer": [] }, { "auth_token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "auth_token": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`auth_token T`",
                },
            },
            "schemas": {
                "Error": object(&[("detail", json!({ "type": "string" }))], &["detail"]),
                "Invalid": object(
                    &[("detail", json!({
                        "type": "array",
                        "minItems": 1,
                        "items": object(
                            &[
                                ("loc", json!({ "type": "array", "items": { "type": "string" } })),
                                ("msg", json!({ "type": "string" })),
                                ("type", json!({ "type": "string" })),
                            ],
                            &["loc", "msg", "type"],
                        ),
                    }))],
                    &["detail"],
                ),
            },
        },
    })
}

struct Call {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    request: Option<Value>,
    answer: Value,
    /// What it may answer beside what any may.
    more: &'static [(&'static str, &'static str)],
}

impl Call {
    fn describe(&self) -> Value {
        let mut responses = Map::new();
        let answer = |description: &str, schema: Value| json!({ "description": description, "content": { "application/json": { "schema": schema } } });
        let error = |description: &str| answer(description, json!({ "$ref": "#/components/schemas/Error" }));
        responses.insert("200".into(), answer("Done.", self.answer.clone()));
        responses.insert("401".into(), error("No token, or one that is wrong, used up or at its end."));
        responses.insert("403".into(), error("The role may not, or the partition's state forbids it."));
        responses.insert(
            "422".into(),
            answer("What is wrong, by field.", json!({ "$ref": "#/components/schemas/Invalid" })),
        );
        responses.insert("429".into(), error("Too often; see Retry-After."));
        responses.insert("503".into(), error("The store, or this process, cannot now."));
        if self.request.is_some() {
            responses.insert("413".into(), error("The body is too large."));
        }
        for (status, description) in self.more {
            responses.insert((*status).into(), error(description));
        }
        let mut described =
            json!({ "summary": self.summary, "operationId": operation(self.path), "responses": responses });
        if let (Some(schema), Some(members)) = (&self.request, described.as_object_mut()) {
            let body = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
            members.insert("requestBody".into(), body);
        }
        if let (true, Some(members)) = (self.path == "/api/token/new", described.as_object_mut()) {
            let parameter = |name: &str, most: u64, default: u64| {
                json!({
                    "name": name, "in": "query",
                    "schema": { "type": "integer", "minimum": 1, "maximum": most, "default": default },
                })
            };
            let parameters = [
                parameter("expiry_time", assumed::MOST_EXPIRY, assumed::EXPIRY),
                parameter("expire_after_attempts", assumed::MOST_ATTEMPTS, assumed::ATTEMPTS),
            ];
            members.insert("parameters".into(), json!(parameters));
        }
        described
    }
}

fn calls() -> Vec<Call> {
    let post = |path, summary, request, answer| Call {
        method: "post",
        path,
        summary,
        request: Some(request),
        answer,
        more: &[],
    };
    let get = |path, summary, answer| Call { method: "get", path, summary, request: None, answer, more: &[] };
    let (pk, cipher, shared) = (hex(&[kem::PK]), hex(&[kem::CIPHER]), hex(&[32]));
    let (signature, signer) = (hex(&[SIGNATURE]), hex(&[VERIFYING_KEY]));
    let text = json!({ "type": "string", "maxLength": assumed::TEXT });
    let algorithm = |name: &str| json!({ "type": "string", "const": name });
    let (kem_only, sign_only) = (algorithm(assumed::KEM), algorithm(assumed::SIGNATURE));
    vec![
        get("/api/token/new", "A temporary token.", whole(&[("new_token", json!({ "type": "string" }))])),
        get(
            "/api/kem/generate_keys",
            "A key pair of ML-KEM-768, its public key signed. The secret key is kept, too: as long as the API key lives, or for a day if a temporary token asks.",
            whole(&[
                ("pk", pk.clone()),
                ("sk", hex(&[expanded::EXPANDED])),
                ("verification_key", signer.clone()),
                ("verification_signature", signature.clone()),
                ("signature", signature.clone()),
            ]),
        ),
        Call {
            more: &[("400", "The signature over pk does not verify.")],
            ..post(
                "/api/kem/encapsulate_key",
                "A shared key for the holder of a secret key; `verification_key` is read as well as `verif_key`, and `verification_signature` as well as `signature`.",
                json!({ "anyOf": [
                    object(&[("pk", pk.clone()), ("signature", signature.clone()), ("verif_key", signer.clone())], &["pk", "signature", "verif_key"]),
                    object(&[("pk", pk.clone()), ("signature", signature.clone()), ("verification_key", signer.clone())], &["pk", "signature", "verification_key"]),
                ] }),
                whole(&[("cipher", cipher.clone()), ("shared_key", shared.clone())]),
            )
        },
        Call {
            more: &[("404", "No secret key is kept for this pk.")],
            ..post(
                "/api/kem/decapsulate_key",
                "The shared key of a ciphertext, under the secret key given or kept.",
                json!({ "anyOf": [
                    object(&[("cipher", cipher.clone()), ("sk", hex(&kem::SK))], &["cipher", "sk"]),
                    object(&[("cipher", cipher.clone()), ("pk", pk.clone())], &["cipher", "pk"]),
                ] }),
                whole(&[("shared_key", shared.clone())]),
            )
        },
        post(
            "/api/signature/sign",
            "A signature of ML-DSA-65 over the UTF-8 of a text, by a key pair made for it.",
            object(&[("data", text.clone())], &["data"]),
            whole(&[("signature", signature.clone()), ("pk", signer.clone()), ("sk", hex(&[plain::EXPANDED]))]),
        ),
        post(
            "/api/signature/verify",
            "Whether a signature verifies; `message` is read as well as `data`.",
            json!({ "anyOf": [
                object(&[("data", text.clone()), ("pk", signer.clone()), ("signature", hex(&[]))], &["data", "pk", "signature"]),
                object(&[("message", text.clone()), ("pk", signer.clone()), ("signature", hex(&[]))], &["message", "pk", "signature"]),
            ] }),
            whole(&[("verified", json!({ "type": "boolean" }))]),
        ),
        Call {
            more: &[("400", "There is no key to take.")],
            ..post(
                "/api/aes/encrypt_text",
                "hex(nonce | ciphertext | tag) of AES-256-GCM; without `key`, under this token's last shared key.",
                object(&[("unencrypted", text.clone()), ("key", shared.clone())], &["unencrypted"]),
                hex(&[]),
            )
        },
        Call {
            more: &[("400", "It does not open, or there is no key to take.")],
            ..post(
                "/api/aes/decrypt_text",
                "The text; without `key`, under this token's last shared key.",
                object(&[("ciphertext", hex(&[])), ("key", shared.clone())], &["ciphertext"]),
                json!({ "type": "string" }),
            )
        },
        post(
            "/api/v1/pqc/kem/generate-keys/",
            "A key pair of ML-KEM-768; nothing is kept.",
            object(&[("algorithm", kem_only.clone())], &[]),
            whole(&[
                ("algorithm", kem_only.clone()),
                ("encapsulation_key", pk.clone()),
                ("decapsulation_key", hex(&[expanded::EXPANDED])),
            ]),
        ),
        post(
            "/api/v1/pqc/kem/encapsulate/",
            "A shared secret for the holder of a decapsulation key.",
            object(&[("algorithm", kem_only.clone()), ("encapsulation_key", pk)], &["encapsulation_key"]),
            whole(&[
                ("algorithm", kem_only.clone()),
                ("ciphertext", cipher.clone()),
                ("shared_secret", shared.clone()),
            ]),
        ),
        post(
            "/api/v1/pqc/kem/decapsulate/",
            "The shared secret of a ciphertext.",
            object(
                &[("algorithm", kem_only.clone()), ("decapsulation_key", hex(&kem::SK)), ("ciphertext", cipher)],
                &["decapsulation_key", "ciphertext"],
            ),
            whole(&[("algorithm", kem_only), ("shared_secret", shared)]),
        ),
        post(
            "/api/v1/pqc/sign/generate-keys/",
            "A key pair of ML-DSA-65; nothing is kept.",
            object(&[("algorithm", sign_only.clone())], &[]),
            whole(&[
                ("algorithm", sign_only.clone()),
                ("public_key", signer.clone()),
                ("secret_key", hex(&[plain::EXPANDED])),
            ]),
        ),
        post(
            "/api/v1/pqc/sign/sign/",
            "A signature over the UTF-8 of a text.",
            object(
                &[
                    ("algorithm", sign_only.clone()),
                    ("message", text.clone()),
                    ("secret_key", hex(&[plain::EXPANDED, 32])),
                ],
                &["message", "secret_key"],
            ),
            whole(&[("algorithm", sign_only.clone()), ("signature", signature)]),
        ),
        post(
            "/api/v1/pqc/sign/verify/",
            "Whether a signature verifies.",
            object(
                &[("algorithm", sign_only.clone()), ("message", text), ("signature", hex(&[])), ("public_key", signer)],
                &["message", "signature", "public_key"],
            ),
            whole(&[("algorithm", sign_only), ("valid", json!({ "type": "boolean" }))]),
        ),
    ]
}

/// Digits, of one of these numbers of bytes.
fn hex(lengths: &[usize]) -> Value {
    let counts: Vec<String> = lengths.iter().map(|length| format!("[0-9a-fA-F]{{{}}}", 2 * length)).collect();
    let pattern = if counts.is_empty() { "^([0-9a-fA-F]{2})*$".into() } else { format!("^({})$", counts.join("|")) };
    json!({ "type": "string", "pattern": pattern })
}

/// An object that has all of these.
fn whole(members: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    object(members, &names)
}

fn object(members: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).into(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn operation(path: &str) -> String {
    path.trim_matches('/').replace(['/', '-'], "_")
}
