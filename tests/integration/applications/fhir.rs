//! Before an HL7 FHIR R4 server, which checks every resource against its profile: a birth date is a date, and no token is one.

use std::process::Command;

use serde_json::{Value, json};

use super::{Application, Front, json};
use crate::codings::decoded;
use crate::stage::Reply;
use crate::{cli, tools};

fn server() -> Option<Application> {
    let place = tools::installed("fhir", "tests/apps/fhir/package.json")?;
    let script = tools::repository().join("tests/apps/fhir/server.cjs");
    let command = move |port: u16| {
        let mut command = Command::new("node");
        command.arg(&script).arg(port.to_string()).env("NODE_PATH", place.join("node_modules"));
        command
    };
    Some(Application::start(command, "/ready", |reply| reply.status == 200))
}

fn patient(birth_date: &str) -> Value {
    json!({
        "resourceType": "Patient", "active": true, "gender": "female", "birthDate": birth_date,
        "identifier": [{ "system": "http://hl7.org/fhir/sid/us-ssn", "value": "123-45-6789" }],
        "name": [{ "family": "Quill", "given": ["Zoë"] }],
        "telecom": [{ "system": "phone", "value": "+1 555 0100 200" }, { "system": "email", "value": "zoe@example.com" }],
        "address": [{ "line": ["1 Example Street"], "city": "Exampleton", "postalCode": "01234" }],
        "contact": [{ "name": { "family": "Quill" }, "telecom": [{ "system": "phone", "value": "+1 555 0100 201" }] }],
    })
}

