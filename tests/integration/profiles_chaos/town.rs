//! The whole town: an authority with its faces, a double before each, an application, and the proxy as a process between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use serde_json::{Value, json};
use sidecloak::authority::credentials::{NewApiKey, Purpose};
use sidecloak::authority::{Authority, crittora, exequantum, ncloud_kms};
use sidecloak::keyring::Permissions;
use sidecloak::name::PartitionName;
use sidecloak::proxy::settings::Address;
use sidecloak::secret::SecretBytes;
use tower::ServiceExt;

use super::script::Script;
use crate::authority::Place as Vendor;
use crate::cli::Place;
use crate::cli::process::Running;
use crate::managed::double::{Act, Answer, Double, router};
use crate::pki::Ca;
use crate::support::{Client, Message, Next, Upstream, upstream};

const PASSWORD: &str = "hunter2-PASSWORD";

/// One rule of the proxy, with a double behind the profile that it names.
pub struct Kind {
    pub name: &'static str,
    /// How many values a record has, at least and at most.
    pub values: (usize, usize),
    /// Everything stored opens again, whatever the API did meanwhile: it proved what it had sealed.
    pub proven: bool,
    /// The API is asked in each request.
    pub each: bool,
    /// Behind it there is no API.
    pub local: bool,
}

const fn kind(name: &'static str, values: (usize, usize), proven: bool, each: bool, local: bool) -> Kind {
    Kind { name, values, proven, each, local }
}

pub const KINDS: [Kind; 7] = [
    kind("letters", (2, 2), false, true, false),
    kind("signed", (1, 1), false, true, false),
    kind("kms", (2, 6), true, true, false),
    kind("single", (2, 3), false, true, false),
    kind("wrapped", (3, 3), true, false, false),
    kind("pqc", (3, 3), true, false, false),
    kind("local", (3, 3), true, false, true),
];

const RULES: &str = "rules:
  - { name: letters, match: { path: '/letters/{id}' }, protect: [{ fields: ['$.v0', '$.v1'], key: letters, bind: 'path:id' }] }
  - { name: signed, match: { path: '/signed/{id}' }, protect: [{ fields: '$.v0', key: letters, bind: 'path:id', sign: true }] }
  - { name: kms, match: { path: '/kms/{id}' }, protect: [{ fields: '$[*]', class: value, key: kms, bind: 'path:id' }] }
  - { name: single, match: { path: '/single/{id}' }, protect: [{ fields: ['$.v0', '$.v1', '$.v2'], key: single, bind: 'path:id' }] }
  - { name: wrapped, match: { path: '/wrapped/{id}' }, protect: [{ fields: ['$.v0', '$.v1', '$.v2'], key: wrapped }] }
  - { name: pqc, match: { path: '/pqc/{id}' }, protect: [{ fields: ['$.v0', '$.v1', '$.v2'], key: pqc }] }
  - { name: local, match: { path: '/local/{id}' }, protect: [{ fields: ['$.v0', '$.v1', '$.v2'], key: customers }] }
";

