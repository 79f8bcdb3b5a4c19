//! The OpenAPI 3.1 document, written from the list of calls.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::calls::{self, Call};
use super::problem::Problem;

/// Statuses that a call may end with beside the one it promises, and their meaning.
const REFUSALS: [(u16, &str); 9] = [
    (400, "What was sent is not right; nothing was done."),
    (401, "The caller is not known."),
    (403, "The caller's role does not allow it."),
    (404, "There is no such thing, or not for this caller."),
    (409, "The state does not allow it, or it was changed meanwhile; nothing was done."),
    (413, "The body is larger than 64 KiB."),
    (415, "The body is not JSON."),
    (429, "Too many calls of this caller; again after `Retry-After` seconds."),
    (503, "The store cannot be reached; again after `Retry-After` seconds."),
];

/// Its OpenAPI 3.1 document.
pub fn openapi() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let problem = schemas.subschema_for::<Problem>().to_value();
    let mut paths = Map::new();
    for call in calls::all() {
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(call.method.as_str().to_lowercase(), operation(&call, &mut schemas));
        }
    }
    let mut responses = Map::new();
    for (status, meaning) in REFUSALS {
        responses.insert(status.to_string(), refusal(status, meaning, &problem));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sidecloak management",
            "version": "1",
            "description": "Partitions, roles, applications, API keys and users of an authority. \
                Each call names the roles of management keys that may make it as `x-roles`.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }, { "certificate": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": responses,
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "A management key, or a token of a configured issuer." },
                "certificate": { "type": "mutualTLS", "description": "A client certificate that the configuration maps." },
            },
        },
    })
}

fn operation(call: &Call, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": call.id,
        "summary": call.summary,
        "tags": [tag(call.path)],
        "x-roles": call.needs.roles(),
        "parameters": parameters(call),
        "responses": responses(call, schemas),
    });
    if let (Some(takes), Some(operation)) = (call.takes, operation.as_object_mut()) {
        let body =
            json!({ "required": true, "content": { "application/json": { "schema": takes(schemas).to_value() } } });
        operation.insert("requestBody".into(), body);
    }
    operation
}

fn responses(call: &Call, schemas: &mut SchemaGenerator) -> Value {
    let (status, shape) = call.gives;
    let mut good = Map::new();
    good.insert("description".into(), "Done.".into());
    if let Some(shape) = shape {
        good.insert("content".into(), json!({ "application/json": { "schema": shape(schemas).to_value() } }));
    }
    let version = json!({ "description": "The version of the partition.", "schema": { "type": "string" } });
    let place = json!({ "description": "Where it is.", "schema": { "type": "string" } });
    if call.versioned {
        good.insert("headers".into(), json!({ "ETag": version }));
    } else if status == 201 {
        good.insert("headers".into(), json!({ "Location": place }));
    }
    let mut responses = Map::new();
    responses.insert(status.to_string(), good.into());
    let takes_body = call.takes.is_some();
    for (status, _) in REFUSALS.into_iter().filter(|(status, _)| takes_body || !matches!(status, 413 | 415)) {
        responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{status}") }));
    }
    responses.into()
}

fn refusal(status: u16, meaning: &str, problem: &Value) -> Value {
    let mut response = json!({
        "description": meaning,
        "content": { "application/problem+json": { "schema": problem } },
    });
    let header = match status {
        401 => Some(("WWW-Authenticate", json!({ "schema": { "type": "string" } }))),
        429 | 503 => Some(("Retry-After", json!({ "schema": { "type": "integer", "minimum": 1 } }))),
        _ => None,
    };
    if let (Some((name, header)), Some(response)) = (header, response.as_object_mut()) {
        response.insert("headers".into(), json!({ name: header }));
    }
    response
}

fn parameters(call: &Call) -> Vec<Value> {
    let mut parameters: Vec<Value> = call
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let schema = match name {
                "number" => json!({ "type": "integer", "minimum": 1 }),
                _ => json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    if call.paged {
        let after = json!({ "type": "string" });
        let limit = json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 });
        parameters.push(
            json!({ "name": "after", "in": "query", "schema": after, "description": "`next` of the page before." }),
        );
        parameters.push(json!({ "name": "limit", "in": "query", "schema": limit, "description": "How many at most." }));
    }
    if call.versioned && call.method != http::Method::GET {
        let schema = json!({ "type": "string", "pattern": "^(\\*|\"[0-9]{1,19}\")$" });
        let description = "The `ETag` of what was read: the change is made over that alone, else 409.";
        parameters.push(json!({ "name": "If-Match", "in": "header", "schema": schema, "description": description }));
    }
    parameters
}

/// The collection that a path is in.
fn tag(path: &str) -> &str {
    path.split('/').nth(3).unwrap_or_default()
}
