//! The Crittora client against the authority's face: both ways in, and the log-in's whole life.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sidecloak::authority::credentials::Purpose;
use sidecloak::authority::face::Door;
use sidecloak::clock::{ManualClock, SharedClock};
use sidecloak::keyring::{KeySource, State};
use sidecloak::name::PartitionName;
use sidecloak::proxy::settings::Address;
use sidecloak::sealer::managed::crittora::{Crittora, LONGEST};
use sidecloak::sealer::managed::http::Http;
use sidecloak::sealer::managed::settings::{CrittoraAccess, CrittoraSettings, EndpointTls};
use sidecloak::sealer::managed::{Api, ApiError, Fault, How};
use sidecloak::secret::SecretBytes;

use super::door::Served;
use crate::pki::private;
use crate::support::{Next, upstream};

const PASSWORD: &str = "correct \"horse\" bättery";
const PLAIN: How = How { signed: false, context: None };
const SIGNED: How = How { signed: true, context: None };

struct Stage {
    served: Served,
    settings: CrittoraSettings,
    /// The client's.
    clock: Arc<ManualClock>,
}

impl Stage {
    fn new(access: CrittoraAccess) -> Self {
        let served = Served::new(Door::Crittora);
        served.authority.keyring.create_partition(&partition()).unwrap();
        let texts = served.api_key(Purpose::Crittora, Some("acme"), &["access_key", "secret_key"]);
        let [api_key, access_key, secret_key] = texts.as_slice() else { panic!("three texts") };
        let settings = CrittoraSettings {
            access,
            username: served.file("username", "alice\n"),
            password: served.file("password", PASSWORD),
            api_key: served.file("api-key", api_key),
            access_key: Some(served.file("access-key", access_key)),
            secret_key: Some(served.file("secret-key", secret_key)),
        };
        let clock = ManualClock::at(sidecloak::clock::Clock::now(&*served.clock));
        let stage = Self { served, settings, clock };
        stage.user(PASSWORD);
        stage
    }

    fn managed() -> Self {
        Self::new(CrittoraAccess::Managed)
    }

    fn direct() -> Self {
        Self::new(CrittoraAccess::Direct { login: String::new(), client_id: "client".into() })
    }

    /// Ends all sessions of the user, too.
    fn user(&self, password: &str) {
        let password = SecretBytes::new(password.into());
        self.served.authority.credentials.put_user("alice", &password, "default").unwrap();
    }

    fn client(&self) -> Crittora {
        let clock: SharedClock = self.clock.clone();
        let (http, login) = match &self.settings.access {
            CrittoraAccess::Managed => (self.served.http("/v1"), None),
            CrittoraAccess::Direct { .. } => (self.served.http(""), Some(self.served.http("/"))),
        };
        Crittora::new(http, login, &self.settings, clock).unwrap()
    }

    fn encrypt(&self, client: &Crittora, text: &str, how: How) -> Result<Vec<u8>, ApiError> {
        let texts = [SecretBytes::new(text.into())];
        let ciphertexts = self.served.block_on(client.encrypt(&texts, how))?;
        assert_eq!(ciphertexts.len(), 1);
        Ok(ciphertexts[0].clone())
    }

    fn decrypt(&self, client: &Crittora, ciphertext: &[u8], how: How) -> Result<String, ApiError> {
        let texts = self.served.block_on(client.decrypt(&[ciphertext.to_vec()], how))?;
        assert_eq!(texts.len(), 1);
        Ok(String::from_utf8(texts[0].expose().to_vec()).unwrap())
    }

    #[track_caller]
    fn works(&self, client: &Crittora) {
        let ciphertext = self.encrypt(client, "text", PLAIN).unwrap();
        assert_eq!(self.decrypt(client, &ciphertext, PLAIN).unwrap(), "text");
    }

    #[track_caller]
    fn fails(&self, client: &Crittora) -> Fault {
        let error = self.encrypt(client, "canary", PLAIN).unwrap_err();
        for secret in ["canary", "alice", PASSWORD, "horse"] {
            assert!(!error.text.contains(secret), "{error}");
        }
        error.kind
    }

