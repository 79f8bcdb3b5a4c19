//! Profiles whose APIs seal values or wrap data keys, end to end: an application that stores, the proxy before it, and an authority's
//! faces over TLS in the place of the vendors, each of which counts what it is asked.

#[path = "profiles_values/bare.rs"]
mod bare;
#[path = "profiles_values/callers.rs"]
mod callers;
#[path = "profiles_values/convergent.rs"]
mod convergent;
#[path = "profiles_values/envelope.rs"]
mod envelope;
#[path = "profiles_values/fallback.rs"]
mod fallback;
#[path = "profiles_values/field.rs"]
mod field;
#[path = "profiles_values/login.rs"]
mod login;
#[path = "profiles_values/message.rs"]
mod message;
#[path = "profiles_values/options.rs"]
mod options;
#[path = "profiles_values/process.rs"]
mod process;
#[path = "profiles_values/quiet.rs"]
mod quiet;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use sidecloak::authority::credentials::{NewApiKey, Purpose};
use sidecloak::authority::{Authority, Settings, crittora, ncloud_kms};
use sidecloak::clock::{Clock, ManualClock, SharedClock, SystemClock};
use sidecloak::crypto::base64url;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::{KeySource, Keyring, Options};
use sidecloak::name::PartitionName;
use sidecloak::secret::SecretBytes;
use tempfile::TempDir;

use crate::cli::{Done, done};
use crate::managed::double::{Double, router};
use crate::pki::{Ca, Pair, private};
use crate::stage::{self, Stage};

const PASSWORD: &str = "correct horse battery";

/// The vendors: an authority with faces over TLS, and credentials of theirs in files.
struct Vendor {
    dir: TempDir,
    authority: Arc<Authority>,
    /// The authority's.
    clock: Arc<ManualClock>,
    pair: Pair,
    /// Crittora's `api_key`, `access_key`, `secret_key`.
    partner: [String; 3],
    /// NAVER Cloud's access key and secret key.
    ncloud: [String; 2],
}

impl Vendor {
    fn new() -> Self {
        Self::with_password(PASSWORD)
    }

