//! Profiles whose keys a service holds or rules over, from end to end: the faces of an authority over TLS, partitions made by
//! `sidecloak profiles init`, proxies as processes of their own, and an application that stores.

#[path = "profiles_keys/attacker.rs"]
mod attacker;
#[path = "profiles_keys/away.rs"]
mod away;
#[path = "profiles_keys/crypteron.rs"]
mod crypteron;
#[path = "profiles_keys/exequantum.rs"]
mod exequantum;
#[path = "profiles_keys/outcomes.rs"]
mod outcomes;
#[path = "profiles_keys/postgres.rs"]
mod postgres;
#[path = "profiles_keys/sidecar.rs"]
mod sidecar;
#[path = "profiles_keys/temporary.rs"]
mod temporary;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use serde_json::{Value, json};
use sidecloak::authority::credentials::{NewApiKey, Purpose};
use sidecloak::authority::{Authority, ncloud_kms};
use sidecloak::clock::{Clock, SystemClock};
use sidecloak::keyring::Permissions;
use sidecloak::name::PartitionName;
use sidecloak::secret::SecretBytes;
use sidecloak::token::v1::{self, Token};

use crate::authority::Place as House;
use crate::cli::Place;
use crate::cli::process::{Running, free_port};
use crate::fleet::{App, exchange, private, until};
use crate::managed::double::{Act, Double, router};
use crate::pki::Ca;
use crate::support::{Client, Message};

const PASSWORD: &str = "correct horse battery";
const DRAIN: &str = "drain: { delay: 0s, deadline: 10s }\n";

/// Who runs the APIs: an authority whose faces are served over TLS, count, and misbehave when told to.
struct Vendor {
    house: House,
    ca: Ca,
}

impl Vendor {
    /// Whose callers may do everything that a face does.
    fn new() -> Self {
        let house = House::new(&[]);
        let (all, default) = (Permissions(0x000f_00fc), PartitionName::default_name());
        house.authority.keyring.set_role(&default, "default", Some(all)).unwrap();
        Self { house, ca: Ca::new("vendor") }
    }

    /// One of its faces.
    fn serve(&self, face: fn(Arc<Authority>) -> Router) -> Double {
        Double::tls(&self.ca.server(), router(face(Arc::clone(&self.house.authority))))
    }

    /// An API key with its secrets.
    fn key(
        &self,
        purpose: Purpose,
        role: &str,
        partition: Option<&str>,
        secrets: &'static [&'static str],
    ) -> Vec<String> {
        let new = NewApiKey {
            purpose,
            label: "sidecar".into(),
            app: None,
            partition: partition.map(ToOwned::to_owned),
            role: role.into(),
            expires: 0,
            secrets,
        };
        let (text, key) = self.house.authority.credentials.create_api_key(&new).unwrap();
        let mut all = vec![String::from_utf8(text.expose().to_vec()).unwrap()];
        all.extend(key.secrets.into_iter().map(|(_, secret)| secret));
        all
    }

    /// The options of a profile with credentials for the Crittora face.
    fn crittora(&self, site: &Site, face: &Double) -> String {
        let partition = PartitionName::new("acme").unwrap();
        drop(self.house.authority.keyring.create_partition(&partition));
        drop(self.house.authority.credentials.create_user("alice", &SecretBytes::new(PASSWORD.into()), "default"));
        let key = self.key(Purpose::Crittora, "default", Some("acme"), &["access_key", "secret_key"]);
        for (file, text) in ["api_key", "access_key", "secret_key"].into_iter().zip(&key) {
            private(&site.place, file, text);
        }
        private(&site.place, "username", "alice");
        private(&site.place, "password", PASSWORD);
        format!(
            "provider: crittora, endpoint: '{}/v1', ca: ca.pem, username: 'file:username', password: 'file:password', \
             api_key: 'file:api_key', access_key: 'file:access_key', secret_key: 'file:secret_key'",
            face.url()
        )
    }

    /// The same for the NAVER Cloud KMS face, with a key of its own, which is given too.
    fn ncloud(&self, site: &Site, face: &Double) -> (String, NcloudKey) {
        let key = self.key(Purpose::NcloudKms, "admin", None, &[ncloud_kms::SECRET_KEY]);
        private(&site.place, "ncloud.access", &key[0]);
        private(&site.place, "ncloud.secret", &key[1]);
        let at = self.house.serve(ncloud_kms::router(Arc::clone(&self.house.authority)));
        let mut made = NcloudKey { at, access: key[0].clone(), secret: key[1].clone(), tag: String::new() };
        let asked = json!({ "keyName": "sidecar", "keyType": "AES256", "memo": "" });
        made.tag = made.call("", &asked)["keyTag"].as_str().unwrap().to_owned();
        let options = format!(
            "provider: ncloud-kms, endpoint: '{}', ca: ca.pem, key_tag: {}, access_key: 'file:ncloud.access', \
             secret_key: 'file:ncloud.secret'",
            face.url(),
            made.tag
        );
        (options, made)
    }

    /// The same for the ExeQuantum face.
    fn exequantum(&self, site: &Site, face: &Double) -> String {
        private(&site.place, "exequantum", &self.key(Purpose::Exequantum, "default", None, &[])[0]);
        format!("provider: exequantum, endpoint: '{}', ca: ca.pem, token: 'file:exequantum'", face.url())
    }
}

/// A key of the NAVER Cloud KMS face, in the hands of who runs it.
struct NcloudKey {
    at: SocketAddr,
    access: String,
    secret: String,
    tag: String,
}

