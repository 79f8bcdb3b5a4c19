//! ExeQuantum as a client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use sidecloak::authority::credentials::Purpose;
use sidecloak::authority::exequantum::router;
use sidecloak::authority::face::Door;
use sidecloak::keyring::{KeySource, State};
use sidecloak::name::PartitionName;
use sidecloak::sealer::managed::exequantum::{ExeQuantum, recipient_key};
use sidecloak::sealer::managed::settings::{ExeQuantumSettings, Generation, Temporary};
use sidecloak::sealer::managed::{ApiError, Fault, KemApi};

use super::Trust;
use super::double::{Act, Double, missing, router as behind, with};
use super::served::Served;

struct Stage {
    served: Served,
    /// Of the long-lived token.
    number: u64,
    settings: ExeQuantumSettings,
}

impl Stage {
    fn new(generation: Generation, temporary: Option<Temporary>) -> Self {
        let served = Served::new(Door::Exequantum, router);
        served.house.role("pqc", 0xF_00C0);
        let (key, number) = served.house.key(Purpose::Exequantum, "pqc", None, 0);
        let settings = ExeQuantumSettings {
            generation,
            token: served.file("token", &key),
            temporary,
            recipient: served.path("recipient.json"),
            recipient_secret: None,
        };
        Self { served, number, settings }
    }

    /// Makes a recipient, and says of its private key whether it is to be sent along.
    fn make(&mut self, sends: bool) {
        if sends {
            self.settings.recipient_secret = Some(KeySource::File(self.served.path("secret")));
        }
        let generating = ExeQuantum::generate(self.served.http(), &self.settings, self.served.house.clock.clone());
        let (recipient, private) = self.served.house.block_on(generating).unwrap();
        assert!(!recipient.contains(std::str::from_utf8(&private.expose()[..64]).unwrap()), "the file is public");
        std::fs::write(self.served.path("recipient.json"), recipient).unwrap();
        self.served.file("secret", &format!("{}\n", std::str::from_utf8(private.expose()).unwrap()));
        self.served.calls();
    }

    fn client(&self) -> ExeQuantum {
        ExeQuantum::new(self.served.http(), &self.settings, self.served.house.clock.clone()).unwrap()
    }

    /// Encapsulates and decapsulates, and whether it was the same secret.
    async fn there_and_back(client: &ExeQuantum) -> Result<bool, ApiError> {
        let (cipher, put_in) = client.encapsulate().await?;
        assert_eq!(cipher.len(), 1088);
        Ok(client.decapsulate(&cipher).await?.expose() == put_in.expose())
    }

    fn works(&self, client: &ExeQuantum) {
        assert_eq!(self.served.house.block_on(Self::there_and_back(client)), Ok(true));
    }
}

#[test]
fn a_recipient_is_made_and_used_in_both_generations() {
    for (generation, sends, targets) in [
        (Generation::First, false, ["/api/kem/encapsulate_key", "/api/kem/decapsulate_key"]),
        (Generation::First, true, ["/api/kem/encapsulate_key", "/api/kem/decapsulate_key"]),
        (Generation::Later, true, ["/api/v1/pqc/kem/encapsulate/", "/api/v1/pqc/kem/decapsulate/"]),
    ] {
        let mut stage = Stage::new(generation, None);
        stage.make(sends);
        let (suite, key) = recipient_key(&stage.settings.recipient).unwrap();
        assert_eq!((suite, key.len()), (1, 1184));
        stage.works(&stage.client());
        assert_eq!(stage.served.seen(), targets.map(|target| (format!("POST {target}"), 200)));
    }
}