    /// Hours go by for the authority alone, or for both.
    fn pass(&self, seconds: u64, both: bool) {
        self.served.clock.advance(seconds);
        if both {
            self.clock.advance(seconds);
        }
    }
}

fn partition() -> PartitionName {
    PartitionName::new("acme").unwrap()
}

#[test]
fn texts_come_back_signed_or_not_either_way_in() {
    for stage in [Stage::managed(), Stage::direct()] {
        let client = stage.client();
        let longest = [("\u{1}", LONGEST), ("é\"", LONGEST / 3), ("😀", LONGEST / 4)].map(|(text, n)| text.repeat(n));
        for text in
            ["a", " ", "sc1:x:", "\"\\/\u{8}\u{0}\u{7f}é\u{2028}😀"].into_iter().chain(longest.iter().map(|s| &**s))
        {
            for how in [PLAIN, SIGNED] {
                let ciphertext = stage.encrypt(&client, text, how).unwrap();
                assert_eq!(stage.decrypt(&client, &ciphertext, how).unwrap(), text);
            }
        }
        let ciphertext = stage.encrypt(&client, "text", SIGNED).unwrap();
        assert_eq!(stage.decrypt(&client, &ciphertext, PLAIN).unwrap_err().kind, Fault::Refused, "it is signed");
        assert_eq!(stage.decrypt(&client, b"bm90aGluZw", PLAIN).unwrap_err().kind, Fault::Refused);
    }
}

#[test]
fn several_texts_are_several_calls_in_their_order() {
    let stage = Stage::managed();
    let client = stage.client();
    let texts: Vec<_> = (0..5).map(|n| SecretBytes::new(format!("text {n}").into_bytes())).collect();
    let ciphertexts = stage.served.block_on(client.encrypt(&texts, SIGNED)).unwrap();
    assert_eq!(stage.served.calls(), ["sign-encrypt"; 5]);
    let back = stage.served.block_on(client.decrypt(&ciphertexts, SIGNED)).unwrap();
    assert_eq!(stage.served.calls(), ["decrypt-verify"; 5]);
    for (text, back) in texts.iter().zip(&back) {
        assert_eq!(text.expose(), back.expose());
    }
}

#[test]
fn what_cannot_be_sent_makes_no_call() {
    let stage = Stage::managed();
    let client = stage.client();
    for text in [String::new(), "x".repeat(LONGEST + 1)] {
        assert_eq!(stage.encrypt(&client, &text, PLAIN).unwrap_err().kind, Fault::Refused);
    }
    for ciphertext in [&b""[..], b"not base64url", b"YQ==", b"\xff"] {
        assert_eq!(stage.decrypt(&client, ciphertext, PLAIN).unwrap_err().kind, Fault::Refused);
    }
    assert!(stage.served.calls().is_empty());
}

#[test]
fn a_burst_of_cold_calls_is_one_log_in() {
    let stage = Stage::direct();
    let client = stage.client();
    let texts = [SecretBytes::new(b"text".to_vec())];
    let all = stage.served.block_on(join_all((0..50).map(|_| client.encrypt(&texts, PLAIN))));
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(stage.served.said("AuthFlow"), ["USER_PASSWORD_AUTH"]);
    assert!(client.tokens().unwrap().seconds_left().unwrap() > 3500);
}

#[test]
fn a_log_in_that_ends_is_refreshed_before_a_call_fails() {
    let stage = Stage::direct();
    let client = stage.client();
    stage.works(&client);
    assert_eq!(stage.served.calls(), ["", "encrypt", "decrypt"]);
    stage.pass(3601, true);
    stage.works(&client);
    assert_eq!(stage.served.said("AuthFlow"), ["REFRESH_TOKEN_AUTH"]);
    // Nor does a refresh end the refresh token.
    stage.pass(3601, true);
    stage.works(&client);
    assert_eq!(stage.served.calls(), ["", "encrypt", "decrypt"]);
}

