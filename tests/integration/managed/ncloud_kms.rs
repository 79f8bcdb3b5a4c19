//! The NAVER Cloud KMS client against the authority's face: signatures and tokens, arrays, limits, convergent keys.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use sidecloak::authority::credentials::{Limits, Purpose};
use sidecloak::authority::face::Door;
use sidecloak::authority::ncloud_kms;
use sidecloak::clock::{Clock, ManualClock};
use sidecloak::crypto::base64;
use sidecloak::keyring::KeySource;
use sidecloak::proxy::settings::Address;
use sidecloak::sealer::managed::http::Http;
use sidecloak::sealer::managed::ncloud_kms::{BATCH, LONGEST, NcloudKms};
use sidecloak::sealer::managed::settings::{EndpointTls, NcloudCredential, NcloudKmsSettings};
use sidecloak::sealer::managed::{Api, ApiError, Fault, How};
use sidecloak::secret::SecretBytes;
use tower::ServiceExt;

use super::door::Served;
use crate::support::{Next, upstream};

struct Stage {
    served: Served,
    access: String,
    secret: String,
    /// The client's.
    clock: Arc<ManualClock>,
}

impl Stage {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let served = Served::with(Door::NcloudKms, limits);
        let texts = served.api_key(Purpose::NcloudKms, None, &[ncloud_kms::SECRET_KEY]);
        let [access, secret] = texts.as_slice() else { panic!("two texts") };
        let (access, secret) = (access.clone(), secret.clone());
        let clock = ManualClock::at(served.clock.now());
        Self { served, access, secret, clock }
    }

    /// A signed call that somebody else makes: its data.
    fn manage(&self, method: &str, target: &str, body: &Value) -> Value {
        let time = (self.served.clock.now() * 1000).to_string();
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("x-ncp-apigw-timestamp", &time)
            .header("x-ncp-iam-access-key", &self.access)
            .header("x-ncp-apigw-signature-v2", ncloud_kms::sign(method, target, &time, &self.access, &self.secret))
            .body(Body::from(body.to_string()))
            .unwrap();
        let router = ncloud_kms::router(Arc::clone(&self.served.authority));
        let answer: Value = self.served.block_on(async {
            let response = router.oneshot(request).await.unwrap();
            serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
        });
        assert_eq!(answer["code"], "SUCCESS", "{answer}");
        answer["data"].clone()
    }

    fn key(&self, key_type: &str, convergent: bool) -> String {
        let name = if convergent { "equal" } else { "random" };
        let asked = json!({ "keyName": name, "keyType": key_type, "isConvergent": convergent });
        self.manage("POST", "/kms/v1/keys", &asked)["keyTag"].as_str().unwrap().to_owned()
    }

    fn signature(&self) -> NcloudCredential {
        let access_key = self.served.file("access-key", &self.access);
        NcloudCredential::Signature { access_key, secret_key: self.served.file("secret-key", &self.secret) }
    }

    fn client(&self, tag: &str, credential: NcloudCredential, convergent: bool) -> NcloudKms {
        let settings = NcloudKmsSettings { key_tag: tag.into(), credential, convergent };
        NcloudKms::new(self.served.http(""), &settings, self.clock.clone()).unwrap()
    }

    fn token(&self, token: &Value, refresh: bool) -> NcloudCredential {
        let token: KeySource = self.served.file("token", token.as_str().unwrap());
        NcloudCredential::Token { token, refresh }
    }

    fn encrypt(&self, client: &NcloudKms, texts: &[&str], how: How) -> Result<Vec<Vec<u8>>, ApiError> {
        let texts: Vec<_> = texts.iter().map(|text| SecretBytes::new((*text).into())).collect();
        self.served.block_on(client.encrypt(&texts, how))
    }

    fn decrypt(&self, client: &NcloudKms, ciphertexts: &[Vec<u8>], how: How) -> Result<Vec<String>, ApiError> {
        let texts = self.served.block_on(client.decrypt(ciphertexts, how))?;
        Ok(texts.iter().map(|text| String::from_utf8(text.expose().to_vec()).unwrap()).collect())
    }

    #[track_caller]
    fn works(&self, client: &NcloudKms) {
        let ciphertexts = self.encrypt(client, &["text"], How::default()).unwrap();
        assert_eq!(self.decrypt(client, &ciphertexts, How::default()).unwrap(), ["text"]);
    }

    #[track_caller]
    fn fails(&self, client: &NcloudKms) -> ApiError {
        let error = self.encrypt(client, &["canary"], How::default()).unwrap_err();
        for secret in ["canary", &self.access, &self.secret] {
            assert!(!error.text.contains(secret), "{error}");
        }
        error
    }
}