#[test]
fn a_recipient_that_the_service_keeps_opens_for_years_and_not_for_another() {
    let mut stage = Stage::new(Generation::First, Some(Temporary { expiry: Duration::from_secs(300), attempts: 100 }));
    stage.make(false);
    let client = stage.client();
    let (cipher, put_in) = stage.served.house.block_on(client.encapsulate()).unwrap();
    stage.served.house.clock.advance(5 * 365 * 86_400);
    let opened = stage.served.house.block_on(client.decapsulate(&cipher)).unwrap();
    assert_eq!(opened.expose(), put_in.expose());

    let (other, _) = stage.served.house.key(Purpose::Exequantum, "pqc", None, 0);
    stage.settings.token = stage.served.file("other", &other);
    let error = stage.served.house.block_on(stage.client().decapsulate(&cipher)).unwrap_err();
    assert_eq!(error.kind, Fault::Refused);
    assert!(error.text.contains("404") && error.text.contains("recipient_secret"), "{error}");
    assert_eq!(stage.served.house.block_on(client.decapsulate(&cipher[1..])).unwrap_err().kind, Fault::Refused);
}

/// How often each temporary token was used, and what else was asked.
fn uses(stage: &Stage) -> (BTreeMap<String, u32>, Vec<(String, u16)>) {
    let (mut uses, mut others) = (BTreeMap::new(), Vec::new());
    for call in stage.served.calls() {
        match call.authorization.strip_prefix("bearer ").unwrap() {
            token if token.starts_with("exqt.") => {
                assert_eq!(call.status, 200, "{call:?}");
                *uses.entry(token.to_owned()).or_default() += 1;
            }
            _ => others.push((call.target, call.status)),
        }
    }
    (uses, others)
}

#[test]
fn tokens_of_three_attempts_serve_fifty_callers_and_are_never_used_a_fourth_time() {
    let mut stage = Stage::new(Generation::First, Some(Temporary { expiry: Duration::from_secs(300), attempts: 3 }));
    stage.make(false);
    let client = Arc::new(stage.client());
    let callers = (0..50).map(|_| {
        let client = Arc::clone(&client);
        async move {
            for _ in 0..2 {
                assert_eq!(Stage::there_and_back(&client).await, Ok(true));
            }
        }
    });
    stage.served.house.block_on(join_all(callers));
    let (uses, made) = uses(&stage);
    assert_eq!(uses.values().sum::<u32>(), 200);
    assert!(uses.values().all(|uses| *uses <= 3), "{uses:?}");
    let making = ("GET /api/token/new?expiry_time=300&expire_after_attempts=3".to_owned(), 200);
    assert!(made.iter().all(|call| *call == making), "{made:?}");
    assert!((67..=100).contains(&made.len()), "{} tokens", made.len());
}

#[test]
fn a_token_is_renewed_before_its_end_and_once_when_it_is_not_taken() {
    let mut stage = Stage::new(Generation::Later, Some(Temporary { expiry: Duration::from_secs(300), attempts: 1000 }));
    stage.make(true);
    let client = stage.client();
    for _ in 0..3 {
        stage.works(&client);
        stage.served.house.clock.advance(301);
    }
    let (used, made) = uses(&stage);
    assert_eq!((used.len(), made.len()), (3, 3));
    assert!(used.values().all(|uses| *uses == 2));

    // Its key gets another text: the temporary token ends with it, and so does the long-lived one.
    stage.works(&client);
    stage.served.calls();
    let (text, _) = stage.served.house.authority.credentials.refresh_api_key(stage.number).unwrap().unwrap();
    stage.served.file("token", std::str::from_utf8(text.expose()).unwrap());
    // A file is looked at once a second, and the authority remembers a key for as long.
    std::thread::sleep(Duration::from_millis(1100));
    stage.served.house.clock.advance(2);
    stage.works(&client);
    let seen: Vec<u16> = stage.served.calls().iter().map(|call| call.status).collect();
    assert_eq!(seen, [401, 200, 200, 200], "the old token, another, and the two calls");
}

#[test]
fn what_the_service_says_no_to_is_told_apart() {
    let mut stage = Stage::new(Generation::First, None);
    stage.make(false);
    let client = stage.client();
    let house = &stage.served.house;
    let fault = || house.block_on(client.encapsulate()).unwrap_err();
    let default = PartitionName::default_name();
    house.authority.keyring.set_state(&default, State::Paused).unwrap();
    let error = fault();
    assert_eq!(error.kind, Fault::Refused);
    assert!(error.text.contains("403") && error.text.contains("paused"), "{error}");
    house.authority.keyring.set_state(&default, State::Active).unwrap();
    assert!(house.block_on(client.encapsulate()).is_ok());
    house.authority.credentials.revoke_api_key(stage.number).unwrap();
    house.clock.advance(2);
    let error = fault();
    assert_eq!(error.kind, Fault::Credential);
    assert!(error.text.contains("token") && error.text.contains("401"), "{error}");
}