pub struct Town {
    pub proxy: Running,
    pub place: Place,
    pub app: Upstream,
    shelf: Shelf,
    pub doubles: Vec<(&'static str, Arc<Double>)>,
    /// Where redirects lead: nobody ever goes there.
    pub elsewhere: Double,
    /// Texts that nobody may see.
    pub secrets: Vec<String>,
    vendor: Vendor,
}

type Face = fn(Arc<Authority>) -> Router;
type Shelf = Arc<Mutex<HashMap<String, Vec<u8>>>>;

impl Town {
    pub fn new() -> Self {
        let (vendor, place) = (Vendor::new(&["acme"]), Place::with_keyring());
        let ca = Ca::new("vendors");
        place.write("ca.pem", ca.pem());
        let mut secrets = vec![PASSWORD.to_owned()];
        let faces: [(&'static str, Face); 5] = [
            ("letters", crittora::router),
            ("kms", ncloud_kms::router),
            ("single", ncloud_kms::router),
            ("wrapped", crittora::router),
            ("pqc", exequantum::router),
        ];
        let doubles: Vec<_> = faces
            .map(|(name, face)| {
                let handler = router(face(Arc::clone(&vendor.authority)));
                // Over TLS where connections are many and calls are few, and where it is about arrays.
                let tls = matches!(name, "kms" | "pqc");
                (name, Arc::new(if tls { Double::tls(&ca.server(), handler) } else { Double::plain(handler) }))
            })
            .into();
        let elsewhere = Double::plain(|_: &Message| Answer::json(200, &json!({ "hunter2": true })));
        secrets.extend(credentials(&vendor, &place));
        place.write("sidecloak.yaml", configuration(&vendor, &place, &doubles)).write("rules.yaml", RULES);
        for (name, _) in &doubles {
            place.run(&["profiles", "init", name]).ends(0);
        }
        let shelf = Shelf::default();
        let app = application(Arc::clone(&shelf));
        let Address::Tcp(address) = app.address else { panic!("a TCP upstream") };
        let proxy = Running::command(
            &place,
            &["run", "--upstream", &format!("http://{address}"), "--rules", "rules.yaml", "--log", "debug"],
        );
        Self { proxy, place, app, shelf, doubles, elsewhere, secrets, vendor }
    }

    /// The doubles play their scripts.
    pub fn storm(&self, seed: u64) {
        for (stream, (_, double)) in self.doubles.iter().enumerate() {
            let elsewhere = self.elsewhere.url();
            let script = Script { seed, stream: stream as u64, elsewhere, before: Arc::default() };
            let began = double.calls();
            double.by(move |number, _| script.act(number - began));
        }
    }

    pub fn all(&self, act: &Act) {
        self.doubles.iter().for_each(|(_, double)| double.always(act.clone()));
    }

    pub fn client(&self) -> Client<std::net::TcpStream> {
        Client::tcp(self.proxy.front)
    }

    pub fn stored(&self, path: &str) -> Option<Vec<u8>> {
        self.shelf.lock().unwrap().get(path).cloned()
    }

    pub fn metrics(&self) -> String {
        Client::tcp(self.proxy.probe).get("/metrics").text()
    }

    /// The sum of all lines of a metric that contain a text.
    pub fn metric(&self, name: &str, part: &str) -> f64 {
        let text = self.metrics();
        let lines = text.lines().filter(|line| line.contains(part)).filter_map(|line| line.strip_prefix(name));
        lines
            .filter(|line| line.starts_with(['{', ' ']))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Authority and doubles are there until the end.
    pub fn end(self) -> (Option<i32>, String) {
        self.proxy.signal(rustix::process::Signal::TERM);
        let ended = self.proxy.end();
        drop(self.vendor);
        ended
    }
}

/// Stores a body by its path, and gives it back; says nothing when it has stored.
fn application(shelf: Shelf) -> Upstream {
    upstream(move |request, out| {
        let path = request.first_line().split(' ').nth(1).unwrap_or("").to_owned();
        let answer = if request.first_line().starts_with("GET") {
            shelf.lock().unwrap().get(&path).cloned()
        } else {
            shelf.lock().unwrap().insert(path, request.body.clone());
            None
        };
        let written = match answer {
            Some(body) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                out.write_all(&[head.as_bytes(), &body].concat())
            }
            None => out.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"),
        };
        if written.is_ok() { Next::KeepAlive } else { Next::Close }
    })
}

/// Callers of each face, with their secrets in files.
fn credentials(vendor: &Vendor, place: &Place) -> Vec<String> {
    let (authority, default) = (&vendor.authority, PartitionName::default_name());
    authority.keyring.set_role(&default, "pqc", Some(Permissions(0xF_00C0))).unwrap();
    authority.credentials.put_user("alice", &SecretBytes::new(PASSWORD.into()), "default").unwrap();
    let key = |purpose, partition: Option<&str>, role: &str, secrets| {
        let new = NewApiKey {
            purpose,
            label: "sidecar".into(),
            app: None,
            partition: partition.map(Into::into),
            role: role.into(),
            expires: 0,
            secrets,
        };
        let (text, key) = authority.credentials.create_api_key(&new).unwrap();
        let mut texts = vec![String::from_utf8(text.expose().to_vec()).unwrap()];
        texts.extend(key.secrets.into_iter().map(|(_, secret)| secret));
        texts
    };
    let crittora = key(Purpose::Crittora, Some("acme"), "default", &["access_key", "secret_key"]);
    let ncloud = key(Purpose::NcloudKms, None, "admin", &[ncloud_kms::SECRET_KEY]);
    let exequantum = key(Purpose::Exequantum, None, "pqc", &[]);
    let secrets: Vec<String> = [crittora, ncloud, exequantum].concat();
    let files = ["api_key", "access", "secret", "ncloud.access", "ncloud.secret", "exequantum"];
    assert_eq!(secrets.len(), files.len());
    place.write("username", "alice").write("password", PASSWORD);
    for (file, secret) in files.iter().zip(&secrets) {
        place.write(file, secret);
    }
    ["username", "password"].iter().chain(&files).for_each(|file| place.chmod(file, 0o600));
    secrets
}

fn configuration(vendor: &Vendor, place: &Place, doubles: &[(&str, Arc<Double>)]) -> String {
    let (access, secret) = (place.read("ncloud.access"), place.read("ncloud.secret"));
    let [kms, single] = ["together", "alone"].map(|name| ncloud_key(vendor, name, &access, &secret));
    let url = |wanted: &str| doubles.iter().find(|(name, _)| *name == wanted).unwrap().1.url();
    let crittora = "provider: crittora, username: 'file:username', password: 'file:password', api_key: 'file:api_key', \
                    access_key: 'file:access', secret_key: 'file:secret'";
    let ncloud = "provider: ncloud-kms, access_key: 'file:ncloud.access', secret_key: 'file:ncloud.secret'";
    // Long for an API on the same machine, however busy, and short for one that hangs.
    let limits = "timeout: 2s, budget: 5s, retries: 1, breaker: { failures: 8, pause: 100ms }";
    format!(
        "drain: {{ delay: 0s, deadline: 5s }}
limits: {{ memory: 64MiB }}
workers: 2
profiles:
  letters: {{ {crittora}, endpoint: '{}/v1', granularity: field, {limits} }}
  wrapped: {{ {crittora}, endpoint: '{}/v1', max_stale: 1s, {limits} }}
  kms: {{ {ncloud}, endpoint: '{}', ca: ca.pem, key_tag: {kms}, granularity: message, prove: true, {limits} }}
  single: {{ {ncloud}, endpoint: '{}', key_tag: {single}, granularity: field, {limits} }}
  pqc: {{ provider: exequantum, endpoint: '{}', ca: ca.pem, token: 'file:exequantum', recipient: pqc.pub, max_stale: 1s, {limits} }}
",
        url("letters"),
        url("wrapped"),
        url("kms"),
        url("single"),
        url("pqc"),
    )
}

/// Has the vendor make an AES key.
fn ncloud_key(vendor: &Vendor, name: &str, access: &str, secret: &str) -> String {
    let time = sidecloak::clock::Clock::now(&sidecloak::clock::SystemClock) * 1000;
    let (time, target) = (time.to_string(), "/kms/v1/keys");
    let body = json!({ "keyName": name, "keyType": "AES256", "memo": "" }).to_string();
    let request = http::Request::post(target)
        .header("x-ncp-apigw-timestamp", &time)
        .header("x-ncp-iam-access-key", access)
        .header("x-ncp-apigw-signature-v2", ncloud_kms::sign("POST", target, &time, access, secret))
        .body(axum::body::Body::from(body))
        .unwrap();
    let answer: Value = vendor.block_on(async {
        let response = ncloud_kms::router(Arc::clone(&vendor.authority)).oneshot(request).await.unwrap();
        serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
    });
    answer["data"]["keyTag"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}
