//! `bare`: the API's own ciphertexts are stored, which its other clients read, and what they wrote opens.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{PASSWORD, Sidecar, Vendor};
use crate::managed::double::Double;
use crate::tools::{self, Process};

const PYTHON: &str = "tests/clients/requirements.txt";

fn rules(profile: &str, more: &str) -> String {
    format!(
        "rules:
  - name: customers
    match: {{ path: '/**' }}
    protect:
      - {{ fields: ['$.ssn'], key: {profile}{more} }}
      - {{ fields: ['$.email'], key: {profile}{more} }}
"
    )
}

/// What a client beside the sidecar prints.
fn client(vendor: &Vendor, tools: &Path, script: &str, args: &[&str], place: &Value) -> Value {
    std::fs::write(vendor.dir.path().join("place.json"), place.to_string()).unwrap();
    let mut command = Command::new(tools.join("venv/bin/python"));
    for name in ["REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"] {
        command.env(name, vendor.path("ca.pem"));
    }
    command.arg("-B").arg(tools::repository().join("tests/clients").join(script)).args(args);
    let (good, out, err) = Process::start(command.arg(vendor.path("place.json"))).finish();
    assert!(good, "{out}{err}");
    serde_json::from_str(&out).unwrap()
}

const TEXTS: [&str; 4] = ["123-45-6789", "żółć 😀 \u{2028}", "{\"a\": \"\\n\"}", "\"\\\t"];

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_vendors_client_reads_what_the_proxy_sealed_and_the_reverse() {
    let Some(tools) = tools::installed("clients", PYTHON) else { return };
    let vendor = Vendor::new();
    let api = vendor.crittora();
    for direct in [false, true] {
        let profiles = if direct { vendor.direct(&api, ", bare: true") } else { vendor.managed(&api, ", bare: true") };
        let rules = "rules:
  - name: customers
    match: { path: '/**' }
    protect:
      - { fields: ['$.ssn'], key: partner }
      - { fields: ['$.iban'], key: partner, sign: true }
";
        let sidecar = Sidecar::new(&profiles, rules);
        let sealed: Vec<Value> = TEXTS
            .iter()
            .enumerate()
            .map(|(n, text)| {
                let path = format!("/{n}");
                let body = json!({ "ssn": text, "iban": text }).to_string();
                sidecar.stores(&path, &body);
                sidecar.shows(&path, &body);
                sidecar.stored(&path)
            })
            .collect();
        let column = |name: &str| sealed.iter().map(|one| one[name].clone()).collect::<Vec<_>>();
        assert!(sealed.iter().all(|one| !one["ssn"].as_str().unwrap().starts_with("sc1.")));
        let [api_key, access_key, secret_key] = &vendor.partner;
        let place = json!({
            "url": api.url(), "password": PASSWORD,
            "partner": { "api_key": api_key, "access_key": access_key, "secret_key": secret_key },
            "open": column("ssn"), "open_signed": column("iban"), "seal": TEXTS, "seal_signed": TEXTS,
        });
        let done = client(&vendor, &tools, "crittora_bare.py", &[], &place);
        assert_eq!(
            (texts(&done["open"]), texts(&done["open_signed"])),
            (TEXTS.map(str::to_owned).into(), TEXTS.map(str::to_owned).into())
        );
        for (n, text) in TEXTS.iter().enumerate() {
            let theirs = json!({ "ssn": done["seal"][n], "iban": done["seal_signed"][n] }).to_string();
            sidecar.stage.put("/theirs", theirs);
            sidecar.shows("/theirs", &json!({ "ssn": text, "iban": text }).to_string());
        }
        // A signature that the rule asks for must be there.
        sidecar.stage.put("/theirs", json!({ "iban": done["seal"][0] }).to_string());
        assert_eq!(sidecar.stage.get("/theirs").status, 502);
    }
}

#[test]
fn a_client_of_naver_cloud_reads_what_the_proxy_sealed_and_the_reverse() {
    let Some(tools) = tools::installed("clients", PYTHON) else { return };
    let vendor = Vendor::new();
    let (api, tag) = (vendor.ncloud(), vendor.ncloud_key(false));
    let sidecar = Sidecar::new(&vendor.seoul(&api, &tag, ", bare: true, granularity: message"), &rules("seoul", ""));
    let mut sealed = Vec::new();
    for text in TEXTS {
        let body = json!({ "ssn": text }).to_string();
        sidecar.stores("/1", &body);
        sidecar.shows("/1", &body);
        sealed.push(sidecar.stored("/1")["ssn"].clone());
    }
    assert!(sealed.iter().all(|text| text.as_str().unwrap().starts_with("ncpkms:v1:")));
    let [access, secret] = &vendor.ncloud;
    let args = ["bare", &api.url(), access, secret, &tag];
    let done = client(&vendor, &tools, "ncloud.py", &args, &json!({ "open": sealed, "seal": TEXTS }));
    assert_eq!(texts(&done["open"]), TEXTS);
    for (n, text) in TEXTS.iter().enumerate() {
        sidecar.stage.put("/theirs", json!({ "ssn": done["seal"][n] }).to_string());
        sidecar.shows("/theirs", &json!({ "ssn": text }).to_string());
    }
}