/// A double in front of the face of this stage, and a client that speaks to it.
fn doubled(stage: &Stage) -> (Double, ExeQuantum) {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, behind(router(stage.served.house.authority.clone())));
    let http = trust.http(&double);
    (double, ExeQuantum::new(http, &stage.settings, stage.served.house.clock.clone()).unwrap())
}

#[test]
fn lies_in_every_member_are_told_and_never_believed() {
    for (generation, cipher, shared) in [
        (Generation::First, ["cipher", "/cipher"], ["shared_key", "/shared_key"]),
        (Generation::Later, ["ciphertext", "/ciphertext"], ["shared_secret", "/shared_secret"]),
    ] {
        let mut stage = Stage::new(generation, None);
        stage.make(true);
        let (double, client) = doubled(&stage);
        let (good, _) = stage.served.house.block_on(client.encapsulate()).unwrap();
        for (member, lengths) in [(cipher, [1087, 1089]), (shared, [31, 33])] {
            let [name, pointer] = member;
            let lies = [
                missing("", name),
                with(pointer, Value::Null),
                with(pointer, json!(7)),
                with(pointer, json!(["00"])),
                with(pointer, json!("hunter2")),
                with(pointer, json!("ab".repeat(lengths[0]))),
                with(pointer, json!("ab".repeat(lengths[1]))),
            ];
            for lie in lies {
                double.then([lie.clone()]);
                let error = stage.served.house.block_on(client.encapsulate()).unwrap_err();
                assert_eq!(error.kind, Fault::Lie, "{error}");
                assert!(!error.text.contains("hunter2") && !error.text.contains("abab"), "{error}");
                if member == shared {
                    double.then([lie]);
                    let error = stage.served.house.block_on(client.decapsulate(&good)).unwrap_err();
                    assert_eq!(error.kind, Fault::Lie, "{error}");
                }
            }
        }
        for act in [Act::html(200), Act::gzip(), Act::Truncated, Act::status(204), Act::redirect(307, "/".into())] {
            double.then([act]);
            assert_eq!(stage.served.house.block_on(client.encapsulate()).unwrap_err().kind, Fault::Lie);
        }
        assert_eq!(stage.served.house.block_on(Stage::there_and_back(&client)), Ok(true));
    }
}

#[test]
fn failed_calls_count_as_attempts() {
    let mut stage = Stage::new(Generation::First, Some(Temporary { expiry: Duration::from_secs(300), attempts: 3 }));
    stage.make(false);
    let (double, client) = doubled(&stage);
    double.by(|n, request| {
        let making = request.first_line().contains("/api/token/new");
        match n % 6 {
            _ if making => Act::Well,
            1 => Act::status(500),
            3 => Act::throttled(1),
            5 => Act::ResetInBody,
            _ => Act::Well,
        }
    });
    let house = &stage.served.house;
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..60 {
        match house.block_on(client.encapsulate()) {
            Ok((cipher, _)) => {
                assert_eq!(cipher.len(), 1088);
                right += 1;
            }
            Err(error) => {
                assert!(matches!(error.kind, Fault::Server | Fault::Throttled(_) | Fault::Connection), "{error}");
                wrong += 1;
            }
        }
    }
    assert!(right > 10 && wrong > 10, "{right} and {wrong}");
    let mut uses: BTreeMap<String, u32> = BTreeMap::new();
    for call in double.seen() {
        if !call.first_line().contains("/api/token/new") {
            *uses.entry(call.field("authorization").unwrap()).or_default() += 1;
        }
    }
    assert_eq!(uses.values().sum::<u32>(), 60);
    assert!(uses.values().all(|uses| *uses <= 3), "{uses:?}");
}
