//! The vendors' clients, and their documentations' lines, against the program as it is started: over TLS, with credentials that its
//! commands made, trusting its certificate by the clients' own settings.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Cluster, Fleet, PASSWORD, Service};
use crate::tools::{self, Process};

const PYTHON: &str = "tests/clients/requirements.txt";
/// All that ExeQuantum's calls ask for, and their audit.
const ALL: &str = "983292";

struct Stage {
    fleet: Fleet,
    one: Service,
}

impl Stage {
    fn new() -> Option<Self> {
        let fleet = Fleet::new(&Cluster::shared()?.database());
        let one = fleet.authority("").started();
        Some(Self { fleet, one })
    }

    fn key(&self, args: &[&str]) -> String {
        self.fleet.key(args)["key"].as_str().unwrap().to_owned()
    }

    fn ca(&self) -> String {
        self.fleet.place.path("ca.pem").to_str().unwrap().to_owned()
    }

    /// What `curl` prints, which has to succeed.
    #[track_caller]
    fn curl(&self, args: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "20", "--cacert", &self.ca()]);
        let (good, out, err) = Process::start(command.args(args)).finish();
        assert!(good, "{args:?}: {out}{err}");
        out
    }

    /// A client's variables for whom it trusts.
    fn trusting(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for name in ["REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
            command.env(name, self.ca());
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let (good, out, err) = Process::start(command).finish();
    assert!(good, "{out}{err}");
    out
}

fn script(name: &str) -> std::path::PathBuf {
    tools::repository().join("tests/clients").join(name)
}

#[test]
fn crittoras_sdk_logs_in_and_works() {
    let (Some(tools), Some(stage)) = (tools::installed("clients", PYTHON), Stage::new()) else { return };
    let fleet = &stage.fleet;
    for name in ["acme", "beta", "halted"] {
        fleet.at(&stage.one, &["partitions", "create", name]).ends(0);
    }
    fleet.at(&stage.one, &["roles", "set", "acme", "writer", "--allow", "AllowEncrypt"]).ends(0);
    fleet.at(&stage.one, &["partitions", "pause", "halted"]).ends(0);
    for name in ["alice", "carol", "dave"] {
        fleet.user(name, "default");
    }
    let partner = |label: &str, partition: &str, role: &str| {
        let args = ["--purpose", "crittora", "--label", label, "--partition", partition, "--role", role];
        let made = fleet.key(&args);
        json!({
            "api_key": made["key"],
            "access_key": made["secrets"]["access_key"],
            "secret_key": made["secrets"]["secret_key"],
        })
    };
    let limited = fleet.authority("  rate: { per_second: 2, burst: 5 }\n").started();
    let given = json!({
        "url": stage.one.face_url("crittora"),
        "limited": limited.face_url("crittora"),
        "password": PASSWORD,
        "partners": {
            "acme": partner("acme", "acme", "default"),
            "beta": partner("beta", "beta", "default"),
            "gamma": partner("gamma", "acme", "default"),
            "writer": partner("writer", "acme", "writer"),
            "paused": partner("paused", "halted", "default"),
        },
    });
    fleet.place.write("clients.json", given.to_string());
    let mut command = stage.trusting(&tools.join("venv/bin/python"));
    let out = run(command.arg(script("crittora_sdk.py")).arg(fleet.place.path("clients.json")));
    assert_eq!(out.trim(), "ok 10");

    // The documentation's line.
    let acme = &given["partners"]["acme"];
    let header = |name: &str, value: &Value| format!("{name}: {}", value.as_str().unwrap());
    let url = stage.one.face_url("crittora") + "/v1/encrypt";
    let [key, access, secret] = ["api_key", "access_key", "secret_key"].map(|name| header(name, &acme[name]));
    let (user, password) = ("username: alice", header("password", &json!(PASSWORD)));
    let kind = "Content-Type: application/json";
    let mut args = vec![url.as_str(), "-d", r#"{"data":"sensitive data"}"#];
    for line in [user, &password, &key, &access, &secret, kind] {
        args.extend(["-H", line]);
    }
    let answer: Value = serde_json::from_str(&stage.curl(&args)).unwrap();
    assert_eq!(answer["statusCode"], 200, "{answer}");
}

#[test]
fn clients_that_sign_for_naver_cloud_work() {
    let (Some(tools), Some(stage)) = (tools::installed("clients", PYTHON), Stage::new()) else { return };
    let made = stage.fleet.key(&["--purpose", "ncloud-kms", "--label", "clients", "--role", "admin"]);
    let (access, secret) = (made["key"].as_str().unwrap(), made["secrets"]["secret_key"].as_str().unwrap());
    let url = stage.one.face_url("ncloud-kms");
    let mut command = stage.trusting(&tools.join("venv/bin/python"));
    let out = run(command.arg(script("ncloud.py")).args(["clients", &url, access, secret]));
    assert_eq!(out.matches(" ok\n").count(), 4, "{out}");

    // The documentation's lines.
    let asked = json!({ "keyName": "curl", "keyType": "AES256", "isAutoRotation": false, "protectionType": "BASIC" });
    let (status, made) = stage.fleet.signed(&stage.one, (access, secret), "POST", "/kms/v1/keys", &asked);
    assert_eq!(status, 200, "{made}");
    let tag = made["data"]["keyTag"].as_str().unwrap();
    let mut command = stage.trusting(&script("ncloud.sh"));
    assert_eq!(run(command.args([&url, access, secret, tag])).trim_end(), "MTIzLTQ1LTY3ODk=");
}

#[test]
fn curl_manages_crypterons_keys() {
    let Some(stage) = Stage::new() else { return };
    let url = stage.one.face_url("crypteron");
    let key = stage.key(&["--purpose", "crypteron", "--label", "curl", "--role", "admin"]);
    let user = format!(":{key}");
    let (keys, kind) = (format!("{url}/v1/keys"), "Content-Type: application/json");
    let body = r#"{"AppId":"2376","SecPartId":"tenant4758","Description":"This is tenant 4758"}"#;
    let made = stage.curl(&["-X", "POST", "--user", &user, "-H", kind, "-d", body, "--include", &keys]);
    assert!(made.starts_with("HTTP/1.1 201") || made.starts_with("HTTP/2 201"), "{made}");
    let place =
        made.lines().find_map(|line| line.to_lowercase().strip_prefix("location: ").map(str::to_owned)).unwrap();
    let shown: Value =
        serde_json::from_str(&stage.curl(&["--user", &user, &format!("{url}{}", place.trim())])).unwrap();
    assert_eq!((&shown["AppId"], &shown["SecPartId"]), (&json!(2376), &json!("tenant4758")));

    let token = format!("{url}/v1/token");
    let bearer: Value = serde_json::from_str(&stage.curl(&["-X", "POST", "--user", &user, &token])).unwrap();
    let bearer = format!("Authorization: Bearer {}", bearer["access_token"].as_str().unwrap());
    let listed = stage.curl(&["-H", &bearer, &format!("{keys}?appId=2376")]);
    assert!(listed.contains("tenant4758"), "{listed}");
    let app = format!("{url}/v1/apps/2376");
    for state in ["Paused", "Active"] {
        let body = json!({ "State": state }).to_string();
        stage.curl(&["-X", "PUT", "-H", &bearer, "-H", kind, "-d", &body, &app]);
        let show = stage.fleet.at(&stage.one, &["partitions", "show", "2376.tenant4758", "--json"]).ends(0).json();
        assert_eq!(show["state"], state.to_lowercase(), "{show}");
    }
}

#[test]
fn curl_and_other_libraries_speak_to_exequantums() {
    let Some(stage) = Stage::new() else { return };
    stage.fleet.at(&stage.one, &["roles", "set", "default", "pqc", "--allow", ALL]).ends(0);
    let key = stage.key(&["--purpose", "exequantum", "--label", "curl", "--role", "pqc"]);
    let url = stage.one.face_url("exequantum");
    let at = |path: &str| format!("{url}{path}");
    let long_lived = format!("Authorization: auth_token {key}");
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let made = json(stage.curl(&[&at("/api/token/new?expiry_time=60&expire_after_attempts=5"), "-H", &long_lived]));
    let token = format!("Authorization: Bearer {}", made["new_token"].as_str().unwrap());
    let kind = "Content-Type: application/json";
    let pair = json(stage.curl(&[&at("/api/kem/generate_keys"), "-H", &token]));
    let body = json!({ "pk": pair["pk"], "signature": pair["signature"], "verif_key": pair["verification_key"] });
    let post = |path: &str, body: &Value| {
        json(stage.curl(&["-X", "POST", &at(path), "-H", &token, "-H", kind, "-d", &body.to_string()]))
    };
    let carried = post("/api/kem/encapsulate_key", &body);
    let sealed = post("/api/aes/encrypt_text", &json!({ "unencrypted": "Hello" }));
    let opened = post("/api/aes/decrypt_text", &json!({ "ciphertext": sealed, "key": carried["shared_key"] }));
    assert_eq!(opened, "Hello");

    if let Some(place) = tools::installed("python", "tests/interop/python/requirements.txt") {
        let mut command = stage.trusting(&place.join("venv/bin/python"));
        assert_eq!(run(command.arg(script("exequantum.py")).args([&url, &key])).trim(), "ok");
    }
    if let Some(place) = tools::installed("javascript", "tests/interop/javascript/package.json") {
        let script = String::from_utf8(tools::read(&script("exequantum.mjs"))).unwrap();
        let mut command = stage.trusting(Path::new("node"));
        command.args(["--input-type=module", "--eval"]).arg(script).args([&url, &key]).current_dir(place);
        assert_eq!(run(&mut command).trim(), "ok");
    }
}
