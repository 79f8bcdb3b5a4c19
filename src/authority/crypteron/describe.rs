//! The OpenAPI document.

use serde_json::{Map, Value, json};

use super::assumed;

/// The document. Its paths are the documented ones in lower case; they are served in any.
pub fn document() -> Value {
    let key = [path("id", &json!({ "type": "integer", "minimum": 0 }))];
    let app = [path("app", &named("AppIdText"))];
    let role = [path("app", &named("AppIdText")), path("role", &named("RoleId"))];
    let of_app = [json!({ "name": "appId", "in": "query", "schema": named("AppIdText") })];
    let part = json!({ "type": "string", "maxLength": assumed::SEC_PART_ID });
    let named_so = [of_app[0].clone(), json!({ "name": "secPartId", "in": "query", "schema": part })];
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sidecloak: Crypteron management API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Security partitions, their versions and access-control entries, applications and API keys on the wire format of the Crypteron management API. No key bytes leave by it.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "basic": [] }, { "bearer": [] }],
        "paths": {
            "/v1/keys": {
                "get": call("listKeys", "The keys of an application, or of all that the caller sees; one by its name.", &named_so, None, &[("200", list("Key")), ("400", named("Invalid"))]),
                "post": call("createKey", "A key; of a pair that there is, a new version.", &[], Some("NewKey"), &[("201", named("Key")), ("400", named("Invalid")), ("409", named("Error")), ("413", named("Error"))]),
            },
            "/v1/keys/{id}": {
                "get": call("readKey", "One key.", &key, None, &[("200", named("Key"))]),
                "put": call("updateKey", "Description, schedule and access-control entries.", &key, Some("KeyChange"), &[("200", named("Key")), ("400", named("Invalid")), ("409", named("Error")), ("413", named("Error"))]),
                "delete": call("deleteKey", "Destroys a key.", &key, None, &[("204", Value::Null), ("409", named("Error"))]),
            },
            "/v1/apps/{app}": {
                "get": call("readApp", "An application's state.", &app, None, &[("200", named("App"))]),
                "put": call("updateApp", "The breach switch: every partition of the application at once.", &app, Some("AppChange"), &[("200", named("App")), ("400", named("Invalid")), ("409", named("Error")), ("413", named("Error"))]),
            },
            "/v1/apps/{app}/roles": {
                "get": call("listRoles", "Roles that all partitions of the application have.", &app, None, &[("200", list("Role"))]),
                "post": call("createRole", "Gives one to all of them.", &app, Some("Role"), &[("201", named("Role")), ("400", named("Invalid")), ("409", named("Error")), ("413", named("Error"))]),
            },
            "/v1/apps/{app}/roles/{role}": {
                "put": call("setRole", "The same.", &role, Some("RoleChange"), &[("200", named("Role")), ("400", named("Invalid")), ("409", named("Error")), ("413", named("Error"))]),
                "delete": call("removeRole", "Takes it from all of them.", &role, None, &[("204", Value::Null), ("409", named("Error"))]),
            },
            "/v1/apikeys": {
                "get": call("listApiKeys", "API keys that the caller sees.", &of_app, None, &[("200", list("ApiKey")), ("400", named("Invalid"))]),
                "post": call("createApiKey", "An API key, whose text is shown once.", &[], Some("NewApiKey"), &[("201", named("ApiKey")), ("400", named("Invalid")), ("409", named("Error")), ("413", named("Error"))]),
            },
            "/v1/apikeys/{id}": {
                "get": call("readApiKey", "One API key.", &key, None, &[("200", named("ApiKey"))]),
                "delete": call("revokeApiKey", "Revokes it.", &key, None, &[("204", Value::Null)]),
            },
            "/v1/apikeys/{id}/refresh": {
                "post": call("refreshApiKey", "Gives it another text.", &key, None, &[("200", named("ApiKey"))]),
            },
            "/v1/token": { "post": token() },
        },
        "components": { "securitySchemes": {
            "basic": { "type": "http", "scheme": "basic", "description": "An empty user name; the API key is the password." },
            "bearer": { "type": "http", "scheme": "bearer" },
        }, "schemas": schemas() },
    })
}

fn call(id: &str, summary: &str, parameters: &[Value], request: Option<&str>, answers: &[(&str, Value)]) -> Value {
    let mut responses = Map::new();
    let errors = [
        ("401", "No credential, or a wrong one."),
        ("403", "The caller's role may not."),
        ("404", "No such thing, or another application's."),
        ("429", "Too often; see Retry-After."),
        ("503", "The store, or this process, cannot now."),
    ];
    for (status, schema) in answers {
        responses.insert((*status).into(), answer(description(status), schema));
    }
    for (status, description) in errors {
        responses.insert(status.into(), answer(description, &named("Error")));
    }
    let mut described =
        json!({ "operationId": id, "summary": summary, "parameters": parameters, "responses": responses });
    if let (Some(name), Some(members)) = (request, described.as_object_mut()) {
        let body = json!({ "required": true, "content": { "application/json": { "schema": named(name) } } });
        members.insert("requestBody".into(), body);
    }
    described
}

