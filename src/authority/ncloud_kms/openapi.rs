//! The OpenAPI document, written out: the fast path parses and prints its JSON by hand, so there are no types to derive it from.

use serde_json::{Map, Value, json};

/// Its OpenAPI 3.1 document.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    let of = |verb: &str| format!("/kms/v1/keys/{{keyTag}}/{verb}");
    let text = || json!({ "type": "string" });
    let texts = || json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "maxItems": 1000 }] });
    let context = || json!({ "type": ["string", "null"], "description": "base64 of at most 50 bytes; a convergent key needs it" });
    let hours = || json!({ "type": ["integer", "string", "null"], "description": "1 to 17520, or \"UL\" for no end" });

    let plaintexts = object(&[("plaintext", texts())], &[("context", context())]);
    let ciphertexts = object(&[("ciphertext", texts())], &[("context", context())]);
    let opened = object(&[("plaintext", texts())], &[]);
    let sealed = object(&[("ciphertext", texts())], &[]);
    for (verb, summary, body, data) in [
        ("encrypt", "Encrypts a value or an array of them", &plaintexts, &sealed),
        ("decrypt", "Decrypts a ciphertext or an array of them", &ciphertexts, &opened),
        ("re-encrypt", "Encrypts under the newest version what an older one encrypted", &ciphertexts, &sealed),
        ("reencrypt", "The same", &ciphertexts, &sealed),
    ] {
        put(&mut paths, &of(verb), "post", operation(summary, Auth::Either, Some((body, true)), data));
    }
    let custom = object(
        &[],
        &[
            ("requestPlainKey", json!({ "type": ["boolean", "null"] })),
            ("bits", json!({ "enum": [128, 256, 512, null] })),
            ("context", context()),
        ],
    );
    let made = object(&[("ciphertext", text()), ("key_version", integer())], &[("plaintext", text())]);
    let summary = "Makes a random key and encrypts it";
    put(&mut paths, &of("create-custom-key"), "post", operation(summary, Auth::Either, Some((&custom, false)), &made));

    let data = object(&[("data", text())], &[]);
    let signature = object(&[("signature", text())], &[]);
    put(&mut paths, &of("sign"), "post", operation("Signs", Auth::Either, Some((&data, true)), &signature));
    let both = object(&[("data", text()), ("signature", text())], &[]);
    let valid = object(&[("valid", json!({ "type": "boolean" }))], &[]);
    put(
        &mut paths,
        &of("verify"),
        "post",
        operation("Verifies a signature", Auth::Either, Some((&both, true)), &valid),
    );
    let which = object(&[], &[("keyVersion", json!({ "type": ["integer", "null"], "minimum": 0 }))]);
    let public = object(&[("publicKey", text())], &[]);
    let summary = "The public key of a version, the newest without one";
    put(&mut paths, &of("get-pub-key"), "post", operation(summary, Auth::Either, Some((&which, false)), &public));

    let set = object(&[], &[("accessTokenHours", hours()), ("refreshTokenHours", hours())]);
    let tokens = object(&[("refreshToken", text()), ("accessToken", text())], &[]);
    put(&mut paths, &of("token-set"), "post", operation("Makes tokens", Auth::Signature, Some((&set, false)), &tokens));
    put(&mut paths, &of("token-set"), "put", operation("Makes tokens anew", Auth::Token, Some((&set, false)), &tokens));
    let one = object(&[], &[("accessTokenHours", hours())]);
    let token = object(&[("accessToken", text())], &[]);
    let summary = "Makes an access token";
    put(&mut paths, &of("access-token"), "post", operation(summary, Auth::Token, Some((&one, false)), &token));

    manage(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "NAVER Cloud KMS, served by Sidecloak", "version": "1" },
        "paths": paths,
        "components": {
            "schemas": {
                "Error": { "anyOf": [
                    object(&[("code", json!({ "enum": [
                        "INVALID_REQUEST", "FORBIDDEN", "UNAUTHORIZED", "UNPROCESSABLE_ENTITY", "INTERNAL_SERVER_ERROR",
                    ] })), ("msg", text())], &[]),
                    object(&[("error", object(&[("errorCode", text()), ("message", text()), ("details", text())], &[]))], &[]),
                ] },
            },
            "securitySchemes": {
                "timestamp": { "type": "apiKey", "in": "header", "name": "x-ncp-apigw-timestamp" },
                "accessKey": { "type": "apiKey", "in": "header", "name": "x-ncp-iam-access-key" },
                "signature": { "type": "apiKey", "in": "header", "name": "x-ncp-apigw-signature-v2" },
                "token": { "type": "apiKey", "in": "header", "name": "x-ncp-ocapi-token" },
            },
        },
    })
}