#[test]
fn values_come_back_alone_and_together() {
    let stage = Stage::new();
    let client = stage.client(&stage.key("AES256", false), stage.signature(), false);
    stage.works(&client);
    let texts: Vec<_> = (0..200).map(|n| format!("{}{n}", "é\u{0}\"".repeat(n % 7))).collect();
    let mut texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
    texts[17] = "";
    stage.served.calls();
    let ciphertexts = stage.encrypt(&client, &texts, How::default()).unwrap();
    assert_eq!(stage.decrypt(&client, &ciphertexts, How::default()).unwrap(), texts);
    assert_eq!(stage.served.calls(), ["encrypt", "decrypt"], "200 values are one call");
    assert!(stage.encrypt(&client, &[], How::default()).unwrap().is_empty());
    assert!(stage.served.calls().is_empty());
}

#[test]
fn the_longest_values_are_as_many_calls_as_an_answer_holds() {
    let stage = Stage::new();
    let client = stage.client(&stage.key("AES256", false), stage.signature(), false);
    let texts: Vec<_> = (0..50).map(|n| char::from(b'0' + n).to_string().repeat(LONGEST)).collect();
    let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
    let ciphertexts = stage.encrypt(&client, &texts, How::default()).unwrap();
    assert_eq!(stage.served.calls().len(), 3);
    assert!(stage.decrypt(&client, &ciphertexts, How::default()).unwrap() == texts);
    assert_eq!(stage.served.calls().len(), 3);
    let many = vec!["x"; BATCH + 1];
    assert_eq!(stage.encrypt(&client, &many, How::default()).unwrap().len(), many.len());
    assert_eq!(stage.served.calls().len(), 2);
    let longer = "x".repeat(LONGEST + 1);
    assert_eq!(stage.encrypt(&client, &[&longer], How::default()).unwrap_err().kind, Fault::Refused);
    assert!(stage.served.calls().is_empty());
}

#[test]
fn equal_values_in_equal_contexts_are_equal_under_a_convergent_key() {
    let stage = Stage::new();
    let client = stage.client(&stage.key("AES256", true), stage.signature(), true);
    let [one, two] = [1, 2].map(|n| How { signed: false, context: Some([n; 32]) });
    let first = stage.encrypt(&client, &["same", "other", "same"], one).unwrap();
    assert!(first[0] == first[2] && first[0] != first[1]);
    assert_eq!(stage.encrypt(&client, &["same"], one).unwrap()[0], first[0]);
    assert_ne!(stage.encrypt(&client, &["same"], two).unwrap()[0], first[0]);
    assert_eq!(stage.decrypt(&client, &first, one).unwrap(), ["same", "other", "same"]);
    assert_eq!(stage.decrypt(&client, &first, two).unwrap_err().kind, Fault::Refused);
    assert_eq!(stage.encrypt(&client, &["same"], How::default()).unwrap_err().kind, Fault::Refused);
    // A key that is not convergent is found out as soon as two values of a call are equal.
    let random = stage.key("AES256", false);
    let client = stage.client(&random, stage.signature(), true);
    assert_eq!(stage.encrypt(&client, &["same", "same"], one).unwrap_err().kind, Fault::Lie);
}

