//! Requests to the router of an authority of its own.

use axum::body::Body;
use http::{HeaderMap, Request};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::authority::Settings;
use crate::authority::credentials::{ApiKey, NewApiKey, Purpose};
use crate::clock::ManualClock;
use crate::crypto::base64url;
use crate::crypto::kem::KemSuite;
use crate::keyring::{KeySource, Keyring, Kind, Options, State as Standing};
use crate::name::PartitionName;
use crate::secret::SecretBytes;
use crate::token::{Suite, v1};

mod access;
mod log_in;
mod managed;
mod partners;

const PASSWORD: &str = "correct horse battery";

/// An authority in a directory of its own, with partners `acme` and `beta` (partitions of their names) and user `alice`.
struct Place {
    _directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    clock: Arc<ManualClock>,
    authority: Arc<Authority>,
    router: Router,
}

/// A partner's headers.
#[derive(Clone)]
struct Partner {
    api_key: String,
    access_key: String,
    secret_key: String,
    number: u64,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    json: Value,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            store: directory.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(directory.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let clock = ManualClock::at(1_760_894_907);
        let keyring = Keyring::init(&options, KemSuite::MlKem768, clock.clone()).unwrap();
        for name in ["acme", "beta"] {
            keyring.create_partition(&partition(name)).unwrap();
        }
        let authority = Arc::new(Authority::new(Arc::new(keyring), clock.clone(), &Settings::default()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let router = router(Arc::clone(&authority));
        let place = Self { _directory: directory, runtime, clock, authority, router };
        place.user("alice", "default");
        place
    }

    fn user(&self, name: &str, role: &str) {
        self.authority.credentials.put_user(name, &SecretBytes::new(PASSWORD.into()), role).unwrap();
    }

    fn partner(&self, label: &str, home: &str) -> Partner {
        self.partner_as(label, Some(home), "default")
    }

    fn partner_as(&self, label: &str, home: Option<&str>, role: &str) -> Partner {
        let (text, key): (SecretBytes, ApiKey) = self
            .authority
            .credentials
            .create_api_key(&NewApiKey {
                purpose: Purpose::Crittora,
                label: label.into(),
                app: None,
                partition: home.map(str::to_owned),
                role: role.into(),
                expires: 0,
                secrets: &["access_key", "secret_key"],
            })
            .unwrap();
        let secret = |name: &str| key.secrets.iter().find(|(n, _)| n == name).unwrap().1.clone();
        Partner {
            api_key: String::from_utf8(text.expose().to_vec()).unwrap(),
            access_key: secret("access_key"),
            secret_key: secret("secret_key"),
            number: key.number,
        }
    }

    fn send(&self, request: Request<Body>) -> Answer {
        let (status, headers, body) = self.send_raw(request);
        let json = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&body)));
        Answer { status, headers, json }
    }

    fn send_raw(&self, request: Request<Body>) -> (u16, HeaderMap, Vec<u8>) {
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (head, body) = response.into_parts();
            let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
            assert_eq!(head.headers["x-request-id"].len(), 36);
            (head.status.as_u16(), head.headers, body.to_vec())
        })
    }

    /// A managed call.
    fn managed(&self, partner: &Partner, call: &str, body: &Value) -> Answer {
        self.send(managed(partner, call).body(body.to_string().into()).unwrap())
    }

    /// What a managed call answers, which must be a success.
    fn done(&self, partner: &Partner, call: &str, body: &Value) -> Value {
        let answer = self.managed(partner, call, body);
        assert_eq!((answer.status, &answer.json["statusCode"]), (200, &json!(200)), "{}", answer.json);
        answer.json["body"].clone()
    }

    fn encrypted(&self, partner: &Partner, call: &str, body: &Value) -> String {
        self.done(partner, call, body)["encrypted_data"].as_str().unwrap().to_owned()
    }

    fn cognito(&self, operation: &str, body: &Value) -> Answer {
        let request = Request::post("/")
            .header("x-amz-target", format!("AWSCognitoIdentityProviderService.{operation}"))
            .header("content-type", "application/x-amz-json-1.1");
        self.send(request.body(body.to_string().into()).unwrap())
    }

    /// The tokens of a log-in with the right password.
    fn tokens(&self, user: &str) -> Value {
        let body = json!({"ClientId": "client", "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": {"USERNAME": user, "PASSWORD": PASSWORD}});
        let answer = self.cognito("InitiateAuth", &body);
        assert_eq!(answer.status, 200, "{}", answer.json);
        answer.json["AuthenticationResult"].clone()
    }

    fn direct(&self, partner: &Partner, bearer: &str, call: &str, body: &Value) -> Answer {
        let request = Request::post(format!("/{call}"))
            .header("authorization", format!("Bearer {bearer}"))
            .header("api_key", &partner.api_key)
            .header("access_key", &partner.access_key)
            .header("secret_key", &partner.secret_key);
        self.send(request.body(body.to_string().into()).unwrap())
    }
}

fn managed(partner: &Partner, call: &str) -> http::request::Builder {
    Request::post(format!("/v1/{call}"))
        .header("username", "alice")
        .header("password", PASSWORD)
        .header("api_key", &partner.api_key)
        .header("access_key", &partner.access_key)
        .header("secret_key", &partner.secret_key)
        .header("content-type", "application/json")
}

fn partition(name: &str) -> PartitionName {
    PartitionName::new(name).unwrap()
}

const OPENS_NOT: &str = "encrypted_data does not open: it is damaged, or not for this partner";