fn token() -> Value {
    let form = object(
        &[
            ("grant_type", json!({ "type": "string", "enum": ["client_credentials", "password"] })),
            ("client_secret", json!({ "type": "string" })),
            ("password", json!({ "type": "string" })),
        ],
        &["grant_type"],
    );
    json!({
        "operationId": "createToken",
        "summary": "A Bearer, for an API key as Basic or in the form.",
        "security": [{ "basic": [] }, {}],
        "requestBody": { "required": false, "content": { "application/x-www-form-urlencoded": { "schema": form } } },
        "responses": {
            "200": answer("Done.", &named("Token")),
            "401": answer("No API key, or a wrong one.", &named("Error")),
            "413": answer("The body is too large.", &named("Error")),
            "429": answer("Too often; see Retry-After.", &named("Error")),
            "503": answer("The store, or this process, cannot now.", &named("Error")),
        },
    })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let maybe_text = json!({ "type": ["string", "null"] });
    let time = json!({ "type": "string", "format": "date-time" });
    let maybe_time = json!({ "type": ["string", "null"], "format": "date-time" });
    let bits = json!({ "type": "integer", "minimum": 0, "maximum": 0x000F_07FF });
    let number = json!({ "type": "integer", "minimum": 0 });
    let app = json!({ "oneOf": [
        { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
        { "type": "integer", "minimum": 0, "maximum": (1u64 << 53) - 1 },
    ] });
    let sec_part = json!({ "type": "string", "minLength": 1, "maxLength": assumed::SEC_PART_ID });
    let description = json!({ "type": ["string", "null"], "maxLength": assumed::DESCRIPTION });
    let days = json!({ "type": ["integer", "null"], "minimum": 0, "maximum": assumed::MOST_DAYS });
    let entries = json!({ "type": ["array", "null"], "maxItems": assumed::ENTRIES, "items": object(
        &[("RoleId", named("RoleId")), ("Permissions", bits.clone())], &["RoleId", "Permissions"],
    ) });
    let state = json!({ "type": "string", "enum": ["Active", "Paused"] });
    let own_role = json!({ "type": "string", "enum": [assumed::ADMIN, assumed::OPERATOR, assumed::AUDITOR] });
    let changes = [("Description", description), ("RolloverDays", days), ("AccessControlEntries", entries)];
    let pair = [("AppId", app.clone()), ("SecPartId", sec_part)];
    json!({
        "RoleId": { "type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$" },
        "AppIdText": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
        "Key": object(
            &[
                ("KeyId", number.clone()),
                ("AppId", app.clone()),
                ("SecPartId", text.clone()),
                ("SecPartVer", number.clone()),
                ("Description", maybe_text),
                ("AddedBy", text.clone()),
                ("CreatedAt", time.clone()),
                ("ModifiedAt", time.clone()),
                ("Oid", json!({ "type": "string", "const": assumed::OID })),
                ("AccessControlEntries", json!({ "type": "array", "items": object(
                    &[
                        ("AceId", number.clone()),
                        ("RoleId", text.clone()),
                        ("Permissions", number.clone()),
                        ("KeyEntityId", number.clone()),
                    ],
                    &["AceId", "RoleId", "Permissions", "KeyEntityId"],
                ) })),
                ("RolloverDays", number.clone()),
                ("State", json!({ "type": "string", "enum": ["DecryptOnly", "Paused", "Destroyed"] })),
            ],
            &["KeyId", "AppId", "SecPartId", "SecPartVer", "Description", "AddedBy", "CreatedAt", "ModifiedAt", "Oid", "AccessControlEntries"],
        ),
        "NewKey": object(&[pair.as_slice(), changes.as_slice()].concat(), &["AppId", "SecPartId"]),
        "KeyChange": object(&[[("KeyId", number.clone())].as_slice(), pair.as_slice(), changes.as_slice()].concat(), &[]),
        "App": object(
            &[("AppId", app.clone()), ("State", state.clone()), ("CreatedAt", maybe_time.clone()), ("Partitions", number.clone())],
            &["AppId", "State", "CreatedAt", "Partitions"],
        ),
        "AppChange": object(&[("AppId", app.clone()), ("State", state)], &["State"]),
        "Role": object(&[("RoleId", named("RoleId")), ("Permissions", bits.clone())], &["RoleId", "Permissions"]),
        "RoleChange": object(&[("RoleId", named("RoleId")), ("Permissions", bits)], &["Permissions"]),
        "ApiKey": object(
            &[
                ("ApiKeyId", number.clone()),
                ("AppId", json!({ "type": ["integer", "string", "null"] })),
                ("RoleId", text.clone()),
                ("Description", text.clone()),
                ("CreatedAt", time),
                ("ExpiresAt", maybe_time.clone()),
                ("ApiKey", text.clone()),
            ],
            &["ApiKeyId", "AppId", "RoleId", "Description", "CreatedAt", "ExpiresAt"],
        ),
        "NewApiKey": object(
            &[
                ("AppId", json!({ "anyOf": [app, { "type": "null" }] })),
                ("RoleId", own_role),
                ("Description", json!({ "type": ["string", "null"], "maxLength": 200 })),
                ("ExpiresAt", maybe_time),
            ],
            &["RoleId"],
        ),
        "Token": object(
            &[
                ("access_token", text.clone()),
                ("token_type", json!({ "type": "string", "const": "bearer" })),
                ("expires_in", number),
            ],
            &["access_token", "token_type", "expires_in"],
        ),
        "Error": object(&[("Message", text.clone())], &["Message"]),
        "Invalid": object(
            &[
                ("Message", text.clone()),
                ("ModelState", json!({ "type": "object", "additionalProperties": { "type": "array", "items": text } })),
            ],
            &["Message", "ModelState"],
        ),
    })
}

fn description(status: &str) -> &'static str {
    match status {
        "201" => "Made.",
        "204" => "Gone.",
        "400" => "What is wrong, by member.",
        "409" => "Its state, or somebody else's change, stands against it.",
        "413" => "The body is too large.",
        _ => "Done.",
    }
}

fn answer(description: &str, schema: &Value) -> Value {
    if schema.is_null() {
        return json!({ "description": description });
    }
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn named(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn list(schema: &str) -> Value {
    json!({ "type": "array", "items": named(schema) })
}

fn path(name: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn object(members: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).into(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}