#[test]
fn an_rsa_key_seals_short_values() {
    let stage = Stage::new();
    let client = stage.client(&stage.key("RSA2048", false), stage.signature(), false);
    let ciphertexts = stage.encrypt(&client, &["", "text"], How::default()).unwrap();
    assert_eq!(stage.decrypt(&client, &ciphertexts, How::default()).unwrap(), ["", "text"]);
    assert_eq!(stage.encrypt(&client, &[&"x".repeat(191)], How::default()).unwrap_err().kind, Fault::Refused);
}

#[test]
fn an_access_token_stands_for_a_signature_until_it_ends() {
    let stage = Stage::new();
    let tag = stage.key("AES256", false);
    let set = stage.manage("POST", &format!("/kms/v1/keys/{tag}/token-set"), &json!({ "accessTokenHours": 1 }));
    let client = stage.client(&tag, stage.token(&set["accessToken"], false), false);
    stage.works(&client);
    assert!(client.tokens().is_none());
    stage.served.calls();
    stage.served.clock.advance(3601);
    let error = stage.fails(&client);
    assert_eq!(error.kind, Fault::Credential);
    assert!(error.text.contains("UNAUTHORIZED") && error.text.contains("refresh token"), "{error}");
    assert_eq!(stage.served.calls(), ["encrypt"], "the same token is not tried twice");
}

#[test]
fn a_refresh_token_gets_access_tokens_as_they_are_needed() {
    let stage = Stage::new();
    let tag = stage.key("AES256", false);
    let set = stage.manage("POST", &format!("/kms/v1/keys/{tag}/token-set"), &json!({ "refreshTokenHours": 48 }));
    let client = stage.client(&tag, stage.token(&set["refreshToken"], true), false);
    stage.works(&client);
    assert_eq!(stage.served.calls(), ["access-token", "encrypt", "decrypt"]);
    let left = client.tokens().unwrap().seconds_left().unwrap();
    // It ends for both.
    for clock in [&stage.clock, &stage.served.clock] {
        clock.advance(left + 1);
    }
    stage.works(&client);
    assert_eq!(stage.served.calls(), ["access-token", "encrypt", "decrypt"]);
    // It ends for the API alone, and is renewed within the call.
    stage.served.clock.advance(left + 1);
    stage.works(&client);
    assert_eq!(stage.served.calls(), ["encrypt", "access-token", "encrypt", "decrypt"]);
    // The refresh token ends, too.
    stage.served.clock.advance(48 * 3600);
    let error = stage.fails(&client);
    assert_eq!(error.kind, Fault::Credential);
    assert!(error.text.contains("refresh token"), "{error}");
    assert_eq!(stage.served.calls(), ["encrypt", "access-token"]);
}

#[test]
fn a_clock_that_is_off_is_named() {
    let stage = Stage::new();
    let client = stage.client(&stage.key("AES256", false), stage.signature(), false);
    stage.works(&client);
    stage.clock.advance(250);
    stage.works(&client);
    stage.clock.advance(1750);
    let error = stage.fails(&client);
    assert_eq!(error.kind, Fault::Credential);
    assert!(error.text.contains("ahead of the API's") && error.text.contains("set the clock"), "{error}");
}