impl NcloudKey {
    /// A signed call: `""` or `/{keyTag}/…` behind the path of keys.
    fn call(&self, path: &str, body: &Value) -> Value {
        let time = (SystemClock.now() * 1000).to_string();
        let target = format!("/kms/v1/keys{path}");
        let signature = ncloud_kms::sign("POST", &target, &time, &self.access, &self.secret);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: kms.test\r\nx-ncp-apigw-timestamp: {time}\r\nx-ncp-iam-access-key: {}\r\n\
             x-ncp-apigw-signature-v2: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
            self.access,
            body.len()
        );
        let answer = Client::tcp(self.at).send(request).receive();
        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        answer["data"].clone()
    }

    /// `enable`, `disable`, …
    fn act(&self, what: &str) {
        self.call(&format!("/{}/{what}", self.tag), &Value::Null);
    }
}

/// Where proxies run: a configuration, a keyring, and an application that stores.
struct Site {
    place: Place,
    app: App,
    store: String,
}

impl Site {
    /// With a keyring in a file, of partitions `default` and `customers`.
    fn new(vendor: &Vendor) -> Self {
        Self::on(vendor, "sqlite:sidecloak.db")
    }

    /// With a keyring there.
    fn on(vendor: &Vendor, store: &str) -> Self {
        let place = Place::empty();
        place.write("ca.pem", vendor.ca.pem()).write("rules.yaml", "rules: []\n");
        let site = Self { place, app: App::start(), store: format!("{{ store: '{store}' }}") };
        site.configure("", &[]);
        site.place.run(&["keys", "init", "--partition", "customers"]).ends(0);
        site
    }

    /// Writes the configuration: the lines of `profiles:`, and for each path the options of a rule for its `ssn`. Everything below
    /// `/local` is sealed under the keyring's own keys.
    fn configure(&self, profiles: &str, rules: &[(&str, &str)]) {
        let mut text = "rules:\n  - name: local\n    match: { path: '/local/**' }\n    \
                        protect: [{ fields: ['$.ssn'], key: customers }]\n"
            .to_owned();
        for (name, options) in rules {
            text += &format!(
                "  - name: '{name}'\n    match: {{ path: '/{name}/**' }}\n    protect: [{{ fields: ['$.ssn'], {options} }}]\n"
            );
        }
        self.place.write("rules.yaml", text);
        let profiles = if profiles.is_empty() { String::new() } else { format!("profiles:\n{profiles}") };
        self.place.write("sidecloak.yaml", format!("keyring: {}\nrules: rules.yaml\n{DRAIN}{profiles}", self.store));
    }

    /// A proxy, once it is ready.
    fn proxy(&self) -> Running {
        Running::command(&self.place, &["run", "--upstream", &self.app.url])
    }

    /// A proxy that need not become ready.
    fn spawn(&self) -> Running {
        Running::spawn(&self.place, &["run", "--upstream", &self.app.url], free_port(), free_port())
    }

    /// The token that the application holds.
    fn token(&self, path: &str) -> String {
        let token = self.app.document(path)["ssn"].as_str().unwrap().to_owned();
        assert!(token.starts_with("sc1."), "{token}");
        token
    }

    /// Has a profile set up, and the partition made.
    fn init(&self, profile: &str) {
        self.place.run(&["profiles", "init", profile]).ends(0);
    }
}

fn get(proxy: &Running, path: &str) -> Message {
    exchange(proxy.front, "GET", path, "").unwrap_or_else(|| panic!("GET {path}: no answer"))
}

/// Stores a document with this value.
fn post(proxy: &Running, path: &str, ssn: &str) -> Message {
    exchange(proxy.front, "POST", path, &document(ssn)).unwrap_or_else(|| panic!("POST {path}: no answer"))
}

fn document(ssn: &str) -> String {
    json!({ "ssn": ssn }).to_string()
}

#[track_caller]
fn stores(proxy: &Running, path: &str, ssn: &str) {
    let answer = post(proxy, path, ssn);
    assert_eq!(answer.status(), 200, "{path}: {} {}", answer.text(), log(proxy));
}

#[track_caller]
fn shows(proxy: &Running, path: &str, ssn: &str) {
    let answer = get(proxy, path);
    assert_eq!((answer.status(), answer.text()), (200, document(ssn)), "{path}: {}", log(proxy));
}

fn log(proxy: &Running) -> String {
    proxy.log.lock().unwrap().clone()
}

/// Its log comes a moment after its answer.
#[track_caller]
fn logs(proxy: &Running, text: &str) {
    until(text, || log(proxy).contains(text));
}

/// A metric's value, by how its line begins.
fn metric(proxy: &Running, name: &str) -> f64 {
    let text = exchange(proxy.probe, "GET", "/metrics", "").unwrap().text();
    let value = |line: &str| line.strip_prefix(name)?.split_whitespace().last()?.parse().ok();
    text.lines().find_map(value).unwrap_or_default()
}

fn token(text: &str) -> Token {
    v1::parse(text.as_bytes()).unwrap()
}

/// How many of the requests went there.
fn calls(face: &Double, part: &str) -> usize {
    face.seen().iter().filter(|request| request.first_line().contains(part)).count()
}

/// A service that can be cut off: connections are taken and broken off.
struct Cut(Arc<AtomicBool>);

impl Cut {
    fn of(face: &Double) -> Self {
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = Arc::clone(&cut);
        face.by(move |_, _| if is_cut.load(Ordering::SeqCst) { Act::Reset } else { Act::Well });
        Self(cut)
    }

    fn set(&self, away: bool) {
        self.0.store(away, Ordering::SeqCst);
    }
}