    fn with_password(password: &str) -> Self {
        let (dir, clock, ca) = (tempfile::tempdir().unwrap(), ManualClock::at(SystemClock.now()), Ca::new("vendor"));
        let options = Options {
            store: dir.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(dir.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let keyring = Keyring::init(&options, KemSuite::MlKem768, clock.clone()).unwrap();
        keyring.create_partition(&PartitionName::new("acme").unwrap()).unwrap();
        let authority = Arc::new(Authority::new(Arc::new(keyring), clock.clone(), &Settings::default()).unwrap());
        let partner = api_key(&authority, Purpose::Crittora, Some("acme"), &["access_key", "secret_key"]);
        let ncloud = api_key(&authority, Purpose::NcloudKms, None, &[ncloud_kms::SECRET_KEY]);
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let (partner, ncloud) = (partner.try_into().unwrap(), ncloud.try_into().unwrap());
        let vendor = Self { dir, authority, clock, pair: ca.server(), partner, ncloud };
        vendor.user(password);
        vendor.file("username", "alice");
        vendor.file("password", password);
        for (name, text) in ["api_key", "access_key", "secret_key"].into_iter().zip(&vendor.partner) {
            vendor.file(name, text);
        }
        for (name, text) in ["ncloud.access", "ncloud.secret"].into_iter().zip(&vendor.ncloud) {
            vendor.file(name, text);
        }
        vendor
    }

    /// Sets the user's password, and ends all sessions.
    fn user(&self, password: &str) {
        self.authority.credentials.put_user("alice", &SecretBytes::new(password.into()), "default").unwrap();
    }

    fn file(&self, name: &str, text: &str) {
        private(&self.dir.path().join(name), text);
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn crittora(&self) -> Double {
        Double::tls(&self.pair, router(crittora::router(Arc::clone(&self.authority))))
    }

    fn ncloud(&self) -> Double {
        Double::tls(&self.pair, router(ncloud_kms::router(Arc::clone(&self.authority))))
    }

    /// A profile `partner` as sidecloak.yaml has it. `more` are further options.
    fn managed(&self, at: &Double, more: &str) -> String {
        format!("  partner: {{ endpoint: '{}/v1', {}{more} }}\n", at.url(), self.of_crittora())
    }

    /// The same with a log-in.
    fn direct(&self, at: &Double, more: &str) -> String {
        let url = at.url();
        let login = format!("api: direct, login: '{url}', client_id: sidecar");
        format!("  partner: {{ endpoint: '{url}', {login}, {}{more} }}\n", self.of_crittora())
    }

    fn of_crittora(&self) -> String {
        let names = ["username", "password", "api_key", "access_key", "secret_key"];
        let credentials: Vec<_> = names.map(|name| format!("{name}: 'file:{}'", self.path(name))).into();
        format!("provider: crittora, ca: '{}', {PATIENT}, {}", self.path("ca.pem"), credentials.join(", "))
    }

    /// A profile `seoul` of a key, with an access key's signature.
    fn seoul(&self, at: &Double, tag: &str, more: &str) -> String {
        let [access, secret] = ["ncloud.access", "ncloud.secret"].map(|name| self.path(name));
        let credentials = format!("access_key: 'file:{access}', secret_key: 'file:{secret}'");
        self.seoul_with(at, tag, &format!("{credentials}{more}"))
    }

    /// With other credentials.
    fn seoul_with(&self, at: &Double, tag: &str, more: &str) -> String {
        let (url, ca) = (at.url(), self.path("ca.pem"));
        format!(
            "  seoul: {{ provider: ncloud-kms, endpoint: '{url}', ca: '{ca}', key_tag: {tag}, {PATIENT}, {more} }}\n"
        )
    }

    /// A signed call of NAVER Cloud's API that somebody else makes: its data.
    fn ncloud_call(&self, target: &str, body: &Value) -> Value {
        let time = (self.clock.now() * 1000).to_string();
        let [access, secret] = &self.ncloud;
        let request = http::Request::post(target)
            .header("x-ncp-apigw-timestamp", &time)
            .header("x-ncp-iam-access-key", access)
            .header("x-ncp-apigw-signature-v2", ncloud_kms::sign("POST", target, &time, access, secret))
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let router = ncloud_kms::router(Arc::clone(&self.authority));
        let answer: Value = runtime.block_on(async {
            let answer = tower::ServiceExt::oneshot(router, request).await.unwrap();
            serde_json::from_slice(&axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap()
        });
        assert_eq!(answer["code"], "SUCCESS", "{answer}");
        answer["data"].clone()
    }

    /// A new key's tag.
    fn ncloud_key(&self, convergent: bool) -> String {
        let name = if convergent { "equal" } else { "random" };
        let asked = json!({ "keyName": name, "keyType": "AES256", "isConvergent": convergent });
        self.ncloud_call("/kms/v1/keys", &asked)["keyTag"].as_str().unwrap().to_owned()
    }
}

/// A busy machine is not what these tests are about.
const PATIENT: &str = "timeout: 20s, budget: 20s";

fn api_key(
    authority: &Authority,
    purpose: Purpose,
    partition: Option<&str>,
    secrets: &'static [&'static str],
) -> Vec<String> {
    let new = NewApiKey {
        purpose,
        label: "sidecar".into(),
        app: None,
        partition: partition.map(str::to_owned),
        role: if partition.is_some() { "default" } else { "admin" }.into(),
        expires: 0,
        secrets,
    };
    let (text, key) = authority.credentials.create_api_key(&new).unwrap();
    let mut texts = vec![String::from_utf8(text.expose().to_vec()).unwrap()];
    texts.extend(key.secrets.into_iter().map(|(_, secret)| secret));
    texts
}

/// A proxy before an application, with profiles that the program itself has set up.
struct Sidecar {
    stage: Stage,
    listener: String,
    more: String,
    clock: SharedClock,
}

impl Sidecar {
    /// `profiles` are lines of that section.
    fn new(profiles: &str, rules: &str) -> Self {
        Self::with(profiles, rules, "", "", SystemClock::shared())
    }

    /// `listener` and `more` as [`Stage::with`] has them.
    fn with(profiles: &str, rules: &str, listener: &str, more: &str, clock: SharedClock) -> Self {
        let dir = set_up(profiles);
        let more = more.to_owned();
        let all = format!("{more}profiles:\n{profiles}");
        let stage = Stage::inside(dir, rules, listener, &all, Arc::clone(&clock));
        Self { stage, listener: listener.into(), more, clock }
    }

    /// Another process on the same keyring, with these profiles and rules.
    fn again(&mut self, profiles: &str, rules: &str) {
        self.stage.app.take().unwrap().stop();
        std::fs::write(self.stage.rules_path(), rules).unwrap();
        let all = format!("{}profiles:\n{profiles}", self.more);
        let (dir, clock) = (self.stage.dir.path(), Arc::clone(&self.clock));
        let app = stage::start(dir, self.stage.upstream, &self.listener, &all, clock);
        self.stage.front = stage::tcp(&app, "front");
        self.stage.app = Some(app);
    }

    /// Stops it, and leaves its keyring.
    fn stop(&mut self) {
        self.stage.app.take().unwrap().stop();
    }

    /// A command of the program, beside the proxy.
    fn run(&self, args: &[&str]) -> Done {
        run(self.stage.dir.path(), args)
    }

    /// Stored by a caller; the application answers with nothing.
    #[track_caller]
    fn stores(&self, path: &str, body: &str) {
        let reply = self.stage.post(path, body.to_owned());
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    #[track_caller]
    fn shows(&self, path: &str, body: &str) {
        let reply = self.stage.get(path);
        assert_eq!((reply.status, reply.text()), (200, body.to_owned()));
    }

    /// What the application holds.
    fn stored(&self, path: &str) -> Value {
        serde_json::from_slice(&self.stage.stored(path)).unwrap()
    }

    fn metrics(&self) -> String {
        self.stage.app().shared().metrics.render()
    }
}

/// A keyring with the profiles' partitions, made by the program.
fn set_up(profiles: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("sidecloak.yaml"),
        format!("keyring: {{ store: 'sqlite:./keyring.db' }}\nprofiles:\n{profiles}"),
    )
    .unwrap();
    run(dir.path(), &["keys", "init"]).ends(0);
    for name in profiles.lines().filter_map(|line| line.split_once(": {")).map(|(name, _)| name.trim()) {
        run(dir.path(), &["profiles", "init", name]).ends(0).shows("made partition");
    }
    dir
}

fn run(dir: &Path, args: &[&str]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidecloak"));
    command.env("SIDECLOAK_I_KNOW", "1").current_dir(dir).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    done(command)
}

/// How often a path was called; it ends so.
fn calls(double: &Double, path: &str) -> usize {
    double.seen().iter().filter(|call| called(call.first_line()).ends_with(path)).count()
}

fn called(first_line: &str) -> &str {
    first_line.split(' ').nth(1).unwrap_or("")
}

/// The suite of a token.
#[track_caller]
fn suite(token: &Value) -> u8 {
    header(token.as_str().unwrap())[0]
}

#[track_caller]
fn header(token: &str) -> Vec<u8> {
    let mut parts = token.split('.');
    assert_eq!(parts.next(), Some("sc1"), "no token: {token:.40}");
    base64url::decode(parts.next().unwrap().as_bytes()).unwrap()
}