#[test]
fn who_may_not_and_what_is_not_are_told_apart() {
    let stage = Stage::new();
    let tag = stage.key("AES256", false);
    let client = stage.client(&tag, stage.signature(), false);
    let ciphertexts = stage.encrypt(&client, &["text"], How::default()).unwrap();
    let other = stage.client("nobody", stage.signature(), false);
    assert_eq!(stage.fails(&other).kind, Fault::Refused, "there is no such key");
    let secret_key = stage.served.file("bad", "bad");
    let access_key = stage.served.file("access-key", &stage.access);
    let bad = stage.client(&tag, NcloudCredential::Signature { access_key, secret_key }, false);
    let error = stage.fails(&bad);
    assert_eq!(error.kind, Fault::Credential);
    assert!(error.text.contains("check `access_key`") && !error.text.contains("ahead"), "{error}");
    let signed = How { signed: true, context: None };
    assert_eq!(stage.encrypt(&client, &["text"], signed).unwrap_err().kind, Fault::Refused);
    let mut damaged = ciphertexts.clone();
    damaged[0][14] ^= 2;
    assert_eq!(stage.decrypt(&client, &damaged, How::default()).unwrap_err().kind, Fault::Refused);
    stage.served.calls();
    for stored in [&b"ncpkms:v1:\",\"context\":\"x"[..], b"", b"ncpkms:v1:AAAA", b"\xff"] {
        let mixed = [ciphertexts[0].clone(), stored.to_vec()];
        assert_eq!(stage.decrypt(&client, &mixed, How::default()).unwrap_err().kind, Fault::Refused);
    }
    assert!(stage.served.calls().is_empty(), "what is no ciphertext does not go out");
    stage.manage("POST", &format!("/kms/v1/keys/{tag}/disable"), &Value::Null);
    assert_eq!(stage.fails(&client).kind, Fault::Refused);
    assert_eq!(stage.decrypt(&client, &ciphertexts, How::default()).unwrap_err().kind, Fault::Refused);
}

#[test]
fn an_api_that_asks_to_wait_is_throttling() {
    let stage = Stage::with(Limits { per_second: 1, burst: 8 });
    let client = stage.client(&stage.key("AES256", false), stage.signature(), false);
    let error = (0..20).find_map(|_| stage.encrypt(&client, &["text"], How::default()).err()).unwrap();
    assert!(matches!(error.kind, Fault::Throttled(Some(_))), "{error:?}");
}

#[test]
fn a_key_tag_cannot_leave_its_place_in_the_path() {
    let stage = Stage::new();
    for tag in ["", ".", "..", "a/b", "a?b", "a b", "a%2fb", "é", "a\n"] {
        let settings = NcloudKmsSettings { key_tag: tag.into(), credential: stage.signature(), convergent: false };
        let error = NcloudKms::new(stage.served.http(""), &settings, stage.clock.clone()).unwrap_err();
        assert!(error.contains("key_tag"), "{error}");
    }
}

#[test]
fn each_call_is_signed_anew_over_the_whole_target() {
    let stage = Stage::new();
    let sealed = format!("ncpkms:v1:{}", base64::encode(&[0; 32]));
    let api = upstream(move |_, out| {
        let body = format!(r#"{{"code":"SUCCESS","data":{{"ciphertext":"{sealed}"}}}}"#);
        write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        Next::KeepAlive
    });
    let Address::Tcp(address) = api.address else { panic!("no TCP address") };
    let http = Http::new(&format!("http://{address}/through/here"), &EndpointTls::default(), 1 << 20).unwrap();
    let settings = NcloudKmsSettings { key_tag: "tag".into(), credential: stage.signature(), convergent: false };
    let client = NcloudKms::new(http, &settings, stage.clock.clone()).unwrap();
    for _ in 0..2 {
        stage.encrypt(&client, &["text"], How::default()).unwrap();
        let request = api.last();
        let target = "/through/here/kms/v1/keys/tag/encrypt";
        assert!(request.head.starts_with(&format!("POST {target} HTTP/1.1")), "{}", request.head);
        let time = (stage.clock.now() * 1000).to_string();
        assert_eq!(request.field("x-ncp-apigw-timestamp").unwrap(), time);
        assert_eq!(request.field("x-ncp-iam-access-key").unwrap(), stage.access);
        assert_eq!(
            request.field("x-ncp-apigw-signature-v2").unwrap(),
            ncloud_kms::sign("POST", target, &time, &stage.access, &stage.secret)
        );
        stage.clock.advance(1);
    }
}
