//! Before an HL7 FHIR R4 server, which checks every resource against its profile: a birth date is a date, and no token is one.

use std::process::Command;

use serde_json::{Value, json};

use super::{Application, Front, json};
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
