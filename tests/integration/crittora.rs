//! The Crittora face on loopback, for the vendor's own client and for a tester that knows nothing but its OpenAPI document.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use sidecloak::authority::credentials::{Limits, NewApiKey, Purpose};
use sidecloak::authority::{Authority, Settings, crittora};
use sidecloak::clock::{Clock, ManualClock, SystemClock};
use sidecloak::keyring::{Permissions, State};
use sidecloak::name::PartitionName;
use sidecloak::secret::SecretBytes;
use tower::ServiceExt;

use super::authority::Place;
use super::tools::{self, Process};

const PASSWORD: &str = "correct horse battery";

fn clients() -> Option<PathBuf> {
    tools::installed("clients", "tests/clients/requirements.txt")
}

fn user(place: &Place, name: &str) {
    place.authority.credentials.put_user(name, &SecretBytes::new(PASSWORD.into()), "default").unwrap();
}

/// The headers of a partner.
fn partner(place: &Place, label: &str, partition: &str, role: &str) -> Value {
    let (text, key) = place
        .authority
        .credentials
        .create_api_key(&NewApiKey {
            purpose: Purpose::Crittora,
            label: label.into(),
            app: None,
            partition: Some(partition.into()),
            role: role.into(),
            expires: 0,
            secrets: &["access_key", "secret_key"],
        })
        .unwrap();
    let mut headers = json!({"api_key": std::str::from_utf8(text.expose()).unwrap()});
    for (name, secret) in key.secrets {
        headers[name] = secret.into();
    }
    headers
}

#[test]
fn the_vendors_client_works() {
    let Some(tools) = clients() else { return };
    let place = Place::new(&["acme", "beta", "paused"]);
    for name in ["alice", "carol", "dave"] {
        user(&place, name);
    }
    let acme = PartitionName::new("acme").unwrap();
    place.authority.keyring.set_role(&acme, "writer", Some(Permissions(Permissions::ENCRYPT))).unwrap();
    place.authority.keyring.set_state(&PartitionName::new("paused").unwrap(), State::Paused).unwrap();

    let url = place.serve(crittora::router(Arc::clone(&place.authority)));
    let replica = |clock, limits| {
        let settings = Settings { limits, ..Settings::default() };
        let authority = Authority::new(Arc::clone(&place.authority.keyring), clock, &settings).unwrap();
        place.serve(crittora::router(Arc::new(authority)))
    };
    let limited = replica(SystemClock::shared(), Limits { per_second: 2, burst: 5 });
    let later = replica(ManualClock::at(SystemClock.now() + 2 * 3600), Limits::default());

    let given = json!({
        "url": format!("http://{url}"),
        "limited": format!("http://{limited}"),
        "an_hour_later": format!("http://{later}"),
        "password": PASSWORD,
        "partners": {
            "acme": partner(&place, "acme", "acme", "default"),
            "beta": partner(&place, "beta", "beta", "default"),
            "gamma": partner(&place, "gamma", "acme", "default"),
            "writer": partner(&place, "writer", "acme", "writer"),
            "paused": partner(&place, "paused", "paused", "default"),
        },
    });
    let file = place.directory.path().join("place.json");
    std::fs::write(&file, given.to_string()).unwrap();
    let mut command = Command::new(tools.join("venv/bin/python"));
    command.arg("-B").arg(tools::repository().join("tests/clients/crittora_sdk.py")).arg(&file);
    let (good, out, err) = Process::start(&mut command).finish();
    assert!(good, "{out}{err}");
    assert_eq!(out.trim(), "ok 11");
}

#[test]
fn nothing_answers_otherwise_than_documented() {
    let Some(tools) = clients() else { return };
    let place = Place::new(&["acme"]);
    user(&place, "alice");
    let url = place.serve(crittora::router(Arc::clone(&place.authority)));
    let document = place.directory.path().join("crittora.json");
    std::fs::write(&document, crittora::openapi().to_string()).unwrap();
    // A text in the form of a ciphertext, or the right parameters of a log-in, need not be accepted.
    let hooks = tools::repository().join("tests/clients/crittora_hooks.py");
    let mut settings = format!(
        "hooks = {:?}\nwarnings.fail-on = [\"missing_auth\", \"missing_deserializer\", \"unsupported_regex\", \"rate_limited\"]\n",
        hooks.to_str().unwrap()
    );
    for path in ["/v1/decrypt", "/v1/decrypt-verify", "/decrypt", "/decrypt-verify", "/"] {
        settings += &format!(
            "[[operations]]\ninclude-path = {path:?}\nchecks.positive_data_acceptance.expected-statuses = [\"2xx\", 400]\n"
        );
    }
    std::fs::write(place.directory.path().join("schemathesis.toml"), settings).unwrap();
    let mut command = Command::new(tools.join("venv/bin/schemathesis"));
    command.current_dir(place.directory.path()).arg("run").arg(&document).args(["--url", &format!("http://{url}")]);
    command.args(["--max-examples", "40", "--seed", "7", "--no-color"]);
    for (name, value) in partner(&place, "acme", "acme", "default").as_object().unwrap() {
        command.args(["-H", &format!("{name}: {}", value.as_str().unwrap())]);
    }
    command.args(["-H", "username: alice", "-H", &format!("password: {PASSWORD}")]);
    command.args(["-H", &format!("Authorization: Bearer {}", id_token(&place))]);
    let (good, out, err) = Process::start(&mut command).finish();
    assert!(good, "{out}{err}");
}

fn id_token(place: &Place) -> String {
    let body = json!({
        "ClientId": "client",
        "AuthFlow": "USER_PASSWORD_AUTH",
        "AuthParameters": {"USERNAME": "alice", "PASSWORD": PASSWORD},
    });
    let request = http::Request::post("/")
        .header("x-amz-target", "AWSCognitoIdentityProviderService.InitiateAuth")
        .body(axum::body::Body::from(body.to_string()))
        .unwrap();
    let body = place.block_on(async {
        let response = crittora::router(Arc::clone(&place.authority)).oneshot(request).await.unwrap();
        axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()
    });
    let answer: Value = serde_json::from_slice(&body).unwrap();
    answer["AuthenticationResult"]["IdToken"].as_str().unwrap().to_owned()
}
