//! The OpenAPI 3.1 document, written down by hand: it is what sidecars of other makers would be built from.

use serde_json::{Map, Value, json};

use crate::remote_keyring::wire::{MAX_COUNTS, PAGE, PREFIX};

/// The document.
pub fn openapi() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sidecloak keyring API",
            "version": "1",
            "description": "The keyring of an authority, for sidecars without access to its store. Records are signed and are to be verified against a pinned owner. What a caller may not see looks as if it were not there.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "servers": [{ "url": PREFIX }],
        "security": [{ "bearer": [] }, { "certificate": [] }],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "An API key for sidecars, or a token of an issuer that the authority believes." },
                "certificate": { "type": "mutualTLS" }
            },
            "responses": problems(),
            "schemas": schemas()
        }
    })
}

fn paths() -> Value {
    let name = || parameter("path", "name", true, json!({ "$ref": "#/components/schemas/PartitionName" }));
    let id = || parameter("path", "id", true, json!({ "$ref": "#/components/schemas/EpochId" }));
    let kind = parameter("query", "kind", true, json!({ "type": "integer", "enum": [0, 1] }));
    let after = parameter("query", "after", false, json!({ "type": "integer", "minimum": 0 }));
    json!({
        "/keys": { "get": operation("keys", "Public keys: the owner's, and those of the recipients that the authority opens for", json!([]), None, ok("Keys"), &[]) },
        "/events": { "get": operation(
            "events",
            "Change numbers of the store, and a heartbeat at least each second while it can be read. Ends after ten minutes",
            json!([]),
            None,
            json!({ "description": "`event: change` with a number as `data` (16 hexadecimal digits), or the comment `hb`", "content": { "text/event-stream": { "schema": { "type": "string" } } } }),
            &[],
        ) },
        "/look": { "post": operation("look", "Whether what a sidecar has in memory still is so", json!([]), Some("Known"), ok("Stand"), &[413, 415, 422]) },
        "/counts": { "post": operation("counts", "What was sealed and opened, for the audit log", json!([]), Some("Counts"), json!({ "description": "Taken" }), &[413, 415, 422]) },
        "/tombstones": { "get": operation("tombstones", "Destroyed epochs of the caller's partitions, after a number", json!([after]), None, ok("Tombstones"), &[422]) },
        "/partitions/{name}": {
            "get": operation("partition", "A partition's record", json!([name()]), None, ok("Partition"), &[404]),
            "post": operation("provision", "Makes a partition like `default`, if there is none", json!([name()]), Some("Provision"), ok("Partition"), &[403, 404, 409, 413, 415, 422])
        },
        "/partitions/{name}/current": { "get": operation("current", "The epoch that is sealed under now, of kind 0 (random) or 1 (deterministic)", json!([name(), kind]), None, ok("Found"), &[403, 404, 422]) },
        "/partitions/{name}/epochs": { "post": operation("insert", "Takes an epoch that the caller made and signed", json!([name()]), Some("NewEpoch"), ok("Outcome"), &[403, 404, 413, 415, 422]) },
        "/partitions/{name}/issue": { "post": operation("issue", "Signs an epoch that the caller made, and makes it the current one", json!([name()]), Some("Draft"), ok("Outcome"), &[403, 404, 413, 415, 422]) },
        "/epochs/{id}": { "get": operation("epoch", "An epoch, or the tombstone of one that was destroyed", json!([id()]), None, ok("Found"), &[404]) },
        "/epochs/{id}/decapsulate": { "post": operation("decapsulate", "The shared secret of a wrap that the epoch has in the store", json!([id()]), Some("Wrap"), ok("SharedSecret"), &[403, 404, 413, 415, 422]) }
    })
}

#[expect(clippy::needless_pass_by_value, reason = "each is made for this call")]
fn operation(id: &str, summary: &str, parameters: Value, body: Option<&str>, good: Value, more: &[u16]) -> Value {
    let mut responses = Map::new();
    responses.insert(if id == "counts" { "204" } else { "200" }.into(), good);
    for status in [400, 401, 429, 503].iter().chain(more) {
        responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{status}") }));
    }
    let mut operation =
        json!({ "operationId": id, "summary": summary, "parameters": parameters, "responses": responses });
    if let (Some(schema), Some(operation)) = (body, operation.as_object_mut()) {
        operation
            .insert("requestBody".into(), json!({ "required": true, "content": content("application/json", schema) }));
    }
    operation
}

fn ok(schema: &str) -> Value {
    json!({ "description": "Done", "content": content("application/json", schema) })
}