fn manage(paths: &mut Map<String, Value>) {
    let of = |verb: &str| format!("/kms/v1/keys/{{keyTag}}/{verb}");
    let text = || json!({ "type": "string" });
    let boolean = || json!({ "type": "boolean" });
    let status = || json!({ "enum": ["ENABLE", "DISABLE", "REVOKE"] });
    let key_type = || json!({ "enum": ["AES256", "RSA2048", "ECDSA"] });
    let protection = || json!({ "enum": ["BASIC", "COMMON_HSM"] });
    let perhaps = || json!({ "type": ["integer", "null"] });
    let period = || json!({ "type": ["integer", "null"], "minimum": 1, "maximum": 730 });

    let key = [
        ("keyId", integer()),
        ("keyTag", text()),
        ("keyName", text()),
        ("keyType", key_type()),
        ("status", status()),
        ("protectionType", protection()),
        ("isConvergent", boolean()),
        ("registerDate", integer()),
    ];
    let mut listed = key.to_vec();
    listed.push(("destroyDate", perhaps()));
    let mut shown = key.to_vec();
    shown.extend([
        ("keystoreId", integer()),
        ("memo", text()),
        ("isAutoRotation", boolean()),
        ("rotationPeriod", integer()),
        ("nextRotationDate", perhaps()),
    ]);
    let made = object(&shown, &[]);
    shown.push(("currentVersion", integer()));
    let info = object(&shown, &[]);
    let list = object(
        &[
            ("keyList", json!({ "type": "array", "items": object(&listed, &[]) })),
            ("currentPageNo", integer()),
            ("totalPageNo", integer()),
            ("totalCount", integer()),
        ],
        &[],
    );
    let mut listing = operation("Lists keys", Auth::Signature, None, &list);
    if let Some(listing) = listing.as_object_mut() {
        let page = |name: &str, most: u64| json!({ "name": name, "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": most } });
        listing.insert("parameters".into(), json!([page("pageNo", 1_000_000), page("pageSize", 200)]));
    }
    put(paths, "/kms/v1/keys", "get", listing);
    let asked = object(
        &[
            ("keyName", json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{2,14}$" })),
            ("keyType", key_type()),
        ],
        &[
            ("memo", json!({ "type": ["string", "null"], "maxLength": 100 })),
            ("isConvergent", json!({ "type": ["boolean", "null"] })),
            ("isAutoRotation", json!({ "type": ["boolean", "null"] })),
            ("rotationPeriod", period()),
            ("protectionType", json!({ "enum": ["BASIC", "COMMON_HSM", null] })),
        ],
    );
    put(paths, "/kms/v1/keys", "post", operation("Makes a key", Auth::Signature, Some((&asked, true)), &made));
    let of_key = "/kms/v1/keys/{keyTag}";
    put(paths, of_key, "get", operation("Shows a key", Auth::Signature, None, &info));
    let nothing = json!({ "type": "null" });
    let summary = "Destroys a key whose deletion was requested";
    put(paths, of_key, "delete", operation(summary, Auth::Signature, None, &nothing));

    let changed = object(&[("keyTag", text()), ("status", status()), ("statusDate", integer())], &[]);
    for (verb, summary) in [
        ("enable", "Enables a key"),
        ("disable", "Disables a key, with all its versions"),
        ("request-deletion", "Disables a key and destroys it 72 hours later"),
        ("cancel-deletion", "Takes that back; the key stays disabled"),
    ] {
        put(paths, &of(verb), "post", operation(summary, Auth::Signature, None, &changed));
    }
    let rotated = object(&[("keyTag", text()), ("version", integer()), ("rotatedDate", integer())], &[]);
    put(paths, &of("rotate"), "post", operation("Makes a new version", Auth::Signature, None, &rotated));
    let asked = object(&[], &[("rotationPeriod", period())]);
    let rhythm = object(&[("keyTag", text()), ("rotationPeriod", integer()), ("nextRotationDate", perhaps())], &[]);
    let summary = "Sets the days between rotations";
    put(paths, &of("rotation-period"), "put", operation(summary, Auth::Signature, Some((&asked, true)), &rhythm));
    let automatic = object(&[("keyTag", text()), ("isAutoRotation", boolean())], &[]);
    for (verb, summary) in
        [("enable-auto-rotation", "Rotates by schedule"), ("disable-auto-rotation", "Rotates on request alone")]
    {
        put(paths, &of(verb), "post", operation(summary, Auth::Signature, None, &automatic));
    }
    let version = [("version", integer()), ("status", status()), ("statusDate", integer())];
    let mut dated = version.to_vec();
    dated.push(("rotatedDate", integer()));
    let versions = object(
        &[
            ("keyTag", text()),
            ("currentVersion", integer()),
            ("versionList", json!({ "type": "array", "items": object(&dated, &[]) })),
        ],
        &[],
    );
    put(paths, &of("versions"), "get", operation("Lists versions", Auth::Signature, None, &versions));
    let version = object(&version, &[]);
    for verb in ["enable", "disable"] {
        let summary = "Enables or disables a version before the newest";
        let path = of(&format!("versions/{{version}}/{verb}"));
        put(paths, &path, "post", operation(summary, Auth::Signature, None, &version));
    }
}