#[test]
fn a_log_in_that_ends_early_is_renewed_within_the_call() {
    let stage = Stage::direct();
    let client = stage.client();
    stage.works(&client);
    stage.served.calls();
    stage.pass(3601, false);
    stage.works(&client);
    // Refused, refreshed, done.
    assert_eq!(stage.served.calls(), ["encrypt", "", "encrypt", "decrypt"]);
    // The sessions of the user end, and with them the refresh token: the password counts.
    stage.user(PASSWORD);
    std::thread::sleep(Duration::from_millis(1100));
    stage.works(&client);
    assert_eq!(stage.served.said("AuthFlow"), ["REFRESH_TOKEN_AUTH", "USER_PASSWORD_AUTH"]);
}

#[test]
fn a_password_that_changes_on_disk_is_used_by_the_next_log_in() {
    for mut stage in [Stage::managed(), Stage::direct()] {
        let client = stage.client();
        stage.works(&client);
        stage.user("another one");
        private(&stage.served.path("password"), "another one");
        stage.served.calls();
        std::thread::sleep(Duration::from_millis(1100));
        stage.works(&client);
        if let CrittoraAccess::Direct { .. } = stage.settings.access {
            // The refresh token was given for the old password, and is not even tried.
            assert_eq!(stage.served.said("AuthFlow"), ["USER_PASSWORD_AUTH"]);
        }
        stage.settings.password = stage.served.file("password", "wrong");
        assert_eq!(stage.fails(&stage.client()), Fault::Credential);
    }
}

#[test]
fn who_may_not_is_told_apart_from_an_outage() {
    for mut stage in [Stage::managed(), Stage::direct()] {
        let client = stage.client();
        let ciphertext = stage.encrypt(&client, "text", PLAIN).unwrap();
        stage.served.authority.keyring.set_state(&partition(), State::Paused).unwrap();
        assert_eq!(stage.fails(&client), Fault::Refused);
        assert_eq!(stage.decrypt(&client, &ciphertext, PLAIN).unwrap_err().kind, Fault::Refused);
        stage.served.authority.keyring.set_state(&partition(), State::Active).unwrap();
        let right = stage.settings.clone();
        let bad = || -> KeySource { stage.served.file("bad", "bad") };
        for settings in [
            CrittoraSettings { api_key: bad(), ..right.clone() },
            CrittoraSettings { secret_key: Some(bad()), ..right.clone() },
            CrittoraSettings { username: bad(), ..right.clone() },
            CrittoraSettings { password: bad(), ..right.clone() },
        ] {
            stage.settings = settings;
            assert_eq!(stage.fails(&stage.client()), Fault::Credential);
            stage.settings = right.clone();
        }
    }
}

#[test]
fn the_managed_api_wants_all_keys() {
    let stage = Stage::managed();
    let settings = CrittoraSettings { access_key: None, ..stage.settings.clone() };
    let error = Crittora::new(stage.served.http("/v1"), None, &settings, stage.clock).unwrap_err();
    assert!(error.contains("access_key"), "{error}");
    let stage = Stage::direct();
    let settings = CrittoraSettings { access_key: None, secret_key: None, ..stage.settings.clone() };
    let direct = |login| Crittora::new(stage.served.http(""), login, &settings, stage.clock.clone());
    stage.works(&direct(Some(stage.served.http(""))).unwrap());
    assert!(direct(None).unwrap_err().contains("login"));
}

#[test]
fn an_api_that_takes_no_log_in_is_not_logged_in_to_again_and_again() {
    let stage = Stage::direct();
    for answer in
        [(401, r#"{"message":"Unauthorized"}"#), (200, r#"{"statusCode":401,"body":{"encrypted_data":"YWJj"}}"#)]
    {
        let api = upstream(move |_, out| {
            let (status, body) = answer;
            write!(out, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
            Next::KeepAlive
        });
        let Address::Tcp(address) = api.address else { panic!("no TCP address") };
        let http = Http::new(&format!("http://{address}"), &EndpointTls::default(), 1 << 20).unwrap();
        let login = Some(stage.served.http(""));
        let client = Crittora::new(http, login, &stage.settings, stage.clock.clone()).unwrap();
        for _ in 0..10 {
            assert_eq!(stage.fails(&client), Fault::Credential);
        }
        assert!(api.last().text().contains("requested_actions"));
        let log_ins = stage.served.calls().len();
        assert!((1..=4).contains(&log_ins), "{log_ins}");
    }
}