/// Both APIs, each with what seals a text by it as another client would.
fn each(test: impl Fn(&Sidecar, &Double, &dyn Fn(&str) -> String, &dyn Fn(&mut Sidecar, &str))) {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let profiles = vendor.managed(&api, ", bare: true");
    let sidecar = Sidecar::new(&profiles, &rules("partner", ""));
    let by_crittora = |text: &str| {
        let [key, access, secret] = &vendor.partner;
        let body = json!({ "data": text }).to_string();
        let request = http::Request::post("/v1/encrypt")
            .header("username", "alice")
            .header("password", PASSWORD)
            .header("api_key", key)
            .header("access_key", access)
            .header("secret_key", secret)
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body))
            .unwrap();
        let router = sidecloak::authority::crittora::router(vendor.authority.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer: Value = runtime.block_on(async {
            let answer = tower::ServiceExt::oneshot(router, request).await.unwrap();
            serde_json::from_slice(&axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap()
        });
        answer["body"]["encrypted_data"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    test(&sidecar, &api, &by_crittora, &|sidecar, more| sidecar.again(&profiles, &rules("partner", more)));

    let (api, tag) = (vendor.ncloud(), vendor.ncloud_key(false));
    let profiles = vendor.seoul(&api, &tag, ", bare: true");
    let sidecar = Sidecar::new(&profiles, &rules("seoul", ""));
    let by_ncloud = |text: &str| {
        let asked = json!({ "plaintext": sidecloak::crypto::base64::encode(text.as_bytes()) });
        let sealed = vendor.ncloud_call(&format!("/kms/v1/keys/{tag}/encrypt"), &asked);
        sealed["ciphertext"].as_str().unwrap().to_owned()
    };
    test(&sidecar, &api, &by_ncloud, &|sidecar, more| sidecar.again(&profiles, &rules("seoul", more)));
}

#[test]
fn what_cannot_travel_bare_is_refused() {
    each(|sidecar, api, seal, _| {
        let longest = "Sesame ".repeat(12_000);
        let before = api.calls();
        for (value, status) in [
            (json!("sc1:Sesame"), 400),
            (json!("sc1k:Sesame"), 400),
            (json!(""), 400),
            (json!(7), 400),
            (json!(true), 400),
            (json!({ "Sesame": 1 }), 400),
            (json!("sc1.Sesame"), 422),
            (json!(longest), 413),
        ] {
            let reply = sidecar.stage.post("/1", json!({ "ssn": value }).to_string());
            assert_eq!(reply.status, status, "{}", reply.text());
            assert!(!reply.text().contains("Sesame"));
        }
        assert!(sidecar.stage.nothing_stored());
        assert_eq!(api.calls(), before);
        // Nor is what another client had sealed taken for one of our own texts.
        for text in ["sc1:Sesame", "sc1k:Sesame", "sc1:"] {
            sidecar.stage.put("/2", json!({ "ssn": seal(text) }).to_string());
            let reply = sidecar.stage.get("/2");
            assert!(reply.status == 502 && !reply.text().contains("Sesame"), "{} {}", reply.status, reply.text());
        }
    });
}

/// Under `bare` a ciphertext moves freely between the fields of a profile, as the documentation warns.
#[test]
fn a_bare_ciphertext_is_not_bound_to_its_field() {
    each(|sidecar, _, seal, _| {
        sidecar.stores("/1", r#"{"ssn":"Sesame"}"#);
        let stored = sidecar.stored("/1")["ssn"].clone();
        sidecar.stage.put("/2", json!({ "email": stored, "ssn": seal("open") }).to_string());
        sidecar.shows("/2", r#"{"email":"Sesame","ssn":"open"}"#);
    });
}

/// One step at a time: first what is sealed opens, then values are sealed as they are written, then plaintext is refused.
#[test]
fn an_application_moves_to_bare_ciphertexts_one_step_at_a_time() {
    let vendor = Vendor::new();
    let crittora = vendor.crittora();
    let (ncloud, tag) = (vendor.ncloud(), vendor.ncloud_key(false));
    let profiles = [
        ("partner", vendor.managed(&crittora, ", bare: true")),
        ("seoul", vendor.seoul(&ncloud, &tag, ", bare: true")),
    ];
    for (name, profiles) in profiles {
        let mut sidecar = Sidecar::new(&profiles, &rules(name, ", mode: migrate"));
        sidecar.stores("/sealed", r#"{"ssn":"Sesame"}"#);
        let sealed = sidecar.stored("/sealed")["ssn"].clone();
        assert!(!sealed.to_string().contains("Sesame"));
        // Base64url of some length: Crittora's ciphertexts look no other way.
        let lookalike = "abcdefghijklmnopqrstuvwxyz0123456789";
        for (plain, in_enforce) in [("plain text", 502), (lookalike, 502)] {
            sidecar.again(&profiles, &rules(name, ", mode: migrate"));
            let mixed = json!({ "ssn": plain, "email": sealed }).to_string();
            sidecar.stage.put("/mixed", mixed.clone());
            let shown = json!({ "ssn": plain, "email": "Sesame" }).to_string();
            sidecar.shows("/mixed", &shown);

            sidecar.again(&profiles, &rules(name, ", mode: read"));
            sidecar.shows("/mixed", &shown);
            sidecar.stores("/plain", &json!({ "ssn": plain }).to_string());
            assert_eq!(sidecar.stored("/plain"), json!({ "ssn": plain }), "`read` seals nothing");

            sidecar.again(&profiles, &rules(name, ""));
            let reply = sidecar.stage.get("/mixed");
            assert!(reply.status == in_enforce && !reply.text().contains("Sesame"), "{name} {plain}: {}", reply.text());
            sidecar.shows("/sealed", r#"{"ssn":"Sesame"}"#);
        }
    }
}