fn rules(mode: &str, date: &str) -> String {
    format!(
        r#"rules:
  - name: patients
    match: {{ path: /fhir/R4/** }}
    mode: {mode}
    protect:
      - fields: ["$..identifier[*].value"]
        class: identifier
        deterministic: true
      - fields: ["$..telecom[*].value", "$..address[*].line[*]"]
        class: contact
      - fields: ["$..family"]
{date}
"#
    )
}

const DATE: &str = "      - { fields: \"$..birthDate\", format: date }\n";

const FHIR: [(&str, &str); 1] = [("content-type", "application/fhir+json")];

fn ask(front: &Front, method: &str, path: &str, body: &Value) -> Reply {
    front.ask(method, path, &FHIR, if body.is_null() { String::new() } else { body.to_string() })
}

const SECRETS: [&str; 5] = ["123-45-6789", "555 0100", "zoe@example.com", "1 Example Street", "Quill"];

#[test]
fn resources_are_kept_sealed_and_come_back_whole() {
    let Some(server) = server() else { return };
    let front = Front::new(&server, &rules("enforce", ""));
    let created = ask(&front, "POST", "/fhir/R4/Patient", &patient("1990-02-03"));
    assert_eq!(created.status, 201, "{}", created.text());
    let mut created = json(&created);
    let id = created["id"].as_str().unwrap().to_owned();
    let path = format!("/fhir/R4/Patient/{id}");

    let stored = server.ask("GET", &path, &FHIR, "").text();
    assert!(SECRETS.iter().all(|secret| !stored.contains(secret)) && stored.contains("1990-02-03"), "{stored}");
    let read = ask(&front, "GET", &path, &Value::Null);
    assert_eq!(json(&read), created);
    for member in ["id", "meta"] {
        created.as_object_mut().unwrap().remove(member);
    }
    assert_eq!(created, patient("1990-02-03"), "nothing but what the server adds");

    let mut changed = patient("1990-02-04");
    changed["id"] = id.into();
    changed["telecom"] = json!([{ "system": "phone", "value": "+1 555 0100 299" }]);
    assert_eq!(ask(&front, "PUT", &path, &changed).status, 200);
    assert_eq!(json(&ask(&front, "GET", &path, &Value::Null))["telecom"], changed["telecom"]);
    let bundle = json(&ask(&front, "GET", "/fhir/R4/Patient?birthdate=1990-02-04", &Value::Null));
    assert_eq!(bundle["entry"][0]["resource"]["identifier"], changed["identifier"], "opened inside a bundle");
    let history = json(&ask(&front, "GET", &format!("{path}/_history"), &Value::Null));
    assert!(!history.to_string().contains("sc1."), "{history}");
    assert!(!server.kill().contains("Quill"));
}

#[test]
fn a_birth_date_that_cannot_be_sealed_is_foretold_by_check_and_by_observe() {
    let Some(server) = server() else { return };
    // What happens to whoever looks at neither: the server refuses, and says nothing of why.
    let front = Front::new(&server, &rules("enforce", DATE));
    let refused = ask(&front, "POST", "/fhir/R4/Patient", &patient("1990-02-03"));
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("Invalid date format"), "{}", refused.text());
    assert!(SECRETS.iter().all(|secret| !refused.text().contains(secret)));

    let place = cli::Place::empty();
    place.write("rules.yaml", std::fs::read(front.rules()).unwrap());
    let checked = place.run(&["check", "rules.yaml"]);
    assert!(
        checked.err.contains("will refuse tokens") || checked.out.contains("will refuse tokens"),
        "{}",
        checked.err
    );

    let front = Front::new(&server, &rules("observe", DATE));
    assert_eq!(ask(&front, "POST", "/fhir/R4/Patient", &patient("1990-02-03")).status, 201);
    let told = |class: &str, event: &str| {
        let metrics = front.metrics();
        let line = format!("class=\"{class}\",event=\"{event}\"");
        metrics.lines().any(|l| l.starts_with("sidecloak_fields_total") && l.contains(&line) && !l.ends_with(" 0"))
    };
    assert!(told("birthDate", "unfit"), "{}", front.metrics());
    assert!(told("identifier", "plaintext") && !told("identifier", "unfit"));
}

/// An identifier is found by its value. A parameter is sealed as the one text that it is, so `system|value` and lists, which FHIR has
/// in one parameter, name nothing that the server holds.
#[test]
fn patients_are_found_by_identifier() {
    let Some(server) = server() else { return };
    let look_up = rules("enforce", "").replace(
        "\"$..identifier[*].value\"]",
        "\"$..identifier[*].value\", \"query:identifier\", \"query:identifier:not\"]",
    );
    let front = Front::new(&server, &look_up);
    let created = json(&ask(&front, "POST", "/fhir/R4/Patient", &patient("1990-02-03")));
    let found = |query: &str| {
        let reply = ask(&front, "GET", &format!("/fhir/R4/Patient?{query}"), &Value::Null);
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let bundle = json(&reply);
        assert!(!bundle.to_string().contains("sc1."), "{bundle}");
        bundle["entry"].as_array().map_or(0, |entries| {
            assert_eq!(entries[0]["resource"], created, "{query}");
            entries.len()
        })
    };
    for (query, count) in [
        ("identifier=123-45-6789", 1),
        ("identifier=123%2D45%2D6789&birthdate=1990-02-03", 1),
        ("identifier=123-45-6789&birthdate=1990-02-04", 0),
        ("identifier=987-65-4321", 0),
        ("identifier=http://hl7.org/fhir/sid/us-ssn%7C123-45-6789", 0),
        ("identifier=987-65-4321,123-45-6789", 0),
        ("birthdate=1990-02-03", 1),
    ] {
        assert_eq!(found(query), count, "{query}");
    }
    // A modifier makes another name of it, which is sealed if a rule lists it.
    for (query, count) in [("identifier:not=123-45-6789", 0), ("identifier:not=987-65-4321", 1)] {
        assert_eq!(found(query), count, "{query}");
    }
    // After a rollover a bundle without entries is no empty array, and repeated parameters are all to be met: what was stored before is
    // found once it has been written anew.
    front.roll();
    assert_eq!(found("identifier=123-45-6789"), 0);
    let path = format!("/fhir/R4/Patient/{}", created["id"].as_str().unwrap());
    assert_eq!(ask(&front, "PUT", &path, &created).status, 200);
    let reply = ask(&front, "GET", "/fhir/R4/Patient?identifier=123-45-6789", &Value::Null);
    assert_eq!(json(&reply)["total"], 1, "{}", reply.text());
}

#[test]
fn versions_are_weak_tags_and_answers_are_coded() {
    let Some(server) = server() else { return };
    let front = Front::new(&server, &rules("enforce", ""));
    let created = ask(&front, "POST", "/fhir/R4/Patient", &patient("1990-02-03"));
    let tag = |reply: &Reply| reply.headers["etag"].to_str().unwrap().to_owned();
    let (mut resource, first) = (json(&created), tag(&created));
    let path = format!("/fhir/R4/Patient/{}", resource["id"].as_str().unwrap());
    let theirs = format!("W/\"{}\"", resource["meta"]["versionId"].as_str().unwrap());
    assert_eq!(tag(&server.ask("GET", &path, &FHIR, "")), theirs);
    assert!(first.starts_with(theirs.trim_end_matches('"')) && first.contains("-sc1-"), "{first}");

    let get = |headers: &[(&str, &str)]| front.ask("GET", &path, &[&FHIR[..], headers].concat(), "");
    let coded = get(&[("accept-encoding", "gzip, deflate, br")]);
    assert_eq!((coded.headers["content-encoding"].to_str().unwrap(), tag(&coded)), ("gzip", first.clone()));
    let plain: Value = serde_json::from_slice(&decoded("gzip", &coded.body).0).unwrap();
    assert_eq!(plain, resource);
    let unchanged = get(&[("if-none-match", &first)]);
    assert_eq!((unchanged.status, tag(&unchanged), unchanged.body.len()), (304, first.clone(), 0));
    assert_eq!(
        get(&[("if-none-match", &theirs)]).status,
        200,
        "the tag of what the server holds, not of what is shown"
    );

    // An update that names the version it was made from, with our tag, or with the version out of `meta.versionId`.
    let put = |resource: &Value, condition: &str| {
        front.ask("PUT", &path, &[FHIR[0], ("if-match", condition)], resource.to_string())
    };
    resource["telecom"][0]["value"] = "+1 555 0100 299".into();
    let updated = put(&resource, &first);
    assert_eq!((updated.status, &json(&updated)["telecom"]), (200, &resource["telecom"]), "{}", updated.text());
    let late = put(&resource, &first);
    assert_eq!(late.status, 412, "the update that came between is not lost");
    assert!(SECRETS.iter().all(|secret| !late.text().contains(secret)));
    let version = format!("W/\"{}\"", json(&updated)["meta"]["versionId"].as_str().unwrap());
    assert_eq!(put(&resource, &version).status, 200);
    assert_eq!(put(&resource, &tag(&updated)).status, 412);
    let stored = server.ask("GET", &path, &FHIR, "").text();
    assert!(SECRETS.iter().all(|secret| !stored.contains(secret)), "{stored}");
}

/// A patch in JSON means the places that it writes; a `test` of an identifier holds, since equal values are equal tokens.
#[test]
fn patches_are_sealed_where_they_write() {
    let Some(server) = server() else { return };
    let front = Front::new(&server, &rules("enforce", ""));
    let created = json(&ask(&front, "POST", "/fhir/R4/Patient", &patient("1990-02-03")));
    let path = format!("/fhir/R4/Patient/{}", created["id"].as_str().unwrap());
    let patch = |operations: &Value| {
        front.ask("PATCH", &path, &[("content-type", "application/json-patch+json")], operations.to_string())
    };
    let whose = |ssn: &str| {
        json!([
            { "op": "test", "path": "/identifier/0/value", "value": ssn },
            { "op": "replace", "path": "/telecom/0/value", "value": "+1 555 0100 299" },
            { "op": "add", "path": "/contact/-", "value": { "telecom": [{ "system": "phone", "value": "+1 555 0100 300" }] } },
            { "op": "replace", "path": "/gender", "value": "other" },
        ])
    };
    assert_eq!(patch(&whose("987-65-4321")).status, 400, "another's identifier");
    let patched = patch(&whose("123-45-6789"));
    assert_eq!(patched.status, 200, "{}", patched.text());
    let read = json(&ask(&front, "GET", &path, &Value::Null));
    assert_eq!(read["telecom"][0]["value"], "+1 555 0100 299");
    assert_eq!(
        (&read["contact"][1]["telecom"][0]["value"], &read["gender"]),
        (&json!("+1 555 0100 300"), &json!("other"))
    );
    let stored = server.ask("GET", &path, &FHIR, "").text();
    assert!(SECRETS.iter().all(|secret| !stored.contains(secret)), "{stored}");
}