#[derive(Clone, Copy)]
enum Auth {
    Signature,
    Token,
    Either,
}

fn put(paths: &mut Map<String, Value>, path: &str, method: &str, operation: Value) {
    let item = paths.entry(path.to_owned()).or_insert_with(|| {
        let mut parameters = Vec::new();
        if path.contains("{keyTag}") {
            let schema = json!({ "type": "string", "pattern": "^[a-z0-9]{1,100}$" });
            parameters.push(json!({ "name": "keyTag", "in": "path", "required": true, "schema": schema }));
        }
        if path.contains("{version}") {
            let schema = json!({ "type": "integer", "minimum": 1, "maximum": 100 });
            parameters.push(json!({ "name": "version", "in": "path", "required": true, "schema": schema }));
        }
        json!({ "parameters": parameters })
    });
    if let Some(item) = item.as_object_mut() {
        item.insert(method.to_owned(), operation);
    }
}

fn operation(summary: &str, auth: Auth, body: Option<(&Value, bool)>, data: &Value) -> Value {
    let content = |schema: &Value| json!({ "application/json": { "schema": schema } });
    let error = json!({ "$ref": "#/components/schemas/Error" });
    let success = object(&[("code", json!({ "const": "SUCCESS" })), ("data", data.clone())], &[]);
    let mut responses = Map::new();
    responses.insert("200".into(), json!({ "description": "done", "content": content(&success) }));
    for (status, description) in [
        ("400", "the request is not right"),
        ("401", "not authenticated"),
        ("403", "no such key, or it does not allow this"),
        ("404", "no such URL"),
        ("413", "the body is too large"),
        ("422", "this key cannot do this, now"),
        ("429", "too many requests"),
        ("500", "the call failed"),
        ("503", "the store cannot be reached"),
    ] {
        responses.insert(status.into(), json!({ "description": description, "content": content(&error) }));
    }
    let signed = json!({ "timestamp": [], "accessKey": [], "signature": [] });
    let token = json!({ "token": [] });
    let security = match auth {
        Auth::Signature => json!([signed]),
        Auth::Token => json!([token]),
        Auth::Either => json!([signed, token]),
    };
    let mut operation = Map::new();
    operation.insert("summary".into(), json!(summary));
    operation.insert("security".into(), security);
    if let Some((schema, required)) = body {
        operation.insert("requestBody".into(), json!({ "required": required, "content": content(schema) }));
    }
    operation.insert("responses".into(), Value::Object(responses));
    Value::Object(operation)
}

fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let members = required.iter().chain(optional).map(|(name, schema)| ((*name).to_owned(), schema.clone()));
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "properties": members.collect::<Map<_, _>>(), "required": names })
}

fn integer() -> Value {
    json!({ "type": "integer" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_and_method_is_described() {
        let document = openapi();
        let paths = document["paths"].as_object().unwrap();
        let count: usize = paths.values().map(|item| item.as_object().unwrap().len() - 1).sum();
        assert_eq!((paths.len(), count), (23, 26));
        assert_eq!(document["paths"]["/kms/v1/keys/{keyTag}/encrypt"]["post"]["requestBody"]["required"], true);
    }
}
