//! Real clients over a socket: the vendor's documentation, PyPI packages that sign for the vendor's services, an independent
//! implementation of the primitives, and a tester that generates calls from the OpenAPI document.

use std::process::Command;

use serde_json::json;
use sidecloak::authority::credentials::{NewApiKey, Purpose};
use sidecloak::authority::ncloud_kms;

use crate::authority::Place;
use crate::tools::{self, Process};

const LIST: &str = "tests/clients/requirements.txt";

struct Served {
    _place: Place,
    url: String,
    access: String,
    secret: String,
}

fn serve() -> Served {
    let place = Place::new(&[]);
    let new = NewApiKey {
        purpose: Purpose::NcloudKms,
        label: "clients".into(),
        app: None,
        partition: None,
        role: "admin".into(),
        expires: 0,
        secrets: &[ncloud_kms::SECRET_KEY],
    };
    let (text, key) = place.authority.credentials.create_api_key(&new).unwrap();
    let address = place.serve(ncloud_kms::router(place.authority.clone()));
    let access = String::from_utf8(text.expose().to_vec()).unwrap();
    Served { _place: place, url: format!("http://{address}"), access, secret: key.secrets[0].1.clone() }
}

fn run(command: &mut Command) -> String {
    let (fine, out, complaints) = Process::start(command).finish();
    assert!(fine, "{out}\n{complaints}");
    out
}

fn python(script: &str) -> Option<Command> {
    let place = tools::installed("clients", LIST)?;
    let mut command = Command::new(place.join("venv/bin/python"));
    command.arg(tools::repository().join("tests/clients").join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

#[test]
fn real_clients_sign_and_are_understood() {
    let Some(mut command) = python("ncloud.py") else { return };
    let served = serve();
    let out = run(command.args(["clients", &served.url, &served.access, &served.secret]));
    assert_eq!(out.matches(" ok\n").count(), 4, "{out}");
}

#[test]
fn the_documentations_curl_lines_work_with_the_host_replaced() {
    let served = serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = json!({ "keyName": "curl", "keyType": "AES256", "isAutoRotation": false, "protectionType": "BASIC" });
    let time = (sidecloak::clock::Clock::now(&sidecloak::clock::SystemClock) * 1000).to_string();
    let request = http::Request::post("/kms/v1/keys")
        .header("x-ncp-apigw-timestamp", &time)
        .header("x-ncp-iam-access-key", &served.access)
        .header(
            "x-ncp-apigw-signature-v2",
            ncloud_kms::sign("POST", "/kms/v1/keys", &time, &served.access, &served.secret),
        )
        .body(axum::body::Body::from(asked.to_string()))
        .unwrap();
    let router = ncloud_kms::router(served._place.authority.clone());
    let tag = runtime.block_on(async {
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        answer["data"]["keyTag"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    });
    let script = tools::repository().join("tests/clients/ncloud.sh");
    let out = run(Command::new(script).args([&served.url, &served.access, &served.secret, &tag]));
    assert_eq!(out.trim_end(), "MTIzLTQ1LTY3ODk=");
}

#[test]
fn vectors_come_out_of_another_library() {
    let Some(mut command) = python("ncloud_vectors.py") else { return };
    assert!(run(&mut command).ends_with("vectors agree\n"));
}

#[test]
fn no_call_that_the_document_allows_leads_out_of_it() {
    let Some(mut command) = python("ncloud.py") else { return };
    let served = serve();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("openapi.json");
    std::fs::write(&file, ncloud_kms::openapi().to_string()).unwrap();
    run(command.args(["document", &served.url, &served.access, &served.secret]).arg(&file));
}