fn content(media: &str, schema: &str) -> Value {
    json!({ media: { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

#[expect(clippy::needless_pass_by_value, reason = "each is made for this call")]
fn parameter(place: &str, name: &str, required: bool, schema: Value) -> Value {
    json!({ "in": place, "name": name, "required": required, "schema": schema })
}

fn problems() -> Value {
    let problem = |description: &str, headers: Value| json!({ "description": description, "headers": headers, "content": content("application/problem+json", "Problem") });
    let again = || json!({ "Retry-After": { "schema": { "type": "integer" } } });
    json!({
        "400": problem("The body or query is not what this document says", json!({})),
        "401": problem("No credential, or a wrong one", json!({ "WWW-Authenticate": { "schema": { "type": "string" } } })),
        "403": problem("The caller's role, or the partition's `state`, does not allow it", json!({})),
        "404": problem("There is no such thing, or it is not for this caller", json!({})),
        "409": problem("There are too many partitions already, or new ones come too fast", json!({})),
        "413": problem("The body is too large", json!({})),
        "415": problem("The body is not JSON", json!({})),
        "422": problem("What was sent is not right; `detail` says what to do", json!({})),
        "429": problem("Too many calls", again()),
        "503": problem("The keyring cannot be read or written now", again())
    })
}

fn schemas() -> Value {
    let bytes = || json!({ "$ref": "#/components/schemas/Bytes" });
    let id = || json!({ "$ref": "#/components/schemas/EpochId" });
    let truth = || json!({ "type": "boolean" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let digest = || json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$" });
    let replaces = || object(&[("epoch", json!({ "oneOf": [id(), { "type": "null" }] }), true)]);
    let list = |item: Value, most: usize| json!({ "type": "array", "items": item, "maxItems": most });
    let kem = || json!({ "type": "integer", "minimum": 0, "maximum": 255 });
    json!({
        "Bytes": { "type": "string", "pattern": "^[A-Za-z0-9_-]*$", "description": "base64url (RFC 4648 § 5) without padding, canonical" },
        "EpochId": { "type": "string", "pattern": "^[0-9a-f]{20}$" },
        "PartitionName": { "type": "string", "pattern": "^[A-Za-z0-9._%-]{1,255}$" },
        "Problem": object(&[
            ("type", json!({ "type": "string" }), true),
            ("title", json!({ "type": "string" }), true),
            ("status", number(), true),
            ("detail", json!({ "type": "string" }), true),
            ("state", json!({ "type": "string", "enum": ["active", "decrypt-only", "paused", "destroyed"] }), false),
        ]),
        "Keys": object(&[
            ("version", json!({ "const": 1 }), true),
            ("keys", json!({ "type": "array", "items": object(&[("use", kem(), true), ("public", bytes(), true)]) }), true),
        ]),
        "Partition": object(&[("record", bytes(), true)]),
        "Provision": object(&[("max", json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }), true)]),
        "Epoch": object(&[("id", id(), true), ("record", bytes(), true), ("confirmed", truth(), true), ("current", truth(), true)]),
        "Found": object(&[
            ("epoch", json!({ "oneOf": [{ "$ref": "#/components/schemas/Epoch" }, { "type": "null" }] }), true),
            ("tombstone", json!({ "oneOf": [bytes(), { "type": "null" }] }), true),
        ]),
        "NewEpoch": object(&[("record", bytes(), true), ("replaces", replaces(), false), ("under", digest(), false)]),
        "Draft": object(&[("record", bytes(), true), ("replaces", replaces(), true), ("under", digest(), true)]),
        "Outcome": object(&[("outcome", json!({ "type": "string", "enum": ["done", "taken", "raced"] }), true), ("record", bytes(), false)]),
        "Wrap": object(&[("kem_suite", kem(), true), ("recipient", bytes(), true), ("kem_ct", bytes(), true)]),
        "SharedSecret": object(&[("shared_secret", digest(), true)]),
        "Known": object(&[("partitions", list(json!({ "type": "string" }), PAGE), true), ("epochs", list(id(), PAGE), true)]),
        "Stand": object(&[
            ("partitions", list(json!({ "oneOf": [bytes(), { "type": "null" }] }), PAGE), true),
            ("epochs", list(object(&[("id", id(), true), ("partition", json!({ "type": "string" }), true), ("kind", kem(), true), ("current", truth(), true)]), PAGE), true),
        ]),
        "Tombstones": object(&[
            ("tombstones", list(object(&[("number", number(), true), ("epoch", id(), true), ("record", bytes(), true)]), PAGE), true),
            ("next", json!({ "oneOf": [number(), { "type": "null" }] }), true),
        ]),
        "Counts": object(&[(
            "counts",
            list(
                object(&[
                    ("caller", json!({ "type": "string", "maxLength": 256 }), false),
                    ("partition", json!({ "type": "string" }), true),
                    ("class", json!({ "type": "string", "maxLength": 256 }), true),
                    ("use", json!({ "type": "string", "enum": ["sealed", "opened", "refused"] }), true),
                    ("values", json!({ "type": "integer", "minimum": 0, "maximum": 1u64 << 40 }), true),
                ]),
                MAX_COUNTS,
            ),
            true,
        )]),
    })
}

/// An object with these members and no others; the last says whether one is required.
fn object(members: &[(&str, Value, bool)]) -> Value {
    let properties: Map<_, _> = members.iter().map(|(name, schema, _)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<_> = members.iter().filter(|(.., required)| *required).map(|(name, ..)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
